import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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
