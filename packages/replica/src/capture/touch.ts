import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { bindable } from "../rows/table-store.ts";
import { quote } from "../schema/quote.ts";
import { CAPTURE, copyWideSql, eventCode, imageTable, isWide, MASK_BITS, maskCount, NOW, Op } from "./events.ts";

/** A stored row in its table: by which key, and under which number; of rows with a key nobody asks for that. */
interface Touched {
  key: readonly SqlValue[];
  slot: bigint;
}

/** Puts an update of these columns on the dirty list, whether or not their values change. */
export function touchColumns(db: Database, table: Table, { key, slot }: Touched, indexes: readonly number[]): void {
  if (table.keyless) return touchKeyless(db, table, { key, slot }, indexes);
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

/** Of a row without a key an update is two events: the first says which row it is, the second which of its columns; all, where that has no room. */
function touchKeyless(db: Database, table: Table, { key, slot }: Touched, indexes: readonly number[]): void {
  const note = noteEvents(db, table);
  const rowid = key[0] as bigint;
  note(Op.update, rowid, slot);
  note(Op.insert, rowid, table.columns.length > MASK_BITS ? 0n : indexes.reduce((mask, index) => mask | (1n << BigInt(index)), 0n));
}

/**
 * Puts an event on the dirty list; one of an insert, or where `imaged` says so, with the row's values as they are now. `day`: as
 * `julianday`, or `notBefore`; null for now. `about`: of which stored row it is, 0 where its values say so, or which columns the second of an update's two marks.
 */
export function noteEvents(db: Database, table: Table) {
  const event = db.prepare(`INSERT INTO ${CAPTURE}(event, at, k0, m0) VALUES(?, coalesce(?, ${NOW}), ?, ?)`);
  const columns = table.columns.map(({ name }) => quote(name)).join(", ");
  const rowid = quote((table.key[0] as { name: string }).name);
  if (isWide(table)) {
    const into = copyWideSql(table, `SELECT max(n) AS n FROM ${CAPTURE}`, `${quote(table.source)} AS t WHERE t.${rowid} = $at`);
    return (op: number, at: bigint | null, about: bigint, day: number | bigint | null = null, imaged = op === Op.insert) => {
      event.run(eventCode(table.tid, op), day, at, about);
      if (imaged && at !== null) db.exec(into.replaceAll("$at", String(at)));
    };
  }
  const image = db.prepare(
    `INSERT INTO ${imageTable(table.tid)} SELECT (SELECT max(n) FROM ${CAPTURE}), ${columns} FROM ${quote(table.source)} WHERE ${rowid} = ?`,
  );
  return (op: number, at: bigint | null, about: bigint, day: number | bigint | null = null, imaged = op === Op.insert) => {
    event.run(eventCode(table.tid, op), day, at, about);
    if (imaged) image.run(at);
  };
}
