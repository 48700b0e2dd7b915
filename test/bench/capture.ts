import { rmSync } from "node:fs";
import { ReplicaDatabase, type ReplicaOptions } from "@scoutsync/replica";
import { insertRows, openApplication, updateRows } from "./rows.ts";
import { median, ratio, record } from "./table.ts";

export function replicaOptions(path: string, nodeName: string): ReplicaOptions {
  return { name: "main", path, nodeName, nodeId: nodeName, exclude: [], baseline: null, busyTimeoutMs: 5_000, pollIntervalMs: 50 };
}

/** What an application pays for being captured, against the same writes on a database that is not; pairs in turn, medians. */
export function measureCapture(folder: string, sizes: readonly number[]): void {
  for (const size of sizes) {
    const inserts: number[] = [];
    const updates: number[] = [];
    for (const [raw, captured] of pairs(4, (capture) => bulk(folder, size, capture))) {
      inserts.push(captured.inserted / raw.inserted);
      updates.push(captured.updated / raw.updated);
    }
    const bar = size === sizes.at(-1) ? "≤ 1.35×" : "";
    record({
      what: `capture: inserts, 1,000 a transaction, ${size} rows`,
      measured: ratio(median(inserts)),
      bar,
      within: bar === "" ? null : median(inserts) <= 1.35,
    });
    record({
      what: `capture: updates, 1,000 a transaction, ${size} rows`,
      measured: ratio(median(updates)),
      bar,
      within: bar === "" ? null : median(updates) <= 1.35,
    });
  }
  const singles = pairs(6, (capture) => single(folder, capture)).map(([raw, captured]) => captured / raw);
  record({
    what: "capture: one row per commit, 1,500 commits",
    measured: ratio(median(singles)),
    bar: "≤ 1.10×",
    within: median(singles) <= 1.1,
  });
}

/** Measures without and with capture, `rounds` times, each first in turn: the second of two finds the disk in another state. */
function pairs<T>(rounds: number, measure: (captured: boolean) => T): [raw: T, captured: T][] {
  return Array.from({ length: rounds }, (_, round) => {
    const first = measure(round % 2 === 1);
    const second = measure(round % 2 === 0);
    return round % 2 === 1 ? [second, first] : [first, second];
  });
}

function bulk(folder: string, rows: number, captured: boolean): { inserted: number; updated: number } {
  return withDatabase(folder, captured, (db) => ({ inserted: insertRows(db, rows, 1_000), updated: updateRows(db, rows, 1_000) }));
}

function single(folder: string, captured: boolean): number {
  return withDatabase(folder, captured, (db) => insertRows(db, 1_500, 1));
}

function withDatabase<T>(folder: string, captured: boolean, measure: (db: ReturnType<typeof openApplication>) => T): T {
  const path = `${folder}/capture.db`;
  const db = openApplication(path);
  // The replica is opened and closed: what stays is what an application meets, the triggers.
  if (captured) new ReplicaDatabase(replicaOptions(path, "bench"), "run").close();
  try {
    return measure(db);
  } finally {
    db.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  }
}
