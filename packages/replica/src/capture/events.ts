import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import type { UniqueIndex } from "../schema/unique-indexes.ts";

/** What a captured event says happened. */
export const Op = { insert: 1, update: 2, delete: 3, displaced: 4 } as const;

/** Columns per mask: an update marks changed columns as bits of 64-bit integers, the sign bit left alone. */
export const MASK_BITS = 60;

/** `julianday` is the one clock every SQLite since 3.24 has; better than a millisecond, constant within a statement. */
export const NOW = "julianday('now')";
/** Cheaper than NOT EXISTS, measured. */
export const NOT_APPLYING = "(SELECT 1 FROM _scoutsync_applying) IS NULL";

/** The dirty list. One for all tables, so that events keep the order in which they happened: integers are used again. */
export const CAPTURE = "_scoutsync_capture";
/** Old images of one table's rows, numbered like their events. */
export const imageTable = (tid: number): string => `_scoutsync_image_${tid}`;
export const maskCount = (table: Table): number => Math.max(1, Math.ceil(table.columns.length / MASK_BITS));

/**
 * Table and operation as one number, `tid` * 8 + `op`; columns without a type, room for one key part and one mask
 * until a table needs more: every column of the dirty list is paid for by every write of the application.
 */
export const captureTableSql = (): string =>
  `CREATE TABLE ${CAPTURE}(n INTEGER PRIMARY KEY, event, at, ${captureColumns(1, 1).join(", ")})`;
export const eventCode = (tid: number, op: number): number => tid * 8 + op;

/** Names of columns for so many key parts and masks. */
export function captureColumns(keys: number, masks: number): string[] {
  return [...Array.from({ length: keys }, (_, i) => `k${i}`), ...Array.from({ length: masks }, (_, i) => `m${i}`)];
}

export function imageTableSql(table: Table): string {
  const columns = ["n INTEGER PRIMARY KEY", ...table.columns.map((_, i) => `c${i}`)];
  return `CREATE TABLE ${imageTable(table.tid)}(${columns.join(", ")})`;
}

/** Names of all triggers that capture a table; those that do not apply to it do not exist. */
export const triggerNames = (tid: number): string[] =>
  ["insert", "update", "came", "went", "key", "delete", "displace_insert", "displace_update", "displace_key"].map(
    (kind) => `_scoutsync_${kind}_${tid}`,
  );

/** True for rows `t` that hold the values of NEW under a UNIQUE index. */
export function clashSql(index: UniqueIndex): string {
  // An expression finds the columns it names in the innermost row: here those of NEW.
  const ofNew = (expression: string) =>
    `(SELECT ${expression} FROM (SELECT ${index.reads.map((name) => `NEW.${quote(name)} AS ${quote(name)}`).join(", ")}))`;
  return [
    ...index.parts.map(({ name, expression, collation }) =>
      name === null
        ? `(${expression}) = ${ofNew(expression ?? "NULL")} COLLATE ${collation}`
        : `t.${quote(name)} = NEW.${quote(name)} COLLATE ${collation}`,
    ),
    ...(index.where === null ? [] : [`(${index.where})`]),
  ].join(" AND ");
}

/** Before which updates a row may take the UNIQUE values of others: those of its columns, where these are all that counts. */
export function updateOfUnique(uniques: readonly UniqueIndex[]): string {
  if (uniques.some(({ derived }) => derived)) return "BEFORE UPDATE";
  const names = new Set(uniques.flatMap(({ parts }) => parts.map(({ name }) => quote(name ?? ""))));
  return `BEFORE UPDATE OF ${[...names].join(", ")}`;
}
