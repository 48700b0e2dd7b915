import type { Database, Statement } from "better-sqlite3";
import { type CellValue, releaseLarge, type SqlValue, type Write } from "@scoutsync/core";
import { CAPTURE, captureColumns, eventCode, imageNumber, imageTable, maskCount, MASK_BITS, Op } from "../capture/triggers.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Groups } from "../log/groups.ts";
import { dependsOn } from "../rows/foreign-keys.ts";
import { noteDrained, skipWrites } from "../identity/receipts.ts";
import { Notices } from "../rows/notices.ts";
import {
  blindWrite,
  closeWinners,
  isAlive,
  latestTime,
  localWrite,
  rebirth,
  registerOf,
  replaceColumn,
  tellBirth,
  unseeingDelete,
  writeBeside,
  writeUnseen,
} from "../rows/registers.ts";
import { isSame, type Member, type EntityMembers } from "../rows/members.ts";
import type { RowStore } from "../rows/row-store.ts";
import { ownedDots, type RowState, UNSTORED } from "../rows/row-state.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import { type Edit, hasCombiningRule, ruleOf } from "../rows/ruled-columns.ts";
import type { Table } from "../schema/catalog.ts";
import { KeylessDrain } from "./keyless-drain.ts";
import { TakenOver } from "./taken-over.ts";
import { UnseenRows } from "./unseen-rows.ts";
import { WholeParts } from "./whole-parts.ts";
import type { Quarantine } from "../quarantine/quarantine.ts";
import type { Doubts, Reconciliation } from "../schema/reconcile.ts";
import { mayHoldRawText, sameValue, packKey, textFromBytes } from "../rows/values.ts";
import { valueStatement } from "../kept-statements.ts";

/** Events read at a time; between reads the clock is looked at. */
const EVENTS_AT_ONCE = 2_000;

/** Unix epoch as a Julian day, and microseconds in a day. */
const EPOCH_DAY = 2_440_587.5;
const DAY_US = 86_400_000_000;

interface Event {
  /** Its place in the dirty list. */
  n: number;
  op: number;
  /** Unix microseconds, corrected, never later than the drain's own clock. */
  wall: number;
  /** Bits of changed columns; every column for an insert. */
  masks: bigint[];
  key: SqlValue[];
  image: SqlValue[];
  /** False where nothing captured the image, which is then NULLs. */
  seen: boolean;
  /** Of an update: what it found in columns whose rule asks for that; null where nothing noted it. */
  found: SqlValue[] | null;
}

/** What was written to a row, and what it held before as far as somebody saw that; in catalog order. */
interface Written {
  values: readonly CellValue[];
  found: readonly CellValue[] | null;
}

/** Rows of a table that an OR REPLACE may have displaced are looked at when nothing waits any more: until then their events stay. */
type Displaced = Map<Table, Event[]>;
/** Marks what nobody may have captured, too; and columns that are newer than a natural key's birth as written by nobody yet. */
function withDoubts(state: RowState, written: boolean[], doubts: Doubts | null): boolean[] {
  if (!doubts) return written;
  if (!state.table.surrogate) for (const cid of doubts.added) if (!state.columns.has(cid)) state.columns.set(cid, []);
  return written.map((was, i) => was || doubts.written[i] === true);
}

/** Names one row of one table while a drain lasts. */
const nameOf = (table: Table, key: SqlValue[]): string => `${table.tid} ${packKey(table.key, key).toString("latin1")}`;

const NO_DOTS: ReadonlyMap<string, { origin: number; sequence: number }> = new Map();

/** Turns captured events into changes. All of it happens inside the caller's write transaction. */
export class Drain {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly clock: ReplicaClock;
  private readonly keyless: KeylessDrain;
  private readonly reconciliation: Reconciliation;
  private readonly quarantine: Quarantine;
  /** Where deletes are kept back; null when they are ordinary ones. */
  private into: number | null = null;
  private readonly members: EntityMembers;
  private referred: Write[] = [];
  private toFill: Write[] = [];
  private touched: Write[] = [];
  private rowsAreKept = false;
  private rowsAreHeld = false;
  private readonly unseen: UnseenRows;
  private readonly takenOver: TakenOver;
  private readonly notices: Notices;
  /** A row with NULL in its key was captured, and the table's rows without a key do not take part yet. */
  foundWithoutKey = false;
  private readonly groups: Groups;
  private readonly parts: WholeParts;
  /** The last sequence before the group that the drain is in the middle of; null between groups. */
  private groupAfter: number | null = null;
  private groupAtBegin: number | null = null;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    members: EntityMembers;
    clock: ReplicaClock;
    groups: Groups;
    reconciliation: Reconciliation;
    quarantine: Quarantine;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.members = options.members;
    this.clock = options.clock;
    this.keyless = new KeylessDrain({ ...options, noteReferred: (state, values) => this.noteReferred(state, values) });
    this.unseen = new UnseenRows(options);
    this.takenOver = new TakenOver(options);
    this.notices = new Notices(options.db);
    this.groups = options.groups;
    this.parts = new WholeParts(options.db);
    this.reconciliation = options.reconciliation;
    this.quarantine = options.quarantine;
  }

  /**
   * Takes, since the last call, the births of kept rows to which drained rows refer, and of rows that are to be arranged
   * anew: an entity that died, a row that was born into one or refers to one by an integer that is no more.
   */
  takeAffected(): { referred: Write[]; touched: Write[] } {
    const { referred, touched } = this;
    this.referred = [];
    this.touched = [];
    return { referred, touched };
  }

  /** Takes the births of rows in which a column with a rule has been written beside what is held for it. */
  takeToFill(): Write[] {
    const toFill = this.toFill;
    this.toFill = [];
    return toFill;
  }

  /** A new reference to a deleted row that is only kept: the application sees that row, and means it. */
  private noteReferred(state: RowState, values: readonly SqlValue[], written: readonly boolean[] | null = null): void {
    this.noteFormer(state, values, written);
    if (this.rows.same.exist) this.noteStale(state, values);
    if (!this.rowsAreKept) return;
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      const target = typeof id === "bigint" ? this.rows.byId(parent, id) : null;
      if (target?.kept) this.referred.push(target.birth);
    }
    const id = state.table.surrogate ? state.claim : null;
    for (const target of dependsOn(this.rows, state.table, id, values)) if (target.kept) this.referred.push(target.birth);
  }

  /** The application may mean the row that had an integer here until a sync gave it to another one: for a person to say. */
  private noteFormer(state: RowState, values: readonly SqlValue[], written: readonly boolean[] | null): void {
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      if (typeof id !== "bigint" || written?.[index] === false) continue;
      const holder = this.rows.former.has(parent, id) ? this.rows.byId(parent, id) : null;
      const meant = holder && this.rows.former.meant(holder);
      const { cid } = state.table.columns[index] as { cid: number };
      if (meant) this.notices.refers(state.birth, { cid, id, meant }, this.clock.nowUs());
    }
  }

  /** The application may still write an integer that a row had before another came to stand for it. */
  private noteStale(state: RowState, values: readonly SqlValue[]): void {
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      const ref = typeof id === "bigint" && !this.rows.byId(parent, id) ? this.rows.refOf(parent, id) : null;
      if (ref && this.rows.shownId(parent, ref) !== null) this.touched.push(state.birth);
    }
    if (this.members.concerns(state)) this.touched.push(state.birth);
  }

  /** Captured events that wait. */
  pending(): number {
    return valueStatement(this.db, `SELECT count(*) FROM ${CAPTURE}`).get() as number;
  }

  /** True when at least so many captured events wait; counts no further. */
  isPending(count: number): boolean {
    return valueStatement(this.db, `SELECT 1 FROM ${CAPTURE} LIMIT 1 OFFSET ${count - 1}`).get() !== undefined;
  }

  /** True when some event of a table waits. */
  hasEventsOf(table: Table): boolean {
    return this.db.prepare(`SELECT 1 FROM ${CAPTURE} WHERE event >> 3 = ? LIMIT 1`).get(table.tid) !== undefined;
  }

  /** True when some event waits. */
  get needed(): boolean {
    return valueStatement(this.db, `SELECT 1 FROM ${CAPTURE} LIMIT 1`).get() !== undefined;
  }

  /** Drains until nothing waits or `until` (milliseconds of performance.now) has passed. Returns true when nothing waits. */
  run(until: number): boolean {
    const tables = new Map(this.rows.tables.map((table, order) => [table.tid, { table, order }]));
    if (tables.size === 0) return true;
    this.begin();
    const startedUs = this.clock.nowUs();
    this.parts.look();
    const { keys, select } = this.selectEvents("n <= ?");
    const displaced: Displaced = new Map();
    for (let at: SqlValue = 0n; ;) {
      const part = this.parts.next();
      const raw = select.all(at, part ?? Number.MAX_SAFE_INTEGER) as SqlValue[][];
      // One more than is drained: a turn that ended with the last event would leave the group without its end.
      const complete = raw.length <= EVENTS_AT_ONCE;
      if (!complete) raw.pop();
      // An update of a row without a key is two events: the second begins the next page.
      if (!complete && isFirstOfTwo(raw.at(-1) as SqlValue[], tables)) raw.pop();
      at = raw.at(-1)?.[0] ?? at;
      const isAll = complete && part === null;
      this.drainEvents(raw, tables, keys, isAll, displaced);
      this.rows.flush();
      if (isAll) {
        for (const [table, events] of displaced) this.keyless.displaced(table, events.map(keylessEvent));
        this.endGroup();
        this.parts.begin();
        this.quarantine.drained();
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
      this.forget(at as bigint, tables, displaced);
      if (performance.now() > until) return false;
    }
  }

  private begin(): void {
    this.clock.look(this.knowledge.lastSequence);
    this.groupAfter ??= this.knowledge.lastSequence;
    this.into = this.quarantine.into();
    this.rowsAreKept = this.db.prepare("SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
    this.rowsAreHeld = this.rows.holdsRows;
    this.unseen.forget();
  }

  /** Events after a number, one more than is read at a time, of those that `where` says; and how many key parts they have. */
  private selectEvents(where: string): { keys: number; select: Statement } {
    const keys = Math.max(0, ...this.rows.tables.map((table) => table.key.length));
    const columns = captureColumns(keys, Math.max(0, ...this.rows.tables.map(maskCount)));
    const select = this.db
      .prepare(
        `SELECT n, event >> 3, event & 7, at, ${columns.join(", ")} FROM ${CAPTURE} WHERE n > ? AND ${where} ORDER BY n LIMIT ${EVENTS_AT_ONCE + 1}`,
      )
      .safeIntegers(true)
      .raw(true);
    return { keys, select };
  }

  /**
   * Drains what waits of a table without a primary key, and nothing else: each event has its whole row, so that no table has to be
   * read under columns which a migration has dropped. What an OR REPLACE may have displaced is not looked at.
   */
  runKeyless(table: Table): void {
    this.begin();
    // Some of a later transaction is drained with an earlier one.
    this.parts.forget();
    const codes = [Op.insert, Op.update, Op.delete].map((op) => eventCode(table.tid, op));
    const ours = `event IN (${codes.join(", ")})`;
    const { keys, select } = this.selectEvents(ours);
    for (let at: SqlValue | undefined = 0n; at !== undefined;) {
      const raw = select.all(at) as SqlValue[][];
      // An update is two events: the second begins the next page.
      if (raw.length > EVENTS_AT_ONCE && Number(raw.at(-1)?.[2]) === Op.update) raw.pop();
      this.keyless.drain(
        table,
        raw.map((values) => keylessEvent(this.event(table, values, keys))),
      );
      at = raw.at(-1)?.[0];
    }
    this.rows.flush();
    const last = this.db.prepare(`SELECT max(n) FROM ${CAPTURE}`).pluck().get() as number | null;
    if (last !== null) skipWrites(this.db, last);
    this.db.exec(`DELETE FROM ${CAPTURE} WHERE ${ours}`);
  }

  /** Removes events up to `at` but for those that the end of the list decides. */
  private forget(at: bigint, tables: ReadonlyMap<number, { table: Table }>, displaced: Displaced): void {
    const kept = [...displaced].map(([table]) => eventCode(table.tid, Op.displaced));
    this.db.prepare(`DELETE FROM ${CAPTURE} WHERE n <= ? AND event NOT IN (${kept.join(", ")})`).run(at);
    for (const { table } of tables.values()) {
      const stays = displaced.has(table) ? `AND ${imageNumber(table)} NOT IN (SELECT n FROM ${CAPTURE})` : "";
      this.db.prepare(`DELETE FROM ${imageTable(table.tid)} WHERE ${imageNumber(table)} <= ? ${stays}`).run(at);
    }
  }

  /** A transaction begins. */
  remember(): void {
    this.groupAtBegin = this.groupAfter;
  }

  /** It was rolled back. */
  reload(): void {
    this.groupAfter = this.groupAtBegin;
    this.parts.forget();
  }

  /** Nothing waits that belongs to what was drained: no transaction is cut in two here. */
  private endGroup(): void {
    const { lastDot } = this.knowledge;
    if (lastDot && this.groupAfter !== null) this.groups.note(lastDot.origin, this.groupAfter + 1, lastDot.sequence);
    this.groupAfter = null;
  }

  /**
   * Follows rows through their events, parents before children. Where an integer is used again after its row was
   * deleted, what came before is drained first: a reference to that integer means the old row until then.
   */
  private drainEvents(
    raw: SqlValue[][],
    tables: ReadonlyMap<number, { table: Table; order: number }>,
    keys: number,
    complete: boolean,
    displaced: Displaced,
  ): void {
    let groups = new Map<string, { table: Table; order: number; events: Event[] }>();
    const retaken = this.retaken(raw, tables, keys);
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
        const values = isGone ? null : this.read(table, events);
        if (values === null) gone.push({ table, events, bore: this.bearGone(table, events) });
        else {
          this.drainRow(table, events, values, last);
          // Only its hash was needed: the row stays where it is.
          values.forEach(releaseLarge);
        }
      }
      // Deletes last, children first: their author knew everything else that this drain found.
      for (const { table, events, bore } of gone.toReversed()) {
        if (bore) this.deleteBorn(table, events.at(-1) as Event);
        else this.drainRow(table, events, null, last);
      }
      groups = new Map();
    };
    for (const values of raw) {
      const found = tables.get(Number(values[1]));
      if (!found) continue;
      const event = this.event(found.table, values, keys);
      if (found.table.keyless && event.op === Op.displaced) {
        const held = displaced.get(found.table);
        if (held) held.push(event);
        else displaced.set(found.table, [event]);
        continue;
      }
      const name = found.table.keyless ? `${found.table.tid}` : nameOf(found.table, event.key);
      let group = groups.get(name);
      if (
        group &&
        event.op === Op.insert &&
        found.table.surrogate &&
        group.events.some(({ op }) => op === Op.delete || op === Op.displaced)
      ) {
        flush(false);
        group = undefined;
      }
      if (group) group.events.push(event);
      else groups.set(name, { ...found, events: [event] });
    }
    flush(complete);
  }

  /**
   * Of rows that OR REPLACE displaced, the number of the last event that inserts under their key: what is there then is
   * another row. A displacement is noted before it is known whether it happens: OR IGNORE does nothing. Where it did,
   * the same statement wrote another row, at the same time.
   */
  private retaken(raw: SqlValue[][], tables: ReadonlyMap<number, { table: Table }>, keys: number): Map<string, number> {
    const last = new Map<string, number>();
    if (!raw.some((values) => Number(values[2]) === Op.displaced)) return last;
    const displaced = new Set<string>();
    raw.forEach((values, i) => {
      const table = tables.get(Number(values[1]))?.table;
      if (!table?.surrogate || table.keyless) return;
      const op = Number(values[2]);
      const name = nameOf(table, this.event(table, values, keys).key);
      if (op === Op.insert && displaced.has(name)) last.set(name, Number(values[0]));
      if (op !== Op.displaced) return;
      for (const later of raw.slice(i + 1)) {
        if (later[3] !== values[3]) break;
        if (later[1] !== values[1] || later[2] === BigInt(Op.displaced) || later[4] === values[4]) continue;
        displaced.add(name);
        break;
      }
    });
    return last;
  }

  private event(table: Table, values: SqlValue[], keys: number): Event {
    const op = Number(values[2]);
    const image = table.keyless || op === Op.delete || op === Op.displaced ? this.image(table, values[0] as bigint) : [];
    return {
      n: Number(values[0]),
      op,
      wall: this.clock.stamp(Math.round(((values[3] as number) - EPOCH_DAY) * DAY_US)),
      masks: values.slice(4 + keys, 4 + keys + maskCount(table)).map((mask) => (mask as bigint | null) ?? 0n),
      key: this.key(table, values),
      image: image ?? table.columns.map(({ fallback }) => fallback),
      seen: image !== null,
      found: (op === Op.update || op === Op.found) && hasCombiningRule(table) ? this.image(table, values[0] as bigint) : null,
    };
  }

  private key(table: Table, values: SqlValue[]): SqlValue[] {
    const key = values.slice(4, 4 + table.key.length);
    if (!table.utf8 || !mayHoldRawText(key)) return key;
    const columns = key.map((_, i) => `CAST(k${i} AS BLOB)`).join(", ");
    const bytes = this.db.prepare(`SELECT ${columns} FROM ${CAPTURE} WHERE n = ?`).raw(true).get(values[0]) as Buffer[];
    return key.map((value, i) => (typeof value === "string" ? textFromBytes(bytes[i] as Buffer) : value));
  }

  /** The row as it was; null when nothing captured it. */
  private image(table: Table, n: bigint): SqlValue[] | null {
    if (table.columns.length === 0) return [];
    const columns = table.columns.map((_, i) => `c${i}`);
    const from = `FROM ${imageTable(table.tid)} WHERE ${imageNumber(table)} = ?`;
    const image = this.db
      .prepare(`SELECT ${columns.join(", ")} ${from}`)
      .safeIntegers(true)
      .raw(true)
      .get(n) as SqlValue[] | undefined;
    if (!image) return null;
    if (!table.utf8 || !mayHoldRawText(image)) return image;
    const bytes = this.db
      .prepare(`SELECT ${columns.map((column) => `CAST(${column} AS BLOB)`).join(", ")} ${from}`)
      .raw(true)
      .get(n) as Buffer[];
    return image.map((value, i) => (typeof value === "string" ? textFromBytes(bytes[i] as Buffer) : value));
  }

  /** The row as the table holds it now; null when it is not there. */
  private read(table: Table, events: readonly Event[]): SqlValue[] | null {
    const [first] = events;
    return first ? this.rows.of(table).read(first.key) : null;
  }

  /** Follows one row through its events to what it is now, `values`. `complete`: no later event of it waits. */
  private drainRow(table: Table, events: readonly Event[], values: SqlValue[] | null, complete: boolean): void {
    const [first] = events;
    if (!first) return;
    if (!table.surrogate && first.key.includes(null)) {
      // The twin's. Where there is none yet, this is the first such row.
      this.foundWithoutKey ||= table.twin === null;
      return;
    }
    const id = table.surrogate ? (first.key[0] as bigint) : null;
    for (const { index, parent } of table.keyReferences) this.bearUncompared(parent, first.key[index], first.wall);
    const packed = table.surrogate ? null : this.rows.keyFromValues(table, first.key);
    const known = packed ? this.rows.byKey(table, packed) : this.rows.byId(table, id as bigint);
    // A row that waits outside its table is not the one the application wrote, unless its key says so.
    const unseen = known?.place.kind === "held" ? known : null;
    let state: RowState | null = known && !unseen && (known.place.kind === "table" || !table.surrogate) ? known : null;
    let alive = state?.place.kind === "table";
    let before = state ? ownedDots(state) : NO_DOTS;
    let born: number | null = null;
    let written = table.columns.map(() => false);
    let wall = first.wall;
    let displaced: Event | null = null;
    let found: readonly SqlValue[] | null = null;
    let isKeptBack = false;
    const store = this.rows.of(table);
    if (store.keptBack && events.some(({ op }) => op === Op.insert)) values = store.readTable(first.key);

    const keepBack = (event: Event): boolean => {
      if (this.into === null || !event.seen || !state || !alive || state.kept || !isAlive(state, this.knowledge)) return false;
      const doubts = this.reconciliation.doubts(table, id, event.image);
      if (doubts && state.hash && !this.rows.hashOf(state, id, event.image).equals(state.hash))
        written = withDoubts(state, written, doubts);
      if (written.includes(true)) this.edit(state, id, { values: event.image, found }, written, event.wall, before);
      before = ownedDots(state);
      found = null;
      written = table.columns.map(() => false);
      this.quarantine.keep(table, first.key, event.image, state.hash as Buffer, this.into);
      isKeptBack = true;
      return true;
    };
    /** A row that is kept back is inserted again: what differs was written, and it is there as before. */
    const comeBack = () => {
      const was = store.keptBack?.read(first.key) ?? null;
      const now = values;
      if (!was || !now) return false;
      written = was.map((value, i) => !sameValue(value, now[i] as SqlValue));
      found = was;
      store.keptBack?.remove(first.key);
      isKeptBack = false;
      return true;
    };

    const die = (image: SqlValue[], at: number) => {
      for (const { index, parent } of table.references) this.bearUncompared(parent, image[index], at);
      if (!state || !alive) {
        state = this.birth(table, state, unseen, id, packed, at, image);
        before = before.size > 0 && state.slot !== UNSTORED ? before : NO_DOTS;
      } else {
        const doubts = this.reconciliation.doubts(table, id, image);
        if (doubts && state.hash && Buffer.compare(this.rows.hashOf(state, id, image), state.hash) !== 0) {
          written = withDoubts(state, written, doubts);
        }
        written = this.takenOver.withReferences(state, image, written);
        // The image holds edits that no drain has seen: they have authors and times of their own.
        if (written.includes(true)) this.write(state, written, at, { values: image, found });
      }
      this.delete(state, alive, id, this.rows.abstract(table, image), at, before);
      if (table.surrogate) {
        state = null;
        before = NO_DOTS;
      } else before = ownedDots(state);
      alive = false;
      born = null;
      found = null;
      written = table.columns.map(() => false);
    };

    for (const event of events) {
      if (alive) found ??= event.found;
      if (event.op === Op.found) continue;
      wall = event.wall;
      displaced = event.op === Op.displaced ? event : null;
      if (event.op === Op.insert) {
        if (alive && comeBack()) continue;
        if (alive || born !== null) written = written.map(() => true);
        else born = event.wall;
      } else if (event.op === Op.update) {
        written = written.map((was, i) => was || (((event.masks[Math.floor(i / MASK_BITS)] ?? 0n) >> BigInt(i % MASK_BITS)) & 1n) === 1n);
      } else if (event.op === Op.delete) {
        if (!keepBack(event)) die(event.image, event.wall);
      }
    }

    if (values === null) {
      if (isKeptBack || (displaced && keepBack(displaced))) return;
      // Known or not: its insert may have been among events drained before these, when it was gone already.
      if (displaced) die(displaced.image, displaced.wall);
      // Without a later event nothing captured where the row went: it is gone all the same.
      else if (alive && complete && state)
        die(
          table.columns.map(({ fallback }) => fallback),
          wall,
        );
      else if (alive && state && written.includes(true) && !hasCombiningRule(table)) {
        // Its delete is among the events to come: the edit has a dot of its own all the same, but for columns whose rule
        // needs the values, which nobody has any more.
        const gone = table.columns.map(() => null);
        this.writeColumns(state, written, wall, { values: gone, found: null });
        this.rows.saveInTable(state, id, gone, new Map(before));
      }
      return;
    }
    if (!alive) {
      // Its insert is among the events to come.
      if (born === null && !complete) return;
      // A row that is there though no insert was seen: capture began between.
      const birth = this.birth(table, state, unseen, id, packed, born ?? wall, values);
      this.saveBirth(birth, id, values, state ? before : NO_DOTS);
      if (id !== null && table.referencedBy.length > 0 && this.rows.wasUsed(table, id)) this.takenOver.follow(table, id, birth.birth.time);
    } else if (state && written.includes(true)) {
      this.edit(state, id, { values, found }, withDoubts(state, written, this.reconciliation.doubts(table, id, values)), wall, before);
    }
  }

  /**
   * A row that came and went since the last drain is born before the rows that referred to it go, which is before it goes
   * itself: otherwise what they referred to would be whoever had its integer last, or a bare integer. False for all others.
   */
  private bearGone(table: Table, events: readonly Event[]): boolean {
    const last = events.at(-1);
    if ((last?.op !== Op.delete && last?.op !== Op.displaced) || !table.surrogate || table.referencedBy.length === 0) return false;
    const id = last.key[0] as bigint;
    // Its insert may have been among events drained before these.
    if (this.rows.byId(table, id)) return false;
    const wall = events.find(({ op }) => op === Op.insert)?.wall ?? last.wall;
    const birth = this.birth(table, null, null, id, null, wall, last.image);
    this.saveBirth(birth, id, last.image, NO_DOTS);
    if (this.rows.wasUsed(table, id)) this.takenOver.follow(table, id, birth.birth.time);
    return true;
  }

  /**
   * A row that a migration hid from the drain, as its events were captured under columns that are gone: it is found when its
   * table is compared, which comes later, and is born now where a row is drained that refers to it by this integer. Otherwise
   * that one would be named by the bare integer, which is another row's elsewhere.
   */
  private bearUncompared(parent: Table, id: SqlValue | undefined, wall: number): void {
    if (typeof id !== "bigint" || !this.reconciliation.compares(parent) || this.rows.byId(parent, id)) return;
    const values = this.rows.of(parent).read([id]);
    if (values === null) return;
    this.saveBirth(this.birth(parent, null, null, id, null, wall, values), id, values, NO_DOTS);
    if (this.rows.wasUsed(parent, id)) this.takenOver.follow(parent, id, wall);
  }

  private deleteBorn(table: Table, { key, image, wall }: Event): void {
    const id = key[0] as bigint;
    const state = this.rows.byId(table, id);
    if (state) this.delete(state, true, id, this.rows.abstract(table, image), wall, ownedDots(state));
  }

  /** `unseen`: what others wrote of this row while there was no table here for it. */
  private birth(
    table: Table,
    existing: RowState | null,
    unseen: RowState | null,
    id: bigint | null,
    key: Buffer | null,
    wall: number,
    values: readonly SqlValue[],
  ): RowState {
    if (existing) {
      const found = hasCombiningRule(table) ? this.rows.cells(existing) : null;
      const replaced: Write[] = [existing.birth, ...existing.deletes];
      for (const writes of existing.columns.values()) replaced.push(...writes);
      const write = localWrite(existing, wall, replaced, this.knowledge);
      // The application could not see the row that is out of its table under its key: what that one held stays in the history.
      if (existing.place.kind !== "table") closeWinners(existing, this.rows.cells(existing), write, this.knowledge);
      rebirth(existing, write, this.knowledge, editsOf(table, { values, found }));
      return existing;
    }
    const birth = unseen ? blindWrite(unseen, wall, this.knowledge) : localWrite(null, wall, [], this.knowledge);
    const state: RowState = {
      table,
      place: { kind: "table" },
      slot: UNSTORED,
      identity: { origin: birth.origin, sequence: birth.sequence },
      key,
      birth,
      claim: id ?? 0n,
      twins: [],
      columns: new Map(),
      deletes: [],
      rekey: null,
      closed: [],
      same: [],
      own: new Map(),
      kept: false,
      hash: null,
    };
    tellBirth(state, editsOf(table, { values, found: null }), this.knowledge);
    return state;
  }

  private saveBirth(state: RowState, id: bigint | null, values: SqlValue[], before: ReturnType<typeof ownedDots> | typeof NO_DOTS): void {
    this.noteReferred(state, values);
    if (state.slot === UNSTORED && id !== null && state.deletes.length === 0) {
      const hash = this.rows.hashOf(state, id, values);
      this.rows.digest.add(state.table.tid, hash);
      this.rows.touchedRow(state.table, state.identity);
      this.rows.of(state.table).addPlain(id, state.birth.origin, state.birth.sequence, state.birth.time, state.birth.context, hash);
      return;
    }
    this.rows.saveInTable(state, id, values, new Map(before));
  }

  private edit(
    state: RowState,
    id: bigint | null,
    row: { values: SqlValue[]; found: readonly SqlValue[] | null },
    written: boolean[],
    wall: number,
    before: ReadonlyMap<string, { origin: number; sequence: number }>,
  ): void {
    this.write(state, written, wall, row);
    this.noteReferred(state, row.values, written);
    if (!isAlive(state, this.knowledge)) state.deletes = [];
    state.kept = false;
    this.rows.saveInTable(state, id, row.values, new Map(before));
  }

  /** A write to a row, and to every live row that is one entity with it. `row`: its values, and what was there before. */
  private write(state: RowState, written: readonly boolean[], wall: number, row: Written): void {
    const members = this.members.standing(state);
    if (members.length < 2) return this.writeColumns(state, written, wall, row);
    const values = this.rows.abstract(state.table, row.values as readonly SqlValue[]);
    const { columns, key, surrogate } = state.table;
    // A natural key says which row it is: each member keeps its own.
    const edited = columns.map((column, i) => written[i] === true && (surrogate || !key.some(({ cid }) => cid === column.cid)));
    const at = afterAll(members, wall);
    const shown = new Map(columns.map(({ cid }) => [cid, this.members.shownWrite(members, cid).write]));
    for (const member of members) {
      const others = !isSame(member.state, state);
      const target = others ? member.state : state;
      const before = ownedDots(target);
      const was = (index: number, cid: number) => (others ? (member.cells[index] as CellValue) : state.own.get(cid));
      const lost = columns.flatMap(({ cid }, index) => {
        const value = was(index, cid);
        return value === undefined ? [] : [[cid, { shown: shown.get(cid) as Write, value }] as const];
      });
      // Under a rule that combines, each of them changes from what it had itself to what was written.
      const had = others
        ? member.cells
        : row.found && columns.map(({ cid }, i) => state.own.get(cid) ?? (row.found as CellValue[])[i] ?? null);
      this.writeColumns(target, edited, at, { values: row.values, found: had }, new Map(lost));
      if (!others) continue;
      const cells = member.cells.map((cell, i) => (edited[i] ? (values[i] as CellValue) : cell));
      this.rows.saveRegisters(target, cells, before);
    }
  }

  /** One dot for all columns that were written. `was`: what an entity showed in them, and what this member said itself. */
  private writeColumns(
    state: RowState,
    written: readonly boolean[],
    wall: number,
    row: Written,
    was: ReadonlyMap<number, { shown: Write; value: CellValue }> | null = null,
  ): void {
    const editOf = editsOf(state.table, row);
    const unseen = new Set(this.rows.columnsToFill(state));
    if (unseen.size > 0) {
      const fresh = state.table.columns.filter((column, i) => written[i] && unseen.has(column.cid));
      const write = fresh.length > 0 ? blindWrite(state, wall, this.knowledge) : null;
      const cells = this.rows.abstract(state.table, row.values as SqlValue[]);
      for (const { cid } of fresh) {
        const value = cells[state.table.indexOf.get(cid) as number] as CellValue;
        writeBeside(state, cid, write as Write, this.knowledge, { ...editOf(cid), value });
      }
      if (fresh.length > 0) this.toFill.push(state.birth);
    }
    const meant = state.table.columns.flatMap((column, i) => (written[i] && !unseen.has(column.cid) ? [column.cid] : []));
    const cids = this.overwriteUnseen(state, meant, wall, row);
    if (cids.length === 0) return;
    const replaced = cids.flatMap((cid) => [...registerOf(state, cid)]);
    const write = localWrite(state, wall, replaced, this.knowledge);
    if (!state.table.surrogate && cids.length === state.table.columns.length) rebirth(state, write, this.knowledge, editOf);
    else for (const cid of cids) replaceColumn(state, cid, write, this.knowledge, editOf(cid), was?.get(cid) ?? null);
  }

  /**
   * Of a row that has had its integer only since a sync: columns in which the application overwrote what it may never have
   * seen. Returns the other ones.
   */
  private overwriteUnseen(state: RowState, cids: readonly number[], wall: number, { values }: Written): readonly number[] {
    const held = this.rows.former.unseenBy(state);
    if (!held) return cids;
    const cells = this.rows.abstract(state.table, values as SqlValue[]);
    return cids.filter((cid) => {
      const was = held.get(cid);
      const index = state.table.indexOf.get(cid) as number;
      // What adds up loses nothing by an increment.
      if (was === undefined || ruleOf(state.table, cid).kind !== "lww" || sameValue(was, cells[index] ?? null)) return true;
      // Of rows that are one the table may show what another of them says.
      const own = state.own.get(cid);
      writeUnseen(state, cid, wall, this.knowledge, own === undefined ? was : own);
      state.own.delete(cid);
      return false;
    });
  }

  /**
   * True where the application could not see everything that may refer to this row: what there is no table for here, and, in
   * mid-stream, what somebody knew who had it live again. A delete would inherit that author's knowledge.
   */
  private mayBeMissed(row: RowState): boolean {
    const isNews = row.deletes.some(({ alive, origin, sequence }) => alive && !this.knowledge.covers(origin, sequence));
    return isNews || this.rowsAreHeld;
  }

  private delete(
    state: RowState,
    inTable: boolean,
    id: bigint | null,
    image: CellValue[],
    wall: number,
    before: ReadonlyMap<string, { origin: number; sequence: number }>,
  ): void {
    const writeTo = (row: RowState, at: number) => {
      if (this.unseen.referTo(row)) return unseeingDelete(row, at, this.knowledge);
      return this.mayBeMissed(row) ? blindWrite(row, at, this.knowledge) : localWrite(row, at, row.deletes, this.knowledge);
    };
    const members = this.members.standing(state);
    const at = members.length < 2 ? wall : afterAll(members, wall);
    for (const member of members) {
      if (isSame(member.state, state)) continue;
      const dots = ownedDots(member.state);
      member.state.deletes = [{ ...writeTo(member.state, at), alive: false }];
      this.rows.saveRegisters(member.state, member.cells, dots);
    }
    const write = writeTo(state, at);
    state.deletes = [{ ...write, alive: false }];
    state.kept = false;
    for (const [cid, value] of state.own) image[state.table.indexOf.get(cid) ?? image.length] = value;
    state.place = { kind: "dead" };
    if (this.members.concerns(state)) this.touched.push(state.birth);
    this.rows.saveOut(state, inTable && state.slot !== UNSTORED, id, image, new Map(before), { used: true });
  }
}

/** True for the event of an update of a row without a key that has the old values: the new ones are the next event's. */
function isFirstOfTwo(values: readonly SqlValue[], tables: ReadonlyMap<number, { table: Table }>): boolean {
  return Number(values[2]) === Op.update && tables.get(Number(values[1]))?.table.keyless === true;
}

function keylessEvent({ op, wall, key, masks, image }: Event) {
  return { op, wall, rowid: key[0] as bigint | null, slot: masks[0] ?? 0n, image };
}

/** What was done to a column, by its number. */
function editsOf(table: Table, { values, found }: Written): (cid: number) => Edit {
  return (cid) => {
    const index = table.indexOf.get(cid) as number;
    return { value: values[index] ?? null, found: found ? (found[index] ?? null) : undefined };
  };
}

/** A time after everything that any of these rows knows. */
function afterAll(members: readonly Member[], wall: number): number {
  return Math.max(wall, ...members.map(({ state }) => latestTime(state) + 1));
}
