import type { Database, Statement } from "better-sqlite3";
import { valueStatement } from "../kept-statements.ts";
import { ownedDots, type RowState } from "./row-state.ts";

/** Where a row is: its table's number and its slot there; the number is negative for a row out of its table, and the slot that in _scoutsync_out. */
export type LogEntry = [tid: bigint, slot: bigint];

/** The log: one entry for each dot that still owns something, and the other names under which rows are found. */
export class LogEntries {
  private readonly db: Database;
  private readonly findDot: Statement;
  private readonly findAlias: Statement;
  /** Some row may be found by an alias; once true it stays so. */
  private aliased: boolean;
  private readonly putAlias: Statement;
  private readonly putDot: Statement;
  private readonly dropDot: Statement;

  constructor(db: Database) {
    this.db = db;
    const prepare = (sql: string) => {
      const statement = db.prepare(sql).safeIntegers(true);
      return statement.reader ? statement.raw(true) : statement;
    };
    this.findDot = prepare("SELECT tid, slot FROM _scoutsync_log WHERE oid = ? AND sequence = ?");
    this.findAlias = prepare("SELECT birth_oid, birth_sequence FROM _scoutsync_alias WHERE oid = ? AND sequence = ?");
    this.aliased = db.prepare("SELECT 1 FROM _scoutsync_alias LIMIT 1").get() !== undefined;
    this.putAlias = prepare(
      "INSERT INTO _scoutsync_alias(oid, sequence, birth_oid, birth_sequence) VALUES(?, ?, ?, ?) ON CONFLICT(oid, sequence) DO UPDATE SET birth_oid = excluded.birth_oid, birth_sequence = excluded.birth_sequence",
    );
    this.putDot = prepare(
      "INSERT INTO _scoutsync_log(oid, sequence, tid, slot) VALUES(?, ?, ?, ?) ON CONFLICT(oid, sequence) DO UPDATE SET tid = excluded.tid, slot = excluded.slot",
    );
    this.dropDot = prepare("DELETE FROM _scoutsync_log WHERE oid = ? AND sequence = ?");
  }

  /** Where the row is that owns this dot. */
  owned(origin: number, sequence: number): LogEntry | undefined {
    return this.findDot.get(origin, sequence) as LogEntry | undefined;
  }

  /** Where the row is that this dot names. */
  named(origin: number, sequence: number): LogEntry | undefined {
    // First: where a row was issued again for another one's sake, that one may have the dot that names it.
    const named = this.aliased ? this.byAlias(origin, sequence) : undefined;
    return named ?? this.owned(origin, sequence);
  }

  /** Where the row is that has this name beside its birth's. */
  byAlias(origin: number, sequence: number): LogEntry | undefined {
    const alias = this.findAlias.get(origin, sequence) as [bigint, bigint] | undefined;
    return alias ? (this.findDot.get(...alias) as LogEntry | undefined) : undefined;
  }

  /** True when a row with this name may be somewhere else than under its integer in its table. */
  hasAlias(origin: number, sequence: number): boolean {
    return this.findAlias.get(origin, sequence) !== undefined;
  }

  /** True when the log has this dot. */
  holds(origin: number, sequence: number): boolean {
    return this.findDot.get(origin, sequence) !== undefined;
  }

  /** Largest sequence of an origin that owns something or names a row; 0 when there is none. */
  lastSequence(origin: number): number {
    const owns = valueStatement(this.db, "SELECT max(sequence) FROM _scoutsync_log WHERE oid = ?").get(origin) as number | null;
    const names = valueStatement(this.db, "SELECT max(sequence) FROM _scoutsync_alias WHERE oid = ?").get(origin) as number | null;
    return Math.max(owns ?? 0, names ?? 0);
  }

  /** Points the log at the row: entries of dots that own nothing any more go. */
  point(state: RowState, before: ReadonlyMap<string, { origin: number; sequence: number }>): void {
    const tid = state.place.kind === "table" ? state.table.tid : -state.table.tid;
    const now = ownedDots(state);
    for (const [dot, { origin, sequence }] of before) if (!now.has(dot)) this.dropDot.run(origin, sequence);
    for (const { origin, sequence } of now.values()) this.putDot.run(origin, sequence, tid, state.slot);
  }

  /** Notes how a row is found that is named by another dot than its birth's. */
  alias(state: RowState): void {
    const { identity, birth, table } = state;
    if (!table.surrogate || (identity.origin === birth.origin && identity.sequence === birth.sequence)) return;
    this.putAlias.run(identity.origin, identity.sequence, birth.origin, birth.sequence);
    this.aliased = true;
  }

  /** Lets go of every entry of a row. */
  drop(state: RowState): void {
    for (const { origin, sequence } of ownedDots(state).values()) this.dropDot.run(origin, sequence);
  }

  /** Lets go of the entries that lead to a row out of its table, and of no others. */
  lift(state: RowState): void {
    const drop = this.db.prepare("DELETE FROM _scoutsync_log WHERE oid = ? AND sequence = ? AND tid = ? AND slot = ?");
    for (const { origin, sequence } of ownedDots(state).values()) drop.run(origin, sequence, -state.table.tid, state.slot);
  }
}
