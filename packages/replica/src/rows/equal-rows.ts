import type { SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { stateAt } from "./foreign-keys.ts";
import type { RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import { TableStore } from "./table-store.ts";
import { packKey, rowHash } from "./values.ts";

/**
 * The row without a key that has these values in its table: where several have, the one noted at `rowid`, else the
 * first stored. Null when none is known.
 */
export function equalRow(rows: RowStore, table: Table, values: readonly SqlValue[], rowid: bigint | null): RowState | null {
  const hash = rowHash(table, null, values);
  const store = rows.of(table);
  for (const slot of rowid === null ? [] : store.withLocal(packKey(table.key, [rowid]))) {
    const state = rows.atLog(table.tid, slot);
    if (state?.hash?.equals(hash)) return state;
  }
  const [first] = store.withHash(hash, 1);
  return first === undefined ? null : rows.atLog(table.tid, first);
}

/**
 * Every known row of a table without a primary key that has these values in its table; none when they are `asked` for again. Null
 * where none is known.
 */
export function equalRowsOnce(rows: RowStore, table: Table, values: readonly SqlValue[], asked: Set<string>): RowState[] | null {
  const hash = rowHash(table, null, values);
  const name = hash.toString("latin1");
  if (asked.has(name)) return [];
  const found = rows.of(table).withHash(hash);
  if (found.length === 0) return null;
  asked.add(name);
  return found.flatMap((slot) => rows.atLog(table.tid, slot) ?? []);
}

/** Known rows that show this integer in a column of their table; of those without a key the ones that are as they were drained last. */
export function* rowsShowing(
  rows: RowStore,
  table: Table,
  column: string,
  id: bigint,
): Generator<{ child: RowState; values: readonly SqlValue[] }> {
  const hashes = new Set<string>();
  const store = rows.of(table);
  // Without a column that a migration has dropped nothing says which row is which: that table is compared.
  if (table.keyless && store.columnsLeft().length < table.columns.length) return;
  for (const key of store.keysWhere(column, id)) {
    const values = store.read(key);
    if (!values) continue;
    const children = table.keyless ? (equalRowsOnce(rows, table, values, hashes) ?? []) : [stateAt(rows, table, key)];
    for (const child of children) if (child) yield { child, values };
  }
}

/**
 * Counts, of rows with given values, how many are known of a table without a primary key, and how many it has. Where a
 * migration has dropped columns since these are counted by the others: then it may have fewer. Null where nothing of it is left.
 */
export function equalCounter(rows: RowStore, table: Table): ((values: readonly SqlValue[]) => { known: number; there: number }) | null {
  const store = rows.of(table);
  const left = store.columnsLeft();
  if (left.length === 0) return null;
  const there = left.length === table.columns.length ? store : new TableStore(rows.db, { ...table, columns: left });
  const places = left.map(({ cid }) => table.indexOf.get(cid) as number);
  return (values) => {
    const known = store.withHash(rowHash(table, null, values)).length;
    return { known, there: known === 0 ? 0 : there.countEqual(places.map((index) => values[index] as SqlValue)) };
  };
}
