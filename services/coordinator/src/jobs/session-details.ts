import type { SyncResult } from "@scoutsync/protocol";

/** What a line of `sync_logs` says about a session, as JSON: what moved, or why not. Durations in seconds. */
export function sessionDetails(result: SyncResult, source: string): Record<string, unknown> {
  const { stats } = result;
  return {
    source,
    verified: result.verified,
    database_changes: {
      sent: Number(stats?.localChangesSent ?? 0n),
      received: Number(stats?.remoteChangesReceived ?? 0n),
      applied: Number(stats?.remoteChangesApplied ?? 0n),
    },
    file_changes: { uploaded: Number(stats?.filesUploaded ?? 0n), downloaded: Number(stats?.filesDownloaded ?? 0n) },
    conflicts: Number(stats?.conflicts ?? 0n),
    parked: Number(stats?.parked ?? 0n),
    bytes: { sent: Number(stats?.bytesSent ?? 0n), received: Number(stats?.bytesReceived ?? 0n) },
    duration: Number(result.durationMs) / 1_000,
    errors: result.errors.map(({ code, message }) => ({ code, message })),
  };
}
