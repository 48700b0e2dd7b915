import { type Authorship, type Causality, type CellValue, winnerOf } from "@scoutsync/core";
import { isNamedByBirth } from "../schema/catalog.ts";
import { type ColumnWrite, type RowState, valueOf } from "./row-state.ts";
import { judge, keepValues, ruleOf } from "./ruled-columns.ts";
import { sameValue } from "./values.ts";

/** Columns that the table lacks and of which the row holds values, by number. */
export function heldColumns(state: RowState): number[] {
  const held: number[] = [];
  if (state.table.lacking.size === 0) return held;
  for (const [cid, writes] of state.columns)
    if (!state.table.indexOf.has(cid) && writes.some(({ value }) => value !== undefined)) held.push(cid);
  return held;
}

/** Keeps the value of a column that the table lacks with the write that wrote it: its winner, or the birth. */
export function holdValue(state: RowState, cid: number, value: CellValue): void {
  const writes = state.columns.get(cid);
  if (!writes) state.columns.set(cid, [{ ...state.birth, value }]);
  else
    state.columns.set(
      cid,
      writes.map((write) => ({ ...write, value: valueOf(write, value), literal: undefined })),
    );
}

/** Columns whose value is still held though the table has them now: the value, and whether the birth wrote it. */
export function waitingColumns(state: RowState, causality: Causality): { cid: number; winner: ColumnWrite }[] {
  const waiting: { cid: number; winner: ColumnWrite }[] = [];
  for (const [cid, writes] of state.columns) {
    if (!state.table.indexOf.has(cid)) continue;
    const winner = winnerOf(writes, causality);
    // What has been given to the table is there without a value, whatever rule chose it.
    if (winner && writes.every(({ value }) => value !== undefined)) waiting.push({ cid, winner });
  }
  return waiting;
}

/** Takes the values that were held for columns which the table has now, those of `wanted`; from here on the row's own copy holds them. */
export function heldForTable(
  state: RowState,
  causality: Authorship,
  wanted: (cid: number) => boolean = () => true,
): { cid: number; value: CellValue }[] {
  const waiting = waitingColumns(state, causality).filter(({ cid }) => wanted(cid));
  return waiting.map(({ cid }) => {
    const held = state.columns.get(cid) as ColumnWrite[];
    const verdict = judge(state.table, cid, held, causality, null);
    const writes = keepValues(ruleOf(state.table, cid), verdict, held, null);
    const [only] = writes;
    const byBirth = writes.length === 1 && !only?.tally && only?.origin === state.birth.origin && only.sequence === state.birth.sequence;
    if (byBirth) state.columns.delete(cid);
    else state.columns.set(cid, writes);
    return { cid, value: verdict.value };
  });
}

/**
 * Forgets held values of columns that the table has now where they are no more than the column's default, passed on as
 * the birth's: nobody wrote them. Only where the birth comes before every other write.
 */
export function forgetDefaults(state: RowState): void {
  const { table, birth } = state;
  if (state.columns.size === 0 || !isNamedByBirth(table)) return;
  for (const [cid, [only, ...others]] of state.columns) {
    const index = table.indexOf.get(cid);
    if (index === undefined || only?.value === undefined || only.tally || others.length > 0) continue;
    const isBirth = only.origin === birth.origin && only.sequence === birth.sequence;
    if (isBirth && sameValue(only.value, (table.columns[index] as { fallback: CellValue }).fallback)) state.columns.delete(cid);
  }
}
