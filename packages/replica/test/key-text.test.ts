import Database from "better-sqlite3";
import { beforeEach, expect, test } from "vitest";
import { settle, Site } from "./site.ts";

const SCHEMA = `
  CREATE TABLE pair(a TEXT, b TEXT, v TEXT, PRIMARY KEY(a, b));
  CREATE TABLE any_key(k PRIMARY KEY, v TEXT)`;
const PAIRS = [
  ["x,y", "1"],
  ["a,b", "c"],
  ["a", "b,c"],
  [",", ","],
  ["blob:00", "text:6"],
] as const;
const KEYS = ["5", "'5'", "5.5", "9223372036854775807", "x'05'", "'blob:05'", "'a,b'", "''"];

let a: Site;
let b: Site;
beforeEach(() => {
  [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  for (const pair of PAIRS) a.app.prepare("INSERT INTO pair VALUES(?, ?, 'as written')").run(pair);
  a.edit(KEYS.map((key) => `INSERT INTO any_key VALUES(${key}, 'as written');`).join(" "));
  settle(a, b);
});

/** The rows of a table as a node names them to people and to others. */
const named = (site: Site, table: string) =>
  site.replica.digests({ table, buckets: Array.from({ length: 256 }, (_, i) => i), deep: false }).entries.map(({ key }) => key);

test.each(["pair", "any_key"])("every row of %s is found by the name that it is shown under", (table) => {
  for (const key of named(a, table)) {
    expect(a.replica.history(table, key), key).not.toEqual([]);
    expect(a.replica.row(table, key), key).not.toBeNull();
  }
});

/** Writes to a site with no capture. */
function pastCapture(site: Site, sql: string): void {
  const triggers = site.rows("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_scoutsync%' ESCAPE '\\'");
  for (const { name } of triggers) site.app.exec(`DROP TRIGGER "${String(name)}"`);
  site.app.exec(sql);
  for (const trigger of triggers) site.app.exec(String(trigger["sql"]));
}

/** What a session does with rows that differ though neither side lacks anything. */
function mend(table: string): void {
  const request = { table, keys: [...new Set([...named(a, table), ...named(b, table)])], codecs: [] };
  const [ours, theirs] = [a.replica.wholeRows(request), b.replica.wholeRows(request)];
  a.replica.apply(theirs);
  b.replica.apply(ours);
}

test.each(["pair", "any_key"])("what was written past capture to any row of %s is mended by its name", (table) => {
  pastCapture(b, `UPDATE "${table}" SET v = 'past capture'`);
  mend(table);
  for (const site of [a, b]) expect(site.rows(`SELECT DISTINCT v FROM "${table}"`)).toEqual([{ v: "past capture" }]);
});

test.each([
  ["pair", "a = 'a'"],
  ["any_key", "k = 5"],
])("a row of %s that went past capture goes, though another one is written as it is", (table, where) => {
  const others = a.rows(`SELECT * FROM "${table}" WHERE NOT (${where}) ORDER BY v, 1, 2`);
  expect(others).toHaveLength((table === "pair" ? PAIRS.length : KEYS.length) - 1);
  pastCapture(b, `DELETE FROM "${table}" WHERE ${where}; UPDATE "${table}" SET v = v || '!' WHERE rowid % 2`);
  mend(table);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows(`SELECT count(*) AS n FROM "${table}"`)).toEqual([{ n: others.length }]);
    expect(site.rows(`SELECT * FROM "${table}" WHERE ${where}`)).toEqual([]);
  }
});

test.each(["pair", "any_key"])("every deleted row of %s comes back by the name that it had", (table) => {
  const before = a.rows(`SELECT * FROM "${table}" ORDER BY 1, 2`);
  const names = named(a, table);
  b.edit(`DELETE FROM "${table}"`);
  settle(a, b);
  for (const key of names) a.replica.restore(table, key);
  settle(a, b);
  for (const site of [a, b]) expect(site.rows(`SELECT * FROM "${table}" ORDER BY 1, 2`)).toEqual(before);
});

test("a name that peers ask for costs little, however many commas it has", () => {
  let isAsked = false;
  let read = 0;
  const name = ",".repeat(100_000);
  const connect = (path: string, options: Database.Options) => {
    const db = new Database(path, options);
    const prepare = db.prepare.bind(db);
    db.prepare = (sql: string) => {
      if (isAsked && sql.includes('FROM "pair" WHERE')) read += name.length;
      return prepare(sql);
    };
    return db;
  };
  const site = new Site("c", SCHEMA, { connect });
  isAsked = true;
  expect(site.replica.row("pair", name)).toBeNull();
  expect(read).toBeGreaterThan(0);
  expect(read).toBeLessThan(8 * 1024 * 1024);
});
