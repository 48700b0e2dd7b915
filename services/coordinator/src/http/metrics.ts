import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Core } from "../core.ts";
import { CLOCK_ALARM_MS } from "../detection/probe.ts";
import { ageSeconds } from "../detection/fleet.ts";
import type { SessionEnd } from "../events.ts";
import { COORDINATOR_METRICS, type MetricDefinition } from "./metric-definitions.ts";

const SESSION_BUCKETS_S = [0.05, 0.1, 0.5, 1, 5, 30, 120, 600];

/** Prometheus metrics. Labels come from short fixed lists, so that a large fleet does not flood the server. */
export function coordinatorMetrics(core: Core): { contentType: string; text(): Promise<string>; stop(): void } {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const described = ({ name, help, labels }: MetricDefinition) => ({ name, help, labelNames: Object.keys(labels), registers });
  const gauge = (definition: MetricDefinition) => new Gauge(described(definition));
  const counter = (definition: MetricDefinition) => new Counter(described(definition));
  const { nodes, missing, oldest, behind, converged, clocks, redis, jobs, review, alerts } = COORDINATOR_METRICS;
  const gauges = {
    nodes: gauge(nodes),
    missing: gauge(missing),
    oldest: gauge(oldest),
    behind: gauge(behind),
    converged: gauge(converged),
    clocks: gauge(clocks),
    redis: gauge(redis),
    jobs: gauge(jobs),
    review: gauge(review),
    alerts: gauge(alerts),
  };
  const sessions = counter(COORDINATOR_METRICS.sessions);
  const changes = counter(COORDINATOR_METRICS.changes);
  const seconds = new Histogram({ ...described(COORDINATOR_METRICS.sessionSeconds), buckets: SESSION_BUCKETS_S });
  // What has not happened yet has happened no time: a rate of nothing is no rate.
  for (const outcome of COORDINATOR_METRICS.sessions.labels.outcome) sessions.inc({ outcome }, 0);
  for (const direction of COORDINATOR_METRICS.changes.labels.direction) changes.inc({ direction }, 0);
  const count = ({ result, startedAt, endedAt }: SessionEnd) => {
    sessions.inc({ outcome: result.success ? "completed" : "failed" });
    seconds.observe(Math.max(0, endedAt.getTime() - startedAt.getTime()) / 1_000);
    changes.inc({ direction: "sent" }, Number(result.stats?.localChangesSent ?? 0n));
    changes.inc({ direction: "received" }, Number(result.stats?.remoteChangesReceived ?? 0n));
    changes.inc({ direction: "applied" }, Number(result.stats?.remoteChangesApplied ?? 0n));
  };
  core.events.on("session", count);

  const collect = async () => {
    const all = core.fleet.nodes();
    const enabled = all.filter((node) => node.enabled);
    const online = enabled.filter((node) => node.online).length;
    gauges.nodes.set({ state: "online" }, online);
    gauges.nodes.set({ state: "offline" }, enabled.length - online);
    gauges.nodes.set({ state: "disabled" }, all.length - enabled.length);
    gauges.missing.set(enabled.reduce((sum, node) => sum + node.missing.changes, 0));
    gauges.oldest.set(enabled.reduce((most, node) => Math.max(most, ageSeconds(node.missing)), 0));
    gauges.behind.set(core.certificate.inequalities().size);
    gauges.converged.set(core.certificate.current().converged ? 1 : 0);
    gauges.clocks.set(enabled.filter((node) => node.online && Math.abs(node.row.clock_offset_ms) > CLOCK_ALARM_MS).length);
    const reports = enabled.flatMap((node) => node.reports);
    const sum = (field: "conflicts" | "parked" | "held") => reports.reduce((total, report) => total + report[field], 0);
    gauges.review.set({ kind: "conflict" }, sum("conflicts"));
    gauges.review.set({ kind: "parked" }, sum("parked"));
    gauges.review.set({ kind: "schema" }, sum("held"));
    const open = core.registry.alerts.open();
    for (const kind of alerts.labels.kind) gauges.alerts.set({ kind }, open.filter((alert) => alert.kind === kind).length);
    gauges.redis.set(core.link.ready ? 1 : 0);
    const counts = core.link.ready ? await core.queue()?.counts() : undefined;
    if (counts === undefined) return;
    for (const state of jobs.labels.state) gauges.jobs.set({ state }, counts[state]);
  };
  return {
    contentType: registry.contentType,
    async text() {
      // Metrics of the rest are wanted most when Redis is away.
      await collect().catch(() => gauges.redis.set(0));
      return registry.metrics();
    },
    stop: () => void core.events.off("session", count),
  };
}
