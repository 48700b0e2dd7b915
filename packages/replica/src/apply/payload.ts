import { hash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { type ChangeBatch, MalformedBytes, PAYLOAD_FORMATS, PayloadReader, SyncError } from "@scoutsync/core";

/** zlib takes no smaller pieces, bytes. */
const LEAST_PIECE = 64;

/** A payload that says it is larger than this is refused before it is unpacked, bytes. */
const LARGEST_PAYLOAD = 1024 * 1024 * 1024;

/** Names of the tables in a payload; none where it cannot be read, which applying it will say. */
export function tablesIn(unpacked: Buffer): string[] {
  try {
    return new PayloadReader(unpacked).head.tables.map(({ name }) => name);
  } catch (error) {
    if (error instanceof MalformedBytes) return [];
    throw error;
  }
}

/** Checks that the payload is what was sent, and unpacks it. Null when it is empty. */
export function unpackBatch(batch: ChangeBatch): Buffer | null {
  const corrupt = (message: string) =>
    new SyncError({ code: "BATCH_CORRUPT", message, action: "Nothing of it was applied; it is asked for again." });
  const sum = hash("sha256", batch.payload, "buffer");
  if (Buffer.compare(sum, batch.sha256) !== 0) throw corrupt("a batch's SHA-256 does not match its bytes");
  if (batch.count === 0 && batch.payload.length > 0) throw corrupt("a batch says that it is empty and is not");
  if (batch.count === 0) return null;
  if (!(PAYLOAD_FORMATS as readonly string[]).includes(batch.format)) {
    throw new SyncError({
      code: "PROTOCOL_VERSION",
      message: `a batch has the layout "${batch.format}", which this version does not know`,
      action: "Nothing of it was applied. Upgrade this node to the version its peer runs; the changes stay with the peer until then.",
    });
  }
  if (batch.payloadSize > LARGEST_PAYLOAD) throw corrupt("a batch says it is larger than 1 GiB");
  try {
    const plain = batch.codec === "zstd" ? decompressed(batch.payload, batch.payloadSize) : asBuffer(batch.payload);
    if (plain.length !== batch.payloadSize) throw corrupt("a batch unpacks to another size than it says");
    return plain;
  } catch (error) {
    if (error instanceof SyncError) throw error;
    throw new SyncError({
      code: "BATCH_CORRUPT",
      message: "a batch cannot be unpacked",
      action: "Nothing of it was applied; it is asked for again.",
      cause: error,
    });
  }
}

/** In one piece of memory: of pieces of the usual size all would be there twice while they are put together. */
function decompressed(payload: Uint8Array, size: number): Buffer {
  // One byte more than it says: a piece that is full would make room for another one.
  return zstdDecompressSync(payload, { maxOutputLength: Math.max(1, size), chunkSize: Math.max(LEAST_PIECE, size + 1) });
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
