import { SyncError } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { readMeta, writeMeta } from "../schema/install.ts";
import { valueStatement } from "../kept-statements.ts";

const HOME = "scope home";

/**
 * The copy of a scope that a database's rows belong to, by the durable id that it was given when its file was made: every
 * server has a copy of its own per scope, whose rows are others. "" where they belong to none, or nobody knows.
 */
export function homeOf(db: Database): string {
  const isCopy = valueStatement(db, "SELECT 1 FROM main.sqlite_master WHERE name = '_scoutsync_scope'").get() !== undefined;
  if (!isCopy) return readMeta(db, HOME) ?? "";
  return db.prepare("SELECT value FROM _scoutsync_scope WHERE key = 'id'").pluck().get() as string;
}

/**
 * The copy that a database comes to belong to by meeting one that belongs to `theirs`; null where nothing changes. Only a
 * node that is limited to a scope comes to belong to one, and only as rows are about to be exchanged (`exchanges`). Throws
 * SCOPE_OTHER_SERVER where the two belong to different copies: each would take the other's rows for rows of their own.
 */
export function homeFrom(mine: string, theirs: string, { limited, exchanges }: { limited: boolean; exchanges: boolean }): string | null {
  if (theirs === "" || theirs === mine) return null;
  if (mine !== "") throw otherServer();
  return limited && exchanges ? theirs : null;
}

/** Remembers it, for good. Inside the caller's write transaction. */
export function noteHome(db: Database, id: string): void {
  writeMeta(db, HOME, id);
}

function otherServer(): SyncError {
  return new SyncError({
    code: "SCOPE_OTHER_SERVER",
    message:
      "a database of a scope's node met another copy of a scope than the one its rows belong to: every server, and every scope, has a copy of its own, and each row would be there twice",
    action:
      "Sync that node with the server that it belongs to, or start it with an empty database for this one; nothing was exchanged, and what was typed stays in its file. If this is its server, the copy was made anew there: put `scopes/` of the server's data directory back; where that is lost, give the scope another name there and invite its nodes to that, with empty databases.",
  });
}
