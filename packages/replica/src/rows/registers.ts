import { type CellValue, compareWrites, mergeWrite, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { ColumnWrite, ExistenceWrite, RowState } from "./row-state.ts";

/** The writes of a column: its own, or the birth's. Of one that the table lacks, only what is held. */
export function registerOf(state: RowState, cid: number): readonly ColumnWrite[] {
  return state.columns.get(cid) ?? (state.table.indexOf.has(cid) ? [{ ...state.birth, value: undefined }] : []);
}

/** Largest timestamp of the row: what a new write must exceed, whatever the wall clock says. */
export function latestTime(state: RowState): number {
  let latest = state.birth.time;
  for (const writes of state.columns.values()) for (const write of writes) latest = Math.max(latest, write.time);
  for (const write of state.deletes) latest = Math.max(latest, write.time);
  return latest;
}

/** Existence is one more register: alive when its winner says so, or a birth or column write beats it. */
export function isAlive(state: RowState, knowledge: Knowledge): boolean {
  const deleted = winnerOf(state.deletes, knowledge);
  if (!deleted || deleted.alive) return true;
  if (compareWrites(state.birth, deleted, knowledge) > 0) return true;
  for (const writes of state.columns.values()) for (const write of writes) if (compareWrites(write, deleted, knowledge) > 0) return true;
  return false;
}

/** A column whose only write is the birth's needs no entry of its own. */
function collapse(state: RowState, cid: number): void {
  const writes = state.columns.get(cid);
  const [only] = writes ?? [];
  // A held value has no other place.
  if (only?.value !== undefined) return;
  if (writes?.length === 1 && only?.origin === state.birth.origin && only.sequence === state.birth.sequence) state.columns.delete(cid);
}

/**
 * Merges a write to one column. `current` gives the value the row has now (for a winner that becomes a loser);
 * `changed` receives the value when the winner changes. Returns whether anything changed.
 */
export function mergeColumn(
  state: RowState,
  cid: number,
  write: ColumnWrite,
  knowledge: Knowledge,
  current: () => CellValue,
  changed: (value: CellValue) => void,
): boolean {
  const before = registerOf(state, cid);
  const merged = mergeWrite(before, write, knowledge);
  if (merged === before) return false;
  const was = winnerOf(before, knowledge);
  const winner = winnerOf(merged, knowledge) as ColumnWrite;
  const isHere = state.table.indexOf.has(cid);
  const next = merged.map((held): ColumnWrite => {
    if (held === winner) return isHere && winner !== was ? { ...held, value: undefined } : held;
    return held === was && held.value === undefined && isHere ? { ...held, value: current() } : held;
  });
  if (winner !== was && isHere) changed(winner.value as CellValue);
  state.columns.set(cid, next);
  collapse(state, cid);
  return true;
}

/**
 * Merges a birth of a natural key, which several replicas may write: the greatest is the birth, and each of its
 * column values, `written`, is a write to that column. For surrogate keys a birth is there once and for all.
 */
export function mergeBirth(
  state: RowState,
  birth: Write,
  written: readonly { cid: number; value: CellValue }[],
  knowledge: Knowledge,
  current: (cid: number) => CellValue,
  changed: (cid: number, value: CellValue) => void,
): boolean {
  if (birth.origin === state.birth.origin && birth.sequence === state.birth.sequence) return false;
  for (const { cid } of state.table.columns) state.columns.set(cid, [...registerOf(state, cid)]);
  let moved = false;
  const merged = mergeWrite([state.birth], birth, knowledge);
  const best = winnerOf(merged, knowledge) as Write;
  for (const { cid, value } of written) {
    const merging = mergeColumn(
      state,
      cid,
      { ...birth, value },
      knowledge,
      () => current(cid),
      (next) => changed(cid, next),
    );
    moved ||= merging;
  }
  if (best.origin === birth.origin && best.sequence === birth.sequence) {
    state.birth = { origin: birth.origin, sequence: birth.sequence, time: birth.time, context: birth.context };
    moved = true;
  }
  for (const { cid } of state.table.columns) collapse(state, cid);
  return moved;
}

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
    const order = fact.generation - held.generation || knowledge.compareOrigins(fact.origin, held.origin) || fact.sequence - held.sequence;
    if (order <= 0) return false;
  }
  state.rekey = fact;
  return true;
}

/** The context of a write that replaces `replaced`: the vector, and what the vector misses of the replaced and their contexts. */
export function contextOfReplacing(replaced: readonly Write[], knowledge: Knowledge): number {
  const base = knowledge.currentContext();
  let joined: Map<number, number> | null = null;
  const raise = (origin: number, sequence: number) => {
    if (knowledge.covers(origin, sequence)) return;
    joined ??= new Map(knowledge.context(base));
    if ((joined.get(origin) ?? 0) < sequence) joined.set(origin, sequence);
  };
  for (const write of replaced) {
    raise(write.origin, write.sequence);
    if (write.context !== base) for (const [origin, sequence] of knowledge.context(write.context)) raise(origin, sequence);
  }
  return joined ? knowledge.contextOf(joined) : base;
}

/** A dot and timestamp for a local write on this row. `wall` is Unix microseconds; the row's latest time is exceeded. */
export function localWrite(state: RowState | null, wall: number, replaced: readonly Write[], knowledge: Knowledge): Write {
  const context = contextOfReplacing(replaced, knowledge);
  const { origin, sequence } = knowledge.nextDot();
  return { origin, sequence, time: state ? Math.max(wall, latestTime(state) + 1) : wall, context };
}

/**
 * A local write to what is held here and was never shown to the application: it knows nothing, so that what is held stays
 * beside it as a conflict. Its timestamp is beyond all of `held`, as it is the last write here.
 */
export function blindWrite(held: RowState, wall: number, knowledge: Knowledge): Write {
  const { origin, sequence } = knowledge.nextDot();
  return { origin, sequence, time: Math.max(wall, latestTime(held) + 1), context: 0 };
}

/** Adds a blind write to a column whose held value the table has not been given. */
export function writeBeside(state: RowState, cid: number, write: Write, knowledge: Knowledge): void {
  state.columns.set(cid, [...mergeWrite(registerOf(state, cid), { ...write, value: undefined }, knowledge)]);
}

/** Replaces a column's writes by a local one; what lost there before is closed under the new dot. `write` serves several columns. */
export function replaceColumn(state: RowState, cid: number, write: Write, knowledge: Knowledge): void {
  const before = registerOf(state, cid);
  closeLosers(state, cid, before, write, knowledge);
  state.columns.set(cid, [{ ...write, value: undefined }]);
}

/** A local birth of a natural key that is there already: every column is written by it. */
export function rebirth(state: RowState, write: Write, knowledge: Knowledge): void {
  for (const [cid, writes] of state.columns) {
    // What this table lacks its application has not written.
    if (!state.table.indexOf.has(cid)) continue;
    closeLosers(state, cid, writes, write, knowledge);
    state.columns.delete(cid);
  }
  state.birth = write;
  state.identity = { origin: write.origin, sequence: write.sequence };
}

function closeLosers(state: RowState, cid: number, writes: readonly ColumnWrite[], by: Write, knowledge: Knowledge): void {
  if (writes.length < 2) return;
  const winner = winnerOf(writes, knowledge);
  for (const write of writes) {
    if (write === winner) continue;
    state.closed.push({ cid, loser: write, value: write.value ?? null, origin: by.origin, sequence: by.sequence });
  }
}
