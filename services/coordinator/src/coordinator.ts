import { join } from "node:path";
import type { Neighbour } from "@scoutsync/discovery";
import type { Service } from "@scoutsync/runtime";
import { AuditLog, checkPlain, plainDial, Trust } from "@scoutsync/trust";
import { DEFAULT_TIMING, type CoordinatorConfig, type Timing } from "./config.ts";
import { wireCore, type Core } from "./core.ts";
import { startGrpc } from "./grpc/server.ts";
import { startHttp } from "./http/server.ts";
import { CatchUpQueue } from "./jobs/catch-up-queue.ts";
import type { CoordinatorPort } from "./jobs/port.ts";
import { checkRedisUrl, RedisLink } from "./jobs/redis.ts";
import { RoundWorker, type Rounds } from "./jobs/round-worker.ts";
import { cleanUp } from "./cleanup.ts";
import { SessionWorker } from "./jobs/session-worker.ts";
import { Membership } from "./membership.ts";
import { sayWhere } from "./neighbours.ts";
import { openRegistry } from "./registry/registry.ts";
import { Upkeep } from "./upkeep.ts";

/** A running coordinator. */
export interface CoordinatorService extends Service {
  /** What the ready line says: the addresses that were really taken. */
  readonly ready: { name: "coordinator"; listen: string; http: string | null };
}

/**
 * Runs a coordinator: registry, detection, queue, one worker, gRPC and HTTP. Starts and answers also while Redis is
 * away. Throws INVALID_ARGUMENT, PORT_TAKEN, DATABASE_FAILED or METADATA_NEWER.
 */
export async function startCoordinator(config: CoordinatorConfig): Promise<CoordinatorService> {
  const { logger } = config;
  const timing: Timing = { ...DEFAULT_TIMING, ...config.timing };
  checkRedisUrl(config.redis);
  const trust = Trust.open(config.dataDirectory);
  const insecure = config.insecure === true;
  if (trust === null)
    checkPlain({ listen: [config.listen, ...(config.http === null ? [] : [config.http])], dialled: [], insecure }, logger);
  const registry = openRegistry(config.dataDirectory, config.presets);
  const audit = new AuditLog(join(config.dataDirectory, "audit.log"));
  const membership = trust && new Membership(trust, { dataDirectory: config.dataDirectory, audit, store: registry.access, logger });
  const dial = membership?.dial ?? plainDial(insecure);
  const link = new RedisLink(config.redis, logger);
  let work: { queue: CatchUpQueue; rounds: RoundWorker; sessions: SessionWorker } | null = null;

  let neighbourhood: ReturnType<typeof sayWhere> | null = null;
  const neighbours = () => neighbourhood?.found ?? [];
  const core = wireCore({ registry, link, neighbours, queue: () => work?.queue ?? null, membership, audit, dial, timing, logger });
  const upkeep = new Upkeep(core);
  const release = async () => {
    membership?.stop();
    upkeep.stop();
    core.catchUps.stop();
    link.close();
    core.clients.close();
    core.reliability.stop();
    if (!registry.closed) {
      core.fleet.flush();
      core.reliability.flush();
      registry.close();
    }
  };

  let grpc: Awaited<ReturnType<typeof startGrpc>> | null = null;
  let http: Awaited<ReturnType<typeof startHttp>> | null = null;
  try {
    grpc = await startGrpc({ listen: config.listen, core, upkeep });
    if (config.http !== null) http = await startHttp({ listen: config.http, core, upkeep });
  } catch (error) {
    await grpc?.stop();
    await release();
    throw error;
  }

  const connected = () => {
    work ??= {
      queue: new CatchUpQueue(link, registry.settings, logger),
      rounds: new RoundWorker(config.redis, roundsOf(core), logger),
      sessions: new SessionWorker({
        port: directPort(core),
        redis: config.redis,
        dial,
        timing,
        logger,
        onUnreadable: () => void upkeep.reconcile(),
      }),
    };
    void upkeep.reconcile();
  };
  membership?.started(grpc.listen);
  if (config.discover !== undefined) {
    const onNode = ({ id, name, address }: Neighbour) => {
      // A node of the fleet registers by itself once it has heard this coordinator: that is no news for anybody.
      if (registry.closed || registry.servers.byNodeId(id) !== null) return;
      core.events.tell("node", null, `${name || "a node"} was heard on this network at ${address} and is not in the list`);
    };
    neighbourhood = sayWhere({ trust, listen: grpc.listen, interface: config.discover || null, logger, onNode });
  }
  upkeep.start();
  link.connection.on("ready", connected);
  if (link.ready) connected();

  let stopping: Promise<void> | null = null;
  const stop = async () => {
    // Redis must not come back to life into a service that stops.
    link.connection.off("ready", connected);
    upkeep.stop();
    core.catchUps.stop();
    await neighbourhood?.stop();
    await http?.stop();
    await Promise.all([work?.sessions.stop(), work?.rounds.stop()]);
    await grpc.stop();
    await work?.queue.close();
    await release();
    logger.info("the coordinator has stopped");
  };
  logger.info({ listen: grpc.listen, http: http?.listen, registry: registry.path }, "the coordinator is ready");
  return {
    ready: { name: "coordinator", listen: grpc.listen, http: http?.listen ?? null },
    stop: () => (stopping ??= stop()),
  };
}

function roundsOf(core: Core): Rounds {
  return {
    scan: () => core.catchUps.scanTick(),
    canary: () => core.canary.round(),
    verify: () => core.comparison.round(),
    cleanup: () => {
      cleanUp(core, { dryRun: false });
      return Promise.resolve();
    },
  };
}

/** The coordinator's own worker asks without a wire between. */
function directPort({ desk, registry }: Core): CoordinatorPort {
  return {
    acquireLease: (request) => desk.acquire(request),
    reportSession: (report) => desk.report(report),
    sessionStartTimeoutMs: () => Promise.resolve(registry.settings.get("catchup_connection_timeout") * 1_000),
  };
}
