import type { Database } from "better-sqlite3";
import { LWW, NO_TERMS, referenceTarget, type Rule, SyncError, type SqlValue, type Terms } from "@scoutsync/core";
import { quote } from "./quote.ts";
import { indexParts, type IndexRow, type UniqueIndex, uniqueIndexes } from "./unique-indexes.ts";

import { mentions, missingToWrite, sqlOfTable } from "./writable.ts";

/** Storage affinity of a column, as SQLite derives it from the declared type. */
export type Affinity = "INTEGER" | "TEXT" | "BLOB" | "REAL" | "NUMERIC";

export interface TableColumn {
  name: string;
  affinity: Affinity;
  /** Collation of the primary key index for this column; BINARY for others. */
  collation: string;
  /** The table whose surrogate key this column holds, when a foreign key says so. */
  references: string | null;
  /** It refers by configuration, not by a foreign key: the integer follows its row, and nothing is enforced. */
  soft?: boolean;
  /** It holds integer keys of rows of another database of the node, by configuration. */
  linked?: LinkedTarget;
  /** How concurrent writes of it become one value. */
  rule: Rule;
  /** What a row holds that was written without this column. */
  fallback: SqlValue;
  /** Where the table has it, counted from 0. */
  at?: number;
}

/** A table of another database, whose surrogate key a column holds. */
export interface LinkedTarget {
  database: string;
  table: string;
  key: string;
}

export interface TableShape {
  /** As people and peers know it. */
  name: string;
  /** The application's table; another name than `name` where only the rows with NULL in their key are meant. */
  source: string;
  /** Which of the application's rows are meant, as SQL; null where all are. */
  where: string | null;
  /** Key columns that may hold NULL: such rows have no key, and take part as a table of their own. */
  nullable: string[];
  /** One INTEGER PRIMARY KEY that every server hands out on its own; its identity is the dot of its birth. */
  surrogate: boolean;
  /**
   * No primary key: the table is the multiset of its rows, each identified by the dot of its birth. Its `key` is the
   * rowid, which only says where a row is just now: VACUUM gives rows other ones.
   */
  keyless: boolean;
  /** Primary key columns in key order. */
  key: TableColumn[];
  /** Synced columns by name: without a surrogate key, with the columns of a natural one. */
  columns: TableColumn[];
  uniques: UniqueIndex[];
  /** Declared foreign keys to tables that take part, but for those that name a surrogate key alone. */
  foreignKeys: ForeignKeyShape[];
  /** Those whose columns a delete of the parent empties (ON DELETE SET NULL, SET DEFAULT), to surrogate keys included; none in a key. */
  emptied: ForeignKeyShape[];
  withoutRowid: boolean;
  /** The name that gives a row's rowid; null where there is none, or where columns hide it. */
  rowid: string | null;
  /** Text is stored as UTF-8; otherwise bytes of text say nothing that its string does not. */
  utf8: boolean;
}

/** A foreign key: columns of the table, and the columns of `parent` they hold the values of. */
export interface ForeignKeyShape {
  columns: string[];
  parent: string;
  targets: string[];
}

export interface TableSurvey {
  tables: TableShape[];
  /** Tables that do not take part, with the reason. */
  left: { name: string; reason: string; rows: number }[];
}

const MIGRATION_TABLES = new Set([
  "alembic_version",
  "django_migrations",
  "schema_migrations",
  "ar_internal_metadata",
  "_prisma_migrations",
  "knex_migrations",
  "knex_migrations_lock",
  "flyway_schema_history",
  "sequelizemeta",
  "goose_db_version",
  "__efmigrationshistory",
  "__drizzle_migrations",
]);

/** As Alembic names a table that it fills with another one's rows: with rows of a server that is through with that it could not. */
const IN_THE_MAKING = "_alembic_tmp_";

const KNOWN_COLLATIONS = new Set(["BINARY", "NOCASE", "RTRIM"]);

/** SQLite's rule for the affinity of a declared type. */
export function affinityOf(declared: string): Affinity {
  const type = declared.toUpperCase();
  if (type.includes("INT")) return "INTEGER";
  if (/CHAR|CLOB|TEXT/.test(type)) return "TEXT";
  // ANY keeps what it is given in a STRICT table.
  if (type === "" || type.includes("BLOB") || type === "ANY") return "BLOB";
  if (/REAL|FLOA|DOUB/.test(type)) return "REAL";
  return "NUMERIC";
}

interface ColumnRow {
  cid: number;
  name: string;
  type: string;
  pk: number;
  notnull: number;
  hidden: number;
  dflt_value: string | null;
}

/**
 * Finds the tables of the main database that take part. `exclude` holds `table` and `table.column` names. Throws
 * INVALID_ARGUMENT for a rule of a column that names rows.
 */
export function surveyTables(db: Database, exclude: readonly string[], terms: Terms = NO_TERMS): TableSurvey {
  const excluded = new Set(exclude.map((entry) => entry.toLowerCase()));
  const listed = db.pragma("main.table_list") as { name: string; type: string; wr: number }[];
  const tables: TableShape[] = [];
  const left: TableSurvey["left"] = [];
  for (const { name, type, wr } of [...listed].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (name.startsWith("sqlite_") || name.startsWith("_scoutsync_") || type === "view") continue;
    const shape = type === "table" ? describeTable(db, name, wr === 1, excluded, terms) : `${type} table: derived, not synced`;
    if (typeof shape !== "string") tables.push(shape, ...rowsWithoutKey(db, shape));
    else left.push({ name, reason: shape, rows: type === "table" ? countRows(db, name) : 0 });
  }
  resolveReferences(db, tables);
  resolveSoft(tables, terms);
  for (const table of tables) {
    const whole = tables.find((other) => other.name === table.source);
    if (table.where === null || !whole) continue;
    table.columns = whole.columns.map(({ linked: _, ...column }) => ({ ...column, rule: LWW }));
    table.foreignKeys = whole.foreignKeys;
  }
  checkRules(tables);
  return { tables, left };
}

function countRows(db: Database, table: string): number {
  return db
    .prepare(`SELECT count(*) FROM ${quote(table)}`)
    .pluck()
    .get() as number;
}

function describeTable(db: Database, name: string, withoutRowid: boolean, excluded: Set<string>, terms: Terms): TableShape | string {
  if (excluded.has(name.toLowerCase())) return "excluded by configuration";
  if (MIGRATION_TABLES.has(name.toLowerCase())) return "migration bookkeeping stays on its own server";
  if (name.toLowerCase().startsWith(IN_THE_MAKING))
    return "a migration fills it, and then gives it the name of the table that it takes the place of";
  const rows = db.pragma(`main.table_xinfo(${quote(name)})`) as ColumnRow[];
  const stored = rows.filter((row) => row.hidden === 0);
  const keyRows = stored.filter((row) => row.pk > 0).sort((a, b) => a.pk - b.pk);
  const indexes = db.pragma(`main.index_list(${quote(name)})`) as IndexRow[];
  const collations = indexes.flatMap((index) => indexParts(db, index.name).map((part) => part.coll.toUpperCase()));
  const unknown = collations.find((collation) => !KNOWN_COLLATIONS.has(collation));
  if (unknown) return `an index uses the application's own collation ${unknown}, which only the application has`;
  const keyIndex = indexes.find((index) => index.origin === "pk");
  const keyCollations = new Map(keyIndex ? indexParts(db, keyIndex.name).map((part) => [part.name, part.coll.toUpperCase()]) : []);
  const column = (row: ColumnRow): TableColumn => ({
    name: row.name,
    affinity: affinityOf(row.type),
    collation: keyCollations.get(row.name) ?? "BINARY",
    references: null,
    rule: terms.rules.get(`${name}.${row.name}`.toLowerCase()) ?? LWW,
    fallback: row.dflt_value === null ? null : evaluateDefault(db, row.dflt_value),
    at: row.cid,
  });
  const keyless = keyRows.length === 0;
  const rowid = withoutRowid ? null : rowidName(rows.map((row) => row.name));
  if (keyless && rowid === null) return "no primary key, and columns named rowid, oid and _rowid_ hide the rows' numbers";
  const key = keyless ? [rowidColumn(rowid as string)] : keyRows.map(column);
  const [only] = keyRows;
  const surrogate = keyRows.length === 1 && only?.type.toUpperCase() === "INTEGER" && !withoutRowid && !keyIndex;
  const columns = stored
    .filter((row) => !(surrogate && row.pk > 0) && !(row.pk === 0 && excluded.has(`${name}.${row.name}`.toLowerCase())))
    .map(column)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const generated = new Set(rows.filter((row) => row.hidden > 1).map((row) => row.name));
  const uniques = uniqueIndexes(
    db,
    indexes,
    rows.map((row) => row.name),
    generated,
  );
  const utf8 = db.pragma("encoding", { simple: true }) === "UTF-8";
  const missing = missingToWrite(db, name, [(stored[0] as ColumnRow).name]);
  if (missing !== null && !missing.startsWith('"') && mentions(sqlOfTable(db, name), missing))
    return `it uses ${missing}, which only the application has`;
  if (keyless && columns.length === 0) return "no primary key, and every column is excluded";
  const nullable = surrogate || rowid === null ? [] : keyRows.filter((row) => row.notnull === 0).map((row) => row.name);
  return {
    name,
    source: name,
    where: null,
    nullable,
    surrogate,
    keyless,
    key,
    columns,
    uniques,
    foreignKeys: [],
    emptied: [],
    withoutRowid,
    rowid,
    utf8,
  };
}

const WITHOUT_KEY = " (NULL in its key)";

/** The name under which the rows of a table that have NULL in their key take part. */
export const withoutKeyName = (source: string): string => `${source}${WITHOUT_KEY}`;

/** The inverse; null for other names. */
export function sourceOf(name: string): string | null {
  return name.endsWith(WITHOUT_KEY) ? name.slice(0, -WITHOUT_KEY.length) : null;
}

/** True for rows `of` a table whose key has NULL somewhere: SQLite keeps as many of them as are inserted. */
export function keyIsNull(nullable: readonly string[], of = ""): string {
  return `(${nullable.map((name) => `${of}${quote(name)} IS NULL`).join(" OR ")})`;
}

/**
 * Rows with NULL in their primary key are told apart by nothing, like those of a table without one, and take part as
 * such a table: from the first of them on, here or at a peer.
 */
function rowsWithoutKey(db: Database, shape: TableShape): TableShape[] {
  if (shape.nullable.length === 0 || shape.rowid === null) return [];
  const name = withoutKeyName(shape.name);
  const where = keyIsNull(shape.nullable);
  const isThere =
    (hasCatalog(db) && db.prepare("SELECT 1 FROM _scoutsync_table WHERE name = ?").get(name) !== undefined) ||
    // The table has been renamed, with the triggers that capture such rows.
    db
      .prepare("SELECT 1 FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ? AND name GLOB '_scoutsync_came_*'")
      .get(shape.name) !== undefined ||
    db.prepare(`SELECT 1 FROM ${quote(shape.source)} WHERE ${where} LIMIT 1`).get() !== undefined;
  return isThere ? [{ ...shape, name, where, keyless: true, key: [rowidColumn(shape.rowid)] }] : [];
}

const hasCatalog = (db: Database): boolean =>
  db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = '_scoutsync_table'").get() !== undefined;

/** The name under which a table with these columns gives its rowid; null when columns have all of them. */
function rowidName(columns: readonly string[]): string | null {
  const taken = new Set(columns.map((name) => name.toLowerCase()));
  return ["rowid", "_rowid_", "oid"].find((name) => !taken.has(name)) ?? null;
}

const rowidColumn = (name: string): TableColumn => ({
  name,
  affinity: "INTEGER",
  collation: "BINARY",
  references: null,
  rule: LWW,
  fallback: null,
});

/** The value of a column's constant default. A bare or double-quoted word is text, as it is in CREATE TABLE; what the clock decides is NULL. */
function evaluateDefault(db: Database, literal: string): SqlValue {
  if (/CURRENT_|\(/i.test(literal)) return null;
  try {
    return db.prepare(`SELECT ${literal}`).safeIntegers(true).pluck().get() as SqlValue;
  } catch {
    return literal.replace(/^"([\s\S]*)"$/, "$1").replaceAll('""', '"');
  }
}

/** Marks columns that refer to a surrogate key because the configuration says so. A declared foreign key says more. */
function resolveSoft(tables: readonly TableShape[], { references }: Terms): void {
  for (const [from, to] of references) {
    const [child, column] = columnNamed(tables, from);
    const { database, table, column: targetKey } = referenceTarget(to);
    const [parent, key] = database === null ? columnNamed(tables, to) : [null, undefined];
    // A table that is not here yet may come.
    if (!child || !column || parent === undefined) continue;
    const refuse = (why: string) =>
      new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${from}" cannot refer to "${to}": ${why}`,
        action: "Name a column, and the INTEGER PRIMARY KEY of the table whose rows it refers to.",
      });
    if (parent && (!parent.surrogate || key !== parent.key[0]))
      throw refuse(`"${to}" is no INTEGER PRIMARY KEY that this database hands out`);
    if (child.key.some(({ name }) => name === column.name)) throw refuse(`"${from}" is part of a key`);
    if (child.keyless) throw refuse("its table has no primary key");
    if (column.references !== null) continue;
    if (parent === null) {
      column.linked = { database: database ?? "", table, key: targetKey };
      continue;
    }
    column.references = parent.name;
    column.soft = true;
  }
}

function columnNamed(tables: readonly TableShape[], name: string): [TableShape | undefined, TableColumn | undefined] {
  const table = tables.find((each) => each.where === null && name.startsWith(`${each.name.toLowerCase()}.`));
  const column = name.slice((table?.name.length ?? 0) + 1);
  return [table, table && [...table.key, ...table.columns].find((each) => each.name.toLowerCase() === column)];
}

/** Columns that name rows have no rule, nor have tables whose rows are named by all of their values. */
function checkRules(tables: readonly TableShape[]): void {
  for (const { name, key, columns, keyless } of tables) {
    const names = new Set(key.map((column) => column.name));
    const wrong = [...key, ...columns].find(
      (column) =>
        column.rule.kind !== "lww" && (keyless || column.references !== null || column.linked !== undefined || names.has(column.name)),
    );
    if (!wrong) continue;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `column "${name}.${wrong.name}" has a rule, and ${keyless ? "its table has no primary key" : "is part of a key or refers to another row"}`,
      action: "Take the rule away: what names rows merges as a whole.",
    });
  }
}

/** Marks columns whose declared foreign key points at a surrogate key. A surrogate key that is itself such a column is natural. */
function resolveReferences(db: Database, shapes: readonly TableShape[]): void {
  const tables = shapes.filter(({ where }) => where === null);
  const byName = new Map(tables.map((table) => [table.name.toLowerCase(), table]));
  const declared = tables.map((table) => ({ table, keys: foreignKeys(db, table.name) }));
  for (const { table, keys } of declared) {
    const [only] = table.key;
    if (!table.surrogate || !only) continue;
    const parent = keys.find((key) => key.from.toLowerCase() === only.name.toLowerCase());
    if (!parent || !byName.get(parent.table.toLowerCase())) continue;
    table.surrogate = false;
    table.columns = [...table.columns, only].sort((a, b) => (a.name < b.name ? -1 : 1));
  }
  // A column may refer to a column that itself holds a surrogate key of a third table: followed to its end.
  for (let moved = true; moved;) {
    moved = false;
    for (const { table, keys } of declared) {
      for (const { from, to, table: parentName } of keys) {
        const parent = byName.get(parentName.toLowerCase());
        const target = parent && targetColumn(parent, to);
        if (!parent || !target) continue;
        const names = parent.surrogate && target === parent.key[0] ? parent.name : target.references;
        for (const column of [...table.columns, ...table.key]) {
          if (names === null || column.name.toLowerCase() !== from.toLowerCase() || column.references === names) continue;
          if (column.references !== null) continue;
          column.references = names;
          moved = true;
        }
      }
    }
  }
  leaveValues(declared, byName);
  for (const { table, keys } of declared) {
    const isSurrogate = ({ parent: name, columns, targets }: ForeignKeyShape) => {
      const parent = byName.get(name.toLowerCase());
      const isFollowed = targetColumn(table, columns[0] ?? null)?.references !== null;
      return isFollowed && parent?.surrogate === true && targets.length === 1 && targets[0] === parent.key[0]?.name;
    };
    table.foreignKeys = foreignKeyShapes(table, keys, byName).filter((foreign) => !isSurrogate(foreign));
    const emptying = keys.filter(({ on_delete: action }) => action === "SET NULL" || action === "SET DEFAULT");
    const isKey = (column: string) => table.key.some(({ name }) => name === column);
    table.emptied = foreignKeyShapes(table, emptying, byName).filter(({ columns }) => !columns.some(isKey));
  }
}

/**
 * A part of a key that refers to a row by text or by a real is a value: its row is named by it, by all versions, and does not follow the
 * row referred to. So is what refers to such a part, or it would lead to no row once its integer is another one; but for parts of keys.
 */
function leaveValues(declared: readonly { table: TableShape; keys: readonly ForeignKeyRow[] }[], byName: ReadonlyMap<string, TableShape>) {
  const columnsOf = (table: TableShape, name: string) =>
    [...table.columns, ...table.key].filter((column) => column.name.toLowerCase() === name.toLowerCase());
  const left = new Set(declared.flatMap(({ table }) => table.key.filter(isNamedOtherwise).flatMap(({ name }) => columnsOf(table, name))));
  for (let count = -1; count < left.size;) {
    count = left.size;
    for (const { table, keys } of declared) {
      for (const { from, to, table: parentName } of keys) {
        const parent = byName.get(parentName.toLowerCase());
        const target = parent && targetColumn(parent, to);
        const isKey = table.key.some(({ name }) => name.toLowerCase() === from.toLowerCase());
        if (target && left.has(target) && !isKey) for (const column of columnsOf(table, from)) left.add(column);
      }
    }
  }
  for (const column of left) column.references = null;
}

const isNamedOtherwise = ({ references, affinity }: TableColumn): boolean =>
  references !== null && (affinity === "TEXT" || affinity === "REAL");

function foreignKeyShapes(table: TableShape, keys: readonly ForeignKeyRow[], byName: ReadonlyMap<string, TableShape>): ForeignKeyShape[] {
  const nameIn = (shape: TableShape, name: string) =>
    [...shape.key, ...shape.columns].find((column) => column.name.toLowerCase() === name.toLowerCase())?.name ?? null;
  return [...new Set(keys.map(({ id }) => id))].flatMap((id) => {
    const rows = keys.filter((key) => key.id === id);
    const parent = byName.get(rows[0]?.table.toLowerCase() ?? "");
    if (!parent) return [];
    const columns = rows.map(({ from }) => nameIn(table, from));
    const targets = rows.map(({ to }, i) => nameIn(parent, to ?? parent.key[i]?.name ?? ""));
    // What is excluded, or computed, is not here to be compared.
    if ([...columns, ...targets].includes(null) || targets.length === 0) return [];
    return [{ columns: columns as string[], parent: parent.name, targets: targets as string[] }];
  });
}

function targetColumn(parent: TableShape, name: string | null): TableColumn | undefined {
  const wanted = (name ?? parent.key[0]?.name)?.toLowerCase();
  return [...parent.key, ...parent.columns].find((column) => column.name.toLowerCase() === wanted);
}

interface ForeignKeyRow {
  id: number;
  seq: number;
  table: string;
  from: string;
  /** Null where the primary key of the parent is meant. */
  to: string | null;
  on_delete: string;
}

/** Foreign keys of a table, column by column; `to` names the column also where the declaration leaves that to the primary key. */
export function foreignKeys(db: Database, table: string): ForeignKeyRow[] {
  const rows = db.pragma(`main.foreign_key_list(${quote(table)})`) as ForeignKeyRow[];
  const composite = new Set(rows.filter((row) => row.seq > 0).map((row) => row.id));
  return rows
    .map((row) => (row.to === null && composite.has(row.id) ? { ...row, to: primaryKey(db, row.table)[row.seq] ?? null } : row))
    .filter((row) => row.to !== null || !composite.has(row.id))
    .sort((a, b) => a.id - b.id || a.seq - b.seq);
}

export function primaryKey(db: Database, table: string): string[] {
  const rows = db.pragma(`main.table_info(${quote(table)})`) as ColumnRow[];
  return rows
    .filter(({ pk }) => pk > 0)
    .sort((a, b) => a.pk - b.pk)
    .map(({ name }) => name);
}
