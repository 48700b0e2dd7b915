import type { Logger } from "@scoutsync/runtime";
import { Worker } from "bullmq";
import { PREFIX, ROUND_NAMES, ROUND_QUEUE, type RoundName, type RoundPayload } from "./queues.ts";
import { workerConnection } from "./redis.ts";

/** What is to be done at each turn of a schedule. */
export type Rounds = Readonly<Record<RoundName, () => Promise<void>>>;

/**
 * Works on the turns of the schedules in the coordinator, because only it knows the fleet: different ones at the same
 * time, one of a kind at a time, so that comparing a large table does not hold up a scan.
 */
export class RoundWorker {
  readonly #connection;
  readonly #worker: Worker<RoundPayload>;
  readonly #running = new Set<RoundName>();

  constructor(redis: string, rounds: Rounds, logger: Logger) {
    this.#connection = workerConnection(redis);
    this.#connection.on("error", (error: Error) => logger.debug({ error: error.message }, "the worker of the schedules lost Redis"));
    this.#worker = new Worker<RoundPayload>(ROUND_QUEUE, (job) => this.#run(job.name, rounds), {
      connection: this.#connection,
      prefix: PREFIX,
      concurrency: ROUND_NAMES.length,
    });
    this.#worker.on("error", (error) => logger.debug({ error: error.message }, "trouble with a schedule"));
    this.#worker.on("failed", (job, error) =>
      logger.warn({ round: job?.name, error: error.message }, "a round failed; the next one is due as ever"),
    );
  }

  /** A round that still runs is not waited for: the next start does it anyway. */
  async stop(): Promise<void> {
    await this.#worker.close(true).catch(() => {});
    this.#connection.disconnect();
  }

  async #run(text: string, rounds: Rounds): Promise<void> {
    const name = ROUND_NAMES.find((known) => known === text);
    if (name === undefined || this.#running.has(name)) return;
    this.#running.add(name);
    try {
      await rounds[name]();
    } finally {
      this.#running.delete(name);
    }
  }
}
