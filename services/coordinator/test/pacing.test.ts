import { ReportSessionRequest, unary } from "@scoutsync/protocol";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isWithin } from "../src/jobs/offpeak.ts";
import { eventually, FleetUnderTest, ONCE_MORE } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const at = (ms: number) => new Date(ms).toISOString().slice(11, 16);
/** A window that begins in two hours, and one that began two hours ago. */
const later = () => `${at(Date.now() + 2 * HOUR_MS)}-${at(Date.now() + 3 * HOUR_MS)}`;
const now = () => `${at(Date.now() - 2 * HOUR_MS)}-${at(Date.now() + 2 * HOUR_MS)}`;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("a time of the day", () => {
  it("ends before its end, goes past midnight, and is always where nobody set it", () => {
    const on = (time: string) => new Date(`2026-03-01T${time}:30Z`);
    const within = (window: string) => ["00:00", "05:59", "06:00", "19:59", "20:00", "23:59"].filter((time) => isWithin(window, on(time)));
    expect(within("06:00-20:00")).toEqual(["06:00", "19:59"]);
    expect(within("20:00-06:00")).toEqual(["00:00", "05:59", "20:00", "23:59"]);
    expect(within("")).toHaveLength(6);
  });
});

const word = (leaseId: string, done = 1n) =>
  ReportSessionRequest.fromPartial({ leaseId, startedAt: "", progress: { database: "main", phase: "pull", done, total: 300n } });

describe.skipIf(redisProgram === null)("sync that leaves the network to others", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  beforeEach(async () => void (redis = await RedisServer.start()));
  afterEach(async () => {
    await fleet.stop();
    await redis.remove();
  });
  const set = (key: string, value: string | number) => unary(fleet.client, "setSetting", { key, value: String(value) });
  const sessions = () => fleet.nodes.reduce((sum, node) => sum + node.sessions, 0);
  const writeAll = async () => {
    for (const node of fleet.nodes) {
      node.write(1);
      await node.heartbeat(fleet.client);
    }
  };

  it("spreads the questions of a scan over the seconds that are set, and asks everybody", async () => {
    // Nobody falls silent, and only scans ask.
    fleet = await FleetUnderTest.start(redis.url, { timing: { heartbeatMs: 60_000 } });
    const nodes = await fleet.addNodes(6);
    await fleet.firstScan();
    await set("scan_stagger_seconds", 3);
    for (const node of nodes) node.pingedAt.length = 0;
    // Another interval is another schedule, which begins at once.
    await set("catchup_check_interval", 90_000);
    await eventually(() => nodes.every((node) => node.pingedAt.length > 0), 15_000);
    const times = nodes.map((node) => node.pingedAt[0] ?? 0).toSorted((a, b) => a - b);
    // Two at a time, in three seconds. A busy machine may hear of the first ones late, never of all of them at once.
    expect((times[5] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(1_000);
    await set("scan_stagger_seconds", 0);
  });

  it("starts nothing by itself outside of the off-peak window, does what is asked by hand, and begins when the window does", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await set("offpeak_window", later());
    const [a, b, c] = await fleet.addNodes(3);
    await writeAll();
    await pause(2_500);
    expect(sessions()).toBe(0);
    const { result } = await unary(fleet.client, "catchUp", { node: b!.name });
    expect(result).toMatchObject({ success: true, errors: [] });
    await unary(fleet.client, "scan", { noWait: false });
    expect(new Set([a!.standing, b!.standing, c!.standing]).size, "a scan by hand is asked for").toBe(1);
    await writeAll();
    await pause(1_500);
    expect(new Set(fleet.nodes.map((node) => node.standing)).size).toBe(3);
    // As a row of the registry, the way an admin screen sets it.
    const registry = fleet.outside();
    registry.prepare("UPDATE sync_config SET value = ? WHERE key = 'offpeak_window'").run(now());
    registry.close();
    await fleet.equal(10_000);
  });

  it("begins no more sessions in a minute than may be", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await set("sessions_per_minute", 2);
    await fleet.addNodes(6);
    await writeAll();
    await eventually(() => sessions() >= 2, 10_000);
    await pause(2_500);
    const registry = fleet.outside();
    const begun = registry.prepare("SELECT created_at FROM sync_logs ORDER BY id").pluck().all() as string[];
    registry.close();
    // On a busy machine the minute may be over before one looks.
    const apart = begun.slice(2).map((time, index) => Date.parse(time) - Date.parse(begun[index] ?? ""));
    expect(apart.filter((ms) => ms < MINUTE_MS - 1_000)).toEqual([]);
    await set("sessions_per_minute", 0);
    await fleet.equal(15_000);
  });

  it("runs no more sessions at once than may be, and a node that is critical has the first one", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await set("max_concurrent_sessions", 1);
    await set("catchup_scheduler_enabled", "false");
    const nodes = await fleet.addNodes(6);
    for (const node of nodes) node.sessionMs = 100;
    nodes[0]!.write(50);
    await nodes[0]!.heartbeat(fleet.client);
    await set("critical_nodes", "nobody, node-5");
    await set("catchup_scheduler_enabled", "true");
    await fleet.equal(20_000);
    await eventually(async () => (await fleet.status()).converged, 10_000);
    const registry = fleet.outside();
    const lines = registry.prepare("SELECT server_id, created_at, completed_at FROM sync_logs ORDER BY created_at, id").all() as {
      server_id: number;
      created_at: string;
      completed_at: string;
    }[];
    registry.close();
    expect(lines.length).toBeGreaterThanOrEqual(5);
    expect(lines[0]?.server_id).toBe(5);
    const overlapping = lines.slice(1).filter(({ created_at }, index) => created_at < (lines[index]?.completed_at ?? ""));
    expect(overlapping).toEqual([]);
  });

  it("a session that reports progress without end gives way to who waits for its node, and is a failure of that node alone", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await set("session_turn_seconds", 1);
    const [endless, source, third] = await fleet.addNodes(3);
    source!.write(3);
    endless!.endless = true;
    // Only these two at first, so that the session that never ends is one with the only source.
    await set("catchup_scheduler_enabled", "false");
    await source!.heartbeat(fleet.client);
    const lease = await unary(fleet.client, "acquireLease", { serverId: 1n, worker: "by hand", jobId: "" });
    expect(lease).toMatchObject({ granted: true, sourceName: source!.name });
    const told = setInterval(() => void unary(fleet.client, "reportSession", word(lease.leaseId)).catch(() => {}), 200);
    try {
      await pause(1_500);
      expect(await unary(fleet.client, "reportSession", word(lease.leaseId)), "nobody waits for it").toEqual({ lost: false });
      await set("catchup_scheduler_enabled", "true");
      await third!.heartbeat(fleet.client);
      await eventually(() => third!.standing === source!.standing, 30_000);
      expect(await unary(fleet.client, "reportSession", word(lease.leaseId))).toEqual({ lost: true });
      const lines = fleet.outside();
      const line = lines.prepare("SELECT details FROM sync_logs WHERE worker = 'by hand'").pluck().get() as string;
      lines.close();
      expect(line).toContain("nothing arrived");
    } finally {
      clearInterval(told);
    }
    // It is as any other once it does what it should.
    endless!.endless = false;
    await fleet.equal(60_000);
  });

  it("a session that brings something gives way and costs its node no attempt", async () => {
    fleet = await FleetUnderTest.start(redis.url);
    await set("session_turn_seconds", 1);
    await set("catchup_scheduler_enabled", "false");
    const [slow, source, third] = await fleet.addNodes(3);
    source!.write(300);
    await source!.heartbeat(fleet.client);
    const lease = await unary(fleet.client, "acquireLease", { serverId: 1n, worker: "by hand", jobId: "" });
    expect(lease.granted).toBe(true);
    let done = 0n;
    const told = setInterval(() => void unary(fleet.client, "reportSession", word(lease.leaseId, (done += 10n))).catch(() => {}), 200);
    try {
      await set("catchup_scheduler_enabled", "true");
      await third!.heartbeat(fleet.client);
      await eventually(() => third!.standing === source!.standing, 30_000);
    } finally {
      clearInterval(told);
    }
    await fleet.equal(30_000);
    const lines = fleet.outside();
    const line = lines.prepare("SELECT details FROM sync_logs WHERE worker = 'by hand'").pluck().get() as string;
    const failures = lines.prepare("SELECT failures FROM sync_servers WHERE name = ?").pluck().get(slow!.name);
    lines.close();
    expect(line).toContain("Gave way");
    expect(failures).toBe(0);
  });
});
