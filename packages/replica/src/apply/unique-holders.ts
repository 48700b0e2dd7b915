import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import { textFromBytes } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";

const NOTE = "_scoutsync_displaced";

/** A row of the table as SQLite would delete it: its rowid where it has one, and its key. */
export interface Holder {
  rowid: bigint | null;
  key: SqlValue[];
}

/**
 * The rows that an OR REPLACE of these values would delete: asked of SQLite itself, since only it evaluates expressions,
 * generated columns and conditions as its indexes do. Nothing stays of the attempt. Slow: it prepares anew.
 */
export function rowsDisplacedBy(db: Database, rows: RowStore, table: Table, id: bigint | null, values: readonly SqlValue[]): Holder[] {
  const found: Holder[] = [];
  const whole = table.where === null ? table : (table.twin ?? table);
  const key = whole.keyless ? [] : whole.key;
  const rowid = table.rowid === null ? "NULL" : `OLD.${quote(table.rowid)}`;
  const parts = key.map((column) => `OLD.${quote(column.name)}`);
  const bound = bindable(values);
  db.function(NOTE, { varargs: true, safeIntegers: true }, (...noted: unknown[]) => {
    const [at, ...rest] = noted as [bigint | null, ...(SqlValue | Buffer)[]];
    const exact = rest.slice(0, key.length).map((part, i) => {
      return typeof part === "string" && table.utf8 ? textFromBytes(rest[key.length + i] as Buffer) : part;
    });
    found.push({ rowid: at, key: exact });
    return null;
  });
  db.exec("SAVEPOINT displaced");
  try {
    db.exec(
      `CREATE TEMP TRIGGER ${NOTE} AFTER DELETE ON main.${quote(table.source)} BEGIN ` +
        `SELECT ${NOTE}(${[rowid, ...parts, ...parts.map((part) => `CAST(${part} AS BLOB)`)].join(", ")}); END`,
    );
    db.pragma("recursive_triggers = ON");
    rows.of(table).insert(id, bound.values, bound.raw, "REPLACE");
  } catch (error) {
    // What else refuses the row is not about who holds its values.
    if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT") || !db.inTransaction) throw error;
  } finally {
    if (db.inTransaction) db.exec("ROLLBACK TO displaced; RELEASE displaced");
    db.pragma("recursive_triggers = OFF");
  }
  return found;
}
