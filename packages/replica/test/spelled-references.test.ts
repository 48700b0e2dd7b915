import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** Column types, and the number one as an application writes it that the table then holds otherwise than as an integer. */
const SPELLED = [
  { type: "TEXT", one: "1", held: "text" },
  { type: "TEXT", one: "'1'", held: "text" },
  { type: "REAL", one: "1", held: "real" },
  { type: "REAL", one: "'1'", held: "real" },
  // As JavaScript's numbers come to be there.
  { type: "", one: "1.0", held: null },
] as const;

const TABLES = {
  "with a key": (type: string) => `CREATE TABLE note(id INTEGER PRIMARY KEY, item ${type} REFERENCES item(id), wrote TEXT)`,
  "without a key": (type: string) => `CREATE TABLE note(item ${type} REFERENCES item(id), wrote TEXT)`,
  "with a natural key": (type: string) =>
    `CREATE TABLE note(k TEXT PRIMARY KEY NOT NULL DEFAULT (hex(randomblob(8))), item ${type} REFERENCES item(id), wrote TEXT)`,
  "that refers by configuration": (type: string) => `CREATE TABLE note(id INTEGER PRIMARY KEY, item ${type}, wrote TEXT)`,
};

const cases = Object.entries(TABLES).flatMap(([table, sql]) =>
  // Rows of a table without a key are found by what they hold, as it is.
  SPELLED.filter(({ held }) => held !== null || table !== "without a key").map((spelled) => ({ table, sql, ...spelled })),
);

function agree(all: readonly Site[]): void {
  settle(...all);
  const [first] = all;
  for (const { replica } of all) {
    expect(replica.state().digest).toEqual(first?.replica.state().digest);
    const look = (deep: boolean) => replica.digests({ table: "", buckets: [], deep }).entries;
    expect(look(true)).toEqual(look(false));
  }
}

/** Whom each note is about, as the application joins them. */
const about = (site: Site) => site.rows("SELECT wrote, name FROM note LEFT JOIN item ON item.id = note.item ORDER BY wrote");

describe.each(cases)("a reference that is held as $type, written as $one, in a table $table", ({ table, sql, type, one, held }) => {
  const options = table === "that refers by configuration" ? { rules: ["note.item->item.id"] } : {};
  const site = (name: string, more = "") =>
    new Site(name, `CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT); ${sql(type)}; ${more}`, options);
  const wrong = (sites: readonly Site[]) =>
    sites.flatMap((each) =>
      about(each).flatMap(({ wrote, name }) => (wrote === name ? [] : [`${each.name}: ${String(wrote)} -> ${String(name)}`])),
    );

  test("follows its row to another integer, on every node", () => {
    const all = ["a", "b", "c"].map((name) => site(name));
    const [a, b] = all as [Site, Site, Site];
    all.forEach((each, i) => {
      each.edit(`INSERT INTO item VALUES(1, 'of ${each.name}')`, at(2 * i));
      each.edit(`INSERT INTO note(item, wrote) VALUES(${one}, 'of ${each.name}')`, at(2 * i + 1));
    });
    agree(all);
    expect(wrong(all)).toEqual([]);
    const types = all.flatMap((each) => each.rows("SELECT DISTINCT typeof(item) AS t FROM note").map(({ t }) => t));
    expect(new Set(types)).toEqual(new Set(held === null ? types : [held]));
    // A note that is made to be about another one, and an edit of another column beside that.
    a.edit("UPDATE note SET item = (SELECT id FROM item WHERE name = 'of c') WHERE wrote = 'of a'", at(10));
    b.edit("UPDATE note SET wrote = 'of b' WHERE wrote = 'of b'", at(11));
    b.edit(
      "INSERT INTO item(name) VALUES('new of b'); INSERT INTO note(item, wrote) SELECT id, 'new of b' FROM item WHERE name = 'new of b'",
      at(12),
    );
    a.edit(
      "INSERT INTO item(name) VALUES('new of a'); INSERT INTO note(item, wrote) SELECT id, 'new of a' FROM item WHERE name = 'new of a'",
      at(13),
    );
    agree(all);
    a.edit("UPDATE note SET wrote = 'of c' WHERE wrote = 'of a'", at(20));
    agree(all);
    expect(wrong(all)).toEqual([]);
  });

  test("follows a row that a node had before syncing", () => {
    const filled = `INSERT INTO item VALUES(1, 'first'), (2, 'second'); INSERT INTO note(item, wrote) VALUES(${one}, 'first')`;
    const named = table === "with a natural key" ? "UPDATE note SET k = 'first'" : "";
    const all = [site("a", `${filled}; ${named}`), site("b", `${filled}; ${named}`), site("c")];
    const [a, b] = all as [Site, Site, Site];
    agree(all);
    a.edit("INSERT INTO item(name) VALUES('of a'); INSERT INTO note(item, wrote) VALUES(3, 'of a')", at(2));
    b.edit("INSERT INTO item(name) VALUES('of b'); INSERT INTO note(item, wrote) VALUES(3, 'of b')", at(3));
    agree(all);
    expect(wrong(all)).toEqual([]);
    expect(about(a)).toHaveLength(3);
  });

  test("keeps a row that another node deletes meanwhile, and goes with it where that is known", () => {
    const all = ["a", "b", "c"].map((name) => site(name));
    const [a, b] = all as [Site, Site, Site];
    a.edit("INSERT INTO item VALUES(1, 'kept'), (2, 'gone')", at(0));
    agree(all);
    a.edit(`INSERT INTO note(item, wrote) VALUES(${one}, 'kept')`, at(2));
    b.edit("DELETE FROM item", at(3));
    agree(all);
    const isDeclared = table !== "that refers by configuration";
    for (const each of all) expect(each.rows("SELECT name FROM item")).toEqual(isDeclared ? [{ name: "kept" }] : []);
    b.edit("DELETE FROM note", at(4));
    agree(all);
    for (const each of all) expect([each.rows("SELECT name FROM item"), about(each)]).toEqual([[], []]);
  });
});

test.each(["TEXT", "REAL"])(
  "the hash of a row with a reference held as %s is that of what its table holds, as versions before made it",
  (type) => {
    const rows = "INSERT INTO item VALUES(1, 'one'); INSERT INTO note VALUES(1, 1, 'one')";
    const [refers, plain] = ["REFERENCES item(id)", ""].map((reference) => {
      const schema = `CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE note(id INTEGER PRIMARY KEY, item ${type} ${reference}, wrote TEXT)`;
      const site = new Site("a", schema);
      site.edit(rows, at(0));
      return site.replica.state().digest;
    });
    expect(refers).toEqual(plain);
  },
);

test.each(["TEXT", "REAL", ""])("a column of type %s that comes to refer has not been edited by that", (type) => {
  const note = (reference: string) => `CREATE TABLE note(id INTEGER PRIMARY KEY, item ${type} ${reference}, wrote TEXT)`;
  const all = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT); ${note("")}`)) as [Site, Site];
  const [a, b] = all;
  a.edit("INSERT INTO item VALUES(1, 'one'); INSERT INTO note VALUES(1, 1.0, 'one')", at(0));
  agree(all);
  b.edit("UPDATE note SET wrote = 'edited'", at(2));
  for (const [i, each] of all.entries()) {
    each.edit(
      `ALTER TABLE note RENAME TO former; ${note("REFERENCES item(id)")}; INSERT INTO note SELECT * FROM former; DROP TABLE former`,
      at(5 + i),
    );
  }
  agree(all);
  for (const each of all) {
    expect(each.rows("SELECT wrote FROM note")).toEqual([{ wrote: "edited" }]);
    expect(each.conflicts).toEqual([]);
  }
});

const ITEM = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT)";
const NOTE = (type: string) => `CREATE TABLE note(id INTEGER PRIMARY KEY, item ${type}, wrote TEXT)`;
const RULES = ["note.item->item.id"];
const NOTES = (type: string) => {
  const [one, two] = type === "" ? ["1.0", "2.0"] : ["1", "2"];
  return `INSERT INTO item VALUES(1, 'one'), (2, 'two'); INSERT INTO note VALUES(1, ${one}, 'one'), (2, ${two}, 'one')`;
};
const MIGRATED = "ALTER TABLE note ADD COLUMN more TEXT";

/** Gives what is known of the notes of `of` to `site`, while that does not run: the hashes of rows, and what they come to. */
function takeHashes(site: Site, of: Site): void {
  const tid = of.one("SELECT tid FROM _scoutsync_table WHERE name = 'note'") as number;
  const [hashes, sums] = [
    of.rows(`SELECT id, hash FROM _scoutsync_rows_${tid}`),
    of.rows(`SELECT * FROM _scoutsync_digest WHERE tid = ${tid}`),
  ];
  for (const { id, hash } of hashes) site.app.prepare(`UPDATE _scoutsync_rows_${tid} SET hash = ? WHERE id = ?`).run(hash, id);
  site.app.exec(`DELETE FROM _scoutsync_digest WHERE tid = ${tid}; DELETE FROM _scoutsync_meta WHERE key = 'linked columns of ${tid}'`);
  for (const { bucket, rows, sum } of sums)
    site.app.prepare("INSERT INTO _scoutsync_digest(tid, bucket, rows, sum) VALUES(?, ?, ?, ?)").run(tid, bucket, rows, sum);
}

describe.each([false, true])("hashes are those of a node that is filled later (with a migration meanwhile: %s)", (isMigrated) => {
  const migrated = (...sites: Site[]) => {
    if (isMigrated) for (const site of sites) site.app.exec(MIGRATED);
  };

  /** Of `a`, which runs no more, and of others: nothing of it has been edited. */
  function expectAsNew(a: Site, b: Site, options: { rules: string[] }, type: string): void {
    b.edit("UPDATE note SET wrote = 'edited' WHERE id = 1", at(5));
    migrated(a, b);
    a.start();
    const c = new Site("c", `${ITEM}; ${NOTE(type)}; ${isMigrated ? MIGRATED : ""}`, options);
    agree([a, b, c]);
    for (const each of [a, b, c]) {
      expect(each.rows("SELECT wrote FROM note ORDER BY id")).toEqual([{ wrote: "edited" }, { wrote: "one" }]);
      expect(each.conflicts).toEqual([]);
    }
  }

  test.each(["TEXT", "REAL", ""])("where a column of type %s comes to refer by configuration", (type) => {
    const [a, b] = [new Site("a", `${ITEM}; ${NOTE(type)}`), new Site("b", `${ITEM}; ${NOTE(type)}`)];
    a.edit(NOTES(type), at(0));
    agree([a, b]);
    for (const each of [a, b]) {
      each.replica.close();
      each.options.rules = RULES;
    }
    b.start();
    expectAsNew(a, b, { rules: RULES }, type);
  });

  test.each([
    // Told by a node that knew whom it means.
    ["TEXT", "INTEGER"],
    ["REAL", "INTEGER"],
    // Written by the application here.
    ["", "REAL"],
  ])("where a version before took what a column of type %s holds for %s", (type, as) => {
    const [a, b, former] = [type, type, as].map((each, i) => new Site("abf"[i] as string, `${ITEM}; ${NOTE(each)}`, { rules: RULES }));
    a?.edit(NOTES(type), at(0));
    agree([a as Site, b as Site]);
    former?.edit(NOTES(type), at(0));
    a?.replica.close();
    takeHashes(a as Site, former as Site);
    expectAsNew(a as Site, b as Site, { rules: RULES }, type);
  });
});

test.each(["TEXT", "REAL", ""])(
  "a row of another database that a column of type %s refers to is followed in a database of an earlier version",
  (type) => {
    const rules = ["note.item->items.item.id"];
    const [a, b] = ["a", "b"].map((name, i) => {
      const items = new Site(name, ITEM, { dependents: [] });
      items.edit(`INSERT INTO item VALUES(1, 'of ${name}')`, at(1 - i));
      const notes = new Site(name, NOTE(type), i === 0 ? {} : { rules, refersTo: { items } });
      return { items, notes };
    }) as [{ items: Site; notes: Site }, { items: Site; notes: Site }];
    a.notes.edit(`INSERT INTO note VALUES(1, ${type === "" ? "1.0" : "1"}, 'of a')`, at(2));
    // As that version left it, which made hashes of what the table holds.
    const tid = a.notes.one("SELECT tid FROM _scoutsync_table WHERE name = 'note'") as number;
    a.notes.replica.close();
    a.notes.app.prepare("INSERT OR REPLACE INTO _scoutsync_meta VALUES(?, ?)").run(`linked columns of ${tid}`, "item->items.item");
    Object.assign(a.notes.options, { rules, refersTo: { items: a.items } });
    a.items.options.dependents = [a.notes];
    a.notes.start();
    for (const _ of ["rows", "what follows them"]) for (const each of ["items", "notes"] as const) agree([a[each], b[each]]);
    for (const { items, notes } of [a, b]) {
      const [note] = notes.rows("SELECT CAST(item AS INT) AS item FROM note");
      expect(items.one(`SELECT name FROM item WHERE id = ${String(note?.["item"])}`)).toBe("of a");
    }
  },
);
