import { formatVector, type NodeName, type VersionVector } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import type { Knowledge } from "./knowledge.ts";
import { rowStatement } from "../kept-statements.ts";

/** Drains remembered: a node that is further behind gets its receipts in larger steps. */
const MOST_DRAINS = 10_000;

/**
 * Which writes of the application the changes up to this run's last dot hold. Call when everything on the dirty list,
 * `events` long, has been drained, before it is emptied. `startedUs` is the clock as it was under the lock, Unix microseconds.
 */
export function noteDrained(db: Database, events: number, dot: { origin: number; sequence: number } | null, startedUs: number): void {
  skipWrites(db, events);
  const until = Math.floor(startedUs / 1000);
  // A run that has changed nothing yet adds nothing to what the run before it had: also of a drain that a kill ended in its middle.
  const last =
    dot ??
    db.prepare("SELECT oid AS origin, sequence FROM _scoutsync_own JOIN _scoutsync_vector USING(oid) ORDER BY oid DESC LIMIT 1").get();
  if (!last) return;
  const { origin, sequence } = last as { origin: number; sequence: number };
  const { lastInsertRowid } = db
    .prepare("INSERT INTO _scoutsync_drained(write, oid, sequence, until) SELECT base, ?, ?, ? FROM _scoutsync_written")
    .run(origin, sequence, until);
  db.prepare("DELETE FROM _scoutsync_drained WHERE id <= ?").run(Number(lastInsertRowid) - MOST_DRAINS);
}

/** The next write of the application on an empty dirty list comes after so many more. */
export function skipWrites(db: Database, count: number): void {
  db.prepare("UPDATE _scoutsync_written SET base = base + ?").run(count);
}

/** False when the node said the same the last time: an idle pair must not write to disk. */
export function isNews(db: Database, node: NodeName, vector: VersionVector): boolean {
  const known = rowStatement(db, "SELECT name, vector FROM _scoutsync_peer WHERE node_id = ?").get(node.id) as
    | { name: string; vector: string }
    | undefined;
  return known?.name !== node.name || known.vector !== formatVector(vector);
}

/** Stores what a node said it has: its last word counts, also where it is less than before, as after a restored backup. */
export function storeReceipt(db: Database, knowledge: Knowledge, node: NodeName, vector: VersionVector, nowUs: number): void {
  const { write, until } = lastCovered(db, knowledge, vector);
  db.prepare(
    "INSERT INTO _scoutsync_peer(node_id, name, vector, has, until, at) VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(node_id) DO UPDATE SET " +
      "name = excluded.name, vector = excluded.vector, has = excluded.has, until = excluded.until, at = excluded.at",
  ).run(node.id, node.name, formatVector(vector), write, until, nowUs);
  // What every node has needs no step of its own any more, but for the last.
  db.prepare(
    "DELETE FROM _scoutsync_drained WHERE write < (SELECT min(has) FROM _scoutsync_peer) AND id < (SELECT max(id) FROM _scoutsync_drained)",
  ).run();
}

/**
 * The last write that is in changes the vector covers. A vector that has a change has what was known when it was made:
 * so everything that was drained before is there as well.
 */
function lastCovered(db: Database, knowledge: Knowledge, vector: VersionVector): { write: number; until: number } {
  const origins = db.prepare("SELECT DISTINCT oid FROM _scoutsync_drained").pluck().all() as number[];
  const last = db.prepare("SELECT write, until FROM _scoutsync_drained WHERE oid = ? AND sequence <= ? ORDER BY write DESC LIMIT 1");
  let found = { write: 0, until: 0 };
  for (const oid of origins) {
    const step = last.get(oid, vector.get(knowledge.nameOf(oid)) ?? 0) as typeof found | undefined;
    if (step && step.write > found.write) found = step;
  }
  return found;
}
