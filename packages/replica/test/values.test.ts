import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { settle, Site } from "./site.ts";

/** As SQL, so that SQLite itself makes them. */
const VALUES = [
  "NULL",
  "0",
  "-1",
  "127",
  "128",
  "-129",
  "32768",
  "2147483648",
  "140737488355328",
  "9007199254740993",
  "9223372036854775807",
  "-9223372036854775808",
  "0.0",
  "-0.0",
  "1.0",
  "0.1 + 0.2",
  "5e-324",
  "1.7976931348623157e308",
  "9e999",
  "-9e999",
  "9223372036854775808",
  "''",
  "'text'",
  "'1'",
  "'1.0'",
  "'0x10'",
  "' 1 '",
  "'a' || char(0) || 'b'",
  "char(0)",
  "'ü 漢 ' || char(0x1F600)",
  "char(0xFFFD)",
  "CAST(x'ff' AS TEXT)",
  "CAST(x'61c0af62' AS TEXT)",
  "CAST(x'eda080' AS TEXT)",
  "CAST(x'00ff00' AS TEXT)",
  "x''",
  "x'00'",
  "x'61'",
  "zeroblob(1000)",
  "randomblob(0)",
] as const;

const TYPES = ["INTEGER", "TEXT", "REAL", "NUMERIC", "BLOB", ""] as const;
const KEYS = VALUES.filter((value) => !["NULL", "'1'"].includes(value) && !value.startsWith("CAST"));

const columns = TYPES.map((type, i) => `c${i} ${type}`).join(", ");
const names = TYPES.map((_, i) => `c${i}`);

/** Class and bits of a column: quote() keeps 17 digits of a double, CAST every byte of a text. */
const exact = (column: string) =>
  `typeof(${column}) || ' ' || hex(CAST(${column} AS BLOB)) || ' ' || CASE typeof(${column}) WHEN 'text' THEN '' ELSE quote(${column}) END`;

/** Every row of a table as its own SELECT returns it, by key. */
function selected(site: Site, table: string, of: readonly string[]): string[] {
  return site
    .rows(`SELECT ${of.map(exact).join(" || '|' || ")} AS line FROM ${table}`)
    .map(({ line }) => String(line))
    .sort();
}

function expectSame(sites: readonly Site[], table: string, of: readonly string[]): void {
  const [first] = sites;
  const expected = selected(first!, table, of);
  for (const site of sites.slice(1)) expect(selected(site, table, of)).toEqual(expected);
}

describe("every value, in columns of every type", () => {
  const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, ${columns}); CREATE TABLE strict_key(k TEXT PRIMARY KEY, ${columns}) WITHOUT ROWID`;
  const rows = VALUES.map((value, i) => `(${i + 1}, ${names.map(() => value).join(", ")})`).join(", ");
  const keyed = VALUES.map((value, i) => `('k${i}', ${names.map(() => value).join(", ")})`).join(", ");

  test("is inserted", () => {
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit(`INSERT INTO t VALUES ${rows}; INSERT INTO strict_key VALUES ${keyed}`);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expectSame([a, b], "t", ["id", ...names]);
    expectSame([a, b], "strict_key", ["k", ...names]);
    expect(b.one("SELECT count(*) FROM t")).toBe(VALUES.length);
  });

  test("was there before syncing", () => {
    const a = new Site("a", `${schema}; INSERT INTO t VALUES ${rows}; INSERT INTO strict_key VALUES ${keyed}`);
    const b = new Site("b", schema);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expectSame([a, b], "t", ["id", ...names]);
    expectSame([a, b], "strict_key", ["k", ...names]);
  });

  test("replaces every other value, and goes through a third replica", () => {
    const [a, b, c] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
    a.edit(`INSERT INTO t(id) VALUES ${VALUES.map((_, i) => `(${i + 1})`).join(", ")}`);
    for (let shift = 0; shift < VALUES.length; shift += 7) {
      for (let i = 0; i < VALUES.length; i++) {
        const value = VALUES[(i + shift) % VALUES.length];
        a.write(`UPDATE t SET ${names.map((name) => `${name} = ${value}`).join(", ")} WHERE id = ${i + 1}`);
      }
      b.pull(a);
      expect(c.pull(b).at(-1)?.verified).toBe(true);
      expectSame([a, b, c], "t", ["id", ...names]);
    }
  });

  test("comes back when a deleted row is revived by an edit of another column", () => {
    const withEdit = schema.replace("t(id INTEGER PRIMARY KEY", "t(id INTEGER PRIMARY KEY, edited TEXT");
    const [a, b] = [new Site("a", withEdit), new Site("b", withEdit)];
    a.edit(`INSERT INTO t(id, ${names.join(", ")}) VALUES ${rows}`);
    settle(a, b);
    const before = selected(a, "t", ["id", ...names]);
    a.edit("DELETE FROM t", a.nowUs + 1_000_000);
    b.edit("UPDATE t SET edited = 'later'", b.nowUs + 2_000_000);
    settle(a, b);
    for (const site of [a, b]) expect(selected(site, "t", ["id", ...names])).toEqual(before);
  });

  test("loses against a concurrent one and is in the conflict record as it was", () => {
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO t(id, c5) VALUES(1, 'first'), (2, 'first'), (3, 'first')");
    settle(a, b);
    a.edit("UPDATE t SET c5 = CASE id WHEN 1 THEN 9223372036854775807 WHEN 2 THEN 'a' || char(0) ELSE x'00ff' END", a.nowUs + 1);
    b.edit("UPDATE t SET c5 = 'of b'", b.nowUs + 2_000_000);
    settle(a, b);
    const losers = new Map(b.conflicts.map(({ key, loser }) => [key, loser?.value]));
    expect(losers.get("1")).toBe(9_223_372_036_854_775_807n);
    expect(losers.get("2")).toBe("a\0");
    expect(losers.get("3")).toEqual(Buffer.from("00ff", "hex"));
  });
});

describe.each(["rowid", "WITHOUT ROWID"])("every value as a key (%s)", (kind) => {
  test.each(TYPES.filter((type) => type !== "INTEGER"))("of type %o", (type) => {
    const schema = `CREATE TABLE t(k ${type} PRIMARY KEY, v, n TEXT)${kind === "rowid" ? "" : " WITHOUT ROWID"}`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    // What the table finds equal is one row.
    for (const key of KEYS) a.write(`INSERT OR IGNORE INTO t VALUES(${key}, ${key}, 'first')`);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expectSame([a, b], "t", ["k", "v", "n"]);
    b.edit("UPDATE t SET n = 'edited there'");
    settle(a, b);
    expect(a.rows("SELECT DISTINCT n FROM t")).toEqual([{ n: "edited there" }]);
    expectSame([a, b], "t", ["k", "v", "n"]);
    b.edit("DELETE FROM t WHERE typeof(k) <> 'text'");
    settle(a, b);
    expect(a.rows("SELECT DISTINCT typeof(k) AS type FROM t")).toEqual(b.rows("SELECT DISTINCT typeof(k) AS type FROM t"));
    expectSame([a, b], "t", ["k", "v", "n"]);
  });

  test("in two parts, of which one is untyped", () => {
    const schema = `CREATE TABLE t(a TEXT, b, v, PRIMARY KEY(a, b))${kind === "rowid" ? "" : " WITHOUT ROWID"}`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const key of KEYS) a.write(`INSERT OR IGNORE INTO t VALUES(${key}, ${key}, 1), ('same', ${key}, 2)`);
    settle(a, b);
    expectSame([a, b], "t", ["a", "b", "v"]);
    b.edit("UPDATE t SET v = v + 1");
    settle(a, b);
    expectSame([a, b], "t", ["a", "b", "v"]);
    expect(a.rows("SELECT DISTINCT v FROM t ORDER BY v")).toEqual([{ v: 2 }, { v: 3 }]);
  });
});

test("a key that ignores case is one row, as it was written last", () => {
  const schema = "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO t VALUES('Alice', 1)");
  b.edit("INSERT INTO t VALUES('ALICE', 2), ('Zoë', 3)", b.nowUs + 1_000_000);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM t ORDER BY k")).toEqual([
      { k: "ALICE", v: 2 },
      { k: "Zoë", v: 3 },
    ]);
  }
  a.edit("UPDATE t SET k = 'alice' WHERE k = 'ALICE'", a.nowUs + 5_000_000);
  settle(a, b);
  expect(b.rows("SELECT * FROM t ORDER BY k")).toEqual(a.rows("SELECT * FROM t ORDER BY k"));
  expect(b.one("SELECT k FROM t WHERE v = 2")).toBe("alice");
});

test("blobs and texts of 20 MiB", () => {
  const schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE k(k BLOB PRIMARY KEY, v) WITHOUT ROWID";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  const size = 20 * 1024 * 1024;
  a.edit(
    `INSERT INTO t VALUES(1, randomblob(${size})), (2, CAST(zeroblob(${size}) AS TEXT)), (3, x''); INSERT INTO k VALUES(x'00', zeroblob(${size}))`,
  );
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  const blob = (site: Site) => site.one("SELECT v FROM t WHERE id = 1") as Buffer;
  expect(Buffer.compare(blob(a), blob(b))).toBe(0);
  expect(b.rows("SELECT id, typeof(v) AS type, length(CAST(v AS BLOB)) AS bytes FROM t")).toEqual([
    { id: 1, type: "blob", bytes: size },
    { id: 2, type: "text", bytes: size },
    { id: 3, type: "blob", bytes: 0 },
  ]);
  a.edit("UPDATE t SET v = v || x'01' WHERE id = 1; DELETE FROM t WHERE id = 2");
  b.pull(a);
  expect(b.rows("SELECT id, typeof(v) AS type FROM t")).toEqual(a.rows("SELECT id, typeof(v) AS type FROM t"));
});

const LONG = 4_400_000;
const LONG_TEXTS = {
  "with a NUL, and with what stands for bytes that are none": `printf('%.*c', ${LONG}, 'a') || char(0, 0xFFFD, 129408)`,
  "of three bytes a character": `replace(printf('%.*c', ${LONG / 2}, 'a'), 'a', char(8364))`,
} as const;

describe("long text is exactly what it was", () => {
  // As a value, as a key and as one of two that must differ; beside it a column in which text is a number.
  const schema = (encoding: string) =>
    `PRAGMA encoding = '${encoding}'; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, n INTEGER, w); CREATE TABLE k(k TEXT PRIMARY KEY, v TEXT UNIQUE)`;
  const short = (value: unknown) => (typeof value === "string" ? createHash("sha256").update(value).digest("hex") : value);
  const exactly = (site: Site) =>
    [...site.rows("SELECT *, typeof(v) AS type FROM t ORDER BY id"), ...site.rows("SELECT * FROM k ORDER BY 1")].map((row) =>
      Object.values(row).map(short),
    );

  test.each<[text: keyof typeof LONG_TEXTS, from: string, to: string]>([
    ["of three bytes a character", "UTF-8", "UTF-8"],
    ["with a NUL, and with what stands for bytes that are none", "UTF-8", "UTF-16le"],
    ["with a NUL, and with what stands for bytes that are none", "UTF-16le", "UTF-8"],
  ])("%s, from %s to %s", (called, from, to) => {
    const text = LONG_TEXTS[called];
    const [a, b] = [new Site("a", schema(from)), new Site("b", schema(to))];
    a.edit(`INSERT INTO t VALUES(1, ${text}, '12', 'x'), (2, 'short', 1, NULL); INSERT INTO k VALUES(${text}, ${text})`);
    settle(a, b);
    expect(exactly(b)).toEqual(exactly(a));
    // What somebody else wrote is read, compared and written over, and what nobody has touched stays.
    b.edit("UPDATE t SET v = v || 'of b', w = 'y' WHERE id = 1; UPDATE k SET v = 'short'", a.nowUs + 1);
    a.edit("UPDATE t SET v = v || 'of a' WHERE id = 1", a.nowUs + 5);
    settle(a, b);
    expect(exactly(b)).toEqual(exactly(a));
    expect((a.one("SELECT v FROM t WHERE id = 1") as string).endsWith("of a")).toBe(true);
    for (const site of [a, b]) expect(site.conflicts.map(({ table, loser }) => [table, loser?.author])).toEqual([["t", "b"]]);
    b.edit("DELETE FROM t WHERE id = 1; DELETE FROM k", a.nowUs + 9);
    settle(a, b);
    expect(exactly(a)).toEqual(exactly(b));
    const before = b.one("SELECT count(*) FROM t");
    a.replica.restore("t", "1");
    settle(a, b);
    expect(b.one("SELECT count(*) FROM t")).toBe((before as number) + 1);
    expect(exactly(b)).toEqual(exactly(a));
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  });
});
