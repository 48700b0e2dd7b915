import { expect, test } from "vitest";
import { ScopeFilesSimulation } from "./scope-files-simulation.ts";

const first = Number(process.env["SCOUTSYNC_SEED"] ?? 1);
const budget = Number(process.env["SCOUTSYNC_SCOPE_FILE_SEEDS"] ?? 5);

test.each(Array.from({ length: budget }, (_, at) => first + at))(
  "two teams have files on one server: nothing of one reaches the other, their own converge, nothing is lost (seed %i)",
  async (seed) => {
    expect(await new ScopeFilesSimulation(seed).run()).toEqual([]);
  },
  360_000,
);
