import { SyncError } from "@scoutsync/core";

/** Why a stream ends whose database is another file now: what both sides said when it was opened is of the file before. */
export const otherFile = (database: string): SyncError =>
  new SyncError({
    code: "DATABASE_REPLACED",
    message: `another file is in the place of "${database}" since this stream was opened`,
    action: "It is opened again, and goes on from what is there now.",
  });
