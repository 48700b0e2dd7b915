import { type CellValue, comesTo, knew, mergeWrite, rootOf, type Tally, winnerOf, withBirths, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isOneWrite, latestTime, mergeColumn, registerOf, sawNothing } from "./registers.ts";
import { type ColumnWrite, type RowState, valueOf } from "./row-state.ts";
import { type Edit, hasCombiningRule, lostWrites, ruleOf, tallyFor } from "./ruled-columns.ts";

// What is written here, by the application or in its name, and what becomes of what it replaces.

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
 * before included. Its context says so by a sequence of 0 of its own origin; see `sawNothing` of `registers.ts`.
 */
export function unseeingDelete(held: RowState, wall: number, knowledge: Knowledge): Write {
  return asUnseeing(blindWrite(held, wall, knowledge), knowledge);
}

/** A delete as one of an application that saw nothing; of one that nobody else has yet. */
export function asUnseeing<T extends Write>(write: T, knowledge: Knowledge): T {
  return { ...write, context: knowledge.contextOf(new Map([[write.origin, 0]])) };
}

/**
 * An edit of a row that holds elements of a set which the table lacks, as one by somebody who has not seen these. The birth, which it replaces, may
 * have put them in by another name of the column that it writes: its context says so as that of an `unseeingDelete`.
 */
export function asApart<T extends Write>(write: T, knowledge: Knowledge): T {
  return { ...write, context: knowledge.contextOf(new Map([...knowledge.context(write.context), [write.origin, 0]])) };
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
 * Says of a column what it was made of under another name, beside what others have written by this one: `edit.former`. Births wrote it by one name
 * only: what they wrote by this one is a part of it.
 */
export function writeFormer(state: RowState, cid: number, write: Write, knowledge: Knowledge, edit: Edit & { value: CellValue }): void {
  const births = [state.birth, ...state.twins];
  const { kind } = ruleOf(state.table, cid);
  const held = registerOf(state, cid).map((other): ColumnWrite => {
    // It was in the table before, and what it wrote there is gone.
    const isGone = other.value === undefined && other.tally?.kind === kind;
    return isGone && other.tally ? { ...other, value: comesTo(other.tally.kind, [{ ...other, value: null }], knowledge) } : other;
  });
  const born = held.filter(
    ({ origin, sequence, tally, value }) =>
      !tally && value !== undefined && births.some((birth) => birth.origin === origin && birth.sequence === sequence),
  ) as (ColumnWrite & { value: CellValue })[];
  const told = tallyFor(state.table, cid, write, [], edit, knowledge);
  const { tally, value } = told && born.length > 0 ? withBirths(told, born, knowledge) : { tally: told, value: edit.value };
  const context = born.length > 0 ? contextOfReplacing(born, knowledge, false) : write.context;
  state.columns.set(cid, [...mergeWrite(held, { ...own({ ...write, context }, tally), value }, knowledge)]);
}

type Dot = Pick<Write, "origin" | "sequence">;

/**
 * The writes that made a set under its former name, without what births alone have put in, which is put in anew by who tells of them: by a set's new
 * name who has a row only from others that go by the former one replaces the birth, and seems to have taken out what he has never seen. With what
 * somebody had seen who replaced it by the new name, so not `asApart`.
 */
export function putInAnew(state: RowState, cid: number, former: readonly ColumnWrite[], knowledge: Knowledge): readonly ColumnWrite[] {
  const births = [state.birth, ...state.twins];
  const isBirth = ({ origin, sequence }: Dot) =>
    births.some((birth) => birth.sequence === sequence && rootOf(birth.origin, knowledge) === rootOf(origin, knowledge));
  const seen = (state.columns.get(cid) ?? []).filter((write) => !isBirth(write) && !sawNothing(write, knowledge));
  const isAnew = (dot: Dot) => isBirth(dot) && !seen.some((write) => knew(write, dot.origin, dot.sequence, knowledge));
  return former.flatMap((write): ColumnWrite[] => {
    if (write.tally?.kind !== "set") return isAnew(write) ? [] : [write];
    const members = write.tally.members.filter(({ dots }) => !dots.every(isAnew));
    return [{ ...write, tally: { ...write.tally, members } }];
  });
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
