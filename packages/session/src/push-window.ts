import { ownedMemory, SyncError, type ChangeBatch } from "@scoutsync/core";
import type { PushAck, PushStream } from "./peer.ts";

/** Batches under way without an acknowledgement: enough to keep both ends busy, few enough to bound memory. */
const MAX_UNACKNOWLEDGED = 4;

/** What is remembered of a batch until its acknowledgement comes. */
export interface SentBatch {
  count: number;
  bytes: number;
  remaining: number;
  /** The memory of a large payload, given back with the acknowledgement: nobody sends it again. */
  memory: ArrayBuffer | null;
}

/** Sends batches on a push stream, waiting when too many are unacknowledged, and hands on acknowledgements in order. */
export class PushWindow {
  onAck: (batch: SentBatch, ack: PushAck) => void = () => {};
  readonly #stream: PushStream;
  readonly #unacknowledged: SentBatch[] = [];
  readonly #over: Promise<void>;
  #failure: Error | null = null;
  #ended = false;
  #wake = () => {};

  constructor(stream: PushStream) {
    this.#stream = stream;
    this.#over = this.#readAcks();
  }

  /** Resolves when the batch is under way. Throws what the peer refused an earlier one with. */
  async send(batch: ChangeBatch): Promise<void> {
    await this.#until(() => this.#unacknowledged.length < MAX_UNACKNOWLEDGED);
    this.#unacknowledged.push({
      count: batch.count,
      bytes: batch.payload.length,
      remaining: batch.remaining,
      memory: ownedMemory(batch.payload),
    });
    try {
      await this.#stream.send(batch);
    } catch (error) {
      // The acknowledgement side hears why the stream is over; that says more than a failed write.
      await this.#over;
      throw this.#failure ?? (error as Error);
    }
  }

  /** Resolves when the peer has ended the stream after its last acknowledgement. */
  async drained(): Promise<void> {
    await this.#over;
    if (this.#failure) throw this.#failure;
  }

  /** Resolves when the stream is over, however; never throws. */
  get over(): Promise<void> {
    return this.#over;
  }

  async #readAcks(): Promise<void> {
    try {
      for await (const ack of this.#stream.acks) {
        const batch = this.#unacknowledged.shift();
        if (batch) this.onAck(batch, ack);
        batch?.memory?.transfer(0);
        this.#wake();
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    } finally {
      this.#ended = true;
      this.#wake();
    }
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#ended) throw this.#failure ?? ENDED_EARLY;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#failure) throw this.#failure;
  }
}

const ENDED_EARLY = new SyncError({
  code: "PEER_FAILED",
  message: "the peer ended a push before it had acknowledged everything",
  action: "Sync again; it goes on where it stopped.",
});
