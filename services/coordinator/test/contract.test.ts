import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { unary, serverStream, HeartbeatRequest, RegisterRequest, AddNodeRequest, type WatchResponse } from "@scoutsync/protocol";
import { Client, credentials } from "@grpc/grpc-js";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COORDINATOR_METRICS, startCoordinator } from "../src/index.ts";
import { CATCH_UP_QUEUE, PREFIX } from "../src/jobs/queues.ts";
import { comesTrue, eventually, FleetUnderTest, ONCE_MORE, quietLogger } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";
import { ScriptedNode } from "./scripted-nodes.ts";

const run = promisify(execFile);
const ISO_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe.skipIf(redisProgram === null)("what users and tools see", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  beforeAll(async () => {
    redis = await RedisServer.start();
    fleet = await FleetUnderTest.start(redis.url);
    const [a] = await fleet.addNodes(2);
    a!.write(4);
    await a!.heartbeat(fleet.client);
    await fleet.equal(5_000);
    await eventually(async () => (await fleet.status()).converged, 5_000);
    // That all are equal may be heard of nodes before the outcome of the session that brought it.
    await eventually(async () => (await unary(fleet.client, "listJobs", { state: "completed", limit: 1 })).jobs.length === 1, 10_000);
  });
  afterAll(async () => {
    await fleet.stop();
    await redis.remove();
  });
  // As an attempt that failed may have left it: settings changed, jobs paused, other nodes there than the two.
  let failed = "";
  beforeEach(async ({ task }) => {
    if (failed !== task.name) return;
    const registry = fleet.outside();
    const set = registry.prepare("UPDATE sync_config SET value = ? WHERE key = ?");
    set.run("true", "catchup_scheduler_enabled");
    set.run("100", "catchup_batch_size");
    registry.close();
    await unary(fleet.client, "resumeJobs", {});
    for (const node of fleet.nodes.splice(2)) node.down();
    const { nodes } = await unary(fleet.client, "listNodes", {});
    for (const { id } of nodes) if (id > 2n) await unary(fleet.client, "removeNode", { node: String(id) });
  });
  afterEach(({ task }) => void (failed = task.result?.state === "fail" ? task.name : ""));

  it("the SQL of the contract runs on the registry as written", () => {
    const registry = fleet.outside();
    const logs = registry
      .prepare(
        "SELECT sl.created_at, s.name AS server_name, sl.operation, sl.status, sl.details FROM sync_logs sl JOIN sync_servers s ON sl.server_id = s.id WHERE sl.operation LIKE '%catch-up%' ORDER BY sl.created_at DESC;",
      )
      .all() as Record<string, string>[];
    expect(logs.length).toBeGreaterThan(0);
    expect(logs[0]).toMatchObject({ operation: "catch-up sync", status: "completed" });
    expect(logs[0]?.["created_at"]).toMatch(ISO_UTC);
    const servers = registry
      .prepare("SELECT id, name, host, port, sync_enabled, last_sync, last_ping, ping_success FROM sync_servers")
      .all() as Record<string, unknown>[];
    expect(servers[0]).toMatchObject({ id: 1, name: "node-1", host: "127.0.0.1", sync_enabled: 1, ping_success: 1 });
    expect(servers[0]?.["last_sync"]).toMatch(ISO_UTC);
    expect(registry.prepare("SELECT count(*) AS n FROM sync_config").get()).toEqual({ n: 0 });
    registry.exec(
      "INSERT INTO sync_config (key, value, value_type) VALUES ('catchup_enabled','true','boolean'),('max_catchup_days','30','integer'),('catchup_batch_size','100','integer'),('catchup_check_interval','300','integer'),('catchup_scheduler_enabled','true','boolean');",
    );
    registry.close();
  });

  it("an INSERT into sync_config takes effect at once", async () => {
    const { settings } = await unary(fleet.client, "getSettings", {});
    const batch = settings.find((setting) => setting.key === "catchup_batch_size");
    expect(batch).toMatchObject({ value: "100", valueType: "integer", isDefault: false });
    expect(settings.find((setting) => setting.key === "max_retries")).toMatchObject({ value: "5", isDefault: true });
    const node = fleet.nodes[0]!;
    node.write(1);
    const registry = fleet.outside();
    registry.exec("UPDATE sync_config SET value = '250' WHERE key = 'catchup_batch_size'");
    registry.close();
    const again = await unary(fleet.client, "getSettings", {});
    expect(again.settings.find((setting) => setting.key === "catchup_batch_size")?.value).toBe("250");
    await node.heartbeat(fleet.client);
    await eventually(async () => (await fleet.status()).converged, 5_000);
  });

  it("GET /api/sync/catchup/status", async () => {
    let body: Record<string, unknown> = {};
    await eventually(async () => {
      body = (await (await fetch(fleet.url("/api/sync/catchup/status"))).json()) as Record<string, unknown>;
      return (body["servers_needing_catchup"] as unknown[]).length === 0;
    }, 10_000);
    expect(Object.keys(body).sort()).toEqual(
      ["catchup_enabled", "max_catchup_days", "recent_catchup_logs", "servers_needing_catchup", "timestamp"].sort(),
    );
    expect(body).toMatchObject({ catchup_enabled: true, max_catchup_days: 30, servers_needing_catchup: [] });
    const [log] = body["recent_catchup_logs"] as Record<string, unknown>[];
    expect(Object.keys(log ?? {})).toEqual(["id", "server_name", "operation", "status", "created_at", "details"]);
    expect(body["timestamp"]).toMatch(ISO_UTC);
  });

  it("POST /api/sync/catchup/scan and what a server in need looks like", async () => {
    const node = await new ScriptedNode("late").up();
    fleet.nodes.push(node);
    await unary(fleet.client, "setSetting", { key: "catchup_scheduler_enabled", value: "false" });
    const id = await node.register(fleet.client);
    const written = [...(fleet.nodes[0]?.vectors.get("main")?.values() ?? [])].reduce((sum, changes) => sum + changes, 0);
    let status: { servers_needing_catchup: Record<string, unknown>[] } = { servers_needing_catchup: [] };
    await eventually(async () => {
      status = (await (await fetch(fleet.url("/api/sync/catchup/status"))).json()) as typeof status;
      return status.servers_needing_catchup.length === 1 && status.servers_needing_catchup[0]?.["missing_changes"] === written;
    }, 10_000);
    expect(status.servers_needing_catchup).toHaveLength(1);
    expect(status.servers_needing_catchup[0]).toMatchObject({ id, name: "late", host: "127.0.0.1", missing_changes: written });
    expect(Object.keys(status.servers_needing_catchup[0] ?? {})).toEqual([
      "id",
      "name",
      "host",
      "last_sync",
      "last_ping",
      "ping_success",
      "missing_changes",
    ]);
    const headers = { "content-type": "application/json" };
    const answer = await fetch(fleet.url("/api/sync/catchup/scan"), { method: "POST", headers });
    expect(answer.status).toBe(200);
    const body = (await answer.json()) as { results: Record<string, unknown>[] };
    expect(body).toMatchObject({ message: "Catch-up scan completed", servers_processed: 3 });
    expect(body.results[0]).toMatchObject({
      server_id: id,
      server_name: "late",
      success: true,
      database_changes: { sent: 0, received: written, applied: written },
      file_changes: { uploaded: 0, downloaded: 0 },
      errors: [],
    });
    expect(Object.keys(body.results[0] ?? {})).toEqual([
      "server_id",
      "server_name",
      "started_at",
      "completed_at",
      "success",
      "database_changes",
      "file_changes",
      "errors",
      "duration",
    ]);
    await unary(fleet.client, "setSetting", { key: "catchup_scheduler_enabled", value: "true" });
  });

  it("POST /api/sync/sqlite3/sync/{server_id}", async () => {
    await fleet.equal(10_000);
    fleet.nodes[0]!.write(2);
    const answer = await fetch(fleet.url("/api/sync/sqlite3/sync/1"), { method: "POST" });
    const body = (await answer.json()) as Record<string, unknown>;
    expect(body).toMatchObject({ success: true, stats: { remote_changes_received: 0 } });
    // Two, and two again where another node fetched them meanwhile.
    expect([2, 4]).toContain((body["stats"] as Record<string, unknown>)["local_changes_sent"]);
    expect(body).not.toHaveProperty("error");
    const unknown = await fetch(fleet.url("/api/sync/sqlite3/sync/99"), { method: "POST" });
    expect(unknown.status).toBe(404);
    expect(unknown.headers.get("content-type")).toContain("application/problem+json");
    expect(await unknown.json()).toMatchObject({ status: 404, code: "NOT_FOUND", success: false });
  });

  it("GET /healthz, /metrics and /", async () => {
    expect(await (await fetch(fleet.url("/healthz"))).json()).toEqual({ status: "ok", redis: "ok" });
    let metrics = "";
    await comesTrue(async () => {
      metrics = await (await fetch(fleet.url("/metrics"))).text();
      expect(metrics).toMatch(/scoutsync_nodes\{state="online"\} [23]/);
      expect(metrics).toContain("scoutsync_redis_up 1");
    }, 10_000);
    expect(metrics).toContain('scoutsync_sessions_total{outcome="completed"}');
    for (const { name, type, labels } of Object.values(COORDINATOR_METRICS)) {
      expect(metrics).toContain(`# TYPE ${name} ${type}`);
      // A label outside of its list is how a fleet of thousands floods a monitoring server.
      const allowed = labels as Record<string, readonly string[]>;
      const lines = metrics.split("\n").filter((line) => line.startsWith(`${name}{`));
      const foreign = lines.filter((line) =>
        [...line.matchAll(/(\w+)="([^"]*)"/g)].some(([, label = "", value = ""]) => label !== "le" && !allowed[label]?.includes(value)),
      );
      expect(foreign).toEqual([]);
    }
    const page = await (await fetch(fleet.url("/"))).text();
    expect(page).toContain('<script type="module" src="dashboard/main.ts">');
  });

  it("answers through reflection, and says over the health service that it serves", async () => {
    const target = `http://${fleet.service.ready.listen}`;
    const curl = (...options: string[]) => run("buf", ["curl", "--protocol", "grpc", "--http2-prior-knowledge", ...options]);
    const methods = (await curl("--list-methods", target)).stdout.split("\n");
    expect(methods.filter((line) => line.startsWith("scoutsync.v1.Coordinator/"))).toHaveLength(28);
    expect(methods).toContain("grpc.health.v1.Health/Check");
    for (const method of ["GetStatus", "ListNodes", "GetSettings", "ListLogs", "ListJobs"]) {
      const { stdout } = await curl(`${target}/scoutsync.v1.Coordinator/${method}`);
      expect(JSON.parse(stdout)).not.toEqual({});
    }
    const health = new Client(fleet.service.ready.listen, credentials.createInsecure());
    const pass = (bytes: Buffer) => bytes;
    const answer = await new Promise<Buffer | undefined>((resolve, reject) => {
      const request = Buffer.alloc(0);
      health.makeUnaryRequest("/grpc.health.v1.Health/Check", pass, pass, request, (error, bytes) =>
        error ? reject(error) : resolve(bytes),
      );
    });
    health.close();
    // HealthCheckResponse { status = 1: SERVING }
    expect([...(answer ?? [])]).toEqual([8, 1]);
  });

  it("adds, finds, disables and removes nodes; a registration takes over the row of its address", async () => {
    const later = await new ScriptedNode("later").up();
    const [host, port] = later.address.split(":");
    later.down();
    const add = (disabled: boolean) =>
      unary(fleet.client, "addNode", AddNodeRequest.fromPartial({ name: "by-hand", host: host ?? "", port: Number(port), disabled }));
    const { node } = await add(true);
    expect(node).toMatchObject({ name: "by-hand", syncEnabled: false, online: false });
    await add(false);
    await later.up();
    fleet.nodes.push(later);
    const id = await later.register(fleet.client);
    expect(BigInt(id)).toBe(node?.id);
    const { nodes } = await unary(fleet.client, "listNodes", {});
    expect(nodes.filter((known) => known.port === Number(port))).toHaveLength(1);
    await fleet.equal(5_000);

    // The same node at another address keeps its row.
    later.down();
    later.address = "";
    await later.up();
    expect(await later.register(fleet.client)).toBe(id);
    later.down();
    await unary(fleet.client, "removeNode", { node: "later" });
    fleet.nodes.splice(fleet.nodes.indexOf(later), 1);
    await expect(unary(fleet.client, "removeNode", { node: "later" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await unary(fleet.client, "heartbeat", HeartbeatRequest.fromPartial({ nodeId: later.nodeId }))).toMatchObject({
      unknown: true,
    });
  });

  it("fills in the host that a node does not know of itself", async () => {
    const request = RegisterRequest.fromPartial({ nodeId: "hostless", name: "hostless", host: "", port: 9, run: "1" });
    const { id } = await unary(fleet.client, "register", request);
    const { nodes } = await unary(fleet.client, "listNodes", {});
    expect(nodes.find((node) => node.id === id)?.host).toBe("127.0.0.1");
    await unary(fleet.client, "removeNode", { node: "hostless" });
  });

  it("streams events and lists jobs", async () => {
    const stop = new AbortController();
    const events: WatchResponse[] = [];
    const watching = (async () => {
      for await (const event of serverStream(fleet.client, "watch", {}, { signal: stop.signal })) events.push(event);
    })().catch(() => {});
    await eventually(async () => {
      await unary(fleet.client, "catchUp", { node: "1" });
      return events.some((event) => event.kind === "session" && event.serverName === "node-1");
    }, 5_000);
    stop.abort();
    await watching;
    // The outcome of a session is known before its job has ended.
    await comesTrue(async () => {
      const { jobs } = await unary(fleet.client, "listJobs", { state: "completed", limit: 5 });
      expect(jobs[0]).toMatchObject({ name: "catch-up", state: "completed" });
    }, 10_000);
  });

  it("lists every job also while jobs move from one state to another", async () => {
    await unary(fleet.client, "pauseJobs", {});
    const connection = new Redis(redis.url);
    const queue = new Queue(CATCH_UP_QUEUE, { connection, prefix: PREFIX });
    try {
      const added = await Promise.all(Array.from({ length: 100 }, () => queue.add("of nobody", { serverId: 0 }, { delay: 3_600_000 })));
      let moved = false;
      const moving = (async () => {
        for (const job of added) await job.promote();
      })().finally(() => (moved = true));
      moving.catch(() => {});
      while (!moved) {
        const { jobs } = await unary(fleet.client, "listJobs", { state: "", limit: 1_000 });
        const listed = new Set(jobs.map(({ id }) => id));
        expect(added.map(({ id }) => id).filter((id) => !listed.has(id ?? ""))).toEqual([]);
      }
      await moving;
      for (const job of added) await job.remove();
    } finally {
      await queue.close();
      connection.disconnect();
      await unary(fleet.client, "resumeJobs", {});
    }
  });

  it("refuses settings it does not know or that do not fit, and says what to use", async () => {
    await expect(unary(fleet.client, "setSetting", { key: "colour", value: "red" })).rejects.toThrow(/Use one of: catchup_enabled/);
    await expect(unary(fleet.client, "setSetting", { key: "max_retries", value: "0" })).rejects.toThrow(/whole number of at least 1/);
  });

  it("says which address is taken", async () => {
    const blocker = createServer().listen(0, "127.0.0.1");
    await once(blocker, "listening");
    const taken = `127.0.0.1:${(blocker.address() as { port: number }).port}`;
    const config = { redis: redis.url, dataDirectory: `${fleet.directory}/second`, logger: quietLogger() };
    const start = (listen: string, http: string) => startCoordinator({ ...config, listen, http });
    await expect(start(taken, "127.0.0.1:0")).rejects.toMatchObject({ code: "PORT_TAKEN" });
    await expect(start("127.0.0.1:0", taken)).rejects.toMatchObject({ code: "PORT_TAKEN" });
    blocker.close();
  });
});
