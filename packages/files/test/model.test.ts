import { chooseSeed } from "@scoutsync/testkit";
import { expect, test } from "vitest";
import { runSeeds } from "./model.ts";

test("three nodes on real folders lose nothing and agree, whatever is cut, unmounted, ignored or lost", { timeout: 120_000 }, async () => {
  const seed = chooseSeed();
  console.log(`seed ${seed}: repeat with \`node packages/files/test/simulate.ts ${seed} 4\``);
  await expect(runSeeds(seed, 4, { steps: 60 })).resolves.toBeUndefined();
});
