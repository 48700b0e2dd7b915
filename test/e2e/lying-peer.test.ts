import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, ServerCredentials, type ServerWritableStream } from "@grpc/grpc-js";
import { PROTOCOL_VERSION, type FileEntry, type Origin } from "@scoutsync/core";
import {
  bidi,
  createClient,
  dialBulkSender,
  fileClient,
  PingResponse,
  SyncNodeClient,
  syncNodeService,
  toWireEntry,
  type FileChecksumsRequest,
  type FileChecksumsResponse,
  type GetFileRequest,
  type GetFileResponse,
  type BulkFrame,
} from "@scoutsync/protocol";
import { Fleet, scoutsync, until, type FleetNode } from "@scoutsync/testkit";
import { brokenLine } from "@scoutsync/trust";
import { afterEach, beforeEach, expect, test } from "vitest";

// A peer that says and sends whatever it likes, over the wire that real ones use.

const BYTES = Buffer.from("from a hostile peer");
const HASH = createHash("sha256").update(BYTES).digest("hex");
const INDEX = "q".repeat(16);
const HOSTILE = [
  "../canary/secret",
  "x/../../canary/new",
  "/tmp/scoutsync-was-here",
  "nul\0byte",
  "c:\\windows\\x",
  "é".repeat(128),
  "cafe\u0301",
  "CON",
  ".scoutsync-store/objects/x",
];

let fleet: Fleet;
let node: FleetNode;
let root: string;
let canary: string;
beforeEach(async () => {
  fleet = new Fleet("lying-peer");
  root = fleet.path("a", "uploads");
  canary = fleet.path("a", "canary");
  for (const folder of [root, canary]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(canary, "secret"), "untouched");
  node = await fleet.node({ name: "a", databases: {}, flags: ["--files", `uploads=${root}`] });
});
afterEach(() => fleet.stop());

function entry(path: string, change: Partial<FileEntry> = {}): FileEntry {
  return {
    path,
    kind: "file",
    hash: HASH,
    size: BYTES.length,
    mode: 7,
    modifiedUs: 1,
    version: new Map([["p".repeat(16) as Origin, 7]]),
    stampUs: 1,
    author: "liar",
    before: "",
    cause: "",
    losers: [],
    ...change,
  };
}

const other = (text: string) => createHash("sha256").update(text).digest("hex");
const ENTRIES = [
  ...HOSTILE.map((path) => entry(path)),
  entry("a mode of its own", { mode: 0o4777 }),
  entry("sound.txt"),
  // Announced with the hash of other bytes, and with a size that is not theirs.
  entry("lie.txt", { hash: other("what it said") }),
  entry("short.txt", { hash: other("longer"), size: 7 }),
  entry("large.txt", { hash: other("larger"), size: 200_000 }),
];

async function expectOnlySound(): Promise<void> {
  expect(readdirSync(root).filter((name) => name !== ".scoutsync-store")).toEqual(["sound.txt"]);
  expect(readFileSync(join(root, "sound.txt")).equals(BYTES)).toBe(true);
  expect(lstatSync(join(root, "sound.txt")).mode & 0o7022).toBe(0);
  expect(readdirSync(canary)).toEqual(["secret"]);
  expect(readFileSync(join(canary, "secret"), "utf8")).toBe("untouched");
  expect(readdirSync(fleet.path("a", "x", "..")).sort()).toEqual(["canary", "node-data", "uploads"]);
  const [status] = (await scoutsync(["files", "status", node.address, "--json"])).json<{ refused: { what: string }[] }[]>();
  const audited = status?.refused.map(({ what }) => what).join("\n") ?? "";
  for (const path of HOSTILE) expect(audited).toContain(JSON.stringify(path).slice(1, 20));
  await expectAudited([...HOSTILE.map((path) => JSON.stringify(path).slice(1, 20)), "SHA-256"]);
}

/** Each of these is in the audit log of the node, once, and no line of it has been changed. */
async function expectAudited(texts: readonly string[]): Promise<void> {
  const read = () => readFileSync(fleet.path("a", "node-data", "audit.log"), "utf8");
  const details = () =>
    read()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { outcome: string; details: string })
      .filter(({ outcome }) => outcome === "refused")
      .map((line) => line.details);
  await until(() => texts.every((text) => details().some((one) => one.includes(text))), { what: "what was refused in the audit log" });
  expect(details()).toHaveLength(new Set(details()).size);
  expect(brokenLine(read())).toBeNull();
}

test("a list with hostile paths and bytes that are not what was announced: refused, audited, and nothing outside the root touched", async () => {
  const server = new Server();
  const bytesOf = (hash: string) => (hash === ENTRIES.find(({ path }) => path === "large.txt")?.hash ? Buffer.alloc(200_000, "x") : BYTES);
  server.addService(syncNodeService, {
    ping: (_call: unknown, callback: (error: null, response: PingResponse) => void) =>
      callback(null, PingResponse.create({ name: "liar", nodeId: "liar", version: "0.1.0" })),
    fileChecksums: (call: ServerWritableStream<FileChecksumsRequest, FileChecksumsResponse>) => {
      call.write({ index: INDEX, entries: [], end: undefined, part: undefined });
      call.write({ index: "", entries: ENTRIES.map(toWireEntry), end: undefined, part: undefined });
      const end = { cursor: `${INDEX}:99`, digest: "00".repeat(16), received: "", files: 1n, pending: 0n };
      call.write({ index: "", entries: [], end, part: undefined });
      call.end();
    },
    getFile: (call: ServerWritableStream<GetFileRequest, GetFileResponse>) => {
      for (const [range, { sha256 }] of call.request.ranges.entries())
        call.write({
          entry: undefined,
          range,
          offset: 0n,
          chunk: bytesOf(sha256),
          recipe: Buffer.alloc(0),
          missing: "",
          ticket: Buffer.alloc(0),
        });
      call.end();
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  try {
    // The lies one by one as well: the first that is noticed ends a session.
    for (let turn = 0; turn < 2; turn++) {
      const done = await scoutsync(["sync", node.address, `127.0.0.1:${port}`, "--json"]);
      expect(done.code, done.stdout).toBe(1);
    }
    // Without its lies about bytes it is taken at its word for what is sound.
    ENTRIES.splice(ENTRIES.findIndex(({ path }) => path === "lie.txt"));
    await scoutsync(["sync", node.address, `127.0.0.1:${port}`, "--json"]);
    await expectOnlySound();
  } finally {
    server.forceShutdown();
  }
});

test("a caller that puts hostile paths and lies about bytes gets nowhere but to what is sound", async () => {
  const client = createClient(node.address, SyncNodeClient);
  try {
    const put = async (entries: FileEntry[], bytes: Buffer) => {
      const stream = await fileClient(client).openPut({ root: "uploads", name: "liar", index: INDEX });
      try {
        for (const { hash } of await stream.offer(entries)) await stream.bytes(hash, 0, bytes);
        return await stream.commit([]);
      } finally {
        stream.cancel();
      }
    };
    const lies = [entry("lie.txt", { hash: other("what it said") }), entry("short.txt", { hash: other("longer"), size: 7 })];
    for (const lie of lies) await expect(put([lie], BYTES)).rejects.toMatchObject({ code: "FILE_CORRUPT" });
    await expect(put([entry("large.txt", { hash: other("larger"), size: 200_000 })], Buffer.alloc(200_000))).rejects.toMatchObject({
      code: "FILE_CORRUPT",
    });
    const { refused, placed } = await put([...HOSTILE.map((path) => entry(path)), entry("sound.txt")], BYTES);
    expect(placed).toBe(1);
    expect(refused).toHaveLength(HOSTILE.length);
    expect(new Set(refused.map(({ code }) => code))).toEqual(new Set(["INVALID_ARGUMENT"]));
    await expectOnlySound();
  } finally {
    client.close();
  }
});

test("a caller that lies over a bulk connection of its put gets no further", async () => {
  const large = Buffer.alloc(100_000, "large");
  const sound = { hash: createHash("sha256").update(large).digest("hex"), size: large.length };
  const client = createClient(node.address, SyncNodeClient);
  /** Offers one large file, sends these frames for it, and commits; resolves with what was placed. */
  const put = async (frames: BulkFrame[], { connected = true } = {}) => {
    const call = bidi(client, "putFile");
    const answers = call.responses[Symbol.asyncIterator]();
    const answer = async () => {
      const next = await answers.next();
      return next.done ? undefined : next.value.kind;
    };
    try {
      const open = { root: "uploads", name: "liar", index: INDEX, protocol: PROTOCOL_VERSION, bulkConnection: true };
      await call.send({ kind: { $case: "open", value: open } });
      const ready = await answer();
      const ticket = ready?.$case === "ready" ? ready.value.ticket : Buffer.alloc(0);
      const sender = connected && client.dialBulk ? await dialBulkSender(client.dialBulk, ticket) : null;
      expect(sender !== null).toBe(connected);
      const entries = [toWireEntry(entry("sound.txt", sound))];
      await call.send({ kind: { $case: "offer", value: { entries } } });
      await answer();
      await call.send({ kind: { $case: "bulk", value: {} } });
      const sent = async () => {
        for (const frame of frames) await sender?.send(frame);
        await sender?.end();
      };
      // Why it could not be sent is for the call to say.
      await sent().catch(() => {});
      await call.send({ kind: { $case: "commit", value: { missing: [] } } }).catch(() => {});
      const ack = await answer();
      sender?.close();
      return ack?.$case === "ack" ? { placed: Number(ack.value.placed), refused: ack.value.refused.map(({ code }) => code) } : null;
    } finally {
      call.cancel();
    }
  };
  const bytes = (of: Buffer, change: Partial<{ part: number; offset: number }> = {}): BulkFrame => ({
    part: 0,
    offset: 0,
    bytes: of,
    ...change,
  });
  try {
    await expect(put([], { connected: false })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    for (const part of [1, 2 ** 32 - 1]) await expect(put([bytes(large, { part })])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const lies: BulkFrame[][] = [
      [bytes(large, { offset: 1 })],
      [bytes(large, { offset: Number.MAX_SAFE_INTEGER })],
      [bytes(large.subarray(0, 70_000)), bytes(large.subarray(0, 70_000))],
      [bytes(large.subarray(0, 70_000)), bytes(large, { offset: 70_000 })],
      [bytes(Buffer.alloc(100_000, "other"))],
    ];
    for (const lie of lies) await expect(put(lie)).rejects.toMatchObject({ code: "FILE_CORRUPT" });
    // Part of it, or nothing: it is refused for now. What is sound goes on from what came.
    for (const some of [[bytes(large.subarray(0, 70_000))], [{ part: 0, missing: "gone" }]])
      expect(await put(some)).toEqual({ placed: 0, refused: ["FILE_CHANGED"] });
    expect(readdirSync(root).filter((name) => name !== ".scoutsync-store")).toEqual([]);
    expect(await put([bytes(large.subarray(70_000), { offset: 70_000 })])).toEqual({ placed: 1, refused: [] });
    expect(readFileSync(join(root, "sound.txt")).equals(large)).toBe(true);
    expect(readdirSync(root).filter((name) => name !== ".scoutsync-store")).toEqual(["sound.txt"]);
    await expectAudited(["SHA-256", "came in another order, or longer", "bytes of what is wanted"]);
  } finally {
    client.close();
  }
});
