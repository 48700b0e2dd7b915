import { type CellValue, Ref } from "@scoutsync/core";
import { meant, pick, targetName } from "../rows/foreign-keys.ts";
import type { EntityMembers } from "../rows/members.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { ForeignKey } from "../schema/catalog.ts";

/**
 * What rows refer to though no table shows it: deleted ones that stay, which may live again and must find it then, and
 * rows that are one with others, which may be taken apart again.
 */
export class Needed {
  private readonly rows: RowStore;
  /** By number of the table, `origin:sequence` of rows that references name. */
  private readonly named = new Map<number, Set<string>>();
  /** By foreign key, the values that it refers by. */
  private readonly valued = new Map<ForeignKey, Set<string>>();

  constructor(rows: RowStore) {
    this.rows = rows;
  }

  /** Notes what each row says that may be one with others, whatever its table shows. */
  noteEntities(members: EntityMembers): void {
    for (const group of members.groups()) for (const state of group) this.note(state);
  }

  note(state: RowState): void {
    const { table, identity } = state;
    if (table.references.length === 0 && table.dependsOn.length === 0) return;
    const cells = this.rows.cells(state);
    for (const { index, parent } of table.references) {
      const ref = cells[index];
      if (!(ref instanceof Ref)) continue;
      if (parent === table && ref.origin === identity.origin && ref.sequence === identity.sequence) continue;
      const named = this.named.get(parent.tid) ?? new Set<string>();
      this.named.set(parent.tid, named.add(`${ref.origin}:${ref.sequence}`));
    }
    for (const foreign of table.dependsOn) {
      const values = pick(table, foreign.columns, state.place.kind === "table" ? state.slot : this.rows.outId(state), cells);
      if (!values) continue;
      const valued = this.valued.get(foreign) ?? new Set<string>();
      this.valued.set(foreign, valued.add(packed(foreign, meant(foreign, values))));
    }
  }

  /** True when a row noted before may refer to this one. */
  has(state: RowState): boolean {
    const { table, identity } = state;
    if (this.named.get(table.tid)?.has(`${identity.origin}:${identity.sequence}`)) return true;
    return table.dependants.some((foreign) => {
      const valued = this.valued.get(foreign);
      if (!valued) return false;
      const id = state.place.kind === "table" ? state.slot : this.rows.outId(state);
      const values = pick(table, foreign.targets, id, this.rows.cells(state));
      return values !== null && valued.has(packed(foreign, values));
    });
  }
}

const packed = (foreign: ForeignKey, values: readonly CellValue[]): string => targetName(foreign, values).toString("latin1");
