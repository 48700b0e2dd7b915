import { SyncError } from "./errors.ts";
import type { VersionVector } from "./vector.ts";

/** What is, or was, at a path: a regular file, a folder, or nothing any more (a tombstone). */
export type FileKind = "file" | "folder" | "gone";

/** A version that lost its name to a concurrent one. Its bytes are in the store of those nodes that had it. */
export interface FileLoser {
  /** SHA-256 of the version's bytes, lower-case hex. */
  hash: string;
  /** Bytes. */
  size: number;
  /** Name of the node that wrote it, and when it was written (Unix microseconds). */
  author: string;
  stampUs: number;
  /** When the two met, and what the path then held. */
  sinceUs: number;
  winner: string;
  winnerAuthor: string;
  winnerStampUs: number;
  /** A person has decided. */
  resolved: boolean;
}

/** One version of one path, as nodes tell each other. */
export interface FileEntry {
  /** Components joined by "/", no leading one; UTF-8 in composed normal form. */
  path: string;
  kind: FileKind;
  /** SHA-256 of the bytes, lower-case hex; "" unless a file. */
  hash: string;
  /** Bytes; 0 unless a file. */
  size: number;
  /** The owner's rwx bits, 0 to 7; 7 for folders, 0 for tombstones. */
  mode: number;
  /** Unix microseconds; shown and set on the file, never compared. */
  modifiedUs: number;
  version: VersionVector;
  /** When this version was written, as its author saw it; decides between concurrent versions only. */
  stampUs: number;
  /** Name of the node that wrote it. */
  author: string;
  /** For a tombstone: the bytes that were deleted, and why the author believes that they were. */
  before: string;
  cause: string;
  losers: readonly FileLoser[];
}

/** An entry in the order in which one node recorded it. */
export interface ListedEntry extends FileEntry {
  seq: number;
  /** When this node recorded it, Unix microseconds. */
  recordedUs: number;
}

/** Where a list of entries ends. */
export interface FileListEnd {
  /** The answering manifest's index, and the number up to which the caller now has everything. */
  index: string;
  seq: number;
  digest: string;
  /** How far the caller's own list is known there; 0 when another index is. */
  received: number;
  /** Known versions whose bytes are not there yet. */
  pending: number;
}

/** Bytes that are needed before an entry can be taken in. */
export interface FileWant {
  hash: string;
  size: number;
  /** What is here already. */
  offset: number;
  /** A version of the file is here, so that its chunks are wanted first. */
  recipe: boolean;
}

/** What could not be taken in: not now (`retry`: the list is read again from there), or never. */
export interface FileRefusal {
  path: string;
  code: string;
  message: string;
  retry: boolean;
}

/**
 * Throws DISK_FULL where something was refused for want of room, after all the rest was taken. `next`: how it goes on, as a
 * sentence.
 */
export function throwForRoom(refused: readonly FileRefusal[], next = "It goes on by itself."): void {
  const [first, ...more] = refused.filter(({ code }) => code === "DISK_FULL");
  if (!first) return;
  throw new SyncError({
    code: "DISK_FULL",
    message: first.message + (more.length > 0 ? `, and ${more.length} more files wait for room` : ""),
    action: `Free space there. Everything else was taken, and nothing was lost. ${next}`,
  });
}

/** Entries that go together are at most so many bytes, but for one that has more by itself: far less than a message may have. */
export const ENTRIES_BYTES = 8 * 1024 * 1024;
/** Of an entry, beside what grows without a bound. */
const ENTRY_BYTES = 256;
const AUTHOR_BYTES = 32;
const LOSER_BYTES = 512;

/** About how many bytes an entry has on its way: a version grows with each run of a node that edited the file. */
export function entryBytes({ path, author, cause, version, losers }: FileEntry): number {
  const text = path.length + author.length + cause.length;
  return ENTRY_BYTES + 3 * text + AUTHOR_BYTES * version.size + LOSER_BYTES * losers.length;
}

/** In order, at most `most` together, and no more bytes than go together. */
export function* entryBatches<T extends FileEntry>(entries: readonly T[], most: number): Generator<T[]> {
  let batch: T[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const more = entryBytes(entry);
    if (batch.length === most || (batch.length > 0 && bytes + more > ENTRIES_BYTES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(entry);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}

/** True when both hold the same thing: what a version stands for. Modification times are not part of it. */
export function sameContent(a: FileEntry, b: FileEntry): boolean {
  return a.kind === b.kind && a.hash === b.hash && a.mode === b.mode;
}

/** Both lists as one: by hash, resolved once is resolved. In a fixed order, so that equal knowledge is equal text. */
export function joinLosers(a: readonly FileLoser[], b: readonly FileLoser[]): readonly FileLoser[] {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const joined = new Map<string, FileLoser>();
  for (const loser of [...a, ...b]) {
    const known = joined.get(loser.hash);
    if (!known) joined.set(loser.hash, loser);
    else {
      // Two nodes may have noticed the same conflict: the earlier notice stands, wherever they are joined.
      const first = before(known, loser) ? known : loser;
      joined.set(loser.hash, { ...first, resolved: known.resolved || loser.resolved });
    }
  }
  return [...joined.values()].sort((x, y) => (x.hash < y.hash ? -1 : 1));
}

function before(a: FileLoser, b: FileLoser): boolean {
  if (a.sinceUs !== b.sinceUs) return a.sinceUs < b.sinceUs;
  return JSON.stringify(a) < JSON.stringify(b);
}

export function equalLosers(a: readonly FileLoser[], b: readonly FileLoser[]): boolean {
  return (
    a.length === b.length &&
    a.every((one, at) => one.hash === b[at]?.hash && one.resolved === b[at]?.resolved && one.sinceUs === b[at]?.sinceUs)
  );
}
