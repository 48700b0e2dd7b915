import {
  CatchUpResult,
  DatabaseStatus,
  FleetReview,
  GetReliabilityResponse,
  GetStatusResponse,
  Node,
  type Alert,
  type CleanupResponse,
  type JobCounts,
  type JobEntry,
  type LogEntry,
  type Setting,
} from "@scoutsync/protocol";
import type { cleanUp } from "../cleanup.ts";
import type { Core } from "../core.ts";
import type { FleetNode } from "../detection/fleet.ts";
import type { ListedJob } from "../jobs/catch-up-queue.ts";
import type { CatchUpSummary } from "../jobs/catch-up-tally.ts";
import { alertView } from "../operations/alerts.ts";
import { certificateView } from "../operations/fleet.ts";
import { jobCounts, jobView } from "../operations/jobs.ts";
import { nodeViews, oneNodeView } from "../operations/node-view.ts";
import { decisionsOf, type FleetEntry } from "../operations/reviews.ts";
import type { AlertRow } from "../registry/alert-store.ts";
import type { LogRow } from "../registry/logs.ts";
import type { DatabaseReport } from "../registry/servers.ts";
import type { SettingEntry } from "../registry/settings.ts";
import { reliabilityOf } from "../reliability/figures.ts";

const OPEN_ALERTS = 200;

/** A node of the fleet as it travels. */
export function nodeShape(core: Core, node: FleetNode): Node {
  return wireNode(oneNodeView(core, node), node);
}

export function nodeShapes(core: Core): Node[] {
  const nodes = new Map(core.fleet.nodes().map((node) => [node.id, node]));
  return nodeViews(core).flatMap((view) => {
    const node = nodes.get(view.id);
    return node === undefined ? [] : [wireNode(view, node)];
  });
}

function wireNode(view: ReturnType<typeof oneNodeView>, node: FleetNode): Node {
  return Node.fromPartial({
    id: BigInt(view.id),
    name: view.name,
    nodeId: view.node_id,
    host: view.host,
    port: view.port,
    syncEnabled: !view.paused,
    online: view.online,
    lastSync: view.last_sync ?? "",
    lastPing: view.last_ping ?? "",
    pingSuccess: view.ping_success,
    missingChanges: BigInt(view.missing_changes),
    oldestMissingAgeS: view.oldest_missing_age_s,
    clockOffsetMs: view.clock_offset_ms,
    reliability: view.reliability,
    review: BigInt(view.review),
    version: view.version,
    databases: node.reports.map(databaseShape),
    lastError: view.last_error,
    unsentChanges: BigInt(view.unsent_changes),
    oldestUnsentAgeS: view.oldest_unsent_age_s,
    roundTripMs: view.round_trip_ms,
    state: view.state,
    stateReason: view.state_reason,
    session:
      view.session === null ? undefined : { jobId: view.session.job_id, peer: view.session.peer, progress: wireProgress(view.session) },
    files: view.files,
    reachable: view.reachable,
    disk: view.disk === null ? undefined : { freeBytes: BigInt(view.disk.free_bytes), totalBytes: BigInt(view.disk.total_bytes) },
  });
}

function wireProgress({ database, phase, done, total }: { database: string; phase: string; done: number; total: number }) {
  return { database, phase, done: BigInt(done), total: BigInt(total) };
}

/** The whole answer to GetStatus. */
export async function statusShape(core: Core): Promise<GetStatusResponse> {
  const certificate = certificateView(core);
  return GetStatusResponse.fromPartial({
    converged: certificate.converged,
    since: certificate.since,
    nodes: nodeShapes(core),
    jobs: await jobCountsShape(core),
    behind: certificate.behind.map(({ id, name, missing_changes, oldest_missing_age_s, databases, reason }) => ({
      id: BigInt(id),
      name,
      missingChanges: BigInt(missing_changes),
      oldestMissingAgeS: oldest_missing_age_s,
      databases,
      reason,
    })),
    vectors: certificate.vectors,
    alerts: core.registry.alerts.list({ limit: OPEN_ALERTS }).map(alertShape),
  });
}

export function alertShape(row: AlertRow): Alert {
  const view = alertView(row);
  return {
    id: BigInt(view.id),
    kind: view.kind,
    serverId: BigInt(view.server_id ?? 0),
    serverName: view.server_name,
    message: view.message,
    since: view.since,
    recoveredAt: view.recovered_at ?? "",
    notified: view.notified,
  };
}

export function reliabilityShape(core: Core, server: { id: number; name: string }): GetReliabilityResponse {
  const view = reliabilityOf(core.registry, server);
  return GetReliabilityResponse.fromPartial({
    serverId: BigInt(view.server_id),
    serverName: view.server_name,
    overallReliability: view.overall_reliability,
    level: view.level,
    operations: Object.entries(view.operations).map(([operation, one]) => ({
      operation,
      successRate: one.success_rate,
      total: BigInt(one.total),
      failed: BigInt(one.failed),
      avgDuration: one.avg_duration,
      maxDuration: one.max_duration,
      change: one.change,
      trend: one.trend.map((point) => ({
        time: point.time,
        total: BigInt(point.total),
        failed: BigInt(point.failed),
        successRate: point.success_rate,
        avgDuration: point.avg_duration,
      })),
    })),
    errorPatterns: view.error_patterns.map((one) => ({
      operation: one.operation,
      code: one.code,
      message: one.message,
      count: BigInt(one.count),
      firstSeen: one.first_seen,
      lastSeen: one.last_seen,
    })),
  });
}

export function cleanupShape(view: ReturnType<typeof cleanUp>): CleanupResponse {
  return {
    dryRun: view.dry_run,
    removed: view.removed.map(({ what, count, older_than }) => ({ what, count: BigInt(count), olderThan: older_than ?? "", reason: "" })),
    kept: view.kept.map(({ what, count, reason }) => ({ what, count: BigInt(count), olderThan: "", reason })),
    timestamp: view.timestamp,
  };
}

function databaseShape(report: DatabaseReport): DatabaseStatus {
  return DatabaseStatus.fromPartial({
    ...report,
    pending: BigInt(report.pending),
    parked: BigInt(report.parked),
    conflicts: BigInt(report.conflicts),
    rows: BigInt(report.rows),
    held: BigInt(report.held),
  });
}

/** The state of the queue; never throws: a queue that cannot be reached is told as a problem. */
export async function jobCountsShape(core: Core): Promise<JobCounts> {
  const { waiting, active, delayed, failed, completed, paused, problem } = await jobCounts(core);
  return {
    waiting: BigInt(waiting),
    active: BigInt(active),
    delayed: BigInt(delayed),
    failed: BigInt(failed),
    completed: BigInt(completed),
    paused,
    problem,
  };
}

export function catchUpShape(summary: CatchUpSummary): CatchUpResult {
  return CatchUpResult.fromPartial({
    ...summary,
    serverId: BigInt(summary.serverId),
    sent: BigInt(summary.sent),
    received: BigInt(summary.received),
    applied: BigInt(summary.applied),
    uploaded: BigInt(summary.uploaded),
    downloaded: BigInt(summary.downloaded),
  });
}

export function logShape(row: LogRow): LogEntry {
  return {
    id: BigInt(row.id),
    serverId: BigInt(row.server_id),
    serverName: row.server_name,
    operation: row.operation,
    status: row.status,
    details: row.details,
    createdAt: row.created_at,
  };
}

export function jobShape(core: Core, job: ListedJob): JobEntry {
  const view = jobView(core, job);
  return {
    id: view.id,
    name: view.name,
    state: view.state,
    serverId: BigInt(view.server_id ?? 0),
    serverName: view.server_name,
    attempts: view.attempts,
    reason: view.reason,
    createdAt: view.created_at,
    maxAttempts: view.max_attempts,
    priority: view.priority,
    outcome: view.outcome,
    progress: view.progress === null ? undefined : wireProgress(view.progress),
    startedAt: view.started_at ?? "",
    finishedAt: view.finished_at ?? "",
    nextTryAt: view.next_try_at ?? "",
  };
}

export function settingShape({ default: defaultValue, ...entry }: SettingEntry): Setting {
  return { ...entry, defaultValue };
}

/** An entry of the fleet's review list as it travels. */
export function fleetReviewShape({ node, review, alsoOn }: FleetEntry): FleetReview {
  return FleetReview.fromPartial({
    review,
    serverId: BigInt(node.id),
    serverName: node.row.name,
    alsoOn: alsoOn.map(BigInt),
    decisions: decisionsOf(review),
  });
}
