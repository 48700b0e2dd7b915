import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const KEYS = ["TEXT PRIMARY KEY NOT NULL", "INTEGER PRIMARY KEY", "INT"];
const at = (seconds: number) => START_US + seconds * SECOND_US;
const sites = (key: string) => ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(id ${key}, flag, kind, n)`)) as [Site, Site];

/** As a migration tool does it, which makes the table anew, and as SQLite does. */
const renames = (key: string) => [
  "ALTER TABLE item RENAME COLUMN flag TO state; ALTER TABLE item RENAME COLUMN kind TO class; ALTER TABLE item ADD COLUMN note",
  `BEGIN; CREATE TABLE made(id ${key}, state, class, n, note); INSERT INTO made SELECT id, flag, kind, n, NULL FROM item;
    DROP TABLE item; ALTER TABLE made RENAME TO item; COMMIT`,
];

describe.each(KEYS.flatMap((key) => renames(key).map((migration) => [key, migration] as const)))(
  "columns of a table with the key %s have other names by %s",
  (key, migration) => {
    const columns = "SELECT state, class, n, note FROM item ORDER BY CAST(id AS INT)";

    test("what somebody typed under one of them is not beaten by what another one was edited later", () => {
      const [a, b] = sites(key);
      a.edit("INSERT INTO item VALUES(1, 'old', 'plain', 1), (2, 'old', 'plain', 1)", at(0));
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
      const [a, b] = sites(key);
      a.edit("INSERT INTO item VALUES(1, 'old', 'plain', 1)", at(0));
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
  },
);
