import { expect, test } from "vitest";
import { SECOND_US, settle, Site } from "./site.ts";

const NOTE = "CREATE TABLE note(line TEXT)";
const LINES = "SELECT line FROM note ORDER BY line";

function sites(): [Site, Site] {
  const [a, b] = [new Site("a", NOTE), new Site("b", NOTE)];
  b.edit("INSERT INTO note VALUES('of b'), ('twice'), ('twice')");
  settle(a, b);
  a.edit("DROP TABLE note");
  a.nowUs += 11 * SECOND_US;
  b.nowUs = a.nowUs;
  return [a, b];
}

/** What a session does with rows that differ though neither side lacks anything. */
function mend(a: Site, b: Site): void {
  const keys = b.replica.digests({ table: "note", buckets: Array.from({ length: 256 }, (_, i) => i), deep: false }).entries;
  const request = { table: "note", keys: keys.map(({ key }) => key), codecs: [] };
  const [ours, theirs] = [a.replica.wholeRows(request), b.replica.wholeRows(request)];
  a.replica.apply(theirs);
  b.replica.apply(ours);
  settle(a, b);
  expect(a.pull(b).at(-1)?.verified).toBe(true);
}

test("a table without a key that was dropped and made again has deleted no row", () => {
  const [a, b] = sites();
  // Under rowids that others had: nobody has edited those.
  a.edit(`${NOTE}; INSERT INTO note VALUES('new'), ('twice')`);
  settle(a, b);
  expect(b.rows(LINES)).toEqual([{ line: "new" }, { line: "of b" }, { line: "twice" }, { line: "twice" }]);
  mend(a, b);
  expect(a.rows(LINES)).toEqual(b.rows(LINES));
});

test("where it is back with its rows they are the same rows", () => {
  const [a, b] = sites();
  const before = a.vector;
  a.edit(`${NOTE}; INSERT INTO note VALUES('twice'), ('of b'), ('twice')`);
  expect(a.vector).toBe(before);
  b.edit("UPDATE note SET line = 'edited' WHERE line = 'of b'");
  settle(a, b);
  for (const site of [a, b]) expect(site.rows(LINES)).toEqual([{ line: "edited" }, { line: "twice" }, { line: "twice" }]);
});

test("nor where it is back with a column more", () => {
  const [a, b] = sites();
  a.edit("CREATE TABLE note(line TEXT, x DEFAULT 1); INSERT INTO note(line) VALUES('twice')");
  settle(a, b);
  expect(b.rows(LINES)).toEqual([{ line: "of b" }, { line: "twice" }, { line: "twice" }]);
});

test("what others write to such a row comes to those who have it", () => {
  const [a, b] = sites();
  a.edit(NOTE);
  b.edit("UPDATE note SET line = 'edited' WHERE line = 'of b'");
  settle(a, b);
  mend(a, b);
  for (const site of [a, b]) expect(site.rows(LINES)).toEqual([{ line: "edited" }, { line: "twice" }, { line: "twice" }]);
});

test("nor where it is back with a column less, and fewer rows", () => {
  const [a, b] = [new Site("a", "CREATE TABLE note(line TEXT, x)"), new Site("b", "CREATE TABLE note(line TEXT, x)")];
  b.edit("INSERT INTO note VALUES('of b', 1), ('twice', 2), ('twice', 2)");
  settle(a, b);
  a.edit("DROP TABLE note");
  b.nowUs = a.nowUs + 11 * SECOND_US;
  a.edit(`${NOTE}; INSERT INTO note VALUES('new')`, b.nowUs);
  settle(a, b);
  expect(b.rows("SELECT line, x FROM note ORDER BY line")).toEqual([
    { line: "new", x: null },
    { line: "of b", x: 1 },
    { line: "twice", x: 2 },
    { line: "twice", x: 2 },
  ]);
});
