import { expect, test } from "vitest";
import { rejoin } from "./rejoin.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

/** What was in the one file before it was copied. */
const COMMON = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), name TEXT);
  CREATE TABLE part(team INTEGER NOT NULL REFERENCES team(id), slot TEXT NOT NULL, PRIMARY KEY(team, slot));
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT);
  CREATE TABLE line(text TEXT, team INTEGER REFERENCES team(id));
  INSERT INTO team VALUES(1, 'one'), (2, 'two'), (3, 'three');
  INSERT INTO robot VALUES(1, 2, 'r'); INSERT INTO part VALUES(2, 'arm'), (3, 'leg');
  INSERT INTO word VALUES('w', 'x'); INSERT INTO line VALUES('l', 2), ('l', 2), ('m', NULL);`;

const TABLES = ["team", "robot", "part", "word", "line"];

/** Every copy has a row that no other one has. */
const copy = (name: string) => new Site(name, `${COMMON} INSERT INTO word VALUES('${name}', 'own')`, { baseline: "shared" });

const everything = (site: Site) => TABLES.map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1, 2`));

/** Everybody has everything and knows it of the others, and lets go of what it can. */
function forgetAll(...sites: Site[]): void {
  settle(...sites);
  for (const site of sites)
    for (const other of sites)
      if (site !== other) site.replica.acknowledge({ id: other.name, name: other.name }, other.replica.state().vector);
  for (const site of sites) {
    site.nowUs += 60 * SECOND_US;
    site.replica.forget({ retentionDays: 0, dryRun: false });
  }
}

function comeLate(late: Site, from: Site): void {
  from.replica.meet(late.replica.baseline());
  late.replica.meet(from.replica.baseline());
  rejoin(late.replica, from.replica);
}

test("rows that were deleted and forgotten before two copies come that still have them are there once, whoever comes first", () => {
  const [a, b, c, d] = [copy("a"), copy("b"), copy("c"), copy("d")];
  settle(a, b);
  a.edit(
    "DELETE FROM part; DELETE FROM robot; DELETE FROM line; DELETE FROM team WHERE id > 1; DELETE FROM word WHERE k = 'w'",
    START_US + SECOND_US,
  );
  forgetAll(a, b);
  comeLate(c, a);
  forgetAll(a, b, c);
  forgetAll(a, b, c);
  comeLate(d, a);
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(everything(site)).toEqual([
      [
        { id: 1, name: "one" },
        { id: 2, name: "two" },
        { id: 3, name: "three" },
      ],
      [{ id: 1, team: 2, name: "r" }],
      [
        { team: 2, slot: "arm" },
        { team: 3, slot: "leg" },
      ],
      [
        { k: "a", x: "own" },
        { k: "b", x: "own" },
        { k: "c", x: "own" },
        { k: "d", x: "own" },
        { k: "w", x: "x" },
      ],
      [
        { text: "l", team: 2 },
        { text: "l", team: 2 },
        { text: "m", team: null },
      ],
    ]);
    expect(site.vector).toBe(a.vector);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    expect(site.conflicts).toEqual([]);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
});

test("so is one that both have edited, with both values", () => {
  const [a, b, c, d] = [copy("a"), copy("b"), copy("c"), copy("d")];
  settle(a, b);
  c.edit(
    "UPDATE team SET name = 'of c' WHERE id = 2; UPDATE word SET x = 'of c' WHERE k = 'w'; UPDATE line SET text = 'of c' WHERE text = 'm'",
  );
  d.edit(
    "UPDATE team SET name = 'of d' WHERE id = 2; UPDATE word SET x = 'of d' WHERE k = 'w'; UPDATE line SET text = 'of d' WHERE text = 'm'",
  );
  a.edit(
    "DELETE FROM line; DELETE FROM part; DELETE FROM robot; DELETE FROM team WHERE id > 1; DELETE FROM word WHERE k = 'w'",
    START_US + SECOND_US,
  );
  forgetAll(a, b);
  comeLate(c, a);
  forgetAll(a, b, c);
  comeLate(d, a);
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(everything(site)).toEqual(everything(a));
    expect(site.vector).toBe(a.vector);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    for (const [table, where, column] of [
      ["team", "id = 2", "name"],
      ["word", "k = 'w'", "x"],
      ["line", "team IS NULL", "text"],
    ] as const) {
      const losers = site.conflicts.filter((conflict) => conflict.table === table).map(({ loser }) => loser?.value);
      const values = site.app.prepare(`SELECT ${column} FROM ${table} WHERE ${where}`).pluck().all();
      expect(values).toHaveLength(1);
      expect(losers).toHaveLength(1);
      expect(new Set([...values, ...losers])).toEqual(new Set(["of c", "of d"]));
    }
  }
});

test("so is one whose integer was given to a new row meanwhile, also when it is edited, deleted elsewhere and comes back again", () => {
  const [a, b, c, d] = [copy("a"), copy("b"), copy("c"), copy("d")];
  settle(a, b);
  a.edit("DELETE FROM robot", START_US + SECOND_US);
  forgetAll(a, b);
  a.edit("INSERT INTO robot VALUES(1, 1, 'new')");
  settle(a, b);
  // Of two rows with one integer the later-born one moves.
  c.nowUs += 3600 * SECOND_US;
  comeLate(c, a);
  forgetAll(a, b, c);
  const robots = (site: Site) => site.rows("SELECT name, team FROM robot ORDER BY name DESC");
  for (const site of [a, b, c])
    expect(robots(site)).toEqual([
      { name: "r", team: 2 },
      { name: "new", team: 1 },
    ]);
  const moved = c.one("SELECT id FROM robot WHERE name = 'r'");
  a.nowUs = b.nowUs = c.nowUs + SECOND_US;
  a.edit("DELETE FROM robot");
  c.edit("UPDATE robot SET team = 3 WHERE name = 'r'");
  settle(a, b);
  for (const site of [a, b]) site.replica.retire("c");
  forgetAll(a, b);
  comeLate(c, a);
  settle(a, b, c);
  forgetAll(a, b, c);
  comeLate(d, a);
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(robots(site)).toEqual([{ name: "r", team: 3 }]);
    expect(site.one("SELECT id FROM robot")).toBe(moved);
    expect(everything(site)).toEqual(everything(a));
    expect(site.vector).toBe(a.vector);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});
