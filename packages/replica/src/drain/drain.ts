import { releaseLarge, type SqlValue, type Write } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { CAPTURE, eventCode, imageTable, Op } from "../capture/triggers.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { noteDrained, skipWrites } from "../identity/receipts.ts";
import type { Groups } from "../log/groups.ts";
import type { Quarantine } from "../quarantine/quarantine.ts";
import type { EntityMembers } from "../rows/members.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { Reconciliation } from "../schema/reconcile.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import { Affected } from "./affected.ts";
import type { EarlyReferences } from "./early-references.ts";
import { Captured, type Displaced, type Event, EVENTS_AT_ONCE, isFirstOfTwo, isKeyChange, keylessEvent, nameOf } from "./captured.ts";
import { KeylessDrain } from "./keyless-drain.ts";
import { OwnWrites } from "./own-writes.ts";
import { RowDrain } from "./row-drain.ts";
import { WholeParts } from "./whole-parts.ts";

/** Deletes that lie in one another: SQLite lets triggers do no more. */
const MOST_NESTED = 1_000;

/** Turns captured events into changes. All of it happens inside the caller's write transaction. */
export class Drain {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly clock: ReplicaClock;
  private readonly quarantine: Quarantine;
  private readonly groups: Groups;
  private readonly captured: Captured;
  private readonly affected: Affected;
  private readonly writes: OwnWrites;
  private readonly row: RowDrain;
  private readonly keyless: KeylessDrain;
  private readonly parts: WholeParts;
  private readonly early: EarlyReferences;
  /** The last sequence before the group that the drain is in the middle of; null between groups. */
  private groupAfter: number | null = null;
  private groupAtBegin: number | null = null;
  /** Rows that were born though they are gone, by an event that is yet to be drained: no mass delete takes anything away with them. */
  private readonly going = new Set<string>();
  /** Numbers of the events that rows are about to go, until they have. */
  private readonly goesFrom = new Map<string, number>();

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    members: EntityMembers;
    clock: ReplicaClock;
    groups: Groups;
    reconciliation: Reconciliation;
    quarantine: Quarantine;
    early: EarlyReferences;
    isMidStream: () => boolean;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.clock = options.clock;
    this.quarantine = options.quarantine;
    this.groups = options.groups;
    this.early = options.early;
    this.captured = new Captured(options);
    this.affected = new Affected(options);
    this.writes = new OwnWrites({ ...options, affected: this.affected });
    options.reconciliation.tellRenamed = this.writes.tellRenamed.bind(this.writes);
    this.row = new RowDrain({ ...options, writes: this.writes });
    this.keyless = new KeylessDrain({
      ...options,
      noteReferred: (state, values) => this.affected.noteReferred(state, values),
      noteEmptied: (state, foreign, event) => this.row.noteEmptied(state, foreign, event),
    });
    this.parts = new WholeParts(options);
  }

  /** As `Affected.take`. */
  takeAffected(): ReturnType<Affected["take"]> {
    return this.affected.take();
  }

  /** As `OwnWrites.takeToFill`. */
  takeToFill(): Write[] {
    return [...this.writes.takeToFill(), ...this.keyless.takeToFill()];
  }

  /** As `RowDrain.foundWithoutKey`. */
  get foundWithoutKey(): boolean {
    return this.row.foundWithoutKey;
  }

  /** Its rows without a key are looked for from now on. */
  lookedForWithoutKey(): void {
    this.row.foundWithoutKey = false;
  }

  /** Captured events that wait. */
  pending(): number {
    return this.captured.pending();
  }

  /** True when at least so many captured events wait; counts no further. */
  isPending(count: number): boolean {
    return this.captured.isPending(count);
  }

  /** As `WholeParts.see`. */
  see(): void {
    this.parts.see();
  }

  /** True when some event of a table waits. */
  hasEventsOf(table: Table): boolean {
    return this.captured.hasEventsOf(table);
  }

  /** As `Captured.hasEventsBefore`. */
  hasEventsBefore(us: number): boolean {
    return this.captured.hasEventsBefore(us);
  }

  /** True when some event waits. */
  get needed(): boolean {
    return this.captured.needed;
  }

  /** Drains until nothing waits or `until` (milliseconds of performance.now) has passed. Returns true when nothing waits. */
  run(until: number): boolean {
    const tables = new Map(this.rows.tables.map((table, order) => [table.tid, { table, order }]));
    if (tables.size === 0) return true;
    this.begin();
    const startedUs = this.clock.nowUs();
    this.parts.look();
    const selected = this.captured.select("n <= ?");
    const displaced: Displaced = new Map();
    for (let at: SqlValue = 0n; ;) {
      const part = this.parts.next();
      const raw = selected.select.all(at, part ?? Number.MAX_SAFE_INTEGER) as SqlValue[][];
      // One more than is drained: a turn that ended with the last event would leave the group without its end.
      const complete = raw.length <= EVENTS_AT_ONCE;
      const next = complete ? undefined : raw.pop();
      const last = raw.at(-1) as SqlValue[];
      // An update of a row without a key is two events, and so is a changed key: the second begins the next page.
      if (!complete && (isFirstOfTwo(last, tables) || isKeyChange(last, next))) raw.pop();
      at = raw.at(-1)?.[0] ?? at;
      const isAll = complete && part === null;
      // No row of a part has an event after it.
      this.drainEvents(raw, tables, selected, complete, displaced);
      this.rows.flush();
      this.early.look();
      this.early.settle();
      if (isAll) {
        this.early.end();
        for (const [table, events] of displaced) this.keyless.displaced(table, events.map(keylessEvent));
        this.endGroup();
        this.parts.begin();
        this.quarantine.drained();
        this.captured.forgetGoings();
        this.going.clear();
        this.goesFrom.clear();
        this.clock.drained();
        if (at === 0n) return true;
        noteDrained(this.db, Number(at), this.knowledge.lastDot, startedUs);
        this.db.exec(`DELETE FROM ${CAPTURE}`);
        for (const { table } of tables.values()) this.db.exec(`DELETE FROM ${imageTable(table.tid)}`);
        return true;
      }
      if (complete) {
        this.endGroup();
        this.groupAfter = this.knowledge.lastSequence;
      }
      this.parts.drained(complete ? (part as number) : Number(at));
      this.captured.forget(at as bigint, tables, displaced, this.quarantine.into() === null ? [] : this.awaited());
      if (performance.now() > until) {
        this.groups.leaveOpen(this.groupAfter as number);
        return false;
      }
    }
  }

  /**
   * Numbers of the events that rows are about to go, whose deletes are yet to be drained: a run that is killed in between, or fails, would
   * not know what they emptied. Of those that a trigger of the application kept from going only the latest: deletes lie in one another.
   */
  private awaited(): number[] {
    return [...this.goesFrom.values()].slice(-MOST_NESTED);
  }

  private begin(): void {
    this.clock.look(this.knowledge.lastSequence);
    this.groupAfter ??= this.knowledge.lastSequence;
    this.row.begin();
    this.affected.begin();
    this.writes.begin();
    this.early.begin();
  }

  /**
   * Drains what waits of a table without a primary key, and nothing else: each event has its whole row, so that no table has to be
   * read under columns which a migration has dropped.
   */
  runKeyless(table: Table): void {
    this.begin();
    // Some of a later transaction is drained with an earlier one.
    this.parts.forget();
    const codes = [Op.insert, Op.update, Op.delete, Op.displaced].map((op) => eventCode(table.tid, op));
    const ours = `event IN (${codes.join(", ")})`;
    const { keys, select } = this.captured.select(ours);
    const displaced: Event[] = [];
    for (let at: SqlValue | undefined = 0n; at !== undefined;) {
      const raw = select.all(at) as SqlValue[][];
      // An update is two events: the second begins the next page.
      if (raw.length > EVENTS_AT_ONCE && Number(raw.at(-1)?.[2]) === Op.update) raw.pop();
      const events = raw.map((values) => this.captured.event(table, values, keys));
      this.keyless.drain(table, events.map(keylessEvent));
      displaced.push(...events.filter(({ op }) => op === Op.displaced));
      at = raw.at(-1)?.[0];
    }
    this.keyless.displaced(table, displaced.map(keylessEvent));
    this.rows.flush();
    this.early.look();
    const last = this.db.prepare(`SELECT max(n) FROM ${CAPTURE}`).pluck().get() as number | null;
    if (last !== null) skipWrites(this.db, last);
    this.db.exec(`DELETE FROM ${CAPTURE} WHERE ${ours}`);
  }

  /** Events may be taken off the list, so that their numbers are used again. */
  forgetParts(): void {
    this.parts.forget();
    this.captured.forgetGoings();
    this.going.clear();
    this.goesFrom.clear();
  }

  /** A transaction begins. */
  remember(): void {
    this.groupAtBegin = this.groupAfter;
    this.clock.remember();
  }

  /** It was rolled back. */
  reload(): void {
    this.groupAfter = this.groupAtBegin;
    this.clock.undo();
    this.groups.reload();
    this.forgetParts();
    this.early.reload();
  }

  /** Nothing waits that belongs to what was drained: no transaction is cut in two here. */
  private endGroup(): void {
    if (this.groupAfter !== null) this.groups.end(this.groupAfter);
    this.groupAfter = null;
  }

  /**
   * Follows rows through their events, parents before children. Where an integer is used again after its row was
   * deleted, what came before is drained first: a reference to that integer means the old row until then.
   */
  private drainEvents(
    raw: SqlValue[][],
    tables: ReadonlyMap<number, { table: Table; order: number }>,
    { keys, select }: ReturnType<Captured["select"]>,
    complete: boolean,
    displaced: Displaced,
  ): void {
    let groups = new Map<string, { table: Table; order: number; events: Event[] }>();
    const retaken = this.captured.retaken(raw, tables, keys);
    /** The event, yet to come, by which a row goes that these have inserted. */
    const later = (table: Table, events: readonly Event[]): Event | null => {
      const id = events.find(({ op }) => op === Op.insert)?.key[0];
      if (!table.surrogate || table.referencedBy.length === 0 || typeof id !== "bigint") return null;
      const n = this.captured.goesBy(table, id, events.at(-1)?.n ?? 0);
      const [end] = n === null ? [] : (select.all(n - 1, n) as SqlValue[][]);
      const event = end ? this.captured.event(table, end, keys) : null;
      return event?.seen ? event : null;
    };
    const flush = (last: boolean) => {
      const gone: { table: Table; events: Event[]; bore: boolean }[] = [];
      for (const [name, { table, events }] of [...groups].sort(([, a], [, b]) => a.order - b.order)) {
        if (table.keyless) {
          this.keyless.drain(table, events.map(keylessEvent));
          continue;
        }
        // Where its key is taken again, by an event yet to come if it was deleted, the table holds another row.
        const end = events.at(-1);
        const isGone = end?.op === Op.displaced ? end.n < (retaken.get(name) ?? 0) : end?.op === Op.delete && !last;
        const values = isGone ? null : this.row.read(table, events);
        // It goes by an event after this part: until then what refers to it means it.
        const went = values === null && !isGone && !last ? later(table, events) : null;
        if (went && this.row.bearGone(table, [...events, went])) {
          this.going.add(name);
          continue;
        }
        const goes = end?.op === Op.delete || end?.op === Op.displaced;
        if (values === null) gone.push({ table, events, bore: this.row.bearGone(table, events) || (goes && this.going.delete(name)) });
        else {
          this.row.follow(table, events, values, last);
          // Only its hash was needed: the row stays where it is.
          values.forEach(releaseLarge);
        }
      }
      // Deletes last, children first: their author knew everything else that this drain found.
      const goneBy = gone.map(({ table, events }) => ({ table, id: events.at(-1)?.key[0] }));
      this.rows.lookingAhead(goneBy, () => {
        for (const { table, events, bore } of gone.toReversed()) {
          if (bore) this.row.deleteBorn(table, events.at(-1) as Event);
          else this.row.follow(table, events, null, last);
        }
      });
      this.row.settleEmptied();
      groups = new Map();
    };
    let noted: Noted[] = [];
    const note = (one: Noted) => {
      noted.push(one);
      const group = groups.get(one.name);
      if (group) group.events.push(one.event);
      else groups.set(one.name, { table: one.table, order: one.order, events: [one.event] });
    };
    const came = cameToTwins(raw, tables);
    for (const [i, values] of raw.entries()) {
      const found = tables.get(Number(values[1]));
      if (!found) continue;
      const event = this.captured.event(found.table, values, keys);
      const { twin } = found.table;
      const changedSides = event.op === Op.delete && twin !== null && came.has(`${twin.tid} ${Number(values[3])}`);
      event.replaced ||= isKeyChange(values, raw[i + 1]) || changedSides;
      if (found.table.keyless && event.op === Op.displaced) {
        const held = displaced.get(found.table);
        if (held) held.push(event);
        else displaced.set(found.table, [event]);
        continue;
      }
      const name = found.table.keyless ? `${found.table.tid}` : nameOf(found.table, event.key);
      if (event.op === Op.going) {
        this.goesFrom.delete(name);
        this.goesFrom.set(name, event.n);
        continue;
      }
      if (event.op === Op.delete && found.table.empties.length > 0) {
        event.from = this.goesFrom.get(name) ?? null;
        this.goesFrom.delete(name);
      }
      const one = { ...found, name, event };
      const isRetaken = event.op === Op.insert && found.table.surrogate;
      if (isRetaken && groups.get(name)?.events.some(({ op }) => op === Op.delete || op === Op.displaced)) {
        const cascaded = cascadedBefore(noted, one);
        for (const { name: itsName } of cascaded) {
          const { events } = groups.get(itsName) as { events: Event[] };
          events.pop();
          if (events.length === 0) groups.delete(itsName);
        }
        flush(false);
        noted = [];
        for (const moved of cascaded) note(moved);
      }
      note(one);
    }
    flush(complete);
  }
}

/** When rows came to tables that have a twin: one that went from the twin by the same statement got a key, or lost it. */
function cameToTwins(raw: readonly SqlValue[][], tables: ReadonlyMap<number, { table: Table }>): ReadonlySet<string> {
  const hasTwin = (tid: SqlValue | undefined) => tables.get(Number(tid))?.table.twin != null;
  return new Set(raw.flatMap(([, tid, op, at]) => (Number(op) === Op.insert && hasTwin(tid) ? [`${Number(tid)} ${Number(at)}`] : [])));
}

/** An event, and the row it is of. */
interface Noted {
  table: Table;
  order: number;
  name: string;
  event: Event;
}

/**
 * Where a row's key was changed to an integer that is taken again: the events that came before this one and mean the row that has it
 * now. SQLite changes what refers to a row before the triggers on its key run. In their order, with the row's own; none otherwise.
 */
function cascadedBefore(noted: readonly Noted[], came: Noted): Noted[] {
  const isOfStatement = (one: Noted | undefined): one is Noted => one !== undefined && one.event.at === came.event.at;
  const isOwn = ({ table }: Noted) => table === came.table;
  let at = noted.length;
  let went = false;
  for (let one = noted[at - 1]; isOfStatement(one) && isOwn(one); one = noted[at - 1]) {
    if (one.event.op === Op.update ? one.name !== came.name : one.event.op !== Op.delete || one.name === came.name || went) break;
    went ||= one.event.op === Op.delete;
    at--;
  }
  const own = at;
  for (let one = noted[at - 1]; isOfStatement(one) && (!isOwn(one) || one.event.op === Op.update); one = noted[at - 1]) at--;
  return went && at < own ? noted.slice(at) : [];
}
