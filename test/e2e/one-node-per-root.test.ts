import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet, scoutsync } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

let fleet: Fleet;
let root: string;
beforeEach(() => {
  fleet = new Fleet("one-root");
  root = fleet.path("app", "uploads");
  mkdirSync(root);
});
afterEach(() => fleet.stop());

const start = (name: string, files: string, data = fleet.path("data", name)) =>
  scoutsync(["node", "--name", name, "--listen", "127.0.0.1:0", "--files", `uploads=${files}`, "--data", data]);

test("a second node on a folder is refused with what to do, doctor says so, and one that was killed is succeeded at once", async () => {
  const first = await fleet.node({ name: "first", databases: {}, flags: ["--files", `uploads=${root}`] });
  for (const folder of [root, join(root, ".")]) {
    const { code, stderr } = await start("second", folder);
    expect(code, stderr).not.toBe(0);
    expect(stderr).toMatch(/another sync-node runs on the folder .*uploads.*\. Stop that node/);
  }
  const doctor = await scoutsync(["doctor", "--files", root, "--json"]);
  expect(doctor.json<object>()).toMatchObject({ status: "attached", in_use: true });
  await first.kill();
  const third = await fleet.node({ name: "third", databases: {}, flags: ["--files", `uploads=${root}`] });
  writeFileSync(join(root, "x"), "1");
  const listed = await scoutsync(["files", "list", third.address, "uploads", "--json"]);
  expect(listed.code, listed.stderr).toBe(0);
});

test("a folder in another root, and a root that holds the node's own keys, are refused, and nothing is left in them", async () => {
  await fleet.node({ name: "first", databases: {}, flags: ["--files", `uploads=${root}`] });
  const inner = join(root, "inner");
  mkdirSync(inner);
  const within = await start("second", inner);
  expect(within.code).not.toBe(0);
  expect(within.stderr).toMatch(/lies in the file root .*\. A file belongs to one root/);
  expect(readdirSync(inner)).toEqual([]);
  const doctor = await scoutsync(["doctor", "--files", inner]);
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toMatch(/lies in the file root/);
  const app = fleet.path("other", "app");
  mkdirSync(app);
  const holds = await start("third", app, join(app, "data"));
  expect(holds.code).toBe(2);
  expect(holds.stderr).toMatch(/holds the data folder of this node.*Choose another folder/);
  expect(readdirSync(app)).not.toContain(".scoutsync-store");
});
