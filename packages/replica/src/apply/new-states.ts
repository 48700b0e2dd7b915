import { type CellValue, Ref, type Write } from "@scoutsync/core";
import type { IncomingRow } from "../log/incoming.ts";
import { type ColumnWrite, newState, type RowState } from "../rows/row-state.ts";
import { heldOnly } from "../rows/stored-states.ts";
import { packKey } from "../rows/values.ts";
import { isNamedByBirth } from "../schema/catalog.ts";

/** What is known of a row that has just come with its birth. */
export function bornState(row: IncomingRow, birth: Write): RowState {
  const columns = new Map<number, ColumnWrite[]>(
    row.held.map(({ cid, value }) => [cid, [{ ...birth, value, tally: row.tallies.get(cid) }]]),
  );
  for (const [cid, tally] of row.tallies) if (!columns.has(cid)) columns.set(cid, [{ ...birth, value: undefined, tally }]);
  // A birth that comes before whatever else was written may as well have written the default; of several, none comes first.
  if (!isNamedByBirth(row.table) || row.twins.length > 0) for (const cid of row.unwritten) columns.set(cid, []);
  const { table, claim } = row;
  const key = row.key ? packKey(table.key, row.key) : null;
  const state = newState({ table, place: { kind: "waiting", reason: "", blocker: null }, identity: row.identity, key, birth, claim });
  state.columns = columns;
  return state;
}

/** A row that others write to and that went from here with a dropped table: what they write is held. */
export function partialState(row: IncomingRow): RowState {
  const identity = row.identity ?? { origin: 0, sequence: 0 };
  const birth = { ...identity, time: 0, context: 0 };
  const state = newState({ table: heldOnly(row.table), place: { kind: "held", left: "" }, identity, key: partialKey(row), birth });
  state.partial = true;
  return state;
}

/** The name of a row whose birth is not here: its natural key, or the dot of the birth. */
export function partialKey({ table, identity, key }: IncomingRow): Buffer {
  if (!identity) return packKey(table.key, key as CellValue[]);
  return packKey(table.key, [new Ref(identity.origin, identity.sequence)]);
}

/** The values that a record's birth wrote, columns that the table lacks included. */
export function writtenByBirth({ table, values, unwritten, held }: IncomingRow): { cid: number; value: CellValue }[] {
  const here = table.columns.map(({ cid }, index) => ({ cid, value: values[index] ?? null }));
  return [...here.filter(({ cid }) => !unwritten.has(cid)), ...held];
}
