import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

const SCHEMA = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, u TEXT UNIQUE);
  CREATE TABLE seat(team INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, k TEXT NOT NULL, x TEXT, PRIMARY KEY(team, k))`;

test("a row that waited for its parent and was edited apart from that one's delete is there with the edit: seed 7200029 of test/simulation/fleet", () => {
  const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, SCHEMA, { park: ["*"] })) as [Site, Site, Site];
  c.edit("INSERT INTO team VALUES(9, 'of c', 'one')", at(0));
  a.edit("PRAGMA foreign_keys = ON; INSERT INTO team VALUES(1, 'of a', 'one'); INSERT INTO seat VALUES(1, 'k', 'old')", at(1));
  b.pull(a);
  // Its team waits there for the value that the other one has, and the seat for its team.
  c.pull(a);
  expect(c.rows("SELECT * FROM seat")).toEqual([]);
  a.edit("UPDATE team SET u = NULL", at(2));
  a.edit("DELETE FROM team", at(3));
  b.edit("UPDATE seat SET x = 'of b'", at(4));
  b.pull(a);
  c.pull(b);
  expect(c.rows("SELECT name, x FROM seat JOIN team ON team.id = team")).toEqual([{ name: "of a", x: "of b" }]);
  settle(a, b, c);
  const digest = Buffer.from(a.replica.state().digest);
  for (const site of [a, b, c]) {
    expect(site.rows("SELECT name, x FROM seat JOIN team ON team.id = team"), site.name).toEqual([{ name: "of a", x: "of b" }]);
    expect(digest.equals(site.replica.state().digest), site.name).toBe(true);
  }
});
