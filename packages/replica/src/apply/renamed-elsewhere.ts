import type { IncomingRow } from "../log/incoming.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import { mergedTables, mergeTable } from "../schema/install.ts";
import { asIncoming, retarget } from "./delivery.ts";
import { partialKey } from "./new-states.ts";

/**
 * A table that was rebuilt under another name counts here as one that was dropped and one that is new where nothing told that they are
 * one, as nothing was left in it. A node that could tell has its rows under the new name. A row of it that comes from there says so here,
 * too, as a birth is that of one row: otherwise there would be two of this birth, and each comparison would make another.
 */
export class RenamedElsewhere {
  private readonly rows: RowStore;
  private readonly nowUs: () => number;
  /** Called when a table turned out to be another's former one, whose held rows are to be delivered to that. */
  private readonly found: () => void;

  constructor(parts: { rows: RowStore; nowUs: () => number; renamed: () => void }) {
    this.rows = parts.rows;
    this.nowUs = parts.nowUs;
    this.found = parts.renamed;
  }

  /** Takes what is held of this very row for a table that is gone out, as records of the row's table. Inside a write transaction. */
  take(row: IncomingRow): IncomingRow[] {
    const { table, identity } = row;
    if (!this.rows.lacksTables || !table.surrogate || table.absent !== null || !identity) return [];
    const dots = [...(row.birth ? [row.birth] : []), ...row.columns.flatMap(({ writes }) => writes), ...row.deletes];
    for (const { origin, sequence } of dots) {
      const at = this.rows.log.owned(origin, sequence);
      const tid = Math.abs(Number(at?.[0] ?? table.tid));
      const from = tid === table.tid ? undefined : this.rows.byTid(tid);
      if (!at || from?.absent !== "missing" || !from.surrogate) continue;
      const held = at[0] < 0n ? this.rows.atLog(Number(at[0]), at[1]) : null;
      if (held ? !isRow(held, row) : !this.wasRow(from, at[1], row)) continue;
      if (!this.merge(from, table)) continue;
      const part = this.rows.partial(from, partialKey({ ...row, table: from }));
      const states = [held, part?.slot === held?.slot ? null : part].filter((state) => state !== null);
      return states.map((state) => {
        const record = retarget(asIncoming(this.rows, state, from), from, table, this.rows.db, this.nowUs());
        this.rows.lift(state);
        return record;
      });
    }
    return [];
  }

  /** True where the row was in a table that is gone: what is stored of it says so. */
  private wasRow(from: Table, slot: bigint, { birth }: IncomingRow): boolean {
    const stored = this.rows.of(from).byId(slot);
    if (!birth || !stored) return false;
    return Number(stored[1]) === birth.origin && Number(stored[2]) === birth.sequence && Number(stored[3]) === birth.time;
  }

  /** False where the rows of the table that is gone are already known to be those of a third one. */
  private merge(from: Table, to: Table): boolean {
    const { db } = this.rows;
    const known = mergedTables(db).get(from.tid);
    if (known !== undefined) return known === to.tid;
    mergeTable(db, from, to);
    this.found();
    return true;
  }
}

/** Two rows under one dot are told apart by when they were born (`Contested`). */
function isRow(held: RowState, { identity, birth }: IncomingRow): boolean {
  if (held.identity.origin !== identity?.origin || held.identity.sequence !== identity.sequence) return false;
  return held.partial === true || birth === null || held.birth.time === birth.time;
}
