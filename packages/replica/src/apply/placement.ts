import { hash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { type CellValue, compareWrites, concurrent, type Ref, type SqlValue, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive, localWrite } from "../rows/registers.ts";
import { ownedDots, type RowState, UNSTORED, type WaitingReason } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";

/** Waiting rows looked at before the clock is looked at. */
const ROWS_AT_ONCE = 200;

type Dots = ReturnType<typeof ownedDots>;

interface Dying {
  birth: Write;
  cells: readonly CellValue[];
  changed: readonly number[];
}

/** Re-keyed integers lie between these: above ids in ordinary use, and with half of the 31-bit range left for the ids SQLite hands out next. */
const REKEY_FROM = 2 ** 24;
const REKEY_BELOW = 2 ** 30;

/** The integer of a re-keyed row: its claim for generation 0, else a hash of identity and generation, the same everywhere. */
export function rekeyedId(origin: string, sequence: number, generation: number): bigint {
  const mixed = hash("sha256", `${origin}:${sequence}:${generation}`, "buffer").readUInt32BE(0);
  return BigInt(REKEY_FROM + (mixed % (REKEY_BELOW - REKEY_FROM)));
}

/**
 * Decides which rows are in their table, under which integer, and which wait. Foreign keys are not enforced on this
 * connection and no action of theirs runs: what a row refers to is looked after here.
 */
export class Placement {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  /** Rows that the current batch put to wait or took out, by the dot of their birth. */
  private waited: Write[] = [];
  /** Rows in their table whose delete has won, with the values they end with. */
  private dying: Dying[] = [];
  private waiting = 0;
  /** Rows to be tried because what they waited for is there. */
  private awake: Write[] = [];
  private waking = false;
  /** Where the pass over waiting rows is, and whether it has placed any. */
  private passAfter = 0n;
  private passMoved = false;
  /** As things were when nothing was left to decide. */
  private settledVersion = -1;
  private settledWaiting = -1;
  /** Integers of rows that are being placed together, by identity. */
  private cycle: ReadonlyMap<string, bigint> = new Map();
  /** Identities that some row waits for, as `origin:sequence`; null = not read yet. May name more than are left. */
  private awaited: Set<string> | null = null;
  /** Rises whenever a row in its table gets another integer or leaves: what was looked up before may be wrong. */
  moves = 0;

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
  }

  /** Call at the start of a transaction. */
  begin(): void {
    this.waited = [];
    this.dying = [];
    this.waiting = this.rows.waitingCount();
    if (this.waiting === 0) this.awaited = new Set();
  }

  /** Call after a rollback: what was remembered may not be so. */
  forget(): void {
    this.settledVersion = -1;
    this.awaited = null;
  }

  /** True when some row may wait for this one to be in its table. */
  isAwaited(origin: number, sequence: number): boolean {
    if (this.waiting === 0) return false;
    this.awaited ??= new Set(this.rows.blockers());
    return this.awaited.has(`${origin}:${sequence}`);
  }

  get waitingRows(): number {
    return this.waiting;
  }

  /** The integer that the merged state gives a surrogate row. */
  idFor(state: RowState): bigint {
    if (!state.rekey) return state.claim;
    return rekeyedId(this.knowledge.nameOf(state.identity.origin), state.identity.sequence, state.rekey.generation);
  }

  /** Earlier births come first: who keeps an integer or a UNIQUE value. */
  compareBirths(a: RowState, b: RowState): number {
    return compareWrites(a.birth, b.birth, this.knowledge);
  }

  /**
   * Brings the tables in line with a merged state. `cells` are its current values, references as identities;
   * `changed` the positions whose value moved; `before` the dots it owned when it was loaded.
   */
  settle(state: RowState, cells: readonly CellValue[], changed: readonly number[], before: Dots): void {
    const alive = isAlive(state, this.knowledge);
    if (alive) state.kept = false;
    if (state.place.kind !== "table") {
      if (alive) this.place(state, cells, before);
      else {
        if (state.place.kind === "waiting" && state.slot !== UNSTORED) this.waiting--;
        if (state.place.kind === "dead") this.repoint(state);
        state.place = { kind: "dead" };
        this.rows.saveOut(state, false, this.wanted(state), cells, before);
      }
      return;
    }
    if (!alive) {
      // Its table keeps the values it has until the end of the batch: new ones may clash with rows that take its place.
      this.dying.push({ birth: state.birth, cells, changed });
      const values = this.rows.tableValues(state);
      if (values) this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
      return;
    }
    this.keepParents(state, cells);
    const { values, missing } = this.rows.concrete(state.table, cells);
    if (missing) return this.evict(state, cells, "parent", missing, before);
    if (changed.length > 0) {
      const refused = this.tryUpdate(state, changed, values);
      if (refused) return this.evict(state, cells, refused, null, before);
    }
    if (state.table.surrogate && this.idFor(state) !== state.slot) this.move(state, values, cells, before);
    else this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
  }

  private wanted(state: RowState): bigint | null {
    return state.table.surrogate ? this.idFor(state) : null;
  }

  private tryUpdate(state: RowState, changed: readonly number[], values: readonly SqlValue[]): WaitingReason | null {
    const key = this.rows.keyValues(state) as SqlValue[];
    const bound = bindable(changed.map((index) => values[index] as SqlValue));
    return refusal(this.db, state.table, () => this.rows.of(state.table).update(key, changed, bound.values, bound.raw));
  }

  /** Puts a live row into its table, or notes what it waits for. */
  place(state: RowState, cells: readonly CellValue[], before: Dots): boolean {
    if (!state.kept && !isAlive(state, this.knowledge)) {
      if (state.place.kind === "waiting" && state.slot !== UNSTORED) this.waiting--;
      state.place = { kind: "dead" };
      this.rows.saveOut(state, false, this.wanted(state), cells, before);
      return false;
    }
    const wasWaiting = state.place.kind === "waiting" && state.slot !== UNSTORED;
    const wait = (reason: WaitingReason, blocker: Ref | null) => {
      state.place = { kind: "waiting", reason, blocker: blocker ? { origin: blocker.origin, sequence: blocker.sequence } : null };
      this.rows.saveOut(state, false, this.wanted(state), cells, before);
      if (!wasWaiting) this.waiting++;
      if (blocker) this.awaited?.add(`${blocker.origin}:${blocker.sequence}`);
      this.waited.push(state.birth);
      return false;
    };
    // Bringing a parent back wakes those who waited for it: this row may be among them.
    if (this.keepParents(state, cells) && wasWaiting && this.again(state.birth)?.place.kind === "table") return true;
    const id = this.wanted(state);
    const { values, missing } = this.rows.concrete(state.table, cells, this.together(state, id));
    if (missing) return wait("parent", missing);
    // Looked up rather than tried: where two servers have handed out the same ids, an exception per row is what takes time.
    if (id !== null && this.rows.byId(state.table, id)) return wait("integer", null);
    const bound = bindable(values);
    const refused = refusal(this.db, state.table, () => this.rows.of(state.table).insert(id, bound.values, bound.raw));
    if (refused) return wait(refused, null);
    this.rows.saveInTable(state, id, values, before);
    if (wasWaiting) this.waiting--;
    if (state.table.surrogate && this.isAwaited(state.identity.origin, state.identity.sequence)) this.wake(state);
    return true;
  }

  /** Rows of a cycle that are placed at once, by identity; the row itself is always one. */
  private together(state: RowState, id: bigint | null): ReadonlyMap<string, bigint> {
    if (id === null) return this.cycle;
    return new Map(this.cycle).set(`${state.identity.origin}:${state.identity.sequence}`, id);
  }

  /**
   * Rows that wait only for each other (spouses, a captain and the team) are placed together: the greatest set of
   * waiting rows in which nobody waits for anyone outside of it.
   */
  private placeCycles(): boolean {
    const inside = new Map<string, RowState>();
    for (const state of this.rows.waiting({ reason: "parent" }))
      if (state.table.surrogate) inside.set(`${state.identity.origin}:${state.identity.sequence}`, state);
    for (let shrunk = true; shrunk && inside.size > 0;) {
      shrunk = false;
      this.cycle = new Map([...inside].map(([name, state]) => [name, this.idFor(state)]));
      for (const [name, state] of inside) {
        if (!this.rows.concrete(state.table, this.rows.cells(state), this.cycle).missing) continue;
        inside.delete(name);
        shrunk = true;
      }
    }
    const members = [...inside.values()].sort((x, y) => this.compareBirths(x, y));
    const used = new Set<string>();
    for (const member of members) {
      const name = `${member.table.tid}:${this.idFor(member)}`;
      if (used.has(name) || this.rows.byId(member.table, this.idFor(member))) {
        // Integers first: the caller comes back when this one has another.
        this.cycle = new Map();
        this.rekeyLaterBorn(member);
        return true;
      }
      used.add(name);
    }
    for (const member of members) this.retry(member);
    this.cycle = new Map();
    // One that a constraint refused after all leaves the others without what they refer to.
    const refused = members.flatMap(({ birth }) => this.again(birth) ?? []).filter((state) => state.place.kind !== "table");
    for (const state of refused) {
      for (const table of this.rows.tables) {
        for (const { index, parent } of table.references) {
          if (parent !== state.table) continue;
          for (const key of this.rows.of(table).keysWhere((table.columns[index] as { name: string }).name, this.idFor(state))) {
            const child = this.stateAt(table, key);
            if (child && members.some(({ birth }) => birth.origin === child.birth.origin && birth.sequence === child.birth.sequence)) {
              this.evict(child, this.rows.cells(child), "parent", state.identity, ownedDots(child));
            }
          }
        }
      }
    }
    return members.length > refused.length;
  }

  /** Rows that waited for this one. */
  private wake(parent: RowState): void {
    this.awaited?.delete(`${parent.identity.origin}:${parent.identity.sequence}`);
    this.awake.push(...this.rows.waiting({ blocker: parent.identity }).map(({ birth }) => birth));
    // Rows woken by woken rows join the list: a chain may be longer than the stack is deep.
    if (this.waking) return;
    this.waking = true;
    try {
      for (let birth = this.awake.shift(); birth; birth = this.awake.shift()) {
        const child = this.again(birth);
        if (child?.place.kind === "waiting") this.place(child, this.rows.cells(child), ownedDots(child));
      }
    } finally {
      this.waking = false;
      this.awake = [];
    }
  }

  /** Takes a row out of its table, and first the rows that refer to it: they wait for it. */
  private evict(state: RowState, cells: readonly CellValue[], reason: WaitingReason, blocker: Ref | null, before: Dots): void {
    for (const { birth, parent } of this.descendants(state)) {
      const child = this.again(birth);
      if (child?.place.kind === "table") this.takeOut(child, this.rows.cells(child), "parent", parent, ownedDots(child));
    }
    this.takeOut(state, cells, reason, blocker, before);
  }

  /** Rows that refer to this one, and to those, each after the rows that refer to it. */
  private descendants(state: RowState): { birth: Write; parent: Ref }[] {
    const found: { birth: Write; parent: Ref }[] = [];
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

  private takeOut(state: RowState, cells: readonly CellValue[], reason: WaitingReason, blocker: Ref | null, before: Dots): void {
    this.moves++;
    const key = this.rows.keyValues(state);
    if (key) this.rows.of(state.table).delete(key);
    state.place = { kind: "waiting", reason, blocker };
    this.rows.saveOut(state, true, this.wanted(state), cells, before);
    this.waiting++;
    if (blocker) this.awaited?.add(`${blocker.origin}:${blocker.sequence}`);
    this.waited.push(state.birth);
  }

  /** The row as it is now: placing one row may have moved others. */
  private again(birth: Write): RowState | null {
    return this.rows.byDot(birth.origin, birth.sequence);
  }

  /** Rows in their tables that refer to this one. */
  private children(parent: RowState): RowState[] {
    return this.referring(parent).map(({ child }) => child);
  }

  /** Rows in their tables that refer to this one, with the column that does. */
  private referring(parent: RowState): { child: RowState; cid: number }[] {
    if (!parent.table.surrogate) return [];
    return parent.table.referencedBy.flatMap(({ child: table, column }) =>
      this.rows
        .of(table)
        .keysWhere(column.name, parent.slot)
        .flatMap((key) => {
          const child = this.stateAt(table, key);
          return child ? [{ child, cid: column.cid }] : [];
        }),
    );
  }

  private stateAt(table: Table, key: readonly SqlValue[]): RowState | null {
    if (table.surrogate) return this.rows.byId(table, key[0] as bigint);
    const state = this.rows.byKey(table, this.rows.keyFromValues(table, key));
    return state?.place.kind === "table" ? state : null;
  }

  /** Gives a row in its table another integer; what refers to it follows. */
  private move(state: RowState, values: readonly SqlValue[], cells: readonly CellValue[], before: Dots): void {
    const from = state.slot;
    const to = this.idFor(state);
    if (this.rows.byId(state.table, to)) return this.evict(state, cells, "integer", null, before);
    this.moves++;
    const children = this.referring(state);
    this.rows.of(state.table).move(from, to);
    this.rows.saveInTable(state, to, values, before);
    for (const { child, cid } of children) {
      const itself = child.table === state.table && child.slot === from;
      const current = itself ? state : this.again(child.birth);
      if (!current) continue;
      const dots = ownedDots(current);
      const index = current.table.indexOf.get(cid) as number;
      // A natural key that contains the reference changes in the table with it; its identity does not.
      const key = itself ? [to] : this.keyBefore(current, from, state);
      this.rows.of(current.table).update(key, [index], [to], []);
      const read = this.rows.tableValues(current);
      if (read) this.rows.saveInTable(current, current.table.surrogate ? current.slot : null, read, dots);
    }
  }

  /** The key as the table still holds it while a referenced row has just got another integer. */
  private keyBefore(child: RowState, from: bigint, parent: RowState): SqlValue[] {
    if (child.table.surrogate) return [child.slot];
    const cells = this.rows.keyCells(child);
    for (const { index, parent: table } of child.table.keyReferences) {
      const ref = cells[index] as Ref;
      if (typeof ref !== "object" || ref === null || !("sequence" in ref)) continue;
      const same = table === parent.table && ref.origin === parent.identity.origin && ref.sequence === parent.identity.sequence;
      cells[index] = same ? from : (this.rows.idOf(table, ref) ?? null);
    }
    return cells as SqlValue[];
  }

  // ---- deletes

  /** Removes what has died. Rows that refer to each other go together; a row that a concurrent write refers to stays, kept. */
  bury(): void {
    const ends = new Map(this.dying.map((end) => [`${end.birth.origin}:${end.birth.sequence}`, end]));
    const endOf = ({ birth }: RowState) => ends.get(`${birth.origin}:${birth.sequence}`);
    let left = [...ends.values()].flatMap(({ birth }) => {
      const state = this.again(birth);
      return state?.place.kind === "table" && !isAlive(state, this.knowledge) ? [state] : [];
    });
    this.dying = [];
    for (let progress = true; progress && left.length > 0;) {
      progress = false;
      const still: RowState[] = [];
      for (const state of left) {
        if (this.children(state).some((child) => !(child.table === state.table && child.slot === state.slot))) still.push(state);
        else {
          this.remove(state, endOf(state)?.cells);
          progress = true;
        }
      }
      left = still;
    }
    for (const state of left) {
      if (this.isReferredToApart(state)) this.keep(state, endOf(state));
      else this.remove(state, endOf(state)?.cells);
    }
  }

  /** True when a live row refers to this deleted one and was written apart from the delete. */
  private isReferredToApart(state: RowState): boolean {
    const deleted = winnerOf(state.deletes, this.knowledge);
    if (!deleted) return false;
    return this.children(state).some((child) => (child.kept || isAlive(child, this.knowledge)) && this.writtenApart(child, deleted));
  }

  /** True when something of the row was written by someone who did not know of the delete, nor its author of it. */
  private writtenApart(row: RowState, deleted: Write): boolean {
    if (concurrent(row.birth, deleted, this.knowledge)) return true;
    for (const writes of row.columns.values()) if (writes.some((write) => concurrent(write, deleted, this.knowledge))) return true;
    return false;
  }

  private keep(state: RowState, end: Dying | undefined): void {
    const before = ownedDots(state);
    state.kept = true;
    this.markKept(state);
    if (end && end.changed.length > 0) {
      const { values } = this.rows.concrete(state.table, end.cells);
      const refused = this.tryUpdate(state, end.changed, values);
      if (refused) return this.evict(state, end.cells, refused, null, before);
    }
    const values = this.rows.tableValues(state);
    if (!values) return;
    if (state.table.surrogate && this.idFor(state) !== state.slot)
      this.move(state, values, this.rows.abstract(state.table, values), before);
    else this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
  }

  private remove(state: RowState, cells: readonly CellValue[] = this.rows.cells(state)): void {
    const before = ownedDots(state);
    const key = this.rows.keyValues(state);
    if (key) this.rows.of(state.table).delete(key);
    this.moves++;
    const id = state.slot;
    state.kept = false;
    state.place = { kind: "dead" };
    this.rows.saveOut(state, true, state.table.surrogate ? id : null, cells, before);
    if (state.table.surrogate && this.idFor(state) !== id) {
      this.repoint(state);
      this.rows.saveOut(state, false, this.idFor(state), cells, ownedDots(state));
    }
  }

  /**
   * Rows left behind by a deleted parent keep its integer; when the merged state gives it another one they follow, so
   * that they hold the same everywhere. Where a live row has taken the integer, only keys tell whose they are.
   */
  private repoint(parent: RowState): void {
    const from = parent.table.surrogate ? this.rows.outId(parent) : null;
    const to = this.wanted(parent);
    if (from === null || to === null || from === to) return;
    const taken = this.rows.byId(parent.table, from) !== null;
    for (const { child: table, column } of parent.table.referencedBy) {
      for (const key of this.rows.of(table).keysWhere(column.name, from)) {
        const child = taken ? this.rows.byKeyOf(table, key, parent) : this.stateAt(table, key);
        if (child?.place.kind !== "table") continue;
        const before = ownedDots(child);
        this.rows.of(table).update(key, [table.indexOf.get(column.cid) as number], [to], []);
        const moved = key.map((part, i) => (table.key[i]?.name === column.name ? to : part));
        const values = this.rows.of(table).read(moved);
        if (values) this.rows.saveInTable(child, table.surrogate ? child.slot : null, values, before, moved);
      }
    }
  }

  // ---- what is decided when everything up to a point is known

  /** Tries again what this batch put to wait: values swapped between rows. Who waits for a parent is woken by it. */
  retryBatch(): void {
    if (this.waited.length === 0) return;
    const again = this.waited;
    this.waited = [];
    const states = again.flatMap((birth) => {
      const state = this.again(birth);
      return state?.place.kind === "waiting" && state.place.reason !== "integer" && state.place.reason !== "parent" ? [state] : [];
    });
    for (const state of states.sort((a, b) => this.compareBirths(a, b))) this.retry(state);
    this.waited = [];
  }

  private retry(state: RowState): boolean {
    const current = this.again(state.birth);
    if (current?.place.kind !== "waiting") return false;
    return this.place(current, this.rows.cells(current), ownedDots(current));
  }

  /**
   * At the end of a stream or drain: gives later-born rows with a taken integer their next one (a fact with a dot of
   * its own), lets earlier-born rows have contested UNIQUE values, keeps parents that concurrent rows refer to. Stops at `until`
   * (milliseconds of performance.now) and returns false when more is left; what nothing can have freed is not tried again.
   */
  normalize(until: number): boolean {
    this.reviewKept();
    if (this.waiting === this.settledWaiting && this.rows.digest.version === this.settledVersion) return true;
    if (!this.settleIntegers(until)) return false;
    for (let passes = 0; this.waiting > 0 && passes < 10_000; passes++) {
      if (!this.tryWaiting(until)) return false;
      const moved = this.passMoved;
      this.passMoved = false;
      if (!moved && !this.placeCycles()) break;
      if (!this.settleIntegers(until)) return false;
    }
    this.waited = [];
    this.settledWaiting = this.waiting;
    this.settledVersion = this.rows.digest.version;
    return true;
  }

  /** Rows whose integer another row has: one of the two gets its next. */
  private settleIntegers(until: number): boolean {
    for (;;) {
      const page = this.rows.waiting({ reason: "integer", limit: ROWS_AT_ONCE });
      if (page.length === 0) return true;
      for (const { birth } of page) {
        const current = this.again(birth);
        if (current?.place.kind !== "waiting" || this.place(current, this.rows.cells(current), ownedDots(current))) continue;
        if (current.place.kind === "waiting" && (current.place as { reason: WaitingReason }).reason === "integer")
          this.rekeyLaterBorn(current);
      }
      if (performance.now() > until) return false;
    }
  }

  /** One pass over all rows that wait, in turns; goes on where the last turn ended. */
  private tryWaiting(until: number): boolean {
    for (;;) {
      const page = this.rows.waiting({ after: this.passAfter, limit: ROWS_AT_ONCE });
      if (page.length === 0) {
        this.passAfter = 0n;
        return true;
      }
      this.passAfter = (page.at(-1) as RowState).slot;
      for (const { birth } of page) {
        const current = this.again(birth);
        if (current?.place.kind !== "waiting") continue;
        if (this.place(current, this.rows.cells(current), ownedDots(current))) this.passMoved = true;
        else if (current.place.kind === "waiting" && (current.place as { reason: WaitingReason }).reason === "unique") {
          this.passMoved = this.displaceLaterBorn(current) || this.passMoved;
        }
      }
      if (performance.now() > until) return false;
    }
  }

  private rekeyLaterBorn(waiting: RowState): void {
    const holder = this.rows.byId(waiting.table, this.idFor(waiting));
    const later = holder && this.compareBirths(holder, waiting) > 0 ? holder : waiting;
    const before = ownedDots(later);
    const cells = this.rows.cells(later);
    later.rekey = { generation: (later.rekey?.generation ?? 0) + 1, ...this.knowledge.nextDot() };
    if (later === waiting) this.place(later, cells, before);
    else {
      const { values } = this.rows.concrete(later.table, cells);
      this.move(later, values, cells, before);
      this.retry(waiting);
    }
  }

  /** Lets an earlier-born row have its UNIQUE values when all who hold them were born later. */
  private displaceLaterBorn(waiting: RowState): boolean {
    const { table } = waiting;
    const cells = this.rows.cells(waiting);
    const { values } = this.rows.concrete(table, cells);
    const holders: RowState[] = [];
    const contested = table.surrogate ? null : this.rows.keyValues(waiting);
    const sameKey = contested && this.stateAt(table, contested);
    if (sameKey) holders.push(sameKey);
    table.uniques.forEach((unique, number) => {
      const wanted = unique.columns.map((part) => {
        const index = table.columns.findIndex((column) => column.name === part.name);
        return index < 0 ? this.idFor(waiting) : (values[index] as SqlValue);
      });
      if (wanted.includes(null)) return;
      for (const key of this.rows.of(table).keysClashing(number, bindable(wanted).values)) {
        const clashing = this.stateAt(table, key);
        if (clashing) holders.push(clashing);
      }
    });
    if (holders.length === 0 || holders.some((holder) => this.compareBirths(holder, waiting) < 0)) return false;
    for (const holder of holders) {
      const current = this.again(holder.birth);
      if (current?.place.kind === "table") this.evict(current, this.rows.cells(current), "unique", null, ownedDots(current));
    }
    return this.retry(waiting);
  }

  /** Kept rows that local writes refer to are decided to live: an ordinary write to their existence. */
  revive(births: readonly Write[], wall: number): void {
    for (const birth of births) {
      const state = this.again(birth);
      if (!state?.kept || state.place.kind !== "table") continue;
      const before = ownedDots(state);
      const write = localWrite(state, wall, state.deletes, this.knowledge);
      state.deletes = [{ ...write, alive: true }];
      state.kept = false;
      const values = this.rows.tableValues(state);
      if (values) this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
    }
  }

  /** Brings back deleted rows that this one refers to, where neither author knew of the other. */
  private keepParents(state: RowState, cells: readonly CellValue[]): boolean {
    let kept = false;
    for (const parent of this.rows.concrete(state.table, cells).dead) {
      const deleted = winnerOf(parent.deletes, this.knowledge);
      if (!deleted || !this.writtenApart(state, deleted)) continue;
      const current = this.again(parent.birth);
      if (current?.place.kind !== "dead") continue;
      const before = ownedDots(current);
      current.kept = true;
      this.markKept(current);
      this.place(current, this.rows.cells(current), before);
      kept = true;
    }
    return kept;
  }

  private markKept(state: RowState): void {
    this.db
      .prepare("INSERT INTO _scoutsync_kept(oid, sequence) VALUES(?, ?) ON CONFLICT DO NOTHING")
      .run(state.birth.origin, state.birth.sequence);
  }

  /** True when some row is kept. */
  get keepsRows(): boolean {
    return this.db.prepare("SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
  }

  /** Kept rows that nothing refers to apart any more go after all. */
  reviewKept(): void {
    const kept = this.db.prepare("SELECT oid, sequence FROM _scoutsync_kept").all() as { oid: number; sequence: number }[];
    for (const { oid, sequence } of kept) {
      const state = this.rows.byDot(oid, sequence);
      if (state?.kept && !isAlive(state, this.knowledge)) {
        if (this.isReferredToApart(state) || this.isAwaitedApart(state)) continue;
        if (state.place.kind === "table") this.remove(state);
        else this.giveUp(state);
      }
      this.db.prepare("DELETE FROM _scoutsync_kept WHERE oid = ? AND sequence = ?").run(oid, sequence);
    }
  }

  /** As `isReferredToApart`, for rows that wait for this one. */
  private isAwaitedApart(state: RowState): boolean {
    const deleted = winnerOf(state.deletes, this.knowledge);
    return deleted !== undefined && this.rows.waiting({ blocker: state.identity }).some((child) => this.writtenApart(child, deleted));
  }

  /** A row that waited to be kept is deleted after all. */
  private giveUp(state: RowState): void {
    const before = ownedDots(state);
    const cells = this.rows.cells(state);
    state.kept = false;
    state.place = { kind: "dead" };
    this.waiting--;
    this.rows.saveOut(state, false, this.wanted(state), cells, before);
  }
}

/** Runs a write; returns why a constraint refused it, null when it went through. Other errors are thrown. */
function refusal(db: Database, table: Table, write: () => void): WaitingReason | null {
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
