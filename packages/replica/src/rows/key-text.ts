import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import { quote } from "../schema/quote.ts";
import type { Table } from "../schema/catalog.ts";
import { type Bindable, textFromBytes } from "./values.ts";

/** The key, as the table holds it, of the row that a person names by `keyText`; null when there is no such row. */
export function keyFromText(db: Database, table: Table, text: string): SqlValue[] | null {
  const parts = text.split(",");
  const last = table.key.length - 1;
  const given = table.key.map((_, i) => (i === last ? parts.slice(last).join(",") : (parts[i] ?? ""))).map(fromText);
  const match = table.key
    .map(
      (column, i) =>
        `${quote(column.name)} = ${(parts[i] ?? "").startsWith("text:") ? "CAST(? AS TEXT)" : "?"} COLLATE ${column.collation}`,
    )
    .join(" AND ");
  const names = table.key.map((column) => quote(column.name));
  const keys = [...names, ...names.map((name) => `CAST(${name} AS BLOB)`)].join(", ");
  const found = db
    .prepare(`SELECT ${keys} FROM ${quote(table.source)} WHERE ${match}`)
    .safeIntegers(true)
    .raw(true)
    .get(given) as SqlValue[] | undefined;
  if (!found) return null;
  return found
    .slice(0, names.length)
    .map((part, i) => (typeof part === "string" && table.utf8 ? textFromBytes(found[names.length + i] as Buffer) : part));
}

function fromText(text: string): Bindable {
  return /^(blob|text):/.test(text) ? Buffer.from(text.slice(5), "hex") : text;
}
