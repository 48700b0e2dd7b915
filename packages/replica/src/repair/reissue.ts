import type { Database } from "better-sqlite3";
import type { Knowledge } from "../identity/knowledge.ts";
import { ownedDots, packExtra, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { writeMeta } from "../schema/install.ts";
import { rowsTable } from "../rows/table-store.ts";

/** Log entries looked at before the clock is looked at. */
const ENTRIES_AT_ONCE = 500;

type Entry = [sequence: bigint, tid: bigint, slot: bigint];

/** A re-issue under way: whose changes, and under which origin. How far it has come is what the vector says of that. */
export interface Reissue {
  source: number;
  origin: number;
}

/**
 * Issues again what is held of an origin beyond the vector: every write keeps its sequence, time, context and value, and
 * gets another origin, which this replica's vector covers. So everybody can come to have it all, which nobody could of
 * an origin that ended in the middle of a stream. Whoever brings more of the first one later loses nothing: the same
 * write by either name is one write. Inside the caller's write transaction, drained; in turns, up to `until`
 * (milliseconds of performance.now). Returns true when all is done.
 */
export function reissue(
  { db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge },
  { source, origin }: Reissue,
  until: number,
): boolean {
  const page = db
    .prepare("SELECT sequence, tid, slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? ORDER BY sequence LIMIT ?")
    .safeIntegers(true)
    .raw(true);
  const after = knowledge.entries.get(source) ?? 0;
  // Asked rather than remembered: what a transaction did that was undone is to be done again.
  let reached = knowledge.entries.get(origin) ?? 0;
  for (;;) {
    const entries = page.all(source, Math.max(after, reached), ENTRIES_AT_ONCE) as Entry[];
    for (const [sequence, tid, slot] of entries) {
      const state = rows.atLog(Number(tid), slot);
      // An earlier entry of the same row has taken this one along; one of a table that is not here stays.
      if (state && owns(state, source, Number(sequence))) reissueRow(db, rows, state, { source, origin, after });
      reached = Number(sequence);
    }
    if (reached > (knowledge.entries.get(origin) ?? 0)) knowledge.advance(origin, reached);
    if (entries.length < ENTRIES_AT_ONCE) return true;
    if (performance.now() > until) return false;
  }
}

function owns(state: RowState, origin: number, sequence: number): boolean {
  return ownedDots(state).has(`${origin}:${sequence}`);
}

/** All writes of the origin that the row has, from the sequence on that follows `after`. Its values and its place stay as they are. */
export function reissueRow(db: Database, rows: RowStore, state: RowState, { source, origin, after }: Reissue & { after: number }): void {
  const before = ownedDots(state);
  const mine = (dot: { origin: number; sequence: number }) => dot.origin === source && dot.sequence > after;
  const again = <T extends { origin: number; sequence: number }>(dot: T): T => (mine(dot) ? { ...dot, origin } : dot);
  if (!state.partial) state.birth = again(state.birth);
  state.twins = state.twins.map(again);
  for (const [cid, writes] of state.columns) state.columns.set(cid, writes.map(again));
  state.deletes = state.deletes.map(again);
  if (state.rekey) state.rekey = again(state.rekey);
  state.closed = state.closed.map(again);
  state.same = state.same.map(again);
  const inTable = state.place.kind === "table";
  const id = inTable ? (state.table.surrogate ? state.slot : null) : rows.outId(state);
  db.prepare(
    `UPDATE ${inTable ? rowsTable(state.table.tid) : "_scoutsync_out"} SET oid = ?, extra = ? WHERE ${inTable ? "id" : "slot"} = ?`,
  ).run(state.birth.origin, packExtra(state, id), state.slot);
  rows.moveDots(state, before);
}

const HELD = "beyond ";

/**
 * Origins of which more is held than the vector covers, and nothing new has come for so long. Notes since when that is,
 * for the next time it is asked. Inside the caller's write transaction.
 */
export function leftBehind(
  { db, knowledge }: { db: Database; knowledge: Knowledge },
  beyond: readonly number[],
  heldForUs: number,
  nowUs: number,
): number[] {
  const last = db.prepare("SELECT max(sequence) FROM _scoutsync_log WHERE oid = ?").pluck();
  const noted = new Map(
    db.prepare("SELECT key, value FROM _scoutsync_meta WHERE key LIKE ?").raw(true).all(`${HELD}%`) as [key: string, value: string][],
  );
  const stale: number[] = [];
  for (const oid of beyond) {
    const key = `${HELD}${knowledge.nameOf(oid)}`;
    const sequence = last.get(oid) as number;
    const [heldTo, since] = (noted.get(key) ?? "").split("@").map(Number);
    noted.delete(key);
    const sinceUs = heldTo === sequence && since !== undefined ? since : nowUs;
    if (heldForUs === 0 || nowUs - sinceUs >= heldForUs) stale.push(oid);
    if (heldTo !== sequence || sinceUs > nowUs) writeMeta(db, key, `${sequence}@${nowUs}`);
  }
  for (const key of noted.keys()) db.prepare("DELETE FROM _scoutsync_meta WHERE key = ?").run(key);
  return stale;
}
