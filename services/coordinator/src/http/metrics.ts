import { Counter, Gauge, Registry } from "prom-client";
import type { Core } from "../core.ts";
import { CLOCK_ALARM_MS } from "../detection/probe.ts";
import { ageSeconds } from "../detection/fleet.ts";

/** Prometheus metrics. Labels come from short fixed lists, so that a large fleet does not flood the server. */
export function coordinatorMetrics(core: Core): { contentType: string; text(): Promise<string>; stop(): void } {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, labelNames: string[] = []) => new Gauge({ name, help, labelNames, registers });
  const nodes = gauge("scoutsync_nodes", "Nodes of the fleet by state", ["state"]);
  const missing = gauge("scoutsync_missing_changes", "Changes that nodes lack, summed over the fleet");
  const oldest = gauge("scoutsync_oldest_missing_age_seconds", "Age of the oldest change that some node lacks");
  const converged = gauge("scoutsync_converged", "1 when all enabled nodes are online and equal");
  const clocks = gauge("scoutsync_clocks_off", "Online nodes whose clock is more than 5 s from the coordinator's");
  const redis = gauge("scoutsync_redis_up", "1 when the queue can be reached");
  const jobs = gauge("scoutsync_jobs", "Catch-up jobs by state", ["state"]);
  const sessions = new Counter({
    name: "scoutsync_sessions_total",
    help: "Sessions that ended since the start of the coordinator",
    labelNames: ["outcome"],
    registers,
  });
  const count = ({ result }: { result: { success: boolean } }) => sessions.inc({ outcome: result.success ? "completed" : "failed" });
  core.events.on("session", count);

  const collect = async () => {
    const all = core.fleet.nodes();
    const enabled = all.filter((node) => node.enabled);
    const online = enabled.filter((node) => node.online).length;
    nodes.set({ state: "online" }, online);
    nodes.set({ state: "offline" }, enabled.length - online);
    nodes.set({ state: "disabled" }, all.length - enabled.length);
    missing.set(enabled.reduce((sum, node) => sum + node.missing.changes, 0));
    oldest.set(enabled.reduce((most, node) => Math.max(most, ageSeconds(node.missing)), 0));
    converged.set(core.certificate.current().converged ? 1 : 0);
    clocks.set(enabled.filter((node) => node.online && Math.abs(node.row.clock_offset_ms) > CLOCK_ALARM_MS).length);
    redis.set(core.link.ready ? 1 : 0);
    const counts = core.link.ready ? await core.queue()?.counts() : undefined;
    for (const [state, value] of Object.entries(counts ?? {})) jobs.set({ state }, value as number);
  };
  return {
    contentType: registry.contentType,
    async text() {
      // Metrics of the rest are wanted most when Redis is away.
      await collect().catch(() => redis.set(0));
      return registry.metrics();
    },
    stop: () => void core.events.off("session", count),
  };
}
