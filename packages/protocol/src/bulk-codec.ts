import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { decodeGetFileResponse, decodePutFileRequest, encodeGetFileResponse, encodePutFileRequest } from "./file-codec.ts";
import { Batch, GetChangesResponse, PushChangesRequest, SyncNodeService } from "../gen/scoutsync/v1/sync_node.ts";

// The calls that carry bulk; those with files are in `file-codec`. The generated code copies a payload three times on its
// way out and once on its way in;
// here it is copied once and not at all. Bytes on the wire mean the same: protobuf fields may come in any order, so the
// payload is put last in its batch.

/** GetChangesResponse.batch and PushChangesRequest.batch as tags of length-delimited fields. */
const RESPONSE_BATCH_TAG = 10;
const REQUEST_BATCH_TAG = 18;
/** Batch.payload. */
const PAYLOAD_FIELD = 7;
const PAYLOAD_TAG = 58;
const LENGTH_DELIMITED = 2;
const NO_BYTES = Buffer.alloc(0);

function encodeBatchField(tag: number, batch: Batch): Buffer {
  const { payload } = batch;
  const head = Batch.encode({ ...batch, payload: NO_BYTES }).finish();
  const payloadHead = new BinaryWriter().uint32(PAYLOAD_TAG).uint32(payload.length).finish();
  const fieldHead = new BinaryWriter()
    .uint32(tag)
    .uint32(head.length + payloadHead.length + payload.length)
    .finish();
  return Buffer.concat([fieldHead, head, payloadHead, payload]);
}

/** Null when the message holds anything but one batch field: then the generated decoder takes it. */
function decodeBatchField(tag: number, message: Buffer): Batch | null {
  const outer = new BinaryReader(message);
  if (message.length === 0 || outer.uint32() !== tag) return null;
  const length = outer.uint32();
  const start = outer.pos;
  if (start + length !== message.length) return null;
  const body = message.subarray(start);
  const reader = new BinaryReader(body);
  const rest: Uint8Array[] = [];
  let payload: Buffer = NO_BYTES;
  let kept = 0;
  while (reader.pos < reader.len) {
    const fieldStart = reader.pos;
    const [field, wireType] = reader.tag();
    if (field !== PAYLOAD_FIELD || wireType !== LENGTH_DELIMITED) {
      reader.skip(wireType, field);
      continue;
    }
    const bytes = reader.bytes();
    payload = body.subarray(reader.pos - bytes.length, reader.pos);
    if (fieldStart > kept) rest.push(body.subarray(kept, fieldStart));
    kept = reader.pos;
  }
  if (kept < body.length) rest.push(body.subarray(kept));
  const batch = Batch.decode(Buffer.concat(rest));
  batch.payload = payload;
  return batch;
}

/** `SyncNodeService` with the bulk calls' own codecs: what a server serves and a client calls. Same wire format. */
export const syncNodeService = {
  ...SyncNodeService,
  getChanges: {
    ...SyncNodeService.getChanges,
    responseSerialize: (value: GetChangesResponse): Buffer =>
      value.batch && value.changes.length === 0 && !value.count && !value.clock
        ? encodeBatchField(RESPONSE_BATCH_TAG, value.batch)
        : SyncNodeService.getChanges.responseSerialize(value),
    responseDeserialize: (bytes: Buffer): GetChangesResponse => {
      const batch = decodeBatchField(RESPONSE_BATCH_TAG, bytes);
      return batch ? { batch, changes: [], count: undefined } : GetChangesResponse.decode(bytes);
    },
  },
  pushChanges: {
    ...SyncNodeService.pushChanges,
    requestSerialize: (value: PushChangesRequest): Buffer =>
      value.kind?.$case === "batch"
        ? encodeBatchField(REQUEST_BATCH_TAG, value.kind.value)
        : SyncNodeService.pushChanges.requestSerialize(value),
    requestDeserialize: (bytes: Buffer): PushChangesRequest => {
      const batch = decodeBatchField(REQUEST_BATCH_TAG, bytes);
      return batch ? { kind: { $case: "batch", value: batch } } : PushChangesRequest.decode(bytes);
    },
  },
  getFile: {
    ...SyncNodeService.getFile,
    responseSerialize: encodeGetFileResponse,
    responseDeserialize: decodeGetFileResponse,
  },
  putFile: {
    ...SyncNodeService.putFile,
    requestSerialize: encodePutFileRequest,
    requestDeserialize: decodePutFileRequest,
  },
};
