import { expect, test } from "vitest";
import { type MassDeleteOptions, MassDeleteSimulation } from "./mass-delete-simulation.ts";

test.each<[number, string, Partial<MassDeleteOptions>]>([
  [19, "what a row refers to is let go that is kept for a row written since", {}],
  [1151, "a table of few rows is filled again, while another node edits one of them", {}],
  [30, "a new row takes the integer of one that is kept back", {}],
  [940020, "a new row takes the integer of a kept-back one that is one with another, and had it only since a sync", {}],
  [950024, "a row waits for its place that was inserted under a kept-back key: what that held is in its history", { people: true }],
  [3, "a row is inserted under a kept-back key", { decision: "undo", deletes: false }],
])("seed %i: %s", (seed, _, options) => {
  expect(new MassDeleteSimulation(seed, options).run().failures).toEqual([]);
});

test.each<[string, Partial<MassDeleteOptions>, number]>([
  ["let go or put back", {}, 23],
  ["put back, every one", { decision: "undo", deletes: false }, 5],
  ["let go or put back while people decide about conflicts and restore rows", { people: true }, 1],
])(
  "of mass deletes that are %s nothing is gone but what an application deleted, and nodes end equal, by seed",
  (_, options, from) => {
    for (let seed = from; seed < from + 7; seed++)
      expect([seed, new MassDeleteSimulation(seed, options).run().failures]).toEqual([seed, []]);
  },
  360_000,
);
