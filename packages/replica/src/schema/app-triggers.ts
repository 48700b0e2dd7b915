import type { Database } from "better-sqlite3";
import { quote } from "./quote.ts";
import { stepsOf, type TriggerStep } from "./trigger-steps.ts";
import { asText, mentions, missingToWrite } from "./writable.ts";

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

/** One that does not run as it is while changes of others are applied; or a view that one reads which runs. */
export interface RestingTrigger extends AppTrigger {
  type: "trigger" | "view";
  /** What runs in its place: of its body what feeds only derived tables, or all of it as this program can read it. Null where nothing does. */
  meanwhile: string | null;
}

/**
 * Triggers of the application on synced tables that do not run when changes of others are applied: those that write
 * where it is captured (the effect travels as a change of its own), and those that refuse or skip writes (the change
 * was accepted where it was made), and those that need a function, collation or module of the application's. What feeds
 * only derived tables, such as full-text indexes, goes on running, also where the same trigger does other things beside.
 * `choice` has the last word, but for what cannot run.
 */
export function triggersToSuspend(
  db: Database,
  tables: readonly (Written & { name: string })[],
  choice: TriggerChoice = NO_CHOICE,
): RestingTrigger[] {
  const fold = (name: string) => name.toLowerCase();
  const synced = new Set(tables.map((table) => fold(table.name)));
  const objects = db
    .prepare("SELECT type, name, tbl_name AS target, sql FROM main.sqlite_master WHERE sql IS NOT NULL")
    .all() as (AppTrigger & { type: string; target: string })[];
  const foreign = objects.filter(({ name }) => !name.startsWith("_scoutsync_"));
  const isOf =
    (kind: "trigger" | "view") =>
    (object: (typeof objects)[number]): object is Trigger =>
      object.type === kind;
  const views = new Set(foreign.filter(isOf("view")).map(({ name }) => fold(name)));
  const triggers = foreign.filter(isOf("trigger"));
  const triggersOn = (name: string) => triggers.filter(({ target }) => fold(target) === name);
  // A view is fed by what stands in the place of writes to it: without any, the application has that in its connection alone.
  const harmless = (name: string, above: readonly string[]): boolean =>
    !synced.has(name) &&
    !above.includes(name) &&
    !(views.has(name) && triggersOn(name).length === 0) &&
    triggersOn(name).every(({ sql }) =>
      stepsOf(sql).steps.every(({ writes, raises }) => !raises && (writes === null || harmless(writes, [...above, name]))),
    );
  const feeds = ({ writes, raises }: TriggerStep) => writes !== null && !raises && harmless(writes, []);
  const chosen = { run: choice.run.map(fold), suspend: choice.suspend.map(fold) };
  const ours = triggers.filter(({ target }) => synced.has(fold(target)));
  const resting = new Map<Trigger, string | null>();
  for (const trigger of ours) {
    const name = fold(trigger.name);
    if (chosen.suspend.includes(name)) resting.set(trigger, null);
    else if (!chosen.run.includes(name) && stepsOf(trigger.sql).steps.some((step) => step.raises || (step.writes !== null && !feeds(step))))
      resting.set(trigger, onlyWith(trigger, feeds));
  }
  const virtual = objects.filter(({ type, sql }) => type === "table" && /^\s*CREATE\s+VIRTUAL\b/i.test(sql));
  // One with triggers of its own would take these with it.
  const read = foreign.filter(isOf("view")).filter(({ name }) => triggersOn(fold(name)).length === 0);
  restUnrunnable(db, tables, { triggers, ours, read, resting, virtual, feeds });
  return [...resting].map(([{ type, name, sql }, meanwhile]) => ({ type, name, sql, meanwhile }));
}

/** A trigger's SQL with these statements of its body alone; null where there are none, or one would do another thing alone. */
export function onlyWith({ sql }: { sql: string }, holds: (step: TriggerStep) => boolean): string | null {
  const { head, steps } = stepsOf(sql);
  const kept = steps.filter(holds);
  if (kept.some(({ followsOn }) => followsOn)) return null;
  return kept.length === 0 ? null : `${head}\n${kept.map((step) => `${step.sql};\n`).join("")}END`;
}

type Trigger = AppTrigger & { type: "trigger" | "view"; target: string };

/** A table whose triggers are looked at. */
interface Written {
  source: string;
  surrogate: boolean;
  key: readonly { name: string }[];
  columns: readonly { name: string }[];
}

/**
 * Has triggers rest that lack something here, or that of them which does: found by leaving out one after the other. Text in
 * double quotes is only spelled otherwise. `ours` are those of `triggers` on these tables: the others run where one of ours feeds their table or view.
 * Some of them may read views.
 */
function restUnrunnable(
  db: Database,
  tables: readonly Written[],
  {
    triggers,
    ours,
    read,
    resting,
    virtual,
    feeds,
  }: {
    triggers: readonly Trigger[];
    ours: readonly Trigger[];
    read: readonly Trigger[];
    resting: Map<Trigger, string | null>;
    virtual: readonly AppTrigger[];
    feeds: (step: TriggerStep) => boolean;
  },
): void {
  const missing = ({ source, surrogate, key, columns }: Written) =>
    missingToWrite(
      db,
      source,
      [...(surrogate ? key : []), ...columns].map(({ name }) => name),
    );
  if (!tables.some((table) => missing(table) !== null)) return;
  const running = (trigger: Trigger) => (resting.has(trigger) ? (resting.get(trigger) ?? null) : trigger.sql);
  const needs = (sql: string | null, name: string, above: readonly string[] = []): boolean => {
    if (sql === null) return false;
    if (mentions(sql, name)) return true;
    const fed = namesWritten(sql).filter((table) => !above.includes(table));
    const runs = triggers.filter((one) => !ours.includes(one) && fed.includes(one.target.toLowerCase()));
    return (
      virtual.some((table) => fed.includes(table.name.toLowerCase()) && mentions(table.sql, name)) ||
      runs.some((one) => needs(one.sql, name, [...above, ...fed]))
    );
  };
  // `doctor` changes nothing, and finds the first that is missing.
  if (!db.readonly) db.exec("SAVEPOINT triggers");
  try {
    const rest = (trigger: Trigger, meanwhile: string | null) => {
      resting.set(trigger, meanwhile);
      if (!db.readonly) db.exec(`DROP ${trigger.type} ${quote(trigger.name)}; ${meanwhile ?? ""}`);
    };
    for (const [trigger, meanwhile] of resting) rest(trigger, meanwhile);
    for (const table of tables) {
      for (let name = missing(table); name !== null; name = db.readonly ? null : missing(table)) {
        const lacking = name;
        const isText = lacking.startsWith('"');
        const instead = (sql: string): string | null => {
          if (isText) return asText(sql, lacking);
          const less = needs(sql, lacking) ? onlyWith({ sql }, feeds) : sql;
          return needs(less, lacking) ? null : less;
        };
        const changed = (isText ? [...triggers, ...read] : ours).flatMap((trigger) => {
          const sql = running(trigger);
          return sql === null || instead(sql) === sql ? [] : [{ trigger, sql: instead(sql) }];
        });
        if (changed.length === 0) break;
        for (const { trigger, sql } of changed) rest(trigger, sql);
      }
    }
  } finally {
    if (!db.readonly) db.exec("ROLLBACK TO triggers; RELEASE triggers");
  }
}

/**
 * True where triggers of the application feed something from new and from deleted rows of a table: those that rest meanwhile are
 * not there. But for triggers that take rows of a table which stays here with those deleted, such as drafts, or have them follow
 * the integer `key`: nobody else has them.
 */
export function isFeeding(db: Database, source: string, key: string): boolean {
  const sql =
    "SELECT sql FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE AND name NOT LIKE '\\_scoutsync\\_%' ESCAPE '\\'";
  const triggers = (db.prepare(sql).pluck().all(source) as string[]).map(stepsOf);
  const on = (event: RegExp) => triggers.filter(({ head }) => event.test(head)).flatMap(({ steps }) => steps);
  const [coming, going] = [on(/\bINSERT\s+ON\b/i), on(/\bDELETE\s+ON\b/i)];
  const virtual = db
    .prepare("SELECT lower(name) FROM main.sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'")
    .pluck()
    .all();
  const takes = (step: TriggerStep) => step.writes !== null && !/^INSERT\b/i.test(step.sql) && !virtual.includes(step.writes);
  const names = (row: string, { sql: step }: TriggerStep) =>
    [key, "rowid", "_rowid_", "oid"].some((name) => new RegExp(`\\b${row}\\s*\\.\\s*["'\`[]?${escaped(name)}(?![\\w$])`, "i").test(step));
  const follows = (step: TriggerStep) => takes(step) && names("OLD", step) && names("NEW", step);
  return (
    going.some(({ writes }) => coming.some((step) => writes !== null && step.writes === writes)) &&
    !going.some(takes) &&
    !on(/\bUPDATE\s+(OF|ON)\b/i).some(follows)
  );
}

const escaped = (name: string) => name.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** The tables and views that a trigger of this SQL writes to, in lower case. */
export function namesWritten(sql: string): string[] {
  return stepsOf(sql).steps.flatMap(({ writes }) => (writes === null ? [] : [writes]));
}
