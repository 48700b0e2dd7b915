import type { ColumnValue, Value } from "@scoutsync/protocol";

/** Turns 64-bit counters into numbers; the few that do not fit stay exact as raw JSON digits. */
export function count(value: bigint | number): number {
  return Number(value);
}

// Node 24 has JSON.rawJSON; the ES2024 type library does not list it yet.
const { rawJSON: rawJson } = JSON as unknown as { rawJSON: (text: string) => unknown };

/**
 * One SQLite value as JSON, lossless: integers and reals as JSON numbers with all their digits (a real always has a
 * fraction or an exponent), text as a string, and what JSON cannot say as `{"blob":base64}`, `{"raw_text":base64}`
 * or `{"real":"Infinity"}`.
 */
export function jsonValue(value: Value | undefined): unknown {
  const kind = value?.kind;
  switch (kind?.$case) {
    case "integer":
      return rawJson(kind.value.toString());
    case "real":
      return jsonReal(kind.value);
    case "text":
      return kind.value;
    case "blob":
      return { blob: kind.value.toString("base64") };
    case "rawText":
      return { raw_text: kind.value.toString("base64") };
    default:
      return null;
  }
}

function jsonReal(value: number): unknown {
  if (!Number.isFinite(value)) return { real: String(value) };
  const text = Object.is(value, -0) ? "-0.0" : String(value);
  return rawJson(/[.e]/.test(text) ? text : `${text}.0`);
}

/** Columns of a row as one object, in the table's order. */
export function jsonColumns(columns: readonly ColumnValue[]): Record<string, unknown> {
  return Object.fromEntries(columns.map((column) => [column.name, jsonValue(column.value)]));
}

/** One SQLite value on one line, for people; long ones are cut. */
export function plainValue(value: Value | undefined): string {
  const kind = value?.kind;
  switch (kind?.$case) {
    case "integer":
    case "real":
      return String(kind.value);
    case "text":
      return JSON.stringify(kind.value.length > 80 ? `${kind.value.slice(0, 79)}…` : kind.value);
    case "blob":
      return `x'${kind.value.subarray(0, 20).toString("hex")}'${kind.value.length > 20 ? `… (${kind.value.length} bytes)` : ""}`;
    case "rawText":
      return `invalid UTF-8 text x'${kind.value.subarray(0, 20).toString("hex")}'`;
    default:
      return "NULL";
  }
}
