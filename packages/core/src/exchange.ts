import type { SchemaPrint } from "./schema-print.ts";
import type { VersionVector } from "./vector.ts";

/** Protocol version of this program; a peer at `PROTOCOL_VERSION - 1` works too. */
export const PROTOCOL_VERSION = 2;
export const OLDEST_PROTOCOL_VERSION = 1;

/** A change batch holds at most this many changes. */
export const DEFAULT_BATCH_CHANGES = 10_000;
/** A change batch is closed once its payload passes this many bytes (a single larger row still travels whole). */
export const DEFAULT_BATCH_BYTES = 1024 * 1024;

export type Codec = "identity" | "zstd";
/**
 * Layouts of a payload. A later one is written only where a record needs what those before have no word for (see
 * `RecordFlags`), so that a program of the version before reads everything it can understand and refuses the rest whole.
 */
export const PAYLOAD_FORMATS = ["packed-1", "packed-2", "packed-3", "packed-4"] as const;
export type PayloadFormat = (typeof PAYLOAD_FORMATS)[number];

/** One value as SQLite holds it. Integers are bigint and reals are number, so that 1 and 1.0 stay different. */
export type SqlValue = null | bigint | number | string | Uint8Array | RawText;

/** TEXT that is kept as its bytes: what is not valid UTF-8, and long text. */
export class RawText {
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/**
 * Long text as its UTF-8, which is valid: the same value as the string is. A string of it would be there besides, at one or two bytes a
 * character, until the collector comes by.
 */
export class LongText extends RawText {
  override toString(): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length).toString("utf8");
  }
}

/** A value of which nobody keeps the bytes: long text as a string, any other one as it is. */
export const asString = <T>(value: T): Exclude<T, LongText> | string =>
  value instanceof LongText ? String(value) : (value as Exclude<T, LongText>);

/** A node as others remember it. */
export interface NodeName {
  /** Stable random identity. */
  id: string;
  /** What people call it. */
  name: string;
}

/**
 * Changes of one origin that became visible together where they were written, sequences inclusive. A `first` of 0: together with
 * the last ones of the origin of the group before it in the list.
 */
export interface ChangeGroup {
  origin: string;
  first: number;
  last: number;
}

/** A place among the changes held beyond a vector, which go by origin and sequence. */
export interface BeyondPosition {
  origin: string;
  sequence: number;
}

/** What is known of a node that takes part, as nodes tell each other. */
export interface MemberWord {
  node: NodeName;
  /** What it was last known to have, durably. */
  vector: VersionVector;
  /** When it said so, by the clock of whoever heard it: Unix microseconds. The later word about a node counts. */
  atUs: number;
  /** Nothing is kept for it any more; should it return, it joins again. */
  retired: boolean;
}

/** A run of changes that a replica applies in one transaction or not at all. */
export interface ChangeBatch {
  /** The range covered: a receiver takes the batch only if it has everything up to `from`. */
  from: VersionVector;
  to: VersionVector;
  /** Number of changes in `payload`. */
  count: number;
  codec: Codec;
  format: string;
  /** SHA-256 of `payload` as transmitted. */
  sha256: Uint8Array;
  payload: Uint8Array;
  /** Bytes of `payload` before compression. */
  payloadSize: number;
  /** The stream has caught up; `vector` and `digest` are set and were read in the batch's own transaction. */
  final: boolean;
  vector: VersionVector;
  /** 16 bytes: the sum of all row hashes of the server. Empty when not final. */
  digest: Uint8Array;
  /** What the digest is of: digests of different schemas say nothing. "" when not final, or not said. */
  schema: SchemaPrint;
  /** The serving process's run, to which stream positions belong. */
  run: string;
  /** Digest of what the server holds beyond its vector; empty when there is nothing. */
  beyondDigest: Uint8Array;
  /** How far the part beyond the vector has come, for reading on; not sent. */
  beyondTo?: BeyondPosition;
  /** Changes that were still to come when this batch was read; for progress only. */
  remaining: number;
  /** The baseline origins this replica was started from, for the check at joining; see replica DESIGN. */
  baseline: string;
  /**
   * Whole rows, asked for by key to mend a difference: every register is merged whatever the vectors say, and no range
   * is covered. Not part of a stream.
   */
  repair?: boolean;
  /** Below this the server has forgotten deleted rows. Absent where nothing was. */
  floor?: VersionVector;
  /** With some final batches: the nodes that the server knows of, itself included. */
  members?: readonly MemberWord[];
  /** Set by a receiver that compares everything it holds with what the server holds; see `Replica.beginRejoin`. */
  rejoin?: boolean;
  /** Groups that this batch holds whole, for whoever passes it on. */
  groups?: readonly ChangeGroup[];
  /** The terms of the sender, see `formatTerms`; absent where there are none. */
  terms?: string;
  /** With `final`: the node whose `vector` it is. Absent where it was not said. */
  node?: NodeName;
}

/** What one applied batch did. */
export interface ApplyResult {
  /** Changes in the batch, and those of them that were new here. */
  received: number;
  applied: number;
  /** Conflict records that this batch opened. */
  conflicts: number;
  /** Rows that the batch left outside their table. */
  parked: number;
  vector: VersionVector;
  digest: Uint8Array;
  /**
   * After a final batch: true when this replica now stands exactly where the server stood and the digests agree,
   * false when it stands there and they differ, null when the vectors differ, so that digests say nothing.
   */
  verified: boolean | null;
  /** After the last batch of a re-join: rows that were deleted elsewhere, and rows that live on as new ones. */
  rejoined?: { gone: number; reborn: number };
  /** The batch holds changes of this run that it never made: it writes under another origin from here on. */
  originGivenUp?: boolean;
}

export interface ChangeCount {
  changes: number;
  /** Unix microseconds of the oldest missing change, 0 when there is none. */
  oldestUs: number;
  vector: VersionVector;
  digest: Uint8Array;
}

/** One change for people. */
export interface ReadableChange {
  dot: string;
  table: string;
  key: string;
  operation: "insert" | "update" | "delete";
  /** Unix microseconds. */
  timeUs: number;
  author: string;
  columns: { name: string; value: SqlValue }[];
}

export type ReviewKind = "conflict" | "parked" | "quarantine" | "file" | "schema" | "identity";

export interface ReviewVersion {
  value: SqlValue;
  /** Name of the node that wrote it. */
  author: string;
  timeUs: number;
  dot: string;
}

/** Something that may want a person's decision. */
export interface Review {
  /** Stable on every node of the fleet. */
  id: string;
  kind: ReviewKind;
  table: string;
  key: string;
  column: string | null;
  winner: ReviewVersion | null;
  loser: ReviewVersion | null;
  image: { name: string; value: SqlValue }[] | null;
  reason: string;
  sinceUs: number;
  resolved: boolean;
}

export interface HistoryEntry {
  operation: "insert" | "update" | "delete" | "conflict" | "closed" | "rekey" | "same" | "apart";
  column: string | null;
  value: SqlValue;
  author: string;
  timeUs: number;
  dot: string;
  note: string;
}

export interface DigestEntry {
  table: string;
  bucket: number;
  /** Set for single rows only. */
  key: string;
  rows: number;
  digest: Uint8Array;
  /** For a whole table: what columns the digest is of; digests of different ones cannot be compared. "" = not said. */
  schema: string;
}
