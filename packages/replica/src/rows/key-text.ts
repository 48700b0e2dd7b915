import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import { quote } from "../schema/quote.ts";
import type { Column, Table } from "../schema/catalog.ts";
import { type Bindable, keyText, textFromBytes } from "./values.ts";

/** Ways to read a text as the parts of a key that are looked up; a text with more commas than that is nobody's name for a row. */
const MOST_READINGS = 1000;
/** Characters of all readings of one text together: they are looked up under the write lock, and peers say which. */
const MOST_CHARACTERS = 4 * 1024 * 1024;

/** The key, as the table holds it, of the row that a person names by `keyText`; null when there is no such row. */
export function keyFromText(db: Database, table: Table, text: string): SqlValue[] | null {
  return keysFromText(db, table, text)[0] ?? null;
}

/**
 * The keys, as the table holds them, of all rows that `keyText` writes like this: parts may hold commas themselves, and 5 and
 * '5' are two keys where a column takes both. Where none is written exactly so, of the one that the table takes for it.
 */
export function keysFromText(db: Database, table: Table, text: string): SqlValue[][] {
  const found = readings(text, table.key.length).flatMap((parts) => rowsAt(db, table, parts));
  const exact = found.filter((key) => keyText(key) === text);
  return exact.length > 0 ? exact : found.slice(0, 1);
}

/** Every way to make `count` parts of a text with commas; the most likely ones where there are too many. */
function readings(text: string, count: number): string[][] {
  const pieces = text.split(",");
  if (pieces.length <= count) return [Array.from({ length: count }, (_, i) => pieces[i] ?? "")];
  const most = Math.min(MOST_READINGS, Math.max(1, Math.floor(MOST_CHARACTERS / text.length)));
  return splits(text, pieces.length - 1, count, most);
}

/** First the one that leaves all commas, of which there are enough, to the last part. */
function splits(text: string, commas: number, count: number, most: number): string[][] {
  if (count === 1) return [[text]];
  const all: string[][] = [];
  let comma = -1;
  for (let left = commas - 1; left >= count - 2 && all.length < most; left--) {
    comma = text.indexOf(",", comma + 1);
    const first = text.slice(0, comma);
    for (const rest of splits(text.slice(comma + 1), left, count - 1, most - all.length)) all.push([first, ...rest]);
  }
  return all;
}

/** Every key that `keyText` may write like this, whether there is such a row or not; the most likely ones where there are too many. */
export function keysWritten(table: Table, text: string): SqlValue[][] {
  return readings(text, table.key.length).flatMap((parts) =>
    parts
      .map(valuesWritten)
      .reduce<SqlValue[][]>((keys, values) => keys.flatMap((key) => values.map((value) => [...key, value])).slice(0, MOST_READINGS), [[]]),
  );
}

function valuesWritten(text: string): SqlValue[] {
  const numbers = /^-?[\d.]+(e[-+]?\d+)?$/.test(text) ? [Number(text)] : [];
  return [...numbers, ...valuesMeant(text).map(({ value, cast }) => (cast ? textFromBytes(value as Buffer) : (value as SqlValue)))];
}

function rowsAt(db: Database, table: Table, parts: readonly string[]): SqlValue[][] {
  const meant = parts.map((part) => (table.surrogate ? [{ value: part, cast: false }] : valuesMeant(part)));
  const match = table.key.map((column, i) => matches(column, meant[i] as Meant[])).join(" AND ");
  const names = table.key.map((column) => quote(column.name));
  const keys = [...names, ...names.map((name) => `CAST(${name} AS BLOB)`)].join(", ");
  const found = db
    .prepare(`SELECT ${keys} FROM ${quote(table.source)} WHERE ${match}`)
    .safeIntegers(true)
    .raw(true)
    .all(meant.flat().map(({ value }) => value)) as SqlValue[][];
  return found.map((row) =>
    row
      .slice(0, names.length)
      .map((part, i) => (typeof part === "string" && table.utf8 ? textFromBytes(row[names.length + i] as Buffer) : part)),
  );
}

function matches(column: Column, meant: readonly Meant[]): string {
  const each = meant.map(({ cast }) => `${quote(column.name)} = ${cast ? "CAST(? AS TEXT)" : "?"} COLLATE ${column.collation}`);
  return each.length === 1 ? (each[0] as string) : `(${each.join(" OR ")})`;
}

interface Meant {
  value: Bindable;
  cast: boolean;
}

/** The values that are written so; a column with a type of its own takes the text for the others by itself. */
function valuesMeant(text: string): Meant[] {
  const meant: Meant[] = [{ value: text, cast: false }];
  if (/^(blob|text):([0-9a-f]{2})*$/.test(text)) meant.push({ value: Buffer.from(text.slice(5), "hex"), cast: text.startsWith("text:") });
  const integer = /^-?\d{1,19}$/.test(text) ? BigInt(text) : null;
  if (integer !== null && BigInt.asIntN(64, integer) === integer) meant.push({ value: integer, cast: false });
  else if (text !== "" && String(Number(text)) === text && text !== "NaN") meant.push({ value: Number(text), cast: false });
  return meant;
}
