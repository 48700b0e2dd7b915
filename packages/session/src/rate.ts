import { pause } from "@scoutsync/runtime";

/** A limit that changes takes effect on those who wait within this time. */
const LOOK_MS = 500;

/**
 * A limit on how fast something passes, shared by all who pass. What passes is paid for by those behind it: the first
 * after a quiet time does not wait. In the order in which they came; `limit` may change while they wait.
 */
export class Rate {
  readonly #now: () => number;
  #perMs = 0;
  /** Units that came so far, and those of them that the time since has paid for. */
  #came = 0;
  #paid = 0;
  #paidAtMs = 0;

  /** Units per second; 0 = no limit. */
  constructor(perSecond = 0, now: () => number = () => performance.now()) {
    this.#now = now;
    this.limit(perSecond);
  }

  /** Units per second; 0 = no limit. */
  get perSecond(): number {
    return this.#perMs * 1_000;
  }

  /** From now on so many units per second; 0 = no limit. */
  limit(perSecond: number): void {
    this.#pay();
    this.#perMs = perSecond / 1_000;
    if (perSecond === 0) this.#paid = this.#came;
  }

  /** Resolves when these units may pass, or the signal aborts. */
  async pass(units: number, signal?: AbortSignal): Promise<void> {
    if (this.#perMs === 0) return;
    this.#pay();
    const turn = this.#came;
    this.#came += units;
    while (signal?.aborted !== true) {
      this.#pay();
      if (this.#paid >= turn) return;
      await pause(Math.min((turn - this.#paid) / this.#perMs, LOOK_MS), signal);
    }
  }

  #pay(): void {
    const now = this.#now();
    this.#paid = Math.min(this.#came, this.#paid + (now - this.#paidAtMs) * this.#perMs);
    this.#paidAtMs = now;
  }
}

/** How fast rows pass a node in both directions, counted and weighed. */
export class RowPace {
  /** Changes per second, and bytes of packed changes per second. */
  readonly changes = new Rate();
  readonly bytes = new Rate();

  /** Resolves when a batch may pass, or the signal aborts. */
  async pass({ count, payload }: { count: number; payload: Uint8Array }, signal?: AbortSignal): Promise<void> {
    await this.changes.pass(count, signal);
    await this.bytes.pass(payload.length, signal);
  }

  /** The batch size to ask for: about a second's worth where rows are limited, so that a stream never stands still for long. */
  batchSize(asked: number, byDefault: number): number {
    const { perSecond } = this.changes;
    return perSecond === 0 ? asked : Math.max(1, Math.min(asked || byDefault, Math.ceil(perSecond)));
  }
}
