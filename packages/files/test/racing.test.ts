import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SyncError, type FileEntry, type Origin } from "@scoutsync/core";
import { temporaryFolder } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSite, type Site } from "./exchange.ts";

// Other processes, which know nothing of sync, at work in the folder while newer versions come into place in it.

const SAVER = fileURLToPath(new URL("../../../test/e2e/saver.py", import.meta.url));
const SWAPPER = fileURLToPath(new URL("../../../test/chaos/swapper.py", import.meta.url));
const SECONDS = "3";
const OTHER = "p".repeat(16) as Origin;

let folder: { path: string; remove(): void };
let site: Site;
beforeEach(async () => {
  folder = temporaryFolder("racing");
  site = await openSite(folder.path, "a");
});
afterEach(async () => {
  await site.engine.close();
  folder.remove();
});

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
let counter = 0;

/** Another node's next version of the file at this path, which knew the one that is here. */
async function nextVersion(path: string): Promise<{ entry: FileEntry; bytes: Buffer }> {
  const rest = randomBytes(50).toString("hex");
  // As the savers write and check them: the first line is the SHA-256 of the rest.
  const bytes = Buffer.from(`${hashOf(Buffer.from(rest))}\n${rest}`);
  const known = await site.engine.locate(path).catch((error: unknown) => {
    if (error instanceof SyncError && error.code === "NOT_FOUND") return null;
    throw error;
  });
  const version = new Map(known?.version).set(OTHER, Math.floor(Date.now() / 1000) + ++counter);
  const about = { mode: 6, modifiedUs: 1, stampUs: Date.now() * 1000, author: "p", before: "", cause: "", losers: [] } as const;
  return { bytes, entry: { ...about, path, kind: "file", hash: hashOf(bytes), size: bytes.length, version, losers: [] } };
}

/** Takes such versions in, whose bytes are on their way for a while. Returns how many came into place. */
async function receive(paths: readonly string[], onTheWayMs: number): Promise<number> {
  const versions = await Promise.all(paths.map(nextVersion));
  const entries = versions.map(({ entry }) => entry);
  const { wants } = await site.engine.receive(entries, "q".repeat(16), "peer");
  await pause(onTheWayMs);
  const wanted = new Set(wants.map(({ hash }) => hash));
  await site.engine.accept(versions.filter(({ entry }) => wanted.has(entry.hash)).map(({ entry, bytes }) => ({ hash: entry.hash, bytes })));
  return (await site.engine.receive(entries, "q".repeat(16), "peer")).placed;
}

test("programs that save just before, or while, newer versions come into place: nothing that they did not overwrite themselves is lost", async () => {
  const paused = Array.from({ length: 8 }, (_, at) => `p${at}`);
  const eager = ["e0", "e1", "e2", "e3"];
  const ledgers: string[] = [];
  const savers = Object.entries({ bursts: paused, missing: eager }).map(([manner, names]) => {
    const ledger = join(folder.path, manner);
    ledgers.push(ledger);
    const paths = names.map((name) => join(site.root, name));
    return spawn("python3", [SAVER, ledger, SECONDS, manner, ...paths], { stdio: ["ignore", "ignore", "inherit"] });
  });
  const over = Promise.all(savers.map((saver) => once(saver, "exit")));
  const goOn = ledgers.map((ledger) => `${ledger}.go-on`);
  for (const file of goOn) writeFileSync(file, "");
  let placed = 0;
  while (savers.some(({ exitCode }) => exitCode === null)) {
    await site.engine.scan({});
    placed += await receive([...paused, ...eager], 60);
    // On a busy machine they are done before a version has come from under any of them: it would show nothing.
    const taken = ledgers.some((ledger) => existsSync(ledger) && readFileSync(ledger, "utf8").includes("\nleft "));
    if (placed > 0 && taken) for (const file of goOn) rmSync(file, { force: true });
  }
  expect(await over).toEqual([
    [0, null],
    [0, null],
  ]);
  await site.engine.scan({});
  const lines = ledgers.flatMap((ledger) => readFileSync(ledger, "utf8").split("\n")).map((line) => line.split(" "));
  const said = (word: string) => lines.filter(([first]) => first === word).map(([, hash = ""]) => hash);
  const own = new Set(said("own"));
  const kept = new Set(
    readdirSync(site.root, { recursive: true, withFileTypes: true })
      .filter((one) => one.isFile())
      .map((one) => hashOf(readFileSync(join(one.parentPath, one.name)))),
  );
  const owed = said("saved").filter((hash) => !own.has(hash));
  console.log(`${placed} versions came, ${said("saved").length} saves, ${owed.length} of them not overwritten by their own program`);
  expect(said("torn")).toEqual([]);
  expect(owed.filter((hash) => !kept.has(hash))).toEqual([]);
  // There was something to lose.
  expect(owed.length).toBeGreaterThan(0);
  expect(placed).toBeGreaterThan(0);
});

test("a process that swaps a folder for a link all the time leads nowhere", async () => {
  const canary = join(folder.path, "canary");
  for (const made of [canary, join(site.root, "d"), join(folder.path, "aside")]) mkdirSync(made);
  const names = Array.from({ length: 8 }, (_, at) => `f${at}`);
  for (const name of names) writeFileSync(join(canary, name), `secret of ${name}`);
  const state = () =>
    ["", ...readdirSync(canary)].map((name) => {
      const { mode, mtimeMs, ctimeMs, ino, nlink, size } = lstatSync(join(canary, name));
      return [name, mode, mtimeMs, ctimeMs, ino, nlink, size].join(" ");
    });
  const before = state();
  const aside = join(folder.path, "aside", "d");
  writeFileSync(`${aside}.go-on`, "");
  const swapper = spawn("python3", [SWAPPER, join(site.root, "d"), aside, canary, SECONDS], { stdio: "ignore" });
  const over = once(swapper, "exit");
  let placed = 0;
  for (let turn = 0; swapper.exitCode === null; turn++) {
    placed += await receive([`d/${names[turn % names.length]}`], 0);
    if (placed > 0) rmSync(`${aside}.go-on`, { force: true });
  }
  expect(await over).toEqual([0, null]);
  const { refusals } = await site.engine.status();
  console.log(`${placed} versions came, ${refusals.length} links in their way were noted`);
  expect(state()).toEqual(before);
  expect(placed).toBeGreaterThan(0);
});
