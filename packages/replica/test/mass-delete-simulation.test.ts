import { expect, test } from "vitest";
import { type MassDeleteOptions, MassDeleteSimulation } from "./mass-delete-simulation.ts";

test.each<[string, Partial<MassDeleteOptions>, number]>([
  ["let go or put back", {}, 23],
  ["put back, every one", { decision: "undo", deletes: false }, 5],
])(
  "of mass deletes that are %s nothing is gone but what an application deleted, and nodes end equal, by seed",
  (_, options, from) => {
    for (let seed = from; seed < from + 7; seed++)
      expect([seed, new MassDeleteSimulation(seed, options).run().failures]).toEqual([seed, []]);
  },
  120_000,
);
