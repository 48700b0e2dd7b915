import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { diagnoseRoot } from "../src/index.ts";
import { openSite, sync, type Site } from "./exchange.ts";

let folder: { path: string; remove(): void };
let a: Site;
let b: Site;
beforeEach(async () => {
  folder = temporaryFolder("root-lock");
  [a, b] = [await openSite(folder.path, "a"), await openSite(folder.path, "b")];
});
afterEach(async () => {
  await Promise.all([a.engine.close(), b.engine.close()]);
  folder.remove();
});

const another = (path: string) => openSite(folder.path, "other", {}, { path });

test("a folder is one node's: another is refused, whatever it calls it, until the first has let go", async () => {
  await expect(another(a.root)).rejects.toMatchObject({ code: "ROOT_IN_USE", message: expect.stringContaining(a.root) });
  expect(diagnoseRoot(a.root, [])).toMatchObject({ status: "attached", inUse: true });
  await a.engine.close();
  expect(diagnoseRoot(a.root, [])).toMatchObject({ status: "attached", inUse: false });
  await (await another(a.root)).engine.close();
  a = await openSite(folder.path, "a");
});

test("a folder in a root is refused, and a root in a folder is left alone with what is in it", async () => {
  mkdirSync(join(a.root, "inner", "deep"), { recursive: true });
  await expect(another(join(a.root, "inner"))).rejects.toMatchObject({ code: "ROOT_IN_USE", message: expect.stringContaining("lies in") });
  expect(diagnoseRoot(join(a.root, "inner"), [])).toMatchObject({ status: "refused" });
  expect(readdirSync(join(a.root, "inner"))).toEqual(["deep"]);
  const outer = join(folder.path, "outer");
  const inner = join(outer, "inner");
  mkdirSync(inner, { recursive: true });
  const within = await another(inner);
  writeFileSync(join(inner, "x"), "of the inner root");
  await within.engine.scan({});
  await a.engine.close();
  a = { ...(await openSite(folder.path, "around", {}, { path: outer })), root: outer };
  await sync(a, b);
  expect(readdirSync(join(b.root), { recursive: true }).filter((path) => String(path).endsWith("x"))).toEqual([]);
  expect((await a.engine.status()).remarks).toMatchObject([{ path: "inner", reason: expect.stringMatching(/is a file root of its own/) }]);
  expect(diagnoseRoot(outer, []).leftAlone).toMatchObject([{ path: "inner" }]);
  await within.engine.close();
});
