import { isCovered, sameContent, type FileEntry, type Origin } from "@scoutsync/core";
import { chooseSeed, seededRandom } from "@scoutsync/testkit";
import { describe, expect, test } from "vitest";
import { next, plan } from "../src/index.ts";
import { runPlannerSeeds } from "./planner-model.ts";

const author = (name: string) => name.padEnd(16, "a") as Origin;
const A = author("a");
const B = author("b");
const HASH = { one: "1".repeat(64), two: "2".repeat(64) };

function entry(change: Partial<FileEntry>): FileEntry {
  const version = change.version ?? new Map([[A, 1]]);
  return {
    path: "x",
    kind: "file",
    hash: HASH.one,
    size: 1,
    mode: 6,
    modifiedUs: 0,
    stampUs: 10,
    author: "a",
    before: "",
    cause: "",
    losers: [],
    ...change,
    version,
  };
}
const gone = (version: Map<Origin, number>) => entry({ kind: "gone", hash: "", size: 0, mode: 0, version });
const planner = { author: B, nowUs: 5_000_000 };

describe("the decision table", () => {
  const older = new Map([[A, 1]]);
  const newer = new Map([[A, 2]]);
  const apart = new Map([[B, 1]]);
  const two = { hash: HASH.two };
  test.each([
    ["nothing here, a live one", null, entry({}), "take"],
    ["nothing here, a tombstone", null, gone(older), "note"],
    ["the same twice", entry({}), entry({}), "nothing"],
    ["the same bytes written apart", entry({}), entry({ version: apart }), "join"],
    ["theirs knew ours", entry({}), entry({ ...two, version: newer }), "take"],
    ["ours knew theirs", entry({ version: newer }), entry(two), "nothing"],
    ["theirs deleted ours", entry({}), gone(newer), "remove"],
    ["ours deleted theirs", gone(newer), entry({}), "nothing"],
    [
      "an edit here meets a deletion",
      entry({ version: newer }),
      gone(
        new Map([
          [A, 1],
          [B, 1],
        ]),
      ),
      "keep",
    ],
    [
      "a deletion here meets an edit",
      gone(
        new Map([
          [A, 1],
          [B, 1],
        ]),
      ),
      entry({ version: newer }),
      "take",
    ],
    ["two edits apart", entry({}), entry({ ...two, version: apart }), "settle"],
    ["one version for two contents", entry({}), entry(two), "settle"],
    ["only the bits differ, apart", entry({}), entry({ mode: 7, version: apart }), "settle"],
    ["a file meets a folder", entry({}), entry({ kind: "folder", hash: "", mode: 7, version: apart }), "settle"],
  ] as const)("%s", (_name, ours, theirs, step) => {
    const planned = plan(ours, theirs, planner);
    expect(planned.step).toBe(step);
    const version = "row" in planned ? planned.row.version : (ours?.version ?? theirs.version);
    // Whatever is decided knows both, and a decision between two contents is a version of its own.
    expect([ours, theirs].every((known) => known === null || isCovered(known.version, version))).toBe(true);
    const isOwn = (version.get(B) ?? 0) > Math.max(ours?.version.get(B) ?? 0, theirs.version.get(B) ?? 0);
    expect(isOwn).toBe(step === "settle" || step === "keep" || (step === "take" && ours?.kind === "gone"));
  });

  test("both sides of a conflict name the same winner, and the loser's bytes", () => {
    const ours = entry({ stampUs: 20 });
    const theirs = entry({ ...two, version: apart, stampUs: 30 });
    const [here, there] = [plan(ours, theirs, planner), plan(theirs, ours, planner)];
    if (here.step !== "settle" || there.step !== "settle") throw new Error("no conflict");
    expect(sameContent(here.row, there.row)).toBe(true);
    expect(here.row.hash).toBe(HASH.two);
    expect(here.loser?.hash).toBe(HASH.one);
    expect(there.row.losers).toEqual(here.row.losers);
  });

  test("a clock that went back gives out no version twice", () => {
    const first = next(new Map(), { author: A, nowUs: 9_000_000 });
    const second = next(first, { author: A, nowUs: 1_000_000 });
    expect(second.get(A)).toBe(10);
  });
});

test("random histories of several nodes lose nothing and agree", () => {
  const seed = chooseSeed();
  console.log(`seed ${seed}`);
  expect(seededRandom(seed).seed).toBe(seed);
  runPlannerSeeds(seed, 300);
});
