import { describe, expect, test } from "vitest";
import { IN_2099_US, settle, Site } from "./site.ts";

const OLD = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
const NEW = `${OLD}; CREATE TABLE note(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), line TEXT)`;

describe("a column that went, and one with a rule that came", () => {
  test("a row whose values of it have gone takes none of its other values with it", () => {
    const items = "CREATE TABLE item(id TEXT PRIMARY KEY, a, n)";
    const [a, b, c] = [new Site("a", items), new Site("b", items), new Site("c", items)];
    a.edit("INSERT INTO item VALUES('x', 'stays', 'goes')");
    a.edit("UPDATE item SET n = 'goes, too'", a.nowUs + 1_000_000);
    b.pull(a);
    b.edit("ALTER TABLE item DROP COLUMN n");
    c.pull(b);
    expect(c.rows("SELECT id, a FROM item")).toEqual([{ id: "x", a: "stays" }]);
  });

  test.each([
    ["max", "3", 6],
    ["min", "300", 6],
    ["prefer:a", "4", 6],
    ["counter", "n + 100", 106],
  ])("%s: what is written before the held value was shown comes to the same here and there", (rule, written, expected) => {
    const rules = [`item.n=${rule}`];
    const a = new Site("a", "CREATE TABLE item(id INTEGER PRIMARY KEY, n INTEGER DEFAULT 0)", { rules });
    const b = new Site("b", "CREATE TABLE item(id INTEGER PRIMARY KEY)", { rules });
    a.edit("INSERT INTO item VALUES(1, 5)");
    a.edit("UPDATE item SET n = n + 1");
    settle(a, b);
    b.edit(`ALTER TABLE item ADD COLUMN n INTEGER DEFAULT 0; UPDATE item SET n = ${written}`, b.nowUs + 1_000_000);
    a.pull(b);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect([a.one("SELECT n FROM item"), b.one("SELECT n FROM item")]).toEqual([expected, expected]);
  });
});

test("a table that was dropped while the clock was far ahead stops nobody once it is right", () => {
  const [a, b] = [new Site("a", NEW), new Site("b", NEW)];
  a.edit("INSERT INTO team VALUES(1, 'one'); INSERT INTO note VALUES(1, 1, 'gone')");
  const nowUs = a.nowUs;
  a.edit("DROP TABLE note", IN_2099_US);
  a.nowUs = nowUs + 1;
  b.pull(a);
  expect(b.rows("SELECT * FROM team")).toEqual([{ id: 1, name: "one" }]);
});

test.each(["TEXT", "INTEGER"])("a column that gets another name on every node loses no value, key %s", (key) => {
  const items = `CREATE TABLE item(id ${key} PRIMARY KEY, n)`;
  const [a, b, c] = [
    new Site("a", items),
    new Site("b", items),
    new Site("c", "CREATE TABLE item(id TEXT)".replace("TEXT", `${key} PRIMARY KEY, m`)),
  ];
  a.edit("INSERT INTO item VALUES(1, 1), (2, 2)");
  settle(a, b);
  a.edit("ALTER TABLE item RENAME COLUMN n TO m", a.nowUs + 1_000_000);
  b.edit("UPDATE item SET n = 5 WHERE id = 1; INSERT INTO item VALUES(3, 3)", b.nowUs + 2_000_000);
  settle(a, b);
  b.edit("ALTER TABLE item RENAME COLUMN n TO m", b.nowUs + 1_000_000);
  settle(a, b);
  c.pull(b);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  for (const site of [a, b, c]) expect(site.rows("SELECT m FROM item ORDER BY id")).toEqual([{ m: 5 }, { m: 2 }, { m: 3 }]);
});

test.each(["TEXT", "INTEGER"])(
  "an edit made since a column has another name stands where another node gives it that name later, key %s",
  (key) => {
    const items = `CREATE TABLE item(id ${key} PRIMARY KEY, n TEXT)`;
    const [a, b] = [new Site("a", items), new Site("b", items)];
    a.edit("INSERT INTO item VALUES(1, 'old'), (2, 'two')");
    settle(a, b);
    const rename = "ALTER TABLE item RENAME COLUMN n TO m";
    a.edit(rename, a.nowUs + 1_000_000);
    a.edit("UPDATE item SET m = 'new' WHERE id = 1", a.nowUs + 1_000_000);
    b.edit(rename, b.nowUs + 3_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT m FROM item ORDER BY id")).toEqual([{ m: "new" }, { m: "two" }]);
  },
);
