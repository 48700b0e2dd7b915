import { SyncError } from "@scoutsync/core";

/** What is free, and how long the first pause is; each further failure doubles it. */
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 15 * 60_000;
const FORGOTTEN_MS = 60 * 60_000;
const MOST_REMEMBERED = 10_000;

interface Failures {
  count: number;
  lastMs: number;
  untilMs: number;
}

/** Counts failed logins by name and by address, and makes who guesses wait. */
export class LockOut {
  readonly #free: number;
  readonly #failures = new Map<string, Failures>();
  readonly #now: () => number;

  /** `free` failures cost nothing. */
  constructor({ free, now = Date.now }: { free: number; now?: () => number }) {
    this.#free = free;
    this.#now = now;
  }

  /** Throws LIMIT_EXCEEDED while this one has to wait. */
  check(key: string): void {
    const leftMs = (this.#failures.get(key)?.untilMs ?? 0) - this.#now();
    if (leftMs <= 0) return;
    throw new SyncError({
      code: "LIMIT_EXCEEDED",
      message: "too many failed logins",
      action: `Wait ${Math.ceil(leftMs / 1_000)} s, then try again.`,
    });
  }

  failed(key: string): void {
    const now = this.#now();
    const known = this.#failures.get(key);
    const count = (known && now - known.lastMs < FORGOTTEN_MS ? known.count : 0) + 1;
    const over = count - this.#free;
    const pauseMs = over <= 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (over - 1), LONGEST_PAUSE_MS);
    // Who comes with ever new names must not fill memory: the oldest are forgotten first.
    this.#failures.delete(key);
    if (this.#failures.size >= MOST_REMEMBERED) {
      for (const oldest of this.#failures.keys()) {
        this.#failures.delete(oldest);
        break;
      }
    }
    this.#failures.set(key, { count, lastMs: now, untilMs: now + pauseMs });
  }

  succeeded(key: string): void {
    this.#failures.delete(key);
  }
}
