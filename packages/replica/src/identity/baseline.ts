import type { Database } from "better-sqlite3";

/** The author recorded for origins that stand for rows which were there before syncing. */
export const BASELINE_AUTHOR = "before syncing";

/** Origins whose changes are rows that some replica had before it was attached. */
export function baselinesOf(db: Database): string[] {
  return db.prepare("SELECT origin FROM _scoutsync_origin WHERE author = ? ORDER BY origin").pluck().all(BASELINE_AUTHOR) as string[];
}
