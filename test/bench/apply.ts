import { rmSync, statSync } from "node:fs";
import { zstdCompressSync } from "node:zlib";
import { join as joinVectors } from "@scoutsync/core";
import { ReplicaDatabase } from "@scoutsync/replica";
import { replicaOptions } from "./capture.ts";
import { insertRows, openApplication, rowSource } from "./rows.ts";
import { ratio, record } from "./table.ts";

/** Milliseconds that better-sqlite3 alone takes to write the rows, 10,000 a transaction. */
export function rawTime(folder: string, rows: number): { ms: number; bytes: number } {
  const path = `${folder}/raw.db`;
  const db = openApplication(path);
  const ms = insertRows(db, rows, 10_000);
  db.pragma("wal_checkpoint(PASSIVE)");
  db.close();
  const { size } = statSync(path);
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  return { ms, bytes: size };
}

/** Applies changes read from another replica, without a network, and compares with writing the same rows alone. */
export function measureApply(folder: string, sizes: readonly number[]): void {
  for (const size of sizes) {
    const raw = rawTime(folder, size);
    const paths = ["source", "target"].map((name) => `${folder}/${name}.db`) as [string, string];
    const app = openApplication(paths[0]);
    insertRows(app, size, 10_000);
    app.close();
    const target = openApplication(paths[1]);
    target.exec("DELETE FROM team; DELETE FROM match");
    target.close();
    const start = performance.now();
    const source = new ReplicaDatabase(replicaOptions(paths[0], "source"), "source-run");
    const attached = performance.now() - start;
    const replica = new ReplicaDatabase(replicaOptions(paths[1], "target"), "target-run");
    let applied = 0;
    let read = 0;
    let wire = 0;
    for (let final = false; !final;) {
      const from = joinVectors(replica.state().vector, replica.position(source.run));
      const readStart = performance.now();
      const batch = source.read({ from, batchSize: 10_000, codecs: ["zstd"], beyondDigest: new Uint8Array() });
      read += performance.now() - readStart;
      wire += batch.payload.length;
      final = batch.final;
      const applyStart = performance.now();
      replica.apply(batch);
      applied += performance.now() - applyStart;
    }
    source.close();
    replica.close();
    const last = size === sizes.at(-1);
    record({
      what: `apply: ${size} changes ÷ raw`,
      measured: `${ratio(applied / raw.ms)} (${Math.round((size / applied) * 1000)} rows/s)`,
      bar: last ? "≤ 2.2×" : "",
      within: last ? applied / raw.ms <= 2.2 : null,
    });
    record({ what: `serve: ${size} changes ÷ raw`, measured: ratio(read / raw.ms), bar: "", within: null });
    const disk = statSync(paths[1]).size / raw.bytes;
    record({
      what: `disk with metadata ÷ without, ${size} rows`,
      measured: ratio(disk),
      bar: last ? "≤ 1.35×" : "",
      within: last ? disk <= 1.35 : null,
    });
    const values = wire / valuesCompressed(size);
    record({
      what: `bytes on the wire ÷ zstd of the values, ${size} rows`,
      measured: ratio(values),
      bar: last ? "≤ 1.3×" : "",
      within: last ? values <= 1.3 : null,
    });
    const full = fullRead(paths[0]);
    record({
      what: `attach ${size} rows ÷ one full read`,
      measured: ratio(attached / full),
      bar: last ? "≤ 10×" : "",
      within: last ? attached / full <= 10 : null,
    });
    for (const path of paths) for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  }
}

/** zstd of the values as tab-separated text in pieces of a batch, the plainest form they could travel in. */
function valuesCompressed(rows: number): number {
  const source = rowSource();
  let bytes = 0;
  for (let from = 0; from < rows; from += 10_000) {
    const text = Array.from({ length: Math.min(10_000, rows - from) }, (_, i) => source(from + i + 1).join("\t")).join("\n");
    bytes += zstdCompressSync(text, { params: {} }).length;
  }
  return bytes;
}

function fullRead(path: string): number {
  const db = openApplication(path);
  const start = performance.now();
  let rows = 0;
  for (const row of db.prepare("SELECT * FROM scouting_data").raw(true).iterate()) if (row) rows++;
  const ms = performance.now() - start;
  db.close();
  if (rows === 0) throw new Error("nothing was read");
  return ms;
}
