import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { bindable } from "../rows/table-store.ts";
import { CAPTURE, eventCode, MASK_BITS, maskCount, Op } from "./triggers.ts";

/** Puts an update of these columns on the dirty list, whether or not their values change. */
export function touchColumns(db: Database, table: Table, key: readonly SqlValue[], indexes: readonly number[]): void {
  const masks = Array.from({ length: maskCount(table) }, () => 0n);
  for (const index of indexes)
    masks[Math.floor(index / MASK_BITS)] = (masks[Math.floor(index / MASK_BITS)] ?? 0n) | (1n << BigInt(index % MASK_BITS));
  const columns = [...masks.map((_, i) => `m${i}`), ...key.map((_, i) => `k${i}`)];
  const { values, raw } = bindable(key);
  const places = columns.map((_, i) => (raw.includes(i - masks.length) ? "CAST(? AS TEXT)" : "?"));
  db.prepare(
    `INSERT INTO ${CAPTURE}(event, at, ${columns.join(", ")}) VALUES(${eventCode(table.tid, Op.update)}, julianday('now'), ${places.join(", ")})`,
  ).run(...masks, ...values);
}
