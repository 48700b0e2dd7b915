import { existsSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSite, pull, sync, type Site } from "./exchange.ts";

const DAY_US = 86_400_000_000;

let folder: { path: string; remove(): void };
let a: Site;
let b: Site;
let passedUs: number;
beforeEach(async () => {
  passedUs = 0;
  const nowUs = () => Date.now() * 1000 + passedUs;
  folder = temporaryFolder("retention");
  [a, b] = [await openSite(folder.path, "a", { nowUs }), await openSite(folder.path, "b", { nowUs })];
});
afterEach(async () => {
  await Promise.all([a.engine.close(), b.engine.close()]);
  folder.remove();
});

const write = (site: Site, path: string, text: string) => writeFileSync(join(site.root, path), text);
const stored = (site: Site) => readdirSync(join(site.root, ".scoutsync-store", "objects"));
const forget = (site: Site, dryRun = false, correctionUs = 0) => site.engine.forget({ retentionDays: 30, dryRun, correctionUs });
/** Time passes while both nodes run, and look now and then. */
async function passTo(days: number): Promise<void> {
  while (passedUs < days * DAY_US) {
    for (const site of [a, b]) await forget(site, true);
    passedUs = Math.min(passedUs + 6 * DAY_US, days * DAY_US);
  }
}

test("what was replaced or deleted goes when its time is over, and not a moment before; a dry run only counts", async () => {
  write(a, "x", "1");
  write(a, "y", "2");
  await sync(a, b);
  write(a, "x", "longer");
  rmSync(join(a.root, "y"));
  await sync(a, b);
  expect(stored(b)).toHaveLength(2);
  await passTo(29);
  expect(await forget(b)).toMatchObject({ versions: { files: 0 }, young: 2 });
  await passTo(31);
  // A minute without a write, seen twice: nobody has them open any more.
  await b.engine.scan({});
  expect(await forget(b, true)).toEqual({
    versions: { files: 2, bytes: 2 },
    partial: { files: 0, bytes: 0 },
    young: 0,
    needed: 0,
    unacknowledged: 0,
  });
  expect(stored(b)).toHaveLength(2);
  expect(await forget(b)).toMatchObject({ versions: { files: 2, bytes: 2 }, young: 0 });
  expect(stored(b)).toEqual([]);
  expect(await b.engine.versions("x")).toEqual([]);
  await sync(a, b);
  expect(existsSync(join(b.root, "y"))).toBe(false);
});

test("a clock that is set a year ahead lets nothing go, once it is known to be wrong; one a year behind neither", async () => {
  write(a, "x", "1");
  await sync(a, b);
  write(a, "x", "longer");
  await sync(a, b);
  const before = stored(b);
  expect(before).toHaveLength(1);
  for (const aheadDays of [365, -365]) {
    passedUs = aheadDays * DAY_US;
    await b.engine.scan({});
    expect(await forget(b, false, -passedUs)).toMatchObject({ versions: { files: 0 }, young: 1 });
    expect(stored(b)).toEqual(before);
  }
  // Right again: what the clock said meanwhile does not make it older, and not younger than it is for more than a month.
  passedUs = 0;
  expect(await forget(b)).toMatchObject({ versions: { files: 0 }, young: 1 });
  await passTo(31);
  await b.engine.scan({});
  expect(await forget(b)).toMatchObject({ versions: { files: 1 }, young: 0 });
  expect(stored(b)).toEqual([]);
});

test.each(["before the retention has looked", "after it"])(
  "what was displaced by a clock that was far back since the node started is kept as long as anything once it is right, %s",
  async (when) => {
    write(a, "x", "1");
    await sync(a, b);
    await forget(b);
    await b.engine.close();
    passedUs = -400 * DAY_US;
    b = await openSite(folder.path, "b", { nowUs: () => Date.now() * 1000 + passedUs });
    write(a, "x", "longer");
    await sync(a, b);
    if (when === "after it") await forget(b);
    await b.engine.close();
    passedUs = DAY_US;
    b = await openSite(folder.path, "b", { nowUs: () => Date.now() * 1000 + passedUs });
    await b.engine.scan({});
    expect(await forget(b)).toMatchObject({ versions: { files: 0 }, young: 1 });
    await passTo(20);
    await forget(b);
    expect(stored(b)).toHaveLength(1);
    await passTo(40);
    await b.engine.scan({});
    expect(await forget(b)).toMatchObject({ versions: { files: 1 }, young: 0 });
  },
);

test("a node that began by a clock that was far back keeps what it displaced then, too", async () => {
  passedUs = -400 * DAY_US;
  const nowUs = () => Date.now() * 1000 + passedUs;
  let c = await openSite(folder.path, "c", { nowUs });
  write(a, "x", "1");
  await sync(a, c);
  write(a, "x", "longer");
  await sync(a, c);
  await c.engine.close();
  passedUs = 0;
  c = await openSite(folder.path, "c", { nowUs });
  try {
    await c.engine.scan({});
    await forget(c);
    expect(stored(c)).toHaveLength(1);
  } finally {
    await c.engine.close();
  }
});

test("the other side of a conflict stays until a person has decided, whatever its age", async () => {
  write(a, "x", "1");
  await sync(a, b);
  write(a, "x", "from a");
  write(b, "x", "from b");
  await sync(a, b);
  await passTo(400);
  for (const site of [a, b]) await site.engine.scan({});
  const before = [...stored(a), ...stored(b)].length;
  for (const site of [a, b]) expect(await forget(site)).toMatchObject({ versions: { files: 0 } });
  expect([...stored(a), ...stored(b)]).toHaveLength(before);
  const [review] = await b.engine.reviews();
  await b.engine.resolve(review!.id, "loser");
  await sync(a, b);
  await passTo(800);
  for (const site of [a, b]) await site.engine.scan({});
  for (const site of [a, b]) await forget(site);
  for (const site of [a, b]) expect(stored(site)).toEqual([]);
});

test("it stays listed where the path was left alone for a while, and the file is fetched anew", async () => {
  const seams = { nowUs: () => Date.now() * 1000 + passedUs };
  write(a, "x", "from a");
  write(b, "x", "from b, the later one");
  utimesSync(join(a.root, "x"), 1, 1);
  await a.engine.scan({});
  await b.engine.scan({});
  await pull(a.engine, b.engine, "b");
  expect(await a.engine.reviews()).toMatchObject([{ key: "x", resolved: false }]);
  await a.engine.close();
  a = await openSite(folder.path, "a", seams, { exclude: ["x"] });
  await a.engine.scan({ confirm: true });
  rmSync(join(a.root, "x"));
  await a.engine.close();
  a = await openSite(folder.path, "a", seams);
  await a.engine.scan({ confirm: true });
  await sync(a, b);
  expect(existsSync(join(a.root, "x"))).toBe(true);
  for (const site of [a, b]) expect(await site.engine.reviews()).toMatchObject([{ key: "x", loser: { author: "a" }, resolved: false }]);
  await passTo(400);
  await a.engine.scan({});
  await forget(a);
  expect(stored(a)).toHaveLength(1);
});

test("a version stays while no other node is known to have what replaced it", async () => {
  write(a, "x", "1");
  await sync(a, b);
  // Restored here, and nobody has heard of it yet.
  write(a, "x", "2");
  await sync(a, b);
  await b.engine.restore("x", (await b.engine.versions("x"))[0]?.hash ?? "");
  await passTo(31);
  await b.engine.scan({});
  expect(await forget(b)).toMatchObject({ versions: { files: 1 }, unacknowledged: 1 });
  await pull(a.engine, b.engine, "b");
  expect(await forget(b)).toMatchObject({ versions: { files: 1 }, unacknowledged: 0 });
});

test("bytes that a program wrote into an old version at last are not thrown away with it", async () => {
  write(a, "x", "1");
  await sync(a, b);
  write(a, "x", "2");
  await sync(a, b);
  await passTo(31);
  await b.engine.scan({});
  writeFileSync(join(b.root, ".scoutsync-store", "objects", stored(b)[0] ?? ""), "written much later");
  expect(await forget(b)).toMatchObject({ versions: { files: 0 }, needed: 1 });
  expect(await b.engine.reviews()).toMatchObject([{ key: "x" }]);
});

test("what came of a file in part goes a day after nobody went on with it; what is being received does not", async () => {
  const staging = join(b.root, ".scoutsync-store", "staging");
  const [left, under] = ["1".repeat(64), "2".repeat(64)];
  for (const hash of [left, under]) {
    await b.engine.begin(hash, 100);
    await b.engine.write(hash, 0, Buffer.alloc(50));
  }
  await b.engine.leave(left);
  for (const hash of [left, under]) utimesSync(join(staging, hash), 1, 1);
  expect(await forget(b, true)).toMatchObject({ partial: { files: 1, bytes: 50 } });
  expect(await forget(b)).toMatchObject({ partial: { files: 1, bytes: 50 } });
  expect(readdirSync(staging)).toEqual([under]);
});
