import type { Database } from "better-sqlite3";
import { quote } from "./quote.ts";
import { stepsOf } from "./trigger-steps.ts";

/** True for the error of a write whose trigger finds that an index does not hold what its table did. */
export function isOfIndex(error: unknown): boolean {
  return ((error as { cause?: unknown }).cause as { code?: string } | undefined)?.code === "SQLITE_CORRUPT_VTAB";
}

/** Builds full-text indexes of whole tables anew that do not hold what those do. False where that was none, or cannot be done. */
export function rebuildIndexes(db: Database): boolean {
  const names = db.prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%USING%FTS5%'").pluck();
  const triggers = (db.prepare("SELECT sql FROM main.sqlite_master WHERE type = 'trigger'").pluck().all() as string[]).map(stepsOf);
  let count = 0;
  for (const name of names.all() as string[]) {
    if (triggers.some((trigger) => choosesFor(trigger, name.toLowerCase()))) continue;
    const index = quote(name);
    if (tell(db, `INSERT INTO ${index}(${index}, rank) VALUES('integrity-check', 1)`)) continue;
    if (tell(db, `INSERT INTO ${index}(${index}) VALUES('rebuild')`)) count++;
  }
  return count > 0;
}

/** True for a trigger that puts only some new rows into the index: built anew it would hold all, drafts and the like, too. */
function choosesFor({ head, steps }: ReturnType<typeof stepsOf>, name: string): boolean {
  const filling = steps.filter(({ writes }) => writes === name);
  return /\bINSERT\s+ON\b/i.test(head) && filling.some(({ sql }) => /\bWHEN\b/i.test(head) || /\bWHERE\b/i.test(sql));
}

/** False where the index refuses. */
function tell(db: Database, sql: string): boolean {
  try {
    db.exec(sql);
    return true;
  } catch {
    return false;
  }
}
