/**
 * Which tables and columns a digest is of: per table what its row hashes are made of, as 8 hexadecimal digits, after a
 * "+" where the table has rows; joined by commas, in no order.
 */
export type SchemaPrint = string;

/** True when digests of these two can be compared: what has rows on either side is the same on both. */
export function isComparable(a: SchemaPrint, b: SchemaPrint): boolean {
  return covers(a, b) && covers(b, a);
}

function covers(all: SchemaPrint, some: SchemaPrint): boolean {
  const known = new Set(all.split(",").map((entry) => entry.replace("+", "")));
  return some.split(",").every((entry) => !entry.startsWith("+") || known.has(entry.slice(1)));
}
