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

test.each(["INTEGER", "TEXT"])(
  "a deleted row is kept on all nodes or on none where a row that refers to it has a column that came, key %s",
  (key) => {
    const schema = `CREATE TABLE team(id ${key} PRIMARY KEY, name TEXT); CREATE TABLE visit(id ${key} PRIMARY KEY, team ${key} REFERENCES team(id))`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
    a.edit("INSERT INTO team VALUES(1, 'kept'); INSERT INTO visit VALUES(1, NULL)", at(0));
    settle(a, b);
    a.edit("DELETE FROM team; UPDATE visit SET team = 1", at(1));
    const migration = (typed: string) => `ALTER TABLE visit ADD COLUMN note TEXT; UPDATE visit SET note = '${typed}'`;
    a.edit(migration("of a"), at(2));
    settle(a, b);
    // What a told of the column was not shown here: this node's word for it knows nothing, of the delete neither.
    b.edit(migration("of b"), at(3));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT name FROM team"), site.name).toEqual([{ name: "kept" }]);
      expect(site.rows("SELECT note FROM visit"), site.name).toEqual([{ note: "of b" }]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  },
);

test("a row whose key refers to a row of a table that is dropped goes on, and new ones do", () => {
  const schema =
    "CREATE TABLE team(id INTEGER PRIMARY KEY); CREATE TABLE visit(k TEXT NOT NULL, team INTEGER NOT NULL REFERENCES team(id), PRIMARY KEY(k, team))";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
  b.edit("INSERT INTO team VALUES(1); INSERT INTO visit VALUES('before', 1)", at(1));
  for (const site of [a, b]) site.edit("DROP TABLE team", at(2));
  // Until then a table may come back under its name, and nobody is told anything.
  b.edit("INSERT INTO visit VALUES('after', 1)", at(20));
  settle(a, b);
  for (const site of [a, b])
    expect(site.rows("SELECT k, team FROM visit ORDER BY k"), site.name).toEqual([
      { k: "after", team: 1 },
      { k: "before", team: 1 },
    ]);
});

test("what is written to rows whose key refers to a row of a table that was dropped is of these rows", () => {
  const schema =
    "CREATE TABLE team(id INTEGER PRIMARY KEY); CREATE TABLE visit(k TEXT NOT NULL, team INTEGER NOT NULL REFERENCES team(id), note TEXT, PRIMARY KEY(k, team))";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
  b.edit("INSERT INTO team VALUES(1); INSERT INTO visit VALUES('one', 1, 'first'), ('two', 1, 'first'), ('three', 1, 'first')", at(1));
  settle(a, b);
  for (const site of [a, b]) site.edit("DROP TABLE team", at(2));
  b.edit("UPDATE visit SET note = 'of b' WHERE k = 'one'; DELETE FROM visit WHERE k = 'three'", at(20));
  a.edit("UPDATE visit SET note = 'of a' WHERE k = 'two'", at(21));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT k, note FROM visit ORDER BY k"), site.name).toEqual([
      { k: "one", note: "of b" },
      { k: "two", note: "of a" },
    ]);
    expect(site.conflicts, site.name).toEqual([]);
  }
});

test.each(["that it had, too", "that it never had"])(
  "what a node writes to rows that it got after their key referred to a table is of these rows, the table being one %s",
  (had) => {
    const team = "CREATE TABLE team(id INTEGER PRIMARY KEY);";
    const visit = (table: string, reference: string) =>
      `CREATE TABLE ${table}(k TEXT NOT NULL, team INTEGER NOT NULL ${reference}, note TEXT, PRIMARY KEY(k, team));`;
    const all = team + visit("visit", "REFERENCES team(id)");
    const [a, b] = [new Site("a", had === "that it had, too" ? all : visit("visit", "")), new Site("b", all)];
    b.edit("INSERT INTO team VALUES(1); INSERT INTO visit VALUES('one', 1, 'first'), ('two', 1, 'first'), ('three', 1, 'first')", at(1));
    for (const site of had === "that it had, too" ? [a, b] : [b]) {
      site.edit(
        visit("renewed", "") + "INSERT INTO renewed SELECT * FROM visit; DROP TABLE visit; ALTER TABLE renewed RENAME TO visit",
        at(2),
      );
      site.edit("DROP TABLE team", at(3));
    }
    a.nowUs = b.nowUs = at(20);
    settle(a, b);
    a.edit("UPDATE visit SET note = 'of a' WHERE k = 'one'; DELETE FROM visit WHERE k = 'three'", at(21));
    b.edit("UPDATE visit SET note = 'of b' WHERE k = 'two'; INSERT INTO visit VALUES('four', 1, 'of b')", at(22));
    settle(a, b);
    a.edit("UPDATE visit SET note = 'of a' WHERE k = 'four'", at(23));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT k, note FROM visit ORDER BY k"), site.name).toEqual([
        { k: "four", note: "of a" },
        { k: "one", note: "of a" },
        { k: "two", note: "of b" },
      ]);
      expect(site.replica.reviews({ kind: "", id: "", limit: 10 }), site.name).toEqual([]);
    }
  },
);

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

const KEYS = {
  integer: "CREATE TABLE item(id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT)",
  text: "CREATE TABLE item(id TEXT PRIMARY KEY, code TEXT UNIQUE, name TEXT)",
  composite: "CREATE TABLE item(id TEXT, code INTEGER, name TEXT, PRIMARY KEY(id, code))",
};

/** Drops the table with what was written to it last, before anybody has heard of that. */
function dropUnheard(schema: string, sql: string, how: "running" | "restarted" = "running"): [Site, Site] {
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  b.edit("INSERT INTO item VALUES('1', '10', 'one'), ('2', '20', 'two'), ('3', '30', 'three')", at(0));
  settle(a, b);
  a.replica.acknowledge({ id: "b", name: "b" }, b.replica.state().vector);
  a.edit(sql, at(1));
  if (how === "restarted") a.restart();
  a.edit("DROP TABLE item", at(2));
  a.nowUs = at(13);
  settle(a, b);
  return [a, b];
}

const WAYS = [
  ["another key", "integer", "UPDATE item SET id = 7 WHERE id = 1"],
  ["another key, and edited", "text", "UPDATE item SET id = 'x' WHERE id = '1'; UPDATE item SET name = 'edited' WHERE id = 'x'"],
  ["edited, and another key", "integer", "UPDATE item SET name = 'edited' WHERE id = 1; UPDATE item SET id = 7 WHERE id = 1"],
  ["another key in one of two parts", "composite", "UPDATE item SET code = 77 WHERE id = '1'"],
  ["other keys for all", "integer", "UPDATE item SET id = id + 100"],
  [
    "other keys one after the other",
    "integer",
    "UPDATE item SET id = 100 WHERE id = 1; UPDATE item SET id = 1 WHERE id = 2; UPDATE item SET id = 2 WHERE id = 100",
  ],
  [
    "a key that another row had",
    "text",
    "UPDATE item SET id = 'x' WHERE id = '1'; UPDATE item SET id = '1' WHERE id = '2'; UPDATE item SET id = 'y' WHERE id = '1'",
  ],
  ["OR REPLACE", "integer", "INSERT OR REPLACE INTO item VALUES(9, '10', 'replaced')"],
  ["OR REPLACE of an update", "text", "UPDATE OR REPLACE item SET code = '20' WHERE id = '1'"],
] as const;

test.each(WAYS)("a row whose table is dropped after another was put in its place stays for who has not heard: %s", (_, kind, sql) => {
  const [a, b] = dropUnheard(KEYS[kind], sql);
  expect(b.rows("SELECT count(*) AS rows FROM item")).toEqual([{ rows: 3 }]);
  expect(b.conflicts).toEqual([]);
  // Where the table is back, so is what of it is here.
  a.edit(KEYS[kind], at(14));
  settle(a, b);
  expect(b.rows("SELECT count(*) AS rows FROM item")).toEqual([{ rows: 3 }]);
  expect(a.rows("SELECT * FROM item EXCEPT SELECT * FROM item WHERE name IN ('one', 'two', 'three', 'edited')")).toEqual([]);
});

test("so it stays where the node is restarted before the table is dropped, unless somebody has said to have heard", () => {
  expect(dropUnheard(KEYS.integer, "UPDATE item SET id = 7 WHERE id = 1", "restarted")[1].rows("SELECT id FROM item")).toHaveLength(3);
  const [a, b] = [new Site("a", KEYS.integer), new Site("b", KEYS.integer)];
  b.edit("INSERT INTO item VALUES(1, '10', 'one')", at(0));
  settle(a, b);
  a.edit("UPDATE item SET id = 7", at(1));
  settle(a, b);
  a.replica.acknowledge({ id: "b", name: "b" }, b.replica.state().vector);
  a.restart();
  a.edit("DROP TABLE item", at(2));
  a.edit(KEYS.integer, at(13));
  settle(a, b);
  expect(a.rows("SELECT id FROM item")).toEqual([]);
  expect(b.rows("SELECT id FROM item")).toEqual([{ id: 7 }]);
});

test.each([undefined, null])("so do many rows that have other keys: quarantine %s", (quarantine) => {
  const options = quarantine === undefined ? {} : { quarantine };
  const [a, b] = [new Site("a", KEYS.integer, options), new Site("b", KEYS.integer)];
  b.edit(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100) INSERT INTO item SELECT i, i, 'row' FROM n",
    at(0),
  );
  settle(a, b);
  a.edit("INSERT INTO item VALUES(5000, 'new', 'new'); UPDATE item SET id = id + 10000", at(1));
  a.edit("DROP TABLE item", at(2));
  a.nowUs = at(13);
  settle(a, b);
  expect(b.rows("SELECT count(*) AS rows FROM item WHERE id <= 1100")).toEqual([{ rows: 1_100 }]);
});

test("what the application deleted before it dropped the table is deleted", () => {
  const [, b] = dropUnheard(KEYS.integer, "DELETE FROM item WHERE id = 1; UPDATE item SET id = 7 WHERE id = 2");
  expect(b.rows("SELECT id FROM item")).toEqual([{ id: 2 }, { id: 3 }]);
});

test("a row that got a key, or lost it, stays for who has not heard where its table is dropped", () => {
  const schema = "CREATE TABLE item(id TEXT PRIMARY KEY, name TEXT)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  b.edit("INSERT INTO item VALUES(NULL, 'without'), ('1', 'with'), (NULL, 'deleted')", at(0));
  settle(a, b);
  a.edit("UPDATE item SET id = 'x' WHERE name = 'without'; UPDATE item SET id = NULL WHERE name = 'with'", at(1));
  a.edit("DELETE FROM item WHERE name = 'deleted'", at(2));
  a.edit("DROP TABLE item", at(3));
  a.nowUs = at(14);
  settle(a, b);
  expect(b.rows("SELECT * FROM item ORDER BY name")).toEqual([
    { id: "1", name: "with" },
    { id: null, name: "without" },
  ]);
});
