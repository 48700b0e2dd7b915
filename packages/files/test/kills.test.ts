import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { temporaryFolder } from "@scoutsync/testkit";
import { expect, test } from "vitest";
import { openSite, pull, sync, type Site } from "./exchange.ts";

/** Thrown where the process would have died. */
class Died extends Error {}

const write = (site: Site, path: string, text: string) => {
  mkdirSync(dirname(join(site.root, path)), { recursive: true });
  writeFileSync(join(site.root, path), text);
};
const hashOf = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

/** Two nodes, and an edit of every kind on the first that the second is about to take in. */
async function twoNodes(folder: string): Promise<[Site, Site]> {
  const [a, b] = [await openSite(folder, "a", { sightingGapMs: 0 }), await openSite(folder, "b", { sightingGapMs: 0 })];
  for (const path of ["replaced", "deleted", "renamed", "folder/inside", "to-folder", "theirs", "ours", "unseen", "taken"])
    write(a, path, `first ${path}`);
  await sync(a, b);
  for (const path of ["replaced", "new", "deep/er/new"]) write(a, path, `second ${path}`);
  rmSync(join(a.root, "deleted"));
  renameSync(join(a.root, "renamed"), join(a.root, "name"));
  rmSync(join(a.root, "folder"), { recursive: true });
  write(a, "folder", "a file now");
  rmSync(join(a.root, "to-folder"));
  write(a, "to-folder/inside", "a folder now");
  rmSync(join(a.root, "taken"));
  write(a, "taken/inside", "a folder on a");
  write(b, "taken", "edited on b");
  write(b, "theirs", "of b");
  write(a, "ours", "of a");
  // Longer than a tick of the clock that files get their times from.
  await pause(20);
  write(a, "theirs", "of a, later");
  write(b, "ours", "of b, later");
  await a.engine.scan({ confirm: true });
  await b.engine.scan({ confirm: true });
  // Edited since anyone looked: displaced, found to be another one, and put back.
  write(a, "unseen", "second of a");
  await a.engine.scan({});
  await pause(20);
  write(b, "unseen", "of b, unseen");
  return [a, b];
}

/** SHA-256 of everything on a node's disk, in place or in the store. */
function bytesOn({ root }: Site): Set<string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    // A note of the node's own.
    .filter(({ parentPath, name }) => join(parentPath, name) !== join(root, ".scoutsync-store", "seen"));
  return new Set(files.map((one) => hashOf(readFileSync(join(one.parentPath, one.name)))));
}

function treeOf({ root }: Site): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .map((one) => ({ path: join(one.parentPath, one.name), one }))
    .filter(({ path }) => !path.includes("/.scoutsync-store"))
    .map(({ path, one }) => `${path.slice(root.length + 1)} ${one.isFile() ? readFileSync(path, "utf8") : "folder"}`)
    .sort();
}

/** Takes in everything, dying at the step with this number; returns the steps that were reached. */
async function dyingAt(fatal: number): Promise<string[]> {
  const folder = temporaryFolder(`kill-${fatal}`);
  const sites: Site[] = [];
  try {
    sites.push(...(await twoNodes(folder.path)));
    const [a, b] = sites as [Site, Site];
    await b.engine.close();
    const reached: string[] = [];
    const ledger = bytesOn(b);
    const seams = {
      sightingGapMs: 0,
      reached: (step: string) => {
        reached.push(step);
        if (reached.length - 1 === fatal) throw new Died(step);
      },
    };
    b.engine = (await openSite(folder.path, "b", seams)).engine;
    const died = await pull(b.engine, a.engine, "a").then(
      () => false,
      (error: unknown) => {
        if (error instanceof Died) return true;
        throw error;
      },
    );
    expect(died).toBe(fatal < reached.length);
    await b.engine.close();
    b.engine = (await openSite(folder.path, "b", { sightingGapMs: 0 })).engine;
    const lost = () => [...ledger].filter((hash) => !bytesOn(b).has(hash));
    expect(lost()).toEqual([]);
    for (let round = 0; round < 2; round++) await sync(a, b);
    expect(lost()).toEqual([]);
    expect(treeOf(b)).toEqual(treeOf(a));
    expect(treeOf(a)).toEqual([
      "deep folder",
      "deep/er folder",
      "deep/er/new second deep/er/new",
      "folder a file now",
      "name first renamed",
      "new second new",
      "ours of b, later",
      "replaced second replaced",
      "taken folder",
      "taken/inside a folder on a",
      "theirs of a, later",
      "to-folder folder",
      "to-folder/inside a folder now",
      "unseen of b, unseen",
    ]);
    expect(a.engine.state()).toMatchObject({ digest: b.engine.state().digest, wanted: 0, missing: 0 });
    const listed = (await b.engine.reviews()).map(({ key }) => key).sort();
    expect(listed).toEqual(["ours", "taken", "theirs", "unseen"]);
    const [down, up] = await sync(a, b);
    expect(down.bytes + up.bytes).toBe(0);
    expect(readdirSync(join(b.root, ".scoutsync-store", "staging"))).toEqual([]);
    return reached;
  } finally {
    await Promise.all(sites.map(({ engine }) => engine.close().catch(() => {})));
    folder.remove();
  }
}

test(
  "a process that dies at any step of taking edits of every kind in loses nothing, and the next one ends where it would have",
  { timeout: 720_000 },
  async () => {
    const steps = await dyingAt(Infinity);
    console.log(`${steps.length} steps`);
    expect(new Set(steps)).toEqual(
      new Set([
        "files read",
        "files recorded",
        "loser stored",
        "journal written",
        "old file moved",
        "old file put back",
        "file linked",
        "folder made",
        "names changed",
        "folders durable",
        "manifest written",
      ]),
    );
    for (let fatal = 0; fatal < steps.length; fatal++)
      await dyingAt(fatal).catch((error: unknown) => {
        throw new Error(`dying at step ${fatal}, "${steps[fatal]}": ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      });
  },
);
