import { hash } from "node:crypto";
import { ByteWriter, type CellValue, knew, Ref, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { type IncomingRow, isDeleted } from "../log/incoming.ts";
import { localWrite, replaceColumn } from "../rows/local-writes.ts";
import { registerOf } from "../rows/registers.ts";
import type { ColumnWrite, RowState } from "../rows/row-state.ts";
import { judge, keepValues, ruleOf } from "../rows/ruled-columns.ts";
import { sameValue } from "../rows/values.ts";

/** Reads and sets the values that the row has here, by column number. */
export interface RowValues {
  current(cid: number): CellValue;
  change(cid: number, value: CellValue): void;
  /** What the table shows for a value: the integer of whom it names. */
  shown(cid: number, value: CellValue): CellValue;
}

/**
 * Before whole rows are merged: sees to it that no value goes unseen in which the two sides differ.
 *
 * Different values for one and the same write: one side is damaged, or somebody made it up, and nobody can tell which but the
 * replica that wrote it: that one says its own again, and keeps the other as a settled conflict. Elsewhere the greater hash decides,
 * but against a column's default under the birth, which loses: nobody need have written it.
 * Where that is the other side's, the value here becomes a write of its own, concurrent with the one in
 * doubt: an ordinary conflict that every node lists with both values.
 *
 * A write that knew the other side's, as one past capture is taken to be: the older value is kept as a settled conflict,
 * so that the history shows it. Returns whether anything changed.
 */
export function settleDoubts(state: RowState, incoming: IncomingRow, knowledge: Knowledge, values: RowValues): boolean {
  let moved = takeForgotten(state, incoming, knowledge, values);
  // The image of a row that was deleted past capture is empty, and says nothing about its values. One that was edited apart from its
  // delete lives, and has it all the same.
  if (isDeleted(incoming, knowledge)) return moved;
  moved = agreeOnTimes(state, incoming) || moved;
  moved = agreeOnClaim(state, incoming) || moved;
  let dot: { origin: number; sequence: number } | null = null;
  for (const { cid, ours, theirs, value } of winners(state, incoming, knowledge)) {
    const here = values.current(cid);
    if (same(ours, theirs) && isReference(state, cid) && here instanceof Ref !== value instanceof Ref && here !== null && value !== null) {
      // It was written where the column refers to nothing, and has come to name a row: who got it before has an integer that names nobody.
      if (value instanceof Ref && state.place.kind === "table") {
        values.change(cid, value);
        moved = true;
      }
      continue;
    }
    // By what the tables show: one side may name whom a column refers to that is an integer on the other.
    const [shownHere, shownThere] = [values.shown(cid, here), values.shown(cid, value)];
    if (sameValue(shownHere, shownThere)) continue;
    const { fallback } = state.table.columns[state.table.indexOf.get(cid) ?? -1] as { fallback: CellValue };
    // What a birth does not name has the default: it may have come here, or there, from a node that has dropped the column.
    const isUnnamed = (shown: CellValue) => same(ours, state.birth) && sameValue(shown, fallback);
    if (!same(ours, theirs)) {
      if (state.place.kind !== "table") continue;
      if (knew(ours, theirs.origin, theirs.sequence, knowledge)) moved = close(state, cid, theirs, value, ours) || moved;
      else if (knew(theirs, ours.origin, ours.sequence, knowledge)) moved = close(state, cid, ours, here, theirs) || moved;
    } else if (state.place.kind !== "table") {
      if (here !== null && !sameValue(here, fallback)) continue;
      values.change(cid, value);
      moved = true;
    } else if (isUnnamed(value) === isUnnamed(here) ? Buffer.compare(weight(shownThere), weight(shownHere)) > 0 : isUnnamed(here)) {
      moved = true;
      if (knowledge.isOwn(ours.origin)) {
        // Who wrote it knows what it wrote. Whatever this replica writes now counts as knowing that: so it is an edit that settles
        // the conflict.
        const edit = localWrite(state, ours.time, registerOf(state, cid), knowledge);
        close(state, cid, ours, value, edit);
        replaceColumn(state, cid, edit, knowledge, { value: here, found: here });
        continue;
      }
      if (isUnnamed(here)) {
        values.change(cid, value);
        continue;
      }
      // One dot for all columns of the row, as an edit has.
      dot ??= knowledge.nextDot();
      const mine: ColumnWrite = { ...dot, time: Math.max(0, ours.time - 1), context: ours.context, value: here };
      const register = [...registerOf(state, cid).map((held) => (same(held, ours) ? { ...held, value } : held)), mine];
      const verdict = judge(state.table, cid, register, knowledge, here);
      if (!sameValue(verdict.value, here)) values.change(cid, verdict.value);
      state.columns.set(cid, keepValues(ruleOf(state.table, cid), verdict, register, here));
    }
  }
  return moved;
}

/**
 * Columns that nobody has written as far as is known here, since the row went past capture; or that have the default under the
 * birth, as the row was deleted when it came from where it went so. The other side has what the birth wrote. Other writes are
 * merged as ever. Returns whether anything changed.
 */
function takeForgotten(state: RowState, incoming: IncomingRow, knowledge: Knowledge, values: RowValues): boolean {
  const { birth } = incoming;
  if (!birth || !same(birth, state.birth)) return false;
  let moved = false;
  for (const [index, { cid, fallback }] of state.table.columns.entries()) {
    const value = incoming.values[index] ?? null;
    // A column that was written since does not show what the birth wrote.
    if (incoming.unwritten.has(cid) || incoming.columns.some((column) => column.cid === cid) || sameValue(value, fallback)) continue;
    const writes = state.columns.get(cid);
    if (writes ? writes.length > 0 : knowledge.isOwn(birth.origin) || !sameValue(values.current(cid), fallback)) continue;
    state.columns.delete(cid);
    values.change(cid, value);
    moved = true;
  }
  return moved;
}

/**
 * One dot has one time, unless its author was a machine that was put back while it ran, or somebody made it up. Everybody
 * has to order it alike: the earlier time counts. Returns whether anything changed.
 */
function agreeOnTimes(state: RowState, { birth, columns, deletes }: IncomingRow): boolean {
  const theirs = new Map<string, Write>();
  for (const write of [...(birth ? [birth] : []), ...columns.flatMap(({ writes }) => writes), ...deletes])
    theirs.set(`${write.origin}:${write.sequence}`, write);
  let moved = false;
  const agreed = <W extends Write>(ours: W): W => {
    const other = theirs.get(`${ours.origin}:${ours.sequence}`);
    if (!other || other.time >= ours.time) return ours;
    moved = true;
    return { ...ours, time: other.time, context: other.context };
  };
  state.birth = agreed(state.birth);
  for (const [cid, writes] of state.columns) state.columns.set(cid, writes.map(agreed));
  state.deletes = state.deletes.map(agreed);
  return moved;
}

/** One birth claims one integer, as it has one time: the smaller one counts. Returns whether it is another one now. */
function agreeOnClaim(state: RowState, { birth, claim }: IncomingRow): boolean {
  if (!state.table.surrogate || !birth || !same(state.birth, birth) || claim >= state.claim) return false;
  state.claim = claim;
  return true;
}

/** Each column's winning write here and there, with the value it has there. */
function* winners(
  state: RowState,
  incoming: IncomingRow,
  knowledge: Knowledge,
): Generator<{ cid: number; ours: Write; theirs: Write; value: CellValue }> {
  if (!incoming.birth) return;
  for (const [index, { cid }] of state.table.columns.entries()) {
    const register = registerOf(state, cid);
    const writes = incoming.columns.find((column) => column.cid === cid)?.writes ?? [];
    // By another rule than the latest write, the value of the row says nothing about one of several writes.
    if (ruleOf(state.table, cid).kind !== "lww" && (register.length > 1 || writes.length > 1)) continue;
    const ours = winnerOf(register, knowledge);
    // The birth is not listed among the writes of a column, and may be the one that counts.
    const births = incoming.unwritten.has(cid) ? [] : [{ ...incoming.birth, value: incoming.values[index] ?? null }];
    const theirs = winnerOf<ColumnWrite>([...births, ...writes], knowledge);
    // The other side has no such column, and so no other value.
    if (!theirs) continue;
    if (ours) yield { cid, ours, theirs, value: theirs.value ?? null };
  }
}

/** Keeps a value as lost against the write `by`; false when it is kept already. */
function close(state: RowState, cid: number, loser: Write, value: CellValue, by: Write): boolean {
  if (state.closed.some((held) => held.cid === cid && same(held.loser, loser) && sameValue(held.value, value))) return false;
  const { origin, sequence, time, context } = loser;
  state.closed.push({ cid, loser: { origin, sequence, time, context }, value, origin: by.origin, sequence: by.sequence });
  return true;
}

function isReference({ table }: RowState, cid: number): boolean {
  return table.references.some(({ index }) => table.columns[index]?.cid === cid);
}

function same(a: Write, b: Write): boolean {
  return a.origin === b.origin && a.sequence === b.sequence;
}

function weight(value: CellValue): Buffer {
  const out = new ByteWriter(64);
  out.value(value);
  return hash("sha256", out.buffer.subarray(0, out.length), "buffer");
}
