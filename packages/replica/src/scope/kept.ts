import type { Review, SqlValue } from "@scoutsync/core";
import { SyncError } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { valueText } from "../rows/values.ts";
import { quote } from "../schema/quote.ts";
import { isOfIndex, runMending, withIndexes } from "../schema/text-indexes.ts";
import { fromSqlite } from "../sqlite-errors.ts";
import { type CopiedTable, keptTable, openBoth, type ScopeSource } from "./copy.ts";
import { type KeptChange, Sides } from "./sides.ts";
import { isTakenOnce, noteTakenOnce } from "./taken.ts";

/** What was not taken from nodes of a scope and nobody has decided yet. `db` has the copy open. */
export function keptOfScope(db: Database, scope: string, { id, limit }: { id: string; limit: number }): Review[] {
  const found = db
    .prepare(
      "SELECT k.id, k.n, k.reason, k.since, t.name, t.columns FROM _scoutsync_scope_kept AS k JOIN _scoutsync_scope_table AS t ON t.n = k.n " +
        "WHERE k.resolved = 0 ORDER BY k.id LIMIT ?",
    )
    .all(limit > 0 ? limit : -1) as { id: number; n: number; reason: string; since: number; name: string; columns: string }[];
  return found
    .filter((one) => id === "" || id === idOf(scope, one.id))
    .map((one) => {
      const columns = JSON.parse(one.columns) as string[];
      const values = db
        .prepare(`SELECT ${columns.map((_, at) => `c${at}`).join(", ")} FROM ${keptTable(one.n)} WHERE id = ?`)
        .safeIntegers(true)
        .raw(true)
        .get(one.id) as SqlValue[] | undefined;
      const image = columns.map((name, at) => ({ name, value: values?.[at] ?? null }));
      return {
        id: idOf(scope, one.id),
        kind: "parked",
        table: one.name,
        key: valueText(image[0]?.value ?? null),
        column: null,
        winner: null,
        loser: null,
        image,
        reason: `from a node of scope ${scope}: ${one.reason}`,
        sinceUs: one.since,
        resolved: false,
      };
    });
}

/** Takes an entry off the list. Throws NOT_FOUND. */
export function dismissKept(db: Database, scope: string, id: string): void {
  const { changes } = db.prepare("UPDATE _scoutsync_scope_kept SET resolved = 1 WHERE id = ? AND resolved = 0").run(numberOf(scope, id));
  if (changes === 0) throw notKept(scope, id);
}

interface Kept {
  id: number;
  n: number;
  change: string | null;
  m_oid: bigint | null;
  m_seq: bigint | null;
}

interface KeptRequest {
  id: string;
  set: readonly { name: string; value: SqlValue }[];
}

/**
 * Does in the database what a node of the scope had wanted, as a write of an application there, with other values where
 * `set` names columns, and takes the entry off the list. Throws NOT_FOUND, and INVALID_ARGUMENT where the database refuses it.
 */
export function applyKept(source: ScopeSource, copy: string, request: KeptRequest): void {
  try {
    applyOnce(source, copy, request);
  } catch (error) {
    if (!isOfIndex(error)) throw error;
    const failed = fromSqlite(error, source.main);
    withIndexes(source.main, (mends) => runMending(failed, { ...mends, leave: () => false }, () => applyOnce(source, copy, request)));
  }
}

function applyOnce(source: ScopeSource, copy: string, { id, set }: KeptRequest): void {
  const { db, tables } = openBoth(source, copy);
  const scope = source.rule.name;
  try {
    db.pragma("foreign_keys = ON");
    db.exec("BEGIN IMMEDIATE");
    const entry = db
      .prepare("SELECT id, n, change, m_oid, m_seq FROM copy._scoutsync_scope_kept WHERE id = ? AND resolved = 0")
      .get(numberOf(scope, id)) as Kept | undefined;
    const table = tables.find(({ n }) => n === entry?.n);
    if (!entry || !table) throw notKept(scope, id);
    if (!isTakenOnce(db, scope, entry.id)) new Decision(db, tables, table, entry, set).carryOut();
    noteTakenOnce(db, scope, entry.id);
    db.prepare("UPDATE copy._scoutsync_scope_kept SET resolved = 1 WHERE id = ?").run(entry.id);
    db.exec("COMMIT");
  } catch (error) {
    const { code = "", message } = error as { code?: string; message: string };
    if (!code.startsWith("SQLITE_CONSTRAINT")) throw error;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `the database refuses it: ${message}`,
      action: "Give other values with --set COLUMN=VALUE, or take it off the list with --keep winner.",
    });
  } finally {
    if (db.inTransaction) db.exec("ROLLBACK");
    db.close();
  }
}

/** One entry that is carried out. */
class Decision {
  private readonly db: Database;
  private readonly sides: Sides;
  private readonly table: CopiedTable;
  private readonly entry: Kept;
  private readonly set: ReadonlyMap<string, SqlValue>;

  constructor(
    db: Database,
    tables: readonly CopiedTable[],
    table: CopiedTable,
    entry: Kept,
    set: readonly { name: string; value: SqlValue }[],
  ) {
    this.db = db;
    this.sides = new Sides(db, tables, 0);
    this.table = table;
    this.entry = entry;
    this.set = new Map(set.map(({ name, value }) => [name, value]));
    const unknown = [...this.set.keys()].find((name) => !table.columns.includes(name));
    if (unknown !== undefined) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${unknown}" is no column of "${table.name}" in the scope, or part of its key`,
        action: `Set one of ${table.columns.join(", ")}.`,
      });
    }
  }

  carryOut(): void {
    const { table, entry } = this;
    const change: KeptChange = entry.change === null ? { kind: "row" } : (JSON.parse(entry.change) as KeptChange);
    const name = `main.${quote(table.name)}`;
    const id = this.integer();
    const match =
      id === null
        ? table.key.map((column, i) => `${quote(column)} = ${this.kept(i)}`).join(" AND ")
        : `${quote(table.key[0] as string)} = ${id}`;
    const isThere = this.db.prepare(`SELECT 1 FROM ${name} WHERE ${match}`).get() !== undefined;
    if (change.kind === "delete") {
      this.db.exec(`DELETE FROM ${name} WHERE ${match}`);
      return;
    }
    // A new row of a node's does not take the place of another one that has its integer here.
    const isAnother = isThere && table.surrogate && change.kind === "row";
    if (isThere && !isAnother) {
      const columns = change.kind === "columns" ? change.columns : table.columns;
      const written = [...new Set([...columns, ...this.set.keys()])];
      if (written.length > 0)
        this.write(
          written,
          (names, values) => `UPDATE ${name} SET ${names.map((column, i) => `${column} = ${values[i]}`).join(", ")} WHERE ${match}`,
        );
      return;
    }
    const columns = [...(isAnother ? [] : table.key), ...table.columns];
    this.write(columns, (names, values) => `INSERT INTO ${name}(${names.join(", ")}) VALUES(${values.join(", ")})`);
  }

  /** Where the row is in the database now, for an integer key: it may have another one than it had. */
  private integer(): bigint | null {
    const { table, entry } = this;
    if (!table.surrogate) return null;
    const moved =
      entry.m_seq === null
        ? undefined
        : this.db
            .prepare(`SELECT id FROM ${this.sides.rowsOf("main", table.name)} WHERE oid = ? AND sequence = ?`)
            .pluck()
            .safeIntegers(true)
            .get(entry.m_oid, entry.m_seq);
    const kept = this.db
      .prepare(`SELECT c0 FROM copy.${keptTable(table.n)} WHERE id = ?`)
      .pluck()
      .safeIntegers(true)
      .get(entry.id);
    return (moved ?? kept) as bigint;
  }

  private kept(at: number): string {
    return `(SELECT c${at} FROM copy.${keptTable(this.table.n)} WHERE id = ${this.entry.id})`;
  }

  /** Values that were kept, but for those that were given. */
  private write(columns: readonly string[], sql: (names: string[], values: string[]) => string): void {
    const given: Record<string, SqlValue> = {};
    const values = columns.map((column, i) => {
      const value = this.set.get(column);
      if (value === undefined) return this.kept(this.table.stored.indexOf(column));
      given[`v${i}`] = value;
      return `@v${i}`;
    });
    this.db.prepare(sql(columns.map(quote), values)).run(given);
  }
}

function numberOf(scope: string, id: string): number {
  return id.startsWith(`scope-${scope}-`) ? Number(id.slice(`scope-${scope}-`.length)) : Number.NaN;
}

function notKept(scope: string, id: string): SyncError {
  return new SyncError({
    code: "NOT_FOUND",
    message: `scope "${scope}" keeps nothing under "${id}"`,
    action: "See `scoutsync review list`.",
  });
}

const idOf = (scope: string, id: number) => `scope-${scope}-${id}`;
