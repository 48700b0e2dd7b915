import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { SyncError } from "@scoutsync/core";
import { chunkLength, MAX_CHUNK } from "./fastcdc.ts";

/** Files from this size on travel as chunks where an older version is here. */
export const DELTA_FROM_BYTES = 1024 * 1024;
/** 4 bytes of length and the first 16 of SHA-256: the whole file's hash decides in the end. */
const HASH_BYTES = 16;
const RECORD_BYTES = 4 + HASH_BYTES;
const BUFFER_BYTES = 4 * 1024 * 1024;
const TURN_BYTES = 32 * 1024 * 1024;

export interface Chunk {
  offset: number;
  length: number;
  /** First 16 bytes of the chunk's SHA-256, hex. */
  id: string;
}

/** Cuts an open file into chunks, in order; `each` may look at a chunk's bytes until it returns. Bounded memory. */
export async function cut(fd: number, size: number, each: (chunk: Chunk, bytes: Uint8Array) => void): Promise<void> {
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  let filled = 0;
  let read = 0;
  let offset = 0;
  let sinceTurn = 0;
  for (;;) {
    while (filled < BUFFER_BYTES && read < size) {
      const got = readSync(fd, buffer, filled, Math.min(BUFFER_BYTES - filled, size - read), read);
      if (got === 0) break;
      filled += got;
      read += got;
    }
    let at = 0;
    for (;;) {
      const length = chunkLength(buffer, at, filled, read >= size);
      if (length === 0) break;
      const bytes = buffer.subarray(at, at + length);
      each(
        {
          offset,
          length,
          id: createHash("sha256")
            .update(bytes)
            .digest("hex")
            .slice(0, HASH_BYTES * 2),
        },
        bytes,
      );
      at += length;
      offset += length;
    }
    if (at === 0) return;
    buffer.copyWithin(0, at, filled);
    filled -= at;
    sinceTurn += at;
    if (sinceTurn >= TURN_BYTES) {
      sinceTurn = 0;
      await turn();
    }
  }
}

/** The chunks of a file as they travel. */
export async function recipeOf(fd: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const records: Buffer[] = [];
  await cut(fd, size, ({ length, id }) => {
    const record = Buffer.allocUnsafe(RECORD_BYTES);
    record.writeUInt32LE(length, 0);
    record.write(id, 4, "hex");
    records.push(record);
  });
  return new Uint8Array(Buffer.concat(records));
}

/** Reads a recipe. Throws FILE_CORRUPT unless it describes a file of exactly this size in chunks of lawful sizes. */
export function readRecipe(recipe: Uint8Array, size: number): Chunk[] {
  const bytes = Buffer.from(recipe.buffer, recipe.byteOffset, recipe.length);
  const chunks: Chunk[] = [];
  let offset = 0;
  for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
    const length = bytes.readUInt32LE(at);
    if (length === 0 || length > MAX_CHUNK) break;
    chunks.push({ offset, length, id: bytes.toString("hex", at + 4, at + RECORD_BYTES) });
    offset += length;
  }
  if (offset === size && chunks.length * RECORD_BYTES === bytes.length) return chunks;
  throw new SyncError({
    code: "FILE_CORRUPT",
    message: `a list of chunks does not describe a file of ${size} bytes`,
    action: "The file is fetched whole instead.",
  });
}

/** Neighbouring pieces as one, so that few ranges are asked for. */
export function ranges(chunks: readonly Chunk[]): { offset: number; length: number }[] {
  const found: { offset: number; length: number }[] = [];
  for (const { offset, length } of chunks) {
    const last = found.at(-1);
    if (last && last.offset + last.length === offset) last.length += length;
    else found.push({ offset, length });
  }
  return found;
}
