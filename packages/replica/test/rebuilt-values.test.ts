import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

// A migration that copies the rows of a table into a new one and changes what they hold in one column. Of the others nobody can tell
// whether they were written, as hashes are of whole rows.
const at = (seconds: number) => START_US + seconds * SECOND_US;

const TABLES = {
  "a surrogate key": (name: string) => `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, name TEXT, n INT)`,
  "a natural key": (name: string) => `CREATE TABLE ${name}(id TEXT PRIMARY KEY NOT NULL, name TEXT, n INT)`,
  "a key and no rowid": (name: string) => `CREATE TABLE ${name}(id INT NOT NULL, name TEXT, n INT, PRIMARY KEY(id)) WITHOUT ROWID`,
  "no key": (name: string) => `CREATE TABLE ${name}(id INT, name TEXT, n INT)`,
};

const rebuild = (table: (name: string) => string, name = "upper(name)") =>
  `BEGIN; ${table("made")}; INSERT INTO made SELECT id, ${name}, n FROM item; DROP TABLE item; ALTER TABLE made RENAME TO item; COMMIT`;

describe.each(Object.entries(TABLES))("a table with %s", (_, table) => {
  function sites(): [Site, Site, Site] {
    const all = ["a", "b", "c"].map((name) => new Site(name, table("item"))) as [Site, Site, Site];
    all[0].edit("INSERT INTO item VALUES(8, 'eight', 1), (9, 'nine', 1)", at(0));
    settle(...all);
    return all;
  }

  /** What each node shows, in the order of the numbers. */
  const shown = (all: readonly Site[]) => {
    settle(...all);
    for (const { replica } of all) expect(replica.state().digest).toEqual(all[0]?.replica.state().digest);
    return all.map((site) => site.rows("SELECT name, n FROM item ORDER BY id"));
  };

  test.each([false, true])(
    "that is rebuilt with other values in one column keeps what others typed in another (the node was down: %s)",
    (isDown) => {
      const all = sites();
      const [a, b, c] = all;
      b.edit("UPDATE item SET n = 2 WHERE id = 8", at(1));
      if (isDown) a.replica.close();
      if (isDown) a.write(rebuild(table));
      a.nowUs = at(10);
      if (isDown) a.start();
      else a.edit(rebuild(table), at(10));
      const rows = [
        { name: "EIGHT", n: 2 },
        { name: "NINE", n: 1 },
      ];
      for (const found of shown([a, b, c])) expect(found).toEqual(rows);
      b.edit(rebuild(table), at(20));
      c.edit(rebuild(table), at(21));
      for (const found of shown(all)) expect(found).toEqual(rows);
    },
  );

  test("that is rebuilt by all of them keeps what each typed meanwhile, in whatever order they run it", () => {
    const all = sites();
    const [a, b, c] = all;
    b.edit("UPDATE item SET name = 'of b', n = 2 WHERE id = 8", at(1));
    c.edit("UPDATE item SET n = 3 WHERE id = 9", at(2));
    for (const [i, site] of [b, c, a].entries()) site.edit(rebuild(table), at(10 + i));
    for (const found of shown(all))
      expect(found).toEqual([
        { name: "OF B", n: 2 },
        { name: "NINE", n: 3 },
      ]);
  });

  test("that is rebuilt with other values brings back nothing that others have deleted", () => {
    const all = sites();
    const [a, b] = all;
    b.edit("DELETE FROM item WHERE id = 8", at(1));
    a.edit(rebuild(table), at(10));
    for (const found of shown(all)) expect(found).toEqual([{ name: "NINE", n: 1 }]);
  });

  test("that is rebuilt with other values shows what somebody typed there, and keeps what the migration made of it", () => {
    const all = sites();
    const [a, b] = all;
    b.edit("UPDATE item SET name = 'of b' WHERE id = 8", at(1));
    a.edit(rebuild(table), at(10));
    for (const found of shown(all))
      expect(found).toEqual([
        { name: "of b", n: 1 },
        { name: "NINE", n: 1 },
      ]);
    for (const site of all) expect(site.conflicts.map(({ loser }) => loser?.value)).toContain("EIGHT");
  });
});
