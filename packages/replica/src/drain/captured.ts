import type { Database, Statement } from "better-sqlite3";
import { RawText, releaseLarge, type SqlValue } from "@scoutsync/core";
import {
  CAPTURE,
  captureColumns,
  eventCode,
  imageNumber,
  imageTable,
  MASK_BITS,
  maskCount,
  Op,
  REPLACED,
  UNDATED,
} from "../capture/triggers.ts";
import { cameLarge, collectLarge } from "../pool/collect.ts";
import { valueStatement } from "../kept-statements.ts";
import { indexesOf } from "../rows/foreign-keys.ts";
import type { RowStore } from "../rows/row-store.ts";
import { hasCombiningRule } from "../rows/ruled-columns.ts";
import { readKeepingLong } from "../rows/long-text.ts";
import { mayHoldRawText, packKey, textFromBytes } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { cellsIn } from "../schema/spelled.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import type { KeylessEvent } from "./keyless-drain.ts";

/** Events read at a time; between reads the clock is looked at. */
export const EVENTS_AT_ONCE = 2_000;

/** Bytes from which on an image is read when it is needed: what one transaction deletes may be more than there is memory. */
const LONG_IMAGE = 64 * 1024;

/** Unix epoch as a Julian day, and microseconds in a day. */
const EPOCH_DAY = 2_440_587.5;
const DAY_US = 86_400_000_000;

export interface Event {
  /** Its place in the dirty list. */
  n: number;
  op: number;
  /** When it was captured, as the triggers say it: one time for all that one statement did. */
  at: SqlValue | undefined;
  /** Of a delete: the number of the event that the row was about to go, after which this delete did all; null where that is not known. */
  from: number | null;
  /** Unix microseconds, corrected; the drain's own time where the captured one cannot be. */
  wall: number;
  /** Its columns were written, if at all, when nobody saw it: not before this, Unix microseconds. Null where the event says when. */
  undated: number | null;
  /** Bits of changed columns; every column for an insert. */
  masks: bigint[];
  key: SqlValue[];
  /** A long one is read anew whenever it is asked for. */
  image: SqlValue[];
  /** False where nothing captured the image, which is then `unseenImage`. */
  seen: boolean;
  /** Of a row that went: its application put another one in its place, by another key or by an OR REPLACE. */
  replaced: boolean;
  /** Of an update: what it found in columns whose rule asks for that, and those of `emptied` foreign keys; null where nothing noted it. */
  found: SqlValue[] | null;
}

/** Rows of a table that an OR REPLACE may have displaced are looked at when nothing waits any more: until then their events stay. */
export type Displaced = Map<Table, Event[]>;

/** Names one row of one table while a drain lasts. */
export const nameOf = (table: Table, key: SqlValue[]): string => `${table.tid} ${packKey(table.key, key).toString("latin1")}`;

/** Reads the dirty list: what capture noted, and takes off it what has been drained. */
export class Captured {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly clock: ReplicaClock;
  /** By table and integer, the events before which rows under it were inserted and went, in their order; of rows inserted meanwhile. */
  private readonly goings = new Map<number, Map<bigint, { n: number; op: number }[]>>();
  /** The last event that these were looked for in. */
  private lookedTo = 0;

  constructor({ db, rows, clock }: { db: Database; rows: RowStore; clock: ReplicaClock }) {
    this.db = db;
    this.rows = rows;
    this.clock = clock;
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

  /** True when some event waits that was captured before a time, Unix microseconds. */
  hasEventsBefore(us: number): boolean {
    return this.db.prepare(`SELECT 1 FROM ${CAPTURE} WHERE at < ? LIMIT 1`).get(us / DAY_US + EPOCH_DAY) !== undefined;
  }

  /** True when some event waits. */
  get needed(): boolean {
    return valueStatement(this.db, `SELECT 1 FROM ${CAPTURE} LIMIT 1`).get() !== undefined;
  }

  /** Events after a number, one more than is read at a time, of those that `where` says; and how many key parts they have. */
  select(where: string): { keys: number; select: Statement } {
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

  /** Removes events up to `at` but for those that the end of the list decides, and those with the numbers `awaited`. */
  forget(at: bigint, tables: ReadonlyMap<number, { table: Table }>, displaced: Displaced, awaited: readonly number[]): void {
    const kept = [...displaced].map(([table]) => eventCode(table.tid, Op.displaced));
    const others = `event NOT IN (${kept.join(", ")}) AND n NOT IN (${awaited.join(", ")})`;
    this.db.prepare(`DELETE FROM ${CAPTURE} WHERE n <= ? AND ${others}`).run(at);
    for (const { table } of tables.values()) {
      const stays = displaced.has(table) ? `AND ${imageNumber(table)} NOT IN (SELECT n FROM ${CAPTURE})` : "";
      this.db.prepare(`DELETE FROM ${imageTable(table.tid)} WHERE ${imageNumber(table)} <= ? ${stays}`).run(at);
    }
  }

  /** What a row of `select` says. `keys`: how many key parts it has. */
  event(table: Table, values: SqlValue[], keys: number): Event {
    const op = Number(values[2]);
    const n = values[0] as bigint;
    const image = table.keyless || op === Op.delete || op === Op.displaced ? this.image(table, n) : [];
    const key = this.key(table, values);
    const masks = values.slice(4 + keys, 4 + keys + maskCount(table)).map((mask) => (mask as bigint | null) ?? 0n);
    const isFound = (op === Op.update || op === Op.found) && hasCombiningRule(table);
    const event: Event = {
      n: Number(n),
      op,
      at: values[3],
      from: null,
      wall: this.clock.stamp(Math.round((Number(values[3]) - EPOCH_DAY) * DAY_US)),
      undated: undatedAt(values[3]),
      masks,
      key,
      image: image ?? unseenImage(table, key),
      seen: image !== null,
      replaced: op === Op.displaced || (op === Op.delete && !table.keyless && values[4 + keys] === REPLACED),
      found: isFound || (op === Op.update && mayEmpty(table, masks)) ? this.image(table, n) : null,
    };
    if (image === null || bytesOf(image) < LONG_IMAGE) return event;
    image.forEach(releaseLarge);
    return Object.defineProperty(event, "image", { get: () => this.image(table, n) });
  }

  /**
   * Of rows that OR REPLACE displaced, the number of the last event that inserts under their key: what is there then is
   * another row. A displacement is noted before it is known whether it happens: OR IGNORE does nothing. Where it did,
   * the same statement wrote another row, at the same time.
   */
  retaken(raw: SqlValue[][], tables: ReadonlyMap<number, { table: Table }>, keys: number): Map<string, number> {
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

  /**
   * The number of the event after `n` by which the row goes that has this integer, wherever on the list it is: there may be
   * thousands in between. A displacement is one where nothing else says that the row goes. Null where there is none.
   */
  goesBy(table: Table, id: bigint, n: number): number | null {
    this.lookForGoings();
    const events = this.goings.get(table.tid)?.get(id) ?? [];
    const after = events.findIndex((event) => event.n > n);
    // Nobody asks for those before again.
    events.splice(0, after === -1 ? events.length : after);
    let displacedBy: number | null = null;
    for (const event of events) {
      if (event.op === Op.insert) break;
      if (event.op === Op.delete) return event.n;
      displacedBy = event.n;
    }
    return displacedBy;
  }

  /** The list begins anew, or ends otherwise than it did. */
  forgetGoings(): void {
    this.goings.clear();
    this.lookedTo = 0;
  }

  /** Looks through what has come to the list since the last time; only rows of tables that others refer to are asked for. */
  private lookForGoings(): void {
    const last = (valueStatement(this.db, `SELECT max(n) FROM ${CAPTURE}`).get() as number | null) ?? 0;
    if (last <= this.lookedTo) return;
    for (const { tid } of this.rows.tables.filter(({ surrogate, referencedBy }) => surrogate && referencedBy.length > 0)) {
      const of = this.goings.get(tid) ?? new Map<bigint, { n: number; op: number }[]>();
      this.goings.set(tid, of);
      const inserted = eventCode(tid, Op.insert);
      const codes = [inserted, eventCode(tid, Op.delete), eventCode(tid, Op.displaced)].join(", ");
      const found = this.db
        .prepare(
          `SELECT n, event & 7 AS op, k0 AS id FROM ${CAPTURE} WHERE n > ? AND event IN (${codes}) ` +
            `AND k0 IN (SELECT k0 FROM ${CAPTURE} WHERE event = ${inserted}) ORDER BY n`,
        )
        .safeIntegers(true)
        .all(this.lookedTo) as { n: bigint; op: bigint; id: bigint }[];
      for (const { n, op, id } of found) {
        const event = { n: Number(n), op: Number(op) };
        const events = of.get(id);
        if (events) events.push(event);
        else of.set(id, [event]);
      }
    }
    this.lookedTo = last;
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
    collectLarge();
    const read = (list: string) => this.db.prepare(`SELECT ${list} ${from}`).safeIntegers(true).raw(true).get(n) as SqlValue[] | undefined;
    const store = this.rows.of(table);
    let image = store.holdsLongText ? readKeepingLong(table, read, columns) : read(columns.join(", "));
    if (!image) return null;
    if (cameLarge(image) && store.mayHoldLongText()) {
      image = undefined;
      return this.image(table, n);
    }
    if (!table.utf8 || !mayHoldRawText(image)) return cellsIn(table, image);
    const bytes = this.db
      .prepare(`SELECT ${columns.map((column) => `CAST(${column} AS BLOB)`).join(", ")} ${from}`)
      .raw(true)
      .get(n) as Buffer[];
    return cellsIn(
      table,
      image.map((value, i) => (typeof value === "string" ? textFromBytes(bytes[i] as Buffer) : value)),
    );
  }
}

/** Bytes of what may be long in an image; of text its characters. */
function bytesOf(image: readonly SqlValue[]): number {
  return image.reduce((sum: number, value) => {
    const long = value instanceof RawText ? value.bytes : value;
    return sum + (typeof long === "string" || long instanceof Uint8Array ? long.length : 0);
  }, 0);
}

/** True where an update changed this column. */
export const isMarked = (masks: readonly bigint[], index: number): boolean =>
  (((masks[Math.floor(index / MASK_BITS)] ?? 0n) >> BigInt(index % MASK_BITS)) & 1n) === 1n;

/** True where an update changed columns that a delete of what they refer to may have emptied. */
function mayEmpty(table: Table, masks: readonly bigint[]): boolean {
  return !table.keyless && table.emptied.some((foreign) => indexesOf(foreign).some((index) => isMarked(masks, index)));
}

/** What stands for the values of a row that went past capture: its key, and the columns' defaults. */
export function unseenImage(table: Table, key: readonly SqlValue[]): SqlValue[] {
  const inKey = new Map(table.key.map(({ cid }, i) => [cid, key[i] ?? null]));
  return table.columns.map(({ cid, fallback }) => (table.keyless ? fallback : (inKey.get(cid) ?? fallback)));
}

/** True for the event of an update of a row without a key that has the old values: the new ones are the next event's. */
export function isFirstOfTwo(values: readonly SqlValue[], tables: ReadonlyMap<number, { table: Table }>): boolean {
  return Number(values[2]) === Op.update && tables.get(Number(values[1]))?.table.keyless === true;
}

/** As of an `Event`, by its day: `UNDATED` or `notBefore`. */
function undatedAt(day: SqlValue | undefined): number | null {
  if (day === UNDATED) return 0;
  return typeof day === "bigint" && day < 0n ? -Number(day) : null;
}

/** The event as tables without a primary key have it. */
export function keylessEvent(event: Event): KeylessEvent {
  const { n, op, wall, undated, key, masks, replaced } = event;
  const rowid = key[0] as bigint | null;
  return {
    n,
    op,
    wall,
    undated,
    rowid,
    slot: masks[0] ?? 0n,
    // A long one is read when it is asked for.
    get image() {
      return event.image;
    },
    replaced,
  };
}

/** True for the event of a row that went whose next one is of the row that came in its place: a statement changed the key. */
export function isKeyChange(values: readonly SqlValue[], next: readonly SqlValue[] | undefined): boolean {
  const [went, came] = [Number(values[2]), Number(next?.[2])];
  return went === Op.delete && came === Op.insert && values[1] === next?.[1] && values[3] === next?.[3];
}
