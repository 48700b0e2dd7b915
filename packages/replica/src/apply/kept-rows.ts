import type { Database } from "better-sqlite3";
import { type CellValue, Ref, winnerOf, type Write } from "@scoutsync/core";
import { valueStatement } from "../kept-statements.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { isSame } from "../rows/members.ts";
import { localWrite, writeAgain } from "../rows/local-writes.ts";
import { isAlive, isWrittenApart, latestTime } from "../rows/registers.ts";
import { ownedDots, releaseBut, type RowState, valuesIn } from "../rows/row-state.ts";
import { DeletedTargets, dependsOn } from "../rows/foreign-keys.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Identity } from "../rows/same-links.ts";
import type { Table } from "../schema/catalog.ts";
import type { Placement } from "./placement.ts";
import type { RelatedRows } from "./related-rows.ts";

/**
 * A row in its table whose delete has won, with the values it ends with and the positions that differ from the table. Those at `there` are not
 * in `cells`: the table has them.
 */
interface Dying {
  birth: Write;
  cells: readonly CellValue[];
  there: readonly number[];
  changed: readonly number[];
}

const dotName = ({ origin, sequence }: Write): string => `${origin}:${sequence}`;

/** Deletes: rows whose delete has won leave their tables together, but for those that a concurrent write refers to. */
export class KeptRows {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly related: RelatedRows;
  /** Tables are being compared after a migration: rows may refer to others of which that is not known yet. */
  private readonly isComparing: () => boolean;
  /** As `noteUnseen` of `Reconciliation`. */
  private readonly noteUnseen: (state: RowState) => boolean;
  /** Rows in their table whose delete has won, with the values they end with. */
  private dying: Dying[] = [];
  /** Rows that are being placed just now, and what they refer to with them. */
  private readonly placing = new Set<string>();
  /** Rows that came deleted: what refers to them by value may be here already. */
  private cameDeleted: { birth: Write; again: boolean; table: Table; id: bigint | null }[] = [];
  private readonly deletedTargets: DeletedTargets;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    placement: Placement;
    isComparing: () => boolean;
    noteUnseen: (state: RowState) => boolean;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.isComparing = options.isComparing;
    this.noteUnseen = options.noteUnseen;
    this.related = options.placement.related;
    this.deletedTargets = new DeletedTargets(options.rows);
  }

  /** Call at the start of a transaction. */
  begin(): void {
    this.dying = [];
    this.placing.clear();
    this.cameDeleted = [];
    this.deletedTargets.forget();
  }

  /** A row in its table is deleted: it goes when the batch is through. */
  died(end: Dying): void {
    this.dying.push(end);
  }

  /** A row came deleted, or `again`: somebody else deleted it, too, who may have known less of what it left behind. */
  cameDead(state: RowState, again: boolean): void {
    const { birth, table } = state;
    if (table.dependants.length > 0 || (again && table.referencedBy.length > 0))
      this.cameDeleted.push({ birth, again, table, id: this.related.wanted(state) });
  }

  /** Removes what has died. Rows that refer to each other go together; a row that a concurrent write refers to stays, kept. */
  bury(): void {
    const ends = new Map(this.dying.map((end) => [dotName(end.birth), end]));
    const left = [...ends.values()].flatMap(({ birth }) => {
      const state = this.related.again(birth);
      return state && this.isGoing(state) ? [state] : [];
    });
    this.dying = [];
    const goingBy = left.map(({ table, slot }) => ({ table, id: slot }));
    this.rows.lookingAhead(goingBy, () => this.buryThese(left, ends));
    this.rows.lookingAhead(this.cameDeleted, () => this.bringBackReferredTo());
    this.cameDeleted = [];
  }

  private bringBackReferredTo(): void {
    for (const { birth, again } of this.cameDeleted) {
      const state = this.related.again(birth);
      if (state?.place.kind !== "dead") continue;
      const cells = this.rows.cells(state);
      if (this.isReferredToApart(state, cells) || (again && this.areApart(this.related.leftBy(state), state))) this.bringBack(state, cells);
    }
  }

  private buryThese(going: readonly RowState[], ends: ReadonlyMap<string, Dying>): void {
    const endOf = ({ birth }: RowState) => ends.get(dotName(birth));
    let left = [...going];
    if (this.isComparing()) {
      for (const state of left) this.keep(state, endOf(state));
      left = [];
    }
    // A dead entity stands in its table for what waits, too: removed here, what waits would bring it back, and so on for ever.
    const waiting = this.waitingFor(left.filter((state) => this.placement.entities.concerns(state)));
    const waitingOf = ({ identity }: RowState) => waiting.get(`${identity.origin}:${identity.sequence}`) ?? [];
    for (let progress = true; progress && left.length > 0;) {
      progress = false;
      const still: RowState[] = [];
      for (const state of left) {
        const referring = [...this.related.referrers(state).filter((child) => !isSame(child, state)), ...waitingOf(state)];
        if (referring.length > 0) still.push(state);
        else {
          this.remove(state, endOf(state));
          progress = true;
        }
      }
      left = still;
    }
    // A kept row keeps what it refers to: looked at again as long as one more is kept.
    for (let progress = true; progress;) {
      progress = false;
      for (const state of left) {
        if (!this.isReferredToApart(state) && !waitingOf(state).some((child) => this.meansApart(child, state) || child.kept)) continue;
        this.keep(state, endOf(state));
        left = left.filter((other) => other !== state);
        progress = true;
      }
    }
    for (const state of left) this.remove(state, endOf(state));
  }

  /**
   * True when a live row that was written apart from the delete refers to this deleted one, or a row that is kept itself.
   * `cells` as for `referrers`.
   */
  private isReferredToApart(state: RowState, cells: readonly CellValue[] | null = null): boolean {
    return this.areApart(this.related.referrers(state, cells), state);
  }

  private areApart(children: readonly RowState[], parent: RowState): boolean {
    return children.some((child) => child.kept || this.meansApart(child, parent));
  }

  /**
   * True when this row lives and was written apart from the delete of the other, to which it refers, or of the one that it
   * refers to and the other stands for.
   */
  private meansApart(child: RowState, parent: RowState): boolean {
    if (!isAlive(child, this.knowledge)) return false;
    if (!this.rows.same.exist) return this.isApart(child, parent, null);
    const named = this.namedBy(child, parent);
    return named.length === 0 ? this.isApart(child, parent, null) : named.some((ref) => this.isApart(child, parent, ref));
  }

  /** The names by which a row refers to another one: that one's, or of rows that it stands for. */
  private namedBy(child: RowState, parent: RowState): Ref[] {
    const cells = this.placement.entities.shown(child);
    return child.table.references.flatMap(({ index, parent: table }) => {
      const ref = cells[index];
      if (table !== parent.table || child.table.columns[index]?.soft || !(ref instanceof Ref)) return [];
      const stands = this.rows.references.representative(table, ref);
      return stands.origin === parent.identity.origin && stands.sequence === parent.identity.sequence ? [ref] : [];
    });
  }

  /** Rows that wait, for whatever reason, by the names of those of `parents` that they refer to. */
  private waitingFor(parents: readonly RowState[]): ReadonlyMap<string, RowState[]> {
    const found = new Map<string, RowState[]>();
    if (this.placement.waiting === 0) return found;
    const tables = new Set(parents.flatMap(({ table }) => table.referencedBy.map(({ child }) => child)));
    for (const child of [...tables].flatMap((table) => this.rows.waiting({ table }))) {
      const cells = this.placement.entities.shown(child);
      for (const { index, parent } of child.table.references) {
        const ref = cells[index];
        if (!(ref instanceof Ref) || child.table.columns[index]?.soft) continue;
        const { origin, sequence } = this.rows.references.representative(parent, ref);
        const name = `${origin}:${sequence}`;
        const others = found.get(name);
        if (others) others.push(child);
        else found.set(name, [child]);
      }
    }
    return found;
  }

  /** True when a row was written apart from the delete of the one that it refers to as `ref`; of `parent`, where that is null. */
  private isApart(row: RowState, parent: RowState, ref: Identity | null): boolean {
    const own = ref === null || (ref.origin === parent.identity.origin && ref.sequence === parent.identity.sequence);
    const named = own ? parent : this.rows.byIdentity(parent.table, ref.origin, ref.sequence);
    const deleted = named && winnerOf(named.deletes, this.knowledge);
    if (!deleted || deleted.alive) return false;
    if (isWrittenApart(row, deleted, this.knowledge)) return true;
    // Where several rows are one, whichever of them has the reference.
    if (!this.placement.entities.concerns(row)) return false;
    return this.placement.members.entityOf(row).some(({ state }) => isWrittenApart(state, deleted, this.knowledge));
  }

  /** True for a deleted row in its table, or one that has left it since it died, with a row that it refers to: nobody has decided about that. */
  private isGoing(state: RowState): boolean {
    if (isAlive(state, this.knowledge)) return false;
    return state.place.kind === "table" || (state.place.kind === "waiting" && !state.kept && !this.placement.entities.concerns(state));
  }

  /** The row as it is: another one that goes, stays or comes back may have changed what it refers to. */
  private now(state: RowState): RowState {
    return this.related.again(state.birth) ?? state;
  }

  private remove(dying: RowState, end: Dying | undefined): void {
    const state = this.now(dying);
    // Read twice by now.
    releaseBut(valuesIn(dying), valuesIn(state));
    if (state.place.kind === "waiting") this.giveUp(state);
    else this.placement.remove(state, this.endingWith(state, end));
  }

  /** The values a row ends with. */
  private endingWith(state: RowState, end: Dying | undefined): readonly CellValue[] {
    if (end?.there.length === 0) return end.cells;
    const now = this.rows.cells(state);
    return end ? end.cells.map((cell, index) => (end.there.includes(index) ? (now[index] as CellValue) : cell)) : now;
  }

  private keep(dying: RowState, end: Dying | undefined): void {
    const kept = this.now(dying);
    const before = ownedDots(kept);
    kept.kept = true;
    this.markKept(kept);
    const cells = this.endingWith(kept, end);
    const shown = this.placement.entities.concerns(kept) ? this.placement.entities.shown(kept) : cells;
    this.keepParents(kept, shown);
    const state = this.now(kept);
    state.kept = true;
    if (state.place.kind !== "table") {
      this.placement.place(state, cells, before);
      return;
    }
    const stray = this.related.strayReference(state, shown);
    const { values: wanted, missing } = this.rows.references.concrete(state.table, shown);
    // Edited before it was deleted, to refer to a row that is not here or waits itself; or that has come back just now, and waits.
    if (stray || missing) return this.placement.evict(state, cells, stray ?? "parent", missing, before);
    if (end && end.changed.length > 0) {
      const refused = this.placement.tryUpdate(state, end.changed, wanted);
      if (refused) return this.placement.evict(state, cells, refused, null, before);
      this.rows.said.noteOwn(state, cells, wanted);
    }
    const values = this.rows.tableValues(state);
    if (!values) return;
    if (state.table.surrogate && this.related.idFor(state) !== state.slot)
      this.placement.move(state, values, this.rows.references.abstract(state.table, values), before);
    else this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
  }

  /**
   * Kept rows that local writes refer to are decided to live, and what those refer to: an ordinary write to their existence.
   * A row that lives is no reason to keep what its author knew to be deleted. `isAsked`: a person has said so of them.
   */
  revive(births: readonly Write[], wall: number, isAsked = false): void {
    const open = [...births];
    for (const birth of open) {
      const state = this.related.again(birth);
      if (!state?.kept || state.place.kind !== "table") continue;
      open.push(...this.keptParents(state));
      // What is stored of it from here on is of what nobody captured, too: no comparison would find that.
      this.noteUnseen(state);
      this.live(state, wall, isAsked);
    }
    this.placement.entities.arrangeTouched();
  }

  /** Brings back deleted rows to which the application has made these refer, where others keep them for it. */
  keepReferred(births: readonly Write[]): void {
    for (const birth of births) {
      const state = this.related.again(birth);
      if (state?.place.kind === "table") this.keepParents(state, this.placement.entities.shown(state));
    }
  }

  /** Deleted rows in their tables to which one in its table refers. */
  keptParents(state: RowState): Write[] {
    if (state.table.references.length === 0 && state.table.dependsOn.length === 0) return [];
    const values = state.place.kind === "table" ? this.rows.tableValues(state) : null;
    if (!values) return [];
    const named = state.table.references.flatMap(({ index, parent }) => {
      const value = values[index];
      return typeof value === "bigint" ? (this.rows.byId(parent, value) ?? []) : [];
    });
    const id = state.table.surrogate ? state.slot : null;
    return [...named, ...dependsOn(this.rows, state.table, id, values)].flatMap(({ kept, birth }) => (kept ? [birth] : []));
  }

  /**
   * Writes that a deleted row lives, with those it was one with when it was deleted. Stored; its place is the caller's matter.
   * `isAsked`: a person brings them back.
   */
  live(state: RowState, wall: number, isAsked: boolean): void {
    const { members, entities } = this.placement;
    const its = entities.concerns(state) ? (members.divide(members.connected(state)).entities[0]?.members ?? []) : [];
    const together = its.some((member) => isSame(member.state, state)) ? its.map((member) => member.state) : [state];
    const at = Math.max(wall, ...together.map((member) => latestTime(member) + 1));
    for (const member of together) {
      const mine = isSame(member, state) ? state : member;
      const [before, cells] = [ownedDots(mine), this.rows.cells(mine)];
      this.decideToLive(mine, at, isAsked ? cells : null);
      this.rows.saveRegisters(mine, cells, before);
      if (entities.concerns(mine)) entities.touch(mine.birth);
    }
  }

  /**
   * Writes that a deleted row lives, at this time or after all that it knows; `asked`: with what it holds, where a person brings
   * it back. Whoever places it stores it, too.
   */
  decideToLive(state: RowState, wall: number, asked: readonly CellValue[] | null): void {
    const write = localWrite(state, Math.max(wall, latestTime(state) + 1), state.deletes, this.knowledge);
    if (asked) writeAgain(state, asked, write, this.knowledge);
    state.deletes = [{ ...write, alive: true }];
    state.kept = false;
    this.unmarkKept(state);
  }

  deadReferred(state: RowState, cells: readonly CellValue[]) {
    const byValue = this.deadByValue(state, cells);
    return [...this.rows.references.concrete(state.table, cells).dead, ...byValue.map((target) => ({ state: target, ref: null }))];
  }

  /** Deleted rows to which one refers by foreign keys other than to integer keys. */
  deadByValue(state: RowState, cells: readonly CellValue[]): RowState[] {
    return state.table.dependsOn.length > 0 ? this.deletedTargets.of(state.table, this.related.wanted(state), cells) : [];
  }

  /** Brings back deleted rows that this one refers to, where neither author knew of the other or this one is kept itself. */
  keepParents(state: RowState, cells: readonly CellValue[]): boolean {
    const dead = this.deadReferred(state, cells);
    if (dead.length === 0) return false;
    let kept = false;
    const self = dotName(state.birth);
    // In a circle one comes back to where it began: rows of a circle wait for each other and are placed together.
    const outermost = !this.placing.has(self);
    this.placing.add(self);
    for (const { state: parent, ref } of dead) {
      // What a kept row refers to is kept with it.
      if (!state.kept && !this.isApart(state, parent, ref)) continue;
      const current = this.related.again(parent.birth);
      if (current?.place.kind !== "dead" || this.placing.has(dotName(current.birth))) continue;
      this.bringBack(current, this.rows.cells(current));
      kept = true;
    }
    if (outermost) this.placing.delete(self);
    return kept;
  }

  /** Writes that deleted rows which this one refers to live, and what they refer to: a person has brought this one back. */
  reviveParents(state: RowState, cells: readonly CellValue[], wall: number): void {
    const dead = this.deadReferred(state, cells);
    if (dead.length === 0) return;
    for (const { state: parent } of dead) {
      const current = this.related.again(parent.birth);
      if (current?.place.kind !== "dead" || this.placing.has(dotName(current.birth))) continue;
      this.placing.add(dotName(current.birth));
      const held = this.rows.cells(current);
      this.reviveParents(current, held, wall);
      this.live(current, wall, true);
      this.placing.delete(dotName(current.birth));
      this.placement.place(current, held, ownedDots(current));
    }
    this.placement.entities.arrangeTouched();
  }

  /** A deleted row is in its table for others that left it, until `bury` or `reviewKept` decides. */
  keepForNow(state: RowState): void {
    state.kept = true;
    this.markKept(state);
  }

  private bringBack(state: RowState, cells: readonly CellValue[]): void {
    const before = ownedDots(state);
    state.kept = true;
    this.markKept(state);
    this.placement.place(state, cells, before);
  }

  private markKept(state: RowState): void {
    this.db
      .prepare("INSERT INTO _scoutsync_kept(oid, sequence) VALUES(?, ?) ON CONFLICT DO NOTHING")
      .run(state.birth.origin, state.birth.sequence);
  }

  /** Nobody may come to look through all of them: they are counted for people. */
  private unmarkKept({ birth }: RowState): void {
    this.db.prepare("DELETE FROM _scoutsync_kept WHERE oid = ? AND sequence = ?").run(birth.origin, birth.sequence);
  }

  /** Gives of each of these rows those that refer to it, in their tables or waiting for a place. */
  referring(rows: readonly RowState[]): (state: RowState) => RowState[] {
    const waiting = this.waitingFor(rows);
    return (state) => [...this.related.referrers(state), ...(waiting.get(`${state.identity.origin}:${state.identity.sequence}`) ?? [])];
  }

  /** True when some row is kept. */
  get keepsRows(): boolean {
    return valueStatement(this.db, "SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
  }

  /**
   * Kept rows that nothing refers to apart any more go after all, and then those that only they referred to. While tables are
   * being compared all of them stay: it is asked again at the end of that.
   */
  reviewKept(): void {
    if (this.isComparing()) return;
    const names = this.db.prepare("SELECT oid, sequence FROM _scoutsync_kept").all() as { oid: number; sequence: number }[];
    const left: RowState[] = [];
    const forget = this.db.prepare("DELETE FROM _scoutsync_kept WHERE oid = ? AND sequence = ?");
    for (const { oid, sequence } of names) {
      const state = this.rows.byDot(oid, sequence);
      // Noted by the birth that it had, too, where another one has come to count since, which is noted as well.
      const isBirth = state?.birth.origin === oid && state.birth.sequence === sequence;
      if (isBirth && state.kept && !isAlive(state, this.knowledge)) left.push(state);
      else forget.run(oid, sequence);
    }
    // From rows that live down to what they keep: rows that only keep each other go.
    const grounded = new Set<string>();
    const waiting = this.waitingFor(left);
    for (let progress = true; progress;) {
      progress = false;
      for (const state of left) {
        const name = dotName(state.birth);
        if (grounded.has(name)) continue;
        const referring = [...this.related.referrers(state), ...(waiting.get(`${state.identity.origin}:${state.identity.sequence}`) ?? [])];
        if (!referring.some((child) => (child.kept ? grounded.has(dotName(child.birth)) : this.meansApart(child, state)))) continue;
        grounded.add(name);
        progress = true;
      }
    }
    for (const state of left) {
      if (grounded.has(dotName(state.birth))) continue;
      const going = this.now(state);
      if (going.place.kind === "table") this.placement.remove(going);
      else if (going.place.kind === "waiting") this.giveUp(going);
      forget.run(state.birth.origin, state.birth.sequence);
    }
  }

  /** A row that waits, to be kept maybe, is deleted after all. */
  private giveUp(state: RowState): void {
    const before = ownedDots(state);
    const cells = this.rows.cells(state);
    state.kept = false;
    state.place = { kind: "dead" };
    this.placement.waiting--;
    this.rows.saveOut(state, false, this.related.wanted(state), cells, before);
  }
}
