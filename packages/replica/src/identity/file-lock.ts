import { existsSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import { SyncError } from "@scoutsync/core";

/** Where the lock of a database lies: beside it, so that nodes with different data folders meet. */
export const lockPath = (path: string): string => `${path}-scoutsync-lock`;

/** Takes the one lock that a node may have on a database. The kernel gives it back when the process dies. Returns how to release it. */
export function lockDatabaseFile(path: string): () => void {
  const lock = new Database(lockPath(path), { timeout: 250 });
  try {
    lock.exec("PRAGMA journal_mode = DELETE; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS held(by)");
  } catch (error) {
    lock.close();
    throw new SyncError({
      code: "DATABASE_IN_USE",
      message: `another sync-node runs on ${path}`,
      action: "Stop that node, or give each database to one node only.",
      cause: error,
    });
  }
  return () => {
    lock.close();
    if (existsSync(lockPath(path))) rmSync(lockPath(path), { force: true });
  };
}
