import { SyncError, toPlainError } from "@scoutsync/core";
import { toStatus, type CoordinatorServer, type WatchRequest, type WatchResponse } from "@scoutsync/protocol";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { actingFor, noteAct } from "@scoutsync/trust";
import type { ServerUnaryCall, ServerWritableStream } from "@grpc/grpc-js";
import { accessFor } from "../access/calls.ts";
import type { Core } from "../core.ts";
import type { FleetEvent } from "../events.ts";
import { LONGEST_NAME } from "../detection/plausible.ts";
import { limitsNow } from "../limits.ts";
import { ask, noSuchOperation, UNKNOWN_OPERATION } from "../operations/ask.ts";
import type { ServiceCall } from "../operations/rpc.ts";
import { OPERATIONS } from "../operations/table.ts";
import { enrol } from "../registry/enrolment.ts";
import type { Upkeep } from "../upkeep.ts";
import { stopping, unaryCall } from "./unary-call.ts";

/** Addresses that a node binds to but nobody can dial. */
const UNSPECIFIED_HOSTS = new Set(["", "0.0.0.0", "::"]);

/** What nodes and workers say, the stream of events, and the call that stands for all operations. */
export function serviceCalls(parts: { core: Core; upkeep: Upkeep; stopped: AbortSignal }): Pick<CoordinatorServer, ServiceCall> {
  const { core, upkeep, stopped } = parts;
  const { registry, fleet } = core;
  const serve = <Q, P>(work: (request: Q, call: ServerUnaryCall<Q, P>, signal: AbortSignal) => P | Promise<P>) => unaryCall(work, stopped);

  return {
    register: serve(async (request, call) => {
      core.membership?.checkClaim(call, request.nodeId);
      const host = UNSPECIFIED_HOSTS.has(request.host) ? callerHost(call.getPeer()) : request.host;
      const id = await registry.commit(() => enrol(registry, { ...request, host }));
      const node = fleet.node(id);
      // A pause before dialling a peer that was dead must not delay one that says it is there.
      if (node !== null && !node.online) core.clients.forget(node.address);
      fleet.heard(id, core.membership?.scopeOf(call));
      fleet.spoke(id, request.run, formatAddress({ host, port: request.port }));
      fleet.observe(id, request.databases);
      core.events.tell("node", registry.servers.get(id), "registered");
      void welcome(core, id);
      return { id: BigInt(id), heartbeatIntervalMs: core.timing.heartbeatMs, limits: limitsNow(registry.settings) };
    }),

    heartbeat: serve((request, call) => {
      core.membership?.checkClaim(call, request.nodeId);
      const timeUs = BigInt(Date.now()) * 1_000n;
      const row = registry.servers.byNodeId(request.nodeId);
      if (request.run.length > LONGEST_NAME) throw tooLong();
      const unknown = { unknown: true, timeUs, syncWith: "", batchSize: 0, limits: undefined, lookAtCapture: undefined };
      if (row === null) return unknown;
      fleet.heard(row.id, core.membership?.scopeOf(call));
      if (fleet.spoke(row.id, request.run, null)) return unknown;
      const returned = fleet.node(row.id)?.online !== true || (request.run !== "" && request.run !== row.run);
      if (request.databases.length > 0) fleet.observe(row.id, request.databases);
      else fleet.markOnline(row.id);
      // A node of the version before says nothing of its files here.
      if (request.files.length > 0) fleet.observeFiles(row.id, request.files);
      if (request.run !== "" && request.run !== row.run) registry.servers.update(row.id, { run: request.run });
      if (returned) void welcome(core, row.id);
      if (request.dialled !== undefined) core.dialOut.ended(row.id, request.dialled);
      if (request.capture !== undefined) core.canary.told(row.id, request.capture);
      const orders = { ...core.dialOut.order(row.id), lookAtCapture: core.canary.order(row.id) };
      return { unknown: false, timeUs, ...orders, limits: limitsNow(registry.settings) };
    }),

    ask: serve(async ({ operation: id, input = {} }, call, signal) => {
      const one = OPERATIONS.find((known) => known.id === id);
      // Strangers are not told either what there is.
      const act = core.membership
        ? core.membership.admit(call, one ?? UNKNOWN_OPERATION, input)
        : noteAct(core.audit, one && accessFor(one).audited, { who: call.getPeer(), role: null, own: false }, `ask ${id}`, input);
      if (one === undefined) throw noSuchOperation(OPERATIONS, id);
      const work = () => ask(one, { core, upkeep, signal }, input);
      try {
        const answer = await (act === null ? work() : actingFor(act.who, work));
        return { answer: answer === null ? undefined : answer };
      } catch (error) {
        act?.failed(toPlainError(error).code);
        throw error;
      }
    }),

    acquireLease: serve((request) => core.desk.acquire(request)),
    reportSession: serve((request) => core.desk.report(request)),
    watch: (call) => watch(call, core, stopped),
  };
}

function tooLong(): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `A node's run has more than ${LONGEST_NAME} characters`,
    action: "Check that the node runs a compatible version.",
  });
}

/** Makes sure that a node which spoke can be reached, and catches it up. */
async function welcome({ prober, catchUps, logger }: Core, id: number): Promise<void> {
  try {
    // The second try is for a Ping that was out before the node came back.
    if ((await prober.ping(id)) || (await prober.ping(id))) await catchUps.returned(id);
  } catch (error) {
    logger.debug({ server: id, error: String(error) }, "a node that returned could not be caught up at once");
  }
}

/** A watcher that does not read fast enough misses events rather than filling memory. */
function watch(call: ServerWritableStream<WatchRequest, WatchResponse>, core: Core, stopped: AbortSignal): void {
  let writable = true;
  const send = ({ serverId, ...event }: FleetEvent) => {
    if (writable) writable = call.write({ ...event, serverId: BigInt(serverId) });
  };
  const finish = () => {
    core.events.off("event", send);
    stopped.removeEventListener("abort", end);
  };
  const end = () => {
    finish();
    call.emit("error", toStatus(stopping()));
  };
  if (stopped.aborted) return end();
  call.on("drain", () => (writable = true));
  call.once("cancelled", finish);
  stopped.addEventListener("abort", end, { once: true });
  core.events.on("event", send);
}

/** The host in `127.0.0.1:5000` or `[::1]:5000`; empty when the caller has none. */
function callerHost(peer: string): string {
  return (parseAddress(peer)?.host ?? "").replace(/^::ffff:/, "");
}
