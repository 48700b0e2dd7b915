import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { GetFileResponse, PutFileRequest } from "../gen/scoutsync/v1/sync_node.ts";

// Bytes of files, as `bulk-codec` does it for changes: copied once on their way out and not at all on their way in. The
// wire format is that of the generated code; the bytes are put last in their message.

/** GetFileResponse.chunk and FileBytes.chunk as tags of length-delimited fields, and FileBytes within PutFileRequest. */
const RESPONSE_CHUNK_TAG = 34;
const BYTES_CHUNK_TAG = 26;
const REQUEST_BYTES_TAG = 26;
const NO_BYTES = Buffer.alloc(0);
/** Shorter ones are copied with everything else. */
const LARGE_BYTES = 4 * 1024;

export function encodeGetFileResponse(value: GetFileResponse): Buffer {
  const { chunk } = value;
  const head = GetFileResponse.encode({ ...value, chunk: NO_BYTES }).finish();
  return chunk.length === 0 ? Buffer.from(head) : Buffer.concat([head, headOf(RESPONSE_CHUNK_TAG, chunk.length), chunk]);
}

export function decodeGetFileResponse(message: Buffer): GetFileResponse {
  const chunk = lastField(message, RESPONSE_CHUNK_TAG);
  if (!chunk) return GetFileResponse.decode(message);
  return { ...GetFileResponse.decode(message.subarray(0, chunk.from)), chunk: chunk.bytes };
}

export function encodePutFileRequest(value: PutFileRequest): Buffer {
  if (value.kind?.$case !== "bytes") return Buffer.from(PutFileRequest.encode(value).finish());
  const { sha256, offset, chunk } = value.kind.value;
  const inner = new BinaryWriter();
  if (sha256 !== "") inner.uint32(10).string(sha256);
  if (offset !== 0n) inner.uint32(16).uint64(offset);
  const head = inner.finish();
  const chunkHead = headOf(BYTES_CHUNK_TAG, chunk.length);
  return Buffer.concat([headOf(REQUEST_BYTES_TAG, head.length + chunkHead.length + chunk.length), head, chunkHead, chunk]);
}

export function decodePutFileRequest(message: Buffer): PutFileRequest {
  const outer = new BinaryReader(message);
  if (message.length >= LARGE_BYTES && outer.uint32() === REQUEST_BYTES_TAG) {
    const length = outer.uint32();
    const inner = message.subarray(outer.pos);
    const chunk = length === inner.length ? lastField(inner, BYTES_CHUNK_TAG) : null;
    if (chunk) {
      const bare = Buffer.concat([headOf(REQUEST_BYTES_TAG, chunk.from), inner.subarray(0, chunk.from)]);
      const request = PutFileRequest.decode(bare);
      if (request.kind?.$case === "bytes") {
        request.kind.value.chunk = chunk.bytes;
        return request;
      }
    }
  }
  return PutFileRequest.decode(message);
}

function headOf(tag: number, length: number): Uint8Array {
  return new BinaryWriter().uint32(tag).uint32(length).finish();
}

/** The bytes of a large field that ends the message, without a copy, and where the field begins; null where there is none. */
function lastField(message: Buffer, tag: number): { from: number; bytes: Buffer } | null {
  if (message.length < LARGE_BYTES) return null;
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const from = reader.pos;
    const [field, wireType] = reader.tag();
    if (((field << 3) | wireType) >>> 0 !== tag) {
      reader.skip(wireType, field);
      continue;
    }
    const { length } = reader.bytes();
    if (reader.pos === message.length) return { from, bytes: message.subarray(message.length - length) };
  }
  return null;
}
