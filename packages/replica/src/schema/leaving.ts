import type { Database } from "better-sqlite3";
import { type CellValue, parseVector, type SqlValue, type Write } from "@scoutsync/core";
import { imageTable } from "../capture/events.ts";
import { type ColumnWrite, ownedDots, type RowState, valueOf } from "../rows/row-state.ts";
import { OutState } from "../rows/out-table.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive, registerOf } from "../rows/registers.ts";
import { pages } from "../rows/pages.ts";
import { rowHash, sameValue, valueText } from "../rows/values.ts";
import { absentTables } from "./absent.ts";
import { catalogTables, isNamedByBirth, type Table } from "./catalog.ts";
import { quote } from "./quote.ts";
import { isShapeOf } from "./install.ts";
import { FormerShape, type Shape } from "./former-shape.ts";
import { surveyTables } from "./tables.ts";
import { asHashed } from "./spelled.ts";

/** Rows moved at a time. */
const ROWS_AT_ONCE = 1_000;

interface KnownRows {
  db: Database;
  rows: RowStore;
  knowledge: Knowledge;
}

/** Tables that were captured until now, are in the database as they were, and do not take part any more. */
export function leavingTables(db: Database, present: readonly Table[]): Table[] {
  const here = new Set(present.map(({ tid }) => tid));
  const captured = db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?");
  const left = new Map(
    (
      db
        .prepare("SELECT t.tid, coalesce(k.name, t.name) FROM _scoutsync_table AS t LEFT JOIN _scoutsync_kind AS k ON k.tid = t.tid")
        .raw(true)
        .all() as [number, string][]
    ).filter(([tid]) => !here.has(tid) && captured.get(imageTable(tid)) !== undefined),
  );
  if (left.size === 0) return [];
  const names = new Set(left.values());
  const shapes = surveyTables(db, []).tables.filter(({ name }) => names.has(name));
  return catalogTables(db, shapes).filter(({ tid }) => left.has(tid));
}

/**
 * A table that was synced stops taking part though it is still there: it has been excluded. What is known of its rows,
 * their values included, is held from here on, merged and passed on like that of a table which was never here; the
 * application's table is its own. Inside a write transaction, drained. `rows` must know the table as it was.
 */
export function holdTable(db: Database, rows: RowStore, table: Table, present: readonly Table[]): void {
  const held = absentTables(db, present).find(({ tid }) => tid === table.tid);
  if (!held) return;
  const page = db
    .prepare(`SELECT id FROM ${rowsTable(table.tid)} ORDER BY id LIMIT ${ROWS_AT_ONCE}`)
    .safeIntegers(true)
    .pluck();
  for (let slots = page.all() as bigint[]; slots.length > 0; slots = page.all() as bigint[]) {
    for (const slot of slots) {
      const state = rows.atLog(table.tid, slot);
      if (state) hold(rows, state, held);
    }
  }
  holdOut(db, table, [OutState.dead, OutState.waiting, OutState.joined]);
}

/**
 * Tables that the application has dropped: rows that waited for a place in them, or that another row stood for, wait for the
 * table now. Inside a write transaction.
 */
export function holdWaiting(db: Database, absent: readonly Table[]): void {
  for (const table of absent) holdOut(db, table, [OutState.waiting, OutState.joined]);
}

/** The images of rows that are out of the table become values held with their writes when they are next stored. */
function holdOut(db: Database, { tid }: Table, states: readonly OutState[]): void {
  db.prepare(
    `UPDATE _scoutsync_out SET state = ${OutState.held}, reason = NULL, blocker_oid = NULL, blocker_sequence = NULL WHERE tid = ? AND state IN (${states.join(", ")})`,
  ).run(tid);
}

/**
 * Tables that the application has dropped: a row in whose place it had put another one, by another key or an OR REPLACE, lives on where
 * nobody has heard of that. The other one went with its table, and whoever has the first would be left with neither. `shared` as of
 * `unseeDeletes`. Inside a write transaction, with the tables that are left.
 */
export function keepReplaced({ db, rows, knowledge }: KnownRows, dropped: readonly Table[], shared: number): void {
  if (dropped.length === 0) return;
  const unheard = unheardFrom(db, knowledge, shared);
  const isUnheard = ({ origin, sequence }: Write) => sequence > (unheard.get(origin) ?? Number.POSITIVE_INFINITY);
  const slots = db
    .prepare("SELECT DISTINCT slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? AND tid = ?")
    .safeIntegers(true)
    .pluck();
  for (const { tid } of dropped) {
    for (const slot of [...unheard].flatMap(([oid, after]) => slots.all(oid, after, -tid) as bigint[])) {
      const state = rows.atLog(-tid, slot);
      const left = state?.deletes.filter((write) => !(write.replaced && isUnheard(write))) ?? [];
      if (!state || left.length === state.deletes.length) continue;
      if (!isUnheard(state.birth)) {
        const before = ownedDots(state);
        state.deletes = left;
        if (isAlive(state, knowledge)) state.place = { kind: "held", left: "" };
        rows.saveOut(state, false, rows.outId(state), [], before);
      } else if (!isNamedByBirth(state.table)) {
        // Others have it as it was before this birth, of which nothing is left here.
        rows.erase(state);
      }
    }
  }
}

/** By number of an origin that was drawn here, the last sequence that somebody else may have; of earlier runs as far as nodes have said. */
function unheardFrom(db: Database, knowledge: Knowledge, shared: number): ReadonlyMap<number, number> {
  const told = db.prepare("SELECT vector FROM _scoutsync_member UNION SELECT vector FROM _scoutsync_peer").pluck().all() as string[];
  const vectors = told.map(parseVector);
  const unheard = new Map<number, number>();
  // Nobody has anything that this node alone ever had.
  if (vectors.length > 0) {
    for (const oid of db.prepare("SELECT oid FROM _scoutsync_own").pluck().all() as number[])
      unheard.set(oid, Math.max(...vectors.map((vector) => vector.get(knowledge.nameOf(oid)) ?? 0)));
  }
  if (knowledge.self !== null) unheard.set(knowledge.self, shared);
  return unheard;
}

function hold(rows: RowStore, state: RowState, held: Table): void {
  const { table } = state;
  const before = ownedDots(state);
  const cells = rows.cells(state);
  const left = state.hash?.toString("hex") ?? "";
  const id = table.surrogate ? state.slot : null;
  for (const [index, { cid }] of table.columns.entries()) keepHeld(state, cid, cells[index] ?? null);
  state.table = held;
  state.place = { kind: "held", left };
  rows.saveOut(state, true, id, [], before);
}

/**
 * A table that was excluded takes part again: rows that it still holds are the rows that are held for it. What the
 * application has not touched since takes what came meanwhile; the rest counts as written by the application, beside what
 * came. `edited` is told the columns, by position, in which a row of the table differs. Returns the rows that have to be
 * given the values held for them. Inside a write transaction, before the table is compared.
 */
export function rejoinTable(
  rows: RowStore,
  table: Table,
  edited: (row: { key: readonly SqlValue[]; slot: bigint }, indexes: readonly number[]) => void,
): { state: RowState; cells: CellValue[]; changed: number[] }[] {
  const renewed: { state: RowState; cells: CellValue[]; changed: number[] }[] = [];
  for (
    let slots = rows.out.heldSlots(table.tid, 0n, ROWS_AT_ONCE);
    slots.length > 0;
    slots = rows.out.heldSlots(table.tid, slots.at(-1) as bigint, ROWS_AT_ONCE)
  ) {
    for (const slot of slots) {
      const state = rows.atLog(-table.tid, slot);
      if (state?.place.kind !== "held" || state.place.left === "" || state.partial) continue;
      const key = table.surrogate ? [rows.outId(state) ?? state.claim] : rows.keys.keyValues(state);
      const values = key && rows.of(table).read(key);
      if (!key || !values || (table.surrogate && rows.byId(table, key[0] as bigint))) continue;
      const id = table.surrogate ? (key[0] as bigint) : null;
      const cells = rows.cells(state);
      const here = rows.references.abstract(table, values);
      const differing = [...table.columns.keys()].filter((index) => !sameValue(here[index] ?? null, cells[index] ?? null));
      const isUntouched = rows.hashes.hash(table, id, values, state.own).toString("hex") === state.place.left;
      const before = ownedDots(state);
      if (!isUntouched) for (const index of differing) keepHeld(state, (table.columns[index] as { cid: number }).cid, cells[index] ?? null);
      rows.saveInTable(state, id, values, before);
      if (isUntouched) renewed.push({ state, cells, changed: differing });
      else if (differing.length > 0) edited({ key, slot: state.slot }, differing);
    }
  }
  return renewed;
}

/**
 * A table that was dropped is back: rows that it does not have are gone here, which is no delete. Whoever has them still
 * has them, and a comparison brings them back. `captured` is the shape that their hashes were made under. Returns how many there are.
 */
export function forgetMissing(db: Database, rows: RowStore, table: Table, captured: Shape | null): number {
  const isThere = table.keyless ? isThereByHash(db, table, captured) : isThereByKey(rows, table);
  let missing = 0;
  const known = db
    .prepare(`SELECT id FROM ${rowsTable(table.tid)} ORDER BY id`)
    .safeIntegers(true)
    .pluck();
  const drop = db.prepare("DELETE FROM _scoutsync_log WHERE oid = ? AND sequence = ? AND tid = ? AND slot = ?");
  for (const slot of known.all() as bigint[]) {
    const state = rows.atLog(table.tid, slot);
    if (!state || isThere(state)) continue;
    for (const { origin, sequence } of ownedDots(state).values()) drop.run(origin, sequence, table.tid, slot);
    rows.of(table).remove(slot);
    missing++;
  }
  return missing;
}

/**
 * Rows that were in a table which is gone, with values in them that had lost or that it did not show. One after another: these may be all of
 * its rows, as nodes that rename a column each tell what it holds.
 */
export function* rowsLeftOpen(db: Database, rows: RowStore, table: Table): Generator<RowState> {
  const name = rowsTable(table.tid);
  if (db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?").get(name) === undefined) return;
  const open = db.prepare(`SELECT id FROM ${name} WHERE open IS NOT NULL ORDER BY id`).safeIntegers(true).pluck();
  for (const slot of open.all() as bigint[]) {
    const stored = rows.of(table).byId(slot);
    if (stored) yield rows.fromStored(table, stored);
  }
}

/**
 * Of tables that are gone and were made anew with another kind of key: what lost in them and was written alike by who won is in the row
 * that has the former key in some column. The others are for people (`audit/gone-columns.ts`). Inside a write transaction.
 */
export function forgetTaken(db: Database, rows: RowStore, absent: readonly Table[]): void {
  for (const gone of absent) {
    const now = gone.absent === "key" ? rows.tableNamed(gone.name) : undefined;
    // A number says nothing of who has it now, and two nodes do not make one row under it.
    if (!now || gone.surrogate || gone.keyless) continue;
    const keys = new Map<string, { state: RowState; key: CellValue[] }[]>();
    for (const state of rowsLeftOpen(db, rows, gone)) {
      const key = rows.keys.keyCells(state);
      const first = valueText(key[0] ?? null);
      keys.set(first, [...(keys.get(first) ?? []), { state, key }]);
    }
    for (const { values } of keys.size > 0 ? pages(db, now) : []) {
      const cells = rows.references.abstract(now, values);
      const holds = (part: CellValue) => cells.some((cell) => sameValue(cell, part));
      const likely = new Set(cells.flatMap((cell) => keys.get(valueText(cell)) ?? []));
      for (const { state, key } of likely) if (key.every(holds)) forgetAlike(rows, state, now, cells);
    }
  }
}

function forgetAlike(rows: RowStore, state: RowState, now: Table, cells: readonly CellValue[]): void {
  const before = ownedDots(state);
  let forgets = false;
  for (const [cid, writes] of state.columns) {
    const index = now.columns.findIndex(({ name }) => name === state.table.lacking.get(cid));
    const isAlike = ({ value, tally }: ColumnWrite) => value !== undefined && !tally && sameValue(value, cells[index] ?? null);
    const others = index < 0 ? writes : writes.filter((write) => !isAlike(write));
    // One that the table lacked has who won with its value, too.
    if (others.length === writes.length || others.every(({ value }) => value !== undefined)) continue;
    state.columns.set(cid, others);
    forgets = true;
  }
  if (forgets) rows.saveLeft(state, before);
}

function isThereByKey(rows: RowStore, table: Table): (state: RowState) => boolean {
  return (state) => {
    const key = rows.keys.keyValues(state);
    return key !== null && rows.of(table).read(key) !== null;
  };
}

/** Rows without a key are those that hold the same: of as many as were known, as many as are there. */
function isThereByHash(db: Database, table: Table, captured: Shape | null): (state: RowState) => boolean {
  const former = captured && !isShapeOf(captured, table) ? new FormerShape(table, captured) : null;
  // What the hashes of a column that went were made of is gone, so that nobody can tell which rows these are. As many as were known are
  // they without it, as the comparison that follows finds; of fewer none is: to delete one that is gone here would lose it everywhere.
  if (former?.isWhole === false) {
    const count = (name: string) => db.prepare(`SELECT count(*) FROM ${name}`).pluck().get() as number;
    const isBack = count(quote(table.source)) >= count(rowsTable(table.tid));
    return () => isBack;
  }
  const left = new Map<string, number>();
  for (const { values } of pages(db, table)) {
    const hash = (former ? former.hash(null, asHashed(table, values)) : rowHash(table, null, values)).toString("latin1");
    left.set(hash, (left.get(hash) ?? 0) + 1);
  }
  return ({ hash }) => {
    const name = hash?.toString("latin1") ?? "";
    const count = left.get(name) ?? 0;
    left.set(name, count - 1);
    return count > 0;
  };
}

/** Makes a value one that is held beside what the table has. */
function keepHeld(state: RowState, cid: number, value: CellValue): void {
  const writes: ColumnWrite[] = registerOf(state, cid).map((write) => ({ ...write, value: valueOf(write, value), literal: undefined }));
  state.columns.set(cid, writes);
}
