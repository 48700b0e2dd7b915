import { closeSync, constants, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync, statfsSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { SyncError } from "@scoutsync/core";
import { errorCode, Folder } from "../paths/folder.ts";
import { STORE_FOLDER } from "../paths/check-path.ts";
import type { FileLimits } from "../context.ts";

const MARKER = "root.json";
const NOTE = "seen";
const OWNER_ONLY = 0o700;

/** A root and its store, held open for one piece of work: nothing stays open between, so that a disk can be unmounted. */
export interface OpenRoot {
  root: Folder;
  store: Folder;
  /** Files that are being received or about to be placed, by the name of what they become. */
  staging: Folder;
  /** What was displaced. */
  objects: Folder;
}

/** Notes in the folder how far the manifest is that knows it, for good. */
export function noteSeen({ store }: OpenRoot, seq: number): void {
  const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants;
  const file = openSync(store.at(`${NOTE}.new`), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  try {
    writeSync(file, String(seq));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(store.at(`${NOTE}.new`), store.at(NOTE));
  store.sync();
}

/** 0 where nothing is noted. */
export function seenIn({ store }: OpenRoot): number {
  if (!store.look(NOTE)?.isFile()) return 0;
  const file = store.read(NOTE);
  try {
    return Number(readFileSync(file, "utf8")) || 0;
  } finally {
    closeSync(file);
  }
}

/** Of a small disk no more is kept free than this share. */
const FLOOR_SHARE = 1 / 20;

/** Bytes of a disk of `total` bytes that files of others never use. */
export const fileFloor = ({ minFreeBytes }: FileLimits, total: number): number => Math.min(minFreeBytes, Math.floor(total * FLOOR_SHARE));

/**
 * The folder of a root. Its store is a hidden folder in it: whatever is moved between the two stays on one file system, and
 * a marker in it says that this is the folder it was: a disk that is not mounted has none, and nothing in it counts as deleted.
 */
export class RootDisk {
  readonly path: string;
  private readonly name: string;

  constructor(name: string, path: string) {
    this.name = name;
    this.path = path;
  }

  /** Opens the root, checks that it is the one with this identity, and lends it. Throws ROOT_UNAVAILABLE. */
  use<T>(id: string, work: (open: OpenRoot) => T): T {
    const opened: Folder[] = [];
    const close = () => {
      for (const folder of opened) folder.close();
    };
    let result: T;
    try {
      const open = this.open(opened, id);
      result = work(open);
    } catch (error) {
      close();
      throw error;
    }
    if (result instanceof Promise) return result.finally(close) as T;
    close();
    return result;
  }

  /** The identity that the folder's marker tells; null where there is none. Throws ROOT_UNAVAILABLE. */
  identity(): string | null {
    let text: string;
    try {
      Folder.open(this.path).close();
      text = readFileSync(join(this.path, STORE_FOLDER, MARKER), "utf8");
    } catch (error) {
      if (errorCode(error) === "ENOENT" && this.isFolder()) return null;
      throw this.unavailable(error);
    }
    try {
      const { id } = JSON.parse(text) as { id?: unknown };
      if (typeof id === "string" && id !== "") return id;
    } catch {
      // Said below.
    }
    throw new SyncError({
      code: "ROOT_UNAVAILABLE",
      message: `${join(this.path, STORE_FOLDER, MARKER)} does not say which root this is`,
      action: "Put it back from a copy, or delete it and release the root in `scoutsync review`.",
    });
  }

  /** Marks the folder as this root. Returns its new identity. */
  mark(): string {
    const id = randomBytes(16).toString("hex");
    try {
      const store = join(this.path, STORE_FOLDER);
      for (const folder of [store, join(store, "staging"), join(store, "objects")])
        mkdirSync(folder, { recursive: true, mode: OWNER_ONLY });
      const file = openSync(join(store, MARKER), "w", 0o600);
      try {
        writeSync(file, `${JSON.stringify({ root: this.name, id })}\n`);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    } catch (error) {
      throw this.unavailable(error);
    }
    return id;
  }

  /** Bytes free for this user, and bytes of the whole file system. */
  room(): { free: number; total: number } {
    const { bavail, bsize, blocks } = statfsSync(this.path);
    return { free: bavail * bsize, total: blocks * bsize };
  }

  private open(opened: Folder[], id: string): OpenRoot {
    const keep = (folder: Folder) => {
      opened.push(folder);
      return folder;
    };
    const found = this.identity();
    if (found !== id) throw this.replaced(found);
    try {
      const root = keep(Folder.open(this.path));
      const store = keep(root.enter(STORE_FOLDER));
      if (store.dev !== root.dev) throw new Error("the store is on another file system than the root");
      const staging = keep(store.make("staging"));
      const objects = keep(store.make("objects"));
      return { root, store, staging, objects };
    } catch (error) {
      throw this.unavailable(error);
    }
  }

  private isFolder(): boolean {
    try {
      Folder.open(this.path).close();
      return true;
    } catch {
      return false;
    }
  }

  private replaced(found: string | null): SyncError {
    const what = found === null ? "holds no mark of this node, as when its disk is not mounted" : "is another folder than before";
    return new SyncError({
      code: "ROOT_UNAVAILABLE",
      message: `the root "${this.name}" at ${this.path} ${what}`,
      action: "Nothing counts as deleted. Put the folder back; if it is meant to be this one, release it in `scoutsync review`.",
    });
  }

  private unavailable(cause: unknown): SyncError {
    if (cause instanceof SyncError) return cause;
    const full = errorCode(cause) === "ENOSPC" || errorCode(cause) === "EDQUOT";
    return new SyncError({
      code: full ? "DISK_FULL" : "ROOT_UNAVAILABLE",
      message: `the root "${this.name}" at ${this.path} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      action: full
        ? "Free space on that disk; it goes on by itself."
        : "Nothing counts as deleted. Check the path and its permissions; it goes on by itself.",
      cause,
    });
  }
}
