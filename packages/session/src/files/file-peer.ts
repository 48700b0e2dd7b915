import type { FileEntry, FileListEnd, FileRefusal, FileWant, ListedEntry } from "@scoutsync/core";

export interface FileListRequest {
  root: string;
  /** Where lists of others are known here; the peer finds its own among them. */
  known: readonly { index: string; seq: number }[];
  /** The manifest here: what came from it is not sent back. */
  callerIndex: string;
  /** Go on with what comes next after the end. */
  follow: boolean;
  /** Without a fresh look at the peer's folder. */
  asKnown: boolean;
}

export interface FilePart {
  hash: string;
  offset: number;
  /** 0 = to the end. */
  length: number;
}

/** Bytes of one of the parts that were asked for, or why it cannot be had. */
export type FilePiece = { part: number; offset: number; bytes: Uint8Array } | { part: number; missing: string };

/** What became of an offer. */
export interface PutAck {
  placed: number;
  conflicts: number;
  removed: number;
  refused: FileRefusal[];
}

/** Offers of this node's entries to a peer, one after the other. Every method throws what the peer refused the stream with. */
export interface PutStream {
  /** How far our list is known there, that of this run and (`known`) those of earlier ones, and the peer's manifest. */
  readonly ready: { received: number; known: readonly { index: string; seq: number }[]; index: string; digest: string };
  offer(entries: readonly FileEntry[]): Promise<FileWant[]>;
  /** So many bytes are about to be sent for the last offer, and nothing else before its commit. */
  begin?(size: number): Promise<void>;
  /** The bytes are given away. Resolves when more may be sent. */
  bytes(hash: string, offset: number, bytes: Uint8Array): Promise<void>;
  /** Which parts of the file the peer lacks. */
  recipe(hash: string, recipe: Uint8Array): Promise<FilePart[]>;
  commit(missing: readonly string[]): Promise<PutAck>;
  /** Everything up to `seq` has been offered. */
  done(end: { index: string; seq: number; digest: string }): Promise<FileListEnd>;
  cancel(): void;
}

/** Another node's file roots, however they are reached. Throws as `Peer`; ROOT_NOT_FOUND where it has no such root. */
export interface FilePeer {
  readonly address: string;
  /** `index` is set in the first message, and `part` where the peer shows no more of the root than these folders. */
  fileList(
    request: FileListRequest,
    signal?: AbortSignal,
  ): AsyncIterable<{ index: string; entries: ListedEntry[]; end: FileListEnd | null; part: readonly string[] | null }>;
  /** In the order of the parts. `size`: how many bytes they are, as far as is known. */
  fileBytes(root: string, parts: readonly FilePart[], signal?: AbortSignal, size?: number): AsyncIterable<FilePiece>;
  fileRecipe(root: string, hash: string, signal?: AbortSignal): Promise<Uint8Array>;
  openPut(opening: { root: string; name: string; index: string }, signal?: AbortSignal): Promise<PutStream>;
}
