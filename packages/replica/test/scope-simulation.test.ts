import { expect, test } from "vitest";
import { ScopeSimulation } from "./scope-simulation.ts";

const first = Number(process.env["SCOUTSYNC_SEED"] ?? 1);
const budget = Number(process.env["SCOUTSYNC_SCOPE_SEEDS"] ?? 6);

test.each(Array.from({ length: budget }, (_, at) => first + at))(
  "two teams on one server: nothing of one reaches the other, their own converge, nothing is lost (seed %i)",
  (seed) => {
    expect(new ScopeSimulation(seed).run()).toEqual([]);
  },
  120_000,
);
