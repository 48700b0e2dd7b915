import { pause } from "@scoutsync/runtime";

/** In CI, where everything runs at once on two cores, one waits longer before one says that something does not come. */
const PATIENCE = process.env["CI"] === "true" ? 3 : 1;
/** Nothing that comes at all is called missing sooner: how long it takes is the machine's affair. */
const LEAST_MS = 30_000;

/**
 * How long an application of a test waits for a lock, milliseconds: as long as an ordinary one, and in CI, where a disk may take as
 * much longer for what is written, three times that.
 */
export const BUSY_MS = 5_000 * PATIENCE;

/** How long a test waits for what should take `withinMs`, both in milliseconds. */
export const boundOf = (withinMs: number): number => Math.max(withinMs, LEAST_MS) * PATIENCE;

export interface WaitOptions {
  /** Milliseconds; no less than half a minute, and three times as long in CI. */
  withinMs?: number;
  everyMs?: number;
  /** What is awaited, for the error. */
  what: string;
}

/** Asks again until the answer is neither null nor false; throws with the last error or answer when time is up. */
export async function until<T>(
  ask: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  { withinMs = LEAST_MS, everyMs = 100, what }: WaitOptions,
): Promise<T> {
  const boundMs = boundOf(withinMs);
  const end = Date.now() + boundMs;
  let last: unknown = null;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== undefined && answer !== false) return answer;
      last = null;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= end) break;
    await pause(everyMs);
  }
  throw new Error(`not within ${boundMs / 1000} s: ${what}`, { cause: last });
}
