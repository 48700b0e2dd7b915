import { type Authorship, ByteReader, ByteWriter, type CellValue, LARGE_VALUE_BYTES, releaseLarge } from "@scoutsync/core";
import { isNamedByBirth, type Table } from "../schema/catalog.ts";
import { heldForTable, holdValue } from "./held-columns.ts";
import type { RowState } from "./row-state.ts";

/** The packed values of a row that is not in its table: (column number, value) pairs, references as identities. `used`: nobody reads the values again. */
export function packImage(table: Table, values: readonly CellValue[], used = false): Buffer {
  // Grown by doubling, one large value would be there three times.
  const large = values.reduce((sum: number, value) => sum + (value instanceof Uint8Array ? value.length : 0), 0);
  const out = new ByteWriter(256 + large);
  values.forEach((value, i) => {
    out.varint((table.columns[i] as { cid: number }).cid);
    out.value(value);
    if (used) releaseLarge(value);
  });
  return large < LARGE_VALUE_BYTES ? out.toBytes() : out.buffer.subarray(0, out.length);
}

/**
 * The inverse, onto a state: values in catalog order. A column that came later has its default, or the value that was
 * held for it; the value of one that went is held with its write.
 */
export function unpackImage(state: RowState, image: Buffer, causality: Authorship): CellValue[] {
  const { table } = state;
  const values: CellValue[] = table.columns.map((column) => column.fallback);
  const from = new ByteReader(image);
  const seen = new Set<number>();
  while (!from.done) {
    const cid = from.varint();
    seen.add(cid);
    const index = table.indexOf.get(cid);
    const value = from.value();
    if (index !== undefined) values[index] = value;
    else holdValue(state, cid, value);
  }
  if (!isNamedByBirth(table))
    for (const { cid } of table.columns) if (!seen.has(cid) && !state.columns.has(cid)) state.columns.set(cid, []);
  for (const { cid, value } of heldForTable(state, causality)) values[table.indexOf.get(cid) as number] = value;
  return values;
}
