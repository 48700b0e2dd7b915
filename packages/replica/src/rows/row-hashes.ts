import { type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import type { RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import { rowHash } from "./values.ts";

/** Hashes of rows in their tables. */
export class RowHashes {
  private readonly rows: RowStore;

  constructor(rows: RowStore) {
    this.rows = rows;
  }

  hashOf(state: RowState, id: bigint | null, values: readonly SqlValue[]): Buffer {
    return this.hash(state.table, state.table.surrogate ? id : null, values, state.own);
  }

  /**
   * As `rowHash`, with rows of other databases by their names: their integers differ from replica to replica until these are
   * in sync, too. `own` is what the row says itself; it is looked up where it is not given.
   */
  hash(table: Table, id: bigint | null, values: readonly SqlValue[], own?: RowState["own"]): Buffer {
    return rowHash(table, id, this.hashedCells(table, id, values, own));
  }

  /** What a row's hash is made of: whom it refers to in other databases of the node stands for the integer. */
  hashedCells(table: Table, id: bigint | null, values: readonly SqlValue[], own?: RowState["own"]): readonly CellValue[] {
    if (table.linked.length === 0) return values;
    const cells: CellValue[] = [...values];
    let says = own;
    for (const { index, target } of table.linked) {
      const value = values[index];
      if (typeof value !== "bigint") continue;
      says ??= this.ownOf(table, id, values);
      const said = says.get((table.columns[index] as { cid: number }).cid);
      const isShown = said instanceof Ref ? this.rows.linked.idOf(target, said) === value : said === value;
      const cell = isShown ? said : this.rows.linked.refOf(target, value);
      if (cell instanceof Ref) cells[index] = this.rows.linked.textOf(cell);
    }
    return cells;
  }

  private ownOf(table: Table, id: bigint | null, values: readonly SqlValue[]): RowState["own"] {
    const key = id === null ? table.key.map(({ cid }) => values[table.indexOf.get(cid) as number] as SqlValue) : null;
    const state = key ? this.rows.byKey(table, this.rows.keys.keyFromValues(table, key)) : this.rows.byId(table, id as bigint);
    return state?.place.kind === "table" ? state.own : new Map();
  }
}
