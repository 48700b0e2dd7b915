import { describe, expect, test } from "vitest";
import { refusal, settle, Site } from "./site.ts";

const OLD = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
const NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), line TEXT)";
const WORD = "CREATE TABLE word(lang TEXT, k TEXT, line TEXT, PRIMARY KEY(lang, k))";
const NEW = `${OLD}; ${NOTE}; ${WORD}`;
const MOTTO = "ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'";

const held = (site: Site): string[] =>
  site.replica
    .reviews({ kind: "schema", id: "", limit: 100 })
    .map(({ table, column }) => (column === null ? table : `${table}.${column}`))
    .toSorted();

describe("a table that is not here", () => {
  test("is held, passed on, and put in when it comes", () => {
    const [a, b, c] = [new Site("a", NEW), new Site("b", OLD), new Site("c", NEW)];
    a.edit("INSERT INTO team(name) VALUES('one'); INSERT INTO note VALUES(1, 1, 'hello'); INSERT INTO word VALUES('en', 'k', 'word')");
    expect(b.pull(a).at(-1)?.verified).toBe(null);
    expect(b.rows("SELECT * FROM team")).toEqual([{ id: 1, name: "one" }]);
    expect(held(b)).toEqual(["note", "word"]);
    expect(b.replica.state().held).toBe(2);
    c.pull(b);
    expect(c.rows("SELECT * FROM note")).toEqual([{ id: 1, team_id: 1, line: "hello" }]);
    expect(c.rows("SELECT * FROM word")).toEqual([{ lang: "en", k: "k", line: "word" }]);
    expect(c.replica.count(new Map()).changes).toBe(3);
    c.edit("UPDATE note SET line = 'edited'; DELETE FROM word", c.nowUs + 1_000_000);
    b.pull(c);
    b.edit(`${NOTE}; ${WORD}`);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT * FROM note")).toEqual([{ id: 1, team_id: 1, line: "edited" }]);
      expect(site.rows("SELECT * FROM word")).toEqual([]);
      expect(site.conflicts).toEqual([]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(b.replica.count(new Map())).toEqual(a.replica.count(new Map()));
  });
});

describe("a column that is not here", () => {
  test("is held with its values, passed on, and put in when it comes", () => {
    const [a, b, c] = [new Site("a", `${NEW}; ${MOTTO}`), new Site("b", NEW), new Site("c", `${NEW}; ${MOTTO}`)];
    a.edit("INSERT INTO team VALUES(1, 'one', 'onward'), (2, 'two', 'none')");
    expect(b.pull(a).at(-1)?.verified).toBe(null);
    b.edit("UPDATE team SET name = 'ONE' WHERE id = 1; INSERT INTO team VALUES(3, 'three')", b.nowUs + 1_000_000);
    c.pull(b);
    expect(c.rows("SELECT * FROM team")).toEqual([
      { id: 1, name: "ONE", motto: "onward" },
      { id: 2, name: "two", motto: "none" },
      { id: 3, name: "three", motto: "none" },
    ]);
    a.edit("UPDATE team SET motto = 'upward' WHERE id = 2", b.nowUs + 2_000_000);
    b.pull(a);
    expect(held(b)).toEqual(["team.motto"]);
    b.edit(MOTTO);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT motto FROM team ORDER BY id")).toEqual([{ motto: "onward" }, { motto: "upward" }, { motto: "none" }]);
      expect(site.conflicts).toEqual([]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(b.pull(c).at(-1)?.verified).toBe(true);
  });
});

describe("a table that is dropped", () => {
  test("stops nobody: its rows are gone here, and what others write to them is held", () => {
    const [a, b, c] = [new Site("a", NEW), new Site("b", NEW), new Site("c", NEW)];
    a.edit("INSERT INTO team(name) VALUES('one'); INSERT INTO note VALUES(1, 1, 'hello'); INSERT INTO word VALUES('en', 'k', 'word')");
    settle(a, b);
    b.edit("DROP TABLE note; DROP TABLE word; INSERT INTO team(name) VALUES('two')", b.nowUs + 1_000_000);
    expect(refusal(() => c.pull(b))).toBe("BUSY");
    b.nowUs += 11_000_000;
    c.pull(b);
    expect(c.rows("SELECT name FROM team")).toEqual([{ name: "one" }, { name: "two" }]);
    a.edit(
      "UPDATE note SET line = 'edited'; UPDATE word SET line = 'edited'; INSERT INTO note VALUES(2, 1, 'second')",
      b.nowUs + 1_000_000,
    );
    b.pull(a);
    expect(held(b)).toEqual(["note", "word"]);
    b.edit("INSERT INTO team(name) VALUES('three')", b.nowUs + 2_000_000);
    a.pull(b);
    c.pull(b);
    // What b has passed over is found by a comparison, as every difference is.
    expect(c.pull(a).at(-1)?.verified).toBe(false);
    for (const [table, key] of [
      ["note", "1"],
      ["word", "en,k"],
    ] as const)
      c.replica.apply(a.replica.wholeRows({ table, keys: [key], codecs: [] }));
    expect(c.rows("SELECT line FROM note ORDER BY id")).toEqual([{ line: "edited" }, { line: "second" }]);
    expect(c.rows("SELECT line FROM word")).toEqual([{ line: "edited" }]);
    expect(c.pull(a).at(-1)?.verified).toBe(true);
    expect(held(c)).toEqual([]);
  });

  test("holds what waited for a place in it until it comes back: seed 7300003 of test/simulation/fleet", () => {
    const UNIQUE = "CREATE TABLE badge(id INTEGER PRIMARY KEY, code TEXT UNIQUE)";
    const [a, b] = [new Site("a", NEW, { park: ["*"] }), new Site("b", NEW, { park: ["*"] })];
    for (const site of [a, b]) site.edit(UNIQUE);
    a.edit("INSERT INTO badge VALUES(1, 'same')", a.nowUs + 1_000_000);
    b.edit("INSERT INTO badge VALUES(2, 'same')", b.nowUs + 2_000_000);
    a.pull(b);
    expect(a.replica.state().parked).toBe(1);
    a.edit("DROP TABLE badge", a.nowUs + 1_000_000);
    expect(a.replica.state().parked).toBe(0);
    expect(held(a)).toEqual(["badge"]);
    b.edit("INSERT INTO team(name) VALUES('one')", b.nowUs + 20_000_000);
    a.nowUs = b.nowUs;
    a.pull(b);
    expect(a.rows("SELECT name FROM team")).toEqual([{ name: "one" }]);
    a.edit(UNIQUE, a.nowUs + 1_000_000);
    expect(a.rows("SELECT * FROM badge")).toEqual([{ id: 2, code: "same" }]);
  });

  test("and made anew gives what waited for a place in it to all once that has one: seed 41295012 of test/simulation/fleet", () => {
    const schema = "CREATE TABLE badge(id INTEGER PRIMARY KEY, code TEXT UNIQUE)";
    const LOAN = "CREATE TABLE loan(k TEXT PRIMARY KEY, badge INTEGER REFERENCES badge(id))";
    const [a, b] = ["a", "b"].map((name) => new Site(name, `${schema}; ${LOAN}`, { park: ["*"] })) as [Site, Site];
    const later = (seconds: number) => Math.max(a.nowUs, b.nowUs) + seconds * 1_000_000;
    a.edit("INSERT INTO badge VALUES(1, 'same')", later(1));
    b.edit("INSERT INTO badge VALUES(2, 'same'); INSERT INTO loan VALUES('k', 2)", later(1));
    a.pull(b);
    expect(a.replica.state().parked).toBe(2);
    for (const site of [b, a]) {
      site.edit("DROP TABLE loan", later(1));
      site.edit(LOAN, later(20));
    }
    settle(a, b);
    // Where it was in the table it went with that.
    expect([a, b].map((site) => site.replica.state().parked)).toEqual([2, 1]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    b.edit("UPDATE badge SET code = 'other' WHERE id = 1", later(1));
    settle(a, b);
    expect(a.rows("SELECT code FROM loan JOIN badge ON badge.id = badge")).toEqual([{ code: "same" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(false);
    b.replica.apply(a.replica.wholeRows({ table: "loan", keys: ["k"], codecs: [] }));
    expect(b.rows("SELECT code FROM loan JOIN badge ON badge.id = badge")).toEqual([{ code: "same" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("and made anew can be read by others though only a delete is held of some row: seed 7300342 of test/simulation/fleet", () => {
    const [a, b, c] = [new Site("a", NEW), new Site("b", NEW), new Site("c", NEW)];
    a.edit("INSERT INTO word VALUES('en', 'k', 'first')");
    b.pull(a);
    b.edit("DROP TABLE word", b.nowUs + 1_000_000);
    a.edit("DELETE FROM word", a.nowUs + 20_000_000);
    b.nowUs = a.nowUs;
    b.pull(a);
    b.edit(`${WORD}; INSERT INTO word VALUES('de', 'k', 'second')`, b.nowUs + 1_000_000);
    // Both rows in one batch.
    c.pull(b);
    settle(a, b, c);
    for (const site of [a, b, c]) expect(site.rows("SELECT line FROM word"), site.name).toEqual([{ line: "second" }]);
  });

  test("and made anew is not a delete of all its rows", () => {
    const [a, b] = [new Site("a", NEW), new Site("b", NEW)];
    a.edit("INSERT INTO note VALUES(1, NULL, 'hello'), (2, NULL, 'there'); INSERT INTO word VALUES('en', 'k', 'word')");
    settle(a, b);
    b.edit("DROP TABLE note; DROP TABLE word", b.nowUs + 1_000_000);
    b.edit(`${NOTE}; ${WORD}; INSERT INTO note VALUES(1, NULL, 'hello')`, b.nowUs + 60_000_000);
    settle(a, b);
    expect(a.rows("SELECT line FROM note")).toEqual([{ line: "hello" }, { line: "there" }]);
    expect(a.rows("SELECT line FROM word")).toEqual([{ line: "word" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(false);
    b.replica.apply(a.replica.wholeRows({ table: "note", keys: ["2"], codecs: [] }));
    b.replica.apply(a.replica.wholeRows({ table: "word", keys: ["en,k"], codecs: [] }));
    expect(b.rows("SELECT id, line FROM note")).toEqual(a.rows("SELECT id, line FROM note"));
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });
});

describe("a table that is excluded after it has taken part", () => {
  test("is held and passed on; taken in again, it takes what came meanwhile and keeps what was written here", () => {
    const [a, b, c] = [new Site("a", NEW), new Site("b", NEW), new Site("c", NEW)];
    a.edit(
      "INSERT INTO note VALUES(1, NULL, 'one'), (2, NULL, 'two'), (3, NULL, 'three'), (4, NULL, 'four'); INSERT INTO word VALUES('en', 'k', 'word')",
    );
    settle(a, b);
    b.write("UPDATE note SET line = 'two of b' WHERE id = 2");
    b.options.exclude = ["note", "word"];
    b.restart();
    b.edit(
      "UPDATE note SET line = 'past sync' WHERE id = 3; INSERT INTO note VALUES(9, NULL, 'nine past sync'); UPDATE word SET line = 'past sync'",
    );
    a.pull(b);
    expect(a.rows("SELECT line FROM note ORDER BY id")).toEqual(["one", "two of b", "three", "four"].map((line) => ({ line })));
    a.edit(
      "UPDATE note SET line = 'ONE' WHERE id = 1; DELETE FROM note WHERE id = 4; INSERT INTO note VALUES(5, NULL, 'five')",
      a.nowUs + 1_000_000,
    );
    b.pull(a);
    c.pull(b);
    expect(c.rows("SELECT * FROM note ORDER BY id")).toEqual(a.rows("SELECT * FROM note ORDER BY id"));
    expect(held(b)).toEqual(["note", "word"]);
    expect(b.rows("SELECT line FROM note ORDER BY id")).toEqual(
      ["one", "two of b", "past sync", "four", "nine past sync"].map((line) => ({ line })),
    );
    b.nowUs = a.nowUs + 1_000_000;
    b.options.exclude = [];
    b.restart();
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT line FROM note ORDER BY id")).toEqual(
        ["ONE", "two of b", "past sync", "five", "nine past sync"].map((line) => ({ line })),
      );
      expect(site.rows("SELECT line FROM word")).toEqual([{ line: "past sync" }]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });
});

describe("what is held for a column", () => {
  const NEWER = `${OLD}; ${MOTTO}; ALTER TABLE team ADD COLUMN color TEXT DEFAULT 'grey'`;
  const migrate = `${MOTTO}; ALTER TABLE team ADD COLUMN color TEXT DEFAULT 'grey'`;
  const inserted = "INSERT INTO team VALUES(1, 'one', 'onward', 'red'), (2, 'two', 'none', 'grey')";

  test("stays beside what the migration here writes, and a default is no write", () => {
    const [a, b] = [new Site("a", NEWER), new Site("b", OLD)];
    a.edit(inserted);
    b.pull(a);
    b.nowUs += 1_000_000;
    b.write(`BEGIN; ${migrate}; UPDATE team SET motto = 'of b ' || id; COMMIT`);
    b.replica.drain();
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT motto, color FROM team ORDER BY id")).toEqual([
        { motto: "of b 1", color: "red" },
        { motto: "of b 2", color: "grey" },
      ]);
      expect(site.conflicts.map(({ key, column, winner, loser }) => [key, column, winner?.value, loser?.value])).toEqual([
        ["1", "motto", "of b 1", "onward"],
      ]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("goes through a delete and a restore here", () => {
    const [a, b, c] = [new Site("a", NEWER), new Site("b", OLD), new Site("c", NEWER)];
    a.edit(inserted);
    b.pull(a);
    b.edit("DELETE FROM team WHERE id = 1", b.nowUs + 1_000_000);
    b.replica.restore("team", "1");
    b.edit("UPDATE team SET name = 'ONE' WHERE id = 1; UPDATE team SET id = 7 WHERE id = 2", b.nowUs + 1_000_000);
    c.pull(b);
    expect(c.rows("SELECT name, motto, color FROM team WHERE id = 1")).toEqual([{ name: "ONE", motto: "onward", color: "red" }]);
    b.edit(migrate);
    settle(a, b, c);
    expect(b.rows("SELECT * FROM team ORDER BY id")).toEqual(a.rows("SELECT * FROM team ORDER BY id"));
    expect(b.rows("SELECT name, motto, color FROM team WHERE id = 1")).toEqual([{ name: "ONE", motto: "onward", color: "red" }]);
  });

  test("is not there after a batch that failed, and comes with the next", () => {
    const [a, b] = [new Site("a", `${NEWER}; ${NOTE}`), new Site("b", OLD)];
    a.edit(`${inserted}; INSERT INTO note VALUES(1, 1, 'hello')`);
    const batch = a.batchFor(b);
    const before = b.contents();
    expect(refusal(() => b.replica.apply({ ...batch, count: batch.count + 1 }))).toBe("BATCH_CORRUPT");
    expect(b.contents()).toBe(before);
    b.replica.apply(batch);
    expect(held(b)).toEqual(["note", "team.color", "team.motto"]);
  });
});

test("rows of another kind of key are held", () => {
  const [a, b, c] = [new Site("a", NEW), new Site("b", `${OLD}; ${NOTE}; CREATE TABLE word(k TEXT PRIMARY KEY)`), new Site("c", NEW)];
  a.edit("INSERT INTO word VALUES('en', 'k', 'word')");
  b.pull(a);
  expect(held(b)).toEqual(["word"]);
  c.pull(b);
  expect(c.rows("SELECT * FROM word")).toEqual(a.rows("SELECT * FROM word"));
  b.edit(`DROP TABLE word; ${WORD}`);
  settle(a, b);
  expect(b.rows("SELECT * FROM word")).toEqual(a.rows("SELECT * FROM word"));
  expect(held(b)).toEqual([]);
});

describe("a name that changes on one node first", () => {
  test.each([
    ["ALTER TABLE word RENAME TO term", "id INTEGER PRIMARY KEY, k TEXT"],
    ["ALTER TABLE word RENAME TO term", "k TEXT PRIMARY KEY"],
    ["ALTER TABLE word RENAME TO term", "k TEXT"],
    [
      "CREATE TABLE term(id INTEGER PRIMARY KEY, k TEXT, line TEXT); INSERT INTO term SELECT * FROM word; DROP TABLE word",
      "id INTEGER PRIMARY KEY, k TEXT",
    ],
  ])("of a table: what was written under it is no less than what others write under the other: %s, %s", (migration, columns) => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE word(${columns}, line TEXT)`)) as [Site, Site];
    a.edit("INSERT INTO word(k, line) VALUES('k', 'first'), ('gone', 'first')");
    settle(a, b);
    a.edit(migration, a.nowUs + 1_000_000);
    a.edit("UPDATE term SET line = 'of a'", a.nowUs + 1_000_000);
    b.pull(a);
    // Its application has not seen that.
    b.edit("UPDATE word SET line = 'of b' WHERE k = 'k'; DELETE FROM word WHERE k = 'gone'", a.nowUs + 1_000_000);
    a.nowUs += 20_000_000;
    settle(a, b);
    b.edit(migration, a.nowUs);
    b.nowUs = a.nowUs += 20_000_000;
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT k, line FROM term")).toEqual([{ k: "k", line: "of b" }]);
      expect(site.conflicts.map(({ loser }) => loser?.value)).toEqual(["of a"]);
    }
  });

  test("of a table: both names mean its rows, and they are equal once both have changed it", () => {
    const schema = `${OLD}; ${MOTTO}; CREATE TABLE word(k TEXT PRIMARY KEY, line TEXT)`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO team VALUES(1, 'one', 'm1'), (2, 'two', 'm2'); INSERT INTO word VALUES('k', 'line')");
    settle(a, b);
    const rename = "ALTER TABLE word RENAME TO term; ALTER TABLE team RENAME TO squad";
    a.edit(rename, a.nowUs + 1_000_000);
    a.edit("UPDATE squad SET motto = 'a1' WHERE id = 1; INSERT INTO squad VALUES(5, 'five', 'a5'); UPDATE term SET line = 'of a'");
    b.edit("UPDATE team SET motto = 'b2' WHERE id = 2; INSERT INTO team VALUES(9, 'nine', 'b9')", a.nowUs + 1_000_000);
    b.pull(a);
    a.pull(b);
    const all = [
      { id: 1, name: "one", motto: "a1" },
      { id: 2, name: "two", motto: "b2" },
      { id: 5, name: "five", motto: "a5" },
      { id: 9, name: "nine", motto: "b9" },
    ];
    expect(a.rows("SELECT * FROM squad ORDER BY id")).toEqual(all);
    expect(held(b)).toEqual(["squad", "term"]);
    b.edit(rename, b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT * FROM squad ORDER BY id")).toEqual(all);
      expect(site.rows("SELECT * FROM term")).toEqual([{ k: "k", line: "of a" }]);
      expect(site.conflicts).toEqual([]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test.each([true, false])(
    "of a table: the first row with NULL in its key is there for all; written under its former name: %s",
    (isFormer) => {
      const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE word(k TEXT PRIMARY KEY, line TEXT)")) as [Site, Site];
      a.edit("INSERT INTO word VALUES('k', 'line')");
      settle(a, b);
      const rename = "ALTER TABLE word RENAME TO term";
      a.edit(rename, a.nowUs + 1_000_000);
      if (isFormer) b.edit("INSERT INTO word VALUES(NULL, 'first')", a.nowUs);
      else a.edit("INSERT INTO term VALUES(NULL, 'first')");
      settle(a, b);
      expect(a.rows("SELECT line FROM term WHERE k IS NULL")).toEqual([{ line: "first" }]);
      b.edit(rename, a.nowUs + 1_000_000);
      a.edit("UPDATE term SET line = 'edited' WHERE k IS NULL", a.nowUs + 2_000_000);
      a.nowUs += 20_000_000;
      b.nowUs = a.nowUs;
      settle(a, b);
      for (const site of [a, b]) {
        expect(site.rows("SELECT * FROM term ORDER BY k")).toEqual([
          { k: null, line: "edited" },
          { k: "k", line: "line" },
        ]);
        expect(held(site)).toEqual([]);
      }
      expect(b.pull(a).at(-1)?.verified).toBe(true);
    },
  );

  test("of a table to the name of one with another kind of key, which was dropped", () => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, `${OLD}; CREATE TABLE squad(k TEXT PRIMARY KEY)`)) as [Site, Site];
    a.edit("INSERT INTO team VALUES(1, 'one'); INSERT INTO squad VALUES('k')");
    settle(a, b);
    for (const site of [a, b]) site.edit("DROP TABLE squad; ALTER TABLE team RENAME TO squad", site.nowUs + 1_000_000);
    b.edit("UPDATE squad SET name = 'of b'", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT id, name FROM squad")).toEqual([{ id: 1, name: "of b" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test.each(["edited before the table was renamed", "edited afterwards"])(
    "of a table: a row %s and deleted there goes here, too",
    (when) => {
      const [a, b] = [new Site("a", OLD), new Site("b", OLD)];
      a.edit("INSERT INTO team VALUES(1, 'one')");
      settle(a, b);
      const rename = "ALTER TABLE team RENAME TO squad";
      const edit = "UPDATE team SET name = 'edited'";
      const steps = when === "edited afterwards" ? [rename, edit.replace("team", "squad")] : [edit, rename];
      for (const step of [...steps, "DELETE FROM squad"]) b.edit(step, b.nowUs + 1_000_000);
      a.pull(b);
      a.edit(rename, b.nowUs + 1_000_000);
      settle(a, b);
      for (const site of [a, b]) expect(site.rows("SELECT * FROM squad")).toEqual([]);
      expect(b.pull(a).at(-1)?.verified).toBe(true);
    },
  );

  test("of a table that the same transaction rebuilds: its rows are not there once per server", () => {
    const schema =
      "CREATE TABLE team(id INTEGER PRIMARY KEY); CREATE TABLE obs(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), body TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO team VALUES(1); INSERT INTO obs VALUES(1, 1, 'one'), (2, 1, 'two')");
    settle(a, b);
    const rows = [
      { id: 1, kind: 0, body: "one" },
      { id: 2, kind: 0, body: "two" },
    ];
    for (const site of [a, b])
      site.edit(
        `BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, kind INTEGER DEFAULT 0, team_id INTEGER REFERENCES team(id), body TEXT);
         INSERT INTO n(id, team_id, body) SELECT * FROM obs; DROP TABLE obs; ALTER TABLE n RENAME TO obs; ALTER TABLE obs RENAME TO observation; COMMIT`,
        b.nowUs + 1_000_000,
      );
    settle(a, b);
    a.edit("UPDATE observation SET body = 'edited' WHERE id = 1", b.nowUs + 1_000_000);
    b.edit("DELETE FROM observation WHERE id = 2", a.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT id, kind, body FROM observation")).toEqual([{ ...rows[0], body: "edited" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  /** SQL that makes a table anew under another name, in one transaction after `first`. */
  const rebuilt = (from: string, to: string, first = "") =>
    `BEGIN; ${first}; CREATE TABLE ${to}(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO ${to} SELECT * FROM ${from}; DROP TABLE ${from}; COMMIT`;

  test.each([
    ["before", ["DELETE FROM obs", rebuilt("obs", "observation")]],
    ["in it", [rebuilt("obs", "observation", "DELETE FROM obs")]],
  ])("of a table that the same transaction rebuilds, its rows deleted %s: what others write to it is not held for good", (_, edits) => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT)")) as [Site, Site];
    a.edit("INSERT INTO obs VALUES(1, 'deleted')");
    settle(a, b);
    for (const sql of edits) b.edit(sql, b.nowUs + 1_000_000);
    a.edit("INSERT INTO obs VALUES(2, 'apart')", b.nowUs + 1_000_000);
    b.pull(a);
    a.edit("ALTER TABLE obs RENAME TO observation", b.nowUs + 1_000_000);
    settle(a, b);
    a.edit("UPDATE observation SET body = body || ', edited'", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT * FROM observation")).toEqual([{ id: 2, body: "apart, edited" }]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("of a table that is rebuilt under the name of one that was dropped: each row is there once", () => {
    const schema = "CREATE TABLE old(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO old VALUES(7, 'dropped'); INSERT INTO obs VALUES(1, 'one')");
    settle(a, b);
    for (const site of [a, b]) {
      site.edit("DROP TABLE old", b.nowUs + 1_000_000);
      site.edit(rebuilt("obs", "old"), b.nowUs + 20_000_000);
    }
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM old")).toEqual([{ id: 1, body: "one" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("of a table that is rebuilt under its former name and again: its rows are the same rows each time", () => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT)")) as [Site, Site];
    a.edit("INSERT INTO obs VALUES(1, 'one')");
    settle(a, b);
    for (const [from, to] of [
      ["obs", "observation"],
      ["observation", "obs"],
      ["obs", "observation"],
      ["observation", "obs"],
    ] as const) {
      for (const site of [a, b]) site.edit(rebuilt(from, to), b.nowUs + 1_000_000);
      a.edit(`UPDATE ${to} SET body = body || ', ${to}'`, b.nowUs + 1_000_000);
      settle(a, b);
    }
    for (const site of [a, b]) expect(site.rows("SELECT * FROM obs")).toEqual([{ id: 1, body: "one, observation, obs, observation, obs" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("of a table that is excluded while a copy of it is made: the copy is a table of its own", () => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT)")) as [Site, Site];
    a.edit("INSERT INTO obs VALUES(1, 'one')");
    settle(a, b);
    b.replica.close();
    b.write("CREATE TABLE copied(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO copied SELECT * FROM obs");
    b.options.exclude = ["obs"];
    b.start();
    b.edit("DELETE FROM copied", b.nowUs + 20_000_000);
    a.edit("INSERT INTO obs VALUES(2, 'two')", b.nowUs + 1_000_000);
    settle(a, b);
    expect(a.rows("SELECT * FROM obs")).toEqual([
      { id: 1, body: "one" },
      { id: 2, body: "two" },
    ]);
    expect(b.rows("SELECT * FROM copied")).toEqual([]);
    expect(held(b)).toContain("obs");
  });

  test.each([
    ["deleted", "DELETE FROM note", []],
    ["edited", "UPDATE note SET line = 'edited'", [{ id: 1, line: "edited" }]],
  ])("of two tables that are rebuilt while the node is down, the first one's row %s: the other's is not taken for that", (_, sql, left) => {
    const schema = "CREATE TABLE note(id INTEGER PRIMARY KEY, line TEXT); CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO note VALUES(1, 'before'); INSERT INTO obs VALUES(1, 'one')");
    settle(a, b);
    b.replica.close();
    b.write(`${sql}; ${rebuilt("obs", "observation")}; ${rebuilt("note", "remark").replace("body", "line")}`);
    b.start();
    b.edit("SELECT 1", b.nowUs + 1_000_000);
    a.edit("ALTER TABLE note RENAME TO remark; ALTER TABLE obs RENAME TO observation", b.nowUs + 20_000_000);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT * FROM observation")).toEqual([{ id: 1, body: "one" }]);
      expect(site.rows("SELECT * FROM remark")).toEqual(left);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("of one of two tables with equal columns, the other's row deleted and its table dropped: it is known by the rows that were left", () => {
    const schema = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO note VALUES(1, 'deleted'); INSERT INTO obs VALUES(1, 'one'), (2, 'two')");
    settle(a, b);
    b.replica.close();
    b.write(`DELETE FROM note; DROP TABLE note; ${rebuilt("obs", "observation")}`);
    b.start();
    b.edit("SELECT 1", b.nowUs + 1_000_000);
    a.edit("ALTER TABLE obs RENAME TO observation", b.nowUs + 20_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT body FROM observation ORDER BY id")).toEqual([{ body: "one" }, { body: "two" }]);
  });

  test("of two empty tables with equal columns that are rebuilt at once: neither is taken for the other", () => {
    const schema = "CREATE TABLE obs(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE pit(id INTEGER PRIMARY KEY, body TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    settle(a, b);
    b.edit(`${rebuilt("obs", "report")}; ${rebuilt("pit", "match")}`, b.nowUs + 1_000_000);
    a.edit("INSERT INTO obs VALUES(1, 'of obs'); INSERT INTO pit VALUES(2, 'of pit')", b.nowUs + 20_000_000);
    b.pull(a);
    for (const table of ["report", "match"]) expect(b.rows(`SELECT * FROM ${table}`)).toEqual([]);
    expect(held(b)).toEqual(["obs", "pit"]);
  });

  test("of a column: every value that was written survives, and both are equal once both have changed it", () => {
    const schema = `${OLD}; ${MOTTO}`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO team VALUES(1, 'one', 'm1'), (2, 'two', 'm2')");
    settle(a, b);
    const rename = "ALTER TABLE team RENAME COLUMN motto TO slogan";
    a.edit(rename, a.nowUs + 1_000_000);
    a.edit("UPDATE team SET slogan = 'a1' WHERE id = 1", a.nowUs + 1_000_000);
    b.edit("UPDATE team SET motto = 'b2' WHERE id = 2; INSERT INTO team VALUES(9, 'nine', 'b9')", a.nowUs + 1_000_000);
    b.pull(a);
    a.pull(b);
    b.edit(rename, b.nowUs + 1_000_000);
    settle(a, b);
    expect(b.rows("SELECT * FROM team ORDER BY id")).toEqual(a.rows("SELECT * FROM team ORDER BY id"));
    const values = (site: Site) => [
      ...site.rows("SELECT slogan FROM team").map(({ slogan }) => slogan),
      ...site.conflicts.map(({ loser }) => loser?.value),
    ];
    for (const site of [a, b]) expect(values(site)).toEqual(expect.arrayContaining(["a1", "b2", "b9"]));
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });
});
