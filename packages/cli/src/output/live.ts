import { once } from "node:events";
import { pause } from "@scoutsync/runtime";
import type { Invocation } from "../command.ts";
import { describeError } from "../exit.ts";

/** To the upper left corner, and what is below it away. */
const CLEAR = "\x1b[H\x1b[2J";

/** Shows something again and again until SIGINT or SIGTERM; on a terminal in place, elsewhere one after the other. */
export async function watchUntilSignal({ surroundings, out }: Invocation, everyMs: number, show: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const ended = Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]).then(() => stop.abort());
  while (!stop.signal.aborted) {
    if (out.terminal) surroundings.stdout.write(CLEAR);
    try {
      await show();
    } catch (error) {
      // Whoever watches wants to see when it is back.
      out.note(describeError(error, { stack: false }));
    }
    await Promise.race([ended, pause(everyMs, stop.signal)]);
  }
}
