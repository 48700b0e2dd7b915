import type { Logger } from "@scoutsync/runtime";
import { Queue, type Job, type JobType } from "bullmq";
import type { Settings } from "../registry/settings.ts";
import {
  BACKOFF_TYPE,
  CATCH_UP_QUEUE,
  catchUpKey,
  KEEP_COMPLETED,
  KEEP_FAILED,
  PREFIX,
  SCAN_QUEUE,
  SCAN_SCHEDULER,
  type CatchUpPayload,
  type ScanPayload,
} from "./queues.ts";
import type { RedisLink } from "./redis.ts";

/** A scheduler whose next turn is later than its due time by this much has stopped and is made anew. */
const SCHEDULER_GRACE_MS = 10_000;
const LISTED_STATES: JobType[] = ["active", "waiting", "prioritized", "delayed", "failed", "completed"];

export interface JobCount {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
  completed: number;
}

export interface ListedJob {
  id: string;
  name: string;
  state: string;
  serverId: number;
  attempts: number;
  reason: string;
  createdAt: string;
}

/**
 * The producer's side of the queues. Made when Redis was first reached; every call is bounded in time and throws
 * REDIS_UNREACHABLE when Redis is away.
 */
export class CatchUpQueue {
  readonly #link: RedisLink;
  readonly #settings: Settings;
  readonly #catchUps: Queue<CatchUpPayload>;
  readonly #scans: Queue<ScanPayload>;

  constructor(link: RedisLink, settings: Settings, logger: Logger) {
    this.#link = link;
    this.#settings = settings;
    const options = { connection: link.connection, prefix: PREFIX, skipWaitingForReady: true };
    this.#catchUps = new Queue<CatchUpPayload>(CATCH_UP_QUEUE, options);
    this.#scans = new Queue<ScanPayload>(SCAN_QUEUE, options);
    for (const queue of [this.#catchUps, this.#scans]) {
      queue.on("error", (error) => logger.debug({ error: error.message }, "a queue lost Redis"));
    }
  }

  /**
   * Asks for a catch-up of a node. Does nothing when one waits already; when one runs, another follows it.
   * `urgent` also cuts short the pause of one that waits for its next attempt.
   */
  async add(serverId: number, { delayMs = 0, urgent = false }: { delayMs?: number; urgent?: boolean } = {}): Promise<void> {
    await this.#link.ask(async () => {
      if (urgent) {
        const waitingId = await this.#catchUps.getDeduplicationJobId(catchUpKey(serverId));
        const waiting = waitingId === null ? undefined : await this.#catchUps.getJob(waitingId);
        if (waiting !== undefined && (await waiting.isDelayed())) return waiting.promote();
      }
      await this.#catchUps.add(
        CATCH_UP_QUEUE,
        { serverId },
        {
          delay: delayMs,
          deduplication: { id: catchUpKey(serverId), keepLastIfActive: true },
          attempts: this.#settings.get("max_retries"),
          backoff: { type: BACKOFF_TYPE },
          removeOnComplete: KEEP_COMPLETED,
          removeOnFail: KEEP_FAILED,
        },
      );
    });
  }

  /** Makes the periodic scan exist with this interval, or not at all when `everyMs` is null. */
  async schedule(everyMs: number | null): Promise<void> {
    await this.#link.ask(async () => {
      const current = await this.#scans.getJobScheduler(SCAN_SCHEDULER);
      if (everyMs === null) {
        if (current !== undefined) await this.#scans.removeJobScheduler(SCAN_SCHEDULER);
        return;
      }
      const alive = current?.next !== undefined && current.next > Date.now() - SCHEDULER_GRACE_MS;
      if (alive && current.every === everyMs) return;
      await this.#scans.upsertJobScheduler(
        SCAN_SCHEDULER,
        { every: everyMs },
        { name: SCAN_QUEUE, data: {}, opts: { removeOnComplete: { count: 10 }, removeOnFail: { count: 100 } } },
      );
    });
  }

  async counts(): Promise<JobCount> {
    const counts = await this.#link.ask(() => this.#catchUps.getJobCounts());
    const of = (...states: string[]) => states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
    return {
      waiting: of("waiting", "prioritized"),
      active: of("active"),
      delayed: of("delayed"),
      failed: of("failed"),
      completed: of("completed"),
    };
  }

  /** Catch-up jobs, newest first within a state; `state` empty = all states. */
  async list(state: string, limit: number): Promise<ListedJob[]> {
    return this.#link.ask(async () => {
      const jobs: ListedJob[] = [];
      for (const type of LISTED_STATES.filter((listed) => state === "" || listed === state)) {
        if (jobs.length >= limit) break;
        const found: (Job<CatchUpPayload> | undefined)[] = await this.#catchUps.getJobs([type], 0, limit - jobs.length - 1);
        // A job may be removed between being listed and being read.
        jobs.push(...found.filter((job) => job !== undefined).map((job) => describe(job, type)));
      }
      return jobs;
    });
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#catchUps.close(), this.#scans.close()]);
  }
}

function describe(job: Job<CatchUpPayload>, state: string): ListedJob {
  return {
    id: job.id ?? "",
    name: job.name,
    state,
    serverId: job.data.serverId,
    attempts: job.attemptsMade,
    reason: job.failedReason ?? "",
    createdAt: new Date(job.timestamp).toISOString(),
  };
}
