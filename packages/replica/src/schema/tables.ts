import type { Database } from "better-sqlite3";
import { quote } from "./quote.ts";

/** Storage affinity of a column, as SQLite derives it from the declared type. */
export type Affinity = "INTEGER" | "TEXT" | "BLOB" | "REAL" | "NUMERIC";

export interface TableColumn {
  name: string;
  affinity: Affinity;
  /** Collation of the primary key index for this column; BINARY for others. */
  collation: string;
  /** The table whose surrogate key this column holds, when a foreign key says so. */
  references: string | null;
}

/** A UNIQUE index other than the primary key. */
export interface UniqueIndex {
  columns: { name: string; collation: string }[];
}

export interface TableShape {
  name: string;
  /** One INTEGER PRIMARY KEY that every server hands out on its own; its identity is the dot of its birth. */
  surrogate: boolean;
  /** Primary key columns in key order. */
  key: TableColumn[];
  /** Synced columns by name: without a surrogate key, with the columns of a natural one. */
  columns: TableColumn[];
  uniques: UniqueIndex[];
  withoutRowid: boolean;
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

const KNOWN_COLLATIONS = new Set(["BINARY", "NOCASE", "RTRIM"]);

/** SQLite's rule for the affinity of a declared type. */
export function affinityOf(declared: string): Affinity {
  const type = declared.toUpperCase();
  if (type.includes("INT")) return "INTEGER";
  if (/CHAR|CLOB|TEXT/.test(type)) return "TEXT";
  if (type === "" || type.includes("BLOB")) return "BLOB";
  if (/REAL|FLOA|DOUB/.test(type)) return "REAL";
  return "NUMERIC";
}

interface ColumnRow {
  name: string;
  type: string;
  pk: number;
  hidden: number;
}

/** Finds the tables of the main database that take part. `exclude` holds `table` and `table.column` names. */
export function surveyTables(db: Database, exclude: readonly string[]): TableSurvey {
  const excluded = new Set(exclude.map((entry) => entry.toLowerCase()));
  const listed = db.pragma("main.table_list") as { name: string; type: string; wr: number }[];
  const tables: TableShape[] = [];
  const left: TableSurvey["left"] = [];
  for (const { name, type, wr } of [...listed].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (name.startsWith("sqlite_") || name.startsWith("_scoutsync_") || type === "view") continue;
    const shape = type === "table" ? describeTable(db, name, wr === 1, excluded) : `${type} table: derived, not synced`;
    if (typeof shape !== "string") tables.push(shape);
    else left.push({ name, reason: shape, rows: type === "table" ? countRows(db, name) : 0 });
  }
  resolveReferences(db, tables);
  return { tables, left };
}

function countRows(db: Database, table: string): number {
  return db.prepare(`SELECT count(*) FROM ${quote(table)}`).pluck().get() as number;
}

function describeTable(db: Database, name: string, withoutRowid: boolean, excluded: Set<string>): TableShape | string {
  if (excluded.has(name.toLowerCase())) return "excluded by configuration";
  if (MIGRATION_TABLES.has(name.toLowerCase())) return "migration bookkeeping stays on its own server";
  const rows = db.pragma(`main.table_xinfo(${quote(name)})`) as ColumnRow[];
  const stored = rows.filter((row) => row.hidden === 0);
  const keyRows = stored.filter((row) => row.pk > 0).sort((a, b) => a.pk - b.pk);
  if (keyRows.length === 0) return "no primary key: this version cannot sync it";
  const indexes = db.pragma(`main.index_list(${quote(name)})`) as { name: string; unique: number; origin: string }[];
  const describe = (index: string) =>
    (db.pragma(`main.index_xinfo(${quote(index)})`) as { name: string | null; coll: string; key: number }[]).filter((part) => part.key === 1);
  const collations = indexes.flatMap((index) => describe(index.name).map((part) => part.coll.toUpperCase()));
  const unknown = collations.find((collation) => !KNOWN_COLLATIONS.has(collation));
  if (unknown) return `an index uses the application's own collation ${unknown}, which only the application has`;
  const keyIndex = indexes.find((index) => index.origin === "pk");
  const keyCollations = new Map(keyIndex ? describe(keyIndex.name).map((part) => [part.name, part.coll.toUpperCase()]) : []);
  const column = (row: ColumnRow): TableColumn => ({
    name: row.name,
    affinity: affinityOf(row.type),
    collation: keyCollations.get(row.name) ?? "BINARY",
    references: null,
  });
  const key = keyRows.map(column);
  const [only] = keyRows;
  const surrogate = keyRows.length === 1 && only?.type.toUpperCase() === "INTEGER" && !withoutRowid && !keyIndex;
  const columns = stored
    .filter((row) => !(surrogate && row.pk > 0) && !(row.pk === 0 && excluded.has(`${name}.${row.name}`.toLowerCase())))
    .map(column)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const uniques = indexes
    .filter((index) => index.unique === 1 && index.origin !== "pk")
    .map((index) => describe(index.name))
    .filter((parts) => parts.every((part) => part.name !== null))
    .map((parts) => ({ columns: parts.map((part) => ({ name: part.name as string, collation: part.coll.toUpperCase() })) }));
  return { name, surrogate, key, columns, uniques, withoutRowid };
}

/** Marks columns whose declared foreign key points at a surrogate key. A surrogate key that is itself such a column is natural. */
function resolveReferences(db: Database, tables: TableShape[]): void {
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
  for (const { table, keys } of declared) {
    for (const { from, to, table: parentName } of keys) {
      const parent = byName.get(parentName.toLowerCase());
      const target = to ?? parent?.key[0]?.name;
      if (!parent?.surrogate || target?.toLowerCase() !== parent.key[0]?.name.toLowerCase()) continue;
      for (const column of [...table.columns, ...table.key]) {
        if (column.name.toLowerCase() === from.toLowerCase()) column.references = parent.name;
      }
    }
  }
}

/** Single-column foreign keys of a table; `to` is null when the parent's primary key is meant. */
function foreignKeys(db: Database, table: string): { table: string; from: string; to: string | null }[] {
  const rows = db.pragma(`main.foreign_key_list(${quote(table)})`) as { id: number; seq: number; table: string; from: string; to: string | null }[];
  const composite = new Set(rows.filter((row) => row.seq > 0).map((row) => row.id));
  return rows.filter((row) => !composite.has(row.id));
}
