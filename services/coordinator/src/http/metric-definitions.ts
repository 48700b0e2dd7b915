/** One metric: what it is called, what it counts, and the short fixed list of what its labels may be. */
export interface MetricDefinition {
  name: string;
  type: "gauge" | "counter" | "histogram";
  help: string;
  labels: Readonly<Record<string, readonly string[]>>;
}

const plain = {};

/** Every metric of the coordinator, for the code that fills them and for the reference. */
export const COORDINATOR_METRICS = {
  nodes: {
    name: "scoutsync_nodes",
    type: "gauge",
    help: "Nodes of the fleet by state",
    labels: { state: ["online", "offline", "disabled"] },
  },
  missing: { name: "scoutsync_missing_changes", type: "gauge", help: "Changes that nodes lack, summed over the fleet", labels: plain },
  oldest: {
    name: "scoutsync_oldest_missing_age_seconds",
    type: "gauge",
    help: "Age of the oldest change that some node lacks",
    labels: plain,
  },
  behind: { name: "scoutsync_nodes_behind", type: "gauge", help: "Enabled nodes that are not equal to the others", labels: plain },
  converged: { name: "scoutsync_converged", type: "gauge", help: "1 when all enabled nodes are online and equal", labels: plain },
  clocks: {
    name: "scoutsync_clocks_off",
    type: "gauge",
    help: "Online nodes whose clock is more than 5 s from the coordinator's",
    labels: plain,
  },
  redis: { name: "scoutsync_redis_up", type: "gauge", help: "1 when the queue can be reached", labels: plain },
  jobs: {
    name: "scoutsync_jobs",
    type: "gauge",
    help: "Catch-up jobs by state",
    labels: { state: ["waiting", "active", "delayed", "failed", "completed"] },
  },
  review: {
    name: "scoutsync_review_entries",
    type: "gauge",
    help: "Entries that may want a person, summed over the nodes",
    labels: { kind: ["conflict", "parked", "schema"] },
  },
  alerts: {
    name: "scoutsync_alerts",
    type: "gauge",
    help: "Open alerts by kind",
    labels: {
      kind: ["silent", "failing", "lag", "problem", "diverged", "clock", "parked", "quarantine", "disk", "canary", "redis", "refused"],
    },
  },
  sessions: {
    name: "scoutsync_sessions_total",
    type: "counter",
    help: "Sessions that ended since the start of the coordinator",
    labels: { outcome: ["completed", "failed"] },
  },
  sessionSeconds: { name: "scoutsync_session_seconds", type: "histogram", help: "How long sessions took", labels: plain },
  changes: {
    name: "scoutsync_changes_total",
    type: "counter",
    help: "Changes that sessions moved since the start of the coordinator",
    labels: { direction: ["sent", "received", "applied"] },
  },
} as const satisfies Record<string, MetricDefinition>;
