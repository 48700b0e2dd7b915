import { SyncError, toPlainError } from "@scoutsync/core";
import {
  serverStream,
  SyncRequest,
  SyncResult,
  ReportSessionRequest,
  type AcquireLeaseResponse,
  type SyncNodeService,
  type ServiceClient,
  type SyncProgress,
} from "@scoutsync/protocol";
import { backoffMs, pause, type Logger } from "@scoutsync/runtime";
import type { CoordinatorPort } from "./port.ts";
import { SessionSteps } from "./session-steps.ts";

/** A session that says nothing for this long, after it has begun, is given up. Reading a huge database takes minutes. */
const SILENCE_MS = 30 * 60_000;

/** The coordinator is told where a session stands at most this often. */
const PROGRESS_INTERVAL_MS = 1_000;

/** The lease ran out or was taken over while the session ran: its outcome counts no more. */
export class LeaseLost extends Error {
  override name = "LeaseLost";
}

/**
 * Runs the session that a lease permits, on the node, and reports how it ended. While it runs the lease is renewed at
 * a third of its length. Returns the result as reported, also of a session that failed.
 * Throws LeaseLost when the coordinator no longer knows the lease.
 */
export async function runSession(options: {
  lease: AcquireLeaseResponse;
  port: CoordinatorPort;
  /** To the node of the lease. */
  client: ServiceClient<SyncNodeService>;
  logger: Logger;
  /** Ends the session early; its reason becomes the session's error. */
  signal: AbortSignal;
  onProgress: (progress: SyncProgress) => void;
}): Promise<SyncResult> {
  const { lease, port, logger, onProgress } = options;
  const startedAt = new Date();
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);

  const steps = new SessionSteps();

  const tell = (progress?: SyncProgress) =>
    port.reportSession(ReportSessionRequest.fromPartial({ leaseId: lease.leaseId, startedAt: startedAt.toISOString(), progress })).then(
      ({ lost }) => lost && stop.abort(new LeaseLost("the lease is gone")),
      // The coordinator may be restarting. If it stays away the lease runs out and the node's epoch protects it.
      (error: unknown) => logger.debug({ error: String(error) }, "a lease could not be renewed"),
    );
  const renewal = setInterval(() => void tell(), lease.leaseMs / 3);
  let nextWordAt = 0;
  const tellProgress = (progress: SyncProgress) => {
    if (Date.now() < nextWordAt) return;
    nextWordAt = Date.now() + PROGRESS_INTERVAL_MS;
    void tell(progress);
  };

  let silence: NodeJS.Timeout | undefined;
  const expectWord = (ms: number) => {
    clearTimeout(silence);
    silence = setTimeout(() => stop.abort(silent(lease.nodeAddress, ms)), ms);
  };

  let result: SyncResult;
  try {
    expectWord(await port.sessionStartTimeoutMs());
    result = await session(options.client, lease, signal, (progress) => {
      expectWord(SILENCE_MS);
      steps.enter(progress.phase);
      tellProgress(progress);
      onProgress(progress);
    });
  } catch (error) {
    if (error instanceof LeaseLost) throw error;
    result = failed(lease, startedAt, error);
  } finally {
    clearInterval(renewal);
    clearTimeout(silence);
  }
  const report = ReportSessionRequest.fromPartial({
    leaseId: lease.leaseId,
    startedAt: startedAt.toISOString(),
    result,
    steps: steps.end(result.success),
  });
  if (await reportEnd(port, report, lease.leaseMs)) throw new LeaseLost("the lease is gone");
  return result;
}

/** Reports the outcome; tries for as long as the lease may live, because the coordinator may be restarting. */
async function reportEnd(port: CoordinatorPort, report: ReportSessionRequest, leaseMs: number): Promise<boolean> {
  const giveUpAt = Date.now() + leaseMs;
  for (let attempt = 0; ; attempt++) {
    try {
      return (await port.reportSession(report)).lost;
    } catch (error) {
      if (Date.now() >= giveUpAt) throw error;
      await pause(backoffMs(attempt, { firstMs: 200, capMs: 2_000 }));
    }
  }
}

async function session(
  client: ServiceClient<SyncNodeService>,
  lease: AcquireLeaseResponse,
  signal: AbortSignal,
  onProgress: (progress: SyncProgress) => void,
): Promise<SyncResult> {
  const request = SyncRequest.fromPartial({
    peer: lease.sourceAddress,
    databases: lease.databases,
    batchSize: lease.batchSize,
    epoch: lease.epoch,
  });
  for await (const { kind } of serverStream(client, "sync", request, { signal })) {
    if (kind?.$case === "progress") onProgress(kind.value);
    else if (kind?.$case === "result") return kind.value;
  }
  throw new SyncError({
    code: "PEER_FAILED",
    message: `${lease.nodeAddress} ended the session without a result`,
    action: "Look at that node's log.",
  });
}

function failed(lease: AcquireLeaseResponse, startedAt: Date, thrown: unknown): SyncResult {
  const { code, message } = toPlainError(thrown);
  return SyncResult.fromPartial({
    node: lease.nodeAddress,
    peer: lease.sourceName,
    durationMs: BigInt(Date.now() - startedAt.getTime()),
    errors: [{ code, message }],
  });
}

function silent(address: string, ms: number): SyncError {
  return new SyncError({
    code: "PEER_UNREACHABLE",
    message: `${address} said nothing about the session for ${ms / 1_000} s`,
    action: "Check the node; it is tried again by itself.",
  });
}
