import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CoordinatorClient, createClient, unary } from "@scoutsync/protocol";
import { ownPort } from "@scoutsync/testkit";
import Sqlite from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually, FleetUnderTest, ONCE_MORE, QUICK } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";
import { ScriptedNode } from "./scripted-nodes.ts";

const child = (file: string, env: Record<string, string>) =>
  spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });

async function kill(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = once(process, "exit");
  process.kill("SIGKILL");
  await ended;
}

describe.skipIf(redisProgram === null)("processes that are killed or freeze", ONCE_MORE, () => {
  let redis: RedisServer;
  const leaving: (() => unknown)[] = [];
  beforeEach(async () => void (redis = await RedisServer.start()));
  afterEach(async () => {
    for (const leave of leaving.splice(0).toReversed()) await leave();
    await redis.remove();
  });

  it("a coordinator killed in the middle of a scan: the next one closes its sessions and catches everyone up", async () => {
    const directory = mkdtempSync(join(tmpdir(), "scoutsync-killed-"));
    leaving.push(() => rmSync(directory, { recursive: true, force: true }));
    const listen = `127.0.0.1:${await ownPort()}`;
    const start = async () => {
      const started = child("coordinator-process.ts", { LISTEN: listen, REDIS: redis.url, DIRECTORY: directory });
      leaving.push(() => kill(started));
      await once(started.stdout, "data");
      return started;
    };
    const first = await start();
    const client = createClient(listen, CoordinatorClient);
    leaving.push(() => client.close());
    const nodes: ScriptedNode[] = [];
    for (let index = 1; index <= 6; index++) {
      const node = await new ScriptedNode(`node-${index}`).up();
      nodes.push(node);
      leaving.push(() => node.down());
      node.sessionMs = 600;
      await node.register(client);
    }
    for (const node of nodes) node.write(2);
    const scanning = unary(client, "scan", { noWait: false }, { deadlineMs: 120_000 }).catch(() => null);
    await eventually(() => nodes.some((node) => node.sessions > 0), 10_000);
    await kill(first);
    await scanning;
    await start();
    for (const node of nodes) await node.register(client);
    await eventually(
      () => new Set(nodes.map((node) => node.standing)).size === 1,
      40_000,
      () => nodes.map((node) => `${node.name}: ${node.standing}`).join("\n"),
    );
    expect(
      nodes.map((node) => node.overlaps),
      "two sessions at once",
    ).toEqual(nodes.map(() => 0));
    const registry = new Sqlite(join(directory, "coordinator.db"), { timeout: 5_000 });
    leaving.push(() => registry.close());
    const count = (where: string) => (registry.prepare(`SELECT count(*) AS n FROM sync_logs WHERE ${where}`).get() as { n: number }).n;
    // Every attempt has its line, and none stays open: those of the killed one say why.
    await eventually(() => count("status = 'in_progress'") === 0, 10_000);
    expect(count("operation = 'catch-up sync'")).toBeGreaterThanOrEqual(nodes.reduce((sum, node) => sum + node.sessions, 0));
    const sick = registry.prepare("PRAGMA integrity_check").get();
    expect(sick).toEqual({ integrity_check: "ok" });
  });

  it("a worker killed in the middle of a session delays its nodes by the lease and nobody else at all", async () => {
    const fleet = await FleetUnderTest.start(redis.url);
    leaving.push(() => fleet.stop());
    const [a, b, c] = await fleet.addNodes(3);
    await unary(fleet.client, "setSetting", { key: "catchup_scheduler_enabled", value: "false" });
    // Played by hand, so that it is this worker that holds the session when it is gone.
    b!.sessionMs = 30;
    a!.write(1);
    await a!.heartbeat(fleet.client);
    const leased = Date.now();
    const lease = await unary(fleet.client, "acquireLease", { serverId: 2n, worker: "killed", jobId: "" });
    expect(lease.granted).toBe(true);
    await unary(fleet.client, "setSetting", { key: "catchup_scheduler_enabled", value: "true" });
    c!.write(1);
    await c!.heartbeat(fleet.client);
    await fleet.equal(QUICK.leaseMs! + QUICK.reconcileMs! + 8_000);
    expect(Date.now() - leased, "the lease was kept").toBeGreaterThanOrEqual(QUICK.leaseMs! - 100);
    const { logs } = await unary(fleet.client, "listLogs", { node: "2", operation: "", status: "failed", limit: 10, beforeId: 0n });
    expect(logs.filter((log) => log.details.includes("did not report"))).toHaveLength(1);
  });

  it("a Redis that freezes and goes on: everything answers meanwhile, and all are caught up afterwards", async () => {
    const fleet = await FleetUnderTest.start(redis.url);
    leaving.push(() => fleet.stop());
    const nodes = await fleet.addNodes(5);
    redis.freeze();
    for (const node of nodes) {
      node.write(3);
      await node.heartbeat(fleet.client);
    }
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await eventually(async () => (await fleet.status()).nodes.every((node) => node.online), 10_000);
    expect(new Set(nodes.map((node) => node.standing)).size).toBe(5);
    redis.thaw();
    await fleet.equal(QUICK.reconcileMs! + QUICK.leaseMs! + 12_000);
    await eventually(async () => (await fleet.status()).converged, 5_000);
  });
});
