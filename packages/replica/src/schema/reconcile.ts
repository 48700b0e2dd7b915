import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import { CAPTURE, eventCode, maskCount, MASK_BITS, Op } from "../capture/triggers.ts";
import { pages } from "../rows/pages.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable, rowsTable } from "../rows/table-store.ts";

import { rowHash, valueText } from "../rows/values.ts";
import type { Table } from "./catalog.ts";
import { reconcileKeyless } from "./reconcile-keyless.ts";

/**
 * Finds what was written to a table while it was not captured, by comparing row hashes, and puts it on the dirty
 * list: the drain then treats it like any other write. Runs inside the caller's transaction. `columnsBefore` are
 * those the stored hashes were made of: a column that was only added is no edit, unless it holds more than its default.
 */
export function reconcile(db: Database, rows: RowStore, table: Table, columnsBefore: readonly string[] | null): number {
  if (table.keyless) return reconcileKeyless(db, rows, table, addedColumns(table, columnsBefore));
  let found = 0;
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
    found++;
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
    if (added && state.hash && Buffer.compare(rowHash(table, id, added.old(values)), state.hash) === 0) {
      rows.rehash(state, hash);
      const bits = added.written(values);
      if (bits.some((mask) => mask > 0n)) {
        note(Op.update, key, bits);
      }
      continue;
    }
    note(Op.update, key, every);
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
  return found;
}

/** How to tell an old row from one with values in columns that came since; null when columns went or nothing came. */
function addedColumns(table: Table, before: readonly string[] | null) {
  if (before === null || before.length === table.columns.length) return null;
  const names = table.columns.map((column) => column.name);
  if (before.some((name) => !names.includes(name))) return null;
  const fresh = table.columns.flatMap((column, index) => {
    if (before.includes(column.name)) return [];
    return [{ index, value: column.fallback }];
  });
  const isOld = names.map((name) => before.includes(name));
  return {
    old: (values: readonly SqlValue[]) => values.filter((_, i) => isOld[i]),
    written: (values: readonly SqlValue[]): bigint[] => {
      const masks = Array.from({ length: maskCount(table) }, () => 0n);
      for (const { index, value } of fresh) {
        if (valueText(values[index] as SqlValue) === valueText(value)) continue;
        const at = Math.floor(index / MASK_BITS);
        masks[at] = (masks[at] as bigint) | (1n << BigInt(index % MASK_BITS));
      }
      return masks;
    },
  };
}
