import { PIECE_BYTES, SyncError, takePiece } from "@scoutsync/core";

// Bytes of files beside HTTP/2, which costs more than all else there is to do for them: its frames hold 16 KiB. A call
// asks for it and gets a ticket; the caller opens a second connection to the same address, in the same way, and shows it.
// The connection belongs to the call: it carries nothing but the bytes that the call was allowed, and ends with it.

/** What a bulk connection begins with; the ticket follows. HTTP/2 begins with a `P`. */
export const BULK_MAGIC = Buffer.from("scoutsync-bulk/1");
export const TICKET_BYTES = 32;

/** Bytes of one frame at most: whoever is told of more has met a liar. */
export const MAX_FRAME_BYTES = PIECE_BYTES;
const MAX_TEXT_BYTES = 4 * 1024;
/** Kind, part, offset and length. */
const HEAD_BYTES = 17;
const Kind = { bytes: 0, missing: 1, end: 2 } as const;

/** Bytes of one of the parts that were asked for, or why it cannot be had. */
export type BulkFrame = { part: number; offset: number; bytes: Uint8Array } | { part: number; missing: string };

/** What goes on the wire before the bytes, or instead of them; null is the end. */
export function frameHead(frame: BulkFrame | null): Buffer {
  const text = frame && "missing" in frame ? Buffer.from(frame.missing).subarray(0, MAX_TEXT_BYTES) : null;
  const head = Buffer.alloc(HEAD_BYTES);
  if (!frame) head.writeUInt8(Kind.end, 0);
  else head.writeUInt32BE(frame.part, 1);
  if (text) {
    head.writeUInt8(Kind.missing, 0);
    head.writeUInt32BE(text.length, 13);
    return Buffer.concat([head, text]);
  }
  if (frame && "bytes" in frame) {
    head.writeBigUInt64BE(BigInt(frame.offset), 5);
    head.writeUInt32BE(frame.bytes.length, 13);
  }
  return head;
}

/** Takes frames apart. Every frame's bytes are read straight into memory of their own, which may be given away. */
export class FrameParser {
  private readonly take: (frame: BulkFrame | null) => void;
  private readonly head = Buffer.alloc(HEAD_BYTES);
  private body: Uint8Array<ArrayBuffer> | null = null;
  private filled = 0;

  constructor(take: (frame: BulkFrame | null) => void) {
    this.take = take;
  }

  /** Where the next bytes belong; never empty. */
  room(): Uint8Array {
    return (this.body ?? this.head).subarray(this.filled);
  }

  /** So many bytes have come there. Throws PEER_FAILED for what is no frame. */
  came(bytes: number): void {
    this.filled += bytes;
    if (this.filled < (this.body ?? this.head).length) return;
    this.filled = 0;
    const { head, body } = this;
    const kind = head.readUInt8(0);
    const length = head.readUInt32BE(13);
    if (!body) {
      const most = kind === Kind.bytes ? MAX_FRAME_BYTES : kind === Kind.missing ? MAX_TEXT_BYTES : 0;
      if (kind > Kind.end || length > most) throw noFrame();
      this.body = length > 0 ? memoryOf(length) : null;
      if (this.body) return;
    }
    this.body = null;
    this.take(frameOf(head, kind, body ?? new Uint8Array()));
  }
}

/** Of a piece where there is not much less to come; never shared with others. */
function memoryOf(bytes: number): Uint8Array<ArrayBuffer> {
  return bytes < MAX_FRAME_BYTES / 4 ? Buffer.allocUnsafeSlow(bytes) : new Uint8Array(takePiece(), 0, bytes);
}

function frameOf(head: Buffer, kind: number, body: Uint8Array): BulkFrame | null {
  if (kind === Kind.end) return null;
  const part = head.readUInt32BE(1);
  if (kind === Kind.missing) return { part, missing: Buffer.from(body).toString() || "it is not there any more" };
  const offset = Number(head.readBigUInt64BE(5));
  if (!Number.isSafeInteger(offset)) throw noFrame();
  return { part, offset, bytes: body };
}

export function noFrame(): SyncError {
  return new SyncError({
    code: "PEER_FAILED",
    message: "a bulk connection carried something that is no part of a file",
    action: "Nothing was changed. Try again; if it happens again, look at that node's log.",
  });
}
