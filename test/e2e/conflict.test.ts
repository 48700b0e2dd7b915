import {
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  scoutsync,
  select,
  startWriter,
  until,
  type FleetNode,
  type Writer,
} from "@scoutsync/testkit";
import { pause } from "@scoutsync/runtime";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA =
  "CREATE TABLE match(name TEXT PRIMARY KEY, red INTEGER, blue INTEGER, notes TEXT); INSERT INTO match VALUES ('q1', 0, 0, ''), ('q2', 0, 0, '')";

interface ReviewEntry {
  id: string;
  table: string;
  key: string;
  column: string;
  resolved: boolean;
  winner: { value: unknown; origin: string; time: string };
  loser: { value: unknown; origin: string; time: string };
}

let fleet: Fleet;
let writer: Writer;
let a: FleetNode;
let b: FleetNode;
let paths: { a: string; b: string };
beforeEach(async () => {
  fleet = new Fleet("conflict");
  writer = startWriter();
  paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
  a = await fleet.node({ name: "a", databases: { app: paths.a } });
  b = await fleet.node({ name: "b", databases: { app: paths.b } });
  await sync();
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

async function sync(): Promise<void> {
  const done = await fleet.sync(a, b);
  expect(done.code, done.stdout + done.stderr).toBe(0);
}
const edit = (path: string, sql: string) => writer.write({ path, statements: [[sql, []]] });
const reviews = async (node: FleetNode) =>
  (await scoutsync(["review", "list", node.address, "--kind", "conflict", "--json"])).json<ReviewEntry[]>();

test("edits of different columns of one row are both kept, without a conflict", async () => {
  await edit(paths.a, "UPDATE match SET red = 10 WHERE name = 'q1'");
  await edit(paths.b, "UPDATE match SET blue = 20 WHERE name = 'q1'");
  await sync();
  for (const path of Object.values(paths))
    expect(select(path, "SELECT red, blue FROM match WHERE name = 'q1'")).toEqual([{ red: 10n, blue: 20n }]);
  expect(await reviews(a)).toEqual([]);
  expect(await reviews(b)).toEqual([]);
});

test("of two edits of one column the later wins and both nodes hold the same record of the loser", async () => {
  const before = Date.now();
  await edit(paths.a, "UPDATE match SET notes = 'first, on a' WHERE name = 'q1'");
  await pause(60);
  await edit(paths.b, "UPDATE match SET notes = 'second, on b' WHERE name = 'q1'");
  await sync();
  for (const path of Object.values(paths))
    expect(select(path, "SELECT notes FROM match WHERE name = 'q1'")).toEqual([{ notes: "second, on b" }]);
  const [onA, onB] = [await reviews(a), await reviews(b)];
  expect(onA).toEqual(onB);
  expect(onA).toMatchObject([
    {
      kind: "conflict",
      database: "app",
      table: "match",
      column: "notes",
      resolved: false,
      winner: { value: "second, on b", origin: "b" },
      loser: { value: "first, on a", origin: "a" },
    },
  ]);
  const loserTime = Date.parse(onA[0]?.loser.time ?? "");
  expect(loserTime).toBeGreaterThanOrEqual(before - 1);
  expect(loserTime).toBeLessThanOrEqual(Date.parse(onA[0]?.winner.time ?? ""));
});

test("a sequential overwrite makes no record", async () => {
  await edit(paths.a, "UPDATE match SET notes = 'draft' WHERE name = 'q1'");
  await sync();
  await edit(paths.b, "UPDATE match SET notes = 'final' WHERE name = 'q1'");
  await sync();
  expect(select(paths.a, "SELECT notes FROM match WHERE name = 'q1'")).toEqual([{ notes: "final" }]);
  expect(await reviews(a)).toEqual([]);
  expect(await reviews(b)).toEqual([]);
});

test("a decision for the loser is an ordinary write that every node gets, and closes the record everywhere", async () => {
  await edit(paths.a, "UPDATE match SET notes = 'on a', red = 1 WHERE name = 'q2'");
  await pause(60);
  await edit(paths.b, "UPDATE match SET notes = 'on b' WHERE name = 'q2'");
  await sync();
  const [open] = await reviews(a);
  const shown = await scoutsync(["review", "show", a.address, open?.id ?? "", "--json"]);
  expect(shown.json()).toMatchObject({ id: open?.id, table: "match", key: open?.key });
  const decided = await scoutsync(["review", "resolve", a.address, open?.id ?? "", "--keep", "loser", "--json"]);
  expect(decided.code, decided.stderr).toBe(0);
  await until(() => select(paths.a, "SELECT notes FROM match WHERE name = 'q2'")[0]?.["notes"] === "on a", {
    what: "the loser in the table",
  });
  await sync();
  expect(select(paths.b, "SELECT notes, red FROM match WHERE name = 'q2'")).toEqual([{ notes: "on a", red: 1n }]);
  for (const node of [a, b]) expect((await reviews(node)).filter(({ resolved }) => !resolved)).toEqual([]);
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
});

test("a decision that the database refuses, or after which the row still waits, is no success, and says why", async () => {
  for (const [path, name] of [
    [paths.a, "a"],
    [paths.b, "b"],
  ] as const) {
    await edit(path, "CREATE TABLE team(name TEXT PRIMARY KEY, number INTEGER UNIQUE CHECK(number > 0))");
    await edit(path, `INSERT INTO team VALUES ('of ${name}', 1)`);
  }
  await sync();
  const list = await scoutsync(["review", "list", a.address, "--kind", "parked", "--json"]);
  const [parked] = list.json<ReviewEntry[]>();
  const decide = (value: string) => scoutsync(["review", "resolve", a.address, parked?.id ?? "", "--set", `number:=${value}`]);
  const refused = await decide("-1");
  expect(refused.code, refused.stdout).toBe(1);
  expect(refused.stderr).toMatch(/CHECK constraint failed: number > 0.*Nothing was changed.*--set/s);
  const taken = await decide("1");
  expect(taken.code, taken.stderr).toBe(1);
  expect(taken.stdout).toMatch(/has the same value.*review resolve with --set number=VALUE/s);
  const done = await decide("2");
  expect(done.code, done.stderr).toBe(0);
});
