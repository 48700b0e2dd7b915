import { afterEach, expect, test, vi } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, m TEXT)";
/** More than the decisions that are made before the clock is looked at. */
const ROWS = 450;

afterEach(() => vi.restoreAllMocks());

test.each(["a restart", "the next drain"])("decisions cut off after the vector has moved are taken up by %s", (by) => {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  for (const [i, site] of [a, b].entries()) {
    site.edit(
      `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${ROWS}) INSERT INTO t SELECT i, '${site.name} ' || i FROM c`,
      START_US + i * SECOND_US,
    );
  }
  // A clock that jumps at every look ends each turn at once; what follows the first turn does not come to pass.
  let now = 0;
  vi.spyOn(performance, "now").mockImplementation(() => (now += 1_000));
  const { turns: cut } = (b.replica as unknown as { parts: { turns: { unsettled: boolean; settle(): void } } }).parts;
  vi.spyOn(cut, "settle").mockImplementation(() => {
    if (cut.unsettled) throw new Error("cut off");
  });
  expect(() => b.pull(a)).toThrow("cut off");
  expect(b.replica.state().parked).toBeGreaterThan(0);
  if (by === "a restart") b.replica.close();
  vi.restoreAllMocks();
  if (by === "a restart") b.start();
  else b.replica.drain();
  expect(b.replica.state().parked).toBe(0);
  expect(b.app.prepare("SELECT count(*) FROM t").pluck().get()).toBe(2 * ROWS);
});

test("a row that waits for a UNIQUE value is placed as soon as the application deletes who had it", () => {
  const schema = "CREATE TABLE tag(id INTEGER PRIMARY KEY, label TEXT UNIQUE, x TEXT)";
  const [a, b] = [new Site("a", schema, { park: ["tag"] }), new Site("b", schema, { park: ["tag"] })];
  a.edit("INSERT INTO tag VALUES(1, 'same', 'of a')", START_US);
  b.edit("INSERT INTO tag VALUES(2, 'same', 'of b')", START_US + SECOND_US);
  a.pull(b);
  expect(a.replica.state().parked).toBe(1);
  a.edit("DELETE FROM tag WHERE id = 1", START_US + 2 * SECOND_US);
  expect(a.replica.state().parked).toBe(0);
  expect(a.rows("SELECT * FROM tag")).toEqual([{ id: 2, label: "same", x: "of b" }]);
});

test.each(["INTEGER", "TEXT"])("a decision about a row that waits for a place is written to that row, key %s", (type) => {
  const [a, b] = ["a", "b"].map(
    (name) => new Site(name, `CREATE TABLE person(id ${type} PRIMARY KEY NOT NULL, mail TEXT UNIQUE, x TEXT, y TEXT)`),
  ) as [Site, Site];
  const at = (seconds: number) => START_US + seconds * SECOND_US;
  a.edit("INSERT INTO person VALUES(1, 'first', 'x of first', 'y of first')", at(0));
  a.edit("INSERT INTO person VALUES(2, 'second', 'x of second', 'y of second')", at(1));
  settle(a, b);
  a.edit("UPDATE person SET mail = 'shared' WHERE id = 1; UPDATE person SET x = 'x of a', y = 'y of a' WHERE id = 2", at(2));
  b.edit("UPDATE person SET mail = 'shared', x = 'x of b', y = 'y of b' WHERE id = 2", at(3));
  settle(a, b);
  // The row that was born first has the value.
  const first = { id: type === "TEXT" ? "1" : 1, mail: "shared", x: "x of first", y: "y of first" };
  for (const site of [a, b]) expect(site.rows("SELECT * FROM person")).toEqual([first]);
  const [x, y] = ["x", "y"].map((name) => a.conflicts.find(({ column }) => column === name)?.id as string);
  expect(a.replica.resolve({ id: x as string, keep: "loser", set: [] }).resolved).toBe(true);
  expect(a.replica.resolve({ id: y as string, keep: "", set: [{ name: "y", value: "decided" }] }).resolved).toBe(true);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM person")).toEqual([first]);
    expect(site.conflicts).toEqual([]);
  }
  a.edit("UPDATE person SET mail = 'own' WHERE id = 1", at(5));
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT x, y FROM person WHERE id = 2")).toEqual([{ x: "x of a", y: "decided" }]);
});
