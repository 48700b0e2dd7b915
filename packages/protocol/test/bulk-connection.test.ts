import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { BULK_MAGIC, BulkConnection, frameHead, MAX_FRAME_BYTES, TICKET_BYTES, type BulkFrame } from "../src/index.ts";

const TICKET = Buffer.alloc(TICKET_BYTES, 7);
const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** A bulk connection to somebody who does this with the connection once the ticket is there. */
async function against(serve: (socket: Socket) => void): Promise<BulkConnection> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    let came = Buffer.alloc(0);
    socket.on("data", (bytes) => {
      came = Buffer.concat([came, bytes]);
      if (came.length < BULK_MAGIC.length + TICKET_BYTES) return;
      expect(came.equals(Buffer.concat([BULK_MAGIC, TICKET]))).toBe(true);
      serve(socket);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(server);
  const { port } = server.address() as AddressInfo;
  const data = new BulkConnection((onread) => connect({ host: "127.0.0.1", port, onread }), TICKET);
  open.push(data);
  return data;
}

async function all(data: BulkConnection): Promise<BulkFrame[]> {
  const frames: BulkFrame[] = [];
  for (let frame = await data.next(); frame; frame = await data.next()) frames.push(frame);
  return frames;
}

const wire = (frame: BulkFrame | null) => Buffer.concat([frameHead(frame), frame && "bytes" in frame ? frame.bytes : Buffer.alloc(0)]);
const plain = (frames: BulkFrame[]) =>
  frames.map((one) => ("bytes" in one ? { ...one, bytes: Buffer.from(one.bytes).toString("hex") } : one));

test("frames come out as they went in, however the bytes between are cut", async () => {
  const part = fc.nat(2 ** 32 - 1);
  const bytes = fc.record({ part, offset: fc.nat(Number.MAX_SAFE_INTEGER), bytes: fc.uint8Array({ maxLength: 300 }) });
  const missing = fc.record({ part, missing: fc.string({ minLength: 1, maxLength: 50, unit: "grapheme-ascii" }) });
  const given = fc.array(fc.oneof(bytes, missing), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(given, fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), async (frames, cuts) => {
      const whole = Buffer.concat([...frames, null].map(wire));
      const data = await against((socket) => {
        socket.setNoDelay(true);
        let at = 0;
        const next = (n: number) => {
          if (at >= whole.length) return;
          const end = at + (cuts[n % cuts.length] ?? 1);
          socket.write(whole.subarray(at, end), () => setImmediate(next, n + 1));
          at = end;
        };
        next(0);
      });
      expect(plain(await all(data))).toEqual(plain(frames));
      expect(data.complete).toBe(true);
      data.close();
    }),
    { numRuns: 40 },
  );
});

test("large frames keep their bytes apart while many of them wait", async () => {
  const frames = Array.from({ length: 24 }, (_, part) => ({ part, offset: part, bytes: Buffer.alloc(MAX_FRAME_BYTES - part * 7, part) }));
  const data = await against((socket) => {
    for (const frame of [...frames, null]) socket.write(wire(frame));
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const came = await all(data);
  expect(came.map((one) => ("bytes" in one ? [one.part, one.bytes.length, one.bytes.every((byte) => byte === one.part)] : one))).toEqual(
    frames.map(({ part, bytes }) => [part, bytes.length, true]),
  );
});

test.each([
  ["more bytes than a frame may have", () => setLength(frameHead({ part: 0, offset: 0, bytes: Buffer.alloc(1) }), MAX_FRAME_BYTES + 1)],
  ["a text of any length", () => setLength(frameHead({ part: 0, missing: "x" }), 2 ** 32 - 1)],
  ["a kind that nobody knows", () => Buffer.alloc(17, 9)],
  ["an end with something in it", () => setLength(frameHead(null), 1)],
  ["an offset that is no number here", () => Buffer.concat([hugeOffset(), Buffer.alloc(1)])],
])("%s is refused before it is read", async (_what, lie) => {
  const data = await against((socket) => socket.write(lie()));
  await expect(all(data)).rejects.toMatchObject({ code: "PEER_FAILED" });
  expect(data.complete).toBe(false);
});

test("a connection that ends in the middle of a frame is not complete", async () => {
  const data = await against((socket) => socket.end(wire({ part: 0, offset: 0, bytes: Buffer.alloc(1000) }).subarray(0, 500)));
  expect(await all(data)).toEqual([]);
  expect(data.complete).toBe(false);
});

test("where nobody listens nothing comes, and nothing is thrown", async () => {
  const data = new BulkConnection((onread) => connect({ host: "127.0.0.1", port: 1, onread }), TICKET);
  expect(await all(data)).toEqual([]);
  expect(data.complete).toBe(false);
});

function setLength(head: Buffer, length: number): Buffer {
  head.writeUInt32BE(length, 13);
  return head;
}

function hugeOffset(): Buffer {
  const head = frameHead({ part: 0, offset: 0, bytes: Buffer.alloc(1) });
  head.writeBigUInt64BE(2n ** 60n, 5);
  return head;
}
