import type { z } from "zod";
import { SyncError } from "@scoutsync/core";
import type { ColumnValue, Value } from "@scoutsync/protocol";
import type { ValueShape } from "./shapes.ts";

type JsonValue = z.infer<typeof ValueShape>;

/** One SQLite value as JSON without loss: what a JSON reader would round or cannot hold is wrapped in an object. */
export function toJson(value: Value | undefined): JsonValue {
  const kind = value?.kind;
  switch (kind?.$case) {
    case "integer": {
      const number = Number(kind.value);
      return Number.isSafeInteger(number) ? number : { integer: String(kind.value) };
    }
    case "real":
      // A whole real would come back as an integer.
      return Number.isFinite(kind.value) && !Number.isInteger(kind.value) ? kind.value : { real: realText(kind.value) };
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

/** The inverse. Throws INVALID_ARGUMENT for a number that is not what it looks like. */
export function fromJson(json: JsonValue): Value {
  if (json === null) return { kind: { $case: "null", value: true } };
  if (typeof json === "string") return { kind: { $case: "text", value: json } };
  if (typeof json === "number") {
    if (!Number.isInteger(json)) return { kind: { $case: "real", value: json } };
    if (Number.isSafeInteger(json)) return { kind: { $case: "integer", value: BigInt(json) } };
    throw notExact(String(json));
  }
  if ("integer" in json) {
    if (!/^-?\d{1,19}$/.test(json.integer)) throw notExact(json.integer);
    return { kind: { $case: "integer", value: BigInt(json.integer) } };
  }
  if ("real" in json) return { kind: { $case: "real", value: Number(json.real) } };
  if ("blob" in json) return { kind: { $case: "blob", value: Buffer.from(json.blob, "base64") } };
  return { kind: { $case: "rawText", value: Buffer.from(json.raw_text, "base64") } };
}

export function toJsonColumns(columns: readonly ColumnValue[]): Record<string, JsonValue> {
  return Object.fromEntries(columns.map(({ name, value }) => [name, toJson(value)]));
}

export function fromJsonColumns(columns: Record<string, JsonValue>): ColumnValue[] {
  return Object.entries(columns).map(([name, value]) => ({ name, value: fromJson(value), base: undefined }));
}

function realText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

function notExact(text: string): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${text.slice(0, 40)} is not an integer that JSON can carry exactly`,
    action: 'Send large integers as {"integer":"…"}.',
  });
}
