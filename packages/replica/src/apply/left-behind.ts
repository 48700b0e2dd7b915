import { knew, Ref, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isSame } from "../rows/members.ts";
import { isAlive } from "../rows/registers.ts";
import type { RowState } from "../rows/row-state.ts";
import type { Concrete } from "../rows/references.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { RelatedRows } from "./related-rows.ts";

/**
 * Rows that a deleted row left behind go on showing its integer, and nothing else says whom they mean. So no row of somebody
 * who did not know of the delete has that integer as long as they do: it takes its next one. (Who knew of it took over
 * what refers to it, and said so.)
 */
export class LeftBehind {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly related: RelatedRows;
  /** Integers of live rows that a row which came later is to show for a deleted one. */
  private contested: { table: Table; id: bigint; by: Write }[] = [];

  constructor(options: { rows: RowStore; knowledge: Knowledge; related: RelatedRows }) {
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.related = options.related;
  }

  /** Call at the start of a transaction. */
  begin(): void {
    this.contested = [];
  }

  /** True when rows in their tables show this integer for a deleted row that had it, and would be taken for rows of `taker`. */
  hold(taker: RowState, id: bigint): boolean {
    const { table } = taker;
    if (table.referencedBy.length === 0) return false;
    // Most integers that are taken again are so by somebody who knew: no table is looked through for those.
    const last = this.rows.deadAt(table, id);
    if (!this.rows.allDeadAt(table, id).some((gone) => this.isStranger(taker, gone))) return false;
    return table.referencedBy.some(({ child, column }) =>
      this.rows
        .of(child)
        .keysWhere(column.name, id)
        .some((key) => {
          const row = this.related.stateAt(child, key);
          if (row && this.rows.said.isBare(row, column.cid, table, id)) return false;
          const said = row?.own.get(column.cid);
          const gone = said instanceof Ref ? this.rows.byIdentity(table, said.origin, said.sequence) : last;
          return gone !== null && this.isStranger(taker, gone);
        }),
    );
  }

  /**
   * Call before a row gets an integer that a deleted one had last: those that were left behind say that they mean that one. Where whoever
   * gave the integer out again had them in its tables, it says otherwise (`TakenOver`).
   */
  say(taker: RowState, id: bigint): void {
    const gone = taker.table.referencedBy.length > 0 ? this.rows.deadAt(taker.table, id) : null;
    if (gone && !isSame(gone, taker)) this.rows.said.sayMeant(taker.table, id, new Ref(gone.identity.origin, gone.identity.sequence));
  }

  /**
   * True when another row has the integer of a deleted one that this row is to show, and is to move; or had it later, and
   * would be taken for the one that is meant.
   */
  note({ left }: Concrete, by: Write): boolean {
    const taken = left.filter(({ parent, id }) => {
      const holder = this.rows.byId(parent.table, id);
      return holder !== null && this.isStranger(holder, parent);
    });
    this.contested.push(...taken.map(({ parent, id }) => ({ table: parent.table, id, by })));
    return left.some(({ parent, id }) => !this.related.hadLast(parent, id));
  }

  /** Takes the integers whose rows are to move. */
  take(): { table: Table; id: bigint }[] {
    const { contested } = this;
    this.contested = [];
    return contested.filter(({ by }) => {
      const row = this.related.again(by);
      // Nothing of its own: it has come to mean the other one. Where the reference is in its key, that one's rows have it.
      return row?.place.kind === "table"
        ? [...row.own.values()].some((said) => said instanceof Ref)
        : row?.place.kind === "waiting" && row.place.reason === "unique";
    });
  }

  /** True for another row than the deleted one, by somebody who did not know of the delete. */
  private isStranger({ identity, birth }: RowState, gone: RowState): boolean {
    const stands = this.rows.references.representative(gone.table, gone.identity);
    if (stands.origin === identity.origin && stands.sequence === identity.sequence) return false;
    const deleted = winnerOf(gone.deletes, this.knowledge);
    return deleted !== undefined && !isAlive(gone, this.knowledge) && !knew(birth, deleted.origin, deleted.sequence, this.knowledge);
  }
}
