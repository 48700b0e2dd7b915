import { isPythonHere, startWriter, type Statement, type Writer } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { join as joinPath } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { settle, Site, testFolder } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER REFERENCES team(id) ON DELETE CASCADE ON UPDATE CASCADE, label TEXT);
  CREATE TABLE badge(code TEXT PRIMARY KEY, holder TEXT UNIQUE, room TEXT, seat INTEGER, UNIQUE(room, seat));
  CREATE TABLE setting(scope TEXT, name TEXT, value, PRIMARY KEY(scope, name)) WITHOUT ROWID;
  INSERT INTO team VALUES(1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
  INSERT INTO robot VALUES(1, 1, 'r1'), (2, 1, 'r2'), (3, 2, 'r3');
  INSERT INTO badge VALUES('a', 'Ann', 'red', 1), ('b', 'Bob', 'red', 2), ('c', 'Cid', 'blue', 1);
  INSERT INTO setting VALUES('app', 'x', 1), ('app', 'y', 'two'), ('other', 'x', NULL)`;
const TABLES = ["team", "robot", "badge", "setting"];

/** What applications do, one transaction each. */
const CASES: [string, Statement[]][] = [
  ["INSERT OR REPLACE of a row by its key", [["INSERT OR REPLACE INTO team VALUES(2, 'two again', ?)", [9]]]],
  ["INSERT OR REPLACE that displaces another row through UNIQUE", [["INSERT OR REPLACE INTO team VALUES(7, 'one', 7)", []]]],
  ["INSERT OR REPLACE that displaces two rows at once", [["INSERT OR REPLACE INTO team VALUES(3, 'one', 0)", []]]],
  ["INSERT OR REPLACE without a key", [["INSERT OR REPLACE INTO team(name, rank) VALUES('two', 5)", []]]],
  ["REPLACE that displaces three rows through three indexes", [["REPLACE INTO badge VALUES('a', 'Bob', 'blue', 1)", []]]],
  ["REPLACE in a table without rowid", [["REPLACE INTO setting VALUES('app', 'x', ?)", [{ blob: "00ff" }]]]],
  ["UPDATE OR REPLACE of a UNIQUE column", [["UPDATE OR REPLACE team SET name = 'one' WHERE id = 3", []]]],
  ["UPDATE OR REPLACE of a key", [["UPDATE OR REPLACE badge SET code = 'b' WHERE code = 'c'", []]]],
  ["UPDATE OR REPLACE of part of a key", [["UPDATE OR REPLACE setting SET name = 'y' WHERE scope = 'app' AND name = 'x'", []]]],
  [
    "INSERT OR IGNORE of what is there and of what is not",
    [["INSERT OR IGNORE INTO team VALUES(1, 'one', 8), (8, 'one', 8), (9, 'nine', 9)", []]],
  ],
  ["UPDATE OR IGNORE", [["UPDATE OR IGNORE team SET name = 'one'", []]]],
  [
    "UPSERT that updates, UPSERT that inserts",
    [
      ["INSERT INTO team VALUES(1, 'x', 50) ON CONFLICT(id) DO UPDATE SET rank = excluded.rank", []],
      ["INSERT INTO team(name, rank) VALUES('two', 60), ('new', 61) ON CONFLICT(name) DO UPDATE SET rank = excluded.rank + rank", []],
      ["INSERT INTO setting VALUES('app', 'y', 3) ON CONFLICT DO NOTHING", []],
    ],
  ],
  [
    "UPDATE of an integer key with its children",
    [
      ["UPDATE robot SET team_id = NULL WHERE team_id = 2", []],
      ["UPDATE team SET id = 20 WHERE id = 2", []],
    ],
  ],
  ["UPDATE of every integer key", [["UPDATE robot SET id = id + 100", []]]],
  ...["rowid", "OID", '"_rowid_"', "[Id]"].map((name): [string, Statement[]] => [
    `UPDATE of an integer key that goes by the name ${name}`,
    [
      [`UPDATE robot SET ${name} = ${name} + 100`, []],
      [`UPDATE OR REPLACE robot SET ${name} = 102 WHERE label = 'r1'`, []],
      [`INSERT INTO robot VALUES(103, 1, 'other') ON CONFLICT(id) DO UPDATE SET ${name} = 500`, []],
    ],
  ]),
  ["UPDATE of a text key", [["UPDATE badge SET code = code || code", []]]],
  [
    "UPDATE of a key and back again",
    [
      ["UPDATE badge SET code = 'z' WHERE code = 'a'", []],
      ["UPDATE badge SET code = 'a' WHERE code = 'z'", []],
    ],
  ],
  [
    "swapped keys",
    [
      ["UPDATE badge SET code = 't' WHERE code = 'a'", []],
      ["UPDATE badge SET code = 'a' WHERE code = 'b'", []],
      ["UPDATE badge SET code = 'b' WHERE code = 't'", []],
    ],
  ],
  [
    "DELETE without WHERE",
    [
      ["DELETE FROM robot", []],
      ["DELETE FROM setting", []],
    ],
  ],
  [
    "DELETE without WHERE, and the same rows again",
    [
      ["DELETE FROM setting", []],
      ["INSERT INTO setting VALUES('app', 'x', 1)", []],
    ],
  ],
  [
    "a row that comes and goes in one transaction",
    [
      ["INSERT INTO team VALUES(50, 'fifty', 0)", []],
      ["DELETE FROM team WHERE id = 50", []],
    ],
  ],
  [
    "an integer that is used again",
    [
      ["DELETE FROM robot WHERE id = 3", []],
      ["INSERT INTO robot VALUES(3, 1, 'another')", []],
    ],
  ],
  ["the same value written again", [["UPDATE team SET rank = rank", []]]],
  [
    "1, 1.0 and '1' in an untyped column",
    [
      ["UPDATE setting SET value = 1.0 WHERE scope = 'app' AND name = 'x'", []],
      ["UPDATE setting SET value = '1' WHERE scope = 'other'", []],
    ],
  ],
  ["INSERT ... SELECT", [["INSERT INTO robot(team_id, label) SELECT id, name || ' robot' FROM team", []]]],
  ["a statement that fails in the middle", [["UPDATE team SET name = 'same' WHERE id > 1", []]]],
  [
    "a failure that aborts what was done before",
    [
      ["INSERT INTO team VALUES(40, 'forty', 0)", []],
      ["INSERT OR ROLLBACK INTO team VALUES(41, 'one', 0)", []],
    ],
  ],
  ["a failure that keeps what was done before", [["INSERT OR FAIL INTO team(name) VALUES('first'), ('one'), ('never')", []]]],
];

/** Cascades do what foreign keys say only where they are on. */
const CASCADES: [string, Statement[]][] = [
  ["DELETE of a parent with a cascade", [["DELETE FROM team WHERE id = 1", []]]],
  ["UPDATE of a parent's key with a cascade", [["UPDATE team SET id = 30 WHERE id = 1", []]]],
];

const CONNECTIONS = [
  ["foreign_keys=ON", "trusted_schema=OFF", "recursive_triggers=OFF"],
  ["foreign_keys=OFF", "trusted_schema=ON", "recursive_triggers=ON"],
  ["foreign_keys=ON", "trusted_schema=OFF", "recursive_triggers=ON"],
];

const dump = (rows: (sql: string) => unknown) => TABLES.map((table) => JSON.stringify(rows(`SELECT * FROM ${table} ORDER BY 1, 2`)));

/** The answer of one transaction: the ids it was given, or the application's own error. */
async function answer(writer: Writer, path: string, statements: Statement[], pragmas: string[]): Promise<string> {
  try {
    return JSON.stringify(await writer.write({ path, statements, pragmas }));
  } catch (error) {
    return (error as Error).message;
  }
}

let writer: Writer;
beforeAll(() => {
  writer = startWriter();
  if (!isPythonHere()) console.log("python3 is not here: the application is a Node process with its own SQLite");
});
afterAll(() => writer.stop());

describe.each(CONNECTIONS)("an application with %s, %s, %s", (...pragmas) => {
  const keysOn = pragmas[0] === "foreign_keys=ON";
  test.each([...CASES, ...(keysOn ? CASCADES : [])])(
    "%s: it sees no difference, and the other replica gets the same rows",
    async (_, statements) => {
      const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
      const twin = joinPath(testFolder(), "twin.db");
      const plain = new Database(twin);
      plain.exec(SCHEMA);
      // What was there before is recorded under one origin that both sites share.
      expect(await answer(writer, a.path, statements, pragmas)).toBe(await answer(writer, twin, statements, pragmas));
      const expected = dump((sql) => plain.prepare(sql).all());
      plain.close();
      expect(dump((sql) => a.rows(sql))).toEqual(expected);
      expect(b.pull(a).at(-1)?.verified).toBe(true);
      expect(dump((sql) => b.rows(sql))).toEqual(expected);
      const whole = { table: "", buckets: [] };
      expect(a.replica.digests({ ...whole, deep: true })).toEqual(a.replica.digests({ ...whole, deep: false }));
      // Once more after a drain, so that rows are known by changes and not by the baseline.
      settle(a, b);
      await answer(writer, a.path, statements, pragmas);
      settle(a, b);
      expect(dump((sql) => b.rows(sql))).toEqual(dump((sql) => a.rows(sql)));
    },
  );
});
