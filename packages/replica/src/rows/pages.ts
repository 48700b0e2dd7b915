import type { Database, Statement } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import { isWide } from "../capture/events.ts";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import { cellsIn } from "../schema/spelled.ts";
import { cameLarge, collectLarge } from "../pool/collect.ts";
import { emptyIfLong, isEmptyBlob, readKeepingLong } from "./long-text.ts";
import { bindable } from "./table-store.ts";
import { type Bindable, mayHoldRawText, textFromBytes } from "./values.ts";

/** Rows read at a time: each turn takes some tens of milliseconds. */
const ROWS_AT_ONCE = 5_000;
/** A page ends after the row with which it holds more than this in long values: 5,000 photographs are more than there is memory, bytes. */
const LONG_AT_ONCE = 8 * 1024 * 1024;
const LONG = 4_096;

/**
 * Every row of a table that has a key: key parts and column values. By rowid, or by the key where it cannot be had. `at` is where a
 * later call goes on when it is given as `after`.
 */
export function* pages(
  db: Database,
  table: Table,
  after: readonly SqlValue[] = [],
  atOnce = ROWS_AT_ONCE,
): Generator<{ key: SqlValue[]; values: SqlValue[]; at: SqlValue[] }> {
  const keys = table.key.map((column) => quote(column.name));
  // Of a wide table a query has no room for the key beside the columns: they are read row by row.
  const wide = isWide(table);
  const all = table.columns.map((column) => quote(column.name));
  const names = wide ? keys : [...keys, ...all];
  const cursor = table.rowid === null ? keys : [table.rowid];
  // Only text needs its bytes: an integer key has none.
  const bytes = table.surrogate ? [] : keys.map((name) => `CAST(${name} AS BLOB)`);
  const beforeKey = cursor.length + bytes.length;
  const beforeValues = beforeKey + keys.length;
  const among = (condition: string) => {
    const conditions = [condition, table.where ?? ""].filter((each) => each !== "");
    return conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  };
  // Rows with NULL in their key are the twin's.
  const keyed = !table.keyless && table.nullable.length > 0;
  // Once some row has been found to hold large text, what is long is read by itself.
  let holdsLongText = false;
  const shown = () => (holdsLongText && !wide ? [...keys, ...all.map(emptyIfLong)] : names);
  const prepare = (condition: string) =>
    db
      .prepare(
        `SELECT ${[...cursor, ...bytes, ...shown()].join(", ")} FROM ${quote(table.source)} ${among(condition)} ORDER BY ${cursor.join(", ")} LIMIT ${atOnce}`,
      )
      .safeIntegers(true)
      .raw(true);
  const exactText = (values: SqlValue[], from: Buffer[]) =>
    values.map((value, i) => (typeof value === "string" && table.utf8 ? textFromBytes(from[i] as Buffer) : value));
  /** Places and bindings for a cursor or key, of which text that is not UTF-8 goes in as bytes. */
  const places = (values: SqlValue[]) => {
    const bound = bindable(values);
    return { values: bound.values, marks: values.map((_, i) => (bound.raw.includes(i) ? "CAST(? AS TEXT)" : "?")) };
  };
  const readAfter = (last: readonly SqlValue[]) => {
    collectLarge();
    if (last.length === 0) return readPage(prepare(""), [], atOnce);
    const here = places([...last]);
    return readPage(prepare(`(${cursor.join(", ")}) > (${here.marks.join(", ")})`), here.values, atOnce);
  };
  const pageAfter = (last: readonly SqlValue[]): Page => {
    const page = readAfter(last);
    if (holdsLongText || !table.utf8 || !cameLarge(page.rows.at(-1) ?? [])) return page;
    holdsLongText = true;
    // Let go before it is there once more.
    page.rows.length = 0;
    return readAfter(last);
  };
  for (let page = pageAfter(after); ;) {
    let at: SqlValue[] = [];
    for (const row of page.rows) {
      let key = row.slice(beforeKey, beforeValues);
      if (bytes.length > 0) key = exactText(key, row.slice(cursor.length, beforeKey) as Buffer[]);
      at = table.rowid === null ? key : row.slice(0, 1);
      if (keyed && key.includes(null)) continue;
      const again = (columns: readonly string[]) => {
        const here = places(at);
        const where = cursor.map((column, i) => `${column} = ${here.marks[i] as string}`).join(" AND ");
        return db
          .prepare(`SELECT ${columns.join(", ")} FROM ${quote(table.source)} WHERE ${where}`)
          .safeIntegers(true)
          .raw(true)
          .get(here.values);
      };
      let values = wide ? (again(all) as SqlValue[]) : row.slice(beforeValues);
      if (holdsLongText && values.some(isEmptyBlob))
        values = readKeepingLong(table, (list) => again([list]) as SqlValue[] | undefined) ?? values;
      if (table.utf8 && mayHoldRawText(values))
        values = exactText(values, again(all.map((column) => `CAST(${column} AS BLOB)`)) as Buffer[]);
      yield { key, values: cellsIn(table, values), at };
    }
    if (page.isLast) return;
    page = pageAfter(at);
  }
}

interface Page {
  rows: SqlValue[][];
  isLast: boolean;
}

/** Up to `atOnce` rows, fewer where they are long: only the last one is of more than `LONG_AT_ONCE`. Nothing else runs on the connection meanwhile. */
function readPage(statement: Statement, bound: readonly Bindable[], atOnce: number): Page {
  const rows: SqlValue[][] = [];
  let long = 0;
  for (const row of statement.iterate(...bound) as IterableIterator<SqlValue[]>) {
    rows.push(row);
    for (const value of row) if ((typeof value === "string" || value instanceof Uint8Array) && value.length > LONG) long += value.length;
    if (long > LONG_AT_ONCE) return { rows, isLast: false };
  }
  return { rows, isLast: rows.length < atOnce };
}
