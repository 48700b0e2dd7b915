import { ByteWriter, type CellValue, Ref } from "@scoutsync/core";
import { pick } from "../rows/foreign-keys.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { ForeignKey } from "../schema/catalog.ts";

/** What deleted rows that stay refer to: they may live again, and must find it then. */
export class Needed {
  private readonly rows: RowStore;
  /** By number of the table, `origin:sequence` of rows that references name. */
  private readonly named = new Map<number, Set<string>>();
  /** By foreign key, the values that it refers by. */
  private readonly valued = new Map<ForeignKey, Set<string>>();

  constructor(rows: RowStore) {
    this.rows = rows;
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
      const values = pick(table, foreign.columns, this.rows.outId(state), cells);
      if (!values) continue;
      const valued = this.valued.get(foreign) ?? new Set<string>();
      this.valued.set(foreign, valued.add(packed(values)));
    }
  }

  /** True when a row noted before may refer to this one. */
  has(state: RowState): boolean {
    const { table, identity } = state;
    if (this.named.get(table.tid)?.has(`${identity.origin}:${identity.sequence}`)) return true;
    return table.dependants.some((foreign) => {
      const valued = this.valued.get(foreign);
      if (!valued) return false;
      // Equal by a collation is not equal byte for byte.
      if (foreign.collations.some((collation) => collation !== "BINARY")) return true;
      const values = pick(table, foreign.targets, this.rows.outId(state), this.rows.cells(state));
      return values !== null && valued.has(packed(values));
    });
  }
}

function packed(values: readonly CellValue[]): string {
  const out = new ByteWriter(64);
  for (const value of values) out.value(value);
  return out.toBytes().toString("latin1");
}
