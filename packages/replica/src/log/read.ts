import { createHash, hash } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import type { Database } from "better-sqlite3";
import {
  type BeyondPosition,
  ByteWriter,
  type CellValue,
  type ChangeBatch,
  type ChangeCount,
  type Codec,
  type NodeName,
  DEFAULT_BATCH_BYTES,
  DEFAULT_BATCH_CHANGES,
  ownedMemory,
  type SchemaPrint,
  type SqlValue,
  SyncError,
  type VersionVector,
} from "@scoutsync/core";
import type { Floor } from "../forgetting/floor.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { DigestSums } from "../digest/digest-sums.ts";
import { schemaPrint } from "../digest/schema-print.ts";
import { rowsShowing } from "../rows/equal-rows.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { emptyIfLong, isEmptyBlob } from "../rows/long-text.ts";
import { mayHoldRawText } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import { isWide } from "../capture/events.ts";
import type { Groups } from "./groups.ts";
import { type Covered, RecordWriter, vanished } from "./record.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import { leftSince } from "../schema/install.ts";
import { valueStatement } from "../kept-statements.ts";
import { cameLarge } from "../pool/collect.ts";

/** So many rows at most are sent with one that is kept for them: any of them will do. */
const MOST_KEEPING = 100;

/** Log entries looked at together. */
const ENTRIES_AT_ONCE = 4_096;
/** From this many entries of one table in a row on, one joined query is cheaper than one query per row. */
const JOIN_FROM = 8;
/** A group of more is sent and applied batch by batch: neither side holds a transaction of any size, and none is refused, bytes. */
const LARGEST_GROUP_BYTES = 64 * 1024 * 1024;
/** A table that has been gone for so long was dropped for good. */
const DROPPED_AFTER_US = 10 * 1_000_000;
/** Below this a payload is not worth compressing, bytes. */
const COMPRESS_FROM = 256;
const FASTEST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** From this size on, a payload is only compressed when a sample of it gets smaller, bytes. */
const LOOK_FROM = 8 * 1024 * 1024;
const SAMPLE_BYTES = 256 * 1024;

/** Bytes. */
const LARGEST_KEPT_BODY = 16 * 1024 * 1024;

type Entry = [sequence: bigint, tid: bigint, slot: bigint];

export interface ReadRequestHere {
  from: VersionVector;
  batchSize: number;
  codecs: readonly Codec[];
  beyondDigest: Uint8Array;
  whole?: boolean;
  floor?: VersionVector | undefined;
  beyondAfter?: BeyondPosition | undefined;
}

/** Reads the change log for others. Every call is one read transaction: vector, digest and rows belong together. */
export class LogReader {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly digest: DigestSums;
  private readonly run: string;
  private readonly node: NodeName;
  private readonly terms: string;
  private readonly nowUs: () => number;
  private readonly clock: ReplicaClock;
  private readonly groups: Groups;
  private readonly statement: () => string;
  private readonly floor: Floor;
  /** Reused from batch to batch: fresh memory of this size for each would be most of what a node holds. */
  private body = new ByteWriter(64 * 1024);

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    digest: DigestSums;
    run: string;
    node: NodeName;
    terms: string;
    nowUs: () => number;
    clock: ReplicaClock;
    groups: Groups;
    statement: () => string;
    floor: Floor;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.digest = options.digest;
    this.run = options.run;
    this.node = options.node;
    this.terms = options.terms;
    this.nowUs = options.nowUs;
    this.clock = options.clock;
    this.groups = options.groups;
    this.statement = options.statement;
    this.floor = options.floor;
  }

  /** The next batch after `from`, in the order of origins and their sequences. Final when nothing is left. */
  read(request: ReadRequestHere): ChangeBatch {
    const limit = request.batchSize > 0 ? request.batchSize : DEFAULT_BATCH_CHANGES;
    const from = this.localVector(request.from);
    const to = new Map(from);
    const floor = this.localVector(request.floor ?? new Map());
    const writer = this.writer({
      covered: (origin, sequence) => (from.get(origin) ?? 0) >= sequence,
      forgotten: (origin, sequence) => (floor.get(origin) ?? 0) >= sequence,
    });
    let left = limit;
    let final = true;
    for (const origin of this.originsInOrder(from)) {
      const goal = this.knowledge.entries.get(origin) ?? 0;
      let at = from.get(origin) ?? 0;
      while (at < goal && left > 0 && writer.payload.size < DEFAULT_BATCH_BYTES) {
        const entries = this.entries(origin, at, goal, Math.min(ENTRIES_AT_ONCE, left));
        if (entries.length === 0) {
          at = goal;
          break;
        }
        const used = this.writeEntries(writer, origin, entries);
        left -= used;
        at = Number((entries[used - 1] as Entry)[0]);
        if (used === entries.length && entries.length < Math.min(ENTRIES_AT_ONCE, left + used)) at = goal;
      }
      const end = request.whole && at < goal ? this.groups.endAfter(origin, at) : null;
      if (end !== null) at = this.writeRest(writer, origin, at, end);
      to.set(origin, at);
      if (at < goal) {
        final = false;
        break;
      }
    }
    let beyond: Uint8Array = new Uint8Array();
    let beyondTo: BeyondPosition | null = null;
    if (final) {
      beyond = this.beyondDigest();
      const wanted = beyond.length > 0 && Buffer.compare(beyond, request.beyondDigest) !== 0;
      if (wanted) beyondTo = this.writeBeyond(writer, from, request.beyondAfter, left);
      final = beyondTo === null;
      if (!final) beyond = new Uint8Array();
    }
    const batch = this.seal(request, writer, { to, final, beyond, remaining: final ? 0 : this.sequencesAfter(to) });
    return beyondTo ? { ...batch, beyondTo } : batch;
  }

  /** The rest of a group whose beginning is in the batch, as far as it may be that large; returns how far the batch goes then. */
  private writeRest(writer: RecordWriter, origin: number, after: number, end: number): number {
    let at = after;
    while (at < end && writer.payload.size < LARGEST_GROUP_BYTES) {
      const entries = this.entries(origin, at, end, ENTRIES_AT_ONCE);
      if (entries.length === 0) return end;
      const used = this.writeEntries(writer, origin, entries, LARGEST_GROUP_BYTES);
      at = Number((entries[used - 1] as Entry)[0]);
    }
    return at;
  }

  private writer(has: { covered: Covered; forgotten: Covered }): RecordWriter {
    // A body that grew for one large row is not kept.
    if (this.body.buffer.length > LARGEST_KEPT_BODY) this.body = new ByteWriter(64 * 1024);
    const names = {
      origin: (oid: number) => ({
        origin: this.knowledge.nameOf(oid),
        author: this.knowledge.authorOf(oid),
        source: this.knowledge.sourceOf(oid),
      }),
      context: (context: number) => this.knowledge.context(context),
    };
    const keeps = valueStatement(this.db, "SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
    const writer = new RecordWriter(this.rows, { ...has, keeps }, this.knowledge, names, this.body);
    if (this.rows.shared.active) writer.payload.needsSecondFormat();
    return writer;
  }

  private localVector(vector: VersionVector): Map<number, number> {
    const local = new Map<number, number>();
    for (const [origin, sequence] of vector) {
      const oid = this.knowledge.numberOf(origin);
      if (oid !== undefined) local.set(oid, sequence);
    }
    return local;
  }

  /**
   * Origins of which something lies after `from`, in the order in which they became known here: what came first was mostly referred to
   * by what came later. But where a group has parts in several, one right behind the other.
   */
  private originsInOrder(from: ReadonlyMap<number, number>): number[] {
    const known = [...this.knowledge.entries].flatMap(([oid, goal]) => (goal > (from.get(oid) ?? 0) ? [oid] : []));
    const origins = new Set(known.toSorted((a, b) => a - b));
    const next = new Map<number, number>();
    for (const origin of origins) {
      const before = this.groups.continued(origin);
      if (before !== null && origins.has(before)) next.set(before, origin);
    }
    const ordered = new Set<number>();
    const addWithNext = (origin: number): void => {
      for (let at: number | undefined = origin; at !== undefined && !ordered.has(at); at = next.get(at)) ordered.add(at);
    };
    const later = new Set(next.values());
    for (const origin of origins) if (!later.has(origin)) addWithNext(origin);
    // Also where a peer says that they continue each other none is left out.
    for (const origin of origins) addWithNext(origin);
    return [...ordered];
  }

  private entries(origin: number, after: number, upTo: number, limit: number): Entry[] {
    return this.db
      .prepare("SELECT sequence, tid, slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?")
      .safeIntegers(true)
      .raw(true)
      .all(origin, after, upTo, limit) as Entry[];
  }

  /** Writes records for the entries until the batch is full; returns how many entries are covered. */
  private writeEntries(writer: RecordWriter, origin: number, entries: Entry[], most = DEFAULT_BATCH_BYTES): number {
    let at = 0;
    while (at < entries.length && writer.payload.size < most) {
      const [, tid] = entries[at] as Entry;
      let end = at + 1;
      while (end < entries.length && (entries[end] as Entry)[1] === tid) end++;
      const known = this.rows.byTid(Math.abs(Number(tid)));
      if (!known || (known.absent !== null && tid > 0n)) {
        this.checkDropped(Math.abs(Number(tid)));
        at++;
        continue;
      }
      const table = tid > 0n ? known : undefined;
      if (table?.surrogate && end - at >= JOIN_FROM && !isWide(table) && !table.isSpelled && !this.rows.of(table).keptBack)
        at += this.writeRun(writer, table, origin, entries, at, end, most);
      else {
        this.writeOne(writer, entries[at] as Entry);
        at++;
      }
    }
    return at;
  }

  /** A run of entries of one surrogate table through one joined query. */
  private writeRun(writer: RecordWriter, table: Table, origin: number, entries: Entry[], at: number, end: number, most: number): number {
    const key = quote((table.key[0] as { name: string }).name);
    const store = this.rows.of(table);
    const { holdsLongText } = store;
    const columns = table.columns.map(({ name }) => `, ${holdsLongText ? emptyIfLong(`u.${quote(name)}`) : `u.${quote(name)}`}`).join("");
    const statement = this.db
      .prepare(
        `SELECT r.id, r.oid, r.sequence, r.time, r.context, r.extra, l.sequence${columns} FROM _scoutsync_log AS l ` +
          `JOIN ${rowsTable(table.tid)} AS r ON r.id = l.slot JOIN ${quote(table.source)} AS u ON u.${key} = r.id ` +
          `WHERE l.oid = ? AND l.sequence BETWEEN ? AND ? AND l.tid = ? ORDER BY l.sequence`,
      )
      .safeIntegers(true)
      .raw(true);
    const first = (entries[at] as Entry)[0];
    const last = (entries[end - 1] as Entry)[0];
    let covered = last;
    let expected = at;
    for (const row of statement.iterate(origin, first, last, table.tid) as IterableIterator<SqlValue[]>) {
      const plain = row[5] === null && Number(row[1]) === origin && row[2] === row[6];
      if (plain && !(table.utf8 && mayHoldRawText(row)) && !(holdsLongText && row.some(isEmptyBlob))) {
        writer.plain(table, row[0] as bigint, origin, Number(row[2]), Number(row[3]), Number(row[4]), row, 7);
      } else this.writeOne(writer, [row[6] as bigint, BigInt(table.tid), row[0] as bigint]);
      // An entry without a row would be claimed without having been sent.
      if ((entries[expected] as Entry)[0] !== row[6]) throw vanished(table);
      expected++;
      if (writer.payload.size >= most) {
        if (cameLarge(row)) store.mayHoldLongText();
        covered = row[6];
        break;
      }
    }
    if (covered === last && expected < end) throw vanished(table);
    let used = at;
    while (used < end && (entries[used] as Entry)[0] <= covered) used++;
    return used - at;
  }

  /**
   * Changes of a table that the application has dropped are passed over, as its rows are gone here. For some seconds they
   * are not: a migration of two steps brings the table back, and whoever takes the range for received would have to find
   * the rows by a comparison.
   */
  private checkDropped(tid: number): void {
    const since = leftSince(this.db, tid);
    const ago = this.nowUs() - (since ?? 0);
    // In the future: the clock has been set back since.
    if (since === null || ago < 0 || ago > DROPPED_AFTER_US) return;
    const name = this.db.prepare("SELECT name FROM _scoutsync_table WHERE tid = ?").pluck().get(tid) as string | undefined;
    throw new SyncError({
      code: "BUSY",
      message: `table "${name ?? tid}", of which this node holds changes, has been gone for less than ten seconds`,
      action: "Nothing has to be done: when the table is back, or after ten seconds, it goes on.",
    });
  }

  private writeOne(writer: RecordWriter, [, tid, slot]: Entry): void {
    const state = this.rows.atLog(Number(tid), slot);
    if (state) writer.mention(state);
  }

  // ---- what is held beyond the vector

  /** Origins of which more is held than the vector says. */
  originsBeyond(): number[] {
    const last = valueStatement(this.db, "SELECT max(sequence) FROM _scoutsync_log WHERE oid = ?");
    return (valueStatement(this.db, "SELECT oid FROM _scoutsync_origin").all() as number[]).filter(
      (origin) => ((last.get(origin) as number | null) ?? 0) > (this.knowledge.entries.get(origin) ?? 0),
    );
  }

  /** True in the middle of a stream: something is held beyond the vector. */
  get isMidStream(): boolean {
    return this.originsBeyond().length > 0;
  }

  /** SHA-256 over the dots held beyond the vector; empty when there are none. */
  beyondDigest(): Uint8Array {
    const origins = this.beyondInOrder();
    if (origins.length === 0) return new Uint8Array();
    const sequences = this.db.prepare("SELECT sequence FROM _scoutsync_log WHERE oid = ? AND sequence > ? ORDER BY sequence").pluck();
    const sum = createHash("sha256");
    for (const origin of origins) {
      const name = this.knowledge.nameOf(origin);
      for (const sequence of sequences.iterate(origin, this.knowledge.entries.get(origin) ?? 0)) sum.update(`${name}:${String(sequence)},`);
    }
    return sum.digest();
  }

  private beyondInOrder(): number[] {
    return this.originsBeyond().sort((a, b) => this.knowledge.compareOrigins(a, b));
  }

  /**
   * Writes what is held beyond the vector, with gaps before it, until the batch is full; it is never claimed. Returns
   * where to go on, null when that was all.
   */
  private writeBeyond(
    writer: RecordWriter,
    from: ReadonlyMap<number, number>,
    after: BeyondPosition | undefined,
    limit: number,
  ): BeyondPosition | null {
    let left = limit;
    let at = after ?? null;
    for (const origin of this.beyondInOrder()) {
      const name = this.knowledge.nameOf(origin);
      if (after && name < after.origin) continue;
      let sequence = Math.max(this.knowledge.entries.get(origin) ?? 0, from.get(origin) ?? 0, after?.origin === name ? after.sequence : 0);
      for (;;) {
        if (left <= 0 || writer.payload.size >= DEFAULT_BATCH_BYTES) return at ?? { origin: "", sequence: 0 };
        const entries = this.entries(origin, sequence, Number.MAX_SAFE_INTEGER, Math.min(ENTRIES_AT_ONCE, left));
        for (const entry of entries) {
          if (writer.payload.size >= DEFAULT_BATCH_BYTES) return at ?? { origin: "", sequence: 0 };
          this.writeOne(writer, entry);
          sequence = Number(entry[0]);
          at = { origin: name, sequence };
          left--;
        }
        if (entries.length === 0) break;
      }
    }
    return null;
  }

  schemaPrint(): SchemaPrint {
    return schemaPrint(this.rows.tables, ({ tid }) => this.digest.hasRows(tid));
  }

  // ---- counting

  /** At most how many changes come after: coalesced ones count too. Costs nothing. */
  private sequencesAfter(after: ReadonlyMap<number, number>): number {
    let changes = 0;
    for (const [origin, goal] of this.knowledge.entries) changes += Math.max(0, goal - (after.get(origin) ?? 0));
    return changes;
  }

  private countAfter(after: ReadonlyMap<number, number>): number {
    const count = this.db.prepare("SELECT count(*) FROM _scoutsync_log WHERE oid = ? AND sequence > ? AND sequence <= ?").pluck();
    let changes = 0;
    for (const [origin, goal] of this.knowledge.entries) {
      const at = after.get(origin) ?? 0;
      if (at < goal) changes += count.get(origin, at, goal) as number;
    }
    return changes;
  }

  /** Exactly how many live changes `since` lacks, and the time of the oldest. */
  count(since: VersionVector): ChangeCount {
    const from = this.localVector(since);
    const changes = this.countAfter(from);
    let oldestUs = 0;
    if (changes > 0) {
      for (const [origin, goal] of this.knowledge.entries) {
        const at = from.get(origin) ?? 0;
        const [first] = at < goal ? this.entries(origin, at, goal, 1) : [];
        if (!first) continue;
        const time = this.timeOf(origin, first);
        if (time > 0 && (oldestUs === 0 || time < oldestUs)) oldestUs = time;
      }
    }
    return { changes, oldestUs, vector: this.knowledge.vector, digest: this.digest.digest };
  }

  private timeOf(origin: number, [sequence, tid, slot]: Entry): number {
    const state = this.rows.atLog(Number(tid), slot);
    if (!state) return 0;
    const writes = [state.birth, ...state.deletes, ...[...state.columns.values()].flat()];
    return writes.find((write) => write.origin === origin && write.sequence === Number(sequence))?.time ?? state.birth.time;
  }

  // ---- whole rows

  /** Everything known of these rows, and of what they refer to; of deleted ones that are kept, also of what refers to them. */
  wholeRows(states: readonly RowState[], codecs: readonly Codec[]): ChangeBatch {
    const writer = this.writer({ covered: () => false, forgotten: () => false });
    for (const state of states) {
      writer.mention(state);
      if (state.kept && state.place.kind === "table") for (const child of this.keeping(state)) writer.mention(child);
    }
    const request = { from: new Map(), batchSize: 0, codecs, beyondDigest: new Uint8Array() };
    return { ...this.seal(request, writer, { to: new Map(), final: false, beyond: new Uint8Array(), remaining: 0 }), repair: true };
  }

  /** Some of the rows that may keep this one: others may not know that these refer to it. */
  private *keeping({ table, slot }: RowState): Generator<RowState> {
    let left = MOST_KEEPING;
    for (const { child: of, column } of table.referencedBy) {
      for (const { child } of rowsShowing(this.rows, of, column.name, slot)) {
        if (left-- === 0) return;
        yield child;
      }
    }
  }

  // ---- sealing

  private seal(
    request: ReadRequestHere,
    writer: RecordWriter,
    { to, final, beyond, remaining }: { to: ReadonlyMap<number, number>; final: boolean; beyond: Uint8Array; remaining: number },
  ): ChangeBatch {
    const { count } = writer.payload;
    // A row travels with all its registers, so changes beyond this batch's range may be in it.
    if (count > 0) this.clock.share(this.knowledge.lastSequence);
    const plain = count === 0 ? Buffer.alloc(0) : writer.payload.finish();
    const compress = request.codecs.includes("zstd") && isWorthCompressing(plain);
    const payload = compress ? zstdCompressSync(plain, FASTEST) : plain;
    const payloadSize = plain.length;
    if (compress) ownedMemory(plain)?.transfer(0);
    const floor = this.floor.vector;
    const reached = new Map(request.from);
    for (const [oid, sequence] of to) reached.set(this.knowledge.nameOf(oid), sequence);
    return {
      from: request.from,
      to: reached,
      count,
      codec: compress ? "zstd" : "identity",
      format: writer.payload.format,
      sha256: hash("sha256", payload, "buffer"),
      payload,
      payloadSize,
      final,
      vector: final ? this.knowledge.vector : new Map(),
      digest: final ? this.digest.digest : new Uint8Array(),
      schema: final ? this.schemaPrint() : "",
      run: this.run,
      beyondDigest: beyond,
      remaining,
      baseline: this.statement(),
      ...(floor.size > 0 ? { floor } : {}),
      groups: this.groups.between(this.localVector(request.from), to),
      ...(final ? { node: this.node } : {}),
      ...(this.terms === "" ? {} : { terms: this.terms }),
    };
  }
}

/** Large payloads are mostly one value: what its middle says of it saves memory as well as time. */
function isWorthCompressing(plain: Buffer): boolean {
  if (plain.length < LOOK_FROM) return plain.length >= COMPRESS_FROM;
  const middle = Math.floor(plain.length / 2);
  const sample = plain.subarray(middle, middle + SAMPLE_BYTES);
  return zstdCompressSync(sample, FASTEST).length < sample.length * 0.95;
}

/** A row's values by column name, for people. */
export function namedCells(table: Table, cells: readonly CellValue[]): { name: string; value: CellValue }[] {
  return table.columns.map((column, i) => ({ name: column.name, value: cells[i] ?? null }));
}
