import { hash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { type CellValue, Ref, type Rule, type SqlValue } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { EntityMembers } from "../rows/members.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { keylessText } from "../rows/content-names.ts";
import { keyText, valueText } from "../rows/values.ts";
import type { Veil } from "./veil.ts";
import type { Table } from "../schema/catalog.ts";

/** What the questions about rows are answered from. */
export interface Audited {
  db: Database;
  rows: RowStore;
  knowledge: Knowledge;
  members: EntityMembers;
  veil: Veil;
  /** By `table.column` in lower case, of columns that are gone as well. */
  rules: ReadonlyMap<string, Rule>;
  /** How many values that lost are listed of tables that are gone, as of this catalog of tables (`RowStore.catalogs`). */
  left: { catalogs: number; count: number };
}

/** The row's key as a person sees it in the table; `keylessText` where there is none. */
export function keyOf({ rows, knowledge }: Audited, state: RowState): string {
  if (state.table.surrogate) return state.place.kind === "table" ? String(state.slot) : String(state.claim);
  const cells = rows.keys.keyCells(state);
  if (state.table.keyless) return keylessText(cells[0] ?? null, (origin, sequence) => knowledge.dotText(origin, sequence));
  for (const { index, parent } of state.table.keyReferences) {
    const value = cells[index];
    if (value instanceof Ref) cells[index] = rows.references.shownId(parent, value) ?? value.sequence.toString();
  }
  // Of a table that is gone nobody knows which one it named.
  return keyText(cells.map((cell) => (cell instanceof Ref ? cell.sequence.toString() : cell)));
}

/** A value as the table would hold it: a reference as the integer its row has here, NULL when it is not here. */
export function shown({ rows }: Audited, table: Table, index: number, value: CellValue): SqlValue {
  if (!(value instanceof Ref)) return value;
  return rows.references.idAt(table, index, value);
}

/** Who a row is, the same on every node. */
export function identityText({ knowledge, rows }: Audited, state: RowState): string {
  if (state.table.surrogate) return knowledge.dotText(state.identity.origin, state.identity.sequence);
  return rows.keys
    .keyCells(state)
    .map((cell) => (cell instanceof Ref ? knowledge.dotText(cell.origin, cell.sequence) : valueText(cell)))
    .join(",");
}

export function columnName(table: Table, cid: number): string {
  return table.columns[table.indexOf.get(cid) ?? -1]?.name ?? table.lacking.get(cid) ?? `column ${cid}`;
}

/** The same on every node where it is made of what is equal everywhere. */
export function reviewId(...parts: string[]): string {
  return hash("sha256", parts.join("\n"), "hex").slice(0, 16);
}
