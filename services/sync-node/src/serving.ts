import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { HealthImplementation } from "grpc-health-check";
import { SyncError, toPlainError } from "@scoutsync/core";
import { addReflection, syncNodeService } from "@scoutsync/protocol";
import type { Logger, Service } from "@scoutsync/runtime";
import { ANYBODY, AuditLog, dialAs, FleetServerCredentials, plainActs, plainDial, Trust } from "@scoutsync/trust";
import { NODE_ACCESS } from "./access.ts";
import { announce } from "./announce.ts";
import type { ClockKeeper } from "./clock/clock-keeper.ts";
import type { SyncNodeConfig } from "./config.ts";
import { Connections } from "./connections.ts";
import type { NodeContext } from "./context.ts";
import { BulkConnections } from "./bulk-connections.ts";
import type { Databases } from "./databases.ts";
import { DiskRoom } from "./disk.ts";
import { DEFAULT_RETENTION_DAYS, forgetDeleted } from "./forgetting.ts";
import { keepFilesInStep } from "./files/live-files.ts";
import type { FileRoots } from "./files/file-roots.ts";
import { auditRefusals } from "./files/refusals.ts";
import { rowFilesOf } from "./files/row-files.ts";
import { handlers } from "./handlers/index.ts";
import { keepInStep } from "./live-links.ts";
import { PassingLimits } from "./limits.ts";
import { belong, checkLimits, contacts, type Membership } from "./membership.ts";
import { meetNeighbours } from "./neighbours.ts";
import { takeOver } from "./reissuing.ts";
import { keepScope } from "./scopes/carrying.ts";
import { keepFileCopy } from "./scopes/file-copies.ts";
import { contextOf, routedHandlers } from "./scopes/routing.ts";
import type { Scope } from "./scopes/scopes.ts";
import { acceptBulk, createGrpcServer, listenOn, shutDown } from "./server.ts";
import { SessionGate } from "./session-gate.ts";

const SERVICE = "scoutsync.v1.SyncNode";
const FLEET_SERVICE = "scoutsync.v1.Fleet";
/** How long calls under way may take to notice that the node stops. */
const SHUTDOWN_GRACE_MS = 3_000;

export interface SyncNodeService extends Service {
  /** What the ready line says, but for `ready` itself. */
  readonly ready: {
    name: string;
    node_id: string;
    /** `host:port` with the port that was picked. */
    listen: string;
    databases: { name: string; path: string; tables: string[] }[];
    /** `host:port` of the metrics; not there when they are not served. */
    metrics?: string;
    /** Not there when the node has no file roots. */
    files?: { root: string; path: string }[];
  };
}

/** Serves open databases until `stop`, which ends with `release`. Throws PORT_TAKEN; then nothing is left running. */
export async function serve(
  config: SyncNodeConfig,
  clock: ClockKeeper,
  { databases, files, scopes = [] }: { databases: Databases; files: FileRoots; scopes?: readonly Scope[] },
  release: () => Promise<void>,
): Promise<SyncNodeService> {
  const { logger } = config;
  const { nodeId } = clock;
  const trust = Trust.open(config.dataDirectory);
  const dial = trust ? dialAs(trust) : plainDial(config.insecure === true);
  for (const { replica } of databases.all()) {
    // A misspelt one would be shown.
    for (const entry of replica.state.unknownSensitive)
      logger.warn({ database: replica.name, sensitive: entry }, "is to be kept from view, and no such table or column is there");
    reportProblems(
      { database: replica.name },
      () => replica.state.problem,
      (look) => replica.onChange(look),
      logger,
    );
  }
  for (const root of files.all())
    reportProblems(
      { root: root.name },
      () => root.state.problem,
      (look) => root.onChange(look),
      logger,
    );
  if (trust) checkLimits(trust, config);
  const copies = scopes.flatMap(({ parts }) => parts.map(({ copy }) => copy));
  const limitedTo = trust?.identity.scope ?? null;
  // Who was limited once and is not any more has all of its roots again.
  if (limitedTo === null) for (const root of files.all()) if (root.state.part !== null) await root.limitTo(null);
  clock.serve([...databases.all().map(({ replica }) => replica), ...copies]);
  // Most nodes are started without: what it needs is not read for them.
  const metering = config.metrics ? await import("./metrics.ts") : null;
  const stopping = new AbortController();
  const context: NodeContext = {
    name: config.name,
    nodeId,
    // Its databases share a run; a node without any has no stream positions to tell apart.
    run: databases.all()[0]?.replica.run ?? randomUUID(),
    version: programVersion(),
    receiveOnly: config.receiveOnly,
    scope: limitedTo,
    retentionDays: config.retentionDays ?? DEFAULT_RETENTION_DAYS,
    databases,
    scopes,
    files,
    rowFiles: rowFilesOf(config),
    limits: new PassingLimits({
      changesPerSecond: config.rowRate ?? 0,
      rowBytesPerSecond: config.rowByteRate ?? 0,
      fileBytesPerSecond: config.fileRate ?? 0,
    }),
    gate: new SessionGate(),
    connections: new Connections(clock, dial),
    bulkConnections: new BulkConnections(({ remoteAddress, remotePort }) => {
      // As gRPC names the other side of a call.
      const call = { getPeer: () => `${remoteAddress}:${remotePort}`, getPath: () => "a bulk connection" };
      return context.speakerOf(call);
    }),
    dial,
    clock,
    disk: new DiskRoom([...databases.all().map(({ replica }) => dirname(replica.path)), ...files.all().map(({ path }) => path)]),
    counts: metering && new metering.NodeCounts(),
    speakerOf: (call) => membership?.speakers.of(call) ?? ANYBODY,
    logger,
    stopping: stopping.signal,
  };
  const audit = new AuditLog(join(config.dataDirectory, "audit.log"));
  const membership: Membership | null = trust && belong(trust, context, { audit, dataDirectory: config.dataDirectory });
  const server = createGrpcServer([membership ? membership.guard.interceptor : plainActs(audit, new Map(NODE_ACCESS))]);
  acceptBulk(server, (socket) => context.bulkConnections.accept(socket));
  membership?.serve(server);
  server.addService(syncNodeService, membership && trust ? routedHandlers(context, membership.guard, trust.identity) : handlers(context));
  const health = new HealthImplementation({ "": "SERVING", [SERVICE]: "SERVING" });
  health.addToServer(server);
  addReflection(server, membership ? [SERVICE, FLEET_SERVICE] : [SERVICE]);
  const listen = await listenOn(server, config.listen, trust ? new FleetServerCredentials(trust) : undefined);
  let metrics: { listen: string; stop(): Promise<void> } | null = null;
  try {
    if (config.metrics && metering && context.counts) metrics = await metering.serveMetrics(config.metrics, context, context.counts);
  } catch (error) {
    await shutDown(server, 0);
    throw error;
  }
  trust?.authority?.servedAt(listen);

  const { peers, coordinator } = contacts(config, trust, listen);
  const background = [
    keepInStep(context, peers, stopping.signal),
    clock.watch(stopping.signal),
    keepFilesInStep(context, peers, stopping.signal),
    ...files.all().map((root) => auditRefusals(root, audit, logger, stopping.signal)),
    takeOver(context, config.reissueAfterDays, stopping.signal),
    forgetDeleted(context, stopping.signal),
    ...scopes.flatMap((scope) => [
      keepScope(scope, logger, stopping.signal),
      ...scope.files.copies.map((one) => keepFileCopy(scope.name, one, logger, stopping.signal)),
      takeOver(contextOf(scope, context), config.reissueAfterDays, stopping.signal),
      forgetDeleted(contextOf(scope, context), stopping.signal),
    ]),
  ];
  const known = coordinator === null ? [] : [coordinator];
  if (coordinator !== null) background.push(announce(context, known, listen, stopping.signal));
  if (membership) background.push(membership.keepRenewed([...(coordinator === null ? [] : [coordinator]), ...peers]));
  const running = new Set<Promise<void>>();
  const run = (work: Promise<void>) => {
    const ended = work.catch((error: unknown) => logger.error(toPlainError(error), "a background task failed"));
    running.add(ended);
    void ended.then(() => running.delete(ended));
  };
  for (const work of background) run(work);
  if (config.discover !== undefined) {
    const found = {
      onCoordinator: (address: string) => {
        if (known.includes(address)) return;
        known.push(address);
        if (known.length === 1) run(announce(context, known, listen, stopping.signal));
      },
      onPeer: (address: string) => {
        run(keepInStep(context, [address], stopping.signal));
        run(keepFilesInStep(context, [address], stopping.signal));
      },
    };
    const told = { coordinator: coordinator !== null, peers };
    run(meetNeighbours({ context, trust, listen, interface: config.discover || null, told, ...found }, stopping.signal));
  }
  logger.info({ listen, node_id: nodeId, databases: databases.all().map(({ replica }) => replica.name) }, "serving");

  let stopped: Promise<void> | null = null;
  const stop = async () => {
    health.setStatus("", "NOT_SERVING");
    health.setStatus(SERVICE, "NOT_SERVING");
    stopping.abort(
      new SyncError({ code: "SHUTTING_DOWN", message: `node "${config.name}" is stopping`, action: "Try again when it is back." }),
    );
    await metrics?.stop();
    await shutDown(server, SHUTDOWN_GRACE_MS);
    await Promise.all(running);
    context.connections.close();
    await release();
    logger.info("stopped");
  };
  return {
    ready: {
      name: config.name,
      node_id: nodeId,
      listen,
      databases: databases.all().map(({ replica: { name, path, state } }) => ({ name, path, tables: state.tables })),
      ...(metrics !== null && { metrics: metrics.listen }),
      ...(files.all().length > 0 && { files: files.all().map(({ name, path }) => ({ root: name, path })) }),
    },
    stop: () => (stopped ??= stop()),
  };
}

/** Says when a database or a file root cannot take part, and when it can again. */
function reportProblems(what: object, problemOf: () => string, onChange: (look: () => void) => unknown, logger: Logger): void {
  let said = "";
  const look = () => {
    const problem = problemOf();
    if (problem === said) return;
    if (problem !== "") logger.warn(what, problem);
    else logger.info(what, "takes part again");
    said = problem;
  };
  look();
  onChange(look);
}

function programVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return version;
}
