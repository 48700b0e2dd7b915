import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { parseVector, PayloadWriter, RecordFlags, type ChangeBatch, type SqlValue } from "@scoutsync/core";
import { expect, test, vi } from "vitest";
import { runSession } from "@scoutsync/session";
import { boundOf } from "@scoutsync/testkit";
import { eventually, startNode, type TestNode } from "./nodes.ts";

// A thousand calls at once take their time on a busy machine.
vi.setConfig({ testTimeout: boundOf(120_000) });

/** A peer that speaks the protocol well and means ill. */
const THIEF = "thiefthiefthief2";
/** The year 2100. */
const LATE_US = Date.UTC(2100, 0) * 1_000;
const NO_DIGEST = Buffer.alloc(16);

interface Forged {
  table?: string;
  columns?: string[];
  origin?: string;
  sequence?: number;
  timeUs?: number;
  values?: SqlValue[];
  vector?: string;
}

/** One row under a birth, packed as a node would. */
function payloadOf({
  table = "t",
  columns = ["k", "v"],
  origin = THIEF,
  sequence = 1,
  timeUs = 1_000_000,
  values = ["x", "forged"],
}: Forged) {
  const writer = new PayloadWriter({ origin: () => ({ origin, author: "thief" }), context: () => [] });
  writer.table({ name: table, surrogate: false, keyParts: 1, columns });
  writer.body.varint(0);
  writer.flags(RecordFlags.birth);
  writer.value(values[0] as SqlValue);
  writer.write({ origin: 1, sequence, time: timeUs, context: 0 });
  for (const value of values) writer.value(value);
  writer.count = 1;
  return writer.finish();
}

function batchOf(forged: Forged, change: Partial<ChangeBatch> = {}): ChangeBatch {
  const payload = change.payload ?? payloadOf(forged);
  const vector = parseVector(forged.vector ?? `${forged.origin ?? THIEF}:${forged.sequence ?? 1}`);
  return {
    from: new Map(),
    to: vector,
    count: 1,
    codec: "identity",
    format: "packed-1",
    sha256: createHash("sha256").update(payload).digest(),
    payload,
    payloadSize: payload.length,
    final: true,
    vector,
    digest: NO_DIGEST,
    schema: "",
    run: "run-of-the-thief",
    beyondDigest: Buffer.alloc(0),
    remaining: 0,
    baseline: "",
    ...change,
  };
}

/** Pushes a batch as a peer; what it is refused with, or null when it was taken. */
async function push({ client }: TestNode, batch: ChangeBatch): Promise<string | null> {
  try {
    const stream = await client.openPush({ database: "main", name: "thief", run: batch.run, baseline: "" });
    await stream.send(batch);
    stream.end();
    for await (const ack of stream.acks) if (ack.final) return null;
    return "no acknowledgement";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

async function ownVector({ replica }: TestNode): Promise<string> {
  await replica.drain();
  return [...replica.state.vector].map(([origin, sequence]) => `${origin}:${sequence}`).join(",");
}

const rows = ({ replica }: TestNode) => replica.rows();

test("what this thief sends is taken when it is honest: the refusals below are not for its form", async () => {
  const node = await startNode("a");
  expect(await push(node, batchOf({}))).toBe(null);
  expect(rows(node)).toEqual({ x: "forged" });
});

/** What one node pulls from another in one session, mending included. */
function session(node: TestNode, from: TestNode) {
  const databases = [{ replica: node.replica, acquaintances: node.acquaintances }];
  return runSession({ databases, peer: from.connect(node), nodeName: "whoever", named: true });
}

test("who claims changes of this node that it never made gains nothing: what it wrote and writes reaches also those who believed it", async () => {
  const node = await startNode("a");
  const deceived = await startNode("b");
  node.replica.write("mine", "1");
  const own = (await ownVector(node)).split(":")[0] ?? "";
  // Not told by the node itself, b takes the thief's word: it would never ask for what it believes to have.
  expect(await push(deceived, batchOf({ vector: `${own}:1000,${THIEF}:1`, values: ["x", "bait"] }))).toBe(null);
  expect(await push(node, batchOf({ origin: own, sequence: 1_000 }))).toBe(null);
  node.replica.write("later", "2");
  const [, fresh = ""] = (await ownVector(node)).split(",").map((entry) => entry.split(":")[0]);
  // Once is enough: an origin for every lie would let vectors grow without end.
  for (const lie of [batchOf({ origin: fresh, sequence: 1_000 }), batchOf({ vector: `${fresh}:1000,${THIEF}:1` })])
    expect(await push(node, { ...lie, run: "another" })).toBe("BATCH_CORRUPT");
  const { errors, verified } = await session(deceived, node);
  expect(errors).toEqual([]);
  expect(verified).toBe(true);
  for (const one of [node, deceived]) expect(rows(one)).toMatchObject({ mine: "1", later: "2" });
});

test("live nodes find out by themselves that one of them was told lies, and mend", async () => {
  const node = await startNode("a");
  node.replica.write("mine", "1");
  const own = (await ownVector(node)).split(":")[0] ?? "";
  const deceived = await startNode("b");
  expect(await push(deceived, batchOf({ vector: `${own}:1000,${THIEF}:1`, values: ["x", "bait"] }))).toBe(null);
  await deceived.service.stop();
  const live = await startNode("b", { peers: [node.address] }, deceived.replica);
  const has = (one: TestNode) => rows(one)["mine"] === "1" && rows(one)["x"] === "bait";
  await eventually("both have everything", () => has(node) && has(live), 60_000);
  node.replica.write("zz later", "2");
  await eventually("what is written then arrives", () => rows(live)["zz later"] === "2", 60_000);
});

test("a write from the year 9999 is refused, and the latest that is taken leaves room for what has to follow", async () => {
  const node = await startNode("a");
  expect(await push(node, batchOf({ timeUs: Date.UTC(9999, 0) * 1_000 }))).toBe("BATCH_CORRUPT");
  expect(rows(node)).toEqual({});
  expect(await push(node, batchOf({ timeUs: LATE_US, values: ["x", "from 2100"] }))).toBe(null);
  node.replica.write("x", "after it");
  await node.replica.drain();
  const second = await startNode("b");
  expect(await push(second, batchOf({ timeUs: LATE_US, values: ["x", "from 2100"] }))).toBe(null);
  expect(rows(node)).toEqual({ x: "after it" });
});

test("batches that come again, or an older one after a newer, change nothing", async () => {
  const node = await startNode("a");
  const first = batchOf({});
  expect(await push(node, first)).toBe(null);
  const newer = batchOf({ sequence: 2, timeUs: 2_000_000, values: ["y", "second"] }, { from: parseVector(`${THIEF}:1`) });
  expect(await push(node, newer)).toBe(null);
  node.replica.write("x", "edited here");
  const vector = await ownVector(node);
  for (const again of [first, newer, first]) expect(await push(node, again)).toBe(null);
  expect(rows(node)).toEqual({ x: "edited here", y: "second" });
  expect(await ownVector(node)).toBe(vector);
  // A gap is no way in, either.
  expect(await push(node, batchOf({ sequence: 9 }, { from: parseVector(`${THIEF}:8`), run: "another" }))).toBe("BATCH_GAP");
});

test.each(["_scoutsync_meta", "_SCOUTSYNC_vector", "sqlite_master", "sqlite_sequence"])("rows for %s are refused", async (table) => {
  const node = await startNode("a");
  const before = node.replica.application.prepare("SELECT count(*) AS rows FROM _scoutsync_meta").get();
  expect(await push(node, batchOf({ table, columns: ["key", "value"], values: ["terms", "forged"] }))).toBe("BATCH_CORRUPT");
  expect(node.replica.application.prepare("SELECT count(*) AS rows FROM _scoutsync_meta").get()).toEqual(before);
  expect(node.replica.state.held).toBe(0);
});

test("names from outside are names and nothing else", async () => {
  const node = await startNode("a");
  const table = `t"; DROP TABLE t; --`;
  const columns = ["k", `v" = 1; DELETE FROM t; --`];
  node.replica.write("mine", "1");
  expect(await push(node, batchOf({ table, columns }))).toBe(null);
  expect(await push(node, batchOf({ columns, sequence: 2, timeUs: 2_000_000, values: ["z", "1"] }, { run: "r2" }))).toBe(null);
  node.replica.write("more", "2");
  await node.replica.drain();
  expect(rows(node)).toMatchObject({ mine: "1", more: "2" });
  await expect(node.replica.digest({ table, buckets: [], deep: true, keys: [] } as never)).rejects.toThrow(/table|NOT_FOUND/i);
});

test("a payload that unpacks to more than it says, or says more than anyone may send, is refused before it fills memory", async () => {
  const node = await startNode("a");
  const bomb = zstdCompressSync(Buffer.alloc(256 * 1024 * 1024));
  expect(bomb.length).toBeLessThan(64 * 1024);
  const before = process.memoryUsage().rss;
  expect(await push(node, batchOf({}, { payload: bomb, codec: "zstd", payloadSize: 1_000 }))).toBe("BATCH_CORRUPT");
  expect(await push(node, batchOf({}, { payload: bomb, codec: "zstd", payloadSize: 2 ** 40 }))).toBe("BATCH_CORRUPT");
  expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
  expect(await push(node, batchOf({}))).toBe(null);
});

test("a message that is too long, or no message at all, ends its call and nothing else", async () => {
  const node = await startNode("a");
  const raw = new Client(node.address, credentials.createInsecure(), { "grpc.max_send_message_length": -1 });
  const call = (path: string, bytes: Buffer) =>
    new Promise<number>((resolve) => {
      const same = (buffer: Buffer) => buffer;
      const stream = raw.makeBidiStreamRequest(path, same, same, new Metadata(), { deadline: Date.now() + boundOf(20_000) });
      stream.on("error", () => {});
      stream.on("data", () => {});
      stream.on("status", ({ code }) => resolve(code));
      stream.write(bytes);
      stream.end();
    });
  expect(await call("/scoutsync.v1.SyncNode/PushChanges", Buffer.alloc(65 * 1024 * 1024))).toBe(status.RESOURCE_EXHAUSTED);
  for (const path of ["PushChanges", "GetChanges", "Digest", "Sync", "Ping"]) {
    const code = await call(`/scoutsync.v1.SyncNode/${path}`, Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3]));
    expect([status.INTERNAL, status.INVALID_ARGUMENT, status.RESOURCE_EXHAUSTED]).toContain(code);
  }
  raw.close();
  expect((await node.client.ping()).name).toBe("a");
});

test("one connection can open so many calls and no more", async () => {
  const node = await startNode("a");
  node.replica.write("mine", "1");
  const open = new AbortController();
  const following = { database: "main", since: new Map(), position: new Map(), run: "", callerRun: "", caller: { id: "", name: "" } };
  const rest = {
    terms: "",
    beyondDigest: Buffer.alloc(0),
    digest: Buffer.alloc(0),
    codecs: ["identity"] as const,
    batchSize: 0,
    follow: true,
    baseline: "",
    floor: new Map(),
    members: [],
  };
  let served = 0;
  for (let at = 0; at < 1_100; at++) {
    const read = async () => {
      for await (const _ of node.client.getChanges({ ...following, ...rest }, open.signal)) served += 1;
    };
    read().catch(() => {});
  }
  await eventually("a thousand calls are served", () => served >= 1_000, 100_000);
  expect(served).toBe(1_000);
  // Another caller is answered meanwhile.
  const other = node.connect(node);
  open.abort(new Error("enough"));
  expect((await other.ping()).name).toBe("a");
});
