import { formatVector, parseVector, type FileEntry, type FileKind, type FileLoser, type ListedEntry } from "@scoutsync/core";

/** Whether an entry's bytes are in place. */
export const State = { here: 0, wanted: 1, ignored: 2, suspect: 3, forgotten: 4, leaving: 5 } as const;
/** States of entries that do not travel and are in no digest. */
export const SILENT_STATES: ReadonlySet<number> = new Set([State.ignored, State.forgotten, State.leaving]);
/** The same as SQL. */
export const SILENT = `(${[...SILENT_STATES].join(", ")})`;
export type State = (typeof State)[keyof typeof State];

/** What the manifest holds of a path, with what is only of this node. */
export interface ManifestRow extends ListedEntry {
  /** The manifest it came from unchanged, "" from here. */
  source: string;
  print: string;
  racy: boolean;
  state: State;
  missingUs: number;
}

/** What is set when a row is written; `seq` and the time are drawn. */
export interface RowChange {
  entry: FileEntry;
  source: string;
  print: string;
  racy: boolean;
  state: State;
}

export interface StoredObject {
  id: string;
  hash: string;
  size: number;
  path: string;
  /** "left": it lies outside of the part of the root that this node is limited to now. */
  why: "replaced" | "deleted" | "conflict" | "late" | "left";
  author: string;
  modifiedUs: number;
  storedUs: number;
  print: string;
}

export interface JournalStep {
  id: string;
  path: string;
  step: "place" | "remove";
  staged: string;
  expected: string;
  entry: FileEntry;
  source: string;
}

export interface ListFilter {
  after: number;
  limit: number;
  sinceUs: number;
  tombstones: boolean;
  notFrom: string;
}

/** A row as SQLite gives it. */
export interface EntryRecord {
  path: string;
  kind: FileKind;
  hash: string;
  size: number;
  mode: number;
  modified_us: number;
  version: string;
  stamp_us: number;
  author: string;
  before: string;
  cause: string;
  losers: string;
  seq: number;
  recorded_us: number;
  source: string;
  print: string;
  racy: number;
  state: State;
  missing_us: number;
}

export function parentOf(path: string): string {
  const at = path.lastIndexOf("/");
  return at < 0 ? "" : path.slice(0, at);
}

export function fromRecord(record: EntryRecord): ManifestRow {
  const { path, kind, hash, size, mode, author, before, cause, seq, source, print, state } = record;
  return {
    path,
    kind,
    hash,
    size,
    mode,
    author,
    before,
    cause,
    seq,
    source,
    print,
    state,
    modifiedUs: record.modified_us,
    version: parseVector(record.version),
    stampUs: record.stamp_us,
    losers: record.losers === "[]" ? [] : (JSON.parse(record.losers) as FileLoser[]),
    recordedUs: record.recorded_us,
    racy: record.racy === 1,
    missingUs: record.missing_us,
  };
}

export function toJson(entry: FileEntry): string {
  return JSON.stringify({ ...entry, version: formatVector(entry.version) });
}

export function fromJson(text: string): FileEntry {
  const entry = JSON.parse(text) as Omit<FileEntry, "version"> & { version: string };
  return { ...entry, version: parseVector(entry.version) };
}

/** Only what travels. */
export function entryOf(row: ManifestRow): FileEntry {
  const { path, kind, hash, size, mode, modifiedUs, version, stampUs, author, before, cause, losers } = row;
  return { path, kind, hash, size, mode, modifiedUs, version, stampUs, author, before, cause, losers };
}
