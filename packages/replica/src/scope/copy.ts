import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { parseTerms, SyncError } from "@scoutsync/core";
import { quote } from "../schema/quote.ts";
import type { RestingTrigger, TriggerChoice } from "../schema/app-triggers.ts";
import { type Affinity, affinityOf } from "../schema/tables.ts";
import { planScope, type PlannedTable, type ScopeRule } from "./plan.ts";

/** Where a scope's copy comes from. */
export interface ScopeSource {
  rule: ScopeRule;
  /** The application's database file. */
  main: string;
  /** What never leaves this node, as in ReplicaOptions. */
  exclude: readonly string[];
  /** As in ReplicaOptions. */
  rules: readonly string[];
  /** As in ReplicaOptions. */
  triggers?: TriggerChoice | undefined;
}

/** A table of the scope with its number in the copy. `stored` are its columns in the order of what was agreed: key first. */
export interface CopiedTable extends PlannedTable {
  n: number;
  stored: string[];
  /** Columns that were in the scope and are not any more: the copy has nothing in them, which is what nodes of the scope get. */
  retired: Retired[];
  /** The rule does not name it any more: none of its rows belong to the scope. */
  removed: boolean;
}

export interface Retired {
  column: string;
  /** SQL for nothing, as the column can hold it. */
  empty: string;
  /** SQL for what a row has that was written without it; null where that is NULL, or what the clock says. */
  fallback: string | null;
}

/** Both databases on one connection: the application's as `main`, the scope's as `copy`. */
export interface BothOpen {
  db: Database.Database;
  tables: CopiedTable[];
  /** As in ScopePlan. */
  resting: RestingTrigger[];
  /** The copy's schema was changed: its replica has to look before anything else. */
  altered: boolean;
  /** Of the application's database, as `schemaVersion`, when it was looked at. */
  version: number;
}

/** The number of the schema of the application's database; each change of it makes it one greater. */
export const schemaVersion = (db: Database.Database): number => db.pragma("main.schema_version", { simple: true }) as number;

const BUSY_MS = 5_000;

const STATE = `
-- Single facts: who the copy is, the pass it last took part in, what the application's database knew then.
CREATE TABLE _scoutsync_scope(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- Tables that are or were in the scope, and their columns as JSON, key first.
CREATE TABLE _scoutsync_scope_table(n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, columns TEXT NOT NULL);
-- What nodes of the scope wrote and the application's database did not take, for a person. The row is in _scoutsync_scope_kept_<n>.
CREATE TABLE _scoutsync_scope_kept(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, reason TEXT NOT NULL, since INTEGER NOT NULL,
  resolved INTEGER NOT NULL);
`;

/** What taking such a row in after all would do, see `KeptChange`, and the birth of the database's row where it is one of its own. */
const KEPT_CHANGE = "change TEXT; m_oid; m_seq".split("; ");

export const baseTable = (n: number): string => `_scoutsync_scope_base_${n}`;
export const keptTable = (n: number): string => `_scoutsync_scope_kept_${n}`;

/** Makes the copy's file where there is none yet, and its tables as the scope has them. Throws as `openBoth`. */
export function makeScopeCopy(source: ScopeSource, path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  closeSync(openSync(path, "a", 0o600));
  openBoth(source, path).db.close();
}

/**
 * Opens both databases and brings the copy's tables in line with the scope. Close `db` when done. Throws INVALID_ARGUMENT
 * for a scope that does not fit the database.
 */
export function openBoth({ rule, main, exclude, rules, triggers }: ScopeSource, copy: string): BothOpen {
  const db = new Database(main, { fileMustExist: true, timeout: BUSY_MS });
  try {
    db.prepare("ATTACH ? AS copy").run(copy);
    db.pragma("main.synchronous = FULL");
    db.pragma("copy.synchronous = FULL");
    // What is deleted here was deleted, with all that followed from it, where it was written.
    db.exec("PRAGMA foreign_keys = OFF");
    db.pragma("temp_store = FILE");
    const version = schemaVersion(db);
    const { tables: planned, resting } = planScope(db, rule, { exclude, terms: parseTerms(rules), triggers });
    return { db, resting, version, ...fit(db, rule, planned) };
  } catch (error) {
    db.close();
    throw error;
  }
}

function fit(db: Database.Database, rule: ScopeRule, planned: readonly PlannedTable[]): { tables: CopiedTable[]; altered: boolean } {
  const isNew = db.prepare("SELECT 1 FROM copy.sqlite_master WHERE name = '_scoutsync_scope'").get() === undefined;
  if (isNew) {
    db.transaction(() => {
      db.exec(STATE.replaceAll("CREATE TABLE _", "CREATE TABLE copy._"));
      db.prepare("INSERT INTO copy._scoutsync_scope VALUES('id', ?), ('pass', 0)").run(randomBytes(8).toString("hex"));
    })();
  }
  const keptHas = new Set((db.pragma("copy.table_info(_scoutsync_scope_kept)") as { name: string }[]).map(({ name }) => name));
  for (const column of KEPT_CHANGE)
    if (!keptHas.has(column.split(" ")[0] as string)) db.exec(`ALTER TABLE copy._scoutsync_scope_kept ADD COLUMN ${column}`);
  const known = new Map(
    (db.prepare("SELECT n, name, columns FROM copy._scoutsync_scope_table").all() as { n: number; name: string; columns: string }[]).map(
      ({ n, name, columns }) => [name, { n, stored: JSON.parse(columns) as string[] }],
    ),
  );
  let altered = false;
  const tables = planned.map((table): CopiedTable => {
    const there = known.get(table.name);
    const wanted = [...table.key, ...table.columns];
    if (!there) {
      altered = true;
      return { ...table, removed: false, retired: [], stored: wanted, n: create(db, table, wanted) };
    }
    if (there.stored.slice(0, table.key.length).join("\n") !== table.key.join("\n"))
      throw unfit(rule, `the key of "${table.name}" has changed`);
    const retired = there.stored.filter((column) => !wanted.includes(column)).map((column) => retire(db, rule, table.name, column));
    const stored = [...there.stored, ...wanted.filter((column) => !there.stored.includes(column))];
    if (stored.length > there.stored.length) {
      altered = true;
      extend(db, table, there, stored);
    }
    return { ...table, removed: false, retired, stored, n: there.n };
  });
  const inCopy = new Set(planned.map(({ name }) => name));
  for (const [name, { n, stored }] of known) if (!inCopy.has(name)) tables.push(leftOver(db, rule, name, n, stored));
  return { tables, altered };
}

function create(db: Database.Database, table: PlannedTable, columns: readonly string[]): number {
  return db.transaction(() => {
    db.exec(table.sql.replace("CREATE TABLE ", "CREATE TABLE copy."));
    const { lastInsertRowid } = db
      .prepare("INSERT INTO copy._scoutsync_scope_table(name, columns) VALUES(?, ?)")
      .run(table.name, JSON.stringify(columns));
    const n = Number(lastInsertRowid);
    const values = columns.map((_, at) => `c${at}`).join(", ");
    const keys = table.key.map((_, at) => `c${at}`).join(", ");
    // Values as they are: columns without a type change nothing.
    db.exec(
      `CREATE TABLE copy.${baseTable(n)}(${values}, m_oid, m_seq, p_oid, p_seq, gone NOT NULL DEFAULT 0); ` +
        `CREATE INDEX copy.${baseTable(n)}_key ON ${baseTable(n)}(${keys}); ` +
        `CREATE INDEX copy.${baseTable(n)}_birth ON ${baseTable(n)}(p_oid, p_seq) WHERE gone = 1; ` +
        `CREATE TABLE copy.${keptTable(n)}(id INTEGER PRIMARY KEY, ${values})`,
    );
    return n;
  })();
}

/** Columns that came into the scope: backfilled by the next pass, as values that changed in the application's database. */
function extend(
  db: Database.Database,
  table: PlannedTable,
  { n, stored: before }: { n: number; stored: string[] },
  stored: readonly string[],
): void {
  db.transaction(() => {
    for (const [at, column] of stored.entries()) {
      if (before.includes(column)) continue;
      db.exec(
        `ALTER TABLE copy.${quote(table.name)} ADD COLUMN ${(table.definitions.get(column) as string).replace(/ DEFAULT \(.*$/s, "")}`,
      );
      db.exec(`ALTER TABLE copy.${baseTable(n)} ADD COLUMN c${at}; ALTER TABLE copy.${keptTable(n)} ADD COLUMN c${at}`);
    }
    db.prepare("UPDATE copy._scoutsync_scope_table SET columns = ? WHERE n = ?").run(JSON.stringify(stored), n);
  })();
}

const NOTHING: Readonly<Record<Affinity, string>> = { INTEGER: "0", NUMERIC: "0", REAL: "0.0", TEXT: "''", BLOB: "x''" };

/** A column that was in the scope: its values leave, and the column stays, so that nodes of the scope are told. */
function retire(db: Database.Database, rule: ScopeRule, table: string, column: string): Retired {
  const columns = db.pragma(`main.table_xinfo(${quote(table)})`) as {
    name: string;
    type: string;
    notnull: number;
    dflt_value: string | null;
  }[];
  const found = columns.find(({ name }) => name === column);
  const refers = (db.pragma(`copy.foreign_key_list(${quote(table)})`) as { from: string }[]).some(({ from }) => from === column);
  if (found?.notnull === 1 && refers)
    throw unfit(rule, `column "${table}.${column}" was in it, refers to another row and cannot be NULL: nothing can stand there instead`);
  const fallback = found?.dflt_value == null || /CURRENT_|\(/i.test(found.dflt_value) ? null : found.dflt_value;
  return { column, empty: found?.notnull === 1 ? NOTHING[affinityOf(found.type)] : "NULL", fallback };
}

/** A table that the scope does not name any more: its rows leave. */
function leftOver(db: Database.Database, rule: ScopeRule, name: string, n: number, stored: string[]): CopiedTable {
  const columns = db.pragma(`main.table_xinfo(${quote(name)})`) as { name: string; pk: number; type: string }[];
  const key = (db.pragma(`copy.table_info(${quote(name)})`) as { name: string; pk: number }[])
    .filter(({ pk }) => pk > 0)
    .toSorted((a, b) => a.pk - b.pk)
    .map((column) => column.name);
  if (stored.some((column) => !columns.some((other) => other.name === column)))
    throw unfit(rule, `table "${name}" was in it, and the database has no such table or columns any more`);
  const [only] = columns.filter(({ pk }) => pk > 0);
  return {
    name,
    n,
    stored,
    key,
    columns: stored.slice(key.length),
    removed: true,
    retired: [],
    surrogate: key.length === 1 && only?.type.toUpperCase() === "INTEGER",
    own: "0",
    follow: false,
    parents: [],
    rules: new Map(),
    children: [],
    sql: "",
    definitions: new Map(),
  };
}

function unfit(rule: ScopeRule, why: string): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `scope "${rule.name}" cannot go on with its copy: ${why}, which is not supported`,
    action: "Put it back as it was; or give the scope another name, invite its nodes to that, and let them start with empty tables.",
  });
}
