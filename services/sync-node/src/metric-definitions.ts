/** One metric: what it is called, what it counts, and what its labels may be. */
export interface NodeMetricDefinition {
  name: string;
  type: "gauge" | "counter" | "histogram";
  help: string;
  /** A list, or what bounds the label. */
  labels: Readonly<Record<string, readonly string[] | string>>;
}

const database = { database: "the databases that the node serves" };
const plain = {};

/** Every metric of a node, for the code that fills them and for the reference. */
export const NODE_METRICS = {
  rows: { name: "scoutsync_node_rows", type: "gauge", help: "Rows of synced tables", labels: database },
  pending: {
    name: "scoutsync_node_pending_writes",
    type: "gauge",
    help: "Captured writes that have not become changes yet",
    labels: database,
  },
  parked: { name: "scoutsync_node_parked_rows", type: "gauge", help: "Rows that a constraint keeps out of their table", labels: database },
  conflicts: { name: "scoutsync_node_open_conflicts", type: "gauge", help: "Conflicts that nobody has decided", labels: database },
  held: { name: "scoutsync_node_held_rows", type: "gauge", help: "Rows held for tables that are not here yet", labels: database },
  problem: { name: "scoutsync_node_database_problem", type: "gauge", help: "1 when the database cannot take part", labels: database },
  diskFree: {
    name: "scoutsync_node_disk_free_bytes",
    type: "gauge",
    help: "Room on the fullest disk that holds a database",
    labels: plain,
  },
  diskTotal: { name: "scoutsync_node_disk_total_bytes", type: "gauge", help: "Size of that disk", labels: plain },
  clock: {
    name: "scoutsync_node_clock_correction_seconds",
    type: "gauge",
    help: "What is added to the clock when changes are stamped; 0 unless it is more than 5 s off",
    labels: plain,
  },
  sessions: {
    name: "scoutsync_node_sessions_total",
    type: "counter",
    help: "Sessions that this node ran since its start",
    labels: { outcome: ["completed", "failed"] },
  },
  sessionSeconds: { name: "scoutsync_node_session_seconds", type: "histogram", help: "How long those sessions took", labels: plain },
  changes: {
    name: "scoutsync_node_changes_total",
    type: "counter",
    help: "Changes that those sessions moved",
    labels: { direction: ["sent", "received", "applied"] },
  },
} as const satisfies Record<string, NodeMetricDefinition>;
