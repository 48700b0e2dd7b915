import { createServer } from "node:net";
import { Server, ServerCredentials, type ServerInterceptor, type ServerOptions } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { MAX_MESSAGE_BYTES } from "@scoutsync/protocol";
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

interface ServerInternals {
  commonServerOptions?: { settings?: object };
  createHttp2Server?: (credentials: unknown) => {
    on(event: "session", listener: (session: { setLocalWindowSize(bytes: number): void }) => void): unknown;
  };
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
