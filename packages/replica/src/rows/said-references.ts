import { type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { rowsShowing } from "./equal-rows.ts";
import { targetWithin } from "../linked/linked-rows.ts";
import { isStray } from "./references.ts";
import { ownedDots, type RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import type { TableStore } from "./table-store.ts";
import { sameValue } from "./values.ts";

/** Whom rows say that they mean (`own`), where what their tables show would be read as another row, or as one at all. */
export class SaidReferences {
  private readonly rows: RowStore;

  constructor(rows: RowStore) {
    this.rows = rows;
  }

  /** Notes for which tables integers are kept that named nobody: after a change of the schema, a rollback. */
  lookForEarly(stores: Iterable<TableStore>): void {
    const sql = "SELECT DISTINCT target FROM _scoutsync_linked WHERE target >= '.' AND target < '/'";
    const targets = new Set(this.rows.db.prepare(sql).pluck().all() as string[]);
    for (const store of stores) {
      store.came = targets.has(targetWithin(store.table.tid)) ? [] : null;
      store.bare.clear();
    }
  }

  /** Notes in the state what the row says itself, `cells`, where its table is to show something else, `values`. */
  noteOwn(state: RowState, cells: readonly CellValue[], values: readonly SqlValue[], differ = this.rows.same.exist): void {
    const isPlain =
      state.own.size === 0 && state.same.length === 0 && !differ && !this.rows.same.exist && !this.mayBeBare(state.table, cells);
    if (isPlain && state.table.linked.length === 0) return;
    state.own.clear();
    this.rows.references.abstract(state.table, values).forEach((shown, index) => {
      const cell = cells[index] as CellValue;
      if (!sameValue(shown, cell)) state.own.set((state.table.columns[index] as { cid: number }).cid, cell);
    });
  }

  /** True where a row may refer to nobody by an integer that another row has or had, or to one which has an integer that others hold so. */
  private mayBeBare(table: Table, cells: readonly CellValue[]): boolean {
    if (cells.some((cell, index) => isStray(table, index, cell))) return true;
    return table.references.some(({ index, parent }) => {
      const cell = cells[index];
      if (typeof cell === "bigint") return !this.rows.of(parent).namesNobody(cell);
      return cell instanceof Ref && this.rows.of(parent).bare.size > 0;
    });
  }

  /** True where a row refers to nobody by this integer, which its table shows: it was written where no row had it. */
  isBare(state: RowState, cid: number, parent: Table, id: bigint): boolean {
    const said = state.own.get(cid);
    return said === undefined ? this.rows.of(parent).bare.has(id) : said === id;
  }

  /** Whom rows mean that show this integer, which nobody has; null where none can. */
  lastAt(table: Table, id: bigint): Ref | null {
    return table.referencedBy.length > 0 && this.rows.wasUsed(table, id) && !this.rows.byId(table, id)
      ? this.rows.references.refOf(table, id)
      : null;
  }

  /** Another deleted row has come to an integer, or the one that came to it `last` waits for its place: rows that show it for that one say so from here on. */
  sayLast(table: Table, id: bigint, last: Ref): void {
    const now = this.rows.references.refOf(table, id);
    if (now !== null && !sameValue(now, last)) this.sayMeant(table, id, last);
  }

  /** Rows that show this integer and say nothing else say from here on that they mean this row. */
  sayMeant(table: Table, id: bigint, meant: Ref): void {
    for (const { child: of, column } of table.referencedBy) {
      for (const { child, values } of rowsShowing(this.rows, of, column.name, id)) {
        if (child.own.has(column.cid) || this.isBare(child, column.cid, table, id)) continue;
        child.own.set(column.cid, meant);
        this.rows.saveReference(child, values, ownedDots(child));
      }
    }
  }

  /** Puts what a row in its table says into `cells`, which are what the table shows, `values`. */
  putInto(cells: CellValue[], { table, own }: RowState, values: readonly SqlValue[]): void {
    for (const [cid, value] of own) {
      const index = table.indexOf.get(cid);
      if (index === undefined) continue;
      // Where the row named has another integer by now, or is forgotten, the table says what the application sees.
      const isOther = isStray(table, index, value) && this.rows.references.strayId(value) !== values[index];
      if (!isOther) cells[index] = value;
    }
  }
}
