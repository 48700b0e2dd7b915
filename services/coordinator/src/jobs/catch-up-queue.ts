import { SyncError } from "@scoutsync/core";
import type { Logger } from "@scoutsync/runtime";
import { Queue, type Job, type JobType } from "bullmq";
import { clipped, LONGEST_NAME } from "../detection/plausible.ts";
import type { Settings } from "../registry/settings.ts";
import {
  BACKOFF_TYPE,
  CATCH_UP_QUEUE,
  catchUpKey,
  KEEP_COMPLETED,
  KEEP_FAILED,
  PREFIX,
  ROUND_NAMES,
  ROUND_QUEUE,
  schedulerOf,
  serverIn,
  type CatchUpOutcome,
  type CatchUpPayload,
  type RoundName,
  type RoundPayload,
} from "./queues.ts";
import type { RedisLink } from "./redis.ts";
import { isUnreadable, mendUnreadable, unreadableJob } from "./unreadable-jobs.ts";

/** A scheduler whose next turn is later than its due time by this much has stopped and is made anew. */
const SCHEDULER_GRACE_MS = 10_000;
/** The last moment that a Date can hold, Unix milliseconds. */
const LAST_DATE_MS = 8.64e15;
/** So many jobs are added with one message. */
const ADDED_AT_ONCE = 100;
const LISTED_STATES: JobType[] = ["active", "waiting", "prioritized", "delayed", "failed", "completed"];

export interface JobCount {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
  completed: number;
  paused: boolean;
}

/** A job as people see it. Times are ISO 8601 UTC, null for not yet. */
export interface ListedJob {
  id: string;
  name: string;
  state: JobState;
  /** Null: it is about the whole fleet. */
  serverId: number | null;
  priority: number;
  attempts: number;
  maxAttempts: number;
  reason: string;
  outcome: string;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  nextTryAt: string | null;
}
export type JobState = "waiting" | "active" | "delayed" | "failed" | "completed";

export interface AddOptions {
  delayMs?: number;
  /** Cut short the pause of one that waits for its next attempt. */
  urgent?: boolean;
  /** Go before all others, whatever the priority of one that waits already. */
  first?: boolean;
}

export interface WantedCatchUp {
  serverId: number;
  /** Lower is sooner; 0 goes before all others. */
  priority: number;
}

/**
 * The producer's side of the queues. Made when Redis was first reached; every call is bounded in time and throws
 * REDIS_UNREACHABLE when Redis is away.
 */
export class CatchUpQueue {
  readonly #link: RedisLink;
  readonly #settings: Settings;
  readonly #logger: Logger;
  readonly #catchUps: Queue<CatchUpPayload>;
  readonly #rounds: Queue<RoundPayload>;

  constructor(link: RedisLink, settings: Settings, logger: Logger) {
    this.#link = link;
    this.#settings = settings;
    this.#logger = logger;
    const options = { connection: link.connection, prefix: PREFIX, skipWaitingForReady: true };
    this.#catchUps = new Queue<CatchUpPayload>(CATCH_UP_QUEUE, options);
    this.#rounds = new Queue<RoundPayload>(ROUND_QUEUE, options);
    for (const queue of [this.#catchUps, this.#rounds]) {
      queue.on("error", (error) => logger.debug({ error: error.message }, "a queue lost Redis"));
    }
  }

  /** Asks for catch-ups. Does nothing more for a node of which one waits already; when one runs, another follows it. */
  async add(wanted: readonly WantedCatchUp[], { delayMs = 0, urgent = false, first = false }: AddOptions = {}): Promise<void> {
    const attempts = this.#settings.get("max_retries");
    for (let from = 0; from < wanted.length; from += ADDED_AT_ONCE) {
      const some = wanted.slice(from, from + ADDED_AT_ONCE);
      await this.#link.ask(async () => {
        const running = urgent || first ? await Promise.all(some.map(({ serverId }) => this.#promote(serverId, first))) : [];
        const jobs = some
          .filter((_, at) => running[at] !== true)
          .map(({ serverId, priority }) => ({
            name: CATCH_UP_QUEUE,
            data: { serverId },
            opts: {
              delay: delayMs,
              ...(priority > 0 && !first ? { priority } : {}),
              deduplication: { id: catchUpKey(serverId), keepLastIfActive: true },
              attempts,
              backoff: { type: BACKOFF_TYPE },
              removeOnComplete: KEEP_COMPLETED,
              removeOnFail: KEEP_FAILED,
            },
          }));
        if (jobs.length > 0) await this.#catchUps.addBulk(jobs);
      });
    }
  }

  /** Lets the catch-up of a node that waits for its time run now; false when there is none. */
  async #promote(serverId: number, first: boolean): Promise<boolean> {
    const waitingId = await this.#catchUps.getDeduplicationJobId(catchUpKey(serverId));
    const waiting = waitingId === null ? null : await this.#catchUps.getJob(waitingId).catch(nothingWhereUnreadable);
    return waiting !== null && waiting !== undefined && promoted(waiting, first);
  }

  /** Makes each round's schedule exist with its interval, or not at all when it is null. */
  async schedule(everyMs: Readonly<Record<RoundName, number | null>>): Promise<void> {
    for (const name of ROUND_NAMES) await this.#link.ask(() => this.#scheduleOne(name, everyMs[name]));
  }

  async #scheduleOne(name: RoundName, everyMs: number | null): Promise<void> {
    const current = await this.#rounds.getJobScheduler(schedulerOf(name)).catch(async (error: unknown) => {
      if (!isUnreadable(error)) throw error;
      await this.#link.connection.del(this.#rounds.toKey(`repeat:${schedulerOf(name)}`));
      await this.#rounds.removeJobScheduler(schedulerOf(name));
      return undefined;
    });
    if (everyMs === null) {
      if (current !== undefined) await this.#rounds.removeJobScheduler(schedulerOf(name));
      return;
    }
    const alive = current?.next !== undefined && current.next > Date.now() - SCHEDULER_GRACE_MS;
    if (alive && current.every === everyMs) return;
    // A comparison of all rows is not what a fleet wants at every start.
    const first = name === "verify" ? { startDate: Date.now() + everyMs } : {};
    await this.#rounds.upsertJobScheduler(
      schedulerOf(name),
      { every: everyMs, ...first },
      { name, data: {}, opts: { removeOnComplete: { count: 10 }, removeOnFail: { count: 100 } } },
    );
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
      paused: await this.#link.ask(() => this.#catchUps.isPaused()),
    };
  }

  /** Takes nothing more from the queue, or goes on; kept in Redis, for every worker. */
  async setPaused(paused: boolean): Promise<void> {
    await this.#link.ask(() => (paused ? this.#catchUps.pause() : this.#catchUps.resume()));
  }

  /** One job; throws NOT_FOUND when it is gone. */
  async job(id: string): Promise<ListedJob> {
    return (await this.#find(id)).listed;
  }

  /**
   * Takes a job out of the queue unless it runs. One that failed for good is gone afterwards; a new one for its node
   * has the key that keeps one job per node, which a retry of the old one would not have.
   */
  async remove(id: string): Promise<ListedJob> {
    const { listed, job } = await this.#find(id);
    if (listed.state !== "active") await this.#link.ask(async () => void (await (job === null ? this.#catchUps.remove(id) : job.remove())));
    return listed;
  }

  /** `job` null: it cannot be read. */
  async #find(id: string): Promise<{ listed: ListedJob; job: Job<CatchUpPayload> | null }> {
    const state = shownState(await this.#link.ask(() => this.#catchUps.getJobState(id)));
    const job = await this.#link.ask(() => this.#catchUps.getJob(id).catch(nothingWhereUnreadable));
    if (state !== undefined && job !== undefined) return { listed: job === null ? unreadableJob(id, state) : describe(job, state), job };
    throw new SyncError({
      code: "NOT_FOUND",
      message: `There is no job "${id.slice(0, 60)}" in the queue`,
      action: "See `scoutsync jobs list`; a job that is done long ago is only in the log.",
    });
  }

  /** Catch-up jobs, newest first within a state; `state` empty = all states. */
  async list(state: JobState | "", limit: number): Promise<ListedJob[]> {
    return this.#link.ask(async () => {
      const found: Promise<ListedJob | null>[] = [];
      for (const [type, ids] of await this.#idsByState(
        LISTED_STATES.filter((listed) => state === "" || shownState(listed) === state),
        limit,
      )) {
        for (const id of ids.slice(0, limit - found.length)) found.push(this.#read(id, shownState(type) ?? "waiting"));
      }
      // A job may be removed between being listed and being read.
      return (await Promise.all(found)).filter((job) => job !== null);
    });
  }

  /** All at one moment: a job that moves from one state to another while they are read one by one may be in none. */
  async #idsByState(types: readonly JobType[], limit: number): Promise<[JobType, string[]][]> {
    const reading = this.#link.connection.multi();
    for (const type of types) {
      if (type === "active") reading.lrange(this.#catchUps.toKey("active"), 0, limit - 1);
      else if (type === "waiting") reading.lrange(this.#catchUps.toKey("wait"), 0, limit - 1);
      else reading.zrevrange(this.#catchUps.toKey(type), 0, limit - 1);
    }
    const answers = (await reading.exec()) ?? [];
    return types.map((type, at) => {
      const [error, ids] = answers[at] ?? [null, []];
      if (error !== null) throw error;
      return [type, ids as string[]];
    });
  }

  async #read(id: string, state: JobState): Promise<ListedJob | null> {
    try {
      const job: Job<CatchUpPayload> | undefined = await this.#catchUps.getJob(id);
      return job === undefined ? null : describe(job, state);
    } catch (error) {
      if (isUnreadable(error)) return unreadableJob(id, state);
      throw error;
    }
  }

  /** Makes jobs that stand in Redis as nothing that parses fail with their reason, so that they hold up nobody. */
  async mend(): Promise<void> {
    for (const queue of [this.#catchUps, this.#rounds]) {
      const mended = await this.#link.ask(() => mendUnreadable(queue, this.#link.connection));
      if (mended > 0) this.#logger.warn({ queue: queue.name, jobs: mended }, "jobs in Redis could not be read and were taken out");
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#catchUps.close(), this.#rounds.close()]);
  }
}

function nothingWhereUnreadable(error: unknown): null {
  if (isUnreadable(error)) return null;
  throw error;
}

/** False when the job does not wait for its time, or was taken in the moment between looking and asking: then it has just had its try. */
async function promoted(job: Job<CatchUpPayload>, first: boolean): Promise<boolean> {
  try {
    if (first && job.priority > 0) await job.changePriority({ priority: 0 });
    if (!(await job.isDelayed())) return false;
    await job.promote();
    return true;
  } catch {
    // If Redis is the reason, what is asked of it next says so.
    return false;
  }
}

/** Waiting with a priority is waiting; null for states that our jobs never have. */
function shownState(state: string): JobState | undefined {
  if (state === "prioritized" || state === "paused") return "waiting";
  return (["waiting", "active", "delayed", "failed", "completed"] as const).find((known) => known === state);
}

function describe(job: Job<CatchUpPayload>, state: JobState): ListedJob {
  const outcome = state === "completed" ? (job.returnvalue as CatchUpOutcome | null)?.outcome : undefined;
  const iso = (ms: unknown) => (typeof ms === "number" && Math.abs(ms) <= LAST_DATE_MS ? new Date(ms).toISOString() : null);
  const whole = (value: unknown) => (Number.isSafeInteger(value) ? Math.max(0, value as number) : 0);
  return {
    id: job.id ?? "",
    name: clipped(job.name, LONGEST_NAME),
    state,
    serverId: serverIn(job.data),
    priority: whole(job.priority),
    attempts: whole(job.attemptsMade),
    maxAttempts: whole(job.opts.attempts ?? 1),
    reason: clipped(job.failedReason ?? ""),
    outcome: typeof outcome === "string" ? clipped(outcome, LONGEST_NAME) : "",
    createdAt: iso(job.timestamp) ?? new Date(0).toISOString(),
    startedAt: iso(job.processedOn),
    finishedAt: iso(job.finishedOn),
    nextTryAt: state === "delayed" ? iso(job.timestamp + job.delay) : null,
  };
}
