import { isPythonHere, runProgram, sqliteProgram } from "@scoutsync/testkit";
import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id) ON DELETE CASCADE, label TEXT)`;

/** Two sites that share two teams and a robot. */
function pair(schema = SCHEMA): [Site, Site] {
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO team(name, rank) VALUES('one', 1), ('two', 2); INSERT INTO robot VALUES(1, 1, 'r1')");
  settle(a, b);
  return [a, b];
}

/** As Alembic and Django do it: a new table gets the rows and the old one's name. */
const rebuild = (between = "") => `PRAGMA foreign_keys = OFF; BEGIN;
  CREATE TABLE team_new(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER, motto TEXT NOT NULL DEFAULT 'none');
  INSERT INTO team_new(id, name, rank) SELECT id, name, rank FROM team;
  DROP TABLE team; ALTER TABLE team_new RENAME TO team; ${between}
  COMMIT; PRAGMA foreign_keys = ON`;

describe("while the node runs", () => {
  test("a column is added on both sides, and then holds values", () => {
    const [a, b] = pair();
    for (const site of [a, b]) site.edit("ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'");
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    a.edit("UPDATE team SET motto = 'onward' WHERE id = 1; INSERT INTO team VALUES(9, 'nine', 9, 'new')");
    settle(a, b);
    expect(b.rows("SELECT id, name, motto FROM team")).toEqual([
      { id: 1, name: "one", motto: "onward" },
      { id: 2, name: "two", motto: "none" },
      { id: 9, name: "nine", motto: "new" },
    ]);
    expect(b.rows("SELECT * FROM team")).toEqual(a.rows("SELECT * FROM team"));
  });

  test("a row from before a column was added has its history, and its conflicts: nobody has written that column", () => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT)")) as [Site, Site];
    a.edit("INSERT INTO word VALUES('k', 'one')");
    settle(a, b);
    for (const site of [a, b]) site.edit("ALTER TABLE word ADD COLUMN y TEXT DEFAULT 'none'");
    settle(a, b);
    const told = (site: Site) => site.replica.history("word", "k").map(({ operation, column, value }) => [operation, column, value]);
    for (const site of [a, b])
      expect(told(site)).toEqual([
        ["insert", null, null],
        ["update", "k", "k"],
        ["update", "x", "one"],
      ]);
    for (const site of [a, b]) site.edit(`UPDATE word SET x = 'by ${site.name}'`, b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.conflicts).toHaveLength(1);
    a.edit("UPDATE word SET y = 'onward'", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(told(site)).toContainEqual(["update", "y", "onward"]);
  });

  test("a column that is added and filled in one transaction travels with its values", () => {
    const [a, b] = pair();
    b.edit("ALTER TABLE team ADD COLUMN motto TEXT");
    a.edit("BEGIN; ALTER TABLE team ADD COLUMN motto TEXT; UPDATE team SET motto = 'of ' || name; COMMIT");
    settle(a, b);
    expect(b.rows("SELECT motto FROM team ORDER BY id")).toEqual([{ motto: "of one" }, { motto: "of two" }]);
  });

  test("a table is made, and takes part from its first row", () => {
    const [a, b] = pair();
    for (const site of [a, b]) site.edit("CREATE TABLE note(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), line TEXT)");
    a.edit("INSERT INTO note VALUES(1, 2, 'hello')");
    settle(a, b);
    expect(b.rows("SELECT line FROM note")).toEqual([{ line: "hello" }]);
    expect(b.replica.state().tables).toContain("note");
  });

  test("a table is made and filled in one transaction", () => {
    const [a, b] = pair();
    a.edit("BEGIN; CREATE TABLE note(k TEXT PRIMARY KEY, line TEXT); INSERT INTO note VALUES('k', 'first'); COMMIT");
    b.edit("CREATE TABLE note(k TEXT PRIMARY KEY, line TEXT)");
    settle(a, b);
    expect(b.rows("SELECT * FROM note")).toEqual([{ k: "k", line: "first" }]);
  });

  test("a column is renamed, an index is made: what is written afterwards is captured", () => {
    const [a, b] = pair();
    for (const site of [a, b]) site.edit("ALTER TABLE robot RENAME COLUMN label TO title; CREATE UNIQUE INDEX robot_title ON robot(title)");
    a.edit("INSERT OR REPLACE INTO robot VALUES(5, 2, 'r1')");
    settle(a, b);
    expect(b.rows("SELECT id, title FROM robot")).toEqual([{ id: 5, title: "r1" }]);
    expect(a.rows("SELECT id, title FROM robot")).toEqual([{ id: 5, title: "r1" }]);
  });
});

describe("a table that is rebuilt and renamed", () => {
  test("keeps its rows' identities, and nothing is seen as edited", () => {
    const [a, b] = pair();
    for (const site of [a, b]) site.edit(rebuild());
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT name, motto FROM team ORDER BY id")).toEqual([
        { name: "one", motto: "none" },
        { name: "two", motto: "none" },
      ]);
      expect(site.conflicts).toEqual([]);
      expect(site.rows("SELECT team.name FROM robot JOIN team ON team.id = robot.team_id")).toEqual([{ name: "one" }]);
    }
    b.edit("UPDATE team SET rank = 50 WHERE id = 2", b.nowUs + 1_000_000);
    settle(a, b);
    expect(a.rows("SELECT id, rank FROM team WHERE rank = 50")).toEqual([{ id: 2, rank: 50 }]);
  });

  test("has rows written while it had no triggers: they are found", () => {
    const [a, b] = pair();
    b.edit(rebuild());
    a.edit(
      rebuild(
        "INSERT INTO team VALUES(7, 'seven', 7, 'new'); UPDATE team SET name = 'edited' WHERE id = 1; DELETE FROM team WHERE id = 2;",
      ),
    );
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT id, name, motto FROM team ORDER BY id")).toEqual([
        { id: 1, name: "edited", motto: "none" },
        { id: 7, name: "seven", motto: "new" },
      ]);
    }
  });

  test("has writes from before that no drain has seen: they are not lost either", () => {
    const [a, b] = pair();
    b.edit(rebuild());
    a.write("UPDATE team SET name = 'before' WHERE id = 1; INSERT INTO robot VALUES(8, 2, 'before')");
    a.write(rebuild("UPDATE team SET rank = 99 WHERE id = 2;"));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT id, name, rank FROM team ORDER BY id")).toEqual([
        { id: 1, name: "before", rank: 1 },
        { id: 2, name: "two", rank: 99 },
      ]);
      expect(site.rows("SELECT label FROM robot WHERE id = 8")).toEqual([{ label: "before" }]);
    }
  });

  test("has deletes from before that no drain has seen: they keep the image that a later edit elsewhere brings back", () => {
    const [a, b] = pair();
    const same =
      "BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank); INSERT INTO n SELECT * FROM team; DROP TABLE team; ALTER TABLE n RENAME TO team; COMMIT";
    a.write(`PRAGMA foreign_keys = OFF; DELETE FROM team WHERE id = 2; ${same}`);
    a.replica.drain();
    b.edit("UPDATE team SET rank = 77 WHERE id = 2", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT name, rank FROM team WHERE id = 2")).toEqual([{ name: "two", rank: 77 }]);
  });

  test("while the node was down is found at the next start", () => {
    const [a, b] = pair();
    b.edit(rebuild());
    a.replica.close();
    a.write(rebuild("INSERT INTO team(name) VALUES('while it was down');"));
    a.start();
    settle(a, b);
    expect(b.rows("SELECT name FROM team WHERE id > 2")).toEqual([{ name: "while it was down" }]);
  });
});

describe("triggers of the application on synced tables", () => {
  const log = "CREATE TABLE log(id INTEGER PRIMARY KEY, line TEXT);";

  test("that write to synced tables run where the row is written, and not a second time elsewhere", () => {
    const schema = `${SCHEMA}; ${log}
      CREATE TRIGGER team_added AFTER INSERT ON team BEGIN INSERT INTO log(line) VALUES('added ' || NEW.name); END;
      CREATE TRIGGER team_ranked AFTER UPDATE OF rank ON team BEGIN UPDATE team SET name = name || '!' WHERE id = NEW.id; END`;
    const [a, b] = pair(schema);
    b.edit("UPDATE team SET rank = 5 WHERE id = 1");
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT line FROM log ORDER BY line")).toEqual([{ line: "added one" }, { line: "added two" }]);
      expect(site.rows("SELECT name FROM team ORDER BY id")).toEqual([{ name: "one!" }, { name: "two" }]);
      expect(site.rows("SELECT name FROM sqlite_schema WHERE name LIKE 'team\\_%' ESCAPE '\\' AND type = 'trigger' ORDER BY name")).toEqual(
        [{ name: "team_added" }, { name: "team_ranked" }],
      );
    }
  });

  test("that feed a full-text index run wherever the row arrives", () => {
    const schema = `${SCHEMA}; CREATE VIRTUAL TABLE found USING fts5(name);
      CREATE TRIGGER team_indexed AFTER INSERT ON team BEGIN INSERT INTO found(rowid, name) VALUES(NEW.id, NEW.name); END`;
    const [, b] = pair(schema);
    expect(b.rows("SELECT rowid AS id FROM found WHERE found MATCH 'two'")).toEqual([{ id: 2 }]);
  });

  test("are there as they were after an apply that failed", () => {
    const [a, b] = pair(
      `${SCHEMA}; ${log} CREATE TRIGGER team_added AFTER INSERT ON team BEGIN INSERT INTO log(line) VALUES(NEW.name); END`,
    );
    a.edit("INSERT INTO team VALUES(3, 'three', 3)");
    const batch = a.batchFor(b);
    expect(() => b.replica.apply({ ...batch, count: batch.count + 1 })).toThrow(/number of changes/);
    b.edit("INSERT INTO team VALUES(4, 'four', 4)");
    expect(b.rows("SELECT line FROM log WHERE line = 'four'")).toEqual([{ line: "four" }]);
  });
});

describe("programs that people use", () => {
  test("the sqlite3 program writes, migrates and reads while the node runs", (context) => {
    const [a, b] = pair();
    const answer = sqliteProgram(
      a.path,
      "PRAGMA trusted_schema=OFF; INSERT INTO team(name) VALUES('by hand'); SELECT changes(), last_insert_rowid();",
    );
    if (answer === null) {
      console.log("the sqlite3 program is not here");
      return context.skip("the sqlite3 program is not here");
    }
    expect(answer.trim()).toBe("1|3");
    sqliteProgram(
      a.path,
      "UPDATE team SET id = 30 WHERE id = 3; ALTER TABLE team ADD COLUMN motto; UPDATE team SET motto = 'm' WHERE id = 30;",
    );
    b.edit("ALTER TABLE team ADD COLUMN motto");
    settle(a, b);
    expect(b.rows("SELECT id, name, motto FROM team WHERE name = 'by hand'")).toEqual([{ id: 30, name: "by hand", motto: "m" }]);
    expect(sqliteProgram(a.path, "PRAGMA integrity_check;")?.trim()).toBe("ok");
  });

  test("Python sees the ids and counts that it would see without capture", async (context) => {
    if (!isPythonHere()) {
      console.log("python3 is not here");
      return context.skip("python3 is not here");
    }
    const [a, b] = pair();
    const script = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=5)
db.execute("PRAGMA foreign_keys=ON")
one = db.execute("INSERT INTO team(name) VALUES ('py')")
many = db.executemany("INSERT OR REPLACE INTO robot VALUES (?, ?, ?)", [(n, one.lastrowid, "p") for n in range(1, 6)])
gone = db.execute("DELETE FROM team WHERE id = 1")
print(one.lastrowid, many.rowcount, gone.rowcount)
db.commit()
`;
    const { stdout, stderr } = await runProgram("python3", ["-c", script, a.path]);
    expect([stdout.trim(), stderr]).toEqual(["3 5 1", ""]);
    settle(a, b);
    expect(b.rows("SELECT id, team_id FROM robot")).toEqual([1, 2, 3, 4, 5].map((id) => ({ id, team_id: 3 })));
    expect(b.rows("SELECT name FROM team")).toEqual([{ name: "two" }, { name: "py" }]);
  });
});

describe("a column that the application drops while the node captures", () => {
  const schema = `
    CREATE TABLE s(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INT); CREATE UNIQUE INDEX su ON s(b) WHERE c > 0 AND b IS NOT NULL;
    CREATE TABLE n(k TEXT, l TEXT, a, b UNIQUE, c, PRIMARY KEY(k, l)) WITHOUT ROWID; CREATE UNIQUE INDEX nu ON n(c, l) WHERE c IS NOT NULL;
    CREATE TABLE o(a, b, c); CREATE UNIQUE INDEX ou ON o(c)`;
  const before = `INSERT INTO s VALUES(1, 'a', 'b', 1), (2, 'a', 'bb', 1); INSERT INTO n VALUES('k', 'l', 1, 2, 3); INSERT INTO o VALUES(1, 2, 3)`;
  const drop = `DROP INDEX su; ALTER TABLE s DROP COLUMN c; ALTER TABLE s DROP COLUMN b; DROP INDEX nu; ALTER TABLE n DROP COLUMN c;
    ALTER TABLE n DROP COLUMN a; DROP INDEX ou; ALTER TABLE o DROP COLUMN c;`;
  const after = `INSERT INTO s VALUES(5, 'q'); UPDATE s SET a = 'w' WHERE id = 1; INSERT OR REPLACE INTO s VALUES(5, 'again'); DELETE FROM s WHERE id = 2;
    UPDATE s SET id = 9 WHERE id = 5; INSERT INTO n VALUES('x', 'y', 1); INSERT OR REPLACE INTO n VALUES('x2', 'y', 1); UPDATE n SET b = b + 10;
    INSERT INTO o VALUES(7, 8); UPDATE o SET a = 9 WHERE b = 8; INSERT OR REPLACE INTO o(rowid, a, b) VALUES(2, 0, 0);`;
  const rows = (site: Site) => [
    site.rows("SELECT * FROM s ORDER BY id"),
    site.rows("SELECT * FROM n ORDER BY k"),
    site.rows("SELECT * FROM o ORDER BY a, b"),
  ];

  test("goes, and what is written afterwards is captured", () => {
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit(before);
    settle(a, b);
    b.edit(drop);
    a.write(drop);
    a.write(after);
    settle(a, b);
    expect(rows(a)[0]).toEqual([
      { id: 1, a: "w" },
      { id: 9, a: "again" },
    ]);
    expect(rows(b)).toEqual(rows(a));
  });

  test("is no edit of the rows that are left", () => {
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit(before);
    settle(a, b);
    const count = a.replica.count(new Map()).changes;
    a.edit("DROP INDEX su; ALTER TABLE s DROP COLUMN c; DROP INDEX nu; ALTER TABLE n DROP COLUMN c");
    expect(a.replica.count(new Map()).changes).toBe(count);
    b.edit("UPDATE s SET a = 'of b'; UPDATE n SET a = 'of b'", b.nowUs + 1_000_000);
    settle(a, b);
    expect(a.rows("SELECT a FROM s")).toEqual([{ a: "of b" }, { a: "of b" }]);
    for (const site of [a, b]) expect(site.conflicts).toEqual([]);
  });

  test("goes with the sqlite3 program, too", (context) => {
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit(before);
    settle(a, b);
    b.edit(drop);
    if (sqliteProgram(a.path, `${drop}${after}`) === null) {
      console.log("the sqlite3 program is not here");
      return context.skip("the sqlite3 program is not here");
    }
    a.replica.drain();
    settle(a, b);
    expect(rows(b)).toEqual(rows(a));
  });
});

const KINDS = {
  integer: "CREATE TABLE tag(id INTEGER PRIMARY KEY, k TEXT, v TEXT)",
  text: "CREATE TABLE tag(k TEXT PRIMARY KEY, v TEXT)",
  none: "CREATE TABLE tag(k TEXT, v TEXT)",
};

test.each([
  ["text", "integer"],
  ["integer", "text"],
  ["none", "integer"],
  ["text", "none"],
] as const)(
  "a table whose key becomes another kind of key does not take what others write to the former one: %s, then %s",
  (before, after) => {
    const [a, b] = [new Site("a", KINDS[before]), new Site("b", KINDS[before])];
    b.edit("INSERT INTO tag(k, v) VALUES('a', 'first')");
    settle(a, b);
    const change = `BEGIN; ALTER TABLE tag RENAME TO was; ${KINDS[after]}; INSERT INTO tag(k, v) SELECT k, v FROM was; DROP TABLE was; COMMIT`;
    a.edit(change, START_US + SECOND_US);
    b.edit("INSERT INTO tag(k, v) VALUES('b', 'second')", START_US + 2 * SECOND_US);
    a.nowUs = START_US + 20 * SECOND_US;
    settle(a, b);
    for (const more of ["CREATE TABLE x(id INTEGER PRIMARY KEY)", "ALTER TABLE tag ADD COLUMN more TEXT"])
      a.edit(more, a.nowUs + SECOND_US);
    settle(a, b);
    expect(a.rows("SELECT k, v FROM tag ORDER BY k")).toEqual([{ k: "a", v: "first" }]);
    // Its own migration copies what only it had.
    b.edit(change, a.nowUs + SECOND_US);
    b.edit("ALTER TABLE tag ADD COLUMN more TEXT", a.nowUs + 2 * SECOND_US);
    a.nowUs = b.nowUs += 20 * SECOND_US;
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT DISTINCT k, v FROM tag ORDER BY k").map(({ v }) => v)).toEqual(["first", "second"]);
  },
);

describe("what somebody set to its default is not what it was before once others tell that under another name of the column", () => {
  const TEXT = "TEXT PRIMARY KEY NOT NULL";
  const NUMBER = "INTEGER PRIMARY KEY";
  const ALTERED = (name: string) => `ALTER TABLE item RENAME COLUMN flag TO ${name}`;
  const REBUILT = (_: string, columns: string) => `CREATE TABLE made(${columns}); INSERT INTO made SELECT id, flag, n FROM item;
    DROP TABLE item; ALTER TABLE made RENAME TO item`;

  // Rows have the same hash as before where the name is where it was in the order of names.
  test.each([
    ["NULL", TEXT, "altered", "flags", ALTERED],
    ["0", TEXT, "made anew", "state", REBUILT],
    ["0", NUMBER, "altered", "state", ALTERED],
    ["NULL", NUMBER, "made anew", "flags", REBUILT],
    ["0", "INT", "altered", "flags", ALTERED],
    ["NULL", "INT", "altered", "state", ALTERED],
  ])("%s, key %s, table %s, to %s", (none, key, _, name, rename) => {
    const columns = (flag: string) => `id ${key}, ${flag} INT${none === "0" ? " NOT NULL DEFAULT 0" : ""}, n INT`;
    const [a, b, c] = ["a", "b", "c"].map((site) => new Site(site, `CREATE TABLE item(${columns("flag")})`)) as [Site, Site, Site];
    const at = (seconds: number) => START_US + seconds * SECOND_US;
    a.edit("INSERT INTO item VALUES(1, 5, 1), (2, 5, 1), (3, 5, 1)", at(0));
    settle(a, b, c);
    a.edit(`UPDATE item SET flag = ${none} WHERE id < 3`, at(5));
    c.pull(a);
    c.edit("UPDATE item SET n = 2 WHERE id = 2", at(6));
    for (const [i, site] of [b, a, c].entries()) {
      site.edit(rename(name, columns(name)), at(10 + i));
      if (site === b) a.pull(b);
    }
    settle(a, b, c);
    const set = none === "0" ? 0 : null;
    for (const site of [a, b, c]) {
      expect(site.rows(`SELECT CAST(id AS INT) id, ${name} flag, n FROM item ORDER BY 1`)).toEqual([
        { id: 1, flag: set, n: 1 },
        { id: 2, flag: set, n: 2 },
        { id: 3, flag: 5, n: 1 },
      ]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });
});

describe("what somebody typed under a column's new name is not what another node had under the former one once that migrates, too", () => {
  const ALTERED = "ALTER TABLE item RENAME COLUMN flag TO state";
  const REBUILT = (key: string) => `CREATE TABLE made(id ${key}, state, n INT); INSERT INTO made SELECT id, flag, n FROM item;
    DROP TABLE item; ALTER TABLE made RENAME TO item`;
  const at = (seconds: number) => START_US + seconds * SECOND_US;

  test.each(
    ["TEXT PRIMARY KEY NOT NULL", "INTEGER PRIMARY KEY", "INT"].flatMap((key) => [[key, ALTERED] as const, [key, REBUILT(key)] as const]),
  )("whether it has come before or not: key %s, %s", (key, rename) => {
    const [a, b, c] = ["a", "b", "c"].map((site) => new Site(site, `CREATE TABLE item(id ${key}, flag, n INT)`)) as [Site, Site, Site];
    a.edit("INSERT INTO item VALUES(1, 5, 1), (2, 5, 1), (3, 5, 1), (4, 5, 1), (5, 5, 1)", at(0));
    settle(a, b, c);
    b.edit(rename, at(10));
    b.edit("UPDATE item SET state = 7 WHERE id < 4", at(11));
    b.edit("UPDATE item SET state = NULL WHERE id = 4", at(11));
    a.edit("UPDATE item SET n = 9 WHERE id = 2 OR id = 4; UPDATE item SET flag = 8 WHERE id = 3", at(15));
    c.edit("UPDATE item SET n = 9 WHERE id = 1", at(16));
    a.pull(b);
    a.edit(rename, at(20));
    c.edit(rename, at(25));
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT CAST(id AS INT) id, state, n FROM item ORDER BY 1"), site.name).toEqual([
        { id: 1, state: 7, n: 9 },
        { id: 2, state: 7, n: 9 },
        { id: 3, state: 8, n: 1 },
        { id: 4, state: null, n: 9 },
        { id: 5, state: 5, n: 1 },
      ]);
      const lost = site.conflicts.filter(({ column }) => column === "state").map(({ loser }) => loser?.value);
      expect(new Set(lost), site.name).toEqual(new Set([5n, 7n]));
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test.each(["TEXT PRIMARY KEY NOT NULL", "INTEGER PRIMARY KEY", "INT"])(
    "nor what one that went held, where another came: key %s",
    (key) => {
      const [a, b] = ["a", "b"].map((site) => new Site(site, `CREATE TABLE item(id ${key}, flag INT, n INT)`)) as [Site, Site];
      const migration = "ALTER TABLE item DROP COLUMN flag; ALTER TABLE item ADD COLUMN note TEXT";
      a.edit("INSERT INTO item VALUES(1, 5, 1), (2, 5, 1)", at(0));
      settle(a, b);
      a.edit("UPDATE item SET flag = 0 WHERE id = 1", at(5));
      b.edit(migration, at(10));
      b.edit("UPDATE item SET note = 'typed'", at(11));
      a.edit("UPDATE item SET n = 9", at(15));
      a.edit(migration, at(20));
      settle(a, b);
      for (const site of [a, b])
        expect(site.rows("SELECT note, n FROM item ORDER BY id")).toEqual([1, 2].map(() => ({ note: "typed", n: 9 })));
    },
  );
});
