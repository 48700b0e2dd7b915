import { LARGE_VALUE_BYTES, RawText } from "@scoutsync/core";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Before a batch of this size is applied the garbage is collected, bytes. */
export const COLLECT_FROM = 32 * 1024 * 1024;

/**
 * A thread collects its garbage once its heap has grown to this, bytes, or to half again what was left the last time. A drain or
 * a stream leaves mostly garbage, and V8 lets that grow to several times what is alive.
 */
const GROWN = 24 * 1024 * 1024;
let grown = GROWN;

/** Collects this thread's garbage where the heap has grown since. Costs nothing otherwise; between two pieces of work. */
export function collectGrown(): void {
  if (getHeapStatistics().used_heap_size < grown) return;
  collectGarbage();
  grown = Math.max(GROWN, 1.5 * getHeapStatistics().used_heap_size);
}

/** So many bytes of buffers may have come since the last look before those that nobody has any more are let go. */
const PASSED = 8 * 1024 * 1024;
let passed = 0;

/**
 * Lets go of young buffers that nobody has any more, once many have come. V8 hardly counts what buffers hold outside of its
 * heap: of a stream of batches, a small heap kept tens of megabytes. Takes about a millisecond, where it does anything.
 */
export function collectPassed(): void {
  const held = getHeapStatistics().external_memory;
  if (held < passed + PASSED) {
    passed = Math.min(passed, held);
    return;
  }
  collect({ type: "minor" });
  passed = getHeapStatistics().external_memory;
}

let collector: ((options?: { type: "minor" }) => void) | null = null;

/**
 * Collects this thread's garbage now. For the moment before a row of hundreds of megabytes is written, when SQLite is
 * about to hold it twice more: what the transport has left behind would otherwise be there as well.
 */
export function collectGarbage(): void {
  collect();
}

function collect(options?: { type: "minor" }): void {
  if (!collector) {
    setFlagsFromString("--expose-gc");
    collector = runInNewContext("gc") as (options?: { type: "minor" }) => void;
  }
  collector(options);
}

/** So many bytes of large values may have been read or packed before what nobody has of them any more is let go. */
const LARGE_GARBAGE = 32 * 1024 * 1024;
let large = 0;

/** Counts large values that have come to be in memory: as they are read of a row, or packed. True where a string is among them. */
export function cameLarge(values: readonly unknown[]): boolean {
  let isString = false;
  for (const value of values) {
    if (value === null || (typeof value !== "object" && typeof value !== "string")) continue;
    const { length } = (value instanceof RawText ? value.bytes : value) as { length?: number };
    if (length === undefined || length < LARGE_VALUE_BYTES) continue;
    large += length;
    isString ||= typeof value === "string";
  }
  return isString;
}

/**
 * Before something is read, packed or stored that may be large: collects the garbage where that is much. V8 hardly counts what lies
 * outside of its heap, and within one piece of work it has no pause to collect it in.
 */
export function collectLarge(): void {
  if (large < LARGE_GARBAGE) return;
  large = 0;
  collectGarbage();
}
