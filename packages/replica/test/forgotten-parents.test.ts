import { describe, expect, test } from "vitest";
import { rejoin } from "./rejoin.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE language(code TEXT PRIMARY KEY);
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, language TEXT REFERENCES language(code));
  CREATE TABLE remark(id INTEGER PRIMARY KEY, word TEXT REFERENCES word(k), u TEXT UNIQUE);
  CREATE TABLE label(name TEXT PRIMARY KEY, word TEXT REFERENCES word(k));
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, word TEXT REFERENCES word(k));
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), u TEXT UNIQUE)`;
const TABLES = ["language", "word", "remark", "label", "team", "robot"];

const rows = (site: Site) => TABLES.map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1`));

function meet(...sites: Site[]): void {
  settle(...sites);
  for (const site of sites)
    for (const other of sites)
      if (site !== other) site.replica.acknowledge({ id: other.name, name: other.name }, other.replica.state().vector);
}

/**
 * a and b know that a word and its language, and a team, were deleted, a has forgotten them, and c, which knew of nothing, has written
 * `below`. b, which has not forgotten them, brings that to a.
 */
function forgottenAt(below: string): [Site, Site, Site] {
  const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, SCHEMA, { park: ["remark", "robot"] })) as [Site, Site, Site];
  a.edit(
    `INSERT INTO language VALUES('en'); INSERT INTO word VALUES('w', 'x', 'en'); INSERT INTO team VALUES(1, 'one', 'w');
     INSERT INTO remark VALUES(7, NULL, 'u'); INSERT INTO robot VALUES(7, NULL, 'u')`,
  );
  meet(a, b, c);
  c.edit(below, START_US + 30 * SECOND_US);
  a.edit(
    "UPDATE remark SET u = 'taken'; UPDATE robot SET u = 'taken'; DELETE FROM team; DELETE FROM word; DELETE FROM language",
    START_US + 60 * SECOND_US,
  );
  meet(a, b);
  a.nowUs = b.nowUs = START_US + 120 * SECOND_US;
  a.replica.retire("c");
  expect(a.replica.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 3 });
  c.pull(b);
  b.pull(c);
  a.pull(b);
  return [a, b, c];
}

function expectEqual(...sites: Site[]): void {
  const [first] = sites as [Site];
  for (const site of sites) {
    expect(rows(site)).toEqual(rows(first));
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    expect(site.vector).toBe(first.vector);
  }
}

describe("a row of a node that was away refers to what one node has forgotten and another has not", () => {
  for (const [how, below] of [
    ["by a natural key", "INSERT INTO remark VALUES(1, 'w', NULL)"],
    ["by a natural key, and has one itself", "INSERT INTO label VALUES('l', 'w')"],
    ["as one of several", "INSERT INTO remark VALUES(1, 'w', NULL), (2, 'w', NULL); INSERT INTO label VALUES('l', 'w')"],
    ["by its integer, and that by a natural key", "INSERT INTO robot VALUES(1, 1, NULL)"],
  ] as const) {
    test(`${how}: it comes with it`, () => {
      const [a, b, c] = forgottenAt(below);
      expect(a.rows("SELECT word.x, language.code FROM word JOIN language ON code = language")).toEqual([{ x: "x", code: "en" }]);
      meet(a, b, c);
      expectEqual(a, b, c);
    });
  }

  for (const [how, below, table] of [
    ["by a natural key", "INSERT INTO remark VALUES(1, 'w', 'taken')", "remark"],
    ["by its integer", "INSERT INTO robot VALUES(1, 1, 'taken')", "robot"],
  ] as const) {
    test(`${how}, and has to wait for another reason: it finds it once it gets in`, () => {
      const [a, b, c] = forgottenAt(below);
      expect(a.replica.state().parked).toBe(1);
      a.edit(`UPDATE ${table} SET u = 'free' WHERE id = 7`, a.nowUs + SECOND_US);
      expect(a.replica.state().parked).toBe(0);
      meet(a, b, c);
      expectEqual(a, b, c);
      expect(a.rows("SELECT word.x, language.code FROM word JOIN language ON code = language")).toEqual([{ x: "x", code: "en" }]);
    });
  }

  test("also where a clock was ahead and a node that joined again has deleted it without having seen that", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => new Site(name, SCHEMA)) as [Site, Site, Site, Site];
    a.edit("INSERT INTO team VALUES(1, 'one', NULL)", START_US);
    meet(a, b, c, d);
    d.edit("INSERT INTO robot VALUES(1, 1, NULL)", START_US + 40 * SECOND_US);
    a.edit("UPDATE team SET name = 'ahead'", START_US + 500 * SECOND_US);
    a.edit("DELETE FROM team", START_US + 501 * SECOND_US);
    meet(a, b);
    a.nowUs = b.nowUs = START_US + 600 * SECOND_US;
    for (const name of ["c", "d"]) a.replica.retire(name);
    expect(a.replica.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 1 });
    c.edit("UPDATE team SET name = 'of c'", START_US + 30 * SECOND_US);
    expect(rejoin(c.replica, a.replica)).toMatchObject({ reborn: 1 });
    meet(a, b, c);
    // What has come back, deleted by c, is forgotten here again; b has all of it.
    meet(a, b, c);
    expect(a.replica.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 1 });
    d.pull(b);
    b.pull(d);
    a.pull(b);
    expect(a.replica.state().parked).toBe(0);
    expectEqual(a, b);
    expect(a.rows("SELECT team.id FROM robot JOIN team ON team.id = team")).toHaveLength(1);
  });
});
