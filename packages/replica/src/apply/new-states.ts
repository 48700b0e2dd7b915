import { type CellValue, Ref, type Write } from "@scoutsync/core";
import type { IncomingRow } from "../log/incoming.ts";
import { type ColumnWrite, type RowState, UNSTORED } from "../rows/row-state.ts";
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
  return {
    table: row.table,
    place: { kind: "waiting", reason: "", blocker: null },
    slot: UNSTORED,
    identity: row.identity ?? { origin: birth.origin, sequence: birth.sequence },
    key: row.key ? packKey(row.table.key, row.key) : null,
    birth,
    claim: row.claim,
    twins: [],
    columns,
    deletes: [],
    rekey: null,
    closed: [],
    same: [],
    own: new Map(),
    kept: false,
    hash: null,
  };
}

/** A row that others write to and that went from here with a dropped table: what they write is held. */
export function partialState(row: IncomingRow): RowState {
  const identity = row.identity ?? { origin: 0, sequence: 0 };
  return {
    table: heldOnly(row.table),
    place: { kind: "held", left: "" },
    slot: UNSTORED,
    identity,
    key: partialKey(row),
    birth: { ...identity, time: 0, context: 0 },
    twins: [],
    claim: 0n,
    columns: new Map(),
    deletes: [],
    rekey: null,
    closed: [],
    same: [],
    own: new Map(),
    kept: false,
    partial: true,
    hash: null,
  };
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
