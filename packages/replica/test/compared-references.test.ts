import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

const TYPES = ["", "TEXT", "INTEGER", "REAL"];
const VALUES = ["8", "'8'", "8.0", "'8.0'", "'08'", "8.5", "'8.5'", "'a'", "'A'", "'a '", "x'38'", "CAST(x'38ff' AS TEXT)"];

/** Types of a column that is referred to, and of one that refers. */
const pairs = [
  ...TYPES.flatMap((parent) => TYPES.filter((child) => child !== parent).map((child) => ({ parent, child }))),
  ...["NOCASE", "RTRIM"].flatMap((collation) => ["", "TEXT"].map((child) => ({ parent: `TEXT COLLATE ${collation}`, child }))),
];
const schemaOf = (isKey: boolean) =>
  pairs.map(({ parent, child }, n) => {
    const key = isKey ? `code ${parent} PRIMARY KEY NOT NULL` : `id INTEGER PRIMARY KEY, code ${parent} UNIQUE`;
    return `CREATE TABLE p${n}(${key}, name TEXT)${isKey ? " WITHOUT ROWID" : ""}; CREATE TABLE c${n}(id INTEGER PRIMARY KEY, code ${child} REFERENCES p${n}(code)); CREATE INDEX i${n} ON c${n}(code)`;
  });

/** Names of parents that SQLite by itself finds referred to by a child with one of these values. */
function referredTo(isKey: boolean, n: number, children: readonly string[]): string[] {
  const db = new Database(":memory:");
  db.exec(`PRAGMA foreign_keys = OFF; ${schemaOf(isKey)[n]}; INSERT INTO c${n}(code) VALUES(${children.join("), (")})`);
  const dangling = () => (db.pragma("foreign_key_check") as unknown[]).length;
  db.exec(VALUES.map((value, i) => `INSERT OR IGNORE INTO p${n}(code, name) VALUES(${value}, 'of ${i}')`).join(";"));
  const before = dangling();
  const names = db.prepare(`SELECT name FROM p${n} ORDER BY name`).pluck().all() as string[];
  const found = names.filter((name) => {
    db.exec(`BEGIN; DELETE FROM p${n} WHERE name = '${name}'`);
    const isReferredTo = dangling() > before;
    db.exec("ROLLBACK");
    return isReferredTo;
  });
  db.close();
  return found;
}

test.each([
  [true, "child"],
  [true, "parent"],
  [false, "child"],
  [false, "parent"],
] as const)("a parent stays that SQLite finds referred to, whatever the types (by its key: %s, the %s is known first)", (isKey, first) => {
  const all = ["a", "b", "c"].map((name) => new Site(name, schemaOf(isKey).join(";"), { quarantine: null })) as [Site, Site, Site];
  const [a, b, c] = all;
  const each = (sql: (n: number) => string) => `PRAGMA foreign_keys = OFF; BEGIN; ${pairs.map((_, n) => sql(n)).join(";")}; COMMIT`;
  a.edit(
    each((n) => VALUES.map((value, i) => `INSERT OR IGNORE INTO p${n}(code, name) VALUES(${value}, 'of ${i}')`).join(";")),
    at(0),
  );
  settle(...all);
  const children = (n: number) => VALUES.filter((_, i) => (i + n + (isKey ? 0 : 1)) % 3 === 0);
  a.edit(
    each((n) => `INSERT INTO c${n}(code) VALUES(${children(n).join("), (")})`),
    at(5),
  );
  b.edit(
    each((n) => `DELETE FROM p${n}`),
    at(6),
  );
  const [early, late] = first === "child" ? [a, b] : [b, a];
  c.pull(early);
  c.pull(late);
  settle(...all);
  for (const site of all) {
    const kept = pairs.map((pair, n) => ({ ...pair, kept: site.rows(`SELECT name FROM p${n} ORDER BY name`).map(({ name }) => name) }));
    expect(kept).toEqual(pairs.map((pair, n) => ({ ...pair, kept: referredTo(isKey, n, children(n)) })));
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});
