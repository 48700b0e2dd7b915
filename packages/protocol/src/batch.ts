import { hash } from "node:crypto";
import { ownedMemory, PROTOCOL_VERSION, SyncError, type ChangeBatch, type Codec } from "@scoutsync/core";
import { Batch } from "../gen/scoutsync/v1/sync_node.ts";
import { fromWireKnownNode, toWireKnownNode } from "./known-node.ts";
import { asBuffer } from "./value.ts";
import { fromWireVector, toWireVector } from "./vector.ts";

/** A payload larger than this travels in several messages: a transport holds several of them, each more than once, bytes. */
export const PART_BYTES = 4 * 1024 * 1024;
/** SQLite's own limit for a row is 10^9 bytes; more than this in one batch would only exhaust memory. */
const MAX_PAYLOAD_BYTES = 1_100_000_000;
/** The version before says no `frame_sha256`. No flip of one bit makes its number of ours. */
const WITHOUT_FRAME_SUM = 1;
const NO_BYTES = Buffer.alloc(0);

/** What `frame_sha256` is: of everything but the payload. A field that comes later must be left out. */
function frameSum(batch: Batch): Buffer {
  const frame: Batch = { ...batch, payload: NO_BYTES, part: 0, parts: 0, frameSha256: NO_BYTES };
  return hash("sha256", Batch.encode(frame).finish(), "buffer");
}

/** One message, or several when the payload is larger than `partBytes`. The first one carries everything else. */
export function toWireBatches(batch: ChangeBatch, partBytes = PART_BYTES): Batch[] {
  const payload = asBuffer(batch.payload);
  const parts = Math.ceil(payload.length / partBytes);
  const whole: Batch = {
    from: toWireVector(batch.from),
    to: toWireVector(batch.to),
    count: batch.count,
    codec: batch.codec,
    format: batch.format,
    sha256: asBuffer(batch.sha256),
    payload,
    payloadSize: BigInt(batch.payloadSize),
    final: batch.final,
    vector: batch.final ? toWireVector(batch.vector) : undefined,
    digest: asBuffer(batch.digest),
    schema: batch.schema,
    run: batch.run,
    part: 0,
    parts: 0,
    floor: batch.floor ? toWireVector(batch.floor) : undefined,
    beyondDigest: asBuffer(batch.beyondDigest),
    protocol: PROTOCOL_VERSION,
    remaining: BigInt(batch.remaining),
    baseline: batch.baseline,
    repair: batch.repair === true,
    groups: (batch.groups ?? []).map(({ origin, first, last }) => ({ origin, first: BigInt(first), last: BigInt(last) })),
    nodeId: batch.node?.id ?? "",
    nodeName: batch.node?.name ?? "",
    terms: batch.terms ?? "",
    members: (batch.members ?? []).map(toWireKnownNode),
    frameSha256: NO_BYTES,
  };
  whole.frameSha256 = frameSum(whole);
  if (parts < 2) return [whole];
  return Array.from({ length: parts }, (_, index) => ({
    ...(index === 0 ? whole : CONTINUATION),
    payload: payload.subarray(index * partBytes, (index + 1) * partBytes),
    part: index + 1,
    parts,
  }));
}

/**
 * Puts batches that travelled in parts together again. One per stream. With `ownsMessages` nobody else reads the
 * messages: the memory of a part is given back as soon as it is copied.
 */
export class BatchAssembler {
  readonly #ownsMessages: boolean;
  #first: Batch | null = null;
  #whole: Buffer = NO_BYTES;
  #parts = 0;
  #bytes = 0;

  constructor({ ownsMessages = false } = {}) {
    this.#ownsMessages = ownsMessages;
  }

  /** The batch that this message completes, or null while parts are missing. Throws BATCH_CORRUPT. */
  add(message: Batch): ChangeBatch | null {
    if (message.parts < 2) {
      if (this.#first) throw corrupt("a batch began before the one in parts was complete");
      return fromWireBatch(message, message.payload);
    }
    const first = this.#first ?? message;
    if (message.part !== this.#parts + 1 || message.parts !== first.parts || message.part > message.parts) {
      throw corrupt(`part ${message.part} of ${message.parts} came where part ${this.#parts + 1} was due`);
    }
    this.#append(message.payload, first.parts);
    this.#first = first;
    if (message.part < message.parts) return null;
    const payload = this.#whole.subarray(0, this.#bytes);
    this.#first = null;
    this.#whole = NO_BYTES;
    this.#parts = 0;
    this.#bytes = 0;
    return fromWireBatch(first, payload);
  }

  /** Parts are written into one buffer as they come: kept apart and joined at the end they would be there twice. */
  #append(payload: Buffer, parts: number): void {
    const needed = this.#bytes + payload.length;
    if (needed > MAX_PAYLOAD_BYTES) throw corrupt(`its parts are longer than ${MAX_PAYLOAD_BYTES} bytes`);
    if (needed > this.#whole.length) {
      // All parts but the last are of one length. Memory that is never written to is not taken.
      const whole = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(payload.length * parts, MAX_PAYLOAD_BYTES)));
      this.#whole.copy(whole, 0, 0, this.#bytes);
      this.#whole = whole;
    }
    payload.copy(this.#whole, this.#bytes);
    this.#bytes = needed;
    if (this.#ownsMessages) ownedMemory(payload)?.transfer(0);
    this.#parts++;
  }
}

function fromWireBatch(wire: Batch, payload: Buffer): ChangeBatch {
  if (wire.protocol !== WITHOUT_FRAME_SUM && !frameSum(wire).equals(wire.frameSha256))
    throw corrupt("the SHA-256 of its range and vectors does not match");
  if (wire.codec !== "identity" && wire.codec !== "zstd") throw corrupt(`it is compressed with "${wire.codec.slice(0, 40)}"`);
  return {
    from: fromWireVector(wire.from),
    to: fromWireVector(wire.to),
    count: wire.count,
    codec: wire.codec,
    format: wire.format,
    sha256: wire.sha256,
    payload,
    payloadSize: safeNumber(wire.payloadSize),
    final: wire.final,
    vector: fromWireVector(wire.vector),
    digest: wire.digest,
    schema: wire.schema,
    run: wire.run,
    beyondDigest: wire.beyondDigest,
    remaining: safeNumber(wire.remaining),
    baseline: wire.baseline,
    ...(wire.repair ? { repair: true } : {}),
    ...(wire.floor ? { floor: fromWireVector(wire.floor) } : {}),
    ...(wire.groups.length > 0
      ? { groups: wire.groups.map(({ origin, first, last }) => ({ origin, first: safeNumber(first), last: safeNumber(last) })) }
      : {}),
    ...(wire.members.length > 0 ? { members: wire.members.map(fromWireKnownNode) } : {}),
    ...(wire.terms === "" ? {} : { terms: wire.terms }),
    ...(wire.nodeId === "" ? {} : { node: { id: wire.nodeId, name: wire.nodeName } }),
  };
}

/** The codecs among what the peer names that this program can write, in the peer's order. */
export function knownCodecs(names: readonly string[]): Codec[] {
  const known = names.filter((name): name is Codec => name === "zstd" || name === "identity");
  return known.length === 0 ? ["identity"] : known;
}

function safeNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(`it counts ${value} of something`);
  return Number(value);
}

function corrupt(why: string): SyncError {
  return new SyncError({
    code: "BATCH_CORRUPT",
    message: `a batch cannot be read: ${why}`,
    action: "Sync again; if it happens again, check that both sides run compatible versions.",
  });
}

const CONTINUATION: Batch = {
  from: undefined,
  to: undefined,
  count: 0,
  codec: "",
  format: "",
  sha256: NO_BYTES,
  payload: NO_BYTES,
  payloadSize: 0n,
  final: false,
  vector: undefined,
  digest: NO_BYTES,
  schema: "",
  run: "",
  part: 0,
  parts: 0,
  floor: undefined,
  beyondDigest: NO_BYTES,
  protocol: 0,
  remaining: 0n,
  baseline: "",
  repair: false,
  groups: [],
  nodeId: "",
  nodeName: "",
  terms: "",
  members: [],
  frameSha256: NO_BYTES,
};
