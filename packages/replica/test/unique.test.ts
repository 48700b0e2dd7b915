import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { readIndex } from "../src/schema/unique-indexes.ts";
import { SECOND_US, settle, Site, testFolder } from "./site.ts";

const SCHEMA = `CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT, name TEXT, active INT, tag TEXT GENERATED ALWAYS AS (substr(name, 1, 2)) VIRTUAL);
  CREATE UNIQUE INDEX person_mail ON person(lower(trim(mail, ' ,()')) COLLATE NOCASE DESC, active /* a, comment) */);
  CREATE UNIQUE INDEX person_name ON person(name) WHERE active = 1;
  CREATE UNIQUE INDEX person_tag ON person(tag, abs("active") + 1) WHERE "active" > 5`;

const named = (site: Site) => site.rows("SELECT name FROM person ORDER BY 1").map(({ name }) => name);

describe("UNIQUE indexes on expressions, on computed columns, and with conditions", () => {
  test("are read from their SQL", () => {
    expect(
      readIndex("CREATE UNIQUE INDEX i ON t(lower(a) COLLATE NOCASE DESC, b, 'x,)' || [c)] -- )\n || d) WHERE a > ')' AND (b)"),
    ).toEqual({
      terms: ["lower(a)", "b", "'x,)' || [c)]  \n || d"],
      where: "a > ')' AND (b)",
    });
    expect(readIndex('CREATE UNIQUE INDEX "i(" ON "t t"(json_extract(a, \'$.x\'))')).toEqual({
      terms: ["json_extract(a, '$.x')"],
      where: null,
    });
  });

  test.each([
    ["an expression", "INSERT OR REPLACE INTO person(mail, name, active) VALUES(' ADA@X ', 'new', 0)", ["new", "other"]],
    ["an expression, in an update", "UPDATE OR REPLACE person SET mail = 'Ada@x' WHERE name = 'other'", ["other"]],
    [
      "a condition that an update makes true",
      "UPDATE person SET name = 'ada', active = 1 WHERE id = 1; UPDATE person SET name = 'ada' WHERE id = 2; UPDATE OR REPLACE person SET active = 1 WHERE id = 2",
      ["ada"],
    ],
    [
      "a computed column, in an update of what it is made of",
      "UPDATE person SET active = 7; UPDATE OR REPLACE person SET name = 'adam' WHERE id = 2",
      ["adam"],
    ],
  ])("show which rows OR REPLACE takes away: by %s", (_, sql, left) => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.edit("INSERT INTO person(mail, name, active) VALUES('ada@x', 'ada', 0), ('other@x', 'other', 0)");
    settle(a, b);
    b.edit(sql);
    settle(a, b);
    expect(named(b)).toEqual(left);
    expect(named(a)).toEqual(left);
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  });

  test.each([
    ["an expression", "'ADA@x', 'a', 0", "'ada@X', 'b', 0"],
    ["a condition", "'1', 'same', 1", "'2', 'same', 1"],
    ["a computed column", "'1', 'same', 7", "'2', 'sane', 7"],
  ])("let the row that was created first have a value, whoever got it first: by %s", (_, early, late) => {
    for (const order of ["early first", "late first"]) {
      const sites = ["a", "b", "c"].map((name) => new Site(name, SCHEMA, { park: ["person"] }));
      const [a, b, c] = sites as [Site, Site, Site];
      a.edit(`INSERT INTO person(id, mail, name, active) VALUES(1, ${early})`);
      b.edit(`INSERT INTO person(id, mail, name, active) VALUES(2, ${late})`, b.nowUs + 5);
      for (const from of order === "early first" ? [a, b] : [b, a]) c.pull(from);
      settle(...sites);
      for (const site of sites) {
        expect(site.rows("SELECT id FROM person")).toEqual([{ id: 1 }]);
        expect(site.replica.reviews({ kind: "parked", id: "", limit: 5 })).toMatchObject([{ key: "2" }]);
      }
    }
  });
});

test("a text in double quotes, of which some libraries say that there is no such column, decides as SQLite decides", () => {
  const index = `CREATE UNIQUE INDEX task_name ON task(name, ifnull(team, 'none')) WHERE state = 'open' AND "team" <> "lower"('X')`;
  const twice = (text: string) => `sql = replace(sql, '''${text}''', '"${text}"')`;
  const sites = ["a", "b"].map((name) => {
    const path = `${testFolder()}/${name}.db`;
    const db = new Database(path);
    db.unsafeMode();
    db.exec(`CREATE TABLE task(id INTEGER PRIMARY KEY, name TEXT, team TEXT, state TEXT); ${index}; PRAGMA writable_schema = ON`);
    for (const text of ["none", "open", "X"]) db.exec(`UPDATE sqlite_schema SET ${twice(text)} WHERE type = 'index'`);
    db.close();
    return new Site(name, "", { path });
  }) as [Site, Site];
  const [a, b] = sites;
  a.edit("INSERT INTO task VALUES(1, 'same', 'one', 'open'), (2, 'same', 'one', 'shut'), (3, 'same', 'x', 'open')");
  b.edit("INSERT INTO task VALUES(1, 'same', 'two', 'open'), (2, 'same', 'x', 'open')", b.nowUs + SECOND_US);
  settle(a, b);
  const shown = "SELECT name || ' ' || team || ' ' || state AS v FROM task ORDER BY 1";
  const rows = ["same one open", "same one shut", "same two open", "same x open", "same x open"].map((v) => ({ v }));
  for (const site of sites) expect(site.rows(shown)).toEqual(rows);
  b.edit("INSERT OR REPLACE INTO task(name, team, state) VALUES('same', 'one', 'open')");
  settle(a, b);
  for (const site of sites) expect(site.rows(shown)).toEqual(rows);
  b.edit("DELETE FROM task WHERE team = 'one' AND state = 'open'");
  settle(a, b);
  expect(a.replica.restore("task", "1")).toContainEqual({ name: "state", value: "open" });
});

test("a row that refers to itself and waits for a value under a condition does not stop the stream", () => {
  const schema = `CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, mail TEXT, boss INTEGER REFERENCES users(id));
    CREATE UNIQUE INDEX users_mail ON users(mail) WHERE mail <> ''`;
  for (const [park, shown] of [
    [["users"], "of a"],
    [[], "of b"],
  ] as const) {
    const [a, b] = [new Site("a", schema, { park: [...park] }), new Site("b", schema, { park: [...park] })];
    a.edit("INSERT INTO users VALUES(1, 'of a', 'same', 1)");
    b.edit("INSERT INTO users VALUES(2, 'of b', 'same', 2)", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT name, boss FROM users")).toEqual([{ name: shown, boss: 1 }]);
  }
});

test("a row that waits and is edited elsewhere takes the value that a later-born row has", () => {
  const schema = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE)";
  const sites = ["a", "b", "c", "d"].map((name) => new Site(name, schema, { park: ["users"] }));
  const [a, b, c, d] = sites as [Site, Site, Site, Site];
  a.edit("INSERT INTO users VALUES(1, 'one')");
  b.edit("INSERT INTO users VALUES(2, 'one')", b.nowUs + 1_000_000);
  c.pull(b);
  a.edit("INSERT INTO users VALUES(3, 'two')", a.nowUs + 2_000_000);
  c.edit("UPDATE users SET name = 'two' WHERE id = 2", c.nowUs + 3_000_000);
  d.pull(a);
  d.pull(b);
  // It waits for another value now, and nothing else has changed.
  d.pull(c);
  settle(...sites);
  for (const site of sites) {
    expect(site.rows("SELECT id, name FROM users ORDER BY id")).toEqual([
      { id: 1, name: "one" },
      { id: 2, name: "two" },
    ]);
    expect(site.replica.reviews({ kind: "parked", id: "", limit: 5 })).toMatchObject([{ key: "3" }]);
  }
});

test.each(["long before", "just before"])(
  "a row that an OR REPLACE displaces while it refers to another one that goes with it keeps its values: written %s",
  (when) => {
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, boss INTEGER REFERENCES person(id) ON DELETE SET NULL, code TEXT UNIQUE)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
    a.edit("INSERT INTO person VALUES(1, NULL, NULL)");
    settle(a, b);
    a.write("INSERT INTO person VALUES(3, 1, 'c1')");
    if (when === "long before") a.edit("SELECT 1");
    a.write("INSERT OR REPLACE INTO person(id, code) VALUES(1, 'c1')");
    a.replica.drain();
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT id, code FROM person")).toEqual([{ id: 1, code: "c1" }]);
      expect(
        site.replica.history("person", "3").some(({ operation }) => operation === "delete"),
        site.name,
      ).toBe(true);
    }
    a.write("UPDATE person SET code = 'free' WHERE id = 1");
    expect(a.replica.restore("person", "3")).toContainEqual({ name: "code", value: "c1" });
  },
);

test.each([
  ["a natural key", "code TEXT PRIMARY KEY, badge TEXT UNIQUE, note TEXT", "code", "'one'", "'two'", "two"],
  [
    "a key that names a row",
    "team INT REFERENCES team, no INT, badge TEXT UNIQUE, note TEXT, PRIMARY KEY(team, no)",
    "team, no",
    "1, 1",
    "1, 2",
    "1,2",
  ],
])("a row that waits for its place has its history under the key by which it is listed: %s", (_, columns, key, first, second, text) => {
  const sites = ["a", "b"].map((name) => new Site(name, `CREATE TABLE team(id INTEGER PRIMARY KEY); CREATE TABLE pit(${columns})`));
  const [a, b] = sites as [Site, Site];
  a.edit("INSERT INTO team VALUES(1)");
  settle(...sites);
  a.edit(`INSERT INTO pit(${key}, badge, note) VALUES(${first}, 'x', 'of a')`);
  b.edit(`INSERT INTO pit(${key}, badge, note) VALUES(${second}, 'x', 'typed')`, a.nowUs + 5);
  settle(...sites);
  for (const site of sites) {
    expect(site.replica.reviews({ kind: "parked", id: "", limit: 5 })).toMatchObject([{ key: text }]);
    const told = site.replica.history("pit", text).map(({ operation, column, value }) => [operation, column, value]);
    expect(told).toContainEqual(["insert", null, null]);
    expect(told).toContainEqual(["update", "note", "typed"]);
  }
});

test.each([
  ["people", ["member"], "first", [{ key: "2", reason: expect.stringContaining("row 1") as string }]],
  ["nobody", [], "second", []],
])("rows with one UNIQUE text that is not valid UTF-8 are told from each other as any two: left to %s", (_, park, name, parked) => {
  const schema = "CREATE TABLE member(id INTEGER PRIMARY KEY, badge TEXT UNIQUE, name TEXT)";
  const sites = ["a", "b", "c"].map((each) => new Site(each, schema, { park }));
  const [a, b, c] = sites as [Site, Site, Site];
  const badge = "CAST(x'62ff33' AS TEXT)";
  a.edit(`INSERT INTO member VALUES(1, ${badge}, 'first')`);
  b.edit(`INSERT INTO member VALUES(2, ${badge}, 'second')`, a.nowUs + 1_000_000);
  c.pull(b);
  c.pull(a);
  settle(...sites);
  for (const site of sites) {
    expect(site.rows("SELECT hex(badge) AS badge, name FROM member"), site.name).toEqual([{ badge: "62FF33", name }]);
    expect(site.replica.reviews({ kind: "parked", id: "", limit: 5 }), site.name).toMatchObject(parked);
  }
  expect(a.pull(b).at(-1)?.verified).toBe(true);
});
