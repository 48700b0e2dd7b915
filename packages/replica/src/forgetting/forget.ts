import type { Database } from "better-sqlite3";
import { isCovered, type MemberWord, winnerOf } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive } from "../rows/registers.ts";
import type { EntityMembers } from "../rows/members.ts";
import { dependants } from "../rows/foreign-keys.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { Floor } from "./floor.ts";
import { Needed } from "./needed.ts";
import type { Members } from "./members.ts";
import { SettledConflicts } from "./settled.ts";

/** Deleted rows looked at before the clock is looked at. */
const ROWS_AT_ONCE = 200;
const DAY_US = 86_400_000_000;

interface Dot {
  origin: number;
  sequence: number;
}

/** What was forgotten, or would be, and what is kept and why. Counts are of deleted rows where nothing else is said. */
export interface Forgetting {
  forgotten: number;
  /** Settled conflicts of rows that live. */
  settled: number;
  /** Deleted more recently than the retention. */
  young: number;
  /** Something that is still here refers to them, or they are or were one with others. */
  referredTo: number;
  /** Some node may not have all of them yet. */
  awaited: number;
  /** The nodes that are waited for; an operator may retire one. */
  keptFor: { nodeId: string; name: string; rows: number; heardUs: number }[];
  /** Nodes that have changes this one lacks: until it has them nothing is forgotten. */
  ahead: string[];
  /** No other node is known: nobody who joins could be told what was deleted. */
  alone: boolean;
  /** False when time was up before all were looked at. */
  complete: boolean;
}

export const nothingForgotten = (): Forgetting => ({
  forgotten: 0,
  settled: 0,
  young: 0,
  referredTo: 0,
  awaited: 0,
  keptFor: [],
  ahead: [],
  alone: false,
  complete: true,
});

export interface ForgetOptions {
  /** A row that was deleted less than this ago is kept, days. */
  retentionDays: number;
  /** Only count. */
  dryRun: boolean;
  /** By corrected time, Unix microseconds. */
  nowUs: number;
}

/**
 * One run over all deleted rows, in turns: lets go of those that every node that takes part is known to know of. A row
 * goes with everything there is to it, and only where nothing that is here refers to it.
 */
export class Forgetter {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly floor: Floor;
  private readonly members: Members;
  private readonly entities: EntityMembers;
  private readonly options: ForgetOptions;
  readonly result = nothingForgotten();
  /** What is still to be looked at: tables that refer to others before these. Null before the first turn. */
  private left: Step[] | null = null;
  private after = 0n;
  /** The nodes that nothing may be forgotten without, as known in this turn. */
  private counting: MemberWord[] = [];
  private readonly needed: Needed;
  private readonly settled: SettledConflicts;

  constructor(
    parts: { db: Database; rows: RowStore; knowledge: Knowledge; floor: Floor; members: Members; entities: EntityMembers },
    options: ForgetOptions,
  ) {
    this.db = parts.db;
    this.rows = parts.rows;
    this.knowledge = parts.knowledge;
    this.floor = parts.floor;
    this.members = parts.members;
    this.entities = parts.entities;
    this.options = options;
    this.needed = new Needed(parts.rows);
    this.settled = new SettledConflicts(parts, {
      youngUs: this.youngUs,
      dryRun: options.dryRun,
      isKnownToAll: (dot) => this.isStable([dot]) && this.waitedFor([dot]).length === 0,
    });
  }

  /** One turn up to `until` (milliseconds of performance.now), inside a write transaction, drained. True at the end. */
  turn(until: number): boolean {
    this.counting = this.members.counting;
    const { counting: members } = this;
    const { vector } = this.knowledge;
    this.result.alone = members.length === 0;
    this.result.ahead = members.filter((member) => !isCovered(member.vector, vector)).map(({ node }) => node.name);
    if (this.left === null) {
      this.left = stepsThrough(this.rows.tables);
      this.needed.noteEntities(this.entities);
    }
    const page = this.db
      .prepare("SELECT slot FROM _scoutsync_out WHERE tid = ? AND state = 1 AND slot > ? ORDER BY slot LIMIT ?")
      .safeIntegers(true)
      .pluck();
    for (let step = this.left[0]; step; step = this.left[0]) {
      for (;;) {
        const slots = page.all(step.table.tid, this.after, ROWS_AT_ONCE) as bigint[];
        for (const slot of slots) {
          const state = this.rows.atLog(-step.table.tid, slot);
          if (state && (step.isLook || !this.consider(state))) this.needed.note(state);
        }
        this.after = slots.at(-1) ?? this.after;
        if (slots.length < ROWS_AT_ONCE) break;
        if (performance.now() > until) return false;
      }
      this.left.shift();
      this.after = 0n;
    }
    const isThrough = this.settled.turn(until);
    this.result.settled = this.settled.forgotten;
    return isThrough;
  }

  /** What was written after this is young. */
  private get youngUs(): number {
    return this.options.nowUs - this.options.retentionDays * DAY_US;
  }

  /** True where everything that other nodes have is here, these changes included. */
  private isStable(dots: readonly Dot[]): boolean {
    return !this.result.alone && this.result.ahead.length === 0 && dots.every((dot) => this.knowledge.covers(dot.origin, dot.sequence));
  }

  /** The nodes that may lack one of these changes. */
  private waitedFor(dots: readonly Dot[]): MemberWord[] {
    return this.counting.filter(({ vector }) =>
      dots.some(({ origin, sequence }) => (vector.get(this.knowledge.nameOf(origin)) ?? 0) < sequence),
    );
  }

  /** True when the row was forgotten, or would have been. */
  private consider(state: RowState): boolean {
    const { result } = this;
    const deleted = winnerOf(state.deletes, this.knowledge);
    if (!deleted || deleted.alive || state.kept || state.partial || isAlive(state, this.knowledge)) return false;
    // By the latest of its writes: a clock that was ahead only makes it stay.
    if (state.deletes.some(({ time }) => time > this.youngUs)) {
      result.young++;
      return false;
    }
    const dots = [...ownedDots(state).values()];
    const waitedFor = this.waitedFor(dots);
    for (const { node, atUs } of waitedFor) this.keepFor(node.id, node.name, atUs);
    if (!this.isStable(dots) || waitedFor.length > 0) {
      result.awaited++;
      return false;
    }
    if (this.isReferredTo(state)) {
      result.referredTo++;
      return false;
    }
    result.forgotten++;
    if (this.options.dryRun) return true;
    for (const { origin, sequence } of dots) this.floor.raise(origin, sequence);
    this.rows.erase(state);
    return true;
  }

  private keepFor(nodeId: string, name: string, heardUs: number): void {
    const known = this.result.keptFor.find((kept) => kept.nodeId === nodeId);
    if (known) known.rows++;
    else this.result.keptFor.push({ nodeId, name, rows: 1, heardUs });
  }

  /** True when a row in its table, one that waits, or a deleted one that stays may mean this one. */
  private isReferredTo(state: RowState): boolean {
    const { table, identity } = state;
    // Whatever one of them becomes, the others are to be found: which rows are one must be known wherever one lives.
    if (state.same.length > 0 || this.entities.concerns(state)) return true;
    // A row that waits for another reason may refer to it by its image only.
    if ([...referringTables(table)].some((child) => this.hasWaiting(child))) return true;
    if (this.needed.has(state)) return true;
    const id = this.rows.outId(state);
    if (table.dependants.length > 0) {
      const { values } = this.rows.references.concrete(table, this.rows.cells(state));
      if (dependants(this.rows, state, id, values).length > 0) return true;
    }
    if (!table.surrogate) return false;
    if (this.rows.waiting({ blocker: identity, limit: 1 }).length > 0) return true;
    // A row that has the integer now is who is meant.
    if (id === null || this.rows.byId(table, id)) return false;
    return table.referencedBy.some(({ child, column }) => this.rows.of(child).keysWhere(column.name, id).length > 0);
  }

  private hasWaiting({ tid }: Table): boolean {
    const sql = "SELECT 1 FROM _scoutsync_out INDEXED BY _scoutsync_out_waiting WHERE tid = ? AND state = 2 LIMIT 1";
    return this.db.prepare(sql).get(tid) !== undefined;
  }
}

/** One pass over the deleted rows of a table; `isLook`: only to note what they refer to. */
interface Step {
  table: Table;
  isLook: boolean;
}

function referringTables(table: Table): Set<Table> {
  return new Set([...table.referencedBy.map(({ child }) => child), ...table.dependants.map(({ child }) => child)]);
}

/**
 * Tables that refer to a table come before it. Where they refer to each other there is no such order: what all their
 * deleted rows refer to is noted first, and chains of such rows go from their ends, one with each run.
 */
function stepsThrough(tables: readonly Table[]): Step[] {
  const order: Table[] = [];
  const open = new Set<Table>();
  const met = new Set<Table>();
  const circular = new Set<Table>();
  const visit = (table: Table) => {
    if (open.has(table)) for (const one of open) circular.add(one);
    if (met.has(table)) return;
    met.add(table);
    open.add(table);
    for (const child of referringTables(table)) visit(child);
    open.delete(table);
    order.push(table);
  };
  tables.forEach(visit);
  return [...[...circular].map((table) => ({ table, isLook: true })), ...order.map((table) => ({ table, isLook: false }))];
}
