import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { diagnose } from "../src/index.ts";
import { SECOND_US, settle, Site, START_US, testFolder } from "./site.ts";

const SCHEMA = "CREATE TABLE log(line TEXT, n, at REAL)";

/** The multiset of rows, whatever order they are in. */
const bag = (site: Site, table = "log"): string[] =>
  site
    .rows(`SELECT * FROM ${table}`)
    .map((row) => JSON.stringify(Object.values(row)))
    .sort();

/** Leaves the file as the version before left it: nothing is known of rows with NULL in their key. */
function forgetRowsWithoutKey(site: Site): void {
  for (const row of site.rows("SELECT tid FROM _scoutsync_table WHERE name LIKE '%NULL in its key%'")) {
    const tid = String(row["tid"]);
    for (const { type, name } of site.rows(`SELECT type, name FROM sqlite_master WHERE name GLOB '_scoutsync_*_${tid}'`))
      if (type !== "index") site.write(`DROP ${String(type)} IF EXISTS "${String(name)}"`);
    site.write(`DELETE FROM _scoutsync_log WHERE tid = ${tid}; DELETE FROM _scoutsync_digest WHERE tid = ${tid};
      DELETE FROM _scoutsync_table WHERE tid = ${tid}; DELETE FROM _scoutsync_meta WHERE key = 'columns of ${tid}'`);
  }
}

const pair = (schema = SCHEMA): [Site, Site] => [new Site("a", schema), new Site("b", schema)];

describe("tables without a primary key", () => {
  test("keep every copy: the same row from two servers is there twice, on both", () => {
    const [a, b] = pair();
    for (const site of [a, b]) site.edit("INSERT INTO log VALUES('same', 1, 0.5), ('twice', NULL, NULL), ('twice', NULL, NULL)");
    settle(a, b);
    expect(bag(a)).toHaveLength(6);
    expect(bag(b)).toEqual(bag(a));
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  });

  test("lose one copy everywhere where one of two equal ones is deleted", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO log(line) VALUES('x'), ('x'), ('y')");
    settle(a, b);
    b.edit("DELETE FROM log WHERE rowid = (SELECT max(rowid) FROM log WHERE line = 'x')");
    settle(a, b);
    expect(bag(a)).toEqual(['["x",null,null]', '["y",null,null]']);
    expect(bag(b)).toEqual(bag(a));
  });

  test("merge edits of one copy column by column", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO log VALUES('x', 1, 1)");
    settle(a, b);
    a.edit("UPDATE log SET line = 'a'");
    b.edit("UPDATE log SET n = 2");
    settle(a, b);
    expect(bag(a)).toEqual(['["a",2,1]']);
    expect(bag(b)).toEqual(bag(a));
  });

  test("stay the same rows when VACUUM renumbers them, before and after they were drained", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO log(line) VALUES('1'), ('2'), ('3'), ('4'), ('4')");
    settle(a, b);
    b.edit("DELETE FROM log WHERE line = '1'");
    b.write("UPDATE log SET n = 5 WHERE line = '3'; DELETE FROM log WHERE line = '2'; INSERT INTO log(line) VALUES('5')");
    b.app.exec("VACUUM");
    b.write("UPDATE log SET at = 7 WHERE line = '3'");
    settle(a, b);
    a.edit("UPDATE log SET n = 6 WHERE line = '3'");
    settle(a, b);
    expect(bag(a)).toEqual(['["3",6,7]', '["4",null,null]', '["4",null,null]', '["5",null,null]']);
    expect(bag(b)).toEqual(bag(a));
  });

  test("count one delete where two servers delete the same copy, and two where each deletes another", () => {
    const sites = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    const [a, b, c] = sites as [Site, Site, Site];
    a.edit("INSERT INTO log(line) VALUES('x'), ('x'), ('x')");
    settle(...sites);
    a.edit("DELETE FROM log WHERE rowid = 1");
    b.edit("DELETE FROM log WHERE rowid = 1");
    settle(...sites);
    for (const site of sites) expect(bag(site)).toHaveLength(2);
    c.edit("INSERT INTO log(line) VALUES('x')");
    a.edit("DELETE FROM log");
    settle(...sites);
    for (const site of sites) expect(bag(site)).toHaveLength(1);
  });

  test("are the same rows in copies of one file, copies of equal rows included", () => {
    const rows = `${SCHEMA}; INSERT INTO log(line) VALUES('x'), ('y'), ('x')`;
    const a = new Site("a", rows);
    const b = new Site("b", `${SCHEMA}; INSERT INTO log(line) VALUES('y'), ('x'), ('z'), ('x'); DELETE FROM log WHERE line = 'z'; VACUUM`);
    expect(b.pull(a).at(-1)).toMatchObject({ received: 0, verified: true });
    b.edit("DELETE FROM log WHERE line = 'x' AND rowid < (SELECT max(rowid) FROM log)");
    settle(a, b);
    expect(bag(a)).toEqual(['["x",null,null]', '["y",null,null]']);
  });

  test("are not there twice where a migration seeds them on every server", () => {
    const [a, b] = pair("CREATE TABLE other(id INTEGER PRIMARY KEY)");
    for (const site of [a, b])
      site.edit("CREATE TABLE kind(name TEXT, rank INTEGER); INSERT INTO kind VALUES('match', 1), ('pit', 2), ('pit', 2)");
    settle(a, b);
    expect(bag(a, "kind")).toHaveLength(3);
    expect(bag(b, "kind")).toEqual(bag(a, "kind"));
    a.edit("INSERT INTO kind VALUES('pit', 2); CREATE TABLE later(x); INSERT INTO later VALUES('only here')");
    b.edit("CREATE TABLE later(x); INSERT INTO later VALUES('only there')");
    settle(a, b);
    for (const site of [a, b]) expect([bag(site, "kind").length, bag(site, "later").length]).toEqual([4, 2]);
  });

  test("follow a column that a migration adds, and what was written while nothing captured", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO log(line) VALUES('x'), ('y'), ('x'), ('z'), ('gone')");
    settle(a, b);
    for (const site of [a, b]) site.edit("ALTER TABLE log ADD COLUMN tag TEXT DEFAULT 'none'");
    expect(b.pull(a).at(-1)?.received).toBe(0);
    a.replica.close();
    for (const { name } of a.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'")) a.write(`DROP TRIGGER ${String(name)}`);
    a.write("UPDATE log SET n = 1 WHERE line = 'y'; DELETE FROM log WHERE line = 'gone'; INSERT INTO log(line, tag) VALUES('new', 'x')");
    a.start();
    settle(a, b);
    expect(bag(b)).toEqual([
      '["new",null,null,"x"]',
      '["x",null,null,"none"]',
      '["x",null,null,"none"]',
      '["y",1,null,"none"]',
      '["z",null,null,"none"]',
    ]);
    expect(bag(a)).toEqual(bag(b));
  });

  test("follow a row that they refer to when it gets another number", () => {
    const [a, b] = pair(
      "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE visit(team INTEGER REFERENCES team, note TEXT)",
    );
    for (const [i, site] of [a, b].entries()) {
      const { name } = site;
      site.edit(`INSERT INTO team VALUES(1, '${name}'); INSERT INTO visit VALUES(1, '${name}'), (1, '${name}')`, site.nowUs + i);
    }
    settle(a, b);
    for (const site of [a, b]) {
      const joined = site.rows("SELECT name, note FROM visit JOIN team ON team.id = team ORDER BY 1");
      expect(joined.map(({ name, note }) => `${String(name)} ${String(note)}`)).toEqual(["a a", "a a", "b b", "b b"]);
    }
  });

  test.each([
    ["left alone", ""],
    ["edited, then", "UPDATE visit SET note = 'edited' WHERE note = 'y';"],
    ["deleted, and edited by others", "DELETE FROM visit;"],
  ])("refer to who takes a deleted row's number, on every server: %s", (_, more) => {
    const [a, b] = pair(
      "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE visit(team INTEGER REFERENCES team, note TEXT)",
    );
    a.edit("INSERT INTO team VALUES(1, 'first'); INSERT INTO visit VALUES(1, 'x'), (1, 'x'), (1, 'y')");
    settle(a, b);
    a.app.pragma("recursive_triggers = ON");
    a.edit(`INSERT OR REPLACE INTO team VALUES(1, 'second'); ${more}`, START_US + SECOND_US);
    b.edit("UPDATE team SET name = 'first, edited'; UPDATE visit SET note = 'of b' WHERE note = 'y'", START_US + 2 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT DISTINCT name FROM visit JOIN team ON team.id = team"), site.name).toEqual([{ name: "second" }]);
      expect(site.rows("SELECT name FROM team ORDER BY 1"), site.name).toEqual([{ name: "first, edited" }, { name: "second" }]);
    }
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  });

  test("wait for a value that an earlier row has in a UNIQUE column, and displace a later one", () => {
    const [a, b] = pair("CREATE TABLE badge(code TEXT UNIQUE, owner TEXT)");
    a.edit("INSERT INTO badge VALUES('1', 'a')");
    b.edit("INSERT INTO badge VALUES('1', 'b')", b.nowUs + 5);
    settle(a, b);
    for (const site of [a, b]) {
      expect(bag(site, "badge")).toEqual(['["1","a"]']);
      expect(site.replica.reviews({ kind: "parked", id: "", limit: 10 })).toMatchObject([{ image: [{ value: "1" }, { value: "b" }] }]);
    }
    b.edit("INSERT OR REPLACE INTO badge VALUES('1', 'c')");
    settle(a, b);
    for (const site of [a, b]) expect([...bag(site, "badge"), site.replica.state().parked]).not.toContain('["1","a"]');
    expect(bag(a, "badge")).toEqual(bag(b, "badge"));
  });

  test("that REPLACE displaces go everywhere, and equal rows that IGNORE spares stay", () => {
    const [a, b] = pair("CREATE TABLE badge(code TEXT COLLATE NOCASE UNIQUE, owner TEXT)");
    a.edit("INSERT INTO badge VALUES('a', '1'), ('b', '1'), ('c', '1')");
    settle(a, b);
    b.edit(`INSERT OR REPLACE INTO badge VALUES('A', '2'); INSERT OR IGNORE INTO badge VALUES('B', '2');
      UPDATE OR REPLACE badge SET code = 'C', owner = '3' WHERE code = 'b'; INSERT OR REPLACE INTO badge(rowid, owner) VALUES(77, 'x'), (77, 'y')`);
    settle(a, b);
    expect(bag(a, "badge")).toEqual(['["A","2"]', '["C","3"]', '[null,"y"]']);
    expect(bag(b, "badge")).toEqual(bag(a, "badge"));
  });

  test("stay where IGNORE spares them though their text is not UTF-8", () => {
    const [a, b] = pair("CREATE TABLE badge(code TEXT UNIQUE, owner TEXT)");
    a.edit("INSERT INTO badge VALUES('a', CAST(x'ff41' AS TEXT)), ('b', CAST(x'ff42' AS TEXT))");
    settle(a, b);
    b.edit("INSERT OR IGNORE INTO badge VALUES('a', 'never'); INSERT OR REPLACE INTO badge VALUES('b', 'new')");
    settle(a, b);
    for (const site of [a, b])
      expect(site.rows("SELECT code, hex(owner) AS owner FROM badge ORDER BY 1")).toEqual([
        { code: "a", owner: "FF41" },
        { code: "b", owner: "6E6577" },
      ]);
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  });

  test("are named by their births: in changes, history, digests and restore", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO log(line) VALUES('x'), ('y')");
    settle(a, b);
    a.edit("UPDATE log SET n = 2 WHERE line = 'x'; DELETE FROM log WHERE line = 'y'");
    settle(a, b);
    const { changes } = b.replica.readable(new Map(), 10);
    const gone = changes.find(({ operation }) => operation === "delete")?.key ?? "";
    const edited = changes.find(({ operation }) => operation === "update")?.key ?? "";
    expect(gone).toMatch(/^[a-z2-7]{16}:\d+$/);
    expect(b.replica.row("log", edited)).toContainEqual({ name: "n", value: 2n });
    expect(b.replica.history("log", edited).map(({ column }) => column)).toContain("n");
    const [entry] = b.replica.digests({ table: "log", buckets: Array.from({ length: 256 }, (_, i) => i), deep: true }).entries;
    expect(entry?.key).toBe(edited);
    b.replica.restore("log", gone);
    settle(a, b);
    expect(bag(a)).toEqual(['["x",2,null]', '["y",null,null]']);
  });

  test("are said to take part by doctor", () => {
    const path = `${testFolder()}/app.db`;
    const db = new Database(path);
    db.exec(SCHEMA);
    db.close();
    expect(diagnose(path, [])).toMatchObject({ status: "ready", problems: [], tables: [{ name: "log", synced: true, identity: "none" }] });
  });
});

describe("rows with NULL in their primary key", () => {
  const KEYED = "CREATE TABLE item(code TEXT PRIMARY KEY, name TEXT); CREATE TABLE pair(a INT, b TEXT, v, PRIMARY KEY(a, b))";

  test("are different rows, however alike, and stay so on every server", () => {
    const sites = ["a", "b", "c"].map((name) => new Site(name, KEYED));
    const [a, b, c] = sites as [Site, Site, Site];
    for (const site of [a, b])
      site.edit(
        "INSERT INTO item VALUES(NULL, 'same'), ('k', 'keyed'); INSERT INTO pair VALUES(1, NULL, 'x'), (NULL, NULL, 'y'), (1, 'z', 'z')",
      );
    settle(...sites);
    for (const site of sites) {
      expect(bag(site, "item")).toEqual(['["k","keyed"]', '[null,"same"]', '[null,"same"]']);
      expect(bag(site, "pair")).toHaveLength(5);
    }
    c.edit(
      "UPDATE item SET name = 'edited' WHERE rowid = (SELECT max(rowid) FROM item WHERE code IS NULL); DELETE FROM pair WHERE v = 'y'",
    );
    settle(...sites);
    for (const site of sites) {
      expect(bag(site, "item")).toEqual(['["k","keyed"]', '[null,"edited"]', '[null,"same"]']);
      expect(bag(site, "pair")).toEqual(['[1,"z","z"]', '[1,null,"x"]', '[1,null,"x"]']);
    }
    expect(a.pull(b).at(-1)?.verified).toBe(true);
    const deep = a.replica.digests({ table: "", buckets: [], deep: true });
    expect(deep.entries).toEqual(a.replica.digests({ table: "", buckets: [], deep: false }).entries);
  });

  test("get a key and lose it", () => {
    const [a, b] = pair(KEYED);
    a.edit("INSERT INTO item VALUES(NULL, 'x'), ('k', 'y')");
    settle(a, b);
    b.edit("UPDATE item SET code = 'new' WHERE code IS NULL");
    b.edit("UPDATE item SET code = NULL WHERE code = 'k'");
    settle(a, b);
    expect(bag(a, "item")).toEqual(['["new","x"]', '[null,"y"]']);
    expect(bag(b, "item")).toEqual(bag(a, "item"));
  });

  test("are shared by copies of a file, and by servers that a new version finds them on", () => {
    const rows = "INSERT INTO item VALUES(NULL, 'x'), (NULL, 'x'), ('k', 'y')";
    const [a, b] = pair(`${KEYED}; ${rows}`);
    expect(b.pull(a).at(-1)).toMatchObject({ received: 0, verified: true });
    for (const site of [a, b]) {
      site.replica.close();
      forgetRowsWithoutKey(site);
    }
    for (const site of [a, b]) site.start();
    settle(a, b);
    expect(bag(a, "item")).toHaveLength(3);
    expect(bag(b, "item")).toHaveLength(3);
  });

  test("make way for a row that displaces them, and are found when they were written before any node was there", () => {
    const [a, b] = pair("CREATE TABLE item(code TEXT PRIMARY KEY, tag TEXT UNIQUE, note TEXT)");
    a.edit("INSERT INTO item VALUES(NULL, '1', 'a'), (NULL, '2', 'b'), ('k', '3', 'c')");
    settle(a, b);
    b.edit("INSERT OR REPLACE INTO item VALUES('new', '1', 'd'), (NULL, '3', 'e')");
    settle(a, b);
    expect(bag(a, "item")).toEqual(['["new","1","d"]', '[null,"2","b"]', '[null,"3","e"]']);
    expect(bag(b, "item")).toEqual(bag(a, "item"));
    b.replica.close();
    b.write("INSERT INTO item VALUES(NULL, '4', 'f')");
    b.start();
    settle(a, b);
    expect(bag(a, "item")).toContain('[null,"4","f"]');
  });

  test("are parked where two servers each give one a part of its key", () => {
    const [a, b] = pair(KEYED);
    a.edit("INSERT INTO pair VALUES(NULL, NULL, 'x')");
    settle(a, b);
    a.edit("UPDATE pair SET a = 1");
    b.edit("UPDATE pair SET b = '2'");
    settle(a, b);
    for (const site of [a, b]) {
      expect(bag(site, "pair")).toEqual([]);
      expect(site.replica.state().parked).toBe(1);
    }
  });
});
