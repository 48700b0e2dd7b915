import type { Table } from "../schema/catalog.ts";
import { forgetDefaults } from "./held-columns.ts";
import { type OutRow, OutState } from "./out-table.ts";
import { newState, type RowState, unpackExtra } from "./row-state.ts";
import type { StoredRow } from "./table-store.ts";

/** What is known of a row in its table. */
export function stateInTable(table: Table, row: StoredRow): RowState {
  const birth = { origin: Number(row[1]), sequence: Number(row[2]), time: Number(row[3]), context: Number(row[4]) };
  const state = newState({ table, place: { kind: "table" }, key: row[7], birth, claim: row[0] });
  state.slot = row[0];
  state.hash = row[6];
  unpackExtra(state, row[5]);
  forgetDefaults(state);
  return state;
}

/** What is known of a row that is out of its table: deleted, waiting, held, or stood for by another. */
export function stateOut(table: Table, row: OutRow): RowState {
  const birth = { origin: Number(row[5]), sequence: Number(row[6]), time: Number(row[7]), context: Number(row[8]) };
  const named = row[12] === null ? null : { origin: Number(row[12]), sequence: Number(row[13]) };
  const state = newState({
    table,
    place:
      row[2] === OutState.dead
        ? { kind: "dead" }
        : row[2] === OutState.joined
          ? { kind: "joined", rep: named }
          : row[2] === OutState.held
            ? { kind: "held", left: row[11] ?? "" }
            : { kind: "waiting", reason: row[11] ?? "", blocker: named },
    key: row[3],
    birth,
    claim: row[4] ?? 0n,
  });
  state.slot = row[0];
  unpackExtra(state, row[9]);
  if (state.partial) state.table = heldOnly(table);
  return state;
}

/** A table as one that is not here: whatever is known of a row is then held with its writes. */
export function heldOnly(table: Table): Table {
  if (table.absent !== null) return table;
  const names = table.columns.map(({ cid, name }) => [cid, name] as const);
  const lacking = new Map([...table.lacking, ...names]);
  return { ...table, columns: [], indexOf: new Map(), references: [], linked: [], lacking, absent: "missing" };
}
