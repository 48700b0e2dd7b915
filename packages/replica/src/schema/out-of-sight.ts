import type { Database } from "better-sqlite3";
import { rowStatement } from "../kept-statements.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Table } from "./catalog.ts";
import { readMeta, writeMeta } from "./install.ts";

// What a dropped table referred to can be asked of nobody any more, so it is noted while the table is there.
const PARENTS = "parents of ";
const GONE = "out of sight ";

/** Notes to which tables each of these refers by foreign keys. Inside a write transaction. */
export function noteParents(db: Database, tables: readonly Table[]): void {
  for (const table of tables) {
    const declared = table.references.filter(({ index }) => !table.columns[index]?.soft);
    const parents = [...declared, ...table.keyReferences, ...table.dependsOn].map(({ parent }) => parent.tid);
    const text = JSON.stringify([...new Set(parents)].sort((a, b) => a - b));
    if ((readMeta(db, `${PARENTS}${table.tid}`) ?? "[]") !== text) writeMeta(db, `${PARENTS}${table.tid}`, text);
  }
}

/** A table has left whose rows the application does not see any more, and which nobody has deleted. Inside a write transaction. */
export function loseSight(db: Database, tid: number): void {
  const parents = readMeta(db, `${PARENTS}${tid}`);
  if (parents === null || parents === "[]" || db.prepare(`SELECT 1 FROM ${rowsTable(tid)} LIMIT 1`).get() === undefined) return;
  writeMeta(db, `${GONE}${tid}`, parents);
}

/** The table is back with all of its rows. */
export function regainSight(db: Database, tid: number): void {
  db.prepare("DELETE FROM _scoutsync_meta WHERE key = ?").run(`${GONE}${tid}`);
}

/** Tables, by number, to which rows refer that the application had and cannot see: their table is gone, or is back without them. */
export function parentsOutOfSight(db: Database): ReadonlySet<number> {
  const noted = rowStatement(db, `SELECT value FROM _scoutsync_meta WHERE key > '${GONE}' AND key < '${GONE}:'`).all() as {
    value: string;
  }[];
  return new Set(noted.flatMap(({ value }) => JSON.parse(value) as number[]));
}
