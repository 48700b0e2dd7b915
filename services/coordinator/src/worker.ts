import { SyncError } from "@scoutsync/core";
import { CoordinatorClient, unary } from "@scoutsync/protocol";
import { parseAddress, type Service } from "@scoutsync/runtime";
import { checkPlain, dialAs, keepRenewed, plainDial, Trust } from "@scoutsync/trust";
import { DEFAULT_TIMING, type WorkerConfig } from "./config.ts";
import type { CoordinatorPort } from "./jobs/port.ts";
import { checkRedisUrl } from "./jobs/redis.ts";
import { SessionWorker } from "./jobs/session-worker.ts";

/** A lease is given after two nodes were asked, of which each may take its full Ping deadline, some several times. */
const LEASE_DEADLINE_MS = 60_000;
const REPORT_DEADLINE_MS = 10_000;

/**
 * Runs one more worker, on any machine that reaches Redis, the coordinator and the nodes. It keeps nothing of its own:
 * killed at any moment, its sessions are taken over when their leases have run out. Starts also while Redis or the
 * coordinator are away. Throws INVALID_ARGUMENT.
 */
export function startWorker(config: WorkerConfig): Promise<Service> {
  checkRedisUrl(config.redis);
  if (parseAddress(config.coordinator) === null) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${config.coordinator}" is not the address of a coordinator`,
      action: "Give it as host:port with --coordinator.",
    });
  }
  const trust = config.dataDirectory === undefined ? null : Trust.open(config.dataDirectory);
  const insecure = config.insecure === true;
  if (trust === null) checkPlain({ listen: [], dialled: [config.coordinator], insecure }, config.logger);
  const dial = trust ? dialAs(trust) : plainDial(insecure);
  const renewing = new AbortController();
  if (trust) {
    const addresses = [...(trust.contact === null ? [] : [trust.contact.address]), config.coordinator];
    void keepRenewed({ trust, dial, addresses, logger: config.logger, signal: renewing.signal });
  }
  const client = dial(config.coordinator, CoordinatorClient);
  const port: CoordinatorPort = {
    acquireLease: (request) => unary(client, "acquireLease", request, { deadlineMs: LEASE_DEADLINE_MS }),
    reportSession: (report) => unary(client, "reportSession", report, { deadlineMs: REPORT_DEADLINE_MS }),
    async sessionStartTimeoutMs() {
      const { settings } = await unary(client, "getSettings", {}, { deadlineMs: REPORT_DEADLINE_MS });
      const value = Number(settings.find((setting) => setting.key === "catchup_connection_timeout")?.value);
      return (Number.isFinite(value) && value > 0 ? value : 60) * 1_000;
    },
  };
  const timing = { ...DEFAULT_TIMING, ...config.timing };
  const worker = new SessionWorker({ port, redis: config.redis, dial, timing, logger: config.logger });
  config.logger.info({ worker: worker.name, coordinator: config.coordinator }, "the worker takes jobs");
  let stopping: Promise<void> | null = null;
  const stop = async () => {
    renewing.abort();
    await worker.stop();
    client.close();
    config.logger.info("the worker has stopped");
  };
  return Promise.resolve({ stop: () => (stopping ??= stop()) });
}
