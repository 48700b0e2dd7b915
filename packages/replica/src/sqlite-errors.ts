import { SyncError } from "@scoutsync/core";

/** What SQLite's error means for the person who runs the node. Errors that are SyncErrors already pass through. */
export function fromSqlite(error: unknown, path: string): SyncError {
  if (error instanceof SyncError) return error;
  const code = (error as { code?: string }).code ?? "";
  const text = error instanceof Error ? error.message : String(error);
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return new SyncError({
      code: "DATABASE_LOCKED",
      message: `another process held the lock of ${path} longer than the busy timeout`,
      action:
        "Nothing was lost. A node that runs tries again by itself; one that ended at its start is started again then. " +
        "If this stays, find the process with a transaction left open.",
      cause: error,
    });
  }
  if (code === "SQLITE_NOTADB") {
    return new SyncError({
      code: "NOT_SQLITE",
      message: `${path} is not a SQLite database`,
      action: "Give the path of the application's database file.",
      cause: error,
    });
  }
  if (code === "SQLITE_FULL" || code === "SQLITE_IOERR_SHMSIZE") {
    return new SyncError({
      code: "DISK_FULL",
      message: `there is no room left for ${path}`,
      action:
        "Free space on that disk; nothing was lost. A node that runs goes on by itself; one that ended at its start is started again then.",
      cause: error,
    });
  }
  if (code === "SQLITE_CANTOPEN") {
    return new SyncError({
      code: "DATABASE_NOT_FOUND",
      message: `${path} cannot be opened`,
      action: "Check the path and that this user may read and write the file and its folder.",
      cause: error,
    });
  }
  if (code === "SQLITE_READONLY" || code.startsWith("SQLITE_READONLY")) {
    return new SyncError({
      code: "DATABASE_FAILED",
      message: `${path} may not be written`,
      action: "Give this user write permission on the file and its folder.",
      cause: error,
    });
  }
  if (code === "SQLITE_CORRUPT_VTAB") {
    return new SyncError({
      code: "DATABASE_FAILED",
      message: `an index of ${path} that triggers feed does not hold what its table does (${text})`,
      action:
        "Nothing was changed. Have the application build its full-text index anew; " +
        "or leave the triggers that feed it out where changes of others arrive, with --suspend-trigger.",
      cause: error,
    });
  }
  if (code.startsWith("SQLITE_CORRUPT")) {
    return new SyncError({
      code: "DATABASE_FAILED",
      message: `the file ${path} is damaged: ${text} (${code})`,
      action:
        "Nothing was changed, and other databases go on. Keep a copy of the file; in `sqlite3 FILE` `PRAGMA integrity_check` says where it is damaged. " +
        "Where only indexes are, `REINDEX` mends it. Otherwise `.recover` what can be read into another file, and put that in its place.",
      cause: error,
    });
  }
  if (code.startsWith("SQLITE_")) {
    return new SyncError({
      code: "DATABASE_FAILED",
      message: `SQLite failed on ${path}: ${text} (${code})`,
      action: "Nothing was changed; run `scoutsync doctor` on it.",
      cause: error,
    });
  }
  return new SyncError({
    code: "INTERNAL",
    message: `${path}: ${error instanceof Error ? (error.stack ?? text) : text}`,
    action: "Nothing was changed; report this with the log.",
    cause: error,
  });
}

const SURROUNDINGS = /^SQLITE_(BUSY|LOCKED|NOMEM|READONLY|INTERRUPT|IOERR|FULL|CANTOPEN|PROTOCOL)/;

/** True for SQLite's errors that say nothing about the statement or the schema: a disk without room, a lock, memory. */
export const isOfSurroundings = (error: unknown): boolean => SURROUNDINGS.test((error as { code?: string }).code ?? "");
