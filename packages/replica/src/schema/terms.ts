import { formatTerms, type Terms } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import type { Placement } from "../apply/placement.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { judge, keepValues } from "../rows/ruled-columns.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { sameValue } from "../rows/values.ts";
import type { Column, Table } from "./catalog.ts";
import { readMeta, writeMeta } from "./install.ts";

const KEY = "terms";

/**
 * Brings rows in line with the terms in force: a column whose rule has changed gets the value that the new rule makes of
 * the same writes, on every replica alike, so nothing has to be told. Inside the caller's transaction, drained and silent.
 */
export function adoptTerms(options: { db: Database; rows: RowStore; knowledge: Knowledge; placement: Placement }, terms: Terms): void {
  const { db, rows, placement } = options;
  const [before, now] = [readMeta(db, KEY) ?? "", formatTerms(terms)];
  const lines = (text: string) => new Set(text.split("\n"));
  const [old, fresh] = [lines(before), lines(now)];
  const moved = new Set([...old, ...fresh].filter((line) => !old.has(line) || !fresh.has(line)).map((line) => line.split("=")[0]));
  for (const table of rows.tables) {
    const columns = table.columns.filter(({ name }) => moved.has(`${table.name}.${name}`.toLowerCase()));
    if (columns.length > 0) for (const state of contested(options, table)) rejudge(options, state, columns);
  }
  rows.flush();
  placement.kept.bury();
  writeMeta(db, KEY, now);
}

/** True when the rows are as other terms made them. */
export function termsMoved(db: Database, terms: Terms): boolean {
  return (readMeta(db, KEY) ?? "") !== formatTerms(terms);
}

/** Rows in which some column has more than one write, in their table or out of it. */
function* contested({ db, rows }: { db: Database; rows: RowStore }, table: Table): Generator<RowState> {
  const slots = (sql: string) => db.prepare(sql).safeIntegers(true).pluck().all() as bigint[];
  const found = [
    ...slots(`SELECT id FROM ${rowsTable(table.tid)} WHERE extra IS NOT NULL`).map((slot) => [table.tid, slot] as const),
    ...slots(`SELECT slot FROM _scoutsync_out WHERE tid = ${table.tid} AND extra IS NOT NULL`).map((slot) => [-table.tid, slot] as const),
  ];
  for (const [tid, slot] of found) {
    const state = rows.atLog(tid, slot);
    if (state && [...state.columns.values()].some((writes) => writes.length > 1)) yield state;
  }
}

function rejudge(
  { rows, knowledge, placement }: { rows: RowStore; knowledge: Knowledge; placement: Placement },
  state: RowState,
  columns: readonly Column[],
): void {
  const before = ownedDots(state);
  const cells = [...rows.cells(state)];
  const changed: number[] = [];
  for (const { cid, rule } of columns) {
    const writes = state.columns.get(cid);
    const index = state.table.indexOf.get(cid);
    if (!writes || writes.length < 2 || index === undefined) continue;
    const shown = cells[index] ?? null;
    const verdict = judge(state.table, cid, writes, knowledge, shown);
    state.columns.set(cid, keepValues(rule, verdict, writes, shown));
    if (sameValue(verdict.value, shown)) continue;
    cells[index] = verdict.value;
    changed.push(index);
  }
  placement.settle(state, cells, changed, before);
}
