import { hash } from "node:crypto";
import { keyKind, type SchemaPrint } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";

/** What a table's row hashes are made of: its name, kind of key and columns. Equal rows have equal hashes only where this is equal. */
export function tablePrint(table: Table): string {
  const kind = keyKind({ surrogate: table.surrogate, keyless: table.keyless, keyParts: table.key.length });
  return hash("sha256", [table.name, String(kind), ...table.columns.map((column) => column.name)].join("\n"), "hex").slice(0, 8);
}

/** The same of all these tables together. */
export function schemaPrint(tables: readonly Table[], hasRows: (table: Table) => boolean): SchemaPrint {
  return tables.map((table) => `${hasRows(table) ? "+" : ""}${tablePrint(table)}`).join();
}
