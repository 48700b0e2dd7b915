import { join } from "node:path";
import { realpathSync } from "node:fs";
import { SyncError } from "@scoutsync/core";
import type { FileRootOptions } from "@scoutsync/files";
import type { SyncNodeConfig } from "../config.ts";

/** What each root of a node is opened with. Throws INVALID_ARGUMENT for roots that lie in each other, share a name, or hold the node's own data. */
export function fileRootOptions(config: SyncNodeConfig): FileRootOptions[] {
  const roots = config.files ?? [];
  const databases = config.databases.map(({ path }) => path);
  const resolved = roots.map(({ name, path }) => ({ name, path: real(name, path) }));
  for (const [at, { name, path }] of resolved.entries()) {
    for (const other of resolved.slice(0, at)) {
      if (other.name === name) throw wrong(`two file roots are called "${name}"`, "Give each root of a node its own name.");
      if (isWithin(path, other.path) || isWithin(other.path, path)) {
        throw wrong(`the file roots "${other.name}" and "${name}" lie in each other`, "A file belongs to one root: choose folders apart.");
      }
    }
  }
  const own = real("", config.dataDirectory);
  for (const { name, path } of resolved) {
    // What is called .scoutsync-… is left alone wherever it lies.
    if (
      !isWithin(own, path) ||
      own
        .slice(path.length)
        .split("/")
        .some((part) => part.startsWith(".scoutsync-"))
    )
      continue;
    throw wrong(
      `the file root "${name}" holds the data folder of this node, ${config.dataDirectory}, in which its keys are`,
      "Choose another folder for one of them: --data DIR, outside of every root.",
    );
  }
  return roots.map(({ name, path }) => ({
    name,
    path,
    manifestPath: join(config.dataDirectory, "files", `${name}.db`),
    nodeName: config.name,
    databases: [...databases, ...roots.map((root) => join(config.dataDirectory, "files", `${root.name}.db`))],
    exclude: (config.fileExclude ?? []).filter((entry) => entry.startsWith(`${name}:`)).map((entry) => entry.slice(name.length + 1)),
    limits: config.fileLimits,
  }));
}

function real(name: string, path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    // A root that was there before may be on a disk that is not mounted yet; one that was not is refused when it is opened.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return path;
    throw wrong(
      `the folder ${path} of the file root "${name}" cannot be used: ${error instanceof Error ? error.message : String(error)}`,
      "Check the path.",
    );
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

function wrong(message: string, action: string): SyncError {
  return new SyncError({ code: "INVALID_ARGUMENT", message, action });
}
