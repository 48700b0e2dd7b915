import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Turns } from "../src/turns.ts";
import { seeded } from "./seeded.ts";
import { Simulation } from "./simulation.ts";
import type { Outcome, SimulationOptions } from "./simulation-options.ts";

/** SCOUTSYNC_SEEDS and SCOUTSYNC_SEED_FROM for more or others; the same ones every time otherwise. */
const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 100);
const FROM = Number(process.env["SCOUTSYNC_SEED_FROM"] ?? 1);

/** What `Turns` has that is private. */
interface Inside {
  attempt: <T>(work: () => T) => T;
  seal: () => void;
  isOpening: boolean;
  db: { inTransaction: boolean };
  knowledge: { random: (bytes: number) => Uint8Array };
}

const inside = Turns.prototype as unknown as Inside;
const { attempt } = inside;
let random: (() => number) | null = null;
let undone = 0;

/** Has some transactions fail for an index once all is done, as if its database were to have it built anew, and be done again. */
beforeEach(() => {
  vi.spyOn(inside, "attempt").mockImplementation(function twice<T>(this: Inside, work: () => T): T {
    if (!random || this.isOpening || random() > 0.4) return attempt.call(this, work) as T;
    const draw = random;
    const { knowledge } = this;
    const { random: drawn } = knowledge;
    let done: { result: T } | null = null;
    // Names that are drawn in vain are not to be those that are drawn next: the history would be another one.
    knowledge.random = (bytes) => randomBytes(bytes);
    try {
      attempt.call(this, () => {
        const result = work();
        // Already committed, together with another database's.
        if (!this.db.inTransaction) return (done = { result });
        if (draw() < 0.5) this.seal();
        throw Object.assign(new Error("an index has fallen behind"), { code: "SQLITE_CORRUPT_VTAB" });
      });
    } catch (error) {
      if ((error as { cause?: { code?: string } }).cause?.code !== "SQLITE_CORRUPT_VTAB") throw error;
      undone++;
    } finally {
      knowledge.random = drawn;
    }
    return done ? (done as { result: T }).result : (attempt.call(this, work) as T);
  });
});

afterEach(() => {
  random = null;
  vi.restoreAllMocks();
});

function outcomeOf(seed: number, options: Partial<SimulationOptions>, isUndone: boolean): Outcome {
  random = isUndone ? seeded(seed) : null;
  return new Simulation(seed, options).run();
}

test.each<[string, Partial<SimulationOptions>]>([
  ["three replicas", {}],
  ["replicas with rows without a key, counters and sets", { moreTables: true, rules: true }],
  ["replicas that issue again what others go on with", { reissue: true }],
  ["replicas that forget what was deleted", { replicas: 4, forgetting: true }],
])("a transaction that is undone and done again leaves nothing of the first time: %s", (_, options) => {
  undone = 0;
  const count = Math.max(2, Math.round(SEEDS / 50));
  for (let seed = FROM; seed < FROM + count; seed++) {
    const once = outcomeOf(seed, options, false);
    expect({ seed, ...outcomeOf(seed, options, true) }).toEqual({ seed, ...once });
    expect(once.failures).toEqual([]);
  }
  expect(undone).toBeGreaterThan(count);
});
