import { hash } from "node:crypto";
import { keyKind } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";

/**
 * What a table's row hashes are made of, as 16 hexadecimal digits: its name, kind of key and columns. Equal rows have
 * equal hashes only where this is equal.
 */
export function tablePrint(table: Table): string {
  const kind = keyKind({ surrogate: table.surrogate, keyless: table.keyless, keyParts: table.key.length });
  return print([table.name, String(kind), ...table.columns.map((column) => column.name)].join("\n"));
}

/** The same of all these tables together. */
export function schemaPrint(tables: readonly Table[]): string {
  return print(tables.map(tablePrint).sort().join("\n"));
}

const print = (text: string) => hash("sha256", text, "hex").slice(0, 16);
