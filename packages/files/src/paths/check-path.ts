import { SyncError } from "@scoutsync/core";

/** Bytes of UTF-8. A component's limit is that of Linux file systems. */
const MAX_PATH_BYTES = 1_024;
const MAX_COMPONENT_BYTES = 255;
const MAX_COMPONENTS = 64;
/** C0, DEL and C1: no program writes them by intention, and terminals obey them. */
const CONTROL = /\p{Cc}/u;
/** Names that are devices elsewhere, with any extension. */
const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)/i;
/** What this program keeps in a root itself. */
export const STORE_FOLDER = ".scoutsync-store";
/** Why a folder that holds such a store is left alone, in words that follow its path. */
export const OWN_ROOT = "is a file root of its own";
export const IGNORE_FILE = ".scoutsyncignore";
const OWN = /^\.scoutsync(-|$)/i;

/** Why a name may not travel, in words that follow "the name …"; null when it may. */
export function nameProblem(name: string): string | null {
  if (name === "" || name === "." || name === "..") return "is no name of a file";
  if (name.includes("/") || name.includes("\\")) return "holds a separator";
  if (CONTROL.test(name)) return "holds a control character";
  if (!name.isWellFormed()) return "is not valid Unicode";
  if (name.normalize("NFC") !== name) return "is not in composed normal form (NFC)";
  if (Buffer.byteLength(name) > MAX_COMPONENT_BYTES) return `is longer than ${MAX_COMPONENT_BYTES} bytes`;
  if (RESERVED.test(name)) return "is a device on other systems";
  if (OWN.test(name)) return "is kept for this program";
  return null;
}

/** Why a path of names that may travel may not; null when it may. */
export function lengthProblem(path: string): string | null {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes with the folders that it is in`;
  return path.split("/").length > MAX_COMPONENTS ? `is deeper than ${MAX_COMPONENTS} folders` : null;
}

/** Why a path may not travel; null when it may. */
export function pathProblem(path: string): string | null {
  if (path === "") return "is empty";
  if (path.startsWith("/")) return "is absolute";
  const long = lengthProblem(path);
  if (long !== null) return long;
  for (const component of path.split("/")) {
    const problem = nameProblem(component);
    if (problem !== null) return problem;
  }
  return null;
}

/** Throws INVALID_ARGUMENT for a path that may not travel: said by a peer, it is refused and noted. */
export function checkPath(path: string): void {
  const problem = pathProblem(path);
  if (problem === null) return;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `the path ${JSON.stringify(path.slice(0, 200))} ${problem}`,
    action: "Nothing was touched. Paths are relative to the root, in composed Unicode, of plain names joined by /.",
  });
}
