import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { SyncError, toPlainError } from "@scoutsync/core";
import type { Dial, SyncResult } from "@scoutsync/protocol";
import { backoffMs, type Logger } from "@scoutsync/runtime";
import { DelayedError, UnrecoverableError, WaitingError, Worker, type Job } from "bullmq";
import type { Timing } from "../config.ts";
import { failureText } from "../detection/plausible.ts";
import { NodeClients } from "../detection/node-clients.ts";
import type { CoordinatorPort } from "./port.ts";
import { CATCH_UP_QUEUE, CatchUpPayload, KEEP_COMPLETED, KEEP_FAILED, PREFIX, serverIn, type CatchUpOutcome } from "./queues.ts";
import { workerConnection } from "./redis.ts";
import { isUnreadable } from "./unreadable-jobs.ts";
import { LeaseLost, runSession } from "./session-run.ts";

/** Sessions run on the nodes; a worker only waits for them, so one process can watch many. */
const CONCURRENT_SESSIONS = 64;
/** The longest pause of a catch-up that keeps finding everyone busy. */
const LONGEST_BUSY_MS = 3_000;
/** Progress is written to Redis at most this often. */
const PROGRESS_INTERVAL_MS = 500;
const SHUTDOWN = "shutdown";

/**
 * Takes catch-ups from the queue and sees each through: lease, session, report. The same in the coordinator's process
 * and in a worker's. Starts before Redis is there and survives its absence.
 */
export class SessionWorker {
  readonly name = `${hostname()}:${process.pid}:${randomBytes(3).toString("hex")}`;
  readonly #port: CoordinatorPort;
  /** Of its own: what it closes must not end a question that somebody else has out. */
  readonly #clients: NodeClients;
  readonly #timing: Timing;
  readonly #logger: Logger;
  readonly #connection;
  readonly #worker: Worker<CatchUpPayload, CatchUpOutcome>;

  constructor(parts: {
    port: CoordinatorPort;
    redis: string;
    dial: Dial;
    timing: Timing;
    logger: Logger;
    /** It met a job that it cannot read. */
    onUnreadable?: () => void;
  }) {
    this.#port = parts.port;
    this.#clients = new NodeClients(parts.dial);
    this.#timing = parts.timing;
    this.#logger = parts.logger;
    this.#connection = workerConnection(parts.redis);
    this.#connection.on("error", (error: Error) => parts.logger.debug({ error: error.message }, "worker lost Redis"));
    this.#worker = new Worker<CatchUpPayload, CatchUpOutcome>(
      CATCH_UP_QUEUE,
      // BullMQ passes a signal only to a processor that declares all three parameters.
      (job, token, signal) => this.#process(job, token ?? "", signal ?? new AbortController().signal),
      {
        connection: this.#connection,
        prefix: PREFIX,
        concurrency: CONCURRENT_SESSIONS,
        lockDuration: parts.timing.jobLockMs,
        stalledInterval: parts.timing.jobLockMs / 2,
        maxStalledCount: 10,
        removeOnComplete: KEEP_COMPLETED,
        removeOnFail: KEEP_FAILED,
        settings: {
          backoffStrategy: (attemptsMade) =>
            backoffMs(attemptsMade - 1, { firstMs: parts.timing.retryFirstMs, capMs: parts.timing.retryCapMs }),
        },
      },
    );
    this.#worker.on("error", (error) => {
      parts.logger.debug({ error: error.message }, "worker trouble");
      if (isUnreadable(error)) parts.onUnreadable?.();
    });
    this.#worker.on("failed", (job, error) =>
      parts.logger.info({ server: serverIn(job?.data), attempts: job?.attemptsMade, error: error.message }, "catch-up failed"),
    );
    this.#worker.on("lockRenewalFailed", (ids) => {
      for (const id of ids) this.#worker.cancelJob(id, "the job was given to another worker");
    });
  }

  /** Takes no more jobs, lets sessions go on for the grace period, puts the others back without counting an attempt. */
  async stop(): Promise<void> {
    const { graceMs } = this.#timing;
    const closing = this.#worker.close();
    const cancel = setTimeout(() => this.#worker.cancelAllJobs(SHUTDOWN), graceMs);
    // Without Redis closing would wait for it. The stalled check of another worker picks up what is left.
    let cut: NodeJS.Timeout | undefined;
    await Promise.race([closing, new Promise((resolve) => (cut = setTimeout(resolve, 2 * graceMs + 2_000)))]);
    clearTimeout(cancel);
    clearTimeout(cut);
    closing.catch(() => {});
    this.#clients.close();
    this.#connection.disconnect();
  }

  async #process(job: Job<CatchUpPayload>, token: string, signal: AbortSignal): Promise<CatchUpOutcome> {
    const payload = CatchUpPayload.safeParse(job.data);
    // It may be anything of any size: what it holds is neither repeated nor kept.
    if (!payload.success) {
      await job.updateData({ serverId: 0 });
      throw new UnrecoverableError("the job is none of ours: a catch-up names a node by its number, and nothing else");
    }
    const { serverId } = payload.data;

    const lease = await this.#acquire(job, serverId);
    if (lease === null || lease.reason === "busy") {
      const ceiling = Math.min(LONGEST_BUSY_MS, this.#timing.busyMs * 1.3 ** Math.min(job.attemptsStarted, 20));
      await job.moveToDelayed(Date.now() + ceiling / 2 + (Math.random() * ceiling) / 2, token);
      throw new DelayedError();
    }
    if (!lease.granted) return { outcome: lease.reason as CatchUpOutcome["outcome"] };

    let result: SyncResult;
    try {
      result = await runSession({
        lease,
        port: this.#port,
        client: this.#clients.ready(lease.nodeAddress),
        logger: this.#logger,
        signal: abortError(signal),
        onProgress: this.#progressOf(job),
      });
    } catch (error) {
      if (error instanceof LeaseLost) return { outcome: "lost" };
      throw error;
    }
    if (result.success) return { outcome: "synced" };
    // A channel to a node that was away pauses before it dials again; the next session begins with a fresh one.
    this.#clients.forget(lease.nodeAddress);
    if (signal.aborted && signal.reason === SHUTDOWN) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    if (result.errors.some((error) => error.code === "BUSY")) {
      await job.moveToDelayed(Date.now() + this.#timing.retryFirstMs, token);
      throw new DelayedError();
    }
    throw new Error(failureText(result) || "the session failed without a reason");
  }

  /** Null when the coordinator does not answer, which is no fault of the node and costs it no attempt. */
  async #acquire(job: Job<CatchUpPayload>, serverId: number) {
    try {
      return await this.#port.acquireLease({ serverId: BigInt(serverId), worker: this.name, jobId: job.id ?? "" });
    } catch (error) {
      const { code, message } = toPlainError(error);
      if (code !== "COORDINATOR_UNREACHABLE" && code !== "SHUTTING_DOWN") throw error;
      this.#logger.warn({ job: job.id, error: message }, "the coordinator does not answer");
      return null;
    }
  }

  #progressOf(job: Job<CatchUpPayload>): (progress: { database: string; phase: string; done: bigint; total: bigint }) => void {
    let nextAt = 0;
    return ({ database, phase, done, total }) => {
      if (Date.now() < nextAt) return;
      nextAt = Date.now() + PROGRESS_INTERVAL_MS;
      // Progress is for watching; a job that was flushed away has nobody to watch it.
      job.updateProgress({ database, phase, done: Number(done), total: Number(total) }).catch(() => {});
    };
  }
}

/** BullMQ aborts with a plain text; what ends a session must be an error that says so to people. */
function abortError(signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const pass = () =>
    controller.abort(
      new SyncError({
        code: "SHUTTING_DOWN",
        message: `The worker gave the session up: ${String(signal.reason)}`,
        action: "It is tried again by itself.",
      }),
    );
  if (signal.aborted) pass();
  else signal.addEventListener("abort", pass, { once: true });
  return controller.signal;
}
