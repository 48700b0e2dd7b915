import { SyncError } from "@scoutsync/core";
import { toStatus, type CoordinatorServer, type WatchRequest, type WatchResponse } from "@scoutsync/protocol";
import { parseAddress } from "@scoutsync/runtime";
import type { handleUnaryCall, ServerUnaryCall, ServerWritableStream } from "@grpc/grpc-js";
import type { Core } from "../core.ts";
import type { FleetEvent } from "../events.ts";
import { cleanUp } from "../cleanup.ts";
import { limitsNow } from "../limits.ts";
import type { JobState } from "../jobs/catch-up-queue.ts";
import { addNode, removeNode, setEnabled } from "../operations/nodes.ts";
import { ask, noSuchOperation, UNKNOWN_OPERATION } from "../operations/ask.ts";
import { retireNode } from "../operations/retire.ts";
import { collectReviews, decideReview } from "../operations/reviews.ts";
import { OPERATIONS } from "../operations/table.ts";
import { enrol, findServer } from "../registry/enrolment.ts";
import type { Upkeep } from "../upkeep.ts";
import {
  alertShape,
  catchUpShape,
  cleanupShape,
  fleetReviewShape,
  jobCountsShape,
  jobShape,
  logShape,
  nodeShape,
  nodeShapes,
  reliabilityShape,
  settingShape,
  statusShape,
} from "./shapes.ts";

const DEFAULT_LISTED = 100;
const MOST_LISTED = 10_000;
/** Addresses that a node binds to but nobody can dial. */
const UNSPECIFIED_HOSTS = new Set(["", "0.0.0.0", "::"]);

/** The calls of the Coordinator service: each only translates. */
export function coordinatorCalls(parts: { core: Core; upkeep: Upkeep; stopped: AbortSignal }): CoordinatorServer {
  const { core, upkeep, stopped } = parts;
  const { registry, fleet, catchUps } = core;
  const serve = <Q, P>(work: (request: Q, call: ServerUnaryCall<Q, P>, signal: AbortSignal) => P | Promise<P>) => unaryCall(work, stopped);

  return {
    register: serve(async (request, call) => {
      core.membership?.checkClaim(call, request.nodeId);
      const host = UNSPECIFIED_HOSTS.has(request.host) ? callerHost(call.getPeer()) : request.host;
      const id = await registry.commit(() => enrol(registry, { ...request, host }));
      const node = fleet.node(id);
      // A pause before dialling a peer that was dead must not delay one that says it is there.
      if (node !== null && !node.online) core.clients.forget(node.address);
      fleet.heard(id);
      fleet.observe(id, request.databases);
      core.events.tell("node", registry.servers.get(id), "registered");
      void welcome(core, id);
      return { id: BigInt(id), heartbeatIntervalMs: core.timing.heartbeatMs, limits: limitsNow(registry.settings) };
    }),

    heartbeat: serve((request, call) => {
      core.membership?.checkClaim(call, request.nodeId);
      const timeUs = BigInt(Date.now()) * 1_000n;
      const row = registry.servers.byNodeId(request.nodeId);
      if (row === null) return { unknown: true, timeUs, syncWith: "", batchSize: 0, limits: undefined };
      fleet.heard(row.id);
      const returned = fleet.node(row.id)?.online !== true || (request.run !== "" && request.run !== row.run);
      if (request.databases.length > 0) fleet.observe(row.id, request.databases);
      else fleet.markOnline(row.id);
      // A node of the version before says nothing of its files here.
      if (request.files.length > 0) fleet.observeFiles(row.id, request.files);
      if (request.run !== "" && request.run !== row.run) registry.servers.update(row.id, { run: request.run });
      if (returned) void welcome(core, row.id);
      if (request.dialled !== undefined) core.dialOut.ended(row.id, request.dialled);
      return { unknown: false, timeUs, ...core.dialOut.order(row.id), limits: limitsNow(registry.settings) };
    }),

    listNodes: serve(async () => {
      await upkeep.fresh();
      return { nodes: nodeShapes(core) };
    }),

    addNode: serve(async (request) => ({ node: nodeShape(core, await addNode(core, { ...request, enabled: !request.disabled })) })),

    removeNode: serve(async (request) => {
      await removeNode(core, request.node);
      return {};
    }),

    pauseNode: serve(({ node }) => ({ node: nodeShape(core, setEnabled(core, node, false)) })),
    resumeNode: serve(({ node }) => ({ node: nodeShape(core, setEnabled(core, node, true)) })),

    retireNode: serve(async ({ node }) => {
      const { by, origins } = await retireNode(core, node);
      return { by, origins: BigInt(origins) };
    }),

    getStatus: serve(async () => {
      await upkeep.fresh();
      return statusShape(core);
    }),

    scan: serve(async ({ noWait }, _call, signal) => {
      const { message, results } = await catchUps.scan({ wait: !noWait, signal });
      return {
        message,
        serversProcessed: results.length,
        results: results.map(catchUpShape),
        timestamp: new Date().toISOString(),
      };
    }),

    catchUp: serve(async ({ node }, _call, signal) => {
      const summary = await catchUps.catchUp(findServer(registry, node).id, signal);
      return { result: catchUpShape(summary) };
    }),

    listLogs: serve((request) => {
      const logs = registry.logs.list({
        ...(request.node === "" ? {} : { serverId: findServer(registry, request.node).id }),
        operation: request.operation,
        status: request.status,
        beforeId: Number(request.beforeId),
        limit: listed(request.limit),
      });
      return { logs: logs.map(logShape) };
    }),

    listJobs: serve(async ({ state, limit }) => {
      core.link.assertReady();
      const jobs = (await core.queue()?.list(jobState(state), listed(limit))) ?? [];
      return { jobs: jobs.map((job) => jobShape(core, job)) };
    }),

    retryJob: serve(async ({ id }) => ({ job: jobShape(core, await catchUps.retryJob(id)) })),
    cancelJob: serve(async ({ id }) => ({ job: jobShape(core, await catchUps.cancelJob(id)) })),
    pauseJobs: serve(async () => {
      await catchUps.setPaused(true);
      return { counts: await jobCountsShape(core) };
    }),
    resumeJobs: serve(async () => {
      await catchUps.setPaused(false);
      return { counts: await jobCountsShape(core) };
    }),

    getReliability: serve(({ node }) => reliabilityShape(core, findServer(registry, node))),
    cleanup: serve(({ dryRun }) => cleanupShape(cleanUp(core, { dryRun }))),
    listAlerts: serve(({ all, limit }) => ({ alerts: registry.alerts.list({ all, limit: listed(limit) }).map(alertShape) })),

    getSettings: serve(() => ({ settings: registry.settings.list().map(settingShape) })),

    setSetting: serve(({ key, value }) => {
      const entry = registry.settings.set(key, value);
      core.events.emit("changed");
      void upkeep.reconcile();
      return { setting: settingShape(entry) };
    }),

    listFleetReviews: serve(async ({ kind, node, resolved }) => {
      const { entries, unreachable } = await collectReviews(core, { kind, node, resolved });
      return { reviews: entries.map(fleetReviewShape), unreachable: unreachable.map((one) => ({ ...one, id: BigInt(one.id) })) };
    }),

    resolveFleetReview: serve(async (request) => ({ review: fleetReviewShape(await decideReview(core, request)) })),

    ask: serve(async ({ operation: id, input = {} }, call, signal) => {
      const one = OPERATIONS.find((known) => known.id === id);
      // Strangers are not told either what there is.
      core.membership?.admit(call, one ?? UNKNOWN_OPERATION);
      if (one === undefined) throw noSuchOperation(OPERATIONS, id);
      const answer = await ask(one, { core, upkeep, signal }, input);
      return { answer: answer === null ? undefined : answer };
    }),

    acquireLease: serve((request) => core.desk.acquire(request)),
    reportSession: serve((request) => core.desk.report(request)),
    watch: (call) => watch(call, core, stopped),
  };
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

/** A unary call that answers with what `work` returns, or with the status of what it throws. */
function unaryCall<Q, P>(
  work: (request: Q, call: ServerUnaryCall<Q, P>, signal: AbortSignal) => P | Promise<P>,
  stopped: AbortSignal,
): handleUnaryCall<Q, P> {
  return (call, callback) => {
    const cancelled = new AbortController();
    call.once("cancelled", () => cancelled.abort());
    const answer = async () => {
      if (stopped.aborted) throw stopping();
      return work(call.request, call, AbortSignal.any([cancelled.signal, stopped]));
    };
    const respond = async () => {
      try {
        callback(null, await answer());
      } catch (error) {
        callback(toStatus(error));
      }
    };
    void respond();
  };
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

function stopping(): SyncError {
  return new SyncError({ code: "SHUTTING_DOWN", message: "The coordinator is stopping", action: "Try again in a moment." });
}

/** Throws INVALID_ARGUMENT for a state that no job is in. */
function jobState(text: string): JobState | "" {
  const state = (["", "waiting", "active", "delayed", "failed", "completed"] as const).find((known) => known === text);
  if (state !== undefined) return state;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `No job is ever "${text.slice(0, 40)}"`,
    action: "Use waiting, active, delayed, failed or completed.",
  });
}

function listed(limit: number): number {
  return limit === 0 ? DEFAULT_LISTED : Math.min(limit, MOST_LISTED);
}

/** The host in `127.0.0.1:5000` or `[::1]:5000`; empty when the caller has none. */
function callerHost(peer: string): string {
  return (parseAddress(peer)?.host ?? "").replace(/^::ffff:/, "");
}
