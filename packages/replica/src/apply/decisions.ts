import type { SqlValue } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import type { EarlyReferences } from "../drain/early-references.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { ownedDots, type RowState, type WaitingReason } from "../rows/row-state.ts";
import { heldKey } from "../rows/row-keys.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { Placement } from "./placement.ts";
import { type RelatedRows, STRAY } from "./related-rows.ts";
import { rowsDisplacedBy } from "./unique-holders.ts";

/** Waiting rows looked at before the clock is looked at. */
const ROWS_AT_ONCE = 200;

/** Two rows that are to be placed together and have one UNIQUE value. */
interface Rivals {
  earlier: RowState;
  later: RowState;
}

type RowAt = (table: Table, key: readonly SqlValue[]) => RowState | null;

/** What is decided when everything up to a point is known: who keeps a contested integer or UNIQUE value. */
export class Decisions {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly related: RelatedRows;
  private readonly early: EarlyReferences;
  /** Where the pass over waiting rows is, and whether it has placed any. */
  private passAfter = 0n;
  private passMoved = false;
  /** As things were when nothing was left to decide. */
  private settledVersion = -1;
  private settledWaiting = -1;

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; placement: Placement; early: EarlyReferences }) {
    this.db = options.db;
    this.early = options.early;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.related = options.placement.related;
  }

  /** Call after a rollback: what was remembered may not be so. */
  forget(): void {
    this.settledVersion = -1;
  }

  /**
   * At the end of a stream or drain: gives later-born rows with a taken integer their next one (a fact with a dot of
   * its own), lets earlier-born rows have contested UNIQUE values, keeps parents that concurrent rows refer to. Stops at `until`
   * (milliseconds of performance.now) and returns false when more is left; what nothing can have freed is not tried again.
   */
  normalize(until: number): boolean {
    // What is placed may leave a kept row without reason, and what goes may free a place.
    for (let rounds = 0; rounds < 1_000; rounds++) {
      this.placement.kept.reviewKept();
      this.placement.entities.part();
      if (this.placement.waiting === this.settledWaiting && this.rows.digest.version === this.settledVersion) return true;
      if (!this.placeWaiting(until)) return false;
    }
    return true;
  }

  private placeWaiting(until: number): boolean {
    if (!this.settleIntegers(until)) return false;
    for (let passes = 0; this.placement.waiting > 0 && passes < 10_000; passes++) {
      if (!this.tryWaiting(until)) return false;
      const moved = this.passMoved;
      this.passMoved = false;
      if (!moved && !this.placeCycles()) break;
      if (!this.settleIntegers(until)) return false;
    }
    this.placement.kept.bury();
    this.placement.forgetWaited();
    this.settledWaiting = this.placement.waiting;
    this.settledVersion = this.rows.digest.version;
    return true;
  }

  /** Rows whose integer another row has: one of the two gets its next. */
  private settleIntegers(until: number): boolean {
    for (;;) {
      const page = this.rows.waiting({ reason: "integer", limit: ROWS_AT_ONCE });
      if (page.length === 0) return true;
      for (const { birth } of page) {
        const current = this.related.again(birth);
        if (current?.place.kind !== "waiting" || this.placement.placeAgain(current)) continue;
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
        const current = this.related.again(birth);
        if (current?.place.kind !== "waiting") continue;
        const waited = this.placement.waiting;
        if (this.placement.placeAgain(current)) this.passMoved = true;
        // A deleted parent that it brought back and that has to wait itself may have been passed already.
        if (this.placement.waiting > waited) this.passMoved = true;
        if (current.place.kind === "waiting" && (current.place as { reason: WaitingReason }).reason === "unique") {
          this.passMoved = this.decideUnique(current) || this.passMoved;
        }
      }
      if (performance.now() > until) return false;
    }
  }

  /** Gives the row with this integer its next one, and what refers to it follows. Nothing where there is none. */
  renumber(table: Table, id: bigint): void {
    this.early.settle();
    const state = this.rows.byId(table, id);
    if (!state) return;
    const before = ownedDots(state);
    const cells = this.rows.cells(state);
    state.rekey = { generation: (state.rekey?.generation ?? 0) + 1, ...this.knowledge.nextDot() };
    const { values } = this.rows.references.concrete(table, cells);
    this.placement.move(state, values, cells, before);
  }

  private rekeyLaterBorn(waiting: RowState): void {
    // Before it moves: rows that show an integer for whoever has it go with that one, and say so.
    this.early.settle();
    const holder = this.rows.byId(waiting.table, this.related.idFor(waiting));
    const later = holder && this.related.compareBirths(holder, waiting) > 0 ? holder : waiting;
    const before = ownedDots(later);
    const cells = this.rows.cells(later);
    later.rekey = { generation: (later.rekey?.generation ?? 0) + 1, ...this.knowledge.nextDot() };
    if (later === waiting) this.placement.place(later, cells, before);
    else {
      const values = this.rows.tableValues(later);
      if (values) this.placement.move(later, values, cells, before);
      this.placement.retry(waiting);
    }
  }

  /**
   * Rows that wait only for each other (spouses, a captain and the team) are placed together: the greatest set of
   * waiting rows in which nobody waits for anyone outside of it.
   */
  private placeCycles(): boolean {
    const inside = new Map<string, RowState>();
    const strays = this.rows.waiting({ like: STRAY });
    for (const state of [...this.rows.waiting({ reason: "parent" }), ...strays])
      if (state.table.surrogate) inside.set(nameOf(state), state);
    this.keepComplete(inside);
    // Who names one that is refused after all is not found again where no foreign key tells of it.
    if (strays.some((state) => inside.has(nameOf(state)))) this.leaveOutRefused(inside);
    const members = [...inside.values()].sort((x, y) => this.related.compareBirths(x, y));
    const used = new Set<string>();
    for (const member of members) {
      const id = this.related.idFor(member);
      const name = `${member.table.tid}:${id}`;
      if (used.has(name) || this.rows.byId(member.table, id) || this.placement.leftBehind.hold(member, id)) {
        // Integers first: the caller comes back when this one has another.
        this.placement.cycle = new Map();
        this.rekeyLaterBorn(member);
        return true;
      }
      used.add(name);
    }
    const contest = this.contestFor(inside);
    if (contest === "one") return true;
    this.giveWay(contest);
    // Whom they wake comes after them: it may have a UNIQUE value of one that is yet to come.
    this.placement.wakeLater(() => {
      for (const member of members) if (inside.has(nameOf(member))) this.placement.retry(member);
      this.placement.cycle = new Map();
      this.evictWithout(members);
    });
    // What was placed may have left again just now, for one that was refused: the next pass would only do the same.
    const placed = members.flatMap(({ birth }) => this.related.again(birth) ?? []).filter((state) => state.place.kind === "table");
    // What they said of rows that were not there yet, their tables show now.
    for (const state of placed) if (state.own.size > 0) this.rows.saveRegisters(state, this.rows.cells(state), ownedDots(state));
    return placed.length > 0;
  }

  /** Of rows that were placed together, one that a constraint refused after all leaves the others without what they refer to. */
  private evictWithout(members: readonly RowState[]): void {
    const refused = members.flatMap(({ birth }) => this.related.again(birth) ?? []).filter((state) => state.place.kind !== "table");
    for (const state of refused) {
      for (const table of this.rows.tables) {
        for (const { index, parent } of table.references) {
          if (parent !== state.table) continue;
          for (const key of this.rows.of(table).keysWhere((table.columns[index] as { name: string }).name, this.related.idFor(state))) {
            const child = this.related.stateAt(table, key);
            if (child && members.some(({ birth }) => birth.origin === child.birth.origin && birth.sequence === child.birth.sequence)) {
              this.placement.evict(child, this.rows.cells(child), "parent", state.identity, ownedDots(child));
            }
          }
        }
      }
    }
  }

  /** Leaves only those rows that wait for nobody outside, and says under which integers they are to be placed together. */
  private keepComplete(inside: Map<string, RowState>): void {
    for (let shrunk = true; shrunk;) {
      shrunk = false;
      this.placement.cycle = new Map([...inside].map(([name, state]) => [name, this.related.idFor(state)]));
      for (const [name, state] of inside) {
        if (!this.placement.valuesFor(state, this.placement.entities.shown(state)).missing) continue;
        inside.delete(name);
        shrunk = true;
      }
    }
  }

  /** Leaves out whom a constraint refuses, whoever has its UNIQUE values, and who waits for such. */
  private leaveOutRefused(inside: Map<string, RowState>): void {
    for (;;) {
      const refused = [...inside.values()].filter((state) => this.isRefusedAnyway(state));
      if (refused.length === 0) return;
      for (const state of refused) inside.delete(nameOf(state));
      this.keepComplete(inside);
    }
  }

  /**
   * Who has UNIQUE values of rows that are to be placed together and was born later; "one" when one of them has been decided
   * to be one with who has it. Leaves out of `inside` whom an earlier-born row, another one of them or another constraint keeps
   * out, and who waits for such: nobody gives way to rows that cannot come.
   */
  private contestFor(inside: Map<string, RowState>): RowState[] | "one" {
    for (;;) {
      const contest = new Map([...inside.values()].map((state) => [state, this.holdersAgainst(state)]));
      const holders = [...contest.values()].flat();
      const rivals = this.rivalsAmong(inside);
      if (holders.length === 0 && rivals.length === 0) return [];
      const together = this.placement.cycle;
      // What becomes one is placed by itself, or comes back here.
      this.placement.cycle = new Map();
      for (const [state, against] of contest) if (against.some((holder) => this.placement.entities.unify(state, holder))) return "one";
      if (rivals.some(({ earlier, later }) => this.placement.entities.unify(later, earlier))) return "one";
      this.placement.cycle = together;
      const before = inside.size;
      for (const [state, against] of contest) {
        const isKeptOut = against.some((holder) => this.related.compareBirths(holder, state) < 0);
        if (isKeptOut || this.isRefusedAnyway(state) || this.related.leansOn(state, holders)) inside.delete(nameOf(state));
      }
      if (inside.size === before) {
        if (rivals.length === 0) return holders;
        inside.delete(nameOf(this.loserOf(rivals)));
      }
      this.keepComplete(inside);
    }
  }

  /** Which rows that are to be placed together have one UNIQUE value. Nothing stays of the attempt. */
  private rivalsAmong(inside: ReadonlyMap<string, RowState>): Rivals[] {
    const unique = [...inside.values()].filter(({ table }) => table.uniques.length > 0);
    if (unique.length < 2) return [];
    const tried = new Map<string, RowState>();
    const rivals: Rivals[] = [];
    this.db.exec("SAVEPOINT rivals");
    try {
      for (const later of unique.sort((x, y) => this.related.compareBirths(x, y))) {
        const earlier = this.holdersAgainst(later, (table, [id]) => tried.get(`${table.tid}:${id as bigint}`) ?? null);
        rivals.push(...earlier.map((holder) => ({ earlier: holder, later })));
        // Whoever was there before gives way, or has been looked at.
        if (earlier.length > 0 || this.isRefused(later)) continue;
        tried.set(`${later.table.tid}:${this.related.idFor(later)}`, later);
      }
      return rivals;
    } finally {
      if (this.db.inTransaction) this.db.exec("ROLLBACK TO rivals; RELEASE rivals");
    }
  }

  /**
   * Which of these rows stays out: of two the later-born one, or the earlier-born one where it would leave with the other.
   * Those come first of which the one that gets in hangs on no other of these contests.
   */
  private loserOf(rivals: readonly Rivals[]): RowState {
    const decided = rivals.map(({ earlier, later }) =>
      this.related.leansOn(earlier, [later]) ? { winner: later, loser: earlier } : { winner: earlier, loser: later },
    );
    const losers = decided.map(({ loser }) => loser);
    const certain = decided.find(({ winner }) => !losers.includes(winner) && !this.related.leansOn(winner, losers));
    return (certain ?? decided[0])?.loser as RowState;
  }

  /** True when a constraint would refuse the row though nobody had its UNIQUE values. Nothing stays of the attempt. */
  private isRefusedAnyway(waiting: RowState): boolean {
    this.db.exec("SAVEPOINT attempt");
    try {
      return this.isRefused(waiting);
    } finally {
      if (this.db.inTransaction) this.db.exec("ROLLBACK TO attempt; RELEASE attempt");
    }
  }

  /** Puts a row into the application's table alone, instead of those that have its UNIQUE values; true when a constraint refused it. */
  private isRefused(waiting: RowState): boolean {
    const { values, missing } = this.placement.valuesFor(waiting, this.placement.entities.shown(waiting));
    if (missing) return true;
    const bound = bindable(values);
    try {
      this.rows.of(waiting.table).insert(this.related.wanted(waiting), bound.values, bound.raw, "REPLACE");
      return false;
    } catch (error) {
      if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT") || !this.db.inTransaction) throw error;
      return true;
    }
  }

  /** Two rows with one UNIQUE value are one, where nobody knew of both; else an earlier-born one has it. */
  private decideUnique(waiting: RowState): boolean {
    const holders = this.holdersAgainst(waiting);
    if (holders.some((holder) => this.placement.entities.unify(waiting, holder))) return true;
    return this.displaceLaterBorn(waiting, holders);
  }

  /** Rows that have what a waiting row wants. `at` gives the row with a key, if it counts. */
  private holdersAgainst(waiting: RowState, at: RowAt = (table, key) => this.related.stateAt(table, key)): RowState[] {
    const { table } = waiting;
    const { values, missing } = this.placement.valuesFor(waiting, this.placement.entities.shown(waiting));
    if (missing) return [];
    const derived = table.uniques.some((unique) => unique.derived);
    return derived ? this.displacedHolders(waiting, values, at) : this.holders(waiting, values, at);
  }

  /** Lets an earlier-born row have its UNIQUE values when all who hold them were born later. */
  private displaceLaterBorn(waiting: RowState, holders: readonly RowState[]): boolean {
    if (holders.length === 0 || holders.some((holder) => this.related.compareBirths(holder, waiting) < 0)) return false;
    // It would have to leave again with them.
    if (this.related.leansOn(waiting, holders)) return false;
    this.giveWay(holders);
    return this.placement.retry(waiting);
  }

  /** Takes rows out of their tables that have UNIQUE values of earlier-born ones. */
  private giveWay(holders: readonly RowState[]): void {
    for (const holder of holders) {
      const current = this.related.again(holder.birth);
      if (current?.place.kind === "table") this.placement.evict(current, this.rows.cells(current), "unique", null, ownedDots(current));
    }
  }

  /** Who holds a UNIQUE value, where indexes compare expressions or hold some rows only. */
  private displacedHolders(waiting: RowState, values: readonly SqlValue[], at: RowAt): RowState[] {
    const { table } = waiting;
    const whole = table.where === null ? table : (table.twin ?? table);
    return rowsDisplacedBy(this.db, this.rows, table, this.related.wanted(waiting), values).flatMap(({ rowid, key }) => {
      const [part, its] = key.length > 0 && !key.includes(null) ? [whole, key] : [whole.keyless ? whole : whole.twin, [rowid]];
      return (part && at(part, its)) ?? [];
    });
  }

  /** Who holds a UNIQUE value of the row, or its key. */
  private holders(waiting: RowState, values: readonly SqlValue[], at: RowAt): RowState[] {
    const { table } = waiting;
    const holders: RowState[] = [];
    const contested = table.surrogate ? null : this.rows.keys.keyValues(waiting);
    const sameKey = contested && at(table, heldKey(table, contested));
    if (sameKey) holders.push(sameKey);
    table.uniques.forEach((unique, number) => {
      const wanted = unique.parts.map((part) => {
        const index = table.columns.findIndex((column) => column.name === part.name);
        return index < 0 ? this.related.idFor(waiting) : (values[index] as SqlValue);
      });
      if (wanted.includes(null)) return;
      for (const part of table.twin ? [table, table.twin] : [table]) {
        for (const key of this.rows.of(part).keysClashing(number, bindable(wanted))) {
          const clashing = at(part, key);
          if (clashing) holders.push(clashing);
        }
      }
    });
    return holders;
  }
}

const nameOf = ({ identity }: RowState): string => `${identity.origin}:${identity.sequence}`;
