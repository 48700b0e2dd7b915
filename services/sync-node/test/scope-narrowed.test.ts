import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { FileRootEngine, Part } from "@scoutsync/files";
import { emptyStats, pushFiles, Rate } from "@scoutsync/session";
import { temporaryFolder } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { FileCopy } from "../src/scopes/file-copies.ts";
import { partPeer } from "../src/scopes/part-peer.ts";
import { rootOf } from "./scope-files-simulation.ts";

async function site(name: string) {
  const folder = temporaryFolder(`narrowed-${name}`);
  const path = join(folder.path, "root");
  mkdirSync(path);
  const engine = await FileRootEngine.open(
    {
      name: "uploads",
      path,
      manifestPath: join(folder.path, "files.db"),
      nodeName: name,
      databases: [],
      exclude: [],
      limits: { minFreeBytes: 0 },
    },
    { sightingGapMs: 1 },
  );
  onTestFinished(async () => {
    await engine.close();
    folder.remove();
  });
  const write = async (file: string, text: string) => {
    mkdirSync(dirname(join(path, file)), { recursive: true });
    writeFileSync(join(path, file), text);
    await engine.scan({ confirm: true });
  };
  const textAt = (file: string) => (existsSync(join(path, file)) ? readFileSync(join(path, file), "utf8") : null);
  return { root: rootOf(engine, path), write, textAt };
}

test("files that the server of a scope accepted and had not carried yet when the scope became smaller are in its root", async () => {
  const [main, copy, laptop] = [await site("main"), await site("copy"), await site("laptop")];
  const before = new FileCopy("blue", copy.root, main.root, new Part(["blue/"]));
  await before.carry();
  await laptop.write("blue/later/plan.txt", "typed at the laptop");
  await laptop.write("blue/now/rules.txt", "typed there, too");
  // A session that went well, and a server that was killed right after it.
  const peer = partPeer(copy.root, laptop.root, new Part(["blue/"]));
  const accepted = { root: laptop.root, peer, nodeName: "laptop", asKnown: true, rate: new Rate(), stats: emptyStats() };
  expect((await pushFiles(accepted)).refused).toEqual([]);
  expect([copy.textAt("blue/later/plan.txt"), main.textAt("blue/later/plan.txt")]).toEqual(["typed at the laptop", null]);

  const after = new FileCopy("blue", copy.root, main.root, new Part(["blue/now/"]));
  await after.carry();
  expect(main.textAt("blue/later/plan.txt")).toBe("typed at the laptop");
  expect(main.textAt("blue/now/rules.txt")).toBe("typed there, too");
  expect([copy.textAt("blue/later/plan.txt"), copy.textAt("blue/now/rules.txt")]).toEqual([null, "typed there, too"]);
});
