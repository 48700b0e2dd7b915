import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { childEnvironment, startService } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { count, record } from "./table.ts";

/** A large value, bytes, and the text of an ordinary row, characters. */
const LARGE = 64 * 2 ** 20;
const ORDINARY = 2_400;
const ROWS_AT_ONCE = 100_000;

/**
 * A node attaches a database of this size while an application writes: a third of it in values of 64 MiB, the rest in rows
 * of 2.4 kB, and short rows with a text for a key and with none. For how long a writer finds the lock taken, what the node
 * needs of memory, and how long it takes.
 */
export async function measureAttach(folder: string, gigabytes: number): Promise<void> {
  const path = `${folder}/attached.db`;
  const rows = makeDatabase(path, gigabytes * 2 ** 30);
  const bytes = statSync(path).size;
  const readMs = timeFullRead(path);
  const watch = new Worker(new URL("./lock-watch.ts", import.meta.url), { workerData: path });
  const writer = new Worker(new URL("./writer.ts", import.meta.url), { workerData: path });
  await Promise.all([once(watch, "online"), once(writer, "online")]);
  const start = performance.now();
  const node = await startService({
    args: ["node", "--name", "attached", "--listen", "127.0.0.1:0", "--data", `${folder}/attached-data`, "--db", `main=${path}`],
    env: childEnvironment(),
    readyMs: 7_200_000,
  });
  const took = performance.now() - start;
  for (const worker of [watch, writer]) worker.postMessage("stop");
  const [[lockMs], [waits]] = (await Promise.all([once(watch, "message"), once(writer, "message")])) as [[number], [number[]]];
  const memory = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  await node.stop();
  await Promise.all([watch.terminate(), writer.terminate()]);
  const of = `attaching ${(bytes / 1e9).toFixed(1)} GB, ${count(rows)} rows`;
  record({
    what: `${of}: time ÷ one full read`,
    measured: `${(took / readMs).toFixed(1)}× (${count(took / 1000)} s)`,
    bar: "≤ 10×",
    within: took <= 10 * readMs,
  });
  record({ what: `${of}: lock never free`, measured: `${count(lockMs)} ms`, bar: "≤ 500 ms", within: lockMs <= 500 });
  record({
    what: `${of}: longest write of an application meanwhile`,
    measured: `${count(Math.max(...waits))} ms, ${waits.length} writes`,
    bar: "",
    within: null,
  });
  record({ what: `${of}: resident memory at most`, measured: `${count(memory)} MiB`, bar: "", within: null });
}

function makeDatabase(path: string, bytes: number): number {
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = OFF");
  db.exec(`CREATE TABLE film(id INTEGER PRIMARY KEY, name TEXT NOT NULL, picture BLOB);
    CREATE TABLE report(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, line TEXT NOT NULL); CREATE INDEX report_team ON report(team);
    CREATE TABLE code(code TEXT PRIMARY KEY, team INTEGER NOT NULL); CREATE TABLE line(at INTEGER, line TEXT);
    CREATE TABLE beat(id INTEGER PRIMARY KEY, at INTEGER)`);
  const films = Math.floor(bytes / 3 / LARGE);
  const film = db.prepare("INSERT INTO film(name, picture) VALUES(?, randomblob(?))");
  for (let i = 0; i < films; i++) film.run(`film ${i}`, LARGE);
  const reports = Math.floor((bytes * 2) / 3 / (ORDINARY + 40));
  const fill = db.prepare(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO report(team, line) SELECT i % 5000, hex(randomblob(?)) FROM n",
  );
  for (let left = reports; left > 0; left -= ROWS_AT_ONCE) fill.run(Math.min(left, ROWS_AT_ONCE), ORDINARY / 2);
  const few = Math.ceil(reports / 4);
  const up = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)";
  db.prepare(`INSERT INTO code(code, team) ${up} SELECT hex(randomblob(8)), i FROM n`).run(few);
  db.prepare(`INSERT INTO line(at, line) ${up} SELECT i / 2, 'line ' || i / 2 FROM n`).run(few);
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.close();
  return films + reports + 2 * few;
}

/** Milliseconds for reading every value once. */
function timeFullRead(path: string): number {
  const db = new Database(path, { readonly: true });
  const start = performance.now();
  for (const table of ["film", "report"]) for (const row of db.prepare(`SELECT * FROM ${table}`).raw(true).iterate()) void row;
  const took = performance.now() - start;
  db.close();
  return took;
}
