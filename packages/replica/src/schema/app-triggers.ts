import type { Database } from "better-sqlite3";
import { quote } from "./quote.ts";
import { mentions, missingToWrite } from "./writable.ts";

/** Triggers that a person has decided about, by name. */
export interface TriggerChoice {
  /** Run also where changes of others are applied. */
  run: readonly string[];
  /** Run only where a row is written. */
  suspend: readonly string[];
}

const NO_CHOICE: TriggerChoice = { run: [], suspend: [] };

/** A trigger of the application as it can be made again. */
export interface AppTrigger {
  name: string;
  sql: string;
}

/**
 * Triggers of the application on synced tables that do not run when changes of others are applied: those that write
 * where it is captured (the effect travels as a change of its own), and those that refuse or skip writes (the change
 * was accepted where it was made), and those that need a function, collation or module of the application's. What feeds
 * only derived tables, such as full-text indexes, goes on running. `choice` has the last word, but for what cannot run.
 */
export function triggersToSuspend(
  db: Database,
  tables: readonly { name: string; source: string; columns: readonly { name: string }[] }[],
  choice: TriggerChoice = NO_CHOICE,
): AppTrigger[] {
  const fold = (name: string) => name.toLowerCase();
  const synced = new Set(tables.map((table) => fold(table.name)));
  const objects = db
    .prepare("SELECT type, name, tbl_name AS target, sql FROM main.sqlite_master WHERE sql IS NOT NULL")
    .all() as (AppTrigger & { type: string; target: string })[];
  const foreign = objects.filter(({ name }) => !name.startsWith("_scoutsync_"));
  const views = new Set(foreign.filter(({ type }) => type === "view").map(({ name }) => fold(name)));
  const triggers: Trigger[] = foreign.filter(({ type }) => type === "trigger");
  const triggering = new Set(triggers.map(({ target }) => fold(target)));
  const harmless = (name: string) => !synced.has(name) && !views.has(name) && !triggering.has(name);
  const chosen = { run: choice.run.map(fold), suspend: choice.suspend.map(fold) };
  const ours = triggers.filter(({ target }) => synced.has(fold(target)));
  const suspended = new Set(
    ours.filter(({ name, sql }) => {
      if (chosen.run.includes(fold(name)) || chosen.suspend.includes(fold(name))) return chosen.suspend.includes(fold(name));
      const body = bodyOf(sql);
      return /\bRAISE\s*\(/i.test(body) || !writtenTables(body).every(harmless);
    }),
  );
  const virtual = objects.filter(({ type, sql }) => type === "table" && /^\s*CREATE\s+VIRTUAL\b/i.test(sql));
  for (const trigger of unrunnable(db, tables, ours, suspended, virtual)) suspended.add(trigger);
  return ours.filter((trigger) => suspended.has(trigger)).map(({ name, sql }) => ({ name, sql }));
}

type Trigger = AppTrigger & { target: string };

/** Triggers that lack something here, beside those that are suspended anyway: found by leaving out one after the other. */
function unrunnable(
  db: Database,
  tables: readonly { source: string; columns: readonly { name: string }[] }[],
  triggers: readonly Trigger[],
  suspended: ReadonlySet<Trigger>,
  virtual: readonly AppTrigger[],
): Trigger[] {
  const missing = ({ source, columns }: { source: string; columns: readonly { name: string }[] }) =>
    columns[0] ? missingToWrite(db, source, columns[0].name) : null;
  if (!tables.some((table) => missing(table) !== null)) return [];
  const found: Trigger[] = [];
  const needs = ({ sql }: Trigger, name: string) => {
    const feeds = writtenTables(bodyOf(sql));
    return mentions(sql, name) || virtual.some((table) => feeds.includes(table.name.toLowerCase()) && mentions(table.sql, name));
  };
  // `doctor` changes nothing, and finds the first that is missing.
  if (!db.readonly) db.exec("SAVEPOINT triggers");
  try {
    const drop = ({ name }: Trigger) => (db.readonly ? undefined : db.exec(`DROP TRIGGER ${quote(name)}`));
    suspended.forEach(drop);
    for (const table of tables) {
      for (let name = missing(table); name !== null; name = db.readonly ? null : missing(table)) {
        const lacking = name;
        const wanting = triggers.filter((trigger) => !suspended.has(trigger) && !found.includes(trigger) && needs(trigger, lacking));
        if (wanting.length === 0) break;
        wanting.forEach(drop);
        found.push(...wanting);
      }
    }
  } finally {
    if (!db.readonly) db.exec("ROLLBACK TO triggers; RELEASE triggers");
  }
  return found;
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

/** The tables and views that a trigger of this SQL writes to, in lower case. */
export function namesWritten(sql: string): string[] {
  return writtenTables(bodyOf(sql));
}

/** Names after the writing verbs in a trigger's body, in lower case. */
function writtenTables(body: string): string[] {
  return [...body.matchAll(WRITES)].map((match) =>
    (match.slice(1).find((name) => name !== undefined) ?? "").replaceAll('""', '"').toLowerCase(),
  );
}
