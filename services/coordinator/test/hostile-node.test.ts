import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { type DatabaseStatus, PingResponse, SyncResult, unary } from "@scoutsync/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CATCH_UP_QUEUE, PREFIX } from "../src/jobs/queues.ts";
import { Described } from "./described.ts";
import { eventually, FleetUnderTest, ONCE_MORE } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";
import { PATIENT } from "./scripted-nodes.ts";

const LARGEST_UINT64 = 2n ** 64n - 1n;
const LARGEST_INT64 = 2n ** 63n - 1n;
const IN_9999_US = 253_402_300_799_000_000n;
/** Of the whole fleet as it is shown: what a lie of many megabytes must not become. */
const LARGEST_ANSWER = 5_000_000;

type Lie = (truth: PingResponse) => PingResponse;
const first = (truth: PingResponse) => truth.databases[0] as DatabaseStatus;
const said = (truth: PingResponse, more: object): PingResponse => PingResponse.fromPartial({ ...truth, ...more });
const database = (truth: PingResponse, more: object) => said(truth, { databases: [{ ...first(truth), ...more }] });

/** What a node may answer that is broken, or wants to do harm. */
const LIES: Record<string, Lie> = {
  "ten thousand databases": (truth) =>
    said(truth, { databases: Array.from({ length: 10_000 }, (_, at) => ({ ...first(truth), name: `db ${at}` })) }),
  "one database many times": (truth) => said(truth, { databases: Array.from({ length: 50 }, () => first(truth)) }),
  "one file root many times": (truth) =>
    said(truth, { files: Array.from({ length: 50 }, (_, at) => ({ root: "photos", cursor: `${at}`, digest: "d" })) }),
  "a hundred thousand tables with long names": (truth) =>
    database(truth, { tables: Array.from({ length: 100_000 }, (_, at) => `${"t".repeat(100)}${at}`) }),
  "a name of a megabyte": (truth) =>
    said(truth, { name: "n".repeat(1_000_000), version: "v".repeat(1_000_000), run: "r".repeat(1_000_000) }),
  "no identity": (truth) => said(truth, { nodeId: "" }),
  "an identity of a megabyte": (truth) => said(truth, { nodeId: "i".repeat(1_000_000) }),
  "a vector that is none": (truth) => database(truth, { vector: "\u0000,;DROP TABLE sync_servers" }),
  "a vector of three megabytes": (truth) =>
    database(truth, { vector: Array.from({ length: 150_000 }, (_, at) => `${String(at).padStart(16, "a")}:1`).join(",") }),
  "a vector with a number beyond all": (truth) => database(truth, { vector: `aaaaaaaaaaaaaaaa:${LARGEST_UINT64}` }),
  "the largest counts there are": (truth) =>
    database(truth, {
      pending: LARGEST_UINT64,
      parked: LARGEST_UINT64,
      conflicts: LARGEST_UINT64,
      rows: LARGEST_UINT64,
      held: LARGEST_UINT64,
      problem: "p".repeat(1_000_000),
    }),
  "a clock in the year 9999": (truth) => said(truth, { timeUs: IN_9999_US }),
  "a clock beyond all dates": (truth) => said(truth, { timeUs: LARGEST_INT64 }),
  "a clock before all dates": (truth) => said(truth, { timeUs: -LARGEST_INT64 }),
  "a disk larger than all, with more free than it holds": (truth) =>
    said(truth, { disk: { freeBytes: LARGEST_UINT64, totalBytes: 1n, of: [] } }),
  "nothing at all": () => PingResponse.fromPartial({}),
};

describe.skipIf(redisProgram === null)("a node that says what cannot be true", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  let described: Described;
  beforeAll(async () => {
    redis = await RedisServer.start();
    fleet = await FleetUnderTest.start(redis.url);
    await fleet.addNodes(3);
    fleet.nodes[0]!.write(3);
    await fleet.nodes[0]!.heartbeat(fleet.client);
    await fleet.equal(40_000);
    described = await Described.of(fleet.url("/api/openapi.json"));
  });
  afterAll(async () => {
    await fleet.stop();
    await redis.remove();
  });

  /** What is asked has the shape that it should, and is of a size that somebody can read. */
  async function answersAreGood(paths = ["/api/fleet", "/api/nodes", "/api/logs", "/api/jobs", "/api/alerts", "/api/sync/catchup/status"]) {
    for (const path of paths) {
      const answer = await fetch(fleet.url(path));
      const text = await answer.text();
      expect(answer.status, `${path}: ${text.slice(0, 500)}`).toBe(200);
      expect(text.length, path).toBeLessThan(LARGEST_ANSWER);
      expect(described.problems(described.answer("GET", path, 200)?.schema ?? { not: {} }, JSON.parse(text)), path).toEqual([]);
    }
    const metrics = await (await fetch(fleet.url("/metrics"))).text();
    expect(metrics).toContain("scoutsync_nodes");
    expect(metrics).not.toMatch(/ (NaN|-?Infinity)$/m);
    await fleet.status();
  }

  it("harms nobody else, whatever it says of itself, and takes part again when it says what is so", { timeout: 900_000 }, async () => {
    const [good, other, liar] = fleet.nodes;
    for (const [name, lie] of Object.entries(LIES)) {
      liar!.lie = lie;
      // Over the wire of a heartbeat no more than four megabytes come in: it may be refused, and nothing else.
      await liar!.heartbeatLie(fleet.client).catch(() => {});
      good!.write(1);
      await good!.heartbeat(fleet.client);
      await fleet.equal(40_000, [good!, other!]);
      await unary(fleet.client, "scan", { noWait: true }, PATIENT);
      await answersAreGood(["/api/fleet", "/api/sync/catchup/status"]);
      const row = fleet.outside();
      const { last_seen } = row.prepare("SELECT last_seen FROM sync_servers WHERE name = 'node-1'").get() as { last_seen: string };
      row.close();
      expect(Date.now() - Date.parse(last_seen), `${name}: what others said was not written`).toBeLessThan(60_000);
    }
    await answersAreGood();
    liar!.lie = null;
    await liar!.register(fleet.client);
    await fleet.equal(40_000);
    await eventually(async () => (await fleet.status()).converged, 40_000);
  });

  it("harms nobody by what it counts, or by how it says that a session went", async () => {
    const [good, other, liar] = fleet.nodes;
    liar!.countLie = (truth) => ({ ...truth, changes: LARGEST_UINT64, oldestUs: -LARGEST_INT64, vector: "none" });
    liar!.resultLie = (truth) =>
      SyncResult.fromPartial({
        ...truth,
        success: false,
        durationMs: LARGEST_UINT64,
        stats: { localChangesSent: LARGEST_UINT64, remoteChangesReceived: LARGEST_UINT64, bytesSent: LARGEST_UINT64 },
        errors: Array.from({ length: 5_000 }, (_, at) => ({ code: `CODE_${at}`.repeat(10), message: "m".repeat(400) })),
      });
    for (const node of fleet.nodes) node.write(2);
    for (const node of fleet.nodes) await node.heartbeat(fleet.client);
    await eventually(() => new Set([good!.standing, other!.standing]).size === 1, 40_000);
    await unary(fleet.client, "catchUp", { node: liar!.name }).catch(() => {});
    await answersAreGood();
    const lines = fleet.outside();
    const longest = lines.prepare("SELECT max(length(details)) AS n FROM sync_logs").get() as { n: number };
    lines.close();
    expect(longest.n).toBeLessThan(100_000);
    liar!.countLie = null;
    liar!.resultLie = null;
    await liar!.register(fleet.client);
    await fleet.equal(40_000);
  });

  it("and jobs that do not even parse are listed, can be cancelled, and hold up neither others nor their node", async () => {
    await fleet.equal(40_000);
    const connection = new Redis(redis.url);
    const queue = new Queue(CATCH_UP_QUEUE, { connection, prefix: PREFIX });
    const list = async () => (await unary(fleet.client, "listJobs", { state: "", limit: 1_000 })).jobs;
    try {
      await unary(fleet.client, "pauseJobs", {});
      for (const node of fleet.nodes) node.write(1);
      for (const node of fleet.nodes) await node.heartbeat(fleet.client);
      const pending = async () => (await list()).filter(({ state }) => state === "waiting" || state === "delayed");
      await eventually(async () => (await pending()).length >= 3, 20_000);
      const ids = (await pending()).map(({ id }) => id);
      const keys = ids.map((id) => queue.toKey(id));
      const broken = { data: '{"serverId":', opts: "[", progress: "{{" };
      for (const [at, field] of (["data", "opts", "progress"] as const).entries())
        await connection.hset(keys[at] ?? "", field, broken[field]);
      // None of a node: whoever reaches Redis can put anything anywhere.
      const extra = await queue.add("x", { serverId: 0 });
      await connection.del(queue.toKey(extra.id ?? ""));
      await connection.set(queue.toKey(extra.id ?? ""), "text");
      const jobs = await list();
      expect(jobs.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
      await answersAreGood();
      await connection.hset(keys[0] ?? "", "data", "}");
      const cancelled = await unary(fleet.client, "cancelJob", { id: ids[0] ?? "" });
      expect(cancelled.job?.id).toBe(ids[0]);
      expect((await list()).map(({ id }) => id)).not.toContain(ids[0]);
      await connection.hset(keys[1] ?? "", "data", "}");
    } finally {
      await unary(fleet.client, "resumeJobs", {});
    }
    await fleet.equal(60_000);
    await eventually(async () => (await list()).every(({ state }) => state !== "waiting"), 40_000);
    await queue.close();
    connection.disconnect();
  });

  it("and jobs that somebody put into Redis are refused: of any size, of any shape", async () => {
    const connection = new Redis(redis.url);
    const queue = new Queue(CATCH_UP_QUEUE, { connection, prefix: PREFIX });
    const payloads: unknown[] = [
      { serverId: 1, more: "x".repeat(8_000_000) },
      { serverId: "1" },
      { serverId: -1 },
      { serverId: 1e300 },
      null,
      [],
      "text",
      { serverId: 4_000_000 },
    ];
    const name = "y".repeat(1_000);
    for (const payload of payloads) await queue.add(name, payload, { attempts: 3 });
    const ended = async () => (await queue.getJobs(["failed", "completed"])).filter((job) => job.name === name);
    await eventually(async () => (await ended()).length === payloads.length, 40_000);
    await answersAreGood();
    const failed = (await ended()).filter((job) => job.failedReason !== undefined);
    expect(failed.length).toBe(payloads.length - 1);
    for (const job of failed) {
      expect(job.attemptsMade, "no second attempt").toBe(1);
      expect(JSON.stringify(job.data).length, "what it held is gone").toBeLessThan(100);
      expect(job.failedReason).toMatch(/none of ours/);
    }
    await queue.close();
    connection.disconnect();
    fleet.nodes[0]!.write(1);
    await fleet.nodes[0]!.heartbeat(fleet.client);
    await fleet.equal(40_000);
  });
});
