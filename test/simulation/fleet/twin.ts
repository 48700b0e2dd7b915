import Database from "better-sqlite3";
import { takeSnapshot, type Snapshot } from "./ledger.ts";
import type { ModelTable } from "./schema.ts";

/** The application's file as it is now, in memory and without any trace of capture: what it would be without the product. */
export class Twin {
  readonly db: Database.Database;

  constructor(original: Database.Database) {
    const bytes = original.serialize();
    // A database in memory has no write-ahead log.
    bytes[18] = 1;
    bytes[19] = 1;
    this.db = new Database(bytes);
    const pragma = (name: string) => this.db.pragma(`${name} = ${String(original.pragma(name, { simple: true }))}`);
    const triggers = this.db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '\\_scoutsync%' ESCAPE '\\'");
    for (const name of triggers.pluck().all() as string[]) this.db.exec(`DROP TRIGGER ${name}`);
    pragma("foreign_keys");
    pragma("recursive_triggers");
  }
}

/** Runs what the application ran on its twin, and says where the answers or the rows were different. */
export function differencesFromTwin(
  { db: twin }: Twin,
  statements: readonly string[],
  outcomes: readonly string[],
  original: Database.Database,
  tables: readonly ModelTable[],
  before: Snapshot,
): string[] {
  const found: string[] = [];
  try {
    twin.exec("BEGIN");
    statements.forEach((sql, i) => {
      let outcome: string;
      try {
        outcome = answerOf(sql, twin.prepare(sql).run());
      } catch (error) {
        outcome = `${(error as { code?: string }).code} ${(error as Error).message}`;
      }
      // A table without rowids leaves the last one as the connection had it before.
      if (outcome !== outcomes[i] && !/^\d+ 0$/.test(outcome)) found.push(`"${sql}" answers ${outcomes[i]}, without capture ${outcome}`);
    });
    const here = shown(takeSnapshot(original, tables));
    // A rollback leaves both as they were.
    if (here !== shown(takeSnapshot(twin, tables)) && here !== shown(before)) found.push("the rows differ from those without capture");
  } finally {
    twin.close();
  }
  return found;
}

/** What an application is told. The last rowid says something only where the statement inserted. */
export function answerOf(sql: string, { changes, lastInsertRowid }: Database.RunResult): string {
  return sql.startsWith("INSERT") && changes > 0 ? `${changes} ${lastInsertRowid}` : String(changes);
}

const shown = (snapshot: Snapshot): string =>
  [...snapshot]
    .map(([label, { key, cells }]) => `${label} ${key} ${[...cells].flat().join()}`)
    .sort()
    .join("\n");
