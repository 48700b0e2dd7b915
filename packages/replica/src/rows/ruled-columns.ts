import {
  type Authorship,
  type CellValue,
  decide,
  isCombining,
  LWW,
  type Rule,
  type Tally,
  tallyOf,
  type Verdict,
  type Write,
} from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Table } from "../schema/catalog.ts";
import type { Affinity } from "../schema/tables.ts";
import { type ColumnWrite, type RowState, valueOf } from "./row-state.ts";

/** A write with its value, wherever that was kept. */
export type ValuedColumnWrite = ColumnWrite & { value: CellValue };

/** What an edit did to a column: the value it wrote, and the one it found; undefined where nobody saw that. */
export interface Edit {
  value: CellValue;
  found: CellValue | undefined;
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
      ? { ...write, value: undefined, literal: combined ? value : undefined }
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
  if (!edit || !(rule.kind === "counter" || rule.kind === "set")) return undefined;
  // Where nobody saw the value before, the edit counts as if it had found its own.
  const found = edit.found === undefined ? edit.value : edit.found;
  const valued = replaced.map((held) => ({ ...held, value: valueOf(held, found) }));
  return tallyOf(rule.kind, edit.value, { origin: write.origin, sequence: write.sequence }, valued, knowledge);
}

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
