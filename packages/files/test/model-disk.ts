import { createHash } from "node:crypto";
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, type Stats } from "node:fs";
import { join } from "node:path";

/** What is on a node's disk, looked at without the product. */

export const RULES = ".scoutsyncignore";
export const STORE = ".scoutsync-store";

export const hashOf = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** Null where there is nothing. */
export function lookAt(root: string, path: string): Stats | null {
  try {
    return lstatSync(join(root, path), { throwIfNoEntry: false }) ?? null;
  } catch (error) {
    // Below a file there is nothing.
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return null;
    throw error;
  }
}

export const isHere = (root: string, path: string): boolean => lookAt(root, path) !== null;

/** A path ("" = the root) and everything below it, the store aside and links not followed. */
export function below(root: string, path: string): string[] {
  const found = path === "" ? [] : [path];
  if (!lstatSync(join(root, path)).isDirectory()) return found;
  for (const name of readdirSync(join(root, path))) if (name !== STORE) found.push(...below(root, path === "" ? name : `${path}/${name}`));
  return found;
}

/** Every hash on a node's disk, in place or in its store, and where. */
export function bytesOn(root: string): Map<string, string> {
  const found = bytesInPlace(root);
  const objects = join(root, STORE, "objects");
  for (const [path, bytes] of existsSync(objects) ? filesOf(objects) : []) found.set(hashOf(bytes), `object ${path}`);
  return found;
}

/** The same without the store. */
export function bytesInPlace(root: string): Map<string, string> {
  return new Map(filesOf(root).map(([path, bytes]) => [hashOf(bytes), path]));
}

function filesOf(root: string): [string, Buffer][] {
  return below(root, "")
    .filter((path) => lstatSync(join(root, path)).isFile())
    .map((path) => [path, readFileSync(join(root, path))]);
}

/** Paths, kinds, the owner's bits and hashes, as text. */
export function treeOf(root: string, counts: (path: string) => boolean): string {
  const line = (path: string) => {
    const stats = lstatSync(join(root, path));
    return `${path} ${stats.isFile() ? `${(stats.mode >> 6) & 7} ${hashOf(readFileSync(join(root, path)))}` : "folder"}`;
  };
  return below(root, "").filter(counts).map(line).sort().join("\n");
}

/** Everything about a folder that is none of a root's: names, links, modes, times, bytes. */
export function canaryOf(folder: string): string {
  const lines = below(folder, "").map((name) => {
    const path = join(folder, name);
    const { mode, mtimeNs, ctimeNs, ino, nlink } = lstatSync(path, { bigint: true });
    const holds = lstatSync(path).isFile() ? hashOf(readFileSync(path)) : lstatSync(path).isSymbolicLink() ? readlinkSync(path) : "folder";
    return [name, mode, mtimeNs, ctimeNs, ino, nlink, holds].join(" ");
  });
  return lines.sort().join("\n");
}
