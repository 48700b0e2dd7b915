import { expect, test } from "vitest";
import { settle, Site } from "./site.ts";

const ROOM = "CREATE TABLE room(id INTEGER PRIMARY KEY, name TEXT)";
const CASCADE = "REFERENCES room(id) ON DELETE CASCADE ON UPDATE CASCADE";
const KINDS = [
  ["a key of its own", `CREATE TABLE seat(id INTEGER PRIMARY KEY, room INTEGER ${CASCADE}, line TEXT)`],
  ["the reference in its key", `CREATE TABLE seat(room INTEGER ${CASCADE}, line TEXT, PRIMARY KEY(room, line))`],
  ["no key", `CREATE TABLE seat(room INTEGER ${CASCADE}, line TEXT)`],
] as const;
const SEATS = "SELECT name, line FROM seat LEFT JOIN room ON room.id = room ORDER BY line";

test.each(KINDS)("a row whose key becomes that of a deleted one takes what refers to it with it: %s", (_, seat) => {
  const schema = `${ROOM}; ${seat}`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.app.pragma("foreign_keys = ON");
  // Another room under that integer, born earlier: elsewhere the one of `a` gets another integer, and what refers to it follows.
  b.edit("INSERT INTO room VALUES(2, 'of b')");
  a.edit("INSERT INTO room VALUES(1, 'one'), (2, 'two'), (3, 'three')", a.nowUs + 1_000_000);
  a.edit("INSERT INTO seat(room, line) VALUES(1, 'in one'), (2, 'in two'), (3, 'in three')", a.nowUs + 1_000_000);
  // In one drain; the second takes the integer that the first has just left.
  a.edit(
    "DELETE FROM room WHERE id = 2; UPDATE room SET id = id - 1 WHERE id > 2; DELETE FROM seat WHERE line = 'in two'",
    a.nowUs + 1_000_000,
  );
  const expected = [
    { name: "one", line: "in one" },
    { name: "three", line: "in three" },
  ];
  expect(a.rows(SEATS)).toEqual(expected);
  settle(a, b);
  for (const site of [a, b]) expect(site.rows(SEATS)).toEqual(expected);
  a.edit("UPDATE seat SET line = 'the third' WHERE line = 'in three'", a.nowUs + 1_000_000);
  settle(a, b);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  expect(b.rows(SEATS)).toEqual(a.rows(SEATS));
});

test.each(["up", "down", "up, the drain before that fails"])(
  "a row that was edited before another took the integer it refers to, and a column of its table went, node %s",
  (node) => {
    const schema = `${ROOM}; CREATE TABLE seat(id INTEGER PRIMARY KEY, room INTEGER ${CASCADE}, line TEXT, x TEXT)`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.app.pragma("foreign_keys = OFF");
    a.edit("INSERT INTO room VALUES(1, 'one'); INSERT INTO seat VALUES(1, 1, 'first', 'x')");
    settle(a, b);
    if (node === "down") a.replica.close();
    a.write("DELETE FROM room; INSERT INTO room VALUES(1, 'another'); UPDATE seat SET line = 'edited'; ALTER TABLE seat DROP COLUMN x");
    if (node === "down") a.start();
    if (node.includes("fails")) a.failDrain();
    a.edit("", a.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows(SEATS)).toEqual([{ name: "another", line: "edited" }]);
  },
);
