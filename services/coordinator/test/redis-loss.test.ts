import { SyncError } from "@scoutsync/core";
import { unary } from "@scoutsync/protocol";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually, FleetUnderTest, ONCE_MORE } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

/** Reconciles and leases are seconds here; the next scan is five minutes away. Between lies what the machine takes. */
const HEALED_WITHIN_MS = 60_000;

describe.skipIf(redisProgram === null)("losing Redis", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  beforeEach(async () => void (redis = await RedisServer.start()));
  afterEach(async () => {
    await fleet.stop();
    await redis.remove();
  });

  async function flush(): Promise<void> {
    const connection = new Redis(redis.url);
    await connection.flushall();
    connection.disconnect();
  }

  async function writeEverywhere(): Promise<void> {
    for (const node of fleet.nodes) {
      node.sessionMs = 150;
      node.write(5);
      await node.heartbeat(fleet.client).catch(() => {});
    }
  }

  async function everyAttemptIsLoggedOnce(): Promise<void> {
    // A session that ends while the coordinator looks is closed within a moment.
    await eventually(() => {
      const registry = fleet.outside();
      const open = registry.prepare("SELECT count(*) AS n FROM sync_logs WHERE status = 'in_progress'").get() as { n: number };
      const lines = registry.prepare("SELECT count(*) AS n FROM sync_logs").get() as { n: number };
      registry.close();
      const sessions = fleet.nodes.reduce((sum, node) => sum + node.sessions, 0);
      return open.n === 0 && lines.n >= sessions;
    }, 5_000);
  }

  it("FLUSHALL while catch-ups run delays them by at most one reconcile", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await fleet.addNodes(5);
    await writeEverywhere();
    await eventually(() => fleet.nodes.some((node) => node.sessions > 0), 5_000);
    for (let round = 0; round < 3; round++) {
      await flush();
      await new Promise((resolve) => setTimeout(resolve, 120));
    }
    await fleet.equal(HEALED_WITHIN_MS);
    await eventually(async () => (await fleet.status()).converged, 5_000);
    await everyAttemptIsLoggedOnce();
    expect(
      fleet.nodes.map((node) => node.overlaps),
      "two sessions at once",
    ).toEqual([0, 0, 0, 0, 0]);
  });

  it("FLUSHALL during the pause before a retry does not lose the retry", async () => {
    fleet = await FleetUnderTest.start(redis.url, { timing: { retryFirstMs: 60_000, retryCapMs: 60_000 } });
    const [a, b] = await fleet.addNodes(2);
    b!.failures = [new SyncError({ code: "DISK_FULL", message: "The disk is full", action: "Make room." })];
    a!.write(1);
    await a!.heartbeat(fleet.client);
    await eventually(() => b!.failures.length === 0, 5_000);
    await flush();
    await fleet.equal(HEALED_WITHIN_MS);
    expect(b!.sessions, "the attempt that failed and the one that did not").toBeGreaterThan(0);
  });

  it("killed without persistence and started again while catch-ups run: everything is caught up", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await fleet.addNodes(5);
    await writeEverywhere();
    await eventually(() => fleet.nodes.some((node) => node.sessions > 0), 5_000);
    await redis.kill();
    await writeEverywhere();
    // It must not wait for Redis, which stays away until it has answered.
    const status = await fleet.status();
    expect(status.nodes).toHaveLength(5);
    await eventually(async () => (await fleet.status()).jobs?.problem !== "", 3_000);
    await redis.up();
    await fleet.equal(HEALED_WITHIN_MS);
    await eventually(async () => (await fleet.status()).converged, 5_000);
    await everyAttemptIsLoggedOnce();
  });

  it("starts and answers while Redis is away, says what to do, and works when it comes", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(`redis://:secret@127.0.0.1:${redis.port}`);
    await fleet.addNodes(2);
    fleet.nodes[0]!.write(3);
    await fleet.nodes[0]!.heartbeat(fleet.client);
    const status = await fleet.status();
    expect(status.jobs?.problem).toContain(`redis://:***@127.0.0.1:${redis.port} cannot be reached (`);
    expect(status.jobs?.problem).toContain("redis-server --appendonly yes");
    expect(status.jobs?.problem).not.toContain("secret");
    await expect(unary(fleet.client, "scan", { noWait: false })).rejects.toMatchObject({ code: "REDIS_UNREACHABLE" });
    await expect(unary(fleet.client, "catchUp", { node: "node-1" })).rejects.toMatchObject({ code: "REDIS_UNREACHABLE" });
    expect((await fetch(fleet.url("/healthz"))).status).toBe(200);
    const refused = await fetch(fleet.url("/api/sync/catchup/scan"), { method: "POST" });
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ code: "REDIS_UNREACHABLE" });
  });

  it("a coordinator started before Redis catches everyone up once it is there", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url);
    await fleet.addNodes(3);
    await writeEverywhere();
    expect(new Set(fleet.nodes.map((node) => node.standing)).size).toBe(3);
    await redis.up();
    await fleet.equal(HEALED_WITHIN_MS);
  });

  it("keeps the periodic scan in Redis at the interval that is set, also after a flush", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const connection = new Redis(redis.url);
    const every = async () => connection.hget("{scoutsync}:scan:repeat:scan-tick", "every");
    await eventually(async () => (await every()) === "300000", 3_000);
    const registry = fleet.outside();
    registry.exec("INSERT INTO sync_config (key, value, value_type) VALUES ('catchup_check_interval', '7', 'integer')");
    await eventually(async () => (await every()) === "7000", 3_000);
    await flush();
    await eventually(async () => (await every()) === "7000", 3_000);
    registry.exec("INSERT INTO sync_config (key, value, value_type) VALUES ('catchup_scheduler_enabled', 'false', 'boolean')");
    await eventually(async () => (await every()) === null, 3_000);
    expect(await every()).toBeNull();
    registry.close();
    connection.disconnect();
  });
});
