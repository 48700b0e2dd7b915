import { pause } from "@scoutsync/runtime";

export interface WaitOptions {
  withinMs?: number;
  everyMs?: number;
  /** What is awaited, for the error. */
  what: string;
}

/** Asks again until the answer is neither null nor false; throws with the last error or answer when time is up. */
export async function until<T>(
  ask: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  { withinMs = 30_000, everyMs = 100, what }: WaitOptions,
): Promise<T> {
  const end = Date.now() + withinMs;
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
  throw new Error(`not within ${withinMs / 1000} s: ${what}`, { cause: last });
}
