import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

/** More than several turns of one table take. */
const ROWS = 1_800;

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER);
  CREATE TABLE word(k TEXT PRIMARY KEY, text TEXT)`;

const fill = `
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) INSERT INTO team SELECT i, 'team ' || i, i FROM n;
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) INSERT INTO word SELECT printf('w%05d', i), 'text' FROM n`;

const rebuild = (column: string, between = "") => `PRAGMA foreign_keys = OFF; BEGIN;
  CREATE TABLE team_new(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER, ${column});
  INSERT INTO team_new(id, name, rank) SELECT id, name, rank FROM team;
  DROP TABLE team; ALTER TABLE team_new RENAME TO team; ${between} COMMIT; PRAGMA foreign_keys = ON`;

/** Two sites with equal rows; the first does its work in as many turns as it can. */
function pair(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA, { turnMs: 0 }), new Site("b", SCHEMA)];
  a.edit(fill);
  settle(a, b);
  b.edit(rebuild("motto TEXT DEFAULT 'none'"));
  return [a, b];
}

/** Takes turns until `enough`; says how many there were. */
function turns(site: Site, enough: number): number {
  let taken = 0;
  while (taken < enough && !site.replica.drainTurn()) taken++;
  return taken;
}

/** Both tables are equal, digests agree, and stored hashes are those of the rows. */
function expectEqual(a: Site, b: Site): void {
  settle(a, b);
  for (const table of ["team", "word"])
    expect(b.rows(`SELECT * FROM ${table} ORDER BY 1`)).toEqual(a.rows(`SELECT * FROM ${table} ORDER BY 1`));
  expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  for (const site of [a, b]) {
    const [kept, deep] = [false, true].map((isDeep) => site.replica.digests({ table: "", buckets: [], deep: isDeep }).entries);
    expect(kept).toEqual(deep);
  }
}

describe("a table that is compared in turns after a migration", () => {
  test("takes more than one, and the application writes in between", () => {
    const [a, b] = pair();
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -1 WHERE id IN (3, 1700); INSERT INTO team(name) VALUES('new');"));
    expect(turns(a, 2)).toBe(2);
    a.write(
      "UPDATE team SET name = 'behind' WHERE id = 2; UPDATE team SET name = 'ahead' WHERE id = 1790; DELETE FROM team WHERE id = 1791",
    );
    a.write(
      "INSERT INTO team(id, name) VALUES(9000, 'last'); UPDATE team SET id = 9001 WHERE id = 1792; UPDATE team SET id = 1791 WHERE id = 4",
    );
    expectEqual(a, b);
    expect(b.rows("SELECT id, name, rank FROM team WHERE id IN (2, 3, 4, 1700, 1790, 1791, 1792, 9000, 9001) ORDER BY id")).toEqual([
      { id: 2, name: "behind", rank: 2 },
      { id: 3, name: "team 3", rank: -1 },
      { id: 1700, name: "team 1700", rank: -1 },
      { id: 1790, name: "ahead", rank: 1790 },
      { id: 1791, name: "team 4", rank: 4 },
      { id: 9000, name: "last", rank: null },
      { id: 9001, name: "team 1792", rank: 1792 },
    ]);
    expect(b.one("SELECT count(*) FROM team WHERE name = 'new'")).toBe(1);
  });

  test("does not lose what nobody captured of a row that is written again before it is compared", () => {
    const [a, b] = pair();
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -1 WHERE id > 1700;"));
    expect(turns(a, 1)).toBe(1);
    a.write("UPDATE team SET name = 'written again' WHERE id = 1750; DELETE FROM team WHERE id = 1760");
    expectEqual(a, b);
    expect(b.rows("SELECT name, rank FROM team WHERE id = 1750")).toEqual([{ name: "written again", rank: -1 }]);
  });

  test("does not lose what nobody captured of a row with a captured edit that no drain had seen", () => {
    const [a, b] = pair();
    a.write("UPDATE team SET name = 'captured' WHERE id = 7");
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -7 WHERE id = 7;"));
    expectEqual(a, b);
    expect(b.rows("SELECT name, rank FROM team WHERE id = 7")).toEqual([{ name: "captured", rank: -7 }]);
  });

  test("does not take an edit of one column for one of all where capture never stopped", () => {
    const [a, b] = pair();
    a.write("ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'");
    expect(turns(a, 1)).toBe(1);
    a.write("UPDATE team SET name = 'here' WHERE id = 1750");
    b.edit("UPDATE team SET rank = 99 WHERE id = 1750");
    expectEqual(a, b);
    expect(a.rows("SELECT name, rank FROM team WHERE id = 1750")).toEqual([{ name: "here", rank: 99 }]);
    expect(a.conflicts).toEqual([]);
  });

  test("is not served before it is compared to the end", () => {
    const [a, b] = pair();
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -1 WHERE id = 1799;"));
    expect(turns(a, 1)).toBe(1);
    b.pull(a);
    expect(b.rows("SELECT rank FROM team WHERE id = 1799")).toEqual([{ rank: -1 }]);
  });

  test("is not served before it is compared to the end where capture was silent and no schema moved", () => {
    const [a, b] = pair();
    settle(a, b);
    a.write("INSERT INTO _scoutsync_applying VALUES(1); UPDATE team SET rank = -1 WHERE id = 1799");
    expect(turns(a, 1)).toBe(1);
    b.pull(a);
    expect(b.rows("SELECT rank FROM team WHERE id = 1799")).toEqual([{ rank: -1 }]);
  });

  test("does not lose a change that arrives meanwhile", () => {
    const [a, b] = pair();
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -1 WHERE id = 1799;"));
    b.edit("UPDATE team SET name = 'from b' WHERE id IN (1, 1799)");
    expect(turns(a, 1)).toBe(1);
    a.pull(b);
    expectEqual(a, b);
    expect(a.rows("SELECT name FROM team WHERE id = 1")).toEqual([{ name: "from b" }]);
    expect(a.rows("SELECT rank FROM team WHERE id = 1799")).toEqual([{ rank: -1 }]);
  });

  test("is compared from its start after a crash", () => {
    const [a, b] = pair();
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -1 WHERE id IN (1, 1799); DELETE FROM team WHERE id = 5;"));
    expect(turns(a, 2)).toBe(2);
    const crashed = a.backup();
    a.replaceFile(crashed);
    expectEqual(a, b);
    expect(b.rows("SELECT id, rank FROM team WHERE id IN (1, 5, 1799) ORDER BY id")).toEqual([
      { id: 1, rank: -1 },
      { id: 1799, rank: -1 },
    ]);
  });

  test("may be migrated again before it is compared", () => {
    const [a, b] = pair();
    b.edit("ALTER TABLE team ADD COLUMN song TEXT DEFAULT 'la'");
    a.write(rebuild("motto TEXT DEFAULT 'none'", "UPDATE team SET rank = -1 WHERE id IN (1, 1799);"));
    expect(turns(a, 2)).toBe(2);
    a.write("ALTER TABLE team ADD COLUMN song TEXT DEFAULT 'la'; UPDATE team SET song = 'lo' WHERE id IN (2, 1798)");
    expect(turns(a, 1)).toBe(1);
    a.write("VACUUM");
    expectEqual(a, b);
    expect(b.rows("SELECT id, rank, song FROM team WHERE rank < 0 OR song = 'lo' ORDER BY id")).toEqual([
      { id: 1, rank: -1, song: "la" },
      { id: 2, rank: 2, song: "lo" },
      { id: 1798, rank: 1798, song: "lo" },
      { id: 1799, rank: -1, song: "la" },
    ]);
    // No row was taken for edited that was not: b's vector has two writes of a more, and nothing but them.
    expect(a.one("SELECT count(*) FROM _scoutsync_rows_1 WHERE extra IS NOT NULL")).toBe(4);
  });

  test("with a text key is found in its rows that came, changed and went", () => {
    const [a, b] = pair();
    const as =
      "CREATE TABLE n(k TEXT PRIMARY KEY, text TEXT); INSERT INTO n SELECT * FROM word; DROP TABLE word; ALTER TABLE n RENAME TO word";
    a.edit("ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'");
    a.write(
      `BEGIN; ${as}; DELETE FROM word WHERE k = 'w01000'; UPDATE word SET text = 'new' WHERE k = 'w01001'; INSERT INTO word VALUES('x', 'x'); COMMIT`,
    );
    expect(turns(a, 2)).toBe(2);
    a.write("UPDATE word SET text = 'later' WHERE k IN ('w00001', 'w01799')");
    expectEqual(a, b);
    expect(b.rows("SELECT * FROM word WHERE text <> 'text' OR k = 'w01000' ORDER BY k")).toEqual([
      { k: "w00001", text: "later" },
      { k: "w01001", text: "new" },
      { k: "w01799", text: "later" },
      { k: "x", text: "x" },
    ]);
  });
});

test.each(["TEXT PRIMARY KEY NOT NULL", "INTEGER PRIMARY KEY", "INT"])(
  "a tool that commits each step of making a table anew is not in the way of another node's, which is through with some: key %s",
  (key) => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(id ${key}, v TEXT)`)) as [Site, Site];
    const steps = [
      `CREATE TABLE _alembic_tmp_item(id ${key}, v TEXT, at TEXT)`,
      "INSERT INTO _alembic_tmp_item(id, v) SELECT id, v FROM item",
      "DROP TABLE item",
      "ALTER TABLE _alembic_tmp_item RENAME TO item",
    ];
    let seconds = 0;
    const edit = (site: Site, sql: string) => {
      site.edit(sql, START_US + ++seconds * SECOND_US);
      for (const one of [a, b]) one.nowUs = site.nowUs;
      settle(a, b);
    };
    /** `typed`: what somebody writes at the other node while the table is gone. */
    const migrate = (site: Site, other: Site, typed: string) => {
      for (const step of steps) {
        edit(site, step);
        if (step === "DROP TABLE item") edit(other, typed);
      }
    };
    edit(a, "INSERT INTO item VALUES(1, 'one'), (2, 'two'), (3, 'three')");
    migrate(a, b, "UPDATE item SET v = 'by b' WHERE id = 2");
    edit(a, "UPDATE item SET v = 'by a' WHERE id = 1; INSERT INTO item(id, v) VALUES(4, 'four')");
    migrate(b, a, "UPDATE item SET at = 'late' WHERE id = 3");
    for (const site of [a, b]) {
      expect(site.rows("SELECT CAST(id AS INT) id, v, at FROM item ORDER BY id"), site.name).toEqual([
        { id: 1, v: "by a", at: null },
        { id: 2, v: "by b", at: null },
        { id: 3, v: "three", at: "late" },
        { id: 4, v: "four", at: null },
      ]);
      expect(site.conflicts).toEqual([]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  },
);
