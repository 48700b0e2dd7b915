// What the coordinator's JSON routes answer. Times are ISO 8601 UTC, ages and durations seconds, rates 0 to 1.

export interface Fleet {
  certificate: Certificate;
  nodes: Node[];
  jobs: JobCounts;
  alerts: Alert[];
  timestamp: string;
}

/** What is no longer as it was told; what is not there is. */
export interface FleetChanges {
  certificate?: Omit<Certificate, "behind">;
  /** New ones whole, of others the fields that changed. */
  nodes: (Partial<Node> & Pick<Node, "id">)[];
  /** Ids of nodes that are gone. */
  removed: number[];
  jobs?: JobCounts;
  alerts?: Alert[];
  timestamp: string;
}

export interface Certificate {
  converged: boolean;
  since: string;
  /** How many nodes it speaks of. */
  nodes: number;
  vectors: Record<string, string>;
  behind: { id: number; name: string; missing_changes: number; oldest_missing_age_s: number; databases: string[]; reason: string }[];
}

export type NodeState = "equal" | "behind" | "syncing" | "offline" | "paused" | "problem";

export interface Node {
  id: number;
  name: string;
  node_id: string;
  address: string;
  host: string;
  port: number;
  version: string;
  state: NodeState;
  state_reason: string;
  /** What somebody should do about it; empty when nobody has to. */
  advice: string;
  online: boolean;
  paused: boolean;
  missing_changes: number;
  oldest_missing_age_s: number;
  unsent_changes: number;
  oldest_unsent_age_s: number;
  pending: number;
  last_sync: string | null;
  last_ping: string | null;
  ping_success: boolean;
  last_seen: string | null;
  clock_offset_ms: number;
  round_trip_ms: number;
  reliability: number;
  review: number;
  review_counts: { conflict: number; parked: number; quarantine: number; file: number; schema: number; identity: number };
  disk: { free_bytes: number; total_bytes: number } | null;
  databases: NodeDatabase[];
  files: FileRoot[];
  session: RunningSession | null;
  failures: number;
  last_error: string;
}

export interface FileRoot {
  root: string;
  cursor: string;
  digest: string;
  conflicts: number;
  missing: number;
  held_back: boolean;
  problem: string;
}

/** A node that says on the coordinator's network that it is there. */
export interface FoundNode {
  id: string;
  name: string;
  address: string;
  /** It is in the fleet. */
  known: boolean;
  /** With the command that adds it, where it could be added. */
  advice: string;
}

export interface NodeDatabase {
  name: string;
  vector: string;
  digest: string;
  rows: number;
  tables: string[];
  pending: number;
  parked: number;
  conflicts: number;
  held: number;
  kept_back: number;
  missing_changes: number;
  oldest_missing_age_s: number;
  unsent_changes: number;
  oldest_unsent_age_s: number;
  problem: string;
}

export interface RunningSession {
  job_id: string;
  /** Name of the node at the other end. */
  peer: string;
  /** Whether the node runs the session or is the source of another one: "pull" is towards the node. */
  role: "node" | "source";
  database: string;
  phase: string;
  done: number;
  total: number;
}

export interface JobCounts {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
  completed: number;
  paused: boolean;
  /** Why the queue cannot be reached; empty when it can. */
  problem: string;
}

export interface Alert {
  id: number;
  kind: string;
  server_id: number | null;
  server_name: string;
  message: string;
  since: string;
  recovered_at: string | null;
  notified: boolean;
}

export interface NodePage {
  node: Node;
  reliability: Reliability;
  sessions: Session[];
  alerts: Alert[];
  lag: LagPoint[];
  timestamp: string;
}

export interface LagPoint {
  time: string;
  missing_changes: number;
  oldest_missing_age_s: number;
}

export interface Reliability {
  server_id: number;
  server_name: string;
  overall_reliability: number;
  level: "green" | "yellow" | "red";
  operations: Record<string, OperationReliability>;
  error_patterns: ErrorPattern[];
}

export interface OperationReliability {
  success_rate: number;
  total: number;
  failed: number;
  avg_duration: number;
  max_duration: number;
  trend: TrendPoint[];
  change: number;
}

export interface TrendPoint {
  time: string;
  total: number;
  failed: number;
  success_rate: number;
  avg_duration: number;
}

export interface ErrorPattern {
  operation: string;
  code: string;
  message: string;
  count: number;
  first_seen: string;
  last_seen: string;
}

export interface Session {
  id: number;
  peer: string;
  role: "node" | "source";
  started_at: string;
  completed_at: string | null;
  success: boolean | null;
  verified: boolean;
  duration: number;
  database_changes: { sent: number; received: number; applied: number };
  file_changes: { uploaded: number; downloaded: number };
  errors: { code: string; message: string }[];
}

export interface Job {
  id: string;
  name: string;
  state: string;
  server_id: number | null;
  server_name: string;
  priority: number;
  attempts: number;
  max_attempts: number;
  reason: string;
  outcome: string;
  progress: RunningSession | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  next_try_at: string | null;
}

/** A value of a database as JSON can carry it. */
export type CellValue = null | number | string | { integer: string } | { blob: string } | { raw_text: string } | { real: string };

export interface ReviewVersion {
  value: CellValue;
  /** Name of the node that wrote it. */
  origin: string;
  time: string;
}

export type ReviewKind = "conflict" | "parked" | "quarantine" | "file" | "schema" | "identity";

export interface Review {
  node: { id: number; name: string; address: string };
  id: string;
  also_on: number[];
  kind: ReviewKind;
  database: string;
  table: string;
  key: string;
  column?: string;
  winner?: ReviewVersion;
  loser?: ReviewVersion;
  image?: Record<string, CellValue>;
  reason: string;
  since: string;
  resolved: boolean;
  decisions: string[];
}

export interface ReviewList {
  reviews: Review[];
  unreachable: { id: number; name: string; reason: string }[];
  timestamp: string;
}

export interface LogPage {
  logs: LogLine[];
  page: number;
  page_size: number;
  total: number;
  pages: number;
}

export interface LogLine {
  id: number;
  server_id: number;
  server_name: string;
  operation: string;
  status: "pending" | "in_progress" | "completed" | "failed";
  /** JSON text. */
  details: string;
  created_at: string;
  completed_at: string | null;
}

export interface Setting {
  key: string;
  value: string;
  value_type: "boolean" | "integer" | "number" | "string";
  default: string;
  is_default: boolean;
  description: string;
  secret: boolean;
}

export interface FleetEvent {
  time: string;
  kind: string;
  server_id: number;
  server_name: string;
  message: string;
}
