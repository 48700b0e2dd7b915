import { z } from "zod";

/**
 * What travels as JSON: the one description of every answer. Handlers are typed by it, the OpenAPI document is
 * generated from it. Times are ISO 8601 UTC, ages and durations seconds, rates between 0 and 1.
 */

const count = z.int().min(0);
const time = z.iso.datetime({ precision: 3 });
const rate = z.number().min(0).max(1);

/** What a node says of one of its databases. */
export const DatabaseShape = z
  .object({
    name: z.string(),
    vector: z.string().describe("origin:sequence joined by commas: everything up to these is here"),
    digest: z.string().describe("Digest of all synced rows; equal vectors must mean equal digests"),
    rows: count,
    tables: z.array(z.string()),
    pending: count.describe("Captured writes that have not become changes yet"),
    parked: count.describe("Rows that a constraint keeps out of their table"),
    conflicts: count.describe("Open conflicts"),
    held: count.describe("Rows held for tables that this database does not have"),
    kept_back: count.describe("Mass deletes that the other nodes do not follow until somebody decides"),
    notices: count.describe("Rows that may not be those that somebody meant, as their integer ids were given to other rows"),
    missing_changes: count.describe("Changes of this database that others hold and the node lacks"),
    oldest_missing_age_s: z.number().min(0),
    unsent_changes: count.describe("Changes that it holds and another node that is online lacks"),
    oldest_unsent_age_s: z.number().min(0),
    problem: z.string().describe("Why this database cannot take part just now; empty when it can"),
    restored: z.boolean().describe("It was restored from a backup and serves no one before it has pulled from another node once"),
  })
  .meta({ id: "Database" });

export const FileRootShape = z
  .object({
    root: z.string(),
    cursor: z.string(),
    digest: z.string(),
    conflicts: count.describe("Open conflicts"),
    pending: count.describe("Files that it knows of and whose bytes are not there yet"),
    missing: count.describe("Files that are missing and not known to be deleted"),
    held_back: z.boolean().describe("So many are missing that the other nodes keep theirs until somebody decides"),
    problem: z.string().describe("Why this root cannot take part just now; empty when it can"),
    too_large: z.string().describe("What others have and this node leaves alone for its size; empty where there is nothing"),
    refused: count.describe("How many times something of a peer was refused: hostile names, bytes that are not what was announced"),
    last_refused: z.string().describe("When that was last; empty for never"),
    refused_peer: z.string(),
    refused_what: z.string(),
  })
  .meta({ id: "FileRoot" });

export const SessionProgressShape = z
  .object({
    job_id: z.string(),
    peer: z.string().describe("Name of the node it syncs with; empty when not known"),
    role: z
      .enum(["node", "source"])
      .describe("Whether this node runs the session or is the source of another one: pull is towards the node"),
    database: z.string(),
    phase: z.string().describe("pull, push, verify or files"),
    done: count,
    total: count.describe("0 when it is not known"),
  })
  .meta({ id: "SessionProgress" });

/** One node of the fleet. */
export const NodeShape = z
  .object({
    id: z.int(),
    name: z.string(),
    node_id: z.string().describe("The node's own identity; empty until it answered once"),
    address: z.string(),
    host: z.string(),
    port: z.int(),
    version: z.string(),
    state: z
      .enum(["equal", "behind", "syncing", "offline", "paused", "problem"])
      .describe("One word for a colour: equal is green, behind and syncing are on their way, the others want a look"),
    state_reason: z.string().describe("One sentence: why it is in this state and what happens next"),
    advice: z.string().describe("What somebody should do about it; empty when nobody has to"),
    online: z.boolean(),
    reachable: z.boolean().describe("false: it is heard but cannot be dialled, and syncs by dialling out"),
    paused: z.boolean().describe("sync_enabled is 0: it takes part in nothing until it is resumed"),
    missing_changes: count.describe("Changes that others hold and this node lacks (to receive)"),
    oldest_missing_age_s: z.number().min(0),
    unsent_changes: count.describe("Changes that this node holds and some other available node lacks (to send)"),
    oldest_unsent_age_s: z.number().min(0),
    pending: count.describe("Captured writes of all its databases that have not become changes yet"),
    last_sync: time.nullable().describe("Last verified session"),
    last_ping: time.nullable().describe("Last time the coordinator asked"),
    ping_success: z.boolean(),
    last_seen: time.nullable().describe("Last sign of life"),
    clock_offset_ms: z.number().describe("The node's clock minus the coordinator's"),
    round_trip_ms: z.number().min(0),
    reliability: rate.describe("As overall_reliability of its figures"),
    review: count.describe("Entries that may want a person, of all kinds"),
    review_counts: z.object({ conflict: count, parked: count, quarantine: count, file: count, schema: count, identity: count }),
    disk: z
      .object({ free_bytes: z.number().min(0), total_bytes: z.number().min(0) })
      .nullable()
      .describe("Of the fullest disk that holds one of its databases; null when the node did not say"),
    databases: z.array(DatabaseShape),
    files: z.array(FileRootShape),
    session: SessionProgressShape.nullable().describe("The session that runs now, on either end"),
    failures: count.describe("Failed sessions in a row"),
    last_error: z.string(),
  })
  .meta({ id: "Node" });

export const CertificateShape = z
  .object({
    converged: z.boolean().describe("Every enabled node is online and all stand at one vector with one digest"),
    since: time,
    nodes: count.describe("Enabled nodes"),
    vectors: z.record(z.string(), z.string()).describe("Per database, everything that any node holds"),
    behind: z
      .array(
        z.object({
          id: z.int(),
          name: z.string(),
          missing_changes: count,
          oldest_missing_age_s: z.number().min(0),
          databases: z.array(z.string()),
          reason: z.string().describe("Why, and what is being done"),
        }),
      )
      .describe("Who is not equal; empty exactly when converged"),
  })
  .meta({ id: "Certificate" });

export const AlertShape = z
  .object({
    id: z.int(),
    kind: z.enum([
      "silent",
      "failing",
      "lag",
      "problem",
      "diverged",
      "clock",
      "parked",
      "quarantine",
      "disk",
      "canary",
      "redis",
      "refused",
    ]),
    server_id: z.int().nullable(),
    server_name: z.string(),
    message: z.string(),
    since: time,
    recovered_at: time.nullable(),
    notified: z.boolean().describe("Mail or webhook went out"),
  })
  .meta({ id: "Alert" });

export const JobCountsShape = z
  .object({
    waiting: count,
    active: count,
    delayed: count,
    failed: count,
    completed: count,
    paused: z.boolean(),
    problem: z.string().describe("Why the queue cannot be reached; empty when it can"),
  })
  .meta({ id: "JobCounts" });

/** `GET /api/fleet`. */
export const FleetShape = z
  .object({
    certificate: CertificateShape,
    nodes: z.array(NodeShape),
    jobs: JobCountsShape,
    alerts: z.array(AlertShape).describe("Open ones"),
    timestamp: time,
  })
  .meta({ id: "Fleet" });

const TrendPoint = z.object({ time, total: count, failed: count, success_rate: rate, avg_duration: z.number().min(0) });

export const OperationReliabilityShape = z
  .object({
    success_rate: rate.describe("1 when it was never tried"),
    total: count,
    failed: count,
    avg_duration: z.number().min(0),
    max_duration: z.number().min(0),
    trend: z.array(TrendPoint).describe("Oldest first; hours of the last two days, days before"),
    change: z.number().describe("Success rate of the last 24 hours minus that of all time before; 0 without both"),
  })
  .meta({ id: "OperationReliability" });

export const OPERATION_NAMES = ["connection", "fetch_changes", "send_changes", "apply", "files", "sync"] as const;
export type OperationName = (typeof OPERATION_NAMES)[number];

export const ReliabilityShape = z
  .object({
    server_id: z.int(),
    server_name: z.string(),
    overall_reliability: rate,
    level: z.enum(["green", "yellow", "red"]).describe("green from 0.95, red under 0.70"),
    operations: z.object({
      connection: OperationReliabilityShape,
      fetch_changes: OperationReliabilityShape,
      send_changes: OperationReliabilityShape,
      apply: OperationReliabilityShape,
      files: OperationReliabilityShape,
      sync: OperationReliabilityShape,
    }),
    error_patterns: z.array(
      z.object({
        operation: z.enum(OPERATION_NAMES),
        code: z.string(),
        message: z.string().describe("The last one as it was"),
        count,
        first_seen: time,
        last_seen: time,
      }),
    ),
  })
  .meta({ id: "Reliability" });

export const LogShape = z
  .object({
    id: z.int(),
    server_id: z.int(),
    server_name: z.string(),
    operation: z.string(),
    status: z.enum(["pending", "in_progress", "completed", "failed"]),
    details: z.string().describe("JSON text: what moved, or why nothing did"),
    created_at: time,
    completed_at: time.nullable(),
  })
  .meta({ id: "Log" });

/** `GET /api/logs`. */
export const LogPageShape = z
  .object({
    logs: z.array(LogShape),
    page: z.int().min(1),
    page_size: z.int().min(1),
    total: count,
    pages: count,
  })
  .meta({ id: "LogPage" });

const Outcome = z.object({ sent: count, received: count, applied: count });

export const SessionShape = z
  .object({
    id: z.int().describe("Id of its line in the log"),
    peer: z.string(),
    role: z.enum(["node", "source"]).describe("Whether this node ran the session or was the source of another one"),
    started_at: time,
    completed_at: time.nullable(),
    success: z.boolean().nullable().describe("null while it runs"),
    verified: z.boolean(),
    duration: z.number().min(0),
    database_changes: Outcome.describe("From this node's side"),
    file_changes: z.object({ uploaded: count, downloaded: count }),
    errors: z.array(z.object({ code: z.string(), message: z.string() })),
  })
  .meta({ id: "Session" });

/** A node that says on the local network that it is there. */
export const FoundNodeShape = z
  .object({
    id: z.string(),
    name: z.string(),
    address: z.string().describe("host:port"),
    port: z.int(),
    fleet_id: z.string().optional().describe("The fleet it says to belong to; left out for none"),
    seen_at: time.describe("When it said so last"),
    known: z.boolean().describe("It is in the list of nodes"),
    advice: z.string().describe("What would make it part of the fleet; empty where it is"),
  })
  .meta({ id: "FoundNode" });

/** `GET /api/nodes/{id}`. */
export const NodeDetailShape = z
  .object({
    node: NodeShape,
    reliability: ReliabilityShape,
    sessions: z.array(SessionShape).describe("The last 20, newest first"),
    alerts: z.array(AlertShape).describe("Open ones, and the last 10 that recovered"),
    lag: z.array(z.object({ time, missing_changes: count, oldest_missing_age_s: z.number() })).describe("Last hours, oldest first"),
    timestamp: time,
  })
  .meta({ id: "NodeDetail" });

export const JobShape = z
  .object({
    id: z.string(),
    name: z.string().describe("catch-up, verify, canary, cleanup or alert"),
    state: z.enum(["waiting", "active", "delayed", "failed", "completed"]),
    server_id: z.int().nullable(),
    server_name: z.string(),
    priority: z.int(),
    attempts: count,
    max_attempts: count,
    reason: z.string().describe("Why it failed or waits; empty otherwise"),
    outcome: z.string().describe("What a finished job came to; empty otherwise"),
    progress: SessionProgressShape.nullable(),
    created_at: time,
    started_at: time.nullable(),
    finished_at: time.nullable(),
    next_try_at: time.nullable().describe("When a delayed one runs"),
  })
  .meta({ id: "Job" });

export const JobListShape = z.object({ jobs: z.array(JobShape), counts: JobCountsShape, timestamp: time }).meta({ id: "JobList" });

/** A SQLite value as JSON: integers beyond 2^53 as {"integer":"…"}, blobs as {"blob":base64}. */
export const ValueShape = z
  .union([
    z.null(),
    z.number(),
    z.string(),
    z.object({ integer: z.string() }),
    z.object({ blob: z.base64() }),
    z.object({ raw_text: z.base64() }),
    z.object({ real: z.string() }),
  ])
  .meta({ id: "Value" });

const Version = z.object({
  value: ValueShape,
  origin: z.string().describe("Name of the node that wrote it"),
  time: z.string(),
  dot: z.string().describe("The change it came with, as origin:sequence"),
});

export const ReviewShape = z
  .object({
    node: z.object({ id: z.int(), name: z.string(), address: z.string() }),
    id: z.string().describe("Id on that node; an entry is named by node and id"),
    also_on: z.array(z.int()).describe("Other nodes that list the same entry; deciding it on one decides it everywhere"),
    kind: z.enum(["conflict", "parked", "quarantine", "file", "schema", "identity"]),
    database: z.string(),
    table: z.string(),
    key: z.string(),
    column: z.string().optional(),
    winner: Version.optional(),
    loser: Version.optional(),
    image: z.record(z.string(), ValueShape).optional(),
    reason: z.string(),
    since: z.string(),
    resolved: z.boolean(),
    decisions: z.array(z.enum(["winner", "loser", "set", "release", "undo"])).describe("What can be decided"),
  })
  .meta({ id: "Review" });

export const ReviewListShape = z
  .object({
    reviews: z.array(ReviewShape),
    unreachable: z
      .array(z.object({ id: z.int(), name: z.string(), reason: z.string() }))
      .describe("Nodes whose entries are not in the list"),
    timestamp: time,
  })
  .meta({ id: "ReviewList" });

export const SettingShape = z
  .object({
    key: z.string(),
    value: z.string(),
    value_type: z.enum(["boolean", "integer", "string"]),
    default: z.string(),
    is_default: z.boolean(),
    description: z.string(),
    secret: z.boolean().describe("The value is not shown"),
  })
  .meta({ id: "Setting" });

export const SettingListShape = z.object({ settings: z.array(SettingShape) }).meta({ id: "SettingList" });

/** An event of the stream, and what it looks like in JSON. */
export const EventShape = z
  .object({
    time,
    kind: z.enum(["node", "session", "scan", "status", "progress", "alert", "changed"]),
    server_id: z.int().describe("0 when it is about the whole fleet"),
    server_name: z.string(),
    message: z.string(),
  })
  .meta({ id: "Event" });

/** RFC 9457, with the error of the older screens beside it. */
export const ProblemShape = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    action: z.string().describe("What to do about it"),
    success: z.literal(false),
    error: z.string(),
  })
  .meta({ id: "Problem" });

export const SyncStatsShape = z
  .object({
    local_changes_sent: count,
    remote_changes_received: count,
    remote_changes_applied: count,
    conflicts: count,
    parked: count,
    files_uploaded: count,
    files_downloaded: count,
  })
  .meta({ id: "SyncStats" });

/** `POST /api/sync/sqlite3/sync/{server_id}` and `POST /api/nodes/{id}/sync`. */
export const SyncOutcomeShape = z
  .object({
    success: z.boolean(),
    stats: SyncStatsShape,
    error: z.string().optional(),
    server_id: z.int(),
    server_name: z.string(),
    started_at: time,
    completed_at: time,
    duration: z.number().min(0),
    errors: z.array(z.string()),
  })
  .meta({ id: "SyncOutcome" });

export const ScanResultShape = z
  .object({
    server_id: z.int(),
    server_name: z.string(),
    started_at: time,
    completed_at: time,
    success: z.boolean(),
    database_changes: Outcome,
    file_changes: z.object({ uploaded: count, downloaded: count }),
    errors: z.array(z.string()),
    duration: z.number().min(0),
  })
  .meta({ id: "ScanResult" });

export const ScanShape = z
  .object({ message: z.string(), servers_processed: count, results: z.array(ScanResultShape), timestamp: time })
  .meta({ id: "Scan" });

/** `GET /api/sync/catchup/status`. */
export const CatchUpStatusShape = z
  .object({
    catchup_enabled: z.boolean(),
    max_catchup_days: z.int(),
    servers_needing_catchup: z.array(
      z.object({
        id: z.int(),
        name: z.string(),
        host: z.string(),
        last_sync: time.nullable(),
        last_ping: time.nullable(),
        ping_success: z.boolean(),
        missing_changes: count,
      }),
    ),
    recent_catchup_logs: z.array(
      z.object({
        id: z.int(),
        server_name: z.string(),
        operation: z.string(),
        status: z.enum(["pending", "in_progress", "completed", "failed"]),
        created_at: time,
        details: z.string(),
      }),
    ),
    timestamp: time,
  })
  .meta({ id: "CatchUpStatus" });

export const CleanupShape = z
  .object({
    dry_run: z.boolean(),
    removed: z.array(z.object({ what: z.string(), count, older_than: time.nullable() })),
    kept: z.array(z.object({ what: z.string(), count, reason: z.string() })),
    timestamp: time,
  })
  .meta({ id: "Cleanup" });
