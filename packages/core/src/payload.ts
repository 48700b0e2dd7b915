import {
  ByteReader,
  ByteWriter,
  type CellValue,
  expectHeld,
  LARGE_VALUE_BYTES,
  MalformedBytes,
  memoryOf,
  Ref,
  releasePacked,
  Tag,
} from "./bytes.ts";
import { LongText, PAYLOAD_FORMATS, type PayloadFormat, RawText } from "./exchange.ts";
import type { Write } from "./merge.ts";

/**
 * The layout "packed-1" of a batch: dictionaries (origins, contexts, tables), then row records. A record carries a
 * row's registers that the receiver lacks, each under its own dot. Numbers in records are indexes into the
 * dictionaries; timestamps and sequences are differences to the record before, so that zstd finds little left to do.
 */
export const RecordFlags = {
  /** The birth write is here, with the claimed integer for surrogate keys, and every column's value follows. */
  birth: 1,
  /** Columns with writes of their own follow. */
  columns: 2,
  /** Deletes follow. */
  deletes: 4,
  /** The re-key fact follows. */
  rekey: 8,
  /** Closed conflict records follow. */
  closed: 16,
  /** The birth is owned by another dot than the one that names the row. */
  renamedBirth: 32,
  /** Tallies of writes under a combining rule follow. */
  rules: 128,
  /** Columns follow that the birth, made where they did not exist, has not written. */
  unwritten: 256,
  /** Other births of the row follow, and the columns that all births wrote alike. */
  twins: 1024,
  /** Decisions that this row and others are one entity, or are two, follow: a word of "packed-3". */
  same: 64,
} as const;

/** Flags from here on are words of "packed-2"; flags are a varint, so that there is room for more. */
const FIRST_FLAG_OF_2 = 64;

/** The byte after a table's name that says how its rows are identified. */
const KeyKind = { natural: 0, surrogate: 1, none: 3 } as const;

export interface TableHead {
  name: string;
  surrogate: boolean;
  /** No primary key: a row is named by its birth. A word of "packed-2". */
  keyless?: boolean;
  /** Columns of a natural key; 0 where the writer does not say, as the first version does not. */
  keyParts: number;
  columns: string[];
}

export interface OriginHead {
  origin: string;
  /** Name of the node that the origin ran on. */
  author: string;
  /** The origin whose changes it holds again under the same sequences: its number when written, its index when read. */
  source?: number | undefined;
}

/** A context as pairs of (origin index, sequence). */
export type ContextHead = [origin: number, sequence: number][];

export interface PayloadHead {
  origins: OriginHead[];
  contexts: ContextHead[];
  tables: TableHead[];
}

/** How the writer learns what the local numbers stand for. */
export interface PayloadNames {
  origin(origin: number): OriginHead;
  /** The vector numbered `context`, over local origin numbers. */
  context(context: number): Iterable<readonly [origin: number, sequence: number]>;
}

const VERSION = 1;
/** The head of "packed-2" where some origin holds the changes of another one again. */
const VERSION_WITH_SOURCES = 2;
const LARGEST_SEQUENCE = 2 ** 52;
/** The year 2112: later ones leave no room for the writes that have to follow, Unix microseconds. */
const LATEST_TIME_US = 2 ** 52;

type TableKey = Pick<TableHead, "surrogate" | "keyless" | "keyParts">;

/** A table's kind of key in one byte: 1 = surrogate, 3 = none, 2k = natural with k columns, 0 = natural with a number that is not said. */
export function keyKind({ surrogate, keyless, keyParts }: TableKey): number {
  if (keyless) return KeyKind.none;
  if (surrogate) return KeyKind.surrogate;
  return keyParts < 128 ? 2 * keyParts : KeyKind.natural;
}

/** The inverse of `keyKind`. A row without a key is named by one value, its birth. */
export function keyOfKind(kind: number): TableKey {
  if (kind === KeyKind.none) return { surrogate: false, keyless: true, keyParts: 1 };
  return { surrogate: kind === KeyKind.surrogate, keyParts: kind % 2 === 0 ? kind / 2 : 0 };
}

/** Builds one payload; the caller writes record parts in order. Local numbers become dictionary indexes here. */
export class PayloadWriter {
  readonly body: ByteWriter;
  /** What stands before the body: large values as they were given, and what was written before each. */
  private segments: Uint8Array[] = [];
  private segmentBytes = 0;
  private readonly names: PayloadNames;
  private readonly origins: number[] = [];
  private readonly originIndex: number[] = [];
  private readonly contexts: number[] = [];
  private readonly contextIndex = new Map<number, number>();
  private readonly tables: TableHead[] = [];
  private lastTime = 0;
  private lastSequence = 0;
  count = 0;
  /** The oldest layout that has words for what was written. */
  format: PayloadFormat = "packed-1";

  /** `body` may be one that served before: it is emptied. */
  constructor(names: PayloadNames, body = new ByteWriter(64 * 1024)) {
    this.names = names;
    this.body = body;
    body.reset();
  }

  /** Bytes of records so far. */
  get size(): number {
    return this.segmentBytes + this.body.length;
  }

  /** Registers a table; the index goes into its records. */
  table(head: TableHead): number {
    if (head.keyless) this.needs("packed-2");
    this.tables.push(head);
    return this.tables.length - 1;
  }

  /** The records mean something to programs that know "packed-2" only, whatever their flags say. */
  needsSecondFormat(): void {
    this.needs("packed-2");
  }

  /** Rows without a key that are named by what they held before syncing: a word of "packed-4". */
  needsNamesByContent(): void {
    this.needs("packed-4");
  }

  private needs(format: PayloadFormat): void {
    if (PAYLOAD_FORMATS.indexOf(format) > PAYLOAD_FORMATS.indexOf(this.format)) this.format = format;
  }

  /** What follows in a record: a sum of `RecordFlags`. */
  flags(flags: number): void {
    if (flags >= FIRST_FLAG_OF_2) this.needs("packed-2");
    if (flags & RecordFlags.same) this.needs("packed-3");
    this.body.varint(flags);
  }

  origin(origin: number): void {
    let index = this.originIndex[origin];
    if (index === undefined) {
      index = this.origins.push(origin) - 1;
      this.originIndex[origin] = index;
    }
    this.body.varint(index);
  }

  sequence(sequence: number): void {
    this.body.signedVarint(sequence - this.lastSequence);
    this.lastSequence = sequence;
  }

  /** Timestamp and context of a write. */
  stamp(time: number, context: number): void {
    this.body.signedVarint(time - this.lastTime);
    this.lastTime = time;
    let index = this.contextIndex.get(context);
    if (index === undefined) {
      index = this.contexts.push(context) - 1;
      this.contextIndex.set(context, index);
    }
    this.body.varint(index);
  }

  write(write: Write): void {
    this.origin(write.origin);
    this.sequence(write.sequence);
    this.stamp(write.time, write.context);
  }

  value(value: CellValue): void {
    if (value instanceof Ref) {
      this.body.byte(Tag.ref);
      this.origin(value.origin);
      this.body.varint(value.sequence);
      return;
    }
    const bytes = value instanceof RawText ? value.bytes : value;
    if (bytes instanceof Uint8Array && bytes.length >= LARGE_VALUE_BYTES) {
      this.body.byte(value instanceof LongText ? Tag.text : value instanceof RawText ? Tag.rawText : Tag.blob);
      if (value instanceof LongText) this.body.textLength(value, bytes.length);
      else this.body.varint(bytes.length);
      this.large(bytes);
    } else if (typeof value === "string" && value.length >= LARGE_VALUE_BYTES) {
      const text = Buffer.from(value, "utf8");
      this.body.byte(Tag.text);
      this.body.textLength(value, text.length);
      this.large(text);
    } else this.body.value(value);
  }

  /** The bytes of a large value, which are kept as they are until the payload is finished. */
  private large(bytes: Uint8Array): void {
    this.segments.push(this.body.toBytes(), bytes);
    this.segmentBytes += this.body.length + bytes.length;
    this.body.reset();
  }

  /** Gives back the memory of a value that was read for this payload, unless that is in it. */
  letGo(value: CellValue): void {
    const memory = memoryOf(value);
    if (memory !== null && !this.segments.some(({ buffer }) => buffer === memory)) releasePacked(value);
  }

  /** Dictionaries and records as one buffer. Nothing more may be written afterwards; large values that were are gone. */
  finish(): Buffer {
    const head = new ByteWriter(1024);
    // Contexts may name origins no record did, so they are numbered before the origins are listed.
    const contexts = new ByteWriter(256);
    contexts.varint(this.contexts.length);
    for (const context of this.contexts) {
      const entries = [...this.names.context(context)];
      contexts.varint(entries.length);
      for (const [origin, sequence] of entries) {
        let index = this.originIndex[origin];
        if (index === undefined) {
          index = this.origins.push(origin) - 1;
          this.originIndex[origin] = index;
        }
        contexts.varint(index);
        contexts.varint(sequence);
      }
    }
    const named: OriginHead[] = [];
    const sources: [index: number, source: number][] = [];
    // Grows while it is walked: sources may be origins that nothing else named.
    for (let at = 0; at < this.origins.length; at++) {
      const origin = this.names.origin(this.origins[at] as number);
      named.push(origin);
      if (origin.source === undefined) continue;
      this.originIndex[origin.source] ??= this.origins.push(origin.source) - 1;
      sources.push([at, this.originIndex[origin.source] as number]);
    }
    if (sources.length > 0) this.needs("packed-2");
    head.byte(sources.length > 0 ? VERSION_WITH_SOURCES : VERSION);
    head.varint(named.length);
    for (const { origin, author } of named) {
      head.text(origin);
      head.text(author);
    }
    if (sources.length > 0) {
      head.varint(sources.length);
      for (const pair of sources) for (const index of pair) head.varint(index);
    }
    head.bytes(contexts.buffer.subarray(0, contexts.length));
    head.varint(this.tables.length);
    for (const table of this.tables) {
      head.text(table.name);
      head.byte(keyKind(table));
      head.varint(table.columns.length);
      for (const column of table.columns) head.text(column);
    }
    head.varint(this.count);
    const parts = [head.buffer.subarray(0, head.length), ...this.segments, this.body.buffer.subarray(0, this.body.length)];
    this.segments = [];
    // Not from the pool: a buffer that owns its memory goes to another thread without being copied.
    const whole = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      expectHeld(part);
      whole.set(part, at);
      at += part.length;
      // The same value may have been written twice. The body may serve again.
      if (part.buffer !== this.body.buffer.buffer && !parts.some(({ buffer }) => buffer === part.buffer)) releasePacked(part);
    }
    return whole;
  }
}

/** Reads one payload. Origins and contexts come back as the numbers that `resolve` gave them. */
export class PayloadReader {
  readonly body: ByteReader;
  readonly head: PayloadHead;
  readonly count: number;
  private origins: readonly number[] = [];
  private contexts: readonly number[] = [];
  private lastTime = 0;
  private lastSequence = 0;

  /** `keepsLong`: as of `ByteReader`. */
  constructor(payload: Uint8Array, keepsLong = false) {
    const body = new ByteReader(payload, keepsLong);
    this.body = body;
    const version = body.byte();
    if (version !== VERSION && version !== VERSION_WITH_SOURCES) throw new MalformedBytes("unknown payload version");
    const list = <T>(read: () => T): T[] => {
      const length = body.varint();
      if (length > payload.length) throw new MalformedBytes("ends early");
      return Array.from({ length }, read);
    };
    const origins = list((): OriginHead => ({ origin: body.text(), author: body.text() }));
    if (version === VERSION_WITH_SOURCES) {
      for (const [index, source] of list((): [number, number] => [body.varint(), body.varint()])) {
        const origin = origins[index];
        if (!origin || !origins[source] || index === source) throw new MalformedBytes("unknown origin index");
        origin.source = source;
      }
    }
    const contexts = list(() => list((): [number, number] => [body.varint(), body.varint()]));
    const tables = list(() => ({ name: body.text(), ...keyOfKind(body.byte()), columns: list(() => body.text()) }));
    this.head = { origins, contexts, tables };
    this.count = body.varint();
  }

  /** Says which local numbers the dictionary's origins and contexts have here, in dictionary order. */
  resolve(origins: readonly number[], contexts: readonly number[]): void {
    this.origins = origins;
    this.contexts = contexts;
  }

  origin(): number {
    const origin = this.origins[this.body.varint()];
    if (origin === undefined) throw new MalformedBytes("unknown origin index");
    return origin;
  }

  sequence(): number {
    const sequence = this.lastSequence + this.body.signedVarint();
    if (sequence < 1 || sequence > LARGEST_SEQUENCE) throw new MalformedBytes("a sequence is out of range");
    this.lastSequence = sequence;
    return sequence;
  }

  time(): number {
    this.lastTime += this.body.signedVarint();
    if (this.lastTime < 0 || this.lastTime > LATEST_TIME_US) throw new MalformedBytes("a timestamp is out of range");
    return this.lastTime;
  }

  context(): number {
    const context = this.contexts[this.body.varint()];
    if (context === undefined) throw new MalformedBytes("unknown context index");
    return context;
  }

  write(): Write {
    const origin = this.origin();
    const sequence = this.sequence();
    const time = this.time();
    return { origin, sequence, time, context: this.context() };
  }

  value(): CellValue {
    const value = this.body.value();
    if (!(value instanceof Ref)) return value;
    const origin = this.origins[value.origin];
    if (origin === undefined) throw new MalformedBytes("unknown origin index");
    return new Ref(origin, value.sequence);
  }
}
