import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROTOCOL_VERSION, formatVector } from "@scoutsync/core";
import {
  GetChangesRequest,
  SyncRequest,
  bidi,
  connectPeer,
  serverStream,
  type syncNodeService,
  toWireBatches,
  PingRequest,
  unary,
  type ServiceClient,
} from "@scoutsync/protocol";
import { until } from "@scoutsync/testkit";
import { describe, expect, test } from "vitest";
import { afterTest, openTestReplica } from "../../../packages/session/test/test-replica.ts";
import { checkListenAddress } from "../src/server.ts";
import { collect, eventually, startNode, type TestNode } from "./nodes.ts";

async function syncWith(node: TestNode, peer: string, request: Partial<SyncRequest> = {}) {
  const responses = await collect(node.client.sync(SyncRequest.create({ peer, ...request })));
  const last = responses.at(-1)?.kind;
  if (last?.$case !== "result") throw new Error("no result");
  return last.value;
}

describe("over gRPC", () => {
  test("ping says who and how far", async () => {
    const node = await startNode("pits");
    node.replica.fill("a", 3);
    await node.replica.drain();
    const answer = await node.client.ping();
    expect(answer).toMatchObject({ name: "pits", nodeId: "id-of-pits", protocol: PROTOCOL_VERSION });
    expect(answer.databases).toMatchObject([{ name: "main", vector: formatVector(node.replica.state.vector), rows: 3n, problem: "" }]);
    expect(answer.time).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
  });

  test("a session brings both to the same rows, and a second one is a no-op", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    a.replica.fill("a", 25);
    b.replica.fill("b", 40);
    expect(await syncWith(a, b.address, { batchSize: 6 })).toMatchObject({
      success: true,
      verified: true,
      node: "a",
      stats: { localChangesSent: 25n, remoteChangesReceived: 40n },
    });
    expect(a.replica.rows()).toEqual(b.replica.rows());
    expect(await syncWith(a, b.address)).toMatchObject({ verified: true, stats: { localChangesSent: 0n, remoteChangesReceived: 0n } });
    expect(await a.client.verify({ peer: b.address })).toMatchObject({ equal: true, databases: [{ name: "main" }] });
    b.replica.write("a3", "another value");
    expect(await a.client.verify({ peer: b.address })).toMatchObject({
      equal: false,
      databases: [{ differences: [{ table: "t", key: "a3", columns: ["v"] }] }],
    });
  });

  test("a session with nothing to do waits for each side's thread once, asks for no clock again and writes nothing", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    a.replica.fill("a", 7);
    b.replica.fill("b", 5);
    const settled = () => Promise.all([a, b].map(({ acquaintances }) => acquaintances.receipts.settle()));
    for (let i = 0; i < 3; i++) await syncWith(a, b.address);
    await settled();
    const commits = () => [a, b].map(({ replica }) => replica.application.pragma("data_version", { simple: true }));
    const before = commits();
    for (const { replica } of [a, b]) replica.asked.length = 0;
    expect(await syncWith(a, b.address)).toMatchObject({ success: true, verified: true, unverified: [] });
    // Receipts are handed on without anybody waiting.
    const waitedFor = ({ replica }: TestNode) => replica.asked.filter((method) => method !== "acknowledge");
    expect([waitedFor(a), waitedFor(b)]).toEqual([["standing"], ["read"]]);
    await settled();
    expect(commits()).toEqual(before);
  });

  test("after a session the application on both sides can read that its writes have arrived", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    a.replica.fill("a", 7);
    b.replica.fill("b", 5);
    const written = (node: TestNode) => node.replica.application.prepare("SELECT write FROM _scoutsync_last_write").pluck().get();
    const receipts = (node: TestNode) => node.replica.application.prepare("SELECT peer, node_id, has_up_to FROM _scoutsync_receipts").all();
    const [ofA, ofB] = [written(a), written(b)];
    expect(receipts(a)).toEqual([]);
    await syncWith(a, b.address);
    expect(receipts(a)).toEqual([{ peer: "b", node_id: "id-of-b", has_up_to: ofA }]);
    await syncWith(b, a.address);
    expect(receipts(b)).toEqual([{ peer: "a", node_id: "id-of-a", has_up_to: ofB }]);
  });

  test("after a session that had nothing to send the peer's application can read that what was fetched has arrived", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    const has = () => b.replica.application.prepare("SELECT has_up_to FROM _scoutsync_receipts WHERE peer = 'a'").pluck().get();
    for (const pullOnly of [false, true]) {
      b.replica.fill(`pull only ${pullOnly}`, 5);
      const written = b.replica.application.prepare("SELECT write FROM _scoutsync_last_write").pluck().get();
      await syncWith(a, b.address, { pullOnly });
      await eventually("b knows that a has them", () => has() === written);
      expect(has()).toBeGreaterThan(0);
    }
  });

  test("of two nodes that run under one identity only what both have has arrived, and whoever meets both, or the other one, says so", async () => {
    const [a, copy, b] = [await startNode("a"), await startNode("a"), await startNode("b")];
    const receipts = () => b.replica.application.prepare("SELECT has_up_to FROM _scoutsync_receipts").pluck().all();
    const write = (text: string) => {
      b.replica.fill(text, 1);
      return b.replica.application.prepare("SELECT write FROM _scoutsync_last_write").pluck().get() as number;
    };
    write("early");
    for (let i = 0; i < 3; i++) for (const each of [a, copy]) await syncWith(each, b.address);
    expect(b.namesakes).toEqual(["id-of-a"]);
    for (const [first, second] of [
      [a, copy],
      [copy, a],
    ] as const) {
      const number = write(`late ${first === a}`);
      const before = number - 1;
      await syncWith(b, first.address);
      await syncWith(first, b.address);
      expect(second.replica.rows()).not.toEqual(b.replica.rows());
      expect(receipts()).toEqual([before]);
      await syncWith(b, second.address);
      expect(receipts()).toEqual([number]);
    }
    expect([a.namesakes, b.namesakes, copy.namesakes]).toEqual([[], ["id-of-a"], []]);
    await syncWith(a, copy.address);
    await syncWith(copy, a.address);
    await syncWith(a, a.address);
    expect([a.namesakes, b.namesakes, copy.namesakes]).toEqual([["self"], ["id-of-a"], ["self"]]);
  });

  test("nodes with different rules refuse each other and say which columns", async () => {
    const ruled = await openTestReplica({ nodeName: "b", rules: ["t.v=max"] });
    const [a, b, c] = [
      await startNode("a"),
      await startNode("b", {}, ruled),
      await startNode("c", {}, await openTestReplica({ rules: ["t.v=max"] })),
    ];
    a.replica.write("k", "1");
    for (const [from, to] of [[a, b] as const, [b, a] as const]) {
      const { success, errors } = await syncWith(from, to.address);
      expect(success).toBe(false);
      expect(errors).toMatchObject([{ code: "RULES_DIFFER", message: expect.stringMatching(/t\.v \(here .*, there /) as string }]);
    }
    expect(b.replica.rows()).toEqual({});
    b.replica.write("k", "2");
    c.replica.write("k", "10");
    expect(await syncWith(b, c.address)).toMatchObject({ success: true, verified: true });
    expect(b.replica.rows()).toEqual({ k: "2" });
  });

  test("an unreachable peer is the session's result, not a broken call", async () => {
    const a = await startNode("a");
    expect(await syncWith(a, "127.0.0.1:1")).toMatchObject({ success: false, errors: [{ code: "PEER_UNREACHABLE" }] });
    await expect(syncWith(a, "nowhere")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("one session per peer, and a newer epoch takes over", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    await b.replica.fillApart("b", 60);
    a.replica.applyDelayMs = 30;
    const slow = syncWith(a, b.address, { batchSize: 1, epoch: 5n });
    await eventually("the session runs", () => a.replica.applied > 1);
    await expect(syncWith(a, b.address)).rejects.toMatchObject({ code: "BUSY" });
    await expect(syncWith(a, b.address, { epoch: 4n })).rejects.toMatchObject({ code: "FENCED" });
    const newer = syncWith(a, b.address, { epoch: 6n });
    expect(await slow).toMatchObject({ success: false, errors: [{ code: "FENCED" }] });
    expect(await newer).toMatchObject({ success: true, verified: true });
    await expect(syncWith(a, b.address, { epoch: 5n })).rejects.toMatchObject({ code: "FENCED" });
  });

  test("errors keep code, message and action", async () => {
    const node = await startNode("a");
    await expect(node.client.count("other", new Map())).rejects.toMatchObject({
      code: "DATABASE_NOT_FOUND",
      message: 'node "a" has no database "other". Use one of: main.',
      action: "Use one of: main.",
    });
    const request = GetChangesRequest.create({ database: "main", protocol: 9 });
    await expect(collect(serverStream(node.client.client, "getChanges", request))).rejects.toMatchObject({
      code: "PROTOCOL_VERSION",
      action: expect.stringContaining('Upgrade node "a"') as string,
    });
  });

  test("count, limit and readable", async () => {
    const node = await startNode("a");
    node.replica.fill("a", 30);
    expect(await node.client.count("main", new Map())).toMatchObject({ changes: 30 });
    const ask = (request: Partial<GetChangesRequest>) =>
      collect(serverStream(node.client.client, "getChanges", GetChangesRequest.create({ database: "main", ...request })));
    const limited = await ask({ limit: 12n, batchSize: 5 });
    expect(limited.map(({ batch }) => batch?.count)).toEqual([5, 5, 2]);
    expect(limited.at(-1)?.batch?.final).toBe(false);
    const [page] = await ask({ limit: 5n, readable: true });
    expect(page?.changes).toHaveLength(5);
    expect(page?.changes[0]).toMatchObject({
      table: "t",
      operation: "insert",
      columns: [{ name: "k", value: { kind: { $case: "text", value: "a0" } } }, { name: "v" }],
    });
    expect((await ask({ readable: true })).flatMap(({ changes }) => changes)).toHaveLength(30);
  });

  test("a node that only receives serves nobody and still takes", async () => {
    const [a, b] = [await startNode("a"), await startNode("b", { receiveOnly: true })];
    a.replica.fill("a", 5);
    b.replica.fill("own", 2);
    const request = GetChangesRequest.create({ database: "main" });
    await expect(collect(serverStream(b.client.client, "getChanges", request))).rejects.toMatchObject({ code: "RECEIVE_ONLY" });
    expect(await syncWith(b, a.address)).toMatchObject({ success: true, stats: { localChangesSent: 0n, remoteChangesReceived: 5n } });
    a.replica.fill("more", 3);
    expect(await syncWith(a, b.address)).toMatchObject({ success: true, stats: { localChangesSent: 3n } });
    expect(Object.keys(a.replica.rows())).toHaveLength(8);
  });

  test("ping tells of what was committed just now where that is asked for", async () => {
    const replica = await openTestReplica({ pollIntervalMs: 3_600_000 });
    const { client } = await startNode("a", {}, replica);
    const told = async (fresh: boolean) => (await unary(client.client, "ping", PingRequest.create({ fresh }))).databases[0];
    const before = (await told(true))?.vector;
    replica.fill("just now", 3);
    expect(await told(false)).toMatchObject({ vector: before });
    // It is waited for as long as an answer may take: on a busy machine the next one tells.
    const tellsIt = async () => {
      const { rows, pending } = (await told(true)) ?? {};
      return rows === 3n && pending === 0n;
    };
    await until(tellsIt, { what: "an answer that tells of it" });
  });

  test("ping answers while databases are busy", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    b.replica.fill("b", 10);
    a.replica.applyDelayMs = 100;
    const running = syncWith(a, b.address, { batchSize: 1 });
    await eventually("the session runs", () => a.replica.applied > 0);
    expect(await a.client.ping({ deadlineMs: 30_000 })).toMatchObject({ name: "a" });
    expect(a.replica.applied, "before the session was over").toBeLessThan(10);
    await running;
  });
});

describe("streams that end early", () => {
  const open = { database: "main", protocol: PROTOCOL_VERSION, name: "x", run: "x", baseline: "" };

  test("a push cut in the middle of a batch applies only whole ones", async () => {
    const node = await startNode("a");
    const source = await openTestReplica();
    source.fill("s", 20);
    const first = await source.read({ from: new Map(), batchSize: 10, codecs: [], beyondDigest: Buffer.alloc(0) });
    const second = await source.read({ from: first.to, batchSize: 10, codecs: [], beyondDigest: Buffer.alloc(0) });
    const call = bidi(node.client.client as ServiceClient<typeof syncNodeService>, "pushChanges");
    await call.send({ kind: { $case: "open", value: open } });
    for (const value of toWireBatches(first)) await call.send({ kind: { $case: "batch", value } });
    const [half] = toWireBatches(second, 100);
    if (half) await call.send({ kind: { $case: "batch", value: half } });
    const responses = call.responses[Symbol.asyncIterator]();
    await responses.next();
    const ack = await responses.next();
    expect(ack.value).toMatchObject({ kind: { $case: "ack", value: { received: 10n, final: false } } });
    call.cancel();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(Object.keys(node.replica.rows())).toHaveLength(10);
    expect(node.replica.applied).toBe(1);
    // What was not sent whole is sent again.
    const position = await node.replica.position(source.run);
    expect(position).toEqual(first.to);
  });

  test("a push without its end is no error", async () => {
    const node = await startNode("a");
    const call = bidi(node.client.client, "pushChanges");
    await call.send({ kind: { $case: "open", value: open } });
    call.end();
    expect(await collect(call.responses)).toMatchObject([{ kind: { $case: "ready" } }]);
    const confused = bidi(node.client.client, "pushChanges");
    await confused.send({ kind: undefined });
    await expect(collect(confused.responses)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("a cancelled follower lets go of its replica, also when it reads nothing", async () => {
    const node = await startNode("a");
    node.replica.fill("a", 500);
    const idle = node.replica.listeners;
    const stop = new AbortController();
    const request = GetChangesRequest.create({ database: "main", follow: true, batchSize: 1, callerRun: "follower" });
    const stream = serverStream(node.client.client, "getChanges", request, { signal: stop.signal })[Symbol.asyncIterator]();
    await stream.next();
    expect(node.replica.listeners).toBe(idle + 1);
    stop.abort(new Error("enough"));
    await eventually("the stream is released", () => node.replica.listeners === idle);
    await expect(
      (async () => {
        for (;;) if ((await stream.next()).done) return;
      })(),
    ).rejects.toThrow("enough");
  });

  test("a caller that stops reading stops the node from reading ahead", async () => {
    const node = await startNode("a");
    node.replica.fill("a", 400);
    // Large enough that the flow-control window, not the number of messages, is what fills up.
    node.replica.afterRead = (batch) => ({ ...batch, payload: Buffer.alloc(512 * 1024) });
    const request = GetChangesRequest.create({ database: "main", batchSize: 1 });
    const stream = serverStream(node.client.client, "getChanges", request)[Symbol.asyncIterator]();
    await stream.next();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(node.replica.reads).toBeLessThan(80);
    await stream.return?.();
  });

  test("stopping ends streams with a reason and frees the port", async () => {
    const node = await startNode("a");
    const request = GetChangesRequest.create({ database: "main", follow: true });
    const stream = serverStream(node.client.client, "getChanges", request)[Symbol.asyncIterator]();
    await stream.next();
    const next = stream.next();
    next.catch(() => {});
    const push = bidi(node.client.client, "pushChanges");
    await push.send({ kind: { $case: "open", value: open } });
    const acks = push.responses[Symbol.asyncIterator]();
    await acks.next();
    const ack = acks.next();
    ack.catch(() => {});
    await node.service.stop();
    await expect(next).rejects.toMatchObject({ code: "SHUTTING_DOWN" });
    await expect(ack).rejects.toMatchObject({ code: "SHUTTING_DOWN" });
    await checkListenAddress(node.address);
    await expect(unary(node.client.client, "ping", { callerTimeUs: 0n })).rejects.toMatchObject({ code: "PEER_UNREACHABLE" });
  });

  test("what is done is written down where nobody has to be known, too, and what services do as a matter of course is not", async () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), "scoutsync-acts-"));
    afterTest(() => rmSync(dataDirectory, { recursive: true, force: true }));
    const [a, b] = [await startNode("a", { dataDirectory }), await startNode("b")];
    await syncWith(a, b.address);
    const { client } = connectPeer(a.address);
    afterTest(() => client.close());
    const decision = { id: "no-such", keep: "winner", set: [], decision: "" };
    await expect(unary(client, "resolveReview", decision)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await unary(client, "forget", { database: "main", dryRun: true });
    await unary(client, "forget", { database: "main", dryRun: false });
    const lines = readFileSync(join(dataDirectory, "audit.log"), "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { what: "/scoutsync.v1.SyncNode/ResolveReview", outcome: "done", details: "id no-such, keep winner" },
      { what: "/scoutsync.v1.SyncNode/ResolveReview", outcome: "failed", details: "id no-such, keep winner: NOT_FOUND" },
      { what: "/scoutsync.v1.SyncNode/Forget", outcome: "done", details: "database main" },
    ]);
  });

  test("a taken port says so", async () => {
    const node = await startNode("a");
    await expect(startNode("b", { listen: node.address })).rejects.toMatchObject({ code: "PORT_TAKEN" });
    await expect(checkListenAddress(node.address)).rejects.toMatchObject({ code: "PORT_TAKEN" });
    await expect(checkListenAddress("what")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const peer = connectPeer(node.address);
    afterTest(() => peer.close());
    expect(await peer.ping()).toMatchObject({ name: "a" });
  });
});
