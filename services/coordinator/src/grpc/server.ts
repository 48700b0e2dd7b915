import { SyncError } from "@scoutsync/core";
import { addReflection } from "@scoutsync/protocol";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { plainActs } from "@scoutsync/trust";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import type { Core } from "../core.ts";
import type { Upkeep } from "../upkeep.ts";
import { serviceCalls } from "./calls.ts";
import { COORDINATOR_ACCESS } from "../access/calls.ts";
import { COORDINATOR_SERVICE, operationCalls } from "./operation-calls.ts";

const SERVICE_NAME = "scoutsync.v1.Coordinator";
/** Frozen clients are dropped after these. */
const KEEPALIVE_TIME_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Calls at once on one connection; the next wait at the caller's side. */
const MAX_STREAMS = 1_000;
/** Calls that still run this long after the stop began are cut. */
const SHUTDOWN_GRACE_MS = 2_000;

/** Serves the Coordinator service with reflection and health. Throws PORT_TAKEN or INVALID_ARGUMENT. */
export async function startGrpc({
  listen,
  core,
  upkeep,
}: {
  listen: string;
  core: Core;
  upkeep: Upkeep;
}): Promise<{ listen: string; stop(): Promise<void> }> {
  const address = parseAddress(listen);
  if (address === null) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${listen}" is not an address to listen on`,
      action: "Give it as host:port with --listen.",
    });
  }
  const { membership } = core;
  const server = new Server({
    interceptors: [membership ? membership.guard.interceptor : plainActs(core.audit, new Map(COORDINATOR_ACCESS))],
    "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.max_concurrent_streams": MAX_STREAMS,
    "grpc.enable_channelz": 0,
  });
  const stopped = new AbortController();
  const parts = { core, upkeep, stopped: stopped.signal };
  server.addService(COORDINATOR_SERVICE, { ...serviceCalls(parts), ...operationCalls(parts) });
  const health = new HealthImplementation({ "": "SERVING", [SERVICE_NAME]: "SERVING" });
  health.addToServer(server);
  membership?.serve(server);
  addReflection(server, membership ? [SERVICE_NAME, "scoutsync.v1.Fleet", "scoutsync.v1.Access"] : [SERVICE_NAME]);
  const port = await bind(server, formatAddress(address), membership?.credentials ?? ServerCredentials.createInsecure());
  return {
    listen: formatAddress({ host: address.host, port }),
    async stop() {
      health.setStatus("", "NOT_SERVING");
      health.setStatus(SERVICE_NAME, "NOT_SERVING");
      stopped.abort();
      await new Promise<void>((resolve) => {
        const cut = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, SHUTDOWN_GRACE_MS);
        server.tryShutdown(() => {
          clearTimeout(cut);
          resolve();
        });
      });
    },
  };
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) return resolve(port);
      const taken = error.message.includes("EADDRINUSE");
      reject(
        new SyncError({
          code: taken ? "PORT_TAKEN" : "INVALID_ARGUMENT",
          message: taken ? `${address} is taken by another program` : `${address} cannot be listened on (${error.message})`,
          action: "Give another address with --listen, or port 0 for any free one.",
          cause: error,
        }),
      );
    });
  });
}
