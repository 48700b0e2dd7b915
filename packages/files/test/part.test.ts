import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { temporaryFolder } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { Part } from "../src/index.ts";
import { openSite, pull, sync, type Site } from "./exchange.ts";

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

async function two(): Promise<[Site, Site]> {
  const folder = temporaryFolder("part");
  const sites = [
    await openSite(folder.path, "laptop", { sightingGapMs: 1 }),
    await openSite(folder.path, "server", { sightingGapMs: 1 }),
  ] as const;
  onTestFinished(async () => {
    for (const { engine } of sites) await engine.close();
    folder.remove();
  });
  return [...sites];
}

function write({ root }: Site, path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

const textAt = ({ root }: Site, path: string) => (existsSync(join(root, path)) ? readFileSync(join(root, path), "utf8") : null);

test("a part is what lies below its folders, and a folder is none that only begins so", () => {
  const part = new Part(["545/", "teams/1/"]);
  expect(["545/a", "545/b/c", "teams/1/x"].every((path) => part.has(path))).toBe(true);
  expect(["5454/a", "545", "teams", "teams/1", "teams/10/x", "other", ""].some((path) => part.has(path))).toBe(false);
  expect(["545", "teams", "teams/1"].every((path) => part.leadsTo(path))).toBe(true);
  expect(["5454", "team", "teams/10", "545/a"].some((path) => part.leadsTo(path))).toBe(false);
  expect(new Part([""]).has("anything")).toBe(true);
  expect(new Part([]).has("anything")).toBe(false);
  for (const wrong of ["545", "/", "../", "a/../b/", "/a/", "a//", "nul/"]) expect(() => new Part([wrong]), wrong).toThrow(/path|folder/);
});

test("what is outside of a smaller part goes into the store without a deletion, what only this node has stays, and all comes back with a larger part", async () => {
  const [laptop, server] = await two();
  write(server, "a/one", "first");
  write(server, "b/two", "second");
  write(laptop, "b/three", "from the laptop");
  write(laptop, "b/five", "edited there");
  await sync(laptop, server);
  await sync(laptop, server);
  expect(textAt(laptop, "b/two")).toBe("second");
  expect(textAt(server, "b/three")).toBe("from the laptop");
  write(laptop, "b/four", "nobody has it");
  await laptop.engine.scan({});
  write(laptop, "b/five", "edited here since");

  expect(await laptop.engine.limitTo(["a/"])).toBe(true);
  expect(await laptop.engine.limitTo(["a/"])).toBe(false);
  expect([textAt(laptop, "b/two"), textAt(laptop, "b/three")]).toEqual([null, null]);
  expect([textAt(laptop, "a/one"), textAt(laptop, "b/four"), textAt(laptop, "b/five")]).toEqual([
    "first",
    "nobody has it",
    "edited here since",
  ]);
  // Kept, and not served: whoever knows the hash may be somebody who never saw it.
  expect((await laptop.engine.versions("b/two")).map(({ hash, why }) => [hash, why])).toEqual([[hashOf("second"), "left"]]);
  await expect(laptop.engine.read(hashOf("second"), 0, 10)).rejects.toThrow(/no file/);
  expect(await laptop.engine.holds([hashOf("first"), hashOf("second")])).toEqual([true, false]);
  await expect(laptop.engine.locate("b/two")).rejects.toThrow(/no file/);
  await expect(laptop.engine.restore("b/two", hashOf("second"))).rejects.toThrow(/outside/);

  // Others hear of nothing, whatever was done to what is outside, and say nothing of it here.
  write(laptop, "b/six", "left alone");
  await laptop.engine.scan({ confirm: true });
  const there = await pull(server.engine, laptop.engine, "laptop");
  expect([textAt(server, "b/two"), textAt(server, "b/three"), textAt(server, "b/four")]).toEqual(["second", "from the laptop", null]);
  expect(there.refused).toEqual([]);
  const { refused } = await pull(laptop.engine, server.engine, "server");
  expect(new Set(refused.map(({ code, path }) => `${code} ${path}`))).toEqual(
    new Set(["FORBIDDEN b", "FORBIDDEN b/two", "FORBIDDEN b/three", "FORBIDDEN b/five"]),
  );
  expect(textAt(laptop, "b/two")).toBe(null);

  await laptop.engine.limitTo(null);
  for (let round = 0; round < 2; round++) await sync(laptop, server);
  for (const site of [laptop, server]) {
    expect([textAt(site, "b/two"), textAt(site, "b/three"), textAt(site, "b/four")]).toEqual([
      "second",
      "from the laptop",
      "nobody has it",
    ]);
    expect([textAt(site, "b/five"), textAt(site, "b/six")]).toEqual(["edited here since", "left alone"]);
  }
  expect(laptop.engine.state().digest).toBe(server.engine.state().digest);
});

test("what this node wrote and a smaller part took away is kept for good: whoever has read of it may have left it alone", async () => {
  const folder = temporaryFolder("part-kept");
  let passedUs = 0;
  const nowUs = () => Date.now() * 1000 + passedUs;
  const laptop = await openSite(folder.path, "laptop", { sightingGapMs: 1, nowUs });
  const server = await openSite(folder.path, "server", { sightingGapMs: 1, nowUs }, { exclude: ["*.log"] });
  onTestFinished(async () => {
    for (const { engine } of [laptop, server]) await engine.close();
    folder.remove();
  });
  write(server, "b/two", "second");
  write(laptop, "b/x.log", "nobody else takes it");
  await sync(laptop, server);
  expect(textAt(server, "b/x.log")).toBe(null);
  await laptop.engine.limitTo(["a/"]);
  await sync(laptop, server);
  for (let weeks = 0; weeks < 5; weeks++) {
    passedUs += 7 * 86_400_000_000;
    await laptop.engine.forget({ retentionDays: 30, dryRun: true, correctionUs: 0 });
  }
  await laptop.engine.scan({ confirm: true });
  await laptop.engine.forget({ retentionDays: 30, dryRun: false, correctionUs: 0 });
  const objects = join(laptop.root, ".scoutsync-store", "objects");
  const kept = readdirSync(objects).map((name) => readFileSync(join(objects, name), "utf8"));
  expect([...kept, textAt(laptop, "b/x.log")]).toContain("nobody else takes it");
  expect(kept).not.toContain("second");
});

test("so it is where another file has come under its name by then", async () => {
  const folder = temporaryFolder("part-kept");
  let passedUs = 0;
  const nowUs = () => Date.now() * 1000 + passedUs;
  const laptop = await openSite(folder.path, "laptop", { sightingGapMs: 1, nowUs });
  let server = await openSite(folder.path, "server", { sightingGapMs: 1, nowUs }, { exclude: ["*.log"] });
  onTestFinished(async () => {
    for (const { engine } of [laptop, server]) await engine.close();
    folder.remove();
  });
  write(laptop, "b/x.log", "nobody else takes it");
  write(server, "b/y", "the server's");
  await sync(laptop, server);
  await laptop.engine.limitTo(["a/"]);
  await server.engine.close();
  server = await openSite(folder.path, "server", { sightingGapMs: 1, nowUs });
  write(server, "b/x.log", "another's");
  await laptop.engine.limitTo(["b/"]);
  write(server, "b/y", "the server's second");
  await sync(laptop, server);
  expect(textAt(laptop, "b/x.log")).toBe("another's");
  for (let weeks = 0; weeks < 5; weeks++) {
    passedUs += 7 * 86_400_000_000;
    await laptop.engine.forget({ retentionDays: 30, dryRun: true, correctionUs: 0 });
  }
  await laptop.engine.scan({ confirm: true });
  await laptop.engine.forget({ retentionDays: 30, dryRun: false, correctionUs: 0 });
  const objects = join(laptop.root, ".scoutsync-store", "objects");
  expect(readdirSync(objects).map((name) => readFileSync(join(objects, name), "utf8"))).toEqual(["nobody else takes it"]);
});

test("a process that dies while files leave loses none of them, and the next goes on", async () => {
  const folder = temporaryFolder("part-death");
  onTestFinished(() => folder.remove());
  const server = await openSite(folder.path, "server", { sightingGapMs: 1 });
  onTestFinished(() => server.engine.close());
  for (const name of ["one", "two", "three"]) write(server, `b/${name}`, `text of ${name}`);
  let laptop = await openSite(folder.path, "laptop", { sightingGapMs: 1 });
  await sync(laptop, server);
  await laptop.engine.close();
  let moved = 0;
  const reached = (step: string) => {
    if (step === "leaving file moved" && ++moved === 2) throw new Error("died");
  };
  laptop = await openSite(folder.path, "laptop", { sightingGapMs: 1, reached });
  await expect(laptop.engine.limitTo([])).rejects.toThrow("died");
  await laptop.engine.close();
  laptop = await openSite(folder.path, "laptop", { sightingGapMs: 1 });
  onTestFinished(() => laptop.engine.close());
  await laptop.engine.scan({ confirm: true });
  for (const name of ["one", "two", "three"]) expect(textAt(laptop, `b/${name}`)).toBe(null);
  expect((await laptop.engine.status()).stored.objects).toBe(3);
  await pull(server.engine, laptop.engine, "laptop");
  for (const name of ["one", "two", "three"]) expect(textAt(server, `b/${name}`)).toBe(`text of ${name}`);
});
