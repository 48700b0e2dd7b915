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
import { type ColumnWrite, type ExistenceWrite, type RowState, type SameFact, valueOf } from "./row-state.ts";
import { type Edit, hasCombiningRule, judge, keepValues, lostWrites, ruleOf, tallyFor } from "./ruled-columns.ts";
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

/**
 * The context of a write that replaces `replaced`: the vector, and what the vector misses of the replaced and their
 * contexts. Without the vector (`sawAll` false) only those.
 */
export function contextOfReplacing(replaced: readonly Write[], knowledge: Knowledge, sawAll = true): number {
  const base = sawAll ? knowledge.currentContext() : 0;
  let joined: Map<number, number> | null = null;
  const raise = (origin: number, sequence: number) => {
    if (sawAll && knowledge.covers(origin, sequence)) return;
    joined ??= new Map(knowledge.context(base));
    if ((joined.get(origin) ?? 0) < sequence) joined.set(origin, sequence);
  };
  for (const write of replaced) {
    raise(write.origin, write.sequence);
    // By whatever name somebody else has the same write.
    for (let source = knowledge.sourceOf(write.origin); source !== undefined; source = knowledge.sourceOf(source))
      raise(source, write.sequence);
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

/**
 * A local delete by an application that could not see every row that refers to this one: it knows nothing, what its own author wrote
 * before included. Its context says so by a sequence of 0 of its own origin; see `sawNothing`.
 */
export function unseeingDelete(held: RowState, wall: number, knowledge: Knowledge): Write {
  return asUnseeing(blindWrite(held, wall, knowledge), knowledge);
}

/** A delete as one of an application that saw nothing; of one that nobody else has yet. */
export function asUnseeing<T extends Write>(write: T, knowledge: Knowledge): T {
  return { ...write, context: knowledge.contextOf(new Map([[write.origin, 0]])) };
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

/**
 * A row went past capture, and its values with it: nobody has written its columns as far as is known here, so that whoever has
 * a value for them is believed. What stands for its values would otherwise count as written by whoever wrote these.
 */
export function forgetValues(state: RowState): void {
  for (const { cid } of state.table.columns) {
    if (!state.table.surrogate && state.table.key.some((part) => part.cid === cid)) continue;
    const writes = state.columns.get(cid) ?? [];
    // Values that have lost are kept beside the row, and so are what increments add up to.
    if (writes.length < 2 && !writes.some(({ tally }) => tally)) state.columns.set(cid, []);
  }
}

/**
 * Adds a blind write to a column whose held value the table has not been given. Under a rule the row may have to show
 * something else than what was written: that is held as well, until the table is given what all of them come to. So it is where it may be
 * earlier than others, `isOld`.
 */
export function writeBeside(state: RowState, cid: number, write: Write, knowledge: Knowledge, edit?: Edit, isOld = false): void {
  const blind = own(write, tallyFor(state.table, cid, write, [], edit, knowledge));
  if (edit && (isOld || ruleOf(state.table, cid).kind !== "lww")) blind.value = edit.value;
  state.columns.set(cid, [...mergeWrite(registerOf(state, cid), blind, knowledge)]);
}

/**
 * A local write to a column by somebody who may have meant another row, and then never saw what this one held: `said`. It
 * replaces what was written in this database before; what came from others stays beside it, and is shown as a conflict. `at` is
 * later than all that the row held before the edit. `shown`: the write whose value its table had; `givenAt`: when this row got
 * its integer, which another one had. What was written here before that stays in the history, too. Returns what it wrote.
 */
export function writeUnseen(
  state: RowState,
  cid: number,
  at: number,
  knowledge: Knowledge,
  said: CellValue,
  shown: Write | undefined,
  givenAt: number,
): Write {
  const before = registerOf(state, cid).map((write) => ({ ...write, value: valueOf(write, said) }));
  const replaced = before.filter((write) => knowledge.isOwn(write.origin));
  const context = contextOfReplacing(replaced, knowledge, false);
  const { origin, sequence } = knowledge.nextDot();
  const write: ColumnWrite = { origin, sequence, time: at, context, value: undefined };
  const winner = winnerOf(before, knowledge);
  const kept = mergeWrite(before, write, knowledge);
  for (const lost of before) {
    // Of rows that are one the table may have shown what another of them says.
    const wasShown = lost === winner && lost.time >= givenAt && (!shown || isOneWrite(lost, shown, knowledge));
    if (wasShown || kept.includes(lost)) continue;
    const loser = { origin: rootOf(lost.origin, knowledge), sequence: lost.sequence, time: lost.time, context: lost.context };
    state.closed.push({ cid, loser, value: lost.value, origin, sequence });
  }
  state.columns.set(cid, [...kept]);
  return write;
}

/**
 * Says whom a reference means that was a bare integer, `value`, in the write `meant`. It knows no more than that write, and `seen`: what
 * others wrote to the column apart from that one stays beside it. Nor is it any later: an edit or a delete of theirs that knew that
 * one beats it, also right after it by the clock of who wrote it.
 */
export function sayMeant(state: RowState, cid: number, meant: Write, seen: readonly Write[], value: CellValue, knowledge: Knowledge): void {
  const context = contextOfReplacing([meant, ...seen], knowledge, false);
  const write = { ...knowledge.nextDot(), time: meant.time, context, value };
  mergeColumn(
    state,
    cid,
    write,
    knowledge,
    () => value,
    () => undefined,
  );
}

/**
 * Writes anew what a deleted row held, `cells`, as `by` says that it lives: who inserts its key elsewhere without having heard of that
 * replaces what everybody knew to be gone, and of what has been brought back nothing would be left. So it stands beside theirs as a
 * conflict. It is no later than it was: whoever edited the row before hearing of its delete still comes after it. What a rule makes of several
 * writes, and what others lost to, as these stay what they are, is kept in the history instead. Rows that are named by their birth are
 * not born again.
 */
export function writeAgain(state: RowState, cells: readonly CellValue[], by: Write, knowledge: Knowledge): void {
  const { table } = state;
  if (table.surrogate || table.keyless) return;
  const keys = new Set(table.key.map(({ cid }) => cid));
  const writes = new Map<string, Write>();
  // What is held for columns that the table lacks is brought back, too.
  const lacking = [...state.columns.keys()].filter((cid) => !table.indexOf.has(cid));
  for (const cid of [...table.columns.map((column) => column.cid), ...lacking]) {
    const register = registerOf(state, cid);
    const winner = winnerOf(register, knowledge);
    const index = table.indexOf.get(cid);
    if (!winner || keys.has(cid) || (index === undefined && winner.value === undefined)) continue;
    const isRuled = ruleOf(table, cid).kind !== "lww" || winner.tally !== undefined;
    if (isRuled || register.some((held) => held !== winner && held.value !== undefined)) {
      const { sequence, time, context } = winner;
      const loser = { origin: rootOf(winner.origin, knowledge), sequence, time, context };
      const value = index === undefined ? (winner.value as CellValue) : (cells[index] ?? null);
      state.closed.push({ cid, loser, value, origin: by.origin, sequence: by.sequence });
      continue;
    }
    // Several are births of rows that were joined, which wrote the same.
    const name = register.map(({ origin, sequence }) => `${origin}:${sequence}`).join(" ");
    let write = writes.get(name);
    if (!write) {
      const context = contextOfReplacing(register, knowledge, false);
      writes.set(name, (write = { ...knowledge.nextDot(), time: winner.time, context }));
    }
    state.columns.set(cid, [{ ...write, value: winner.value }]);
  }
}

/**
 * Writes a reference anew for a row that has its integer now, instead of a deleted one. The application wrote that row and not this
 * one: an edit of others, or their delete, comes before it as before the write that it stands for; and who wrote that comes before others
 * whose application gave the integer to a row, too.
 */
export function writeTakenOver(state: RowState, cid: number, knowledge: Knowledge): void {
  const register = registerOf(state, cid);
  const meant = winnerOf(register, knowledge);
  if (!meant) return;
  const time = meant.time + (knowledge.isOwn(meant.origin) ? 1 : 0);
  replaceColumn(state, cid, { ...localWrite(state, time, register, knowledge), time }, knowledge);
}

/**
 * Replaces a column's writes by a local one; what lost there before is closed under the new dot. `write` serves several
 * columns. `edit` says what it changed, where the column's rule needs that. Where the row is one of several that are one
 * entity, `shown` is the write whose value the entity had, and `value` what this row says itself: a value that lost against
 * another member's is closed too.
 */
export function replaceColumn(
  state: RowState,
  cid: number,
  write: Write,
  knowledge: Knowledge,
  edit?: Edit,
  entity: { shown: Write; value: CellValue } | null = null,
): void {
  const before = registerOf(state, cid);
  const mine = winnerOf(before, knowledge);
  closeLosers(state, cid, before, write, knowledge);
  if (entity && mine && !isOneWrite(mine, entity.shown, knowledge)) {
    const { origin, sequence, time, context } = mine;
    state.closed.push({
      cid,
      loser: { origin, sequence, time, context },
      value: entity.value,
      origin: write.origin,
      sequence: write.sequence,
    });
  }
  state.columns.set(cid, [own(write, tallyFor(state.table, cid, write, before, edit, knowledge))]);
  state.own.delete(cid);
}

/** True for the same write, and for two that one write to an entity made on two of its members. */
export function isOneWrite(a: Write, b: Write, knowledge: Knowledge): boolean {
  return rootOf(a.origin, knowledge) === rootOf(b.origin, knowledge) && (a.sequence === b.sequence || a.time === b.time);
}

function own({ origin, sequence, time, context }: Write, tally: Tally | undefined): ColumnWrite {
  return { origin, sequence, time, context, value: undefined, ...(tally ? { tally } : {}) };
}

/**
 * What a birth of a natural key says of columns with a combining rule: others may bear the same row. `replaced`: what had been
 * written to a column of the row for which it is born again.
 */
export function tellBirth(
  state: RowState,
  editOf: (cid: number) => Edit,
  knowledge: Knowledge,
  replaced: (cid: number) => readonly ColumnWrite[] = () => [],
): void {
  if (state.table.surrogate || !hasCombiningRule(state.table)) return;
  for (const { cid } of state.table.columns) {
    const tally = tallyFor(state.table, cid, state.birth, replaced(cid), editOf(cid), knowledge);
    if (tally) state.columns.set(cid, [own(state.birth, tally)]);
  }
}

/** A local birth of a natural key that is there already: every column is written by it. */
export function rebirth(state: RowState, write: Write, knowledge: Knowledge, editOf: (cid: number) => Edit | undefined): void {
  // What this table lacks its application has not written.
  for (const { cid } of state.table.columns) {
    const before = registerOf(state, cid);
    closeLosers(state, cid, before, write, knowledge);
    const tally = tallyFor(state.table, cid, write, before, editOf(cid), knowledge);
    if (tally) state.columns.set(cid, [own(write, tally)]);
    else state.columns.delete(cid);
  }
  state.twins = [];
  state.own.clear();
  state.birth = write;
  state.identity = { origin: write.origin, sequence: write.sequence };
}

/**
 * Closes under `by` what a row holds, column by column: `by` replaces values that its author had no way to see. Of a
 * deleted row those are the ones that whoever deleted it had not seen either, which may have been written after its own delete.
 */
export function closeWinners(state: RowState, cells: readonly CellValue[], by: Write, knowledge: Knowledge): void {
  const keys = new Set(state.table.key.map(({ cid }) => cid));
  const deletes = state.place.kind === "dead" ? state.deletes : [];
  state.table.columns.forEach(({ cid }, index) => {
    if (keys.has(cid)) return;
    const winner = winnerOf(registerOf(state, cid), knowledge);
    if (winner && !deletes.some((deleted) => knew(deleted, winner.origin, winner.sequence, knowledge)))
      state.closed.push({ cid, loser: winner, value: cells[index] ?? null, origin: by.origin, sequence: by.sequence });
  });
}

/** Notes in the row values that stood for writes, under a dot of their own: nobody has written what replaces them knowing of these. */
export function closeStanding(
  state: RowState,
  stood: readonly { cid: number; loser: Write; value: CellValue }[],
  knowledge: Knowledge,
): void {
  const dot = knowledge.nextDot();
  for (const { cid, loser, value } of stood) {
    const { sequence, time, context } = loser;
    state.closed.push({ cid, loser: { origin: rootOf(loser.origin, knowledge), sequence, time, context }, value, ...dot });
  }
}

/** Notes in the row what lost among `writes` to the column: `by`, which replaces them, settles that. */
export function closeLosers(state: RowState, cid: number, writes: readonly ColumnWrite[], by: Write, knowledge: Knowledge): void {
  for (const { origin, sequence, time, context, value } of lostWrites(state, cid, writes, knowledge)) {
    // Under the name that everybody knows, also those who have not heard that it was issued again.
    const loser = { origin: rootOf(origin, knowledge), sequence, time, context };
    state.closed.push({ cid, loser, value, origin: by.origin, sequence: by.sequence });
  }
}
