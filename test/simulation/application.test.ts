import { chooseSeed } from "@scoutsync/testkit";
import { expect, test } from "vitest";
import { history, play, shrink } from "./application.ts";

/** SCOUTSYNC_SEEDS for more. */
const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 60);

test("whatever SQL an application uses, a second replica ends up with the same rows", { timeout: 720_000 }, () => {
  const first = chooseSeed();
  console.log(`seeds ${first} to ${first + SEEDS - 1}`);
  for (let seed = first; seed < first + SEEDS; seed++) {
    const steps = history(seed, 40);
    if (play(steps).length === 0) continue;
    const shortest = shrink(steps);
    expect(play(shortest), `seed ${seed}:\n${shortest.map((step) => JSON.stringify(step)).join("\n")}`).toEqual([]);
  }
});
