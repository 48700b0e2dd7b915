import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import {
  chooseSeed,
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  scoutsync,
  seededRandom,
  select,
  selectOne,
  startWriter,
  type FleetNode,
  type Writer,
} from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

// Nodes that never talk: nothing but files goes from one to the other.

const SCHEMA =
  "CREATE TABLE team(number INTEGER PRIMARY KEY, name TEXT NOT NULL); CREATE TABLE visit(id INTEGER PRIMARY KEY, team INTEGER NOT NULL REFERENCES team, notes TEXT, photo BLOB)";
const SEED = chooseSeed();

let fleet: Fleet;
let writer: Writer;
let paths: { a: string; b: string };
let a: FleetNode;
let b: FleetNode;
beforeEach(async () => {
  fleet = new Fleet("bundle");
  writer = startWriter();
  paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
  a = await fleet.node({ name: "a", databases: { app: paths.a } });
  b = await fleet.node({ name: "b", databases: { app: paths.b } });
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

const edit = (path: string, ...statements: string[]) =>
  writer.write({ path, statements: statements.map((sql): [string, []] => [sql, []]) });

/** Rows with notes enough for a bundle of several batches. */
const visits = (team: number, rows: number) => [
  `INSERT INTO team VALUES (${team}, 'team ${team}')`,
  `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) INSERT INTO visit(team, notes, photo) SELECT ${team}, 'visit ' || i, randomblob(300) FROM n`,
];

/** Returns when the node has turned everything committed so far into changes: it does before it counts. */
const drained = (node: FleetNode) => scoutsync(["changes", node.address, "--db", "app", "--count"]);

async function exported(node: FleetNode, name: string, ...flags: string[]): Promise<string> {
  const path = fleet.path("stick", name);
  const done = await scoutsync(["export", node.address, "--db", "app", "-o", path, "--json", ...flags]);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  expect(existsSync(path)).toBe(true);
  return path;
}

interface Imported {
  received: number;
  applied: number;
  skipped: number;
  held: number;
  vector: string;
  verified: boolean;
}

const attempt = (node: FleetNode, path: string) => scoutsync(["import", node.address, path, "--json"]);

async function imported(node: FleetNode, path: string): Promise<Imported> {
  const done = await attempt(node, path);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return done.json<Imported>();
}

async function vectorOf(node: FleetNode): Promise<string> {
  const ping = (await scoutsync(["ping", node.address, "--json"])).json<{ databases: { vector: string }[] }>();
  return ping.databases[0]?.vector ?? "";
}

const equal = () => expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);

test("a stick carried both ways makes two nodes equal that never met, with what both wrote", async () => {
  await edit(paths.a, ...visits(1, 6_000));
  await edit(paths.b, ...visits(2, 50));
  const first = await imported(b, await exported(a, "from-a"));
  expect(first.applied).toBe(6_001);
  const back = await imported(a, await exported(b, "from-b", "--since", await vectorOf(a)));
  expect(back).toMatchObject({ verified: true });
  // Integers that both gave out moved on both sides alike.
  await imported(b, await exported(a, "from-a-again", "--since", await vectorOf(b)));
  for (const path of Object.values(paths)) {
    expect(select(path, "SELECT team, count(*) AS n FROM visit GROUP BY team ORDER BY team")).toEqual([
      { team: 1n, n: 6_000n },
      { team: 2n, n: 50n },
    ]);
  }
  equal();
  expect(readdirSync(fleet.path("stick", "x", "..")).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("taken twice changes nothing, and an edit conflicts as it would on the wire", async () => {
  await edit(paths.a, ...visits(1, 3));
  await imported(b, await exported(a, "one"));
  await edit(paths.b, "UPDATE visit SET notes = 'on b' WHERE id = 1");
  await edit(paths.a, "UPDATE visit SET notes = 'on a' WHERE id = 1");
  const path = await exported(a, "two", "--for", b.address);
  expect((await scoutsync(["export", a.address, "--db", "app", "--for", "127.0.0.1:1", "-o", fleet.path("stick", "nobody")])).code).toBe(1);
  expect(existsSync(fleet.path("stick", "nobody"))).toBe(false);
  await imported(b, path);
  const before = dumpDatabase(paths.b);
  const vector = await vectorOf(b);
  expect(await imported(b, path)).toMatchObject({ applied: 0, vector });
  expect(differences(before, dumpDatabase(paths.b))).toEqual([]);
  expect((await scoutsync(["review", "list", b.address, "--json"])).json<unknown[]>()).toHaveLength(1);
});

test("out of order: refused with what to export instead, and right in order", async () => {
  await edit(paths.a, ...visits(1, 10));
  const first = await exported(a, "first");
  const between = await vectorOf(a);
  await edit(paths.a, ...visits(2, 10));
  const second = await exported(a, "second", "--since", between);
  const early = await attempt(b, second);
  expect(early.code).toBe(1);
  expect(early.stdout).toMatch(/BATCH_GAP/);
  expect(early.stderr).toContain('--since ""');
  expect(selectOne(paths.b, "SELECT count(*) FROM visit")).toBe(0n);
  await imported(b, first);
  await imported(b, second);
  equal();
  // An old bundle after a newer one takes nothing back.
  expect(await imported(b, first)).toMatchObject({ applied: 0 });
  equal();
});

test("a third node passes on what it got from a stick", async () => {
  await edit(paths.a, ...visits(1, 20));
  const path = createDatabase(fleet.path("c", "app.db"), SCHEMA);
  const c = await fleet.node({ name: "c", databases: { app: path } });
  await imported(c, await exported(a, "a-to-c"));
  await edit(path, "UPDATE visit SET notes = 'seen by c' WHERE id = 3");
  await imported(b, await exported(c, "c-to-b"));
  await imported(a, await exported(c, "c-to-a", "--since", await vectorOf(a)));
  equal();
  expect(selectOne(paths.b, "SELECT notes FROM visit WHERE id = 3")).toBe("seen by c");
});

test("what a stick brings for a table that is not there is said, and is in it once it is made", async () => {
  await edit(paths.a, "CREATE TABLE score(id INTEGER PRIMARY KEY, points)", "INSERT INTO score VALUES (1, 5), (2, 7)");
  const path = await exported(a, "with-a-table-more");
  const said = await scoutsync(["import", b.address, path]);
  expect(said.stdout).toContain("Of 2 rows here");
  expect(await imported(b, path)).toMatchObject({ applied: 0, held: 2 });
  await edit(paths.b, "CREATE TABLE score(id INTEGER PRIMARY KEY, points)");
  await drained(b);
  expect(await imported(b, path)).toMatchObject({ held: 0 });
  equal();
});

test(`cut anywhere, an import keeps what is whole and goes on with the whole file (seed ${SEED})`, async () => {
  // A batch holds transactions whole.
  for (let team = 1; team <= 12; team++) {
    await edit(paths.a, ...visits(team, 1_000));
    await drained(a);
  }
  const path = await exported(a, "whole");
  const bytes = readFileSync(path);
  const random = seededRandom(SEED).next;
  const cuts = [0, 5, 12, 40, bytes.length - 1, ...Array.from({ length: 6 }, () => Math.floor(random() * bytes.length))].sort(
    (x, y) => x - y,
  );
  const cut = fleet.path("stick", "cut");
  let rows = 0n;
  for (const at of cuts) {
    writeFileSync(cut, bytes.subarray(0, at));
    const done = await attempt(b, cut);
    expect(done.code, `cut at ${at}: ${done.stdout}`).toBe(1);
    expect(done.stdout, `cut at ${at}`).toMatch(/BUNDLE_UNREADABLE/);
    const now = selectOne(paths.b, "SELECT count(*) FROM visit") as bigint;
    expect(now).toBeGreaterThanOrEqual(rows);
    rows = now;
  }
  expect(rows).toBeGreaterThan(0n);
  const rest = await imported(b, path);
  expect(rest.skipped).toBeGreaterThan(0);
  expect(rest.verified).toBe(true);
  equal();
});

test(`one flipped bit anywhere is found before anything behind it is taken (seed ${SEED})`, async () => {
  await edit(paths.a, ...visits(1, 4_000));
  const path = await exported(a, "whole");
  const bytes = readFileSync(path);
  const random = seededRandom(SEED).next;
  const edges = [0, 11, 13, 18, 25, bytes.length - 1, bytes.length - 36, bytes.length - 39];
  const flipped = fleet.path("stick", "flipped");
  for (const at of [...edges, ...Array.from({ length: 8 }, () => Math.floor(random() * bytes.length))]) {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] as number) ^ (1 << Math.floor(random() * 8));
    writeFileSync(flipped, damaged);
    const done = await attempt(b, flipped);
    expect(done.code, `bit in byte ${at}: ${done.stdout}`).toBe(1);
    expect(done.stdout, `bit in byte ${at}`).toMatch(/BUNDLE_UNREADABLE|PROTOCOL_VERSION/);
    const strange = select(paths.b, "SELECT notes FROM visit WHERE notes NOT LIKE 'visit %' OR length(photo) <> 300");
    expect(strange).toEqual([]);
  }
  await imported(b, path);
  equal();
});

test("files that are no bundle, or for another database, are refused with the reason", async () => {
  await edit(paths.a, ...visits(1, 5));
  const path = await exported(a, "good");
  const other = await fleet.node({ name: "o", databases: { other: createDatabase(fleet.path("o", "o.db"), SCHEMA) } });
  const foreign = await attempt(other, path);
  expect(foreign.code).toBe(1);
  expect(foreign.stderr).toMatch(/for database "app"/);
  for (const [name, content] of [
    ["empty", ""],
    ["text", "INSERT INTO visit VALUES (1)"],
    ["sqlite", readFileSync(paths.a)],
    ["longer", Buffer.concat([readFileSync(path), Buffer.from("x")])],
  ] as const) {
    const wrong = fleet.path("stick", name);
    writeFileSync(wrong, content);
    const done = await attempt(b, wrong);
    expect(done.code, name).toBe(1);
    expect(done.stdout, name).toMatch(/BUNDLE_UNREADABLE/);
  }
  expect((await attempt(b, fleet.path("stick", "missing"))).code).toBe(1);
  const newer = readFileSync(path);
  newer[11] = 9;
  writeFileSync(fleet.path("stick", "newer"), newer);
  expect((await attempt(b, fleet.path("stick", "newer"))).stdout).toMatch(/PROTOCOL_VERSION/);
});

test("an export takes the place of no folder, pipe or link, and goes where a link leads", async () => {
  const pipe = fleet.path("stick", "pipe");
  execFileSync("mkfifo", [pipe]);
  for (const path of [pipe, dirname(pipe)]) {
    const done = await scoutsync(["export", a.address, "--db", "app", "-o", path]);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain(`${path} is `);
  }
  expect(lstatSync(pipe).isFIFO()).toBe(true);
  const link = fleet.path("stick", "link");
  writeFileSync(fleet.path("stick", "earlier"), "a bundle from yesterday");
  symlinkSync("earlier", link);
  await exported(a, "link");
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect((await scoutsync(["import", b.address, fleet.path("stick", "earlier")])).code).toBe(0);
});

test("an export that cannot be finished leaves no file", async () => {
  await edit(paths.a, ...visits(1, 5));
  const path = fleet.path("stick", "none");
  const done = await scoutsync(["export", a.address, "--db", "absent", "-o", path]);
  expect(done.code).not.toBe(0);
  expect((await scoutsync(["export", a.address, "--db", "app", "--since", "nonsense", "-o", path])).code).toBe(2);
  expect(readdirSync(fleet.path("stick", "x", ".."))).toEqual([]);
  // One that is there stays as it was.
  writeFileSync(path, "precious");
  await scoutsync(["export", a.address, "--db", "absent", "-o", path]);
  expect(readFileSync(path, "utf8")).toBe("precious");
  truncateSync(path);
});
