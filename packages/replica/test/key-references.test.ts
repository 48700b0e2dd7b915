import { describe, expect, test } from "vitest";
import { diagnose } from "../src/index.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** Types of a column, and the number one as the table then holds it otherwise than as an integer. */
const HELD = [
  ["TEXT", "1"],
  ["REAL", "1"],
  ["", "1.0"],
  ["", "'1'"],
] as const;

const ITEM = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT)";
const KEYED = (type: string) =>
  `${ITEM}; CREATE TABLE tagged(item ${type} NOT NULL REFERENCES item(id), tag TEXT NOT NULL, note TEXT, PRIMARY KEY(item, tag))`;
const KEYLESS = (type: string) => `${ITEM}; CREATE TABLE tagged(item ${type} NOT NULL REFERENCES item(id), tag TEXT NOT NULL, note TEXT)`;

function agree(all: readonly Site[]): void {
  settle(...all);
  const [first] = all as [Site];
  for (const each of all) {
    expect(each.replica.state().digest, each.name).toEqual(first.replica.state().digest);
    const tagged = (site: Site) => site.rows("SELECT item, typeof(item) AS type, tag, note FROM tagged ORDER BY tag, note");
    expect(tagged(each), each.name).toEqual(tagged(first));
    const look = (deep: boolean) => each.replica.digests({ table: "", buckets: [], deep }).entries;
    expect(look(true)).toEqual(look(false));
  }
}

/** Two servers that gave one integer to two items, each with a row that names its own. */
function collided(schema: string, one: string, more = ""): [Site, Site, Site] {
  const all = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
  for (const [i, each] of all.slice(0, 2).entries()) {
    each.edit(`INSERT INTO item VALUES(1, 'of ${each.name}')`, at(2 * i));
    each.edit(`INSERT INTO tagged VALUES(${one}, 'of ${each.name}', ''); ${more.replaceAll("$", `of ${each.name}`)}`, at(2 * i + 1));
  }
  return all;
}

const cases = [
  ...HELD.map(([type, one]) => [`a key of type "${type}" that is ${one}`, KEYED(type), one] as const),
  ['rows without a key in a column of type "" that holds 1.0', KEYLESS(""), "1.0"] as const,
];

describe.each(cases)("references by %s", (_, schema, one) => {
  test("are the same on all nodes once two servers gave one integer to two rows, and so is what is done to their rows since", () => {
    const all = collided(schema, one);
    const [a, b, c] = all;
    agree(all);
    for (const each of all) expect(each.rows("SELECT tag FROM tagged ORDER BY tag")).toEqual([{ tag: "of a" }, { tag: "of b" }]);
    b.edit("UPDATE tagged SET note = 'by b' WHERE tag = 'of a'", at(10));
    c.edit("UPDATE tagged SET note = 'by c' WHERE tag = 'of b'", at(11));
    agree(all);
    for (const each of all)
      expect(each.rows("SELECT tag, note FROM tagged ORDER BY tag")).toEqual([
        { tag: "of a", note: "by b" },
        { tag: "of b", note: "by c" },
      ]);
    b.edit("DELETE FROM tagged WHERE tag = 'of b'", at(12));
    a.edit(`INSERT INTO tagged VALUES(${one}, 'new', '')`, at(13));
    agree(all);
    for (const each of all) expect(each.rows("SELECT tag FROM tagged ORDER BY tag")).toEqual([{ tag: "new" }, { tag: "of a" }]);
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("are found by doctor, with what to do", () => {
    const site = new Site("a", schema);
    site.edit(`INSERT INTO item VALUES(1, 'one'); INSERT INTO tagged VALUES(${one}, 'one', '')`);
    const { status, problems } = diagnose(site.path, []);
    expect([status, problems]).toMatchObject(["attached", [{ severity: "warning", action: expect.stringContaining("INTEGER") as string }]]);
    expect(problems[0]?.message).toContain('"tagged.item"');
  });
});

test.each(["INTEGER", "NUMERIC", "INT", ""])("doctor has nothing to say of integers in a key of type %s", (type) => {
  const site = new Site("a", KEYED(type));
  site.edit("INSERT INTO item VALUES(1, 'one'); INSERT INTO tagged VALUES(1, 'one', '')");
  expect(diagnose(site.path, []).problems).toEqual([]);
});

describe.each(["TEXT", "REAL"])("a part of a key that refers as %s", (type) => {
  const schema = `${KEYED(type)}; CREATE TABLE part(id INTEGER PRIMARY KEY, item ${type} REFERENCES item(id), tag TEXT, body TEXT,
    FOREIGN KEY(item, tag) REFERENCES tagged(item, tag))`;

  test("is still referred to once the row it refers to has another integer", () => {
    const all = collided(schema, "1", "INSERT INTO part VALUES(1, 1, '$', '$')");
    agree(all);
    for (const each of all) {
      expect(each.rows("PRAGMA foreign_key_check"), each.name).toEqual([]);
      expect(each.rows("SELECT body, note FROM part JOIN tagged USING(item, tag) ORDER BY body")).toEqual([
        { body: "of a", note: "" },
        { body: "of b", note: "" },
      ]);
    }
  });

  test("keeps the row that another node deletes meanwhile, and lets it go", () => {
    const all = ["a", "b", "c"].map((name) => new Site(name, schema));
    const [a, b] = all as [Site, Site, Site];
    a.edit("INSERT INTO item VALUES(1, 'kept'), (2, 'gone')", at(0));
    agree(all);
    a.edit("INSERT INTO tagged VALUES(1, 'x', '')", at(2));
    b.edit("DELETE FROM item", at(3));
    agree(all);
    for (const each of all) expect(each.rows("SELECT name FROM item")).toEqual([{ name: "kept" }]);
    b.edit("DELETE FROM tagged", at(4));
    agree(all);
    for (const each of all) expect([...each.rows("SELECT name FROM item"), ...each.rows("SELECT * FROM tagged")]).toEqual([]);
  });
});
