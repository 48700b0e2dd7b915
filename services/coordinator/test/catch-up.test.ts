import { SyncError } from "@scoutsync/core";
import { unary } from "@scoutsync/protocol";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { comesToRest, comesTrue, eventually, FleetUnderTest, ONCE_MORE } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

describe.skipIf(redisProgram === null)("catch-up", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  beforeAll(async () => void (redis = await RedisServer.start()));
  afterEach(async () => {
    await fleet.stop();
  });
  afterAll(() => redis.remove());

  it("brings a returning node up to date within seconds and says so in the log", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const [a, b, c] = await fleet.addNodes(3);
    a!.write(10);
    await a!.heartbeat(fleet.client);
    await fleet.equal(5_000);
    await eventually(async () => (await fleet.status()).converged, 5_000);
    c!.down();
    await eventually(async () => (await fleet.status()).nodes[2]?.online === false, 5_000);
    expect((await fleet.status()).converged).toBe(false);
    a!.write(7);
    b!.write(3);
    await a!.heartbeat(fleet.client);
    await b!.heartbeat(fleet.client);
    await fleet.equal(5_000, [a!, b!]);
    await eventually(
      async () => (await fleet.status()).nodes[2]?.missingChanges === 10n,
      5_000,
      async () => String((await fleet.status()).nodes[2]?.missingChanges),
    );
    await c!.up();
    await c!.register(fleet.client);
    // Long before the next scan, which is five minutes away.
    await eventually(() => c!.standing === a!.standing, 3_000);
    await eventually(async () => (await fleet.status()).converged, 5_000);

    // That all are equal may be heard of nodes before the outcome of the session that brought it.
    await comesTrue(async () => {
      const { logs } = await unary(fleet.client, "listLogs", { node: c!.name, operation: "catch-up", status: "", limit: 1, beforeId: 0n });
      expect(logs[0]).toMatchObject({ operation: "catch-up sync", status: "completed", serverName: c!.name });
      expect(JSON.parse(logs[0]!.details)).toMatchObject({ verified: true, database_changes: { received: 10, applied: 10 } });
      const status = await fleet.status();
      expect(status.nodes.map((node) => node.missingChanges)).toEqual([0n, 0n, 0n]);
      expect(status.nodes[2]?.lastSync).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    }, 10_000);
  });

  it("retries with pauses and stops after max_retries until the next scan; the node's last_sync stays", async () => {
    // Who answers too late is away, and has new attempts when it is back; a session whose lease ran out is no attempt.
    fleet = await FleetUnderTest.start(redis.url, { timing: { pingDeadlineMs: 60_000, leaseMs: 60_000 } });
    await unary(fleet.client, "setSetting", { key: "max_retries", value: "3" });
    const [a, b] = await fleet.addNodes(2);
    await fleet.firstScan();
    const refuse = () => new SyncError({ code: "DISK_FULL", message: "The disk is full", action: "Make room." });
    b!.failures = Array.from({ length: 3 }, refuse);
    a!.write(5);
    await a!.heartbeat(fleet.client);
    await eventually(() => b!.failures.length === 0, 5_000);
    const logsOf = async () =>
      (await unary(fleet.client, "listLogs", { node: b!.name, operation: "", status: "", limit: 50, beforeId: 0n })).logs;
    await eventually(async () => (await logsOf()).filter((log) => log.status === "failed").length === 3, 3_000);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await logsOf(), "reconcile must not go on past max_retries").toHaveLength(3);
    await comesTrue(async () => {
      const status = await fleet.status();
      expect(status.nodes[1]).toMatchObject({ lastSync: "", missingChanges: 5n });
      expect(status.nodes[1]?.lastError).toContain("The disk is full");
    }, 10_000);

    const scan = await unary(fleet.client, "scan", { noWait: false });
    expect(scan.serversProcessed).toBe(2);
    expect(scan.results[0]).toMatchObject({ success: true, received: 5n, applied: 5n });
    expect(b!.standing).toBe(a!.standing);
  });

  it("is not delayed by a node that hangs and one that is dead", async () => {
    fleet = await FleetUnderTest.start(redis.url, { timing: { pingDeadlineMs: 60_000 } });
    const [a, b, frozen, dead] = await fleet.addNodes(4);
    await eventually(async () => (await fleet.status()).nodes.every((node) => node.online), 3_000);
    frozen!.frozen = true;
    dead!.down();
    a!.write(4);
    let ended = false;
    const scanning = unary(fleet.client, "scan", { noWait: false }, { deadlineMs: 120_000 }).finally(() => (ended = true));
    await eventually(() => a!.standing === b!.standing, 6_000);
    expect(ended, "the healthy node waited for the frozen one").toBe(false);
    frozen!.down();
    const { results } = await scanning;
    const outcome = Object.fromEntries(results.map((result) => [result.serverName, result.success]));
    expect(outcome[frozen!.name]).toBe(false);
    expect(outcome[dead!.name]).toBe(false);
  });

  it("syncs a node on demand even when nothing is missing, and reports zero", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const [a] = await fleet.addNodes(2);
    const { result } = await unary(fleet.client, "catchUp", { node: a!.name });
    expect(result).toMatchObject({ success: true, sent: 0n, received: 0n, errors: [] });
    expect(a!.sessions).toBe(1);
    expect((await fleet.status()).nodes[0]?.lastSync).not.toBe("");
  });

  it("leaves out disabled nodes, and starts nothing by itself while catchup_enabled is false, also when set from outside", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const registry = fleet.outside();
    registry.exec("INSERT INTO sync_config (key, value, value_type) VALUES ('catchup_enabled', 'false', 'boolean')");
    const [a, b, c] = await fleet.addNodes(3);
    a!.write(3);
    await a!.heartbeat(fleet.client);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(b!.standing).not.toBe(a!.standing);
    registry.prepare("UPDATE sync_servers SET sync_enabled = 0 WHERE name = ?").run(c!.name);
    registry.exec("UPDATE sync_config SET value = 'true' WHERE key = 'catchup_enabled'");
    registry.close();
    await eventually(() => b!.standing === a!.standing, 3_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(c!.standing).not.toBe(a!.standing);
    await eventually(async () => (await fleet.status()).converged, 5_000);
  });

  it("gets changes past a node that keeps its own to itself, without trying that one for ever", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const [a, b, silent] = await fleet.addNodes(3);
    silent!.receiveOnly = true;
    silent!.write(100);
    await silent!.heartbeat(fleet.client);
    await new Promise((resolve) => setTimeout(resolve, 300));
    a!.write(5);
    await a!.heartbeat(fleet.client);
    await eventually(() => a!.standing === b!.standing && silent!.standing.includes(a!.standing.slice("main=".length)), 5_000);
    const sessions = () => fleet.nodes.reduce((sum, node) => sum + node.sessions, 0);
    await comesToRest(sessions, 1_600, () => "sessions that move nothing are repeated");
    expect(b!.standing, "what is kept to itself is nowhere else").toBe(a!.standing);
  });

  it("brings eight nodes that all wrote to one state in few sessions", async () => {
    fleet = await FleetUnderTest.start(redis.url, { timing: { settleMs: 300 } });
    const nodes = await fleet.addNodes(8, ["main", "users"]);
    for (const [index, node] of nodes.entries()) {
      node.write(index + 1);
      node.write(2, "users");
    }
    await Promise.all(nodes.map((node) => node.heartbeat(fleet.client)));
    await fleet.equal(10_000);
    await eventually(async () => (await fleet.status()).converged, 3_000);
    const sessions = nodes.reduce((sum, node) => sum + node.sessions, 0);
    // Some more than n log2 n, where heartbeats come late on a busy machine; far fewer than every pair.
    expect(sessions).toBeLessThanOrEqual(40);
  });
});
