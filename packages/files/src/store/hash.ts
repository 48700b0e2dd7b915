import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

const PIECE_BYTES = 1024 * 1024;
/** Other work of the thread gets its turn after so many bytes. */
const TURN_BYTES = 32 * PIECE_BYTES;

/** Buffers that no reading uses just now: many small files are read one after the other. */
const spare: Buffer[] = [];

/** SHA-256 of an open file from its beginning, lower-case hex. Bounded memory. */
export async function hashOpen(fd: number): Promise<{ hash: string; size: number }> {
  const sum = createHash("sha256");
  const piece = spare.pop() ?? Buffer.allocUnsafe(PIECE_BYTES);
  let size = 0;
  try {
    for (;;) {
      const read = readSync(fd, piece, 0, PIECE_BYTES, size);
      if (read === 0) return { hash: sum.digest("hex"), size };
      sum.update(piece.subarray(0, read));
      size += read;
      if (size % TURN_BYTES === 0) await turn();
    }
  } finally {
    spare.push(piece);
  }
}
