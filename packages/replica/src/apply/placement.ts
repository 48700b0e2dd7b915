import type { Database } from "better-sqlite3";
import { type CellValue, RawText, Ref, releaseLarge, type SqlValue, type Write } from "@scoutsync/core";
import type { EarlyReferences } from "../drain/early-references.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive } from "../rows/registers.ts";
import { ownedDots, releaseBut, type RowState, UNSTORED, valuesIn, type WaitingReason } from "../rows/row-state.ts";
import type { EntityMembers } from "../rows/members.ts";
import type { Concrete } from "../rows/references.ts";
import type { RowStore, Used } from "../rows/row-store.ts";
import type { Identity } from "../rows/same-links.ts";
import { bindable } from "../rows/table-store.ts";
import { type Bindable, sameValue } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { Decisions } from "./decisions.ts";
import { follow, followersOf } from "./followers.ts";
import { Entities } from "./entities.ts";
import { KeptRows } from "./kept-rows.ts";
import { LeftBehind } from "./left-behind.ts";
import { PastCapture } from "./past-capture.ts";
import { type Dots, RelatedRows } from "./related-rows.ts";

/**
 * Decides which rows are in their table, under which integer, and which wait. Foreign keys are not enforced on this
 * connection and no action of theirs runs: what a row refers to is looked after here.
 */
export class Placement {
  readonly related: RelatedRows;
  /** Which rows are one. */
  readonly members: EntityMembers;
  /** Rows that are one, and who is in the table for them. */
  readonly entities: Entities;
  /** Deletes of a batch, and deleted rows that stay because of what refers to them. */
  readonly kept: KeptRows;
  /** Rows that show the integer of a deleted one. */
  readonly leftBehind: LeftBehind;
  /** What is decided at the end of a stream. */
  readonly decisions: Decisions;
  /** Rows in their tables that hold what nobody else has. */
  readonly pastCapture: PastCapture;
  /** Number of rows that wait. */
  waiting = 0;
  /** Integers of rows that are being placed together, by identity. */
  cycle: ReadonlyMap<string, bigint> = new Map();
  /** Rises whenever a row in its table gets another integer or leaves: what was looked up before may be wrong. */
  moves = 0;
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly early: EarlyReferences;
  /** Rows that the current batch put to wait or took out, by the dot of their birth. */
  private waited: Write[] = [];
  /** Rows to be tried because what they waited for is there. */
  private awake: Write[] = [];
  private waking = false;
  /** Identities that some row waits for, as `origin:sequence`; null = not read yet. May name more than are left. */
  private awaited: Set<string> | null = null;
  /** Lower-case names of tables whose rows are never decided to be one; "*" stands for all. */
  private readonly parking: ReadonlySet<string>;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    members: EntityMembers;
    park: readonly string[];
    isComparing: () => boolean;
    noteUnseen: (state: RowState) => boolean;
    early: EarlyReferences;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.parking = new Set(options.park.map((name) => name.toLowerCase()));
    this.members = options.members;
    this.early = options.early;
    this.pastCapture = new PastCapture(options);
    this.related = new RelatedRows(options);
    this.leftBehind = new LeftBehind({ ...options, related: this.related });
    this.entities = new Entities({ ...options, placement: this });
    this.kept = new KeptRows({ ...options, placement: this });
    this.decisions = new Decisions({ ...options, placement: this });
  }

  /** Forgets which rows the batch put to wait: all have been tried. */
  forgetWaited(): void {
    this.waited = [];
  }

  /** Call when registers have been merged, before anything else is read: arranges what they have touched, and buries what has died. */
  finish(): void {
    this.entities.arrangeTouched();
    this.bury();
  }

  /** Removes what has died, and moves rows whose integer is shown for a deleted one. */
  bury(): void {
    this.kept.bury();
    for (const { table, id } of this.leftBehind.take()) this.decisions.renumber(table, id);
  }

  /** Call at the start of a transaction. */
  begin(): void {
    this.waited = [];
    this.kept.begin();
    this.leftBehind.begin();
    this.entities.begin();
    this.waiting = this.rows.out.waitingCount();
    if (this.waiting === 0) this.awaited = new Set();
  }

  /** Call after a rollback: what was remembered may not be so. */
  forget(): void {
    this.decisions.forget();
    this.awaited = null;
  }

  /** True when some row may wait for this one to be in its table. */
  isAwaited(origin: number, sequence: number): boolean {
    if (this.waiting === 0) return false;
    this.awaited ??= new Set(this.rows.out.blockers());
    return this.awaited.has(`${origin}:${sequence}`);
  }

  get waitingRows(): number {
    return this.waiting;
  }

  /**
   * Brings the tables in line with a merged state. `cells` are its current values, references as identities;
   * `changed` the positions whose value moved; `before` the dots it owned when it was loaded. `used` as of `saveInTable`.
   */
  settle(state: RowState, cells: readonly CellValue[], changed: readonly number[], before: Dots, { used }: Used = {}): void {
    if (state.table.absent !== null || state.partial) return this.hold(state, before);
    if (this.entities.isArranged(state)) return this.entities.settle(state, cells, before);
    const alive = isAlive(state, this.knowledge);
    if (alive) state.kept = false;
    if (state.place.kind !== "table") {
      if (alive) this.place(state, cells, before);
      else {
        if (state.place.kind === "waiting" && state.slot !== UNSTORED) this.waiting--;
        const wasDead = state.place.kind === "dead" && state.slot !== UNSTORED;
        if (wasDead) this.repoint(state);
        state.place = { kind: "dead" };
        this.rows.saveOut(state, false, this.related.wanted(state), cells, before);
        this.kept.cameDead(state, wasDead);
      }
      return;
    }
    if (!alive) {
      // Its table keeps the values it has until the end of the batch: new ones may clash with rows that take its place.
      const values = this.rows.tableValues(state);
      // What is long is read from there then: a batch may delete thousands of large rows.
      const isThere = (cell: CellValue, index: number) =>
        isLong(cell) && !changed.includes(index) && sameValue(cell, values?.[index] ?? null);
      const there = cells.flatMap((cell, index) => (isThere(cell, index) ? [index] : []));
      this.kept.died({ birth: state.birth, cells: cells.map((cell, index) => (there.includes(index) ? null : cell)), there, changed });
      if (!values) return;
      // What it ends with, too: the same batch may say that it is one with another row.
      this.rows.said.noteOwn(state, cells, values, changed.length > 0);
      if (used) releaseBut(cells, [...valuesIn(state), ...changed.map((index) => cells[index] as CellValue)]);
      this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before, null, { used });
      values.forEach(releaseLarge);
      return;
    }
    if (this.kept.keepParents(state, cells) && !this.isStillThere(state)) return void this.place(state, cells, before);
    const stray = this.related.strayReference(state, cells);
    if (stray) return this.evict(state, cells, stray, null, before);
    const concrete = this.rows.references.concrete(state.table, cells);
    const { values, missing } = concrete;
    if (missing) return this.evict(state, cells, "parent", missing, before);
    const followers =
      changed.length > 0 && state.table.dependants.length > 0 ? followersOf(this.rows, this.knowledge, state, { changed }) : [];
    if (changed.length > 0) {
      const refused = this.tryUpdate(state, changed, values);
      if (refused) return this.evict(state, cells, refused, null, before);
    }
    this.rows.said.noteOwn(state, cells, values, this.leftBehind.note(concrete, state.birth) || this.rows.same.exist);
    if (state.table.surrogate && this.related.idFor(state) !== state.slot) this.move(state, values, cells, before);
    else this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before, null, { used });
    this.early.placed(state, cells, changed);
    if (followers.length === 0) return;
    const now = this.related.again(state.birth);
    if (now?.place.kind === "table") follow(this.rows, this.knowledge, now, followers);
  }

  /** Keeps a row for which there is no table: everything of it, until the table comes. */
  private hold(state: RowState, before: Dots): void {
    if (state.place.kind !== "held") state.place = { kind: "held", left: "" };
    this.rows.saveOut(state, false, this.related.wanted(state), [], before);
  }

  /** Bringing back what a row refers to may have made it follow, or wait with that: true where it is in its table, `state` as it is now. */
  private isStillThere(state: RowState): boolean {
    const { place, slot, hash } = this.related.again(state.birth) ?? state;
    Object.assign(state, { place, slot, hash });
    return place.kind === "table";
  }

  tryUpdate(state: RowState, changed: readonly number[], values: readonly SqlValue[]): WaitingReason | null {
    const key = this.rows.keys.keyValues(state) as SqlValue[];
    const bound = bindable(changed.map((index) => values[index] as SqlValue));
    if (hasKeyNow(state.table, values)) return KEY_NOW;
    return refusal(this.db, state.table, () => this.rows.of(state.table).update(key, changed, bound.values, bound.raw));
  }

  /** Puts a row into the application's table alone; why a constraint refused it, null when it went through. */
  tryInsert(table: Table, id: bigint | null, values: readonly Bindable[], raw: readonly number[]): WaitingReason | null {
    return refusal(this.db, table, () => this.rows.of(table).insert(id, values, raw));
  }

  /** True when clashing rows of the table are left to people. */
  parks(table: Table): boolean {
    return this.parking.has("*") || this.parking.has(table.name.toLowerCase());
  }

  /**
   * Brings the table in line with an entity: `state` represents it with the values `shown`, `cells` are what it says
   * itself. A dead row that is not kept leaves its table at the end of the batch.
   */
  show(state: RowState, cells: readonly CellValue[], shown: readonly CellValue[], before: Dots): void {
    const alive = isAlive(state, this.knowledge);
    if (alive) state.kept = false;
    if (state.place.kind !== "table") {
      const placed = this.placeAs(state, cells, shown, before);
      if (!alive && placed) this.kept.died({ birth: state.birth, cells, there: [], changed: [] });
      return;
    }
    if (!alive) this.kept.died({ birth: state.birth, cells, there: [], changed: [] });
    if ((alive || state.kept) && this.kept.keepParents(state, shown) && !this.isStillThere(state))
      return void this.placeAs(state, cells, shown, before);
    const stray = this.related.strayReference(state, shown);
    if (stray) return this.evict(state, cells, stray, null, before);
    const concrete = this.rows.references.concrete(state.table, shown);
    const { values, missing } = concrete;
    if (missing) return this.evict(state, cells, "parent", missing, before);
    const current = this.rows.tableValues(state) ?? [];
    const stood = current.length > 0 ? this.pastCapture.standing(state, current) : null;
    const changed = values.flatMap((value, index) => (sameValue(value, current[index] as SqlValue) ? [] : [index]));
    if (stood) this.pastCapture.keep(state, stood, { changed, cells: shown });
    const refused = changed.length > 0 ? this.tryUpdate(state, changed, values) : null;
    if (refused) return this.evict(state, cells, refused, null, before);
    this.rows.said.noteOwn(state, cells, values, this.leftBehind.note(concrete, state.birth) || this.rows.same.exist);
    if (state.table.surrogate && this.related.idFor(state) !== state.slot) this.move(state, values, cells, before);
    else this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
    this.early.placed(state, cells, changed);
  }

  /** Puts a live row into its table, or notes what it waits for. What it left behind as it was deleted has its integer, and waits with it. */
  place(state: RowState, cells: readonly CellValue[], before: Dots): boolean {
    const wasDead = state.place.kind === "dead" && state.slot !== UNSTORED;
    if (wasDead) this.repoint(state);
    const placed = this.entities.concerns(state) ? this.entities.place(state, cells, before) : this.placeAs(state, cells, cells, before);
    const now = wasDead && !placed ? this.related.again(state.birth) : null;
    if (now?.place.kind !== "waiting") return placed;
    for (const { birth } of this.related.leftBy(now, true)) {
      const child = this.related.again(birth);
      if (child?.place.kind === "table") this.evict(child, this.rows.cells(child), "parent", now.identity, ownedDots(child));
    }
    return false;
  }

  private placeAs(state: RowState, cells: readonly CellValue[], shown: readonly CellValue[], before: Dots): boolean {
    if (!state.kept && !isAlive(state, this.knowledge)) {
      if (state.place.kind === "waiting" && state.slot !== UNSTORED) this.waiting--;
      state.place = { kind: "dead" };
      this.rows.saveOut(state, false, this.related.wanted(state), cells, before);
      return false;
    }
    const wasWaiting = state.place.kind === "waiting" && state.slot !== UNSTORED;
    const wait = (reason: WaitingReason, blocker: Identity | null) => {
      state.place = { kind: "waiting", reason, blocker: blocker ? { origin: blocker.origin, sequence: blocker.sequence } : null };
      this.rows.saveOut(state, false, this.related.wanted(state), cells, before);
      if (!wasWaiting) this.waiting++;
      if (blocker) this.awaited?.add(`${blocker.origin}:${blocker.sequence}`);
      this.waited.push(state.birth);
      // As many rows wait as before, and it may want what it has a right to.
      if (wasWaiting) this.decisions.forget();
      return false;
    };
    const stray = this.related.strayReference(state, shown, this.cycle);
    if (stray) return wait(stray, null);
    // Bringing a parent back wakes those who waited for it: this row may be among them, with what was stored of it.
    if (this.kept.keepParents(state, shown) && wasWaiting) {
      const woken = this.related.again(state.birth);
      if (woken?.place.kind === "table") return this.showWoken(state, woken, { cells, shown, before });
    }
    const id = this.related.wanted(state);
    const concrete = this.valuesFor(state, shown);
    const { values, missing } = concrete;
    if (missing) return wait("parent", missing);
    // Looked up rather than tried: where two servers have handed out the same ids, an exception per row is what takes time.
    if (id !== null && (this.rows.byId(state.table, id) || this.leftBehind.hold(state, id))) return wait("integer", null);
    if (hasKeyNow(state.table, values)) return wait(KEY_NOW, null);
    if (id !== null) this.leftBehind.say(state, id);
    const bound = bindable(values);
    let rowid = 0n;
    const isContested = this.leftBehind.note(concrete, state.birth);
    const refused = refusal(this.db, state.table, () => (rowid = this.rows.of(state.table).insert(id, bound.values, bound.raw)));
    if (refused) return wait(refused, null);
    // Until those that are placed together with it are there, their integers may be ones of deleted rows.
    this.rows.said.noteOwn(state, cells, values, isContested || this.cycle.size > 0 || this.rows.same.exist);
    this.rows.saveInTable(state, id, values, before, state.table.keyless ? [rowid] : null);
    this.early.placed(state, cells);
    if (wasWaiting) this.waiting--;
    if (state.table.surrogate && this.isAwaited(state.identity.origin, state.identity.sequence)) this.wake(state);
    return true;
  }

  /** A row has been put into its table as it was stored, while more of it had been merged: that is shown and stored, too. */
  private showWoken(
    state: RowState,
    { place, slot, hash, own }: RowState,
    { cells, shown, before }: { cells: readonly CellValue[]; shown: readonly CellValue[]; before: Dots },
  ): boolean {
    Object.assign(state, { place, slot, hash, own });
    if (isAlive(state, this.knowledge)) this.show(state, cells, shown, before);
    return this.related.again(state.birth)?.place.kind === "table";
  }

  /** The values with which a row is to be in its table: it may refer to itself, and to those of its cycle. */
  valuesFor(state: RowState, shown: readonly CellValue[]): Concrete {
    return this.rows.references.concrete(state.table, shown, this.together(state, this.related.wanted(state)));
  }

  /** Rows of a cycle that are placed at once, by identity; the row itself is always one. */
  together(state: RowState, id: bigint | null): ReadonlyMap<string, bigint> {
    if (id === null) return this.cycle;
    return new Map(this.cycle).set(`${state.identity.origin}:${state.identity.sequence}`, id);
  }

  /** Rows that waited for this one. */
  private wake(parent: RowState): void {
    this.awaited?.delete(`${parent.identity.origin}:${parent.identity.sequence}`);
    this.awake.push(...this.rows.waiting({ blocker: parent.identity }).map(({ birth }) => birth));
    // Rows woken by woken rows join the list: a chain may be longer than the stack is deep.
    this.wakeLater(() => undefined);
  }

  /** Runs `work`; rows that it wakes are placed after it. */
  wakeLater(work: () => void): void {
    if (this.waking) return work();
    this.waking = true;
    try {
      work();
      for (let birth = this.awake.shift(); birth; birth = this.awake.shift()) {
        const child = this.related.again(birth);
        if (child?.place.kind === "waiting") this.placeAgain(child);
      }
    } finally {
      this.waking = false;
      this.awake = [];
    }
  }

  /** Takes a row out of its table, and first the rows that refer to it: they wait for it. */
  evict(state: RowState, cells: readonly CellValue[], reason: WaitingReason, blocker: Identity | null, before: Dots): void {
    for (const { birth, parent } of this.related.descendants(state)) {
      const child = this.related.again(birth);
      if (child?.place.kind === "table") this.takeOut(child, this.rows.cells(child), "parent", parent, ownedDots(child));
    }
    this.takeOut(state, cells, reason, blocker, before);
  }

  /** Deletes a row from the application's table; the caller stores where it is instead. */
  leave(state: RowState): void {
    this.moves++;
    this.rows.former.left(state);
    const key = this.rows.keys.keyValues(state);
    if (key) this.rows.of(state.table).delete(key);
  }

  private takeOut(state: RowState, cells: readonly CellValue[], reason: WaitingReason, blocker: Identity | null, before: Dots): void {
    this.leave(state);
    state.place = { kind: "waiting", reason, blocker };
    this.rows.saveOut(state, true, this.related.wanted(state), cells, before);
    this.waiting++;
    if (blocker) this.awaited?.add(`${blocker.origin}:${blocker.sequence}`);
    this.waited.push(state.birth);
  }

  /** Gives a row in its table another integer; what refers to it follows. */
  move(state: RowState, values: readonly SqlValue[], cells: readonly CellValue[], before: Dots): void {
    const from = state.slot;
    const to = this.related.idFor(state);
    if (this.rows.byId(state.table, to)) return this.evict(state, cells, "integer", null, before);
    this.moves++;
    const children = this.related.referringRows(state);
    this.rows.former.left(state);
    this.rows.of(state.table).move(from, to);
    this.rows.saveInTable(state, to, values, before);
    for (const { child, cids, key } of children) {
      const itself = child.table === state.table && child.slot === from;
      const current = itself ? state : this.related.again(child.birth);
      const meant = current ? cids.filter((cid) => !this.related.meansAnother(current, cid, state)) : [];
      if (!current || meant.length === 0) continue;
      const { table } = current;
      const store = this.rows.of(table);
      const dots = ownedDots(current);
      store.update(
        itself ? [to] : key,
        meant.map((cid) => table.indexOf.get(cid) as number),
        meant.map(() => to),
        [],
      );
      // A natural key that contains the reference changes in the table with it; its identity does not.
      const moved = itself || table.keyless ? null : key.map((part, i) => (meant.includes(table.key[i]?.cid as number) ? to : part));
      const read = store.read(moved ?? (itself ? [to] : key));
      if (read) this.rows.saveInTable(current, table.surrogate ? current.slot : null, read, dots, moved);
    }
  }

  remove(state: RowState, cells: readonly CellValue[] = this.rows.cells(state)): void {
    const before = ownedDots(state);
    this.leave(state);
    const id = state.slot;
    state.kept = false;
    state.place = { kind: "dead" };
    this.rows.saveOut(state, true, state.table.surrogate ? id : null, cells, before, { used: true, done: true });
    if (state.table.surrogate && this.related.idFor(state) !== id) {
      const removed = this.related.again(state.birth) ?? state;
      this.repoint(removed);
      this.rows.saveOut(removed, false, this.related.idFor(removed), this.rows.cells(removed), ownedDots(removed));
    }
  }

  /**
   * Rows left behind by a deleted parent keep its integer; when the merged state gives it another one they follow, so
   * that they hold the same everywhere. Where another row has had the integer since, they say so, or their keys tell.
   */
  private repoint(parent: RowState): void {
    const from = parent.table.surrogate ? this.rows.outId(parent) : null;
    const to = this.related.wanted(parent);
    if (from === null || to === null || from === to) return;
    const isLast = this.related.hadLast(parent, from);
    for (const { child: table, column } of parent.table.referencedBy) {
      for (const key of this.rows.of(table).keysWhere(column.name, from)) {
        const says = (row: RowState | null) =>
          row?.own.get(column.cid) instanceof Ref && !this.related.meansAnother(row, column.cid, parent);
        const there = this.related.stateAt(table, key);
        const child = says(there) || (isLast && !there?.own.has(column.cid)) ? there : this.rows.references.byKeyOf(table, key, parent);
        if (child?.place.kind !== "table" || this.rows.said.isBare(child, column.cid, parent.table, from)) continue;
        const before = ownedDots(child);
        this.rows.of(table).update(key, [table.indexOf.get(column.cid) as number], [to], []);
        const moved = key.map((part, i) => (table.key[i]?.name === column.name ? to : part));
        const values = this.rows.of(table).read(moved);
        if (values) this.rows.saveInTable(child, table.surrogate ? child.slot : null, values, before, moved);
      }
    }
  }

  /** Tries again what this batch put to wait: values swapped between rows. Who waits for a parent is woken by it. */
  retryBatch(): void {
    if (this.waited.length === 0) return;
    const again = this.waited;
    this.waited = [];
    const states = again.flatMap((birth) => {
      const state = this.related.again(birth);
      return state?.place.kind === "waiting" && state.place.reason !== "integer" && state.place.reason !== "parent" ? [state] : [];
    });
    for (const state of states.sort((a, b) => this.related.compareBirths(a, b))) this.retry(state);
    this.waited = [];
  }

  retry(state: RowState): boolean {
    const current = this.related.again(state.birth);
    if (current?.place.kind !== "waiting") return false;
    return this.placeAgain(current);
  }

  /** As `place`, of a row that is stored as it waits: its values, which are large maybe, are given back. */
  placeAgain(state: RowState): boolean {
    const cells = this.rows.cells(state);
    const placed = this.place(state, cells, ownedDots(state));
    releaseBut(cells, valuesIn(state));
    return placed;
  }
}

/** Bytes or characters from which on a value is not remembered for the length of a batch. */
const LONG = 1024;

function isLong(value: CellValue): boolean {
  if (typeof value === "string") return value.length >= LONG;
  return (value instanceof RawText ? value.bytes : value instanceof Uint8Array ? value : "").length >= LONG;
}

const KEY_NOW = "constraint: two servers each gave this row a part of its key, and together they are a whole one";

/** True for a row without a key whose merged values have one: it would be another row of the table. */
function hasKeyNow({ where, nullable, columns }: Table, values: readonly SqlValue[]): boolean {
  return where !== null && columns.every(({ name }, i) => !nullable.includes(name) || values[i] !== null);
}

/** Runs a write; returns why a constraint refused it, null when it went through. Other errors are thrown. */
function refusal(db: Database, table: Table, write: () => unknown): WaitingReason | null {
  try {
    write();
    return null;
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    // A ROLLBACK clause of the application ends our transaction: nothing after this may be written outside of one.
    if (!db.inTransaction) throw error;
    if (code === "SQLITE_CONSTRAINT_PRIMARYKEY" || code === "SQLITE_CONSTRAINT_ROWID") return table.surrogate ? "integer" : "unique";
    if (code === "SQLITE_CONSTRAINT_UNIQUE") return "unique";
    if (code.startsWith("SQLITE_CONSTRAINT")) return `constraint: ${(error as Error).message}`;
    throw error;
  }
}
