import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import {
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  integrityProblems,
  scoutsync,
  select,
  startWriter,
  type Writer,
} from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, note TEXT);
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, label TEXT NOT NULL);
  CREATE TABLE word(k TEXT PRIMARY KEY, v TEXT)`;
/**
 * Less than a second: what is deleted is soon old enough. The nodes look for it by themselves, too, a minute after they started: on
 * a busy machine what may go is gone then before it is asked for.
 */
const SOON = ["--retention-days", "0.000001"];

let fleet: Fleet;
let writer: Writer;
beforeEach(() => {
  fleet = new Fleet("forgetting");
  writer = startWriter();
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

const run = (path: string, sql: string, values: (string | number)[] = []) =>
  writer.write({ path, statements: [[sql, values]], pragmas: ["foreign_keys=ON"] });
const names = (path: string) => select(path, "SELECT name, note FROM team ORDER BY name");
const logOf = (path: string) => Number(select(path, "SELECT count(*) AS n FROM _scoutsync_log")[0]?.["n"]);
/** Deleted rows that are remembered. */
const deletedAt = (path: string) => Number(select(path, "SELECT count(*) AS n FROM _scoutsync_out WHERE state = 1")[0]?.["n"]);

interface Forgot {
  forgotten: number;
  awaited: number;
  kept_for: { name: string; rows: number }[];
}
async function forget(address: string, ...flags: string[]): Promise<Forgot> {
  const done = await scoutsync(["forget", address, "--json", ...flags]);
  expect(done.code, done.stderr).toBe(0);
  return done.json<Forgot[]>()[0] as Forgot;
}

test("a node that was retired comes back with writes nobody has: none is lost, and nothing that was deleted meanwhile comes back", async () => {
  const paths = Object.fromEntries(["a", "b", "c"].map((name) => [name, createDatabase(fleet.path(name, "app.db"), SCHEMA)])) as Record<
    "a" | "b" | "c",
    string
  >;
  const [a, b, c] = await Promise.all(
    (["a", "b", "c"] as const).map((name) => fleet.node({ name, databases: { app: paths[name] }, flags: SOON })),
  );
  if (!a || !b || !c) throw new Error("no fleet");
  const sync = async (one: typeof a, other: typeof a) => {
    const done = await fleet.sync(one, other);
    expect(done.code, done.stdout + done.stderr).toBe(0);
    return done;
  };

  for (const name of ["stays", "goes", "goes with a robot", "goes though edited", "goes though used"])
    await run(paths.a, "INSERT INTO team(name, note) VALUES(?, 'from a')", [name]);
  await run(paths.a, "INSERT INTO robot(team_id, label) VALUES(3, 'old robot')");
  await run(paths.a, "INSERT INTO word VALUES('one', '1'), ('two', '2')");
  for (const [one, other] of [
    [a, b],
    [a, c],
    [b, c],
    [a, b],
  ] as const)
    await sync(one, other);

  // c is away, and its application goes on.
  await c.stop();
  await run(paths.c, "UPDATE team SET note = 'edited at c' WHERE id = 4");
  await run(paths.c, "INSERT INTO robot(team_id, label) VALUES(5, 'new robot of c')");
  await run(paths.c, "INSERT INTO team(name, note) VALUES('new at c', 'c')");
  await run(paths.c, "UPDATE word SET v = 'edited at c' WHERE k = 'two'");
  await run(paths.a, "DELETE FROM team WHERE id > 1");
  await run(paths.a, "DELETE FROM word");
  await sync(a, b);

  // Nobody knows whether c will come back: all is kept for it.
  const before = { a: logOf(paths.a), b: logOf(paths.b) };
  const kept = await forget(a.address);
  expect(kept).toMatchObject({ forgotten: 0, awaited: 7 });
  expect(kept.kept_for.map(({ name }) => name)).toEqual(["c"]);
  expect([deletedAt(paths.a), deletedAt(paths.b)]).toEqual([7, 7]);

  expect((await scoutsync(["peers", "retire", a.address, "c"])).code).toBe(0);
  const tried = await forget(a.address, "--dry-run");
  const log = logOf(paths.a);
  const cameFirst = deletedAt(paths.a) === 0;
  expect(cameFirst ? "the node itself" : [tried.forgotten, log]).toEqual(cameFirst ? "the node itself" : [7, before.a]);
  expect(await forget(a.address)).toMatchObject({ awaited: 0 });
  expect(deletedAt(paths.a)).toBe(0);
  // b hears of it from a.
  await sync(b, a);
  expect(await forget(b.address)).toMatchObject({ awaited: 0 });
  expect(deletedAt(paths.b)).toBe(0);
  expect(logOf(paths.a)).toBeLessThan(before.a - 7);
  expect(logOf(paths.b)).toBeLessThan(before.b - 7);

  // Who meets it is told, and takes nothing.
  await c.restart();
  const refused = await fleet.sync(a, c);
  expect(refused.code).toBe(1);
  expect(refused.stdout + refused.stderr).toMatch(/away for so long/);
  expect(names(paths.a)).toEqual([{ name: "stays", note: "from a" }]);

  // It comes back by a session of its own.
  const joined = await sync(c, b);
  expect(joined.json()).toMatchObject({ success: true, verified: true });
  for (const [one, other] of [
    [a, b],
    [c, a],
    [b, c],
  ] as const)
    await sync(one, other);
  const teams = [
    { name: "goes though edited", note: "edited at c" },
    { name: "goes though used", note: "from a" },
    { name: "new at c", note: "c" },
    { name: "stays", note: "from a" },
  ];
  for (const path of Object.values(paths)) {
    expect(names(path)).toEqual(teams);
    expect(select(path, "SELECT robot.label, team.name FROM robot JOIN team ON team.id = team_id")).toEqual([
      { label: "new robot of c", name: "goes though used" },
    ]);
    expect(select(path, "SELECT * FROM word")).toEqual([{ k: "two", v: "edited at c" }]);
    expect(integrityProblems(path)).toEqual([]);
    expect(differences(dumpDatabase(paths.a), dumpDatabase(path))).toEqual([]);
  }

  // It counts again: what is deleted from now on is kept for it.
  const members = (await scoutsync(["peers", "list", a.address, "--json"])).json<{ name: string; retired: boolean }[]>();
  expect(members.filter(({ retired }) => retired)).toEqual([]);
  await run(paths.c, "DELETE FROM team WHERE name = 'new at c'");
  await sync(c, a);
  expect(await forget(a.address)).toMatchObject({ awaited: 1, kept_for: [{ name: "b", rows: 1 }] });
  await sync(b, a);
  await sync(a, c);
  await sync(a, b);
  expect(await forget(a.address)).toMatchObject({ awaited: 0 });
  expect(deletedAt(paths.a)).toBe(0);
});

/** Writes a bundle as versions before wrote it: its head does not say where the node stood. Returns the path. */
function asWrittenBefore(path: string): string {
  const bytes = readFileSync(path);
  const parts = [bytes.subarray(0, 12)];
  const sum = createHash("sha256").update(bytes.subarray(0, 12));
  for (let at = 12; at < bytes.length;) {
    const [tag, length] = [bytes.toString("latin1", at, at + 4), bytes.readUInt32BE(at + 4)];
    let body = bytes.subarray(at + 8, at + 8 + length);
    if (tag === "HEAD") {
      const { vector, ...head } = JSON.parse(body.toString()) as Record<string, unknown>;
      if (typeof vector !== "string" || !vector.includes(":")) throw new Error("the head does not say where the node stood");
      body = Buffer.from(JSON.stringify(head));
    }
    const section = Buffer.concat([Buffer.from(tag + "....", "latin1"), body]);
    section.writeUInt32BE(body.length, 4);
    parts.push(section, sum.update(section).copy().digest());
    sum.update(parts.at(-1) as Buffer);
    at += 8 + length + 32;
  }
  writeFileSync(`${path}-before`, Buffer.concat(parts));
  return `${path}-before`;
}

test("of a bundle from a node that was away for too long nothing is taken, however many batches it has, and a new node takes all of it", async () => {
  const paths = Object.fromEntries(
    ["a", "b", "c", "d"].map((name) => [name, createDatabase(fleet.path(name, "app.db"), SCHEMA)]),
  ) as Record<"a" | "b" | "c" | "d", string>;
  const [a, b, c, d] = await Promise.all(
    (["a", "b", "c", "d"] as const).map((name) => fleet.node({ name, databases: { app: paths[name] }, flags: SOON })),
  );
  if (!a || !b || !c || !d) throw new Error("no fleet");
  const exported = async (name: string) => {
    const path = fleet.path("stick", name);
    const done = await scoutsync(["export", c.address, "--db", "app", "-o", path, "--json"]);
    expect(done.code, done.stderr).toBe(0);
    return { path, batches: done.json<{ batches: number }>().batches };
  };
  const attempt = (node: typeof a, path: string) => scoutsync(["import", node.address, path, "--json"]);
  const words = (path: string) => Number(select(path, "SELECT count(*) AS n FROM word")[0]?.["n"]);

  await run(paths.a, "INSERT INTO team(name, note) VALUES('stays', 'from a'), ('goes though edited', 'from a')");
  for (const other of [b, c]) expect((await fleet.sync(other, a)).code).toBe(0);
  await run(paths.c, "UPDATE team SET note = 'edited at c' WHERE id = 2");
  for (const word of ["x", "y", "z"]) {
    // As large as a batch may be.
    await run(paths.c, "INSERT INTO word VALUES(?, hex(randomblob(600000)))", [word]);
    await scoutsync(["changes", c.address, "--db", "app", "--count"]);
  }
  const { path: behind, batches } = await exported("behind");
  expect(batches).toBeGreaterThan(1);

  await run(paths.a, "DELETE FROM team WHERE id = 2");
  expect((await scoutsync(["peers", "retire", a.address, "c"])).code).toBe(0);
  expect((await fleet.sync(b, a)).code).toBe(0);
  expect(await forget(a.address)).toMatchObject({ awaited: 0, young: 0 });
  expect(deletedAt(paths.a)).toBe(0);

  for (const path of [behind, asWrittenBefore(behind)]) {
    const refused = await attempt(a, path);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toMatch(/PEER_BEHIND/);
    expect(names(paths.a)).toEqual([{ name: "stays", note: "from a" }]);
    expect(words(paths.a)).toBe(0);
  }

  // As it says: a new node takes it, and joins by a session of its own.
  expect((await attempt(d, asWrittenBefore(behind))).code).toBe(0);
  expect((await fleet.sync(d, a)).code).toBe(0);
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.d))).toEqual([]);
  expect(names(paths.a)).toContainEqual({ name: "goes though edited", note: "edited at c" });
  expect(words(paths.a)).toBe(3);

  // One that has joined again is behind no more: its bundles are taken, those of versions before as well.
  expect((await fleet.sync(c, a)).code).toBe(0);
  await run(paths.c, "INSERT INTO word VALUES('later', 'of c')");
  const { path: later } = await exported("later");
  const taken = await attempt(a, asWrittenBefore(later));
  expect(taken.code, taken.stdout + taken.stderr).toBe(0);
  expect(words(paths.a)).toBe(4);
});
