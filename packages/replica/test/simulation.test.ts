import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { Simulation } from "./simulation.ts";
import type { SimulationOptions } from "./simulation-options.ts";

/** SCOUTSYNC_SEEDS and SCOUTSYNC_SEED_FROM for more or others; the same ones every time otherwise. */
const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 100);
const FROM = Number(process.env["SCOUTSYNC_SEED_FROM"] ?? 1);

/** Kinds of histories, with the part of the budget that each gets. */
const KINDS: [string, number, Partial<SimulationOptions>][] = [
  ["three replicas", 1, {}],
  ["four replicas", 0.6, { replicas: 4 }],
  ["three replicas that never restart, with clocks days apart", 0.4, { restarts: false, skewS: 200_000 }],
  ["three replicas with rows without a key, references to natural keys, and VACUUM", 0.4, { moreTables: true }],
  ["three replicas with counters and sets", 0.5, { rules: true }],
  ["copies of one database that moved apart before they were attached", 0.15, { copies: true }],
  [
    "three replicas that issue again what others go on with, their clocks days apart and corrected",
    0.3,
    { reissue: true, clocks: true, skewS: 200_000 },
  ],
  ["four replicas of which one is destroyed", 0.2, { replicas: 4, lose: true }],
  ["four replicas that forget what was deleted, are retired, come back and join", 0.15, { replicas: 4, steps: 90, forgetting: true }],
  ["three replicas whose applications go on using integers that they read before", 0.2, { keepsIds: true, steps: 90 }],
  ["three replicas whose applications write children before their parents", 0.1, { early: true, moreTables: true }],
  ["two replicas in a long history", 0.3, { replicas: 2, steps: 200 }],
];

function outcomeOf(seed: number, options: Partial<SimulationOptions>): string[] {
  try {
    return new Simulation(seed, options).run().failures;
  } catch (error) {
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
}

test("rows left behind by a delete are not taken for another server's new row with that integer: seed 41321, which found it", () => {
  expect(outcomeOf(41321, {})).toEqual([]);
});

test("a row that was issued again is the forgotten one by another name where its node joins again: seed 42600048, which found it", () => {
  const options = { replicas: 4, steps: 90, forgetting: true, reissue: true, rules: true, clocks: true, moreTables: true };
  expect(outcomeOf(42600048, options)).toEqual([]);
});

test("a copy's row that was issued again by who had migrated earlier keeps its default on all nodes: seed 88400008, which found it", () => {
  expect(outcomeOf(88400008, { forgetting: true, moreTables: true, reissue: true, copies: true })).toEqual([]);
});

test("two servers each add a row under the integer of a deleted one, to which a third one's row points: the answer that lost is listed: seed 42610000", () => {
  expect(outcomeOf(42610000, { keepsIds: true, forgetting: true, moreTables: true, early: true, steps: 90 })).toEqual([]);
});

test.each(KINDS)("nothing is lost and everyone agrees: %s", { timeout: 1_800_000 }, async (_, part, options) => {
  const last = FROM + Math.max(1, Math.round(SEEDS * part)) - 1;
  console.log(`seeds ${FROM} to ${last}, ${JSON.stringify(options)}`);
  for (let seed = FROM; seed <= last; seed++) {
    const again = `node packages/replica/test/simulate.ts ${seed} 1 '${JSON.stringify({ ...options, trace: true })}'`;
    expect(outcomeOf(seed, options), `seed ${seed}; run it again with: ${again}`).toEqual([]);
    // The runner wants to hear from us now and then.
    await setImmediate();
  }
});
