import { entryBatches, PROTOCOL_VERSION, SyncError, type FileEntry, type FileListEnd } from "@scoutsync/core";
import {
  FileBytes,
  fileClient,
  FileOffer,
  formatCursors,
  parseCursors,
  seqIn,
  toWireEnd,
  toWireEntry,
  unary,
  type FileClient,
} from "@scoutsync/protocol";
import { QUICK_DEADLINE_MS, type NodeConnection } from "../connect.ts";
import { stoppable } from "./interruption.ts";
import { revocationsAt } from "./revocations.ts";
import { BundleWriter } from "./writer.ts";

/** Entries of one section; the bytes that they need follow it. */
const BATCH_ENTRIES = 256;
/** Nothing has been recorded since. */
const NEVER = "2200-01-01T00:00:00Z";

export interface ExportedFiles {
  root: string;
  /** Name of the node. */
  node: string;
  since: string;
  /** Where the bundle ends: the next one for the same receiver begins there. */
  cursor: string;
  entries: number;
  files: number;
  /** Versions whose bytes were gone when they were to be read: a later export has what came after them. */
  missing: number;
  bytes: number;
}

/**
 * Writes what a root of the node holds and a receiver at the cursor `since` ("" = nothing) lacks into a bundle at `path`,
 * deletions last. Throws what the node or the file system refuses; then there is no file.
 */
export async function exportFiles(
  client: NodeConnection,
  { root, since, path, onProgress }: { root: string; since: string; path: string; onProgress: (done: number, total: number) => void },
): Promise<ExportedFiles> {
  const node = await unary(client, "ping", { callerTimeUs: 0n }, { deadlineMs: QUICK_DEADLINE_MS });
  const revocations = await revocationsAt(client);
  const peer = fileClient(client);
  const writer = await BundleWriter.create(path);
  const { signal, release } = stoppable();
  try {
    const gone: FileEntry[] = [];
    const written = { entries: 0, files: 0, missing: 0 };
    let live: FileEntry[] = [];
    let end: FileListEnd | null = null;
    let total = 0;
    const take = async (all: readonly FileEntry[]) => {
      for (const entries of entryBatches(all, BATCH_ENTRIES)) {
        await writer.entries(FileOffer.encode({ entries: entries.map(toWireEntry) }).finish());
        await writeBytes(peer, writer, { root, entries, written, signal });
        written.entries += entries.length;
        onProgress(written.entries, total);
      }
    };
    const request = { root, known: parseCursors(since), callerIndex: "", follow: false, asKnown: false };
    for await (const { index, entries, end: last } of peer.fileList(request, signal)) {
      if (index !== "") {
        const { name, version } = node;
        const created = new Date().toISOString();
        const from = since === "" ? "" : formatCursors([{ index, seq: seqIn(since, index) }]);
        const said = { protocol: PROTOCOL_VERSION, version, node: name, run: "", since: from, created, revocations };
        await writer.head({ ...said, database: "", root, index });
      }
      gone.push(...entries.filter(({ kind }) => kind === "gone"));
      live.push(...entries.filter(({ kind }) => kind !== "gone"));
      total += entries.length;
      while (live.length >= BATCH_ENTRIES) await take(live.splice(0, BATCH_ENTRIES));
      end = last ?? end;
    }
    if (!end)
      throw new SyncError({ code: "PEER_FAILED", message: `${client.address} ended its list before the end`, action: "Export again." });
    await take(live);
    live = [];
    gone.sort((a, b) => (a.path > b.path ? -1 : 1));
    await take(gone);
    await writer.listEnd(toWireEnd({ ...end, files: 0 }, ""));
    await writer.finish();
    const cursor = formatCursors([{ index: end.index, seq: end.seq }]);
    return { root, node: node.name, since, cursor, ...written, bytes: writer.bytes };
  } catch (error) {
    await writer.discard();
    throw error;
  } finally {
    release();
  }
}

/** Every content that these entries need, once: of files, and of versions that lost a conflict nobody has decided. */
async function writeBytes(
  peer: FileClient,
  writer: BundleWriter,
  {
    root,
    entries,
    written,
    signal,
  }: { root: string; entries: readonly FileEntry[]; written: { files: number; missing: number }; signal: AbortSignal },
): Promise<void> {
  const needed = new Set<string>();
  for (const { kind, hash, losers } of entries) {
    if (kind === "file") needed.add(hash);
    for (const loser of losers) if (!loser.resolved) needed.add(loser.hash);
  }
  if (needed.size === 0) return;
  const parts = [...needed].map((hash) => ({ hash, offset: 0, length: 0 }));
  for await (const piece of peer.fileBytes(root, parts, signal)) {
    const sha256 = parts[piece.part]?.hash ?? "";
    if ("missing" in piece) {
      written.missing += 1;
      continue;
    }
    if (piece.offset === 0) written.files += 1;
    await writer.fileBytes(FileBytes.encode({ sha256, offset: BigInt(piece.offset), chunk: Buffer.from(piece.bytes) }).finish());
  }
}

/** Where the peer stands in the list of the node's root, as `since`: "" where it has nothing of it. */
export async function sinceOfPeer(client: NodeConnection, peer: NodeConnection, root: string): Promise<string> {
  const statusOf = async (one: NodeConnection) => {
    const { name, files } = await unary(one, "ping", { callerTimeUs: 0n }, { deadlineMs: QUICK_DEADLINE_MS });
    const found = files.find((status) => status.root === root);
    if (found) return parseCursors(found.cursor);
    throw new SyncError({
      code: "ROOT_NOT_FOUND",
      message: `${name} has no file root "${root}"`,
      action: "See `scoutsync ping` for what it has.",
    });
  };
  const [ours] = await statusOf(client);
  await statusOf(peer);
  if (!ours) return "";
  // Only where its list ends is of interest. Who says that it knows the list would be taken to have what is in it.
  const request = { root, since: NEVER, known: [], callerIndex: ours.index, follow: false, asKnown: true };
  let received = 0;
  for await (const { end } of fileClient(peer).fileList(request)) received = end?.received ?? received;
  return received === 0 ? "" : formatCursors([{ index: ours.index, seq: received }]);
}
