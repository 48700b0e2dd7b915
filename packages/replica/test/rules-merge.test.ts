import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT);
  CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, mail TEXT);
  CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, m TEXT)`;

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** Two sites that both hold one row of each kind. */
function pair(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit(`INSERT INTO word VALUES('k', 'first', 'first');
    INSERT INTO person VALUES(5, 'first', 'first');
    INSERT INTO parent VALUES(1, 'parent')`);
  settle(a, b);
  return [a, b];
}

describe.each([
  ["a natural key", "word", "k", "x", "y"],
  ["a surrogate key", "person", "5", "name", "mail"],
])("edits of one row with %s", (_, table, key, one, other) => {
  test("of different columns are both kept, without a conflict", () => {
    const [a, b] = pair();
    a.edit(`UPDATE ${table} SET ${one} = 'of a'`, at(1));
    b.edit(`UPDATE ${table} SET ${other} = 'of b'`, at(2));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows(`SELECT ${one}, ${other} FROM ${table}`)).toEqual([{ [one]: "of a", [other]: "of b" }]);
      expect(site.conflicts).toEqual([]);
    }
  });

  test("one after the other leave no conflict", () => {
    const [a, b] = pair();
    for (let i = 1; i <= 4; i++) {
      (i % 2 ? a : b).edit(`UPDATE ${table} SET ${one} = 'write ${i}'`, at(i));
      settle(a, b);
    }
    for (const site of [a, b]) {
      expect(site.one(`SELECT ${one} FROM ${table}`)).toBe("write 4");
      expect(site.conflicts).toEqual([]);
    }
  });

  test("at once leave exactly one conflict on both, with both values, authors and times", () => {
    const [a, b] = pair();
    a.edit(`UPDATE ${table} SET ${one} = 'of a'`, at(1));
    b.edit(`UPDATE ${table} SET ${one} = 'of b'`, at(2));
    settle(a, b);
    const [conflict] = a.conflicts;
    expect(conflict).toMatchObject({
      kind: "conflict",
      table,
      key,
      column: one,
      resolved: false,
      winner: { value: "of b", author: "b", timeUs: at(2) },
      loser: { value: "of a", author: "a", timeUs: at(1) },
    });
    expect(a.conflicts).toHaveLength(1);
    expect(b.conflicts).toEqual(a.conflicts);
    expect(a.one(`SELECT ${one} FROM ${table}`)).toBe("of b");
    expect(b.one(`SELECT ${one} FROM ${table}`)).toBe("of b");
    expect(b.replica.state().conflicts).toBe(1);
  });

  test("that know of a conflict settle it everywhere", () => {
    const [a, b] = pair();
    a.edit(`UPDATE ${table} SET ${one} = 'of a'`, at(1));
    b.edit(`UPDATE ${table} SET ${one} = 'of b'`, at(2));
    settle(a, b);
    a.edit(`UPDATE ${table} SET ${one} = 'decided'`, at(3));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one(`SELECT ${one} FROM ${table}`)).toBe("decided");
      expect(site.conflicts).toEqual([]);
      const closed = site.replica.history(table, key).filter(({ operation }) => operation === "closed");
      expect(closed.map(({ value, author }) => [value, author])).toEqual([["of a", "a"]]);
    }
  });

  test("taking the loser is an ordinary write that travels", () => {
    const [a, b] = pair();
    a.edit(`UPDATE ${table} SET ${one} = 'of a'`, at(1));
    b.edit(`UPDATE ${table} SET ${one} = 'of b'`, at(2));
    settle(a, b);
    b.replica.resolve({ id: b.conflicts[0]!.id, keep: "loser", set: [] });
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one(`SELECT ${one} FROM ${table}`)).toBe("of a");
      expect(site.conflicts).toEqual([]);
    }
  });

  test("a later edit revives a row that was deleted at the same time, with all of its columns", () => {
    const [a, b] = pair();
    a.edit(`DELETE FROM ${table}`, at(1));
    b.edit(`UPDATE ${table} SET ${one} = 'edited'`, at(2));
    settle(a, b);
    for (const site of [a, b]) expect(site.rows(`SELECT ${one}, ${other} FROM ${table}`)).toEqual([{ [one]: "edited", [other]: "first" }]);
  });

  test("an earlier edit does not, and its delete is not undone by older news", () => {
    const [a, b] = pair();
    b.edit(`UPDATE ${table} SET ${one} = 'edited'`, at(1));
    a.edit(`DELETE FROM ${table}`, at(2));
    settle(a, b);
    for (const site of [a, b]) expect(site.rows(`SELECT * FROM ${table}`)).toEqual([]);
  });
});

test("three writers at once leave two conflicts, the same on all", () => {
  const [a, b] = pair();
  const c = new Site("c", SCHEMA);
  settle(a, b, c);
  [a, b, c].forEach((site, i) => site.edit(`UPDATE word SET x = 'of ${site.name}'`, at(i + 1)));
  settle(a, b, c);
  for (const site of [a, b, c]) {
    expect(site.one("SELECT x FROM word")).toBe("of c");
    expect(new Set(site.conflicts.map(({ loser }) => loser?.value))).toEqual(new Set(["of a", "of b"]));
    expect(site.conflicts).toHaveLength(2);
    expect(site.conflicts).toEqual(a.conflicts);
  }
});

test("what two gave one key is a question still where one of them gave it to another row, not knowing of the other's", () => {
  const [a, b] = pair();
  a.edit("INSERT INTO word VALUES('other', 'of another row', NULL)");
  settle(a, b);
  a.edit("UPDATE word SET k = 'new' WHERE k = 'k'", at(1));
  b.edit("UPDATE word SET k = 'new' WHERE k = 'k'", at(2));
  a.edit("UPDATE OR REPLACE word SET k = 'new' WHERE k = 'other'", at(3));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT k, x FROM word")).toEqual([{ k: "new", x: "of another row" }]);
    const found = site.conflicts.filter(({ column }) => column === "x");
    expect(found.map(({ key, winner, loser }) => [key, winner?.author, loser?.author, loser?.value])).toEqual([["new", "a", "b", "first"]]);
  }
});

test("both sides writing the same value is no question to anyone", () => {
  const [a, b] = pair();
  a.edit("UPDATE word SET x = 'same'", at(1));
  b.edit("UPDATE word SET x = 'same'", at(2));
  settle(a, b);
  for (const site of [a, b]) expect(site.conflicts).toEqual([]);
});

describe("a parent deleted while a child is added elsewhere", () => {
  test("is kept, with its child, on both", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM parent", at(2));
    b.edit("INSERT INTO child VALUES(1, 1, 'new')", at(1));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT parent.m AS parent, child.m AS child FROM child JOIN parent ON parent.id = child.p")).toEqual([
        { parent: "parent", child: "new" },
      ]);
      expect(site.replica.history("parent", "1").find(({ operation }) => operation === "delete")?.note).toContain("kept");
    }
  });

  test("goes when the child goes", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM parent", at(2));
    b.edit("INSERT INTO child VALUES(1, 1, 'new')", at(1));
    settle(a, b);
    b.edit("DELETE FROM child", at(3));
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM parent")).toEqual([]);
  });

  test("is not kept for a child that its deleter knew of", () => {
    const [a, b] = pair();
    b.edit("INSERT INTO child VALUES(1, 1, 'known')", at(1));
    settle(a, b);
    a.edit("DELETE FROM parent", at(2));
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT m FROM parent UNION ALL SELECT m FROM child")).toEqual([]);
  });
});

test("a parent deleted alone, by someone who saw its child, stays deleted: the child is an orphan on both as it was there", () => {
  const [a, b] = pair();
  b.edit("INSERT INTO child VALUES(1, 1, 'known')", at(1));
  settle(a, b);
  a.edit("PRAGMA foreign_keys = OFF; DELETE FROM parent", at(2));
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM parent")).toEqual([]);
    expect(site.rows("SELECT p, m FROM child")).toEqual([{ p: 1, m: "known" }]);
  }
});

test("a cascade deletes what its author saw, and never a row that was there only elsewhere", () => {
  const [a, b] = pair();
  a.edit("INSERT INTO child VALUES(1, 1, 'seen')", at(1));
  settle(a, b);
  b.edit("INSERT INTO child VALUES(2, 1, 'not seen')", at(2));
  a.edit("DELETE FROM parent", at(3));
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT m FROM child")).toEqual([{ m: "not seen" }]);
});

test("what a kept parent refers to is kept with it, and goes with it", () => {
  const schema = `CREATE TABLE top(id INTEGER PRIMARY KEY);
    CREATE TABLE middle(id INTEGER PRIMARY KEY, t INTEGER REFERENCES top(id) ON DELETE CASCADE);
    CREATE TABLE leaf(id INTEGER PRIMARY KEY, m INTEGER REFERENCES middle(id) ON DELETE CASCADE)`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  const counts = (site: Site) => ["top", "middle", "leaf"].map((table) => site.one(`SELECT count(*) FROM ${table}`));
  a.edit("INSERT INTO top VALUES(1); INSERT INTO middle VALUES(1, 1)");
  settle(a, b);
  a.edit("PRAGMA foreign_keys = ON; DELETE FROM top", at(1));
  b.edit("INSERT INTO leaf VALUES(1, 1)", at(2));
  settle(a, b);
  for (const site of [a, b]) {
    expect(counts(site)).toEqual([1, 1, 1]);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
  b.edit("DELETE FROM leaf", at(3));
  settle(a, b);
  for (const site of [a, b]) expect(counts(site)).toEqual([0, 0, 0]);
});
