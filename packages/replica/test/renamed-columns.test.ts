import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const KEYS = ["TEXT PRIMARY KEY NOT NULL", "INTEGER PRIMARY KEY", "INT"];
const at = (seconds: number) => START_US + seconds * SECOND_US;
const sites = (columns: string) => ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(id ${columns})`)) as [Site, Site];
const rebuild = (columns: string, from: string) =>
  `BEGIN; CREATE TABLE made(id ${columns}); INSERT INTO made SELECT id, ${from} FROM item; DROP TABLE item; ALTER TABLE made RENAME TO item; COMMIT`;

/** As SQLite does it, and as a migration tool, which makes the table anew; with the renamed columns before another one, and last. */
const renames = (key: string) => [
  [
    `${key}, flag, kind, n`,
    "ALTER TABLE item RENAME COLUMN flag TO state; ALTER TABLE item RENAME COLUMN kind TO class; ALTER TABLE item ADD COLUMN note",
  ],
  [`${key}, flag, kind, n`, rebuild(`${key}, state, class, n, note`, "flag, kind, n, NULL")],
  [
    `${key}, n, flag, kind`,
    "ALTER TABLE item RENAME COLUMN flag TO state; ALTER TABLE item RENAME COLUMN kind TO class; ALTER TABLE item ADD COLUMN note",
  ],
  [`${key}, n, flag, kind`, rebuild(`${key}, n, state, class, note`, "n, flag, kind, NULL")],
];

describe.each(KEYS.flatMap(renames) as [string, string][])("columns of a table of %s have other names by %s", (former, migration) => {
  const columns = "SELECT state, class, n, note FROM item ORDER BY CAST(id AS INT)";

  test("what somebody typed under one of them is not beaten by what another one was edited later", () => {
    const [a, b] = sites(former);
    a.edit("INSERT INTO item(id, flag, kind, n) VALUES(1, 'old', 'plain', 1), (2, 'old', 'plain', 1)", at(0));
    settle(a, b);
    b.edit(migration, at(10));
    b.edit("UPDATE item SET state = 'typed', note = 'new' WHERE id = 1", at(11));
    b.edit("UPDATE item SET class = 'typed' WHERE id = 2", at(11));
    a.edit("UPDATE item SET kind = 'fine' WHERE id = 1; UPDATE item SET flag = 'late' WHERE id = 2", at(15));
    a.pull(b);
    a.edit(migration, at(20));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows(columns), site.name).toEqual([
        { state: "typed", class: "fine", n: 1, note: "new" },
        { state: "late", class: "typed", n: 1, note: null },
      ]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test("what somebody emptied stays so where others have told what it held, and a column that came with it is nobody's", () => {
    const [a, b] = sites(former);
    a.edit("INSERT INTO item(id, flag, kind, n) VALUES(1, 'old', 'plain', 1)", at(0));
    settle(a, b);
    b.edit(migration, at(10));
    b.edit("UPDATE item SET note = 'typed'", at(11));
    a.pull(b);
    a.edit("UPDATE item SET flag = NULL", at(15));
    a.edit(migration, at(20));
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows(columns), site.name).toEqual([{ state: null, class: "plain", n: 1, note: "typed" }]);
      expect(site.conflicts.map(({ column, loser }) => [column, loser?.value])).toEqual([["state", "old"]]);
    }
  });
});

/** The column before the one that gets another name goes; with nothing else, with a new column last, and with one that stays last. */
const moves = (key: string) => [
  [`${key}, gone, flag`, "ALTER TABLE item DROP COLUMN gone; ALTER TABLE item RENAME COLUMN flag TO state"],
  [`${key}, gone, flag`, rebuild(`${key}, state`, "flag")],
  [
    `${key}, gone, flag`,
    "ALTER TABLE item DROP COLUMN gone; ALTER TABLE item RENAME COLUMN flag TO state; ALTER TABLE item ADD COLUMN note",
  ],
  [`${key}, gone, flag`, rebuild(`${key}, state, note`, "flag, NULL")],
  [`${key}, gone, flag, n`, "ALTER TABLE item DROP COLUMN gone; ALTER TABLE item RENAME COLUMN flag TO state"],
  [`${key}, gone, flag, n`, rebuild(`${key}, state, n`, "flag, n")],
  [`${key}, gone, n, flag`, "ALTER TABLE item DROP COLUMN gone; ALTER TABLE item RENAME COLUMN flag TO state"],
  [`${key}, gone, n, flag`, rebuild(`${key}, n, state`, "n, flag")],
];

test.each(KEYS.flatMap(moves) as [string, string][])(
  "what somebody typed or emptied stays where the column before it went while its own got another name: of %s by %s",
  (former, migration) => {
    const [a, b] = sites(former);
    a.edit("INSERT INTO item(id, gone, flag) VALUES(1, 'x', 'old'), (2, 'x', 'old'), (3, NULL, 'old')", at(0));
    settle(a, b);
    b.edit(migration, at(10));
    a.pull(b);
    a.edit("UPDATE item SET flag = NULL WHERE id IN (1, 3); UPDATE item SET flag = 'new' WHERE id = 2", at(15));
    a.edit(migration, at(20));
    settle(a, b);
    for (const site of [a, b]) {
      const found = site.rows("SELECT state FROM item ORDER BY CAST(id AS INT)");
      expect(found, site.name).toEqual([{ state: null }, { state: "new" }, { state: null }]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  },
);

const SWAP = "ALTER TABLE item RENAME x TO z; ALTER TABLE item RENAME y TO x; ALTER TABLE item RENAME z TO y";
const MOVE = "ALTER TABLE item RENAME y TO old; ALTER TABLE item RENAME x TO y; ALTER TABLE item ADD COLUMN x TEXT";
const TAKEN = [
  [SWAP, "x = 'after'", ["x,y", "after,x1", "y2,before", "y3,x3"]],
  [MOVE, "x = 'new', y = 'after'", ["x,y,old", "new,after,y1", ",before,y2", ",x3,y3"]],
] as const;
const cases = ["id TEXT PRIMARY KEY NOT NULL", "id INTEGER PRIMARY KEY"].flatMap((key) => TAKEN.map((taken) => [key, ...taken] as const));

describe.each(cases)(
  "what is typed in columns that have each other's names now reaches others: %s, %s, %s",
  (key, sql, typed, [names, ...rows]) => {
    test.each([true, false])("and nobody took triggers off, the node is down: %s", (down) => {
      const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(${key}, x TEXT, y TEXT)`)) as [Site, Site];
      a.edit("INSERT INTO item VALUES(1, 'x1', 'y1'), (2, 'x2', 'y2'), (3, 'x3', 'y3')", at(0));
      settle(a, b);
      if (down) a.replica.close();
      a.nowUs = at(5);
      a.write(`UPDATE item SET x = 'before' WHERE id = 2; BEGIN; ${sql}; COMMIT; UPDATE item SET ${typed} WHERE id = 1`);
      if (down) a.start();
      else a.replica.drain();
      b.edit(`BEGIN; ${sql}; COMMIT`, at(9));
      settle(a, b);
      for (const site of [a, b]) {
        expect(
          site.rows(`SELECT ${names} FROM item ORDER BY id`).map((row) => Object.values(row).join()),
          site.name,
        ).toEqual(rows);
        expect(site.replica.checkCapture("").faults, site.name).toEqual([]);
      }
      expect(Buffer.from(b.replica.state().digest).equals(a.replica.state().digest)).toBe(true);
    });
  },
);
