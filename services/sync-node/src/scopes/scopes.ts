import { join } from "node:path";
import { SyncError } from "@scoutsync/core";
import type { FileRootOptions, FileRootPool } from "@scoutsync/files";
import { termsOfScope, type Replica, type ReplicaOptions, type ReplicaPool, type ScopeCopy } from "@scoutsync/replica";
import { hasIdentity } from "@scoutsync/trust";
import type { SyncNodeConfig } from "../config.ts";
import { Databases } from "../databases.ts";
import type { FileRoots } from "../files/file-roots.ts";
import { scopesOf } from "./definitions.ts";
import { checkScopeRoots, openFileCopies, type ScopeFiles } from "./file-copies.ts";

/** A scope that this node serves: databases of its own, which hold what the scope shows and nothing else. */
export interface Scope {
  readonly name: string;
  /** All that nodes of the scope can reach, under the names of the databases they are parts of. */
  readonly databases: Databases;
  /** The file roots that its nodes can reach. */
  readonly files: ScopeFiles;
  readonly parts: readonly { readonly copy: ScopeCopy; readonly main: Replica }[];
}

/**
 * Opens the copies of the scopes that the configuration names, in `scopes/` of the data directory; the databases and roots are
 * open already. `optionsOf` says how a database was opened. Throws INVALID_ARGUMENT for a scope that cannot be held to.
 */
export async function openScopes(
  config: SyncNodeConfig,
  pool: ReplicaPool,
  databases: Databases,
  optionsOf: (database: string) => ReplicaOptions,
  files: { mains: FileRoots; optionsOf: (root: string) => FileRootOptions; pool: FileRootPool },
): Promise<Scope[]> {
  if (config.scopes === undefined) return [];
  const definitions = scopesOf(config.scopes);
  if (!hasIdentity(config.dataDirectory)) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: "scopes need certificates: without a fleet everybody could say that it is somebody else",
      action: "Make a fleet with `scoutsync init`, and let nodes in with `scoutsync invite --scope NAME`.",
    });
  }
  const roots = files.mains.all().map(({ name }) => name);
  checkScopeRoots(definitions, roots);
  const scopes: Scope[] = [];
  for (const definition of definitions) {
    const { name, databases: parts } = definition;
    const folder = join(config.dataDirectory, "scopes", name, "files");
    const given = { ...files, folder, nodeName: config.name, logger: config.logger };
    const scope = {
      name,
      databases: new Databases(config.name),
      files: await openFileCopies(definition, given),
      parts: [] as { copy: ScopeCopy; main: Replica }[],
    };
    for (const { database, rule } of parts) {
      const { replica: main } = databases.get(database);
      const {
        path,
        exclude,
        rules = [],
        triggers,
        sensitive = [],
        nodeName,
        nodeId,
        busyTimeoutMs,
        pollIntervalMs,
        clockCorrectionUs = 0,
      } = optionsOf(database);
      const options = {
        name: database,
        path: join(config.dataDirectory, "scopes", name, `${database}.db`),
        nodeName,
        nodeId,
        busyTimeoutMs,
        pollIntervalMs,
        clockCorrectionUs,
        exclude: [],
        sensitive,
        baseline: null,
        // What leaves the scope has to go, however much it is.
        quarantine: null,
        rules: termsOfScope(rule, rules),
        scope: { rule, main: path, exclude, rules, triggers },
      };
      const copy = await pool.openScope(options);
      scope.databases.add(copy, () => {
        throw new SyncError({ code: "INTERNAL", message: "nothing is tried on a scope's copy", action: "Report this." });
      });
      scope.parts.push({ copy, main });
    }
    scopes.push(scope);
  }
  return scopes;
}
