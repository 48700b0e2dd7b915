import type { Database } from "better-sqlite3";
import { LWW } from "@scoutsync/core";
import { catalogTables, type Table } from "./catalog.ts";
import { pages } from "../rows/pages.ts";
import { rowsTable } from "../rows/table-store.ts";
import { CAPTURE, eventCode, imageTable, Op } from "../capture/events.ts";
import { capturedShape, renameTable } from "./install.ts";
import { FormerShape } from "./reconcile.ts";
import type { TableColumn, TableShape } from "./tables.ts";

/**
 * The tables under the columns and names for which capture was installed, read where they are now: as a node knows them that was there
 * before the migration. One that was down has to drain what was captured until then as that one does. Those that were not captured are
 * left out. Inside the caller's transaction.
 */
export function formerTables(db: Database, shapes: readonly TableShape[], tables: readonly Table[]): Table[] {
  const former: TableShape[] = [];
  const names = new Map<string, string>();
  for (const table of tables) {
    const captured = capturedShape(db, table);
    const shape = shapes.find(({ name }) => name === table.name);
    if (!captured || !shape) continue;
    const columns = captured.columns.map((name) => shape.columns.find((column) => column.name === name) ?? goneColumn(name));
    former.push({ ...shape, columns });
    names.set(table.name, captured.name);
  }
  const found = catalogTables(db, former);
  // Its rows have hashes under the name that it had.
  for (const table of found) table.name = names.get(table.name) ?? table.name;
  return found;
}

/** A column that a migration has dropped. */
function goneColumn(name: string): TableColumn {
  return { name, affinity: "BLOB", collation: "BINARY", references: null, rule: LWW, fallback: null };
}

/** Rows by which a table is known again. */
const ROWS_COMPARED = 500;

/**
 * A table that one transaction rebuilds and renames, as Django does, went with its triggers, and one of another name holds its rows:
 * they are the same rows under the new name, as where it is only renamed. As new rows they would be there once per server. Told by more
 * of the first rows being what they were, under their integers, than not. Returns whether a table has another name now, and `tables`
 * have to be read again. Inside the caller's transaction.
 */
export function followRebuilt(db: Database, tables: readonly Table[]): boolean {
  const here = new Set(tables.map(({ tid }) => tid));
  const exists = db.prepare("SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?");
  const fresh = tables.filter((table) => table.surrogate && exists.get(imageTable(table.tid)) === undefined);
  if (fresh.length === 0) return false;
  const catalog = db.prepare("SELECT tid, name FROM _scoutsync_table WHERE surrogate = 1").all() as { tid: number; name: string }[];
  // One that is excluded from now on is still there.
  const gone = catalog.filter(
    ({ tid, name }) => !here.has(tid) && exists.get(name) === undefined && exists.get(imageTable(tid)) !== undefined,
  );
  let found = false;
  for (const former of gone) {
    const now = fresh.find((table) => here.has(table.tid) && holdsRowsOf(db, table, former.tid));
    if (!now) continue;
    renameTable(db, former, now.name, now.tid);
    here.delete(now.tid);
    found = true;
  }
  return found;
}

/** True when the table holds rows that are known under another number, as they were. */
function holdsRowsOf(db: Database, table: Table, tid: number): boolean {
  const captured = capturedShape(db, { ...table, tid });
  if (!captured) return false;
  const shape = new FormerShape(table, captured);
  const known = db.prepare(`SELECT hash FROM ${rowsTable(tid)} WHERE id = ?`).pluck();
  const written = db.prepare(
    `SELECT 1 FROM ${CAPTURE} WHERE event IN (${Object.values(Op)
      .map((op) => eventCode(tid, op))
      .join(", ")}) AND k0 = ?`,
  );
  let same = 0;
  let other = 0;
  let read = 0;
  for (const { key, values } of pages(db, table, [], ROWS_COMPARED)) {
    const hash = known.get(key[0]) as Buffer | undefined;
    // One that was written since it was last looked at says nothing, and neither does a new one.
    if (hash && (written.get(key[0]) !== undefined || shape.isThatOf(hash, key[0] as bigint, values))) same++;
    else if (hash) other++;
    if (++read === ROWS_COMPARED) break;
  }
  return same > other;
}
