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
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL);
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, label TEXT NOT NULL);
  CREATE TABLE part(robot_id INTEGER NOT NULL REFERENCES robot(id), slot TEXT NOT NULL, made_by INTEGER REFERENCES team(id), PRIMARY KEY(robot_id, slot))`;

let fleet: Fleet;
let writer: Writer;
beforeEach(() => {
  fleet = new Fleet("identity");
  writer = startWriter();
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

test("rows with the same integer key on two nodes both exist on both, with their own children", async () => {
  const paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  for (const [name, path] of Object.entries(paths)) {
    for (let at = 1; at <= 5; at++) {
      const [team] = await writer.write({
        path,
        statements: [["INSERT INTO team(name) VALUES (?)", [`team ${at} of ${name}`]]],
        pragmas: ["foreign_keys=ON"],
      });
      // Both servers hand out 1 to 5.
      expect(team).toBe(at);
      await writer.write({
        path,
        statements: [
          ["INSERT INTO robot(team_id, label) VALUES (?, ?)", [at, `robot ${at} of ${name}`]],
          ["INSERT INTO part(robot_id, slot, made_by) VALUES (?, 'arm', ?)", [at, at]],
        ],
        pragmas: ["foreign_keys=ON"],
      });
    }
  }
  const done = await fleet.sync(a, b);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  expect(done.json()).toMatchObject({ success: true, verified: true });

  const family = `SELECT robot.label, team.name AS team, part.slot, maker.name AS maker FROM robot JOIN team ON team.id = robot.team_id
    JOIN part ON part.robot_id = robot.id JOIN team maker ON maker.id = part.made_by ORDER BY robot.label`;
  const expected = ["a", "b"]
    .flatMap((name) =>
      [1, 2, 3, 4, 5].map((at) => ({
        label: `robot ${at} of ${name}`,
        team: `team ${at} of ${name}`,
        slot: "arm",
        maker: `team ${at} of ${name}`,
      })),
    )
    .sort((x, y) => (x.label < y.label ? -1 : 1));
  for (const path of Object.values(paths)) {
    expect(select(path, family)).toEqual(expected);
    expect(integrityProblems(path)).toEqual([]);
  }
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);

  // Whoever lost its number can be told where it went.
  const moved = select(paths.a, "SELECT id, name FROM team WHERE id > 5");
  expect(moved.length).toBe(5);
  const history = await scoutsync(["history", a.address, "--db", "app", "team", String(moved[0]?.["id"]), "--json"]);
  expect(history.json<{ operation: string }[]>().map(({ operation }) => operation)).toContain("rekey");
});

test("ids given out after a merge do not clash again: both sides go on writing", async () => {
  const paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  for (let round = 0; round < 4; round++) {
    for (const [name, path] of Object.entries(paths)) {
      await writer.write({ path, statements: [["INSERT INTO team(name) VALUES (?)", [`${name} in round ${round}`]]] });
    }
    const done = await fleet.sync(a, b);
    expect(done.code, done.stdout + done.stderr).toBe(0);
  }
  for (const path of Object.values(paths)) expect(select(path, "SELECT DISTINCT name FROM team").length).toBe(8);
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
});
