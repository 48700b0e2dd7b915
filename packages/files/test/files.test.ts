import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSite, sync, type Site } from "./exchange.ts";

let folder: { path: string; remove(): void };
let a: Site;
let b: Site;
beforeEach(async () => {
  folder = temporaryFolder("roots");
  [a, b] = [await openSite(folder.path, "a"), await openSite(folder.path, "b")];
});
afterEach(async () => {
  await Promise.all([a.engine.close(), b.engine.close()]);
  folder.remove();
});

test("a folder goes with what is in it, the deepest first", async () => {
  mkdirSync(join(a.root, "x", "y"), { recursive: true });
  writeFileSync(join(a.root, "x", "y", "deep"), "1");
  await sync(a, b);
  expect(readFileSync(join(b.root, "x/y/deep"), "utf8")).toBe("1");
  rmSync(join(a.root, "x"), { recursive: true });
  await sync(a, b);
  expect(readdirSync(b.root)).toEqual([".scoutsync-store"]);
});

test("a file that a person puts in the place of a folder is that file everywhere after one session, in both directions", async () => {
  for (const [from, to, name] of [
    [a, b, "x"],
    [b, a, "y"],
  ] as const) {
    mkdirSync(join(from.root, name, "sub"), { recursive: true });
    writeFileSync(join(from.root, name, "sub", "deep"), `deep in ${name}`);
    await sync(a, b);
    rmSync(join(from.root, name), { recursive: true });
    writeFileSync(join(from.root, name), "a file now");
    await sync(a, b);
    for (const site of [from, to]) {
      expect(readFileSync(join(site.root, name), "utf8")).toBe("a file now");
      expect(await site.engine.reviews()).toEqual([]);
    }
    expect((await to.engine.versions(`${name}/sub/deep`)).map(({ why }) => why)).toEqual(["deleted"]);
    const [down, up] = await sync(a, b);
    expect(down.bytes + up.bytes).toBe(0);
  }
});

test("a file for the name of a folder in which somebody else has a new file is the version that lost it", async () => {
  mkdirSync(join(a.root, "x"));
  writeFileSync(join(a.root, "x", "old"), "1");
  await sync(a, b);
  rmSync(join(a.root, "x"), { recursive: true });
  writeFileSync(join(a.root, "x"), "a file now");
  writeFileSync(join(b.root, "x", "new"), "of b");
  for (let round = 0; round < 3; round++) await sync(a, b);
  for (const site of [a, b]) {
    expect(readdirSync(join(site.root, "x"))).toEqual(["new"]);
    expect(await site.engine.reviews()).toMatchObject([{ key: "x", winner: { value: "a folder" } }]);
  }
});

test("rules that are deleted on every node at once are gone after one session, and what they had left alone takes part", async () => {
  writeFileSync(join(a.root, ".scoutsyncignore"), "*.log\n");
  mkdirSync(join(a.root, "sub"));
  writeFileSync(join(a.root, "sub", "x.log"), "of a");
  await sync(a, b);
  // Both have looked under them.
  await sync(a, b);
  for (const site of [a, b]) rmSync(join(site.root, ".scoutsyncignore"));
  await sync(a, b);
  for (const site of [a, b]) {
    const [rules] = await site.engine.files(".scoutsyncignore", "", 1);
    expect(rules?.kind).toBe("gone");
    expect(readFileSync(join(site.root, "sub", "x.log"), "utf8")).toBe("of a");
  }
});

test("new rules leave everything alone at once, also in a folder that went under them, and equal roots have equal digests", async () => {
  mkdirSync(join(a.root, "cache", "deep"), { recursive: true });
  writeFileSync(join(a.root, "cache", "deep", "1"), "1");
  await sync(a, b);
  rmSync(join(a.root, "cache"), { recursive: true });
  writeFileSync(join(a.root, ".scoutsyncignore"), "cache\n");
  // As after a hint of the kernel: the folder above only.
  await a.engine.scan({ folders: [""], confirm: true });
  await sync(a, b);
  await sync(a, b);
  expect(a.engine.state().digest).toBe(b.engine.state().digest);
  expect(readFileSync(join(b.root, "cache", "deep", "1"), "utf8")).toBe("1");
});

test("what is too large for a node is said there as long as another node has it", async () => {
  await b.engine.close();
  b = await openSite(folder.path, "b", {}, { limits: { maxSizeBytes: 10 } });
  writeFileSync(join(a.root, "large"), "more than ten bytes");
  await sync(a, b);
  await b.engine.scan({ confirm: true });
  expect((await b.engine.status()).remarks).toMatchObject([{ path: "large", kind: "size" }]);
  writeFileSync(join(a.root, "large"), "small");
  await sync(a, b);
  expect((await b.engine.status()).remarks).toEqual([]);
  expect(readFileSync(join(b.root, "large"), "utf8")).toBe("small");
});

test("of many things that are left alone the first are named, and how many more there are", async () => {
  for (let n = 0; n < 1_003; n++) symlinkSync("/nowhere", join(a.root, `link ${n}`));
  await a.engine.scan({});
  const { remarks } = await a.engine.status();
  expect(remarks.filter(({ kind }) => kind === "kind")).toHaveLength(1_000);
  expect(remarks.slice(1_000)).toEqual([{ path: "", kind: "more", reason: "and 3 more" }]);
});

test("what a link stood in the place of comes back when the link goes, also where everybody had it from this very node", async () => {
  mkdirSync(join(a.root, "d"));
  writeFileSync(join(a.root, "d", "x"), "1");
  await sync(a, b);
  rmSync(join(a.root, "d"), { recursive: true });
  symlinkSync("/nowhere", join(a.root, "d"));
  await sync(a, b);
  expect(readFileSync(join(b.root, "d", "x"), "utf8")).toBe("1");
  rmSync(join(a.root, "d"));
  await sync(a, b);
  await sync(a, b);
  for (const site of [a, b]) expect(readFileSync(join(site.root, "d", "x"), "utf8")).toBe("1");
});
