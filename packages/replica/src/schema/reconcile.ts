import type { Database } from "better-sqlite3";
import type { SqlValue, Write } from "@scoutsync/core";
import { CAPTURE, eventCode, maskCount, MASK_BITS, Op } from "../capture/triggers.ts";
import { pages } from "../rows/pages.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable, rowsTable } from "../rows/table-store.ts";

import { rowHash, valueText } from "../rows/values.ts";
import type { Table } from "./catalog.ts";
import { reconcileKeyless } from "./reconcile-keyless.ts";

/**
 * Finds what was written to a table while it was not captured, by comparing row hashes, and puts it on the dirty
 * list: the drain then treats it like any other write. Runs inside the caller's transaction. `columnsBefore` are
 * those the stored hashes were made of: a column that was only added is no edit, unless it holds more than its default.
 * Returns the births of rows with held values for such columns, which the caller delivers.
 */
export function reconcile(db: Database, rows: RowStore, table: Table, columnsBefore: readonly string[] | null): Write[] {
  if (table.keyless) return reconcileKeyless(db, rows, table, addedColumns(table, columnsBefore));
  const toFill: Write[] = [];
  const keys = table.key.map((_, i) => `k${i}`).join(", ");
  const masks = Array.from({ length: maskCount(table) }, (_, i) => `m${i}`);
  const note = (op: number, key: readonly SqlValue[], bits: readonly bigint[] = []) => {
    const { values, raw } = bindable(key);
    const places = [...bits.map(() => "?"), ...values.map((_, i) => (raw.includes(i) ? "CAST(? AS TEXT)" : "?"))].join(", ");
    const columns = [...masks.slice(0, bits.length), keys].join(", ");
    db.prepare(`INSERT INTO ${CAPTURE}(event, at, ${columns}) VALUES(?, julianday('now'), ${places})`).run(
      eventCode(table.tid, op),
      ...bits,
      ...values,
    );
  };
  const every = masks.map((_, i) => (1n << BigInt(Math.min(MASK_BITS, table.columns.length - i * MASK_BITS))) - 1n);
  db.exec("DROP TABLE IF EXISTS temp.met; CREATE TEMP TABLE met(slot INTEGER PRIMARY KEY)");
  const meet = db.prepare("INSERT OR IGNORE INTO temp.met(slot) VALUES(?)");
  const added = addedColumns(table, columnsBefore);
  for (const { key, values } of pages(db, table)) {
    if (!table.surrogate && key.includes(null)) continue;
    const state = table.surrogate ? rows.byId(table, key[0] as bigint) : rows.byKey(table, rows.keyFromValues(table, key));
    if (state?.place.kind !== "table") {
      note(Op.insert, key);
      continue;
    }
    meet.run(state.slot);
    const id = table.surrogate ? (key[0] as bigint) : null;
    const hash = rowHash(table, id, values);
    if (state.hash && Buffer.compare(hash, state.hash) === 0) continue;
    const isOld = added && state.hash && Buffer.compare(rowHash(table, id, added.old(values)), state.hash) === 0;
    const bits = added ? added.written(values, !isOld) : every;
    if (added) {
      const marked = (index: number) => ((bits[Math.floor(index / MASK_BITS)] ?? 0n) >> BigInt(index % MASK_BITS)) & 1n;
      if (rows.columnsToFill(state).some((cid) => marked(table.indexOf.get(cid) as number) === 0n)) toFill.push(state.birth);
      if (isOld) settleAdded(rows, state, id, values, hash, added.cids);
    }
    if (bits.some((mask) => mask > 0n)) note(Op.update, key, bits);
  }
  const lost = db
    .prepare(`SELECT id FROM ${rowsTable(table.tid)} WHERE id NOT IN (SELECT slot FROM temp.met)`)
    .safeIntegers(true)
    .pluck()
    .all() as bigint[];
  for (const slot of lost) {
    const state = rows.atLog(table.tid, slot);
    const key = state && rows.keyValues(state);
    if (!key) continue;
    note(Op.delete, key);
  }
  db.exec("DROP TABLE temp.met");
  return toFill;
}

/** A row that is as it was but for columns that came: its hash is made anew, and nobody has written those columns. */
function settleAdded(
  rows: RowStore,
  state: RowState,
  id: bigint | null,
  values: readonly SqlValue[],
  hash: Buffer,
  cids: readonly number[],
): void {
  const fresh = state.table.surrogate ? [] : cids.filter((cid) => !state.columns.has(cid));
  if (fresh.length === 0) return rows.rehash(state, hash);
  for (const cid of fresh) state.columns.set(cid, []);
  rows.saveInTable(state, id, values, ownedDots(state));
}

/** How to tell an old row from one with values in columns that came since; null when columns went or nothing came. */
function addedColumns(table: Table, before: readonly string[] | null) {
  if (before === null || before.length === table.columns.length) return null;
  const names = table.columns.map((column) => column.name);
  if (before.some((name) => !names.includes(name))) return null;
  const fresh = table.columns.flatMap(({ name, cid, fallback }, index) => (before.includes(name) ? [] : [{ index, cid, value: fallback }]));
  const isOld = names.map((name) => before.includes(name));
  return {
    old: (values: readonly SqlValue[]) => values.filter((_, i) => isOld[i]),
    cids: fresh.map(({ cid }) => cid),
    /** Columns that were written, as masks: new ones that hold more than their default, and, with `others`, all others. */
    written: (values: readonly SqlValue[], others: boolean): bigint[] => {
      const masks = Array.from({ length: maskCount(table) }, () => 0n);
      const mark = (index: number) => {
        const at = Math.floor(index / MASK_BITS);
        masks[at] = (masks[at] as bigint) | (1n << BigInt(index % MASK_BITS));
      };
      for (const { index, value } of fresh) if (valueText(values[index] as SqlValue) !== valueText(value)) mark(index);
      if (others) for (const [index, old] of isOld.entries()) if (old) mark(index);
      return masks;
    },
  };
}
