import { createHash } from "node:crypto";
import { LARGE_VALUE_BYTES } from "./bytes.ts";
import { LongText, RawText, type SqlValue } from "./exchange.ts";

/** Nobody reads more of one value, bytes. */
export const LONGEST_SHOWN = 65_536;
/** Of a longer value two nodes compare the hash, bytes: a message holds many rows. */
export const LONGEST_COMPARED = 1_024;
/** What all values of a list may come to, bytes: a message holds four times as much. */
const LONGEST_LIST = 16 * 1024 * 1024;
const HEAD = 1_000;

const sizeOf = (value: SqlValue): number => {
  if (typeof value === "string") return value.length;
  if (value instanceof RawText) return value.bytes.length;
  return value instanceof Uint8Array ? value.length : 8;
};

/**
 * A value as people are shown it, and as two nodes compare it: one that is longer than `longest` by its beginning, its length
 * and its SHA-256, as text. Given again it stays as it is.
 */
export function brief(value: SqlValue, longest = LONGEST_SHOWN): SqlValue {
  if (sizeOf(value) <= longest || value === null || typeof value === "bigint" || typeof value === "number") return value;
  const bytes = typeof value === "string" ? Buffer.from(value) : value instanceof RawText ? value.bytes : value;
  const most = Math.min(HEAD, Math.floor(longest / 4));
  const head = value instanceof Uint8Array ? `x'${Buffer.from(bytes.subarray(0, 16)).toString("hex")}'` : textOf(value).slice(0, most);
  return `${head.toWellFormed()} … (${bytes.length} bytes, SHA-256 ${createHash("sha256").update(bytes).digest("hex")})`;
}

/** Of what is kept as its bytes no more than a head is made of; of `LongText` the same as of the string. */
const textOf = (value: string | RawText): string =>
  typeof value === "string" ? value : Buffer.from(value.bytes.subarray(0, value instanceof LongText ? 4 * HEAD : HEAD)).toString();

/** Below what any list shows of a value: shown in brief once, it stays as it is. */
const LONGEST_OF_LARGE = 512;

/** A large value in brief, before it goes to another thread, where it would be there once more; any other one as it is. */
export const briefLarge = (value: SqlValue): SqlValue => (sizeOf(value) < LARGE_VALUE_BYTES ? value : brief(value, LONGEST_OF_LARGE));

export const briefColumns = <T extends { value: SqlValue }>(columns: readonly T[], longest?: number): T[] =>
  columns.map((column) => ({ ...column, value: brief(column.value, longest) }));

/** How long each value of a list may be shown so that the list fits into one message. */
export function longestOf(values: readonly SqlValue[]): number {
  const sum = (longest: number) => values.reduce<number>((total, value) => total + Math.min(sizeOf(value), longest), 0);
  return [LONGEST_SHOWN, 4_096].find((longest) => sum(longest) <= LONGEST_LIST) ?? 512;
}
