import type { Database, Statement } from "better-sqlite3";
import { ByteReader, ByteWriter, type CellValue, RawText } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { latestTime } from "./registers.ts";
import type { RowState } from "./row-state.ts";
import { writing } from "../write-lock.ts";
import type { Identity } from "./same-links.ts";

/**
 * For how long an application may go on using an integer that it read before a sync gave that to another row: in memory,
 * in an open form, on a phone over a weekend. Microseconds.
 */
export const REMEMBERED_US = 3 * 86_400_000_000;

/** What is larger is not kept a second time, bytes. */
const LARGEST_KEPT = 64 * 1024;

/** In an UPSERT: the row that leaves has had the integer since another one did. */
const IS_HOLDER = "(holder_oid = excluded.oid AND holder_sequence = excluded.sequence)";

/**
 * Integers that another row had here until a sync moved it or took it out of its table. The application may still mean that
 * row by it. What it overwrites of the row that has the integer now was then never seen: it is kept beside.
 */
export class FormerIds {
  private readonly db: Database;
  private readonly nowUs: () => number;
  private readonly rememberedUs: number;
  /** Tables with such integers, by number; may name more than are left. */
  private readonly tids: Set<number>;
  private readonly find: Statement;

  constructor(db: Database, nowUs: () => number, rememberedUs: number) {
    this.db = db;
    this.nowUs = nowUs;
    this.rememberedUs = rememberedUs;
    writing(db, () => db.prepare("DELETE FROM _scoutsync_former WHERE at < ?").run(nowUs() - rememberedUs));
    this.tids = new Set(db.prepare("SELECT DISTINCT tid FROM _scoutsync_former").pluck().all() as number[]);
    this.find = db.prepare("SELECT 1 FROM _scoutsync_former WHERE tid = ? AND id = ?");
  }

  /** True when another row had this integer here, not long ago. */
  has(table: Table, id: bigint): boolean {
    return this.tids.has(table.tid) && this.find.get(table.tid, id) !== undefined;
  }

  /**
   * A sync takes the row off its integer. Whoever had that before it stays noted, and the row beside: it may only wait for a moment, and the
   * application means the former one then as well.
   */
  left({ table, identity, slot }: RowState): void {
    if (!table.surrogate || this.rememberedUs === 0) return;
    this.tids.add(table.tid);
    this.db
      .prepare(
        "INSERT INTO _scoutsync_former(tid, id, at, oid, sequence) VALUES(?, ?, ?, ?, ?) ON CONFLICT(tid, id) DO UPDATE SET " +
          `at = excluded.at, image = NULL, oid = iif(${IS_HOLDER}, oid, excluded.oid), sequence = iif(${IS_HOLDER}, sequence, excluded.sequence), ` +
          `holder_oid = iif(${IS_HOLDER}, holder_oid, NULL), holder_sequence = iif(${IS_HOLDER}, holder_sequence, NULL)`,
      )
      .run(table.tid, slot, this.nowUs(), identity.origin, identity.sequence);
  }

  /** The row is in its table under an integer that `has`, with these values, references as identities. */
  placed(state: RowState, id: bigint, cells: readonly CellValue[]): void {
    const { table, identity } = state;
    const { origin, sequence } = identity;
    // Another one has left it since that one did.
    this.db
      .prepare(
        "UPDATE _scoutsync_former SET oid = holder_oid, sequence = holder_sequence, holder_oid = NULL, holder_sequence = NULL " +
          "WHERE tid = ? AND id = ? AND image IS NULL AND holder_oid IS NOT NULL AND (holder_oid <> ? OR holder_sequence <> ?)",
      )
      .run(table.tid, id, origin, sequence);
    // Back where it was: whoever remembers it is right.
    const isBack = this.db.prepare("DELETE FROM _scoutsync_former WHERE tid = ? AND id = ? AND oid = ? AND abs(sequence) = ?");
    if (isBack.run(table.tid, id, origin, sequence).changes > 0) return;
    const image = new ByteWriter(256);
    cells.forEach((value, i) => {
      const held = value instanceof RawText ? value.bytes : value;
      const size = typeof held === "string" || held instanceof Uint8Array ? held.length : 0;
      if (size > LARGEST_KEPT) return;
      image.varint((table.columns[i] as { cid: number }).cid);
      image.value(value);
    });
    // What was written here to a row that waited for its place, or by a fast clock, came before it had the integer, too.
    this.db
      .prepare(
        "UPDATE _scoutsync_former SET at = iif(image IS NULL, ?, at), holder_oid = ?, holder_sequence = ?, image = ? WHERE tid = ? AND id = ?",
      )
      .run(Math.max(this.nowUs(), latestTime(state) + 1), origin, sequence, image.toBytes(), table.tid, id);
  }

  /**
   * What the row held before the edit that is being drained, by column, where its author may have meant another row; null
   * for all others, which are most.
   */
  unseenBy({ table, identity, slot, place }: RowState): ReadonlyMap<number, CellValue> | null {
    if (!table.surrogate || place.kind !== "table" || !this.tids.has(table.tid)) return null;
    const image = this.db
      .prepare("SELECT image FROM _scoutsync_former WHERE tid = ? AND id = ? AND holder_oid = ? AND holder_sequence = ? AND at > ?")
      .pluck()
      .get(table.tid, slot, identity.origin, identity.sequence, this.nowUs() - this.rememberedUs) as Buffer | null | undefined;
    if (!image) return null;
    const values = new Map<number, CellValue>();
    for (const from = new ByteReader(image); !from.done;) values.set(from.varint(), from.value());
    return values;
  }

  /** When this row got an integer that another one had to leave, microseconds; 0 where none had it. */
  givenAt({ table, slot }: RowState): number {
    const at = this.db.prepare("SELECT at FROM _scoutsync_former WHERE tid = ? AND id = ?").pluck().get(table.tid, slot);
    return (at as number | undefined) ?? 0;
  }

  /** Which row had the integer of this one before a sync gave it to this one; null where nobody can mean it any more, or somebody has said who is meant. */
  meant({ table, identity, slot }: RowState): Identity | null {
    const found = this.db
      .prepare(
        "SELECT oid AS origin, sequence FROM _scoutsync_former WHERE tid = ? AND id = ? AND holder_oid = ? AND holder_sequence = ? AND at > ? AND sequence > 0",
      )
      .get(table.tid, slot, identity.origin, identity.sequence, this.nowUs() - this.rememberedUs);
    return (found as Identity | undefined) ?? null;
  }

  /**
   * Somebody has said whom references to the integer mean, and is not asked about the next ones. An edit in an open form may go on meaning
   * the former row: what the one that has it now held stays noted. Stored as a sequence below 0.
   */
  answered({ tid }: Table, id: bigint): void {
    this.db.prepare("UPDATE _scoutsync_former SET sequence = -abs(sequence) WHERE tid = ? AND id = ?").run(tid, id);
  }

  /** Somebody decides about the row that has the integer now, and has seen it. */
  wasSeen({ table }: RowState, id: bigint): void {
    this.db.prepare("DELETE FROM _scoutsync_former WHERE tid = ? AND id = ?").run(table.tid, id);
  }
}
