import { type Authorship, ByteReader, ByteWriter, type CellValue, memoryOf, releaseLarge } from "@scoutsync/core";
import { isNamedByBirth, type Table } from "../schema/catalog.ts";
import { heldForTable, holdValue } from "./held-columns.ts";
import { keyCells, showKey } from "./row-keys.ts";
import type { RowState } from "./row-state.ts";

/** The packed values of a row that is not in its table: (column number, value) pairs, references as identities. `used`: nobody reads the values again. */
export function packImage(table: Table, values: readonly CellValue[], used = false): Buffer {
  const out = ByteWriter.withRoomFor(values);
  values.forEach((value, i) => {
    out.varint((table.columns[i] as { cid: number }).cid);
    out.value(value);
    if (used) releaseLarge(value);
  });
  return out.takeBytes();
}

/** True where a value that is held with its write lies in the memory of this image. */
export function holdsPartOf({ columns }: RowState, { buffer }: Buffer): boolean {
  return [...columns.values()].some((writes) => writes.some(({ value }) => memoryOf(value) === buffer));
}

/**
 * The inverse, onto a state: values in catalog order. A column that came later has its default, or the value that was
 * held for it; the value of one that went is held with its write.
 */
export function unpackImage(state: RowState, image: Buffer, causality: Authorship): CellValue[] {
  const { table } = state;
  // A copy: whoever is done with the row may give back the memory of its values.
  const values = table.columns.map(({ fallback }): CellValue => (fallback instanceof Uint8Array ? Buffer.from(fallback) : fallback));
  const from = new ByteReader(image, table.utf8);
  const seen = new Set<number>();
  while (!from.done) {
    const cid = from.varint();
    seen.add(cid);
    const index = table.indexOf.get(cid);
    const value = from.value();
    if (index !== undefined) values[index] = value;
    else holdValue(state, cid, value);
  }
  const fresh = new Set(isNamedByBirth(table) ? [] : table.columns.flatMap(({ cid }) => (seen.has(cid) ? [] : [cid])));
  for (const cid of fresh) if (!state.columns.has(cid)) state.columns.set(cid, []);
  if (fresh.size > 0) showKey({ table, key: keyCells(state), values, unwritten: fresh });
  const held = heldForTable(state, causality);
  for (const { cid, value } of held) values[table.indexOf.get(cid) as number] = value;
  if (state.place.kind === "joined" && held.length > 0) state.late = new Set(held.map(({ cid }) => cid));
  return values;
}
