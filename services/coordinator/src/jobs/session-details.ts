import type { SyncResult } from "@scoutsync/protocol";
import { countOf } from "../detection/plausible.ts";

/** What a line of `sync_logs` says about a session, as JSON: what moved, or why not. Durations in seconds. */
export function sessionDetails(result: SyncResult, source: string): Record<string, unknown> {
  const { stats } = result;
  return {
    source,
    verified: result.verified,
    database_changes: {
      sent: countOf(stats?.localChangesSent),
      received: countOf(stats?.remoteChangesReceived),
      applied: countOf(stats?.remoteChangesApplied),
    },
    file_changes: { uploaded: countOf(stats?.filesUploaded), downloaded: countOf(stats?.filesDownloaded) },
    conflicts: countOf(stats?.conflicts),
    parked: countOf(stats?.parked),
    bytes: { sent: countOf(stats?.bytesSent), received: countOf(stats?.bytesReceived) },
    duration: Number(result.durationMs) / 1_000,
    ...(result.unverified.length > 0 ? { unverified: result.unverified } : {}),
    ...(result.keptOut.length > 0 ? { kept_out: result.keptOut } : {}),
    errors: result.errors.map(({ code, message }) => ({ code, message })),
  };
}
