import type { ChangeCount, DigestEntry, HistoryEntry, ReadableChange, Review, ReviewKind, ReviewVersion } from "@scoutsync/core";
import { brief, briefColumns, formatVector, parseVector } from "@scoutsync/core";
import type {
  Change,
  ChangeCount as WireCount,
  DigestEntry as WireDigestEntry,
  HistoryEntry as WireHistoryEntry,
  Review as WireReview,
  ReviewVersion as WireReviewVersion,
} from "../gen/scoutsync/v1/sync_node.ts";
import { formatTime, parseTime } from "./time.ts";
import { asBuffer, fromWireColumns, fromWireValue, toWireColumns, toWireValue } from "./value.ts";

// What people see: names instead of numbers, times as ISO 8601, values as themselves, but for the longest of them.

export function toWireChange(change: ReadableChange, longest?: number): Change {
  const { dot, table, key, operation, author } = change;
  return {
    dot,
    table,
    key,
    operation,
    author,
    time: formatTime(change.timeUs),
    columns: toWireColumns(briefColumns(change.columns, longest)),
  };
}

export function fromWireChange(wire: Change): ReadableChange {
  const { dot, table, key, author } = wire;
  return {
    dot,
    table,
    key,
    author,
    operation: wire.operation as ReadableChange["operation"],
    timeUs: parseTime(wire.time),
    columns: fromWireColumns(wire.columns),
  };
}

export function toWireCount(count: ChangeCount): WireCount {
  return {
    changes: BigInt(count.changes),
    oldestUs: BigInt(count.oldestUs),
    vector: formatVector(count.vector),
    digest: asBuffer(count.digest),
  };
}

export function fromWireCount(wire: WireCount): ChangeCount {
  return {
    changes: Number(wire.changes),
    oldestUs: Number(wire.oldestUs),
    vector: parseVector(wire.vector),
    digest: wire.digest,
  };
}

/** `database` is not part of core's review, which lives inside one database; values longer than `longest` are shown in brief. */
export function toWireReview(database: string, review: Review, longest?: number): WireReview {
  return {
    id: review.id,
    kind: review.kind,
    database,
    table: review.table,
    key: review.key,
    column: review.column ?? "",
    winner: review.winner ? toWireVersion(review.winner, longest) : undefined,
    loser: review.loser ? toWireVersion(review.loser, longest) : undefined,
    image: toWireColumns(briefColumns(review.image ?? [], longest)),
    reason: review.reason,
    since: formatTime(review.sinceUs),
    resolved: review.resolved,
  };
}

export function fromWireReview(wire: WireReview): Review {
  return {
    id: wire.id,
    kind: wire.kind as ReviewKind,
    table: wire.table,
    key: wire.key,
    column: wire.column === "" ? null : wire.column,
    winner: wire.winner ? fromWireVersion(wire.winner) : null,
    loser: wire.loser ? fromWireVersion(wire.loser) : null,
    image: wire.image.length === 0 ? null : fromWireColumns(wire.image),
    reason: wire.reason,
    sinceUs: parseTime(wire.since),
    resolved: wire.resolved,
  };
}

function toWireVersion({ value, author, timeUs, dot }: ReviewVersion, longest?: number): WireReviewVersion {
  return { value: toWireValue(brief(value, longest)), origin: author, time: formatTime(timeUs), dot };
}

function fromWireVersion({ value, origin, time, dot }: WireReviewVersion): ReviewVersion {
  return { value: fromWireValue(value), author: origin, timeUs: parseTime(time), dot };
}

export function toWireHistory(entry: HistoryEntry, longest?: number): WireHistoryEntry {
  const { operation, author, dot, note } = entry;
  return {
    operation,
    author,
    dot,
    note,
    column: entry.column ?? "",
    value: toWireValue(brief(entry.value, longest)),
    time: formatTime(entry.timeUs),
  };
}

export function fromWireHistory(wire: WireHistoryEntry): HistoryEntry {
  const { author, dot, note } = wire;
  return {
    operation: wire.operation as HistoryEntry["operation"],
    column: wire.column === "" ? null : wire.column,
    value: fromWireValue(wire.value),
    author,
    timeUs: parseTime(wire.time),
    dot,
    note,
  };
}

export function toWireDigestEntry({ table, bucket, key, rows, digest, schema }: DigestEntry): WireDigestEntry {
  return { table, bucket, key, rows: BigInt(rows), digest: asBuffer(digest), schema };
}

export function fromWireDigestEntry({ table, bucket, key, rows, digest, schema }: WireDigestEntry): DigestEntry {
  return { table, bucket, key, rows: Number(rows), digest, schema };
}
