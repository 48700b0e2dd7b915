import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** `visit` has no primary key: while it is compared after a migration nothing says which of its rows is which. */
const SCHEMA = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, old TEXT);
  CREATE TABLE visit(team INTEGER REFERENCES team(id), note TEXT, old TEXT)`;

function sites(): [Site, Site, Site] {
  return [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
}

/** Everyone has this in the end, and says so. */
function expectAll(all: readonly Site[], sql: string, rows: unknown[]): void {
  settle(...all);
  const digest = Buffer.from(all[0]?.replica.state().digest ?? []);
  for (const site of all) {
    expect(site.rows(sql), site.name).toEqual(rows);
    expect(site.rows("PRAGMA foreign_key_check"), site.name).toEqual([]);
    expect(digest.equals(site.replica.state().digest), site.name).toBe(true);
  }
}

/** Sites of which the first keeps a team that it deleted, for a visit of the second. */
function keptTeam() {
  const all = sites();
  const [a, b] = all;
  a.edit("INSERT INTO team VALUES(1, 'kept', 'x')", at(0));
  settle(...all);
  b.edit("INSERT INTO visit VALUES(1, 'of b', 'y')", at(1));
  a.edit("DELETE FROM team", at(2));
  a.pull(b);
  return all;
}

test("a row that is kept for one without a key stays while that one's table is compared: seed 140 of test/simulation/fleet", () => {
  const all = keptTeam();
  for (const site of all) site.edit("ALTER TABLE visit ADD COLUMN more TEXT", at(3));
  expectAll(all, "SELECT name, note FROM team JOIN visit ON team.id = team", [{ name: "kept", note: "of b" }]);
});

test("a row that is kept for one that goes just before a migration goes with it", () => {
  const all = keptTeam();
  const [a] = all;
  for (const site of all) site.edit(`${site === a ? "DELETE FROM visit;" : ""} ALTER TABLE team ADD COLUMN more TEXT`, at(3));
  expect(a.rows("SELECT * FROM team")).toEqual([]);
  expectAll(all, "SELECT name FROM team UNION SELECT note FROM visit", []);
});

const REBUILD = `CREATE TABLE made(team INTEGER REFERENCES team(id), note TEXT);
  INSERT INTO made SELECT team, note FROM visit; DROP TABLE visit; ALTER TABLE made RENAME TO visit`;

test.each([
  ["dropped", "ALTER TABLE visit DROP COLUMN old"],
  ["left out of a table made anew", REBUILD],
])("a row without a key that others deleted stays deleted where a column is %s: seed 900400 of test/simulation/fleet", (_, migration) => {
  const all = sites();
  const [a] = all;
  a.edit("INSERT INTO visit(note, old) VALUES('stays', 'x'), ('edited', 'x'), ('stays', 'y'), ('gone', 'x')", at(0));
  settle(...all);
  a.edit("DELETE FROM visit WHERE note = 'gone'; UPDATE visit SET note = 'edited by a' WHERE note = 'edited'", at(2));
  for (const site of all) site.edit(migration, at(3));
  expectAll(all, "SELECT note FROM visit ORDER BY note", [{ note: "edited by a" }, { note: "stays" }, { note: "stays" }]);
});

test("a column that is dropped from a table without a key is no edit of its rows", () => {
  const all = sites();
  const [a, b] = all;
  a.edit("INSERT INTO visit(note, old) VALUES('1', 'x'), ('2', 'y'), ('2', 'z')", at(0));
  settle(...all);
  for (const site of all) site.edit("ALTER TABLE visit DROP COLUMN old; ALTER TABLE visit ADD COLUMN more TEXT DEFAULT 'more'", at(1));
  expect(b.pull(a).at(-1)).toMatchObject({ received: 0, verified: true });
  b.edit("UPDATE visit SET more = 'of b' WHERE note = '1'", at(2));
  a.edit("UPDATE visit SET note = 'of a' WHERE note = '1'", at(3));
  expectAll(all, "SELECT note, more FROM visit ORDER BY note, more", [
    { note: "2", more: "more" },
    { note: "2", more: "more" },
    { note: "of a", more: "of b" },
  ]);
});

test("a row that was written after others deleted it lives though the column that was written is dropped: seed 900422 of test/simulation/fleet", () => {
  const all = sites();
  const [a, b, c] = all;
  a.edit(
    "INSERT INTO team VALUES(1, 'parent', 'x'), (2, 'written', 'x'), (3, 'gone', 'x'); INSERT INTO visit VALUES(1, 'child', 'x')",
    at(0),
  );
  settle(...all);
  a.edit("UPDATE team SET old = 'y' WHERE id = 3", at(1));
  c.edit("DELETE FROM visit; DELETE FROM team", at(2));
  a.edit("UPDATE team SET old = 'y' WHERE id = 2; UPDATE visit SET old = 'y'", at(3));
  for (const site of all) site.edit("ALTER TABLE team DROP COLUMN old; ALTER TABLE visit DROP COLUMN old", at(4));
  // Who hears of the delete first, of the write first, and of both at once.
  b.pull(c);
  expectAll(all, "SELECT name, note FROM team LEFT JOIN visit ON team = id ORDER BY id", [
    { name: "parent", note: "child" },
    { name: "written", note: null },
  ]);
  b.edit("DELETE FROM visit; DELETE FROM team", at(5));
  expectAll(all, "SELECT name FROM team UNION SELECT note FROM visit", []);
});

test("a new server hears of a write to a column that is dropped before it hears of an earlier delete", () => {
  const all = sites();
  const [a, b, c] = all;
  a.edit("INSERT INTO team VALUES(1, 'written', 'x')", at(0));
  c.pull(a);
  c.edit("DELETE FROM team", at(1));
  a.edit("UPDATE team SET old = 'y'", at(2));
  for (const site of all) site.edit("ALTER TABLE team DROP COLUMN old", at(3));
  b.pull(a);
  b.pull(c);
  expectAll(all, "SELECT name FROM team", [{ name: "written" }]);
  b.edit("UPDATE team SET name = 'again'", at(4));
  expectAll(all, "SELECT name FROM team", [{ name: "again" }]);
});

test.each(["VACUUM; ALTER TABLE log DROP COLUMN n", "ALTER TABLE log DROP COLUMN n; VACUUM"])(
  "rows without a key are the same rows where VACUUM moves them and a column goes at once: %s",
  (migration) => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE log(line TEXT, n, at REAL)")) as [Site, Site];
    a.edit("INSERT INTO log VALUES('0', 0, 0), ('1', 1, 1), ('2', 2, 2), ('3', 3, 3), ('4', 4, 4), ('4', 4, 4), ('5', 5, 5)");
    settle(a, b);
    a.edit("DELETE FROM log WHERE line IN ('0', '2')");
    b.edit("UPDATE log SET line = 'edited on b' WHERE line = '3'; DELETE FROM log WHERE line = '5'; INSERT INTO log VALUES('6', 6, 6)");
    a.edit(migration);
    settle(a, b);
    b.edit("ALTER TABLE log DROP COLUMN n");
    settle(a, b);
    const lines = ["1", "4", "4", "6", "edited on b"];
    for (const site of [a, b]) expect(site.rows("SELECT line FROM log ORDER BY 1").map(({ line }) => line)).toEqual(lines);
    expect(b.conflicts).toEqual([]);
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  },
);
