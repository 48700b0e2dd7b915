import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";
const at = (seconds: number) => START_US + seconds * SECOND_US;
describe.each([
  ["no primary key", "CREATE TABLE item(k TEXT, name TEXT, note TEXT)", "'k'", "name IS NOT NULL"],
  ["NULL in it", "CREATE TABLE item(k TEXT PRIMARY KEY, name TEXT, note TEXT)", "NULL", "k IS NULL"],
])("a conflict in a row of a table with %s", (_, schema, k, its) => {
  function conflict(): { all: [Site, Site, Site]; id: string } {
    const all = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
    const [a, b] = all;
    a.edit(`INSERT INTO item VALUES(${k}, 'eight', 'one')`, at(0));
    settle(...all);
    a.edit(`UPDATE item SET name = 'of a' WHERE ${its}`, at(1));
    b.edit(`UPDATE item SET name = 'of b' WHERE ${its}`, at(2));
    settle(...all);
    return { all, id: a.conflicts[0]!.id };
  }

  test.each([
    ["winner", "of b"],
    ["loser", "of a"],
    ["", "third"],
  ] as const)("is decided, which writes that column alone: %j", (keep, name) => {
    const { all, id } = conflict();
    const [, b, c] = all;
    c.edit("UPDATE item SET note = 'of c'", at(3));
    b.replica.resolve({ id, keep, set: keep === "" ? [{ name: "name", value: name }] : [] });
    settle(...all);
    for (const site of all) {
      expect(site.conflicts, site.name).toEqual([]);
      expect(site.rows("SELECT name, note FROM item"), site.name).toEqual([{ name, note: "of c" }]);
      expect(site.replica.state().digest, site.name).toEqual(b.replica.state().digest);
    }
  });

  test("stops no node any more on which an earlier version could not carry a decision out", () => {
    const { all, id } = conflict();
    const [, b] = all;
    b.edit(`INSERT INTO item VALUES(${k}, 'zero', 'two')`, at(3));
    settle(...all);
    const code = b.one(
      "SELECT (event >> 3) * 8 + 2 FROM (SELECT tid << 3 AS event FROM _scoutsync_table WHERE name LIKE 'item%' ORDER BY tid DESC LIMIT 1)",
    );
    const alone = `INSERT INTO _scoutsync_capture(event, at, k0, m0) VALUES(${String(code)}, julianday('now'), 1, 2)`;
    b.edit(`${alone}; INSERT INTO item VALUES(${k}, 'nine', 'two')`, at(4));
    b.replica.resolve({ id, keep: "loser", set: [] });
    settle(...all);
    for (const site of all) {
      expect(site.conflicts, site.name).toEqual([]);
      expect(site.rows("SELECT name FROM item ORDER BY 1"), site.name).toEqual([{ name: "nine" }, { name: "of a" }, { name: "zero" }]);
    }
  });
});

test("a row without a key that waits for its UNIQUE value is given another one", () => {
  const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE item(k TEXT, name TEXT UNIQUE)")) as [Site, Site];
  a.edit("INSERT INTO item VALUES('1', 'x')", at(0));
  b.edit("INSERT INTO item VALUES('2', 'x')", at(1));
  settle(a, b);
  const parked = a.replica.reviews({ kind: "parked", id: "", limit: 10 });
  expect(parked).toHaveLength(1);
  a.replica.resolve({ id: parked[0]!.id, keep: "", set: [{ name: "name", value: "y" }] });
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT name FROM item ORDER BY 1"), site.name).toEqual([{ name: "x" }, { name: "y" }]);
});
