import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";
import { SyncError } from "@scoutsync/core";
import { PingResponse, unary } from "@scoutsync/protocol";
import { boundOf, ownPort } from "@scoutsync/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { comesTrue, eventually, FleetUnderTest, ONCE_MORE } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";
import type { ScriptedNode } from "./scripted-nodes.ts";

interface Notice {
  event: "raised" | "recovered";
  alert: { id: number; kind: string; server_name: string; message: string };
}

/** Longer than this process may stand still on a busy machine: the one that is up would be called silent, too. */
const SILENT_SECONDS = "4";

/** A mail server that keeps what arrives, as text. */
async function mailServer(port: number) {
  const mails: string[] = [];
  const server = new SMTPServer({
    disabledCommands: ["STARTTLS"],
    authOptional: true,
    onData(stream, _session, done) {
      let text = "";
      stream.on("data", (piece: Buffer) => (text += piece.toString()));
      stream.on("end", () => {
        mails.push(text);
        done();
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    mails,
    port: (server.server.address() as AddressInfo).port,
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

/** An endpoint that keeps what arrives, and fails as often as it is told to. */
async function endpoint() {
  const notices: Notice[] = [];
  const state = { failures: 0 };
  const server: Server = createServer((request, response) => {
    let text = "";
    request.on("data", (piece: Buffer) => (text += piece.toString()));
    request.on("end", () => {
      const fails = state.failures > 0;
      if (fails) state.failures--;
      else notices.push(JSON.parse(text) as Notice);
      response.writeHead(fails ? 500 : 204).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { notices, state, url: `http://127.0.0.1:${port}/hook`, close: () => new Promise((resolve) => server.close(resolve)) };
}

describe.skipIf(redisProgram === null)("alerts", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  let mail: Awaited<ReturnType<typeof mailServer>>;
  let hook: Awaited<ReturnType<typeof endpoint>>;
  beforeEach(async () => {
    redis = await RedisServer.start();
    fleet = await FleetUnderTest.start(redis.url);
    // Of its own: it goes away and comes back in between.
    mail = await mailServer(await ownPort());
    hook = await endpoint();
  });
  afterEach(async () => {
    await fleet.stop();
    await redis.remove();
    await mail.close();
    await hook.close();
  });

  const set = (key: string, value: string) => unary(fleet.client, "setSetting", { key, value });
  const setUp = async () => {
    await set("smtp_url", `smtp://127.0.0.1:${mail.port}`);
    await set("alert_email_to", "pit@example.org, judge@example.org");
    await set("alert_webhook_url", hook.url);
  };
  const subjects = () => mail.mails.map((text) => /^Subject: (.*)$/m.exec(text)?.[1]);
  const kinds = () => hook.notices.map(({ event, alert }) => `${event} ${alert.kind} ${alert.server_name}`);

  it("tells once that a node is silent and once that it is back, by mail and webhook, also over a restart", async () => {
    await setUp();
    await set("alert_silent_seconds", SILENT_SECONDS);
    const [, second] = await fleet.addNodes(2);
    second!.down();
    await eventually(() => mail.mails.length > 0 && hook.notices.length > 0, 10_000);
    expect(mail.mails[0]).toMatch(/^To: pit@example.org, judge@example.org/m);
    // The same directory, as after a crash: what was told is not told again.
    const { directory, nodes } = fleet;
    await fleet.stop({ keep: true });
    for (const node of nodes) if (node !== second) await node.up();
    fleet = await FleetUnderTest.start(redis.url, { directory });
    fleet.nodes.push(...nodes);
    await eventually(async () => (await fleet.status()).nodes.some((node) => node.online), 5_000);
    await new Promise((resolve) => setTimeout(resolve, 700));
    await comesTrue(
      async () => expect((await fleet.status()).alerts).toMatchObject([{ kind: "silent", serverName: "node-2", notified: true }]),
      10_000,
    );
    await second!.up();
    await second!.register(fleet.client);
    await eventually(() => hook.notices.length > 1 && mail.mails.length > 1, 10_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(kinds()).toEqual(["raised silent node-2", "recovered silent node-2"]);
    expect(subjects()).toEqual(["scoutsync: silent at node-2", "scoutsync: over: silent at node-2"]);
    expect(new Set(hook.notices.map(({ alert }) => alert.id)).size).toBe(1);
  });

  it("tells of lag, failures, clocks, disks and parked rows, each once, and of what is set up later what is open", async () => {
    await set("alert_lag_seconds", "2");
    await set("max_retries", "2");
    await set("alert_failures", "2");
    const [first, second] = await fleet.addNodes(2);
    await fleet.firstScan();
    second!.failures = Array.from({ length: 40 }, () => new SyncError({ code: "CONSTRAINT_REFUSED", message: "no", action: "Look." }));
    second!.disk = { freeBytes: 5n, totalBytes: 100n };
    second!.parked = 3;
    second!.clockOffsetMs = 60_000;
    first!.write(1);
    await first!.heartbeat(fleet.client);
    await second!.heartbeat(fleet.client);
    const expected = ["clock", "disk", "failing", "lag", "parked"].map((kind) => `raised ${kind} node-2`);
    await eventually(
      async () => (await fleet.status()).alerts.length === expected.length,
      10_000,
      async () => JSON.stringify((await fleet.status()).alerts.map((alert) => [alert.kind, alert.message])),
    );
    expect(hook.notices).toEqual([]);
    await setUp();
    await eventually(() => hook.notices.length >= expected.length && mail.mails.length > 0, 10_000);
    expect([...kinds()].sort()).toEqual(expected);
    // What happened at one moment is one mail.
    expect(subjects()).toHaveLength(1);
    // How far the clock is off is measured over a line that a busy machine answers late.
    expect(mail.mails[0]?.replaceAll("=\r\n", "")).toMatch(/ (5[5-9]|6[0-5]) s ahead/);
    for (const word of ["5% free", "failed in a row", "lacks 1 change,", "--kind parked"])
      expect(mail.mails[0]?.replaceAll("=\r\n", "")).toContain(word);

    second!.failures = [];
    second!.disk = { freeBytes: 50n, totalBytes: 100n };
    second!.parked = 0;
    second!.clockOffsetMs = 0;
    await unary(fleet.client, "scan", { noWait: false }, { deadlineMs: boundOf(20_000) });
    await second!.heartbeat(fleet.client);
    await eventually(() => hook.notices.length === 2 * expected.length, 10_000);
    expect(kinds().slice(expected.length).sort()).toEqual(expected.map((text) => text.replace("raised", "recovered")));
  });

  it("tells once what a node refused of a peer, what stops its files, and why files that are too large for one are not equal", async () => {
    await setUp();
    const [first, second] = await fleet.addNodes(2);
    const file = { root: "uploads", cursor: "i:1", digest: "one", refused: 0n, lastRefused: "", refusedPeer: "", refusedWhat: "" };
    const says = async (node: ScriptedNode | undefined, files: object) => {
      node!.lie = (truth) => PingResponse.fromPartial({ ...truth, files: [{ ...file, ...files }] });
      await node!.heartbeat(fleet.client);
    };
    const stateOf = async (name: string) => (await fleet.status()).nodes.find((node) => node.name === name);
    await says(first, {});
    const refused = (count: number, lastRefused = new Date().toISOString()) => ({
      refused: BigInt(count),
      lastRefused,
      refusedPeer: "liar",
      refusedWhat: `"../${count}" leads out of the root.`,
    });
    for (let count = 1; count <= 5; count++) await says(second, refused(count));
    await eventually(() => hook.notices.length > 0, 10_000);
    await says(second, refused(900));
    await eventually(async () => (await fleet.status()).alerts.some(({ message }) => message.includes("900 times")), 10_000);
    const alert = (await fleet.status()).alerts.find(({ kind }) => kind === "refused");
    expect(alert?.message).toContain('node-2 refused what liar sent for the files "uploads": "../900" leads out of the root. It has');
    expect(kinds()).toEqual(["raised refused node-2"]);
    await says(second, refused(900, new Date(Date.now() - 3_700_000).toISOString()));
    await eventually(() => hook.notices.length > 1, 10_000);
    expect(kinds().slice(1)).toEqual(["recovered refused node-2"]);

    await says(second, { digest: "other", tooLarge: '"film" has 3000000 bytes at another node, more than the 1048576 that are synced' });
    const reason = 'node-2 leaves files of "uploads" alone for their size: "film" has 3000000 bytes at another node, more than the 1048576';
    for (const name of ["node-1", "node-2"]) {
      await comesTrue(async () => {
        const node = await stateOf(name);
        expect(node?.stateReason).toBe(`${reason} that are synced.`);
        expect(node?.advice).toBe("Start node-2 with a larger --file-max-mib, or exclude these files on every node.");
      }, 10_000);
    }
    await says(second, { digest: "other", problem: "there is no room left" });
    await eventually(() => kinds().includes("raised problem node-2"), 10_000);
    const stopped = 'The files "uploads" take no part: there is no room left';
    await eventually(async () => (await stateOf("node-2"))?.stateReason === stopped, 10_000);
    // The other one holds all there is to hold, as far as anyone can tell.
    await eventually(async () => (await stateOf("node-1"))?.state === "equal", 10_000);
    await says(second, {});
    await eventually(() => kinds().includes("recovered problem node-2"), 10_000);
  });

  it("compares rows in a ring, and names two that know the same changes and hold other rows", async () => {
    await setUp();
    const nodes = await fleet.addNodes(3);
    nodes[0]!.write(1);
    await nodes[0]!.heartbeat(fleet.client);
    await fleet.equal(5_000);
    nodes[1]!.diverged = true;
    await set("verify_interval", "1");
    await eventually(() => kinds().length > 0, 10_000);
    nodes[1]!.diverged = false;
    await eventually(() => kinds().length > 1, 10_000);
    expect(kinds()).toEqual(["raised diverged node-2", "recovered diverged node-2"]);
    expect(hook.notices[0]?.alert.message).toContain("node-2 and node-3 know the same changes and hold other rows in main (note)");
    const { logs } = await unary(fleet.client, "listLogs", { node: "", operation: "verify", status: "failed", limit: 50, beforeId: 0n });
    expect(new Set(logs.map((log) => log.serverName))).toEqual(new Set(["node-2"]));
  });

  it("tries again what could not be sent, by the channel that failed alone, also a mail whose server is back after a restart", async () => {
    await setUp();
    await set("alert_silent_seconds", SILENT_SECONDS);
    hook.state.failures = 1;
    await mail.close();
    const [only, other] = await fleet.addNodes(2);
    only!.down();
    await eventually(() => hook.notices.length === 1, 15_000);
    const { directory, nodes } = fleet;
    await fleet.stop({ keep: true });
    mail = await mailServer(mail.port);
    await other!.up();
    fleet = await FleetUnderTest.start(redis.url, { directory });
    fleet.nodes.push(...nodes);
    await eventually(() => mail.mails.length === 1, 15_000);
    await only!.up();
    await only!.register(fleet.client);
    await eventually(() => hook.notices.length === 2 && mail.mails.length === 2, 10_000);
    expect(kinds()).toEqual(["raised silent node-1", "recovered silent node-1"]);
    expect(subjects()).toEqual(["scoutsync: silent at node-1", "scoutsync: over: silent at node-1"]);
  });
});
