import { hash } from "node:crypto";
import { type CellValue, Ref, type SqlValue, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { dependants, pick, stateAt } from "../rows/foreign-keys.ts";
import type { ownedDots, RowState, WaitingReason } from "../rows/row-state.ts";
import type { EntityMembers } from "../rows/members.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Identity } from "../rows/same-links.ts";
import type { Table } from "../schema/catalog.ts";

export type Dots = ReturnType<typeof ownedDots>;

/** Re-keyed integers lie between these: above ids in ordinary use, and with half of the 31-bit range left for the ids SQLite hands out next. */
const REKEY_FROM = 2 ** 24;
const REKEY_BELOW = 2 ** 30;

/** The integer of a re-keyed row: its claim for generation 0, else a hash of identity and generation, the same everywhere. */
export function rekeyedId(origin: string, sequence: number, generation: number): bigint {
  const mixed = hash("sha256", `${origin}:${sequence}:${generation}`, "buffer").readUInt32BE(0);
  return BigInt(REKEY_FROM + (mixed % (REKEY_BELOW - REKEY_FROM)));
}

/** How the reason begins why a row waits that names another one by a column which is no foreign key here. */
export const STRAY = "schema: ";

/** Which rows refer to which, as the tables are now, and how two rows compare. Changes nothing. */
export class RelatedRows {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly members: EntityMembers;

  constructor(options: { rows: RowStore; knowledge: Knowledge; members: EntityMembers }) {
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.members = options.members;
  }

  /** The integer that the merged state gives a surrogate row. */
  idFor(state: RowState): bigint {
    if (!state.rekey) return state.claim;
    return rekeyedId(this.knowledge.nameOf(state.identity.origin), state.identity.sequence, state.rekey.generation);
  }

  /** Earlier births come first: who keeps an integer or a UNIQUE value. */
  compareBirths(a: RowState, b: RowState): number {
    return this.members.compare(a, b);
  }

  wanted(state: RowState): bigint | null {
    return state.table.surrogate ? this.idFor(state) : null;
  }

  /** Rows that refer to this one, and to those, each after the rows that refer to it. */
  descendants(state: RowState): { birth: Write; parent: Identity }[] {
    const found: { birth: Write; parent: Identity }[] = [];
    const met = new Set([`${state.birth.origin}:${state.birth.sequence}`]);
    for (let open = [state]; open.length > 0;) {
      const next: RowState[] = [];
      for (const parent of open) {
        for (const child of this.children(parent)) {
          const name = `${child.birth.origin}:${child.birth.sequence}`;
          if (met.has(name)) continue;
          met.add(name);
          found.push({ birth: child.birth, parent: parent.identity });
          next.push(child);
        }
      }
      open = next;
    }
    return found.toReversed();
  }

  /** The row as it is now: placing one row may have moved others. */
  again(birth: Write): RowState | null {
    return this.rows.byDot(birth.origin, birth.sequence);
  }

  /** Rows in their tables that refer to this one. */
  children(parent: RowState): RowState[] {
    return this.referring(parent).map(({ child }) => child);
  }

  /** Rows in their tables that refer to this one, with the column that does; by configuration only, too, unless `declared`. */
  referring(parent: RowState, declared = false): { child: RowState; cid: number }[] {
    if (!parent.table.surrogate) return [];
    const referencedBy = declared ? parent.table.referencedBy.filter(({ column }) => !column.soft) : parent.table.referencedBy;
    return referencedBy.flatMap(({ child: table, column }) =>
      this.rows
        .of(table)
        .keysWhere(column.name, parent.slot)
        .flatMap((key) => {
          const child = this.stateAt(table, key);
          return child && !this.rows.said.isBare(child, column.cid, parent.table, parent.slot) ? [{ child, cid: column.cid }] : [];
        }),
    );
  }

  /** As `referring`, once per row, with its key as its table holds it: what else that names may be anywhere. */
  referringRows(parent: RowState): { child: RowState; cids: number[]; key: SqlValue[] }[] {
    const found = new Map<string, { child: RowState; cids: number[]; key: SqlValue[] }>();
    for (const { child: table, column } of parent.table.surrogate ? parent.table.referencedBy : []) {
      for (const key of this.rows.of(table).keysWhere(column.name, parent.slot)) {
        const child = this.stateAt(table, key);
        if (!child || this.rows.said.isBare(child, column.cid, parent.table, parent.slot)) continue;
        const name = `${child.birth.origin}:${child.birth.sequence}`;
        const row = found.get(name) ?? { child, cids: [], key };
        row.cids.push(column.cid);
        found.set(name, row);
      }
    }
    return [...found.values()];
  }

  stateAt(table: Table, key: readonly SqlValue[]): RowState | null {
    return stateAt(this.rows, table, key);
  }

  /**
   * Rows in their tables that refer to this one in whatever declared way, those whose delete is kept back included. `cells`: its values
   * where it is not in its table.
   */
  referrers(parent: RowState, cells: readonly CellValue[] | null = null): RowState[] {
    const referring = parent.place.kind === "table" ? this.referring(parent, true) : [];
    const named = referring.flatMap(({ child, cid }) => (this.meansAnother(child, cid, parent) ? [] : child));
    const children = parent.place.kind === "table" ? [...named, ...this.keptBackNaming(parent)] : named;
    if (parent.table.dependants.length === 0) return children;
    const own = cells ?? (parent.place.kind === "table" ? null : this.rows.cells(parent));
    const values = own ? this.rows.references.concrete(parent.table, own).values : this.rows.tableValues(parent);
    const id = parent.place.kind === "table" ? parent.slot : this.wanted(parent);
    return values ? [...children, ...dependants(this.rows, parent, id, values), ...this.keptBackHolding(parent, id, values)] : children;
  }

  /** Rows whose delete is kept back and that name this one, or one that it stands for. */
  private keptBackNaming(parent: RowState): RowState[] {
    return parent.table.referencedBy.flatMap(({ child, column }) => {
      const { keptBack } = this.rows.of(child);
      if (!keptBack || column.soft) return [];
      const index = child.indexOf.get(column.cid) as number;
      const targets = this.members.entityOf(parent).map(({ state }) => keptBack.namedTarget(index, state.identity));
      return keptBack.keysReferring(targets).flatMap((key) => this.stateAt(child, key) ?? []);
    });
  }

  private keptBackHolding(parent: RowState, id: bigint | null, values: readonly SqlValue[]): RowState[] {
    return parent.table.dependants.flatMap((foreign) => {
      const { keptBack } = this.rows.of(foreign.child);
      const target = keptBack ? pick(parent.table, foreign.targets, id, values) : null;
      if (!keptBack || !target) return [];
      return keptBack.keysReferring([keptBack.valueTarget(foreign, target)]).flatMap((key) => this.stateAt(foreign.child, key) ?? []);
    });
  }

  /** Rows in their tables that show the integer of this deleted row for want of another, and mean it; by configuration only, too, if `softly`. */
  leftBy(gone: RowState, softly = false): RowState[] {
    const id = this.wanted(gone);
    if (id === null) return [];
    const isLast = this.hadLast(gone, id);
    const referring = gone.table.referencedBy.filter(({ column }) => softly || !column.soft);
    return referring.flatMap(({ child: table, column }) =>
      this.rows
        .of(table)
        .keysWhere(column.name, id)
        .flatMap((key) => {
          const child = this.stateAt(table, key);
          if (!child || this.rows.said.isBare(child, column.cid, gone.table, id)) return [];
          const isMeant = child.own.get(column.cid) instanceof Ref ? !this.meansAnother(child, column.cid, gone) : isLast;
          return isMeant ? [child] : [];
        }),
    );
  }

  /** True for the row that has, or had last, this integer: rows that say nothing else mean it. */
  hadLast({ table, identity }: RowState, id: bigint): boolean {
    const last = this.rows.references.refOf(table, id);
    return last?.origin === identity.origin && last.sequence === identity.sequence;
  }

  /** True when a row is known to refer to another row than the one which has the integer that its table shows: that one had it before. */
  meansAnother(child: RowState, cid: number, { table, identity }: RowState): boolean {
    if (!(child.own.get(cid) instanceof Ref)) return false;
    // Who stands for others shows their values: what it says itself may be about another row.
    const said = this.members.concerns(child)
      ? this.members.shown({ members: this.members.entityOf(child) })[child.table.indexOf.get(cid) as number]
      : child.own.get(cid);
    if (!(said instanceof Ref)) return false;
    const stands = this.rows.references.representative(table, said);
    return stands.origin !== identity.origin || stands.sequence !== identity.sequence;
  }

  /** True when a row refers to one of these, or to a row that does, and so on: without them it has no place. */
  leansOn(state: RowState, others: readonly RowState[]): boolean {
    const sought = new Set(others.map(({ identity }) => `${identity.origin}:${identity.sequence}`));
    const met = new Set<string>();
    for (let open = [state]; open.length > 0;) {
      const next: RowState[] = [];
      for (const row of open) {
        const cells = this.members.shown({ members: this.members.entityOf(row) });
        for (const { index, parent } of row.table.references) {
          const ref = cells[index];
          if (!(ref instanceof Ref)) continue;
          const { origin, sequence } = this.rows.references.representative(parent, ref);
          const name = `${origin}:${sequence}`;
          if (sought.has(name)) return true;
          const target = met.has(name) ? null : this.rows.byIdentity(parent, origin, sequence);
          met.add(name);
          if (target) next.push(target);
        }
      }
      open = next;
    }
    return false;
  }

  /** Why a row cannot be in its table: a value names a row that is not here, by a column that is no foreign key in this schema. */
  strayReference(state: RowState, cells: readonly CellValue[], together?: ReadonlyMap<string, bigint>): WaitingReason | null {
    const index = this.rows.references.unshownStray(state, cells, together);
    if (index < 0) return null;
    return `${STRAY}"${state.table.columns[index]?.name}" refers to a row where this was written, and is no foreign key here; it follows once that row is here, or the schema declares it`;
  }
}
