import { afterEach, beforeEach, expect, test } from "vitest";
import { Fleet } from "@scoutsync/testkit";
import { TwoTeams } from "./two-teams.ts";

/** One seed, or the first of several: `SCOUTSYNC_SEED=7 SCOUTSYNC_TEAM_SEEDS=20 SCOUTSYNC_TEAM_STEPS=60`. */
const first = Number(process.env["SCOUTSYNC_SEED"] ?? 1);
const count = Number(process.env["SCOUTSYNC_TEAM_SEEDS"] ?? 1);
const steps = Number(process.env["SCOUTSYNC_TEAM_STEPS"] ?? 24);
const seeds = Array.from({ length: count }, (_, at) => first + at);

let fleet: Fleet;
beforeEach(() => void (fleet = new Fleet("two-teams")));
afterEach(() => fleet.stop());

test.each(seeds)(
  "two teams on one server over mutual TLS, whatever they do: no byte of one reaches the other, answers to one do not depend on the other, their own converge (seed %i)",
  async (seed) => {
    const teams = await TwoTeams.start(fleet, seed);
    for (let step = 0; step < steps; step++) await teams.step();
    await teams.converge();

    const heard = teams.heardOf("blue");
    const { answers, refused } = await teams.answersWhenAllIsSaid("red", heard);
    expect(refused).toBeGreaterThan(20);
    // A path that was asked for may be said back: in the message, and once more in its details, where quotes are escaped.
    const echoes = /"path":"[^"]*"|no file \\?"[^"\\]*\\?"/g;
    for (const answer of answers) expect(answer.replaceAll(echoes, "")).not.toMatch(teams.secretsOf("blue"));
    // Blue goes on, and red is idle: nothing that red is told changes.
    await teams.busyTime("blue");
    expect((await teams.answersTo("red", heard)).answers).toEqual(answers);
    for (const at of ["red", "red-too"]) expect(await teams.listedAt(at)).not.toMatch(teams.secretsOf("blue"));

    await teams.stop();
    expect(teams.lost()).toEqual([]);
    for (const name of ["red", "red-too"]) expect(teams.everythingAt(name).match(teams.secretsOf("blue"))).toBeNull();
    for (const name of ["blue", "blue-too"]) expect(teams.everythingAt(name).match(teams.secretsOf("red"))).toBeNull();
  },
  720_000,
);
