import { EventEmitter, once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { BULK_MAGIC, BulkConnection, BulkSender } from "@scoutsync/protocol";
import { afterEach, expect, test } from "vitest";
import { BulkConnections } from "../src/bulk-connections.ts";

const toClose: (() => void)[] = [];
afterEach(() => {
  for (const close of toClose.splice(0)) close();
});

/** Where every connection is of the member that `who` says, and what it was accused of. */
async function served(): Promise<{
  connections: BulkConnections;
  port: number;
  dial: () => Socket;
  who: { member: string | null };
  accused: string[];
}> {
  const who: { member: string | null } = { member: "node/one" };
  const accused: string[] = [];
  const connections = new BulkConnections(() => ({ member: who.member, accuse: (details) => void accused.push(details) }));
  const server = createServer((socket) => {
    socket.on("error", () => {});
    connections.accept(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  toClose.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { connections, port, dial: () => connect({ port, host: "127.0.0.1" }), who, accused };
}

/** What comes for this ticket until the connection is closed. */
async function bytesFor(socket: Socket, ticket: Uint8Array): Promise<number> {
  let came = 0;
  socket.on("error", () => {});
  socket.on("data", (bytes) => (came += bytes.length));
  socket.write(Buffer.concat([BULK_MAGIC, ticket]));
  await once(socket, "close");
  return came;
}

test("a ticket is good for its member, once, and for as long as its call", async () => {
  const { connections, port, dial, who, accused } = await served();
  const call = new AbortController();
  const admissions = new EventEmitter();
  const offer = () =>
    connections.offer({ member: "node/one", signal: call.signal }, (socket) => {
      admissions.emit("let in");
      return new BulkSender(socket, call.signal);
    });
  /** Who is let in gets no bytes either, and waits for them. */
  const dialed = (shown: Uint8Array) => Promise.race([bytesFor(dial(), shown), once(admissions, "let in").then(() => "let in")]);
  const { ticket, opened } = offer();

  for (const member of ["node/two", "", null]) {
    who.member = member;
    expect(await dialed(ticket)).toBe(0);
  }
  expect(accused).toHaveLength(3);
  who.member = "node/one";
  const data = new BulkConnection((onread) => connect({ port, host: "127.0.0.1", onread }), ticket);
  toClose.push(() => data.close());
  const sender = await opened;
  await sender?.send({ part: 3, offset: 4, bytes: Buffer.from("bytes") });
  await sender?.send({ part: 4, missing: "gone" });
  const finished = sender?.finish();
  const first = await data.next();
  expect(first && "bytes" in first ? { ...first, bytes: Buffer.from(first.bytes).toString() } : first).toEqual({
    part: 3,
    offset: 4,
    bytes: "bytes",
  });
  expect(await data.next()).toEqual({ part: 4, missing: "gone" });
  expect(await data.next()).toBeNull();
  expect(data.complete).toBe(true);
  data.close();
  await finished;

  expect(await dialed(ticket)).toBe(0);
  const second = offer();
  call.abort();
  expect(await second.opened).toBeNull();
  expect(await dialed(second.ticket)).toBe(0);
  expect(accused).toHaveLength(5);
});
