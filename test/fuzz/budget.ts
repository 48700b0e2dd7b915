import fc from "fast-check";
import { expect } from "vitest";
import { chooseSeed } from "@scoutsync/testkit";

/** Milliseconds for each target; CI gives one second, a long run by hand SCOUTSYNC_FUZZ_MS=600000. */
const BUDGET_MS = Number(process.env["SCOUTSYNC_FUZZ_MS"] ?? 1_000);
/** What a target may have grown by when it is through, bytes. */
const MOST_GROWTH = 300 * 1024 * 1024;

const seed = chooseSeed();

/** A change to a valid input, as damage or malice would make it. */
export type Mutation =
  | { kind: "flip"; at: number; bit: number }
  | { kind: "set"; at: number; byte: number }
  | { kind: "cut"; at: number }
  | { kind: "remove"; at: number; length: number }
  | { kind: "insert"; at: number; bytes: Uint8Array }
  | { kind: "repeat"; at: number; length: number };

const position = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

const anyMutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: position, bit: fc.nat(7) }),
  // Bytes that lengths and tags are made of.
  fc.record({ kind: fc.constant("set" as const), at: position, byte: fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff, 0x0a, 0x12) }),
  fc.record({ kind: fc.constant("cut" as const), at: position }),
  fc.record({ kind: fc.constant("remove" as const), at: position, length: fc.nat(16) }),
  fc.record({ kind: fc.constant("insert" as const), at: position, bytes: fc.uint8Array({ maxLength: 12 }) }),
  fc.record({ kind: fc.constant("repeat" as const), at: position, length: fc.nat(64) }),
);

/** Inputs near valid ones, and some that are nothing at all. */
export function mutated(valid: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  const near = fc
    .tuple(fc.constantFrom(...valid), fc.array(anyMutation, { minLength: 1, maxLength: 6 }))
    .map(([bytes, mutations]) => mutations.reduce(changed, Buffer.from(bytes)));
  return fc.oneof(
    { weight: 9, arbitrary: near },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  );
}

function changed(bytes: Buffer, mutation: Mutation): Buffer {
  const at = Math.floor(mutation.at * bytes.length);
  switch (mutation.kind) {
    case "flip":
    case "set": {
      if (bytes.length === 0) return bytes;
      const copy = Buffer.from(bytes);
      copy[at] = mutation.kind === "flip" ? (copy[at] as number) ^ (1 << mutation.bit) : mutation.byte;
      return copy;
    }
    case "cut":
      return bytes.subarray(0, at);
    case "remove":
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + mutation.length)]);
    case "insert":
      return Buffer.concat([bytes.subarray(0, at), mutation.bytes, bytes.subarray(at)]);
    case "repeat":
      return Buffer.concat([bytes.subarray(0, at + mutation.length), bytes.subarray(at)]);
  }
}

/** Runs a property for the budget, and says how often; the seed repeats it. */
export async function expectHolds<T>(target: string, input: fc.Arbitrary<T>, holds: (value: T) => void | Promise<void>): Promise<void> {
  const before = process.memoryUsage().rss;
  let runs = 0;
  const property = fc.asyncProperty(input, async (value) => {
    runs += 1;
    await holds(value);
  });
  await fc.assert(property, {
    seed,
    numRuns: 1_000_000_000,
    interruptAfterTimeLimit: BUDGET_MS,
    markInterruptAsFailure: false,
    endOnFailure: BUDGET_MS <= 1_000,
  });
  const grown = process.memoryUsage().rss - before;
  console.log(`fuzz ${target}: ${runs} inputs, seed ${seed}, grown by ${Math.round(grown / 2 ** 20)} MiB`);
  expect(grown).toBeLessThan(MOST_GROWTH);
}
