import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { HealthImplementation } from "grpc-health-check";
import { SyncError, toPlainError } from "@scoutsync/core";
import { addReflection, syncNodeService } from "@scoutsync/protocol";
import { openReplicaPool, type ReplicaPool } from "@scoutsync/replica";
import type { Service } from "@scoutsync/runtime";
import { announce } from "./announce.ts";
import { checkNames, exclusionsByDatabase, type SyncNodeConfig } from "./config.ts";
import type { NodeContext } from "./context.ts";
import { Databases } from "./databases.ts";
import { handlers } from "./handlers/index.ts";
import { nodeIdentity } from "./identity.ts";
import { keepInStep } from "./live-links.ts";
import { checkListenAddress, createGrpcServer, listenOn, shutDown } from "./server.ts";
import { SessionGate } from "./session-gate.ts";

const SERVICE = "scoutsync.v1.SyncNode";
/** How long calls under way may take to notice that the node stops. */
const SHUTDOWN_GRACE_MS = 3_000;
/** How long to wait for a lock that the application holds. */
const BUSY_TIMEOUT_MS = 5_000;
/** How often to look for commits of the application: what a live peer waits for at most, on top of the network. */
const POLL_INTERVAL_MS = 50;

export interface SyncNodeService extends Service {
  /** What the ready line says, but for `ready` itself. */
  readonly ready: {
    name: string;
    node_id: string;
    /** `host:port` with the port that was picked. */
    listen: string;
    databases: { name: string; path: string; tables: string[] }[];
  };
}

/**
 * Opens the databases, serves them, keeps in step with the peers and tells the coordinator. Throws a SyncError that
 * says what stands in the way (PORT_TAKEN, DATABASE_NOT_FOUND, …); then nothing is left running.
 */
export async function startSyncNode(config: SyncNodeConfig): Promise<SyncNodeService> {
  checkNames(config.databases);
  const excluded = exclusionsByDatabase(config);
  await checkListenAddress(config.listen);
  const nodeId = nodeIdentity(config.dataDirectory);
  const pool = openReplicaPool({ threads: threadCount(config) });
  try {
    const databases = new Databases(config.name);
    for (const { name, path } of config.databases) {
      databases.add(
        await pool.open({
          name,
          path,
          nodeName: config.name,
          nodeId,
          exclude: excluded.get(name) ?? [],
          baseline: config.baseline,
          busyTimeoutMs: BUSY_TIMEOUT_MS,
          pollIntervalMs: POLL_INTERVAL_MS,
        }),
      );
    }
    return await serve(config, nodeId, databases, pool);
  } catch (error) {
    await pool.close();
    throw error;
  }
}

async function serve(config: SyncNodeConfig, nodeId: string, databases: Databases, pool: ReplicaPool): Promise<SyncNodeService> {
  const { logger } = config;
  const stopping = new AbortController();
  const context: NodeContext = {
    name: config.name,
    nodeId,
    run: randomUUID(),
    version: programVersion(),
    receiveOnly: config.receiveOnly,
    baseline: config.baseline ?? "",
    databases,
    gate: new SessionGate(),
    logger,
    stopping: stopping.signal,
  };
  const server = createGrpcServer();
  server.addService(syncNodeService, handlers(context));
  const health = new HealthImplementation({ "": "SERVING", [SERVICE]: "SERVING" });
  health.addToServer(server);
  addReflection(server, [SERVICE]);
  const listen = await listenOn(server, config.listen);

  const background = [keepInStep(context, config.peers, stopping.signal)];
  if (config.coordinator !== null) background.push(announce(context, config.coordinator, listen, stopping.signal));
  const settled = Promise.all(
    background.map((work) => work.catch((error: unknown) => logger.error(toPlainError(error), "a background task failed"))),
  );
  logger.info({ listen, node_id: nodeId, databases: databases.all().map(({ replica }) => replica.name) }, "serving");

  let stopped: Promise<void> | null = null;
  const stop = async () => {
    health.setStatus("", "NOT_SERVING");
    health.setStatus(SERVICE, "NOT_SERVING");
    stopping.abort(
      new SyncError({ code: "SHUTTING_DOWN", message: `node "${config.name}" is stopping`, action: "Try again when it is back." }),
    );
    await shutDown(server, SHUTDOWN_GRACE_MS);
    await settled;
    await pool.close();
    logger.info("stopped");
  };
  return {
    ready: {
      name: config.name,
      node_id: nodeId,
      listen,
      databases: databases.all().map(({ replica: { name, path, state } }) => ({ name, path, tables: state.tables })),
    },
    stop: () => (stopped ??= stop()),
  };
}

function threadCount({ threads, databases }: SyncNodeConfig): number {
  return threads ?? Math.max(1, Math.min(databases.length, availableParallelism()));
}

function programVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return version;
}
