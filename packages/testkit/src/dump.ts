import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";

/** One table as plain SQLite shows it. */
export interface TableDump {
  table: string;
  rows: number;
  /** SHA-256 over all rows in the order of their values. */
  digest: string;
  /** Each row as one line of typed values, sorted. */
  lines: string[];
}

const USER_TABLES = `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_scoutsync\\_%' ESCAPE '\\' ORDER BY name`;

/** Opens an application's file read-only with a SQLite that is not the product's. */
export function openReadOnly(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 30_000 });
  database.exec("BEGIN");
  return database;
}

/** Every user table of a file, rows and all, read in one transaction. */
export function dumpDatabase(path: string): TableDump[] {
  const database = openReadOnly(path);
  try {
    const tables = database.prepare(USER_TABLES).all() as { name: string }[];
    return tables.map(({ name }) => dumpTable(database, name));
  } finally {
    database.close();
  }
}

function dumpTable(database: DatabaseSync, table: string): TableDump {
  const columns = database.prepare(`SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid`).all(table) as { name: string }[];
  // quote() is lossless for blobs and integers, and its reals round-trip; the type keeps 1 and 1.0 apart.
  const list = columns.map(({ name }) => `typeof(${quoted(name)}) || ':' || ${lossless(quoted(name))}`).join(` || '|' || `);
  const rows = database.prepare(`SELECT ${list} AS line FROM ${quoted(table)}`).all() as { line: string }[];
  const lines = rows.map(({ line }) => line).sort();
  const digest = createHash("sha256").update(lines.join("\n")).digest("hex");
  return { table, rows: lines.length, digest, lines };
}

/** Text goes through hex: quote() would stop at a NUL, and invalid UTF-8 must stay visible. */
function lossless(column: string): string {
  return `CASE typeof(${column}) WHEN 'text' THEN hex(CAST(${column} AS BLOB)) WHEN 'real' THEN printf('%!.17g', ${column}) ELSE quote(${column}) END`;
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Human-readable differences between two dumps, at most `limit`; empty when they are equal. */
export function differences(a: readonly TableDump[], b: readonly TableDump[], limit = 10): string[] {
  const found: string[] = [];
  const names = new Set([...a, ...b].map(({ table }) => table));
  for (const name of names) {
    const left = a.find(({ table }) => table === name);
    const right = b.find(({ table }) => table === name);
    if (!left || !right) {
      found.push(`${name}: only on one side`);
      continue;
    }
    if (left.digest === right.digest) continue;
    const inLeft = new Set(left.lines);
    const inRight = new Set(right.lines);
    for (const line of left.lines) if (!inRight.has(line)) found.push(`${name}: only in the first: ${line.slice(0, 300)}`);
    for (const line of right.lines) if (!inLeft.has(line)) found.push(`${name}: only in the second: ${line.slice(0, 300)}`);
    if (left.rows !== right.rows) found.push(`${name}: ${left.rows} rows and ${right.rows} rows`);
  }
  return found.slice(0, limit);
}

/** What `PRAGMA foreign_key_check` and `PRAGMA integrity_check` find; empty when all is well. */
export function integrityProblems(path: string): string[] {
  const database = openReadOnly(path);
  try {
    const broken = database.prepare("PRAGMA foreign_key_check").all() as { table: string; rowid: number; parent: string }[];
    const integrity = database.prepare("PRAGMA integrity_check").all() as { integrity_check: string }[];
    return [
      ...broken.map(({ table, rowid, parent }) => `${table} ${rowid} refers to a ${parent} that is not there`),
      ...integrity.map(({ integrity_check: line }) => line).filter((line) => line !== "ok"),
    ];
  } finally {
    database.close();
  }
}
