import { type Causality, knew } from "@scoutsync/core";
import { heldColumns } from "../rows/held-columns.ts";
import { isNamedByBirth } from "../schema/catalog.ts";
import type { ColumnWrite, RowState } from "../rows/row-state.ts";

/** The columns that a record of one row names, where they are not simply those of its table. */
export interface WireColumns {
  cids: number[];
  indexOf: Map<number, number>;
  /** Of these, the columns that the birth has not written though its record has to name them. */
  unwritten: number[];
}

/**
 * A record names the columns that its row's birth wrote, those that its writes are of, and no others: the receiver gives
 * a column that is not named its default. `sent` are the writes that the record carries. Null for most rows: the
 * columns of the table.
 */
export function wireColumns(
  state: RowState,
  birthHere: boolean,
  sent: readonly (readonly [cid: number, writes: readonly ColumnWrite[]])[],
  causality: Causality,
): WireColumns | null {
  const { table } = state;
  if (state.columns.size === 0 && state.closed.length === 0) return null;
  const unwritten = birthHere ? unwrittenColumns(state, causality) : [];
  const held = new Set(heldColumns(state));
  for (const { cid } of state.closed) {
    if (!table.lacking.has(cid) || held.has(cid)) continue;
    held.add(cid);
    if (birthHere && !unwritten.includes(cid)) unwritten.push(cid);
  }
  if (unwritten.length === 0 && held.size === 0) return null;
  const named = new Set([...sent.map(([cid]) => cid), ...state.closed.map(({ cid }) => cid)]);
  const silent = new Set(unwritten.filter((cid) => !named.has(cid)));
  const cids = [...table.columns.map(({ cid }) => cid), ...[...held].sort((a, b) => a - b)].filter((cid) => !silent.has(cid));
  const indexOf = new Map(cids.map((cid, index) => [cid, index]));
  // Of a column that went with its values nothing is told, this neither.
  return { cids, indexOf, unwritten: unwritten.filter((cid) => indexOf.has(cid)) };
}

/**
 * Columns that others would take to be written by the birth, and wrongly. Where a write is told that knew the birth,
 * nothing is left of what the birth wrote, or did not.
 */
function unwrittenColumns(state: RowState, causality: Causality): number[] {
  const { birth } = state;
  const none: number[] = [];
  // A write always knows the only birth. Of several, one may have been made where the column did not exist.
  if (isNamedByBirth(state.table) && state.twins.length === 0) return none;
  for (const [cid, writes] of state.columns) {
    if (writes.some((write) => write.origin === birth.origin && write.sequence === birth.sequence)) continue;
    if (!writes.some((write) => knew(write, birth.origin, birth.sequence, causality))) none.push(cid);
  }
  return none;
}
