import { describe, expect, test } from "vitest";
import { rekeyedId } from "../src/apply/related-rows.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT, x TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, p INTEGER REFERENCES parent(id), m TEXT);
  CREATE TABLE link(p INTEGER REFERENCES parent(id), k TEXT, m TEXT, PRIMARY KEY(p, k)) WITHOUT ROWID;
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT)`;

const LATER = START_US + SECOND_US;
const FAMILY = "SELECT parent.m AS parent, child.m AS child FROM child JOIN parent ON parent.id = child.p ORDER BY child.m";

/** The two sides each create row 1 with a child; a's is the earlier one. */
function sameInteger(): [Site, Site] {
  const sites: [Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  sites.forEach((site, i) => {
    const { name } = site;
    site.edit(
      `INSERT INTO parent VALUES(1, 'parent of ${name}', ''); INSERT INTO child(p, m) VALUES(1, 'child of ${name}'); INSERT INTO link VALUES(1, 'k', 'link of ${name}')`,
      START_US + i * SECOND_US,
    );
  });
  return sites;
}

describe("the same integer on two servers", () => {
  test.each(["a pulls first", "b pulls first", "both pull at once"])("both rows exist on both, children follow: %s", (order) => {
    const [a, b] = sameInteger();
    if (order === "a pulls first") a.pull(b);
    if (order === "b pulls first") b.pull(a);
    const [forA, forB] = [b.batchFor(a), a.batchFor(b)];
    a.replica.apply(forA);
    b.replica.apply(forB);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows(FAMILY)).toEqual([
        { parent: "parent of a", child: "child of a" },
        { parent: "parent of b", child: "child of b" },
      ]);
      expect(site.rows("SELECT parent.m AS parent, link.m AS link FROM link JOIN parent ON parent.id = link.p ORDER BY link.m")).toEqual([
        { parent: "parent of a", link: "link of a" },
        { parent: "parent of b", link: "link of b" },
      ]);
      // The later-born one moved, to the same place everywhere.
      expect(site.one("SELECT m FROM parent WHERE id = 1")).toBe("parent of a");
      expect(site.rows("SELECT * FROM parent")).toEqual(a.rows("SELECT * FROM parent"));
      expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
    }
  });

  test("the new integer is below 2^31 and leaves room for what SQLite hands out next", () => {
    const [a, b] = sameInteger();
    settle(a, b);
    const moved = Number(a.one("SELECT id FROM parent WHERE m = 'parent of b'"));
    expect(moved).toBeGreaterThan(1_000_000);
    expect(moved).toBeLessThan(2 ** 30);
    a.edit("INSERT INTO parent(m) VALUES('next')", LATER);
    expect(a.one("SELECT id FROM parent WHERE m = 'next'")).toBe(moved + 1);
  });

  test("the move is no edit: no conflict, no new time, and an edit made meanwhile is kept", () => {
    const [a, b] = sameInteger();
    const forA = b.batchFor(a);
    // b edits its row while a, which gives it another integer, does not know of the edit.
    b.edit("UPDATE parent SET x = 'edited meanwhile' WHERE id = 1", START_US + 9 * SECOND_US);
    a.replica.apply(forA);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT m, x FROM parent WHERE m = 'parent of b'")).toEqual([{ m: "parent of b", x: "edited meanwhile" }]);
      expect(site.conflicts).toEqual([]);
      const id = String(site.one("SELECT id FROM parent WHERE m = 'parent of b'"));
      const entries = site.replica.history("parent", id);
      expect(entries.filter(({ operation }) => operation === "rekey")).toHaveLength(1);
      expect(entries.find(({ operation, column }) => operation === "update" && column === "m")?.timeUs).toBe(LATER);
      expect(entries[0]?.note).toBe(`created with id 1, now ${id}`);
    }
  });

  test("the application's next statements use the integers as its table shows them", () => {
    const [a, b] = sameInteger();
    settle(a, b);
    const id = Number(b.one("SELECT id FROM parent WHERE m = 'parent of b'"));
    b.edit(`INSERT INTO child(p, m) VALUES(${id}, 'second child of b'), (1, 'b adds to a')`, LATER + SECOND_US);
    b.edit(`UPDATE parent SET x = 'found' WHERE id = ${id}`);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows(FAMILY)).toContainEqual({ parent: "parent of b", child: "second child of b" });
      expect(site.rows(FAMILY)).toContainEqual({ parent: "parent of a", child: "b adds to a" });
      expect(site.one("SELECT x FROM parent WHERE m = 'parent of b'")).toBe("found");
    }
  });

  test("the fact merges by maximum: an older decision that arrives later moves nothing back", () => {
    const [a, b] = sameInteger();
    // c's row was born first of all, and has exactly the integer that b's would be given.
    const born = b.replica.history("parent", "1")[0]?.dot.split(":") as [string, string];
    const taken = rekeyedId(born[0], Number(born[1]), 1);
    const c = new Site("c", SCHEMA);
    c.edit(`INSERT INTO parent VALUES(${taken}, 'parent of c', '')`, START_US - SECOND_US);
    // a and b each state generation 1 for themselves, c generation 2 for both.
    const [forA, forB] = [b.batchFor(a), a.batchFor(b)];
    a.replica.apply(forA);
    b.replica.apply(forB);
    expect(b.one("SELECT id FROM parent WHERE m = 'parent of b'")).toBe(Number(taken));
    c.pull(a);
    const second = Number(rekeyedId(born[0], Number(born[1]), 2));
    expect(c.one("SELECT id FROM parent WHERE m = 'parent of b'")).toBe(second);
    a.pull(c);
    // b still says generation 1; at the end of the stream a second move would put it right, so this is before.
    a.replica.apply({ ...b.batchFor(a), final: false });
    expect(a.one("SELECT id FROM parent WHERE m = 'parent of b'")).toBe(second);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT id, m FROM parent ORDER BY m")).toEqual([
        { id: 1, m: "parent of a" },
        { id: second, m: "parent of b" },
        { id: Number(taken), m: "parent of c" },
      ]);
      expect(site.rows(FAMILY)).toHaveLength(2);
    }
  });

  test("in mid-stream the later one waits, and is there at the end", () => {
    const [a, b] = sameInteger();
    b.pull(a, { batchSize: 1, batches: 1 });
    expect(b.rows("SELECT m FROM parent")).toHaveLength(1);
    expect(b.replica.state().parked).toBe(1);
    b.pull(a, { batchSize: 1 });
    expect(b.rows("SELECT m FROM parent ORDER BY m")).toEqual([{ m: "parent of a" }, { m: "parent of b" }]);
    expect(b.replica.state().parked).toBe(0);
  });

  test("a natural key is one row on both, merged by column", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.edit("INSERT INTO word VALUES('k', 'of a', 'same')");
    b.edit("INSERT INTO word VALUES('k', 'of b', 'same')", LATER);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "of b", y: "same" }]);
      expect(site.conflicts.map(({ column, winner, loser }) => [column, winner?.value, loser?.value])).toEqual([["x", "of b", "of a"]]);
    }
  });
});

describe("an origin is drawn anew and never continued", () => {
  /** Authors' dots of every row, by marker. */
  const dots = (site: Site) =>
    site
      .rows("SELECT k FROM word ORDER BY k")
      .map(({ k }) => site.replica.history("word", String(k)).find(({ operation }) => operation === "insert")?.dot ?? "");
  const origins = (site: Site) => new Set(dots(site).map((dot) => dot.split(":")[0]));

  test("after each start, at the first change", () => {
    const a = new Site("a", SCHEMA);
    const before = a.vector;
    a.restart();
    expect(a.vector).toBe(before);
    a.edit("INSERT INTO word VALUES('1', '', '')");
    a.edit("INSERT INTO word VALUES('2', '', '')");
    a.restart();
    a.edit("INSERT INTO word VALUES('3', '', '')");
    expect(origins(a).size).toBe(2);
    expect([...a.replica.state().vector.values()].sort((one, other) => one - other)).toEqual([1, 2]);
  });

  test("so a restored backup uses no dot twice and loses nothing", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.edit("INSERT INTO word VALUES('before', '', '')");
    const backup = a.backup();
    a.edit("INSERT INTO word VALUES('lost with the disk', '', '')", LATER);
    b.pull(a);
    a.replaceFile(backup);
    a.edit("INSERT INTO word VALUES('after the restore', '', '')", LATER);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT k FROM word ORDER BY k")).toEqual([
        { k: "after the restore" },
        { k: "before" },
        { k: "lost with the disk" },
      ]);
      expect(new Set(dots(site)).size).toBe(3);
    }
    expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  });

  test("so a copied file becomes a replica of its own", () => {
    const a = new Site("a", SCHEMA);
    a.edit("INSERT INTO word VALUES('shared', '', '')");
    const copy = new Site("copy", SCHEMA);
    copy.replaceFile(a.backup());
    a.edit("INSERT INTO word VALUES('of a', '', '')");
    copy.edit("INSERT INTO word VALUES('of the copy', '', '')");
    settle(a, copy);
    for (const site of [a, copy]) {
      expect(site.rows("SELECT k FROM word ORDER BY k")).toEqual([{ k: "of a" }, { k: "of the copy" }, { k: "shared" }]);
      expect(new Set(dots(site)).size).toBe(3);
    }
  });
});

test("a key made of references means the row that has the integer now, not one that came and went before", () => {
  const schema = `CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT);
    CREATE TABLE link(p INTEGER REFERENCES parent(id) ON DELETE CASCADE, k TEXT, m TEXT, PRIMARY KEY(p, k))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  b.edit("INSERT INTO parent VALUES(1, 'came and went'); INSERT INTO link VALUES(1, 'k', 'went too'); DELETE FROM parent");
  a.edit("INSERT INTO parent VALUES(1, 'of a')", START_US + SECOND_US);
  b.pull(a);
  a.edit("INSERT INTO link VALUES(1, 'k', 'by a')", LATER);
  b.edit("INSERT INTO link VALUES(1, 'k', 'by b')", LATER + SECOND_US);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT m FROM link")).toEqual([{ m: "by b" }]);
    expect(site.conflicts.map(({ winner, loser }) => [winner?.value, loser?.value])).toEqual([["by b", "by a"]]);
    expect(site.replica.state().parked).toBe(0);
  }
});

describe("a row that replaces another under its integer takes over what refers to that", () => {
  const CHILDREN = "SELECT child.m AS child, parent.m AS parent FROM child LEFT JOIN parent ON parent.id = child.p ORDER BY 1";

  test.each([
    ["OR REPLACE with recursive triggers", "PRAGMA recursive_triggers = ON; INSERT OR REPLACE INTO parent VALUES(1, 'next', '')"],
    ["a delete and an insert", "DELETE FROM parent WHERE id = 1; INSERT INTO parent VALUES(1, 'next', '')"],
  ])("%s, and a child is edited apart from it", (_, sql) => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    a.write("PRAGMA foreign_keys = OFF");
    a.edit("INSERT INTO parent VALUES(1, 'first', ''); INSERT INTO child(id, p, m) VALUES(1, 1, 'child'), (2, 1, 'other child')");
    settle(a, b, c);
    a.edit(sql, LATER);
    b.edit("UPDATE child SET m = 'child, edited' WHERE id = 1", LATER + SECOND_US);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows(CHILDREN)).toEqual([
        { child: "child, edited", parent: "next" },
        { child: "other child", parent: "next" },
      ]);
      expect(site.rows("SELECT * FROM parent")).toEqual(a.rows("SELECT * FROM parent"));
      expect(site.rows("SELECT * FROM child ORDER BY id")).toEqual(a.rows("SELECT * FROM child ORDER BY id"));
    }
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  });
});
