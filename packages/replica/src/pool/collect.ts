import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Before a batch of this size is applied the garbage is collected, bytes. */
export const COLLECT_FROM = 32 * 1024 * 1024;

/**
 * A thread collects its garbage once its heap has grown to this, bytes, or to twice what was left the last time. A drain or
 * a stream leaves mostly garbage, and V8 lets that grow to several times what is alive.
 */
const GROWN = 32 * 1024 * 1024;
let grown = GROWN;

/** Collects this thread's garbage where the heap has grown since. Costs nothing otherwise; between two pieces of work. */
export function collectGrown(): void {
  if (getHeapStatistics().used_heap_size < grown) return;
  collectGarbage();
  grown = Math.max(GROWN, 2 * getHeapStatistics().used_heap_size);
}

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
