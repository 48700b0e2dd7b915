import { givePiece, PIECE_BYTES, SyncError, type FileEntry, type FileListEnd, type FileRefusal, type FileWant } from "@scoutsync/core";
import { SMALL_BYTES } from "@scoutsync/files";
import type { FilePart, PutStream } from "./file-peer.ts";
import type { FileExchange } from "./pull-files.ts";

const BATCH_ENTRIES = 256;
/** Small files read in one trip to the roots' thread. */
const READ_AT_ONCE = 64;

/** Offers the peer what it has not recorded of this root, deletions last. */
export async function pushFiles(exchange: FileExchange): Promise<{ end: FileListEnd; refused: FileRefusal[] }> {
  const { root, peer, nodeName, signal, onProgress } = exchange;
  const { index } = root.state;
  const stream = await peer.openPut({ root: root.name, name: nodeName, index }, signal);
  try {
    const refused: FileRefusal[] = [];
    const gone: FileEntry[] = [];
    let seq = stream.ready.received;
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
    for (let at = 0; at < gone.length; at += BATCH_ENTRIES) await send(gone.slice(at, at + BATCH_ENTRIES));
    const end = await stream.done({
      index,
      seq: refused.some(({ retry }) => retry) ? stream.ready.received : seq,
      digest: root.state.digest,
    });
    signal?.throwIfAborted();
    return { end, refused };
  } finally {
    stream.cancel();
  }
}

async function offer(exchange: FileExchange, stream: PutStream, entries: readonly FileEntry[]): Promise<FileRefusal[]> {
  const { stats } = exchange;
  const wants = await stream.offer(entries);
  const missing: string[] = [];
  const small = wants.filter(({ size, recipe }) => size <= SMALL_BYTES && !recipe);
  const rest = wants.filter((want) => !small.includes(want));
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
  for (const want of rest) {
    try {
      await sendBytes(exchange, stream, want);
      stats.filesUploaded += 1;
    } catch (error) {
      // Changed or removed since it was recorded: the next look records what it is now.
      if (!(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
      missing.push(want.hash);
    }
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
  givePiece(bytes);
}

async function sendBytes(exchange: FileExchange, stream: PutStream, want: FileWant): Promise<void> {
  const { root, stats } = exchange;
  const { hash, size, offset } = want;
  let parts: FilePart[] = [{ hash, offset, length: size - offset }];
  if (want.recipe) {
    const recipe = await root.recipe(hash, size);
    stats.bytesSent += recipe.length;
    parts = await stream.recipe(hash, recipe);
  }
  for (const part of parts) {
    const end = part.offset + part.length;
    // The next piece is read while one is on its way.
    let next = part.length > 0 ? root.read(hash, part.offset, Math.min(PIECE_BYTES, part.length)) : null;
    for (let at = part.offset; next;) {
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
}
