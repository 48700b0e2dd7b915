import { randomUUID } from "node:crypto";
import { mkdirSync, openSync, closeSync, fstatSync, fsyncSync, readFileSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SyncError } from "@scoutsync/core";
import { takeLock } from "@scoutsync/files";

const FILE = "node.json";
const LOCK = "node.lock";

/**
 * The node's stable random identity, drawn at its first start and kept in the data directory. Written whole or not at
 * all. Throws INVALID_ARGUMENT when the directory cannot be used or holds something else under that name.
 */
export function nodeIdentity(dataDirectory: string): string {
  const path = join(dataDirectory, FILE);
  try {
    mkdirSync(dataDirectory, { recursive: true });
    const existing = read(path);
    if (existing !== null) return existing.nodeId;
    const nodeId = randomUUID();
    write(path, nodeId);
    return nodeId;
  } catch (error) {
    if (error instanceof SyncError) throw error;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `the data directory ${dataDirectory} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
      action: "Choose one that this user may write to with --data DIR.",
      cause: error,
    });
  }
}

/**
 * True where the directory is a copy: of that of a node which may go on, or of a backup, or it was moved to another disk. Once, as
 * it is noted then; never where that cannot be noted. Call while the identity is held.
 */
export function isCopy(dataDirectory: string): boolean {
  const path = join(dataDirectory, FILE);
  try {
    const existing = read(path);
    if (existing === null || existing.inode === String(statSync(path, { bigint: true }).ino)) return false;
    write(path, existing.nodeId);
    // Versions before did not say.
    return existing.inode !== null;
  } catch {
    return false;
  }
}

/**
 * Keeps other nodes from running under this identity with the same data directory, until it is released or the process dies.
 * Throws INVALID_ARGUMENT when one does.
 */
export function holdIdentity(dataDirectory: string): () => void {
  let release: (() => void) | null;
  try {
    release = takeLock(join(dataDirectory, LOCK));
  } catch {
    // A directory that may only be read still says who the node is.
    return () => {};
  }
  if (release) return release;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `another sync-node runs with the data directory ${dataDirectory}, which says who it is`,
    action: "Stop that node, or give each node a directory of its own with --data DIR.",
  });
}

/** With the inode of the file: a copy of it has another one. */
function write(path: string, nodeId: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(temporary, "w");
    try {
      const inode = String(fstatSync(file, { bigint: true }).ino);
      writeSync(file, `${JSON.stringify({ node_id: nodeId, inode })}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function read(path: string): { nodeId: string; inode: string | null } | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    const { node_id: nodeId, inode } = JSON.parse(text) as { node_id?: unknown; inode?: unknown };
    if (typeof nodeId === "string" && nodeId !== "") return { nodeId, inode: typeof inode === "string" ? inode : null };
  } catch {
    // Said below.
  }
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${path} does not hold this node's identity`,
    action: "Put it back from a copy, or delete it: the node then joins as a new one.",
  });
}
