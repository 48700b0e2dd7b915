import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE match(id INTEGER PRIMARY KEY, team TEXT, score INTEGER, best REAL, tags TEXT, role TEXT);
  CREATE TABLE stock(item TEXT PRIMARY KEY, count INTEGER, price, note TEXT)`;
const RULES = [
  "match.score=counter",
  "match.best=max",
  "match.tags=set",
  "match.role=prefer:hub,shop",
  "stock.count=counter",
  "stock.price=min",
];

const at = (seconds: number) => START_US + seconds * SECOND_US;
const site = (name: string) => new Site(name, SCHEMA, { rules: RULES });

function sites(...names: string[]): Site[] {
  const all = names.map(site);
  all[0]!.edit("INSERT INTO match VALUES(1, 't', 10, 1.5, '[\"a\",\"b\"]', 'first'); INSERT INTO stock VALUES('bolt', 100, 5, 'n')");
  settle(...all);
  return all;
}

/** Each site has the row, and all stand at one digest. */
function everywhere(all: readonly Site[], sql: string): unknown {
  settle(...all);
  const [first, ...others] = all.map((each) => ({
    value: each.one(sql),
    digest: Buffer.from(each.replica.state().digest).toString("hex"),
  }));
  for (const other of others) expect(other).toEqual(first);
  for (const each of all) {
    const { entries } = each.replica.digests({ table: "", buckets: [], deep: true });
    expect(entries, `rows of ${each.name} as they are`).toEqual(each.replica.digests({ table: "", buckets: [], deep: false }).entries);
  }
  return first!.value;
}

describe("a counter", () => {
  test.each([
    ["a surrogate key", "match SET score = score", "score FROM match"],
    ["a natural key", "stock SET count = count", "count FROM stock"],
  ])("of a row with %s adds what three nodes did at once", (_, set, select) => {
    const all = sites("a", "b", "c");
    const first = all[0]!.one(`SELECT ${select}`) as number;
    all.forEach((each, i) => each.edit(`UPDATE ${set} + ${10 ** i}`, at(i + 1)));
    expect(everywhere(all, `SELECT ${select}`)).toBe(first + 111);
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("counts edit after edit made offline, drained together or apart, and after a restart", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.write("UPDATE match SET score = score + 1");
    a.write("UPDATE match SET score = score + 2");
    a.replica.drain();
    a.edit("UPDATE match SET score = score + 4", at(1));
    a.restart();
    a.edit("UPDATE match SET score = score + 8, team = 'u'", at(2));
    b.edit("UPDATE match SET score = score - 3", at(3));
    b.edit("UPDATE match SET score = score + 100", at(4));
    expect(everywhere(all, "SELECT score FROM match")).toBe(10 + 15 + 97);
    a.edit("UPDATE match SET score = score + 1", at(5));
    b.edit("UPDATE match SET score = score + 1", at(6));
    expect(everywhere(all, "SELECT score FROM match")).toBe(124);
  });

  test("stays readable where a change is too large for a double: its database could be neither synced nor opened", () => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, "CREATE TABLE c(id TEXT PRIMARY KEY, n)", { rules: ["c.n=counter"] })) as [
      Site,
      Site,
    ];
    a.edit("INSERT INTO c VALUES('x', 1e308), ('y', 1)");
    settle(a, b);
    a.edit("UPDATE c SET n = 1.7e308 WHERE id = 'x'; UPDATE c SET n = 2 WHERE id = 'y'", at(1));
    b.edit("UPDATE c SET n = -1.7e308 WHERE id = 'x'; UPDATE c SET n = -9e999 WHERE id = 'y'", at(2));
    b.restart();
    expect(everywhere([a, b], "SELECT group_concat(n) FROM c")).toBe("-1.7e+308,-Inf");
    for (const each of [a, b]) expect(each.conflicts).toHaveLength(2);
    b.edit("UPDATE c SET n = 5", at(3));
    a.edit("UPDATE c SET n = n + 1", at(4));
    b.restart();
    everywhere([a, b], "SELECT 1");
  });

  test("counts in a chain where each knows only some of the others", () => {
    const all = sites("a", "b", "c");
    const [a, b, c] = all as [Site, Site, Site];
    a.edit("UPDATE match SET score = score + 1", at(1));
    b.edit("UPDATE match SET score = score + 10", at(2));
    b.pull(a);
    b.edit("UPDATE match SET score = score + 100", at(3));
    c.pull(a);
    c.edit("UPDATE match SET score = score + 1000", at(4));
    a.edit("UPDATE match SET score = score + 10000", at(5));
    c.pull(b);
    c.edit("UPDATE match SET score = score * 2", at(6));
    // 10 + 1 + 10 + 100 + 1000 as c saw it, doubled, and what it did not see.
    expect(everywhere(all, "SELECT score FROM match")).toBe(2 * 1121 + 10_000);
  });

  test("counts what INSERT OR REPLACE and an upsert change", () => {
    const all = sites("a", "b", "c");
    const [a, b, c] = all as [Site, Site, Site];
    a.write("INSERT OR REPLACE INTO stock VALUES('bolt', 70, 5, 'n')");
    a.write("REPLACE INTO match(id, score) VALUES(1, 7)");
    a.write("INSERT OR IGNORE INTO match(id, score) VALUES(1, 70)");
    b.write("INSERT INTO stock VALUES('bolt', 1, 1, '') ON CONFLICT(item) DO UPDATE SET count = count + excluded.count");
    b.write("UPDATE match SET score = score + 100");
    c.write("UPDATE stock SET count = count + 1000");
    expect(everywhere(all, "SELECT count FROM stock")).toBe(1071);
    expect(everywhere(all, "SELECT score FROM match")).toBe(107);
  });

  test("counts in a table as wide as tables can be", () => {
    const columns = Array.from({ length: 1_990 }, (_, i) => `c${i} INTEGER`).join(", ");
    const all = ["a", "b"].map(
      (name) => new Site(name, `CREATE TABLE wide(id INTEGER PRIMARY KEY, ${columns})`, { rules: ["wide.c77=counter"] }),
    );
    const [a, b] = all as [Site, Site];
    a.edit("INSERT INTO wide(id, c77) VALUES(1, 10)", at(0));
    settle(...all);
    a.edit("UPDATE wide SET c77 = c77 + 1", at(1));
    b.edit("REPLACE INTO wide(id, c77) VALUES(1, 30)", at(2));
    expect(everywhere(all, "SELECT c77 FROM wide")).toBe(31);
  });

  test("survives a delete that did not know of an increment", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    b.edit("DELETE FROM stock", at(1));
    a.edit("UPDATE stock SET count = count + 5", at(2));
    expect(everywhere(all, "SELECT count FROM stock")).toBe(105);
  });

  test("of a row that is deleted and added again goes on from the new value", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.write("DELETE FROM stock; INSERT INTO stock VALUES('bolt', 3, 5, 'n')");
    a.replica.drain();
    b.edit("UPDATE stock SET count = count + 2", at(2));
    expect(everywhere(all, "SELECT count FROM stock")).toBe(5);
    a.edit("DELETE FROM stock", at(3));
    settle(...all);
    b.edit("INSERT INTO stock VALUES('bolt', 50, 5, 'n')", at(4));
    expect(everywhere(all, "SELECT count FROM stock")).toBe(50);
  });

  test("of rows born apart under one key is the sum of both", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.edit("INSERT INTO stock VALUES('nut', 3, 1, 'n')", at(1));
    b.edit("INSERT INTO stock VALUES('nut', 4, 2, 'n')", at(2));
    a.edit("UPDATE stock SET count = count + 10 WHERE item = 'nut'", at(3));
    expect(everywhere(all, "SELECT count FROM stock WHERE item = 'nut'")).toBe(17);
    expect(everywhere(all, "SELECT price FROM stock WHERE item = 'nut'")).toBe(1);
  });

  test("is an edit like any other where one node sets it after having seen all", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.edit("UPDATE match SET score = score + 1", at(1));
    b.edit("UPDATE match SET score = score + 1", at(2));
    settle(...all);
    a.edit("UPDATE match SET score = 0", at(3));
    expect(everywhere(all, "SELECT score FROM match")).toBe(0);
    expect(a.replica.history("match", "1").filter(({ operation }) => operation === "conflict" || operation === "closed")).toEqual([]);
  });

  test("with a value that is no number is a conflict, which a person decides", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.edit("UPDATE stock SET count = 'many'", at(1));
    b.edit("UPDATE stock SET count = count + 1", at(2));
    expect(everywhere(all, "SELECT count FROM stock")).toBe(101);
    expect(a.conflicts).toMatchObject([{ column: "count", winner: { value: 101n }, loser: { value: "many" } }]);
    expect(b.conflicts.map(({ id }) => id)).toEqual(a.conflicts.map(({ id }) => id));
    a.replica.resolve({ id: a.conflicts[0]!.id, keep: "", set: [{ name: "count", value: 200n }] });
    expect(everywhere(all, "SELECT count FROM stock")).toBe(200);
    b.edit("UPDATE stock SET count = count + 1", at(9));
    a.edit("UPDATE stock SET count = count + 1", at(9));
    expect(everywhere(all, "SELECT count FROM stock")).toBe(202);
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("is exact to 64 bits, and a real beyond", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.edit("UPDATE match SET score = 9223372036854775000", at(1));
    settle(...all);
    a.edit("UPDATE match SET score = score + 800", at(2));
    b.edit("UPDATE match SET score = score + 7", at(3));
    expect(everywhere(all, "SELECT CAST(score AS TEXT) FROM match")).toBe("9223372036854775807");
    a.edit("UPDATE match SET score = score - 1", at(4));
    b.edit("UPDATE match SET score = score - 1", at(5));
    expect(everywhere(all, "SELECT CAST(score AS TEXT) FROM match")).toBe("9223372036854775805");
    a.write("DELETE FROM match; INSERT INTO match(id, score) VALUES(2, 9223372036854775807)");
    settle(...all);
    a.edit("UPDATE match SET score = score - 1", at(6));
    b.edit("UPDATE match SET score = 9223372036854775806", at(6));
    expect(everywhere(all, "SELECT typeof(score) FROM match")).toBe("integer");
  });
});

describe("copies that were written to before they were joined", () => {
  test("count what the row had once, and every increment since they took part", () => {
    const filled = `${SCHEMA}; INSERT INTO match(id, score) VALUES(1, 10); INSERT INTO stock(item, count) VALUES('bolt', 10);`;
    const a = new Site("a", `${filled} INSERT INTO match(id) VALUES(2)`, { rules: RULES, baseline: "shared" });
    const b = new Site("b", `${filled} INSERT INTO match(id) VALUES(3)`, { rules: RULES, baseline: "shared" });
    a.edit("UPDATE match SET score = score + 2 WHERE id = 1; UPDATE stock SET count = count + 2", at(1));
    b.edit("UPDATE match SET score = score + 5 WHERE id = 1; UPDATE stock SET count = count + 5", at(2));
    expect(everywhere([a, b], "SELECT score FROM match WHERE id = 1")).toBe(17);
    a.edit("UPDATE match SET score = score + 100 WHERE id = 1; UPDATE stock SET count = count + 100", at(3));
    b.edit("UPDATE match SET score = score + 1000 WHERE id = 1", at(4));
    expect(everywhere([a, b], "SELECT score FROM match WHERE id = 1")).toBe(1117);
    expect(everywhere([a, b], "SELECT count FROM stock")).toBe(117);
  });
});

describe("a server that gets the columns later", () => {
  test.each(["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY"])("counts the default of one that comes once, in rows under an %s", (key) => {
    const all = ["a", "b", "c"].map((name) => new Site(name, `CREATE TABLE item(id ${key})`, { rules: ["item.n=counter"] }));
    const [a, b, c] = all as [Site, Site, Site];
    const migration = "ALTER TABLE item ADD COLUMN n INTEGER DEFAULT 5";
    a.edit("INSERT INTO item VALUES(1)");
    settle(a, b, c);
    a.edit(migration, at(1));
    b.edit(migration, at(1));
    c.edit("INSERT INTO item VALUES(2)", at(1));
    settle(a, b, c);
    a.edit("UPDATE item SET n = n + 1", at(2));
    b.edit("UPDATE item SET n = n + 1; UPDATE item SET n = n - 4", at(2));
    settle(a, b);
    c.edit(migration, at(3));
    settle(a, b, c);
    c.edit("UPDATE item SET n = n + 100", at(4));
    for (const id of [1, 2]) expect(everywhere(all, `SELECT n FROM item WHERE id = ${id}`)).toBe(103);
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("passes on what it cannot show, and shows what it comes to when it can", () => {
    const [a, b] = sites("a", "b") as [Site, Site];
    const bare =
      "CREATE TABLE match(id INTEGER PRIMARY KEY, team TEXT, best REAL, role TEXT); CREATE TABLE stock(item TEXT PRIMARY KEY, price, note TEXT)";
    const c = new Site("c", bare, { rules: RULES });
    a.edit('UPDATE match SET score = score + 1, tags = \'["a","x"]\'; UPDATE stock SET count = count + 1', at(1));
    b.edit('UPDATE match SET score = score + 20, tags = \'["a","b","y"]\'; UPDATE stock SET count = count + 20', at(2));
    c.pull(a);
    c.pull(b);
    c.edit("UPDATE match SET team = 'of c'", at(3));
    c.write(
      "ALTER TABLE match ADD COLUMN score INTEGER; ALTER TABLE match ADD COLUMN tags TEXT; ALTER TABLE stock ADD COLUMN count INTEGER",
    );
    c.replica.drain();
    expect(c.rows("SELECT score, tags FROM match")).toEqual([{ score: 31, tags: '["a","y","x"]' }]);
    expect(c.one("SELECT count FROM stock")).toBe(121);
    c.edit("UPDATE match SET score = score + 300; UPDATE stock SET count = count + 300", at(4));
    a.edit("UPDATE match SET score = score + 4000; UPDATE stock SET count = count + 4000", at(5));
    expect(everywhere([a, b, c], "SELECT score FROM match")).toBe(4331);
    expect(everywhere([a, b, c], "SELECT count FROM stock")).toBe(4421);
    expect(everywhere([a, b, c], "SELECT tags FROM match")).toBe('["a","y","x"]');
  });
});

describe("a set", () => {
  test("keeps what each added and leaves out what each removed", () => {
    const all = sites("a", "b", "c");
    const [a, b, c] = all as [Site, Site, Site];
    a.edit(`UPDATE match SET tags = '["a","b","new of a"]'`, at(1));
    b.edit(`UPDATE match SET tags = '["b","new of b"]'`, at(2));
    c.edit("UPDATE match SET team = 'x'", at(3));
    expect(everywhere(all, "SELECT tags FROM match")).toBe('["b","new of b","new of a"]');
    c.edit(`UPDATE match SET tags = '["new of b"]'`, at(4));
    a.edit(`UPDATE match SET tags = '["b","new of b","new of a","later"]'`, at(5));
    expect(everywhere(all, "SELECT tags FROM match")).toBe('["new of b","later"]');
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("an element removed by one and added anew by another stays", () => {
    const all = sites("a", "b", "c");
    const [a, b] = all as [Site, Site];
    a.edit(`UPDATE match SET tags = '["b"]'`, at(1));
    b.pull(a);
    b.edit(`UPDATE match SET tags = '["b","a"]'`, at(2));
    a.edit(`UPDATE match SET tags = '[]'`, at(3));
    expect(everywhere(all, "SELECT tags FROM match")).toBe('["a"]');
  });

  test("with something else than an array is a conflict", () => {
    const all = sites("a", "b");
    const [a, b] = all as [Site, Site];
    a.edit("UPDATE match SET tags = 'none'", at(1));
    b.edit(`UPDATE match SET tags = '["a","b","c"]'`, at(2));
    expect(everywhere(all, "SELECT tags FROM match")).toBe('["a","b","c"]');
    expect(a.conflicts).toMatchObject([{ column: "tags", loser: { value: "none" } }]);
  });
});

describe("max, min and prefer", () => {
  test("the greatest of concurrent values stays, an edit that knew it replaces it", () => {
    const all = sites("a", "b", "c");
    const [a, b, c] = all as [Site, Site, Site];
    a.edit("UPDATE match SET best = 9.5", at(1));
    b.edit("UPDATE match SET best = 7.25", at(2));
    c.edit("UPDATE match SET best = 8", at(3));
    expect(everywhere(all, "SELECT best FROM match")).toBe(9.5);
    for (const each of all) expect(each.conflicts).toEqual([]);
    c.edit("UPDATE match SET best = 2", at(4));
    expect(everywhere(all, "SELECT best FROM match")).toBe(2);
    a.edit("UPDATE stock SET price = 4", at(5));
    b.edit("UPDATE stock SET price = 4.5", at(6));
    expect(everywhere(all, "SELECT price FROM stock")).toBe(4);
  });

  test("the preferred node's write is in the table, the other is listed", () => {
    const all = sites("a", "shop", "hub");
    const [a, shop, hub] = all as [Site, Site, Site];
    hub.edit("UPDATE match SET role = 'of hub'", at(1));
    shop.edit("UPDATE match SET role = 'of shop'", at(2));
    a.edit("UPDATE match SET role = 'of a'", at(3));
    expect(everywhere(all, "SELECT role FROM match")).toBe("of hub");
    for (const each of all) expect(each.conflicts.map(({ loser }) => loser?.value)).toEqual(["of shop", "of a"]);
    shop.replica.resolve({ id: shop.conflicts[0]!.id, keep: "loser", set: [] });
    expect(everywhere(all, "SELECT role FROM match")).toBe("of shop");
    for (const each of all) expect(each.conflicts).toEqual([]);
  });
});

describe("the rules in force", () => {
  test("a batch made under others is refused, with the column and both rules", () => {
    const a = new Site("a", SCHEMA, { rules: ["match.score=counter"] });
    const b = new Site("b", SCHEMA, { rules: ["match.score=max"] });
    const c = new Site("c", SCHEMA);
    a.edit("INSERT INTO match(score) VALUES(1)");
    const before = b.contents();
    expect(refusal(() => b.pull(a))).toBe("RULES_DIFFER");
    expect(refusal(() => a.pull(b))).toBe("RULES_DIFFER");
    expect(refusal(() => c.pull(a))).toBe("RULES_DIFFER");
    expect(refusal(() => a.pull(c))).toBe("RULES_DIFFER");
    expect(() => b.pull(a)).toThrow(/match\.score \(here max, there counter\)/);
    expect(b.contents()).toBe(before);
  });

  test("that change give the same writes their new value everywhere, without a change to tell", () => {
    const all = ["a", "b", "c"].map((name) => new Site(name, SCHEMA));
    const [a, b] = all as [Site, Site];
    a.edit("INSERT INTO match VALUES(1, 't', 10, 1, '[]', 'r')");
    settle(...all);
    a.edit("UPDATE match SET best = 9, score = 11, team = 'of a'", at(1));
    b.edit("UPDATE match SET best = 3, score = 12, team = 'of b'", at(2));
    expect(everywhere(all, "SELECT best FROM match")).toBe(3);
    const change = (rules: string[]) => {
      for (const each of all) {
        each.options.rules = rules;
        each.restart();
      }
    };
    change(["match.best=max", "match.score=counter"]);
    expect(everywhere(all, "SELECT best FROM match")).toBe(9);
    // Writes of before the rule do not say what they changed.
    expect(everywhere(all, "SELECT score FROM match")).toBe(12);
    expect(all.map(({ conflicts }) => conflicts.map(({ column }) => `${column}`).sort())).toEqual(all.map(() => ["score", "team"]));
    a.edit("UPDATE match SET score = score + 1", at(3));
    b.edit("UPDATE match SET score = score + 1", at(4));
    expect(everywhere(all, "SELECT score FROM match")).toBe(14);
    change([]);
    expect(everywhere(all, "SELECT best FROM match")).toBe(3);
    expect(everywhere(all, "SELECT score FROM match")).toBe(13);
    // Both wrote 13, which is no question to anyone.
    expect(all.map(({ conflicts }) => conflicts.map(({ column }) => `${column}`).sort())).toEqual(all.map(() => ["best", "team"]));
  });

  test.each(["match.id=max", "stock.item=counter"])("%s: a column of a key has no rule", (rule) => {
    expect(refusal(() => new Site("a", SCHEMA, { rules: [rule] }))).toBe("INVALID_ARGUMENT");
  });
});
