import Database from "better-sqlite3";
import { describe, expect, test, vi } from "vitest";
import { RelatedRows } from "../src/apply/related-rows.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;
const VISITS = "SELECT visit.x, name FROM visit LEFT JOIN person ON person.id = visit.person ORDER BY visit.x";

const KINDS = [
  ["a key of its own", "CREATE TABLE visit(id INTEGER PRIMARY KEY, person INTEGER REFERENCES person(id), x TEXT)"],
  [
    "the reference in its key",
    "CREATE TABLE visit(person INTEGER NOT NULL REFERENCES person(id), day TEXT DEFAULT 'today', x TEXT, PRIMARY KEY(person, day))",
  ],
  ["no key", "CREATE TABLE visit(person INTEGER REFERENCES person(id), x TEXT)"],
] as const;

/** Applications that enforce no foreign keys: `a` deletes ann and leaves her visit; `b` has created ben under her integer. */
function sites(visit: string): [Site, Site, Site] {
  const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); ${visit}`;
  const all: [Site, Site, Site] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
  for (const { app } of all) app.pragma("foreign_keys = OFF");
  const [a, b] = all;
  b.edit("INSERT INTO person VALUES(1, 'ben'); INSERT INTO visit(person, x) VALUES(1, 'of ben')", at(0));
  a.edit("INSERT INTO person VALUES(1, 'ann'); INSERT INTO visit(person, x) VALUES(1, 'of ann')", at(1));
  a.edit("DELETE FROM person", at(2));
  return all;
}

function expectVisits(all: readonly Site[]): void {
  settle(...all);
  for (const site of all) {
    expect(site.rows(VISITS)).toEqual([
      { x: "of ann", name: null },
      { x: "of ben", name: "ben" },
    ]);
    expect(site.rows("SELECT * FROM person UNION ALL SELECT person, x FROM visit ORDER BY 1, 2")).toEqual(
      all[0]?.rows("SELECT * FROM person UNION ALL SELECT person, x FROM visit ORDER BY 1, 2"),
    );
    expect(Buffer.from(site.replica.state().digest).equals(all[0]?.replica.state().digest ?? Buffer.alloc(0))).toBe(true);
    const { entries } = site.replica.digests({ table: "", buckets: [], deep: true });
    expect(entries).toEqual(site.replica.digests({ table: "", buckets: [], deep: false }).entries);
  }
}

test.each(KINDS)("what a deleted row left behind is not taken for rows of another's new one with its integer: %s", (_, visit) => {
  const all = sites(visit);
  const [a, b] = all;
  a.pull(b);
  expectVisits(all);
});

test.each(KINDS)("nor where the new one was there first: %s", (_, visit) => {
  const all = sites(visit);
  const [a, b, c] = all;
  c.pull(b);
  c.pull(a);
  expect(c.rows(VISITS)).toContainEqual({ x: "of ann", name: null });
  expectVisits(all);
});

test("it is taken over by a new row of an application that knew of the delete", () => {
  const all = sites(KINDS[0][1]);
  const [a] = all;
  a.edit("INSERT INTO person VALUES(1, 'anna')", at(3));
  settle(...all);
  for (const site of all) expect(site.rows(VISITS)[0]).toEqual({ x: "of ann", name: "anna" });
});

test("a row keyed by two others follows one that gets another integer though the other is gone", () => {
  const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE role(id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE has(person INTEGER NOT NULL REFERENCES person(id), role INTEGER NOT NULL REFERENCES role(id), x TEXT, PRIMARY KEY(person, role))`;
  const all = [new Site("a", schema), new Site("b", schema), new Site("c", schema)] as const;
  for (const { app } of all) app.pragma("foreign_keys = OFF");
  const [a, b] = all;
  b.edit("INSERT INTO role VALUES(1, 'of b')", at(0));
  a.edit("INSERT INTO role VALUES(1, 'of a'); INSERT INTO person VALUES(1, 'ann'); INSERT INTO has VALUES(1, 1, 'of a')", at(1));
  a.edit("DELETE FROM person", at(2));
  settle(...all);
  for (const site of all) {
    expect(site.rows("SELECT x, name FROM has JOIN role ON role.id = role")).toEqual([{ x: "of a", name: "of a" }]);
    const { entries } = site.replica.digests({ table: "", buckets: [], deep: true });
    expect(entries).toEqual(site.replica.digests({ table: "", buckets: [], deep: false }).entries);
  }
  a.edit("UPDATE has SET x = 'edited'", at(3));
  settle(...all);
  for (const site of all) expect(site.rows("SELECT x FROM has")).toEqual([{ x: "edited" }]);
});

/** As `sites`, but `b` has deleted ben again; what `more` does there comes before anybody has met. */
function bothGone(visit: string, more = ""): [Site, Site, Site, Site] {
  const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); ${visit}`;
  const all: [Site, Site, Site, Site] = [new Site("a", schema), new Site("b", schema), new Site("c", schema), new Site("d", schema)];
  for (const { app } of all) app.pragma("foreign_keys = OFF");
  const [a, b] = all;
  a.edit("INSERT INTO person VALUES(1, 'ann')", at(1));
  a.edit("INSERT INTO visit(person, x) VALUES(1, 'of ann')", at(2));
  a.edit("DELETE FROM person", at(3));
  b.edit("INSERT INTO person VALUES(1, 'ben')", at(4));
  b.edit("DELETE FROM person", at(5));
  if (more) b.edit(more, at(6));
  return all;
}

const IN_BOTH_ORDERS = KINDS.flatMap(([name, visit]) => [[name, "ann first", visit] as const, [name, "ben first", visit] as const]);

test.each(IN_BOTH_ORDERS)("nor for one of another deleted one that had its integer: %s, %s", (_, order, visit) => {
  const [a, b, c, d] = bothGone(visit);
  for (const from of order === "ann first" ? [a, b] : [b, a]) c.pull(from);
  d.pull(c);
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(site.rows("SELECT * FROM person")).toEqual([]);
    expect(site.rows(VISITS)).toEqual([{ x: "of ann", name: null }]);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});

test.each([KINDS[0], KINDS[2]])("nor for one of another deleted one, where it comes after both: %s", (_, visit) => {
  const [a, b, c, d] = bothGone(visit);
  for (const from of [a, b]) c.pull(from);
  a.edit("INSERT INTO visit(person, x) VALUES(1, 'of ann again')", at(7));
  c.pull(a);
  d.pull(c);
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(site.rows("SELECT * FROM person")).toEqual([]);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});

test.each(IN_BOTH_ORDERS)("nor for one of whoever took over the other's integer: %s, %s", (_, order, visit) => {
  const [a, b, c, d] = bothGone(visit, "INSERT INTO person VALUES(1, 'carl'); INSERT INTO visit(person, x) VALUES(1, 'of carl')");
  for (const from of order === "ann first" ? [a, b] : [b, a]) c.pull(from);
  d.pull(c);
  expect(c.rows(VISITS)).toContainEqual({ x: "of ann", name: null });
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(site.rows(VISITS)).toEqual([
      { x: "of ann", name: null },
      { x: "of carl", name: "carl" },
    ]);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});

test.each([KINDS[0], KINDS[2]])("it is taken over by a new row where two deleted ones had the integer: %s", (_, visit) => {
  const [a, b, c, d] = bothGone(visit);
  for (const from of [a, b]) c.pull(from);
  c.edit("INSERT INTO person VALUES(1, 'anna')", at(7));
  settle(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(site.rows(VISITS)).toEqual([{ x: "of ann", name: "anna" }]);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});

describe("what a row left behind whose application enforces no foreign keys goes with it when it is back", () => {
  const three = (visit: string) => {
    const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT); ${visit}`;
    const all = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
    for (const { app } of all) app.pragma("foreign_keys = OFF");
    return all;
  };
  const expectEqual = (all: readonly Site[], visits?: readonly object[]) => {
    settle(...all);
    for (const site of all) {
      expect(site.rows(VISITS)).toEqual(visits ?? all[0]?.rows(VISITS));
      expect(site.replica.state().digest).toEqual(all[0]?.replica.state().digest);
      const look = (deep: boolean) => site.replica.digests({ table: "", buckets: [], deep }).entries;
      expect(look(true)).toEqual(look(false));
    }
  };

  test.each(KINDS)("under another integer, which it got in the meantime: %s", (_, visit) => {
    const [a, b, c] = three(visit);
    a.edit("INSERT INTO person VALUES(1, 'a', 'ann')", at(0));
    b.edit("INSERT INTO person VALUES(1, 'b', 'ben'); INSERT INTO visit(person, x) VALUES(1, 'of ben')", at(1));
    c.pull(b);
    c.edit("DELETE FROM person", at(2));
    b.edit("UPDATE person SET mail = 'edited'", at(3));
    settle(a, b);
    expectEqual([a, b, c], [{ x: "of ben", name: "ben" }]);
  });

  test.each(KINDS)("waiting for a place as it does: %s", (_, visit) => {
    const [a, b, c] = three(visit);
    a.edit("INSERT INTO person VALUES(1, 'first', 'ann')", at(0));
    a.edit("INSERT INTO person VALUES(2, 'second', 'ben'); INSERT INTO visit(person, x) VALUES(2, 'of ben')", at(1));
    settle(a, b, c);
    c.edit("UPDATE OR REPLACE person SET mail = 'second' WHERE id = 1", at(2));
    expect(c.rows(VISITS)).toEqual([{ x: "of ben", name: null }]);
    const more = visit.includes("day") ? "visit(person, x, day) VALUES(2, 'too', 'later')" : "visit(person, x) VALUES(2, 'too')";
    a.edit(`INSERT INTO ${more}`, at(3));
    expectEqual([a, b, c]);
    b.edit("UPDATE person SET mail = 'first'", at(4));
    expectEqual(
      [a, b, c],
      ["of ben", "too"].map((x) => ({ x, name: "ben" })),
    );
  });

  test.each(KINDS)("waiting for a place where another deleted row had its integer before: %s", (_, visit) => {
    const [a, b, c] = three(visit);
    a.edit("INSERT INTO person VALUES(1, 'a', 'ann')", at(0));
    b.edit("INSERT INTO person VALUES(1, 'b', 'ben')", at(1));
    b.edit("DELETE FROM person", at(2));
    for (const site of [b, c]) site.pull(a);
    b.edit("UPDATE person SET mail = 'taken'", at(3));
    c.edit("INSERT INTO visit(person, x) VALUES(1, 'of ann')", at(4));
    c.edit("DELETE FROM person", at(5));
    b.pull(c);
    b.edit("INSERT INTO person VALUES(7, 'taken', 'cleo')", at(6));
    a.edit("UPDATE person SET name = 'anna'", at(7));
    expectEqual([a, b, c], [{ x: "of ann", name: "anna" }]);
  });
});

test.each([
  ...KINDS.map(([name, visit]) => ({ name, schema: `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); ${visit}` })),
  {
    name: "a reference by value",
    schema:
      "CREATE TABLE person(id TEXT PRIMARY KEY, name TEXT); CREATE TABLE visit(id INTEGER PRIMARY KEY, person TEXT REFERENCES person(id), x TEXT)",
  },
])(
  "a row that is deleted in the middle of a stream which brought what refers to it stays where it was deleted, too: $name",
  ({ schema }) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
    a.app.pragma("foreign_keys = OFF");
    b.edit("INSERT INTO person VALUES(1, 'ann')", at(0));
    a.pull(b);
    b.edit("INSERT INTO visit(person, x) VALUES(1, 'of ann')", at(1));
    b.edit("INSERT INTO person VALUES(2, 'ben')", at(2));
    a.pull(b, { batchSize: 1, batches: 1 });
    expect(a.rows(VISITS)).toHaveLength(1);
    a.edit("DELETE FROM person", at(3));
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows(VISITS)).toEqual([{ x: "of ann", name: "ann" }]);
      expect(site.conflicts.map(({ table, column }) => [table, column])).toEqual([["person", null]]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  },
);

test("no row that it knew is looked at again for a row that is deleted in the middle of a stream: they may be very many", () => {
  const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); ${KINDS[0][1]}`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.app.pragma("foreign_keys = OFF");
  b.edit("INSERT INTO person VALUES(1, 'ann'), (2, 'ben'); INSERT INTO visit(person, x) VALUES(1, 'known'), (2, 'known')", at(0));
  a.pull(b);
  b.edit("INSERT INTO visit(person, x) VALUES(2, 'new')", at(1));
  b.edit("INSERT INTO person VALUES(3, 'cleo')", at(2));
  a.pull(b, { batchSize: 1, batches: 1 });
  const again = vi.spyOn(RelatedRows.prototype, "again");
  a.edit("DELETE FROM person WHERE id < 3", at(3));
  const asked = again.mock.calls.length;
  again.mockRestore();
  // What is new of ben's, and ben.
  expect(asked).toBe(2);
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT id FROM person")).toEqual([{ id: 2 }, { id: 3 }]);
});

describe("many rows are deleted that others refer to by a column without an index", () => {
  /** Two servers, and how often the table of the second one's rows that refer to others was read for one of these, and one of its rows was. */
  function pair(type = "INTEGER"): { a: Site; b: Site; reads: () => number; looks: () => number } {
    const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE word(k TEXT PRIMARY KEY);
      CREATE TABLE visit(id INTEGER PRIMARY KEY, person ${type} REFERENCES person(id), x TEXT)`;
    let reads = 0;
    let looks = 0;
    const verbose = (sql?: unknown) => {
      if (/FROM "visit" WHERE "person" = /.test(String(sql))) reads++;
      if (String(sql).startsWith('SELECT 1 FROM "visit" WHERE "id" = ')) looks++;
    };
    const b = new Site("b", schema, { connect: (path, options) => new Database(path, { ...options, verbose }) });
    const a = new Site("a", schema);
    for (const site of [a, b]) site.app.pragma("foreign_keys = OFF");
    const numbers = (count: number) => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
    a.edit(
      `${numbers(60)} INSERT INTO person SELECT i, 'person ' || i FROM n; ${numbers(120)} INSERT INTO visit SELECT i, 1 + i % 60, 'visit' FROM n`,
      at(0),
    );
    settle(a, b);
    return { a, b, reads: () => reads, looks: () => looks };
  }

  test.each(["INTEGER", "VARCHAR(20)", "FLOAT", ""])(
    "held as %j they are found in one pass where the deletes arrive, and what is referred to apart from them stays",
    (type) => {
      const { a, b, reads, looks } = pair(type);
      b.edit("UPDATE visit SET x = 'typed at b' WHERE id = 7; UPDATE visit SET person = 9 WHERE id = 30", at(1));
      a.edit("DELETE FROM person WHERE id <= 40", at(2));
      const before = { reads: reads(), looks: looks() };
      b.pull(a);
      // Only for those that stay.
      expect(reads() - before.reads).toBeLessThan(10);
      // For each of 40 those two that refer to it, a few times.
      expect(looks() - before.looks).toBeLessThan(500);
      settle(a, b);
      // Visit 7 was of person 8, visit 30 is of person 9 now.
      for (const site of [a, b]) {
        expect(site.rows("SELECT id FROM person WHERE id <= 40")).toEqual([{ id: 8 }, { id: 9 }]);
        expect(site.one("SELECT count(*) FROM visit")).toBe(120);
      }
    },
  );

  test("and where they are made in the middle of a stream", () => {
    const { a, b, reads } = pair();
    a.edit("INSERT INTO visit VALUES(500, 5, 'typed at a')", at(1));
    a.edit("INSERT INTO word VALUES('later')", at(2));
    b.pull(a, { batchSize: 1, batches: 1 });
    b.write("DELETE FROM person WHERE id <= 40");
    const before = reads();
    b.replica.drain();
    // Only for those that stay.
    expect(reads() - before).toBeLessThan(10);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT id FROM person WHERE id <= 40")).toEqual([{ id: 5 }]);
  });
});
