import { createHash } from "node:crypto";

/** Chunk sizes, bytes: none but the last is smaller than MIN, none larger than MAX. */
export const MIN_CHUNK = 16 * 1024;
export const AVERAGE_CHUNK = 64 * 1024;
export const MAX_CHUNK = 256 * 1024;
/** Before the average a boundary is harder to find than after it (FastCDC's normalised chunking), so that most come near it. */
const HARD_BITS = 18;
const EASY_BITS = 14;
const HARD = (0xffffffff << (32 - HARD_BITS)) >>> 0;
const EASY = (0xffffffff << (32 - EASY_BITS)) >>> 0;

/** 256 numbers that are random and the same everywhere: boundaries are part of what nodes agree on. */
const GEAR = (() => {
  const gear = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) gear[byte] = createHash("sha256").update(`scoutsync gear ${byte}`).digest().readUInt32LE(0);
  return gear;
})();

/**
 * Length of the first chunk of `bytes` between `start` and `end`. A chunk's end depends on the bytes before it only, so
 * that an insertion moves the boundaries around it and no others. Without `isLast`, 0 when more bytes are needed to tell.
 */
export function chunkLength(bytes: Uint8Array, start: number, end: number, isLast: boolean): number {
  const there = end - start;
  if (there < MAX_CHUNK && !isLast) return 0;
  if (there <= MIN_CHUNK) return there;
  const limit = start + Math.min(there, MAX_CHUNK);
  const middle = start + Math.min(there, AVERAGE_CHUNK);
  let hash = 0;
  let at = start + MIN_CHUNK;
  for (; at < middle; at++) {
    hash = ((hash << 1) + (GEAR[bytes[at] as number] as number)) | 0;
    if ((hash & HARD) === 0) return at + 1 - start;
  }
  for (; at < limit; at++) {
    hash = ((hash << 1) + (GEAR[bytes[at] as number] as number)) | 0;
    if ((hash & EASY) === 0) return at + 1 - start;
  }
  return limit - start;
}
