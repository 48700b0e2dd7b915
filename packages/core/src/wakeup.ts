/** Lets a loop wait for a condition that others change: they raise, it looks again. */
export class Wakeup {
  #waiting: (() => void)[] = [];

  raise = (): void => {
    const woken = this.#waiting;
    this.#waiting = [];
    for (const wake of woken) wake();
  };

  /** Resolves once `condition` holds when looked at, or the signal aborts. */
  async until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    signal?.addEventListener("abort", this.raise, { once: true });
    while (!signal?.aborted && !condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    signal?.removeEventListener("abort", this.raise);
  }
}
