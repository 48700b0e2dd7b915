import type { Review } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, type SiteOptions, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

// Several values each way round: which of two values has the greater hash must not matter.
const NOTES = ["one", "two", "three", "four"];

test("rows that came from a node without a column get its values from one that has them, and nobody is asked: seed 6000004 of test/simulation/fleet", () => {
  const [a, b, c, d] = ["a", "b", "c", "d"].map(
    (name) => new Site(name, "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, note TEXT DEFAULT 'none')"),
  ) as [Site, Site, Site, Site];
  for (const [i, note] of NOTES.entries()) a.edit(`INSERT INTO team VALUES(${i + 1}, 'of a', '${note}')`, at(i));
  for (const site of [b, d]) site.pull(a);
  b.edit("ALTER TABLE team DROP COLUMN note", at(5));
  c.pull(b);
  expect(c.rows("SELECT DISTINCT note FROM team")).toEqual([{ note: "none" }]);
  // From somebody who did not write them, and from their author.
  for (const other of [d, a]) {
    expect(c.pull(other).at(-1)).toMatchObject({ received: 0, verified: other !== d });
    const request = { table: "team", keys: NOTES.map((_, i) => String(i + 1)), codecs: [] };
    const [ours, theirs] = [c.replica.wholeRows(request), other.replica.wholeRows(request)];
    c.replica.apply(theirs);
    other.replica.apply(ours);
    for (const site of [c, other]) {
      expect(site.rows("SELECT note FROM team ORDER BY id"), site.name).toEqual(NOTES.map((note) => ({ note })));
      expect(site.replica.reviews({ kind: "conflict", id: "", limit: 10 }), site.name).toEqual([]);
    }
  }
  settle(a, c, d);
  expect(c.pull(a).at(-1)).toMatchObject({ received: 0, verified: true });
});

describe.each(["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"])("a conflict in a column that is renamed then, key %s", (key) => {
  /** Three nodes with a conflict in `name`, which is called `title` afterwards; the id that it is listed by. */
  function renamed(options: SiteOptions = {}): { all: [Site, Site, Site]; id: string } {
    const schema = `CREATE TABLE item(id ${key}, name TEXT, n INT)`;
    const all: [Site, Site, Site] = [new Site("a", schema, options), new Site("b", schema, options), new Site("c", schema, options)];
    const [a, b] = all;
    a.edit("INSERT INTO item VALUES(8, 'eight', 1)", at(0));
    settle(...all);
    a.edit("UPDATE item SET name = 'of a'", at(1));
    b.edit("UPDATE item SET name = 'of b'", at(2));
    settle(...all);
    const { id } = a.conflicts[0]!;
    for (const site of all) site.edit("ALTER TABLE item RENAME COLUMN name TO title", at(3));
    settle(...all);
    return { all, id };
  }

  const listed = ({ conflicts }: Site) => conflicts.map(({ id, column, loser }) => [id, column, loser?.value]);
  const told = ({ replica }: Site) => replica.history("item", "8").map(({ value }) => value);

  test("stays in the list and the history of every node", () => {
    const { all, id } = renamed();
    for (const site of all) {
      expect(listed(site), site.name).toEqual([[id, "name", "of a"]]);
      expect(told(site), site.name).toContain("of a");
      expect(site.one("SELECT title FROM item")).toBe("of b");
    }
  });

  test("is decided once, for all of them, and stays in their history", () => {
    for (const [keep, title] of [
      ["", "of a"],
      ["winner", "of b"],
    ] as const) {
      const { all, id } = renamed();
      const [a, , c] = all;
      expect(refusal(() => c.replica.resolve({ id, keep: "loser", set: [] }))).toBe("INVALID_ARGUMENT");
      expect(refusal(() => c.replica.resolve({ id, keep: "", set: [{ name: "name", value: "x" }] }))).toBe("INVALID_ARGUMENT");
      expect(listed(c)).toEqual([[id, "name", "of a"]]);
      expect(c.replica.resolve({ id, keep, set: keep === "" ? [{ name: "title", value: title }] : [] }).resolved).toBe(true);
      settle(...all);
      for (const site of all) {
        expect(listed(site), site.name).toEqual([]);
        expect(told(site), site.name).toContain("of a");
        expect(site.one("SELECT title FROM item")).toBe(title);
        expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
      }
    }
  });

  test("is listed as before once a column has its name again, also of a row that was edited meanwhile", () => {
    const { all, id } = renamed();
    const [a, b, c] = all;
    c.edit("UPDATE item SET title = 'of c'", at(4));
    settle(...all);
    for (const site of all) {
      site.edit("ALTER TABLE item ADD COLUMN name TEXT", at(5));
      expect(listed(site), site.name).toEqual([[id, "name", "of a"]]);
      expect(site.replica.state().conflicts, site.name).toBe(1);
    }
    settle(...all);
    b.replica.resolve({ id, keep: "loser", set: [] });
    settle(...all);
    for (const site of all) {
      expect(listed(site), site.name).toEqual([]);
      expect(site.rows("SELECT title, name FROM item"), site.name).toEqual([{ title: "of c", name: "of a" }]);
      expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
    }
  });

  test("is none where all wrote the same, unless some other column happens to say what lost", () => {
    for (const [values, lost] of [
      [["1", "1", "1"], []],
      [["1", "2", "2"], ["1"]],
    ] as const) {
      const all = ["a", "b", "c"].map((name) => new Site(name, `CREATE TABLE item(id ${key}, name TEXT, n TEXT)`));
      all[0]!.edit("INSERT INTO item VALUES(8, 'eight', '1')", at(0));
      settle(...all);
      for (const [i, site] of all.entries()) site.edit(`UPDATE item SET name = '${values[i]}'`, at(i + 1));
      settle(...all);
      for (const site of all) expect(listed(site).map(([, , value]) => value)).toEqual(lost);
      for (const site of all) site.edit("ALTER TABLE item RENAME COLUMN name TO title", at(5));
      settle(...all);
      for (const site of all) expect(listed(site).map(([, , value]) => value)).toEqual(lost);
    }
  });

  test.each(["counter", "max", "min", "set"])("is none where the rule %s made one value of all", (rule) => {
    for (const values of [
      [1, 2, 3],
      [3, 2, 1],
    ]) {
      const schema = `CREATE TABLE item(id ${key}, name, n INT)`;
      const all = ["a", "b", "c"].map((name) => new Site(name, schema, { rules: [`item.name=${rule}`] }));
      all[0]!.edit(`INSERT INTO item VALUES(8, ${rule === "set" ? "'[]'" : 0}, 7)`, at(0));
      settle(...all);
      for (const [i, site] of all.entries())
        site.edit(`UPDATE item SET name = ${rule === "set" ? `'[${values[i]}]'` : values[i]}`, at(i + 1));
      settle(...all);
      for (const site of all) expect(listed(site)).toEqual([]);
      for (const site of all) site.edit("ALTER TABLE item DROP COLUMN name", at(5));
      settle(...all);
      for (const site of all) expect(listed(site)).toEqual([]);
    }
  });

  test("is not shown where the column is sensitive by its new name", () => {
    const { all } = renamed({ sensitive: ["item.title"] });
    for (const site of all) {
      expect(
        site.conflicts.map(({ loser }) => loser?.value),
        site.name,
      ).toEqual(["(sensitive)"]);
      expect(told(site), site.name).not.toContain("of a");
    }
  });
});

test("what lost in a table without a key is listed as before once its column has its name again, also of a row that was edited meanwhile", () => {
  const all = ["a", "b", "c"].map((name) => new Site(name, "CREATE TABLE item(k TEXT, name TEXT)")) as [Site, Site, Site];
  const [a, b, c] = all;
  a.edit("INSERT INTO item VALUES('k', 'eight'), ('l', 'nine')", at(0));
  settle(...all);
  a.edit("UPDATE item SET name = 'of a' WHERE k = 'k'", at(1));
  b.edit("UPDATE item SET name = 'of b' WHERE k = 'k'", at(2));
  settle(...all);
  const { id } = a.conflicts[0]!;
  for (const site of all) site.edit("ALTER TABLE item RENAME COLUMN name TO title", at(3));
  settle(...all);
  c.edit("UPDATE item SET title = 'of c' WHERE k = 'k'", at(4));
  settle(...all);
  for (const site of all) {
    site.edit("ALTER TABLE item ADD COLUMN name TEXT", at(5));
    expect(
      site.conflicts.map((review) => [review.id, review.loser?.value]),
      site.name,
    ).toEqual([[id, "of a"]]);
  }
  settle(...all);
  b.replica.resolve({ id, keep: "loser", set: [] });
  settle(...all);
  for (const site of all) {
    expect(site.conflicts, site.name).toEqual([]);
    const rows = site.rows("SELECT k, title, name FROM item ORDER BY k");
    expect(rows, site.name).toEqual([
      { k: "k", title: "of c", name: "of a" },
      { k: "l", title: "nine", name: null },
    ]);
    expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
  }
});

test.each(["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"])(
  "what a deleted row held in a column that is renamed then is in its history, and so is what others write to one that is not here yet: key %s",
  (key) => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(id ${key}, name TEXT)`)) as [Site, Site];
    a.edit("INSERT INTO item VALUES(1, 'typed'), (2, 'two')", at(0));
    settle(a, b);
    b.edit("DELETE FROM item WHERE id = 1", at(1));
    settle(a, b);
    for (const site of [a, b]) site.edit("ALTER TABLE item RENAME COLUMN name TO title", at(2));
    b.edit("ALTER TABLE item ADD COLUMN note TEXT", at(3));
    b.edit("UPDATE item SET note = 'of b'", at(4));
    settle(a, b);
    const told = ({ replica }: Site, id: string) => replica.history("item", id).map(({ column, value }) => [column, value]);
    for (const site of [a, b]) {
      expect(told(site, "1"), site.name).toContainEqual(["name", "typed"]);
      expect(told(site, "2"), site.name).toContainEqual(["note", "of b"]);
    }
  },
);

describe("a column that is renamed in a table without a key", () => {
  const start = (): [Site, Site, Site] => {
    const schema = "CREATE TABLE log(note TEXT, n INT)";
    return [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
  };
  const migrate = (...sites: Site[]) => {
    for (const site of sites) site.edit("ALTER TABLE log RENAME COLUMN note TO text", at(5));
    settle(...sites);
  };

  test.each([0, 1])("has its value in a row that was deleted on one node and edited on another, whoever wrote it: %s", (author) => {
    const all = start();
    const [a, b] = all;
    all[author]!.edit("INSERT INTO log VALUES('typed', 1)", at(0));
    settle(...all);
    b.edit("DELETE FROM log", at(1));
    a.edit("UPDATE log SET n = 2", at(2));
    migrate(...all);
    for (const site of all) expect(site.rows("SELECT * FROM log"), site.name).toEqual([{ text: "typed", n: 2 }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("has what was typed in it in a row that came before the migration, where nothing else about the row tells it from one with NULL", () => {
    const [a, b] = start();
    a.edit("INSERT INTO log VALUES('typed', 1), (NULL, 2)", at(0));
    const rename = "ALTER TABLE log RENAME COLUMN n TO m";
    a.edit(rename, at(1));
    settle(a, b);
    b.edit(rename, at(2));
    settle(a, b);
    for (const site of [a, b])
      expect(site.rows("SELECT * FROM log ORDER BY m"), site.name).toEqual([
        { note: "typed", m: 1 },
        { note: null, m: 2 },
      ]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("has on all nodes what was typed last, and what others had typed is a conflict", () => {
    const all = start();
    const [a, b] = all;
    a.edit("INSERT INTO log VALUES('first', 1), ('other', 1), ('other', 1)", at(0));
    settle(...all);
    a.edit("UPDATE log SET note = 'of a' WHERE note = 'first'", at(1));
    b.edit("UPDATE log SET note = 'of b' WHERE note = 'first'", at(2));
    migrate(...all);
    for (const site of all) {
      expect(site.rows("SELECT text FROM log ORDER BY text"), site.name).toEqual([{ text: "of b" }, { text: "other" }, { text: "other" }]);
      expect(site.conflicts.map(({ loser }) => loser?.value)).toContain("of a");
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });
});

describe.each([
  ["a column is renamed", "ALTER TABLE log RENAME COLUMN n TO m"],
  [
    "the table is rebuilt with a column that has a value",
    "CREATE TABLE made(note TEXT, more TEXT, n INT, at TEXT); INSERT INTO made SELECT note, more, n, 'now' FROM log; DROP TABLE log; ALTER TABLE made RENAME TO log",
  ],
])("in a table without a key, where %s", (_, migration) => {
  function migrated(work: (a: Site, b: Site) => void): [Site, Site, Site] {
    const schema = "CREATE TABLE log(note TEXT, more TEXT, n INT)";
    const all: [Site, Site, Site] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
    const [a, b] = all;
    a.edit("INSERT INTO log VALUES('first', 'more', 1), ('other', 'more', 2)", at(0));
    settle(...all);
    work(a, b);
    for (const site of all) site.edit(`BEGIN; ${migration}; COMMIT`, at(5));
    settle(...all);
    return all;
  }

  test("what lost in other columns stays listed", () => {
    const all = migrated((a, b) => {
      a.edit("UPDATE log SET note = 'of a' WHERE note = 'first'", at(1));
      b.edit("UPDATE log SET note = 'of b' WHERE note = 'first'", at(2));
      settle(a, b);
    });
    for (const site of all) {
      expect(
        site.conflicts.map(({ column, winner, loser }) => [column, winner?.value, loser?.value]),
        site.name,
      ).toEqual([["note", "of b", "of a"]]);
      expect(site.rows("SELECT note, more FROM log ORDER BY note"), site.name).toEqual([
        { note: "of b", more: "more" },
        { note: "other", more: "more" },
      ]);
    }
  });

  test("what somebody else typed in other columns before counts", () => {
    const all = migrated((a, b) => {
      a.edit("UPDATE log SET note = 'of a' WHERE note = 'first'", at(1));
      b.edit("UPDATE log SET more = 'of b' WHERE note = 'first'", at(2));
    });
    for (const site of all) {
      expect(site.rows("SELECT note, more FROM log ORDER BY note"), site.name).toEqual([
        { note: "of a", more: "of b" },
        { note: "other", more: "more" },
      ]);
      expect(site.conflicts, site.name).toEqual([]);
    }
  });
});

describe("a conflict in a table that a migration makes anew with another kind of key", () => {
  const NAMED = "CREATE TABLE item(name TEXT PRIMARY KEY, note TEXT)";
  const NUMBERED = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT UNIQUE, note TEXT)";
  const LOOSE = "CREATE TABLE item(name TEXT, note TEXT)";
  const madeAnew = (sql: string) =>
    `ALTER TABLE item RENAME TO old; ${sql}; INSERT INTO item(name, note) SELECT name, note FROM old ORDER BY name; DROP TABLE old`;
  const losers = ({ conflicts }: Site) => conflicts.map(({ column, winner, loser }) => [column, winner?.value ?? null, loser?.value]);

  test.each([
    ["a natural one, an integer", NAMED, NUMBERED],
    ["an integer, a natural one", NUMBERED, NAMED],
    ["none, an integer", LOOSE, NUMBERED],
    ["a natural one, none", NAMED, LOOSE],
  ])("stays listed where it was, until somebody has seen it: %s", (_, before, after) => {
    const alike = before === NAMED ? "; UPDATE item SET note = 'of all' WHERE name = 'two'" : "";
    const all = ["a", "b", "c"].map((name) => new Site(name, before)) as [Site, Site, Site];
    const [a, b, c] = all;
    a.edit("INSERT INTO item(name, note) VALUES('one', 'first'), ('two', 'first')", at(0));
    settle(...all);
    for (const [i, site] of all.entries()) site.edit(`UPDATE item SET note = 'of ${site.name}' WHERE name = 'one'${alike}`, at(i + 1));
    settle(...all);
    const ids = a.conflicts.map(({ id }) => id);
    for (const site of all) site.edit(madeAnew(after), at(4));
    for (const site of all) site.nowUs = at(20);
    settle(...all);
    for (const site of all) {
      expect(site.rows("SELECT name, note FROM item ORDER BY name"), site.name).toEqual([
        { name: "one", note: "of c" },
        { name: "two", note: alike === "" ? "first" : "of all" },
      ]);
      expect(losers(site), site.name).toEqual([
        ["note", null, "of a"],
        ["note", null, "of b"],
      ]);
      expect(site.conflicts.map(({ id }) => id).sort()).toEqual([...ids].sort());
    }
    const [lost] = a.conflicts;
    const decide = (site: Site, keep: "winner" | "loser" | "", note: string | null = null) =>
      site.replica.resolve({ id: lost!.id, keep, set: note === null ? [] : [{ name: "note", value: note }] });
    expect(refusal(() => decide(a, "loser"))).toBe("INVALID_ARGUMENT");
    expect(refusal(() => decide(a, "", "x"))).toBe("INVALID_ARGUMENT");
    decide(a, "winner");
    a.restart();
    c.edit("UPDATE item SET note = 'more' WHERE name = 'two'", at(21));
    settle(...all);
    expect(losers(a)).toEqual([["note", null, "of b"]]);
    expect(losers(b)).toHaveLength(2);
    expect(a.rows("SELECT note FROM item ORDER BY name")).toEqual([{ note: "of c" }, { note: "more" }]);
    expect(a.pull(c).at(-1)?.verified).toBe(true);
  });

  test("shows no key that is sensitive", () => {
    const all = ["a", "b"].map((name) => new Site(name, NAMED, { sensitive: ["item.name"] })) as [Site, Site];
    const [a, b] = all;
    a.edit("INSERT INTO item VALUES('secret', 'first')", at(0));
    settle(...all);
    for (const [i, site] of all.entries()) site.edit(`UPDATE item SET note = 'of ${site.name}'`, at(i + 1));
    settle(...all);
    b.edit(madeAnew(NUMBERED), at(4));
    expect(losers(b)).toEqual([["note", null, "of a"]]);
    expect(b.conflicts.map(({ key }) => key)).toEqual(["(sensitive)"]);
  });

  test("so does what a row said itself that is one with another", () => {
    const all = ["a", "b"].map((name) => new Site(name, NUMBERED)) as [Site, Site];
    const [a, b] = all;
    a.edit("INSERT INTO item(name, note) VALUES('one', 'of a')", at(0));
    b.edit("INSERT INTO item(name, note) VALUES('one', 'of b')", at(1));
    settle(...all);
    for (const site of all) expect(losers(site), site.name).toEqual([["note", "of b", "of a"]]);
    for (const site of all) site.edit(madeAnew(NAMED), at(4));
    for (const site of all) site.nowUs = at(20);
    settle(...all);
    for (const site of all) {
      expect(site.rows("SELECT name, note FROM item"), site.name).toEqual([{ name: "one", note: "of b" }]);
      expect(losers(site), site.name).toEqual([["note", null, "of a"]]);
    }
    const [lost] = a.conflicts;
    a.replica.resolve({ id: lost!.id, keep: "winner", set: [] });
    expect(losers(a)).toEqual([]);
  });
});

describe("a conflict in a table that is dropped", () => {
  const losers = ({ conflicts }: Site) =>
    conflicts
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .map(({ id, table, column, key, loser }) => ({ id, table, column, key, value: loser?.value }));

  /** Three nodes, with something that lost in `note` of two rows; `title` was renamed since. */
  function conflicted(key: string, options: SiteOptions = {}): [Site, Site, Site] {
    const schema = `CREATE TABLE item(${key}, name TEXT, title TEXT, note TEXT)`;
    const all = ["a", "b", "c"].map((name) => new Site(name, schema, options)) as [Site, Site, Site];
    const [a, b] = all;
    a.edit(
      "INSERT INTO item(name, title, note) VALUES('one', 'of one', 'first'), ('two', 'of two', 'first'), ('three', '', 'first')",
      at(0),
    );
    settle(...all);
    for (const [i, site] of [a, b].entries())
      site.edit(`UPDATE item SET note = name || ' of ${site.name}' WHERE name <> 'three'`, at(i + 1));
    settle(...all);
    for (const site of all) site.edit("ALTER TABLE item RENAME COLUMN title TO heading", at(3));
    settle(...all);
    return all;
  }
  const migrate = (all: readonly Site[], ...steps: string[]) => {
    for (const site of all) for (const [i, sql] of steps.entries()) site.edit(sql, at(4 + i));
    for (const site of all) site.nowUs = at(30);
    settle(...all);
  };

  test.each([
    [
      "merged into another",
      "id INTEGER PRIMARY KEY",
      ["CREATE TABLE entry(body TEXT)", "INSERT INTO entry SELECT note FROM item", "DROP TABLE item"],
    ],
    [
      "rebuilt by another name",
      "k TEXT PRIMARY KEY DEFAULT (hex(randomblob(8)))",
      ["CREATE TABLE entry(name TEXT PRIMARY KEY, note TEXT); INSERT INTO entry SELECT name, note FROM item; DROP TABLE item"],
    ],
    [
      "rebuilt in steps that are sent one by one",
      "k TEXT",
      [
        "CREATE TABLE made(name TEXT, note TEXT)",
        "INSERT INTO made SELECT name, note FROM item",
        "DROP TABLE item",
        "ALTER TABLE made RENAME TO item",
      ],
    ],
  ])("stays listed where it was, until somebody has seen it: %s", (_, columns, steps) => {
    const all = conflicted(columns);
    const [a, b] = all;
    const before = losers(a);
    expect(new Set(before.map(({ value }) => value))).toEqual(new Set(["one of a", "two of a"]));
    const [{ id }] = a.conflicts as [Review];
    migrate(all, ...steps);
    // What all had written alike, as they renamed a column, is no question to anyone.
    for (const site of all) expect(losers(site), site.name).toEqual(before);
    const counted = all.map(({ replica }) => replica.state().conflicts);
    const decide = (keep: "winner" | "loser") => a.replica.resolve({ id, keep, set: [] });
    expect(refusal(() => decide("loser"))).toBe("INVALID_ARGUMENT");
    decide("winner");
    a.restart();
    expect(losers(a)).toEqual(before.filter((one) => one.id !== id));
    expect(losers(b)).toEqual(before);
    expect(all.map(({ replica }, i) => (counted[i] as number) - replica.state().conflicts)).toEqual([1, 0, 0]);
  });

  test.each(["id INTEGER PRIMARY KEY", "k TEXT PRIMARY KEY DEFAULT (hex(randomblob(8)))", "k TEXT"])(
    "is in the history of its row, as is all that one held which had been deleted: key %s",
    (columns) => {
      const all = conflicted(columns);
      const [a, b] = all;
      const keyOf = (value: string) => a.conflicts.find(({ loser }) => loser?.value === value)?.key ?? "";
      const [settled, deleted] = [keyOf("one of a"), keyOf("two of a")];
      b.edit("UPDATE item SET note = 'seen' WHERE name = 'one'; DELETE FROM item WHERE name = 'two'", at(4));
      settle(...all);
      migrate(all, "DROP TABLE item");
      const told = (site: Site, key: string) =>
        site.replica.history("item", key).flatMap(({ operation, value }) => (value === null ? [] : [[operation, value]]));
      for (const site of all) {
        expect(told(site, settled), site.name).toContainEqual(["closed", "one of a"]);
        expect(told(site, deleted), site.name).toEqual(
          expect.arrayContaining([
            ["update", "two"],
            ["update", "two of b"],
            ["conflict", "two of a"],
          ]),
        );
      }
      expect(a.replica.history("item", "none")).toEqual([]);
      expect(refusal(() => a.replica.history("items", settled))).toBe("NOT_FOUND");
    },
  );

  test("shows nothing that is sensitive", () => {
    const all = conflicted("id INTEGER PRIMARY KEY", { sensitive: ["item.note"] });
    migrate(all, "DROP TABLE item");
    const renamed = conflicted("id INTEGER PRIMARY KEY", { sensitive: ["item.body"] });
    migrate(renamed, "ALTER TABLE item RENAME COLUMN note TO body", "DROP TABLE item");
    for (const site of [...all, ...renamed]) {
      expect(site.conflicts.length, site.name).toBeGreaterThan(1);
      for (const { key, loser } of site.conflicts) expect([key, loser?.value], site.name).toEqual(["(sensitive)", "(sensitive)"]);
    }
  });
});
