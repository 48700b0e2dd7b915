import { join, SyncError, type BeyondPosition, type VersionVector } from "@scoutsync/core";
import { Batch, BatchAssembler, toWireBatches } from "@scoutsync/protocol";
import type { Random } from "@scoutsync/testkit";
import type { SimulatedNode } from "./node.ts";

/** What may happen to a message, in percent. */
export interface Weather {
  lose: number;
  double: number;
  swap: number;
  cut: number;
  flip: number;
}

export const CALM: Weather = { lose: 0, double: 0, swap: 0, cut: 0, flip: 0 };

export interface Delivery {
  applied: number;
  received: number;
  moved: boolean;
  verified: boolean | null;
}

/** What a peer may be refused with when the network is at fault, or its own life was short. */
const REFUSALS = new Set(["BATCH_GAP", "BATCH_CORRUPT", "BASELINE_CHOICE", "SCHEMA_UNSUPPORTED", "PROTOCOL_VERSION"]);

/** One stream from `from` to `to`, as bytes on a wire that may be bad. */
export class Session {
  readonly from: SimulatedNode;
  readonly to: SimulatedNode;
  readonly fromRun: string;
  readonly weather: Weather;
  /** Nothing was lost, doubled or broken so far. */
  intact = true;
  /** The end was applied. */
  done = false;
  readonly wire: Uint8Array[] = [];
  private readonly random: Random;
  private readonly batchSize: number;
  private readonly partBytes: number;
  private readonly codec: "zstd" | "identity";
  private readonly beyond: Uint8Array;
  private readonly assembler = new BatchAssembler();
  private cursor: VersionVector;
  private beyondAfter: BeyondPosition | undefined;
  private served = false;
  private knownThere: Map<number, number> = new Map();

  constructor(options: { from: SimulatedNode; to: SimulatedNode; weather: Weather; batchSize: number; random: Random }) {
    const { from, to } = options;
    this.from = from;
    this.to = to;
    this.weather = options.weather;
    this.random = options.random;
    this.batchSize = options.batchSize;
    this.fromRun = from.run;
    this.partBytes = this.random.below(4) === 0 ? 64 + this.random.below(2_000) : 1 << 20;
    this.codec = this.random.below(2) === 0 ? "zstd" : "identity";
    const replica = to.replica;
    if (!replica) throw new Error(`${to.name} is down`);
    replica.drain();
    this.cursor = join(to.tell(replica.state().vector), replica.position(this.fromRun));
    this.beyond = replica.beyondDigest();
  }

  /** The server reads the next batch and puts it on the wire. False when everything has been sent. */
  serve(): boolean {
    const { replica, run } = this.from;
    if (this.served) return false;
    if (!replica || run !== this.fromRun) {
      this.intact = false;
      this.served = true;
      return false;
    }
    const batch = replica.read({
      from: this.cursor,
      batchSize: this.batchSize,
      codecs: [this.codec],
      beyondDigest: this.beyond,
      beyondAfter: this.beyondAfter,
    });
    this.cursor = join(this.cursor, batch.to);
    this.beyondAfter = batch.beyondTo;
    if (batch.final) {
      this.from.tell(batch.vector);
      this.served = true;
      this.knownThere = new Map(this.from.known);
    }
    for (const message of toWireBatches(batch, this.partBytes)) this.wire.push(Batch.encode(message).finish());
    return true;
  }

  get over(): boolean {
    return this.served && this.wire.length === 0;
  }

  private happens(percent: number): boolean {
    return percent > 0 && this.random.below(1_000) < percent * 10;
  }

  /** Takes the next message off the wire, in whatever state it arrives. Null when nothing was applied. Throws what is no refusal. */
  deliver(): Delivery | null {
    const { weather, wire } = this;
    if (wire.length > 1 && this.happens(weather.swap)) {
      this.intact = false;
      wire.splice(0, 2, wire[1] as Uint8Array, wire[0] as Uint8Array);
    }
    let bytes = wire.shift();
    if (!bytes) return null;
    if (this.happens(weather.lose)) {
      this.intact = false;
      return null;
    }
    if (this.happens(weather.double)) {
      this.intact = false;
      wire.unshift(bytes);
    }
    if (this.happens(weather.cut)) {
      this.intact = false;
      bytes = bytes.subarray(0, this.random.below(bytes.length));
    }
    if (bytes.length > 0 && this.happens(weather.flip)) {
      this.intact = false;
      bytes = Uint8Array.from(bytes);
      const at = this.random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << this.random.below(8));
    }
    return this.receive(bytes);
  }

  /** What the receiver does with bytes, in their turn or not. */
  receive(bytes: Uint8Array): Delivery | null {
    const { to } = this;
    let message: Batch;
    try {
      message = Batch.decode(bytes);
    } catch (error) {
      if (this.intact) throw error;
      // gRPC ends a stream whose message it cannot read.
      return null;
    }
    try {
      const batch = this.assembler.add(message);
      if (!batch || !to.replica) return null;
      const before = to.replica.state().vector;
      const result = to.replica.apply(batch);
      to.tell(result.vector);
      if (batch.final) this.done = true;
      if (batch.final && this.intact) for (const [author, number] of this.knownThere) raise(to.known, author, number);
      const moved = [...result.vector].some(([origin, sequence]) => (before.get(origin) ?? 0) < sequence);
      return { applied: result.applied, received: batch.count, moved, verified: result.verified };
    } catch (error) {
      if (this.intact || !(error instanceof SyncError) || !REFUSALS.has(error.code)) throw error;
      return null;
    }
  }
}

export function raise(known: Map<number, number>, author: number, number: number): void {
  if ((known.get(author) ?? 0) < number) known.set(author, number);
}
