import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER REFERENCES team(id), label TEXT);
  CREATE TABLE part(robot_id INTEGER REFERENCES robot(id), slot TEXT, note TEXT, PRIMARY KEY(robot_id, slot)) WITHOUT ROWID;
  CREATE TABLE setting(k TEXT PRIMARY KEY, v TEXT, w TEXT);`;

/** What was in the one file before it was copied. */
const COMMON = `
  INSERT INTO team VALUES(1, 'one', 'Rome'), (2, 'two', 'Bonn'), (3, 'three', 'Oslo'), (4, 'four', 'Riga'), (-7, 'odd', 'Lima'), (9007199254740993, 'huge', 'Bern');
  INSERT INTO robot VALUES(1, 1, 'arm'), (2, 2, 'leg'), (3, 9007199254740993, 'hand');
  INSERT INTO part VALUES(1, 'a', 'screw'), (2, 'a', 'bolt');
  INSERT INTO setting VALUES('size', 'L', 'x'), ('color', 'red', 'y');`;

/** What each copy had done to it before it was attached. */
const APART = {
  a: `UPDATE team SET city = 'Roma' WHERE id = 1; INSERT INTO robot VALUES(10, 3, 'only a'); UPDATE part SET note = 'nail' WHERE robot_id = 1;
    UPDATE setting SET v = 'XL' WHERE k = 'size'; DELETE FROM team WHERE id = -7`,
  b: `UPDATE team SET city = 'Roma Capitale', name = 'uno' WHERE id = 1; INSERT INTO team VALUES(11, 'only b', ''); INSERT INTO robot VALUES(11, 11, 'only b');
    INSERT INTO part VALUES(2, 'b', 'only b'); UPDATE setting SET v = 'S' WHERE k = 'size'`,
  c: `UPDATE team SET city = 'Rom' WHERE id = 1; DELETE FROM robot WHERE id = 3; DELETE FROM team WHERE id = 9007199254740993; INSERT INTO setting VALUES('only c', '', '')`,
};

const copy = (name: keyof typeof APART, baseline: "shared" | "distinct" | null = "shared") =>
  new Site(name, `${SCHEMA}${COMMON}${APART[name]}`, { baseline });

const TABLES = ["team", "robot", "part", "setting"];
const dump = (site: Site) => TABLES.map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1, 2`));
const conflicts = (site: Site) =>
  site.conflicts
    .map(
      ({ table, key, column, winner, loser }) =>
        `${table} ${key} ${column}: ${JSON.stringify(winner?.value)} over ${JSON.stringify(loser?.value)}`,
    )
    .sort();

/** Equal tables, audits and vectors on all of them, and digests that are those of the rows. */
function expectEqual(...sites: Site[]): void {
  const [first, ...others] = sites as [Site, ...Site[]];
  for (const site of others) {
    expect(site.vector).toBe(first.vector);
    expect(dump(site)).toEqual(dump(first));
    expect(conflicts(site)).toEqual(conflicts(first));
    expect(Buffer.from(site.replica.state().digest)).toEqual(Buffer.from(first.replica.state().digest));
  }
  for (const site of sites) {
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
    const deep = site.replica.digests({ table: "", buckets: [], deep: true }).entries;
    expect(site.replica.digests({ table: "", buckets: [], deep: false }).entries).toEqual(deep);
  }
}

describe("copies of one file that moved apart before they were attached", () => {
  test("rows with the same key are one row, every value is kept, rows of one side are spread", () => {
    const [a, b] = [copy("a", null), copy("b")];
    settle(a, b);
    expectEqual(a, b);
    expect(a.one("SELECT group_concat(id) FROM (SELECT id FROM team ORDER BY id)")).toBe("-7,1,2,3,4,11,9007199254740993");
    expect(a.rows("SELECT label FROM robot ORDER BY id").map(({ label }) => label)).toEqual(["arm", "leg", "hand", "only a", "only b"]);
    expect(a.rows("SELECT robot_id, slot FROM part ORDER BY 1, 2")).toHaveLength(3);
    // Each cell that differed holds one value and keeps the other.
    const both = (table: string, key: string, column: string, values: string[]) =>
      [values, values.toReversed()].map(([won, lost]) => `${table} ${key} ${column}: "${won}" over "${lost}"`);
    const expected = [
      both("part", "1,a", "note", ["screw", "nail"]),
      both("setting", "size", "v", ["S", "XL"]),
      both("team", "1", "city", ["Roma", "Roma Capitale"]),
      both("team", "1", "name", ["one", "uno"]),
    ];
    expect(conflicts(a)).toHaveLength(expected.length);
    conflicts(a).forEach((found, i) => expect(expected[i]).toContain(found));
    for (const { reason } of a.conflicts) expect(reason).toMatch(/nobody knows which is newer/);
  });

  test.each([
    ["ab", "bc", "ca"],
    ["bc", "ab", "ca"],
    ["ca", "ba", "cb"],
    ["cb", "ca", "ba"],
  ])("three copies end equal in whatever order they meet: %s %s %s", (...meetings) => {
    const sites = { a: copy("a", null), b: copy("b"), c: copy("c", null) };
    const at = (name: string | undefined) => sites[name as keyof typeof sites];
    for (const [to, from] of meetings) {
      // Two that were told nothing cannot meet before one of them has met b.
      expect(["nothing was refused", "BASELINE_CHOICE"]).toContain(refusal(() => at(to).pull(at(from))));
    }
    sites.b.pull(sites.a);
    sites.b.pull(sites.c);
    sites.a.pull(sites.b);
    settle(sites.a, sites.b, sites.c);
    expectEqual(sites.a, sites.b, sites.c);
    // Three values of one cell: one in the table, two kept.
    const cities = sites.a.conflicts.filter(({ column }) => column === "city").map(({ loser }) => loser?.value);
    expect(new Set([sites.a.one("SELECT city FROM team WHERE id = 1"), ...cities])).toEqual(new Set(["Rom", "Roma", "Roma Capitale"]));
    // Deleted on c before anyone could know: back.
    expect(sites.c.one("SELECT label FROM robot WHERE id = 3")).toBe("hand");
  });

  test("written to for a while before they meet: later writes win, deletes stay, references follow", () => {
    const [a, b] = [copy("a", null), copy("b")];
    const d = new Site("d", SCHEMA);
    a.edit("UPDATE team SET city = 'Roma!' WHERE id = 1; UPDATE setting SET w = 'edited on a' WHERE k = 'color'", START_US + SECOND_US);
    a.edit("INSERT INTO robot(team_id, label) VALUES(2, 'later on a')", START_US + 2 * SECOND_US);
    a.edit("DELETE FROM part WHERE robot_id = 2; DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id = 4", START_US + 3 * SECOND_US);
    settle(a, d);
    b.edit(
      "INSERT INTO robot(team_id, label) VALUES(1, 'later on b'); UPDATE team SET name = 'due' WHERE id = 2",
      START_US + 4 * SECOND_US,
    );
    b.edit("INSERT INTO part VALUES(3, 'z', 'added on b')", START_US + 5 * SECOND_US);
    settle(a, b, d);
    expectEqual(a, b, d);
    expect(a.one("SELECT city FROM team WHERE id = 1")).toBe("Roma!");
    expect(a.one("SELECT name FROM team WHERE id = 2")).toBe("due");
    expect(a.rows("SELECT label FROM robot WHERE label LIKE 'later%' ORDER BY 1")).toHaveLength(2);
    // Deleted on a after it was attached, so later than whatever b's copy had: gone, and no second row of that name.
    expect(b.rows("SELECT * FROM team WHERE id = 4 OR name = 'four'")).toEqual([]);
    // Robot 2 was deleted on a knowing only a's copy; b's part of it was written apart, so both stay.
    expect(a.rows("SELECT slot FROM part WHERE robot_id = 2")).toEqual([{ slot: "b" }]);
    expect(a.one("SELECT note FROM part WHERE robot_id = 3")).toBe("added on b");
    d.edit("UPDATE team SET city = 'settled' WHERE id = 1", START_US + 9 * SECOND_US);
    settle(a, b, d);
    expectEqual(a, b, d);
    expect(conflicts(b).filter((line) => line.includes("city"))).toEqual([]);
  });

  test("a node that was filled before they were joined follows, and an empty one that comes later", () => {
    const [a, b] = [copy("a", null), copy("b")];
    const early = new Site("early", SCHEMA);
    early.pull(a);
    early.edit("INSERT INTO part VALUES(1, 'early', 'written under the old names')", START_US + SECOND_US);
    settle(a, b);
    settle(a, b, early);
    const late = new Site("late", SCHEMA);
    settle(late, early);
    settle(a, b, early, late);
    expectEqual(a, b, early, late);
    late.edit("UPDATE robot SET label = 'seen by all' WHERE id = 10; DELETE FROM part WHERE slot = 'early'", START_US + 2 * SECOND_US);
    settle(a, b, early, late);
    expectEqual(a, b, early, late);
    expect(b.one("SELECT label FROM robot WHERE id = 10")).toBe("seen by all");
  });

  test("what was joined is known after a restart, and the choice too", () => {
    const [a, b] = [copy("a", null), copy("b")];
    settle(a, b);
    b.options.baseline = null;
    a.restart();
    b.restart();
    b.edit("UPDATE robot SET label = 'after' WHERE id = 1", START_US + SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    const c = copy("c", null);
    settle(b, c);
    settle(a, b, c);
    expectEqual(a, b, c);
  });

  test("a long run of rows, some deleted on one side after it was attached", () => {
    // Nothing refers to a remark: of one that went, nothing but its name in the log is left.
    const many = `${SCHEMA} CREATE TABLE remark(id INTEGER PRIMARY KEY, text TEXT);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO team SELECT i, 'team ' || i, '' FROM n;
      INSERT INTO remark SELECT id, name FROM team;`;
    const [a, b] = [new Site("a", many), new Site("b", `${many} UPDATE team SET city = 'Rome' WHERE id = 30`, { baseline: "shared" })];
    a.edit("DELETE FROM team WHERE id IN (7, 40); DELETE FROM remark WHERE id IN (7, 40)", START_US + SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    expect(a.rows("SELECT count(*) AS rows, count(DISTINCT name) AS names FROM team")).toEqual([{ rows: 58, names: 58 }]);
    for (const site of [a, b])
      expect(site.rows("SELECT count(*) AS rows, count(DISTINCT text) AS texts FROM remark")).toEqual([{ rows: 58, texts: 58 }]);
    expect(conflicts(a)).toHaveLength(1);
  });

  test("batches of one change each, from both sides at once", () => {
    const [a, b] = [copy("a", null), copy("b")];
    for (let i = 0; i < 60; i++) {
      a.pull(b, { batchSize: 1, batches: 1 });
      b.pull(a, { batchSize: 1, batches: 1 });
    }
    settle(a, b);
    expectEqual(a, b);
  });
});

describe("what was not said is not done", () => {
  test("nobody said: refused both ways, nothing changes", () => {
    const [a, b] = [copy("a", null), copy("b", null)];
    const before = dump(a);
    expect(refusal(() => a.pull(b))).toBe("BASELINE_CHOICE");
    expect(refusal(() => b.pull(a))).toBe("BASELINE_CHOICE");
    expect(dump(a)).toEqual(before);
  });

  test("one says shared and the other distinct: refused", () => {
    const [a, b] = [copy("a", "distinct"), copy("b")];
    expect(refusal(() => a.pull(b))).toBe("BASELINE_CHOICE");
    expect(refusal(() => b.pull(a))).toBe("BASELINE_CHOICE");
  });

  test("joined as distinct at one node, as shared at another: refused instead of guessed", () => {
    const [a, b] = [copy("a", null), copy("b", null)];
    const x = new Site("x", SCHEMA, { baseline: "distinct" });
    x.pull(a);
    x.pull(b);
    b.options.baseline = "shared";
    b.restart();
    settle(a, b);
    const before = dump(x);
    expect(refusal(() => x.pull(a))).toBe("BASELINE_CHOICE");
    expect(dump(x)).toEqual(before);
  });

  test("shared with one and distinct from another", () => {
    const [a, b, c] = [copy("a", "distinct"), copy("b", null), copy("c", null)];
    settle(a, b);
    c.options.baseline = "shared";
    c.restart();
    settle(b, c);
    settle(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT * FROM team WHERE name = 'two'")).toHaveLength(2);
  });

  test("distinct: every row exists twice", () => {
    const [a, b] = [copy("a", "distinct"), copy("b", null)];
    settle(a, b);
    expect(a.rows("SELECT * FROM team WHERE name IN ('two', 'three')")).toHaveLength(4);
    expectEqual(a, b);
  });

  test("copies of equal content need no word, and are no conflict", () => {
    const [a, b] = [new Site("a", `${SCHEMA}${COMMON}`), new Site("b", `${SCHEMA}${COMMON}`, { baseline: "shared" })];
    settle(a, b);
    expectEqual(a, b);
    expect(a.conflicts).toEqual([]);
    expect(a.rows("SELECT * FROM _scoutsync_alias")).toEqual([]);
  });
});

describe("a column that was there in some copies when they were attached, and came in one of them later", () => {
  const ROWS = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE word(k TEXT PRIMARY KEY, v TEXT);`;
  const FILLED = `${ROWS} INSERT INTO team VALUES(1, 'one'), (2, 'two'); INSERT INTO word VALUES('a', 'b');`;
  const MARK = "ALTER TABLE team ADD COLUMN mark TEXT DEFAULT 'none'; ALTER TABLE word ADD COLUMN mark TEXT DEFAULT 'none';";
  const marks = (site: Site) =>
    site.rows("SELECT 'team' AS t, id, mark FROM team UNION ALL SELECT 'word', k, mark FROM word ORDER BY 1, 2");
  /** A copy without the column has another row more. */
  const marked = (name: string, mark: string | null) => {
    const apart =
      mark === null ? "INSERT INTO team VALUES(10, 'ten')" : `${MARK} UPDATE team SET mark = '${mark}'; UPDATE word SET mark = '${mark}'`;
    return new Site(name, `${FILLED} ${apart}`, { baseline: "shared" });
  };
  const expectMarks = (site: Site, of: Site) => {
    expect(marks(site)).toEqual(marks(of));
    expect(conflicts(site)).toEqual(conflicts(of));
    expect(Buffer.from(site.replica.state().digest)).toEqual(Buffer.from(of.replica.state().digest));
  };

  // Of two births the greater origin's is told, which may be the one that was made without the column.
  test.each(["a", "b"])("has its values on a node that is filled by either of two: %s had it", (first) => {
    const sites = ["a", "b"].map((name) => marked(name, name === first ? "x" : null)) as [Site, Site];
    settle(...sites);
    for (const site of sites) if (site.name !== first) site.edit(MARK);
    settle(...sites);
    expect(sites[0].one("SELECT mark FROM team WHERE id = 1")).toBe("x");
    for (const from of sites) {
      const fresh = new Site(`filled by ${from.name}`, `${ROWS} ${MARK}`);
      fresh.pull(from);
      expectMarks(fresh, sites[0]);
    }
  });

  test.each(["abc", "acb", "bac", "bca", "cab", "cba"])("has equal values on three: of %s the first lacked it", (names) => {
    const [lacks, x, y] = [marked(names[0]!, null), marked(names[1]!, "x"), marked(names[2]!, "y")];
    settle(lacks, x);
    lacks.edit(MARK);
    settle(lacks, y);
    settle(lacks, x, y);
    for (const site of [x, y]) expectMarks(site, lacks);
  });
});
