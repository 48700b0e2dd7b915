import { describe, expect, test } from "vitest";
import { settle, Site } from "./site.ts";

const OLD = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
const NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), line TEXT)";
const WORD = "CREATE TABLE word(lang TEXT, k TEXT, line TEXT, PRIMARY KEY(lang, k))";
const NEW = `${OLD}; ${NOTE}; ${WORD}`;
const MOTTO = "ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'";

const held = (site: Site): string[] =>
  site.replica
    .reviews({ kind: "schema", id: "", limit: 100 })
    .map(({ table, column }) => (column === null ? table : `${table}.${column}`))
    .toSorted();

describe("a table that is not here", () => {
  test("is held, passed on, and put in when it comes", () => {
    const [a, b, c] = [new Site("a", NEW), new Site("b", OLD), new Site("c", NEW)];
    a.edit("INSERT INTO team(name) VALUES('one'); INSERT INTO note VALUES(1, 1, 'hello'); INSERT INTO word VALUES('en', 'k', 'word')");
    expect(b.pull(a).at(-1)?.verified).toBe(null);
    expect(b.rows("SELECT * FROM team")).toEqual([{ id: 1, name: "one" }]);
    expect(held(b)).toEqual(["note", "word"]);
    expect(b.replica.state().held).toBe(2);
    c.pull(b);
    expect(c.rows("SELECT * FROM note")).toEqual([{ id: 1, team_id: 1, line: "hello" }]);
    expect(c.rows("SELECT * FROM word")).toEqual([{ lang: "en", k: "k", line: "word" }]);
    expect(c.replica.count(new Map()).changes).toBe(3);
    c.edit("UPDATE note SET line = 'edited'; DELETE FROM word", c.nowUs + 1_000_000);
    b.pull(c);
    b.edit(`${NOTE}; ${WORD}`);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT * FROM note")).toEqual([{ id: 1, team_id: 1, line: "edited" }]);
      expect(site.rows("SELECT * FROM word")).toEqual([]);
      expect(site.conflicts).toEqual([]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(b.replica.count(new Map())).toEqual(a.replica.count(new Map()));
  });
});

describe("a column that is not here", () => {
  test("is held with its values, passed on, and put in when it comes", () => {
    const [a, b, c] = [new Site("a", `${NEW}; ${MOTTO}`), new Site("b", NEW), new Site("c", `${NEW}; ${MOTTO}`)];
    a.edit("INSERT INTO team VALUES(1, 'one', 'onward'), (2, 'two', 'none')");
    expect(b.pull(a).at(-1)?.verified).toBe(null);
    b.edit("UPDATE team SET name = 'ONE' WHERE id = 1; INSERT INTO team VALUES(3, 'three')", b.nowUs + 1_000_000);
    c.pull(b);
    expect(c.rows("SELECT * FROM team")).toEqual([
      { id: 1, name: "ONE", motto: "onward" },
      { id: 2, name: "two", motto: "none" },
      { id: 3, name: "three", motto: "none" },
    ]);
    a.edit("UPDATE team SET motto = 'upward' WHERE id = 2", b.nowUs + 2_000_000);
    b.pull(a);
    expect(held(b)).toEqual(["team.motto"]);
    b.edit(MOTTO);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT motto FROM team ORDER BY id")).toEqual([{ motto: "onward" }, { motto: "upward" }, { motto: "none" }]);
      expect(site.conflicts).toEqual([]);
      expect(held(site)).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(b.pull(c).at(-1)?.verified).toBe(true);
  });
});
