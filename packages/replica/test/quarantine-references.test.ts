import { ByteReader, ByteWriter } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, type SiteOptions } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE word(k TEXT PRIMARY KEY COLLATE NOCASE, line TEXT);
  CREATE TABLE slot(day TEXT, hour INTEGER, team_id INTEGER REFERENCES team(id), PRIMARY KEY(day, hour));
  INSERT INTO team VALUES(0, 'nobody');
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id) ON DELETE SET NULL,
    lent_to INTEGER DEFAULT 0 REFERENCES team(id) ON DELETE SET DEFAULT, label TEXT);
  CREATE TABLE said(k TEXT PRIMARY KEY, word TEXT REFERENCES word(k) ON DELETE SET NULL);
  CREATE TABLE shift(id INTEGER PRIMARY KEY, day TEXT, hour INTEGER, FOREIGN KEY(day, hour) REFERENCES slot ON DELETE SET NULL);
  CREATE TABLE bag(team_id INTEGER REFERENCES team(id) ON DELETE SET NULL, label TEXT);
  CREATE TABLE person(id INTEGER PRIMARY KEY, boss INTEGER REFERENCES person(id) ON DELETE SET NULL, name TEXT)`;
const numbers = (count: number) => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
const FILL = `
  ${numbers(120)} INSERT INTO team SELECT i, 'team ' || i FROM n;
  ${numbers(120)} INSERT INTO robot SELECT i, nullif(i % 120, 0), 1 + i % 80, 'robot ' || i FROM n;
  ${numbers(120)} INSERT INTO bag SELECT 1 + i % 40, 'of ' || (i / 80) FROM n;
  ${numbers(120)} INSERT INTO word SELECT 'Word' || i, 'line' FROM n;
  ${numbers(120)} INSERT INTO said SELECT 's' || i, 'wORD' || i FROM n;
  ${numbers(120)} INSERT INTO slot SELECT 'day ' || i, i, NULL FROM n;
  ${numbers(120)} INSERT INTO shift SELECT i, 'day ' || i, i FROM n;
  ${numbers(120)} INSERT INTO person SELECT i, nullif(i / 2, 0), 'person ' || i FROM n`;
const TABLES = ["team", "bag", "robot", "word", "said", "slot", "shift", "person"];

function pair(options: SiteOptions = {}): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA, { baseline: "shared", ...options }), new Site("b", SCHEMA, { baseline: "shared" })];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  a.edit(FILL);
  settle(a, b);
  return [a, b];
}

const dump = (site: Site) => TABLES.map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1, 2`));
const reviewsOf = (site: Site) => site.replica.reviews({ kind: "quarantine", id: "", limit: 0 });

function decide(site: Site, decision: "release" | "undo"): void {
  const reviews = reviewsOf(site);
  expect(reviews).not.toEqual([]);
  for (const { id } of reviews) expect(site.replica.resolve({ id, keep: "", set: [], decision }).resolved).toBe(true);
}

/** Tables are equal, and stored hashes are those of the rows. */
function expectEqual(a: Site, b: Site): void {
  settle(a, b);
  expect(dump(b)).toEqual(dump(a));
  expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  for (const site of [a, b]) {
    const [stored, deep] = [false, true].map((isDeep) => site.replica.digests({ table: "", buckets: [], deep: isDeep }).entries);
    expect(stored).toEqual(deep);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
    expect(site.one("SELECT count(*) FROM _scoutsync_quarantined")).toBe(0);
  }
}

describe("references that a mass delete emptied in rows that stay", () => {
  test.each([{ turnMs: 0 }, {}])("are written again when it is undone, at a node that has seen them empty as well: %o", (options) => {
    const [a, b] = pair(options);
    const before = dump(b);
    a.edit("DELETE FROM team WHERE id > 0; DELETE FROM word; DELETE FROM slot");
    settle(a, b);
    const emptied =
      "SELECT (SELECT count(team_id) FROM bag) + (SELECT count(*) FROM robot WHERE team_id > 0 OR lent_to > 0) + (SELECT count(word) FROM said) + (SELECT count(day) FROM shift)";
    expect([a.one(emptied), b.one(emptied)]).toEqual([0, 0]);
    decide(a, "undo");
    expectEqual(a, b);
    expect(dump(a)).toEqual(before);
  });

  test("also in rows that it deleted themselves after that, of the same table", () => {
    const [a, b] = pair({ turnMs: 0 });
    a.edit(`${numbers(1_000)} INSERT INTO person SELECT 120 + i, 1 + i % 120, 'more' FROM n`);
    settle(a, b);
    const before = dump(b);
    a.edit("DELETE FROM person");
    settle(a, b);
    expect(a.one("SELECT count(*) FROM person")).toBe(0);
    decide(a, "undo");
    expectEqual(a, b);
    expect(dump(a)).toEqual(before);
  });

  test.each([false, true])("where an earlier version kept it back, which noted no write, and one was typed in since: %s", (isTyped) => {
    const [a, b] = pair();
    const others = (site: Site) => ["said", "shift", "bag"].map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1, 2`));
    const before = others(b);
    a.edit("DELETE FROM team WHERE id > 0; DELETE FROM word; DELETE FROM slot");
    settle(a, b);
    const noted = a.app.prepare("SELECT tid, local, image FROM _scoutsync_quarantined WHERE tid < 0").all();
    for (const { tid, local, image } of noted as { tid: number; local: Buffer; image: Buffer }[]) {
      const [now, then] = [new ByteReader(image), new ByteWriter(64)];
      then.varint(now.varint());
      then.value(now.value());
      while (!now.done) {
        then.varint(now.varint());
        then.value(now.value());
        for (const _ of ["origin", "sequence"]) now.varint();
      }
      a.app.prepare("UPDATE _scoutsync_quarantined SET image = ? WHERE tid = ? AND local = ?").run(then.toBytes(), tid, local);
    }
    expect(noted.length).toBeGreaterThan(400);
    if (isTyped) {
      b.edit("INSERT INTO team VALUES(500, 'new'); UPDATE robot SET team_id = 500 WHERE id = 1", b.nowUs + SECOND_US);
      b.edit("UPDATE robot SET team_id = 500 WHERE id = 2", b.nowUs + SECOND_US);
      b.edit("UPDATE robot SET team_id = NULL WHERE id = 2", b.nowUs + SECOND_US);
      settle(a, b);
    }
    decide(a, "undo");
    expectEqual(a, b);
    expect(others(a)).toEqual(before);
    const led = a.rows("SELECT team_id AS t FROM robot WHERE id < 4 ORDER BY id").map(({ t }) => t);
    expect(led).toEqual(isTyped ? [500, null, 3] : [1, 2, 3]);
  });

  test("stay what was typed in them since, here or elsewhere, seen or not, also where that is nothing", () => {
    const [a, b] = pair();
    a.edit("UPDATE robot SET team_id = NULL WHERE id = 1");
    // Not drained before the delete, and no part of it.
    a.write("UPDATE robot SET team_id = NULL WHERE id = 2; UPDATE _scoutsync_capture SET at = at - 1");
    a.write("DELETE FROM team WHERE id BETWEEN 1 AND 105");
    a.replica.drain();
    // Has not seen the delete.
    b.edit("UPDATE robot SET team_id = 110 WHERE id = 3; UPDATE robot SET team_id = NULL WHERE id = 4", b.nowUs + SECOND_US);
    settle(a, b);
    a.edit("UPDATE robot SET team_id = 111 WHERE id IN (5, 6)", a.nowUs + SECOND_US);
    a.edit("UPDATE robot SET team_id = NULL WHERE id = 6; DELETE FROM robot WHERE id = 7", a.nowUs + SECOND_US);
    b.edit("UPDATE robot SET team_id = 112 WHERE id = 8; UPDATE robot SET label = 'edited' WHERE id = 9", b.nowUs + 3 * SECOND_US);
    b.edit("UPDATE bag SET team_id = 113 WHERE rowid = (SELECT rowid FROM bag WHERE label = 'of 0' LIMIT 1)", b.nowUs + SECOND_US);
    settle(a, b);
    const before = b.rows("SELECT team_id FROM bag WHERE team_id > 105");
    decide(a, "undo");
    expectEqual(a, b);
    expect(before).toEqual([{ team_id: 113 }]);
    expect(b.rows("SELECT count(team_id), sum(team_id = 113) FROM bag")).toEqual([{ "count(team_id)": 120, "sum(team_id = 113)": 1 }]);
    expect(b.rows("SELECT id, team_id AS t, label FROM robot WHERE id < 12 OR id IN (110, 120) ORDER BY id")).toEqual([
      { id: 1, t: null, label: "robot 1" },
      { id: 2, t: null, label: "robot 2" },
      { id: 3, t: 110, label: "robot 3" },
      { id: 4, t: null, label: "robot 4" },
      { id: 5, t: 111, label: "robot 5" },
      { id: 6, t: null, label: "robot 6" },
      { id: 8, t: 112, label: "robot 8" },
      { id: 9, t: 9, label: "edited" },
      { id: 10, t: 10, label: "robot 10" },
      { id: 11, t: 11, label: "robot 11" },
      { id: 110, t: 110, label: "robot 110" },
      { id: 120, t: null, label: "robot 120" },
    ]);
  });

  test("stay empty that the application emptied itself, by the same clock as the delete, or after it before either was drained", () => {
    const [a, b] = pair({ turnMs: 0 });
    // The first of them is the first that goes: nothing is between the two statements.
    a.write(
      "UPDATE robot SET team_id = NULL WHERE id IN (1, 7); UPDATE bag SET team_id = NULL WHERE rowid = 3; DELETE FROM team WHERE id BETWEEN 1 AND 105",
    );
    a.write(
      `${numbers(1_500)} INSERT INTO word SELECT 'later ' || i, 'line' FROM n; UPDATE robot SET team_id = 110, lent_to = 110 WHERE id IN (2, 3)`,
    );
    a.write(`${numbers(1_500)} INSERT INTO word SELECT 'last ' || i, 'line' FROM n`);
    a.edit("UPDATE robot SET team_id = NULL, lent_to = 0 WHERE id = 2");
    settle(a, b);
    decide(a, "undo");
    expectEqual(a, b);
    expect(b.rows("SELECT id, team_id AS t, lent_to AS l FROM robot WHERE id IN (1, 2, 3, 4, 7)")).toEqual([
      { id: 1, t: null, l: 2 },
      { id: 2, t: null, l: 0 },
      { id: 3, t: 110, l: 110 },
      { id: 4, t: 4, l: 5 },
      { id: 7, t: null, l: 8 },
    ]);
    expect(b.rows("SELECT count(*) - count(team_id) AS none FROM bag")).toEqual([{ none: 1 }]);
  });

  test.each([false, true])(
    "come back with what another mass delete took since, whichever is undone first: the later %s",
    (isLaterFirst) => {
      const [a, b] = pair();
      const before = dump(b);
      a.edit("DELETE FROM team WHERE id BETWEEN 1 AND 115; DELETE FROM slot");
      // Some come back before the second one, which takes them again, and rows that the first one emptied.
      a.edit(`${numbers(20)} INSERT INTO team SELECT i, 'team ' || i FROM n`);
      a.edit("DELETE FROM team WHERE id > 0; DELETE FROM robot");
      a.edit("DELETE FROM shift WHERE id > 5");
      settle(a, b);
      const reviews = reviewsOf(a).map(({ id }) => id);
      expect(reviews).toHaveLength(3);
      for (const id of isLaterFirst ? reviews.toReversed() : reviews) {
        a.replica.resolve({ id, keep: "", set: [], decision: "undo" });
        settle(a, b);
      }
      expectEqual(a, b);
      expect(dump(a)).toEqual(before);
    },
  );

  test.each<[string, unknown[]]>([
    ["", []],
    [
      "UPDATE robot SET team_id = NULL WHERE id = 5; UPDATE robot SET team_id = 119 WHERE id = 6",
      [
        { key: "5", winner: null, loser: 5n },
        { key: "6", winner: 119n, loser: null },
      ],
    ],
  ])(
    "come back where another node did the same and undoes it, too; what was typed there later stays, as a conflict: %s",
    (edits, shown) => {
      const [a, b] = pair();
      const before = dump(b);
      b.edit(edits, b.nowUs + SECOND_US);
      for (const site of [a, b])
        site.edit("DELETE FROM team WHERE id BETWEEN 1 AND 115; DELETE FROM word; DELETE FROM slot; DELETE FROM person");
      settle(a, b);
      for (const site of [a, b]) {
        decide(site, "undo");
        settle(a, b);
      }
      expectEqual(a, b);
      const conflicts = b.replica.reviews({ kind: "conflict", id: "", limit: 0 });
      const open = conflicts.map(({ key, winner, loser }) => ({ key, winner: winner?.value ?? null, loser: loser?.value ?? null }));
      expect(open.toSorted((one, other) => Number(one.key) - Number(other.key))).toEqual(shown);
      a.edit("UPDATE robot SET team_id = id WHERE id IN (5, 6)", b.nowUs + SECOND_US);
      expectEqual(a, b);
      expect(dump(b)).toEqual(before);
    },
  );

  test("stay empty when it is let go", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team WHERE id > 10; DELETE FROM word");
    settle(a, b);
    decide(a, "release");
    expectEqual(a, b);
    expect(b.one("SELECT max(team_id) FROM robot")).toBe(10);
    expect(b.one("SELECT count(word) FROM said")).toBe(0);
  });

  test.each(["killed", "failing"])("are written again where the node was %s before it had drained that their row had gone", (how) => {
    const schema = `CREATE TABLE season(id INTEGER PRIMARY KEY, name TEXT);
      CREATE TABLE game(id INTEGER PRIMARY KEY, season INTEGER REFERENCES season(id) ON DELETE SET NULL)`;
    const [a, b] = [new Site("a", schema, { turnMs: 0 }), new Site("b", schema)];
    a.app.pragma("foreign_keys = ON");
    a.edit(`${numbers(120)} INSERT INTO season SELECT i, 'season ' || i FROM n; ${numbers(2_500)} INSERT INTO game SELECT i, 60 FROM n`);
    settle(a, b);
    a.write("DELETE FROM season");
    expect(a.replica.drainTurn()).toBe(false);
    if (how === "failing") {
      a.failDrain();
      refusal(() => a.replica.drainTurn());
    } else {
      a.kill();
      a.start();
    }
    a.replica.drain();
    settle(a, b);
    expect(b.one("SELECT count(season) FROM game")).toBe(0);
    decide(a, "undo");
    settle(a, b);
    for (const site of [a, b]) expect(site.one("SELECT count(*) FROM game JOIN season ON season = season.id")).toBe(2_500);
  });

  test("are written again where all rows of their mass delete came back with those that another one took", () => {
    const schema = `CREATE TABLE tag(k TEXT PRIMARY KEY);
      CREATE TABLE team(id INTEGER PRIMARY KEY, tag TEXT REFERENCES tag(k) ON DELETE CASCADE);
      CREATE TABLE word(id INTEGER PRIMARY KEY, tag TEXT REFERENCES tag(k) ON DELETE SET NULL)`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.app.pragma("foreign_keys = ON");
    a.edit(`${numbers(120)} INSERT INTO tag SELECT 't' || i FROM n`);
    for (const table of ["team", "word"]) a.edit(`${numbers(120)} INSERT INTO ${table} SELECT i, 't' || i FROM n`);
    a.edit("DELETE FROM team");
    a.edit("DELETE FROM tag");
    settle(a, b);
    expect(b.one("SELECT count(tag) FROM word")).toBe(0);
    a.replica.resolve({ id: String(reviewsOf(a)[0]?.id), keep: "", set: [], decision: "undo" });
    settle(a, b);
    for (const site of [a, b]) {
      for (const table of ["team", "word"]) expect(site.one(`SELECT count(*) FROM ${table} JOIN tag ON tag = k`)).toBe(120);
      expect(reviewsOf(site)).toEqual([]);
    }
  });

  test("name the row by the integer that it has by then, and stay empty where another row has their UNIQUE value", () => {
    const [a, b] = [new Site("a", UNIQUE, {}), new Site("b", UNIQUE, {})];
    for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
    a.edit(`${numbers(120)} INSERT INTO seat SELECT i, 's' || i FROM n; ${numbers(120)} INSERT INTO guest SELECT i, i FROM n`);
    settle(a, b);
    // Two rows of one integer: the one born later gets another.
    b.edit("INSERT INTO seat VALUES(121, 'of b')");
    a.edit("INSERT INTO seat VALUES(121, 'of a'); INSERT INTO guest VALUES(121, 121)", b.nowUs + SECOND_US);
    a.edit("DELETE FROM seat");
    a.edit("INSERT INTO seat VALUES(1000, 'new')");
    settle(a, b);
    b.edit("INSERT INTO guest VALUES(500, 7)", b.nowUs + SECOND_US);
    settle(a, b);
    decide(a, "undo");
    settle(a, b);
    expect(b.rows("SELECT * FROM guest ORDER BY id")).toEqual(a.rows("SELECT * FROM guest ORDER BY id"));
    expect(b.rows("SELECT id, seat FROM guest WHERE id IN (6, 7, 500)")).toEqual([
      { id: 6, seat: 6 },
      { id: 7, seat: null },
      { id: 500, seat: 7 },
    ]);
    const named = "SELECT name, seat.id <> 121 AS moved FROM seat JOIN guest ON seat = seat.id WHERE guest.id = 121";
    for (const site of [a, b]) expect(site.rows(named)).toEqual([{ name: "of a", moved: 1 }]);
  });

  test("come back in a table that came after the one that it refers to", () => {
    const [a, b] = pair();
    const later = "CREATE TABLE later(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id) ON DELETE SET NULL)";
    for (const site of [a, b]) {
      site.app.exec(later);
      site.replica.drain();
    }
    a.edit(`${numbers(120)} INSERT INTO later SELECT i, i FROM n`);
    a.edit("DELETE FROM team WHERE id BETWEEN 1 AND 110");
    settle(a, b);
    expect(b.one("SELECT count(team_id) FROM later")).toBe(10);
    decide(a, "undo");
    expectEqual(a, b);
    expect(b.one("SELECT count(*) FROM later WHERE team_id = id")).toBe(120);
  });

  test("are no reason for the application not to drop their column", () => {
    const [a, b] = pair();
    for (const site of [a, b]) {
      site.app.exec("ALTER TABLE robot DROP COLUMN team_id");
      site.app.exec("UPDATE robot SET label = 'after' WHERE id = 1");
    }
    a.edit("UPDATE robot SET lent_to = NULL WHERE id = 2");
    a.edit("DELETE FROM team WHERE id BETWEEN 1 AND 110");
    settle(a, b);
    decide(a, "undo");
    expectEqual(a, b);
    expect(b.rows("SELECT * FROM robot WHERE id < 4")).toEqual([
      { id: 1, lent_to: 2, label: "after" },
      { id: 2, lent_to: null, label: "robot 2" },
      { id: 3, lent_to: 4, label: "robot 3" },
    ]);
  });
});

const UNIQUE = `
  CREATE TABLE seat(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE guest(id INTEGER PRIMARY KEY, seat INTEGER UNIQUE REFERENCES seat ON DELETE SET NULL)`;
