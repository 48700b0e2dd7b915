import {
  entryBatches,
  PIECE_BYTES,
  SyncError,
  throwForRoom,
  type FileEntry,
  type FileListEnd,
  type FileRefusal,
  type FileWant,
} from "@scoutsync/core";
import { SMALL_BYTES } from "@scoutsync/files";
import type { FilePart, PutStream } from "./file-peer.ts";
import type { FileExchange } from "./pull-files.ts";

const BATCH_ENTRIES = 256;
/** Small files read in one trip to the roots' thread. */
const READ_AT_ONCE = 64;

/** Offers the peer what it has not recorded of this root, deletions last. Throws DISK_FULL after all that it has room for. */
export async function pushFiles(exchange: FileExchange): Promise<{ end: FileListEnd; refused: FileRefusal[] }> {
  const { root, peer, nodeName, signal, onProgress } = exchange;
  const { index } = root.state;
  const stream = await peer.openPut({ root: root.name, name: nodeName, index }, signal);
  try {
    const refused: FileRefusal[] = [];
    const gone: FileEntry[] = [];
    const from = await root.placeOf(stream.ready.known);
    let seq = from;
    let done = 0;
    const send = async (entries: readonly FileEntry[]) => {
      if (entries.length === 0) return;
      const ack = await offer(exchange, stream, entries);
      refused.push(...ack);
      done += entries.length;
      onProgress?.("push", done, done + gone.length);
    };
    for (;;) {
      const page = await root.list({ index, seq, sinceUs: 0, tombstones: true, limit: BATCH_ENTRIES, notFrom: stream.ready.index });
      // Under another name since: the next session begins anew.
      if (page.index !== index) break;
      gone.push(...page.entries.filter(({ kind }) => kind === "gone"));
      await send(page.entries.filter(({ kind }) => kind !== "gone"));
      seq = page.seq;
      if (page.isEnd) break;
    }
    gone.sort((a, b) => (a.path > b.path ? -1 : 1));
    for (const batch of entryBatches(gone, BATCH_ENTRIES)) await send(batch);
    const end = await stream.done({
      index,
      seq: refused.some(({ retry }) => retry) ? from : seq,
      digest: root.state.digest,
    });
    signal?.throwIfAborted();
    throwForRoom(refused);
    return { end, refused };
  } finally {
    stream.cancel();
  }
}

async function offer(exchange: FileExchange, stream: PutStream, entries: readonly FileEntry[]): Promise<FileRefusal[]> {
  const { stats } = exchange;
  const wants = await stream.offer(entries);
  const missing: string[] = [];
  /** Sends the bytes of some wanted file; one that was changed or removed since it was recorded is missing: the next look records what it is now. */
  const unlessGone = async <T>(hash: string, work: Promise<T>): Promise<T | null> => {
    try {
      return await work;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
      missing.push(hash);
      return null;
    }
  };
  const small = wants.filter(({ size, recipe }) => size <= SMALL_BYTES && !recipe);
  const large: FilePart[][] = [];
  for (const want of wants) {
    if (small.includes(want)) continue;
    const parts = await unlessGone(want.hash, partsOf(exchange, stream, want));
    if (parts) large.push(parts);
  }
  const sizeOf = (parts: readonly { size: number }[]) => parts.reduce((sum, { size }) => sum + size, 0);
  await stream.begin?.(sizeOf(small) + sizeOf(large.flat().map(({ length }) => ({ size: length }))));
  for (let at = 0; at < small.length; at += READ_AT_ONCE) {
    const group = small.slice(at, at + READ_AT_ONCE);
    const read = await exchange.root.readSmall(group.map(({ hash }) => hash));
    for (const [n, want] of group.entries()) {
      const bytes = read[n];
      if (!(bytes instanceof Uint8Array)) {
        missing.push(want.hash);
        continue;
      }
      await sendPiece(exchange, stream, want.hash, want.offset, bytes.subarray(want.offset));
      stats.filesUploaded += 1;
    }
  }
  for (const parts of large) {
    const [first] = parts;
    if (first && (await unlessGone(first.hash, sendBytes(exchange, stream, parts))) === null) continue;
    stats.filesUploaded += 1;
  }
  const ack = await stream.commit(missing);
  stats.conflicts += ack.conflicts;
  return ack.refused;
}

async function sendPiece(
  { rate, stats, signal }: FileExchange,
  stream: PutStream,
  hash: string,
  offset: number,
  bytes: Uint8Array,
): Promise<void> {
  stats.bytesSent += bytes.length;
  await rate.pass(bytes.length, signal);
  await stream.bytes(hash, offset, bytes);
}

/** Which parts of a wanted file the peer lacks. */
async function partsOf({ root, stats }: FileExchange, stream: PutStream, want: FileWant): Promise<FilePart[]> {
  const { hash, size, offset } = want;
  if (!want.recipe) return [{ hash, offset, length: size - offset }];
  const recipe = await root.recipe(hash, size);
  stats.bytesSent += recipe.length;
  return stream.recipe(hash, recipe);
}

/** Returns true when all has been sent. */
async function sendBytes(exchange: FileExchange, stream: PutStream, parts: readonly FilePart[]): Promise<true> {
  const { root } = exchange;
  for (const { hash, offset, length } of parts) {
    const end = offset + length;
    // The next piece is read while one is on its way.
    let next = length > 0 ? root.read(hash, offset, Math.min(PIECE_BYTES, length)) : null;
    for (let at = offset; next;) {
      const bytes = await next;
      const from = at;
      at += bytes.length;
      if (bytes.length === 0)
        throw new SyncError({ code: "NOT_FOUND", message: `${hash} is shorter than it was`, action: "It is listed again." });
      next = at < end ? root.read(hash, at, Math.min(PIECE_BYTES, end - at)) : null;
      // Awaited below; without this a failed send would leave it unheard.
      next?.catch(() => {});
      await sendPiece(exchange, stream, hash, from, bytes);
    }
  }
  return true;
}
