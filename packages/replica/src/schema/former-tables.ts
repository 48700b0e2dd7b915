import type { Database } from "better-sqlite3";
import { LWW } from "@scoutsync/core";
import { catalogTables, columnNames, type Table } from "./catalog.ts";
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
 * of the first rows being what they were, under their integers, than not. With no row left it is told by its columns, where they leave
 * no choice: what others still write under the former name would be held for good. Returns whether a table has another name now, and
 * `tables` have to be read again. Inside the caller's transaction.
 */
export function followRebuilt(db: Database, tables: readonly Table[]): boolean {
  const exists = db.prepare("SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?");
  const fresh = new Set(tables.filter((table) => table.surrogate && exists.get(imageTable(table.tid)) === undefined));
  if (fresh.size === 0) return false;
  const here = new Set(tables.map(({ tid }) => tid));
  const catalog = db.prepare("SELECT tid, name FROM _scoutsync_table WHERE surrogate = 1").all() as Former[];
  // One that is excluded from now on is still there.
  const isGone = ({ tid, name }: Former) => !here.has(tid) && exists.get(name) === undefined && exists.get(imageTable(tid)) !== undefined;
  const gone = new Set(catalog.filter(isGone));
  const before = fresh.size;
  const follow = (former: Former, now: Table) => {
    renameTable(db, former, now.name, now.tid);
    fresh.delete(now);
    gone.delete(former);
  };
  for (const former of gone) {
    const now = [...fresh].find((table) => holdsRowsOf(db, table, former.tid));
    if (now) follow(former, now);
  }
  const emptied = [...gone].filter(({ tid }) => isEmptied(db, tid));
  // A name that another table had before says that it may be that one, which is back.
  const unknown = [...fresh].filter(({ tid }) => exists.get(rowsTable(tid)) === undefined);
  for (const former of emptied) {
    const [now, other] = unknown.filter((table) => hasColumnsOf(db, table, former.tid));
    if (now && !other && emptied.every((one) => one === former || !hasColumnsOf(db, now, one.tid))) follow(former, now);
  }
  return fresh.size < before;
}

interface Former {
  tid: number;
  name: string;
}

/** True when the table holds rows that are known under another number, as they were. */
function holdsRowsOf(db: Database, table: Table, tid: number): boolean {
  const captured = capturedShape(db, { ...table, tid });
  if (!captured) return false;
  const shape = new FormerShape(table, captured);
  // Rows that were written since are known by their integers alone, which other tables have, too.
  if (!shape.isWhole) return false;
  const known = db.prepare(`SELECT hash FROM ${rowsTable(tid)} WHERE id = ?`).pluck();
  const written = db.prepare(`${writtenKeys(tid)} AND k0 = ?`);
  let same = 0;
  let other = 0;
  let read = 0;
  for (const { key, values } of pages(db, table, [], ROWS_COMPARED)) {
    const hash = known.get(key[0]) as Buffer | undefined;
    if (hash && (written.get(key[0]) !== undefined || shape.isThatOf(hash, key[0] as bigint, values))) same++;
    else if (hash) other++;
    if (++read === ROWS_COMPARED) break;
  }
  return same > other;
}

/** True when all rows that are known under this number were written since: none is left that could be known again. */
function isEmptied(db: Database, tid: number): boolean {
  return db.prepare(`SELECT 1 FROM ${rowsTable(tid)} WHERE id NOT IN (${writtenKeys(tid)}) LIMIT 1`).get() === undefined;
}

/** True when the table has the key and the columns that were captured under this number, and no others. */
function hasColumnsOf(db: Database, table: Table, tid: number): boolean {
  const captured = capturedShape(db, { ...table, tid });
  const [key] = table.key;
  if (!captured || !key || ![...columnNames(db, tid).values()].includes(key.name)) return false;
  return captured.columns.length === table.columns.length && table.columns.every(({ name }) => captured.columns.includes(name));
}

/** SQL of the integers of rows on the dirty list. */
function writtenKeys(tid: number): string {
  const events = Object.values(Op).map((op) => eventCode(tid, op));
  return `SELECT k0 FROM ${CAPTURE} WHERE event IN (${events.join(", ")})`;
}
