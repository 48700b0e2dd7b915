import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { chooseSeed, Fleet, scoutsync, seededRandom, selectOne, type FleetNode } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

// Roots of nodes that never talk: nothing but a stick goes from one to the other.

const SEED = chooseSeed();

let fleet: Fleet;
let a: FleetNode;
let b: FleetNode;
let roots: { a: string; b: string };
/** SHA-256 of everything that was ever written. */
let written: Set<string>;
beforeEach(async () => {
  fleet = new Fleet("bundle-files");
  written = new Set();
  roots = { a: fleet.path("a", "uploads"), b: fleet.path("b", "uploads") };
  for (const root of Object.values(roots)) mkdirSync(root, { recursive: true });
  a = await fleet.node({ name: "a", databases: {}, flags: ["--files", `uploads=${roots.a}`] });
  b = await fleet.node({ name: "b", databases: {}, flags: ["--files", `uploads=${roots.b}`] });
});
afterEach(() => fleet.stop());

const hashOf = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

function write(root: string, path: string, bytes: Uint8Array | string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), bytes);
  written.add(hashOf(bytes));
}

/** Path and SHA-256 of every file in a root, the store aside. */
function contents(root: string): Record<string, string> {
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && !one.parentPath.includes(".scoutsync-store"))
    .map((one) => join(one.parentPath, one.name));
  return Object.fromEntries(paths.sort().map((path) => [path.slice(root.length + 1), hashOf(readFileSync(path))]));
}

/** Hashes of what a root and its store hold. */
const kept = (root: string) =>
  new Set(
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((one) => one.isFile())
      .map((one) => hashOf(readFileSync(join(one.parentPath, one.name)))),
  );

async function exported(node: FleetNode, name: string, ...flags: string[]): Promise<{ path: string; cursor: string }> {
  const path = fleet.path("stick", name);
  const done = await scoutsync(["export", node.address, "--files", "uploads", "-o", path, "--json", ...flags]);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return { path, cursor: done.json<{ cursor: string }>().cursor };
}

const attempt = (node: FleetNode, path: string) => scoutsync(["import", node.address, path, "--json"]);

interface Imported {
  entries: number;
  files: number;
  placed: number;
  removed: number;
  conflicts: number;
  refused: object[];
  verified: boolean;
}

async function imported(node: FleetNode, path: string): Promise<Imported> {
  const done = await attempt(node, path);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return done.json<Imported>();
}

test("a stick carried both ways makes two roots equal: new files, a large one changed, renames, deletes and a conflict, nothing lost", async () => {
  const large = randomBytes(3_000_000);
  write(roots.a, "robots/254.jpg", large);
  write(roots.a, "app.json", "{}");
  write(roots.a, "empty", "");
  write(roots.b, "teams/1.txt", "from b");
  const first = await exported(a, "one");
  expect(await imported(b, first.path)).toMatchObject({ files: 2, placed: 3, refused: [] });
  expect(await imported(b, first.path)).toMatchObject({ files: 0, placed: 0, removed: 0, refused: [] });
  expect((await imported(a, (await exported(b, "back")).path)).verified).toBe(true);
  expect(contents(roots.a)).toEqual(contents(roots.b));

  randomBytes(1_000).copy(large, 1_500_000);
  write(roots.a, "robots/254.jpg", large);
  renameSync(join(roots.a, "empty"), join(roots.a, "still empty"));
  rmSync(join(roots.a, "teams"), { recursive: true });
  write(roots.a, "app.json", '{"from":"a"}');
  write(roots.b, "app.json", '{"from":"b"}');
  // Overwritten by people on both sides.
  written.delete(hashOf("{}"));
  const second = await exported(a, "two", "--since", first.cursor);
  expect(await imported(b, second.path)).toMatchObject({ conflicts: 1, refused: [] });
  await imported(a, (await exported(b, "back again", "--for", a.address)).path);
  expect(contents(roots.a)).toEqual(contents(roots.b));
  expect(Object.keys(contents(roots.b))).toEqual(["app.json", "robots/254.jpg", "still empty"]);
  const [onA, onB] = [kept(roots.a), kept(roots.b)];
  for (const hash of written) expect(onA.has(hash) || onB.has(hash), hash).toBe(true);
  for (const node of [a, b])
    expect((await scoutsync(["review", "list", node.address, "--kind", "file", "--json"])).json<object[]>()).toHaveLength(1);
  // Nothing is left to carry.
  expect(await imported(b, (await exported(a, "three", "--for", b.address)).path)).toMatchObject({ files: 0, placed: 0, verified: true });
});

test("one that begins after what is here is refused, with what to export instead; so are a wrong root and half an order", async () => {
  write(roots.a, "x", "1");
  const first = await exported(a, "first");
  write(roots.a, "y", "2");
  const second = await exported(a, "second", "--since", first.cursor);
  const early = await attempt(b, second.path);
  expect(early.code).toBe(1);
  expect(early.stdout).toMatch(/BATCH_GAP/);
  expect(early.stdout).toContain("export again with --files uploads");
  expect(contents(roots.b)).toEqual({});
  await imported(b, first.path);
  expect((await imported(b, second.path)).verified).toBe(true);
  expect(contents(roots.b)).toEqual(contents(roots.a));
  const none = await scoutsync(["export", a.address, "--files", "nothing", "-o", fleet.path("stick", "none")]);
  expect(none.code).toBe(1);
  expect((await scoutsync(["export", a.address, "-o", fleet.path("stick", "none")])).code).toBe(2);
  expect((await scoutsync(["export", a.address, "--files", "uploads", "--db", "x", "-o", fleet.path("stick", "none")])).code).toBe(2);
  expect(readdirSync(fleet.path("stick", "x", "..")).sort()).toEqual(["first", "second"]);
});

test("who is only asked how far it has come does not take it that anybody has its files", async () => {
  write(roots.a, "x", "1");
  await imported(b, (await exported(a, "first")).path);
  write(roots.b, "only here", "1");
  const listed = await scoutsync(["files", "list", b.address, "uploads", "--json"]);
  expect(listed.json<{ path: string }[]>().map(({ path }) => path)).toContain("only here");
  const { path } = await exported(a, "second", "--for", b.address);
  expect(await imported(b, path)).toMatchObject({ entries: 0, refused: [] });
  const manifest = fleet.path("b", "node-data", "files", "uploads.db");
  expect(String(selectOne(manifest, "SELECT value FROM meta WHERE key = 'acknowledged'"))).toMatch(/:0$/);
});

test(`cut or damaged anywhere, nothing but whole files appears, and the whole bundle goes on (seed ${SEED})`, async () => {
  for (let n = 0; n < 300; n++) write(roots.a, `small/${n}`, `file ${n}`);
  write(roots.a, "large", randomBytes(5_000_000));
  const { path } = await exported(a, "whole");
  const bytes = readFileSync(path);
  const random = seededRandom(SEED).next;
  const bad = fleet.path("stick", "bad");
  const places = Array.from({ length: 5 }, () => Math.floor(random() * bytes.length));
  for (const [turn, at] of [5, bytes.length - 1, ...places].entries()) {
    if (turn % 2 === 0) writeFileSync(bad, bytes.subarray(0, at));
    else {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ 4;
      writeFileSync(bad, damaged);
    }
    const done = await attempt(b, bad);
    expect(done.code, `at ${at}: ${done.stdout}`).toBe(1);
    expect(done.stdout, `at ${at}`).toMatch(/BUNDLE_UNREADABLE/);
    for (const [name, hash] of Object.entries(contents(roots.b))) expect(written.has(hash), name).toBe(true);
  }
  expect((await imported(b, path)).verified).toBe(true);
  expect(contents(roots.b)).toEqual(contents(roots.a));
});
