import { rmSync, statSync } from "node:fs";
import Database from "better-sqlite3";
import { SyncError } from "@scoutsync/core";

/** Where the lock of a database lies: beside it, so that nodes with different data folders meet. */
export const lockPath = (path: string): string => `${path}-scoutsync-lock`;

/** Device and number of a file; null when there is none. Two names of one file have one id. */
export function fileId(path: string): string | null {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found ? `${found.dev}:${found.ino}` : null;
}

/** Takes the one lock that a node may have on a database. The kernel gives it back when the process dies. Returns how to release it. */
export function lockDatabaseFile(path: string): () => void {
  const lock = new Database(lockPath(path), { timeout: 250 });
  try {
    lock.exec("PRAGMA journal_mode = DELETE; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS held(by)");
  } catch (error) {
    lock.close();
    // Another's lock makes SQLite busy. Whatever else it says is about a file that this user may not write.
    if (!(error as { code?: string }).code?.startsWith("SQLITE_BUSY")) throw error;
    throw new SyncError({
      code: "DATABASE_IN_USE",
      message: `another sync-node runs on ${path}`,
      action: "Stop that node, or give each database to one node only.",
      cause: error,
    });
  }
  const mine = fileId(lockPath(path));
  return () => {
    // While it is held: afterwards it may be another node's. One that somebody else put there is not ours to remove.
    try {
      if (mine !== null && fileId(lockPath(path)) === mine) rmSync(lockPath(path), { force: true });
    } catch {
      // In a folder that may not be written any more it stays; nobody holds it.
    }
    lock.close();
  };
}

/** SQLite keeps its log beside the name that a file was opened by: under two names there are two logs, and the file breaks. */
export function refuseHardLinks(path: string): void {
  const { nlink } = statSync(path);
  if (nlink < 2) return;
  throw new SyncError({
    code: "DATABASE_IN_USE",
    message: `${path} has ${nlink} names (hard links), and SQLite keeps a log of its own for each of them`,
    action: "Leave it one name: programs that open a database by two names destroy it. Use a copy or a symbolic link instead.",
  });
}
