import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unary } from "@scoutsync/protocol";
import { startSyncNode } from "@scoutsync/sync-node";
import Sqlite from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { Described } from "./described.ts";
import { comesToRest, eventually, FleetUnderTest, quietLogger } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

type RunningNode = Awaited<ReturnType<typeof startSyncNode>>;

describe.skipIf(redisProgram === null)("with real sync-nodes", () => {
  const leaving: (() => unknown)[] = [];
  afterEach(async () => {
    for (const leave of leaving.splice(0).toReversed()) await leave();
  });

  /** A coordinator and as many nodes as are started, each on a database of its own. */
  async function realFleet() {
    const directory = mkdtempSync(join(tmpdir(), "scoutsync-real-"));
    leaving.push(() => rmSync(directory, { recursive: true, force: true }));
    const redis = await RedisServer.start();
    leaving.push(() => redis.remove());
    const fleet = await FleetUnderTest.start(redis.url);
    leaving.push(() => fleet.stop());
    const path = (name: string) => join(directory, `${name}.db`);
    const running = new Map<string, RunningNode>();
    leaving.push(() => Promise.all([...running.values()].map((node) => node.stop())));
    const start = async (name: string, more: { files?: { name: string; path: string }[] } = {}) => {
      const node = await startSyncNode({
        name,
        listen: "127.0.0.1:0",
        databases: [{ name: "main", path: path(name) }],
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
      running.set(name, node);
    };
    const query = <T>(name: string, work: (database: Sqlite.Database) => T): T => {
      const database = new Sqlite(path(name), { timeout: 5_000 });
      try {
        return work(database);
      } finally {
        database.close();
      }
    };
    return { fleet, directory, running, start, query };
  }

  it("passes changes on as JSON: every value arrives as it was, damage is refused, a page follows a page", async () => {
    const { fleet, start, query } = await realFleet();
    await unary(fleet.client, "setSetting", { key: "catchup_enabled", value: "false" });
    for (const name of ["from", "to"]) {
      query(name, (database) => database.exec("CREATE TABLE item (id TEXT PRIMARY KEY, value)"));
      await start(name);
    }
    const values = [9_007_199_254_740_993n, -1.5, 2, "text with \0 and é", Buffer.from([0, 255]), null, "x".repeat(300_000)];
    query("from", (database) => {
      const insert = database.prepare("INSERT INTO item (id, value) VALUES (?, ?)");
      for (const [index, value] of values.entries()) insert.run(`row ${index}`, value);
    });
    const described = await Described.of(fleet.url("/api/openapi.json"));
    const ask = async (path: string, body?: object) => {
      const headers = { "content-type": "application/json" };
      const method = body === undefined ? "GET" : "POST";
      const answer = await fetch(fleet.url(path), body === undefined ? {} : { method, headers, body: JSON.stringify(body) });
      const json = (await answer.json()) as Record<string, unknown>;
      const { type, schema } = described.answer(method, path.split("?")[0] ?? "", answer.status) ?? { type: "nothing", schema: {} };
      expect(answer.headers.get("content-type")).toContain(type);
      expect(described.problems(schema, json), `${method} ${path}`).toEqual([]);
      return { status: answer.status, json };
    };
    const relayed: string[] = [];
    let since = "";
    for (let page = 0, more = true; more; page++) {
      if (page > 20) throw new Error("there is no end to it");
      const { json } = await ask(
        `/api/sync/sqlite3/optimized-changes?server_id=from&database=main&since=${encodeURIComponent(since)}&limit=3`,
      );
      more = json["more"] as boolean;
      since = json["vector"] as string;
      const batches = json["batches"] as object[];
      relayed.push(...(json["changes"] as { key: string }[]).map((change) => change.key));
      const given = await ask("/api/sync/sqlite3/receive-changes", { server_id: "to", database: "main", batches });
      expect(given, JSON.stringify(given.json)).toMatchObject({ status: 200, json: { success: true } });
    }
    expect(relayed.length).toBe(values.length);
    const rows = (name: string) =>
      query(name, (database) => database.prepare("SELECT id, typeof(value) AS type, value FROM item ORDER BY id").safeIntegers().all());
    expect(rows("to")).toEqual(rows("from"));
    expect((await ask("/api/sync/sqlite3/optimized-changes?server_id=from&database=nothing")).status).toBe(404);
    const { json: again } = await ask("/api/sync/sqlite3/optimized-changes?server_id=from");
    const whole = createHash("sha256");
    for (const { payload, sha256 } of again["batches"] as { payload: string; sha256: string }[]) {
      const bytes = Buffer.from(payload, "base64");
      expect(sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
      whole.update(bytes);
    }
    expect(again["sha256"]).toBe(whole.digest("hex"));
    const broken = (again["batches"] as object[]).map((batch) => ({ ...batch, sha256: "0".repeat(64) }));
    expect((await ask("/api/sync/sqlite3/receive-changes", { server_id: "to", batches: broken })).status).toBe(400);
    expect((await ask("/api/sync/sqlite3/receive-changes", { server_id: "to", batches: [{ count: 1 }] })).status).toBe(400);
    // A node says how full its disk is, with its first answer to a ping.
    await eventually(async () => {
      const { json } = await ask("/api/fleet");
      return (json["nodes"] as { disk: object | null }[])[0]?.disk !== null;
    }, 20_000);
  });

  it("keeps deleted rows for nobody who was retired", async () => {
    const { fleet, running, start, query } = await realFleet();
    for (const name of ["stays", "leaves"]) {
      query(name, (database) => database.exec("CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT)"));
      await start(name);
    }
    query("leaves", (database) => database.exec("INSERT INTO item (value) VALUES ('a')"));
    const there = () => query("stays", (database) => database.prepare("SELECT count(*) FROM item").pluck().get());
    await eventually(() => there() === 1, 20_000);
    const retired = () =>
      query("stays", (database) => database.prepare("SELECT name, retired FROM _scoutsync_member").all()) as {
        name: string;
        retired: number;
      }[];
    await eventually(() => retired().some(({ name }) => name === "leaves"), 20_000);
    await running.get("leaves")?.stop();
    running.delete("leaves");
    await unary(fleet.client, "retireNode", { node: "leaves" });
    expect(retired()).toEqual([{ name: "leaves", retired: 1 }]);
  });

  it("brings files to a node by the coordinator alone, where no row differs, and lists them with their SHA-256", async () => {
    const { fleet, directory, start, query } = await realFleet();
    for (const name of ["has", "lacks"]) {
      query(name, (database) => database.exec("CREATE TABLE item (id TEXT PRIMARY KEY)"));
      mkdirSync(join(directory, `${name}-files`));
      await start(name, { files: [{ name: "photos", path: join(directory, `${name}-files`) }] });
    }
    await eventually(async () => (await fleet.status()).converged, 20_000);
    writeFileSync(join(directory, "has-files", "robot.jpg"), "not really a picture");
    const arrived = join(directory, "lacks-files", "robot.jpg");
    await eventually(
      () => existsSync(arrived),
      30_000,
      async () => JSON.stringify((await fleet.status()).behind.map((one) => one.reason)),
    );
    expect(readFileSync(arrived, "utf8")).toBe("not really a picture");
    await eventually(async () => (await fleet.status()).converged, 10_000);
    const answer = await fetch(fleet.url("/api/sync/files/checksums?server_id=lacks&path=photos&catchup_mode=true"));
    const checksums: unknown = await answer.json();
    const described = await Described.of(fleet.url("/api/openapi.json"));
    expect(described.problems(described.answer("GET", "/api/sync/files/checksums", 200)?.schema ?? { not: {} }, checksums)).toEqual([]);
    expect(checksums).toMatchObject({
      path: "photos",
      total: 1,
      files: [{ path: "robot.jpg", kind: "file", size: 20, sha256: createHash("sha256").update("not really a picture").digest("hex") }],
    });
    const sessions = async () =>
      (await unary(fleet.client, "listLogs", { node: "", operation: "catch-up", status: "", limit: 100, beforeId: 0n })).logs.length;
    await comesToRest(sessions, 2_000, () => "an equal fleet runs sessions");
  });

  it("serves a node that can only dial out: both ways, with its line in the log, and never called offline", async () => {
    const { fleet, directory, running, start, query } = await realFleet();
    for (const name of ["open", "inside"]) {
      query(name, (database) => database.exec("CREATE TABLE item (id TEXT PRIMARY KEY)"));
      mkdirSync(join(directory, `${name}-files`));
      await start(name, { files: [{ name: "photos", path: join(directory, `${name}-files`) }] });
    }
    await eventually(async () => (await fleet.status()).nodes.filter((node) => node.online).length === 2, 10_000);
    // Where the coordinator looks for it nobody listens, as behind a router.
    const registry = fleet.outside();
    registry.prepare("UPDATE sync_servers SET port = 1 WHERE name = 'inside'").run();
    registry.close();
    const insert = (name: string, id: string) => query(name, (database) => database.prepare("INSERT INTO item VALUES (?)").run(id));
    const rows = (name: string) => query(name, (database) => database.prepare("SELECT id FROM item ORDER BY id").pluck().all());
    // On a busy machine a scan may come while the node has not spoken for a while: then that one finds it gone, the next does not.
    await eventually(async () => {
      await unary(fleet.client, "scan", { noWait: false });
      return (await fleet.status()).nodes.some((node) => !node.reachable);
    }, 20_000);
    for (const round of [1, 2]) {
      insert("open", `open ${round}`);
      insert("inside", `inside ${round}`);
      await eventually(
        () => rows("open").length === 2 * round && rows("inside").length === 2 * round,
        20_000,
        () => `${rows("open").join()} | ${rows("inside").join()}`,
      );
    }
    // Rows are equal and no session runs any more: what is to be exchanged is files alone, both ways.
    const lines = async () =>
      (await unary(fleet.client, "listLogs", { node: "inside", operation: "", status: "", limit: 100, beforeId: 0n })).logs.length;
    await eventually(async () => (await fleet.status()).converged, 20_000);
    await comesToRest(lines, 1_500);
    const file = (name: string, of: string) => join(directory, `${name}-files`, `${of}.jpg`);
    for (const name of ["open", "inside"]) writeFileSync(file(name, name), `a picture of ${name}`);
    await eventually(() => existsSync(file("inside", "open")) && existsSync(file("open", "inside")), 30_000);
    await eventually(async () => (await fleet.status()).converged, 10_000);
    const inside = (await fleet.status()).nodes.find((node) => node.name === "inside");
    expect(inside).toMatchObject({ online: true, reachable: false, state: "equal" });
    expect(inside?.lastSync).not.toBe("");
    const { logs } = await unary(fleet.client, "listLogs", {
      node: "inside",
      operation: "catch-up",
      status: "completed",
      limit: 50,
      beforeId: 0n,
    });
    expect(logs.some((log) => log.details.includes('"source":"open"'))).toBe(true);
    // The router lets it in again, or the node had only been too busy to answer: it is a node like any other.
    const port = Number(running.get("inside")?.ready.listen.split(":")[1]);
    const outside = fleet.outside();
    outside.prepare("UPDATE sync_servers SET port = ? WHERE name = 'inside'").run(port);
    outside.close();
    await eventually(async () => (await fleet.status()).nodes.every((node) => node.reachable), 10_000);
  });

  it("catches up a node that was away while the others wrote, rows and all", async () => {
    const { fleet, running, start, query } = await realFleet();
    const names = ["oslo", "bergen", "tromso"];
    const write = (name: string, count: number) =>
      query(name, (database) => {
        const insert = database.prepare("INSERT INTO match (id, note) VALUES (?, ?)");
        database.transaction(() => {
          for (let index = 0; index < count; index++) insert.run(`${name}-${Date.now()}-${index}`, `by ${name}`);
        })();
      });
    const rows = (name: string) => query(name, (database) => database.prepare("SELECT * FROM match ORDER BY id").all());

    for (const name of names) {
      query(name, (database) => database.exec("CREATE TABLE match (id TEXT PRIMARY KEY, note TEXT)"));
      await start(name);
    }
    for (const name of names) write(name, 20);
    await eventually(
      () => names.every((name) => rows(name).length === 60),
      20_000,
      () => JSON.stringify(names.map((name) => rows(name).length)),
    );

    // What a node that is away lacks is counted from what it said last.
    await eventually(async () => (await fleet.status()).converged, 10_000);
    await running.get("tromso")?.stop();
    running.delete("tromso");
    write("oslo", 30);
    write("bergen", 5);
    // It writes, too, while it is away.
    write("tromso", 7);
    await eventually(() => rows("oslo").length === 95 && rows("bergen").length === 95, 20_000);
    await eventually(async () => {
      const tromso = (await fleet.status()).nodes.find((node) => node.name === "tromso");
      return tromso?.online === false && tromso.missingChanges === 35n;
    }, 10_000);

    const failures = async () =>
      (await unary(fleet.client, "listLogs", { node: "", operation: "", status: "failed", limit: 50, beforeId: 0n })).logs;
    const whileAway = new Set(
      (await failures()).filter(({ details }) => details.includes("tromso") || details.includes("UNREACHABLE")).map(({ id }) => id),
    );
    await start("tromso");
    await eventually(
      () => names.every((name) => rows(name).length === 102),
      20_000,
      () => JSON.stringify(names.map((name) => rows(name).length)),
    );
    expect(rows("tromso")).toEqual(rows("oslo"));
    expect(rows("bergen")).toEqual(rows("oslo"));
    await eventually(async () => (await fleet.status()).converged, 10_000);
    const failed = (await failures()).filter(({ id }) => !whileAway.has(id));
    // A session that was under way as the node was stopped ends so, or finds nobody there any more.
    expect(failed.map(({ details }) => details).filter((details) => !details.includes("SHUTTING_DOWN"))).toEqual([]);
  });
});
