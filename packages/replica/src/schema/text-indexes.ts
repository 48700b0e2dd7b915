import type { Database } from "better-sqlite3";
import { quote } from "./quote.ts";

/** True for the error of a write whose trigger finds that an index does not hold what its table did. */
export function isOfIndex(error: unknown): boolean {
  return ((error as { cause?: unknown }).cause as { code?: string } | undefined)?.code === "SQLITE_CORRUPT_VTAB";
}

/** Builds full-text indexes anew that do not hold what the tables do whose rows they are of. False where that was none, or cannot be done. */
export function rebuildIndexes(db: Database): boolean {
  const names = db.prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%USING%FTS5%'").pluck();
  let count = 0;
  for (const name of names.all() as string[]) {
    const index = quote(name);
    if (tell(db, `INSERT INTO ${index}(${index}, rank) VALUES('integrity-check', 1)`)) continue;
    if (tell(db, `INSERT INTO ${index}(${index}) VALUES('rebuild')`)) count++;
  }
  return count > 0;
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
