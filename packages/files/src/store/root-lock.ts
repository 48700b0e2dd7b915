import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import Database from "better-sqlite3";
import { SyncError } from "@scoutsync/core";
import { STORE_FOLDER } from "../paths/check-path.ts";

const LOCK = "lock";
/** A node that is just stopping lets go within this time, milliseconds. */
const WAIT_MS = 250;

/**
 * Takes the one lock that a node may have on a root, beside its mark: whatever the folder is called, nodes meet there. The
 * kernel gives it back when the process dies. Writes nothing, so that a full disk does not matter. Returns how to release it.
 * Throws ROOT_IN_USE.
 */
export function lockRoot(path: string): () => void {
  const release = takeLock(join(path, STORE_FOLDER, LOCK));
  if (release) return release;
  throw new SyncError({
    code: "ROOT_IN_USE",
    message: `another sync-node runs on the folder ${path}`,
    action: "Stop that node, or give each folder to one node only.",
  });
}

/** Takes the lock of that name, which is made where it is not there. Returns how to release it; null when another process has it. */
export function takeLock(path: string): (() => void) | null {
  const lock = new Database(path, { timeout: WAIT_MS });
  try {
    lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    if ((error as { code?: string }).code !== "SQLITE_BUSY") throw error;
    return null;
  }
  return () => lock.close();
}

/** True while a node runs on a root. */
export function isRootLocked(path: string): boolean {
  if (!existsSync(join(path, STORE_FOLDER, LOCK))) return false;
  try {
    lockRoot(path)();
    return false;
  } catch (error) {
    if (error instanceof SyncError && error.code === "ROOT_IN_USE") return true;
    throw error;
  }
}

/** The root that a folder lies in; null for none. Two nodes would both sync what is in it. */
export function rootAround(path: string): string | null {
  // One that is not there is refused, or waited for, elsewhere.
  if (!existsSync(path)) return null;
  let below = realpathSync(path);
  // What is called .scoutsync-… is left alone by every root.
  for (let folder = dirname(below); folder !== below && !basename(below).startsWith(".scoutsync-"); folder = dirname(folder)) {
    if (existsSync(join(folder, STORE_FOLDER, "root.json"))) return folder;
    below = folder;
  }
  return null;
}

/** Throws ROOT_IN_USE for a folder that lies in a root. */
export function refuseInRoot(path: string): void {
  const around = rootAround(path);
  if (around === null) return;
  throw new SyncError({
    code: "ROOT_IN_USE",
    message: `the folder ${path} lies in the file root ${around}`,
    action: `A file belongs to one root: choose folders apart, or delete ${join(around, STORE_FOLDER)} if that is none any more.`,
  });
}
