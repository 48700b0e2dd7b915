import { SyncError } from "@scoutsync/core";
import type { Logger } from "@scoutsync/runtime";
import { Redis } from "ioredis";

/** A command that is not answered in this time is given up, so that no request hangs on a frozen Redis. */
const COMMAND_TIMEOUT_MS = 3_000;
/** The time is taken in steps: one that this process was too busy to notice says nothing about Redis. */
const TIMEOUT_STEP_MS = 250;
const RECONNECT_FIRST_MS = 200;
const RECONNECT_CAP_MS = 2_000;
const OLDEST_REDIS = 7;

/** The URL as it may be shown: without the password. */
export function withoutPassword(url: string): string {
  try {
    const parsed = new URL(url);
    if (parsed.password !== "") parsed.password = "***";
    return parsed.toString().replace(/\/$/, "");
  } catch {
    return "(not a URL)";
  }
}

/** Throws INVALID_ARGUMENT unless `url` is a redis:// or rediss:// URL. */
export function checkRedisUrl(url: string): void {
  if (/^rediss?:\/\/[^/]/.test(url) && URL.canParse(url)) return;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `"${withoutPassword(url)}" is not a Redis URL`,
    action: "Give it as redis://host:6379 or rediss://user:password@host:6379/0 with --redis or REDIS_URL.",
  });
}

/** A connection for a queue's producer: fails at once when Redis is away. */
export function producerConnection(url: string): Redis {
  return new Redis(url, {
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    retryStrategy,
    connectTimeout: COMMAND_TIMEOUT_MS,
  });
}

/** A connection for a worker: waits for Redis as long as it takes, which BullMQ demands. */
export function workerConnection(url: string): Redis {
  return new Redis(url, { maxRetriesPerRequest: null, retryStrategy, connectTimeout: COMMAND_TIMEOUT_MS });
}

function retryStrategy(times: number): number {
  return Math.min(RECONNECT_CAP_MS, RECONNECT_FIRST_MS * 2 ** Math.min(times, 10)) * (0.5 + Math.random() / 2);
}

/** The coordinator's line to Redis: whether it is there, why not, and a bound on every question asked through it. */
export class RedisLink {
  readonly connection: Redis;
  readonly #shownUrl: string;
  readonly #logger: Logger;
  #lastError = "no connection yet";
  #reported = false;

  constructor(url: string, logger: Logger) {
    this.#shownUrl = withoutPassword(url);
    this.#logger = logger;
    this.connection = producerConnection(url);
    this.connection.on("error", (error: Error) => {
      this.#lastError = reasonOf(error);
      this.#report();
    });
    this.connection.on("close", () => this.#report());
    this.connection.on("ready", () => {
      this.#reported = false;
      void this.#inspect();
    });
  }

  get ready(): boolean {
    return this.connection.status === "ready";
  }

  /** Why the queues cannot be reached, with what to do; empty when they can. */
  get problem(): string {
    return this.ready ? "" : this.#unreachable().message;
  }

  /** Throws REDIS_UNREACHABLE when there is no connection now. */
  assertReady(): void {
    if (!this.ready) throw this.#unreachable();
  }

  /** Runs a question to Redis; throws REDIS_UNREACHABLE when there is no connection or no answer in time. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    this.assertReady();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      let steps = COMMAND_TIMEOUT_MS / TIMEOUT_STEP_MS;
      timer = setInterval(() => --steps <= 0 && reject(new Error("no answer in time")), TIMEOUT_STEP_MS);
    });
    const answer = question();
    // When the race is lost the late failure has nobody waiting for it.
    answer.catch(() => {});
    try {
      return await Promise.race([answer, late]);
    } catch (error) {
      this.#lastError = reasonOf(error as Error);
      throw this.#unreachable(error);
    } finally {
      clearInterval(timer);
    }
  }

  close(): void {
    this.connection.removeAllListeners("close");
    this.connection.disconnect();
  }

  #unreachable(cause?: unknown): SyncError {
    return new SyncError({
      code: "REDIS_UNREACHABLE",
      message: `Redis at ${this.#shownUrl} cannot be reached (${this.#lastError})`,
      action:
        "Start it (for example: redis-server --appendonly yes --maxmemory-policy noeviction) or give another URL with --redis or REDIS_URL; nothing is lost meanwhile, and catch-ups go on by themselves when it is back.",
      cause,
    });
  }

  #report(): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#logger.warn(this.#unreachable().message);
  }

  /** Says what about this Redis would hurt later. */
  async #inspect(): Promise<void> {
    try {
      const text = await this.ask(() => this.connection.info());
      const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(text)?.[1] ?? "";
      const version = field("redis_version");
      this.#logger.info({ redis: this.#shownUrl, version }, "connected to Redis");
      if (field("valkey_version") === "" && Number.parseInt(version, 10) < OLDEST_REDIS) {
        this.#logger.warn(`Redis at ${this.#shownUrl} is version ${version}; use ${OLDEST_REDIS} or newer.`);
      }
      const policy = field("maxmemory_policy");
      if (policy !== "" && policy !== "noeviction") {
        this.#logger.warn(
          `Redis at ${this.#shownUrl} may throw jobs away (maxmemory-policy is ${policy}). Set maxmemory-policy noeviction.`,
        );
      }
      if (field("aof_enabled") === "0") {
        this.#logger.warn(
          `Redis at ${this.#shownUrl} forgets its queues when it restarts (append-only file is off). Set appendonly yes; until then catch-ups are rebuilt from the registry.`,
        );
      }
    } catch (error) {
      this.#logger.debug({ error: String(error) }, "Redis did not say how it is set up");
    }
  }
}

function reasonOf(error: Error): string {
  // A refused connection to a name with several addresses has the reasons inside.
  if (error instanceof AggregateError && error.errors.length > 0) return (error.errors[0] as Error).message;
  return error.message || error.name;
}
