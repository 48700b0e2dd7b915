import { globSync, readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { settle, Site } from "./site.ts";

// What other peers have been seen to do wrong and no other test shows of this one: PEER-FAILURES.md has the whole list.

const SCHEMA = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT UNIQUE);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), label TEXT)`;

function pair(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit("INSERT INTO team VALUES(1, 'one', 'x'), (2, 'two', 'y'), (3, 'three', 'z'); INSERT INTO robot VALUES(1, 1, 'r1')");
  settle(a, b);
  return [a, b];
}

describe("a table that is rebuilt by renaming it aside", () => {
  test.each(["ON", "OFF"])("takes writes at once, before any node has looked; none is lost (legacy_alter_table %s)", (legacy) => {
    const [a, b] = pair();
    // The node does not look in between: whatever became of its triggers, the application's next statements go through.
    a.write(`PRAGMA legacy_alter_table = ${legacy}; PRAGMA foreign_keys = OFF; BEGIN;
      ALTER TABLE robot RENAME TO robot_old;
      CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), label TEXT, motto TEXT);
      INSERT INTO robot(id, team_id, label) SELECT id, team_id, label FROM robot_old; DROP TABLE robot_old; COMMIT`);
    a.write(
      "INSERT INTO robot VALUES(2, 2, 'r2', 'm'); UPDATE robot SET motto = 'edited' WHERE id = 1; INSERT INTO team VALUES(4, 'four', 'w')",
    );
    a.replica.drain();
    b.edit("ALTER TABLE robot ADD COLUMN motto TEXT");
    settle(a, b);
    expect(b.rows("SELECT * FROM robot")).toEqual([
      { id: 1, team_id: 1, label: "r1", motto: "edited" },
      { id: 2, team_id: 2, label: "r2", motto: "m" },
    ]);
    expect(a.pull(b).at(-1)).toMatchObject({ received: 0, verified: true });
    a.edit("DELETE FROM robot WHERE id = 1");
    settle(a, b);
    expect(b.rows("SELECT id FROM robot")).toEqual([{ id: 2 }]);
  });
});

describe("what two servers did alike", () => {
  test("reaches a third one that meets only one of them", () => {
    const [a, b] = pair();
    const c = new Site("c", SCHEMA);
    c.pull(a);
    for (const site of [a, b])
      site.edit("UPDATE team SET name = 'same' WHERE id = 1; DELETE FROM team WHERE id = 3", site.nowUs + 1_000_000);
    settle(a, b);
    // Each has the other's as well by now: what it passes on is what the row is, not that nothing was to do.
    c.pull(b);
    for (const site of [a, b, c]) expect(site.rows("SELECT name FROM team ORDER BY id")).toEqual([{ name: "same" }, { name: "two" }]);
    expect(c.pull(a).at(-1)).toMatchObject({ applied: 0, verified: true });
    expect(c.vector).toBe(a.vector);
    expect(a.conflicts).toEqual([]);
  });
});

describe("UNIQUE values", () => {
  test("that go round between rows arrive as they were left, in batches of any size", () => {
    for (const batchSize of [1, 0]) {
      const [a, b] = pair();
      a.edit(
        `UPDATE team SET code = 'free' WHERE id = 1; UPDATE team SET code = 'x' WHERE id = 2; UPDATE team SET code = 'y' WHERE id = 3;
         UPDATE team SET code = 'z' WHERE id = 1`,
        a.nowUs + 1_000_000,
      );
      b.pull(a, { batchSize });
      expect(b.rows("SELECT id, code FROM team ORDER BY id")).toEqual([
        { id: 1, code: "z" },
        { id: 2, code: "x" },
        { id: 3, code: "y" },
      ]);
      expect(b.replica.state().parked).toBe(0);
    }
  });
});

describe("columns", () => {
  test("are known by name: one that takes the place of another takes none of its values", () => {
    const [a, b] = pair();
    a.edit("ALTER TABLE robot DROP COLUMN label; ALTER TABLE robot ADD COLUMN motto TEXT");
    a.edit("UPDATE robot SET motto = 'new' WHERE id = 1; INSERT INTO robot VALUES(2, 2, 'second')", a.nowUs + 1_000_000);
    b.edit("UPDATE robot SET label = 'edited' WHERE id = 1; INSERT INTO robot VALUES(5, 2, 'of b')", b.nowUs + 2_000_000);
    settle(a, b);
    expect(a.rows("SELECT id, motto FROM robot ORDER BY id")).toEqual([
      { id: 1, motto: "new" },
      { id: 2, motto: "second" },
      { id: 5, motto: null },
    ]);
    expect(b.rows("SELECT id, label FROM robot ORDER BY id")).toEqual([
      { id: 1, label: "edited" },
      { id: 2, label: null },
      { id: 5, label: "of b" },
    ]);
    b.edit("ALTER TABLE robot ADD COLUMN motto TEXT");
    expect(b.rows("SELECT id, label, motto FROM robot ORDER BY id")).toEqual([
      { id: 1, label: "edited", motto: "new" },
      { id: 2, label: null, motto: "second" },
      { id: 5, label: "of b", motto: null },
    ]);
  });

  test("that are added tell nobody anything, and a value filled in again and again travels once", () => {
    const [a, b] = pair();
    a.edit(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO team SELECT i + 100, 'team ' || i, NULL FROM n",
    );
    settle(a, b);
    const had = b.replica.state().vector;
    for (const site of [a, b]) site.edit("ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'");
    expect(a.replica.count(had).changes).toBe(0);
    for (let i = 0; i < 20; i++) a.edit(`UPDATE team SET motto = 'version ${i}'`, a.nowUs + 1_000_000);
    expect(a.replica.count(had).changes).toBe(503);
    expect(b.pull(a).at(-1)).toMatchObject({ verified: true });
    expect(b.one("SELECT count(*) FROM team WHERE motto = 'version 19'")).toBe(503);
  });
});

describe("SQLite beside an application's SQLite", () => {
  test("is one that does not lose commits when the log begins anew, and never makes it begin anew", () => {
    const site = new Site("a", SCHEMA);
    const [major, minor, patch] = String(site.one("SELECT sqlite_version()")).split(".").map(Number) as [number, number, number];
    expect(major * 1_000_000 + minor * 1_000 + patch).toBeGreaterThanOrEqual(3_051_003);
    const root = new URL("../../..", import.meta.url).pathname;
    const sources = globSync("{packages,services}/*/src/**/*.{ts,sql}", { cwd: root });
    expect(sources.length).toBeGreaterThan(100);
    // RESTART and TRUNCATE do; an application's older library may then lose what it has committed.
    const resetting = sources.filter((path) =>
      /wal_checkpoint\s*\(\s*(restart|truncate|full)/i.test(readFileSync(`${root}/${path}`, "utf8")),
    );
    expect(resetting).toEqual([]);
  });
});

test("a damaged index: nothing is changed, it is said how to mend it, and sync goes on once it is", () => {
  const schema = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX by_name ON team(name)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO team VALUES (1, 'entry of one'), (2, 'entry of two')");
  settle(a, b);
  b.app.pragma("wal_checkpoint(TRUNCATE)");
  b.stop();
  const bytes = readFileSync(b.path);
  // An entry of the index has the text before its row's id; the table has it last, and comes first in the file.
  bytes.write("X", bytes.lastIndexOf("entry of one"));
  writeFileSync(b.path, bytes);
  b.app = new Database(b.path);
  b.start();
  a.edit("UPDATE team SET name = 'another' WHERE id = 1");
  expect(() => b.pull(a)).toThrow(/is damaged: .*REINDEX/s);
  expect(b.rows("SELECT id, name FROM team NOT INDEXED ORDER BY id").map(({ name }) => name)).toEqual(["entry of one", "entry of two"]);
  b.app.exec("REINDEX");
  settle(a, b);
  expect(b.rows("SELECT name FROM team ORDER BY id")).toEqual([{ name: "another" }, { name: "entry of two" }]);
  expect(b.rows("PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }]);
});
