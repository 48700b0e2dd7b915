import {
  SyncError,
  throwForRoom,
  type FileEntry,
  type FileListEnd,
  type FileRefusal,
  type FileWant,
  type ListedEntry,
} from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";
import type { SessionStats } from "../stats.ts";
import type { FilePart, FilePeer } from "./file-peer.ts";
import type { Rate } from "../rate.ts";
import { Reception } from "./reception.ts";

/** Entries taken in together: their folders are made durable, and the manifest is written, once for all. */
const BATCH_ENTRIES = 256;

export interface FileExchange {
  root: FileRoot;
  peer: FilePeer;
  nodeName: string;
  /** Without a fresh look at the folders on both sides. */
  asKnown: boolean;
  /** This node is limited to a scope: the peer, its server, says which part of the root it has. */
  limited?: boolean | undefined;
  rate: Rate;
  stats: SessionStats;
  signal?: AbortSignal | undefined;
  onProgress?: ((phase: "pull" | "push", done: number, total: number) => void) | undefined;
}

export interface PulledFiles {
  end: FileListEnd;
  refused: FileRefusal[];
}

/** Takes in what the peer has recorded since the last time, deletions last. Throws DISK_FULL after all that there was room for. */
export async function pullFiles(exchange: FileExchange): Promise<PulledFiles> {
  const { root, peer, signal, asKnown, onProgress } = exchange;
  const known = await root.cursors();
  const { index: callerIndex } = root.state;
  const stream = peer.fileList({ root: root.name, known, callerIndex, follow: false, asKnown }, signal);
  const refused: FileRefusal[] = [];
  const gone: FileEntry[] = [];
  let live: ListedEntry[] = [];
  let source = "";
  let end: FileListEnd | null = null;
  let done = 0;
  const take = async (entries: readonly FileEntry[]) => {
    if (entries.length === 0) return;
    refused.push(...(await takeIn(exchange, source, entries)));
    done += entries.length;
    onProgress?.("pull", done, done + gone.length);
  };
  for await (const { index, entries, end: last, part } of stream) {
    // Another part than before is heard of from its beginning.
    if (part && exchange.limited && (await root.limitTo(part))) return pullFiles(exchange);
    if (index !== "") source = index;
    for (const entry of entries) {
      if (entry.kind === "gone") gone.push(entry);
      else live.push(entry);
    }
    while (live.length >= BATCH_ENTRIES) await take(live.splice(0, BATCH_ENTRIES));
    end = last ?? end;
  }
  if (!end) throw noEnd(peer.address);
  await take(live);
  live = [];
  gone.sort((a, b) => (a.path > b.path ? -1 : 1));
  for (let at = 0; at < gone.length; at += BATCH_ENTRIES) await take(gone.slice(at, at + BATCH_ENTRIES));
  if (root.state.wanted > 0) refused.push(...(await takeIn(exchange, source, [])));
  // What was refused for now is listed again next time, and all that came after it; that has nothing new then.
  if (!refused.some(({ retry }) => retry)) await root.noteReceived(end.index, end.seq, callerIndex);
  throwForRoom(refused);
  return { end, refused };
}

/** Offers entries to the root, fetches what it wants for them, and has them taken in. Without entries: what it misses. */
async function takeIn(exchange: FileExchange, source: string, entries: readonly FileEntry[]): Promise<FileRefusal[]> {
  const { root, peer, stats, signal } = exchange;
  const reception = new Reception(root, source, peer.address);
  try {
    let wants: FileWant[];
    if (entries.length > 0) {
      const offered = await reception.offer(entries);
      wants = offered.wants;
      stats.conflicts += offered.intake.conflicts;
      if (offered.intake.wants.length === 0) return offered.intake.refused;
    } else {
      wants = await reception.wantMissing();
    }
    await fetch(exchange, reception, wants);
    const intake = await reception.commit();
    stats.conflicts += intake.conflicts;
    if (entries.length === 0) await root.heal();
    return intake.refused;
  } catch (error) {
    if (error instanceof SyncError && error.code === "FILE_CORRUPT") await root.noteRefused(peer.address, error.message);
    throw error;
  } finally {
    stats.filesDownloaded += reception.received;
    await reception.leave();
    signal?.throwIfAborted();
  }
}

async function fetch({ root, peer, rate, stats, signal }: FileExchange, reception: Reception, wants: readonly FileWant[]): Promise<void> {
  const parts: FilePart[] = [];
  let size = 0;
  for (const want of wants) {
    const { hash, offset, recipe } = want;
    const those = recipe ? await chunksOf(hash) : [{ hash, offset, length: 0 }];
    size += recipe ? those.reduce((sum, { length }) => sum + length, 0) : want.size - offset;
    parts.push(...those);
  }
  if (parts.length === 0) return;
  for await (const piece of peer.fileBytes(root.name, parts, signal, size)) {
    const hash = parts[piece.part]?.hash ?? "";
    if ("missing" in piece) {
      await reception.missing(hash);
      continue;
    }
    stats.bytesReceived += piece.bytes.length;
    await rate.pass(piece.bytes.length, signal);
    await reception.bytes(hash, piece.offset, piece.bytes);
  }

  /** The parts that are missing here; all of the file where its chunks cannot be had. */
  async function chunksOf(hash: string): Promise<FilePart[]> {
    try {
      const recipe = await peer.fileRecipe(root.name, hash, signal);
      stats.bytesReceived += recipe.length;
      return await reception.recipe(hash, recipe);
    } catch (error) {
      if (!(error instanceof SyncError) || (error.code !== "FILE_CORRUPT" && error.code !== "NOT_FOUND")) throw error;
      return [await reception.allFrom(hash)];
    }
  }
}

function noEnd(address: string): SyncError {
  return new SyncError({
    code: "PEER_FAILED",
    message: `${address} ended its list of files without saying where`,
    action: "Try again; if it happens again, look at that node's log.",
  });
}
