import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { SyncError } from "@scoutsync/core";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { NodeContext } from "./context.ts";
import { NODE_METRICS, type NodeMetricDefinition } from "./metric-definitions.ts";

const SESSION_BUCKETS_S = [0.05, 0.1, 0.5, 1, 5, 30, 120, 600];

/** What a node counts of its sessions; the rest is read when somebody asks. */
export class NodeCounts {
  readonly registry = new Registry();
  readonly #sessions = counter(NODE_METRICS.sessions, this.registry);
  readonly #changes = counter(NODE_METRICS.changes, this.registry);
  readonly #seconds = new Histogram({
    name: NODE_METRICS.sessionSeconds.name,
    help: NODE_METRICS.sessionSeconds.help,
    buckets: SESSION_BUCKETS_S,
    registers: [this.registry],
  });

  /** A session is over. */
  session(result: { success: boolean; durationMs: number; stats: { sent: number; received: number; applied: number } }): void {
    this.#sessions.inc({ outcome: result.success ? "completed" : "failed" });
    this.#seconds.observe(result.durationMs / 1_000);
    for (const direction of ["sent", "received", "applied"] as const) this.#changes.inc({ direction }, result.stats[direction]);
  }
}

/** Serves `GET /metrics` of a node for Prometheus until `stop`. Throws INVALID_ARGUMENT or PORT_TAKEN. */
export async function serveMetrics(
  listen: string,
  context: NodeContext,
  { registry }: NodeCounts,
): Promise<{ listen: string; stop(): Promise<void> }> {
  const address = parseAddress(listen);
  if (address === null) throw notServed(listen, "it is not host:port");
  const text = metricsOf(context, registry);
  const server = createServer((request, response) => {
    const answer = async () => {
      if (request.method !== "GET" || request.url?.split("?", 1)[0] !== "/metrics") return response.writeHead(404).end("GET /metrics\n");
      return response.writeHead(200, { "content-type": registry.contentType }).end(await text());
    };
    answer().catch((error: unknown) => {
      context.logger.warn({ error: String(error) }, "metrics could not be read");
      response.writeHead(500).end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(notServed(listen, error.message, error)));
    server.listen(address.port, address.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    listen: formatAddress({ host: address.host, port }),
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function metricsOf(context: NodeContext, registry: Registry): () => Promise<string> {
  collectDefaultMetrics({ register: registry });
  const gauges = {
    rows: gauge(NODE_METRICS.rows, registry),
    pending: gauge(NODE_METRICS.pending, registry),
    parked: gauge(NODE_METRICS.parked, registry),
    conflicts: gauge(NODE_METRICS.conflicts, registry),
    held: gauge(NODE_METRICS.held, registry),
  };
  const problem = gauge(NODE_METRICS.problem, registry);
  const diskFree = gauge(NODE_METRICS.diskFree, registry);
  const diskTotal = gauge(NODE_METRICS.diskTotal, registry);
  const clock = gauge(NODE_METRICS.clock, registry);
  return () => {
    for (const { replica } of context.databases.all()) {
      const label = { database: replica.name };
      for (const key of Object.keys(gauges) as (keyof typeof gauges)[]) gauges[key].set(label, replica.state[key]);
      problem.set(label, replica.state.problem === "" ? 0 : 1);
    }
    const disk = context.disk.status;
    if (disk !== undefined) {
      diskFree.set(Number(disk.freeBytes));
      diskTotal.set(Number(disk.totalBytes));
    }
    clock.set(Number(context.clock.status.correctionUs) / 1_000_000);
    return registry.metrics();
  };
}

function gauge({ name, help, labels }: NodeMetricDefinition, registry: Registry): Gauge {
  return new Gauge({ name, help, labelNames: Object.keys(labels), registers: [registry] });
}

function counter({ name, help, labels }: NodeMetricDefinition, registry: Registry): Counter {
  return new Counter({ name, help, labelNames: Object.keys(labels), registers: [registry] });
}

function notServed(listen: string, reason: string, cause?: NodeJS.ErrnoException): SyncError {
  return new SyncError({
    code: cause?.code === "EADDRINUSE" ? "PORT_TAKEN" : "INVALID_ARGUMENT",
    message: `metrics cannot be served on ${listen} (${reason})`,
    action: "Give another address with --metrics HOST:PORT, or leave it out.",
    cause,
  });
}
