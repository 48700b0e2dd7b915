import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT, mail TEXT UNIQUE);
  CREATE TABLE scouting(id INTEGER PRIMARY KEY, scout_id INTEGER, note TEXT);
  CREATE TABLE mark(k TEXT PRIMARY KEY, "by" INTEGER)`;
const RULES = ["scouting.scout_id->user.id", "mark.by->user.id"];

const at = (seconds: number) => START_US + seconds * SECOND_US;
const site = (name: string, schema = SCHEMA) => new Site(name, schema, { rules: RULES });

/** Who wrote each note, as the application joins them. */
const scouts = (each: Site) =>
  each
    .rows("SELECT note, name FROM scouting LEFT JOIN user ON user.id = scout_id ORDER BY note")
    .map(({ note, name }) => `${String(note)} by ${String(name)}`);
const marks = (each: Site) =>
  each.rows(`SELECT k, name FROM mark LEFT JOIN user ON user.id = "by" ORDER BY k`).map(({ k, name }) => `${String(k)} by ${String(name)}`);

function agree(all: readonly Site[]): void {
  settle(...all);
  const digests = all.map((each) => Buffer.from(each.replica.state().digest).toString("hex"));
  expect(new Set(digests).size).toBe(1);
  for (const each of all) {
    const { entries } = each.replica.digests({ table: "", buckets: [], deep: true });
    expect(entries).toEqual(each.replica.digests({ table: "", buckets: [], deep: false }).entries);
  }
}

describe("a column that refers by configuration", () => {
  test("goes on meaning its row when that gets another number, on every replica", () => {
    const all = ["a", "b", "c"].map((name) => site(name));
    all.forEach((each, i) => {
      each.edit(
        `INSERT INTO user(id, name) VALUES(1, 'of ${each.name}');
        INSERT INTO scouting(scout_id, note) VALUES(1, 'note of ${each.name}');
        INSERT INTO mark VALUES('mark of ${each.name}', 1)`,
        at(i),
      );
    });
    agree(all);
    for (const each of all) {
      expect(scouts(each)).toEqual(["note of a by of a", "note of b by of b", "note of c by of c"]);
      expect(marks(each)).toEqual(["mark of a by of a", "mark of b by of b", "mark of c by of c"]);
      expect(each.conflicts).toEqual([]);
    }
    // What is written later under the new number means the same row everywhere.
    const [, b] = all as [Site, Site];
    b.edit("INSERT INTO scouting(id, scout_id, note) SELECT 77, id, 'later of b' FROM user WHERE name = 'of b'", at(9));
    agree(all);
    for (const each of all) expect(scouts(each)).toContain("later of b by of b");
  });

  test("without the configuration it means another row: the test can fail", () => {
    const all = ["a", "b"].map((name) => new Site(name, SCHEMA));
    all.forEach((each, i) => {
      each.edit(
        `INSERT INTO user(id, name) VALUES(1, 'of ${each.name}'); INSERT INTO scouting(scout_id, note) VALUES(1, 'note of ${each.name}')`,
        at(i),
      );
    });
    agree(all);
    expect(scouts(all[0]!)).toEqual(["note of a by of a", "note of b by of a"]);
  });

  test("keeps no deleted row, and keeps its number when the row is gone", () => {
    const all = ["a", "b"].map((name) => site(name));
    const [a, b] = all as [Site, Site];
    a.edit("INSERT INTO user(id, name) VALUES(1, 'ann'); INSERT INTO user(id, name) VALUES(2, 'ben')", at(0));
    settle(...all);
    a.edit("DELETE FROM user WHERE id = 1", at(1));
    b.edit("INSERT INTO scouting(scout_id, note) VALUES(1, 'apart')", at(2));
    agree(all);
    for (const each of all) {
      expect(each.rows("SELECT name FROM user")).toEqual([{ name: "ben" }]);
      expect(each.one("SELECT scout_id FROM scouting")).toBe(1);
      expect(each.replica.state().parked).toBe(0);
    }
    b.replica.restore("user", "1");
    agree(all);
    for (const each of all) expect(scouts(each)).toEqual(["apart by ann"]);
  });

  test("may hold a number that names no row", () => {
    const all = ["a", "b"].map((name) => site(name));
    all[0]!.edit("INSERT INTO scouting(scout_id, note) VALUES(12345, 'nobody'), (NULL, 'null'), ('text', 'text')", at(0));
    agree(all);
    expect(all[1]!.rows("SELECT scout_id FROM scouting ORDER BY id")).toEqual([
      { scout_id: 12345 },
      { scout_id: null },
      { scout_id: "text" },
    ]);
  });

  test("arrives before its row in a stream cut anywhere", () => {
    for (const size of [1, 2, 3]) {
      const [a, b] = [site("a"), site("b")];
      b.edit("INSERT INTO user(id, name) VALUES(1, 'of b')", at(0));
      a.edit("INSERT INTO user(id, name) VALUES(1, 'of a')", at(1));
      for (let i = 0; i < 4; i++) a.edit(`INSERT INTO scouting(scout_id, note) VALUES(1, 'note ${i}')`, at(2 + i));
      a.edit("UPDATE user SET name = 'ann'", at(9));
      for (let batch = 0; batch < 3; batch++) {
        b.pull(a, { batchSize: size, batches: 1 });
        b.restart();
      }
      agree([a, b]);
      expect(scouts(b)).toEqual([0, 1, 2, 3].map((i) => `note ${i} by ann`));
    }
  });
});

describe("the configuration", () => {
  test("must be the same on both sides", () => {
    const [a, b] = [site("a"), new Site("b", SCHEMA)];
    expect(refusal(() => b.pull(a))).toBe("RULES_DIFFER");
    expect(() => a.pull(b)).toThrow(/scouting\.scout_id \(here ->user\.id, there lww\)/);
  });

  test.each(["scouting.note->user.name", "mark.k->user.id", "scouting.id->user.id", "scouting.scout_id->mark.k"])(
    "%s is refused",
    (entry) => {
      expect(refusal(() => new Site("a", SCHEMA, { rules: [entry] }))).toBe("INVALID_ARGUMENT");
    },
  );

  test("may come to a database that has rows", () => {
    const filled = `${SCHEMA}; INSERT INTO user(id, name) VALUES(1, 'ann'); INSERT INTO scouting(scout_id, note) VALUES(1, 'old')`;
    const all = ["a", "b"].map((name) => new Site(name, filled));
    settle(...all);
    for (const each of all) {
      each.options.rules = RULES;
      each.restart();
    }
    all.forEach((each, i) => {
      each.edit(
        `INSERT INTO user(id, name) VALUES(2, 'of ${each.name}'); INSERT INTO scouting(scout_id, note) VALUES(2, 'new of ${each.name}')`,
        at(i),
      );
    });
    agree(all);
    for (const each of all) expect(scouts(each)).toEqual(["new of a by of a", "new of b by of b", "old by ann"]);
  });
});
