import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = "CREATE TABLE part(id INTEGER PRIMARY KEY, name TEXT, inside INTEGER REFERENCES part(id) ON DELETE CASCADE)";
const at = (seconds: number) => START_US + seconds * SECOND_US;

test.each([
  ["refers to itself", "INSERT INTO part VALUES(1, 'one', 1)"],
  ["refers to one that refers back", "INSERT INTO part VALUES(1, 'one', NULL), (2, 'two', 1); UPDATE part SET inside = 2 WHERE id = 1"],
])("a deleted row that %s comes back by a later edit that did not know", (_, rows) => {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit(rows);
  settle(a, b);
  a.edit("DELETE FROM part WHERE id = 1", at(1));
  b.edit("UPDATE part SET name = 'edited' WHERE id = 1", at(2));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.one("SELECT name FROM part WHERE id = 1")).toBe("edited");
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
  expect(a.rows("SELECT * FROM part ORDER BY id")).toEqual(b.rows("SELECT * FROM part ORDER BY id"));
});

test("deleted rows that refer to each other are kept, and go on doing so where another row has the integer of one", () => {
  const schema = `${SCHEMA}; CREATE TABLE label(id INTEGER PRIMARY KEY, part INTEGER REFERENCES part(id))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO part VALUES(1, 'one', NULL), (2, 'two', 1); UPDATE part SET inside = 2 WHERE id = 1");
  settle(a, b);
  b.edit("INSERT INTO label VALUES(1, 1)", at(1));
  a.edit("DELETE FROM part", at(2));
  a.edit("INSERT INTO part VALUES(1, 'another', NULL)", at(3));
  settle(a, b);
  for (const site of [a, b]) {
    expect(
      site.rows("SELECT child.name, parent.name AS inside FROM part child LEFT JOIN part parent ON parent.id = child.inside ORDER BY 1"),
    ).toEqual([
      { name: "another", inside: null },
      { name: "one", inside: "two" },
      { name: "two", inside: "one" },
    ]);
    expect(site.one("SELECT name FROM part JOIN label ON label.part = part.id")).toBe("one");
  }
  expect(a.rows("SELECT * FROM part ORDER BY id")).toEqual(b.rows("SELECT * FROM part ORDER BY id"));
});

test("a deleted row that stays for what refers to it was edited before to refer to one that still waits", () => {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit("INSERT INTO part VALUES(1, 'one', NULL)");
  settle(a, b);
  b.edit("INSERT INTO part VALUES(2, 'inside one', 1)", at(1));
  // b has another row 2: a's waits until the end of the stream.
  a.edit("INSERT INTO part VALUES(2, 'around one', NULL); UPDATE part SET inside = 2 WHERE id = 1", at(2));
  a.edit("DELETE FROM part WHERE id = 1", at(3));
  b.pull(a);
  settle(a, b);
  for (const site of [a, b]) {
    expect(
      site.rows("SELECT child.name, parent.name AS inside FROM part child LEFT JOIN part parent ON parent.id = child.inside ORDER BY 1"),
    ).toEqual([
      { name: "around one", inside: null },
      { name: "inside one", inside: "one" },
      { name: "one", inside: "around one" },
    ]);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
  expect(a.rows("SELECT * FROM part ORDER BY id")).toEqual(b.rows("SELECT * FROM part ORDER BY id"));
});

test("rows that refer to each other wait where another row has a UNIQUE value of one, and come when it is free", () => {
  const schema = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE, rival INTEGER REFERENCES team(id))";
  const [a, b] = [new Site("a", schema, { park: ["team"] }), new Site("b", schema, { park: ["team"] })];
  b.edit("INSERT INTO team VALUES(9, 'taken', NULL)");
  a.edit("INSERT INTO team VALUES(1, 'one', NULL), (2, 'taken', 1); UPDATE team SET rival = 2 WHERE id = 1", at(1));
  b.pull(a);
  expect(b.rows("SELECT name FROM team")).toEqual([{ name: "taken" }]);
  settle(a, b);
  expect(a.rows("SELECT * FROM team")).toEqual(b.rows("SELECT * FROM team"));
  b.edit("UPDATE team SET name = 'renamed' WHERE id = 9", at(2));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT team.name, other.name AS rival FROM team LEFT JOIN team other ON other.id = team.rival ORDER BY 1")).toEqual([
      { name: "one", rival: "taken" },
      { name: "renamed", rival: null },
      { name: "taken", rival: "one" },
    ]);
  }
});

test.each([
  ["left to people", ["team"], "one"],
  // What the later-born one says is the latest word.
  ["taken for one", [], null],
])("rows that refer to each other have the UNIQUE value that a later-born row has, whichever came first: %s", (_, park, rival) => {
  const schema = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE, rival INTEGER REFERENCES team(id))";
  const [a, b] = [new Site("a", schema, { park }), new Site("b", schema, { park })];
  a.edit("INSERT INTO team VALUES(1, 'one', NULL), (2, 'taken', 1); UPDATE team SET rival = 2 WHERE id = 1", at(1));
  b.edit("INSERT INTO team VALUES(9, 'taken', NULL)", at(2));
  b.pull(a);
  a.pull(b);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT team.name, other.name AS rival FROM team LEFT JOIN team other ON other.id = team.rival ORDER BY 1")).toEqual([
      { name: "one", rival: "taken" },
      { name: "taken", rival },
    ]);
  }
  expect(a.rows("SELECT * FROM team ORDER BY id")).toEqual(b.rows("SELECT * FROM team ORDER BY id"));
});

test("nobody gives way to rows that refer to each other when one of them cannot come", () => {
  const schema = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE, code TEXT UNIQUE, rival INTEGER REFERENCES team(id))";
  const [a, b] = [new Site("a", schema, { park: ["team"] }), new Site("b", schema, { park: ["team"] })];
  b.edit("INSERT INTO team VALUES(8, 'first', 'x', NULL)");
  a.edit("INSERT INTO team VALUES(1, 'one', 'x', NULL), (2, 'taken', 'y', 1); UPDATE team SET rival = 2 WHERE id = 1", at(1));
  b.edit("INSERT INTO team VALUES(9, 'taken', 'z', NULL)", at(2));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT id, name FROM team ORDER BY id")).toEqual([
      { id: 8, name: "first" },
      { id: 9, name: "taken" },
    ]);
  }
});

test.each([
  ["refers to", "INSERT INTO team VALUES(2, 'red', 1)"],
  ["refers by another one to", "INSERT INTO team VALUES(2, 'between', 1); INSERT INTO team VALUES(3, 'red', 2)"],
])("nobody gives way to a row that %s it, though clocks say that one was created first", (_, rows) => {
  const schema = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE, parent INTEGER REFERENCES team(id))";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  b.edit("INSERT INTO team VALUES(1, 'club', NULL)", at(60));
  settle(a, b);
  // The clock of `a` is a minute behind.
  a.edit(rows, at(1));
  b.edit("UPDATE team SET name = 'red'", at(61));
  // Rows that took each other's place in turns never came to an end.
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.one("SELECT parent FROM team WHERE name = 'red'")).toBe(null);
    expect(site.replica.reviews({ kind: "parked", id: "", limit: 9 }).map(({ key, reason }) => [key, reason])).toEqual(
      a.replica.reviews({ kind: "parked", id: "", limit: 9 }).map(({ key, reason }) => [key, reason]),
    );
    expect(site.replica.state().parked).toBe(1);
  }
  b.edit("UPDATE team SET name = 'club' WHERE id = 1", at(62));
  settle(a, b);
  for (const site of [a, b]) expect(site.replica.state().parked).toBe(0);
});

test.each([
  ["nothing refers to any more", "", true],
  ["another row was left behind by", "INSERT INTO part VALUES(5, 'left behind', 1);", false],
])("rows that refer to each other come where one has the integer of a deleted row that %s", (_, child, keepsInteger) => {
  const schema = "CREATE TABLE part(id INTEGER PRIMARY KEY, name TEXT, inside INTEGER REFERENCES part(id))";
  const [a, b, c] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
  for (const { app } of [a, b, c]) app.pragma("foreign_keys = OFF");
  b.edit(`INSERT INTO part VALUES(1, 'gone', NULL); ${child}`, at(1));
  b.edit("DELETE FROM part WHERE id = 1", at(2));
  // Born first, it is placed first, and refers to an integer that only the deleted row has had until then.
  a.edit("INSERT INTO part VALUES(2, 'two', NULL)", at(3));
  a.edit("INSERT INTO part VALUES(1, 'one', 2); UPDATE part SET inside = 1 WHERE id = 2", at(4));
  c.pull(b);
  c.pull(a);
  settle(a, b, c);
  for (const site of [a, b, c]) {
    expect(
      site.rows(
        "SELECT child.name, parent.name AS inside FROM part child LEFT JOIN part parent ON parent.id = child.inside WHERE child.id <> 5 ORDER BY 1",
      ),
    ).toEqual([
      { name: "one", inside: "two" },
      { name: "two", inside: "one" },
    ]);
    expect(site.one("SELECT id = 1 FROM part WHERE name = 'one'")).toBe(Number(keepsInteger));
    expect(site.rows("SELECT * FROM part ORDER BY id")).toEqual(c.rows("SELECT * FROM part ORDER BY id"));
    expect(site.replica.state().parked).toBe(0);
  }
});

test.each([
  ["left to people", ["team"]],
  ["taken for one", []],
])("rows that refer to each other come where one of them and what refers to them have one UNIQUE value: %s", (_, park) => {
  const schema = "CREATE TABLE team(id INTEGER PRIMARY KEY, mark TEXT, name TEXT UNIQUE, rival INTEGER REFERENCES team(id))";
  const [a, b] = [new Site("a", schema, { park }), new Site("b", schema, { park })];
  a.edit("INSERT INTO team VALUES(1, 'base', NULL, NULL)");
  settle(a, b);
  // Born first, it would leave with the row that it refers to.
  b.edit("INSERT INTO team VALUES(2, 'of b', 'taken', 1)", at(1));
  a.edit("INSERT INTO team VALUES(2, 'of a', 'taken', 1); UPDATE team SET rival = 2 WHERE id = 1", at(2));
  b.pull(a);
  settle(a, b);
  for (const site of [a, b]) {
    expect(
      site.rows("SELECT team.mark, other.mark AS rival FROM team LEFT JOIN team other ON other.id = team.rival ORDER BY team.id"),
    ).toEqual([
      { mark: "base", rival: "of a" },
      { mark: "of a", rival: "base" },
    ]);
    expect(site.replica.state().parked).toBe(park.length);
    expect(site.rows("SELECT * FROM team ORDER BY id")).toEqual(a.rows("SELECT * FROM team ORDER BY id"));
  }
});

test("rows that are one refer to what the latest of them says, though the earliest refers to a row that cannot come", () => {
  const schema = "CREATE TABLE part(id INTEGER PRIMARY KEY, name TEXT UNIQUE, inside INTEGER REFERENCES part(id))";
  const [a, b, c, d] = [new Site("a", schema), new Site("b", schema), new Site("c", schema), new Site("d", schema)];
  // That was not its name when it was born: it is not one with the row of `a`.
  c.edit("INSERT INTO part VALUES(9, 'given up', NULL)", at(1));
  c.edit("UPDATE part SET name = 'taken'", at(2));
  a.edit("INSERT INTO part VALUES(5, 'taken', NULL), (2, 'two', 5)", at(3));
  b.edit("INSERT INTO part VALUES(3, 'two', NULL), (4, 'around two', 3); UPDATE part SET inside = 4 WHERE id = 3", at(4));
  settle(a, b, c);
  d.pull(a);
  for (const site of [a, b, c, d]) {
    expect(
      site.rows("SELECT child.name, parent.name AS inside FROM part child LEFT JOIN part parent ON parent.id = child.inside ORDER BY 1"),
    ).toEqual([
      { name: "around two", inside: "two" },
      { name: "taken", inside: null },
      { name: "two", inside: "around two" },
    ]);
  }
});

test("rows that are one go on referring to themselves where only the latest of them does and they get another integer", () => {
  const schema = "CREATE TABLE part(id INTEGER PRIMARY KEY, mark TEXT, name TEXT UNIQUE, inside INTEGER REFERENCES part(id))";
  const [a, b, c] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
  a.edit("INSERT INTO part VALUES(1, 'base', NULL, NULL)");
  settle(a, b, c);
  b.edit("INSERT INTO part VALUES(2, 'of b', NULL, 1)", at(1));
  c.edit("INSERT INTO part VALUES(2, 'of c', 'taken', 1)", at(2));
  a.edit("INSERT INTO part VALUES(3, 'of a', 'taken', 1)", at(3));
  a.edit("UPDATE part SET inside = 3 WHERE id = 3", at(4));
  c.pull(a);
  // Born first, its row has a right to the integer 2.
  c.pull(b);
  settle(a, b, c);
  for (const site of [a, b, c]) {
    expect(
      site.rows("SELECT child.mark, parent.mark AS inside FROM part child LEFT JOIN part parent ON parent.id = child.inside ORDER BY 1"),
    ).toEqual([
      { mark: "base", inside: null },
      { mark: "of a", inside: "of a" },
      { mark: "of b", inside: "base" },
    ]);
    expect(site.rows("SELECT * FROM part ORDER BY id")).toEqual(a.rows("SELECT * FROM part ORDER BY id"));
  }
});

test("a row that names itself, and was one with another until it was edited elsewhere, names itself where it comes back into its table", () => {
  const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, boss INTEGER REFERENCES person(id), m TEXT)";
  const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
  b.edit("INSERT INTO person VALUES(5, 'mail', NULL, 'of b')", START_US);
  a.edit("INSERT INTO person VALUES(5, 'mail', NULL, 'of a')", START_US + SECOND_US);
  c.pull(a);
  c.pull(b);
  a.edit("UPDATE person SET mail = 'another', boss = 5", START_US + 2 * SECOND_US);
  a.pull(c);
  settle(a, b, c);
  for (const site of [a, b, c]) {
    const boss = "SELECT boss.m FROM person JOIN person boss ON boss.id = person.boss WHERE person.m = 'of a'";
    expect([site.one(boss), site.one("SELECT count(*) FROM person")], site.name).toEqual(["of a", 2]);
    expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
  }
});
