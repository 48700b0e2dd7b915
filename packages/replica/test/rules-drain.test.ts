import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { IN_2099_US, julianDay, refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT);
  CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id), m TEXT)`;

function pair(): [Site, Site] {
  return [new Site("a", SCHEMA), new Site("b", SCHEMA)];
}

/** When the winner of a column was written, as the row's history says. */
function timeOf(site: Site, key: string, column: string): number | undefined {
  return site.replica.history("word", key).find((entry) => entry.operation === "update" && entry.column === column)?.timeUs;
}

describe("what waits in the dirty list when a batch arrives", () => {
  test("is drained first: neither side's write is overwritten unseen", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO word VALUES('k', 'first', 'first')");
    b.pull(a);
    b.nowUs = START_US + SECOND_US;
    b.write("UPDATE word SET x = 'of b' WHERE k = 'k'");
    a.edit("UPDATE word SET x = 'of a' WHERE k = 'k'", START_US + 2 * SECOND_US);
    b.replica.apply(a.batchFor(b));
    expect(b.one("SELECT x FROM word")).toBe("of a");
    expect(b.conflicts.map(({ winner, loser }) => [winner?.value, loser?.value])).toEqual([["of a", "of b"]]);
    settle(a, b);
    expect(a.conflicts).toEqual(b.conflicts);
  });

  test("is drained under the integers as they are before rows move", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO parent VALUES(1, 'parent of a')", START_US);
    b.edit("INSERT INTO parent VALUES(1, 'parent of b')", START_US + SECOND_US);
    const batch = a.batchFor(b);
    // The child is written while 1 still means b's parent; the batch gives 1 to a's.
    b.write("INSERT INTO child VALUES(7, 1, 'child of b')");
    b.replica.apply(batch);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT parent.m FROM child JOIN parent ON parent.id = child.p")).toEqual([{ m: "parent of b" }]);
      expect(site.one("SELECT m FROM parent WHERE id = 1")).toBe("parent of a");
    }
  });
});

describe("a new write", () => {
  test("is later than everything its author knew of the row, whatever the clocks say", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO word VALUES('k', 'first', 'first')");
    b.pull(a);
    b.edit("UPDATE word SET x = 'from 2099'", IN_2099_US);
    a.pull(b);
    a.edit("UPDATE word SET x = 'knew of 2099'", START_US + SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one("SELECT x FROM word")).toBe("knew of 2099");
      expect(site.conflicts).toEqual([]);
    }
    expect(timeOf(a, "k", "x")).toBe(IN_2099_US + 1);
  });

  test("is later than the row's other columns and deletes too", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO word VALUES('column', 'x', 'y'), ('deleted', 'x', 'y')");
    b.pull(a);
    b.edit("UPDATE word SET x = 'from 2099' WHERE k = 'column'; DELETE FROM word WHERE k = 'deleted'", IN_2099_US);
    a.pull(b);
    a.edit("UPDATE word SET y = 'later' WHERE k = 'column'; INSERT INTO word VALUES('deleted', 'again', 'again')", START_US);
    settle(a, b);
    expect(timeOf(b, "column", "y")).toBeGreaterThan(IN_2099_US);
    expect(b.rows("SELECT k, x, y FROM word ORDER BY k")).toEqual([
      { k: "column", x: "from 2099", y: "later" },
      { k: "deleted", x: "again", y: "again" },
    ]);
    expect(a.rows("SELECT * FROM word ORDER BY k")).toEqual(b.rows("SELECT * FROM word ORDER BY k"));
  });

  test("on a row that a clock of 2099 never touched has its author's time", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO word VALUES('infected', 'first', ''), ('sound', 'first', '')");
    b.pull(a);
    b.edit("UPDATE word SET x = 'from 2099' WHERE k = 'infected'", IN_2099_US);
    a.pull(b);
    const now = START_US + 5 * SECOND_US;
    a.edit("UPDATE word SET x = 'second'", now);
    expect(timeOf(a, "sound", "x")).toBe(now);
    expect(timeOf(a, "infected", "x")).toBeGreaterThan(IN_2099_US);
    // So what b writes with a sound clock a second later still counts as later there.
    settle(a, b);
    b.edit("UPDATE word SET x = 'third' WHERE k = 'sound'", now + SECOND_US);
    settle(a, b);
    expect(a.one("SELECT x FROM word WHERE k = 'sound'")).toBe("third");
    expect(timeOf(a, "sound", "x")).toBe(now + SECOND_US);
  });

  test("keeps the time at which it was captured where the drain is undone and done again", () => {
    let isFull = false;
    const a = new Site("a", SCHEMA, {
      connect: (path, options) => {
        const db = new Database(path, options);
        const exec = db.exec.bind(db);
        db.exec = (sql) => {
          if (isFull && sql === "COMMIT") throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
          return exec(sql);
        };
        return db;
      },
    });
    a.write("INSERT INTO word VALUES('early', '', '')");
    a.write(`UPDATE _scoutsync_capture SET at = ${julianDay(START_US + SECOND_US)}`);
    // Its machine slept.
    a.nowUs = START_US + 3_600 * SECOND_US;
    isFull = true;
    expect(refusal(() => a.replica.drain())).toBe("DISK_FULL");
    isFull = false;
    a.replica.drain();
    expect(Math.abs((timeOf(a, "early", "x") ?? 0) - (START_US + SECOND_US))).toBeLessThan(1_000);
  });

  test("captured later than the drain's clock, or long before the last drain, counts as the drain's, an earlier one keeps its time", () => {
    const [a] = pair();
    a.write("INSERT INTO word VALUES('ahead', '', '')");
    // The writing process has a clock of its own.
    a.write(`UPDATE _scoutsync_capture SET at = ${julianDay(IN_2099_US)}`);
    const setLast = (us: number) =>
      a.write(`UPDATE _scoutsync_capture SET at = ${julianDay(us)} WHERE n = (SELECT max(n) FROM _scoutsync_capture)`);
    a.write("INSERT INTO word VALUES('behind', '', '')");
    setLast(START_US - 30 * SECOND_US);
    a.write("INSERT INTO word VALUES('far behind', '', '')");
    setLast(START_US - 365 * 86_400 * SECOND_US);
    a.replica.drain();
    expect(timeOf(a, "ahead", "x")).toBe(START_US);
    expect(timeOf(a, "far behind", "x")).toBe(START_US);
    // A Julian day is a double: half a millisecond is what it can tell apart. A transaction may have begun before the last drain.
    expect(Math.abs((timeOf(a, "behind", "x") ?? 0) - (START_US - 30 * SECOND_US))).toBeLessThan(1_000);
  });

  test("is never read from a transaction that is not finished", () => {
    const [a, b] = pair();
    a.write("BEGIN; INSERT INTO word VALUES('k', 'half', '')");
    b.pull(a);
    expect(b.rows("SELECT * FROM word")).toEqual([]);
    a.write("UPDATE word SET y = 'whole'; COMMIT");
    b.pull(a);
    expect(b.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "half", y: "whole" }]);
  });

  test("that is rolled back leaves no trace", () => {
    const [a] = pair();
    a.edit("INSERT INTO word VALUES('k', '', '')");
    const before = a.contents();
    a.write("BEGIN; UPDATE word SET x = 'never'; DELETE FROM word; ROLLBACK");
    a.replica.drain();
    expect(a.contents()).toBe(before);
  });
});

test("the log holds one entry per dot that still owns something: a row edited a thousand times travels once", () => {
  const [a, b] = pair();
  a.edit("INSERT INTO word VALUES('k', '0', '')");
  for (let i = 1; i <= 50; i++) a.edit(`UPDATE word SET x = '${i}'`);
  const batch = a.batchFor(b);
  expect(batch).toMatchObject({ count: 1, final: true });
  expect(a.replica.count(new Map()).changes).toBe(2);
  b.replica.apply(batch);
  expect(b.rows("SELECT k, x FROM word")).toEqual([{ k: "k", x: "50" }]);
});
