import { DatabaseSync, type SQLInputValue, type SQLOutputValue } from "node:sqlite";
import { openReadOnly } from "./dump.ts";

/** Makes a database file, as an application would, with a SQLite that is not the product's. */
export function createDatabase(path: string, sql: string): string {
  const database = new DatabaseSync(path, { timeout: 30_000 });
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
  return path;
}

/** Rows of one query, read-only, integers as bigint. */
export function select(path: string, sql: string, ...values: SQLInputValue[]): Record<string, SQLOutputValue>[] {
  const database = openReadOnly(path);
  try {
    const statement = database.prepare(sql);
    statement.setReadBigInts(true);
    return statement.all(...values).map((row) => ({ ...row }));
  } finally {
    database.close();
  }
}

/** The first column of the first row; null when there is none. */
export function selectOne(path: string, sql: string, ...values: SQLInputValue[]): SQLOutputValue {
  return Object.values(select(path, sql, ...values)[0] ?? {})[0] ?? null;
}
