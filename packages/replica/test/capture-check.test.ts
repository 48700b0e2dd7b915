import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { Site } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER CHECK(rank > 0));
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, label TEXT);
  CREATE TABLE setting(scope TEXT, name TEXT, value, PRIMARY KEY(scope, name)) WITHOUT ROWID;
  CREATE TABLE loose(a, b TEXT COLLATE NOCASE, c AS (a || b));
  CREATE TABLE "odd ""name"(k TEXT PRIMARY KEY, "a column" BLOB);
  CREATE TABLE pair(x INTEGER REFERENCES team(id), y INTEGER, PRIMARY KEY(x, y));
  CREATE TABLE strict_one(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, t TEXT NOT NULL, r REAL NOT NULL, b BLOB NOT NULL) STRICT;
  CREATE TABLE empty(id INTEGER PRIMARY KEY, n TEXT NOT NULL CHECK(length(n) > 40), team_id INTEGER NOT NULL REFERENCES team(id));
  CREATE TABLE kept(id INTEGER PRIMARY KEY, t TEXT);
  CREATE TRIGGER kept_for_ever BEFORE DELETE ON kept BEGIN SELECT RAISE(ABORT, 'never'); END;
  CREATE TABLE ended(id INTEGER PRIMARY KEY, t TEXT);
  CREATE TRIGGER ended_all BEFORE UPDATE ON ended BEGIN SELECT RAISE(ROLLBACK, 'never'); END;
  CREATE TABLE tally(id INTEGER PRIMARY KEY, n INTEGER);
  CREATE TRIGGER counted AFTER INSERT ON team BEGIN UPDATE tally SET n = n + 1; END;
  INSERT INTO tally VALUES(1, 0);
  INSERT INTO team VALUES(1, 'one', 1), (2, 'two', 2);
  INSERT INTO robot VALUES(1, 1, 'r1'), (2, 1, 'r2');
  INSERT INTO setting VALUES('app', 'x', x'00ff'), ('app', 'y', 9007199254740993);
  INSERT INTO loose VALUES(1, 'A'), (1, 'A'), (NULL, NULL);
  INSERT INTO "odd ""name" VALUES('k', NULL), (NULL, 'no key');
  INSERT INTO pair VALUES(1, 2), (2, 1);
  INSERT INTO strict_one VALUES(1, 2, CAST(x'61ff00' AS TEXT), 2.5, x'');
  INSERT INTO kept VALUES(1, 'a');
  INSERT INTO ended VALUES(1, 'a')`;

const TABLES = ["team", "robot", "setting", "loose", 'odd "name', "pair", "strict_one", "empty", "kept", "ended", "tally"];
const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** Everything in the file that a statement of SQL can see, but for what sync keeps. */
function seen(site: Site): unknown {
  const rows = TABLES.map((name) =>
    site.app
      .prepare(`SELECT rowid IS NULL, * FROM (SELECT NULL AS rowid, * FROM ${quoted(name)})`)
      .raw()
      .safeIntegers()
      .all(),
  );
  const version = site.app.pragma("data_version", { simple: true });
  return { rows, version, sequence: site.app.prepare("SELECT * FROM sqlite_sequence").all() };
}

const inventory = (site: Site) =>
  site.app
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_scoutsync%' ESCAPE '\\' ORDER BY name")
    .all() as {
    name: string;
    sql: string;
  }[];

/** Changes the text of triggers where no program looks: in the schema itself, without a statement that SQLite knows of. */
function rewrite(site: Site, change: (sql: string) => string): void {
  const hand = new Database(site.path);
  hand.unsafeMode(true);
  hand.exec("PRAGMA writable_schema = ON");
  const write = hand.prepare("UPDATE sqlite_schema SET sql = ? WHERE name = ?");
  for (const { name, sql } of inventory(site)) write.run(change(sql), name);
  hand.exec("PRAGMA writable_schema = RESET");
  hand.close();
}

const tidOf = (site: Site, table: string) =>
  site.app.prepare("SELECT tid FROM _scoutsync_table WHERE name = ?").pluck().get(table) as number;

const BREAKS: { name: string; tables: string[]; by: (site: Site) => void }[] = [
  {
    name: "triggers of one table dropped",
    tables: ["robot"],
    by: (site) =>
      inventory(site)
        .filter(({ name }) => name.endsWith(`_${tidOf(site, "robot")}`))
        .forEach(({ name }) => site.app.exec(`DROP TRIGGER ${name}`)),
  },
  {
    name: "one trigger dropped",
    tables: ["setting"],
    by: (site) => site.app.exec(`DROP TRIGGER _scoutsync_update_${tidOf(site, "setting")}`),
  },
  {
    name: "a trigger replaced by one that does nothing",
    tables: ["team"],
    by: (site) => {
      const name = `_scoutsync_insert_${tidOf(site, "team")}`;
      site.app.exec(`DROP TRIGGER ${name}; CREATE TRIGGER ${name} AFTER INSERT ON team BEGIN SELECT 1; END`);
    },
  },
  {
    name: "bodies emptied in the schema",
    tables: TABLES,
    by: (site) => rewrite(site, (sql) => sql.replace(/BEGIN[\s\S]*END/i, "BEGIN SELECT 1; END")),
  },
  {
    name: "conditions that are never met, in the schema",
    tables: TABLES,
    by: (site) => rewrite(site, (sql) => sql.replace(/ WHEN [\s\S]*? BEGIN /i, " WHEN 0 BEGIN ")),
  },
  {
    name: "a trigger of somebody on the dirty list",
    tables: TABLES.filter((name) => name !== "ended"),
    by: (site) => site.app.exec("CREATE TRIGGER tidy BEFORE INSERT ON _scoutsync_capture BEGIN SELECT RAISE(IGNORE); END"),
  },
  {
    name: "capture told that a change of others is being applied",
    tables: TABLES,
    by: (site) => site.app.exec("INSERT INTO _scoutsync_applying VALUES(1)"),
  },
];

describe("whether writes are captured is tried by writing", () => {
  test("nothing is found where nothing is wrong, and nobody sees that anything was tried", () => {
    const site = new Site("whole", SCHEMA);
    const before = seen(site);
    const state = site.replica.state();
    expect(site.replica.checkCapture("")).toMatchObject({ faults: [] });
    expect(site.replica.checkCapture("")).toMatchObject({ faults: [] });
    expect(seen(site)).toEqual(before);
    expect(site.replica.state()).toEqual(state);
    expect(site.app.prepare("SELECT count(*) FROM _scoutsync_capture").pluck().get()).toBe(0);
    expect(site.replica.count(state.vector)).toMatchObject({ changes: 0 });
  });

  for (const { name, tables, by } of BREAKS) {
    test(`${name}: found, mended, and what was written meanwhile is taken in`, () => {
      const site = new Site("broken", SCHEMA);
      const made = inventory(site);
      const { cursor } = site.replica.checkCapture("");
      const { vector } = site.replica.state();
      by(site);
      // As an application that was started later.
      const app = new Database(site.path);
      app.exec(
        "INSERT INTO team VALUES(3, 'three', 3); UPDATE robot SET label = 'other' WHERE id = 2; UPDATE setting SET value = 1 WHERE name = 'x'; DELETE FROM pair WHERE x = 2",
      );
      app.close();
      const { faults, cursor: next } = site.replica.checkCapture(cursor);
      expect(
        faults
          .map(({ table }) => table)
          .filter((table) => !table.includes("NULL"))
          .sort(),
      ).toEqual([...tables].sort());
      expect(inventory(site)).toEqual(made);
      // Said once; and what went past capture is in the log now.
      expect(site.replica.checkCapture(next).faults).toEqual([]);
      const told = site.replica.readable(vector, 1_000).changes.map(({ table, key, operation }) => `${operation} ${table} ${key}`);
      for (const change of ["insert team 3", "update robot 2", "delete pair 2,1"]) expect(told).toContain(change);
      // All of its columns were written again.
      expect(told).toContainEqual(expect.stringMatching(/^(insert|update) setting app,x$/));
    });
  }

  test("writes that went past triggers that are whole again by then are no fault of capture, and a migration is none either", () => {
    const site = new Site("migrated", SCHEMA);
    const { cursor } = site.replica.checkCapture("");
    site.app.pragma("foreign_keys = OFF");
    site.app.exec(`BEGIN;
      CREATE TABLE made(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, label TEXT);
      INSERT INTO made SELECT * FROM robot; DROP TABLE robot; ALTER TABLE made RENAME TO robot; COMMIT;
      CREATE UNIQUE INDEX team_rank ON team(rank);
      ALTER TABLE setting ADD COLUMN more TEXT; VACUUM`);
    expect(site.replica.checkCapture(cursor).faults).toEqual([]);
  });

  test("a file that is locked is no finding", () => {
    const site = new Site("locked", SCHEMA);
    const { cursor } = site.replica.checkCapture("");
    site.app.exec("BEGIN IMMEDIATE");
    expect(site.replica.checkCapture(cursor).faults).toEqual([]);
    site.app.exec("COMMIT");
  });
});
