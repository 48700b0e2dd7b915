import { type CellValue, compareWrites, concurrent, Ref, type Write, winnerOf } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { UniqueIndex } from "../schema/unique-indexes.ts";
import { isAlive, isOneWrite, registerOf } from "./registers.ts";
import type { ColumnWrite, RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import type { Identity } from "./same-links.ts";
import { packKey } from "./values.ts";

/** A row that may be one entity with others, with what it says itself. */
export interface Member {
  state: RowState;
  cells: readonly CellValue[];
  alive: boolean;
}

/** Rows that are one: the first of `members` is in the table for all of them. Live ones; where none lives, those that died last. */
export interface Entity {
  members: Member[];
}

/**
 * Which rows are one entity. Rows with a surrogate key are by decision (`same`), while they share a UNIQUE value; rows
 * whose natural key is made of references are where those mean the same rows. Changes nothing.
 */
export class EntityMembers {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;

  constructor(options: { rows: RowStore; knowledge: Knowledge }) {
    this.rows = options.rows;
    this.knowledge = options.knowledge;
  }

  /** Earlier births come first: who represents an entity, keeps an integer or a UNIQUE value. */
  compare(a: RowState, b: RowState): number {
    return compareWrites(named(a), named(b), this.knowledge);
  }

  /** True when the row may be one entity with others. */
  concerns(state: RowState): boolean {
    if (state.same.some(({ apart }) => !apart)) return true;
    if (!this.rows.same.exist) return false;
    if (state.table.surrogate) return this.rows.same.names(state.identity);
    return state.table.keyReferences.length > 0 && this.connected(state).length > 1;
  }

  /** The row and all that are connected to it by decisions, or by a key that means the same, earliest birth first. */
  connected(state: RowState): RowState[] {
    if (!this.rows.same.exist) return [state];
    const states = state.table.surrogate ? this.bySame(state) : this.byKey(state);
    return states.sort((a, b) => this.compare(a, b));
  }

  /** All rows that may be one with others, those that are connected together. Tables that are not here are left out. */
  groups(): RowState[][] {
    if (!this.rows.same.exist) return [];
    const groups: RowState[][] = [];
    const met = new Set<string>();
    const byKey = this.rows.tables.filter(({ surrogate, keyReferences }) => !surrogate && keyReferences.length > 0);
    const starts = [
      ...this.rows.same.named.flatMap((identity) => this.rows.ofIdentity(identity) ?? []),
      ...byKey.flatMap((table) => this.rows.joined(table)),
    ];
    for (const start of starts) {
      if (start.table.absent !== null || met.has(placeOf(start))) continue;
      const group = this.connected(start);
      for (const state of group) met.add(placeOf(state));
      groups.push(group);
    }
    return groups;
  }

  private bySame(state: RowState): RowState[] {
    return this.identities(state.identity).flatMap(({ origin, sequence }) => {
      if (origin === state.identity.origin && sequence === state.identity.sequence) return [state];
      return this.rows.byIdentity(state.table, origin, sequence) ?? [];
    });
  }

  /** Identities connected to this one, itself first. */
  private identities(start: Identity): Identity[] {
    const found = [start];
    const met = new Set([`${start.origin}:${start.sequence}`]);
    for (const identity of found) {
      for (const other of this.rows.same.of(identity)) {
        const name = `${other.origin}:${other.sequence}`;
        if (met.has(name)) continue;
        met.add(name);
        found.push(other);
      }
    }
    return found;
  }

  private byKey(state: RowState): RowState[] {
    const { table } = state;
    let keys: CellValue[][] = [this.rows.keys.keyCells(state)];
    for (const { index, parent } of table.keyReferences) {
      keys = keys.flatMap((key) => {
        const ref = key[index];
        if (!(ref instanceof Ref)) return [key];
        const stands = this.rows.references.representative(parent, ref);
        const same = this.identities(ref).filter((other) => {
          const its = this.rows.references.representative(parent, other);
          return its.origin === stands.origin && its.sequence === stands.sequence;
        });
        return same.map(({ origin, sequence }) => key.map((cell, i) => (i === index ? new Ref(origin, sequence) : cell)));
      });
    }
    if (keys.length === 1) return [state];
    return keys.flatMap((key) => {
      const packed = packKey(table.key, key);
      return state.key?.equals(packed) ? [state] : (this.rows.byKey(table, packed) ?? []);
    });
  }

  /** The entities among connected rows, and the dead ones, which go with the first. */
  divide(connected: readonly RowState[]): { entities: Entity[]; dead: Member[] } {
    const all = connected.map((state): Member => ({ state, cells: this.rows.cells(state), alive: isAlive(state, this.knowledge) }));
    const live = all.filter(({ alive }) => alive);
    if (live.length === 0) return this.lastOf(all);
    const entities: Entity[] = [];
    for (const member of live) {
      const home = entities.find(({ members }) => this.belongs(member, members));
      if (home) home.members.push(member);
      else entities.push({ members: [member] });
    }
    return { entities, dead: all.filter(({ alive }) => !alive) };
  }

  /** Among dead rows: those that were deleted last, by one write. Those that were dead by then are not shown again. */
  private lastOf(all: readonly Member[]): { entities: Entity[]; dead: Member[] } {
    const deletes = new Map(all.map((member) => [member, winnerOf(member.state.deletes, this.knowledge) as Write]));
    const last = winnerOf([...deletes.values()], this.knowledge) as Write;
    const together = ([, write]: [Member, Write]) => isOneWrite(write, last, this.knowledge);
    const members = [...deletes].filter(together).map(([member]) => member);
    return { entities: [{ members }], dead: all.filter((member) => !members.includes(member)) };
  }

  /** Rows whose authors knew of each other are never one, whatever connects them. */
  private belongs(member: Member, members: readonly Member[]): boolean {
    if (!member.state.table.surrogate) return true;
    return members.some((other) => this.share(member, other)) && members.every((other) => this.bornApart(member.state, other.state));
  }

  /** True when neither author knew of the other's row. */
  bornApart(a: RowState, b: RowState): boolean {
    return [a.birth, ...a.twins].every((one) => [b.birth, ...b.twins].every((other) => concurrent(one, other, this.knowledge)));
  }

  /** True when two rows of a table have equal values under some UNIQUE constraint. */
  private share(a: Member, b: Member): boolean {
    return a.state.table.uniques.some((unique) => {
      const value = this.uniqueValue(a, unique);
      return value !== null && this.uniqueValue(b, unique)?.equals(value) === true;
    });
  }

  /**
   * What a row has under a UNIQUE constraint, packed, equal where SQLite finds it equal; null where it is not under it.
   * A reference counts as the row that stands for it, whether or not that one has a place.
   */
  uniqueValue({ state, cells }: Member, unique: UniqueIndex): Buffer | null {
    const { table } = state;
    const parts: CellValue[] = [];
    for (const part of unique.parts) {
      const index = table.columns.findIndex((column) => column.name === part.name);
      const cell = cells[index];
      if (cell === undefined || cell === null) return null;
      const parent = cell instanceof Ref ? table.references.find((reference) => reference.index === index)?.parent : undefined;
      const stands = parent ? this.rows.references.representative(parent, cell as Ref) : null;
      parts.push(stands ? new Ref(stands.origin, stands.sequence) : cell);
    }
    if (unique.where !== null) {
      const values = cells.map((cell, index) => {
        return cell instanceof Ref ? this.rows.references.idAt(table, index, cell) : cell;
      });
      if (!this.rows.of(table).satisfies(unique.where, values)) return null;
    }
    return packKey(unique.parts, parts);
  }

  /** True when both rows were born with the same under a UNIQUE constraint, and nobody has written it since. */
  bornEqual(a: Member, b: Member, unique: UniqueIndex): boolean {
    if (!this.isBirths(a, unique) || !this.isBirths(b, unique)) return false;
    const value = this.uniqueValue(a, unique);
    return value !== null && this.uniqueValue(b, unique)?.equals(value) === true;
  }

  /** True when nothing but the row's birth has written what it has under a UNIQUE constraint. */
  private isBirths({ state }: Member, unique: UniqueIndex): boolean {
    return unique.parts.every((part) => {
      const column = state.table.columns.find(({ name }) => name === part.name);
      if (!column) return false;
      const births = [state.birth, ...state.twins];
      const byBirth = (write: Write) => births.some(({ origin, sequence }) => write.origin === origin && write.sequence === sequence);
      return registerOf(state, column.cid).every((write) => byBirth(write) && write.value === undefined);
    });
  }

  /** The values that the table shows for an entity: each column's latest write among its members. */
  shown({ members }: Entity): CellValue[] {
    const [first] = members as [Member, ...Member[]];
    if (members.length === 1) return [...first.cells];
    return first.state.table.columns.map(({ cid }, index) => {
      const best = this.shownWrite(members, cid);
      return best.member.cells[index] as CellValue;
    });
  }

  /** The write whose value an entity has in a column, and the member it is of. */
  shownWrite(members: readonly Member[], cid: number): { write: ColumnWrite; member: Member } {
    const winners = members.map((member) => {
      const { state } = member;
      // A row made where there was no such column has not said anything in it.
      const write = winnerOf(registerOf(state, cid), this.knowledge) ?? { ...state.birth, time: -1, value: undefined };
      return { member, write };
    });
    return winners.reduce((best, next) => (compareWrites(next.write, best.write, this.knowledge) > 0 ? next : best));
  }

  /**
   * The live rows that a row stands for, itself included, as they are stored: whatever the application has written since.
   * Of one that is dead and kept, those that were deleted last with it.
   */
  standing(state: RowState): Member[] {
    if (!this.rows.same.exist) return [];
    const alive = isAlive(state, this.knowledge);
    const connected = this.connected(state);
    const among = alive
      ? connected.filter((other) => isAlive(other, this.knowledge))
      : (this.divide(connected).entities[0]?.members ?? []).map((member) => member.state);
    const its = among.filter((other) => isSame(other, state) || this.stands(state, other));
    return its.map((other) =>
      isSame(other, state) ? { state, cells: [], alive } : { state: other, cells: this.rows.cells(other), alive },
    );
  }

  /** True when `state` is in the table for `other`, as they are stored. */
  stands(state: RowState, { place }: RowState): boolean {
    if (place.kind !== "joined" || state.place.kind === "joined" || state.place.kind === "dead") return false;
    return place.rep === null || (place.rep.origin === state.identity.origin && place.rep.sequence === state.identity.sequence);
  }

  /** The live members of the entity that a row belongs to, itself included where it lives; the row alone where it is one alone. */
  entityOf(state: RowState): Member[] {
    const alone = () => [{ state, cells: this.rows.cells(state), alive: isAlive(state, this.knowledge) }];
    if (!this.concerns(state)) return alone();
    const { entities } = this.divide(this.connected(state));
    const its = entities.find(({ members }) => members.some((member) => isSame(member.state, state)));
    return its?.members ?? alone();
  }
}

/** A row's birth under the name that never changes. */
function named(state: RowState): Write {
  return state.table.surrogate ? { ...state.birth, ...state.identity } : state.birth;
}

const placeOf = ({ birth }: RowState): string => `${birth.origin}:${birth.sequence}`;

export function isSame(a: RowState, b: RowState): boolean {
  return a.birth.origin === b.birth.origin && a.birth.sequence === b.birth.sequence;
}
