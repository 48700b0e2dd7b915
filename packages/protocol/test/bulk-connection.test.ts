import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { Duplex } from "node:stream";
import { fc } from "../../core/test/seeded.ts";
import { afterEach, expect, test } from "vitest";
import {
  BULK_MAGIC,
  BulkConnection,
  BulkReceiver,
  dialBulkSender,
  frameHead,
  MAX_FRAME_BYTES,
  readInto,
  TICKET_BYTES,
  type BulkFrame,
  type BulkSender,
} from "../src/index.ts";

const TICKET = Buffer.alloc(TICKET_BYTES, 7);
const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** A bulk connection to somebody who does this with the connection once the ticket is there. */
async function against(serve: (socket: Socket) => void): Promise<BulkConnection> {
  const port = await listening(serve);
  const data = new BulkConnection((onread) => connect({ host: "127.0.0.1", port, onread }), TICKET);
  open.push(data);
  return data;
}

/** Resolves when a connection is closed, however it came to that. */
const over = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));

/** Who takes frames, and a connection to it as it is after the ticket. */
async function receiving(signal = new AbortController().signal): Promise<{ receiver: BulkReceiver; socket: Socket }> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(server);
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.on("error", () => {});
  const [accepted] = (await once(server, "connection")) as [Socket];
  const receiver = new BulkReceiver(accepted, signal);
  open.push(receiver, { close: () => socket.destroy() });
  expect(((await once(socket, "data")) as [Buffer])[0].equals(frameHead(null))).toBe(true);
  return { receiver, socket };
}

/** A sender to somebody who takes every ticket, and what takes the frames. */
async function sending(signal?: AbortSignal): Promise<{ sender: BulkSender; receiver: BulkReceiver }> {
  let receiver: BulkReceiver | null = null;
  const port = await listening((socket) => (receiver = new BulkReceiver(socket, new AbortController().signal)));
  const sender = await dialBulkSender((onread) => connect({ host: "127.0.0.1", port, onread }), TICKET, signal);
  if (!sender || !receiver) throw new Error("the ticket was not taken");
  open.push(sender, receiver);
  return { sender, receiver };
}

/** Listens, and gives away each connection once the ticket has come. */
async function listening(serve: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    let came = Buffer.alloc(0);
    const read = (bytes: Buffer) => {
      came = Buffer.concat([came, bytes]);
      if (came.length < BULK_MAGIC.length + TICKET_BYTES) return;
      expect(came.equals(Buffer.concat([BULK_MAGIC, TICKET]))).toBe(true);
      socket.off("data", read);
      serve(socket);
    };
    socket.on("data", read);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(server);
  return (server.address() as AddressInfo).port;
}

async function taken(receiver: BulkReceiver): Promise<BulkFrame[]> {
  const frames: BulkFrame[] = [];
  for (let frame = await receiver.next(); frame; frame = await receiver.next()) frames.push(frame);
  return frames;
}

async function all(data: BulkConnection): Promise<BulkFrame[]> {
  const frames: BulkFrame[] = [];
  for (let frame = await data.next(); frame; frame = await data.next()) frames.push(frame);
  return frames;
}

const wire = (frame: BulkFrame | null) => Buffer.concat([frameHead(frame), frame && "bytes" in frame ? frame.bytes : Buffer.alloc(0)]);
const plain = (frames: BulkFrame[]) =>
  frames.map((one) => ("bytes" in one ? { ...one, bytes: Buffer.from(one.bytes).toString("hex") } : one));

const anyPart = fc.nat(2 ** 32 - 1);
const anyFrames: fc.Arbitrary<BulkFrame[]> = fc.array(
  fc.oneof(
    fc.record({ part: anyPart, offset: fc.nat(Number.MAX_SAFE_INTEGER), bytes: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ part: anyPart, missing: fc.string({ minLength: 1, maxLength: 50, unit: "grapheme-ascii" }) }),
  ),
  { maxLength: 12 },
);
const someCuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 });

test("frames come out as they went in, however the bytes between are cut", async () => {
  await fc.assert(
    fc.asyncProperty(anyFrames, someCuts, async (frames, cuts) => {
      const whole = Buffer.concat([...frames, null].map(wire));
      const data = await against((socket) => writeCut(socket, whole, cuts));
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

/** Writes the bytes in pieces of these lengths, each by itself. */
function writeCut(socket: Socket, whole: Buffer, cuts: readonly number[]): void {
  socket.setNoDelay(true);
  let at = 0;
  const next = (n: number) => {
    if (at >= whole.length) return;
    const end = at + (cuts[n % cuts.length] ?? 1);
    socket.write(whole.subarray(at, end), () => setImmediate(next, n + 1));
    at = end;
  };
  next(0);
}

test("what is sent over an opened connection comes in its order, one offer after the other", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyFrames, { minLength: 1, maxLength: 4 }), someCuts, async (offers, cuts) => {
      const { receiver, socket } = await receiving();
      writeCut(socket, Buffer.concat(offers.flatMap((frames) => [...frames, null]).map(wire)), cuts);
      for (const frames of offers) expect(plain(await taken(receiver))).toEqual(plain(frames));
      receiver.close();
    }),
    { numRuns: 40 },
  );
});

test("Node lets an accepted connection be read into memory of one's own, and where it does not, frames come all the same", async () => {
  const { socket } = await receiving();
  expect(readInto(socket, { buffer: () => Buffer.alloc(10), callback: () => true })).toBe(true);
  const unknown = new Duplex({ read: () => {}, write: (_bytes, _encoding, done) => done() }) as Socket;
  const receiver = new BulkReceiver(unknown, new AbortController().signal);
  const frames = Array.from({ length: 9 }, (_, at) => ({ part: at, offset: at, bytes: Buffer.alloc(1000 + at, at) }));
  const whole = Buffer.concat([...frames, null].map(wire));
  for (let at = 0; at < whole.length; at += 777) unknown.push(whole.subarray(at, at + 777));
  expect(plain(await taken(receiver))).toEqual(plain(frames));
  unknown.push(Buffer.alloc(17, 9));
  await expect(receiver.next()).rejects.toMatchObject({ code: "PEER_FAILED" });
});

test("many large frames wait for a receiver that is slow, and keep their bytes", async () => {
  const { sender, receiver } = await sending();
  const sent = (async () => {
    for (let part = 0; part < 24; part++) await sender.send({ part, offset: part, bytes: Buffer.alloc(MAX_FRAME_BYTES - part * 7, part) });
    await sender.end();
    await sender.send({ part: 0, missing: "gone" });
    await sender.end();
  })();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const came = await taken(receiver);
  expect(came.map((one) => ("bytes" in one ? [one.part, one.bytes.length, one.bytes.every((byte) => byte === one.part)] : one))).toEqual(
    Array.from({ length: 24 }, (_, part) => [part, MAX_FRAME_BYTES - part * 7, true]),
  );
  expect(await taken(receiver)).toEqual([{ part: 0, missing: "gone" }]);
  await sent;
});

test("a receiver that goes away, or a put that is over, ends the sending", async () => {
  const gone = await sending();
  gone.receiver.close();
  const rest = async (sender: BulkSender) => {
    for (;;) await sender.send({ part: 0, offset: 0, bytes: Buffer.alloc(MAX_FRAME_BYTES) });
  };
  await expect(rest(gone.sender)).rejects.toMatchObject({ code: "PEER_FAILED" });
  const put = new AbortController();
  const left = await sending(put.signal);
  put.abort(new Error("the put is over"));
  await expect(rest(left.sender)).rejects.toThrow("the put is over");
  await expect(taken(left.receiver)).rejects.toMatchObject({ code: "PEER_FAILED" });
});

test("a ticket that nobody takes leaves no connection", async () => {
  const closed: Promise<unknown>[] = [];
  for (const answer of [Buffer.alloc(0), wire({ part: 0, offset: 0, bytes: Buffer.alloc(9) }), Buffer.alloc(17, 9)]) {
    const port = await listening((socket) => {
      closed.push(over(socket));
      if (answer.length === 0) socket.destroy();
      else socket.write(answer);
    });
    expect(await dialBulkSender((onread) => connect({ host: "127.0.0.1", port, onread }), TICKET)).toBeNull();
  }
  await Promise.all(closed);
  expect(await dialBulkSender((onread) => connect({ host: "127.0.0.1", port: 1, onread }), TICKET)).toBeNull();
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
  const { receiver, socket } = await receiving();
  const closed = over(socket);
  socket.write(lie());
  await expect(taken(receiver)).rejects.toMatchObject({ code: "PEER_FAILED", message: expect.stringContaining("no part of a file") });
  await closed;
});

test("a connection that ends in the middle of a frame is not complete", async () => {
  const data = await against((socket) => socket.end(wire({ part: 0, offset: 0, bytes: Buffer.alloc(1000) }).subarray(0, 500)));
  expect(await all(data)).toEqual([]);
  expect(data.complete).toBe(false);
});

test("a sender that ends in the middle of a frame, or before its end frame, has not sent all", async () => {
  for (const bytes of [wire({ part: 0, offset: 0, bytes: Buffer.alloc(1000) }).subarray(0, 500), wire({ part: 1, missing: "gone" })]) {
    const { receiver, socket } = await receiving();
    socket.end(bytes);
    await expect(taken(receiver)).rejects.toMatchObject({ code: "PEER_FAILED" });
  }
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
