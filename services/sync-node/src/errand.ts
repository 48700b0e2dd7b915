/**
 * Something that the coordinator asks for in the answer to a heartbeat because it cannot dial this node. One at a time; what
 * came of it goes with the next heartbeat.
 */
export class Errand<Outcome> {
  readonly #onEnd: () => void;
  #running = false;
  #outcome: Outcome | undefined;

  /** `onEnd` hears that there is something to tell. */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  /** What the coordinator has not been told yet. */
  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  told(outcome: Outcome | undefined): void {
    if (this.#outcome === outcome) this.#outcome = undefined;
  }

  /** Starts the work, which does not fail, unless one runs or its outcome has not been told. */
  run(work: () => Promise<Outcome>): void {
    if (this.#running || this.#outcome !== undefined) return;
    this.#running = true;
    void work().then((outcome) => {
      this.#running = false;
      this.#outcome = outcome;
      this.#onEnd();
    });
  }
}
