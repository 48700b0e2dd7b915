import { type Review, type FileEntry, type ListedEntry } from "@scoutsync/core";
import type { Intake, Want } from "./apply/intake.ts";
import type { FileLimits } from "./context.ts";
import type { Brake } from "./scan/deletions.ts";
import type { Remark, ScanReport } from "./scan/report.ts";
import type { ForgetOptions, Forgotten } from "./store/retention.ts";
import type { SmallFile } from "./store/staging.ts";

export interface FileRootOptions {
  /** What makes it the same root elsewhere. */
  name: string;
  path: string;
  /** Where the manifest is kept; outside of every root. */
  manifestPath: string;
  nodeName: string;
  /** Databases of this process: never opened as files, whatever they are called. */
  databases: readonly string[];
  /** gitignore patterns of the configuration. */
  exclude: readonly string[];
  limits?: Partial<FileLimits> | undefined;
}

/** A root as it last reported itself. */
export interface FileRootState {
  name: string;
  path: string;
  /** Identity of the manifest, and its latest number: together the cursor that others keep. */
  index: string;
  seq: number;
  /** Hex digest of all live entries; equal digests mean equal roots. */
  digest: string;
  files: number;
  folders: number;
  bytes: number;
  /** Conflicts that nobody has decided. */
  conflicts: number;
  /** Known versions whose bytes are not here yet, or not as they were. */
  wanted: number;
  /** Missing files that are not known to be deleted yet. */
  missing: number;
  brake: Brake | null;
  /** Why the root cannot take part just now; "" when it can. */
  problem: string;
  problemCode: string;
  /** The folders that it is limited to, with a slash at the end; "" is all of the root. Null where it is not limited. */
  part: readonly string[] | null;
  /** What other nodes have and this one leaves alone for its size, in words; "" where there is nothing. */
  tooLarge: string;
  /** How many times something of a peer was refused, ever, and what was last. Unix microseconds; 0 where nothing was. */
  refused: { count: number; timeUs: number; peer: string; what: string };
}

export interface ListRequest {
  /** Another node's place in this manifest's order; an index that is not ours, or was not, means from the beginning. */
  index: string;
  seq: number;
  /** Only what this node recorded at or after this time, Unix microseconds. */
  sinceUs: number;
  tombstones: boolean;
  limit: number;
  /** The manifest that asks: what came unchanged from there is not sent back. "" = send everything. */
  notFrom: string;
}

export interface ListPage {
  entries: ListedEntry[];
  /** This manifest's index, and the number up to which the caller has everything after this page. */
  index: string;
  seq: number;
  isEnd: boolean;
}

/** What a root holds at a path, for people. */
export interface FileListing {
  path: string;
  kind: FileEntry["kind"];
  size: number;
  hash: string;
  modifiedUs: number;
  author: string;
  version: string;
  /** "here", "wanted", "ignored", "suspect", "forgotten" or "leaving". */
  state: string;
}

export interface FileStatus {
  state: FileRootState;
  stored: { objects: number; bytes: number };
  remarks: Remark[];
  refusals: { timeUs: number; peer: string; what: string }[];
}

export interface StoredVersion {
  hash: string;
  size: number;
  why: string;
  author: string;
  modifiedUs: number;
  storedUs: number;
}

/** What may change a root. Everything throws SyncErrors. Calls are answered in turn; reads do not wait for writes. */
export interface FileRootCalls {
  /** Looks at the folder and writes down what differs. `confirm` waits for the second look that a deletion needs. */
  scan(options: { deep?: boolean; folders?: readonly string[]; confirm?: boolean }): Promise<ScanReport>;
  /** From now on looks by itself: soon after the kernel hints at a change, and at everything this often (milliseconds). */
  keepLooking(everyMs: number): Promise<void>;
  list(request: ListRequest): Promise<ListPage>;
  receive(entries: readonly FileEntry[], source: string, peer: string): Promise<Intake>;
  /** Notes what was refused of a peer: bytes that are not what was announced, or what makes no sense. */
  noteRefused(peer: string, what: string): Promise<void>;
  /** How far the list of another manifest is in this one, and that it is. `heardAs`: the list of this one that its beginning was asked as. */
  received(index: string): Promise<number>;
  noteReceived(index: string, seq: number, heardAs: string): Promise<void>;
  /** Some other node has this manifest's list up to this number. */
  noteAcknowledged(seq: number): Promise<void>;
  /** Lets go of earlier versions and partial files that nothing needs any more; a dry run only counts. */
  forget(options: ForgetOptions): Promise<Forgotten>;
  /** All lists that are known here. */
  cursors(): Promise<{ index: string; seq: number }[]>;
  /** Those of the manifest that has the list `index` now, also of its earlier runs. */
  cursorsOf(index: string): Promise<{ index: string; seq: number }[]>;
  /** Up to which number whoever has taken in these lists has this one: the same one, or one of an earlier run. */
  placeOf(cursors: readonly { index: string; seq: number }[]): Promise<number>;
  /** True when nothing after `seq` is news to the manifest `index`. */
  nothingFor(index: string, seq: number): Promise<boolean>;
  /** Which of these hashes' bytes are here. */
  holds(hashes: readonly string[]): Promise<boolean[]>;
  /**
   * Limits the root to these folders, for good; null = all of it. What others have outside of them goes into the store, and
   * nobody hears of it as a deletion. False when it was limited so before. Throws INVALID_ARGUMENT for what is no folder.
   */
  limitTo(prefixes: readonly string[] | null): Promise<boolean>;
  /** Fetches what is wanted into place where the bytes are here; returns what is missing. */
  heal(): Promise<{ healed: number; wants: Want[] }>;
  begin(hash: string, size: number): Promise<number>;
  /** Small files whole: instead of `begin`, `write` and `finish` for each. The bytes are given away. */
  accept(files: readonly SmallFile[]): Promise<void>;
  /** The bytes are given away: their memory may go to another thread. */
  write(hash: string, offset: number, bytes: Uint8Array): Promise<void>;
  finish(hash: string): Promise<void>;
  leave(hash: string): Promise<void>;
  /** May be in a piece of memory, which whoever has done with the bytes may give back. */
  read(hash: string, offset: number, length: number, memory?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>>;
  /** Small files whole; "large" has to be read in pieces, "missing" is not here (any more). */
  readSmall(hashes: readonly string[]): Promise<(Uint8Array<ArrayBuffer> | "large" | "missing")[]>;
  /** The hash of what is in place at a path. Throws NOT_FOUND, INVALID_ARGUMENT. */
  locate(path: string): Promise<FileEntry>;
  recipe(hash: string, size: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Puts a file together from the version of `path` that is here; returns what is missing of it. */
  assemble(hash: string, size: number, path: string, recipe: Uint8Array): Promise<{ offset: number; length: number }[]>;
  patch(hash: string, offset: number, bytes: Uint8Array): Promise<void>;
  reviews(): Promise<Review[]>;
  resolve(id: string, decision: "winner" | "loser" | "release" | "undo"): Promise<Review | null>;
  restore(path: string, hash: string): Promise<FileEntry>;
  /** Those of these paths at which no file is in place, and why. */
  absent(paths: readonly string[]): Promise<{ path: string; reason: string }[]>;
  versions(path: string): Promise<StoredVersion[]>;
  /** What is at a path ("" = the root) and below it, after a path: `limit` at most, or as many as go into one answer. */
  files(under: string, after: string, limit: number): Promise<FileListing[]>;
  status(): Promise<FileStatus>;
}

/** One file root taking part. */
export interface FileRoot extends FileRootCalls {
  readonly name: string;
  readonly path: string;
  readonly state: FileRootState;
  /** Called when the state has moved; returns what stops it. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
