import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import { quote } from "../schema/quote.ts";
import type { Table } from "../schema/catalog.ts";
import { bindable } from "./table-store.ts";
import type { Bindable } from "./values.ts";

/** The key, as the table holds it, of the row that a person names by `keyText`; null when there is no such row. */
export function keyFromText(db: Database, table: Table, text: string): Bindable[] | null {
  const parts = text.split(",");
  const last = table.key.length - 1;
  const given = table.key.map((_, i) => (i === last ? parts.slice(last).join(",") : (parts[i] ?? ""))).map(fromText);
  const match = table.key.map((column) => `${quote(column.name)} = ?`).join(" AND ");
  const keys = table.key.map((column) => quote(column.name)).join(", ");
  const found = db.prepare(`SELECT ${keys} FROM ${quote(table.name)} WHERE ${match}`).safeIntegers(true).raw(true).get(given) as SqlValue[] | undefined;
  return found ? bindable(found).values : null;
}

function fromText(text: string): Bindable {
  return text.startsWith("blob:") ? Buffer.from(text.slice(5), "hex") : text;
}
