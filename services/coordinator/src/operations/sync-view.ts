import type { z } from "zod";
import type { CatchUpSummary } from "../jobs/catch-up-tally.ts";
import type { ScanReport } from "../jobs/catch-ups.ts";
import type { ScanResultShape, ScanShape, SyncOutcomeShape } from "./shapes.ts";

/** What bringing one node up to date came to. */
export function syncOutcome(summary: CatchUpSummary): z.infer<typeof SyncOutcomeShape> {
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
    ...(summary.success ? {} : { error: summary.errors.join(" ") }),
    server_id: summary.serverId,
    server_name: summary.serverName,
    started_at: summary.startedAt,
    completed_at: summary.completedAt,
    duration: summary.duration,
    errors: summary.errors,
  };
}

/** What a scan of the whole fleet came to. */
export function scanView({ message, results }: ScanReport): z.infer<typeof ScanShape> {
  return { message, servers_processed: results.length, results: results.map(resultView), timestamp: new Date().toISOString() };
}

function resultView(summary: CatchUpSummary): z.infer<typeof ScanResultShape> {
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
