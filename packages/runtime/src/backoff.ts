export interface BackoffOptions {
  /** First pause, milliseconds. */
  firstMs: number;
  /** Longest pause, milliseconds. */
  capMs: number;
  /** Injected for tests: a number in [0, 1). */
  random?: () => number;
}

/** Exponential pauses with full jitter above half: `attempt` counts from 0. Milliseconds. */
export function backoffMs(attempt: number, { firstMs, capMs, random = Math.random }: BackoffOptions): number {
  const ceiling = Math.min(capMs, firstMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling / 2 + (random() * ceiling) / 2);
}

/** Resolves after `ms`, or at once when the signal aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Resolves when `work` is done, or after `ms` milliseconds; rejects when it failed before. */
export async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  // Should it fail later, there is nobody any more who waits for it.
  work.catch(() => {});
  await Promise.race([work, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}
