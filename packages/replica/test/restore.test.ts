import { SyncError } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, type SiteOptions, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT, n INTEGER, x TEXT, PRIMARY KEY(k, n));
  CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT, label TEXT UNIQUE);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, m TEXT)`;
const at = (seconds: number) => START_US + seconds * SECOND_US;

/** Two sites with rows that were there on both and are deleted on both. */
function pair(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit(
    "INSERT INTO word VALUES('k', 7, x'00ff'); INSERT INTO parent VALUES(5, 'parent', 'one'); INSERT INTO child VALUES(9, 5, 'child')",
  );
  settle(a, b);
  b.edit("DELETE FROM word; DELETE FROM parent", at(1));
  settle(a, b);
  expect(a.rows("SELECT * FROM child")).toEqual([]);
  return [a, b];
}

function refusal(work: () => unknown): { code: string; message: string; action: string } {
  try {
    work();
  } catch (error) {
    if (error instanceof SyncError) return { code: error.code, message: error.message, action: error.action };
    throw error;
  }
  throw new Error("it was not refused");
}

const contents = (site: Site) => [site.rows("SELECT * FROM word"), site.rows("SELECT * FROM parent"), site.rows("SELECT * FROM child")];

describe("a deleted row", () => {
  test.each([
    ["word", "k,7"],
    ["parent", "5"],
  ])("of %s has its history under the key that it had, on every replica", (table, key) => {
    for (const site of pair()) {
      const history = site.replica.history(table, key);
      expect(history.map(({ operation }) => operation)).toEqual(expect.arrayContaining(["insert", "delete"]));
      expect(history.map(({ value }) => value)).toContain(table === "word" ? "k" : "parent");
    }
  });

  test("comes back from its image, as the row it was, on every replica", () => {
    const [a, b] = pair();
    a.nowUs = at(2);
    expect(a.replica.restore("parent", "5")).toEqual([
      { name: "label", value: "one" },
      { name: "m", value: "parent" },
    ]);
    a.replica.restore("child", "9");
    a.replica.restore("word", "k,7");
    settle(a, b);
    for (const site of [a, b]) {
      expect(contents(site)).toEqual([
        [{ k: "k", n: 7, x: Buffer.from("00ff", "hex") }],
        [{ id: 5, m: "parent", label: "one" }],
        [{ id: 9, p: 5, m: "child" }],
      ]);
      expect(site.conflicts).toEqual([]);
    }
    // It is the row it was: an edit goes where it should.
    b.edit("UPDATE parent SET m = 'edited' WHERE id = 5", at(3));
    settle(a, b);
    expect(a.one("SELECT m FROM parent")).toBe("edited");
  });

  test("restored on two servers at once is one row", () => {
    const [a, b] = pair();
    for (const site of [a, b]) {
      site.nowUs = at(2);
      site.replica.restore("parent", "5");
    }
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM parent")).toEqual([{ id: 5, m: "parent", label: "one" }]);
  });

  test("is refused with what to do, and nothing changes", () => {
    const [a] = pair();
    expect(refusal(() => a.replica.restore("child", "9"))).toMatchObject({
      code: "INVALID_ARGUMENT",
      action: expect.stringContaining("parent 5"),
    });
    expect(refusal(() => a.replica.restore("parent", "6"))).toMatchObject({ code: "NOT_FOUND" });
    expect(refusal(() => a.replica.restore("nothing", "6"))).toMatchObject({ code: "NOT_FOUND" });
    a.edit("INSERT INTO parent VALUES(8, 'in the way', 'one')", at(2));
    const before = a.contents();
    expect(refusal(() => a.replica.restore("parent", "5"))).toMatchObject({ message: expect.stringContaining("unique, label: row 8 has") });
    expect(a.contents()).toBe(before);
    a.edit("UPDATE parent SET label = 'two'; INSERT INTO parent VALUES(5, 'another', 'one')", at(3));
    expect(refusal(() => a.replica.restore("parent", "5"))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(a.one("SELECT m FROM parent WHERE id = 5")).toBe("another");
    expect(refusal(() => a.replica.restore("child", "9")).action).toMatch(/has its key 5 now.* Then restore .*parent [a-z2-7]{16}:\d/);
  });

  test.each([
    ["a key", "tag(k TEXT PRIMARY KEY)", "t5", ""],
    ["a UNIQUE value", "tag(id INTEGER PRIMARY KEY, k TEXT UNIQUE)", "1", "(k)"],
  ])("that refers to %s of a row which is deleted, too, is restored after that one", (_, tag, key, columns) => {
    const tagged = "tagged(n INTEGER, tag TEXT NOT NULL REFERENCES tag(k) ON DELETE CASCADE, PRIMARY KEY(n, tag))";
    const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE ${tag}; CREATE TABLE ${tagged}`)) as [Site, Site];
    a.edit(`INSERT INTO tag${columns} VALUES('t5'); INSERT INTO tagged VALUES(1, 't5')`, at(0));
    a.edit("DELETE FROM tag", at(1));
    settle(a, b);
    b.nowUs = at(2);
    expect(refusal(() => b.replica.restore("tagged", "1,t5"))).toMatchObject({
      code: "INVALID_ARGUMENT",
      action: `Restore that one first: scoutsync restore … tag ${key}`,
    });
    b.replica.restore("tag", key);
    b.replica.restore("tagged", "1,t5");
    settle(a, b);
    for (const { app } of [a, b]) {
      expect(app.prepare("SELECT n, k FROM tagged JOIN tag ON k = tag").all()).toEqual([{ n: 1, k: "t5" }]);
      expect(app.pragma("foreign_key_check")).toEqual([]);
    }
  });

  test("of a circle of references by value comes back, one of them first, and so does one that refers to itself", () => {
    const schema =
      "CREATE TABLE node(k TEXT PRIMARY KEY, up TEXT REFERENCES node(k) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, x TEXT)";
    const a = new Site("a", schema);
    a.edit("INSERT INTO node VALUES('a', 'b', 'x'), ('b', 'c', 'x'), ('c', 'a', 'x'), ('self', 'self', 'x')", at(0));
    a.edit("DELETE FROM node", at(1));
    for (const [i, key] of ["b", "a", "c", "self"].entries()) {
      a.nowUs = at(2 + i);
      a.replica.restore("node", key);
    }
    expect(a.rows("SELECT k, up FROM node ORDER BY k").map(({ k, up }) => `${String(k)} ${String(up)}`)).toEqual([
      "a b",
      "b c",
      "c a",
      "self self",
    ]);
    expect(a.app.pragma("foreign_key_check")).toEqual([]);
  });

  test("of a circle of a reference by value and one by an integer comes back before the other", () => {
    const schema =
      "CREATE TABLE club(id INTEGER PRIMARY KEY, chair TEXT REFERENCES member(name) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED); " +
      "CREATE TABLE member(id INTEGER PRIMARY KEY, name TEXT UNIQUE, club INTEGER REFERENCES club(id) ON DELETE CASCADE)";
    const a = new Site("a", schema);
    a.edit("BEGIN; INSERT INTO club VALUES(1, 'ann'); INSERT INTO member VALUES(2, 'ann', 1); COMMIT", at(0));
    a.edit("DELETE FROM club", at(1));
    a.nowUs = at(2);
    expect(refusal(() => a.replica.restore("member", "2")).action).toContain("club 1");
    a.replica.restore("club", "1");
    a.replica.restore("member", "2");
    expect(a.rows("SELECT chair, club FROM club JOIN member ON name = chair")).toEqual([{ chair: "ann", club: 1 }]);
  });

  test("whose integer others have had since is named by its birth, and comes back once it is free, with its children", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO parent VALUES(5, 'another', 'two')", at(2));
    a.edit("UPDATE parent SET id = 50, label = 'three' WHERE id = 5", at(3));
    a.nowUs = at(4);
    // The last that had the integer is the one that was given another.
    expect(a.replica.restore("parent", "5")).toContainEqual({ name: "m", value: "another" });
    const { action } = refusal(() => a.replica.restore("child", "9"));
    const [, birth = ""] = /parent (\S+)$/.exec(action) ?? [];
    expect(refusal(() => a.replica.restore("parent", birth)).message).toContain("integer");
    a.edit("UPDATE parent SET id = 51 WHERE id = 5", at(5));
    a.nowUs = at(6);
    a.replica.restore("parent", birth);
    a.replica.restore("child", "9");
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT id, m FROM parent ORDER BY id")).toEqual([
        { id: 5, m: "parent" },
        { id: 50, m: "another" },
        { id: 51, m: "another" },
      ]);
      expect(site.rows("SELECT * FROM child")).toEqual([{ id: 9, p: 5, m: "child" }]);
    }
  });
});

test("a large value of a column that has gone since the row was deleted comes to those who have the column", () => {
  const schema = "CREATE TABLE clip(id INTEGER PRIMARY KEY, name TEXT, video BLOB)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO clip VALUES(1, 'final', CAST(printf('%.*c', 2000000, 'x') AS BLOB))");
  a.edit("DELETE FROM clip", at(1));
  a.edit("ALTER TABLE clip DROP COLUMN video", at(2));
  a.nowUs = at(3);
  a.replica.restore("clip", "1");
  settle(a, b);
  expect(b.rows("SELECT name, video FROM clip")).toEqual([{ name: "final", video: Buffer.alloc(2_000_000, "x") }]);
});

describe("what a row held that a person brings back while another server, not knowing, inserts its key", () => {
  const HOLDERS = "CREATE TABLE holder(id INTEGER PRIMARY KEY, name TEXT UNIQUE)";
  const TAGS = `${HOLDERS}; CREATE TABLE tag(k TEXT PRIMARY KEY, x TEXT, h INTEGER REFERENCES holder(id), b BLOB, n INTEGER, same TEXT)`;
  const [BEFORE, RESTORED, AFTER] = [4, at(5), 6];
  const trio = (schema: string, options: SiteOptions = {}) =>
    ["a", "b", "c"].map((name) => new Site(name, schema, options)) as [Site, Site, Site];
  const byText = (one: unknown[], other: unknown[]) => (String(one) < String(other) ? -1 : 1);
  const open = ({ conflicts }: Site) =>
    conflicts.map(({ column, winner, loser }) => [column, winner?.value, loser?.value]).toSorted(byText);
  const closed = ({ replica }: Site, table: string, key: string) =>
    replica.history(table, key).flatMap(({ operation, column, value }) => (operation === "closed" ? [[column, value]] : []));

  /** Every server has this in the table and these conflicts, and what it stores of rows is what these hold. */
  function expectEverywhere(all: readonly Site[], sql: string, rows: unknown[], conflicts: unknown[]): void {
    settle(...all);
    for (const site of all) {
      expect(site.rows(sql), site.name).toEqual(rows);
      expect(open(site), site.name).toEqual(conflicts);
      const [stored, deep] = [false, true].map((isDeep) => site.replica.digests({ table: "", buckets: [], deep: isDeep }).entries);
      expect(stored, site.name).toEqual(deep);
      expect(site.replica.state().digest).toEqual(all[0]?.replica.state().digest);
    }
  }

  /** A row of three servers, written by two of them, that the third has deleted; all have heard of that. */
  function deletedTag(options: SiteOptions = {}): [Site, Site, Site] {
    const [a, b, c] = trio(TAGS, options);
    a.edit("INSERT INTO holder VALUES(1, 'one'), (2, 'two'); INSERT INTO tag VALUES('t', 'first', 1, x'00ff', 10, 'same')", at(0));
    settle(a, b, c);
    a.edit("UPDATE tag SET x = 'lost'", at(1));
    if (options.rules) c.edit("UPDATE tag SET x = 'old'", at(1.5));
    settle(a, b, c);
    c.edit("UPDATE tag SET x = 'old' WHERE x <> 'old'", at(2));
    c.edit("DELETE FROM tag", at(3));
    settle(a, b, c);
    return [a, b, c];
  }

  test.each([BEFORE, AFTER])(
    "is a conflict of each column, a reference as the row it meant: restored at 5, inserted at %d",
    (insertedAt) => {
      const [a, b, c] = deletedTag();
      a.nowUs = RESTORED;
      a.replica.restore("tag", "t");
      b.edit("UPDATE holder SET id = 20 WHERE id = 2; INSERT INTO tag VALUES('t', 'new', 20, NULL, 3, 'same')", at(insertedAt));
      expectEverywhere(
        [a, b, c],
        "SELECT * FROM tag",
        [{ k: "t", x: "new", h: 20, b: null, n: 3, same: "same" }],
        [
          ["b", null, Buffer.from("00ff", "hex")],
          ["h", 20n, 1n],
          ["n", 3n, 10n],
          ["x", "new", "old"],
        ],
      );
    },
  );

  test.each([BEFORE, AFTER])(
    "is in the history where a rule adds it up or it is in a conflict already: restored at 5, inserted at %d",
    (insertedAt) => {
      const [a, b, c] = deletedTag({ rules: ["tag.n=counter"] });
      a.nowUs = RESTORED;
      a.replica.restore("tag", "t");
      b.edit("INSERT INTO tag VALUES('t', 'new', 1, x'00ff', 3, 'same')", at(insertedAt));
      expectEverywhere([a, b, c], "SELECT x, n FROM tag", [{ x: "new", n: 3 }], []);
      for (const site of [a, b, c]) {
        const lost = [
          ["n", 10n],
          ["x", "lost"],
          ["x", "old"],
        ];
        expect(closed(site, "tag", "t").toSorted(byText), site.name).toEqual(lost);
      }
    },
  );

  test.each([BEFORE, AFTER])(
    "is a conflict, too, in a column that the table where it is restored lacks: restored at 5, inserted at %d",
    (insertedAt) => {
      const [a, b, c] = trio("CREATE TABLE item(k TEXT PRIMARY KEY, x TEXT)");
      for (const site of [b, c]) site.edit("ALTER TABLE item ADD COLUMN y TEXT", at(0));
      b.edit("INSERT INTO item VALUES('k', 'old', 'old y')", at(1));
      settle(a, b, c);
      b.edit("DELETE FROM item", at(2));
      settle(a, b, c);
      a.nowUs = RESTORED;
      a.replica.restore("item", "k");
      c.edit("INSERT INTO item VALUES('k', 'new', 'new y')", at(insertedAt));
      settle(a, b, c);
      for (const site of [b, c]) {
        expect(site.rows("SELECT * FROM item"), site.name).toEqual([{ k: "k", x: "new", y: "new y" }]);
        expect(open(site), site.name).toEqual([
          ["x", "new", "old"],
          ["y", "new y", "old y"],
        ]);
      }
      a.edit("ALTER TABLE item ADD COLUMN y TEXT", at(10));
      settle(a, b, c);
      expect([a.rows("SELECT * FROM item"), open(a)]).toEqual([b.rows("SELECT * FROM item"), open(b)]);
    },
  );

  test("is no later than it was: an edit by somebody who had not heard of the delete stands", () => {
    const [a, b, c] = trio(TAGS);
    a.edit("INSERT INTO tag VALUES('t', 'old', NULL, NULL, 1, 'same')", at(0));
    settle(a, b, c);
    b.edit("UPDATE tag SET x = 'edited'", at(1));
    a.edit("DELETE FROM tag", at(2));
    a.nowUs = RESTORED;
    a.replica.restore("tag", "t");
    expectEverywhere([a, b, c], "SELECT x, same FROM tag", [{ x: "edited", same: "same" }], [["x", "edited", "old"]]);
  });

  test.each([BEFORE, AFTER])("is that of both rows that are one by what their key names: restored at 5, inserted at %d", (insertedAt) => {
    const [a, b, c] = trio(`${HOLDERS}; CREATE TABLE mark(h INTEGER REFERENCES holder(id), s TEXT, x TEXT, PRIMARY KEY(h, s))`);
    a.edit("INSERT INTO holder VALUES(1, 'alice'); INSERT INTO mark VALUES(1, 's', 'of a')", at(0));
    c.edit("INSERT INTO holder VALUES(1, 'alice'); INSERT INTO mark VALUES(1, 's', 'of c')", at(1));
    settle(a, b, c);
    expect(b.rows("SELECT * FROM mark")).toEqual([{ h: 1, s: "s", x: "of c" }]);
    c.edit("DELETE FROM mark", at(2));
    settle(a, b, c);
    a.nowUs = RESTORED;
    a.replica.restore("mark", "1,s");
    b.edit("INSERT INTO mark VALUES(1, 's', 'new')", at(insertedAt));
    const conflicts = [
      ["x", "new", "of a"],
      ["x", "new", "of c"],
    ];
    expectEverywhere([a, b, c], "SELECT * FROM mark", [{ h: 1, s: "s", x: "new" }], conflicts);
  });

  test.each([BEFORE, AFTER])("is a row of its own where the key is a number: restored at 5, inserted at %d", (insertedAt) => {
    const [a, b, c] = trio(HOLDERS);
    a.edit("INSERT INTO holder VALUES(5, 'old')", at(0));
    settle(a, b, c);
    c.edit("DELETE FROM holder", at(1));
    settle(a, b, c);
    a.nowUs = RESTORED;
    a.replica.restore("holder", "5");
    b.edit("INSERT INTO holder VALUES(5, 'new')", at(insertedAt));
    expectEverywhere([a, b, c], "SELECT name FROM holder ORDER BY name", [{ name: "new" }, { name: "old" }], []);
  });

  const WORDS = "CREATE TABLE word(k TEXT PRIMARY KEY, line TEXT); CREATE TABLE said(id INTEGER PRIMARY KEY, k TEXT REFERENCES word(k))";
  const LINES = [["line", "new", "old"]];

  test.each([BEFORE, AFTER])(
    "stays where the undo of a mass delete brings back what its rows refer to: restored at 5, inserted at %d",
    (insertedAt) => {
      const [a, b, c] = trio(WORDS);
      const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)";
      a.edit(`INSERT INTO word VALUES('w', 'old'); ${numbers} INSERT INTO said SELECT i, 'w' FROM n`, at(0));
      settle(a, b, c);
      a.edit("DELETE FROM said", at(1));
      a.edit("DELETE FROM word", at(2));
      settle(a, b, c);
      const [review] = a.replica.reviews({ kind: "quarantine", id: "", limit: 0 });
      a.nowUs = RESTORED;
      a.replica.resolve({ id: review?.id ?? "", keep: "", set: [], decision: "undo" });
      // Kept here for what refers to it; this server replaces it.
      b.edit("DELETE FROM word; INSERT INTO word VALUES('w', 'new')", at(insertedAt));
      expectEverywhere([a, b, c], "SELECT line, (SELECT count(*) FROM said) said FROM word", [{ line: "new", said: 300 }], LINES);
    },
  );

  test.each([BEFORE, AFTER])(
    "stays where a row that others refer to was decided to live on: restored at 5, inserted at %d",
    (insertedAt) => {
      const [a, b, c] = trio(WORDS);
      a.edit("INSERT INTO word VALUES('w', 'old')", at(0));
      settle(a, b, c);
      a.edit("INSERT INTO said VALUES(1, 'w')", at(1));
      c.edit("DELETE FROM word", at(1));
      settle(b, c);
      a.pull(c);
      a.nowUs = RESTORED;
      a.replica.resolve({ id: a.conflicts[0]?.id ?? "", keep: "winner", set: [] });
      b.edit("INSERT INTO word VALUES('w', 'new')", at(insertedAt));
      expectEverywhere([a, b, c], "SELECT line FROM word", [{ line: "new" }], LINES);
    },
  );
});

test("a row that refers to a value which its parent has changed since is not restored before some row has that value: its foreign key led to nothing, on all nodes", () => {
  const schema = `CREATE TABLE org(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
    CREATE TABLE person(id INTEGER PRIMARY KEY, code TEXT REFERENCES org(code) ON UPDATE CASCADE, name TEXT);
    CREATE TABLE permit(code TEXT REFERENCES org(code) ON UPDATE CASCADE, who TEXT, PRIMARY KEY(code, who))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO org VALUES(1, 'old'); INSERT INTO person VALUES(1, 'old', 'ann'); INSERT INTO permit VALUES('old', 'ann')", at(0));
  settle(a, b);
  a.edit("DELETE FROM person; DELETE FROM permit", at(1));
  settle(a, b);
  b.edit("UPDATE org SET code = 'new'", at(2));
  settle(a, b);
  for (const site of [a, b]) site.nowUs = at(3);
  const rows = [
    ["person", "1"],
    ["permit", "old,ann"],
  ] as const;
  for (const [table, key] of rows) {
    expect(refusal(() => a.replica.restore(table, key)).message).toContain(
      `row ${key} of "${table}" refers to "code" of "org" by values that no row has any more`,
    );
    expect(a.rows(`SELECT * FROM ${table}`)).toEqual([]);
  }
  b.edit("INSERT INTO org VALUES(2, 'old')", at(4));
  settle(a, b);
  for (const [table, key] of rows) a.replica.restore(table, key);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT name FROM person JOIN org USING(code) JOIN permit USING(code)")).toEqual([{ name: "ann" }]);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
});
