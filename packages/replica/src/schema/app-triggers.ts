import type { Database } from "better-sqlite3";
import type { Table } from "./catalog.ts";

/** A trigger of the application as it can be made again. */
export interface AppTrigger {
  name: string;
  sql: string;
}

/**
 * Triggers of the application on synced tables that write to synced tables. Their effects travel as changes of their
 * own, so they must not run a second time when changes of others are applied. Triggers that feed only what is not
 * synced (full-text indexes, caches) go on running.
 */
export function triggersToSuspend(db: Database, tables: readonly Table[]): AppTrigger[] {
  const synced = new Set(tables.map((table) => table.name.toLowerCase()));
  const triggers = db
    .prepare("SELECT name, tbl_name AS target, sql FROM main.sqlite_master WHERE type = 'trigger' AND name NOT LIKE '\\_scoutsync\\_%' ESCAPE '\\'")
    .all() as { name: string; target: string; sql: string }[];
  return triggers.filter(({ target, sql }) => synced.has(target.toLowerCase()) && writtenTables(sql).some((name) => synced.has(name))).map(({ name, sql }) => ({ name, sql }));
}

const WRITES = /\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+(?:"((?:[^"]|"")+)"|`([^`]+)`|\[([^\]]+)\]|'([^']+)'|(\w+))/gi;

/** Names after the writing verbs in a trigger's body, in lower case. */
function writtenTables(sql: string): string[] {
  const body = sql.slice(Math.max(0, sql.search(/\bBEGIN\b/i)));
  return [...body.matchAll(WRITES)].map((match) => (match.slice(1).find((name) => name !== undefined) ?? "").replaceAll('""', '"').toLowerCase());
}
