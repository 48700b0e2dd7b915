import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Before a batch of this size is applied the garbage is collected, bytes. */
export const COLLECT_FROM = 32 * 1024 * 1024;

let collector: (() => void) | null = null;

/**
 * Collects this thread's garbage now. For the moment before a row of hundreds of megabytes is written, when SQLite is
 * about to hold it twice more: what the transport has left behind would otherwise be there as well.
 */
export function collectGarbage(): void {
  if (!collector) {
    setFlagsFromString("--expose-gc");
    collector = runInNewContext("gc") as () => void;
  }
  collector();
}
