import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;
const RENAME = "ALTER TABLE item RENAME COLUMN code TO name";
const rebuild = (key: string) => `CREATE TABLE made(${key.replaceAll("code", "name")}); INSERT INTO made SELECT * FROM item;
  DROP TABLE item; ALTER TABLE made RENAME TO item`;
const KEYS = ["code TEXT PRIMARY KEY, n INTEGER, x TEXT", "code TEXT, n INTEGER REFERENCES team(id), x TEXT, PRIMARY KEY(n, code)"];

test.each(KEYS.flatMap((key) => [RENAME, rebuild(key)].map((migration) => [key, migration] as const)))(
  "rows of a table whose key has another name on some nodes have their keys on all: %s, %s",
  (columns, migration) => {
    const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE item(${columns})`;
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
    a.edit("INSERT INTO team VALUES(1, 'one'); INSERT INTO item VALUES('old', 1, 'x'), ('gone', 1, 'x')", at(0));
    settle(a, b, c);
    a.edit(`INSERT INTO item VALUES('just before', 1, 'x'); ${migration}`, at(1));
    a.edit("INSERT INTO item VALUES('after', 1, 'x')", at(2));
    b.edit("INSERT INTO item VALUES('of b', 1, 'x'); DELETE FROM item WHERE code = 'gone'", at(2));
    settle(a, b);
    settle(b, c);
    const keys = ["after", "just before", "of b", "old"].map((key) => ({ key }));
    const KEYS_OF = "SELECT coalesce(name, 'nothing') AS key FROM item ORDER BY 1";
    expect(a.rows(KEYS_OF)).toEqual(keys);
    for (const site of [b, c]) expect(site.rows(KEYS_OF.replace("name", "code")), site.name).toEqual(keys);
    a.edit("UPDATE item SET x = 'by a' WHERE name = 'of b'", at(3));
    b.edit("UPDATE item SET x = 'by b' WHERE code = 'after'", at(3));
    settle(a, b, c);
    b.edit(migration, at(4));
    settle(a, b, c);
    c.edit(migration, at(5));
    settle(a, b, c);
    for (const site of [a, b, c]) {
      const changed: Record<string, string> = { after: "by b", "of b": "by a" };
      expect(site.rows("SELECT name AS key, x FROM item ORDER BY 1"), site.name).toEqual(
        keys.map(({ key }) => ({ key, x: changed[key] ?? "x" })),
      );
      expect(site.conflicts).toEqual([]);
      expect(Buffer.from(site.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
    }
  },
);

test("rows of a table that is made when another node has another name for its key have their keys", () => {
  const key = KEYS[0] as string;
  const [a, b] = [
    new Site("a", `CREATE TABLE item(${key.replaceAll("code", "name")})`),
    new Site("b", "CREATE TABLE other(id INTEGER PRIMARY KEY)"),
  ];
  a.edit("INSERT INTO item VALUES('k', 1, 'x')", at(0));
  settle(a, b);
  b.edit(`CREATE TABLE item(${key})`, at(1));
  settle(a, b);
  expect(b.rows("SELECT * FROM item")).toEqual([{ code: "k", n: 1, x: "x" }]);
  b.edit(RENAME, at(2));
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT * FROM item")).toEqual([{ name: "k", n: 1, x: "x" }]);
  expect(Buffer.from(b.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
});

test("rows of a table that has another name, too, have their keys", () => {
  const key = KEYS[0] as string;
  const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(${key})`)) as [Site, Site];
  const [first, second] = ["ALTER TABLE item RENAME TO thing", "ALTER TABLE thing RENAME COLUMN code TO name"] as const;
  a.edit(`${first}; ${second}; INSERT INTO thing VALUES('k', 1, 'x')`, at(0));
  settle(a, b);
  b.edit(first, at(1));
  settle(a, b);
  expect(b.rows("SELECT * FROM thing")).toEqual([{ code: "k", n: 1, x: "x" }]);
  b.edit(second, at(2));
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT * FROM thing")).toEqual([{ name: "k", n: 1, x: "x" }]);
  expect(Buffer.from(b.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
});

test("a row that was out of its table when its key got another name has its key", () => {
  const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(${KEYS[0] as string}, UNIQUE(x))`)) as [Site, Site];
  a.edit("INSERT INTO item VALUES('deleted', 1, 'd'), ('a', 1, 'x')", at(0));
  b.edit("INSERT INTO item VALUES('b', 1, 'x')", at(0));
  settle(a, b);
  a.edit("DELETE FROM item WHERE code = 'deleted'", at(1));
  settle(a, b);
  for (const site of [a, b]) site.edit(RENAME, at(2));
  settle(a, b);
  a.replica.restore("item", "deleted");
  const stays = a.one("SELECT name FROM item WHERE x = 'x'");
  a.edit("UPDATE item SET x = 'free' WHERE x = 'x'", at(3));
  settle(a, b);
  const rows = ["a", "b", "deleted"].map((name) => ({ name, x: name === "deleted" ? "d" : name === stays ? "free" : "x" }));
  for (const site of [a, b]) expect(site.rows("SELECT name, x FROM item ORDER BY 1"), site.name).toEqual(rows);
  expect(Buffer.from(b.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
});

test("rows whose delete was kept back when their key got another name have their keys when they are back", () => {
  const [a, b] = ["a", "b"].map(
    (name) => new Site(name, `CREATE TABLE item(${KEYS[0] as string})`, { quarantine: { rows: 1, share: 0.1 } }),
  ) as [Site, Site];
  a.edit("INSERT INTO item VALUES('k', 1, 'x'), ('l', 1, 'y'), ('m', 1, 'z')", at(0));
  settle(a, b);
  a.edit("DELETE FROM item", at(1));
  a.edit(RENAME, at(2));
  settle(a, b);
  const [review] = a.replica.reviews({ kind: "quarantine", id: "", limit: 0 });
  a.replica.resolve({ id: review?.id ?? "", keep: "", set: [], decision: "undo" });
  a.replica.drain();
  settle(a, b);
  b.edit(RENAME, at(3));
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT name FROM item"), site.name).toEqual(["k", "l", "m"].map((name) => ({ name })));
  expect(Buffer.from(b.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
});

const OTHER_TYPES: readonly (readonly [string, string])[] = [
  ["k TEXT PRIMARY KEY NOT NULL, x TEXT", "k INT PRIMARY KEY NOT NULL, x TEXT"],
  ["k NUMERIC PRIMARY KEY NOT NULL, x TEXT", "k TEXT PRIMARY KEY NOT NULL, x TEXT"],
  [
    "k TEXT REFERENCES team(id), n INTEGER DEFAULT 7, x TEXT, PRIMARY KEY(n, k)",
    "k INTEGER REFERENCES team(id), n INTEGER DEFAULT 7, x TEXT, PRIMARY KEY(n, k)",
  ],
  ["k TEXT NOT NULL, n INT DEFAULT 7, x TEXT, PRIMARY KEY(k, n)", "k INT NOT NULL, n TEXT DEFAULT 7, x TEXT, PRIMARY KEY(k, n)"],
];
const madeOf = (columns: string) =>
  `BEGIN; CREATE TABLE made(${columns}); INSERT INTO made SELECT * FROM item; DROP TABLE item; ALTER TABLE made RENAME TO item; COMMIT`;

test.each(OTHER_TYPES)("rows of a table whose key gets another type server by server are the same rows: %s, %s", (before, after) => {
  const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY); INSERT INTO team VALUES(1), (2), (3), (4), (5); CREATE TABLE item(${before})`;
  const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
  a.edit("INSERT INTO item(k, x) VALUES(1, 'old'), (2, 'old'), (3, 'gone')", at(0));
  settle(a, b, c);
  a.edit(madeOf(after), at(1));
  settle(a, b);
  a.edit("UPDATE item SET x = 'of a' WHERE k = 1; INSERT INTO item(k, x) VALUES(4, 'new')", at(2));
  b.edit("UPDATE item SET x = 'of b' WHERE k = 2; INSERT INTO item(k, x) VALUES(5, 'new'); DELETE FROM item WHERE k = 3", at(3));
  settle(a, b, c);
  a.edit("UPDATE item SET x = 'on by a' WHERE k = 5", at(4));
  b.edit("UPDATE item SET x = 'on by b' WHERE k = 4", at(5));
  a.edit("UPDATE item SET x = 'a, later' WHERE k = 1", at(7));
  b.edit("UPDATE item SET x = 'b, earlier' WHERE k = 1", at(6));
  settle(a, b, c);
  b.edit(madeOf(after), at(8));
  settle(a, b, c);
  c.edit(madeOf(after), at(9));
  settle(a, b, c);
  for (const site of [a, b, c]) {
    expect(site.rows("SELECT x FROM item ORDER BY k"), site.name).toEqual(["a, later", "of b", "on by b", "on by a"].map((x) => ({ x })));
    const listed = site.replica.reviews({ kind: "", id: "", limit: 10 });
    expect(listed.map(({ kind, loser }) => [kind, loser?.value])).toEqual([["conflict", "b, earlier"]]);
    expect(Buffer.from(site.replica.state().digest).equals(a.replica.state().digest), site.name).toBe(true);
  }
});

test("rows that two servers add under one key, of which one has another type for it, are both seen", () => {
  const [before, after] = OTHER_TYPES[0] as [string, string];
  const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(${before})`)) as [Site, Site];
  a.edit(madeOf(after), at(1));
  a.edit("INSERT INTO item VALUES(1, 'of a')", at(2));
  b.edit("INSERT INTO item VALUES('1', 'of b')", at(3));
  settle(a, b);
  b.edit(madeOf(after), at(4));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM item"), site.name).toEqual([{ k: 1, x: "of a" }]);
    const [waiting] = site.replica.reviews({ kind: "parked", id: "", limit: 10 });
    expect(waiting?.image?.find(({ name }) => name === "x")?.value, site.name).toBe("of b");
  }
});

test("the history of a key tells of the row that was deleted under it before it got another type", () => {
  const [before, after] = OTHER_TYPES[0] as [string, string];
  const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(${before})`)) as [Site, Site];
  a.edit("INSERT INTO item VALUES('1', 'old')", at(0));
  settle(a, b);
  b.edit("UPDATE item SET x = 'of b'", at(1));
  a.edit(madeOf(after), at(2));
  a.edit("DELETE FROM item", at(3));
  a.edit("INSERT INTO item VALUES(1, 'again')", at(4));
  settle(a, b);
  b.edit(madeOf(after), at(5));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM item"), site.name).toEqual([{ k: 1, x: "again" }]);
    expect(
      site.replica.history("item", "1").map(({ value }) => value),
      site.name,
    ).toContain("of b");
  }
});
