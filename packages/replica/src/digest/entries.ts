import type { Database } from "better-sqlite3";
import { type DigestEntry, releaseLarge, type SqlValue, SyncError } from "@scoutsync/core";
import { bytesOf, numberOf } from "./digest-sums.ts";
import { tablePrint } from "./schema-print.ts";
import { pages } from "../rows/pages.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { keylessText } from "../rows/content-names.ts";
import { keylessCell } from "../rows/keyless-rows.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { keyText, rowHash } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";

interface Sum {
  rows: number;
  sum: bigint;
}

/**
 * Digests from the whole down: per table, per bucket of a table, or per row of some buckets. `deep` reads the rows
 * again instead of trusting the stored hashes, and so finds what changed a file behind everybody's back.
 */
export function digestEntries(
  { db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge },
  request: { table: string; buckets: number[]; deep: boolean },
): DigestEntry[] {
  if (request.table === "") {
    return rows.tables.map((table) => {
      let rowCount = 0;
      let sum = 0n;
      for (const bucket of bucketSums(db, rows, table, request.deep).values()) {
        rowCount += bucket.rows;
        sum = BigInt.asUintN(128, sum + bucket.sum);
      }
      return { table: table.name, bucket: 0, key: "", rows: rowCount, digest: bytesOf(sum), schema: tablePrint(table) };
    });
  }
  const table = rows.tableNamed(request.table);
  if (!table)
    throw new SyncError({
      code: "NOT_FOUND",
      message: `there is no synced table "${request.table}"`,
      action: "Ask for the digests without a table to see which there are.",
    });
  if (request.buckets.length === 0) {
    return [...bucketSums(db, rows, table, request.deep)]
      .filter(([, { rows: count }]) => count > 0)
      .map(([bucket, { rows: count, sum }]) => ({ table: table.name, bucket, key: "", rows: count, digest: bytesOf(sum), schema: "" }));
  }
  const wanted = new Set(request.buckets);
  const entries: DigestEntry[] = [];
  const hashes = table.keyless ? keylessHashes(db, rows, knowledge, table, request.deep) : rowHashes(db, rows, table, request.deep);
  for (const { key, hash } of hashes) {
    const bucket = hash[0] as number;
    if (wanted.has(bucket)) entries.push({ table: table.name, bucket, key, rows: 1, digest: hash, schema: "" });
  }
  return entries;
}

function bucketSums(db: Database, rows: RowStore, table: Table, deep: boolean): Map<number, Sum> {
  const sums = new Map<number, Sum>();
  if (!deep) {
    const stored = db.prepare("SELECT bucket, rows, sum FROM _scoutsync_digest WHERE tid = ?").all(table.tid) as {
      bucket: number;
      rows: number;
      sum: Buffer;
    }[];
    for (const { bucket, rows: count, sum } of stored) sums.set(bucket, { rows: count, sum: numberOf(sum) });
    return sums;
  }
  for (const { key, values } of everyRow(db, rows, table)) {
    const hash = rows.hashes.hash(table, table.surrogate ? (key[0] as bigint) : null, values);
    const bucket = hash[0] as number;
    const held = sums.get(bucket) ?? { rows: 0, sum: 0n };
    sums.set(bucket, { rows: held.rows + 1, sum: BigInt.asUintN(128, held.sum + numberOf(hash)) });
  }
  return sums;
}

function* rowHashes(db: Database, rows: RowStore, table: Table, deep: boolean): Generator<{ key: string; hash: Buffer }> {
  if (deep) {
    for (const { key, values } of everyRow(db, rows, table))
      yield { key: keyText(key), hash: rows.hashes.hash(table, table.surrogate ? (key[0] as bigint) : null, values) };
    return;
  }
  const page = db
    .prepare(`SELECT id, hash FROM ${rowsTable(table.tid)} WHERE id > ? ORDER BY id LIMIT 5000`)
    .safeIntegers(true)
    .raw(true);
  for (let at = -(2n ** 63n); ;) {
    const found = page.all(at) as [bigint, Buffer][];
    for (const [slot, hash] of found) {
      const state = table.surrogate ? null : rows.atLog(table.tid, slot);
      yield { key: keyText(table.surrogate ? [slot] : ((state && rows.keys.keyValues(state)) ?? [slot])), hash };
    }
    const last = found.at(-1);
    if (!last) return;
    at = last[0];
  }
}

/** Rows without a key are named by their births, or by what they held before syncing. Those that nothing is known of have only the rowid of this file. */
function* keylessHashes(
  db: Database,
  rows: RowStore,
  knowledge: Knowledge,
  table: Table,
  deep: boolean,
): Generator<{ key: string; hash: Buffer }> {
  const stored = db.prepare(`SELECT key, hash FROM ${rowsTable(table.tid)} ORDER BY id`).raw(true);
  const nameOf = (key: Buffer) => keylessText(keylessCell(key), (origin, sequence) => knowledge.dotText(origin, sequence));
  if (!deep) {
    for (const [key, hash] of stored.all() as [Buffer, Buffer][]) yield { key: nameOf(key), hash };
    return;
  }
  // Of equal rows each is named once; which is which does not matter.
  const unnamed = new Map<string, bigint[]>();
  for (const { key, values } of everyRow(db, rows, table)) {
    const hash = rowHash(table, null, values);
    const name = hash.toString("latin1");
    let slots = unnamed.get(name);
    if (!slots) unnamed.set(name, (slots = rows.of(table).withHash(hash).toReversed()));
    const slot = slots.pop();
    const state = slot === undefined ? null : rows.atLog(table.tid, slot);
    yield { key: state?.key ? nameOf(state.key) : `rowid ${keyText(key)}`, hash };
  }
}

/** Rows of the table, and those whose delete is kept back: for everybody they are in it. The values are there until the next row is asked for. */
function* everyRow(db: Database, rows: RowStore, table: Table): Generator<{ key: SqlValue[]; values: SqlValue[] }> {
  for (const row of pages(db, table)) {
    yield row;
    row.values.forEach(releaseLarge);
  }
  const { keptBack } = rows.of(table);
  for (const key of keptBack?.keys() ?? []) {
    const values = keptBack?.read(key);
    if (values) yield { key, values };
  }
}
