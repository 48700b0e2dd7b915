import { readFileSync } from "node:fs";
import type { Database } from "better-sqlite3";
import { keyKind, SyncError } from "@scoutsync/core";
import {
  CAPTURE,
  captureColumns,
  captureTableSql,
  captureTriggers,
  eventCode,
  goingTrigger,
  imageNumber,
  imageTable,
  imageTableSql,
  MASK_BITS,
  maskCount,
  Op,
  triggerNames,
} from "../capture/triggers.ts";
import { rowsTable, rowsTableSql } from "../rows/table-store.ts";
import { skipWrites } from "../identity/receipts.ts";
import { type Column, inOrder, numberOf, type Table } from "./catalog.ts";
import { quote } from "./quote.ts";
import type { Shape } from "./former-shape.ts";
import { sourceOf, withoutKeyName } from "./tables.ts";
import { rowStatement, valueStatement } from "../kept-statements.ts";

/** Steps from one version of the `_scoutsync_*` tables to the next, the first from nothing; never changed once released. */
const STEPS = ["001-metadata.sql", "002-more.sql", "003-entities.sql", "004-scopes.sql", "005-notices.sql"];

/** Version of the `_scoutsync_*` tables that this program works with. */
export const METADATA_VERSION = STEPS.length;

export function hasMetadata(db: Database): boolean {
  return db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = '_scoutsync_meta'").get() !== undefined;
}

export function readMeta(db: Database, key: string): string | null {
  const value = valueStatement(db, "SELECT value FROM _scoutsync_meta WHERE key = ?").get(key) as string | number | undefined;
  return value === undefined ? null : String(value);
}

export function writeMeta(db: Database, key: string, value: string): void {
  rowStatement(db, "INSERT INTO _scoutsync_meta(key, value) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value").run(
    key,
    value,
  );
}

/** Throws METADATA_NEWER when a newer version of the program wrote the metadata. */
export function checkMetadataVersion(db: Database, path: string): void {
  const version = Number(readMeta(db, "version"));
  if (version <= METADATA_VERSION) return;
  throw new SyncError({
    code: "METADATA_NEWER",
    message: `the sync metadata in ${path} has version ${version}, this program knows ${METADATA_VERSION}`,
    action: "Run the newer version of scoutsync on this database; nothing was changed.",
  });
}

export function createMetadata(db: Database): void {
  runSteps(db, 0);
  db.exec(captureTableSql());
}

/** Brings metadata that an earlier version wrote up to this one. Inside the caller's transaction: all of it or nothing. */
export function upgradeMetadata(db: Database): void {
  runSteps(db, Number(readMeta(db, "version")));
}

function runSteps(db: Database, from: number): void {
  for (const step of STEPS.slice(from)) db.exec(readFileSync(new URL(`../sql/${step}`, import.meta.url), "utf8"));
  if (from < METADATA_VERSION) writeMeta(db, "version", String(METADATA_VERSION));
}

/** Makes the tables and triggers that capture one table; those that are there are made anew, and of events only deletes stay. */
export function installCapture(db: Database, table: Table): void {
  removeTriggers(db, table.tid);
  const kept = setImagesAside(db, table, DELETES);
  dropEvents(db, table.tid, kept ? DELETES : []);
  makeCapture(db, table, kept);
}

/** As `installCapture` for a table of which some captured columns are gone: all events stay, with what they say of those that are left. */
export function recapture(db: Database, table: Table, shape: Shape): void {
  removeTriggers(db, table.tid);
  const kept = setImagesAside(db, table, Object.values(Op));
  const masks = Array.from({ length: Math.max(1, Math.ceil(shape.columns.length / MASK_BITS)) }, (_, at) => {
    const bits = table.columns.slice(at * MASK_BITS, (at + 1) * MASK_BITS).flatMap(({ name }, i) => {
      const was = shape.columns.indexOf(name);
      return was < 0 ? [] : [`((coalesce(m${Math.floor(was / MASK_BITS)}, 0) >> ${was % MASK_BITS} & 1) << ${i})`];
    });
    return `m${at} = ${bits.join(" | ") || "0"}`;
  });
  db.prepare(`UPDATE ${CAPTURE} SET ${masks.join(", ")} WHERE event = ?`).run(eventCode(table.tid, Op.update));
  makeCapture(db, table, kept);
}

/** `kept`: images have been set aside. */
function makeCapture(db: Database, table: Table, kept: boolean): void {
  db.exec(`DROP TABLE IF EXISTS ${imageTable(table.tid)}`);
  db.exec(imageTableSql(table));
  if (kept) takeImagesBack(db, table);
  const there = new Set((db.pragma(`main.table_info(${CAPTURE})`) as { name: string }[]).map((column) => column.name));
  for (const column of captureColumns(table.key.length, maskCount(table)))
    if (!there.has(column)) db.exec(`ALTER TABLE ${CAPTURE} ADD COLUMN ${column}`);
  if (db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?").get(rowsTable(table.tid)) === undefined) {
    for (const sql of rowsTableSql(table)) db.exec(sql);
  }
  for (const { sql } of captureTriggers(table)) db.exec(sql);
  noteGoing(db, table);
  writeMeta(db, `columns of ${table.tid}`, JSON.stringify(table.columns.map((column) => column.name)));
  noteOrder(db, table);
  writeMeta(db, `name of ${table.tid}`, table.name);
}

/** Notes where the table has its columns. */
export function noteOrder(db: Database, table: Table): void {
  const order = JSON.stringify(inOrder(table).map(({ name }) => name));
  if (readMeta(db, `order of ${table.tid}`) !== order) writeMeta(db, `order of ${table.tid}`, order);
}

/** Makes the trigger of `goingTrigger` what it should be. */
export function noteGoing(db: Database, table: Table): void {
  const name = `_scoutsync_going_${table.tid}`;
  const there = db.prepare("SELECT sql FROM main.sqlite_master WHERE type = 'trigger' AND name = ?").pluck().get(name) as
    | string
    | undefined;
  const wanted = goingTrigger(table)?.sql;
  if (there === wanted) return;
  db.exec(`DROP TRIGGER IF EXISTS ${name}`);
  if (wanted) db.exec(wanted);
}

/** Events of rows that went, with their values: comparing the table only finds that they are not there. */
const DELETES: readonly number[] = [Op.delete, Op.displaced];

/**
 * Puts what events of these operations say of rows before a migration aside, the values in columns that are still there, under the
 * numbers of the events. False where there are none.
 */
function setImagesAside(db: Database, table: Table, ops: readonly number[]): boolean {
  const shape = table.keyless ? null : capturedShape(db, table);
  if (!shape || db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?").get(imageTable(table.tid)) === undefined) return false;
  const waits = `SELECT n FROM ${CAPTURE} WHERE event IN (${ops.map((op) => eventCode(table.tid, op)).join(", ")})`;
  if (db.prepare(`${waits} LIMIT 1`).get() === undefined) return false;
  const number = imageNumber(table);
  const columns = table.columns.map(({ name }, i) => {
    const was = shape.columns.indexOf(name);
    const part = table.key.findIndex((column) => column.name === name);
    if (was < 0 && part >= 0) return `(SELECT k${part} FROM ${CAPTURE} AS e WHERE e.n = i.${number}) AS c${i}`;
    return `${was < 0 ? "?" : `c${was}`} AS c${i}`;
  });
  const isFresh = ({ name }: Column) => !shape.columns.includes(name) && table.key.every((column) => column.name !== name);
  const fresh = table.columns.filter(isFresh).map(({ fallback }) => fallback);
  db.prepare(
    `CREATE TEMP TABLE ${ASIDE} AS SELECT ${[`${number} AS number`, ...columns].join(", ")} FROM ${imageTable(table.tid)} AS i WHERE ${number} IN (${waits})`,
  ).run(...fresh);
  return true;
}

function takeImagesBack(db: Database, table: Table): void {
  const columns = table.columns.map((_, i) => `, c${i}`).join("");
  db.exec(
    `INSERT INTO ${imageTable(table.tid)}(${imageNumber(table)}${columns}) SELECT number${columns} FROM temp.${ASIDE}; DROP TABLE temp.${ASIDE}`,
  );
}

const ASIDE = "captured_images";

/**
 * Takes one table's events off the dirty list, but for those of `kept`. What comes after must not be given numbers that
 * writes had before.
 */
function dropEvents(db: Database, tid: number, kept: readonly number[] = []): void {
  const dropped = db.prepare(`SELECT max(n) FROM ${CAPTURE} WHERE event >> 3 = ?`).pluck().get(tid) as number | null;
  if (dropped === null) return;
  skipWrites(db, db.prepare(`SELECT max(n) FROM ${CAPTURE}`).pluck().get() as number);
  db.prepare(`DELETE FROM ${CAPTURE} WHERE event >> 3 = ? AND event & 7 NOT IN (${kept.join(", ")})`).run(tid);
}

/** The shape that capture was installed for, columns in catalog order; null when it never was. */
export function capturedShape(db: Database, table: Table): Shape | null {
  const columns = readMeta(db, `columns of ${table.tid}`);
  if (columns === null) return null;
  const shape = { name: readMeta(db, `name of ${table.tid}`) ?? table.name, columns: JSON.parse(columns) as string[] };
  const order = JSON.parse(readMeta(db, `order of ${table.tid}`) ?? "[]") as string[];
  // An earlier version may have noted other columns since.
  const isOfThese = order.length === shape.columns.length && shape.columns.every((name) => order.includes(name));
  return isOfThese ? { ...shape, order } : shape;
}

/** True when rows of the table hash as they did under the shape. */
export const isShapeOf = ({ name, columns }: Shape, table: Table): boolean =>
  name === table.name && columns.join("\n") === table.columns.map((column) => column.name).join("\n");

/**
 * True where a column has a name now that was another one's, as after a swap: what was captured marks columns by their names of before, and
 * what a row holds under a name is not what it held under that. RENAME COLUMN changes names in triggers, too, which so say whose each is; of
 * tables without a key only the order of the same names does.
 */
export function hasTakenNames(db: Database, shape: Shape, table: Table): boolean {
  const { columns, order } = shape;
  const trigger = db.prepare("SELECT sql FROM main.sqlite_master WHERE type = 'trigger' AND name = ?").pluck();
  const sql = (trigger.get(`_scoutsync_update_${table.tid}`) ?? "") as string;
  const names = [...sql.matchAll(/CASE WHEN OLD\.(?:"((?:[^"]|"")*)"|(\w+)) IS NOT NEW\./g)].map(
    ([, quoted, bare]) => bare ?? (quoted as string).replaceAll('""', '"'),
  );
  if (names.length !== columns.length)
    return (
      isShapeOf(shape, table) &&
      order !== undefined &&
      order.join("\n") !==
        inOrder(table)
          .map(({ name }) => name)
          .join("\n")
    );
  return columns.some((was, i) => names[i] !== was && table.columns.some(({ name }) => name === was));
}

/** True when triggers of ours are on the table, under whatever shape: they went with it, or have never been away. */
export function isCaptured(db: Database, table: Table): boolean {
  const find = db.prepare("SELECT 1 FROM main.sqlite_master WHERE type = 'trigger' AND name = ? AND tbl_name = ? COLLATE NOCASE");
  return ["insert", "delete"].every((kind) => find.get(`_scoutsync_${kind}_${table.tid}`, table.source) !== undefined);
}

function removeTriggers(db: Database, tid: number): void {
  for (const name of triggerNames(tid)) db.exec(`DROP TRIGGER IF EXISTS ${name}`);
}

/** Removes triggers that somebody put on tables of ours: there are none of our own, and they may undo what capture notes. */
export function removeForeignTriggers(db: Database): void {
  const names = db
    .prepare("SELECT name FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name LIKE '\\_scoutsync\\_%' ESCAPE '\\'")
    .pluck()
    .all() as string[];
  for (const name of names) db.exec(`DROP TRIGGER ${quote(name)}`);
}

/** True when every trigger that captures the table is there as it should be. */
export function captureIsWhole(db: Database, table: Table): boolean {
  const find = db.prepare("SELECT sql FROM main.sqlite_master WHERE type = 'trigger' AND name = ? AND tbl_name = ? COLLATE NOCASE").pluck();
  return captureTriggers(table).every(({ name, sql }) => find.get(name, table.source) === sql);
}

const LEFT = "left at ";

/** Since when a table has not taken part, Unix microseconds; null when it never did. */
export function leftSince(db: Database, tid: number): number | null {
  const since = readMeta(db, `${LEFT}${tid}`);
  return since === null ? null : Number(since);
}

/** Notes that a table takes part again. */
export function noteReturn(db: Database, tid: number): void {
  db.prepare("DELETE FROM _scoutsync_meta WHERE key = ?").run(`${LEFT}${tid}`);
}

/** Removes capture of tables that do not take part any more: their triggers would fill lists that nobody empties. Returns their numbers. */
export function removeStaleCapture(db: Database, tables: readonly Table[], nowUs: number): number[] {
  const current = new Set(tables.map((table) => table.tid));
  const tids = db.prepare("SELECT tid FROM _scoutsync_table").pluck().all() as number[];
  const captured = db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?");
  const left = tids.filter((tid) => !current.has(tid) && captured.get(imageTable(tid)) !== undefined);
  for (const tid of left) {
    writeMeta(db, `${LEFT}${tid}`, String(nowUs));
    removeTriggers(db, tid);
    dropEvents(db, tid);
    db.exec(`DROP TABLE IF EXISTS ${imageTable(tid)}`);
  }
  return left;
}

const MERGED = "rows belong to ";
const FORMERLY = "former name ";

/** The number of the table that had this name before the application renamed it. */
export function tableFormerly(db: Database, name: string): number | null {
  const tid = readMeta(db, `${FORMERLY}${name}`);
  return tid === null ? null : Number(tid);
}

/** Catalogued tables whose held rows are those of another, by number: the application renamed that one to their name. */
export function mergedTables(db: Database): Map<number, number> {
  const rows = db.prepare("SELECT key, value FROM _scoutsync_meta WHERE key LIKE ?").raw(true).all(`${MERGED}%`) as [string, string][];
  const kindOf = db.prepare("SELECT kind FROM _scoutsync_kind WHERE tid = ?").pluck();
  const pairs = rows.map(([key, tid]) => [Number(key.slice(MERGED.length)), Number(tid)] as const);
  // A former version took one of another kind of key for renamed, too.
  return new Map(pairs.filter(([gone, now]) => kindOf.get(gone) === kindOf.get(now)));
}

/** A table that the application renamed took our triggers with it: its rows are the same rows under the new name. */
export function followRenames(db: Database, names: ReadonlySet<string>): void {
  const catalog = db
    .prepare(
      "SELECT t.tid, coalesce(k.name, t.name) AS name, coalesce(k.kind, t.surrogate) AS kind FROM _scoutsync_table AS t LEFT JOIN _scoutsync_kind AS k ON k.tid = t.tid",
    )
    .all() as { tid: number; name: string; kind: number }[];
  const captured = db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?");
  const carrier = db.prepare("SELECT tbl_name FROM main.sqlite_master WHERE type = 'trigger' AND name = ?").pluck();
  for (const { tid, name, kind } of catalog) {
    if (names.has(name)) continue;
    const carried = carrier.get(`_scoutsync_insert_${tid}`) as string | undefined;
    const now = carried === undefined || sourceOf(name) === null ? carried : withoutKeyName(carried);
    if (now === undefined || !names.has(now)) continue;
    // One of that name with another kind of key is another table.
    const other = catalog.find((one) => one.name === now && one.kind === kind)?.tid;
    if (other !== undefined && captured.get(imageTable(other)) !== undefined) continue;
    renameTable(db, { tid, name }, now, other);
  }
}

/** Gives a catalogued table its new name. `other`: the number of the one that others' changes have told of by that name. */
export function renameTable(db: Database, { tid, name }: { tid: number; name: string }, now: string, other: number | undefined): void {
  // Others renamed it first: what is held under the new name is of the same rows.
  if (other !== undefined) labelMerged(db, other, { tid, name: now });
  nameTable(db, tid, now);
  // Who has not renamed it yet goes on calling it by its old name.
  writeMeta(db, `${FORMERLY}${name}`, String(tid));
}

/**
 * Enters rows without a key among the tables that take part where a peer has such rows and this database has none yet; the peer may know
 * their table by a name that it had here before. Returns true when there is something to install. Inside the caller's transaction.
 */
export function enterWithoutKey(db: Database, tables: readonly Table[], names: readonly string[]): boolean {
  const isOf = (table: Table, name: string) => {
    const source = sourceOf(name);
    // A table that has been given that name since is meant by it.
    return source !== null && tableFormerly(db, source) === table.tid && tables.every((other) => other.source !== source);
  };
  let found = false;
  for (const table of tables.filter(({ twin, nullable }) => !twin && nullable.length > 0)) {
    const now = withoutKeyName(table.source);
    const name = names.includes(now) ? now : names.find((other) => isOf(table, other));
    if (name === undefined) continue;
    const tid = numberOf(db, name, keyKind({ surrogate: false, keyless: true, keyParts: 1 }));
    if (name !== now) renameTable(db, { tid, name }, now, undefined);
    found = true;
  }
  return found;
}

/** Notes that a table which is gone has become another one that is here: what is held of it, and comes under its name, is of the same rows. */
export function mergeTable(db: Database, gone: { tid: number; name: string }, now: { tid: number; name: string }): void {
  labelMerged(db, gone.tid, now);
  writeMeta(db, `${FORMERLY}${gone.name}`, String(now.tid));
}

/** The label is no other table's, as a name may come again. */
function labelMerged(db: Database, gone: number, now: { tid: number; name: string }): void {
  nameTable(db, gone, `${now.name}\n${gone} now ${now.tid}`);
  writeMeta(db, `${MERGED}${gone}`, String(now.tid));
}

function nameTable(db: Database, tid: number, name: string): void {
  db.prepare("UPDATE _scoutsync_kind SET name = ? WHERE tid = ?").run(name, tid);
  // A table with another kind of key may have it.
  const taken = db.prepare("SELECT 1 FROM _scoutsync_table WHERE name = ? AND tid <> ?").get(name, tid) !== undefined;
  db.prepare("UPDATE _scoutsync_table SET name = ? WHERE tid = ?").run(taken ? `${name}\n${tid} of its kind` : name, tid);
}

/** Drops everything of ours. Returns the names of what was dropped. */
export function removeMetadata(db: Database): string[] {
  const objects = db
    .prepare(
      "SELECT type, name FROM main.sqlite_master WHERE name LIKE '\\_scoutsync\\_%' ESCAPE '\\' AND type IN ('trigger', 'view', 'table') ORDER BY type DESC",
    )
    .all() as { type: string; name: string }[];
  for (const { type, name } of objects) db.exec(`DROP ${type} IF EXISTS "${name}"`);
  return objects.map(({ name }) => name);
}
