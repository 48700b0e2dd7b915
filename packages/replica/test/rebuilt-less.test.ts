import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

// What Alembic's batch mode does to a table that loses a column. Its rows cannot be compared by their hashes any more.
const at = (seconds: number) => START_US + seconds * SECOND_US;

describe.each(["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"])("a table that is rebuilt with a column less, key %s", (key) => {
  const rebuild = (name = "name") => `CREATE TABLE made(id ${key}, name TEXT, n INT); INSERT INTO made SELECT id, ${name}, n FROM item;
    DROP TABLE item; ALTER TABLE made RENAME TO item`;

  function sites(): [Site, Site, Site] {
    const schema = `CREATE TABLE item(id ${key}, name TEXT, n INT, old)`;
    const all: [Site, Site, Site] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
    all[0].edit("INSERT INTO item VALUES(8, 'eight', 1, 'x')", at(0));
    settle(...all);
    return all;
  }

  /** What each node shows. */
  function shown(all: [Site, Site, Site], name = "name") {
    settle(...all);
    return all.map((site) => site.rows(`SELECT ${name}, n FROM item`));
  }

  test("what somebody typed before is not beaten by what was there, whatever else was typed", () => {
    const all = sites();
    const [a, b, c] = all;
    b.edit("UPDATE item SET name = 'of b'", at(1));
    a.edit("UPDATE item SET n = 2", at(2));
    a.edit(rebuild(), at(10));
    b.edit(rebuild(), at(11));
    c.edit(rebuild(), at(12));
    for (const rows of shown(all)) expect(rows).toEqual([{ name: "of b", n: 2 }]);
  });

  test.each([8, -8])("nor where the clock is put right by %s s before anybody was told", (seconds) => {
    const all = sites();
    const [a, b, c] = all;
    b.edit("UPDATE item SET name = 'of b'", at(10));
    c.edit("UPDATE item SET n = 2", at(20));
    a.pull(c);
    a.edit(rebuild(), at(30));
    a.replica.correctClock(seconds * SECOND_US);
    for (const site of [b, c]) site.edit(rebuild(), at(40));
    for (const site of all) site.nowUs = at(60);
    for (const rows of shown(all)) expect(rows).toEqual([{ name: "of b", n: 2 }]);
  });

  test.each(["NULL", "0", "''", "0.0"])("a row that held %s in that column is known, and a conflict that is open in it stays so", (old) => {
    const all = sites();
    const [a, b] = all;
    a.edit(`UPDATE item SET old = ${old}`, at(1));
    settle(...all);
    a.edit("UPDATE item SET name = 'of a'", at(2));
    b.edit("UPDATE item SET name = 'of b'", at(3));
    settle(...all);
    const before = a.replica.state().vector;
    for (const [i, site] of all.entries()) site.edit(rebuild(), at(10 + i));
    for (const rows of shown(all)) expect(rows).toEqual([{ name: "of b", n: 1 }]);
    expect(a.replica.state().vector).toEqual(before);
    for (const site of all) expect(site.conflicts, site.name).toMatchObject([{ column: "name", loser: { value: "of a" } }]);
  });

  test.each([0, 1, 2])(
    "what somebody typed before is not beaten where the column gets another name in that, typed on node %i",
    (author) => {
      const all = sites();
      (all[author] as Site).edit("UPDATE item SET name = 'typed'", at(1));
      for (const [i, site] of all.entries()) site.edit(rebuild().replace("name TEXT", "title TEXT"), at(10 + i));
      for (const rows of shown(all, "title")) expect(rows).toEqual([{ title: "typed", n: 1 }]);
    },
  );

  test("what the migration writes reaches all", () => {
    const all = sites();
    const [a, b, c] = all;
    a.edit(rebuild("upper(name)"), at(10));
    settle(...all);
    b.edit(rebuild("upper(name)"), at(11));
    c.edit(rebuild("upper(name)"), at(12));
    for (const rows of shown(all)) expect(rows).toEqual([{ name: "EIGHT", n: 1 }]);
  });

  test("a deleted row that is kept for what refers to it goes everywhere when that goes", () => {
    const all = sites();
    const [a, b, c] = all;
    for (const site of all) site.edit(`CREATE TABLE child(id ${key}, item ${key.split(" ", 1)[0]} REFERENCES item(id))`, at(1));
    a.edit("INSERT INTO child VALUES(1, 8)", at(5));
    b.edit("DELETE FROM item", at(6));
    settle(...all);
    a.edit(`PRAGMA foreign_keys = OFF; ${rebuild()}; PRAGMA foreign_keys = ON`, at(10));
    for (const rows of shown(all)) expect(rows).toEqual([{ name: "eight", n: 1 }]);
    for (const site of all) expect(site.conflicts, site.name).toMatchObject([{ table: "item", column: null }]);
    c.edit("DELETE FROM child", at(20));
    for (const rows of shown(all)) expect(rows).toEqual([]);
  });
});

test("what somebody typed in one of several rows that are one is not beaten by what was there in a rebuilt table, whatever else was typed", () => {
  const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT, n INT, old)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const [i, site] of [a, b].entries()) site.edit("INSERT INTO person VALUES(1, 'mail', 'eight', 1, 'x')", at(i));
  settle(a, b);
  b.edit("UPDATE person SET name = 'of b'", at(2));
  a.edit("UPDATE person SET n = 2", at(3));
  for (const [i, site] of [a, b].entries()) {
    site.edit(
      `CREATE TABLE made(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT, n INT); INSERT INTO made SELECT id, mail, name, n FROM person;
        DROP TABLE person; ALTER TABLE made RENAME TO person`,
      at(10 + i),
    );
  }
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT name, n FROM person")).toEqual([{ name: "of b", n: 2 }]);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});

// Rows were at other places once one that came before them had been deleted.
describe.each([false, true])("a table without a key that is rebuilt with a column less, its rows at other places: %s", (moves) => {
  const rebuild = (name = "name") => `CREATE TABLE made(name TEXT, n INT, m INT); INSERT INTO made SELECT ${name}, n, m FROM item;
    DROP TABLE item; ALTER TABLE made RENAME TO item`;

  /** Three nodes with two rows that held this. */
  function sites(old: string): [Site, Site, Site] {
    const schema = "CREATE TABLE item(name TEXT, n INT, m INT, old)";
    const all: [Site, Site, Site] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
    const [a] = all;
    a.edit(`INSERT INTO item VALUES('zero', 0, 0, ${old}), ('one', 1, 1, ${old}), ('two', 2, 2, ${old})`, at(0));
    settle(...all);
    if (moves) a.edit("DELETE FROM item WHERE name = 'zero'", at(1));
    else a.edit("DELETE FROM item WHERE name = 'two'; UPDATE item SET name = 'two', n = 2, m = 2 WHERE name = 'zero'", at(1));
    settle(...all);
    return all;
  }

  const rebuiltEach = (all: [Site, Site, Site], name = "name") => {
    for (const [i, site] of all.entries()) site.edit(rebuild(name), at(10 + i));
    settle(...all);
  };

  test.each(["NULL", "0", "''", "'x'", "random()"])("has the rows that it had, with all that was typed in them: %s", (old) => {
    const all = sites(old);
    const [a, b, c] = all;
    b.edit("UPDATE item SET n = 20 WHERE name = 'two'", at(2));
    a.edit("UPDATE item SET m = 30 WHERE name = 'two'", at(3));
    rebuiltEach(all);
    for (const site of all)
      expect(site.rows("SELECT * FROM item ORDER BY name"), site.name).toEqual([
        { name: "one", n: 1, m: 1 },
        { name: "two", n: 20, m: 30 },
      ]);
    expect(a.pull(c).at(-1)?.verified).toBe(true);
  });

  test.each(["NULL", "0", "''"])("what lost in a row that held %s in that column stays listed", (old) => {
    const all = sites(old);
    const [a, b] = all;
    a.edit("UPDATE item SET n = 20 WHERE name = 'two'", at(2));
    b.edit("UPDATE item SET n = 30 WHERE name = 'two'", at(3));
    settle(...all);
    const before = a.replica.state().vector;
    rebuiltEach(all);
    expect(a.replica.state().vector).toEqual(before);
    for (const site of all)
      expect(site.conflicts, site.name).toMatchObject([{ column: "n", winner: { value: 30n }, loser: { value: 20n } }]);
  });

  test.each(["NULL", "'x'"])("what the migration writes reaches all: %s", (old) => {
    const all = sites(old);
    rebuiltEach(all, "upper(name)");
    for (const site of all)
      expect(site.rows("SELECT * FROM item ORDER BY name"), site.name).toEqual([
        { name: "ONE", n: 1, m: 1 },
        { name: "TWO", n: 2, m: 2 },
      ]);
  });

  test.each([0, 1])("has the rows that it had where a column gets another type instead, but for some: %s", (as) => {
    const all = sites("NULL");
    const [a, b] = all;
    if (as === 1) a.edit("UPDATE item SET n = NULL WHERE name = 'one'", at(2));
    settle(...all);
    b.edit("DELETE FROM item WHERE name = 'two'; INSERT INTO item VALUES('three', 3, 3, NULL)", at(3));
    for (const [i, site] of all.entries())
      site.edit(rebuild().replace("n INT", "n TEXT").replace("m INT", "m INT, old").replace("n, m", "n, m, old"), at(10 + i));
    settle(...all);
    for (const site of all) {
      const names = site.rows("SELECT name, n FROM item WHERE name <> 'two' ORDER BY name");
      expect(names, site.name).toEqual([
        { name: "one", n: as === 1 ? null : "1" },
        { name: "three", n: "3" },
      ]);
      expect(site.one("SELECT count(*) FROM item"), site.name).toBe(all[0].one("SELECT count(*) FROM item"));
    }
  });
});

// As Alembic does it in batch mode: a stopped node, or one look, sees all of it at once.
test.each([
  ["in one transaction", false],
  ["while its node is stopped", true],
])("a table that is rebuilt with an empty column less and renamed, %s, keeps its rows, and what refers to them", (_, isDown) => {
  const schema =
    "CREATE TABLE job(id INTEGER PRIMARY KEY, title TEXT, done TEXT); " +
    "CREATE TABLE shift(job_id INTEGER NOT NULL REFERENCES job(id), day TEXT, PRIMARY KEY(job_id, day))";
  const migration =
    "CREATE TABLE made(id INTEGER PRIMARY KEY, title TEXT); INSERT INTO made SELECT id, title FROM job; DROP TABLE job; " +
    "ALTER TABLE made RENAME TO job; ALTER TABLE job RENAME TO task";
  const all: [Site, Site, Site] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
  const [a, b, c] = all;
  const migrate = (site: Site, us: number) => {
    site.app.pragma("foreign_keys = OFF");
    if (isDown) {
      site.nowUs = us;
      site.app.exec(migration);
      site.restart();
    } else site.edit(`BEGIN; ${migration}; COMMIT`, us);
    site.app.pragma("foreign_keys = ON");
    settle(...all);
  };
  a.edit("INSERT INTO job(title) VALUES('one'); INSERT INTO shift VALUES(1, 'mon')", at(0));
  settle(...all);
  migrate(c, at(2));
  b.edit("INSERT INTO job(title) VALUES('two'); INSERT INTO shift VALUES(2, 'tue')", at(4));
  settle(...all);
  migrate(a, at(6));
  migrate(b, at(8));
  for (const site of all) {
    expect(site.rows("SELECT title, day FROM task LEFT JOIN shift ON job_id = id ORDER BY title")).toEqual([
      { title: "one", day: "mon" },
      { title: "two", day: "tue" },
    ]);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});
