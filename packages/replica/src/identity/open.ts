import { existsSync, realpathSync, statSync } from "node:fs";
import Database from "better-sqlite3";
import { SyncError, type Terms } from "@scoutsync/core";
import { checkMetadataVersion, hasMetadata } from "../schema/install.ts";
import { fromSqlite } from "../sqlite-errors.ts";
import { whenFree } from "../write-lock.ts";
import { attach } from "./attach.ts";
import { lockDatabaseFile, refuseHardLinks } from "./file-lock.ts";

/**
 * What a connection keeps of the file in memory, KiB: more than a batch of rows in order writes to; the rest is in the system's cache.
 * With twice as much nothing was faster, measured, random keys neither, and a node took 30 MB more.
 */
export const CACHE_KIB = 16 * 1024;

/** For how long new readers are kept out of a file without a write-ahead log, and how often at most, milliseconds. */
const READERS_KEPT_OUT_MS = 200;
const READERS_LET_IN_MS = 1_000;

/** A database file that this process has for itself as far as other nodes go. */
export interface OpenedFile {
  /** Where it is, links followed. */
  path: string;
  db: Database.Database;
  /** Lets other nodes have it. After `db` is closed. */
  release: () => void;
}

/**
 * Opens the application's database at `path` and locks it against other nodes. `busyTimeoutMs` is how long a write waits
 * for the application's. Throws DATABASE_NOT_FOUND, DATABASE_IN_USE, and what SQLite says.
 */
export function openFile(
  path: string,
  busyTimeoutMs: number,
  connect: (path: string, options: Database.Options) => Database.Database = (real, settings) => new Database(real, settings),
): OpenedFile {
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new SyncError({
      code: "DATABASE_NOT_FOUND",
      message: `there is no database file at ${path}`,
      action: "Check the path given with --db, or start the application once so that it creates its database.",
    });
  }
  const real = realpathSync.native(path);
  refuseHardLinks(path);
  const db = reached(path, () => {
    const opened = connect(real, { fileMustExist: true, timeout: busyTimeoutMs });
    whenFree(opened, () => opened.prepare("SELECT count(*) FROM sqlite_master").get(), { inTurns: true });
    return opened;
  });
  try {
    return { path: real, db, release: lockDatabaseFile(real) };
  } catch (error) {
    db.close();
    throw fromSqlite(error, path);
  }
}

function reached<T>(path: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw fromSqlite(error, path);
  }
}

/**
 * Has the file use a write-ahead log, and returns the name of its journal then. SQLite does not wait for writers here, whatever the timeout
 * is, but it does for readers, and lets no new ones in meanwhile: where there is always one it is let do so for a moment now and then.
 */
function useWriteAheadLog(db: Database.Database): unknown {
  const change = () => db.pragma("journal_mode = WAL", { simple: true });
  let readersKeptOutAtMs = Number.NEGATIVE_INFINITY;
  const attempt = () => {
    if (performance.now() - readersKeptOutAtMs < READERS_LET_IN_MS) return change();
    readersKeptOutAtMs = performance.now();
    db.pragma(`busy_timeout = ${READERS_KEPT_OUT_MS}`);
    try {
      return change();
    } finally {
      db.pragma("busy_timeout = 0");
    }
  };
  return whenFree(db, attempt, { inTurns: true });
}

/** Sets the connection up as a replica needs it, and puts the metadata into a database that has none. */
export function prepareFile(
  { db, path }: { db: Database.Database; path: string },
  { exclude, terms }: { exclude: readonly string[]; terms: Terms },
): void {
  if (whenFree(db, () => hasMetadata(db), { inTurns: true })) checkMetadataVersion(db, path);
  const journalBefore = db.pragma("journal_mode", { simple: true }) as string;
  if (useWriteAheadLog(db) !== "wal") {
    throw new SyncError({
      code: "DATABASE_FAILED",
      message: `${path} cannot use write-ahead logging`,
      action: "Put the database on a local disk; network file systems do not share the memory it needs.",
    });
  }
  db.pragma("synchronous = FULL");
  db.pragma(`cache_size = -${CACHE_KIB}`);
  // What a row refers to is looked after by placement; a cascade must not delete rows its author never knew.
  db.pragma("foreign_keys = OFF");
  db.pragma("recursive_triggers = OFF");
  // Passive checkpoints only, by count: others can lose commits of processes with an older SQLite. Fewer of them than
  // by default: measured, a fifth of the time of a long catch-up; the log file stays at some 16 MB.
  db.pragma("wal_autocheckpoint = 4000");
  db.pragma("temp_store = FILE");
  attach(db, exclude, terms, journalBefore);
}
