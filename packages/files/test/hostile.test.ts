import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FileEntry, Origin } from "@scoutsync/core";
import { temporaryFolder } from "@scoutsync/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pathProblem } from "../src/index.ts";
import { Folder } from "../src/paths/folder.ts";
import { openSite, type Site } from "./exchange.ts";

let folder: { path: string; remove(): void };
let site: Site;
let canary: string;
beforeEach(async () => {
  folder = temporaryFolder("hostile");
  canary = join(folder.path, "canary");
  mkdirSync(canary);
  writeFileSync(join(canary, "secret"), "untouched");
  site = await openSite(folder.path, "a");
});
afterEach(async () => {
  await site.engine.close();
  folder.remove();
});

const BYTES = Buffer.from("from a hostile peer");
const HASH = createHash("sha256").update(BYTES).digest("hex");
const LOSER = {
  hash: HASH,
  size: BYTES.length,
  author: "p",
  stampUs: 1,
  sinceUs: 1,
  winner: HASH,
  winnerAuthor: "p",
  winnerStampUs: 1,
  resolved: false,
};

function entry(path: string, change: Partial<FileEntry> = {}): FileEntry {
  return {
    path,
    kind: "file",
    hash: HASH,
    size: BYTES.length,
    mode: 7,
    modifiedUs: 1,
    version: new Map([["p".repeat(16) as Origin, 7]]),
    stampUs: 1,
    author: "p",
    before: "",
    cause: "",
    losers: [],
    ...change,
  };
}

async function give(entries: FileEntry[]) {
  const first = await site.engine.receive(entries, "q".repeat(16), "peer");
  for (const want of first.wants) {
    await site.engine.begin(want.hash, want.size);
    await site.engine.write(want.hash, 0, BYTES);
    await site.engine.finish(want.hash);
  }
  return first.wants.length > 0 ? site.engine.receive(entries, "q".repeat(16), "peer") : first;
}

function expectNothingOutside(): void {
  expect(readdirSync(canary)).toEqual(["secret"]);
  expect(readFileSync(join(canary, "secret"), "utf8")).toBe("untouched");
  expect(readdirSync(folder.path).sort()).toEqual(["a", "canary"]);
  expect(readdirSync(join(folder.path, "a")).sort()).toEqual(["data", "root"]);
}

describe("a path that may not travel", () => {
  test.each([
    ["up", "../canary/secret"],
    ["up from within", "x/../../canary/secret"],
    ["absolute", "/etc/scoutsync-was-here"],
    ["empty", ""],
    ["a dot", "./x"],
    ["an empty component", "x//y"],
    ["a trailing slash", "x/"],
    ["NUL", "x\0y"],
    ["a line break", "x\ny"],
    ["a backslash", "..\\canary\\secret"],
    ["a component of 256 bytes", "é".repeat(128)],
    ["a path of 2000 bytes", Array.from({ length: 100 }, () => "twenty characters...").join("/")],
    ["deeper than anyone goes", Array.from({ length: 65 }, () => "a").join("/")],
    ["decomposed", "cafe\u0301"],
    ["half a surrogate", "x\ud800"],
    ["a device", "CON"],
    ["a device with an extension", "aux.txt"],
    ["the store", ".scoutsync-store/objects/x"],
    ["the store in capitals", ".SCOUTSYNC-store/x"],
  ])("%s is refused, noted, and touches nothing", async (_name, path) => {
    expect(pathProblem(path)).not.toBeNull();
    const { refused, wants } = await give([entry(path)]);
    expect(wants).toEqual([]);
    expect(refused).toMatchObject([{ code: "INVALID_ARGUMENT", retry: false }]);
    expect((await site.engine.status()).refusals).toMatchObject([{ peer: "peer" }]);
    expect(readdirSync(site.root)).toEqual([".scoutsync-store"]);
    expectNothingOutside();
    // The next entry of the same list is taken.
    expect((await give([entry("sound.txt")])).placed).toBe(1);
  });

  test.each(["a:b", "what?", "Ü ä 漢字", "  spaces  ", ".hidden", "con-tact"])("%j may", (path) => expect(pathProblem(path)).toBeNull());
});

test("a database's name is not taken from a peer, and neither is an entry that is none", async () => {
  const { refused } = await give([
    entry("app.db"),
    entry("app.db-wal"),
    entry("x", { hash: "../../etc/passwd" }),
    entry("y", { size: -1 }),
    entry("z", { mode: 0o4777 }),
    entry("w", { losers: [{ ...LOSER, size: -1 }] }),
    entry("v", { losers: [{ ...LOSER, hash: "../x" }] }),
  ]);
  expect(refused.map(({ path }) => path)).toEqual(["x", "y", "z", "w", "v"]);
  expect(readdirSync(site.root)).toEqual([".scoutsync-store"]);
});

test.each([0, -1, 253_402_300_800_000_000, Number.MAX_SAFE_INTEGER])(
  "a file that was written at %d µs is taken, and so is what is edited here after it",
  async (modifiedUs) => {
    expect((await give([entry("x", { modifiedUs, stampUs: modifiedUs })])).placed).toBe(1);
    writeFileSync(join(site.root, "x"), "edited here");
    await site.engine.scan({});
    const found = await site.engine.locate("x");
    expect(found.hash).toBe(createHash("sha256").update("edited here").digest("hex"));
    // Heard again, it is older.
    expect((await give([entry("x", { modifiedUs, stampUs: modifiedUs })])).placed).toBe(0);
    expect(readFileSync(join(site.root, "x"), "utf8")).toBe("edited here");
  },
);

test("a link where a folder or a file belongs is never followed, and says that it is in the way", async () => {
  symlinkSync(canary, join(site.root, "docs"));
  symlinkSync(join(canary, "secret"), join(site.root, "secret"));
  await site.engine.scan({});
  const { refused } = await give([entry("docs/secret"), entry("docs/new"), entry("secret")]);
  expect(refused.map(({ code }) => code)).toEqual(["FILE_BLOCKED", "FILE_BLOCKED", "FILE_BLOCKED"]);
  expect(lstatSync(join(site.root, "docs")).isSymbolicLink()).toBe(true);
  expectNothingOutside();
  const noted = async () => (await site.engine.status()).refusals.map(({ peer, what }) => `${peer}: ${what}`).sort();
  const expected = ["docs/new", "docs/secret", "secret"].map(
    (path) => `peer: "${path}" was not written: a link stands at "${path.split("/")[0]}"`,
  );
  expect(await noted()).toEqual(expected);
  // Noted once, however often it comes, and counted each time.
  await give([entry("docs/secret"), entry("docs/new"), entry("secret")]);
  expect(await noted()).toEqual(expected);
  expect(site.engine.state().refused).toMatchObject({ count: 6, peer: "peer" });
});

test("a folder is not entered by a link", () => {
  symlinkSync(canary, join(site.root, "docs"));
  const root = Folder.open(site.root);
  try {
    expect(() => root.enter("docs").close()).toThrow(/ELOOP|ENOTDIR/);
    expect(() => root.make("docs").close()).toThrow(/ELOOP|ENOTDIR/);
  } finally {
    root.close();
  }
});

test("a folder that is swapped for a link again and again leads nowhere", async () => {
  let isOver = false;
  const swap = async () => {
    while (!isOver) {
      try {
        mkdirSync(join(site.root, "d"), { recursive: true });
        renameSync(join(site.root, "d"), join(site.root, "d2"));
        symlinkSync(canary, join(site.root, "d"));
        await new Promise((resolve) => setImmediate(resolve));
        rmSync(join(site.root, "d"));
        renameSync(join(site.root, "d2"), join(site.root, "d"));
      } catch {
        // The engine has moved something meanwhile.
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const swapping = swap();
  for (let turn = 0; turn < 40; turn++) await give([entry(`d/file ${turn}`)]);
  isOver = true;
  await swapping;
  expectNothingOutside();
});

test("bytes that are not what was announced are refused and never visible", async () => {
  const lied = entry("lie.txt");
  const { wants } = await site.engine.receive([lied], "q".repeat(16), "peer");
  expect(wants).toHaveLength(1);
  await site.engine.begin(HASH, BYTES.length);
  await site.engine.write(HASH, 0, Buffer.alloc(BYTES.length, "x"));
  await expect(site.engine.finish(HASH)).rejects.toMatchObject({ code: "FILE_CORRUPT" });
  await site.engine.begin(HASH, BYTES.length);
  await expect(site.engine.write(HASH, 0, Buffer.alloc(BYTES.length + 1))).rejects.toMatchObject({ code: "FILE_CORRUPT" });
  await site.engine.leave(HASH);
  expect((await site.engine.receive([lied], "q".repeat(16), "peer")).wants).toHaveLength(1);
  // Among others of a group, which are taken.
  const sound = createHash("sha256").update("sound").digest("hex");
  const group = [
    { hash: HASH, bytes: Buffer.from("a lie") },
    { hash: sound, bytes: Buffer.from("sound") },
  ];
  await expect(site.engine.accept(group)).rejects.toMatchObject({ code: "FILE_CORRUPT" });
  expect((await site.engine.receive([lied], "q".repeat(16), "peer")).wants).toHaveLength(1);
  expect((await site.engine.receive([entry("sound.txt", { hash: sound, size: 5 })], "q".repeat(16), "peer")).placed).toBe(1);
  expect(readFileSync(join(site.root, "sound.txt"), "utf8")).toBe("sound");
  rmSync(join(site.root, "sound.txt"));
  expect(readdirSync(site.root)).toEqual([".scoutsync-store"]);
  expect((await give([lied])).placed).toBe(1);
  // Executable for its owner, as it says, and for nobody else; no other bit travels.
  expect(lstatSync(join(site.root, "lie.txt")).mode & 0o7111).toBe(0o100);
});
