import {
  formatVector,
  parseVector,
  SyncError,
  type FileEntry,
  type FileKind,
  type FileListEnd,
  type FileRefusal,
  type FileWant,
  type ListedEntry,
} from "@scoutsync/core";
import type {
  FileEntry as WireEntry,
  FileListEnd as WireEnd,
  FileRefusal as WireRefusal,
  FileWant as WireWant,
} from "../gen/scoutsync/v1/sync_node.ts";
import { formatTime, parseTime } from "./time.ts";

const KIND_WORDS = { file: "file", folder: "folder", gone: "deleted" } as const;

/** A tombstone's word for people. */
export const kindWord = (kind: FileKind): string => KIND_WORDS[kind];

export function toWireEntry(entry: FileEntry & Partial<Pick<ListedEntry, "seq" | "recordedUs">>): WireEntry {
  const { path, size, hash, version, modifiedUs, stampUs, mode, author, before, cause, seq = 0, recordedUs } = entry;
  return {
    path,
    kind: kindWord(entry.kind),
    size: BigInt(size),
    sha256: hash,
    version: formatVector(version),
    mode,
    author,
    cause,
    modifiedUs: BigInt(modifiedUs),
    stampUs: BigInt(stampUs),
    beforeSha256: before,
    losers: entry.losers.map((loser) => ({
      sha256: loser.hash,
      size: BigInt(loser.size),
      author: loser.author,
      stampUs: BigInt(loser.stampUs),
      sinceUs: BigInt(loser.sinceUs),
      winnerSha256: loser.winner,
      winnerAuthor: loser.winnerAuthor,
      winnerStampUs: BigInt(loser.winnerStampUs),
      resolved: loser.resolved,
    })),
    sequence: BigInt(seq),
    recorded: recordedUs === undefined ? "" : formatTime(recordedUs),
  };
}

/** Throws INVALID_ARGUMENT for what is no entry; whether its path may be used is the root's to check. */
export function fromWireEntry(wire: WireEntry): ListedEntry {
  const kind = wire.kind === "deleted" ? "gone" : wire.kind;
  if (kind !== "file" && kind !== "folder" && kind !== "gone") throw unreadable(`a "${wire.kind.slice(0, 40)}"`);
  const { path, sha256, version, mode, author, beforeSha256, cause } = wire;
  return {
    path,
    kind,
    hash: sha256,
    size: whole(wire.size),
    mode,
    author,
    before: beforeSha256,
    cause,
    version: parseVector(version),
    modifiedUs: whole(wire.modifiedUs),
    stampUs: whole(wire.stampUs),
    losers: wire.losers.map((loser) => ({
      hash: loser.sha256,
      size: whole(loser.size),
      author: loser.author,
      stampUs: whole(loser.stampUs),
      sinceUs: whole(loser.sinceUs),
      winner: loser.winnerSha256,
      winnerAuthor: loser.winnerAuthor,
      winnerStampUs: whole(loser.winnerStampUs),
      resolved: loser.resolved,
    })),
    seq: whole(wire.sequence),
    recordedUs: wire.recorded === "" ? 0 : parseTime(wire.recorded),
  };
}

/** `index:sequence`, joined by commas. */
export function formatCursors(cursors: readonly { index: string; seq: number }[]): string {
  return cursors.map(({ index, seq }) => `${index}:${seq}`).join(",");
}

/** Throws INVALID_ARGUMENT. */
export function parseCursors(text: string): { index: string; seq: number }[] {
  return [...parseVector(text)].map(([index, seq]) => ({ index, seq }));
}

/** The place in one list among cursors of many; 0 where it is not named. */
export function seqIn(cursors: string, index: string): number {
  return parseCursors(cursors).find((one) => one.index === index)?.seq ?? 0;
}

export function toWireEnd(end: FileListEnd & { files: number }, callerIndex: string): WireEnd {
  const { index, seq, digest, received, files, pending } = end;
  return {
    cursor: formatCursors([{ index, seq }]),
    digest,
    received: callerIndex === "" ? "" : formatCursors([{ index: callerIndex, seq: received }]),
    files: BigInt(files),
    pending: BigInt(pending),
  };
}

export function fromWireEnd(end: WireEnd, callerIndex: string): FileListEnd {
  const [cursor] = parseCursors(end.cursor);
  return {
    index: cursor?.index ?? "",
    seq: cursor?.seq ?? 0,
    digest: end.digest,
    received: seqIn(end.received, callerIndex),
    pending: whole(end.pending),
  };
}

export function toWireWant({ hash, size, offset, recipe }: FileWant): WireWant {
  return { sha256: hash, size: BigInt(size), offset: BigInt(offset), recipe };
}

export function fromWireWant({ sha256, size, offset, recipe }: WireWant): FileWant {
  return { hash: sha256, size: whole(size), offset: whole(offset), recipe };
}

export function fromWireRefusal({ path, code, message, retry }: WireRefusal): FileRefusal {
  return { path, code, message, retry };
}

function whole(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw unreadable(`the number ${value}`);
}

function unreadable(what: string): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${what} is no part of a file's entry`,
    action: "Nothing was touched. Look at the node that it came from.",
  });
}
