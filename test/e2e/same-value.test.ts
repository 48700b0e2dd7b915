import {
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  type FleetNode,
  integrityProblems,
  scoutsync,
  select,
  startWriter,
} from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA = `
  CREATE TABLE role(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT);
  CREATE TABLE team(id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL UNIQUE, city TEXT);
  CREATE TABLE member(id INTEGER PRIMARY KEY, name TEXT NOT NULL, role_id INTEGER NOT NULL REFERENCES role(id), team_id INTEGER REFERENCES team(id));
  CREATE TABLE team_role(team_id INTEGER NOT NULL REFERENCES team(id), role_id INTEGER NOT NULL REFERENCES role(id), note TEXT, PRIMARY KEY(team_id, role_id));`;

/** What each server seeds by itself: the same role and team under other integers, and rows that refer to its own. */
const SEED = {
  a: `INSERT INTO role VALUES(1, 'admin', 'all of it'), (2, 'scout', 'from a');
    INSERT INTO team VALUES(1, 254, 'San Jose'), (2, 5454, 'Rome');
    INSERT INTO member VALUES(1, 'ada', 1, 2), (2, 'abel', 2, 1);
    INSERT INTO team_role VALUES(2, 1, 'by a')`,
  b: `INSERT INTO role VALUES(1, 'judge', 'from b'), (2, 'admin', 'everything');
    INSERT INTO team VALUES(1, 5454, 'Oslo');
    INSERT INTO member VALUES(1, 'bea', 2, 1);
    INSERT INTO team_role VALUES(1, 2, 'by b')`,
};

const MEMBERS = `SELECT member.name AS who, role.name AS role, number AS team FROM member
  JOIN role ON role.id = role_id JOIN team ON team.id = team_id ORDER BY who`;

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("same-value");
});
afterEach(() => fleet.stop());

async function sync(...pairs: [FleetNode, FleetNode][]): Promise<void> {
  for (const [from, to] of pairs) {
    const done = await fleet.sync(from, to);
    expect(done.code, done.stdout + done.stderr).toBe(0);
  }
}

interface Conflict {
  kind: string;
  table: string;
  column: string;
  winner: { value: unknown };
  loser: { value: unknown };
}

async function lost(node: FleetNode): Promise<string[]> {
  const open = (await scoutsync(["review", "list", node.address, "--json"])).json<Conflict[]>();
  return open
    .map(
      ({ kind, table, column, winner, loser }) =>
        `${kind} ${table}.${column}: ${[String(winner.value), String(loser.value)].toSorted().join(" / ")}`,
    )
    .toSorted();
}

function expectOneOfEach(paths: Readonly<Record<string, string>>): void {
  const [first, ...others] = Object.values(paths) as [string, ...string[]];
  for (const other of others) expect(differences(dumpDatabase(first), dumpDatabase(other))).toEqual([]);
  for (const path of Object.values(paths)) {
    expect(integrityProblems(path)).toEqual([]);
    expect(select(path, "SELECT name FROM role ORDER BY name")).toEqual([{ name: "admin" }, { name: "judge" }, { name: "scout" }]);
    expect(select(path, "SELECT number FROM team ORDER BY number")).toEqual([{ number: 254n }, { number: 5454n }]);
    expect(select(path, MEMBERS)).toEqual([
      { who: "abel", role: "scout", team: 254n },
      { who: "ada", role: "admin", team: 5454n },
      { who: "bea", role: "admin", team: 5454n },
    ]);
    expect(select(path, "SELECT count(*) AS n FROM team_role")).toEqual([{ n: 1n }]);
  }
}

const OPEN = [
  "conflict role.description: all of it / everything",
  "conflict team.city: Oslo / Rome",
  "conflict team_role.note: by a / by b",
];

test("a role and a team that two servers create apart are one row everywhere, with the children of both", async () => {
  const paths = Object.fromEntries(["a", "b", "c"].map((name) => [name, createDatabase(fleet.path(name, "app.db"), SCHEMA)]));
  const [a, b, c] = (await Promise.all(Object.entries(paths).map(([name, path]) => fleet.node({ name, databases: { app: path } })))) as [
    FleetNode,
    FleetNode,
    FleetNode,
  ];
  const writer = startWriter();
  for (const name of ["a", "b"] as const) {
    const statements = SEED[name].split(";").map((sql): [string, []] => [sql, []]);
    await writer.write({ path: paths[name] as string, statements });
  }
  // c hears of both before they have met, and each of them by way of c.
  await sync([c, a], [c, b], [a, c], [b, c], [a, b], [c, a], [b, c]);
  expectOneOfEach(paths);
  for (const node of [a, b, c]) expect(await lost(node)).toEqual(OPEN);

  // One row for the application, too: an edit on a third server settles it, a delete takes it away everywhere.
  const edit = [["UPDATE role SET description = 'settled' WHERE name = 'admin'", []]] as [string, []][];
  await writer.write({ path: paths["c"] as string, statements: edit });
  await sync([a, c], [b, c], [a, b]);
  for (const path of Object.values(paths))
    expect(select(path, "SELECT description FROM role WHERE name = 'admin'")).toEqual([{ description: "settled" }]);
  for (const node of [a, b, c]) expect(await lost(node)).toEqual(OPEN.slice(1));
  const remove = [
    "DELETE FROM team_role",
    "DELETE FROM member WHERE role_id IN (SELECT id FROM role WHERE name = 'admin')",
    "DELETE FROM role WHERE name = 'admin'",
  ];
  await writer.write({ path: paths["b"] as string, statements: remove.map((sql) => [sql, []]) });
  await sync([a, b], [c, b], [a, c]);
  for (const path of Object.values(paths)) {
    expect(select(path, "SELECT name FROM role ORDER BY name")).toEqual([{ name: "judge" }, { name: "scout" }]);
    expect(integrityProblems(path)).toEqual([]);
  }
  expect(differences(dumpDatabase(paths["a"] as string), dumpDatabase(paths["c"] as string))).toEqual([]);
  await writer.stop();
});

test("databases that were filled independently have one admin once they are joined as distinct", async () => {
  const paths = {
    a: createDatabase(fleet.path("a", "app.db"), `${SCHEMA} ${SEED.a}`),
    b: createDatabase(fleet.path("b", "app.db"), `${SCHEMA} ${SEED.b}`),
  };
  const a = await fleet.node({ name: "a", databases: { app: paths.a }, baseline: "distinct" });
  const b = await fleet.node({ name: "b", databases: { app: paths.b }, baseline: "distinct" });
  await sync([a, b], [b, a]);
  expectOneOfEach(paths);
  for (const node of [a, b]) expect(await lost(node)).toEqual(OPEN);
});
