import type { Database } from "better-sqlite3";

/** A trigger of the application as it can be made again. */
export interface AppTrigger {
  name: string;
  sql: string;
}

/**
 * Triggers of the application on synced tables that do not run when changes of others are applied: those that write
 * where it is captured (the effect travels as a change of its own), and those that refuse or skip writes (the change
 * was accepted where it was made). What feeds only derived tables, such as full-text indexes, goes on running.
 */
export function triggersToSuspend(db: Database, tables: readonly { name: string }[]): AppTrigger[] {
  const fold = (name: string) => name.toLowerCase();
  const synced = new Set(tables.map((table) => fold(table.name)));
  const objects = db
    .prepare("SELECT type, name, tbl_name AS target, sql FROM main.sqlite_master WHERE sql IS NOT NULL")
    .all() as (AppTrigger & { type: string; target: string })[];
  const foreign = objects.filter(({ name }) => !name.startsWith("_scoutsync_"));
  const views = new Set(foreign.filter(({ type }) => type === "view").map(({ name }) => fold(name)));
  const triggers = foreign.filter(({ type }) => type === "trigger");
  const triggering = new Set(triggers.map(({ target }) => fold(target)));
  const harmless = (name: string) => !synced.has(name) && !views.has(name) && !triggering.has(name);
  return triggers
    .filter(({ target, sql }) => {
      const body = bodyOf(sql);
      return synced.has(fold(target)) && (/\bRAISE\s*\(/i.test(body) || !writtenTables(body).every(harmless));
    })
    .map(({ name, sql }) => ({ name, sql }));
}

const NAME = String.raw`(?:"((?:[^"]|"")+)"|\x60([^\x60]+)\x60|\[([^\]]+)\]|'([^']+)'|([\w$\u0080-\uffff]+))`;
const WRITES = new RegExp(
  String.raw`\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+` + NAME,
  "gi",
);

function bodyOf(sql: string): string {
  const plain = sql.replace(/--[^\n]*|\/\*[\s\S]*?\*\//g, " ");
  return plain.slice(Math.max(0, plain.search(/\bBEGIN\b/i)));
}

/** Names after the writing verbs in a trigger's body, in lower case. */
function writtenTables(body: string): string[] {
  return [...body.matchAll(WRITES)].map((match) =>
    (match.slice(1).find((name) => name !== undefined) ?? "").replaceAll('""', '"').toLowerCase(),
  );
}
