import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, team INTEGER REFERENCES team(id) ON DELETE CASCADE);
  CREATE TABLE seat(team INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, k TEXT NOT NULL, x TEXT, y TEXT, PRIMARY KEY(team, k))`;

const at = (seconds: number) => START_US + seconds * SECOND_US;

function sites(): [Site, Site] {
  const both: [Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  for (const { app } of both) app.pragma("foreign_keys = ON");
  return both;
}

/** What both sites hold, after they have met. */
function inBoth(both: readonly [Site, Site], sql: string): unknown[] {
  settle(...both);
  const [a, b] = both;
  expect(b.rows(sql)).toEqual(a.rows(sql));
  expect(Buffer.from(b.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
  return a.rows(sql);
}

describe("rows that came and went between two drains", () => {
  test("are what others referred to meanwhile: nobody is given to another server's row with that integer", () => {
    const both = sites();
    const [a, b] = both;
    b.edit("INSERT INTO word VALUES('k', 'from b', NULL)", at(0));
    b.edit("INSERT INTO team VALUES(1, 'red of b')", at(0));
    a.edit("INSERT INTO team VALUES(1, 'blue of a'); INSERT INTO word VALUES('k', 'from a', 1); DELETE FROM team WHERE id = 1", at(1));
    b.edit("UPDATE word SET x = 'edited'", at(2));
    const shown = inBoth(both, "SELECT x, name FROM word LEFT JOIN team ON team.id = word.team");
    expect(shown).toEqual([{ x: "edited", name: "blue of a" }]);
  });

  test("do not lend their integer, and with it their values, to rows whose key named whoever had it before", () => {
    const both = sites();
    const [a, b] = both;
    a.edit("INSERT INTO team VALUES(1, 'first'); INSERT INTO seat VALUES(1, 'k', 'first', 'first')", at(0));
    settle(...both);
    a.edit(
      `DELETE FROM team WHERE id = 1;
       INSERT INTO team VALUES(1, 'second'); INSERT INTO seat VALUES(1, 'k', 'second', 'second'); DELETE FROM team WHERE id = 1`,
      at(1),
    );
    b.edit("UPDATE seat SET x = 'edited'", at(2));
    const shown = inBoth(both, "SELECT name, seat.x, seat.y FROM seat LEFT JOIN team ON team.id = seat.team");
    expect(shown).toEqual([{ name: "first", x: "edited", y: "first" }]);
  });

  test("go where another insert took an integer that was used before, too: the drain is cut in between", () => {
    const both = sites();
    const [a, b] = both;
    a.edit("INSERT INTO team VALUES(1, 'first'), (2, 'other'); INSERT INTO seat VALUES(1, 'k', 'first', 'first')", at(0));
    settle(...both);
    a.edit(
      `DELETE FROM team; INSERT INTO team VALUES(1, 'second'); INSERT INTO seat VALUES(1, 'k', 'second', 'second');
       INSERT INTO team VALUES(2, 'cuts'); DELETE FROM team WHERE id = 1`,
      at(1),
    );
    b.edit("UPDATE seat SET x = 'edited'", at(2));
    const shown = inBoth(both, "SELECT name, seat.x, seat.y FROM seat LEFT JOIN team ON team.id = seat.team");
    expect(shown).toEqual([{ name: "first", x: "edited", y: "first" }]);
  });
});

test("a row that goes after what it refers to was replaced, before a drain, refers to the new one for everybody", () => {
  const both = sites();
  const [a, b] = both;
  for (const { app } of both) app.pragma("foreign_keys = OFF");
  a.edit("INSERT INTO team VALUES(1, 'first'); INSERT INTO word VALUES('k', 'first', 1)", at(0));
  settle(...both);
  b.edit("DELETE FROM team; INSERT INTO team VALUES(1, 'second'); DELETE FROM word", at(1));
  a.edit("UPDATE word SET x = 'edited'", at(2));
  const shown = inBoth(both, "SELECT x, name FROM word LEFT JOIN team ON team.id = word.team");
  expect(shown).toEqual([{ x: "edited", name: "second" }]);
});

test.each([
  ["soon, by a delete", 0, "DELETE FROM room WHERE id = 5"],
  ["thousands of events later, by a delete", 2_500, "DELETE FROM room WHERE id = 5"],
  ["soon, displaced", 0, "INSERT OR REPLACE INTO room VALUES(9, 'short', NULL)"],
  [
    "thousands of events later, displaced, and another one under its integer, too",
    2_500,
    "INSERT OR REPLACE INTO room VALUES(9, 'short', NULL); INSERT INTO room VALUES(5, 'another', NULL); DELETE FROM room WHERE id = 5",
  ],
])(
  "a row that came before an integer is used again is meant by what referred to it, and went before it; it goes %s",
  (_, between, goes) => {
    const schema = `CREATE TABLE room(id INTEGER PRIMARY KEY, name TEXT UNIQUE, up INTEGER REFERENCES room(id));
    CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE seat(room INTEGER REFERENCES room(id) ON DELETE CASCADE, line TEXT, x TEXT, PRIMARY KEY(room, line))`;
    const [a, b, c] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
    a.app.pragma("foreign_keys = ON");
    a.edit(
      "INSERT INTO room VALUES(1, 'base', NULL), (2, 'kept', NULL); INSERT INTO item VALUES(2, 'item'); INSERT INTO seat VALUES(2, 'k', 'x')",
    );
    settle(a, b, c);
    // Another room under that integer, and an edit for which the deleted one is kept.
    c.edit("INSERT INTO room VALUES(5, 'other', NULL)", c.nowUs + 5_000_000);
    b.edit("UPDATE seat SET x = 'edited'", b.nowUs + 20_000_000);
    a.edit(
      `INSERT INTO room VALUES(5, 'short', NULL); UPDATE room SET up = 5 WHERE id = 2; DELETE FROM room WHERE id = 2;
    DELETE FROM item WHERE id = 2; INSERT INTO item VALUES(2, 'again');
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO item SELECT i + 10, 'between' FROM n LIMIT ${between}; ${goes}`,
      a.nowUs + 6_000_000,
    );
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.one("SELECT up.name FROM room JOIN room AS up ON up.id = room.up WHERE room.name = 'kept'")).toBe("short");
      expect(site.rows("SELECT * FROM room ORDER BY id")).toEqual(a.rows("SELECT * FROM room ORDER BY id"));
    }
  },
);

test("rows that came and went in one list are not kept back with those that a mass delete takes away", () => {
  const quarantine = { rows: 10, share: 0.5 };
  const [a, b] = [new Site("a", SCHEMA, { quarantine }), new Site("b", SCHEMA)];
  const insert = (from: number, name: string, count: number) =>
    `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n) INSERT INTO team SELECT i, '${name}' FROM n LIMIT ${count};`;
  a.edit(insert(1, "known", 20), at(0));
  // More than the 2,000 events that are read at a time.
  a.edit(`${insert(1_001, "short", 1_500)} ${insert(3_001, "short", 600)} DELETE FROM team`, at(1));
  b.pull(a);
  expect(a.rows("SELECT * FROM team")).toEqual([]);
  expect(b.rows("SELECT name, count(*) AS n FROM team GROUP BY name")).toEqual([{ name: "known", n: 20 }]);
});
