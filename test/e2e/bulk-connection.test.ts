import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import {
  bidi,
  createClient,
  BULK_MAGIC,
  fileClient,
  frameHead,
  GetFileRequest,
  hostAndPort,
  serverStream,
  SyncNodeClient,
  type Dial,
} from "@scoutsync/protocol";
import { PROTOCOL_VERSION } from "@scoutsync/core";
import { Fleet, scoutsync, until, type FleetNode } from "@scoutsync/testkit";
import { dialAs, Trust } from "@scoutsync/trust";
import { afterEach, beforeEach, expect, test } from "vitest";

// The bytes of large files take a connection of their own beside gRPC. It gives nobody anything that a call does not.

const MIB = 1024 * 1024;
const LARGE = randomBytes(12 * MIB + 4321);
const SMALL = randomBytes(5_000);

let fleet: Fleet;
let env: Record<string, string>;
const toClose: (() => void)[] = [];
beforeEach(() => {
  fleet = new Fleet("bulk-connection");
  env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
});
afterEach(async () => {
  for (const close of toClose.splice(0)) close();
  await fleet.stop();
});

const folder = (name: string) => fleet.path(name, "uploads");

async function start(name: string, ...flags: string[]): Promise<FleetNode> {
  mkdirSync(folder(name), { recursive: true });
  // Told of somebody who is not there: it would begin by itself with the one that let it in.
  const peers = flags.includes("--join") ? ["127.0.0.1:1"] : [];
  return fleet.node({ name, databases: {}, peers, flags: ["--files", `uploads=${folder(name)}`, "--file-min-free-mib", "0", ...flags] });
}

function fill(): void {
  mkdirSync(folder("a"), { recursive: true });
  writeFileSync(join(folder("a"), "large"), LARGE);
  writeFileSync(join(folder("a"), "small"), SMALL);
}

interface Passed {
  /** What the dialling side sent first. */
  first: Buffer;
  /** Bytes of both sides, as they dialled. */
  up: number;
  down: number;
}

/** A way to a node on which each connection is counted, and cut once `mayCarry` says so and `due` has come. */
async function way(
  to: FleetNode,
  mayCarry: (passed: Passed) => boolean = () => true,
  due: () => Promise<unknown> = async () => {},
): Promise<{ address: string; passed: Passed[] }> {
  const passed: Passed[] = [];
  const server = createServer((near) => {
    const one: Passed = { first: Buffer.alloc(0), up: 0, down: 0 };
    passed.push(one);
    const far = connect(hostAndPort(to.address));
    const cut = () => {
      near.destroy();
      far.destroy();
    };
    const pass = (from: Socket, onto: Socket, count: (bytes: Buffer) => void) => {
      from.on("data", (bytes) => {
        count(bytes);
        if (!mayCarry(one)) {
          from.pause();
          return void due().then(cut, cut);
        }
        if (!onto.write(bytes)) from.pause();
      });
      onto.on("drain", () => from.resume());
      from.on("error", cut);
      from.on("close", () => onto.end());
    };
    pass(near, far, (bytes) => {
      one.up += bytes.length;
      if (one.first.length < 512) one.first = Buffer.concat([one.first, bytes]);
    });
    pass(far, near, (bytes) => (one.down += bytes.length));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  toClose.push(() => server.close());
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, passed };
}

/**
 * A way on which the first bulk connection is cut: once it has carried 20 MiB, and "b" has written all of them but the frame that is cut
 * in two. `again`: the second one, and what "b" had of the large files when it was opened, bytes.
 */
async function cutOnce(to: FleetNode): Promise<{ address: string; again(): { carried: number; here: number } }> {
  const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  /** In its place, or on its way there. */
  const written = () => {
    const staging = join(folder("b"), ".scoutsync-store", "staging");
    const paths = [...readdirSync(staging).map((name) => join(staging, name)), join(folder("b"), "large")];
    return paths.reduce((sum, path) => sum + sizeOf(path), 0);
  };
  const here = new Map<Passed, number>();
  const mayCarry = (one: Passed) => {
    if (!isBulk(one)) return true;
    if (!here.has(one)) here.set(one, written());
    return here.size > 1 || Math.max(one.up, one.down) < 20 * MIB;
  };
  const { address } = await way(to, mayCarry, () => until(() => written() > 18 * MIB, { what: "what was carried on the disk" }));
  const again = () => {
    const [, [one, was] = [null, 0]] = here;
    return { carried: Math.max(one?.up ?? 0, one?.down ?? 0), here: was };
  };
  return { address, again };
}

const isBulk = ({ first }: Passed) => first.subarray(0, BULK_MAGIC.length).equals(BULK_MAGIC);

async function sync(
  node: FleetNode,
  address: string,
): Promise<{ success: boolean; verified: boolean; received: number; sent: number; stdout: string }> {
  const { stdout, ...done } = await scoutsync(["sync", node.address, address, "--json"], { env });
  const { success, verified, stats } = done.json<{
    success: boolean;
    verified: boolean;
    stats: { bytes_received: number; bytes_sent: number };
  }>();
  return { success, verified, received: stats.bytes_received, sent: stats.bytes_sent, stdout };
}

function expectHere(name: string): void {
  expect(readFileSync(join(folder(name), "large")).equals(LARGE)).toBe(true);
  expect(readFileSync(join(folder(name), "small")).equals(SMALL)).toBe(true);
}

/** Everything that comes on a connection that says this, until it is closed or as much has come. */
async function answered(socket: Socket, said: Uint8Array, enough = Infinity): Promise<Buffer> {
  let came = Buffer.alloc(0);
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", resolve));
  const whole = new Promise<void>((resolve) =>
    socket.on("data", (bytes: Buffer) => {
      came = Buffer.concat([came, bytes]);
      if (came.length >= enough) resolve();
    }),
  );
  socket.write(said);
  await Promise.race([closed, whole]);
  socket.destroy();
  return came;
}

/** A call for the large file that wants a bulk connection: its ticket, and what ends it. */
async function ticketFrom(address: string, dial: Dial = createClient): Promise<{ ticket: Buffer; leave(): void }> {
  const client = dial(address, SyncNodeClient);
  toClose.push(() => client.close());
  let hash = "";
  for await (const { entries } of fileClient(client).fileList({
    root: "uploads",
    known: [],
    callerIndex: "",
    follow: false,
    asKnown: false,
  }))
    for (const entry of entries) if (entry.path === "large") hash = entry.hash;
  const leaving = new AbortController();
  const ranges = [{ sha256: hash, offset: 0n, length: 0n }];
  const request = GetFileRequest.create({ root: "uploads", ranges, bulkConnection: true, protocol: PROTOCOL_VERSION });
  const answers = serverStream(client, "getFile", request, { signal: leaving.signal })[Symbol.asyncIterator]();
  const first = await answers.next();
  // Waited for as a client does; left by its signal.
  answers.next().catch(() => {});
  return { ticket: first.done ? Buffer.alloc(0) : first.value.ticket, leave: () => leaving.abort() };
}

/** A put that wants a bulk connection: its ticket, and what ends it. */
async function putTicketFrom(
  address: string,
  dial: Dial = createClient,
  bulkConnection = true,
): Promise<{ ticket: Buffer; leave(): void }> {
  const client = dial(address, SyncNodeClient);
  const call = bidi(client, "putFile");
  toClose.push(() => client.close());
  const open = { root: "uploads", name: "someone", index: "i".repeat(16), protocol: PROTOCOL_VERSION, bulkConnection };
  await call.send({ kind: { $case: "open", value: open } });
  const answers = call.responses[Symbol.asyncIterator]();
  const first = await answers.next();
  const kind = first.done ? undefined : first.value.kind;
  return { ticket: kind?.$case === "ready" ? kind.value.ticket : Buffer.alloc(0), leave: () => call.cancel() };
}

const TAKEN = frameHead(null);

const opening = (ticket: Uint8Array) => Buffer.concat([BULK_MAGIC, ticket]);
const FIRST_FRAME = frameHead({ part: 0, offset: 0, bytes: LARGE.subarray(0, MIB) });

test("large files come over a connection of their own", async () => {
  fill();
  const [a, b] = [await start("a"), await start("b")];
  const { address, passed } = await way(a);
  expect(await sync(b, address)).toMatchObject({ success: true, verified: true, received: LARGE.length + SMALL.length });
  expectHere("b");
  const data = passed.filter(isBulk);
  expect(data).toHaveLength(1);
  expect(data[0]?.down).toBeGreaterThan(LARGE.length);
});

test("where only gRPC gets through, they come through the call", async () => {
  fill();
  const [a, b] = [await start("a"), await start("b")];
  const { address, passed } = await way(a, (one) => !isBulk(one));
  expect(await sync(b, address)).toMatchObject({ success: true, verified: true });
  expectHere("b");
  expect(passed.filter(isBulk).map(({ down }) => down)).toEqual([0]);
});

test("what came before the connection was cut is gone on from", async () => {
  fill();
  const larger = randomBytes(24 * MIB);
  writeFileSync(join(folder("a"), "larger"), larger);
  const [a, b] = [await start("a"), await start("b")];
  const line = await cutOnce(a);
  const done = await sync(b, line.address);
  expect(done, done.stdout).toMatchObject({ success: true, verified: true });
  expectHere("b");
  expect(readFileSync(join(folder("b"), "larger")).equals(larger)).toBe(true);
  // Nothing that had been written came again.
  const { carried, here } = line.again();
  expect(here).toBeGreaterThan(18 * MIB);
  expect(carried).toBeLessThan(LARGE.length + larger.length + MIB - here);
});

test("large files are sent over a connection of their own, too", async () => {
  fill();
  const [a, b] = [await start("a"), await start("b")];
  const { address, passed } = await way(b);
  expect(await sync(a, address)).toMatchObject({ success: true, verified: true, sent: LARGE.length + SMALL.length, received: 0 });
  expectHere("b");
  const data = passed.filter(isBulk);
  expect(data).toHaveLength(1);
  expect(data[0]?.up).toBeGreaterThan(LARGE.length);
  // A sender that knows nothing of it is offered none.
  expect((await putTicketFrom(b.address, createClient, false)).ticket).toHaveLength(0);
});

test("several that are sent over one connection keep their bytes apart", async () => {
  fill();
  const another = randomBytes(9 * MIB);
  writeFileSync(join(folder("a"), "another"), another);
  const [a, b] = [await start("a"), await start("b")];
  const { address, passed } = await way(b);
  expect(await sync(a, address)).toMatchObject({ success: true, verified: true });
  expectHere("b");
  expect(readFileSync(join(folder("b"), "another")).equals(another)).toBe(true);
  // Nothing had to be sent a second time, through the call.
  const [data, ...more] = passed.filter(isBulk);
  expect(more).toEqual([]);
  expect(data?.up).toBeLessThan(LARGE.length + another.length + MIB);
  for (const call of passed.filter((one) => !isBulk(one))) expect(call.up).toBeLessThan(MIB);
});

test("where only gRPC gets through, they are sent through the call", async () => {
  fill();
  const [a, b] = [await start("a"), await start("b")];
  const { address, passed } = await way(b, (one) => !isBulk(one));
  expect(await sync(a, address)).toMatchObject({ success: true, verified: true, sent: LARGE.length + SMALL.length });
  expectHere("b");
  expect(passed.filter(isBulk).map(({ down }) => down)).toEqual([0]);
});

test("what was sent before the connection was cut is gone on from", async () => {
  fill();
  const larger = randomBytes(24 * MIB);
  writeFileSync(join(folder("a"), "larger"), larger);
  const [a, b] = [await start("a"), await start("b")];
  const line = await cutOnce(b);
  const done = await sync(a, line.address);
  expect(done, done.stdout).toMatchObject({ success: true, verified: true });
  expectHere("b");
  expect(readFileSync(join(folder("b"), "larger")).equals(larger)).toBe(true);
  // Nothing that had been written was sent again.
  const { carried, here } = line.again();
  expect(here).toBeGreaterThan(18 * MIB);
  expect(carried).toBeLessThan(LARGE.length + larger.length + MIB - here);
});

test("a connection without a good ticket gets nothing", async () => {
  fill();
  const a = await start("a");
  const dial = () => connect(hostAndPort(a.address));
  const { ticket, leave } = await ticketFrom(a.address);
  expect(ticket).toHaveLength(32);
  expect(await answered(dial(), opening(randomBytes(32)))).toHaveLength(0);
  expect(await answered(dial(), Buffer.from("scoutsync is something else, and longer than a ticket is"))).toHaveLength(0);
  const came = await answered(dial(), opening(ticket), FIRST_FRAME.length + MIB);
  expect(came.subarray(0, FIRST_FRAME.length + MIB).equals(Buffer.concat([FIRST_FRAME, LARGE.subarray(0, MIB)]))).toBe(true);
  // Good for one connection.
  expect(await answered(dial(), opening(ticket))).toHaveLength(0);
  leave();
  // And for as long as its call.
  const left = await ticketFrom(a.address);
  left.leave();
  await until(async () => (await answered(dial(), opening(left.ticket))).length === 0, { what: "the ticket of a call that is over" });
  // That of a put is answered, once, and then waits for what the put says.
  const put = await putTicketFrom(a.address);
  expect(put.ticket).toHaveLength(32);
  expect((await answered(dial(), opening(put.ticket), TAKEN.length)).equals(TAKEN)).toBe(true);
  expect(await answered(dial(), opening(put.ticket))).toHaveLength(0);
  put.leave();
  const over = await putTicketFrom(a.address);
  over.leave();
  await until(async () => (await answered(dial(), opening(over.ticket))).length === 0, { what: "the ticket of a put that is over" });
});

test("in a fleet a ticket is its member's alone, and bytes travel as everything else does", async () => {
  fill();
  const run = async (...args: string[]) => {
    const done = await scoutsync([...args, "--json"], { env });
    expect(done.code, done.stderr).toBe(0);
    return done;
  };
  await run("init", "--role", "node", "--name", "a", "--data", fleet.path("a", "node-data"));
  const a = await start("a");
  const invited = async () => (await run("invite", "--data", fleet.path("a", "node-data"))).json<{ code: string }>().code;
  const b = await start("b", "--join", await invited());
  await start("c", "--join", await invited());

  const { address, passed } = await way(a);
  expect(await sync(b, address)).toMatchObject({ success: true, verified: true });
  expectHere("b");
  writeFileSync(join(folder("b"), "another"), randomBytes(LARGE.length));
  expect(await sync(b, address)).toMatchObject({ success: true, verified: true, sent: LARGE.length });
  const large = passed.filter(({ up, down }) => Math.max(up, down) > LARGE.length);
  // In TLS of its own, which names no protocol; and nothing in it can be read on the way.
  expect(large.map(({ first }) => [first[0], first.includes("\x02h2"), first.includes(BULK_MAGIC)])).toEqual([
    [22, false, false],
    [22, false, false],
  ]);

  const trustOf = (name: string) => Trust.open(fleet.path(name, "node-data")) as Trust;
  const secure = (name: string | null) => {
    const pem = name === null ? undefined : readFileSync(fleet.path(name, "node-data", "fleet", "identity.pem"), "utf8");
    return connectTls({ ...hostAndPort(a.address), ...(pem !== undefined && { key: pem, cert: pem }), rejectUnauthorized: false });
  };
  const { ticket, leave } = await ticketFrom(a.address, dialAs(trustOf("b")));
  expect(ticket).toHaveLength(32);
  expect(await answered(secure("c"), opening(ticket))).toHaveLength(0);
  expect(await answered(secure(null), opening(ticket))).toHaveLength(0);
  expect(await answered(connect(hostAndPort(a.address)), opening(ticket))).toHaveLength(0);
  const audited = readFileSync(fleet.path("a", "node-data", "audit.log"), "utf8").split("\n");
  expect(audited.filter((line) => line.includes("a bulk connection") && line.includes("refused"))).toHaveLength(2);
  expect((await answered(secure("b"), opening(ticket), FIRST_FRAME.length)).subarray(0, FIRST_FRAME.length).equals(FIRST_FRAME)).toBe(true);
  leave();
  const put = await putTicketFrom(a.address, dialAs(trustOf("b")));
  expect(await answered(secure("c"), opening(put.ticket))).toHaveLength(0);
  expect((await answered(secure("b"), opening(put.ticket), TAKEN.length)).equals(TAKEN)).toBe(true);
  put.leave();
});
