import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet, scoutsync, until, type FleetNode } from "@scoutsync/testkit";
import { pause } from "@scoutsync/runtime";
import { afterEach, beforeEach, expect, test } from "vitest";

let fleet: Fleet;
let nodes: FleetNode[];
let roots: string[];
beforeEach(async () => {
  fleet = new Fleet("files-live");
  roots = ["a", "b", "c"].map((name) => fleet.path(name, "uploads"));
  for (const root of roots) mkdirSync(root, { recursive: true });
  const start = (name: string, root: string, peers: string[]) =>
    fleet.node({ name, databases: {}, peers, flags: ["--files", `uploads=${root}`] });
  const a = await start("a", roots[0]!, []);
  const b = await start("b", roots[1]!, [a.address]);
  nodes = [a, b, await start("c", roots[2]!, [b.address])];
});
afterEach(() => fleet.stop());

const hashOf = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");

/** Hashes of every file below, in place or in the store. */
function kept(root: string): Set<string> {
  const found = readdirSync(root, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return new Set(found.map((one) => hashOf(readFileSync(join(one.parentPath, one.name)))));
}

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

test("an application that saves by renaming, in a tight loop on two nodes, loses no version to sync", { timeout: 240_000 }, async () => {
  const paths = [join(roots[0]!, "state.json"), join(roots[1]!, "state.json")];
  let isOver = false;
  let saves = 0;
  /** Versions of an application that were not there any more when it came back, before it had replaced them itself. */
  const displaced = new Set<string>();
  const strange: string[] = [];
  const texts = new Set<string>();
  const save = async (path: string, name: string) => {
    let own = "";
    for (let turn = 0; !isOver; turn++) {
      const found = existsSync(path) ? readFileSync(path, { encoding: "utf8", flag: "r" }) : "";
      if (own !== "" && found !== own) displaced.add(hashOf(own));
      if (found !== "" && !texts.has(found)) strange.push(found);
      own = `${name} ${turn} `.padEnd(2_000, "x");
      texts.add(own);
      writeFileSync(`${path}.tmp`, own);
      renameSync(`${path}.tmp`, path);
      saves += 1;
      await pause(turn % 5 === 0 ? 150 : 5);
    }
    return hashOf(own);
  };
  const saving = paths.map((path, at) => save(path, `app ${at}`));
  await pause(8_000);
  isOver = true;
  const last = await Promise.all(saving);
  await until(async () => (await scoutsync(["verify", nodes[0]!.address, nodes[1]!.address, "--json"])).code === 0, {
    what: "both to be equal again",
    withinMs: 90_000,
    everyMs: 1_000,
  });
  console.log(`${saves} saves, ${displaced.size} of them displaced by sync`);
  expect(strange).toEqual([]);
  const everywhere = new Set(roots.flatMap((root) => [...kept(root)]));
  expect([...displaced, ...last].filter((hash) => !everywhere.has(hash))).toEqual([]);
});
