import { LONG_TEXT_BYTES, type SqlValue, textOfBytes } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";

/** SQL that is true where a column holds long text: of how long it is SQLite reads nothing else. */
export const isLongSql = (name: string): string => `typeof(${name}) = 'text' AND octet_length(${name}) >= ${LONG_TEXT_BYTES}`;

/**
 * The values of one row in catalog order, long text as its bytes: SQLite gives them without making a string. `get` gives the row as
 * SELECT does of this list, from the same state of the database each time; `names` are its columns there.
 */
export function readKeepingLong(
  table: Table,
  get: (list: string) => SqlValue[] | undefined,
  names = table.columns.map(({ name }) => quote(name)),
): SqlValue[] | undefined {
  const isLong = get(names.map(isLongSql).join(", "))?.map((long) => long === 1n);
  const row = isLong && get(names.map((name, i) => (isLong[i] ? `CAST(${name} AS BLOB)` : name)).join(", "));
  return row?.map((value, i) => (isLong?.[i] ? textOfBytes(value as Uint8Array) : value));
}

/** SQL for a column of rows that are read one after another, without making strings of what is long: the row is read by itself then. */
export const emptyIfLong = (name: string): string => `iif(octet_length(${name}) >= ${LONG_TEXT_BYTES}, x'', ${name})`;

/** True for what `emptyIfLong` gives, and for an empty blob. */
export const isEmptyBlob = (value: SqlValue): boolean => value instanceof Uint8Array && value.length === 0;
