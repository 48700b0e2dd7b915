// Memory for pieces of files on their way between the disk and the network, used again and again: made and thrown away
// for each of them it costs more than everything else that is done with them. A piece has one owner at a time; it may
// be moved to another thread and back.

/** Bytes of one piece. */
export const PIECE_BYTES = 1024 * 1024;
/** More are on their way at once only for several files at once. */
const MAX_SPARE = 16;

const spare: ArrayBuffer[] = [];
const pieces = new WeakSet<ArrayBufferLike>();

/** Memory of `PIECE_BYTES`, with anything in it. */
export function takePiece(): ArrayBuffer {
  return adoptPiece(spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES).buffer);
}

/** A piece that has come from another thread. */
export function adoptPiece(memory: ArrayBuffer): ArrayBuffer {
  pieces.add(memory);
  return memory;
}

/** True for bytes in a piece, which nothing else is in. */
export function isPiece(bytes: Uint8Array): boolean {
  return pieces.has(bytes.buffer);
}

/** Nobody looks at these bytes any more. Does nothing for bytes that are in no piece. */
export function givePiece(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (!pieces.delete(buffer) || !(buffer instanceof ArrayBuffer) || buffer.byteLength !== PIECE_BYTES) return;
  if (spare.length < MAX_SPARE) spare.push(buffer);
}
