import type { Core } from "../core.ts";
import type { CatchUpSummary } from "../jobs/catch-up-tally.ts";
import { CATCH_UP_OPERATION } from "../registry/logs.ts";

const RECENT_LOGS = 20;

/** `GET /api/sync/catchup/status`. */
export function catchUpStatus({ registry, fleet }: Core) {
  const behind = new Set(fleet.behind().map((node) => node.id));
  const needing = fleet.nodes().filter((node) => node.enabled && (node.missing.changes > 0 || behind.has(node.id)));
  return {
    catchup_enabled: registry.settings.get("catchup_enabled"),
    max_catchup_days: registry.settings.get("max_catchup_days"),
    servers_needing_catchup: needing.map(({ row, missing }) => ({
      id: row.id,
      name: row.name,
      host: row.host,
      last_sync: row.last_sync,
      last_ping: row.last_ping,
      ping_success: row.ping_success !== 0,
      missing_changes: missing.changes,
    })),
    recent_catchup_logs: registry.logs.list({ operation: CATCH_UP_OPERATION, limit: RECENT_LOGS }).map((log) => ({
      id: log.id,
      server_name: log.server_name,
      operation: log.operation,
      status: log.status,
      created_at: log.created_at,
      details: log.details,
    })),
    timestamp: new Date().toISOString(),
  };
}

/** One entry of `results` in the answer to `POST /api/sync/catchup/scan`; duration in seconds. */
export function scanResult(summary: CatchUpSummary) {
  return {
    server_id: summary.serverId,
    server_name: summary.serverName,
    started_at: summary.startedAt,
    completed_at: summary.completedAt,
    success: summary.success,
    database_changes: { sent: summary.sent, received: summary.received, applied: summary.applied },
    file_changes: { uploaded: summary.uploaded, downloaded: summary.downloaded },
    errors: summary.errors,
    duration: summary.duration,
  };
}

/** The answer to `POST /api/sync/sqlite3/sync/{server_id}`. */
export function syncResult(summary: CatchUpSummary) {
  return {
    success: summary.success,
    stats: {
      local_changes_sent: summary.sent,
      remote_changes_received: summary.received,
      remote_changes_applied: summary.applied,
      conflicts: summary.conflicts,
      parked: summary.parked,
      files_uploaded: summary.uploaded,
      files_downloaded: summary.downloaded,
    },
    ...(summary.success ? {} : { error: summary.errors.join("; ") }),
  };
}
