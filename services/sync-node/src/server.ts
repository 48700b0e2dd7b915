import type { Http2SecureServer, Http2Server as PlainHttp2Server } from "node:http2";
import { createServer, type Socket } from "node:net";
import { Server as TlsServer, type TLSSocket } from "node:tls";
import { Server, ServerCredentials, type ServerInterceptor, type ServerOptions } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { BULK_MAGIC, MAX_MESSAGE_BYTES } from "@scoutsync/protocol";
import { formatAddress, parseAddress } from "@scoutsync/runtime";

const KEEPALIVE_TIME_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Calls at once on one connection; the next wait at the caller's side. Two per database and peer is what a live node needs. */
const MAX_STREAMS = 1_000;
/** What pushes may have under way: the 64 KiB default moves 2 MB/s at a round trip of 20 ms. */
const RECEIVE_WINDOW_BYTES = 8 * 1024 * 1024;

/** A gRPC server with this product's limits, not yet listening. */
export function createGrpcServer(interceptors: ServerInterceptor[] = []): Server {
  const server = new Server({
    interceptors,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.max_concurrent_streams": MAX_STREAMS,
    "grpc.enable_channelz": 0,
  } satisfies ServerOptions);
  widenReceiveWindow(server);
  return server;
}

/** Throws INVALID_ARGUMENT or PORT_TAKEN when nothing could listen there, before anything else is touched. */
export async function checkListenAddress(listen: string): Promise<void> {
  const { host, port } = listenAddress(listen);
  await new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error) => reject(listenFailure(listen, error)));
    probe.listen(port, host, () => probe.close(() => resolve()));
  });
}

/** Begins to serve; resolves with the address, the port that was picked for port 0 in it. Throws as `checkListenAddress`. */
export async function listenOn(server: Server, listen: string, credentials = ServerCredentials.createInsecure()): Promise<string> {
  const { host, port } = listenAddress(listen);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(formatAddress({ host, port }), credentials, (error, picked) => {
      if (error) reject(listenFailure(listen, error));
      else resolve(picked);
    });
  });
  return formatAddress({ host, port: bound });
}

/** Lets calls end by themselves for `graceMs`, then ends them. New ones are refused at once. */
export async function shutDown(server: Server, graceMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const cut = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, graceMs);
    server.tryShutdown(() => {
      clearTimeout(cut);
      resolve();
    });
  });
}

function listenAddress(listen: string): { host: string; port: number } {
  const address = parseAddress(listen);
  if (!address) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${listen}" is not an address to listen on`,
      action: "Write it as host:port, for example 127.0.0.1:7071; port 0 picks a free one.",
    });
  }
  return address.host === "" ? { ...address, host: "127.0.0.1" } : address;
}

function listenFailure(listen: string, error: Error): SyncError {
  if (/EADDRINUSE/.test(error.message)) {
    return new SyncError({
      code: "PORT_TAKEN",
      message: `another program already listens on ${listen}`,
      action: "Choose another port with --listen HOST:PORT (port 0 picks a free one), or stop that program.",
      cause: error,
    });
  }
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `cannot listen on ${listen}: ${error.message}`,
    action: "Give --listen an address of this machine and a port this user may open.",
    cause: error,
  });
}

type Http2Server = Http2SecureServer | PlainHttp2Server;

interface ServerInternals {
  commonServerOptions?: { settings?: object };
  createHttp2Server?: (credentials: unknown) => Http2Server;
}

/**
 * grpc-js lets only clients choose their flow-control window, so this reaches into the server. Where a later version
 * looks different inside, uploads are slower on long lines and nothing else changes; a test says so.
 */
function widenReceiveWindow(server: Server): void {
  const internals = server as unknown as ServerInternals;
  const create = internals.createHttp2Server?.bind(server);
  if (!create || !internals.commonServerOptions) return;
  internals.commonServerOptions.settings = {
    ...internals.commonServerOptions.settings,
    initialWindowSize: RECEIVE_WINDOW_BYTES,
  };
  internals.createHttp2Server = (credentials) => {
    const http2Server = create(credentials);
    http2Server.on("session", (session) => session.setLocalWindowSize(RECEIVE_WINDOW_BYTES));
    return http2Server;
  };
}

/** A connection that has not said by then what it is for is closed. */
const FIRST_BYTES_MS = 30_000;

/**
 * Gives those connections that are not HTTP/2 to `accept`: under TLS they name no protocol, in
 * plain text they begin like a bulk connection. False where a later version of grpc-js looks different inside: then there
 * are none, and all bytes go through calls.
 */
export function acceptBulk(server: Server, accept: (socket: Socket) => void): boolean {
  const internals = server as unknown as ServerInternals;
  const create = internals.createHttp2Server?.bind(server);
  if (!create) return false;
  internals.createHttp2Server = (credentials) => {
    const http2Server = create(credentials);
    const isSecure = http2Server instanceof TlsServer;
    const event = isSecure ? "secureConnection" : "connection";
    const serve = http2Server.listeners(event).find(({ name }) => name === "connectionListener") as ((socket: Socket) => void) | undefined;
    if (!serve) return http2Server;
    const serveHttp2 = serve.bind(http2Server);
    http2Server.off(event, serve);
    http2Server.on(event, (socket: Socket) => {
      if (!isSecure) tellApart(socket, { serveHttp2, accept });
      else if ((socket as TLSSocket).alpnProtocol === "h2") serveHttp2(socket);
      else {
        closeIfSilent(socket);
        accept(socket);
      }
    });
    return http2Server;
  };
  return true;
}

/** By the first byte: HTTP/2 begins with another one. */
function tellApart(
  socket: Socket,
  { serveHttp2, accept }: { serveHttp2: (socket: Socket) => void; accept: (socket: Socket) => void },
): void {
  const heard = closeIfSilent(socket);
  const look = () => {
    const first = socket.read() as Buffer | null;
    if (!first) return;
    socket.off("readable", look);
    socket.unshift(first);
    if (first[0] === BULK_MAGIC[0]) return accept(socket);
    heard();
    serveHttp2(socket);
  };
  socket.on("readable", look);
}

/** Returns what says that it was not. */
function closeIfSilent(socket: Socket): () => void {
  const close = () => socket.destroy();
  socket.on("error", () => {});
  socket.setTimeout(FIRST_BYTES_MS, close);
  return () => {
    socket.setTimeout(0);
    socket.off("timeout", close);
  };
}
