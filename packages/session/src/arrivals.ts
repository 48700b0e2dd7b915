import { equalVectors, type VersionVector } from "@scoutsync/core";

/** A follower is told of many changes a second; what it says of them follows at this distance, milliseconds. */
const SAY_AFTER_MS = 1_000;
/** After failures it is said again at distances that double up to this one. */
const LONGEST_AFTER_MS = 60_000;

/**
 * Has a follower say what has arrived: nothing else on a followed stream does, and the application that wrote it reads in
 * the receipts who has it. `say` makes a request, which names what is here; where it throws it is made again: nothing may come after.
 */
export class Arrivals {
  readonly #vector: () => VersionVector;
  readonly #say: () => Promise<unknown>;
  readonly #signal: AbortSignal;
  #said: VersionVector | null;
  #afterMs = SAY_AFTER_MS;
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
    if (this.#timer || this.#signal.aborted || (this.#said && equalVectors(this.#said, this.#vector()))) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#signal.aborted) return;
      this.#said = this.#vector();
      void this.#say().then(
        () => {
          this.#afterMs = SAY_AFTER_MS;
          this.note();
        },
        () => {
          this.#said = null;
          this.#afterMs = Math.min(this.#afterMs * 2, LONGEST_AFTER_MS);
          this.note();
        },
      );
    }, this.#afterMs).unref();
  }
}
