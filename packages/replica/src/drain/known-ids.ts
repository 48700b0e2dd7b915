import type { Database, Statement } from "better-sqlite3";
import { rowsTable } from "../rows/table-store.ts";

/** Places for single integers, by their last bits. */
const PLACES = 4_096;
/** Integers next to each other that are known by one number where rows have all of them. */
const BLOCK = 4_096;
/** So many of a block are asked for before it is counted, which costs about as much. */
const WORTH_COUNTING = 64;

/** SQL that is true of an integer that no row of a table has or, as a deleted one, had. */
export const isAbsent = (tid: number, id: string) =>
  `NOT EXISTS(SELECT 1 FROM ${rowsTable(tid)} AS r WHERE r.id = ${id}) AND NOT EXISTS(SELECT 1 FROM _scoutsync_out AS o WHERE o.tid = ${tid} AND o.id = ${id})`;

/**
 * Integers of one table that rows are known to have or to have had: a drain of rows that all refer to some pays next to nothing for
 * seeing that they do. Stays true as long as nothing is erased or rolled back.
 */
export class KnownIds {
  private readonly places = new Float64Array(PLACES).fill(Number.NaN);
  private readonly whole = new Set<number>();
  /** By block, how many of it were asked for; less than 0 where it was counted and had gaps. */
  private readonly counts = new Map<number, number>();
  private asked: bigint[] = [];
  private readonly findAbsent: Statement;
  private readonly count: Statement;

  constructor(db: Database, tid: number) {
    this.findAbsent = db
      .prepare(`SELECT value FROM json_each(?) WHERE ${isAbsent(tid, "value")}`)
      .safeIntegers(true)
      .pluck();
    this.count = db.prepare(`SELECT count(*) FROM ${rowsTable(tid)} WHERE id >= ? AND id < ?`).pluck();
  }

  /** A row has been stored under this integer. */
  add(id: bigint): void {
    const number = Number(id);
    this.places[number & (PLACES - 1)] = number;
  }

  /** Notes an integer to be asked for, unless it is known. */
  ask(id: bigint): void {
    const number = Number(id);
    const place = number & (PLACES - 1);
    // Two integers beyond 2^53 may be one number: such are asked for every time.
    const isExact = Number.isSafeInteger(number);
    if (isExact && (this.places[place] === number || this.whole.has(Math.floor(number / BLOCK)))) return;
    this.places[place] = number;
    this.asked.push(id);
  }

  /** Of the integers noted since, those that no row has or, as a deleted one, had. Queued rows must have been flushed. */
  takeAbsent(): bigint[] {
    if (this.asked.length === 0) return this.asked;
    // In order: neighbours are in the same page of the file.
    const ids = BigInt64Array.from(this.asked).sort();
    this.asked = [];
    const absent = this.findAbsent.all(`[${ids.join()}]`) as bigint[];
    for (const id of ids) this.countBlock(Math.floor(Number(id) / BLOCK));
    return absent;
  }

  private countBlock(block: number): void {
    const asked = (this.counts.get(block) ?? 0) + 1;
    this.counts.set(block, asked);
    if (asked !== WORTH_COUNTING) return;
    const from = block * BLOCK;
    if (this.count.get(from, from + BLOCK) === BLOCK) this.whole.add(block);
    else this.counts.set(block, -BLOCK);
  }
}
