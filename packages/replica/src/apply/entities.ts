import { type CellValue, Ref, type SqlValue, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { type Entity, isSame, type Member, type EntityMembers } from "../rows/members.ts";
import { mergeSame } from "../rows/registers.ts";
import { openConflicts, ownedDots, type RowState, UNSTORED } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Identity } from "../rows/same-links.ts";
import { sameValue } from "../rows/values.ts";
import { follow, followersOf, type ValueFollower } from "./followers.ts";
import type { Placement } from "./placement.ts";
import type { Dots, RelatedRows } from "./related-rows.ts";

/** A row that refers to a member of an entity, with what it says itself before anything moves. */
interface Follower {
  birth: Write;
  cells: readonly CellValue[];
  index: number;
}

/**
 * Rows that are one: the earliest born of those that live is in the table with the latest values of all, and stands for
 * the others wherever they are referred to. Each keeps its own registers and values, so that both can be seen and taken
 * apart again.
 */
export class Entities {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly members: EntityMembers;
  private readonly related: RelatedRows;
  /** As `noteUnseen` of `Reconciliation`. */
  private readonly noteUnseen: (state: RowState) => boolean;
  /** Births of rows whose entity has to be arranged anew. */
  private touched = new Map<string, Write>();

  constructor(options: {
    rows: RowStore;
    knowledge: Knowledge;
    members: EntityMembers;
    placement: Placement;
    noteUnseen: (state: RowState) => boolean;
  }) {
    this.noteUnseen = options.noteUnseen;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.members = options.members;
    this.placement = options.placement;
    this.related = options.placement.related;
  }

  /** Call at the start of a transaction. */
  begin(): void {
    this.touched.clear();
  }

  concerns(state: RowState): boolean {
    return this.members.concerns(state);
  }

  /** True when what the table shows for a row is not simply its own values, or was not until this batch. */
  isArranged(state: RowState): boolean {
    return state.own.size > 0 || this.concerns(state) || this.touched.has(`${state.birth.origin}:${state.birth.sequence}`);
  }

  /** Stores what a batch brought for a row that may be one with others; `arrangeTouched` does the rest. */
  settle(state: RowState, cells: readonly CellValue[], before: Dots): void {
    if (state.slot === UNSTORED) state.place = { kind: "joined", rep: null };
    this.rows.saveRegisters(state, cells, before);
    this.touch(state.birth);
    for (const { other, apart } of state.same) {
      const parted = apart ? this.rows.byIdentity(state.table, other.origin, other.sequence) : null;
      if (parted) this.touch(parted.birth);
    }
  }

  touch(birth: Write): void {
    this.touched.set(`${birth.origin}:${birth.sequence}`, birth);
  }

  /** UNIQUE constraints have come, gone or changed: which rows are one may have, too. */
  touchAll(): void {
    for (const identity of this.rows.same.named) {
      const state = this.rows.ofIdentity(identity);
      if (state) this.touch(state.birth);
    }
  }

  /** Arranges every entity that has been touched, and those that follow. */
  arrangeTouched(): void {
    for (let next = this.touched.values().next(); !next.done; next = this.touched.values().next()) {
      this.touched.delete(`${next.value.origin}:${next.value.sequence}`);
      this.arrange(next.value);
    }
  }

  /** Settles the row and whatever moves with it at once; `state` is then as it is. True when it is in its table. */
  place(state: RowState, cells: readonly CellValue[], before: Dots): boolean {
    this.settle(state, cells, before);
    this.touched.delete(`${state.birth.origin}:${state.birth.sequence}`);
    this.arrange(state.birth);
    Object.assign(state, this.related.again(state.birth));
    return state.place.kind === "table";
  }

  /** Values that the table shows, or is to show, for a row: those of its entity. */
  shown(state: RowState): CellValue[] {
    return this.members.shown({ members: this.members.entityOf(state) });
  }

  /** Brings the table in line with what connected rows have become: who represents whom, and with which values. */
  private arrange(birth: Write): void {
    const seed = this.related.again(birth);
    // Rows of a table that has gone are in no table.
    if (!seed || seed.table.absent !== null) return;
    const connected = this.members.connected(seed);
    // What was written past capture is drained first: that touches the row again.
    if (connected.filter((state) => this.noteUnseen(state)).length > 0) return;
    const { entities, dead } = this.members.divide(connected);
    const all = [...entities.flatMap(({ members }) => members), ...dead];
    const targets = new Map<RowState, RowState>();
    for (const { members } of entities) for (const { state } of members) targets.set(state, firstOf(members));
    for (const { state } of dead) targets.set(state, firstOf((entities[0] as Entity).members));
    if (seed.table.surrogate) this.noteDue(connected, entities);
    this.letDeadStand(entities, all);
    const moved = seed.table.surrogate ? all.filter(({ state }) => !standsFor(state, targets.get(state) as RowState)) : [];
    const followers = moved.length > 0 ? this.followersOf(all, moved) : [];
    this.touchJoinedKeys(seed, moved);
    const renamed = entities.map((entity) => this.byValue(entity));
    const waiters = moved.flatMap(({ state }) => this.waitersOf(state).map((waiter) => waiter.birth));
    this.placement.wakeLater(() => {
      for (const member of all) this.join(member, targets.get(member.state) as RowState);
      for (const entity of entities) {
        const [first] = entity.members as [Member, ...Member[]];
        this.placement.show(first.state, first.cells, this.members.shown(entity), ownedDots(first.state));
        this.noteOpen(entity);
      }
      if (moved.length > 0) this.showNaming(entities, moved);
      for (const [i, byValue] of renamed.entries()) {
        const now = byValue.length > 0 ? this.related.again(firstOf((entities[i] as Entity).members).birth) : undefined;
        if (now?.place.kind === "table") follow(this.rows, this.knowledge, now, byValue);
      }
      for (const { birth: child, cells, index } of followers) this.follow(child, cells, index);
    });
    for (const waiter of waiters) {
      const state = this.related.again(waiter);
      if (state?.place.kind === "waiting") this.placement.retry(state);
    }
  }

  /** Rows that refer to values which the table is about to show no more of this entity, by a foreign key to a UNIQUE column that is no key. */
  private byValue({ members }: Entity): ValueFollower[] {
    const [first] = members as [Member, ...Member[]];
    const { table } = first.state;
    if (!first.alive || table.dependants.every(({ isKey }) => isKey)) return [];
    const { values } = this.rows.references.concrete(table, this.members.shown({ members }));
    return members.flatMap(({ state }) => {
      const current = state.place.kind === "table" ? this.rows.tableValues(state) : null;
      if (!current) return [];
      const changed = values.flatMap((value, index) => (sameValue(value, current[index] as SqlValue) ? [] : [index]));
      const moved = changed.map((index) => this.members.shownWrite(members, table.columns[index]?.cid ?? -1).write);
      return followersOf(this.rows, this.knowledge, state, { changed, moved });
    });
  }

  /** What was shown of one that names itself, or one that came into the table after it, was read before that had its integer. */
  private showNaming(entities: readonly Entity[], moved: readonly Member[]): void {
    const names = new Set(moved.map(({ state }) => nameOf(state.identity)));
    for (const entity of entities) {
      const [{ state, cells }] = entity.members as [Member, ...Member[]];
      const shown = this.members.shown(entity);
      if (!shown.some((cell) => cell instanceof Ref && names.has(nameOf(cell)))) continue;
      const current = this.related.again(state.birth);
      if (current?.place.kind === "table") this.placement.show(current, cells, shown, ownedDots(current));
    }
  }

  /** Where all are dead and one is still in its table, the earliest born is there for it until deletes are decided about. */
  private letDeadStand(entities: readonly Entity[], all: readonly Member[]): void {
    const [first] = (entities[0] as Entity).members as [Member, ...Member[]];
    const stood = all.some(({ state }) => state.kept || state.place.kind === "table");
    for (const { state } of all) if (state !== first.state || first.alive) state.kept = false;
    if (first.alive || first.state.place.kind === "table") return;
    if (stood || all.some(({ state }) => this.isReferredTo(state))) this.placement.kept.keepForNow(first.state);
  }

  /** Notes which decided pairs have come to differ. */
  private noteDue(connected: readonly RowState[], entities: readonly Entity[]): void {
    const home = new Map<string, Entity>();
    for (const entity of entities) for (const { state, alive } of entity.members) if (alive) home.set(nameOf(state.identity), entity);
    for (const { identity } of connected) {
      for (const other of this.rows.same.of(identity)) {
        const [mine, its] = [home.get(nameOf(identity)), home.get(nameOf(other))];
        this.rows.same.setDue(identity, other, mine !== undefined && its !== undefined && mine !== its);
      }
    }
  }

  /** Notes in rows that are not shown how many of their values others have replaced in the table. */
  private noteOpen({ members }: Entity): void {
    const columns = (members[0] as Member).state.table.columns;
    for (const { state, cells } of members.slice(1)) {
      const lost = columns.filter(
        ({ cid }, index) => !sameValue(this.members.shownWrite(members, cid).member.cells[index] as CellValue, cells[index] as CellValue),
      );
      this.rows.setOpen(state, openConflicts(state) + lost.length);
    }
  }

  /** Takes a row that another stands for out of its table. */
  private join({ state, cells, alive }: Member, rep: RowState): void {
    if (rep === state) return;
    const named = state.table.surrogate ? rep.identity : null;
    const { place } = state;
    if (place.kind === "joined" && place.rep?.origin === named?.origin && place.rep?.sequence === named?.sequence) return;
    const inTable = place.kind === "table";
    if (inTable) this.placement.leave(state);
    else if (place.kind === "waiting") this.placement.waiting--;
    state.place = { kind: "joined", rep: named };
    this.rows.saveOut(state, inTable, this.related.wanted(state), cells, ownedDots(state));
    const { keptBack } = this.rows.of(rep.table);
    const key = alive && keptBack && rep.place.kind === "table" ? this.rows.keys.keyValues(rep) : null;
    if (key) keptBack?.spare(key);
  }

  /** Rows in their tables that refer to one of `moved`. Those with the reference in their key leave their table meanwhile. */
  private followersOf(all: readonly Member[], moved: readonly Member[]): Follower[] {
    const names = new Set(moved.map(({ state }) => nameOf(state.identity)));
    const met = new Set<string>();
    const followers: Follower[] = [];
    // Those who stood for them until now, too: the decision that they were one may be gone.
    const before = moved.flatMap(({ state: { table, place } }) =>
      place.kind === "joined" && place.rep ? (this.rows.byIdentity(table, place.rep.origin, place.rep.sequence) ?? []) : [],
    );
    for (const state of [...all.map((member) => member.state), ...before]) {
      for (const { child, cid } of this.referring(state)) {
        const index = child.table.indexOf.get(cid) as number;
        const name = `${child.birth.origin}:${child.birth.sequence}:${index}`;
        if (met.has(name)) continue;
        met.add(name);
        const inKey = child.table.keyReferences.some(({ index: at }) => child.table.key[at]?.cid === cid);
        // With whom it is one may change, too: those are not in the table.
        if (inKey) for (const { birth } of this.members.connected(child)) this.touch(birth);
        const cells = this.rows.cells(child);
        const ref = cells[index];
        const refers = ref instanceof Ref && names.has(nameOf(ref));
        // What such a row shows may be what another says; its own values are read before integers change their meaning.
        if (!refers && (inKey || !this.isArranged(child))) continue;
        followers.push({ birth: child.birth, cells, index });
        if (!inKey) continue;
        this.placement.leave(child);
        child.place = { kind: "joined", rep: null };
        this.rows.saveOut(child, true, null, cells, ownedDots(child));
      }
    }
    return followers;
  }

  /**
   * Rows out of their table whose key names one that another stood for until now: they were one with rows whose key named
   * that other. The decision that connected them may be gone, so they are looked for one by one.
   */
  private touchJoinedKeys(seed: RowState, moved: readonly Member[]): void {
    const parted = new Set(
      moved.flatMap(({ state }) => (state.place.kind === "joined" && state.place.rep ? [nameOf(state.identity)] : [])),
    );
    if (parted.size === 0) return;
    for (const table of new Set(seed.table.referencedBy.map(({ child }) => child))) {
      if (!table.keyReferences.some(({ parent }) => parent === seed.table)) continue;
      for (const row of this.rows.joined(table)) {
        if (this.rows.keys.keyCells(row).some((cell) => cell instanceof Ref && parted.has(nameOf(cell)))) this.touch(row.birth);
      }
    }
  }

  /** True when a row refers to this one, or waits for it. */
  private isReferredTo(state: RowState): boolean {
    return this.referring(state).length > 0 || this.waitersOf(state).length > 0;
  }

  private waitersOf({ identity }: RowState): RowState[] {
    return this.placement.isAwaited(identity.origin, identity.sequence) ? this.rows.waiting({ blocker: identity }) : [];
  }

  /** Rows that hold the integer of this one, be it in its table or deleted with rows left behind: where another has it, those that say so. */
  private referring(state: RowState): { child: RowState; cid: number }[] {
    if (state.place.kind === "table") return this.related.referring(state);
    const id = state.place.kind === "dead" ? this.rows.outId(state) : null;
    if (id === null) return [];
    const showing = this.related.referring({ ...state, slot: id });
    if (!this.rows.byId(state.table, id)) return showing;
    return showing.filter(({ child, cid }) => {
      const said = child.own.get(cid);
      return said instanceof Ref && nameOf(said) === nameOf(state.identity);
    });
  }

  private follow(birth: Write, cells: readonly CellValue[], index: number): void {
    const child = this.related.again(birth);
    if (child?.place.kind === "table") this.placement.settle(child, cells, [index], ownedDots(child));
    else if (child?.place.kind === "joined" && child.place.rep === null) this.touch(birth);
  }

  // ---- deciding

  /**
   * States that a waiting row and one that has its UNIQUE values are one, where both were born with that value, neither
   * author knowing of the other: the fact has a dot of its own. False when they are not to be one.
   */
  unify(waiting: RowState, holder: RowState): boolean {
    const { table } = waiting;
    if (!table.surrogate || holder.table !== table || this.placement.parks(table)) return false;
    const [ours, theirs] = [this.members.entityOf(waiting), this.members.entityOf(holder)];
    if (![...ours, ...theirs].every(({ alive }) => alive)) return false;
    if (!ours.every((a) => theirs.every((b) => this.members.bornApart(a.state, b.state)))) return false;
    for (const a of ours) {
      for (const b of theirs) {
        if (this.isDecided(a.state, b.state) || !table.uniques.some((unique) => this.members.bornEqual(a, b, unique))) continue;
        this.state(a.state, b.state, false);
        this.arrangeTouched();
        return true;
      }
    }
    return false;
  }

  /** States that pairs which have come to differ are two for good. Returns whether there were any. */
  part(): boolean {
    if (!this.rows.same.exist) return false;
    let some = false;
    for (const [one, other] of this.rows.same.due) {
      const a = this.rows.ofIdentity(one);
      const b = this.rows.ofIdentity(other);
      if (!a || !b || this.isApart(a, b)) continue;
      this.state(a, b, true);
      some = true;
    }
    this.arrangeTouched();
    return some;
  }

  private isDecided(a: RowState, b: RowState): boolean {
    return factOf(a, b) !== undefined || factOf(b, a) !== undefined;
  }

  private isApart(a: RowState, b: RowState): boolean {
    return (factOf(a, b) ?? factOf(b, a))?.apart === true;
  }

  private state(a: RowState, b: RowState, apart: boolean): void {
    const order = this.knowledge.compareOrigins(a.identity.origin, b.identity.origin) || a.identity.sequence - b.identity.sequence;
    const [other, carrier] = factOf(b, a) || (order < 0 && !factOf(a, b)) ? [a, b] : [b, a];
    const current = this.related.again(carrier.birth) as RowState;
    const before = ownedDots(current);
    const cells = this.rows.cells(current);
    mergeSame(current, { other: { ...other.identity }, apart, ...this.knowledge.nextDot() }, this.knowledge);
    this.rows.saveRegisters(current, cells, before);
    this.touch(a.birth);
    this.touch(b.birth);
  }
}

const nameOf = ({ origin, sequence }: Identity): string => `${origin}:${sequence}`;

const firstOf = (members: readonly Member[]): RowState => (members[0] as Member).state;

const factOf = (carrier: RowState, { identity }: RowState) =>
  carrier.same.find(({ other }) => other.origin === identity.origin && other.sequence === identity.sequence);

/** True when a row is already taken for the one that is to represent it. */
function standsFor(state: RowState, rep: RowState): boolean {
  if (state.place.kind !== "joined") return isSame(state, rep);
  return state.place.rep?.origin === rep.identity.origin && state.place.rep.sequence === rep.identity.sequence;
}
