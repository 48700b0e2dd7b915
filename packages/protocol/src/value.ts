import { LongText, RawText, SyncError, type SqlValue } from "@scoutsync/core";
import type { ColumnValue, Value } from "../gen/scoutsync/v1/sync_node.ts";

/** A column as core names it. */
export interface NamedValue {
  name: string;
  value: SqlValue;
}

export function toWireValue(value: SqlValue): Value {
  if (value === null) return { kind: { $case: "null", value: true } };
  switch (typeof value) {
    case "bigint":
      return { kind: { $case: "integer", value } };
    case "number":
      return { kind: { $case: "real", value } };
    case "string":
      return { kind: { $case: "text", value } };
    default:
      if (value instanceof LongText) return { kind: { $case: "text", value: String(value) } };
      return value instanceof RawText
        ? { kind: { $case: "rawText", value: asBuffer(value.bytes) } }
        : { kind: { $case: "blob", value: asBuffer(value) } };
  }
}

/** Throws INVALID_ARGUMENT when no kind is set: a missing value must not silently become NULL. */
export function fromWireValue(wire: Value | undefined): SqlValue {
  const kind = wire?.kind;
  switch (kind?.$case) {
    case "null":
      return null;
    case "integer":
    case "real":
    case "text":
      return kind.value;
    case "blob":
      return kind.value;
    case "rawText":
      return new RawText(kind.value);
    default:
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: "a value has no kind",
        action: 'Say which: {"null":true}, {"integer":"1"}, {"real":1.5}, {"text":"…"} or {"blob":"base64"}.',
      });
  }
}

export function toWireColumns(columns: readonly NamedValue[]): ColumnValue[] {
  return columns.map(({ name, value }) => ({ name, value: toWireValue(value), base: undefined }));
}

export function fromWireColumns(columns: readonly ColumnValue[]): NamedValue[] {
  return columns.map(({ name, value }) => ({ name, value: fromWireValue(value) }));
}

/** The same memory as a Buffer, which is what the generated encoder takes. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
