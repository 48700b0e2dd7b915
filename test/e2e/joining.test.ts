import { createDatabase, differences, dumpDatabase, Fleet, integrityProblems, scoutsync, select } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER NOT NULL REFERENCES team(id), label TEXT NOT NULL);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO team SELECT i, 'team ' || i, 'Rome' FROM n;
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO robot SELECT i, i, 'robot ' || i FROM n;`;
const HERE = `${SCHEMA} UPDATE team SET city = 'Oslo' WHERE id = 7; INSERT INTO robot VALUES(101, 7, 'only here')`;
const THERE = `${SCHEMA} UPDATE team SET city = 'Bonn' WHERE id = 7; INSERT INTO team VALUES(201, 'only there', NULL); INSERT INTO robot VALUES(102, 201, 'only there')`;

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("joining");
});
afterEach(() => fleet.stop());

test("copies that moved apart: refused with the difference, rehearsed, then joined row by row", async () => {
  const paths = { a: createDatabase(fleet.path("a", "app.db"), HERE), b: createDatabase(fleet.path("b", "app.db"), THERE) };
  const a = await fleet.node({ name: "a", databases: { app: paths.a }, baseline: null });
  let b = await fleet.node({ name: "b", databases: { app: paths.b }, baseline: null });

  const refused = await fleet.sync(a, b);
  expect(refused.code).toBe(1);
  const { errors } = refused.json<{ errors: { code: string; message: string }[] }>();
  expect(errors).toHaveLength(1);
  expect(errors[0]?.code).toBe("BASELINE_CHOICE");
  expect(errors[0]?.message).toContain("team: 49 rows equal, 1 with the same key differ (7), 1 only there (201)");
  expect(errors[0]?.message).toContain("robot: 50 rows equal, 1 only here (101), 1 only there (102)");

  await b.stop();
  b = await fleet.node({ name: "b", databases: { app: paths.b }, baseline: "shared" });
  const before = [dumpDatabase(paths.a), dumpDatabase(paths.b)];
  const rehearsed = await scoutsync(["sync", b.address, a.address, "--dry-run", "--json"]);
  expect(rehearsed.code, rehearsed.stdout + rehearsed.stderr).toBe(0);
  expect(rehearsed.json()).toMatchObject({
    dry_run: true,
    success: true,
    databases: [{ name: "app", would_conflict: 1, would_rekey: 0, would_park: 0 }],
  });
  expect([dumpDatabase(paths.a), dumpDatabase(paths.b)]).toEqual(before);

  const done = await fleet.sync(b, a);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  expect(done.json()).toMatchObject({ success: true, verified: true, doubts: [] });
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
  for (const path of Object.values(paths)) {
    expect(select(path, "SELECT count(*) AS teams, (SELECT count(*) FROM robot) AS robots FROM team")).toEqual([
      { teams: 51n, robots: 52n },
    ]);
    expect(integrityProblems(path)).toEqual([]);
  }
  // One city is in the table, the other one waits for a person, on both.
  for (const node of [a, b]) {
    const reviews = (await scoutsync(["review", "list", node.address, "--json"])).json<
      { winner: { value: string }; loser: { value: string } }[]
    >();
    expect(new Set(reviews.map(({ winner, loser }) => [winner.value, loser.value].toSorted().join()))).toEqual(new Set(["Bonn,Oslo"]));
    expect(reviews).toHaveLength(1);
  }
});
