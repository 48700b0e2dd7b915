import { formatVector } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { CoordinatorService, type HeartbeatRequest, type RegisterRequest } from "@scoutsync/protocol";
import { pino } from "pino";
import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import { afterTest, openTestReplica } from "../../../packages/session/test/test-replica.ts";
import { eventually, startNode, type TestNode } from "./nodes.ts";

const sameRows = (a: TestNode, b: TestNode) => JSON.stringify(a.replica.rows()) === JSON.stringify(b.replica.rows());
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("live", () => {
  test("two nodes where one knows the other stay in step both ways, without echoes", async () => {
    const a = await startNode("a");
    const b = await startNode("b", { peers: [a.address] });
    a.replica.fill("a", 20);
    b.replica.fill("b", 20);
    await eventually("in step", () => sameRows(a, b) && a.replica.changesApplied === 20 && b.replica.changesApplied === 20);
    const before = [a.replica.changesApplied, b.replica.changesApplied];
    for (let i = 0; i < 10; i++) {
      a.replica.write(`late-a${i}`, "x");
      b.replica.write(`late-b${i}`, "x");
      await eventually("in step again", () => sameRows(a, b));
    }
    const since = () => before.map((count, i) => ([a, b][i]?.replica.changesApplied ?? 0) - count);
    await eventually("counted", () => since().every((count) => count >= 10));
    await eventually("both say so", () => formatVector(a.replica.state.vector) === formatVector(b.replica.state.vector));
    await pause(100);
    expect(since()).toEqual([10, 10]);
  });

  test("two nodes that know each other send every change once", async () => {
    const address = "127.0.0.1:0";
    const a = await startNode("a", { listen: address });
    const port = a.address;
    const b = await startNode("b", { peers: [port] });
    await a.service.stop();
    const again = await startNode("a", { listen: port, peers: [b.address] }, a.replica);
    // Of a replica's listeners one a service waits for problems, and one a stream for another file in the place of its own.
    await eventually("both follow", () => again.replica.listeners >= 5 && b.replica.listeners >= 4);
    const before = [again.replica.changesApplied, b.replica.changesApplied];
    for (let i = 0; i < 10; i++) {
      again.replica.write(`late-a${i}`, "x");
      b.replica.write(`late-b${i}`, "x");
      await eventually("in step", () => sameRows(again, b));
    }
    const since = () => before.map((count, i) => ([again, b][i]?.replica.changesApplied ?? 0) - count);
    await eventually("counted", () => since().every((count) => count >= 10));
    await pause(100);
    expect(since()).toEqual([10, 10]);
  });

  test("the application can read that a node which only follows has its writes", async () => {
    const a = await startNode("a");
    await startNode("b", { peers: [a.address] });
    const read = (what: string) => a.replica.application.prepare(what).pluck().get() as number | undefined;
    const has = () => read("SELECT has_up_to FROM _scoutsync_receipts WHERE peer = 'b'");
    for (const prefix of ["a", "b"]) {
      a.replica.fill(prefix, 3);
      const written = read("SELECT write FROM _scoutsync_last_write");
      await eventually("a knows that b has them", () => has() === written);
      expect(has()).toBeGreaterThan(0);
    }
  });

  test("a chain relays", async () => {
    const a = await startNode("a");
    const b = await startNode("b", { peers: [a.address] });
    const c = await startNode("c", { peers: [b.address] });
    a.replica.fill("a", 10);
    c.replica.fill("c", 10);
    await eventually("a = c", () => sameRows(a, c) && Object.keys(a.replica.rows()).length === 20);
    await eventually("b as well", () => sameRows(b, c));
    expect(Object.keys(b.replica.rows())).toHaveLength(20);
  });

  test("comes back by itself when the peer does", async () => {
    const a = await startNode("a");
    const b = await startNode("b", { peers: [a.address] });
    a.replica.fill("a", 5);
    await eventually("in step", () => sameRows(a, b));
    await a.service.stop();
    b.replica.fill("while-away", 5);
    a.replica.fill("also-away", 5);
    await pause(200);
    const again = await startNode("a", { listen: a.address }, a.replica);
    await eventually("in step again", () => sameRows(again, b), 8_000);
    expect(Object.keys(b.replica.rows())).toHaveLength(15);
  });

  test("a node that only receives takes and sends nothing", async () => {
    const a = await startNode("a");
    const b = await startNode("b", { peers: [a.address], receiveOnly: true });
    b.replica.fill("own", 3);
    a.replica.fill("a", 3);
    await eventually("taken", () => "a2" in b.replica.rows());
    await pause(50);
    expect(Object.keys(a.replica.rows())).toHaveLength(3);
    // And one that is dialled gets what it lacks pushed.
    const c = await startNode("c", { peers: [b.address] });
    c.replica.fill("c", 3);
    await eventually("pushed", () => "c2" in b.replica.rows());
    expect("own0" in c.replica.rows()).toBe(false);
  });

  test.each(["here", "there"])("a row that a rule of one side (%s) keeps out is no divergence", async (side) => {
    const [plain, strict] = ["CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)", "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT CHECK (v <> 'no'))"];
    const open = (name: string, sql: string) => openTestReplica({ nodeName: name, nodeId: `id-of-${name}` }, sql);
    const said: { level: number; code?: string; rows?: number }[] = [];
    const logger = pino({ level: "debug" }, { write: (line: string) => void said.push(JSON.parse(line) as { level: number }) });
    const a = await startNode("a", {}, await open("a", side === "here" ? plain : strict));
    const b = await startNode("b", { peers: [a.address], logger }, await open("b", side === "here" ? strict : plain));
    const writer = side === "here" ? a : b;
    writer.replica.write("a", "x");
    writer.replica.write("b", "no");
    await writer.replica.drain();
    const vectors = () => [a, b].map(({ replica }) => formatVector(replica.state.vector));
    await eventually("known to both", () => writer.replica.state.vector.size > 0 && vectors()[0] === vectors()[1]);
    // The two are compared whenever a link begins.
    await b.service.stop();
    await startNode("b", { peers: [a.address], logger }, b.replica);
    await eventually("explained", () => said.some(({ rows }) => rows === 1));
    await pause(200);
    expect(said.filter(({ code, level }) => code === "DIVERGED" || level >= 50)).toEqual([]);
    expect(Object.keys((side === "here" ? b : a).replica.rows())).not.toContain("b");
  });
});

describe("announcing", () => {
  test("registers, beats when a vector moves, registers again when forgotten, and outlives the coordinator", async () => {
    const registered: RegisterRequest[] = [];
    const beats: HeartbeatRequest[] = [];
    let unknown = false;
    const start = async (address: string) => {
      const server = new Server();
      server.addService(CoordinatorService, {
        register: (call: ServerUnaryCall<RegisterRequest, unknown>, done: sendUnaryData<unknown>) => {
          registered.push(call.request);
          unknown = false;
          done(null, { id: 1n, heartbeatIntervalMs: 60_000 });
        },
        heartbeat: (call: ServerUnaryCall<HeartbeatRequest, unknown>, done: sendUnaryData<unknown>) => {
          beats.push(call.request);
          done(null, { unknown, timeUs: 0n });
        },
      });
      const port = await new Promise<number>((resolve, reject) =>
        server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
      );
      afterTest(() => server.forceShutdown());
      return { server, address: `127.0.0.1:${port}` };
    };
    const first = await start("127.0.0.1:0");
    const node = await startNode("a", { coordinator: first.address }, await openTestReplica());
    await eventually("registered", () => registered.length === 1);
    expect(registered[0]).toMatchObject({ name: "a", nodeId: "id-of-a", host: "127.0.0.1", port: Number(node.address.split(":")[1]) });
    for (let i = 0; i < 20; i++) node.replica.write(`a${i}`, "x");
    await node.replica.drain();
    const vector = formatVector(node.replica.state.vector);
    await eventually("beaten", () => beats.at(-1)?.databases[0]?.vector === vector);
    expect(beats.length, "not one for each write").toBeLessThan(10);
    unknown = true;
    node.replica.write("b", "x");
    await eventually("registered again", () => registered.length > 1);
    first.server.forceShutdown();
    const before = registered.length;
    node.replica.write("c", "x");
    await pause(300);
    expect(await node.client.ping()).toMatchObject({ name: "a" });
    await start(first.address);
    await eventually("registered with the new one", () => registered.length > before);
  });
});
