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
