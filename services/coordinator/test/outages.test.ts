import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseVector } from "@scoutsync/core";
import { CoordinatorClient, createClient, unary, type CoordinatorService, type ServiceClient } from "@scoutsync/protocol";
import { startSyncNode } from "@scoutsync/sync-node";
import { ownPort } from "@scoutsync/testkit";
import Sqlite from "better-sqlite3";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { comesTrue, eventually, quietLogger, seenWithin } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

/** `SCOUTSYNC_OUTAGES=long`: the product's own timing, and Redis paused for a minute; takes ten minutes. */
const LONG = process.env["SCOUTSYNC_OUTAGES"] === "long";
const TIMING = LONG ? "product" : "quick";
/** Longer than a lease, a job's lock and every bound on an answer of Redis. */
const PAUSE_MS = LONG ? 60_000 : 5_000;
const PAST_LEASE_MS = LONG ? 50_000 : 4_000;
const STEP_MS = LONG ? 180_000 : 90_000;
const NODES = ["north", "south", "east", "west"] as const;
const ROWS = 800;

type Name = (typeof NODES)[number];

// Real processes of the coordinator, a second worker and Redis, real nodes on real databases. What was written is
// counted here; what nodes hold is read by a SQLite of our own.
describe.skipIf(redisProgram === null)("outages of every part", () => {
  const directory = mkdtempSync(join(tmpdir(), "scoutsync-outages-"));
  const registryPath = join(directory, "registry", "coordinator.db");
  const running = new Map<Name, Awaited<ReturnType<typeof startSyncNode>>>();
  const written = new Map<string, string>();
  const took: string[] = [];
  let redis: RedisServer;
  let listen: string;
  let coordinator: ChildProcess;
  let worker: ChildProcess;
  let client: ServiceClient<CoordinatorService>;
  let round = 0;

  const child = (file: string, env: Record<string, string>) =>
    spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
      env: { ...process.env, TIMING, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
  const startCoordinator = async () => {
    coordinator = child("coordinator-process.ts", { LISTEN: listen, REDIS: redis.url, DIRECTORY: join(directory, "registry") });
    await once(coordinator.stdout!, "data");
  };
  const startWorker = () => (worker = child("worker-process.ts", { COORDINATOR: listen, REDIS: redis.url }));
  const kill = async (process: ChildProcess) => {
    if (process.exitCode !== null || process.signalCode !== null) return;
    const ended = once(process, "exit");
    process.kill("SIGKILL");
    await ended;
  };
  const read = <T>(path: string, work: (database: Sqlite.Database) => T): T => {
    const database = new Sqlite(path, { timeout: 10_000 });
    try {
      return work(database);
    } finally {
      database.close();
    }
  };
  const pathOf = (name: Name) => join(directory, `${name}.db`);

  beforeAll(async () => {
    redis = await RedisServer.start();
    listen = `127.0.0.1:${await ownPort()}`;
    await startCoordinator();
    client = createClient(listen, CoordinatorClient);
    startWorker();
    for (const name of NODES) {
      read(pathOf(name), (database) => database.exec("CREATE TABLE item (id TEXT PRIMARY KEY, value TEXT NOT NULL)"));
      running.set(
        name,
        await startSyncNode({
          name,
          listen: "127.0.0.1:0",
          databases: [{ name: "main", path: pathOf(name) }],
          dataDirectory: join(directory, name),
          peers: [],
          coordinator: listen,
          baseline: null,
          exclude: [],
          receiveOnly: false,
          threads: 1,
          logger: quietLogger(),
        }),
      );
    }
    await unary(client, "setSetting", { key: "max_retries", value: "20" });
  }, 180_000);
  afterAll(async () => {
    client?.close();
    for (const process of [worker, coordinator]) if (process !== undefined) await kill(process);
    await Promise.all([...running.values()].map((node) => node.stop()));
    await redis?.remove();
    rmSync(directory, { recursive: true, force: true });
  }, 180_000);

  /** Every application writes rows that nobody else has, as one commit each. */
  function write(): void {
    round++;
    for (const name of NODES) {
      read(pathOf(name), (database) => {
        const insert = database.prepare("INSERT INTO item VALUES (?, ?)");
        database
          .transaction(() => {
            for (let at = 0; at < ROWS; at++) {
              insert.run(`${name} ${round} ${at}`, `v${round}`.padEnd(60, "."));
              written.set(`${name} ${round} ${at}`, `v${round}`.padEnd(60, "."));
            }
          })
          .immediate();
      });
    }
  }

  const inSession = (pid: number | undefined) =>
    read(
      registryPath,
      (registry) => registry.prepare("SELECT worker FROM sync_logs WHERE status = 'in_progress'").pluck().all() as string[],
    ).some((name) => pid === undefined || name.includes(`:${pid}:`));

  /** One scan after the outage: whatever does not hold everything that was ever written. */
  async function lackingAfterOneScan(what: string): Promise<string[]> {
    const began = Date.now();
    // A scan brings what nodes know of when it begins; a write is known once it has been captured.
    await eventually(async () => {
      const known = await unary(client, "getStatus", {}).catch(() => null);
      return known !== null && changesIn(known.vectors["main"]) === written.size;
    }, STEP_MS);
    // Until Redis and the coordinator are heard again no scan begins.
    let results: { success: boolean; serverName: string; errors: string[] }[] = [];
    await eventually(async () => {
      try {
        ({ results } = await unary(client, "scan", { noWait: false }, { deadlineMs: STEP_MS }));
        // On a busy machine a node may have answered too late: the next one finds it.
        return results.length === NODES.length && !results.some(({ errors }) => errors.some((text) => /answer|reach/.test(text)));
      } catch {
        return false;
      }
    }, STEP_MS);
    const lacking = results.filter(({ success }) => !success).map(({ serverName, errors }) => `${serverName}: ${errors.join("; ")}`);
    for (const name of NODES) {
      const held = new Map(
        read(pathOf(name), (database) => database.prepare("SELECT id, value FROM item").raw().all() as [string, string][]),
      );
      const lost = [...written].filter(([id, value]) => held.get(id) !== value).length;
      if (lost > 0 || held.size !== written.size)
        lacking.push(`${name} holds ${held.size} of ${written.size} rows, ${lost} not as written`);
    }
    took.push(`${what}: ${((Date.now() - began) / 1_000).toFixed(1)} s`);
    return lacking;
  }

  it("Redis is killed and comes back empty", { timeout: STEP_MS * 12 }, async () => {
    await untilInSession();
    await redis.kill();
    write();
    await redis.up();
    expect(await lackingAfterOneScan("Redis killed")).toEqual([]);
  });

  it("Redis is flushed while catch-ups run", { timeout: STEP_MS * 12 }, async () => {
    const connection = new Redis(redis.url);
    await untilInSession();
    await connection.flushall();
    write();
    await connection.flushall();
    connection.disconnect();
    expect(await lackingAfterOneScan("Redis flushed")).toEqual([]);
  });

  it("Redis stands still and goes on", { timeout: STEP_MS * 12 + PAUSE_MS }, async () => {
    await untilInSession();
    redis.freeze();
    write();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    // The fleet can be asked meanwhile.
    expect((await unary(client, "getStatus", {}, { deadlineMs: 15_000 })).nodes).toHaveLength(NODES.length);
    redis.thaw();
    expect(await lackingAfterOneScan(`Redis paused for ${PAUSE_MS / 1_000} s`)).toEqual([]);
  });

  it("the coordinator is killed in the middle of a scan", { timeout: STEP_MS * 12 }, async () => {
    let scanning: Promise<unknown> = Promise.resolve();
    do {
      await scanning;
      write();
      scanning = unary(client, "scan", { noWait: false }, { deadlineMs: STEP_MS }).catch(() => null);
    } while (!(await seenWithin(3_000, () => inSession(undefined))));
    await kill(coordinator);
    await scanning;
    write();
    await startCoordinator();
    expect(await lackingAfterOneScan("coordinator killed")).toEqual([]);
  });

  /** Writes until a session runs, of the second worker where it is the one to be disturbed: one may be over before it was seen. */
  async function untilInSession(by: () => number | undefined = () => undefined): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      if (attempt === 30) throw new Error("no session was seen that could be disturbed");
      write();
      if (await seenWithin(LONG ? 5_000 : 3_000, () => inSession(by()))) return;
    }
  }

  it("a worker freezes past its lease and goes on", { timeout: STEP_MS * 12 + PAST_LEASE_MS }, async () => {
    await untilInSession(() => worker.pid);
    worker.kill("SIGSTOP");
    write();
    await new Promise((resolve) => setTimeout(resolve, PAST_LEASE_MS));
    expect(await lackingAfterOneScan("worker frozen past its lease")).toEqual([]);
    worker.kill("SIGCONT");
    write();
    expect(await lackingAfterOneScan("the frozen worker awake again")).toEqual([]);
  });

  it("a worker is killed in the middle of a session", { timeout: STEP_MS * 12 }, async () => {
    await untilInSession(() => worker.pid);
    await kill(worker);
    write();
    expect(await lackingAfterOneScan("worker killed")).toEqual([]);
  });

  it(
    "has had each write once: no change was made by a session that ran twice, no attempt is without an end",
    { timeout: STEP_MS * 6 },
    async () => {
      await eventually(async () => (await unary(client, "getStatus", {})).converged, STEP_MS);
      const { nodes } = await unary(client, "getStatus", {});
      for (const { name, databases } of nodes) {
        const [main] = databases;
        // What was captured on the four of them, and nothing that a session wrote.
        const changes = changesIn(main?.vector);
        expect({ name, changes, parked: main?.parked, conflicts: main?.conflicts }).toEqual({
          name,
          changes: written.size,
          parked: 0n,
          conflicts: 0n,
        });
      }
      let lines: { status: string; n: number }[] = [];
      // That all are equal may be heard of nodes before the outcome of the session that brought it.
      await comesTrue(() => {
        lines = read(
          registryPath,
          (registry) => registry.prepare("SELECT status, count(*) AS n FROM sync_logs GROUP BY 1").all() as { status: string; n: number }[],
        );
        expect(lines.map(({ status }) => status).filter((status) => status !== "completed" && status !== "failed")).toEqual([]);
      }, STEP_MS);
      if (LONG)
        console.log(
          [`${written.size} rows on each of ${NODES.length}`, ...lines.map(({ status, n }) => `${n} ${status}`), ...took].join("\n"),
        );
    },
  );
});

function changesIn(vector = ""): number {
  return [...parseVector(vector).values()].reduce((sum, sequence) => sum + sequence, 0);
}
