import type { Logger } from "@scoutsync/runtime";
import { Worker } from "bullmq";
import { PREFIX, SCAN_QUEUE, type ScanPayload } from "./queues.ts";
import { workerConnection } from "./redis.ts";

/** Works on the ticks of the scan schedule, one at a time, in the coordinator, because only it knows the fleet. */
export class ScanWorker {
  readonly #connection;
  readonly #worker: Worker<ScanPayload>;

  constructor(redis: string, scan: () => Promise<void>, logger: Logger) {
    this.#connection = workerConnection(redis);
    this.#connection.on("error", (error: Error) => logger.debug({ error: error.message }, "scan worker lost Redis"));
    this.#worker = new Worker<ScanPayload>(SCAN_QUEUE, scan, { connection: this.#connection, prefix: PREFIX });
    this.#worker.on("error", (error) => logger.debug({ error: error.message }, "scan worker trouble"));
  }

  /** A scan that still runs is not waited for: the next start scans anyway. */
  async stop(): Promise<void> {
    await this.#worker.close(true).catch(() => {});
    this.#connection.disconnect();
  }
}
