import {
  type Authorship,
  type CellValue,
  comesTo,
  decide,
  elementsOf,
  isCombining,
  LWW,
  type Rule,
  type Tally,
  tallyOf,
  type Verdict,
  type Write,
  asString,
} from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Table } from "../schema/catalog.ts";
import type { Affinity } from "../schema/tables.ts";
import { type ColumnWrite, type RowState, valueOf } from "./row-state.ts";
import { sameValue } from "./values.ts";

/** A write with its value, wherever that was kept. */
export type ValuedColumnWrite = ColumnWrite & { value: CellValue };

/** What an edit did to a column: the value it wrote, and the one it found; undefined where nobody saw that. */
export interface Edit {
  value: CellValue;
  found: CellValue | undefined;
  /**
   * Nothing was done: the column has come in the place of another one, and its value is what these made of that. Null where nobody can tell what
   * did, so that it is not added to what others say: the two are a conflict where they differ.
   */
  former?: readonly ColumnWrite[] | null | undefined;
}

const UNKNOWN = new Uint8Array();

const nameOf = ({ origin, sequence }: Write) => `${origin}:${sequence}`;

export function ruleOf(table: Table, cid: number): Rule {
  return table.columns[table.indexOf.get(cid) ?? -1]?.rule ?? LWW;
}

const combining = new WeakMap<Table, boolean>();

/** True for tables in which an edit has to say what it found. Asked for every event: looked up once per table. */
export function hasCombiningRule(table: Table): boolean {
  let known = combining.get(table);
  if (known === undefined) combining.set(table, (known = table.columns.some(({ rule }) => isCombining(rule))));
  return known;
}

/** What the writes of a column come to by its rule. `shown` is the value the row has, which the write without a value of its own wrote. */
export function judge(
  table: Table,
  cid: number,
  writes: readonly ColumnWrite[],
  knowledge: Authorship,
  shown: CellValue,
): Verdict<ValuedColumnWrite> {
  const valued = writes.map((write): ValuedColumnWrite => ({ ...write, value: valueOf(write, shown), literal: undefined }));
  const verdict = decide(ruleOf(table, cid), valued, knowledge);
  const affinity = table.columns[table.indexOf.get(cid) ?? -1]?.affinity ?? "BLOB";
  return { ...verdict, value: asStored(affinity, verdict.value) };
}

/**
 * The register to keep: the row's own copy holds the value of the winner; where it shows what several writes come to, the
 * winner keeps its own beside it. So one write of a register whose value the table has been given never has a `value`.
 */
export function keepValues(
  rule: Rule,
  { winner }: Verdict<ValuedColumnWrite>,
  writes: readonly ColumnWrite[],
  shown: CellValue,
): ColumnWrite[] {
  const combined = isCombining(rule) && writes.length > 1;
  const isWinner = (write: Write) => write.origin === winner.origin && write.sequence === winner.sequence;
  return writes.map((write) => {
    const value = valueOf(write, shown);
    return isWinner(write)
      ? { ...write, value: undefined, literal: combined ? asString(value) : undefined }
      : { ...write, value, literal: undefined };
  });
}

/** What the write of an edit says beyond its value; undefined where the rule needs nothing. */
export function tallyFor(
  table: Table,
  cid: number,
  write: { origin: number; sequence: number },
  replaced: readonly ColumnWrite[],
  edit: Edit | undefined,
  knowledge: Knowledge,
): Tally | undefined {
  const rule = ruleOf(table, cid);
  if (!edit || edit.former === null || !(rule.kind === "counter" || rule.kind === "set")) return undefined;
  // Where nobody saw the value before, the edit counts as if it had found its own.
  const found = edit.found === undefined ? edit.value : edit.found;
  const valued = (edit.former ?? replaced).map((held) => ({ ...held, value: valueOf(held, found) }));
  // What is there though nobody wrote it, as the default of a column that came, is there everywhere, and counts once.
  if (rule.kind === "counter" && !edit.former && replaced.length === 0 && isAmount(edit.found))
    valued.push({ ...write, time: 0, context: 0, value: edit.found });
  return tallyOf(rule.kind, edit.value, { origin: write.origin, sequence: write.sequence }, valued, knowledge);
}

/**
 * The writes that made the `value` of a column which has come in the place of the column `was`; null where that is not known. `isSame`: the
 * row has been written by nobody since it was drained; `found`: what it held then, by column, in none if it was not there; `isPlaced`: no other
 * column can have come in that place.
 */
export function formerWrites(
  state: RowState,
  { cid, was }: { cid: number; was: number },
  {
    value,
    found,
    isSame,
    isPlaced,
  }: { value: CellValue; found: ReadonlyMap<number, CellValue> | undefined; isSame: boolean; isPlaced: boolean },
  causality: Authorship,
): readonly ColumnWrite[] | null {
  const { kind } = ruleOf(state.table, cid);
  if (kind !== "counter" && kind !== "set") return null;
  const births = [state.birth, ...state.twins];
  const writes: readonly ColumnWrite[] = state.columns.get(was) ?? births.map((birth) => ({ ...birth, value: undefined }));
  const isBirth = (write: Write) => births.some((birth) => nameOf(birth) === nameOf(write));
  if (writes.some((write) => write.tally?.kind !== kind && !isBirth(write))) return null;
  if (isSame) return writes;
  // What the births wrote is nowhere but in the row, in which something else may be by now.
  const before = found?.get(was);
  if (before !== undefined) return writes.map((write) => (write.tally ? write : { ...write, value: valueOf(write, before) }));
  if (writes.some(({ tally }) => !tally)) return found ? writes : null;
  const valued = writes.map((write) => ({ ...write, value: valueOf(write, value) }));
  const made = comesTo(kind, valued, causality);
  const isMade = kind === "counter" ? sameValue(made, value) : sameElements(made, value);
  const fallback = state.table.columns[state.table.indexOf.get(cid) ?? -1]?.fallback ?? null;
  return isMade || (isPlaced && !sameValue(value, fallback)) ? writes : null;
}

function sameElements(a: CellValue, b: CellValue): boolean {
  const [one, other] = [elementsOf(a), elementsOf(b)];
  return one !== null && one.toSorted().join("\n") === other?.toSorted().join("\n");
}

const isAmount = (value: CellValue | undefined): value is bigint | number => typeof value === "bigint" || typeof value === "number";

/** A sum as its column stores it: what a person wrote has been through this already. */
function asStored(affinity: Affinity, value: CellValue): CellValue {
  if (affinity === "REAL" && typeof value === "bigint") return Number(value);
  const whole = (affinity === "INTEGER" || affinity === "NUMERIC") && typeof value === "number" && Number.isInteger(value);
  return whole && Math.abs(value) < 2 ** 63 ? BigInt(value) : value;
}

/** Writes of a register that are conflicts when a write that knew them all replaces it. */
export function lostWrites(
  state: RowState,
  cid: number,
  writes: readonly ColumnWrite[],
  knowledge: Knowledge,
): readonly ValuedColumnWrite[] {
  if (writes.length < 2) return [];
  // A birth that wrote the winner's value has lost nothing.
  const shows = new Set(writes.filter((write) => valueOf(write, UNKNOWN) === UNKNOWN).map(nameOf));
  return judge(state.table, cid, writes, knowledge, null).lost.filter((write) => !shows.has(nameOf(write)));
}
