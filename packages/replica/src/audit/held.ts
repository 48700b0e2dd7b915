import { hash } from "node:crypto";
import type { Review } from "@scoutsync/core";
import { heldColumns } from "../rows/held-columns.ts";
import type { RowState } from "../rows/row-state.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { Audited } from "./context.ts";

/** Numbers of rows read at a time. */
const ROWS_AT_ONCE = 5_000;

/** One entry per table or column that this database lacks and others have written to, with how much is held for it. */
export function heldReviews(audited: Audited): Review[] {
  const { rows } = audited;
  return [
    ...rows.absent.flatMap((table) => {
      const count = rows.out.heldCount(table.tid);
      return count === 0 ? [] : [heldReview(audited, table, 0, null, `${counted(count)} ${tableReason(table)}`)];
    }),
    ...rows.tables.flatMap((table) =>
      [...countColumns(audited, table)].map(([cid, count]) => {
        const column = table.lacking.get(cid) as string;
        const reason = `${counted(count)} in column "${column}", which this table does not have here; they are kept, passed on, and put in when a migration adds the column`;
        return heldReview(audited, table, cid, column, reason);
      }),
    ),
  ];
}

const counted = (count: number) => (count === 1 ? "1 row has values" : `${count} rows have values`);

function tableReason(table: Table): string {
  const where = `of table "${table.name}", which`;
  if (table.absent === "excluded") return `${where} is excluded here; they are kept and passed on, and put in when it no longer is`;
  if (table.absent === "key")
    return `${where} has another kind of primary key here; they are kept, passed on, and put in when a migration gives it the same key`;
  return `${where} this database does not have; they are kept, passed on, and put in when a migration creates it`;
}

function heldReview({ db }: Audited, table: Table, cid: number, column: string | null, reason: string): Review {
  const since = db.prepare("SELECT since FROM _scoutsync_lacking WHERE tid = ? AND cid = ?").pluck().get(table.tid, cid);
  return {
    id: hash("sha256", ["schema", table.name, String(table.key.length), column ?? ""].join("\n"), "hex").slice(0, 16),
    kind: "schema",
    table: table.name,
    key: "",
    column,
    winner: null,
    loser: null,
    image: null,
    reason,
    sinceUs: (since as number | undefined) ?? 0,
    resolved: false,
  };
}

/** Rows of a table, in it or out of it, with held values, by number of the column. */
function countColumns(audited: Audited, table: Table): Map<number, number> {
  const counts = new Map<number, number>();
  const out = `SELECT slot FROM _scoutsync_out WHERE tid = ${table.tid} AND extra IS NOT NULL`;
  const states = table.lacking.size === 0 ? [] : [statesIn(audited, table), statesFrom(audited, -table.tid, out)];
  for (const some of states) for (const state of some) for (const cid of heldColumns(state)) counts.set(cid, (counts.get(cid) ?? 0) + 1);
  return counts;
}

/** Rows in a table that may have writes of columns which it lacks; none where it lacks none. */
export function* statesIn(audited: Audited, { tid, lacking }: Table): Generator<RowState> {
  if (lacking.size > 0) yield* statesFrom(audited, tid, `SELECT id AS slot FROM ${rowsTable(tid)} WHERE extra IS NOT NULL`);
}

/** Rows of a table that is gone of which more is known than who made them, and those that were out of it. */
export function* statesLeft({ db, rows }: Audited, table: Table): Generator<RowState> {
  const name = rowsTable(table.tid);
  const exists = db.prepare("SELECT 1 FROM main.sqlite_master WHERE name = ?").get(name) !== undefined;
  const left = `SELECT id FROM ${name} WHERE extra IS NOT NULL ORDER BY id`;
  for (const slot of exists ? (db.prepare(left).safeIntegers(true).pluck().all() as bigint[]) : []) {
    const stored = rows.of(table).byId(slot);
    if (stored) yield rows.fromStored(table, stored);
  }
  const out = db.prepare("SELECT slot FROM _scoutsync_out WHERE tid = ? ORDER BY slot").safeIntegers(true).pluck();
  for (const slot of out.all(table.tid) as bigint[]) {
    const state = rows.atLog(-table.tid, slot);
    if (state) yield state;
  }
}

function* statesFrom({ db, rows }: Audited, tid: number, from: string): Generator<RowState> {
  const page = db.prepare(`SELECT slot FROM (${from}) WHERE slot > ? ORDER BY slot LIMIT ${ROWS_AT_ONCE}`).safeIntegers(true).pluck();
  for (let slots = page.all(-(2n ** 63n)) as bigint[]; slots.length > 0; slots = page.all(slots.at(-1)) as bigint[]) {
    for (const slot of slots) {
      const state = rows.atLog(tid, slot);
      if (state) yield state;
    }
  }
}
