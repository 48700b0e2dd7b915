import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet, until } from "@scoutsync/testkit";
import { afterEach, beforeEach, test } from "vitest";

let fleet: Fleet;
let roots: string[];
beforeEach(async () => {
  fleet = new Fleet("files-live");
  roots = ["a", "b", "c"].map((name) => fleet.path(name, "uploads"));
  for (const root of roots) mkdirSync(root, { recursive: true });
  const start = (name: string, root: string, peers: string[]) =>
    fleet.node({ name, databases: {}, peers, flags: ["--files", `uploads=${root}`] });
  const a = await start("a", roots[0]!, []);
  const b = await start("b", roots[1]!, [a.address]);
  await start("c", roots[2]!, [b.address]);
});
afterEach(() => fleet.stop());

test("a file travels by itself through a node in the middle, and so does its deletion", async () => {
  mkdirSync(join(roots[0]!, "match"));
  writeFileSync(join(roots[0]!, "match", "q1.csv"), "red");
  await until(() => existsSync(join(roots[2]!, "match", "q1.csv")), { what: "the file on the third node", withinMs: 60_000 });
  writeFileSync(join(roots[2]!, "match", "q1.csv"), "blue");
  await until(() => readFileSync(join(roots[0]!, "match", "q1.csv"), "utf8") === "blue", {
    what: "the edit on the first",
    withinMs: 60_000,
  });
  rmSync(join(roots[1]!, "match"), { recursive: true });
  await until(() => roots.every((root) => !existsSync(join(root, "match"))), { what: "the deletion everywhere", withinMs: 60_000 });
});
