import { availableParallelism } from "node:os";
import { toPlainError } from "@scoutsync/core";
import { FileRootPool, type FileRootOptions } from "@scoutsync/files";
import { linkedDatabases } from "./linked-databases.ts";
import { openReplicaPool, type ReplicaOptions } from "@scoutsync/replica";
import { checkPlain, hasIdentity, Trust } from "@scoutsync/trust";
import { ClockKeeper } from "./clock/clock-keeper.ts";
import {
  checkAddresses,
  checkNames,
  exclusionsByDatabase,
  parkedTablesByDatabase,
  sensitiveByDatabase,
  termsByDatabase,
  type SyncNodeConfig,
  triggersByDatabase,
} from "./config.ts";
import { Databases } from "./databases.ts";
import { FileRoots } from "./files/file-roots.ts";
import { fileRootOptions } from "./files/file-settings.ts";
import { rowFilesOf } from "./files/row-files.ts";
import { DatabaseMemory } from "./memory.ts";
import { holdIdentity, isCopy, nodeIdentity } from "./identity.ts";
import { checkListenAddress } from "./server.ts";
import { openScopes } from "./scopes/scopes.ts";
import { serve, type SyncNodeService } from "./serving.ts";

/** How long to wait for a lock that the application holds. */
const BUSY_TIMEOUT_MS = 5_000;
/** How often to look for commits of the application: what a live peer waits for at most, on top of the network. */
const POLL_INTERVAL_MS = 50;
/** What to do where two nodes run under one identity. */
const OWN_IDENTITY =
  "Stop one of them, take its data directory (--data) away and start it again as a node of its own; what was written there is kept";

/**
 * Opens the databases, serves them, keeps in step with the peers and tells the coordinator. Throws a SyncError that
 * says what stands in the way (PORT_TAKEN, DATABASE_NOT_FOUND, …); then nothing is left running.
 */
export async function startSyncNode(config: SyncNodeConfig): Promise<SyncNodeService> {
  checkNames(config.databases);
  checkAddresses(config);
  const excluded = exclusionsByDatabase(config);
  const sensitive = sensitiveByDatabase(config);
  const triggers = triggersByDatabase(config);
  const terms = termsByDatabase(config);
  const linked = linkedDatabases(config.databases, terms);
  const parked = parkedTablesByDatabase(config);
  if (!hasIdentity(config.dataDirectory)) {
    const { listen, peers, coordinator, insecure = false } = config;
    checkPlain({ listen: [listen], dialled: coordinator === null ? peers : [...peers, coordinator], insecure }, config.logger);
  }
  // What it counts is shown to whoever asks, fleet or not.
  if (config.metrics) checkPlain({ listen: [config.metrics], dialled: [], insecure: config.insecure === true }, config.logger);
  await checkListenAddress(config.listen);
  const nodeId = nodeIdentity(config.dataDirectory);
  const limited = Trust.open(config.dataDirectory)?.identity.scope != null;
  const clock = new ClockKeeper({ nodeId, dataDirectory: config.dataDirectory, logger: config.logger });
  const memory = new DatabaseMemory(config.dataDirectory, config.logger);
  const roots = fileRootOptions(config);
  rowFilesOf(config);
  const letGo = holdIdentity(config.dataDirectory);
  if (isCopy(config.dataDirectory)) {
    config.logger.warn(
      { node_id: nodeId, data: config.dataDirectory },
      "the data directory was copied, moved or put back since it was last used. If the node that it comes from goes on elsewhere, two nodes run under one identity, " +
        `which others cannot tell apart. ${OWN_IDENTITY}`,
    );
  }
  const pool = openReplicaPool({ threads: threadCount(config) });
  const filePool = new FileRootPool();
  const release = async () => {
    await filePool.close();
    await pool.close();
    letGo();
  };
  try {
    const databases = new Databases(
      config.name,
      (database, error) =>
        config.logger.warn(
          { database, ...toPlainError(error) },
          "what a peer has could not be noted; it is tried again, or said again by its next contact",
        ),
      (database, { id, name }, isSelf) =>
        config.logger.warn(
          { database, node: name, node_id: id },
          (isSelf
            ? "another node runs under the identity of this one, as after a machine was copied. "
            : "two nodes run under one identity, as after a machine was copied: _scoutsync_receipts says of it only what both have. ") +
            OWN_IDENTITY,
        ),
    );
    const opened = new Map<string, ReplicaOptions>();
    for (const { name, path } of linked.inOrder) {
      const hadBefore = memory.before(name, path);
      const options: ReplicaOptions = {
        name,
        path,
        nodeName: config.name,
        nodeId,
        exclude: excluded.get(name) ?? [],
        sensitive: sensitive.get(name) ?? [],
        triggers: triggers.get(name),
        rules: terms.get(name) ?? [],
        ...linked.optionsOf(name),
        park: parked.get(name) ?? [],
        baseline: config.baseline,
        limited,
        busyTimeoutMs: BUSY_TIMEOUT_MS,
        pollIntervalMs: POLL_INTERVAL_MS,
        clockCorrectionUs: clock.correctionUs,
        serveRestored: config.serveRestored === true,
        ...(config.quarantine !== undefined && { quarantine: config.quarantine }),
      };
      opened.set(name, options);
      databases.add(await pool.open({ ...options, ...(hadBefore && { hadBefore }) }), (copy) =>
        pool.open({ ...options, path: copy, trial: true }),
      );
    }
    memory.watch(databases.all().map(({ replica }) => replica));
    const files = new FileRoots(config.name);
    for (const options of roots) files.add(await filePool.open(options));
    const scopes = await openScopes(config, pool, databases, (name) => opened.get(name) as ReplicaOptions, {
      mains: files,
      optionsOf: (root) => roots.find(({ name }) => name === root) as FileRootOptions,
      pool: filePool,
    });
    return await serve(config, clock, { databases, files, scopes }, async () => {
      memory.stop();
      await release();
    });
  } catch (error) {
    await release();
    throw error;
  }
}

function threadCount({ threads, databases }: SyncNodeConfig): number {
  return threads ?? Math.max(1, Math.min(databases.length, availableParallelism()));
}
