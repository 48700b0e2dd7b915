import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { SECOND_US, settle, Site, type SiteOptions, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** What sessions do with rows that differ though nobody lacks anything. */
function mend(...sites: Site[]): void {
  for (const a of sites) {
    for (const b of sites) {
      if (a === b) continue;
      const [ours, theirs] = [a, b].map(({ replica }) => replica.wholeRows({ table: "item", keys: ["8", "9"], codecs: [] }));
      a.replica.apply(theirs!);
      b.replica.apply(ours!);
      settle(...sites);
    }
  }
}

const EDIT = "UPDATE item SET n = 5 WHERE id = 8";
const CHILD = "INSERT INTO part VALUES(1, 8)";

test.each(
  ["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"].flatMap((key) =>
    ["", "NOT NULL"].flatMap((constraint) =>
      [EDIT, CHILD].flatMap((write) =>
        [false, true].flatMap((wasEdited) => [false, true].map((isLate) => ({ key, constraint, write, wasEdited, isLate }))),
      ),
    ),
  ),
)(
  "a row that went past capture is whole again where another node wrote to it: $key, name $constraint, $write, edited before: $wasEdited, a third node knows it as deleted only: $isLate",
  ({ key, constraint, write, wasEdited, isLate }) => {
    const item = `CREATE TABLE item(id ${key}, name TEXT ${constraint}, n INT);`;
    const part = `CREATE TABLE part(id INTEGER PRIMARY KEY, item ${key.split(" ")[0]} REFERENCES item(id));`;
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, item + part)) as [Site, Site, Site];
    const all = [a, b, c];
    a.edit("INSERT INTO item VALUES(8, 'eight', 1), (9, 'nine', 2)", at(0));
    if (wasEdited) a.edit("UPDATE item SET name = 'edited' WHERE id = 8", at(1));
    settle(a, b);
    if (!isLate) settle(...all);
    // A table made anew has no triggers yet.
    a.app.pragma("foreign_keys = OFF");
    const made = item.replace("item", "made");
    a.edit(
      `${made} INSERT INTO made SELECT * FROM item; DROP TABLE item; ALTER TABLE made RENAME TO item; DELETE FROM item WHERE id = 8`,
      at(2),
    );
    if (isLate) c.pull(a);
    b.edit(write, at(3));
    settle(...all);
    mend(...all);
    const eight = { name: wasEdited ? "edited" : "eight", n: write === EDIT ? 5 : 1 };
    for (const site of all) {
      expect(site.rows("SELECT name, n FROM item ORDER BY id"), site.name).toEqual([eight, { name: "nine", n: 2 }]);
      expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
      expect(site.conflicts.filter(({ column }) => column !== null)).toEqual([]);
    }
    b.edit("UPDATE item SET name = 'last', n = 7 WHERE id = 8", at(4));
    settle(...all);
    for (const site of all) {
      expect(site.rows("SELECT name, n FROM item WHERE id = 8"), site.name).toEqual([{ name: "last", n: 7 }]);
      expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
    }
  },
);

const KEYS = ["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"];

/** No trigger notes these writes. */
function pastCapture({ app }: Site, sql: string): void {
  app.exec(`BEGIN IMMEDIATE; INSERT INTO _scoutsync_applying VALUES(1); ${sql}; DELETE FROM _scoutsync_applying; COMMIT`);
}

/** What a node shows of an item: in its table, for review, in its history. */
function shown({ app, conflicts, replica }: Site, key: string): Set<unknown> {
  const listed = conflicts.flatMap(({ winner, loser }) => [winner?.value, loser?.value]);
  const history = replica.history("item", key).map(({ value }) => value);
  return new Set([...app.prepare("SELECT name, n FROM item").raw().all().flat(), ...listed, ...history]);
}

const WRITES = ["UPDATE item SET name = 'typed' WHERE id = 8", EDIT, "DELETE FROM item WHERE id = 8"];

test.each(KEYS.flatMap((key) => WRITES.map((write) => ({ key, write }))))(
  "what was written past capture is kept where others' writes come over it: $key, $write",
  ({ key, write }) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, `CREATE TABLE item(id ${key}, name TEXT, n INT)`)) as [Site, Site, Site];
    const all = [a, b, c];
    a.edit("INSERT INTO item VALUES(8, 'eight', 1), (9, 'nine', 2)", at(0));
    settle(...all);
    pastCapture(b, "UPDATE item SET name = 'past b' WHERE id = 8");
    pastCapture(c, "UPDATE item SET name = 'past c' WHERE id = 8");
    a.edit(write, at(1));
    settle(...all);
    mend(...all);
    for (const site of all) {
      // What went is what it was where nobody wrote past capture.
      const typed = write.includes("'typed'") ? ["typed"] : write === EDIT || site === a ? ["eight"] : [];
      expect([...shown(site, "8")], site.name).toEqual(expect.arrayContaining(["past b", "past c", ...typed]));
      expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
      expect(site.rows("SELECT * FROM item")).toEqual(a.rows("SELECT * FROM item"));
    }
    expect(a.rows("SELECT id FROM item WHERE id = 8").length).toBe(write.startsWith("DELETE") ? 0 : 1);
  },
);

test.each(KEYS)("what was written past capture is kept where the batch that comes over it fails and comes again: %s", (key) => {
  let failing = false;
  const connect: SiteOptions["connect"] = (path, options) => {
    const db = new Database(path, options);
    const exec = db.exec.bind(db);
    db.exec = (sql) => {
      if (!failing || sql !== "COMMIT") return exec(sql);
      failing = false;

      throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR", name: "SqliteError" });
    };
    return db;
  };
  const schema = `CREATE TABLE item(id ${key}, name TEXT, n INT)`;
  const [a, b] = [new Site("a", schema), new Site("b", schema, { connect })];
  a.edit("INSERT INTO item VALUES(8, 'eight', 1)", at(0));
  settle(a, b);
  pastCapture(b, "UPDATE item SET name = 'past b', n = 77 WHERE id = 8");
  a.edit("UPDATE item SET n = 2 WHERE id = 8", at(1));
  b.pull(a);
  a.edit("UPDATE item SET name = 'typed' WHERE id = 8", at(2));
  failing = true;
  expect(() => b.pull(a)).toThrow("disk I/O error");
  expect(b.rows("SELECT name, n FROM item")).toEqual([{ name: "past b", n: 2 }]);
  settle(a, b);
  for (const site of [a, b]) {
    expect([...shown(site, "8")], site.name).toEqual(expect.arrayContaining(["past b", 77n, "typed"]));
    expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
  }
});

test("what was written past capture to a row that is one with another is kept where others' writes come over it", () => {
  const sites = ["a", "b", "c"].map((name) => new Site(name, "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, n INT UNIQUE)"));
  const [a, b, c] = sites as [Site, Site, Site];
  a.edit("INSERT INTO item VALUES(8, 'of a', 1)", at(0));
  b.edit("INSERT INTO item VALUES(9, 'of b', 1)", at(1));
  // c has only the one that is to stand for both.
  c.pull(a);
  settle(a, b);
  pastCapture(c, "UPDATE item SET name = 'past c'");
  settle(...sites);
  for (const site of sites) {
    // What it says itself is what its author knows of it.
    expect([...shown(site, "8")], site.name).toEqual(expect.arrayContaining(["of b", "past c", ...(site === c ? [] : ["of a"])]));
    expect(site.rows("SELECT * FROM item"), site.name).toEqual([{ id: 8, name: "of b", n: 1 }]);
    expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
  }
});

test("what a trigger writes that is to run on every node is nothing that was written past capture", () => {
  const schema = `CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, n INT);
    CREATE TRIGGER stamp AFTER UPDATE ON item BEGIN UPDATE item SET n = n + 1 WHERE id = NEW.id; END`;
  const sites = ["a", "b", "c"].map((name) => new Site(name, schema, { triggers: { run: ["stamp"], suspend: [] } }));
  const [a, b, c] = sites as [Site, Site, Site];
  a.edit("INSERT INTO item VALUES(8, 'eight', 1)", at(0));
  settle(...sites);
  for (const [second, site] of [a, b, c, a].entries()) {
    site.edit(`UPDATE item SET name = 'typed ${second}'`, at(second + 1));
    settle(...sites);
  }
  for (const site of sites) {
    expect(site.one("SELECT name FROM item"), site.name).toBe("typed 3");
    expect(site.replica.history("item", "8").filter(({ operation }) => operation === "closed")).toEqual([]);
  }
});
