import { givePiece, PIECE_BYTES, SyncError } from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";
import { asBuffer, BulkSender, MAX_FRAME_BYTES, type FileRange, type GetFileResponse } from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";
import type { Outbox } from "../handlers/calls.ts";

/** Bytes of one message, or of one frame of a bulk connection. */
export const MESSAGE_BYTES = MAX_FRAME_BYTES;
/** Bytes read at once: every read is a trip to the roots' thread and back. */
const READ_BYTES = PIECE_BYTES;
/** A caller that was given a ticket has come with it by then, or does not come: the bytes then go through the call. */
const WAIT_MS = 15_000;
/** Small files read in one trip. */
const READ_AT_ONCE = 64;

export const EMPTY_ANSWER: GetFileResponse = {
  entry: undefined,
  range: 0,
  offset: 0n,
  chunk: Buffer.alloc(0),
  recipe: Buffer.alloc(0),
  missing: "",
  ticket: Buffer.alloc(0),
};

/** Bytes of one of the ranges that were asked for, or why they cannot be had (any more). */
type Piece = { range: number; offset: number; bytes: Uint8Array } | { range: number; missing: SyncError };
type Read = Piece & { isLast: boolean };

/** Where pieces go: through the call, or over its bulk connection. */
interface Way {
  bytes(range: number, offset: number, bytes: Uint8Array): Promise<void>;
  missing(range: number, message: string): Promise<void>;
}

export function throughCall(outbox: Outbox<GetFileResponse>): Way {
  return {
    bytes: (range, offset, bytes) => outbox.write({ ...EMPTY_ANSWER, range, offset: BigInt(offset), chunk: asBuffer(bytes) }),
    missing: (range, missing) => outbox.write({ ...EMPTY_ANSWER, range, missing }),
  };
}

export function overBulk(data: BulkSender): Way {
  return {
    bytes: (part, offset, bytes) => data.send({ part, offset, bytes }),
    missing: (part, missing) => data.send({ part, missing }),
  };
}

/** Gives the caller a ticket; null where it does not come with it. */
export async function bulkConnection(
  { bulkConnections }: NodeContext,
  member: string,
  outbox: Outbox<GetFileResponse>,
  signal: AbortSignal,
): Promise<BulkSender | null> {
  const { ticket, opened } = bulkConnections.offer({ member, signal, waitMs: WAIT_MS }, (socket) => new BulkSender(socket, signal));
  await outbox.write({ ...EMPTY_ANSWER, ticket });
  const data = await opened;
  signal.throwIfAborted();
  return data;
}

/** Sends everything, in order. Throws what the way does, and what reading does but for what is not there any more. */
export async function sendRanges(context: NodeContext, pieces: AsyncIterable<Piece>, way: Way, signal: AbortSignal): Promise<void> {
  for await (const piece of pieces) {
    if ("missing" in piece) await way.missing(piece.range, piece.missing.message);
    else await sendBytes(context, piece, way, signal);
  }
}

/** Sends one piece, no faster than files may pass. */
export async function sendBytes(
  { limits }: NodeContext,
  { range, offset, bytes }: Extract<Piece, { bytes: unknown }>,
  way: Way,
  signal: AbortSignal,
): Promise<void> {
  for (let done = 0; done < bytes.length; done += MESSAGE_BYTES) {
    const chunk = bytes.subarray(done, done + MESSAGE_BYTES);
    await limits.files.pass(chunk.length, signal);
    await way.bytes(range, offset + done, chunk);
  }
}

/** The bytes of the ranges, in order. The next piece, of whichever range, is read while one is on its way. */
export async function* piecesOf(root: FileRoot, ranges: readonly FileRange[]): AsyncGenerator<Piece> {
  const small = new SmallFiles(root, ranges);
  const read = async (range: number, at: number): Promise<Read> => {
    const { sha256, offset, length } = ranges[range] as FileRange;
    try {
      const whole = at === Number(offset) ? await small.at(range) : null;
      if (whole) return { range, offset: 0, bytes: whole, isLast: true };
      const asked = length === 0n ? READ_BYTES : Math.min(READ_BYTES, Number(offset + length) - at);
      const bytes = await root.read(sha256, at, asked);
      return {
        range,
        offset: at,
        bytes,
        isLast: bytes.length < READ_BYTES || (length > 0n && at + bytes.length >= Number(offset + length)),
      };
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
      return { range, missing: error, isLast: true };
    }
  };
  const begin = (range: number, at?: number): Promise<Read> | null => {
    const next = ranges[range];
    if (!next) return null;
    const begun = read(range, at ?? Number(next.offset));
    // Awaited in its turn; a stream that ends before would leave it unheard.
    begun.catch(() => {});
    return begun;
  };
  for (let next = begin(0); next;) {
    const piece = await next;
    next = piece.isLast || "missing" in piece ? begin(piece.range + 1) : begin(piece.range, piece.offset + piece.bytes.length);
    // After the last whole piece of a file of unknown length.
    if ("bytes" in piece && piece.bytes.length === 0) givePiece(piece.bytes);
    else yield piece;
  }
}

/** Small files among the ranges that were asked for, read many at once and ahead of their turn. */
class SmallFiles {
  readonly #root: FileRoot;
  readonly #ranges: readonly FileRange[];
  #from = 0;
  #read: Promise<(Uint8Array | string)[]> = Promise.resolve([]);
  #next: { from: number; read: Promise<(Uint8Array | string)[]> } | null = null;

  constructor(root: FileRoot, ranges: readonly FileRange[]) {
    this.#root = root;
    this.#ranges = ranges;
    this.#next = this.#begin(0);
  }

  /** The bytes of a range that is a whole small file; null where it is not, or has to be asked for by itself. To be called in order. */
  async at(range: number): Promise<Uint8Array | null> {
    if (range === this.#next?.from) {
      ({ from: this.#from, read: this.#read } = this.#next);
      this.#next = this.#begin(range + READ_AT_ONCE);
    }
    const found = (await this.#read)[range - this.#from];
    return found instanceof Uint8Array ? found : null;
  }

  #begin(from: number): { from: number; read: Promise<(Uint8Array | string)[]> } | null {
    const group = this.#ranges.slice(from, from + READ_AT_ONCE);
    if (group.length === 0) return null;
    const read = group.every(({ offset, length }) => offset === 0n && length === 0n)
      ? this.#root.readSmall(group.map(({ sha256 }) => sha256))
      : Promise.resolve([]);
    // Awaited in its turn; a stream that ends before would leave it unheard.
    read.catch(() => {});
    return { from, read };
  }
}
