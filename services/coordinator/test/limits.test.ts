import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startSyncNode, type SyncNodeConfig } from "@scoutsync/sync-node";
import Sqlite from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { limitsNow } from "../src/limits.ts";
import { openRegistry } from "../src/registry/registry.ts";
import { eventually, FleetUnderTest, quietLogger } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

const ROWS = 30;
const HALF = 18;
const PER_SECOND = 4;
const FILES = 24;
const FILE_BYTES = 10_000;
const FILE_KIB_PER_SECOND = 80;
/** Ten heartbeats: nodes that had not heard of a limit would be faster than it. */
const HEARD_MS = 4_000;

describe("limits on what passes a node", () => {
  const leaving: (() => unknown)[] = [];
  afterEach(async () => {
    for (const leave of leaving.splice(0).toReversed()) await leave();
  });

  const folder = () => {
    const path = mkdtempSync(join(tmpdir(), "scoutsync-limits-"));
    leaving.push(() => rmSync(path, { recursive: true, force: true }));
    return path;
  };

  it("hold within their time of the day only", () => {
    const registry = openRegistry(folder());
    leaving.push(() => registry.close());
    const { settings } = registry;
    const none = { changesPerSecond: 0n, rowBytesPerSecond: 0n, fileBytesPerSecond: 0n };
    const noon = new Date("2026-03-01T12:00:00Z");
    expect(limitsNow(settings, noon)).toEqual(none);
    settings.set("limit_rows_per_second", "7");
    settings.set("limit_rows_kib_per_second", "8");
    settings.set("limit_files_kib_per_second", "9");
    const all = { changesPerSecond: 7n, rowBytesPerSecond: 8192n, fileBytesPerSecond: 9216n };
    expect(limitsNow(settings, noon)).toEqual(all);
    settings.set("limit_window", "22:00-12:00");
    expect(limitsNow(settings, noon)).toEqual(none);
    expect(limitsNow(settings, new Date("2026-03-01T11:59:00Z"))).toEqual(all);
  });

  it.skipIf(redisProgram === null)(
    "of rows and files are obeyed by running nodes from when a row of sync_config says so, until it does no more",
    async () => {
      const directory = folder();
      const redis = await RedisServer.start();
      leaving.push(() => redis.remove());
      const fleet = await FleetUnderTest.start(redis.url);
      leaving.push(() => fleet.stop());
      const path = (name: string) => join(directory, `${name}.db`);
      const root = (name: string) => join(directory, `${name}-files`);
      const query = <T>(name: string, work: (database: Sqlite.Database) => T): T => {
        const database = new Sqlite(path(name), { timeout: 5_000 });
        try {
          return work(database);
        } finally {
          database.close();
        }
      };
      const set = (key: string, value: number) => {
        const registry = fleet.outside();
        registry.prepare("INSERT OR REPLACE INTO sync_config (key, value, value_type) VALUES (?, ?, 'integer')").run(key, String(value));
        registry.close();
      };
      const start = async (name: string, more: Partial<SyncNodeConfig> = {}) => {
        mkdirSync(root(name));
        query(name, (database) => database.exec("CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT)"));
        const node = await startSyncNode({
          name,
          listen: "127.0.0.1:0",
          databases: [{ name: "main", path: path(name) }],
          files: [{ name: "up", path: root(name) }],
          dataDirectory: join(directory, name),
          peers: [],
          coordinator: fleet.service.ready.listen,
          baseline: null,
          exclude: [],
          receiveOnly: false,
          threads: 1,
          logger: quietLogger(),
          ...more,
        });
        leaving.push(() => node.stop());
      };
      const rows = (name: string) => query(name, (database) => database.prepare("SELECT count(*) FROM item").pluck().get() as number);
      const files = (name: string) => readdirSync(root(name)).filter((entry) => entry.endsWith(".bin")).length;
      for (const name of ["one", "two"]) await start(name);
      query("one", (database) => database.exec("INSERT INTO item VALUES (100000, 'the way is open')"));
      await eventually(() => rows("two") === 1, 15_000);

      set("limit_rows_per_second", PER_SECOND);
      // Nodes hear of it with their next heartbeat; a row of the registry is all that was changed.
      await new Promise((resolve) => setTimeout(resolve, HEARD_MS));
      const started = performance.now();
      for (let id = 1; id <= ROWS; id++) {
        query("one", (database) => database.exec(`INSERT INTO item VALUES (${id}, 'row')`));
        // What is written at once is one batch, whatever the limit.
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      await eventually(() => rows("two") > HALF, 30_000);
      // What passed is paid for by what comes next: at each end a batch may be ahead of its time.
      expect(performance.now() - started).toBeGreaterThan(((HALF - 10) / PER_SECOND) * 1_000);
      set("limit_rows_per_second", 0);
      await eventually(() => rows("two") === ROWS + 1, 30_000);

      set("limit_files_kib_per_second", FILE_KIB_PER_SECOND);
      await new Promise((resolve) => setTimeout(resolve, HEARD_MS));
      const filesStarted = performance.now();
      for (let at = 0; at < FILES; at++) writeFileSync(join(root("one"), `${at}.bin`), Buffer.alloc(FILE_BYTES, at));
      await fetch(fleet.url("/api/nodes/one/sync"), { method: "POST" }).then((answer) => answer.body?.cancel());
      await eventually(() => files("two") === FILES, 60_000);
      // All but the last two pieces were waited for.
      expect(performance.now() - filesStarted).toBeGreaterThan((((FILES - 8) * FILE_BYTES) / (FILE_KIB_PER_SECOND * 1_024)) * 1_000);
    },
  );
});
