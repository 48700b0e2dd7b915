import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;
const imagesOf = (site: Site): string =>
  site
    .rows("SELECT image FROM _scoutsync_out WHERE state = 1")
    .map(({ image }) => (image as Buffer).toString("latin1"))
    .join("\n");

test("a row that waits for its place and is written anew under its key, unseen, stays in the history", () => {
  const schema = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, f INTEGER, g INTEGER, CHECK(f + g <= 10))";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO word VALUES('k', 'typed once', 1, 1)");
  settle(a, b);
  a.edit("UPDATE word SET f = 9", at(1));
  b.edit("UPDATE word SET g = 9", at(2));
  settle(a, b);
  expect(a.rows("SELECT * FROM word")).toEqual([]);
  a.edit("INSERT INTO word VALUES('k', 'typed again', 2, 2)", at(3));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "typed again", f: 2, g: 2 }]);
    const closed = site.replica.history("word", "k").filter(({ operation, column }) => operation === "closed" && column === "x");
    expect(closed.map(({ value }) => value)).toEqual(["typed once"]);
  }
});

test("a row that is deleted, and written anew under its key, keeps in its history what neither had seen", () => {
  const schema = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO word VALUES('k', 'seen')");
  settle(a, b);
  b.edit("UPDATE word SET x = 'unseen'", at(1));
  a.edit("DELETE FROM word", at(2));
  settle(a, b);
  expect(a.rows("SELECT * FROM word")).toEqual([]);
  a.edit("INSERT INTO word VALUES('k', 'anew')", at(3));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "anew" }]);
    const closed = site.replica.history("word", "k").filter(({ operation }) => operation === "closed");
    expect(closed.map(({ value }) => value)).toEqual(["unseen"]);
  }
});

test("so does one that its writer had deleted and written anew, where somebody else deleted what was there before", () => {
  const schema = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO word VALUES('k', 'seen')");
  settle(a, b);
  b.edit("DELETE FROM word", at(1));
  b.edit("INSERT INTO word VALUES('k', 'unseen')", at(2));
  a.edit("DELETE FROM word", at(3));
  settle(a, b);
  expect(a.rows("SELECT * FROM word")).toEqual([]);
  a.edit("INSERT INTO word VALUES('k', 'anew')", at(4));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "anew" }]);
    const closed = site.replica.history("word", "k").filter(({ operation }) => operation === "closed");
    expect(closed.map(({ value }) => value)).toEqual(["unseen"]);
  }
});

const TAG = "CREATE TABLE tag(id INTEGER PRIMARY KEY, m TEXT, u TEXT UNIQUE); CREATE TABLE other(id INTEGER PRIMARY KEY, m TEXT)";
/** Takes an integer again: what was captured before is drained before it. */
const AGAIN = "INSERT INTO other VALUES(1, 'first'); DELETE FROM other; INSERT INTO other VALUES(1, 'second')";

test.each([
  [
    "inserted and displaced between two drains, with an integer used again between",
    `INSERT INTO tag VALUES(1, 'displaced', 'u'); ${AGAIN}; REPLACE INTO tag VALUES(2, 'new', 'u')`,
  ],
  [
    "displaced, and whose integer is used again",
    `INSERT INTO tag VALUES(1, 'displaced', 'u'); REPLACE INTO tag VALUES(2, 'new', 'u'); ${AGAIN}; INSERT INTO tag VALUES(1, 'other', 'v')`,
  ],
])("a row %s is a deleted row with its image", (_, sql) => {
  const [a, b] = [new Site("a", TAG), new Site("b", TAG)];
  a.edit(sql);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT m FROM tag WHERE u = 'u'")).toEqual([{ m: "new" }]);
    expect(imagesOf(site)).toContain("displaced");
  }
});

test("a known row that is displaced, and whose integer is used again, is deleted everywhere and not taken for the other", () => {
  const [a, b] = [new Site("a", TAG), new Site("b", TAG)];
  a.edit("INSERT INTO tag VALUES(1, 'displaced', 'u')");
  settle(a, b);
  b.edit("UPDATE tag SET m = 'edited' WHERE id = 1", at(1));
  a.edit(`REPLACE INTO tag VALUES(2, 'new', 'u'); ${AGAIN}; INSERT INTO tag VALUES(1, 'other', 'v')`, at(2));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT m FROM tag ORDER BY m")).toEqual([{ m: "new" }, { m: "other" }]);
    expect(imagesOf(site)).toContain("edited");
  }
});

test("an edit of a row that is deleted in the same drain, with an integer used again between, is known to everyone", () => {
  const [a, b] = [new Site("a", TAG), new Site("b", TAG)];
  a.edit("INSERT INTO tag VALUES(1, 'first', 'u')");
  settle(a, b);
  b.edit("UPDATE tag SET u = 'v'", at(2));
  a.edit(`UPDATE tag SET m = 'edited' WHERE id = 1; ${AGAIN}; DELETE FROM tag`, at(1));
  settle(a, b);
  // The later edit of the other column brings it back, with what was edited before the delete.
  for (const site of [a, b]) expect(site.rows("SELECT * FROM tag")).toEqual([{ id: 1, m: "edited", u: "v" }]);
});

test("a row that was made to refer to a new one, and is replaced under its integer, goes on naming that one", () => {
  const schema = "CREATE TABLE bot(id INTEGER PRIMARY KEY, m TEXT, r INTEGER REFERENCES bot(id) ON UPDATE CASCADE, u TEXT UNIQUE)";
  const all = ["a", "b", "c", "d"].map((name) => new Site(name, schema, { park: ["*"] })) as [Site, Site, Site, Site];
  const [a, b, c, d] = all;
  a.edit("INSERT INTO bot VALUES(1, 'first', NULL, 'A'), (2, 'child', 1, 'B')", at(0));
  settle(...all);
  a.app.pragma("recursive_triggers = ON");
  // The cascade comes before the row that it points to.
  a.edit("UPDATE bot SET id = 1000, m = 'new' WHERE id = 1; REPLACE INTO bot SELECT id, 'in its place', r, u FROM bot WHERE id = 2", at(1));
  // The first lives again and keeps the new one out, the child is kept for another, and so has nobody to refer to.
  c.edit("UPDATE bot SET m = 'edited' WHERE id = 1", at(2));
  d.edit("INSERT INTO bot VALUES(3, 'grandchild', 2, 'C')", at(3));
  for (const from of [a, c, d]) b.pull(from);
  settle(...all);
  for (const site of all) {
    expect(site.rows("SELECT id, m FROM bot"), site.name).toEqual([{ id: 1, m: "edited" }]);
    expect(site.replica.state()).toMatchObject({ parked: 4 });
    expect(Buffer.from(site.replica.state().digest).equals(a.replica.state().digest), site.name).toBe(true);
  }
});
