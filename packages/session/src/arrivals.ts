import { equalVectors, type VersionVector } from "@scoutsync/core";

/** A follower is told of many changes a second; what it says of them follows at this distance, milliseconds. */
const SAY_AFTER_MS = 1_000;

/**
 * Has a follower say what has arrived: nothing else on a followed stream does, and the application that wrote it reads in
 * the receipts who has it. `say` makes a request, which names what is here; what it throws is dropped, as whatever comes next is said anew.
 */
export class Arrivals {
  readonly #vector: () => VersionVector;
  readonly #say: () => Promise<unknown>;
  readonly #signal: AbortSignal;
  #said: VersionVector;
  #timer: NodeJS.Timeout | null = null;

  constructor({ vector, say, signal }: { vector: () => VersionVector; say: () => Promise<unknown>; signal: AbortSignal }) {
    this.#vector = vector;
    this.#say = say;
    this.#signal = signal;
    // The request that opened the stream said this.
    this.#said = vector();
  }

  /** Something may have arrived. */
  note(): void {
    if (this.#timer || this.#signal.aborted || equalVectors(this.#said, this.#vector())) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#signal.aborted) return;
      this.#said = this.#vector();
      void this.#say().then(
        () => this.note(),
        () => {},
      );
    }, SAY_AFTER_MS).unref();
  }
}
