import type { Database } from "better-sqlite3";
import { LWW } from "@scoutsync/core";
import { catalogTables, type Column, columnNames, type Table } from "./catalog.ts";
import { pages } from "../rows/pages.ts";
import type { RowStore } from "../rows/row-store.ts";
import { stateInTable } from "../rows/stored-states.ts";
import { rowsTable, TableStore } from "../rows/table-store.ts";
import { CAPTURE, eventCode, imageTable, Op, WIDE_FROM } from "../capture/events.ts";
import { capturedShape, renameTable } from "./install.ts";
import { quote } from "./quote.ts";
import { FormerShape, type Shape } from "./former-shape.ts";
import type { TableColumn, TableShape } from "./tables.ts";
import { asHashed } from "./spelled.ts";

/**
 * The tables under the columns and names for which capture was installed, read where they are now: as a node knows them that was there
 * before the migration. One that was down has to drain what was captured until then as that one does. Those that were not captured are
 * left out, and so are columns that have gone, as nothing can be read in them; but for tables without a key, whose events have whole
 * rows. Inside the caller's transaction.
 */
export function formerTables(db: Database, shapes: readonly TableShape[], tables: readonly Table[]): Table[] {
  const former: TableShape[] = [];
  const names = new Map<string, string>();
  // One that is back after it had gone has not been captured since.
  const images = db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?");
  for (const table of tables) {
    const captured = images.get(imageTable(table.tid)) === undefined ? null : capturedShape(db, table);
    const shape = shapes.find(({ name }) => name === table.name);
    if (!captured || !shape) continue;
    const left = columnsLeft(table, captured);
    const columns = (left ?? captured.columns).map((name) => shape.columns.find((column) => column.name === name) ?? goneColumn(name));
    former.push({ ...shape, columns });
    names.set(table.name, captured.name);
  }
  const found = catalogTables(db, former);
  // Its rows have hashes under the name that it had.
  for (const table of found) table.name = names.get(table.name) ?? table.name;
  return found;
}

/**
 * Those of the captured columns that are left, and what the key is called now where only its name is another one. Null where what was
 * captured cannot be had in them.
 */
function columnsLeft(table: Table, captured: Shape): string[] | null {
  if (table.keyless || captured.columns.length >= WIDE_FROM) return null;
  const left = captured.columns.filter((name) => table.columns.some((column) => column.name === name));
  // A table that was made anew may have another key, under which none of its former rows is found.
  const renamed = table.surrogate ? [] : table.key.filter(({ name }) => !left.includes(name));
  return [...left, ...renamed.map(({ name }) => name)];
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
 * no choice: what others still write under the former name would be held for good. What is not found here, another node's rows may say
 * later (`RenamedElsewhere`). Returns whether a table has another name now, and `tables` have to be read again. Inside the caller's transaction.
 */
export function followRebuilt(rows: RowStore, tables: readonly Table[]): boolean {
  const { db } = rows;
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
  const likely = [...gone].flatMap((former) => likenesses(rows, former, fresh)).sort(byLikeness);
  for (const one of likely) {
    const { former, now } = one;
    const isOther = (other: Likeness) => other !== one && (other.former === former || other.now === now) && byLikeness(one, other) === 0;
    if (gone.has(former) && fresh.has(now) && !likely.some(isOther)) follow(former, now);
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

/** That a table may be one that is gone. */
interface Likeness {
  former: Former;
  now: Table;
  /** Rows that are what they were under their integers. */
  same: number;
  /** Rows that were written since under integers which rows here have. */
  written: number;
  /** Rows that were there at last and are not here. */
  missing: number;
}

/** The likelier first. */
const byLikeness = (a: Likeness, b: Likeness): number => b.same - a.same || a.missing - b.missing || b.written - a.written;

/** Which of the tables may be the one that is gone. */
function likenesses(rows: RowStore, former: Former, fresh: Iterable<Table>): Likeness[] {
  const { db } = rows;
  db.exec(`DROP TABLE IF EXISTS temp.written; CREATE TEMP TABLE written(id INTEGER PRIMARY KEY, is_gone INT)`);
  // Of a GROUP BY with max() SQLite gives the row that has it: the last event says whether the row was there at last.
  db.prepare(
    `INSERT INTO temp.written SELECT k0, event IN (${eventCode(former.tid, Op.delete)}, ${eventCode(former.tid, Op.displaced)})
       FROM (SELECT k0, event, max(n) FROM ${CAPTURE} WHERE event >> 3 = ${former.tid} AND typeof(k0) = 'integer' GROUP BY k0)`,
  ).run();
  try {
    return [...fresh].flatMap((now) => likeness(rows, former, now) ?? []);
  } finally {
    db.exec("DROP TABLE temp.written");
  }
}

/** Null where too little speaks for it. */
function likeness(rows: RowStore, former: Former, now: Table): Likeness | null {
  const { db } = rows;
  const captured = capturedShape(db, { ...now, tid: former.tid });
  const shape = captured && new FormerShape(now, captured);
  if (!shape) return null;
  // What is known of its rows has the numbers that the columns had.
  const cids = new Map([...columnNames(db, former.tid)].map(([cid, name]) => [name, cid]));
  const before = { ...now, tid: former.tid, columns: now.columns.map((column) => ({ ...column, cid: cids.get(column.name) ?? 0 })) };
  const store = new TableStore(db, before);
  const event = db.prepare("SELECT is_gone FROM temp.written WHERE id = ?").pluck();
  const found = { former, now, same: 0, written: 0, missing: missingRows(db, former, now) };
  let other = 0;
  let read = 0;
  for (const { key, values } of pages(db, now, [], ROWS_COMPARED)) {
    const isGone = event.get(key[0]) as number | undefined;
    const stored = store.byId(key[0] as bigint);
    const hashed = () => rows.hashes.hashedCells(before, key[0] as bigint, values, stored && stateInTable(before, stored).own);
    // One that nobody has yet is as well a new one. Those that were written since are known by their integers alone, which another
    // table has, too: with a column less they say nothing.
    if (stored && isGone === 0) found.written += shape.isWhole ? 1 : 0;
    else if (stored && isGone === undefined && shape.isThatOf(stored[6], key[0] as bigint, asHashed(before, hashed()))) found.same++;
    else if (stored) other++;
    if (++read === ROWS_COMPARED) break;
  }
  return found.same + found.written > other ? found : null;
}

/** How many of the first rows that a table had at last are not in the other one. */
function missingRows(db: Database, former: Former, now: Table): number {
  const [key] = now.key as [Column];
  const there = `SELECT 1 FROM ${quote(now.source)} AS u WHERE u.${quote(key.name)} = r.id`;
  const had = `SELECT id FROM ${rowsTable(former.tid)} WHERE id NOT IN (SELECT id FROM temp.written) UNION ALL SELECT id FROM temp.written WHERE NOT is_gone`;
  const sql = `SELECT count(*) FROM (${had} LIMIT ${ROWS_COMPARED}) AS r WHERE NOT EXISTS (${there})`;
  return db.prepare(sql).pluck().get() as number;
}

/** True when all rows that are known under this number were written since: none is left that could be known again. */
function isEmptied(db: Database, tid: number): boolean {
  return db.prepare(`SELECT 1 FROM ${rowsTable(tid)} WHERE id NOT IN (${writtenKeys(tid)}) LIMIT 1`).get() === undefined;
}

/** True when the table has the key and the columns that were captured under this number, no others, and no rows, which would be new ones. */
function hasColumnsOf(db: Database, table: Table, tid: number): boolean {
  const captured = capturedShape(db, { ...table, tid });
  const [key] = table.key;
  if (!captured || !key || ![...columnNames(db, tid).values()].includes(key.name)) return false;
  if (captured.columns.length !== table.columns.length || !table.columns.every(({ name }) => captured.columns.includes(name))) return false;
  return db.prepare(`SELECT 1 FROM ${quote(table.source)} LIMIT 1`).get() === undefined;
}

/** SQL of the integers of rows on the dirty list. */
function writtenKeys(tid: number): string {
  const events = Object.values(Op).map((op) => eventCode(tid, op));
  return `SELECT k0 FROM ${CAPTURE} WHERE event IN (${events.join(", ")})`;
}
