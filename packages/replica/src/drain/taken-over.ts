import { knew, type SqlValue, winnerOf } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { writeTakenOver } from "../rows/local-writes.ts";
import { registerOf } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsShowing } from "../rows/equal-rows.ts";
import type { Table } from "../schema/catalog.ts";

/**
 * Rows that a deleted row has left behind refer to the one that has its integer now. Others know whom they referred to when
 * they were written: they are told.
 */
export class TakenOver {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;

  constructor({ rows, knowledge }: { rows: RowStore; knowledge: Knowledge }) {
    this.rows = rows;
    this.knowledge = knowledge;
  }

  /** Call when a row has been born under an integer that a deleted one had: writes references to it anew. */
  follow(parent: Table, id: bigint): void {
    for (const { child: table, column } of parent.referencedBy) {
      if (table.key.some(({ cid }) => cid === column.cid)) continue;
      for (const { child, values } of rowsShowing(this.rows, table, column.name, id)) {
        if (this.rows.said.isBare(child, column.cid, parent, id)) continue;
        const before = ownedDots(child);
        writeTakenOver(child, column.cid, this.knowledge);
        this.rows.saveReference(child, values, before);
      }
    }
  }

  /**
   * Marks what a row that goes now had not been written anew for: it left its table after the row to which it refers was
   * replaced, so `follow` did not find it there. So it is with a row without a key that was written after that.
   */
  withReferences(state: RowState, image: readonly SqlValue[], written: readonly boolean[]): boolean[] {
    const { table } = state;
    const marked = [...written];
    for (const { index, parent } of table.references) {
      const id = image[index];
      const { cid } = table.columns[index] as { cid: number };
      if (marked[index] || typeof id !== "bigint" || state.own.has(cid) || table.key.some((part) => part.cid === cid)) continue;
      const target = this.rows.wasUsed(parent, id) ? this.rows.byId(parent, id) : null;
      const meant = target && winnerOf(registerOf(state, cid), this.knowledge);
      if (meant) marked[index] = !knew(meant, target.birth.origin, target.birth.sequence, this.knowledge);
    }
    return marked;
  }
}
