import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { FleetSimulation } from "./fleet/fleet.ts";
import type { FleetOptions } from "./fleet/options.ts";

/** SCOUTSYNC_FLEET_SEEDS and SCOUTSYNC_FLEET_FROM for more or others; the same ones every time otherwise. */
const SEEDS = Number(process.env["SCOUTSYNC_FLEET_SEEDS"] ?? 30);
const FROM = Number(process.env["SCOUTSYNC_FLEET_FROM"] ?? 401);

/** Kinds of histories, with the part of the budget that each gets. */
const KINDS: [string, Partial<FleetOptions>, number][] = [
  ["on a good network", { faults: false, crashes: false, copies: false, jumps: false, partitions: false }, 0.6],
  ["with everything that may happen", {}, 1],
  // Together: what one of them alone did not find.
  ["with rows that refer to each other and parents with natural keys", { selfReferences: true, naturalParents: true }, 0.8],
  ["upgraded node by node, with tables without a key", { migrations: true, keyless: true }, 0.6],
  ["that drops tables, and makes them again, while others write to them", { migrations: true, drops: true, returns: true }, 0.2],
];

function failuresOf(seed: number, options: Partial<FleetOptions>): string[] {
  try {
    return new FleetSimulation(seed, options).run().failures;
  } catch (error) {
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
}

test.each(KINDS)("no write of a fleet is lost and everyone agrees: %s", { timeout: 1_800_000 }, async (_, options, part) => {
  const last = FROM + Math.max(1, Math.round(SEEDS * part)) - 1;
  console.log(`seeds ${FROM} to ${last}, ${JSON.stringify(options)}`);
  for (let seed = FROM; seed <= last; seed++) {
    const again = `node test/simulation/fleet/main.ts ${seed} 1 '${JSON.stringify({ ...options, shrink: true })}'`;
    expect(failuresOf(seed, options), `seed ${seed}; its shortest history: ${again}`).toEqual([]);
    // The runner wants to hear from us now and then.
    await setImmediate();
  }
});

/** Histories that nobody has found a shorter form of. */
const FOUND: [number, Partial<FleetOptions>, string][] = [
  [800203, { selfReferences: true, naturalParents: true }, "a deleted parent that comes back to wait is tried like the others"],
  [
    50000086,
    { selfReferences: true, naturalParents: true, recursive: true },
    "a row that came before a cut of its drain and went after it is named",
  ],
  [
    88200013,
    { migrations: true, drops: true, returns: true, keyless: true },
    "what lost in a column that is gone is listed where that was known as it went",
  ],
  [95000001, { migrations: true, drops: true, returns: true }, "what is kept for a row that waited in a dropped table is so where that is"],
];

test.each(FOUND)("seed %i", { timeout: 900_000 }, (seed, options) => {
  expect(failuresOf(seed, options)).toEqual([]);
});
