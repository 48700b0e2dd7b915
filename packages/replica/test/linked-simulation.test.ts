import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { type LinkedOptions, LinkedSimulation } from "./linked-simulation.ts";

/** SCOUTSYNC_LINKED_SEEDS and SCOUTSYNC_SEED_FROM for more or others; the same ones every time otherwise. */
const SEEDS = Number(process.env["SCOUTSYNC_LINKED_SEEDS"] ?? 3);
const FROM = Number(process.env["SCOUTSYNC_SEED_FROM"] ?? 1);

const KINDS: [string, Partial<LinkedOptions>][] = [
  ["two databases", {}],
  ["three databases in a chain", { chain: true }],
  ["users that are deleted", { deletes: true }],
  ["users that two servers create and that are one", { unique: true }],
  ["databases that are put back alone, but for rows that are asked about", { chain: true, putBacks: true }],
  [
    "databases that are put back alone, also while the node runs, with users that several create",
    { unique: true, putBacks: true, running: true },
  ],
];

test.each(KINDS)("references lead to the row they were written for on every node: %s", { timeout: 600_000 }, async (_, options) => {
  console.log(`seeds ${FROM} to ${FROM + SEEDS - 1}, ${JSON.stringify(options)}`);
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const again = `node packages/replica/test/simulate-linked.ts ${seed} 1 '${JSON.stringify({ ...options, trace: true })}'`;
    expect(new LinkedSimulation(seed, options).run().failures, `seed ${seed}; run it again with: ${again}`).toEqual([]);
    await setImmediate();
  }
});
