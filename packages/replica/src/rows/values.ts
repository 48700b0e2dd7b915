import { createHash, hash, type Hash } from "node:crypto";
import {
  ByteWriter,
  type CellValue,
  LARGE_VALUE_BYTES,
  LONG_TEXT_BYTES,
  LongText,
  RawText,
  Ref,
  releaseLarge,
  type SqlValue,
  Tag,
  textOfBytes,
} from "@scoutsync/core";
import type { Column, Table } from "../schema/catalog.ts";
import { hashedIn } from "../schema/spelled.ts";
import type { Affinity } from "../schema/tables.ts";

/** A column value as better-sqlite3 reads and binds it, integers as bigint. */
export type Bindable = null | bigint | number | string | Buffer;

const REPLACEMENT = "\uFFFD";

/** True when some text may not have been valid UTF-8: reading it as a string put replacement characters in. */
export function mayHoldRawText(values: readonly unknown[]): boolean {
  for (const value of values) if (typeof value === "string" && value.includes(REPLACEMENT)) return true;
  return false;
}

/** The value of a text column from its bytes: a string where they are valid UTF-8, and not long. */
export function textFromBytes(bytes: Buffer): string | RawText {
  if (bytes.length >= LONG_TEXT_BYTES) return textOfBytes(bytes);
  const text = bytes.toString("utf8");
  return Buffer.from(text, "utf8").equals(bytes) ? text : new RawText(bytes);
}

/** SHA-256 is cut to so many bytes. */
const HASH_BYTES = 16;

const scratch = new ByteWriter(64 * 1024);

/**
 * The 16-byte hash of a row as SELECT returns it here: table name, key, columns by name, each with its storage class.
 * SHA-256 cut to 128 bits. `id` is the surrogate integer, null where the columns hold the key.
 */
export function rowHash(
  table: { name: string } & Partial<Pick<Table, "isSpelled" | "columns">>,
  id: bigint | null,
  values: readonly CellValue[],
): Buffer {
  const out = scratch;
  out.reset();
  out.text(table.name);
  if (id !== null) out.integer(id);
  // Only the hash of large values is made in pieces: one call is faster, and the scratch is kept.
  let sum: Hash | null = null;
  for (let i = 0; i < values.length; i++) {
    const value = table.isSpelled ? hashedIn(table.columns?.[i], values[i] as CellValue) : (values[i] as CellValue);
    const bytes = largeBytes(value);
    if (!bytes) {
      out.value(value);
      continue;
    }
    const isText = typeof value === "string" || value instanceof LongText;
    out.byte(isText ? Tag.text : value instanceof RawText ? Tag.rawText : Tag.blob);
    if (isText) out.textLength(value, bytes.length);
    else out.varint(bytes.length);
    sum ??= createHash("sha256");
    sum.update(out.buffer.subarray(0, out.length)).update(bytes);
    // A copy of the text.
    if (typeof value === "string") releaseLarge(bytes);
    out.reset();
  }
  const rest = out.buffer.subarray(0, out.length);
  if (sum) return sum.update(rest).digest().subarray(0, HASH_BYTES);
  // As text on the way: measured, half of what a buffer with memory of its own takes.
  const bytes = Buffer.allocUnsafe(HASH_BYTES);
  bytes.write(hash("sha256", rest, "binary"), 0, HASH_BYTES, "latin1");
  return bytes;
}

/** The bytes of a large text or blob; null for everything else. */
function largeBytes(value: CellValue): Uint8Array | null {
  if (typeof value === "string") return value.length >= LARGE_VALUE_BYTES ? Buffer.from(value, "utf8") : null;
  const bytes = value instanceof RawText ? value.bytes : value;
  return bytes instanceof Uint8Array && bytes.length >= LARGE_VALUE_BYTES ? bytes : null;
}

/** The packed identity of a natural key. Equal where SQLite's own comparison finds the keys equal. */
export function packKey(key: readonly Pick<Column, "collation">[], values: readonly CellValue[]): Buffer {
  const out = new ByteWriter(64);
  key.forEach((column, i) => out.value(canonicalKeyValue(column, values[i] as CellValue)));
  return out.toBytes();
}

function canonicalKeyValue(column: Pick<Column, "collation">, value: CellValue): CellValue {
  if (value instanceof LongText) return canonicalKeyValue(column, String(value));
  if (typeof value === "string") {
    if (column.collation === "NOCASE") return value.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
    if (column.collation === "RTRIM") return value.replace(/ +$/, "");
    return value;
  }
  // An index finds 1 and 1.0 equal.
  if (typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 9e18) return BigInt(value);
  return value;
}

/** A value as a column of this affinity holds it, as far as anybody refers by it: reals are written as JavaScript does. */
export function asHeld(affinity: Affinity, value: CellValue): CellValue {
  if (affinity === "TEXT") {
    if (typeof value === "bigint") return String(value);
    if (typeof value !== "number") return value;
    return Number.isInteger(value) && Math.abs(value) < 1e15 ? `${value}.0` : String(value);
  }
  if (affinity === "BLOB" || typeof value !== "string" || !NUMBER.test(value)) return value;
  const integer = INTEGER.test(value.trim()) ? BigInt(value) : null;
  return integer !== null && BigInt.asIntN(64, integer) === integer ? integer : Number(value);
}

const NUMBER = /^[ \t\n\v\f\r]*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?[ \t\n\v\f\r]*$/i;
const INTEGER = /^-?\d+$/;

/** For people: the key as text, parts joined by commas. */
export function keyText(values: readonly SqlValue[]): string {
  return values.map(valueText).join(",");
}

export function valueText(value: CellValue): string {
  if (value === null) return "NULL";
  if (value instanceof LongText) return String(value);
  if (value instanceof RawText) return `text:${Buffer.from(value.bytes).toString("hex")}`;
  if (value instanceof Ref) return `#${value.origin}:${value.sequence}`;
  if (value instanceof Uint8Array) return `blob:${Buffer.from(value).toString("hex")}`;
  return String(value);
}

/** True when two values are stored the same: same class, same bits. */
export function sameValue(a: CellValue, b: CellValue): boolean {
  if (a === b) return !(typeof a === "number" && typeof b === "number") || Object.is(a, b);
  if (a instanceof Ref && b instanceof Ref) return a.origin === b.origin && a.sequence === b.sequence;
  if (a instanceof RawText && b instanceof RawText) return Buffer.compare(a.bytes, b.bytes) === 0;
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  if (typeof a === "string") return b instanceof LongText && isTextOf(a, b);
  return typeof b === "string" && a instanceof LongText && isTextOf(b, a);
}

/** Whether this is the string of a long text: not everybody who reads one keeps its bytes. */
const isTextOf = (text: string, { bytes }: LongText): boolean =>
  text.length <= bytes.length && 3 * text.length >= bytes.length && Buffer.compare(Buffer.from(text, "utf8"), bytes) === 0;
