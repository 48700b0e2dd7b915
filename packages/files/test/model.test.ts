import { afterAll, beforeAll, expect, test } from "vitest";
import { runSeeds } from "./model.ts";

// Root may read everything: as another user, folders are really closed.
const isRoot = process.getuid?.() === 0;
beforeAll(() => {
  if (isRoot) process.seteuid?.("nobody");
});
afterAll(() => {
  if (isRoot) process.seteuid?.(0);
});

test(
  "three nodes on real folders lose nothing and agree, whatever is cut, unmounted, unreadable, ignored or lost",
  { timeout: 360_000 },
  async () => {
    // The same ones every time, so that a red run is one of the change that it is of; others by hand.
    const seed = Number(process.env["SCOUTSYNC_SEED"] ?? 1);
    console.log(`seed ${seed}: repeat with \`node packages/files/test/simulate.ts ${seed} 4\``);
    await expect(runSeeds(seed, 4, { steps: 60 })).resolves.toBeUndefined();
  },
);
