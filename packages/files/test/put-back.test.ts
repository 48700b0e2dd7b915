import { cpSync, existsSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { temporaryFolder } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DiskClock } from "../src/scan/disk-clock.ts";
import { openSite, pull, sync, type Site } from "./exchange.ts";
import { bytesOn, hashOf, treeOf } from "./model-disk.ts";

// A server is put back to an earlier snapshot: its folder, its manifest, or both are older than what others know from it.

let folder: { path: string; remove(): void };
let sites: Map<string, Site>;
/** Of the last write, Unix seconds. */
let time: number;
/** What nodes' clocks are ahead of this machine's, µs: versions have the second in which they were written. */
let aheadUs: number;
/** By how much machines' clocks have been set since, ms. */
let setMs: number;
beforeEach(async () => {
  setMs = 0;
  folder = temporaryFolder("put-back");
  time = 1_700_000_000;
  aheadUs = 0;
  sites = new Map();
  for (const name of ["a", "b", "c"]) await open(name);
});
afterEach(async () => {
  for (const { engine } of sites.values()) await engine.close();
  folder.remove();
});

async function open(name: string): Promise<void> {
  const diskClock = new DiskClock(() => Date.now() + setMs);
  sites.set(name, await openSite(folder.path, name, { sightingGapMs: 10, nowUs: () => Date.now() * 1000 + aheadUs, diskClock }));
}

function at(name: string): Site {
  const site = sites.get(name);
  if (!site) throw new Error(`no site ${name}`);
  return site;
}

/** Each write is later than the one before, wherever it is made. */
function write(name: string, path: string, text: string): void {
  writeFileSync(join(at(name).root, path), text);
  time += 60;
  utimesSync(join(at(name).root, path), time, time);
}
const remove = (name: string, path: string) => rmSync(join(at(name).root, path));
const read = (name: string, path: string) => {
  const full = join(at(name).root, path);
  return existsSync(full) ? readFileSync(full, "utf8") : null;
};
const look = (name: string) => at(name).engine.scan({ confirm: true });
const both = (one: string, other: string) => sync(at(one), at(other));

type What = "root" | "data";
const placeOf = (name: string, what: What) => (what === "root" ? at(name).root : dirname(at(name).manifest));

/** As a machine's disk is copied at one moment: with all that is under way. */
function snapshot(name: string, as = "snapshot"): void {
  for (const what of ["root", "data"] as const)
    cpSync(placeOf(name, what), join(folder.path, as, what), { recursive: true, preserveTimestamps: true });
}

/** The folders stay the ones they are: it is the disk below them that is an older one. */
async function putBack(name: string, parts: readonly What[] = ["root", "data"], as = "snapshot"): Promise<void> {
  await at(name).engine.close();
  aheadUs += 3_600_000_000;
  for (const what of parts) {
    const place = placeOf(name, what);
    for (const one of readdirSync(place)) rmSync(join(place, one), { recursive: true });
    cpSync(join(folder.path, as, what), place, { recursive: true, preserveTimestamps: true });
  }
  await open(name);
}

/** With its memory, while it runs: it goes on under the names that it had. */
async function putBackRunning(name: string): Promise<void> {
  const copy = new Database(join(folder.path, "snapshot", "data", "files.db"));
  const names = copy.prepare("SELECT key, value FROM meta WHERE key IN ('index_id', 'author', 'former', 'acknowledged')").all();
  copy.close();
  await putBack(name);
  const manifest = new Database(at(name).manifest);
  const set = manifest.prepare("INSERT OR REPLACE INTO meta(key, value) VALUES (@key, @value)");
  for (const one of names) set.run(one);
  manifest.close();
}

/** Sessions of all until nothing moves. */
async function settle(names: readonly string[]): Promise<void> {
  for (let round = 0; round < 6; round++) {
    let moved = 0;
    for (const one of names)
      for (const other of names) if (one < other) for (const { entries, fetched } of await both(one, other)) moved += entries + fetched;
    if (moved === 0) break;
    if (round === 5) throw new Error(`${moved} moved in the last round`);
  }
  const trees = names.map((name) => treeOf(at(name).root, () => true));
  expect(new Set(trees).size).toBe(1);
  expect(new Set(names.map((name) => at(name).engine.state().digest)).size).toBe(1);
}

/** What lost its name is listed at this node, by its texts, and its bytes are on this node's disk. */
async function losers(name: string): Promise<string[]> {
  const reviews = (await at(name).engine.reviews()).filter(({ resolved }) => !resolved);
  const known = bytesOn(at(name).root);
  return reviews
    .map(({ key, loser }) => `${key} ${typeof loser?.value === "string" && known.has(loser.value) ? loser.value : "lost"}`)
    .sort();
}

test.each([0, 1, 3, 20])(
  "what a node wrote after the snapshot comes back from whoever has it; %i files written before the next session go to all",
  async (count) => {
    write("a", "edited", "1");
    write("a", "deleted", "1");
    await settle(["a", "b"]);
    snapshot("a");
    write("a", "edited", "2");
    await both("a", "b");
    write("a", "edited", "3");
    write("a", "made", "1");
    remove("a", "deleted");
    await settle(["a", "b"]);
    await putBack("a");
    expect([read("a", "edited"), read("a", "deleted"), read("a", "made")]).toEqual(["1", "1", null]);
    for (let n = 0; n < count; n++) write("a", `own ${n}`, `own ${n}`);
    await settle(["a", "b"]);
    for (const name of ["a", "b"]) {
      expect([read(name, "edited"), read(name, "deleted"), read(name, "made")]).toEqual(["3", null, "1"]);
      for (let n = 0; n < count; n++) expect(read(name, `own ${n}`)).toBe(`own ${n}`);
      expect(await losers(name)).toEqual([]);
    }
  },
);

test.each([
  ["a", "b"],
  ["b", "a"],
])("so it does in a session in which %s takes from %s and gives nothing", async (to, from) => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  await settle(["a", "b"]);
  await putBack("a");
  write("a", "own 1", "1");
  write("a", "own 2", "2");
  await look("a");
  await pull(at(to).engine, at(from).engine, from);
  expect(["own 1", "own 2", "x"].map((path) => read(to, path))).toEqual(["1", "2", "2"]);
});

test("what others have of a session that was cut before its end comes back, too", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  await look("a");
  const { index, seq } = at("a").engine.state();
  const { entries } = await at("a").engine.list({ index, seq: seq - 1, sinceUs: 0, tombstones: true, limit: 9, notFrom: "" });
  await at("b").engine.receive(entries, index, "a");
  await at("b").engine.accept([{ hash: hashOf("2"), bytes: Buffer.from("2") }]);
  await at("b").engine.receive(entries, index, "a");
  expect(read("b", "x")).toBe("2");
  await putBack("a");
  await settle(["a", "b"]);
  expect(read("a", "x")).toBe("2");
});

test("a file that was edited after the snapshot and is edited in it once more is a conflict: nothing is replaced unseen", async () => {
  write("a", "x", "1");
  await settle(["a", "b", "c"]);
  snapshot("a");
  write("a", "x", "2");
  await settle(["a", "b", "c"]);
  await putBack("a");
  write("a", "x", "3");
  await settle(["a", "b", "c"]);
  for (const name of ["a", "b", "c"]) {
    expect(read(name, "x")).toBe("3");
    expect(await losers(name)).toEqual([`x ${hashOf("2")}`]);
  }
});

test("a file that was edited after the snapshot and is deleted in it stays: the edit was not known", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  await settle(["a", "b"]);
  await putBack("a");
  remove("a", "x");
  await settle(["a", "b"]);
  expect([read("a", "x"), read("b", "x")]).toEqual(["2", "2"]);
});

test("peers that know different things of it give it all back, also who knows of it through others only", async () => {
  write("a", "x", "1");
  write("a", "y", "1");
  await settle(["a", "b", "c"]);
  snapshot("a");
  write("a", "x", "2");
  await both("a", "b");
  await both("b", "c");
  write("a", "x", "3");
  write("a", "y", "2");
  await both("a", "b");
  write("a", "z", "1");
  await both("a", "c");
  await putBack("a");
  write("a", "own 1", "1");
  write("a", "own 2", "2");
  // First who knows less.
  await both("a", "c");
  expect(read("a", "z")).toBe("1");
  await settle(["a", "b", "c"]);
  expect([read("c", "x"), read("c", "y"), read("c", "z"), read("c", "own 1"), read("c", "own 2")]).toEqual(["3", "2", "1", "1", "2"]);
});

test("who has a node's files from another node only gives them back to it", async () => {
  write("a", "x", "1");
  await settle(["a", "b", "c"]);
  snapshot("a");
  write("a", "x", "2");
  write("a", "y", "1");
  await both("a", "b");
  await both("b", "c");
  await putBack("a");
  write("a", "own", "1");
  await settle(["a", "c"]);
  expect([read("a", "x"), read("a", "y"), read("c", "own")]).toEqual(["2", "1", "1"]);
});

test("put back twice to one snapshot, and once to a later one, it loses nothing", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  await settle(["a", "b"]);
  await putBack("a");
  write("a", "first", "1");
  await settle(["a", "b"]);
  snapshot("a", "later");
  write("a", "x", "4");
  write("a", "second", "1");
  await settle(["a", "b"]);
  await putBack("a");
  write("a", "third", "1");
  await settle(["a", "b"]);
  await putBack("a", ["root", "data"], "later");
  write("a", "fourth", "1");
  await settle(["a", "b"]);
  for (const name of ["a", "b"]) {
    expect(["x", "first", "second", "third", "fourth"].map((path) => read(name, path))).toEqual(["4", "1", "1", "1", "1"]);
    expect(await losers(name)).toEqual([]);
  }
});

test("a copy of folder and manifest that a second server is started with is a node of its own", async () => {
  write("a", "x", "1");
  write("a", "y", "1");
  await settle(["a", "b"]);
  snapshot("a");
  await putBack("c");
  write("a", "x", "from a");
  write("c", "x", "from c");
  write("a", "only a", "1");
  write("c", "only c", "1");
  await settle(["a", "b", "c"]);
  remove("c", "y");
  await settle(["a", "b", "c"]);
  for (const name of ["a", "b", "c"]) {
    expect(["x", "y", "only a", "only c"].map((path) => read(name, path))).toEqual(["from c", null, "1", "1"]);
    expect(await losers(name)).toEqual([`x ${hashOf("from a")}`]);
  }
});

test("where the manifest alone is put back, what the folder has is told, and loses nothing that others wrote", async () => {
  write("a", "x", "1");
  write("a", "y", "1");
  write("b", "z", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  write("b", "z", "2");
  remove("a", "y");
  await settle(["a", "b"]);
  write("b", "z", "3");
  await putBack("a", ["data"]);
  write("a", "own", "1");
  await settle(["a", "b"]);
  for (const name of ["a", "b"]) expect(["x", "y", "z", "own"].map((path) => read(name, path))).toEqual(["2", null, "3", "1"]);
});

test("what others were known to have is known to be there after a start, too", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  await at("a").engine.close();
  await open("a");
  await at("a").engine.limitTo(["d/"]);
  expect(read("a", "x")).toBe(null);
  expect((await at("a").engine.versions("x")).map(({ why }) => why)).toEqual(["left"]);
});

test("who has read a list goes on where it was after a start, and nothing is told again", async () => {
  write("a", "x", "1");
  write("b", "y", "1");
  await settle(["a", "b"]);
  for (let starts = 0; starts < 5; starts++) {
    await at("a").engine.close();
    await open("a");
    write("a", `own ${starts}`, "1");
    await look("a");
    expect(await pull(at("b").engine, at("a").engine, "a")).toMatchObject({ entries: 1, refused: [] });
  }
  // Of a manifest's lists the latest are remembered.
  expect((await at("b").engine.cursorsOf(at("a").engine.state().index)).length).toBeLessThan(5);
  expect(await at("b").engine.cursorsOf(at("c").engine.state().index)).toEqual([]);
});

test("who has read further than a list that was put back goes is told all of it, also where it goes further by then", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  await settle(["a", "b"]);
  const cursors = await at("b").engine.cursors();
  expect(await at("a").engine.placeOf(cursors)).toBe(at("a").engine.state().seq);
  await putBack("a");
  for (let n = 0; n < 9; n++) write("a", `own ${n}`, "1");
  await look("a");
  expect(await at("a").engine.placeOf(cursors)).toBe(0);
});

test("where a root had been put back under an earlier version, what was passed over then is read after all, on both sides", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  await settle(["a", "b"]);
  await putBack("a");
  write("a", "own", "1");
  await look("a");
  for (const [reader, list] of [
    ["a", "b"],
    ["b", "a"],
  ] as const) {
    const { index, seq } = at(list).engine.state();
    await at(reader).engine.noteReceived(index, seq, at(reader).engine.state().index);
  }
  await at("a").engine.close();
  const manifest = new Database(at("a").manifest);
  manifest.prepare("DELETE FROM meta WHERE key = 'former'").run();
  manifest.close();
  await open("a");
  await settle(["a", "b"]);
  expect([read("a", "x"), read("b", "own")]).toEqual(["2", "1"]);
});

test("where the folder alone is put back, nothing that it lacks counts as deleted, and what its older bytes replace is kept", async () => {
  write("a", "x", "1");
  write("a", "y", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  write("a", "made here", "1");
  write("b", "made there", "1");
  await settle(["a", "b"]);
  await putBack("a", ["root"]);
  write("a", "own", "1");
  await settle(["a", "b"]);
  for (const name of ["a", "b"])
    expect(["y", "made here", "made there", "own"].map((path) => read(name, path))).toEqual(["1", "1", "1", "1"]);
  expect(read("a", "x")).toBe("1");
  expect((await at("b").engine.versions("x")).map(({ hash }) => hash)).toContain(hashOf("2"));
  // From then on it is the root.
  remove("a", "y");
  await settle(["a", "b"]);
  expect(read("b", "y")).toBe(null);
});

test("where the folder alone is put back to between its last note and a crash, nothing that it lacks counts as deleted", async () => {
  write("a", "x", "1");
  write("a", "y", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "made here", "1");
  write("b", "made there", "1");
  await settle(["a", "b"]);
  write("a", "only here", "1");
  await look("a");
  // Less than a minute after it was noted how far the folder is.
  snapshot("a", "crash");
  rmSync(join(folder.path, "crash", "root"), { recursive: true });
  cpSync(join(folder.path, "snapshot", "root"), join(folder.path, "crash", "root"), { recursive: true, preserveTimestamps: true });
  await putBack("a", ["root", "data"], "crash");
  // Deleted while the node was down: that was known longer ago.
  remove("a", "y");
  await settle(["a", "b"]);
  for (const name of ["a", "b"]) {
    expect(["x", "made here", "made there"].map((path) => read(name, path))).toEqual(["1", "1", "1"]);
    expect(read(name, "y")).toBe(null);
    // Nobody has it, and nobody waits for it.
    expect(read(name, "only here")).toBe(null);
    expect(at(name).engine.state()).toMatchObject({ wanted: 0, missing: 0 });
  }
  remove("a", "made here");
  await settle(["a", "b"]);
  expect(read("b", "made here")).toBe(null);
});

test.each([0, 1, 5])(
  "put back while it runs it loses nothing once its clock is set; %i files are written before its next session",
  async (count) => {
    write("a", "x", "1");
    await settle(["a", "b"]);
    snapshot("a");
    write("a", "x", "2");
    write("a", "made", "1");
    await settle(["a", "b"]);
    await putBackRunning("a");
    setMs += 3_600_000;
    write("a", "x", "3");
    for (let n = 0; n < count; n++) write("a", `own ${n}`, "1");
    await settle(["a", "b"]);
    for (const name of ["a", "b"]) {
      expect([read(name, "x"), read(name, "made")]).toEqual(["3", "1"]);
      expect(await losers(name)).toEqual([`x ${hashOf("2")}`]);
      for (let n = 0; n < count; n++) expect(read(name, `own ${n}`)).toBe("1");
    }
  },
);

test.each([
  ["a", "b"],
  ["b", "a"],
])("put back while it runs, its clock as it was, it is told by who has read further; %s begins with %s", async (one, other) => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  write("a", "made", "1");
  await settle(["a", "b"]);
  await putBackRunning("a");
  write("a", "own", "1");
  await look("a");
  await pull(at(one).engine, at(other).engine, other);
  await settle(["a", "b"]);
  for (const name of ["a", "b"]) expect([read(name, "x"), read(name, "made"), read(name, "own")]).toEqual(["2", "1", "1"]);
});

test("put back while it runs, it has not read to its end what it read under the name that it gave up meanwhile", async () => {
  write("a", "x", "1");
  await settle(["a", "b", "c"]);
  snapshot("a");
  write("a", "made", "1");
  await both("a", "c");
  write("a", "x", "2");
  await both("a", "b");
  await both("b", "c");
  await putBackRunning("a");
  await pull(at("a").engine, at("c").engine, "c");
  await settle(["a", "c"]);
  expect([read("a", "x"), read("a", "made")]).toEqual(["2", "1"]);
});

test("put back while it runs, it has not read to its end what it read just before its clock is set", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "x", "2");
  write("a", "made", "1");
  await settle(["a", "b"]);
  await putBackRunning("a");
  await pull(at("a").engine, at("b").engine, "b");
  setMs += 3_600_000;
  await settle(["a", "b"]);
  for (const name of ["a", "b"]) expect([read(name, "x"), read(name, "made")]).toEqual(["2", "1"]);
});

test("what is in doubt after a crash comes back also from who heard of it after the start, before the folder was looked at", async () => {
  write("a", "x", "1");
  await settle(["a", "b"]);
  snapshot("a");
  write("a", "copy of x", "1");
  await look("a");
  snapshot("a", "crash");
  rmSync(join(folder.path, "crash", "root"), { recursive: true });
  cpSync(join(folder.path, "snapshot", "root"), join(folder.path, "crash", "root"), { recursive: true, preserveTimestamps: true });
  await putBack("a", ["root", "data"], "crash");
  await pull(at("b").engine, at("a").engine, "a");
  expect(read("b", "copy of x")).toBe("1");
  await settle(["a", "b"]);
  expect(read("a", "copy of x")).toBe("1");
});

test("who makes up that it was put back has it begin anew once an hour at most, and is told all of it in between, too", async () => {
  await look("a");
  const { engine } = at("a");
  const beginsAnew = async () => {
    const { index, seq } = engine.state();
    expect(await engine.placeOf([{ index, seq: seq + 1_000 }])).toBe(0);
    return engine.state().index !== index;
  };
  expect([await beginsAnew(), await beginsAnew()]).toEqual([true, false]);
  aheadUs += 3_600_000_000;
  expect([await beginsAnew(), await beginsAnew()]).toEqual([true, false]);
});
