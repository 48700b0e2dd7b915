import type { Database } from "better-sqlite3";
import type { Knowledge } from "../identity/knowledge.ts";
import type { EntityMembers } from "../rows/members.ts";
import { isAlive } from "../rows/registers.ts";
import { type ClosedConflict, mayHoldSettled, ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";

/** Rows looked at before the clock is looked at. Of most of them nothing but a byte is read. */
const ROWS_AT_ONCE = 5_000;
const BEFORE_ALL = -(2n ** 63n);

interface Options {
  /** What was written after this is young, Unix microseconds. */
  youngUs: number;
  dryRun: boolean;
  /** True for a change that every node that takes part is known to have. */
  isKnownToAll: (dot: { origin: number; sequence: number }) => boolean;
}

/**
 * One run over the rows of all tables, in turns: lets go of values that lost a conflict which somebody settled, once everybody
 * knows that and nobody has written there since within the retention. Only histories show them, so the floor stays as it is:
 * who has such a record longer than others, or never gets it, holds the same rows and the same open conflicts.
 */
export class SettledConflicts {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly entities: EntityMembers;
  private readonly options: Options;
  /** Records that went, or would. */
  forgotten = 0;
  private left: Table[] | null = null;
  private after = BEFORE_ALL;

  constructor(parts: { db: Database; rows: RowStore; knowledge: Knowledge; entities: EntityMembers }, options: Options) {
    this.db = parts.db;
    this.rows = parts.rows;
    this.knowledge = parts.knowledge;
    this.entities = parts.entities;
    this.options = options;
  }

  /** One turn up to `until` (milliseconds of performance.now), inside a write transaction, drained. True at the end. */
  turn(until: number): boolean {
    // What a mass delete keeps back is not looked at until somebody has decided about it.
    this.left ??= this.rows.tables.filter((table) => this.rows.of(table).keptBack === null);
    for (let table = this.left[0]; table; table = this.left[0]) {
      this.rows.of(table).flush();
      const page = this.db
        .prepare(`SELECT id, substr(extra, 1, 1) FROM ${rowsTable(table.tid)} WHERE id > ? ORDER BY id LIMIT ${ROWS_AT_ONCE}`)
        .safeIntegers(true)
        .raw(true);
      for (;;) {
        const found = page.all(this.after) as [bigint, Buffer | null][];
        for (const [slot, extra] of found) {
          const state = extra && mayHoldSettled(extra) ? this.rows.atLog(table.tid, slot) : null;
          if (state) this.consider(state);
        }
        this.after = found.at(-1)?.[0] ?? this.after;
        if (found.length < ROWS_AT_ONCE) break;
        if (performance.now() > until) return false;
      }
      this.left.shift();
      this.after = BEFORE_ALL;
    }
    return true;
  }

  private consider(state: RowState): void {
    if (state.partial || !isAlive(state, this.knowledge) || this.entities.concerns(state)) return;
    const gone = state.closed.filter((record) => this.mayGo(state, record));
    if (gone.length === 0) return;
    const values = this.rows.tableValues(state);
    // Written past capture: saved now, it would count as compared.
    if (!values || !state.hash?.equals(this.rows.hashes.hashOf(state, state.slot, values))) return;
    this.forgotten += gone.length;
    if (this.options.dryRun) return;
    const before = ownedDots(state);
    state.closed = state.closed.filter((record) => !gone.includes(record));
    this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
  }

  private mayGo(state: RowState, { cid, loser, origin, sequence }: ClosedConflict): boolean {
    const writes = state.columns.get(cid) ?? [state.birth];
    // Whoever settled it wrote no later than who wrote there last.
    const latest = Math.max(loser.time, ...writes.map(({ time }) => time));
    return writes.length === 1 && latest <= this.options.youngUs && this.options.isKnownToAll({ origin, sequence });
  }
}
