import type { Database } from "better-sqlite3";
import { type AppTrigger, namesWritten, type RestingTrigger, triggersToSuspend, type TriggerChoice } from "../schema/app-triggers.ts";
import type { TableShape } from "../schema/tables.ts";

/**
 * The database's triggers on a scope's tables that rest while what nodes of the scope wrote is written there: those whose
 * effects are rows of the scope, and come from where the row was written. Triggers that refuse writes guard the database
 * here, too, and what a trigger writes outside of the scope nobody else can send: these run. `unclear` names one that does both.
 */
export function restingTriggers(
  db: Database,
  shapes: readonly TableShape[],
  { tables, choice }: { tables: ReadonlySet<string>; choice: TriggerChoice | undefined },
): { resting: RestingTrigger[]; unclear: string | null } {
  const inScope = new Set([...tables].map((name) => name.toLowerCase()));
  const synced = new Set(shapes.map(({ name }) => name.toLowerCase()));
  const objects = db
    .prepare(
      "SELECT type, name, lower(tbl_name) AS target, sql FROM main.sqlite_master WHERE type IN ('trigger', 'view') AND sql IS NOT NULL",
    )
    .all() as (AppTrigger & { type: string; target: string })[];
  const triggers = objects.filter(({ type, name }) => type === "trigger" && !name.startsWith("_scoutsync_"));
  const leadsOn = (name: string) => objects.some((one) => (one.type === "view" ? one.name.toLowerCase() : one.target) === name);
  const writesInside = (table: string) =>
    triggers.some(({ target, sql }) => target === table && namesWritten(sql).some((name) => inScope.has(name)));
  const resting: RestingTrigger[] = [];
  for (const trigger of triggersToSuspend(db, shapes, choice)) {
    const target = triggers.find(({ name }) => name === trigger.name)?.target ?? "";
    if (trigger.type === "view") resting.push(trigger);
    if (!inScope.has(target)) continue;
    const written = namesWritten(trigger.sql);
    const inside = written.filter((name) => inScope.has(name));
    const outside = written.filter((name) => !inScope.has(name) && (synced.has(name) || leadsOn(name)));
    if (choice?.suspend.some((name) => name.toLowerCase() === trigger.name.toLowerCase())) resting.push(trigger);
    else if (outside.some((name) => inside.length > 0 || !synced.has(name) || writesInside(name)))
      return { resting, unclear: trigger.name };
    else if (outside.length === 0 && (inside.length > 0 || !/\bRAISE\s*\(/i.test(trigger.sql))) resting.push(trigger);
  }
  return { resting, unclear: null };
}
