import { expect, test } from "vitest";
import { RollingUpgrade } from "./rolling.ts";

const FROM = Number(process.env["SCOUTSYNC_SEED"] ?? 1);

test.each(Array.from({ length: 6 }, (_, i) => FROM + i))(
  "replicas upgraded one by one lose nothing and become equal (seed %i)",
  { timeout: 360_000 },
  (seed) => {
    expect(new RollingUpgrade(seed).run()).toEqual([]);
  },
);
