import { randomUUID } from "node:crypto";
import { mkdirSync, openSync, closeSync, fsyncSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SyncError } from "@scoutsync/core";

const FILE = "node.json";

/**
 * The node's stable random identity, drawn at its first start and kept in the data directory. Written whole or not at
 * all. Throws INVALID_ARGUMENT when the directory cannot be used or holds something else under that name.
 */
export function nodeIdentity(dataDirectory: string): string {
  const path = join(dataDirectory, FILE);
  try {
    mkdirSync(dataDirectory, { recursive: true });
    const existing = read(path);
    if (existing !== null) return existing;
    const nodeId = randomUUID();
    const temporary = `${path}.${process.pid}.tmp`;
    const file = openSync(temporary, "w");
    try {
      writeSync(file, `${JSON.stringify({ node_id: nodeId })}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
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

function read(path: string): string | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    const { node_id: nodeId } = JSON.parse(text) as { node_id?: unknown };
    if (typeof nodeId === "string" && nodeId !== "") return nodeId;
  } catch {
    // Said below.
  }
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${path} does not hold this node's identity`,
    action: "Put it back from a copy, or delete it: the node then joins as a new one.",
  });
}
