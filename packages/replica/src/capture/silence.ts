import type { Database } from "better-sqlite3";
import type { RowStore } from "../rows/row-store.ts";
import type { RestingTrigger } from "../schema/app-triggers.ts";
import { quote } from "../schema/quote.ts";
import type { SeenSchema } from "../schema/seen.ts";
import { leavingEntries, noteLeaving } from "../schema/text-indexes.ts";
import { captureTriggers } from "./triggers.ts";
import { rowStatement, valueStatement } from "../kept-statements.ts";

/** Writes of this node to the application's tables: not captured, and without triggers whose effects travel by themselves. */
export class Silence {
  /** Triggers of the application that do not run meanwhile as they are. */
  suspended: RestingTrigger[] = [];
  /** Entries of indexes are left that do not hold them, as `leavingEntries` has it. */
  isLeaving = false;
  /** Rows put into _scoutsync_applying and taken out again. */
  flagged = 0;
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly seen: SeenSchema;

  constructor({ db, rows, seen }: { db: Database; rows: RowStore; seen: SeenSchema }) {
    this.db = db;
    this.rows = rows;
    this.seen = seen;
  }

  /** Runs `work` inside the caller's transaction, whose rollback restores everything when it throws. */
  keep<T>(work: () => T): T {
    this.db.exec("INSERT INTO _scoutsync_applying VALUES(1)");
    // Looked for under the lock: a migration may have come since it was decided, whose triggers are to be made again.
    const leaving = this.isLeaving ? leavingEntries(this.db, this.suspended) : null;
    if (leaving) noteLeaving(this.db);
    const resting = leaving ?? this.suspended;
    const result = resting.length > 0 ? this.without(resting, work) : work();
    this.db.exec("DELETE FROM _scoutsync_applying");
    this.flagged += 2;
    return result;
  }

  /**
   * Drops the triggers that do not run meanwhile, puts in their place what of them does, and makes them again. The schema is then what it was, so it gets the number
   * that it had: with another one each connection of the application would read it anew after every batch, in the middle of
   * whatever it does, and in SQLite before 3.42 or so a write to a table with a full-text index then fails with "no such table".
   */
  private without<T>(resting: readonly RestingTrigger[], work: () => T): T {
    const before = this.seen.current();
    putInPlace(this.db, resting);
    const without = this.seen.current();
    const result = work();
    const isAllTheSame = this.seen.current() === without;
    putBack(this.db, resting);
    if (isAllTheSame) this.seen.setBack(before);
    this.seen.see();
    return result;
  }

  /** True outside of `keep` where somebody else wrote the flag: nothing is captured while it stands. */
  get isForged(): boolean {
    return valueStatement(this.db, "SELECT 1 FROM _scoutsync_applying").get() !== undefined;
  }

  end(): void {
    this.db.exec("DELETE FROM _scoutsync_applying");
  }

  /** SQLite gives triggers the old and the new row whole, whether or not they come to look: two more copies of a large value. */
  withoutCapture<T>(work: () => T): T {
    const triggers = this.rows.tables.flatMap((table) => captureTriggers(table));
    for (const { name } of triggers) this.db.exec(`DROP TRIGGER ${name}`);
    const result = work();
    for (const { sql } of triggers) this.db.exec(sql);
    this.seen.see();
    return result;
  }
}

/** Has triggers of the database rest, within the caller's transaction. */
export function putInPlace(db: Database, resting: readonly RestingTrigger[]): void {
  for (const { type, name, meanwhile } of resting) db.exec(`DROP ${type} main.${quote(name)}; ${meanwhile ?? ""}`);
}

/** Makes triggers that rest what they were. */
export function putBack(db: Database, resting: readonly RestingTrigger[]): void {
  for (const { type, name, sql, meanwhile } of resting) db.exec(`${meanwhile === null ? "" : `DROP ${type} main.${quote(name)};`} ${sql}`);
  captureFirst(db);
}

/** Triggers that come after a write, in the order in which they were made. */
const AFTER = `SELECT name, tbl_name AS "table", name GLOB '_scoutsync_*' AS ours, sql FROM main.sqlite_schema
  WHERE type = 'trigger' AND iif(name GLOB '_scoutsync_*', substr(sql, 1, 80) LIKE '% AFTER %', sql LIKE '%AFTER%') ORDER BY rowid`;

/**
 * Makes our triggers anew where one of the application's that comes after a write is younger: SQLite runs the youngest first, and one that
 * fails with FAIL, or in a statement OR FAIL, leaves the write there and runs no other.
 */
export function captureFirst(db: Database): void {
  const triggers = rowStatement(db, AFTER).all() as { table: string; name: string; ours: number; sql: string }[];
  // SQLite has the name of the table as the statement that made the trigger spells it.
  for (const all of Map.groupBy(triggers, ({ table }) => table.toLowerCase()).values()) {
    const first = all.findIndex(({ ours }) => ours);
    if (first < 0 || all.slice(first).every(({ ours }) => ours)) continue;
    for (const { name, ours, sql } of all) if (ours) db.exec(`DROP TRIGGER main.${quote(name)}; ${sql}`);
  }
}
