import { spawn } from "node:child_process";
import { once } from "node:events";
import { truncateSync, statSync } from "node:fs";
import { pause } from "@scoutsync/runtime";
import {
  boundOf,
  chooseSeed,
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  integrityProblems,
  seededRandom,
  select,
  startWriter,
  until,
} from "@scoutsync/testkit";
import { expect, test } from "vitest";

const SCHEMA = "CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)";
const WRITERS = 8;
/** Transactions of each writer. */
const TRANSACTIONS = Number(process.env["SCOUTSYNC_STORM"] ?? 150);
const ROWS = 5;

test(
  `${WRITERS} writers in a storm, nodes killed among them: every acknowledged write is everywhere, and no writer is refused`,
  { timeout: 900_000 },
  async () => {
    const random = seededRandom(chooseSeed());
    console.log(`seed ${random.seed}`);
    const fleet = new Fleet("storm");
    const writers = Array.from({ length: WRITERS }, () => startWriter());
    try {
      const paths = ["a", "b"].map((name) => createDatabase(fleet.path(name, "app.db"), SCHEMA)) as [string, string];
      const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
      const b = await fleet.node({ name: "b", databases: { app: paths[1] }, peers: [a.address] });
      const acknowledged: string[] = [];
      let writing = WRITERS;
      const work = writers.map(async (writer, number) => {
        for (let turn = 0; turn < TRANSACTIONS; turn++) {
          const bodies = Array.from({ length: ROWS }, (_, row) => `${number} ${turn} ${row} ${random.hex(30)}`);
          // Throws what the writer is refused with.
          await writer.write({
            path: paths[number % 2] as string,
            statements: bodies.map((body) => ["INSERT INTO entry(body) VALUES (?)", [body]] as const),
          });
          acknowledged.push(...bodies);
        }
        writing--;
      });
      const kills = async () => {
        while (writing > 0) {
          await pause(200 + random.below(900));
          const victim = random.below(2) === 0 ? a : b;
          await victim.kill();
          await victim.restart();
        }
      };
      await Promise.all([...work, kills()]);
      await until(async () => (await fleet.sync(a, b)).code === 0 && (await fleet.sync(b, a)).code === 0, {
        withinMs: 60_000,
        what: "a session after the storm",
      });
      acknowledged.sort();
      expect(acknowledged.length).toBe(WRITERS * TRANSACTIONS * ROWS);
      for (const path of paths) {
        const rows = select(path, "SELECT body FROM entry").map(({ body }) => String(body));
        expect(rows.sort()).toEqual(acknowledged);
        expect(integrityProblems(path)).toEqual([]);
      }
      expect(differences(dumpDatabase(paths[0]), dumpDatabase(paths[1]))).toEqual([]);
    } finally {
      await Promise.all(writers.map((writer) => writer.stop()));
      await fleet.stop();
    }
  },
);

/** Opens a database, reads from it, and keeps it open. */
const HOLDER = `
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=60)
database.execute("SELECT count(*) FROM entry").fetchone()
print("open", flush=True)
time.sleep(600)
`;

test(
  "a write-ahead log that loses its end while the node is down: what a peer had comes back, and both agree",
  { timeout: boundOf(360_000) },
  async () => {
    const random = seededRandom(chooseSeed());
    console.log(`seed ${random.seed}`);
    const fleet = new Fleet("cut-log");
    const writer = startWriter();
    try {
      const paths = ["a", "b"].map((name) => createDatabase(fleet.path(name, "app.db"), SCHEMA)) as [string, string];
      const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
      const b = await fleet.node({ name: "b", databases: { app: paths[1] } });
      const written: string[] = [];
      for (let turn = 0; turn < 30; turn++) {
        written.push(`${turn} ${random.hex(200)}`);
        await writer.write({ path: paths[0], statements: [["INSERT INTO entry(body) VALUES (?)", [written.at(-1) as string]]] });
      }
      expect((await fleet.sync(a, b)).code).toBe(0);
      // The last connection to close would empty the log: an application that dies with the machine closes nothing.
      const holder = spawn("python3", ["-c", HOLDER, paths[0]], { stdio: ["ignore", "pipe", "inherit"] });
      await once(holder.stdout, "data");
      await writer.stop();
      await a.kill();
      holder.kill("SIGKILL");
      await once(holder, "exit");
      const log = `${paths[0]}-wal`;
      truncateSync(log, random.below(statSync(log).size));
      await a.restart();
      await until(async () => (await fleet.sync(a, b)).code === 0, { withinMs: 30_000, what: "a session after the loss" });
      for (const path of paths) {
        expect(
          select(path, "SELECT body FROM entry")
            .map(({ body }) => String(body))
            .sort(),
        ).toEqual([...written].sort());
        expect(integrityProblems(path)).toEqual([]);
      }
    } finally {
      await fleet.stop();
    }
  },
);
