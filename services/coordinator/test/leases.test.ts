import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { SyncError } from "@scoutsync/core";
import {
  createClient,
  FileRootStatus,
  ReportSessionRequest,
  serverStream,
  SyncNodeClient,
  SyncRequest,
  SyncResult,
  unary,
} from "@scoutsync/protocol";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startWorker } from "../src/index.ts";
import { comesTrue, eventually, FleetUnderTest, ONCE_MORE, QUICK, quietLogger } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";
import { ScriptedNode } from "./scripted-nodes.ts";

/** A lease that a standstill of the machine does not end. */
const LONGER_MS = 8_000;

describe.skipIf(redisProgram === null)("leases and workers", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  beforeEach(async () => void (redis = await RedisServer.start()));
  afterEach(async () => {
    await fleet.stop();
    await redis.remove();
  });

  const acquire = (serverId: number, worker: string) =>
    unary(fleet.client, "acquireLease", { serverId: BigInt(serverId), worker, jobId: "" });

  it("two workers share the sessions and never run two on one node", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const worker = await startWorker({
      coordinator: fleet.service.ready.listen,
      redis: redis.url,
      logger: quietLogger(),
      timing: QUICK,
    });
    try {
      const nodes = await fleet.addNodes(8);
      const workers = () => {
        const registry = fleet.outside();
        const found = registry.prepare("SELECT DISTINCT worker FROM sync_logs").all();
        registry.close();
        return found.length;
      };
      // Who takes a job from the queue is chance: until each has had one, and then some more.
      await eventually(async () => {
        for (const node of nodes) {
          node.write(1);
          await node.heartbeat(fleet.client);
        }
        return workers() === 2;
      }, 15_000);
      await fleet.equal(15_000);
      expect(
        nodes.map((node) => node.overlaps),
        "two sessions at once",
      ).toEqual(nodes.map(() => 0));
      await eventually(async () => (await fleet.status()).converged, 5_000);
    } finally {
      await worker.stop();
    }
  });

  it("a frozen worker loses its lease; its epoch is refused and its report counts no more", async () => {
    // Redis away: this test plays both workers by hand.
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url, { timing: { leaseMs: LONGER_MS } });
    const [a, b] = await fleet.addNodes(2);
    a!.write(5);
    await a!.heartbeat(fleet.client);
    const frozen = await acquire(2, "frozen");
    expect(frozen).toMatchObject({ granted: true, sourceName: a!.name, nodeAddress: b!.address });
    expect(await acquire(2, "other")).toMatchObject({ granted: false, reason: "busy" });
    expect(await acquire(1, "other")).toMatchObject({ granted: false });

    let second = frozen;
    await eventually(async () => (second = await acquire(2, "other")).granted, 10_000);
    expect(second.epoch).toBeGreaterThan(frozen.epoch);

    const client = createClient(b!.address, SyncNodeClient);
    const run = async (epoch: bigint) => {
      const request = SyncRequest.fromPartial({ peer: a!.address, epoch });
      for await (const { kind } of serverStream(client, "sync", request)) if (kind?.$case === "result") return kind.value;
      throw new Error("no result");
    };
    const result = await run(second.epoch);
    await expect(run(frozen.epoch)).rejects.toMatchObject({ code: "FENCED" });
    client.close();

    const late = SyncResult.fromPartial({ success: true, verified: true });
    expect(
      await unary(
        fleet.client,
        "reportSession",
        ReportSessionRequest.fromPartial({ leaseId: frozen.leaseId, result: late, startedAt: "" }),
      ),
    ).toEqual({ lost: true });
    expect((await fleet.status()).nodes[1]?.lastSync, "a late report must not move last_sync").toBe("");
    expect(
      await unary(fleet.client, "reportSession", ReportSessionRequest.fromPartial({ leaseId: second.leaseId, result, startedAt: "" })),
    ).toEqual({ lost: false });
    expect((await fleet.status()).nodes[1]?.lastSync).not.toBe("");

    const { logs } = await unary(fleet.client, "listLogs", { node: "", operation: "", status: "", limit: 10, beforeId: 0n });
    expect(logs.map((log) => log.status)).toEqual(["completed", "failed"]);
    expect(logs[1]?.details).toContain("did not report");
  });

  it("an outcome that is reported twice at once counts once", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url);
    const [a] = await fleet.addNodes(2);
    a!.write(5);
    await a!.heartbeat(fleet.client);
    const lease = await acquire(2, "worker");
    const failure = { errors: [{ code: "DISK_FULL", message: "full" }] };
    const report = () =>
      unary(fleet.client, "reportSession", ReportSessionRequest.fromPartial({ leaseId: lease.leaseId, startedAt: "", result: failure }));
    const answers = await Promise.all([report(), report(), report()]);
    expect(answers.filter(({ lost }) => !lost)).toHaveLength(1);
    const registry = fleet.outside();
    expect(registry.prepare("SELECT failures FROM sync_servers WHERE id = 2").pluck().get()).toBe(1);
    registry.close();
  });

  it("a lease lives as long as it is renewed", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url, { timing: { leaseMs: LONGER_MS } });
    const [a] = await fleet.addNodes(2);
    a!.write(5);
    await a!.heartbeat(fleet.client);
    const lease = await acquire(2, "slow");
    for (let turn = 0; turn < 6; turn++) {
      await new Promise((resolve) => setTimeout(resolve, LONGER_MS / 5));
      const report = { leaseId: lease.leaseId, result: undefined, startedAt: "" };
      expect(await unary(fleet.client, "reportSession", ReportSessionRequest.fromPartial(report))).toEqual({ lost: false });
    }
    expect(await acquire(2, "other")).toMatchObject({ reason: "busy" });
  });

  it("stopping a worker in the middle of a session burns no attempt and the session is run again", async () => {
    // Whoever stops reports within twice this and two seconds, or not at all.
    fleet = await FleetUnderTest.start(redis.url, { timing: { graceMs: 2_000 } });
    await unary(fleet.client, "setSetting", { key: "max_retries", value: "1" });
    const [a, b] = await fleet.addNodes(2);
    // It is cut: on a busy machine a short one is over before all has stopped.
    b!.sessionMs = 60_000;
    a!.write(5);
    await a!.heartbeat(fleet.client);
    await eventually(() => b!.sessions === 1, 5_000);
    const { directory } = fleet;
    await fleet.stop({ keep: true });
    const nodes = [...fleet.nodes];
    fleet = await FleetUnderTest.start(redis.url, { directory });
    fleet.nodes.push(...nodes);
    for (const node of nodes) {
      node.sessionMs = 30;
      await node.up();
    }
    await fleet.equal(8_000);
    const { logs } = await unary(fleet.client, "listLogs", { node: "", operation: "", status: "failed", limit: 10, beforeId: 0n });
    expect(logs).toHaveLength(1);
    expect(logs[0]?.details).toContain("SHUTTING_DOWN");
  });

  it("a worker process that freezes in the middle of a session is replaced, and does no harm when it wakes", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const child = spawn(process.execPath, [fileURLToPath(new URL("worker-process.ts", import.meta.url))], {
      env: { ...process.env, COORDINATOR: fleet.service.ready.listen, REDIS: redis.url },
      stdio: ["ignore", "ignore", "inherit"],
    });
    try {
      const [a, b] = await fleet.addNodes(2);
      const worker = () => {
        const registry = fleet.outside();
        const row = registry.prepare("SELECT worker FROM sync_logs WHERE status = 'in_progress'").get() as { worker: string } | undefined;
        registry.close();
        return row?.worker ?? "";
      };
      // Until it is the other process that got the job: both take from one queue.
      for (let round = 0; ; round++) {
        b!.sessionMs = 30;
        await fleet.equal(5_000);
        if (round > 50) throw new Error("the other process never got a job");
        await eventually(() => worker() === "", 5_000);
        b!.sessionMs = 60_000;
        const begun = b!.sessions;
        a!.write(1);
        await a!.heartbeat(fleet.client);
        await eventually(() => worker() !== "", 5_000);
        // Only a session that its node knows of is counted: one that begins later would look like the one in its place.
        await eventually(() => b!.sessions > begun, 5_000);
        if (worker().includes(`:${child.pid}:`)) break;
        b!.finishNow();
      }
      child.kill("SIGSTOP");
      const before = b!.sessions;
      await eventually(() => b!.sessions > before, 12_000);
      b!.finishNow();
      await fleet.equal(5_000);
      child.kill("SIGCONT");
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      await comesTrue(() => {
        const registry = fleet.outside();
        const line = registry
          .prepare("SELECT id, status FROM sync_logs WHERE worker LIKE ? ORDER BY id DESC LIMIT 1")
          .get(`%:${child.pid}:%`) as { id: number; status: string };
        const replaced = registry.prepare("SELECT count(*) FROM sync_logs WHERE id > ? AND status = 'completed'").pluck().get(line.id);
        registry.close();
        expect(line.status).toBe("failed");
        expect(replaced).toBeGreaterThan(0);
      }, 10_000);
      await eventually(async () => (await fleet.status()).converged, 5_000);
    } finally {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    }
  });

  it("last_sync stays after a session that was not verified", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url);
    const [a] = await fleet.addNodes(2);
    a!.write(5);
    await a!.heartbeat(fleet.client);
    const lease = await acquire(2, "worker");
    const result = SyncResult.fromPartial({ success: true, verified: false });
    await unary(fleet.client, "reportSession", ReportSessionRequest.fromPartial({ leaseId: lease.leaseId, result, startedAt: "" }));
    expect((await fleet.status()).nodes.map((node) => node.lastSync)).toEqual(["", ""]);
  });

  it("picks another source when the first cannot be reached from the node", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    const [a, b] = await fleet.addNodes(2);
    a!.write(5);
    b!.vectors.set("main", a!.vectors.get("main")!);
    for (const node of [a, b]) await node!.heartbeat(fleet.client);
    // Not before both are known to have it: a first source that is the only one is tried again.
    const c = await new ScriptedNode("node-3").up();
    c.failures = [new SyncError({ code: "PEER_UNREACHABLE", message: "no route", action: "Check the network." })];
    fleet.nodes.push(c);
    await c.register(fleet.client);
    await fleet.equal(5_000);
    const registry = fleet.outside();
    const sources = registry.prepare("SELECT source_id FROM sync_logs WHERE server_id = 3 ORDER BY id").all() as { source_id: number }[];
    registry.close();
    expect(sources).toHaveLength(2);
    expect(sources[0]?.source_id).not.toBe(sources[1]?.source_id);
  });

  it("a restored database fetches, also where it seems to lack nothing, and is no source before it has", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url);
    const [restored, other] = await fleet.addNodes(3);
    restored!.write(5);
    restored!.lie = (truth) => ({
      ...truth,
      databases: truth.databases.map((database) => ({ ...database, restored: true, problem: "it was restored" })),
    });
    await restored!.heartbeatLie(fleet.client);
    for (const id of [2, 3]) expect(await acquire(id, "worker")).toMatchObject({ granted: false, reason: "nothing-missing" });
    const lease = await acquire(1, "worker");
    expect(lease).toMatchObject({ granted: true, nodeAddress: restored!.address, databases: ["main"] });
    restored!.lie = null;
    const result = SyncResult.fromPartial({ success: true, verified: true });
    await unary(fleet.client, "reportSession", ReportSessionRequest.fromPartial({ leaseId: lease.leaseId, result, startedAt: "" }));
    await restored!.heartbeat(fleet.client);
    expect(await acquire(2, "worker")).toMatchObject({ granted: true, nodeAddress: other!.address, sourceAddress: restored!.address });
  });

  it("files that a node knows of and does not have are fetched from one that has them, though digests are equal", async () => {
    await redis.kill();
    fleet = await FleetUnderTest.start(redis.url);
    const [lacking, whole] = await fleet.addNodes(2);
    for (const [node, pending] of [
      [lacking!, 40n],
      [whole!, 0n],
    ] as const) {
      node.lie = (truth) => ({ ...truth, files: [FileRootStatus.fromPartial({ root: "uploads", digest: "same", pending })] });
      await node.heartbeatLie(fleet.client);
    }
    expect(await acquire(2, "worker")).toMatchObject({ granted: false, reason: "nothing-missing" });
    expect(await acquire(1, "worker")).toMatchObject({ granted: true, sourceAddress: whole!.address });
    expect(await fleet.status()).toMatchObject({ converged: false });
  });
});
