import { describe, expect, test } from "vitest";
import { IN_2099_US, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT);
  CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, mail TEXT)`;

const YEAR_US = 365 * 86_400 * SECOND_US;

/** When the row's columns were written, by its history. */
const times = (site: Site, table: string, key: string) =>
  site.replica
    .history(table, key)
    .filter(({ operation }) => operation === "insert" || operation === "update" || operation === "delete")
    .map(({ timeUs }) => timeUs);

/** Two sites with one row that both know. */
function together(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit("INSERT INTO word VALUES('k', 'first', 'first'); INSERT INTO person VALUES(1, 'first', NULL)");
  settle(a, b);
  return [a, b];
}

describe("a clock that is a year off", () => {
  test.each([
    ["ahead", YEAR_US],
    ["behind", -YEAR_US],
  ])("%s: an edit that knew its writes comes after them, everywhere", (_way, offUs) => {
    const [a, b] = together();
    for (const [round, site] of [a, b, a, b, a].entries()) {
      const now = START_US + (round + 1) * 60 * SECOND_US;
      site.edit(`UPDATE word SET x = 'round ${round}'`, site === a ? now + offUs : now);
      settle(a, b);
      for (const each of [a, b]) expect(each.one("SELECT x FROM word")).toBe(`round ${round}`);
    }
    for (const each of [a, b]) expect(each.conflicts).toEqual([]);
  });

  test.each([
    ["ahead", YEAR_US],
    ["behind", -YEAR_US],
  ])("%s: what was written offline is stamped by corrected time at the first contact, so the later of two edits wins", (_way, offUs) => {
    for (const later of ["a", "b"] as const) {
      const [a, b] = together();
      const [ta, tb] = later === "a" ? [20, 10] : [10, 20];
      a.edit("UPDATE word SET x = 'of a'; UPDATE person SET name = 'of a'", START_US + offUs + ta * SECOND_US);
      a.edit("INSERT INTO person VALUES(2, 'only a', NULL); INSERT INTO word VALUES('new', 'of a', '')", START_US + offUs + ta * SECOND_US);
      b.edit("UPDATE word SET x = 'of b'; UPDATE person SET name = 'of b'", START_US + tb * SECOND_US);
      a.replica.correctClock(-offUs);
      settle(a, b);
      for (const each of [a, b]) {
        expect(each.one("SELECT x FROM word WHERE k = 'k'")).toBe(`of ${later}`);
        expect(each.one("SELECT name FROM person WHERE id = 1")).toBe(`of ${later}`);
        expect(each.one("SELECT name FROM person WHERE id = 2")).toBe("only a");
      }
      expect(a.replica.state().digest).toEqual(b.replica.state().digest);
      expect(times(b, "person", "2")[0]).toBe(START_US + ta * SECOND_US);
      expect(times(b, "word", "new")[0]).toBe(START_US + ta * SECOND_US);
    }
  });

  test("after the contact new writes are stamped by corrected time, once", () => {
    const a = new Site("a", SCHEMA);
    a.nowUs = START_US + YEAR_US;
    a.replica.correctClock(-YEAR_US);
    a.replica.correctClock(-YEAR_US);
    a.edit("INSERT INTO word VALUES('k', '', '')", START_US + YEAR_US + 7 * SECOND_US);
    a.replica.correctClock(-YEAR_US);
    expect(times(a, "word", "k")[0]).toBe(START_US + 7 * SECOND_US);
  });

  test("a correction of five seconds or less moves nothing", () => {
    const a = new Site("a", SCHEMA);
    a.edit("INSERT INTO word VALUES('k', '', '')");
    a.replica.correctClock(4 * SECOND_US);
    expect(times(a, "word", "k")[0]).toBe(START_US);
  });
});

describe("what has been seen by someone", () => {
  test("keeps its stamps for ever", () => {
    const [a, b] = together();
    a.edit("UPDATE word SET x = 'seen'", START_US + YEAR_US);
    b.pull(a);
    a.edit("UPDATE word SET y = 'unseen'", START_US + YEAR_US + SECOND_US);
    a.replica.correctClock(-YEAR_US);
    a.nowUs = START_US + YEAR_US + 2 * SECOND_US;
    const [seen, unseen] = ["x", "y"].map(
      (column) => a.replica.history("word", "k").find((entry) => entry.column === column && entry.operation === "update")?.timeUs ?? 0,
    );
    expect(seen).toBe(START_US + YEAR_US);
    // Corrected, it would come before a write that it knew.
    expect(unseen).toBe(START_US + YEAR_US + 1);
    settle(a, b);
    expect(times(b, "word", "k")).toEqual(times(a, "word", "k"));
  });

  test("also where only a batch was read that never arrived, and where whole rows were", () => {
    for (const leave of [
      (a: Site, b: Site) => void a.batchFor(b),
      (a: Site) => void a.replica.wholeRows({ table: "word", keys: ["k"], codecs: [] }),
    ]) {
      const [a, b] = together();
      a.edit("UPDATE word SET x = 'left'", START_US + YEAR_US);
      leave(a, b);
      a.replica.correctClock(-YEAR_US);
      expect(Math.max(...times(a, "word", "k"))).toBe(START_US + YEAR_US);
    }
  });
});

test("a row keeps the order of its writes, and its deletes and values, when they are stamped again", () => {
  const [a, b] = together();
  a.edit("UPDATE word SET x = '1'", START_US + YEAR_US);
  a.edit("UPDATE word SET y = '2'", START_US + YEAR_US);
  a.edit("INSERT INTO word VALUES('gone', '', ''); INSERT INTO person VALUES(5, 'gone', '')", START_US + YEAR_US);
  a.edit("DELETE FROM word WHERE k = 'gone'; DELETE FROM person WHERE id = 5", START_US + YEAR_US);
  a.edit("INSERT INTO word VALUES('gone', 'back', '')", START_US + YEAR_US);
  a.replica.correctClock(-YEAR_US);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM word ORDER BY k")).toEqual([
      { k: "gone", x: "back", y: "" },
      { k: "k", x: "1", y: "2" },
    ]);
    expect(site.rows("SELECT id FROM person")).toEqual([{ id: 1 }]);
    expect(Math.max(...times(site, "word", "gone"))).toBeLessThan(START_US + 60 * SECOND_US);
  }
  expect(a.replica.state().digest).toEqual(b.replica.state().digest);
});

test("a row somebody wrote in 2099 is still beaten by whoever edits it, however corrected", () => {
  const [a, b] = together();
  b.edit("UPDATE word SET x = 'from 2099'", IN_2099_US);
  settle(a, b);
  a.edit("UPDATE word SET x = 'later'", START_US + YEAR_US);
  a.replica.correctClock(-YEAR_US);
  settle(a, b);
  for (const site of [a, b]) expect(site.one("SELECT x FROM word")).toBe("later");
});

describe("a clock that is set while the node runs", () => {
  /** A site whose machine has been up for `upUs`. */
  function machine(): { a: Site; set: (us: number) => void; pass: (us: number) => void } {
    let upUs = 0;
    const a = new Site("a", SCHEMA, { uptimeUs: () => upUs });
    return {
      a,
      set: (us) => (a.nowUs += us),
      pass(us) {
        upUs += us;
        a.nowUs += us;
      },
    };
  }

  test.each([
    ["ahead", YEAR_US],
    ["behind", -YEAR_US],
  ])("%s, then right: what was stamped before is stamped again by what it was set by", (_way, offUs) => {
    const { a, set, pass } = machine();
    set(offUs);
    a.replica.drain();
    pass(SECOND_US);
    a.edit("INSERT INTO word VALUES('wrong', '', '')");
    set(-offUs);
    pass(SECOND_US);
    a.edit("INSERT INTO word VALUES('right', '', '')");
    a.replica.correctClock(0);
    expect(times(a, "word", "wrong")[0]).toBe(START_US + SECOND_US);
    expect(times(a, "word", "right")[0]).toBe(START_US + 2 * SECOND_US);
  });

  test("a correction does not outlive the clock that it was for", () => {
    const { a, set, pass } = machine();
    set(YEAR_US);
    a.replica.correctClock(-YEAR_US);
    pass(SECOND_US);
    set(-YEAR_US);
    a.edit("INSERT INTO word VALUES('k', '', '')");
    expect(times(a, "word", "k")[0]).toBe(START_US + SECOND_US);
  });

  test("what was stamped while the clock had been found right stays as it is", () => {
    const { a, set, pass } = machine();
    a.replica.correctClock(0);
    pass(SECOND_US);
    a.edit("INSERT INTO word VALUES('k', '', '')");
    set(YEAR_US);
    a.edit("INSERT INTO word VALUES('later', '', '')");
    a.replica.correctClock(0);
    expect(times(a, "word", "k")[0]).toBe(START_US + SECOND_US);
  });
});
