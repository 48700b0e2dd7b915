import { boundOf } from "@scoutsync/testkit";
import { expect, test } from "vitest";
import { forgery } from "./forgery-simulation.ts";

const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 3);
const FIRST_SEED = Number(process.env["SCOUTSYNC_SEED"] ?? 1);

test.each(Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i))(
  "a member lies of what others have, made and forgot (seed %i): no row that its author has is lost anywhere",
  async (seed) => {
    const { steps, lost, back, apart } = await forgery(seed);
    expect({ lost, apart }, steps.join("\n")).toEqual({ lost: [], apart: [] });
    if (back.length) console.log(`seed ${seed}: deleted rows that are there again: ${back.join("; ")}`);
  },
  boundOf(180_000),
);
