import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import type { TableColumn } from "../schema/tables.ts";

/** What a captured event says happened. */
export const Op = { insert: 1, update: 2, delete: 3, displaced: 4 } as const;

/** Columns per mask: an update marks changed columns as bits of 64-bit integers, the sign bit left alone. */
export const MASK_BITS = 60;

/** `julianday` is the one clock every SQLite since 3.24 has; better than a millisecond, constant within a statement. */
const NOW = "julianday('now')";
/** Cheaper than NOT EXISTS, measured. */
const NOT_APPLYING = "(SELECT 1 FROM _scoutsync_applying) IS NULL";

export const captureTable = (tid: number): string => `_scoutsync_capture_${tid}`;
export const maskCount = (table: Table): number => Math.max(1, Math.ceil(table.columns.length / MASK_BITS));

/** The dirty list of one table: keys and masks for rows that stay, the old image for rows that go. Append only, no unique key. */
export function captureTableSql(table: Table): string {
  const columns = [
    "n INTEGER PRIMARY KEY",
    "op INTEGER",
    "at REAL",
    ...Array.from({ length: maskCount(table) }, (_, i) => `m${i} INTEGER`),
    ...table.key.map((_, i) => `k${i}`),
    ...table.columns.map((_, i) => `c${i}`),
  ];
  return `CREATE TABLE ${captureTable(table.tid)}(${columns.join(", ")})`;
}

/** Names of all triggers that capture a table; those that do not apply to it do not exist. */
export const triggerNames = (tid: number): string[] =>
  ["insert", "update", "key", "delete", "displace_insert", "displace_update", "displace_key"].map((kind) => `_scoutsync_${kind}_${tid}`);

/** The triggers that capture one table, as name and SQL. Plain SQL only: they run inside the application. */
export function captureTriggers(table: Table): { name: string; sql: string }[] {
  const capture = captureTable(table.tid);
  const on = quote(table.name);
  const keys = table.key.map((_, i) => `k${i}`).join(", ");
  const images = table.columns.map((_, i) => `c${i}`).join(", ");
  const of = (row: string, columns: readonly TableColumn[]) => columns.map((column) => `${row}.${quote(column.name)}`).join(", ");
  const samekey = (a: string, b: string) => table.key.map((column) => `${a}.${quote(column.name)} IS ${b}.${quote(column.name)}`).join(" AND ");
  const gone = (op: number, row: string) => `${op}, ${NOW}, ${of(row, table.key)}${images ? `, ${of(row, table.columns)}` : ""}`;
  const goneColumns = `op, at, ${keys}${images ? `, ${images}` : ""}`;
  const triggers: { name: string; sql: string }[] = [];
  const add = (kind: string, when: string, condition: string, body: string) => {
    const name = `_scoutsync_${kind}_${table.tid}`;
    triggers.push({ name, sql: `CREATE TRIGGER ${name} ${when} ON ${on} WHEN ${condition} BEGIN ${body} END` });
  };
  add("insert", "AFTER INSERT", NOT_APPLYING, `INSERT INTO ${capture}(op, at, ${keys}) VALUES(${Op.insert}, ${NOW}, ${of("NEW", table.key)});`);
  if (table.columns.length > 0) {
    const masks = maskSql(table);
    const names = masks.map((_, i) => `m${i}`).join(", ");
    add("update", "AFTER UPDATE", NOT_APPLYING, `INSERT INTO ${capture}(op, at, ${names}, ${keys}) VALUES(${Op.update}, ${NOW}, ${masks.join(", ")}, ${of("NEW", table.key)});`);
  }
  const keyList = table.key.map((column) => quote(column.name)).join(", ");
  // A changed key is a row that went and a row that came.
  add(
    "key",
    `AFTER UPDATE OF ${keyList}`,
    `${NOT_APPLYING} AND NOT (${samekey("OLD", "NEW")})`,
    `INSERT INTO ${capture}(${goneColumns}) VALUES(${gone(Op.delete, "OLD")}); ` +
      `INSERT INTO ${capture}(op, at, ${keys}) VALUES(${Op.insert}, ${NOW}, ${of("NEW", table.key)});`,
  );
  add("delete", "AFTER DELETE", NOT_APPLYING, `INSERT INTO ${capture}(${goneColumns}) VALUES(${gone(Op.delete, "OLD")});`);
  // OR REPLACE deletes rows that clash without firing delete triggers: their images are logged before.
  const displaced = (match: string, self: string) =>
    `INSERT INTO ${capture}(${goneColumns}) SELECT ${gone(Op.displaced, "t")} FROM ${on} AS t WHERE ${match} AND NOT (${samekey("t", self)});`;
  const clashes = table.uniques.map((index) =>
    index.columns.map((column) => `t.${quote(column.name)} = NEW.${quote(column.name)} COLLATE ${column.collation}`).join(" AND "),
  );
  if (clashes.length > 0) {
    add("displace_insert", "BEFORE INSERT", NOT_APPLYING, clashes.map((match) => displaced(match, "NEW")).join(" "));
    const unique = [...new Set(table.uniques.flatMap((index) => index.columns.map((column) => quote(column.name))))].join(", ");
    add("displace_update", `BEFORE UPDATE OF ${unique}`, NOT_APPLYING, clashes.map((match) => displaced(match, "OLD")).join(" "));
  }
  const sameAsNew = table.key.map((column) => `t.${quote(column.name)} = NEW.${quote(column.name)} COLLATE ${column.collation}`).join(" AND ");
  add("displace_key", `BEFORE UPDATE OF ${keyList}`, `${NOT_APPLYING} AND NOT (${samekey("OLD", "NEW")})`, displaced(sameAsNew, "OLD"));
  return triggers;
}

/** One expression per mask. Values that compare equal but are stored differently (1 and 1.0) can only meet where the column has no affinity. */
function maskSql(table: Table): string[] {
  const masks: string[][] = [];
  table.columns.forEach((column, i) => {
    const name = quote(column.name);
    const typed = column.affinity === "BLOB" ? ` OR typeof(OLD.${name}) <> typeof(NEW.${name})` : "";
    const changed = `OLD.${name} IS NOT NEW.${name} COLLATE BINARY${typed}`;
    (masks[Math.floor(i / MASK_BITS)] ??= []).push(`((${changed}) << ${i % MASK_BITS})`);
  });
  return masks.map((parts) => parts.join(" | "));
}
