import Database from "better-sqlite3";
import { quote } from "../schema/quote.ts";
import type { Table } from "../schema/catalog.ts";
import { CAPTURE, eventCode, Op } from "./events.ts";

/** The application has the lock for longer than this: the next round looks again, milliseconds. */
const BUSY_MS = 1_000;
/** A row is written three times over and taken back; larger ones are left alone, bytes. */
const LARGEST_ROW = 1_048_576;
/** The smallest of so many rows is the one that is written. */
const ROWS_LOOKED_AT = 20;

/** What was tried with a table and came to nothing: `INSERT`, `UPDATE`, `DELETE`. */
export interface SilentWrites {
  table: Table;
  statements: string[];
}

/**
 * Writes to each table as an application does, through a connection that knows nothing of sync, looks whether capture has
 * noted it, and takes it back: nobody else ever sees any of it. Returns the tables with writes that left no trace. What
 * cannot be tried (a trigger of the application refuses it, the file is locked) is no finding.
 */
export function silentWrites(path: string, tables: readonly Table[]): SilentWrites[] {
  const db = new Database(path, { fileMustExist: true, timeout: BUSY_MS });
  try {
    // A cascade would make one row many.
    db.exec("PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1");
    const found: SilentWrites[] = [];
    for (const table of tables) {
      const statements = tryTable(db, table);
      // Whoever has the lock may keep it: no use in waiting for it once per table.
      if (statements === null) break;
      if (statements.length > 0) found.push({ table, statements });
    }
    return found;
  } finally {
    db.close();
  }
}

/** Null when somebody else is writing. */
function tryTable(db: Database.Database, table: Table): string[] | null {
  try {
    db.exec("BEGIN IMMEDIATE");
  } catch {
    return null;
  }
  try {
    return new Attempt(db, table).run();
  } catch {
    // The table is not what it was a moment ago; that is noticed elsewhere.
    return [];
  } finally {
    if (db.inTransaction) db.exec("ROLLBACK");
  }
}

/** One table, in a transaction that the caller rolls back. */
class Attempt {
  private readonly db: Database.Database;
  private readonly table: Table;
  private readonly on: string;
  private readonly silent: string[] = [];

  constructor(db: Database.Database, table: Table) {
    this.db = db;
    this.table = table;
    this.on = quote(table.source);
  }

  run(): string[] {
    const columns = this.db
      .prepare('SELECT name, type, "notnull" AS needed, pk FROM pragma_table_xinfo(?) WHERE hidden = 0')
      .all(this.table.source) as { name: string; type: string; needed: number; pk: number }[];
    const names = columns.map(({ name }) => quote(name));
    const key = this.table.key.map(({ name }) => quote(name));
    const keyNames = key.map((_, i) => `k${i}`);
    this.db.exec("DROP TABLE IF EXISTS temp.probed");
    const size = names.map((name) => `coalesce(octet_length(${name}), 0)`).join(" + ");
    const values = [...key.map((name, i) => `${name} AS k${i}`), ...names.map((name, i) => `${name} AS c${i}`)];
    const rows = `SELECT ${values.join(", ")}, ${size} AS size FROM (SELECT ${[...new Set([...key, ...names])].join(", ")} FROM ${this.on} LIMIT ${ROWS_LOOKED_AT})`;
    this.db.exec(`CREATE TEMP TABLE probed AS SELECT * FROM (${rows}) WHERE size <= ${LARGEST_ROW} ORDER BY size LIMIT 1`);
    const there = this.db.prepare("SELECT 1 FROM temp.probed").get() !== undefined;
    const where = `WHERE (${key.join(", ")}) IN (SELECT ${keyNames.join(", ")} FROM temp.probed)`;
    if (!there) {
      if (this.db.prepare(`SELECT 1 FROM ${this.on} LIMIT 1`).get() !== undefined) return this.silent;
      const made = columns.map(({ type, needed, pk }) => (needed > 0 || pk > 0 ? somethingOf(type) : "NULL"));
      const list = names.length === 0 ? "DEFAULT VALUES" : `(${names.join(", ")}) VALUES(${made.join(", ")})`;
      this.attempt("INSERT", [Op.insert], `INSERT INTO ${this.on} ${list}`);
      return this.silent;
    }
    const [first] = this.table.columns;
    if (first) this.attempt("UPDATE", [Op.update], `UPDATE ${this.on} SET ${quote(first.name)} = ${quote(first.name)} ${where}`);
    if (!this.attempt("DELETE", [Op.delete], `DELETE FROM ${this.on} ${where}`) || names.length === 0) return this.silent;
    const copied = names.map((_, i) => `c${i}`).join(", ");
    this.attempt("INSERT", [Op.insert], `INSERT INTO ${this.on}(${names.join(", ")}) SELECT ${copied} FROM temp.probed`);
    return this.silent;
  }

  /** Runs a statement and looks for its event. False when it could not be run, or changed nothing. */
  private attempt(name: string, ops: readonly number[], sql: string): boolean {
    // A trigger that ended the transaction has left nothing to take back: written now, it would stay.
    if (!this.db.inTransaction) return false;
    const before = this.db.prepare(`SELECT coalesce(max(n), 0) FROM ${CAPTURE}`).pluck().get() as number;
    this.db.exec("SAVEPOINT tried");
    try {
      if (this.db.prepare(sql).run().changes === 0) return false;
    } catch {
      // A trigger of the application said no, or ended the transaction, or needs what only the application has.
      if (this.db.inTransaction) this.db.exec("ROLLBACK TO tried; RELEASE tried");
      return false;
    }
    this.db.exec("RELEASE tried");
    const codes = ops.map((op) => eventCode(this.table.tid, op)).join(", ");
    const noted = this.db.prepare(`SELECT 1 FROM ${CAPTURE} WHERE n > ? AND event IN (${codes}) LIMIT 1`).get(before);
    if (noted === undefined) this.silent.push(name);
    return true;
  }
}

/** A value that a column of this declared type takes, also where types are strict; checks are not looked at. */
function somethingOf(type: string): string {
  if (/INT/i.test(type)) return "1";
  if (/REAL|FLOA|DOUB/i.test(type)) return "1.5";
  return /BLOB/i.test(type) ? "x'01'" : "'probed'";
}
