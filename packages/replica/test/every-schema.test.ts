import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { diagnose } from "../src/index.ts";
import { settle, Site, testFolder } from "./site.ts";

const bag = (site: Site, table: string) =>
  site
    .rows(`SELECT * FROM ${table}`)
    .map((row) => JSON.stringify(row))
    .sort();

/** Both write, both edit what the other wrote, one deletes: then they hold the same, and their digests say so. */
function expectToAgree(schema: string, table: string, inserts: [string, string], edit: string, remove: string): [Site, Site] {
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit(inserts[0]);
  b.edit(inserts[1], b.nowUs + 1_000_000);
  settle(a, b);
  const count = bag(a, table).length;
  expect(count).toBeGreaterThan(1);
  b.edit(edit);
  settle(a, b);
  expect(bag(a, table)).toHaveLength(count);
  a.edit(remove);
  settle(a, b);
  expect(bag(a, table).length).toBeLessThan(count);
  expect(bag(b, table)).toEqual(bag(a, table));
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  const deep = b.replica.digests({ table: "", buckets: [], deep: true });
  expect(deep).toEqual(b.replica.digests({ table: "", buckets: [], deep: false }));
  return [a, b];
}

describe("every kind of table", () => {
  test.each([
    ["INTEGER PRIMARY KEY DESC, which is no rowid", "k INTEGER PRIMARY KEY DESC, v", "(1, 'a'), (2, 'b')", "(2, 'c'), (3, 'd')"],
    ["INT PRIMARY KEY", "k INT PRIMARY KEY, v", "(1, 'a'), ('text', 'b')", "(x'00', 'c'), (1.5, 'd')"],
    [
      "a key in descending order",
      "k TEXT, l INT, v, PRIMARY KEY(k DESC, l ASC)",
      "('a', 1, 'a'), ('b', 2, 'b')",
      "('a', 2, 'c'), ('b', 2, 'd')",
    ],
    ["NOCASE", "k TEXT COLLATE NOCASE PRIMARY KEY, v", "('a', 'a'), ('B', 'b')", "('b', 'c'), ('Ä', 'd'), ('ä', 'e')"],
    ["RTRIM", "k TEXT COLLATE RTRIM PRIMARY KEY, v", "('a  ', 'a'), ('b', 'b')", "('b ', 'c'), (' b', 'd')"],
    ["no rowid", "k TEXT, l INT, v, PRIMARY KEY(l, k)", "('a', 1, 'a'), ('b', 1, 'b')", "('a', 1, 'c'), ('b', 2, 'd')", " WITHOUT ROWID"],
    [
      "STRICT",
      "k ANY PRIMARY KEY, v ANY, i INT, r REAL, t TEXT, b BLOB",
      "(1, 'a', 1, 1, '1', x'01'), ('1', 2, 2, 0.5, '', x'')",
      "(1.0, x'00', 3, 1e300, 'ß', NULL), (x'31', NULL, NULL, NULL, NULL, NULL)",
      " STRICT",
    ],
  ])("with %s", (_, columns, first, second, options = "") => {
    const values = (list: string) => `INSERT INTO t VALUES ${list}`;
    const byRowid = "DELETE FROM t WHERE rowid IN (SELECT rowid FROM t LIMIT 1)";
    const remove = options.includes("WITHOUT") ? "DELETE FROM t WHERE k = 'a' AND l = 1" : byRowid;
    expectToAgree(`CREATE TABLE t(${columns})${options}`, "t", [values(first), values(second)], "UPDATE t SET v = v || '.'", remove);
  });

  test.each([
    "select",
    "a b",
    'with "quotes"',
    "semi;colon--",
    "Ünïcödé",
    "日本語",
    "_scoutsync",
    "rowid",
    "x".repeat(500),
    "new",
    "old",
    "t",
  ])("named %s, with columns of that name", (name) => {
    const q = `"${name.replaceAll('"', '""')}"`;
    const schema = `CREATE TABLE ${q}(${q} TEXT PRIMARY KEY, "${name.replaceAll('"', '""')} 2" TEXT, "${name.replaceAll('"', '""')} 3" INT UNIQUE)`;
    expectToAgree(
      schema,
      q,
      [`INSERT INTO ${q} VALUES('a', 'x', 1), (NULL, 'x', 2)`, `INSERT INTO ${q} VALUES('b', 'y', 3)`],
      `INSERT OR REPLACE INTO ${q} VALUES('a', 'z', 1); UPDATE ${q} SET "${name.replaceAll('"', '""')} 2" = 'w'`,
      `DELETE FROM ${q} WHERE ${q} = 'b'`,
    );
    expectToAgree(
      `CREATE TABLE ${q}(${q} TEXT, n INT UNIQUE)`,
      q,
      [`INSERT INTO ${q} VALUES('a', 1), ('a', NULL)`, `INSERT INTO ${q} VALUES('a', 2)`],
      `UPDATE ${q} SET ${q} = 'b'`,
      `DELETE FROM ${q} WHERE n = 2`,
    );
  });

  test.each([
    ["a surrogate key", "id INTEGER PRIMARY KEY, ", 1999],
    ["a natural key", "k TEXT NOT NULL PRIMARY KEY, ", 1999],
    ["no key", "", 2000],
  ])("of 2,000 columns: %s", (_, key, count) => {
    const columns = Array.from({ length: count }, (__, i) => `c${i}`);
    const schema = `CREATE TABLE wide(${key}${columns.join(", ")}, UNIQUE(c7))`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    const named = key.includes("TEXT") ? "k, " : "";
    const first = key.includes("TEXT") ? "'key', " : "";
    a.edit(`INSERT INTO wide(${named}c0, c7, c1998) VALUES(${first}'first', 7, 'last')`);
    settle(a, b);
    b.edit("UPDATE wide SET c1 = 1, c1000 = 'middle', c1998 = 'edited'");
    settle(a, b);
    expect(a.rows("SELECT c0, c1, c1000, c1998 FROM wide")).toEqual([{ c0: "first", c1: 1, c1000: "middle", c1998: "edited" }]);
    const filled = columns.slice(8).map((name, i) => `${name} = ${i}`);
    a.edit(`UPDATE wide SET ${filled.join()}`);
    const was = a.rows("SELECT * FROM wide");
    a.edit(`INSERT OR REPLACE INTO wide(${named}c7, c8) VALUES(${first.replace("key", "other")}7, 8)`);
    settle(a, b);
    expect(b.rows("SELECT c0, c7, c8 FROM wide")).toEqual([{ c0: null, c7: 7, c8: 8 }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(b.replica.digests({ table: "", buckets: [], deep: true })).toEqual(a.replica.digests({ table: "", buckets: [], deep: false }));

    // All of the row that was displaced is kept.
    a.edit("DELETE FROM wide");
    const [displaced] = a.replica.readable(new Map(), 100).changes.filter(({ operation }) => operation === "delete");
    a.replica.restore("wide", displaced!.key);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM wide")).toEqual(was);
  });

  test("of twice as many columns: its triggers are twice as long, as SQLite reads them whole where the table is altered", () => {
    const lengthOf = (count: number) => {
      const columns = Array.from({ length: count }, (_, i) => `c${i}`).join(", ");
      const site = new Site(`s${count}`, `CREATE TABLE wide(id INTEGER PRIMARY KEY, ${columns}, UNIQUE(c7))`);
      return Number(site.one("SELECT sum(length(sql)) FROM sqlite_master WHERE type = 'trigger'"));
    };
    expect(lengthOf(1_800) / lengthOf(900)).toBeLessThan(2.2);
  });

  test("with AUTOINCREMENT: an id that has been applied is not handed out again", () => {
    const [a, b] = [0, 1].map((i) => new Site(`s${i}`, "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)")) as [Site, Site];
    a.edit("INSERT INTO t(v) VALUES(1), (2), (3)");
    settle(a, b);
    a.edit("DELETE FROM t WHERE id = 3");
    settle(a, b);
    b.edit("INSERT INTO t(v) VALUES(4)");
    expect(b.one("SELECT max(id) FROM t")).toBe(4);
  });

  test.each([
    ["AUTOINCREMENT", 5],
    ["autoincrement CHECK(id <> 'x')", 5],
    ["CHECK(id <> 'AUTOINCREMENT')", 1],
  ])("with %s: an id whose row was deleted before it came", (key, next) => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY ${key}, v); CREATE TABLE other(id INTEGER PRIMARY KEY AUTOINCREMENT)`;
    const [a, b] = [0, 1].map((i) => new Site(`s${i}`, schema)) as [Site, Site];
    a.edit("INSERT INTO t(v) VALUES(1), (2), (3), (4)");
    a.edit("DELETE FROM t");
    settle(a, b);
    b.edit("INSERT INTO t(v) VALUES(5)");
    expect(b.one("SELECT max(id) FROM t")).toBe(next);
    expect(b.rows("SELECT * FROM sqlite_sequence WHERE name = 't'")).toEqual(next === 5 ? [{ name: "t", seq: 5 }] : []);
  });

  test("whose names look like ours, or differ in case only in columns", () => {
    const schema = 'CREATE TABLE "_scoutsync"(id INTEGER PRIMARY KEY, "Ä", "ä"); CREATE TABLE scoutsync_rows_1(k TEXT PRIMARY KEY)';
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO \"_scoutsync\" VALUES(1, 2, 3); INSERT INTO scoutsync_rows_1 VALUES('x')");
    settle(a, b);
    expect(b.rows('SELECT * FROM "_scoutsync", scoutsync_rows_1')).toEqual([{ id: 1, Ä: 2, ä: 3, k: "x" }]);
  });

  test("with columns of the application's own collation, as long as no index uses it", () => {
    const schema = `CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT COLLATE NOCASE, team TEXT COLLATE NOCASE);
      CREATE TABLE bag(k INT UNIQUE, v TEXT COLLATE NOCASE); CREATE TABLE indexed(k INTEGER PRIMARY KEY, v TEXT COLLATE NOCASE)`;
    const ofTheApplication = `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'of_the_application'); PRAGMA writable_schema = RESET`;
    const [a, b] = ["a", "b"].map((name) => {
      const path = `${testFolder()}/${name}.db`;
      const db = new Database(path);
      db.unsafeMode();
      db.exec(`${schema}; CREATE INDEX i ON indexed(v); ${ofTheApplication}`);
      db.close();
      return new Site(name, "", { path });
    }) as [Site, Site];
    a.edit("INSERT INTO t(v, team) VALUES('a', 'x'), ('A', NULL); INSERT INTO bag VALUES(1, 'a'), (NULL, 'a')");
    settle(a, b);
    b.edit("UPDATE t SET v = v || '.'; INSERT OR REPLACE INTO bag VALUES(1, 'A'); DELETE FROM bag WHERE k IS NULL");
    settle(a, b);
    expect(a.rows("SELECT v FROM t")).toEqual([{ v: "a." }, { v: "A." }]);
    expect(a.rows("SELECT * FROM bag")).toEqual([{ k: 1, v: "A" }]);
    expect(a.replica.state().tables).toEqual(["bag", "t"]);
    expect(diagnose(a.path, []).problems.map(({ message }) => message)).toEqual([expect.stringContaining('"indexed" (0 rows) stays')]);
  });

  test("that need what only the application has stay, and doctor says so", () => {
    const path = `${testFolder()}/app.db`;
    const db = new Database(path);
    db.function("of_the_application", { deterministic: true }, (x) => x as string);
    db.exec(`CREATE TABLE checked(id INTEGER PRIMARY KEY, v CHECK(of_the_application(v) IS NOT NULL));
      CREATE TABLE indexed(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON indexed(of_the_application(v));
      CREATE TABLE fine(id INTEGER PRIMARY KEY, v)`);
    db.close();
    const { tables, problems } = diagnose(path, []);
    expect(tables.filter(({ synced }) => synced).map(({ name }) => name)).toEqual(["fine"]);
    expect(problems.map(({ message }) => message)).toEqual([expect.stringContaining("checked"), expect.stringContaining("indexed")]);
  });
});

describe("the application's triggers", () => {
  test("have their effect once: logs, counters, stamps, refusals, in chains and recursively", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, v, changed INT DEFAULT 0); CREATE TABLE log(line TEXT); CREATE TABLE counter(name TEXT PRIMARY KEY, n INT);
      CREATE TABLE depth(n INT);
      CREATE TRIGGER log_it AFTER INSERT ON t BEGIN INSERT INTO log VALUES('t ' || NEW.v); END;
      CREATE TRIGGER count_it AFTER INSERT ON log BEGIN INSERT INTO counter VALUES('log', 1) ON CONFLICT(name) DO UPDATE SET n = n + 1; END;
      CREATE TRIGGER stamp_it AFTER UPDATE OF v ON t BEGIN UPDATE t SET changed = changed + 1 WHERE id = NEW.id; END;
      CREATE TRIGGER refuse_it BEFORE DELETE ON t WHEN OLD.v = 'keep' BEGIN SELECT RAISE(ABORT, 'kept'); END;
      CREATE TRIGGER dive AFTER INSERT ON depth WHEN NEW.n < 3 BEGIN INSERT INTO depth VALUES(NEW.n + 1); END;
      CREATE VIEW shown AS SELECT id, v FROM t; CREATE TRIGGER show_it INSTEAD OF INSERT ON shown BEGIN INSERT INTO t(v) VALUES(NEW.v); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const site of [a, b]) site.app.pragma("recursive_triggers = ON");
    a.edit(
      "INSERT INTO t(v) VALUES('a'), ('keep'); INSERT INTO shown(v) VALUES('view'); UPDATE t SET v = 'b' WHERE id = 1; INSERT INTO depth VALUES(0)",
    );
    settle(a, b);
    for (const site of [a, b]) {
      expect(bag(site, "log")).toHaveLength(3);
      expect(site.one("SELECT n FROM counter")).toBe(3);
      expect(site.one("SELECT changed FROM t WHERE id = 1")).toBe(1);
      expect(bag(site, "depth")).toHaveLength(4);
    }
    expect(() => a.edit("DELETE FROM t WHERE id = 2")).toThrow("kept");
    b.write("DROP TRIGGER refuse_it");
    b.edit("DELETE FROM t WHERE id = 2");
    settle(a, b);
    expect(a.one("SELECT count(*) FROM t WHERE v = 'keep'")).toBe(0);
    expect(a.rows("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name NOT LIKE '_scoutsync%'")).toHaveLength(6);
  });

  test("rest while changes of others come, and the schema does not count as changed: every connection would read it anew", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(line TEXT); CREATE TABLE n(k TEXT PRIMARY KEY, v);
      CREATE TRIGGER log_it AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.v); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    const number = () => b.app.pragma("schema_version", { simple: true }) as number;
    settle(a, b);
    const before = number();
    for (const v of [1, 2]) {
      a.edit(`INSERT INTO t(v) VALUES(${v})`);
      settle(a, b);
    }
    expect(number()).toBe(before);
    b.edit("INSERT INTO t(v) VALUES(3)");
    // The first row with NULL in its key makes triggers there: that is a change, and everybody has to see it.
    a.edit("INSERT INTO n VALUES(NULL, 'a'); INSERT INTO t(v) VALUES(4)");
    settle(a, b);
    expect(number()).toBeGreaterThan(before);
    b.edit("INSERT INTO n VALUES(NULL, 'b')");
    b.write("ALTER TABLE t ADD COLUMN w DEFAULT 'w'; INSERT INTO t(v) VALUES(5)");
    settle(a, b);
    for (const site of [a, b]) {
      expect(bag(site, "log").toSorted()).toEqual(bag(b, "log").toSorted());
      expect(bag(site, "log")).toHaveLength(5);
      expect(site.rows("SELECT v FROM n ORDER BY v")).toEqual([{ v: "a" }, { v: "b" }]);
      expect(site.one("SELECT count(*) FROM t")).toBe(5);
    }
  });

  test("of a connection alone, and writes through an attached name, are captured", () => {
    const schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(line TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.app.exec("CREATE TEMP TRIGGER mine AFTER INSERT ON main.t BEGIN INSERT INTO log VALUES('temp ' || NEW.v); END");
    a.edit("INSERT INTO t(v) VALUES('x')");
    const other = new Database(":memory:");
    other.exec(`ATTACH '${a.path}' AS app; INSERT INTO app.t(v) VALUES('attached'); UPDATE app.log SET line = line || '!'`);
    other.close();
    settle(a, b);
    expect(b.rows("SELECT v FROM t")).toEqual([{ v: "x" }, { v: "attached" }]);
    expect(b.rows("SELECT line FROM log")).toEqual([{ line: "temp x!" }]);
  });

  test("keep full-text and R-Tree indexes right on every replica", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT, x REAL, y REAL);
      CREATE VIRTUAL TABLE doc_text USING fts5(body, content='doc', content_rowid='id');
      CREATE VIRTUAL TABLE doc_less USING fts5(body, content='', contentless_delete=1);
      CREATE VIRTUAL TABLE doc_place USING rtree(id, x0, x1, y0, y1);
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN
        INSERT INTO doc_text(rowid, body) VALUES(NEW.id, NEW.body); INSERT INTO doc_less(rowid, body) VALUES(NEW.id, NEW.body);
        INSERT INTO doc_place VALUES(NEW.id, NEW.x, NEW.x, NEW.y, NEW.y); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN
        INSERT INTO doc_text(doc_text, rowid, body) VALUES('delete', OLD.id, OLD.body); DELETE FROM doc_less WHERE rowid = OLD.id;
        DELETE FROM doc_place WHERE id = OLD.id; END;
      CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN
        INSERT INTO doc_text(doc_text, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO doc_text(rowid, body) VALUES(NEW.id, NEW.body);
        DELETE FROM doc_less WHERE rowid = OLD.id; INSERT INTO doc_less(rowid, body) VALUES(NEW.id, NEW.body);
        DELETE FROM doc_place WHERE id = OLD.id; INSERT INTO doc_place VALUES(NEW.id, NEW.x, NEW.x, NEW.y, NEW.y); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    // The same ids on both sides: rows move to others, and the indexes with them.
    a.edit("INSERT INTO doc(body, x, y) VALUES('red robot', 1, 1), ('blue robot', 2, 2)");
    b.edit("INSERT INTO doc(body, x, y) VALUES('green robot', 3, 3), ('gone robot', 4, 4)", b.nowUs + 1_000_000);
    settle(a, b);
    b.edit("UPDATE doc SET body = 'violet robot', x = 9 WHERE body LIKE 'red%'; DELETE FROM doc WHERE body LIKE 'gone%'");
    settle(a, b);
    expect(a.replica.state().tables).toEqual(["doc"]);
    for (const site of [a, b]) {
      const found = (word: string, index: string) =>
        site
          .rows(`SELECT body FROM doc WHERE id IN (SELECT rowid FROM ${index} WHERE ${index} MATCH '${word}') ORDER BY 1`)
          .map(({ body }) => body);
      for (const index of ["doc_text", "doc_less"]) {
        expect(found("robot", index)).toEqual(["blue robot", "green robot", "violet robot"]);
        expect([found("red", index), found("gone", index)]).toEqual([[], []]);
      }
      site.write("INSERT INTO doc_text(doc_text) VALUES('integrity-check')");
      expect(site.rows("SELECT body FROM doc JOIN doc_place USING(id) WHERE x0 >= 9")).toEqual([{ body: "violet robot" }]);
      expect(site.one("SELECT count(*) FROM doc_place")).toBe(3);
    }
    // Written by the application itself, an index stays where it is.
    a.edit("INSERT INTO doc_less(rowid, body) VALUES(77, 'only here')");
    settle(a, b);
    expect(b.one("SELECT count(*) FROM doc_less WHERE doc_less MATCH 'only'")).toBe(0);
  });

  test("keep such indexes right where rows get other integers, though updates of other columns alone feed them", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT, x REAL, own, raw, twice TEXT AS (body || body) UNIQUE);
      CREATE VIRTUAL TABLE doc_text USING fts5(body, content='doc', content_rowid='id'); CREATE VIRTUAL TABLE doc_place USING rtree(id, x0, x1);
      CREATE TABLE part(id INTEGER PRIMARY KEY, doc INT NOT NULL REFERENCES doc(id) ON DELETE CASCADE);
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO doc_text(rowid, body) VALUES(NEW.id, NEW.body); INSERT INTO doc_place VALUES(NEW.id, NEW.x, NEW.x); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN
        INSERT INTO doc_text(doc_text, rowid, body) VALUES('delete', OLD.id, OLD.body); DELETE FROM doc_place WHERE id = OLD.id; END;
      CREATE TRIGGER doc_b AFTER UPDATE OF body ON doc WHEN OLD.body <> NEW.body BEGIN
        INSERT INTO doc_text(doc_text, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO doc_text(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_x AFTER UPDATE ON doc BEGIN UPDATE doc_place SET x0 = NEW.x, x1 = NEW.x WHERE id = OLD.id; END;
      CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT); CREATE VIRTUAL TABLE note_text USING fts5(body, content='note', content_rowid='id');
      CREATE TRIGGER note_i AFTER INSERT ON note BEGIN INSERT INTO note_text(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER note_u AFTER UPDATE ON note BEGIN
        INSERT INTO note_text(note_text, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO note_text(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TABLE bin(body); CREATE TRIGGER note_d AFTER DELETE ON note BEGIN INSERT INTO bin VALUES(OLD.body); END`;
    const sites = ["a", "b"].map((name) => new Site(name, schema, { exclude: ["doc.own", "bin"] })) as [Site, Site];
    const [a, b] = sites;
    const values = (site: string) =>
      `INSERT INTO doc(id, body, x, own, raw) VALUES(1, 'red ${site}', 1, '${site} 1', CAST(x'ff00' AS TEXT)), (2, 'blue ${site}', 2.0, ${2n ** 60n + 1n}, 2.0);
       INSERT INTO part(doc) VALUES(1), (2); INSERT INTO note(body) VALUES('note of ${site}')`;
    a.edit(values("a"));
    b.edit(values("b"), b.nowUs + 1_000_000);
    settle(a, b);
    b.edit("UPDATE doc SET body = 'green b', x = 9 WHERE body = 'red b'");
    settle(a, b);
    for (const site of sites) {
      for (const index of ["doc_text", "note_text"]) site.write(`INSERT INTO ${index}(${index}, rank) VALUES('integrity-check', 1)`);
      expect(site.rows("SELECT body FROM note_text WHERE note_text MATCH 'note' ORDER BY 1")).toEqual([
        { body: "note of a" },
        { body: "note of b" },
      ]);
      const found = (word: string) =>
        site.rows(`SELECT body FROM doc_text WHERE doc_text MATCH '${word}' ORDER BY 1`).map(({ body }) => body);
      expect([found("b"), found("red"), found("blue")]).toEqual([["blue b", "green b"], ["red a"], ["blue a", "blue b"]]);
      expect(site.rows("SELECT body, x0 FROM doc_place JOIN doc USING(id) ORDER BY body")).toEqual([
        { body: "blue a", x0: 2 },
        { body: "blue b", x0: 2 },
        { body: "green b", x0: 9 },
        { body: "red a", x0: 1 },
      ]);
      expect(site.one("SELECT count(*) FROM doc_place")).toBe(4);
      expect(site.one("SELECT count(*) FROM part JOIN doc ON doc.id = part.doc")).toBe(4);
      expect(site.rows("SELECT hex(raw) AS raw, typeof(raw) AS type FROM doc WHERE body LIKE 'green%'")).toEqual([
        { raw: "FF00", type: "text" },
      ]);
      expect(site.rows("SELECT typeof(raw) AS type FROM doc WHERE body LIKE 'blue%'")).toEqual([{ type: "real" }, { type: "real" }]);
    }
    expect(b.rows("SELECT CAST(own AS TEXT) AS own FROM doc WHERE body IN ('green b', 'blue b') ORDER BY body")).toEqual([
      { own: "1152921504606846977" },
      { own: "b 1" },
    ]);
  });

  test("that refuse a row which goes and comes under another integer do not stop anything: it gets it all the same", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, name TEXT, body TEXT); CREATE TABLE seen(name TEXT UNIQUE);
      CREATE VIRTUAL TABLE words USING fts5(body, content='doc', content_rowid='id');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); INSERT INTO seen VALUES(NEW.name); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); END;
      CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN
        INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END`;
    const [a, b] = ["a", "b"].map((name) => new Site(name, schema, { exclude: ["seen"] })) as [Site, Site];
    a.edit("INSERT INTO doc(name, body) VALUES('a', 'red robot')");
    b.edit("INSERT INTO doc(name, body) VALUES('b', 'blue robot')", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT body FROM doc ORDER BY id")).toEqual([{ body: "red robot" }, { body: "blue robot" }]);
      expect(site.rows("SELECT body FROM words WHERE words MATCH 'robot' ORDER BY rowid")).toHaveLength(2);
      site.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1)");
      expect(bag(site, "seen")).toHaveLength(2);
    }
  });

  test("that clean up after deleted rows in a table which stays here take nothing of a row that gets another integer", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE draft(doc INT, text TEXT);
      CREATE VIRTUAL TABLE words USING fts5(body, content='doc', content_rowid='id');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN
        INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); DELETE FROM draft WHERE doc = OLD.id; END`;
    const [a, b] = ["a", "b"].map((name) => new Site(name, schema, { exclude: ["draft"] })) as [Site, Site];
    a.edit("INSERT INTO doc(body) VALUES('red robot')");
    b.edit("INSERT INTO doc(body) VALUES('blue robot'); INSERT INTO draft VALUES(1, 'an hour of work')", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b])
      expect(site.rows("SELECT body FROM doc ORDER BY id")).toEqual([{ body: "red robot" }, { body: "blue robot" }]);
    expect(b.rows("SELECT text FROM draft")).toEqual([{ text: "an hour of work" }]);
  });

  test("that have rows of a table which stays here follow an integer do so where a row gets another one", () => {
    const schema = `CREATE TABLE doc("an id" INTEGER PRIMARY KEY, body TEXT); CREATE TABLE draft(doc INT, text TEXT);
      CREATE VIRTUAL TABLE words USING fts5(body);
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW."an id", NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN DELETE FROM words WHERE rowid = OLD."an id"; END;
      CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN
        DELETE FROM words WHERE rowid = OLD."an id"; INSERT INTO words(rowid, body) VALUES(NEW."an id", NEW.body); END;
      CREATE TRIGGER doc_k AFTER UPDATE OF "an id" ON doc BEGIN UPDATE draft SET doc = NEW."an id" WHERE doc = OLD."an id"; END`;
    const [a, b] = ["a", "b"].map((name) => new Site(name, schema, { exclude: ["draft"] })) as [Site, Site];
    a.edit("INSERT INTO doc(body) VALUES('red robot')");
    b.edit("INSERT INTO doc(body) VALUES('blue robot'); INSERT INTO draft VALUES(1, 'on blue')", b.nowUs + 1_000_000);
    settle(a, b);
    for (const site of [a, b])
      expect(site.rows('SELECT rowid AS "an id", body FROM words ORDER BY 1')).toEqual(site.rows("SELECT * FROM doc ORDER BY 1"));
    expect(b.rows('SELECT body, text FROM draft JOIN doc ON doc."an id" = draft.doc')).toEqual([{ body: "blue robot", text: "on blue" }]);
  });

  test("that do other things beside keep such indexes right all the same, and have those effects once", () => {
    const schema = `CREATE TABLE doc(k TEXT, n INT, body TEXT, edits INT DEFAULT 0, PRIMARY KEY(k, n)); CREATE TABLE log(line TEXT);
      CREATE VIRTUAL TABLE doc_text USING fts5(body, content='doc'); CREATE VIRTUAL TABLE doc_less USING fts5(body, content='');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN
        SELECT RAISE(ABORT, 'begin with a word; not --this') WHERE NEW.body LIKE '--%'; -- says; INSERT INTO log VALUES('nothing')
        INSERT INTO "doc_text"(rowid, body) VALUES(NEW.rowid, NEW.body);
        INSERT INTO log VALUES(CASE WHEN NEW.n > 0 THEN 'new; -- ' ELSE 'delete from doc' END || NEW.body); INSERT INTO doc_less(rowid, body) VALUES(NEW.rowid, NEW.body); END;
      CREATE TRIGGER doc_d BEFORE DELETE ON doc BEGIN
        WITH RECURSIVE up(n) AS (SELECT OLD.n) SELECT CASE WHEN n > 99 THEN RAISE(ABORT, 'large; kept') END FROM up; INSERT INTO log VALUES('gone ' || OLD.body);
        INSERT INTO doc_text(doc_text, rowid, body) VALUES('delete', OLD.rowid, OLD.body);
        INSERT INTO doc_less(doc_less, rowid, body) VALUES('delete', OLD.rowid, OLD.body); END;
      CREATE TRIGGER doc_u AFTER UPDATE OF body ON doc WHEN OLD.body IS NOT NEW.body BEGIN
        UPDATE OR FAIL doc SET edits = edits + 1 WHERE k = NEW.k AND n = NEW.n;
        INSERT INTO doc_text(doc_text, rowid, body) VALUES('delete', OLD.rowid, OLD.body); INSERT INTO doc_text(rowid, body) VALUES(NEW.rowid, NEW.body);
        INSERT INTO doc_less(doc_less, rowid, body) VALUES('delete', OLD.rowid, OLD.body); INSERT INTO doc_less(rowid, body) VALUES(NEW.rowid, NEW.body);
        INSERT INTO log VALUES('edit'); END`;
    const sites = ["a", "b"].map((name) => new Site(name, schema)) as [Site, Site];
    const [a, b] = sites;
    const was = a.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'doc%' ORDER BY 1");
    a.edit("INSERT INTO doc(k, n, body) VALUES('x', 1, 'red robot'), ('x', 2, 'blue robot'), ('x', 0, 'gone robot')");
    b.edit("INSERT INTO doc(k, n, body) VALUES('y', 1, 'green robot')", b.nowUs + 1_000_000);
    settle(a, b);
    b.edit("UPDATE doc SET body = 'violet robot' WHERE body LIKE 'red%'; DELETE FROM doc WHERE body LIKE 'gone%'");
    settle(a, b);
    a.edit("UPDATE doc SET body = 'white robot' WHERE body LIKE 'green%'");
    settle(a, b);
    for (const site of sites) {
      const found = (word: string, index: string) =>
        site
          .rows(`SELECT body FROM doc WHERE rowid IN (SELECT rowid FROM ${index} WHERE ${index} MATCH '${word}') ORDER BY 1`)
          .map(({ body }) => body);
      for (const index of ["doc_text", "doc_less"]) {
        expect(found("robot", index)).toEqual(["blue robot", "violet robot", "white robot"]);
        expect(["red", "gone", "green"].map((word) => found(word, index))).toEqual([[], [], []]);
      }
      site.write("INSERT INTO doc_text(doc_text, rank) VALUES('integrity-check', 1)");
      expect(site.rows("SELECT line FROM log ORDER BY 1").map(({ line }) => line)).toEqual([
        "delete from docgone robot",
        "edit",
        "edit",
        "gone gone robot",
        "new; -- blue robot",
        "new; -- green robot",
        "new; -- red robot",
      ]);
      expect(site.rows("SELECT edits FROM doc ORDER BY body")).toEqual([{ edits: 0 }, { edits: 1 }, { edits: 1 }]);
      expect(() => site.write("INSERT INTO doc(k, n, body) VALUES('z', 1, '--')")).toThrow("begin with a word");
      expect(site.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'doc%' ORDER BY 1")).toEqual(was);
    }
  });

  test("that fail after a row is written, and leave it there, do not keep it from being captured: made before or after ours", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE bag(v TEXT); CREATE TABLE log(line TEXT UNIQUE);
      CREATE TRIGGER told AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.v); END;
      CREATE TRIGGER bag_told AFTER UPDATE ON bag BEGIN INSERT INTO log VALUES(NEW.v); END`;
    const later = `CREATE TRIGGER odd AFTER UPDATE ON T WHEN NEW.v LIKE 'odd%' BEGIN SELECT RAISE(FAIL, 'odd'); END;
      CREATE TRIGGER last AFTER DELETE ON T WHEN NOT EXISTS (SELECT 1 FROM t) BEGIN INSERT OR FAIL INTO log VALUES('x'); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO t(v) VALUES('x'), ('y'); INSERT INTO bag VALUES('z')");
    settle(a, b);
    const attempt = (...statements: string[]) => {
      b.app.close();
      b.app = new Database(b.path);
      for (const sql of statements) expect(() => b.app.exec(sql), sql).toThrow(/^odd$|UNIQUE constraint failed: log/);
      settle(a, b);
      for (const table of ["t", "bag", "log"])
        expect(a.rows(`SELECT * FROM ${table} ORDER BY 1`)).toEqual(b.rows(`SELECT * FROM ${table} ORDER BY 1`));
      expect(a.pull(b).at(-1)?.verified).toBe(true);
    };
    attempt("INSERT OR FAIL INTO t(v) VALUES('x')", "UPDATE OR FAIL bag SET v = 'x'");
    expect(a.rows("SELECT v FROM t UNION ALL SELECT v FROM bag ORDER BY 1").map(({ v }) => v)).toEqual(["x", "x", "x", "y"]);
    b.edit(later);
    attempt("UPDATE t SET v = 'odd one' WHERE id = 2");
    expect(a.one("SELECT v FROM t WHERE id = 2")).toBe("odd one");
    attempt("DELETE FROM t");
    expect(a.rows("SELECT * FROM t")).toEqual([]);
  });

  test("that feed an index by what else they wrote rest as a whole: alone they would feed it otherwise", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE was(id INTEGER PRIMARY KEY, body TEXT);
      CREATE VIRTUAL TABLE words USING fts5(body);
      CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN
        INSERT INTO was(body) VALUES(OLD.body); INSERT INTO words(rowid, body) VALUES(last_insert_rowid(), OLD.body); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO doc(body) VALUES('red'), ('blue')");
    settle(a, b);
    a.edit("UPDATE doc SET body = body || ' robot' WHERE id = 1; UPDATE doc SET body = body || ' robot' WHERE id = 1");
    a.edit("UPDATE doc SET body = 'green' WHERE id = 2");
    settle(a, b);
    const wrong = "SELECT rowid FROM words WHERE NOT EXISTS (SELECT 1 FROM was WHERE id = words.rowid AND body = words.body)";
    for (const site of [a, b]) expect(site.rows(wrong)).toEqual([]);
    expect(b.rows("SELECT body FROM was ORDER BY id")).toEqual([{ body: "red" }, { body: "red robot" }, { body: "blue" }]);
  });

  test("that have texts in double quotes, which some libraries take for names alone, run and rest like any others", () => {
    const schema = (
      text: (words: string) => string,
    ) => `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT, state TEXT); CREATE TABLE log(id INTEGER PRIMARY KEY, line TEXT);
      CREATE VIRTUAL TABLE words USING fts5(body, content='doc', content_rowid='id'); CREATE VIEW fed AS SELECT rowid AS id, body FROM words;
      CREATE VIEW shown AS SELECT id, body FROM doc WHERE state <> ${text("hidden")};
      CREATE TRIGGER doc_i AFTER INSERT ON doc WHEN NEW."state" <> ${text("it's")} BEGIN INSERT INTO fed SELECT * FROM shown WHERE id = NEW.id; END;
      CREATE TRIGGER fed_i INSTEAD OF INSERT ON fed WHEN NEW.body <> ${text('a "b"')} BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES(${text("delete")}, OLD.id, OLD.body); END;
      CREATE TRIGGER doc_u AFTER UPDATE OF state ON doc BEGIN INSERT INTO log(line) VALUES(${text("now ")} || NEW.state);
        INSERT INTO words(words, rowid, body) VALUES(${text("delete")}, OLD.id, OLD.body); INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END`;
    const a = new Site(
      "a",
      schema((words) => `'${words.replaceAll("'", "''")}'`),
    );
    const b = new Site(
      "b",
      schema((words) => `"${words.replaceAll('"', '""')}"`),
    );
    const triggers =
      "SELECT name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view') AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY 1";
    const was = b.rows(triggers);
    a.edit("INSERT INTO doc VALUES(1, 'red robot', 'new'), (2, 'blue robot', 'new'), (3, 'green robot', 'new')");
    settle(a, b);
    a.edit("DELETE FROM doc WHERE id = 1; UPDATE doc SET state = 'old' WHERE id = 2");
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT rowid AS id FROM words WHERE words MATCH 'robot' ORDER BY 1")).toEqual([{ id: 2 }, { id: 3 }]);
      expect(site.rows("SELECT line FROM log")).toEqual([{ line: "now old" }]);
      site.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1)");
    }
    expect(b.rows(triggers)).toEqual(was);
    expect(diagnose(b.path, []).problems.map(({ message }) => message)).toEqual([expect.stringContaining('trigger "doc_u"')]);
  });

  test("that feed an index through a view keep it right, where the view does nothing else", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE log(id INTEGER PRIMARY KEY, line TEXT);
      CREATE VIRTUAL TABLE words USING fts5(body); CREATE VIEW fed AS SELECT rowid AS id, body FROM words; CREATE VIEW told AS SELECT line FROM log;
      CREATE TRIGGER fed_i INSTEAD OF INSERT ON fed BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER fed_d INSTEAD OF DELETE ON fed BEGIN DELETE FROM words WHERE rowid = OLD.id; END;
      CREATE TRIGGER told_i INSTEAD OF INSERT ON told BEGIN INSERT INTO log(line) VALUES(NEW.line); END;
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO fed VALUES(NEW.id, NEW.body); INSERT INTO told VALUES('came ' || NEW.body); END;
      CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN DELETE FROM fed WHERE id = OLD.id; INSERT INTO fed VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN DELETE FROM fed WHERE id = OLD.id; END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO doc VALUES(1, 'red'), (2, 'blue')");
    b.edit("INSERT INTO doc VALUES(1, 'green')", b.nowUs + 1_000_000);
    settle(a, b);
    a.edit("UPDATE doc SET body = 'violet' WHERE body = 'green'; DELETE FROM doc WHERE body = 'blue'");
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT body FROM doc ORDER BY 1")).toEqual([{ body: "red" }, { body: "violet" }]);
      expect(site.rows("SELECT rowid AS id, body FROM words ORDER BY 1")).toEqual(site.rows("SELECT id, body FROM doc ORDER BY 1"));
      expect(site.rows("SELECT line FROM log ORDER BY 1")).toEqual([{ line: "came blue" }, { line: "came green" }, { line: "came red" }]);
    }
  });

  test("feed an index that its application has let fall behind: it gets what it lacks, or what it does not hold is left", () => {
    const schema = (
      content: string,
    ) => `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE VIRTUAL TABLE words USING fts5(body, ${content});
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); END;
      CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN
        INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END`;
    const found = (site: Site) =>
      site.rows("SELECT body FROM doc WHERE id IN (SELECT rowid FROM words WHERE words MATCH 'robot') ORDER BY 1");
    const make = (content: string, choice = {}): [Site, Site] => {
      const sites = ["a", "b"].map((name) => new Site(name, schema(content), choice)) as [Site, Site];
      sites[0].edit("INSERT INTO doc(body) VALUES('red robot'), ('blue robot'), ('green robot')");
      settle(...sites);
      sites[1].write("INSERT INTO words(words) VALUES('delete-all')");
      sites[0].edit("DELETE FROM doc WHERE body LIKE 'red%'");
      return sites;
    };
    const [a, b] = make("content='doc', content_rowid='id'");
    settle(a, b);
    expect(found(b)).toEqual([{ body: "blue robot" }, { body: "green robot" }]);
    b.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1)");
    const told = (site: Site) =>
      diagnose(site.path, [])
        .problems.map(({ message }) => message)
        .join();
    expect(told(b)).toBe("");
    // Only its application can build one without content anew: nothing waits for that.
    const [c, d] = make("content=''");
    settle(c, d);
    expect(d.one("SELECT count(*) FROM doc")).toBe(2);
    expect(told(c)).toBe("");
    expect(told(d)).toContain("did not hold what its triggers took out");
    c.edit("UPDATE doc SET body = 'white robot' WHERE body LIKE 'green%'");
    settle(c, d);
    expect(found(d)).toEqual([{ body: "white robot" }]);
    expect(d.rows("SELECT name FROM sqlite_master WHERE sql LIKE '%''delete''%' AND type = 'trigger'")).toEqual([
      { name: "doc_d" },
      { name: "doc_u" },
    ]);
    const [e, f] = make("content=''", { triggers: { run: [], suspend: ["doc_d"] } });
    settle(e, f);
    expect(f.one("SELECT count(*) FROM doc")).toBe(2);
  });

  test.each([
    ["that are shown when they come", "WHEN NEW.shown", "NEW.body", "OF body ON doc WHEN OLD.shown"],
    ["that are shown by an edit alone", "WHEN 0", "NEW.body", "OF body ON doc WHEN OLD.shown"],
    ["that no edit has taken out", "", "NEW.body", "OF shown ON doc WHEN NOT NEW.shown"],
    ["as its application changes them", "", "upper(NEW.body)", "OF body ON doc"],
  ])("feed an index of rows %s: it is not built anew, as it would hold what its application keeps out", (_, coming, body, edited) => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT, shown INT); CREATE VIRTUAL TABLE words USING fts5(body, content='doc', content_rowid='id');
      CREATE VIRTUAL TABLE other USING fts5(body, content='doc', content_rowid='id');
      CREATE TRIGGER doc_i AFTER INSERT ON doc ${coming} BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, ${body}); END;
      CREATE TRIGGER doc_u AFTER UPDATE ${edited} BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, ${body.replace("NEW", "OLD")}); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc WHEN OLD.shown BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, ${body.replace("NEW", "OLD")}); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO doc(body, shown) VALUES('red robot', 1), ('blue robot', 1), ('secret robot', 0)");
    settle(a, b);
    for (const site of [a, b]) site.write("INSERT INTO words(words) VALUES('delete-all')");
    a.write("INSERT INTO words(rowid, body) VALUES(1, 'red robot')");
    a.edit("DELETE FROM doc WHERE body LIKE 'red%'");
    b.pull(a);
    expect(b.rows("SELECT body FROM doc ORDER BY 1")).toEqual([{ body: "blue robot" }, { body: "secret robot" }]);
    // One of them is fed by the application itself, as it sees fit.
    for (const index of ["words", "other"]) expect(b.one(`SELECT count(*) FROM ${index} WHERE ${index} MATCH 'secret'`)).toBe(0);
  });

  test("feed an index that lacks much: it gets what it lacks in turns, and what is there stays as it is", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT, title TEXT); CREATE VIRTUAL TABLE words USING fts5(title, body, content='doc', content_rowid='id');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, title, body) VALUES(NEW.id, NEW.title, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, title, body) VALUES('delete', OLD.id, OLD.title, OLD.body); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema, { turnMs: 0 })];
    a.edit(
      "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO doc SELECT i, 'robot ' || i, 'title' FROM n",
    );
    settle(a, b);
    b.write("INSERT INTO words(words) VALUES('delete-all'); INSERT INTO words(rowid, title, body) VALUES(7, 'title', 'robot 7')");
    a.edit("DELETE FROM doc WHERE id < 3");
    settle(a, b);
    expect(b.one("SELECT count(*) FROM words WHERE words MATCH 'title'")).toBe(38);
    b.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1)");
  });

  test("feed an index that is broken, and lacks rows beside: it is built anew", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE VIRTUAL TABLE words USING fts5(body, content='doc', content_rowid='id');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO doc(body) VALUES('red robot'), ('blue robot'), ('green robot')");
    settle(a, b);
    b.app.unsafeMode(true);
    b.write("DELETE FROM words_data WHERE id = 1; DELETE FROM words_docsize WHERE id = 3");
    a.edit("DELETE FROM doc WHERE body LIKE 'red%'");
    settle(a, b);
    b.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1)");
    expect(b.rows("SELECT rowid FROM words WHERE words MATCH 'robot' ORDER BY 1")).toEqual([{ rowid: 2 }, { rowid: 3 }]);
  });

  test("whose index waits for its application stay as a migration has them that comes meanwhile", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE VIRTUAL TABLE words USING fts5(body, content='');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); END`;
    let migrate: (() => void) | null = null;
    let looks = 0;
    const connect = (path: string, options: Database.Options) =>
      new Database(path, {
        ...options,
        verbose: (sql?: unknown) => {
          if (migrate && /USING%FTS5/.test(String(sql))) looks++;
          if (looks < 2 || !String(sql).startsWith("BEGIN IMMEDIATE")) return;
          migrate?.();
          migrate = null;
          looks = 0;
        },
      });
    const [a, b] = [new Site("a", schema), new Site("b", schema, { connect })];
    a.edit("INSERT INTO doc(body) VALUES('red robot'), ('blue robot'), ('green robot')");
    settle(a, b);
    b.write("INSERT INTO words(words) VALUES('delete-all')");
    a.edit("DELETE FROM doc WHERE body LIKE 'red%'");
    let done = 0;
    migrate = () => {
      done++;
      b.app.exec(
        "DROP TRIGGER doc_d; CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, lower(OLD.body)); END",
      );
    };
    b.pull(a);
    expect(done).toBe(1);
    expect(b.rows("SELECT body FROM doc ORDER BY 1")).toEqual([{ body: "blue robot" }, { body: "green robot" }]);
    expect(b.one("SELECT sql FROM sqlite_schema WHERE name = 'doc_d'")).toContain("lower(");
  });

  test("feed an index that cannot be built anew: others are not looked through each time that somebody comes", () => {
    const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT); CREATE VIRTUAL TABLE words USING fts5(body, content='');
      CREATE VIRTUAL TABLE more USING fts5(body, content='doc', content_rowid='id');
      CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN
        INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); INSERT INTO more(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); END`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO doc(body) VALUES('red robot'), ('blue robot'), ('green robot')");
    settle(a, b);
    b.write("INSERT INTO words(words) VALUES('delete-all')");
    a.edit("DELETE FROM doc WHERE body LIKE 'red%'");
    b.pull(a);
    b.write("INSERT INTO more(more) VALUES('delete-all')");
    a.edit("DELETE FROM doc WHERE body LIKE 'blue%'");
    b.pull(a);
    expect(b.one("SELECT count(*) FROM doc")).toBe(1);
    expect(b.one("SELECT count(*) FROM more WHERE more MATCH 'green'")).toBe(0);
  });

  test("run or rest as a person says", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE cache(v); CREATE TABLE log(v);
      CREATE TRIGGER fill AFTER INSERT ON t BEGIN INSERT INTO cache VALUES(NEW.v); END;
      CREATE TRIGGER log_it AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.v); END`;
    const exclude = ["cache"];
    const a = new Site("a", schema, { exclude });
    const b = new Site("b", schema, { exclude, triggers: { run: ["LOG_IT"], suspend: ["fill"] } });
    a.edit("INSERT INTO t(v) VALUES('x')");
    settle(a, b);
    expect([a.one("SELECT count(*) FROM cache"), b.one("SELECT count(*) FROM cache")]).toEqual([1, 0]);
    // Told to run, it writes what travels, too: that is what was asked for.
    expect(b.one("SELECT count(*) FROM log")).toBe(2);
  });

  test("that need a function or tokenizer of the application's rest where others' changes are applied", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE seen(v);
      CREATE TRIGGER tell AFTER INSERT ON t BEGIN SELECT of_the_application(NEW.v); END;
      CREATE TRIGGER tell_more AFTER UPDATE ON t BEGIN SELECT another_function(NEW.v); END;
      CREATE VIRTUAL TABLE words USING fts5(v);
      CREATE TRIGGER tell_also AFTER UPDATE ON t BEGIN SELECT another_function(NEW.v); INSERT INTO words VALUES(NEW.v); END`;
    const a = new Site("a", schema);
    const b = new Site("b", schema);
    const told: unknown[] = [];
    for (const name of ["of_the_application", "another_function"]) a.app.function(name, (v) => told.push(v));
    a.edit("INSERT INTO t(v) VALUES('x'); UPDATE t SET v = 'y'");
    settle(a, b);
    expect(told).toEqual(["x", "y", "y"]);
    expect(b.rows("SELECT v FROM t")).toEqual([{ v: "y" }]);
    a.edit("UPDATE t SET v = 'z'");
    settle(a, b);
    expect(b.rows("SELECT * FROM words")).toEqual([{ v: "z" }]);
    expect(b.rows("SELECT name FROM sqlite_master WHERE name LIKE 'tell%'")).toHaveLength(3);
    expect(
      diagnose(b.path, [])
        .problems.map(({ message }) => message)
        .join(),
    ).toContain('"tell"');
  });
});
