import type { CellValue, SqlValue, Write } from "@scoutsync/core";
import type { ForeignKey, Table } from "../schema/catalog.ts";
import type { RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import { bindable } from "./table-store.ts";
import { asHeld, packKey } from "./values.ts";

/** The row that has this key in its table; null when nothing is known of one. */
export function stateAt(rows: RowStore, table: Table, key: readonly SqlValue[]): RowState | null {
  if (table.surrogate) return rows.byId(table, key[0] as bigint);
  const state = rows.byKey(table, rows.keys.keyFromValues(table, key));
  return state?.place.kind === "table" ? state : null;
}

/** Where in its table's columns those of a foreign key are. */
export const indexesOf = ({ child, columns }: ForeignKey): number[] =>
  columns.map((name) => child.columns.findIndex((column) => column.name === name));

/** The values of some columns of a row, its surrogate key among them; null where one is NULL: then nothing refers to it, nor it to anything. */
export function pick(table: Table, names: readonly string[], id: bigint | null, values: readonly CellValue[]): CellValue[] | null {
  const picked = names.map((name) => {
    const index = table.columns.findIndex((column) => column.name === name);
    return index < 0 ? id : (values[index] ?? null);
  });
  return picked.includes(null) ? null : picked;
}

/** What a row refers to by these values of its columns, as the columns that it refers to hold it. */
export const meant = ({ affinities }: ForeignKey, values: readonly CellValue[]): CellValue[] =>
  values.map((value, i) => asHeld(affinities[i] ?? "BLOB", value));

/** Names what a foreign key refers to by these values, as `meant` gives them: the same for what SQLite finds equal. */
export const targetName = ({ collations }: ForeignKey, values: readonly CellValue[]): Buffer =>
  packKey(
    collations.map((collation) => ({ collation })),
    values,
  );

/**
 * Rows in their tables that refer to this one by a foreign key to something else than a surrogate key. `values` are its
 * own as its table has or had them.
 */
export function dependants(rows: RowStore, parent: RowState, id: bigint | null, values: readonly SqlValue[]): RowState[] {
  return parent.table.dependants.flatMap((foreign) => {
    const target = pick(parent.table, foreign.targets, id, values) as SqlValue[] | null;
    if (!target) return [];
    const { child } = foreign;
    return rows
      .of(child)
      .keysReferring(foreign, bindable(target))
      .flatMap((key) => stateAt(rows, child, key) ?? [])
      .filter((state) => state.table !== parent.table || state.slot !== parent.slot || parent.place.kind !== "table");
  });
}

/** True when some row to which these values refer by such foreign keys is not in its table. */
export const lacksTarget = (rows: RowStore, table: Table, id: bigint | null, values: readonly SqlValue[]): boolean =>
  table.dependsOn.some((foreign) => lacks(rows, foreign, id, values));

/** As `lacksTarget`, by one of them. */
export function lacks(rows: RowStore, foreign: ForeignKey, id: bigint | null, values: readonly SqlValue[]): boolean {
  const wanted = pick(foreign.child, foreign.columns, id, values) as SqlValue[] | null;
  return wanted !== null && rows.of(foreign.parent).keysHolding(foreign.targets, foreign.collations, bindable(wanted)).length === 0;
}

/** Rows in their tables to which a row with these values refers by such foreign keys. */
export function dependsOn(rows: RowStore, table: Table, id: bigint | null, values: readonly SqlValue[]): RowState[] {
  return table.dependsOn.flatMap((foreign) => {
    const wanted = pick(table, foreign.columns, id, values) as SqlValue[] | null;
    if (!wanted) return [];
    const keys = rows.of(foreign.parent).keysHolding(foreign.targets, foreign.collations, bindable(wanted));
    return keys.flatMap((key) => stateAt(rows, foreign.parent, key) ?? []);
  });
}

/** Deleted rows by the values that foreign keys refer to, as they were before a transaction: read once where a reference dangles. */
export class DeletedTargets {
  private readonly rows: RowStore;
  private readonly births = new Map<ForeignKey, Map<string, Write[]>>();

  constructor(rows: RowStore) {
    this.rows = rows;
  }

  forget(): void {
    this.births.clear();
  }

  /** The deleted rows to which a row with these cells refers. */
  of(table: Table, id: bigint | null, cells: readonly CellValue[]): RowState[] {
    return table.dependsOn.flatMap((foreign) => {
      const wanted = pick(table, foreign.columns, id, cells);
      if (!wanted) return [];
      const { parent } = foreign;
      if (foreign.isKey) {
        const held = meant(foreign, wanted);
        const key = parent.key.map((column) => held[foreign.targets.indexOf(column.name)] as CellValue);
        const state = this.rows.byKey(parent, packKey(parent.key, key));
        return state?.place.kind === "dead" ? [state] : [];
      }
      const { values, missing } = this.rows.references.concrete(table, cells);
      const there = pick(table, foreign.columns, id, values) as SqlValue[] | null;
      if (missing || !there) return [];
      if (this.rows.of(parent).keysHolding(foreign.targets, foreign.collations, bindable(there)).length > 0) return [];
      const births = this.births.get(foreign) ?? this.read(foreign);
      return (births.get(packed(foreign, meant(foreign, there))) ?? []).flatMap(
        ({ origin, sequence }) => this.rows.byDot(origin, sequence) ?? [],
      );
    });
  }

  private read(foreign: ForeignKey): Map<string, Write[]> {
    const births = new Map<string, Write[]>();
    for (const { state, id, cells } of this.rows.deadRows(foreign.parent)) {
      const { values } = this.rows.references.concrete(foreign.parent, cells);
      const target = pick(foreign.parent, foreign.targets, id, values);
      if (!target) continue;
      const name = packed(foreign, target);
      births.set(name, [...(births.get(name) ?? []), state.birth]);
    }
    this.births.set(foreign, births);
    return births;
  }
}

const packed = (foreign: ForeignKey, values: readonly CellValue[]): string => targetName(foreign, values).toString("latin1");
