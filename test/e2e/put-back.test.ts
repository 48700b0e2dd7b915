import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  scoutsync,
  select,
  startWriter,
  until,
  type FleetCoordinator,
  type FleetNode,
  type Writer,
} from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

let fleet: Fleet;
let writer: Writer;
let coordinator: FleetCoordinator;
beforeEach(async () => {
  fleet = new Fleet("put-back");
  writer = startWriter();
  coordinator = await fleet.coordinator({ redis: (await fleet.privateRedis()).url });
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

const pathOf = (node: FleetNode) => node.databases["app"] ?? "";
const rowsOf = (node: FleetNode) => select(pathOf(node), "SELECT count(*) AS rows FROM entry")[0]?.["rows"];
const write = (node: FleetNode, label: string) =>
  writer.write({
    path: pathOf(node),
    statements: Array.from({ length: 40 }, (_, at) => ["INSERT INTO entry(body) VALUES (?)", [`${label} ${at}`]] as const),
  });

test("a backup that was put back while its node was down is brought up to date by the coordinator alone", async () => {
  const nodes: FleetNode[] = [];
  for (const name of ["north", "south", "west"]) {
    const path = createDatabase(fleet.path(name, "app.db"), "CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT NOT NULL)");
    nodes.push(await fleet.node({ name, databases: { app: path }, coordinator: coordinator.address }));
  }
  const [north, south] = nodes as [FleetNode, FleetNode];
  await write(north, "before the backup");
  await until(() => nodes.every((node) => rowsOf(node) === 40n), { what: "all to have what came before the backup" });
  // Everything of a database that its node has closed is in the one file.
  await south.stop();
  copyFileSync(pathOf(south), fleet.path("backup.db"));
  await south.restart();
  await write(south, "lost with the file");
  await write(north, "after the backup");
  await until(() => nodes.every((node) => rowsOf(node) === 120n), { what: "all to have what came after it" });
  await south.stop();
  for (const end of ["-wal", "-shm"]) rmSync(`${pathOf(south)}${end}`, { force: true });
  copyFileSync(fleet.path("backup.db"), pathOf(south));
  expect(rowsOf(south)).toBe(40n);
  await south.restart();
  await until(async () => rowsOf(south) === 120n && (await converged()), { withinMs: 45_000, what: "it to have all of it again" });
  const [first, ...others] = nodes.map((node) => dumpDatabase(pathOf(node)));
  for (const other of others) expect(differences(first ?? [], other)).toEqual([]);
});

test("files whose delete was undone on the node that misses them are fetched again", async () => {
  const roots = { north: fleet.path("north", "uploads"), south: fleet.path("south", "uploads") };
  for (const root of Object.values(roots)) mkdirSync(root, { recursive: true });
  const names = Array.from({ length: 40 }, (_, at) => `file ${String(at).padStart(2, "0")}.txt`);
  // In a folder, which goes in one step: of files that go one by one a node may see the first ones go by themselves.
  const folder = "all of them";
  mkdirSync(join(roots.north, folder));
  for (const name of names) writeFileSync(join(roots.north, folder, name), `what is in ${name}`);
  const [, south] = await Promise.all(
    Object.entries(roots).map(([name, root]) =>
      fleet.node({ name, databases: {}, coordinator: coordinator.address, flags: ["--files", `uploads=${root}`] }),
    ),
  );
  const here = () => {
    const there = join(roots.south, folder);
    return existsSync(there) ? readdirSync(there).filter((name) => names.includes(name)).length : 0;
  };
  await until(() => here() === names.length, { withinMs: 45_000, what: "the files to be on both nodes" });
  renameSync(join(roots.south, folder), fleet.path("taken-away"));
  const address = south?.address ?? "";
  const held = await until(
    async () => {
      const listed = await scoutsync(["review", "list", address, "--kind", "file", "--json"]);
      return listed.code === 0 ? (listed.json<{ id: string }[]>()[0] ?? null) : null;
    },
    { withinMs: 60_000, everyMs: 1_000, what: "the missing files to wait for a person" },
  );
  const undone = await scoutsync(["review", "resolve", address, held.id, "--undo", "--json"]);
  expect(undone.code, undone.stderr).toBe(0);
  await until(() => here() === names.length, { withinMs: 45_000, what: "the files to be back" });
  for (const name of names) expect(readFileSync(join(roots.south, folder, name), "utf8")).toBe(`what is in ${name}`);
  await until(converged, { what: "the coordinator to call both equal" });
});

async function converged(): Promise<boolean> {
  const status = await scoutsync(["status", "--coordinator", coordinator.address, "--json"]);
  return status.json<{ converged: boolean }>().converged;
}
