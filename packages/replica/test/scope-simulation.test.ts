import { expect, test } from "vitest";
import { ScopeSimulation } from "./scope-simulation.ts";

/** One seed and how many from there on, or several: `SCOUTSYNC_SEED=17,204`. */
const listed = (process.env["SCOUTSYNC_SEED"] ?? "1").split(",").map(Number);
const budget = Number(process.env["SCOUTSYNC_SCOPE_SEEDS"] ?? 3);
const seeds = listed.length > 1 ? listed : Array.from({ length: budget }, (_, at) => (listed[0] as number) + at);

test.each(seeds)(
  "two teams and their server add the same persons apart from each other, and refer to them: nothing leaks, all converge, nothing is lost (seed %i)",
  (seed) => {
    expect(new ScopeSimulation(seed, { joint: true }).run().join("\n")).toBe("");
  },
  360_000,
);

test.each(seeds)(
  "two teams on one server: nothing of one reaches the other, their own converge, nothing is lost (seed %i)",
  (seed) => {
    expect(new ScopeSimulation(seed).run().join("\n")).toBe("");
  },
  360_000,
);
