import { type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { OutState } from "./out-table.ts";
import type { RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import type { Identity } from "./same-links.ts";
import { packKey } from "./values.ts";

/** True when a value refers to a row by a column that is no declared foreign key here: whoever wrote it has one. */
export function isStray(table: Table, position: number, value: CellValue): value is Ref {
  if (!(value instanceof Ref)) return false;
  const isAt = ({ index }: { index: number }) => index === position;
  return !table.references.some(isAt) && !table.linked.some(isAt);
}

const NOBODY: ReadonlyMap<string, bigint> = new Map();

/** A row's values as its table is to hold them, and what is to be known about the rows they refer to. */
export interface Concrete {
  values: SqlValue[];
  /** The first row referred to that is not here or waits. */
  missing: Identity | null;
  /** Rows referred to that have been deleted, with the identity that the reference names. */
  dead: { state: RowState; ref: Identity }[];
  /** Deleted rows whose last integer is shown for want of another, those by configuration included. */
  left: { parent: RowState; id: bigint }[];
}

/** What rows refer to: by an integer in their table, by the identity of the row that it means everywhere else. */
export class References {
  private readonly rows: RowStore;

  constructor(rows: RowStore) {
    this.rows = rows;
  }

  /** The integer under which a referenced row is in its table now; null when it is not there. */
  idOf(parent: Table, ref: Identity): bigint | null {
    this.rows.of(parent).flush();
    const at = this.rows.dotAt(ref.origin, ref.sequence);
    return at && Number(at[0]) === parent.tid ? at[1] : null;
  }

  /** The identity of the row that stands for a referenced one: itself, unless it is one entity with another that does. */
  representative(parent: Table, ref: Identity): Identity {
    if (!this.rows.same.exist) return ref;
    this.rows.of(parent).flush();
    const at = this.rows.dotAt(ref.origin, ref.sequence);
    if (!at || Number(at[0]) !== -parent.tid) return ref;
    const out = this.rows.out.at(at[1]);
    return out && out[2] === OutState.joined && out[12] !== null ? { origin: Number(out[12]), sequence: Number(out[13]) } : ref;
  }

  /** The integer that stands for a referenced row in its table now; null when there is none. */
  shownId(parent: Table, ref: Identity): bigint | null {
    return this.idOf(parent, ref) ?? (this.rows.same.exist ? this.idOf(parent, this.representative(parent, ref)) : null);
  }

  /** A referenced row that has been deleted, with the integer it had last; null when it lives, waits or is unknown. */
  deadParent(parent: Table, ref: Identity): { state: RowState; id: bigint } | null {
    this.rows.of(parent).flush();
    const at = this.rows.dotAt(ref.origin, ref.sequence);
    if (!at || Number(at[0]) !== -parent.tid) return null;
    const out = this.rows.out.at(at[1]);
    const { state } = out ? this.rows.fromOut(out) : { state: null };
    return state?.place.kind === "dead" && out?.[4] != null ? { state, id: out[4] } : null;
  }

  /**
   * The integer that a column which refers to nothing here shows for a row that is named in it: an application without the foreign key
   * would have written it so. Null where that row is not here. `together` as for `concrete`.
   */
  strayId(ref: Identity, together = NOBODY): bigint | null {
    this.rows.flush();
    const at = this.rows.dotAt(ref.origin, ref.sequence);
    const parent = at && this.rows.byTid(Math.abs(Number(at[0])));
    // The table that the column referred to may be gone with the foreign key: its rows have the integers that they had, or get.
    if (at && parent?.absent != null) return Number(at[0]) < 0 ? this.rows.out.idAt(at[1]) : at[1];
    const stands = parent ? this.representative(parent, ref) : ref;
    const id = parent ? (this.idOf(parent, ref) ?? this.idOf(parent, stands)) : null;
    // One that is new may name itself.
    return id ?? together.get(`${stands.origin}:${stands.sequence}`) ?? (parent ? this.deadParent(parent, stands)?.id : null) ?? null;
  }

  /**
   * Which column refers to nothing here and names another row that is not here, in what a row is to show; -1 where none does.
   * `together` as for `concrete`.
   */
  unshownStray({ table, identity }: RowState, cells: readonly CellValue[], together = NOBODY): number {
    const isItself = (ref: Ref) => table.surrogate && ref.origin === identity.origin && ref.sequence === identity.sequence;
    return cells.findIndex((value, index) => isStray(table, index, value) && !isItself(value) && this.strayId(value, together) === null);
  }

  /** The row with a natural key whose reference to `parent`'s table means `parent`, whoever has that integer now. */
  byKeyOf(table: Table, key: readonly SqlValue[], parent: RowState): RowState | null {
    if (table.surrogate || table.keyReferences.length === 0) return null;
    const cells: CellValue[] = [...key];
    for (const { index, parent: target } of table.keyReferences) {
      const id = key[index];
      if (target === parent.table) cells[index] = new Ref(parent.identity.origin, parent.identity.sequence);
      else if (typeof id === "bigint") cells[index] = this.refOf(target, id) ?? id;
    }
    return this.rows.byKey(table, packKey(table.key, cells));
  }

  /** The identity of the row that has, or last had, this integer; null when there never was one that rows which show it may mean. */
  refOf(parent: Table, id: bigint): Ref | null {
    if (this.rows.of(parent)?.bare.has(id)) return null;
    const state = this.rows.byId(parent, id);
    if (state) return new Ref(state.identity.origin, state.identity.sequence);
    const out = this.rows.out.withId(parent.tid, id);
    if (!out) return null;
    const { identity } = this.rows.fromOut(out).state;
    return new Ref(identity.origin, identity.sequence);
  }

  /** The row that an integer in a column means; null where it means none or the column refers to nothing. */
  refAt(table: Table, index: number, id: bigint): Ref | null {
    const parent = table.references.find((reference) => reference.index === index)?.parent;
    if (parent) return this.refOf(parent, id);
    const target = table.linked.find((reference) => reference.index === index)?.target;
    return target ? this.rows.linked.refOf(target, id) : null;
  }

  /** The integer that a column shows for a row that it refers to; null when there is none. */
  idAt(table: Table, index: number, ref: Ref): bigint | null {
    const parent = table.references.find((reference) => reference.index === index)?.parent;
    if (parent) return this.shownId(parent, ref);
    const target = table.linked.find((reference) => reference.index === index)?.target;
    return target ? this.rows.linked.idOf(target, ref) : this.strayId(ref);
  }

  /** References as identities instead of integers, for images and the wire. Integers that name no row stay. */
  abstract(table: Table, values: readonly SqlValue[]): CellValue[] {
    const result: CellValue[] = [...values];
    for (const { index, parent } of table.references) {
      const value = values[index];
      if (typeof value === "bigint") result[index] = this.refOf(parent, value) ?? value;
    }
    for (const { index, target } of table.linked) {
      const value = values[index];
      if (typeof value === "bigint") result[index] = this.rows.linked.refOf(target, value) ?? value;
    }
    return result;
  }

  /**
   * Integers instead of references. Deleted rows keep the integer they had, as they do in the table of an application
   * that deletes a parent alone. `together` are rows, by identity, that are about to be placed under these integers.
   */
  concrete(table: Table, values: readonly CellValue[], together: ReadonlyMap<string, bigint> = NOBODY): Concrete {
    let missing: Identity | null = null;
    const dead: Concrete["dead"] = [];
    const left: Concrete["left"] = [];
    const result = [...values];
    for (const { index, parent } of table.references) {
      const value = values[index];
      if (!(value instanceof Ref)) continue;
      let id = this.idOf(parent, value);
      const stands = id === null ? this.representative(parent, value) : value;
      id ??= (stands === value ? null : this.idOf(parent, stands)) ?? together.get(`${stands.origin}:${stands.sequence}`) ?? null;
      const gone = id === null ? this.deadParent(parent, stands) : null;
      // Nothing is enforced of what refers by configuration only.
      if (gone && !table.columns[index]?.soft) dead.push({ state: gone.state, ref: value });
      if (gone) left.push({ parent: gone.state, id: gone.id });
      if (id === null && !gone) missing ??= stands;
      else result[index] = (id ?? gone?.id) as bigint;
    }
    // Never missing: the other database may come by its rows later, and another integer follows then.
    for (const { index, target } of table.linked) {
      const value = values[index];
      if (value instanceof Ref) result[index] = this.rows.linked.idOf(target, value);
    }
    for (const [index, value] of values.entries()) {
      if (!isStray(table, index, value)) continue;
      const id = this.strayId(value, together);
      if (id === null) missing ??= value;
      else result[index] = id;
    }
    return { values: result as SqlValue[], missing, dead, left };
  }
}
