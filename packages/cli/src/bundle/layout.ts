import type { CarriedRevocations } from "./revocations.ts";
import { OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, SyncError } from "@scoutsync/core";

// A bundle file: MAGIC, the layout's version, then sections. A section is a tag of four letters, the length of its body
// (32 bits, big-endian), the body, and the SHA-256 of the whole file up to here. So every section proves that it and all
// before it are as they were written, and the last one proves the file.
//
// As in PNG, a tag that begins with a small letter may be passed over by a program that does not know it.

/** Not text, and broken by anything that takes it for text. */
export const MAGIC = Buffer.from("\x89SCOUT\r\n\x1a\n", "latin1");
export const LAYOUT_VERSION = 1;
/** MAGIC and the version, bytes. */
export const START_BYTES = MAGIC.length + 2;
/** Tag and length. */
export const SECTION_HEAD_BYTES = 8;
export const DIGEST_BYTES = 32;
/** A batch travels in parts of 16 MiB; a section that says it is longer than this is damaged. */
export const MAX_SECTION_BYTES = 64 * 1024 * 1024;

export const Tags = {
  /** What the bundle is, as JSON: `BundleHead`. The first section. */
  head: "HEAD",
  /** One `Batch` message, as in GetChanges. */
  batch: "BTCH",
  /** Of a file root: entries as one `FileOffer` message; the bytes that they need follow. */
  entries: "FENT",
  /** A piece of a file, as one `FileBytes` message; pieces of one file in order. */
  fileBytes: "FBYT",
  /** Where the list of a root ends, as one `FileListEnd` message. */
  listEnd: "FEND",
  /** Nothing comes after. */
  tail: "TAIL",
} as const;

/** What a bundle says of itself. */
export interface BundleHead {
  protocol: number;
  /** Version of the program that wrote it. */
  version: string;
  /** "" in a bundle of files. */
  database: string;
  /** Of a bundle of files: the root, and the index of its manifest. */
  root?: string;
  index?: string;
  /** Name of the node it was exported from, and the run of its database. */
  node: string;
  run: string;
  /** Where a receiver has to stand at least, as `ping` prints it: a vector, or of files a cursor. */
  since: string;
  /** Of a database: where the node stood right before the export; bundles of earlier versions do not say it. */
  vector?: string | undefined;
  /** ISO 8601 UTC. */
  created: string;
  /** Who was put out of the fleet, signed by its CA: nodes that only sticks reach hear of it so. */
  revocations?: CarriedRevocations | undefined;
}

/** A file that is not a whole bundle as it was written. */
export function unreadable(path: string, why: string): SyncError {
  return new SyncError({
    code: "BUNDLE_UNREADABLE",
    message: `${path} ${why}`,
    action: "Copy it again from where it was written, or export it again; what was taken from it stays and is not taken twice.",
  });
}

/** A bundle of a version that this program does not know. */
export function tooNew(path: string, what: string): SyncError {
  return new SyncError({
    code: "PROTOCOL_VERSION",
    message: `${path} ${what}, which this version does not know (it speaks protocol ${OLDEST_PROTOCOL_VERSION} to ${PROTOCOL_VERSION})`,
    action: "Import it with the version that wrote it, or a newer one.",
  });
}

/** What the file system refused, in words for the person with the stick. */
export function fromFileSystem(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined || error instanceof SyncError) return error;
  if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
    return new SyncError({
      code: "DISK_FULL",
      message: code === "EFBIG" ? `${path} would be larger than its file system allows` : `there is no room for ${path}`,
      action: "Use a larger or differently formatted medium (FAT32 ends at 4 GiB, exFAT does not), or export less with --since.",
      cause: error,
    });
  }
  return new SyncError({
    code: "BUNDLE_UNREADABLE",
    message: `${path} cannot be used: ${(error as Error).message}`,
    action: "Check the path and its permissions.",
    cause: error,
  });
}
