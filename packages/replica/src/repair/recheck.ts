import type { Database } from "better-sqlite3";
import { releaseLarge, type SqlValue } from "@scoutsync/core";
import { bytesOf, numberOf } from "../digest/digest-sums.ts";
import { keysFromText, keysWritten } from "../rows/key-text.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { keyText } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import type { Reconciliation } from "../schema/reconcile.ts";
import { keylessNamed } from "../rows/named-rows.ts";
import { touchColumns } from "../capture/touch.ts";

/**
 * Looks at rows that are suspected to differ from what is stored of them, and puts those that do on the dirty list:
 * somebody wrote them past capture, and the drain takes that for an edit. By key where the rows are there; the whole
 * table where a row came or went, or where `keys` is empty. Runs inside the caller's write transaction, drained.
 */
export function recheckRows(rows: RowStore, reconciliation: Reconciliation, table: Table, keys: readonly string[]): void {
  const every = table.columns.map((_, index) => index);
  const edited: SqlValue[][] = [];
  if (table.keyless) return reconciliation.begin(table.tid, null, true);
  for (const text of keys) {
    const named = keysFromText(rows.db, table, text);
    if (named.length === 0 ? !isAbsent(rows, table, text) : isGone(rows, table, text)) return reconciliation.begin(table.tid, null, true);
    for (const key of named) {
      const verdict = look(rows, table, key);
      if (verdict === "unclear") return reconciliation.begin(table.tid, null, true);
      if (verdict === "edited") edited.push(key);
    }
  }
  if (keys.length === 0) reconciliation.begin(table.tid, null, true);
  for (const key of edited) touchColumns(rows.db, table, { key, slot: 0n }, every);
}

/** True where neither the table nor what is stored of it has a row of this integer. */
const isAbsent = (rows: RowStore, table: Table, text: string): boolean =>
  table.surrogate && /^-?\d+$/.test(text) && !rows.byId(table, BigInt(text));

/** True where a row is stored that is written so and is not in the table any more; others may be written the same. */
const isGone = (rows: RowStore, table: Table, text: string): boolean =>
  !table.surrogate &&
  keysWritten(table, text).some(
    (key) => rows.byKey(table, rows.keys.keyFromValues(table, key))?.place.kind === "table" && rows.of(table).read(key) === null,
  );

/** Whether a row's values are those of its stored hash; "unclear" when it came or went behind our back. */
function look(rows: RowStore, table: Table, key: readonly SqlValue[]): "as stored" | "edited" | "unclear" {
  const id = table.surrogate ? (key[0] as bigint) : null;
  const state = id === null ? rows.byKey(table, rows.keys.keyFromValues(table, key)) : rows.byId(table, id);
  const values = rows.of(table).read(key);
  if (!values || state?.place.kind !== "table" || !state.hash) return "unclear";
  const isStored = rows.hashes.hashOf(state, id, values).equals(state.hash);
  values.forEach(releaseLarge);
  return isStored ? "as stored" : "edited";
}

/** Makes the sums of a table's row hashes again what the stored hashes add up to. The caller reloads what it keeps of them. */
export function resum(db: Database, table: Table): void {
  const sums = new Map<number, { rows: number; sum: bigint }>();
  const hashes = db
    .prepare(`SELECT hash FROM ${rowsTable(table.tid)}`)
    .pluck()
    .iterate() as IterableIterator<Buffer>;
  for (const hash of hashes) {
    const bucket = hash[0] as number;
    const held = sums.get(bucket) ?? { rows: 0, sum: 0n };
    sums.set(bucket, { rows: held.rows + 1, sum: BigInt.asUintN(128, held.sum + numberOf(hash)) });
  }
  db.prepare("DELETE FROM _scoutsync_digest WHERE tid = ?").run(table.tid);
  const write = db.prepare("INSERT INTO _scoutsync_digest(tid, bucket, rows, sum) VALUES(?, ?, ?, ?)");
  for (const [bucket, { rows, sum }] of sums) write.run(table.tid, bucket, rows, bytesOf(sum));
}

/** Everything known under a key as people write it: the row in its table, and rows out of it that had that key. */
export function rowsNamed(db: Database, rows: RowStore, table: Table, text: string): RowState[] {
  if (table.keyless) {
    const state = keylessNamed(rows, table, text);
    return state ? [state] : [];
  }
  const states: RowState[] = [];
  for (const key of keysFromText(db, table, text)) {
    const state = table.surrogate ? rows.byId(table, key[0] as bigint) : rows.byKey(table, rows.keys.keyFromValues(table, key));
    if (state) states.push(state);
  }
  const mine = table.surrogate ? "AND id = ?" : "";
  if (table.surrogate && !/^-?\d+$/.test(text)) return states;
  const slots = db
    .prepare(`SELECT slot FROM _scoutsync_out WHERE tid = ? ${mine}`)
    .safeIntegers(true)
    .pluck()
    .all(...(table.surrogate ? [table.tid, BigInt(text)] : [table.tid])) as bigint[];
  for (const slot of slots) {
    const state = rows.atLog(-table.tid, slot);
    if (!state || states.some((held) => held.slot === state.slot && held.place.kind === state.place.kind)) continue;
    const named = table.surrogate ? text : rows.keys.keyValues(state);
    if (named !== null && (typeof named === "string" || keyText(named) === text)) states.push(state);
  }
  return states;
}
