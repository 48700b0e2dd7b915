import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

// Several values each way round: which of two values has the greater hash must not matter.
const NOTES = ["one", "two", "three", "four"];

test("rows that came from a node without a column get its values from one that has them, and nobody is asked: seed 6000004 of test/simulation/fleet", () => {
  const [a, b, c, d] = ["a", "b", "c", "d"].map(
    (name) => new Site(name, "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, note TEXT DEFAULT 'none')"),
  ) as [Site, Site, Site, Site];
  for (const [i, note] of NOTES.entries()) a.edit(`INSERT INTO team VALUES(${i + 1}, 'of a', '${note}')`, at(i));
  for (const site of [b, d]) site.pull(a);
  b.edit("ALTER TABLE team DROP COLUMN note", at(5));
  c.pull(b);
  expect(c.rows("SELECT DISTINCT note FROM team")).toEqual([{ note: "none" }]);
  // From somebody who did not write them, and from their author.
  for (const other of [d, a]) {
    expect(c.pull(other).at(-1)).toMatchObject({ received: 0, verified: other !== d });
    const request = { table: "team", keys: NOTES.map((_, i) => String(i + 1)), codecs: [] };
    const [ours, theirs] = [c.replica.wholeRows(request), other.replica.wholeRows(request)];
    c.replica.apply(theirs);
    other.replica.apply(ours);
    for (const site of [c, other]) {
      expect(site.rows("SELECT note FROM team ORDER BY id"), site.name).toEqual(NOTES.map((note) => ({ note })));
      expect(site.replica.reviews({ kind: "conflict", id: "", limit: 10 }), site.name).toEqual([]);
    }
  }
  settle(a, c, d);
  expect(c.pull(a).at(-1)).toMatchObject({ received: 0, verified: true });
});
