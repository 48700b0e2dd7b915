import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { settle, Site, testFolder } from "./site.ts";

/**
 * A database that the first version of the program left, its node killed: rows, an open conflict and a settled one, a
 * deleted row, a re-keyed one, a parked one, and a write that no drain has seen. Its other replica is gone.
 */
const FIXTURE = fileURLToPath(new URL("fixtures/version-1.db", import.meta.url));

const SCHEMA = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), label TEXT, photo BLOB);
  CREATE TABLE word(lang TEXT, k TEXT COLLATE NOCASE, line TEXT, PRIMARY KEY(lang, k)) WITHOUT ROWID;
  CREATE TABLE tag(id INTEGER PRIMARY KEY, label TEXT UNIQUE);
  CREATE TABLE note(line TEXT)`;

/** What was written to the fixture when it was made. */
const WRITTEN = {
  team: [
    { id: 1, name: "settled", rank: 1 },
    { id: 2, name: "two", rank: 21 },
    { id: 7, name: "seven of a", rank: 7 },
    { id: 9, name: "not drained", rank: 9 },
    { id: 504_691_229, name: "seven of b", rank: 8 },
  ],
  robot: [
    { id: 1, team_id: 1, label: "r1", photo: Buffer.from([0, 255]) },
    { id: 2, team_id: 2, label: "r2", photo: null },
    { id: 5, team_id: 504_691_229, label: "on seven of b", photo: Buffer.from([1]) },
  ],
  word: [{ lang: "en", k: "Key", line: "again" }],
  note: [{ line: "stays" }],
};

function upgraded(): Site {
  const path = join(testFolder(), "version-1.db");
  copyFileSync(FIXTURE, path);
  const site = new Site("a", "CREATE TABLE unused(id INTEGER PRIMARY KEY)");
  site.replaceFile(path);
  return site;
}

const tables = (site: Site) =>
  Object.fromEntries(Object.keys(WRITTEN).map((table) => [table, site.rows(`SELECT * FROM ${table} ORDER BY 1`)]));
const ranks = (site: Site) =>
  site.conflicts.map(({ table, key, column, winner, loser }) => [table, key, column, winner?.value, loser?.value]);

test("a database of the first version is upgraded, and keeps everything", () => {
  const a = upgraded();
  expect(a.one("SELECT value FROM _scoutsync_meta WHERE key = 'version'")).toBe("5");
  expect(tables(a)).toEqual(WRITTEN);
  expect(ranks(a)).toEqual([["team", "2", "rank", 21n, 20n]]);
  expect(a.replica.history("team", "1").map(({ operation, value }) => [operation, value])).toContainEqual(["closed", "of a"]);
  expect(a.replica.history("team", "504691229").map(({ operation }) => operation)).toContain("rekey");
  expect(a.replica.restore("team", "3")).toEqual([
    { name: "name", value: "gone" },
    { name: "rank", value: 3n },
  ]);
  expect(a.rows("PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }]);
});

test("an upgraded database and a fresh one become equal", () => {
  const [a, b] = [upgraded(), new Site("b", SCHEMA)];
  b.pull(a);
  expect(tables(b)).toEqual(WRITTEN);
  expect(ranks(b)).toEqual(ranks(a));
  b.edit("UPDATE word SET line = 'of b'; INSERT INTO team VALUES(10, 'ten of b', 0); DELETE FROM robot WHERE id = 1", b.nowUs + 60_000_000);
  a.edit("UPDATE team SET rank = 22 WHERE id = 2; INSERT INTO tag(label) VALUES('green')", a.nowUs + 61_000_000);
  settle(a, b);
  expect(tables(b)).toEqual(tables(a));
  expect(a.pull(b).at(-1)?.verified).toBe(true);
  expect(a.rows("SELECT line FROM word")).toEqual([{ line: "of b" }]);
  expect(a.one("SELECT count(*) FROM team WHERE name = 'ten of b'")).toBe(1);
  expect(ranks(b)).toEqual([]);
});

test("rows with one UNIQUE value that the version before had parked are one after the upgrade", () => {
  const schema = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, x TEXT)";
  // The version before parked them all.
  const before = [new Site("a", schema, { park: ["*"] }), new Site("b", schema, { park: ["*"] })] as const;
  before[0].edit("INSERT INTO users VALUES(1, 'alice', 'of a')");
  before[1].edit("INSERT INTO users VALUES(2, 'alice', 'of b')", before[1].nowUs + 1_000_000);
  settle(...before);
  const [a, b] = before.map((site) => {
    expect(site.replica.state().parked).toBe(1);
    site.stop();
    const app = new Database(site.path);
    app.exec(`DROP INDEX _scoutsync_out_joined; DROP TABLE _scoutsync_same; DROP TABLE _scoutsync_former; DROP TABLE _scoutsync_scope_taken; DROP TABLE _scoutsync_notice; DROP TABLE _scoutsync_linked;
      UPDATE _scoutsync_meta SET value = '2' WHERE key = 'version'`);
    app.close();
    return new Site(site.name, schema, { path: site.path });
  }) as [Site, Site];
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.one("SELECT value FROM _scoutsync_meta WHERE key = 'version'")).toBe("5");
    expect(site.replica.state().parked).toBe(0);
    expect(site.rows("SELECT id, name, x FROM users")).toEqual([{ id: 1, name: "alice", x: "of b" }]);
    expect(site.conflicts.map(({ loser }) => loser?.value)).toEqual(["of a"]);
  }
  expect(a.pull(b).at(-1)?.verified).toBe(true);
});
