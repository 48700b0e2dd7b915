import {
  type CellValue,
  compareDots,
  compareWrites,
  concurrent,
  knew,
  mergeWrite,
  rootOf,
  type Tally,
  winnerOf,
  type Write,
} from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { type ColumnWrite, type ExistenceWrite, type RowState, type SameFact } from "./row-state.ts";
import { judge, keepValues, ruleOf } from "./ruled-columns.ts";
import { sameValue } from "./values.ts";

const NO_TALLIES: ReadonlyMap<number, Tally> = new Map();

/**
 * The writes of a column: its own, or those of the births, which then all wrote the value that the row has. Of one that
 * the table lacks, only what is held.
 */
export function registerOf(state: RowState, cid: number): readonly ColumnWrite[] {
  const births = () => (state.table.indexOf.has(cid) ? [state.birth, ...state.twins] : []);
  return state.columns.get(cid) ?? births().map((birth) => ({ ...birth, value: undefined }));
}

/** Largest timestamp of the row: what a new write must exceed, whatever the wall clock says. */
export function latestTime(state: RowState): number {
  let latest = state.birth.time;
  for (const writes of state.columns.values()) for (const write of writes) latest = Math.max(latest, write.time);
  for (const write of state.deletes) latest = Math.max(latest, write.time);
  return latest;
}

/**
 * Existence is one more register: alive when its winner says so, or a birth or column write beats it. A birth that knew
 * of the delete does, whatever the clocks say, and nothing that a delete knew: where the deleted row was forgotten, neither
 * author could see its times.
 */
export function isAlive(state: Pick<RowState, "birth" | "columns" | "deletes">, knowledge: Knowledge): boolean {
  const deleted = winnerOf(state.deletes, knowledge);
  if (!deleted || deleted.alive) return true;
  if (knew(state.birth, deleted.origin, deleted.sequence, knowledge)) return true;
  const isKnown = ({ origin, sequence }: Write) => state.deletes.some((write) => !write.alive && knew(write, origin, sequence, knowledge));
  const beats = (write: Write) => compareWrites(write, deleted, knowledge) > 0 && !isKnown(write);
  if (beats(state.birth)) return true;
  for (const writes of state.columns.values()) if (writes.some(beats)) return true;
  return false;
}

/** A column whose only write is the birth's needs no entry of its own. */
function collapse(state: RowState, cid: number): void {
  const writes = state.columns.get(cid);
  const [only] = writes ?? [];
  // A held value has no other place.
  if (only?.value !== undefined) return;
  if (
    state.twins.length === 0 &&
    writes?.length === 1 &&
    !only?.tally &&
    only?.origin === state.birth.origin &&
    only.sequence === state.birth.sequence
  )
    state.columns.delete(cid);
}

/**
 * Merges a write to one column. `current` gives the value the row has now (for a winner that becomes a loser);
 * `changed` receives the value when the winner changes, and the writes that the column is about to have. Returns whether anything changed.
 */
export function mergeColumn(
  state: RowState,
  cid: number,
  write: ColumnWrite,
  knowledge: Knowledge,
  current: () => CellValue,
  changed: (value: CellValue, next?: readonly ColumnWrite[]) => void,
): boolean {
  const before = registerOf(state, cid);
  const merged = mergeWrite(before, write, knowledge);
  if (merged === before) return false;
  const rule = ruleOf(state.table, cid);
  if (rule.kind !== "lww") {
    const shown = current();
    const verdict = judge(state.table, cid, merged, knowledge, shown);
    if (!sameValue(verdict.value, shown)) changed(verdict.value);
    state.columns.set(cid, keepValues(rule, verdict, merged, shown));
    collapse(state, cid);
    return true;
  }
  const was = winnerOf(before, knowledge);
  const winner = winnerOf(merged, knowledge) as ColumnWrite;
  const isHere = state.table.indexOf.has(cid);
  const next = merged.map((held): ColumnWrite => {
    if (held === winner) return isHere && winner !== was ? { ...held, value: undefined } : held;
    return held !== write && held.value === undefined && isHere ? { ...held, value: current() } : held;
  });
  if (winner !== was && isHere) changed(winner.value as CellValue, next);
  state.columns.set(cid, next);
  collapse(state, cid);
  return true;
}

/**
 * Merges a birth of a row that several replicas may give birth to: one with a natural key, or one of copies that were
 * joined as shared. The greatest is the birth, and each of its column values, `written`, is a write to that column.
 * Where it is a twin of the birth here, columns that both wrote alike need no list of their own, and writes of others come
 * by themselves. One that it has not written, as it was made without it, is not one of those. Other rows with surrogate keys have one birth, which may have been issued again:
 * what the row has by its former name, in columns that `written` does not tell of, it has by the new one.
 */
export function mergeBirth(
  state: RowState,
  birth: Write,
  written: readonly { cid: number; value: CellValue }[],
  knowledge: Knowledge,
  current: (cid: number) => CellValue,
  changed: (cid: number, value: CellValue) => void,
  isTwin = false,
  tallies: ReadonlyMap<number, Tally> = NO_TALLIES,
): boolean {
  const births = [state.birth, ...state.twins];
  if (births.some((held) => held.origin === birth.origin && held.sequence === birth.sequence)) return false;
  const merged = mergeWrite(births, birth, knowledge);
  const isAlike = (cid: number, value: CellValue) =>
    isTwin && state.table.indexOf.has(cid) && !state.columns.has(cid) && sameValue(current(cid), value);
  const apart = written.filter(({ cid, value }) => !isAlike(cid, value));
  const told = new Set(written.map(({ cid }) => cid));
  for (const { cid } of isTwin ? [...apart, ...state.table.columns.filter((column) => !told.has(column.cid))] : state.table.columns) {
    const value = state.twins.length > 0 && !state.columns.has(cid) && state.table.indexOf.has(cid) ? current(cid) : undefined;
    const writes = registerOf(state, cid).map((held, at) => (at === 0 || held.value !== undefined ? held : { ...held, value }));
    if (writes.length > 0 || state.columns.has(cid)) state.columns.set(cid, writes);
  }
  let moved = false;
  for (const { cid, value } of apart) {
    const merging = mergeColumn(
      state,
      cid,
      { ...birth, value, tally: tallies.get(cid) },
      knowledge,
      () => current(cid),
      (next) => changed(cid, next),
    );
    moved ||= merging;
  }
  const best = winnerOf(merged, knowledge) as Write;
  if (merged !== births) {
    if (renameWrites(state, birth, knowledge)) moved = true;
    if (isTwin || (best.origin === birth.origin && best.sequence === birth.sequence)) moved = true;
    const { origin, sequence, time, context } = best;
    state.birth = { origin, sequence, time, context };
    state.twins = isTwin ? merged.filter((held) => held !== best).map(plainWrite) : [];
  }
  for (const { cid } of state.table.columns) collapse(state, cid);
  return moved;
}

/**
 * Gives what a birth wrote the name under which it was issued again. By the former one, it would not be the birth's any more, which then counts
 * as having written NULL: told by somebody whose table lacks a column, it says nothing of that. Returns whether there was any.
 */
function renameWrites(state: RowState, birth: Write, knowledge: Knowledge): boolean {
  if (knowledge.sourceOf(birth.origin) === undefined) return false;
  const { origin, sequence } = birth;
  const root = rootOf(origin, knowledge);
  const isFormer = (write: Write) =>
    write.sequence === sequence && rootOf(write.origin, knowledge) === root && compareDots(birth, write, knowledge) > 0;
  const renamed = [...state.columns].filter(([, writes]) => writes.some(isFormer));
  for (const [cid, writes] of renamed)
    state.columns.set(
      cid,
      writes.map((write) => (isFormer(write) ? { ...write, origin } : write)),
    );
  return renamed.length > 0;
}

const plainWrite = ({ origin, sequence, time, context }: Write): Write => ({ origin, sequence, time, context });

/** Merges a write to the row's existence. Returns whether anything changed. */
export function mergeExistence(state: RowState, write: ExistenceWrite, knowledge: Knowledge): boolean {
  const merged = mergeWrite(state.deletes, write, knowledge);
  if (merged === state.deletes) return false;
  state.deletes = [...merged];
  return true;
}

/** Merges a re-key fact by maximum: a decision about identity, never an edit. */
export function mergeRekey(state: RowState, fact: { generation: number; origin: number; sequence: number }, knowledge: Knowledge): boolean {
  const held = state.rekey;
  if (held) {
    const order = fact.generation - held.generation || compareDots(fact, held, knowledge);
    if (order <= 0) return false;
  }
  state.rekey = fact;
  return true;
}

/** Merges a fact about this row and another by maximum. Returns whether anything changed. */
export function mergeSame(state: RowState, fact: SameFact, knowledge: Knowledge): boolean {
  const index = state.same.findIndex(({ other }) => other.origin === fact.other.origin && other.sequence === fact.other.sequence);
  const held = state.same[index];
  if (!held) {
    state.same.push(fact);
    return true;
  }
  const order = Number(fact.apart) - Number(held.apart) || compareDots(fact, held, knowledge);
  if (order <= 0) return false;
  state.same[index] = fact;
  return true;
}

/** True for an `unseeingDelete`, also where it was issued again. */
export function sawNothing(write: Write, knowledge: Knowledge): boolean {
  return knowledge.context(write.context).get(rootOf(write.origin, knowledge)) === 0;
}

/** True when something of the row was written by someone who did not know of the delete, nor its author of it. */
export function isWrittenApart(row: RowState, deleted: Write, knowledge: Knowledge): boolean {
  const unseeing = sawNothing(deleted, knowledge);
  const isApart = (write: Write) =>
    unseeing ? !knew(write, deleted.origin, deleted.sequence, knowledge) : concurrent(write, deleted, knowledge);
  if ([row.birth, ...row.twins].some(isApart)) return true;
  for (const writes of row.columns.values()) if (writes.some(isApart)) return true;
  // That is how others tell of a write to a column that is gone, too.
  return row.deletes.some((write) => write.alive && isApart(write));
}

/** True for the same write, and for two that one write to an entity made on two of its members. */
export function isOneWrite(a: Write, b: Write, knowledge: Knowledge): boolean {
  return rootOf(a.origin, knowledge) === rootOf(b.origin, knowledge) && (a.sequence === b.sequence || a.time === b.time);
}
