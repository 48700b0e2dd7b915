import type { Database } from "better-sqlite3";
import { knew, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { ownedDots, packExtra, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Misstamped } from "./replica-clock.ts";

/**
 * Stamps changes of this run again that nobody else has seen, by a time that is right. A row keeps the order of its
 * writes; one with a write that the author here did not know is left as it is, since it was decided by the stamps that
 * are there. Inside the caller's write transaction, drained. Returns how many rows have other stamps now.
 */
export function restamp(
  { db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge },
  { after, to, shiftUs }: Misstamped,
  nowUs: number,
): number {
  const { self } = knowledge;
  if (self === null) return 0;
  const mine = (write: Write) => write.origin === self && write.sequence > after && write.sequence <= to;
  const shifted = (timeUs: number) => Math.max(0, Math.min(nowUs, timeUs + shiftUs));
  let moved = 0;
  for (const table of rows.tables) {
    // Who represents rows that are one was decided by the stamps that are there.
    if (rows.same.exist && table.keyReferences.length > 0) continue;
    const stored = rowsTable(table.tid);
    const entries = "SELECT slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? AND sequence <= ? AND tid = ?";
    // What only its birth has written, all at once.
    moved += db
      .prepare(
        `UPDATE ${stored} SET time = max(0, min(?, time + ?)) WHERE id IN (${entries}) AND extra IS NULL AND (oid, sequence) NOT IN (SELECT oid, sequence FROM _scoutsync_same)`,
      )
      .run(nowUs, shiftUs, self, after, to, table.tid).changes;
    const states = [
      ...slots(db, `SELECT id FROM ${stored} WHERE id IN (${entries}) AND extra IS NOT NULL`, self, after, to, table.tid).map((slot) =>
        rows.atLog(table.tid, slot),
      ),
      ...slots(db, `SELECT slot FROM _scoutsync_out WHERE slot IN (${entries})`, self, after, to, -table.tid).map((slot) =>
        rows.atLog(-table.tid, slot),
      ),
    ];
    for (const state of states) {
      if (!state || state.same.length > 0 || rows.same.names(state.identity) || !shift(state, mine, shifted, knowledge)) continue;
      moved++;
      if (state.place.kind !== "table") rows.saveOut(state, false, rows.outId(state), rows.cells(state), ownedDots(state));
      else
        db.prepare(`UPDATE ${stored} SET time = ?, extra = ? WHERE id = ?`).run(
          state.birth.time,
          packExtra(state, table.surrogate ? state.slot : null),
          state.slot,
        );
    }
  }
  return moved;
}

function slots(db: Database, sql: string, ...values: number[]): bigint[] {
  return db.prepare(sql).safeIntegers(true).pluck().all(values) as bigint[];
}

/** Moves the row's own writes; false when the row is left as it is. */
function shift(state: RowState, mine: (write: Write) => boolean, shifted: (timeUs: number) => number, knowledge: Knowledge): boolean {
  const writes: Write[] = [state.birth, ...[...state.columns.values()].flat(), ...state.deletes];
  const own = writes.filter(mine).sort((a, b) => a.sequence - b.sequence);
  const others = writes.filter((write) => !mine(write));
  if (own.some((write) => others.some((other) => !knew(write, other.origin, other.sequence, knowledge)))) return false;
  let latest = Math.max(-1, ...others.map(({ time }) => time));
  let floor = latest;
  const times = new Map<number, number>();
  for (const { sequence, time } of own) {
    // Writes of one dot have one time.
    if (times.has(sequence)) continue;
    // One that is earlier than what its author knew was dated by what its column had, not by a clock (`UNDATED`).
    const isByClock = time > latest;
    if (isByClock) floor = Math.max(shifted(time), floor + 1);
    latest = Math.max(latest, time);
    times.set(sequence, isByClock ? floor : time);
  }
  for (const write of [...own, ...state.closed.map(({ loser }) => loser).filter(mine)]) {
    write.time = times.get(write.sequence) ?? shifted(write.time);
  }
  return own.length > 0;
}
