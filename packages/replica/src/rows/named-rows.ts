import type { SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { contentCell } from "./content-names.ts";
import { keyFromText, keysFromText } from "./key-text.ts";
import { keylessIdentity } from "./keyless-rows.ts";
import type { RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import { packKey } from "./values.ts";

/** The key, as the table holds it, of the row that a person names: its key parts, or the dot of a row without a key; null when there is none. */
export function keyNamed(rows: RowStore, table: Table, text: string): SqlValue[] | null {
  if (!table.keyless) return keyFromText(rows.db, table, text);
  const state = keylessNamed(rows, table, text);
  return state && rows.keys.keyValues(state);
}

/** The keys of all rows that are written so: parts joined by commas may hold commas. */
export function keysNamed(rows: RowStore, table: Table, text: string): SqlValue[][] {
  if (!table.keyless) return keysFromText(rows.db, table, text);
  const key = keyNamed(rows, table, text);
  return key ? [key] : [];
}

/** The row without a key that a person names by its birth, or as `keylessText`, wherever it is. */
export function keylessNamed(rows: RowStore, table: Table, text: string): RowState | null {
  const content = contentCell(text);
  if (content) return rows.byKey(table, packKey(table.key, [rows.shared.nameOfKeyless(content)]));
  const dot = dotNamed(rows, text);
  return dot && (rows.byKey(table, keylessIdentity(table, dot)) ?? bornNamed(rows, table, text));
}

/** The row of a table that a person names by its birth, wherever it is. */
export function bornNamed(rows: RowStore, table: Table, text: string): RowState | null {
  const dot = dotNamed(rows, text);
  const born = dot && rows.byDot(dot.origin, dot.sequence);
  const isBirth =
    born?.table.tid === table.tid && [born.birth, ...born.twins].some((one) => one.origin === dot?.origin && one.sequence === dot.sequence);
  return isBirth ? born : null;
}

function dotNamed(rows: RowStore, text: string): { origin: number; sequence: number } | null {
  const [, name, sequence] = /^([a-z2-7]{16}):(\d{1,15})$/.exec(text) ?? [];
  const origin = rows.db
    .prepare("SELECT oid FROM _scoutsync_origin WHERE origin = ?")
    .pluck()
    .get(name ?? "") as number | undefined;
  return origin === undefined ? null : { origin, sequence: Number(sequence) };
}
