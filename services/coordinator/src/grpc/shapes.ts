import { CatchUpResult, DatabaseStatus, JobCounts, Node, type JobEntry, type LogEntry, type Setting } from "@scoutsync/protocol";
import type { Core } from "../core.ts";
import { ageSeconds, type FleetNode } from "../detection/fleet.ts";
import type { ListedJob } from "../jobs/catch-up-queue.ts";
import type { CatchUpSummary } from "../jobs/catch-up-tally.ts";
import type { LogRow } from "../registry/logs.ts";
import type { DatabaseReport } from "../registry/servers.ts";
import type { SettingEntry } from "../registry/settings.ts";

/** A node of the fleet as it travels. */
export function nodeShape(core: Core, node: FleetNode): Node {
  const { row, missing, reports } = node;
  return Node.fromPartial({
    id: BigInt(row.id),
    name: row.name,
    nodeId: row.node_id ?? "",
    host: row.host,
    port: row.port,
    syncEnabled: node.enabled,
    online: node.online,
    lastSync: row.last_sync ?? "",
    lastPing: row.last_ping ?? "",
    pingSuccess: row.ping_success !== 0,
    missingChanges: BigInt(missing.changes),
    oldestMissingAgeS: ageSeconds(missing),
    clockOffsetMs: row.clock_offset_ms,
    reliability: core.registry.logs.successRate(row.id),
    review: BigInt(reports.reduce((sum, report) => sum + report.conflicts + report.parked, 0)),
    version: row.version,
    databases: reports.map(databaseShape),
    lastError: row.last_error,
  });
}

function databaseShape(report: DatabaseReport): DatabaseStatus {
  return DatabaseStatus.fromPartial({
    ...report,
    pending: BigInt(report.pending),
    parked: BigInt(report.parked),
    conflicts: BigInt(report.conflicts),
    rows: BigInt(report.rows),
  });
}

/** The state of the queue; never throws: a queue that cannot be reached is told as a problem. */
export async function jobCountsShape({ link, queue }: Core): Promise<JobCounts> {
  const reachable = queue();
  try {
    if (reachable === null || !link.ready) return JobCounts.fromPartial({ problem: link.problem });
    const counts = await reachable.counts();
    return JobCounts.fromPartial({
      waiting: BigInt(counts.waiting),
      active: BigInt(counts.active),
      delayed: BigInt(counts.delayed),
      failed: BigInt(counts.failed),
      completed: BigInt(counts.completed),
    });
  } catch (error) {
    return JobCounts.fromPartial({ problem: error instanceof Error ? error.message : String(error) });
  }
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
  return {
    id: job.id,
    name: job.name,
    state: job.state,
    serverId: BigInt(job.serverId),
    serverName: core.registry.servers.get(job.serverId)?.name ?? "",
    attempts: job.attempts,
    reason: job.reason,
    createdAt: job.createdAt,
  };
}

export function settingShape(entry: SettingEntry): Setting {
  return { ...entry };
}
