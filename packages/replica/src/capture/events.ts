import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import type { UniqueIndex } from "../schema/unique-indexes.ts";

/** What a captured event says happened. */
export const Op = { insert: 1, update: 2, delete: 3, displaced: 4, found: 5, going: 6 } as const;

/** The mask of a delete that the drain noted itself: the row only moved to another key. */
export const REPLACED = 1n;

/** Columns per mask: an update marks changed columns as bits of 64-bit integers, the sign bit left alone. */
export const MASK_BITS = 60;

/** `julianday` is the one clock every SQLite since 3.24 has; better than a millisecond, constant within a statement. */
export const NOW = "julianday('now')";
/** As a Julian day: makes the drain date a write right after the row's latest. */
export const EARLIEST = 2_440_587.5;
/** As a Julian day: makes it date each column right after what that one has had. */
export const UNDATED = EARLIEST - 1;
/** The same, but none before a time, Unix microseconds: no Julian day, which is not that exact. */
export const notBefore = (us: number): bigint => BigInt(-us);
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

/** SQLite has no more columns than 2,000 in a table, nor in what a query gives: a table near that needs SQL of its own. */
export const WIDE_FROM = 1_900;
export const isWide = (table: Table): boolean => table.columns.length >= WIDE_FROM;

/** The column of the image table that holds the event's number: no column of its own where there is no room for one. */
export const imageNumber = (table: Table): string => (isWide(table) ? "rowid" : "n");

export function imageTableSql(table: Table): string {
  const columns = [...(isWide(table) ? [] : ["n INTEGER PRIMARY KEY"]), ...table.columns.map((_, i) => `c${i}`)];
  return `CREATE TABLE ${imageTable(table.tid)}(${columns.join(", ")})`;
}

/** Names of all triggers that capture a table; those that do not apply to it do not exist. */
export const triggerNames = (tid: number): string[] =>
  ["insert", "update", "came", "went", "key", "delete", "displace_insert", "displace_update", "displace_key", "found_insert", "going"].map(
    (kind) => `_scoutsync_${kind}_${tid}`,
  );

/**
 * A row of NULLs that goes by the name of another. A trigger must not fail, nor stand in the way, when the application
 * drops a column that it names: inside of a scalar subquery, `OLD.a` means the row's column while there is one, and after
 * that the NULL of such a row in the FROM of the query around it. (SQLite looks for a name from the inside out, and
 * refuses DROP COLUMN where a trigger's name is not found at all.)
 */
export function nulls(name: string, columns: readonly { name: string }[]): string {
  return `(SELECT ${columns.map((column) => `NULL AS ${quote(column.name)}`).join(", ")}) AS ${name}`;
}

/** The columns of a row, each so that `nulls` around it stands in for one that is gone; begins with a comma where there are any. */
export function lenient(row: string, columns: readonly { name: string }[]): string {
  return columns.map((column) => `, (SELECT ${row}.${quote(column.name)})`).join("");
}

/**
 * A mask, with columns that are gone taken for unchanged. Here the rows of NULLs are there for their names alone: a count
 * where nothing can be found is one row, a 0, for which SQLite makes none of them; making them cost half as much as the mask.
 * They name a table because SQLite merges only such a query into the one around it.
 */
export function lenientMask(mask: string, columns: readonly { name: string }[]): string {
  const names = (row: string) =>
    `(SELECT ${columns.map(({ name }) => `NULL AS ${quote(name)}`).join(", ")} FROM _scoutsync_applying) AS ${row}`;
  return `(SELECT (SELECT ${mask}) + count(*) FROM ${names("OLD")}, ${names("NEW")} WHERE 0)`;
}

/** Logs the image of a row that is going, for the last event: `row` is OLD or NEW. */
export function imageSql(table: Table, row: string): string {
  const last = `(SELECT max(n) FROM ${CAPTURE})`;
  const into = `INSERT INTO ${imageTable(table.tid)}`;
  if (table.columns.length === 0) return `${into} VALUES(${last});`;
  if (isWide(table)) {
    const columns = table.columns.map((_, i) => `c${i}`).join(", ");
    return `${into}(rowid, ${columns}) VALUES(${last}, ${table.columns.map(({ name }) => `${row}.${quote(name)}`).join(", ")});`;
  }
  return `${into} SELECT ${last}${lenient(row, table.columns)} FROM ${nulls(row, table.columns)};`;
}

/**
 * Logs the row that an OR REPLACE may be about to displace, which `match` finds among rows `t`, and its image: by the key
 * just logged, and for that event only. Every write to the table runs this, clash or none, so nothing here may need a
 * table of SQLite's own (an IN over a query, a query that is not the first of a join): making one costs more than the
 * write, and where the application's allocator gives its memory back each time, a hundred times that.
 */
export function displacedSql(table: Table, match: string): string {
  if (isWide(table)) return displacedWideSql(table, match);
  const on = quote(table.source);
  const code = eventCode(table.tid, Op.displaced);
  const key = (row: string) => table.key.map((column) => `${row}.${quote(column.name)}`).join(", ");
  const compared = table.uniques.flatMap(({ parts, reads }) => [...parts.flatMap(({ name }) => name ?? []), ...reads]);
  const named = (columns: readonly { name: string }[]) =>
    [...new Set([...columns.map(({ name }) => name), ...compared])].map((name) => ({ name }));
  const clash = `SELECT ${key("t")} FROM ${on} AS t WHERE ${match} LIMIT 1`;
  const gone = nulls("t", named([...table.key, ...table.columns]));
  const found =
    table.key.length === 1
      ? `SELECT (${clash}) FROM ${gone}`
      : `SELECT ${key("p")} FROM ${gone} CROSS JOIN ${on} AS p WHERE (${key("p")}) = (${clash})`;
  const logged = table.key.map((column, i) => `r.${quote(column.name)} = e.k${i}`).join(" AND ");
  const image = table.columns.map((column) => `, (SELECT r.${quote(column.name)} FROM ${on} AS r WHERE ${logged})`).join("");
  const images = imageTable(table.tid);
  const rows = table.columns.length > 0 ? `${nulls("r", table.columns)} CROSS JOIN ` : "";
  return (
    `INSERT INTO ${CAPTURE}(event, at, ${table.key.map((_, i) => `k${i}`).join(", ")}) SELECT ${code}, ${NOW}, ${key("r")} ` +
    `FROM ${nulls("NEW", named(table.key))} CROSS JOIN ${on} AS r WHERE (${key("r")}) = (${found}); ` +
    `INSERT INTO ${images} SELECT e.n${image} FROM ${rows}${CAPTURE} AS e WHERE e.n = (SELECT max(n) FROM ${CAPTURE}) ` +
    `AND e.event = ${code} AND NOT EXISTS (SELECT 1 FROM ${images} AS i WHERE i.n = e.n);`
  );
}

/** As `displacedSql`, without room for an application that drops a column. */
function displacedWideSql(table: Table, match: string): string {
  const on = quote(table.source);
  const code = eventCode(table.tid, Op.displaced);
  const key = table.key.map(({ name }) => `t.${quote(name)}`).join(", ");
  const keys = table.key.map((_, i) => `k${i}`).join(", ");
  const logged = table.key.map(({ name }, i) => `t.${quote(name)} = e.k${i}`).join(" AND ");
  const last = `${CAPTURE} AS e WHERE e.n = (SELECT max(n) FROM ${CAPTURE}) AND e.event = ${code}`;
  return (
    `INSERT INTO ${CAPTURE}(event, at, ${keys}) SELECT ${code}, ${NOW}, ${key} FROM ${on} AS t WHERE ${match} LIMIT 1; ` +
    copyWideSql(table, `SELECT e.n FROM ${last} AND EXISTS (SELECT 1 FROM ${on} AS t WHERE ${logged})`, `${on} AS t, ${last} AND ${logged}`)
  );
}

/** Columns that one statement of `copyWideSql` is of: where a table is altered, SQLite looks at each of them once for each other one. */
const COPIED_AT_ONCE = 60;

/** Fills the image of the event that `number` gives with the columns of the row `t` that `from` finds; twice is as once. */
export function copyWideSql(table: Table, number: string, from: string): string {
  const image = imageTable(table.tid);
  const parts = Array.from({ length: Math.ceil(table.columns.length / COPIED_AT_ONCE) }, (_, part) => {
    const of = (name: (column: { name: string }, i: number) => string) =>
      table.columns
        .map(name)
        .slice(part * COPIED_AT_ONCE, (part + 1) * COPIED_AT_ONCE)
        .join(", ");
    const values = of(({ name }) => `t.${quote(name)}`);
    return `UPDATE ${image} SET (${of((_column, i) => `c${i}`)}) = (SELECT ${values} FROM ${from}) WHERE rowid = (${number});`;
  });
  return `INSERT INTO ${image}(rowid) SELECT n FROM (${number}) WHERE n NOT IN (SELECT rowid FROM ${image}); ${parts.join(" ")}`;
}

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

/**
 * Which updates may change a row's key. A statement that sets none of these columns does not even look at such a trigger;
 * an integer key goes by the names that SQLite has for it, too.
 */
export function updateOfKey(table: Table): string {
  const names = table.key.map(({ name }) => quote(name));
  return `UPDATE OF ${[...names, ...(names.length === 1 ? ["rowid", "oid", "_rowid_"] : [])].join(", ")}`;
}

/** Before which updates a row may take the UNIQUE values of others: those of its columns, where these are all that counts. */
export function updateOfUnique(uniques: readonly UniqueIndex[]): string {
  if (uniques.some(({ derived }) => derived)) return "BEFORE UPDATE";
  const names = new Set(uniques.flatMap(({ parts }) => parts.map(({ name }) => quote(name ?? ""))));
  return `BEFORE UPDATE OF ${[...names].join(", ")}`;
}
