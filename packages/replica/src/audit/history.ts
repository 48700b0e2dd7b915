import { formatRule, type HistoryEntry, winnerOf, type Write } from "@scoutsync/core";
import { registerOf } from "../rows/registers.ts";
import { isSame } from "../rows/members.ts";
import { judge } from "../rows/ruled-columns.ts";
import { type RowState, valueOf } from "../rows/row-state.ts";
import type { Table } from "../schema/catalog.ts";
import { type Audited, columnName, keyOf, shown } from "./context.ts";
import { asShown, lostWithColumn } from "./gone-columns.ts";
import { statesLeft } from "./held.ts";
import { deletedRow } from "./restore.ts";
import { bornNamed, keylessNamed, keysNamed } from "../rows/named-rows.ts";

/** Who wrote this row, column by column, what lost, and what became of its integer. Oldest first. Empty when there is no such row. */
export function rowHistory(audited: Audited, table: Table, key: string): HistoryEntry[] {
  const named = statesNamed(audited, table, key);
  // Rows that are one with it, by the fact that says so, or were until one changed.
  const states = named.flatMap((state) => audited.members.connected(state));
  const once = states.filter((state, i) => states.findIndex((other) => isSame(other, state)) === i);
  return once.flatMap((state) => entriesOf(audited, state)).sort((a, b) => a.timeUs - b.timeUs);
}

/**
 * The same of a table that is gone, or has another kind of key now: who wrote its rows, and what of that is held or has lost. What they showed
 * went with it. `key` as conflicts show it, or a birth. These rows are looked through: nothing else says any more which one had a key.
 */
export function formerHistory(audited: Audited, table: Table, key: string): HistoryEntry[] {
  const isNamed = (state: RowState) =>
    [keyOf(audited, state), audited.knowledge.dotText(state.birth.origin, state.birth.sequence)].includes(key);
  const states = [...statesLeft(audited, table)].filter(isNamed);
  return states.flatMap((state) => entriesOf(audited, state)).sort((a, b) => a.timeUs - b.timeUs);
}

function statesNamed(audited: Audited, table: Table, text: string): RowState[] {
  const { db, rows } = audited;
  const named = table.keyless ? keylessNamed(rows, table, text) : null;
  if (named) return [named];
  const states: RowState[] = [];
  for (const key of keysNamed(rows, table, text)) {
    if (!table.surrogate) states.push(...rows.keys.statesOf(table, key));
    const state = table.surrogate ? rows.byId(table, key[0] as bigint) : null;
    if (state) states.push(state);
  }
  if (!table.surrogate && states.length === 0) {
    const elsewhere = rows.waiting({ table }).find((state) => keyOf(audited, state) === text) ?? deletedRow(audited, table, text);
    if (elsewhere) states.push(elsewhere);
  }
  if (table.surrogate && /^-?\d+$/.test(text)) {
    // Rows that had or wanted this integer once: deleted, re-keyed or waiting.
    const slots = db
      .prepare("SELECT slot FROM _scoutsync_out WHERE tid = ? AND id = ?")
      .safeIntegers(true)
      .pluck()
      .all(table.tid, BigInt(text)) as bigint[];
    for (const slot of slots) {
      const state = rows.atLog(-table.tid, slot);
      if (state) states.push(state);
    }
  }
  const born = states.length === 0 ? bornNamed(rows, table, text) : null;
  return born ? [born] : states;
}

function entriesOf(audited: Audited, state: RowState): HistoryEntry[] {
  const { knowledge, rows } = audited;
  const { table } = state;
  const cells = table.absent !== null && state.place.kind === "table" ? [] : rows.cells(state);
  const entry = (
    operation: HistoryEntry["operation"],
    write: Write,
    column: string | null,
    value: HistoryEntry["value"],
    note = "",
  ): HistoryEntry => ({
    operation,
    column,
    value,
    author: knowledge.authorOf(write.origin),
    timeUs: write.time,
    dot: knowledge.dotText(write.origin, write.sequence),
    note,
  });
  const id = state.place.kind === "table" ? state.slot : null;
  const moved = table.surrogate && id !== null && id !== state.claim;
  const rep =
    state.place.kind === "joined" && state.place.rep ? rows.byIdentity(table, state.place.rep.origin, state.place.rep.sequence) : null;
  const one = rep
    ? `, one row with the one that ${knowledge.authorOf(rep.birth.origin)} created, which has id ${rows.outId(rep) ?? rep.slot}`
    : "";
  const birthNote = table.surrogate ? `created with id ${state.claim}${moved ? `, now ${id}` : ""}${one}` : "created";
  const entries = [entry("insert", state.birth, null, null, birthNote)];
  table.columns.forEach((column, index) => {
    const writes = registerOf(state, column.cid);
    // Nobody has written a column that came by a migration.
    if (writes.length === 0) return;
    const { winner, lost } = judge(table, column.cid, writes, knowledge, cells[index] ?? null);
    for (const write of writes) {
      const isWinner = write.origin === winner.origin && write.sequence === winner.sequence;
      const value = shown(audited, table, index, valueOf(write, cells[index] ?? null));
      const note = writes.length > 1 && lost.length === 0 ? `merged with concurrent writes by the rule ${formatRule(column.rule)}` : "";
      if (isWinner || lost.length === 0) entries.push(entry("update", write, column.name, value, note));
      else if (write.value !== undefined) entries.push(entry("conflict", write, column.name, value, "lost against a concurrent write"));
    }
  });
  for (const { cid, loser, value } of lostWithColumn(audited, state)) {
    const note = "lost against a concurrent write in a column that the table has not now";
    entries.push(entry("conflict", loser, columnName(table, cid), asShown(audited, value), note));
  }
  for (const [cid, writes] of state.columns) {
    const winner = table.lacking.has(cid) ? winnerOf(writes, knowledge) : undefined;
    // Of one that went from under the row only what lost is left.
    if (winner?.value === undefined) continue;
    for (const write of writes) {
      const operation = write === winner ? "update" : "conflict";
      if (write.value !== undefined)
        entries.push(
          entry(operation, write, columnName(table, cid), asShown(audited, write.value), "held: the table has no such column here"),
        );
    }
  }
  for (const closed of state.closed) {
    const index = table.indexOf.get(closed.cid) ?? -1;
    entries.push(
      entry(
        "closed",
        closed.loser,
        columnName(table, closed.cid),
        shown(audited, table, index, closed.value),
        "lost, and was replaced by a write that knew of it",
      ),
    );
  }
  for (const write of state.deletes) {
    if (write.alive) entries.push(entry("insert", write, null, null, "brought back, or written in a column that is gone"));
    else entries.push(entry("delete", write, null, null, state.kept ? "kept: a row written elsewhere refers to it" : ""));
  }
  if (state.rekey) {
    const dot = { origin: state.rekey.origin, sequence: state.rekey.sequence, time: state.birth.time, context: 0 };
    entries.push(entry("rekey", dot, null, id, `another row had id ${state.claim} first`));
  }
  for (const { other, apart, origin, sequence } of state.same) {
    const partner = rows.byIdentity(table, other.origin, other.sequence);
    const dot = { origin, sequence, time: Math.max(state.birth.time, partner?.birth.time ?? 0), context: 0 };
    const who = partner
      ? `the row that ${knowledge.authorOf(partner.birth.origin)} created with id ${partner.claim}`
      : "a row that is not here";
    const note = apart
      ? `two rows again with ${who}: they came to differ`
      : `one row with ${who}: both were created with the same value, without knowing of each other`;
    entries.push(entry(apart ? "apart" : "same", dot, null, null, note));
  }
  return entries;
}
