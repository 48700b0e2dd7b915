import { SyncError } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT, n INTEGER, x TEXT, PRIMARY KEY(k, n));
  CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT, label TEXT UNIQUE);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, m TEXT)`;
const at = (seconds: number) => START_US + seconds * SECOND_US;

/** Two sites with rows that were there on both and are deleted on both. */
function pair(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit(
    "INSERT INTO word VALUES('k', 7, x'00ff'); INSERT INTO parent VALUES(5, 'parent', 'one'); INSERT INTO child VALUES(9, 5, 'child')",
  );
  settle(a, b);
  b.edit("DELETE FROM word; DELETE FROM parent", at(1));
  settle(a, b);
  expect(a.rows("SELECT * FROM child")).toEqual([]);
  return [a, b];
}

function refusal(work: () => unknown): { code: string; message: string; action: string } {
  try {
    work();
  } catch (error) {
    if (error instanceof SyncError) return { code: error.code, message: error.message, action: error.action };
    throw error;
  }
  throw new Error("it was not refused");
}

const contents = (site: Site) => [site.rows("SELECT * FROM word"), site.rows("SELECT * FROM parent"), site.rows("SELECT * FROM child")];

describe("a deleted row", () => {
  test.each([
    ["word", "k,7"],
    ["parent", "5"],
  ])("of %s has its history under the key that it had, on every replica", (table, key) => {
    for (const site of pair()) {
      const history = site.replica.history(table, key);
      expect(history.map(({ operation }) => operation)).toEqual(expect.arrayContaining(["insert", "delete"]));
      expect(history.map(({ value }) => value)).toContain(table === "word" ? "k" : "parent");
    }
  });

  test("comes back from its image, as the row it was, on every replica", () => {
    const [a, b] = pair();
    a.nowUs = at(2);
    expect(a.replica.restore("parent", "5")).toEqual([
      { name: "label", value: "one" },
      { name: "m", value: "parent" },
    ]);
    a.replica.restore("child", "9");
    a.replica.restore("word", "k,7");
    settle(a, b);
    for (const site of [a, b]) {
      expect(contents(site)).toEqual([
        [{ k: "k", n: 7, x: Buffer.from("00ff", "hex") }],
        [{ id: 5, m: "parent", label: "one" }],
        [{ id: 9, p: 5, m: "child" }],
      ]);
      expect(site.conflicts).toEqual([]);
    }
    // It is the row it was: an edit goes where it should.
    b.edit("UPDATE parent SET m = 'edited' WHERE id = 5", at(3));
    settle(a, b);
    expect(a.one("SELECT m FROM parent")).toBe("edited");
  });

  test("restored on two servers at once is one row", () => {
    const [a, b] = pair();
    for (const site of [a, b]) {
      site.nowUs = at(2);
      site.replica.restore("parent", "5");
    }
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM parent")).toEqual([{ id: 5, m: "parent", label: "one" }]);
  });

  test("is refused with what to do, and nothing changes", () => {
    const [a] = pair();
    expect(refusal(() => a.replica.restore("child", "9"))).toMatchObject({
      code: "INVALID_ARGUMENT",
      action: expect.stringContaining("parent 5"),
    });
    expect(refusal(() => a.replica.restore("parent", "6"))).toMatchObject({ code: "NOT_FOUND" });
    expect(refusal(() => a.replica.restore("nothing", "6"))).toMatchObject({ code: "NOT_FOUND" });
    a.edit("INSERT INTO parent VALUES(8, 'in the way', 'one')", at(2));
    const before = a.contents();
    expect(refusal(() => a.replica.restore("parent", "5"))).toMatchObject({ message: expect.stringContaining("unique, label: row 8 has") });
    expect(a.contents()).toBe(before);
    a.edit("UPDATE parent SET label = 'two'; INSERT INTO parent VALUES(5, 'another', 'one')", at(3));
    expect(refusal(() => a.replica.restore("parent", "5"))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(a.one("SELECT m FROM parent WHERE id = 5")).toBe("another");
    expect(refusal(() => a.replica.restore("child", "9")).action).toMatch(/has its key 5 now.* Then restore .*parent [a-z2-7]{16}:\d/);
  });

  test("whose integer others have had since is named by its birth, and comes back once it is free, with its children", () => {
    const [a, b] = pair();
    a.edit("INSERT INTO parent VALUES(5, 'another', 'two')", at(2));
    a.edit("UPDATE parent SET id = 50, label = 'three' WHERE id = 5", at(3));
    a.nowUs = at(4);
    // The last that had the integer is the one that was given another.
    expect(a.replica.restore("parent", "5")).toContainEqual({ name: "m", value: "another" });
    const { action } = refusal(() => a.replica.restore("child", "9"));
    const [, birth = ""] = /parent (\S+)$/.exec(action) ?? [];
    expect(refusal(() => a.replica.restore("parent", birth)).message).toContain("integer");
    a.edit("UPDATE parent SET id = 51 WHERE id = 5", at(5));
    a.nowUs = at(6);
    a.replica.restore("parent", birth);
    a.replica.restore("child", "9");
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT id, m FROM parent ORDER BY id")).toEqual([
        { id: 5, m: "parent" },
        { id: 50, m: "another" },
        { id: 51, m: "another" },
      ]);
      expect(site.rows("SELECT * FROM child")).toEqual([{ id: 9, p: 5, m: "child" }]);
    }
  });
});

test("a large value of a column that has gone since the row was deleted comes to those who have the column", () => {
  const schema = "CREATE TABLE clip(id INTEGER PRIMARY KEY, name TEXT, video BLOB)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO clip VALUES(1, 'final', CAST(printf('%.*c', 2000000, 'x') AS BLOB))");
  a.edit("DELETE FROM clip", at(1));
  a.edit("ALTER TABLE clip DROP COLUMN video", at(2));
  a.nowUs = at(3);
  a.replica.restore("clip", "1");
  settle(a, b);
  expect(b.rows("SELECT name, video FROM clip")).toEqual([{ name: "final", video: Buffer.alloc(2_000_000, "x") }]);
});
