import { randomBytes } from "node:crypto";
import { SyncError } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { readMeta, writeMeta } from "../schema/install.ts";
import { fileId, lockPath } from "./file-lock.ts";

const MARK = "mark";
const MARK_BYTES = 8;

interface Watched {
  path: string;
  what: string;
  /** It is there from the start. */
  mustBe: boolean;
  /** Device and file number; null while it has not been there. */
  id: string | null;
}

/**
 * Tells whether a path still means the database that was opened: the same file with the same log beside it, and in it
 * what this process left there. A file that was put in its place has another history; writing to the old one, which no
 * path leads to any more, would lose what is written, and mixing their logs would destroy both.
 */
export class SameFile {
  private readonly db: Database;
  private readonly path: string;
  private readonly watched: Watched[];
  private mark = "";

  /** `path` is how the file was named, `real` where it is. Call before it is opened. */
  constructor(db: Database, path: string, real: string) {
    this.db = db;
    this.path = path;
    this.watched = [
      { path, what: "the database file", mustBe: true, id: null },
      { path: `${real}-wal`, what: "its write-ahead log", mustBe: false, id: null },
      { path: `${real}-shm`, what: "the index of its write-ahead log", mustBe: false, id: null },
      { path: lockPath(real), what: "the lock of this node", mustBe: true, id: null },
    ];
  }

  /** Takes the files as they are now for the right ones. */
  begin(): void {
    for (const one of this.watched) one.id = fileId(one.path);
    // Another node that was just stopping may have removed the lock that this one waited for.
    for (const one of this.watched) if (one.mustBe) one.id ??= "none";
    this.mark = this.readMark() ?? "";
  }

  /** Throws DATABASE_REPLACED as `checkFiles` and `checkMark`. */
  check(): void {
    this.checkFiles();
    this.checkMark();
  }

  /** Null where there is no metadata. */
  private readMark(): string | null {
    try {
      return readMeta(this.db, MARK) ?? "";
    } catch (error) {
      if (/no such table/.test((error as Error).message)) return null;
      throw error;
    }
  }

  /** Throws DATABASE_REPLACED when a file is not the one it was. Costs four looks at the folder. */
  checkFiles(): void {
    for (const one of this.watched) {
      const now = fileId(one.path);
      one.id ??= now;
      if (now === one.id) continue;
      throw this.replaced(now === null ? `${one.what} was removed` : `another file is in the place of ${one.what}`);
    }
  }

  /** Throws DATABASE_REPLACED when somebody else wrote to the metadata. Inside a transaction. */
  checkMark(): void {
    if (this.readMark() === this.mark) return;
    throw this.replaced("what this node keeps in it is not what it left there, as after a restore into the file");
  }

  /** Leaves a new mark; part of the caller's transaction. `keep` when it has committed. */
  leaveMark(): { keep(): void } {
    const mark = randomBytes(MARK_BYTES).toString("hex");
    writeMeta(this.db, MARK, mark);
    return { keep: () => (this.mark = mark) };
  }

  private replaced(why: string): SyncError {
    return new SyncError({
      code: "DATABASE_REPLACED",
      message: `${this.path} is not the database that was opened: ${why}`,
      action:
        "The node lets go of it and opens what is there now, as another replica that has its rows; nothing was written to the old one since.",
    });
  }
}

/**
 * What `SameFile` throws of another database of the node, for whoever needs that one: it is opened anew by itself, and what
 * is done here can be tried again. Any other error as it is.
 */
export function asLocked(error: unknown): Error {
  return isReplaced(error)
    ? new SyncError({
        code: "DATABASE_LOCKED",
        message: `another database of this node is being opened again: ${error.message.slice(0, -`. ${error.action}`.length)}`,
        action: "Nothing was changed; it is tried again.",
        cause: error,
      })
    : (error as Error);
}

/** True for what `SameFile` throws. */
export function isReplaced(error: unknown): error is SyncError {
  return error instanceof SyncError && error.code === "DATABASE_REPLACED";
}
