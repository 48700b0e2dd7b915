import { isCombining } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import type { TableColumn } from "../schema/tables.ts";
import {
  CAPTURE,
  clashSql,
  displacedSql,
  eventCode,
  imageNumber,
  imageSql,
  imageTable,
  isWide,
  lenient,
  lenientMask,
  MASK_BITS,
  NOT_APPLYING,
  NOW,
  nulls,
  Op,
  updateOfKey,
  updateOfUnique,
} from "./events.ts";
import { keylessTriggers } from "./keyless-triggers.ts";

export * from "./events.ts";

/** The triggers that capture one table, as name and SQL. Plain SQL only: they run inside the application. */
export function captureTriggers(table: Table): { name: string; sql: string }[] {
  if (table.keyless) return keylessTriggers(table);
  const on = quote(table.source);
  const keys = table.key.map((_, i) => `k${i}`).join(", ");
  const of = (row: string, columns: readonly TableColumn[]) => columns.map((column) => `${row}.${quote(column.name)}`).join(", ");
  const samekey = (a: string, b: string) =>
    table.key.map((column) => `${a}.${quote(column.name)} IS ${b}.${quote(column.name)} COLLATE ${column.collation}`).join(" AND ");
  const event = (op: number, row: string, extra = { names: "", values: "" }) =>
    `INSERT INTO ${CAPTURE}(event, at, ${keys}${extra.names}) VALUES(${eventCode(table.tid, op)}, ${NOW}, ${of(row, table.key)}${extra.values});`;
  const gone = (row: string) => `${event(Op.delete, row)} ${imageSql(table, row)}`;
  const triggers: { name: string; sql: string }[] = [];
  const add = (kind: string, when: string, condition: string, body: string) => {
    const name = `_scoutsync_${kind}_${table.tid}`;
    triggers.push({ name, sql: `CREATE TRIGGER ${name} ${when} ON ${on} WHEN ${condition} BEGIN ${body} END` });
  };
  add("insert", "AFTER INSERT", NOT_APPLYING, event(Op.insert, "NEW"));
  if (table.columns.length > 0) {
    const masks = maskSql(table);
    const names = masks.map((_, i) => `, m${i}`).join("");
    const values = masks.map((mask, i) => `, ${isWide(table) ? `(SELECT ${mask})` : lenientMask(mask, maskedBy(table, i))}`).join("");
    add("update", "AFTER UPDATE", NOT_APPLYING, event(Op.update, "NEW", { names, values }) + found(table));
  }
  // A changed key is a row that went and a row that came.
  add(
    "key",
    `AFTER ${updateOfKey(table)}`,
    `${NOT_APPLYING} AND NOT (${samekey("OLD", "NEW")})`,
    `${gone("OLD")} ${event(Op.insert, "NEW")}`,
  );
  add("delete", "AFTER DELETE", NOT_APPLYING, gone("OLD"));
  // OR REPLACE deletes rows that clash without firing delete triggers: their images are logged before.
  const displaced = (match: string, self: string) => displacedSql(table, `${match} AND NOT (${samekey("t", self)})`);
  const clashes = table.uniques.map(clashSql);
  if (clashes.length > 0) {
    add("displace_insert", "BEFORE INSERT", NOT_APPLYING, clashes.map((match) => displaced(match, "NEW")).join(" "));
    add("displace_update", updateOfUnique(table.uniques), NOT_APPLYING, clashes.map((match) => displaced(match, "OLD")).join(" "));
  }
  const sameAsNew = table.key
    .map((column) => `t.${quote(column.name)} = NEW.${quote(column.name)} COLLATE ${column.collation}`)
    .join(" AND ");
  // OR REPLACE writes over a row without firing its triggers.
  const ruled = ruledColumns(table);
  if (ruled.length > 0) add("found_insert", "BEFORE INSERT", NOT_APPLYING, foundSql(table, ruled, sameAsNew));
  add("displace_key", `BEFORE ${updateOfKey(table)}`, `${NOT_APPLYING} AND NOT (${samekey("OLD", "NEW")})`, displaced(sameAsNew, "OLD"));
  return triggers;
}

/**
 * Notes that a row is about to go which others refer to by foreign keys that empty them: what comes before the event that it is gone was
 * done by its delete. By itself, as it is there because of other tables; null where there are none. Without it nothing is missed.
 */
export function goingTrigger(table: Table): { name: string; sql: string } | null {
  if (table.keyless || table.empties.length === 0) return null;
  const name = `_scoutsync_going_${table.tid}`;
  const keys = table.key.map((_, i) => `k${i}`).join(", ");
  const key = table.key.map((column) => `OLD.${quote(column.name)}`).join(", ");
  const note = `INSERT INTO ${CAPTURE}(event, at, ${keys}) VALUES(${eventCode(table.tid, Op.going)}, ${NOW}, ${key});`;
  return { name, sql: `CREATE TRIGGER ${name} BEFORE DELETE ON ${quote(table.source)} WHEN ${NOT_APPLYING} BEGIN ${note} END` };
}

/** Columns whose rule adds up what each write changed, and where an image has them. */
function ruledColumns(table: Table): { name: string; stored: string }[] {
  return table.columns.flatMap(({ name, rule }, i) => (isCombining(rule) ? [{ name, stored: `c${i}` }] : []));
}

/** Columns of foreign keys that a delete of the row they refer to empties. */
function emptiedColumns(table: Table): { name: string; stored: string }[] {
  const names = new Set(table.emptied.flatMap(({ columns }) => columns));
  return table.columns.flatMap(({ name }, i) => (names.has(name) ? [{ name, stored: `c${i}` }] : []));
}

/** Notes what an update finds in columns with such a rule, and in those that may be emptied; of a table with the latter alone, where one changes. */
function found(table: Table): string {
  const ruled = ruledColumns(table);
  const emptied = emptiedColumns(table).filter(({ stored }) => ruled.every((column) => column.stored !== stored));
  const columns = [...ruled, ...emptied];
  if (columns.length === 0) return "";
  const stored = columns.map((column) => `, ${column.stored}`).join("");
  const note = `INSERT INTO ${imageTable(table.tid)}(${imageNumber(table)}${stored}) SELECT (SELECT max(n) FROM ${CAPTURE})${lenient("OLD", columns)} FROM ${nulls("OLD", columns)}`;
  if (ruled.length > 0) return ` ${note};`;
  const of = (row: string, { name }: { name: string }) => `(SELECT ${row}.${quote(name)})`;
  const changes = emptied
    .map((column) => `(${of("OLD", column)} IS NOT NULL AND ${of("OLD", column)} IS NOT ${of("NEW", column)})`)
    .join(" OR ");
  return ` ${note}, ${nulls("NEW", columns)} WHERE ${changes};`;
}

/** Notes the row that an insert may write over, which `match` finds among rows `t`, as an event of its own. */
function foundSql(table: Table, ruled: readonly { name: string; stored: string }[], match: string): string {
  const on = quote(table.source);
  const code = eventCode(table.tid, Op.found);
  const keys = table.key.map((_, i) => `k${i}`).join(", ");
  const key = table.key.map((column) => `t.${quote(column.name)}`).join(", ");
  const logged = table.key.map((column, i) => `r.${quote(column.name)} = e.k${i}`).join(" AND ");
  const values = ruled.map(({ name }) => `, (SELECT r.${quote(name)} FROM ${on} AS r WHERE ${logged})`).join("");
  const images = imageTable(table.tid);
  return (
    `INSERT INTO ${CAPTURE}(event, at, ${keys}) SELECT ${code}, ${NOW}, ${key} FROM ${on} AS t WHERE ${match} LIMIT 1; ` +
    `INSERT INTO ${images}(${imageNumber(table)}${ruled.map(({ stored }) => `, ${stored}`).join("")}) SELECT e.n${values} FROM ${nulls("r", ruled)} CROSS JOIN ${CAPTURE} AS e ` +
    `WHERE e.n = (SELECT max(n) FROM ${CAPTURE}) AND e.event = ${code} AND NOT EXISTS (SELECT 1 FROM ${images} AS i WHERE i.${imageNumber(table)} = e.n);`
  );
}

/** Columns that one mask is of: to name all of them in each is too much for SQLite where an application alters a table of many. */
const maskedBy = (table: Table, mask: number) => table.columns.slice(mask * MASK_BITS, (mask + 1) * MASK_BITS);

/**
 * One expression per mask, of CASE as that takes fewer steps than a shift where a column is as it was. Values that compare
 * equal but are stored differently (1 and 1.0) can only meet where the column has no affinity.
 */
function maskSql(table: Table): string[] {
  const masks: string[][] = [];
  table.columns.forEach((column, i) => {
    const name = quote(column.name);
    const typed = column.affinity === "BLOB" ? ` OR typeof(OLD.${name}) <> typeof(NEW.${name})` : "";
    const changed = `OLD.${name} IS NOT NEW.${name} COLLATE BINARY${typed}`;
    (masks[Math.floor(i / MASK_BITS)] ??= []).push(`CASE WHEN ${changed} THEN ${1n << BigInt(i % MASK_BITS)} ELSE 0 END`);
  });
  return masks.map((parts) => parts.join(" + "));
}
