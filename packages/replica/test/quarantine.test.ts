import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, type SiteOptions } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, label TEXT);
  CREATE TABLE word(k TEXT PRIMARY KEY COLLATE NOCASE, line TEXT);
  CREATE TABLE said(id INTEGER PRIMARY KEY, word TEXT REFERENCES word(k) ON DELETE CASCADE);
  CREATE TABLE quiet(id INTEGER PRIMARY KEY, x)`;

const numbers = (count: number) => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
const FILL = `
  ${numbers(300)} INSERT INTO team SELECT i, 'team ' || i, i FROM n;
  ${numbers(600)} INSERT INTO robot SELECT i, 1 + i % 300, 'robot ' || i FROM n;
  ${numbers(300)} INSERT INTO word SELECT 'Word' || i, 'line' FROM n;
  INSERT INTO quiet VALUES(1, 'x')`;

function pair(options: SiteOptions = {}): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA, options), new Site("b", SCHEMA)];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  a.edit(FILL);
  settle(a, b);
  return [a, b];
}

const kept = (site: Site) => site.replica.reviews({ kind: "quarantine", id: "", limit: 0 });
const count = (site: Site, table: string) => site.one(`SELECT count(*) FROM ${table}`);
const dump = (site: Site) => ["team", "robot", "word", "said", "quiet"].map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1`));

function decide(site: Site, decision: "release" | "undo"): void {
  const [review] = kept(site);
  expect(site.replica.resolve({ id: review?.id ?? "", keep: "", set: [], decision }).resolved).toBe(true);
}

/** Tables are equal, digests agree, and stored hashes are those of the rows. */
function expectEqual(a: Site, b: Site): void {
  settle(a, b);
  expect(dump(a)).toEqual(dump(b));
  expectVerified(a, b);
}

function expectVerified(a: Site, b: Site): void {
  expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  for (const site of [a, b]) {
    const [stored, deep] = [false, true].map((isDeep) => site.replica.digests({ table: "", buckets: [], deep: isDeep }).entries);
    expect(stored).toEqual(deep);
  }
}

describe("a delete of most of a table at once", () => {
  test("is kept back with its cascades: others keep their rows, and a review says what happened", () => {
    const [a, b] = pair();
    const before = dump(b);
    a.edit("DELETE FROM team WHERE id > 100");
    settle(a, b);
    expect(count(a, "team")).toBe(100);
    expect(dump(b)).toEqual(before);
    const [review, ...more] = kept(a);
    expect(more).toEqual([]);
    expect(review).toMatchObject({ kind: "quarantine", table: "robot", resolved: false });
    expect(review?.reason).toContain('200 of 300 rows of "team" (66 %)');
    expect(review?.reason).toContain('rows of "robot"');
    expectVerified(a, b);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("is decided otherwise than a conflict, which neither is released nor undone: the loser took its place", () => {
    const [a, b] = pair();
    a.edit("UPDATE team SET name = 'of a' WHERE id = 1", a.nowUs + SECOND_US);
    b.edit("UPDATE team SET name = 'of b' WHERE id = 1", a.nowUs + SECOND_US);
    settle(a, b);
    const open = a.conflicts;
    for (const decision of ["release", "undo"] as const) {
      const decideConflict = () => a.replica.resolve({ id: open[0]!.id, keep: "", set: [], decision });
      expect(decideConflict).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", action: expect.stringContaining("--keep winner") }),
      );
    }
    expect(a.one("SELECT name FROM team WHERE id = 1")).toBe("of b");
    expect(a.conflicts).toEqual(open);
  });

  test("is undone: every row is back as it was, and nothing travels", () => {
    const [a, b] = pair();
    const before = dump(b);
    a.edit("DELETE FROM team");
    a.edit("DELETE FROM word");
    settle(a, b);
    const vector = a.vector;
    decide(a, "undo");
    decide(a, "undo");
    expect(dump(a)).toEqual(before);
    expect(a.vector).toBe(vector);
    expect(kept(a)).toEqual([]);
    expect(a.rows("PRAGMA foreign_key_check")).toEqual([]);
    expectEqual(a, b);
  });

  test("is let go: the rows are gone everywhere", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team WHERE id > 100; DELETE FROM word");
    settle(a, b);
    decide(a, "release");
    expect(kept(a)).toEqual([]);
    expectEqual(a, b);
    expect([count(b, "team"), count(b, "word")]).toEqual([100, 0]);
    expect(b.one("SELECT count(*) FROM robot WHERE team_id > 100")).toBe(0);
    b.edit("INSERT INTO team VALUES(150, 'new', 1)");
    expectEqual(a, b);
  });

  test("is one all the same when the drain takes it in turns, and after a restart in between", () => {
    const [a, b] = pair({ turnMs: 0 });
    const before = dump(b);
    a.edit(`${numbers(3_000)} INSERT INTO quiet SELECT i + 1, 'x' FROM n`);
    settle(a, b);
    a.write("DELETE FROM quiet");
    expect(a.replica.drainTurn()).toBe(false);
    a.replaceFile(a.backup());
    settle(a, b);
    expect([count(a, "quiet"), count(b, "quiet")]).toEqual([0, 3_001]);
    expect(kept(a)).toHaveLength(1);
    a.restart();
    decide(a, "undo");
    expect(dump(b).slice(0, 3)).toEqual(before.slice(0, 3));
    expectEqual(a, b);
    expect(count(a, "quiet")).toBe(3_001);
  });

  test("below the limits, or with none, is an ordinary delete", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team WHERE id > 160; DELETE FROM quiet");
    settle(a, b);
    expect(kept(a)).toEqual([]);
    expect([count(b, "team"), count(b, "quiet")]).toEqual([160, 0]);
    const [c, d] = pair({ quarantine: null });
    c.edit("DELETE FROM team");
    settle(c, d);
    expect([kept(c), count(d, "team")]).toEqual([[], 0]);
  });
});

describe("rows that are kept back", () => {
  test("and inserted again in the same transaction are the rows they were: only what differs is an edit", () => {
    const [a, b] = pair();
    b.edit("UPDATE team SET rank = 1000 WHERE id = 7", b.nowUs + SECOND_US);
    const { vector } = a;
    a.app.pragma("foreign_keys = OFF");
    const copy = (table: string) =>
      `CREATE TEMP TABLE copy_${table} AS SELECT * FROM ${table}; DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM copy_${table}`;
    a.edit(
      `BEGIN; ${copy("team")}; ${copy("word")}; UPDATE team SET name = 'edited' WHERE id = 5; UPDATE word SET line = 'edited' WHERE k = 'word9'; COMMIT`,
    );
    expect(kept(a)).toEqual([]);
    expect(a.vector).not.toBe(vector);
    expect(a.one("SELECT max(sequence) FROM _scoutsync_log")).toBeLessThan(1_300);
    expectEqual(a, b);
    expect(a.rows("SELECT id, name, rank FROM team WHERE id IN (5, 7)")).toEqual([
      { id: 5, name: "edited", rank: 5 },
      { id: 7, name: "team 7", rank: 1000 },
    ]);
    expect(b.rows("SELECT line FROM word WHERE k = 'word9'")).toEqual([{ line: "edited" }]);
  });

  test("and inserted again later leave the quarantine", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM word");
    settle(a, b);
    a.edit(`${numbers(299)} INSERT INTO word SELECT 'WORD' || i, 'line' FROM n`);
    settle(a, b);
    expect(kept(a)[0]?.reason).toContain("1 of 300 rows");
    a.edit("INSERT INTO word VALUES('Word300', 'changed')");
    expect(kept(a)).toEqual([]);
    expect(a.replica.state().keptBack).toBe(0);
    expectEqual(a, b);
    expect(b.rows("SELECT line FROM word WHERE k = 'word300'")).toEqual([{ line: "changed" }]);
    expect(count(b, "word")).toBe(300);
  });

  test("take what others write: it is not lost, and does not bring them back by halves", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team");
    b.edit("UPDATE team SET name = 'edited' WHERE id = 3; DELETE FROM team WHERE id = 4", b.nowUs + SECOND_US);
    settle(a, b);
    expect(count(a, "team")).toBe(0);
    expectVerified(a, b);
    decide(a, "undo");
    expectEqual(a, b);
    expect(a.rows("SELECT id, name FROM team WHERE id IN (3, 4)")).toEqual([{ id: 3, name: "edited" }]);
  });

  test("take what others write, and who inserts them again has not seen that: it is a conflict for a person", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team; DELETE FROM word");
    b.edit("UPDATE team SET name = 'of b' WHERE id = 1; UPDATE word SET line = 'of b' WHERE k = 'Word1'", b.nowUs + SECOND_US);
    settle(a, b);
    a.edit("INSERT INTO team(name) VALUES('new'); INSERT INTO word VALUES('Word1', 'new')", a.nowUs + 2 * SECOND_US);
    settle(a, b);
    const again = { winner: { value: "new" }, loser: { value: "of b" } };
    for (const site of [a, b]) {
      expect(site.rows("SELECT name FROM team WHERE id = 1 UNION ALL SELECT line FROM word WHERE k = 'Word1'")).toEqual([
        { name: "new" },
        { name: "new" },
      ]);
      const lost = site.conflicts.filter(({ column }) => column === "name" || column === "line");
      expect(lost.toSorted((one, other) => one.table.localeCompare(other.table))).toMatchObject([
        { table: "team", ...again },
        { table: "word", ...again },
      ]);
    }
    expectVerified(a, b);
  });

  test("that others edited meanwhile stay when the delete is let go, as an edit after a delete always does", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM word");
    b.edit("UPDATE word SET line = 'edited' WHERE k = 'word3'", b.nowUs + SECOND_US);
    settle(a, b);
    decide(a, "release");
    expectEqual(a, b);
    expect(b.rows("SELECT * FROM word")).toEqual([{ k: "Word3", line: "edited" }]);
  });

  test("that rows of others refer to since stay when the delete is let go, with what those refer to: such rows lost their parent", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM word; DELETE FROM team");
    a.edit("PRAGMA foreign_keys = OFF; INSERT INTO robot VALUES(2000, 9, 'of a'); PRAGMA foreign_keys = ON");
    b.edit(
      "INSERT INTO robot VALUES(1000, 3, 'of b'); UPDATE robot SET label = 'edited' WHERE id = 4; INSERT INTO said VALUES(1, 'word3')",
      b.nowUs + SECOND_US,
    );
    settle(a, b);
    expect(kept(a)).toHaveLength(1);
    decide(a, "release");
    expectEqual(a, b);
    expect(b.rows("SELECT id FROM team ORDER BY id")).toEqual([{ id: 3 }, { id: 5 }, { id: 9 }]);
    expect(b.rows("SELECT id, label FROM robot ORDER BY id")).toEqual([
      { id: 4, label: "edited" },
      { id: 1000, label: "of b" },
      { id: 2000, label: "of a" },
    ]);
    expect(b.rows("SELECT k, said.word FROM word LEFT JOIN said ON k = word")).toEqual([{ k: "Word3", word: "word3" }]);
    for (const site of [a, b]) expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  });

  test("are served to a node that has nothing, and new rows of others find their integers taken", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team WHERE id > 10");
    b.edit("INSERT INTO team VALUES(301, 'from b', 1)");
    const c = new Site("c", SCHEMA);
    c.edit("INSERT INTO team VALUES(200, 'from c', 1)", c.nowUs + SECOND_US);
    c.pull(a);
    expect(count(c, "team")).toBe(301);
    settle(a, b, c);
    expect(a.rows("SELECT name FROM team WHERE id > 10 ORDER BY name")).toEqual([{ name: "from b" }, { name: "from c" }]);
    decide(a, "undo");
    settle(a, b, c);
    expect(dump(a)).toEqual(dump(b));
    expect(dump(c)).toEqual(dump(b));
    expect(count(a, "team")).toBe(302);
  });

  test("have edits that no drain had seen: those travel", () => {
    const [a, b] = pair();
    a.edit("BEGIN; UPDATE word SET line = 'last words' WHERE k = 'word8'; DELETE FROM word; COMMIT");
    settle(a, b);
    expect(b.rows("SELECT line FROM word WHERE k = 'word8'")).toEqual([{ line: "last words" }]);
    expect(count(a, "word")).toBe(0);
    decide(a, "undo");
    expectEqual(a, b);
  });

  test("live through a migration of their table", () => {
    const [a, b] = pair();
    a.edit("DELETE FROM team WHERE id > 50");
    for (const site of [a, b]) site.edit("ALTER TABLE team ADD COLUMN motto TEXT DEFAULT 'none'");
    settle(a, b);
    expect([count(a, "team"), count(b, "team")]).toEqual([50, 300]);
    expectVerified(a, b);
    decide(a, "undo");
    expectEqual(a, b);
    expect(a.one("SELECT motto FROM team WHERE id = 51")).toBe("none");
  });

  test("whose keys only changed are let go by themselves", () => {
    const [a, b] = pair();
    a.app.pragma("foreign_keys = OFF");
    a.edit("UPDATE word SET k = k || '!'");
    expect(kept(a)).toEqual([]);
    expectEqual(a, b);
    expect(b.one("SELECT count(*) FROM word WHERE k LIKE '%!'")).toBe(300);
    expect(count(b, "word")).toBe(300);
  });
});

test("a rebuild with foreign keys on, which cascades: the children are kept back and come back by one command", () => {
  const [a, b] = pair();
  const before = b.rows("SELECT * FROM robot ORDER BY id");
  a.edit(`BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER); INSERT INTO n SELECT * FROM team;
    DROP TABLE team; ALTER TABLE n RENAME TO team; COMMIT`);
  settle(a, b);
  expect([count(a, "team"), count(a, "robot")]).toEqual([300, 0]);
  expect(b.rows("SELECT * FROM robot ORDER BY id")).toEqual(before);
  expect(kept(a)[0]?.reason).toContain('600 of 600 rows of "robot" (100 %)');
  decide(a, "undo");
  expectEqual(a, b);
  expect(a.rows("SELECT * FROM robot ORDER BY id")).toEqual(before);
});

test.each(["old TEXT, ", ""])("what is inserted again by a migration leaves what was kept back in the history, where it has %s", (old) => {
  const [a, b] = ["a", "b"].map(
    (name) => new Site(name, "CREATE TABLE item(id INTEGER PRIMARY KEY, old TEXT, name TEXT)", { quarantine: { rows: 2, share: 0.5 } }),
  ) as [Site, Site];
  a.edit("INSERT INTO item VALUES(1, 'x', 'one'), (2, 'x', 'two'), (3, 'x', 'three')");
  settle(a, b);
  a.edit("UPDATE item SET name = name || ' typed'", a.nowUs + SECOND_US);
  a.edit("DELETE FROM item", a.nowUs + SECOND_US);
  a.edit(
    `BEGIN; DROP TABLE item; CREATE TABLE item(id INTEGER PRIMARY KEY, ${old}name TEXT);
     INSERT INTO item(id, name) VALUES(1, 'brought'), (2, 'two typed'); COMMIT`,
    a.nowUs + SECOND_US,
  );
  for (const site of [a, b]) site.nowUs += 20 * SECOND_US;
  settle(a, b);
  decide(a, "undo");
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT id, name FROM item ORDER BY id"), site.name).toEqual([
      { id: 1, name: "brought" },
      { id: 2, name: "two typed" },
      { id: 3, name: "three typed" },
    ]);
    const closed = site.replica.history("item", "1").filter(({ operation }) => operation === "closed");
    expect(
      closed.map(({ column, value }) => [column, value]),
      site.name,
    ).toContainEqual(["name", "one typed"]);
  }
});

test("that come back have their parent again, where another node deleted it meanwhile and did not know of them", () => {
  const [a, b] = pair();
  a.edit("INSERT INTO robot VALUES(1000, 3, 'unknown to b'); INSERT INTO said VALUES(1, 'Word5')");
  a.edit("DELETE FROM team; DELETE FROM word");
  b.edit("DELETE FROM team WHERE id = 3; DELETE FROM word WHERE k = 'Word5'", b.nowUs + SECOND_US);
  settle(a, b);
  // Kept for them everywhere, though they are in no table of a.
  expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  decide(a, "undo");
  expectEqual(a, b);
  expect(a.rows("SELECT robot.id, team.name FROM robot JOIN team ON team.id = team_id WHERE team_id = 3")).toEqual([
    { id: 1000, name: "team 3" },
  ]);
  expect(a.rows("SELECT said.id, line FROM said JOIN word ON k = word")).toEqual([{ id: 1, line: "line" }]);
  for (const site of [a, b]) expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
});

test.each(["undo", "release"] as const)("with a parent that was only kept for them are not left without it: --%s", (decision) => {
  const [a, b] = pair();
  a.edit("INSERT INTO robot VALUES(1000, 3, 'unknown to b')");
  b.edit("DELETE FROM team WHERE id = 3", b.nowUs + SECOND_US);
  a.pull(b);
  expect(count(a, "team")).toBe(300);
  a.edit("DELETE FROM team", a.nowUs + 2 * SECOND_US);
  settle(a, b);
  expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  decide(a, decision);
  expectEqual(a, b);
  for (const site of [a, b]) {
    expect(count(site, "team")).toBe(decision === "undo" ? 300 : 0);
    expect(site.rows("SELECT label FROM robot WHERE team_id = 3")).toEqual(decision === "undo" ? [{ label: "unknown to b" }] : []);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
});

test("that come back have their parents again that another mass delete took: their author knew of them", () => {
  const schema = `
    CREATE TABLE team(id INTEGER PRIMARY KEY, name);
    CREATE TABLE match(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE);
    CREATE TABLE tag(k TEXT PRIMARY KEY);
    CREATE TABLE marked(match_id INTEGER REFERENCES match(id) ON DELETE CASCADE, tag TEXT REFERENCES tag(k) ON DELETE CASCADE, note, PRIMARY KEY(match_id, tag))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  a.edit(`${numbers(300)} INSERT INTO team SELECT i, 'team ' || i FROM n; INSERT INTO match SELECT id, id FROM team`);
  a.edit(
    `${numbers(200)} INSERT INTO tag SELECT 'tag ' || i FROM n; INSERT INTO marked SELECT id, 'tag ' || id, id FROM match WHERE id <= 200`,
  );
  settle(a, b);
  a.edit("DELETE FROM tag");
  settle(a, b);
  a.edit("DELETE FROM team");
  settle(a, b);
  expect(kept(a)).toHaveLength(2);
  decide(a, "undo");
  settle(a, b);
  expect(a.rows("PRAGMA foreign_key_check")).toEqual([]);
  decide(a, "release");
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
    expect(
      site.one("SELECT count(*) FROM marked JOIN match ON match.id = match_id JOIN team ON team.id = team_id JOIN tag ON k = tag"),
    ).toBe(200);
    expect(count(site, "team")).toBe(200);
  }
  expectVerified(a, b);
});

test.each(["by its node", "by another"])(
  "that come back have their parent again that was deleted alone meanwhile, %s, with what that refers to",
  (by) => {
    const schema = `
    CREATE TABLE club(id INTEGER PRIMARY KEY, name);
    CREATE TABLE team(id INTEGER PRIMARY KEY, club_id INTEGER NOT NULL REFERENCES club(id), name);
    CREATE TABLE match(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id))`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
    a.edit(`${numbers(300)} INSERT INTO club SELECT i, 'club ' || i FROM n; INSERT INTO team SELECT id, id, 'team ' || id FROM club`);
    a.edit("INSERT INTO match SELECT id, id FROM team");
    settle(a, b);
    a.edit("DELETE FROM match");
    if (by === "by another") {
      settle(a, b);
      b.edit("DELETE FROM match WHERE id = 3");
      settle(a, b);
    }
    (by === "by another" ? b : a).edit("DELETE FROM team WHERE id = 3; DELETE FROM club WHERE id = 3");
    settle(a, b);
    decide(a, "undo");
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("PRAGMA foreign_key_check"), site.name).toEqual([]);
      const rows = site.rows(
        "SELECT team.name AS team, club.name AS club FROM match JOIN team ON team.id = team_id JOIN club ON club.id = club_id WHERE match.id = 3",
      );
      expect(rows, site.name).toEqual(by === "by another" ? [] : [{ team: "team 3", club: "club 3" }]);
    }
    expectVerified(a, b);
  },
);

test("stay, let go, where a row of another names them that its UNIQUE value kept out of its table: it was left without them", () => {
  const schema = `
    CREATE TABLE team(id INTEGER PRIMARY KEY, name);
    CREATE TABLE match(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, code UNIQUE)`;
  const [a, b] = [new Site("a", schema, { park: ["*"] }), new Site("b", schema, { park: ["*"] })];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  a.edit(`${numbers(300)} INSERT INTO team SELECT i, 'team ' || i FROM n`);
  settle(a, b);
  a.edit("INSERT INTO match VALUES(1, 1, 'x')", a.nowUs + SECOND_US);
  b.edit("INSERT INTO match VALUES(2, 2, 'x')", b.nowUs + 2 * SECOND_US);
  settle(a, b);
  expect(a.rows("SELECT id FROM match")).toEqual([{ id: 1 }]);
  a.edit("DELETE FROM team", a.nowUs + SECOND_US);
  b.edit("INSERT INTO match VALUES(3, 3, 'y')", b.nowUs + SECOND_US);
  settle(a, b);
  expect(a.rows("SELECT id FROM match WHERE id < 3")).toEqual([{ id: 2 }]);
  decide(a, "release");
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("PRAGMA foreign_key_check"), site.name).toEqual([]);
    expect(site.rows("SELECT match.id, name FROM match JOIN team ON team.id = team_id WHERE match.id = 2"), site.name).toEqual([
      { id: 2, name: "team 2" },
    ]);
    expect(count(site, "team")).toBe(2);
  }
  expectVerified(a, b);
});

test("whose key names a row that gets another integer meanwhile reach others, and are as before when they come back", () => {
  const schema = `
    CREATE TABLE match(id INTEGER PRIMARY KEY, name);
    CREATE TABLE tag(k TEXT PRIMARY KEY);
    CREATE TABLE marked(match_id INTEGER REFERENCES match(id), tag TEXT REFERENCES tag(k) ON DELETE CASCADE, note, PRIMARY KEY(match_id, tag))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  b.edit("INSERT INTO match VALUES(1, 'of b')");
  a.edit(`${numbers(200)} INSERT INTO match SELECT i, 'of a' FROM n`, a.nowUs + SECOND_US);
  a.edit("INSERT INTO tag SELECT 'tag ' || id FROM match; INSERT INTO marked SELECT id, 'tag ' || id, 'note ' || id FROM match");
  a.edit("DELETE FROM tag");
  settle(a, b);
  const marks = (site: Site) => site.rows("SELECT name, note FROM marked JOIN match ON match.id = match_id WHERE tag = 'tag 1'");
  expect(marks(b)).toEqual([{ name: "of a", note: "note 1" }]);
  decide(a, "undo");
  settle(a, b);
  a.edit("UPDATE marked SET note = 'edited' WHERE tag = 'tag 1'", a.nowUs + 2 * SECOND_US);
  settle(a, b);
  for (const site of [a, b]) {
    expect(marks(site)).toEqual([{ name: "of a", note: "edited" }]);
    expect(count(site, "marked")).toBe(200);
  }
  expectVerified(a, b);
});

test.each(["undo", "release"] as const)("whose parent lost its UNIQUE value meanwhile come back with it: --%s", (decision) => {
  const schema = `
    CREATE TABLE team(id INTEGER PRIMARY KEY, num UNIQUE);
    CREATE TABLE match(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, note);
    CREATE TABLE score(match_id INTEGER PRIMARY KEY REFERENCES match(id) ON DELETE CASCADE, points)`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  a.edit(`${numbers(200)} INSERT INTO team SELECT i, i FROM n`);
  a.edit(`${numbers(200)} INSERT INTO match SELECT i, i, 'match ' || i FROM n; INSERT INTO score SELECT id, 0 FROM match`);
  settle(a, b);
  a.edit("DELETE FROM team WHERE id <= 150");
  a.edit("INSERT INTO team VALUES(1000, 41); INSERT INTO match VALUES(1000, 1000, 'of the other 41')");
  b.edit("UPDATE match SET note = 'edited' WHERE id = 41; UPDATE score SET points = 9 WHERE match_id = 41", b.nowUs + SECOND_US);
  settle(a, b);
  decide(a, decision);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.one("SELECT count(*) FROM team")).toBe(decision === "undo" ? 200 : 51);
    expect(
      site.rows("SELECT team.id, note, points FROM team JOIN match ON team_id = team.id JOIN score ON match_id = match.id WHERE num = 41"),
    ).toEqual([{ id: 41, note: "edited", points: 9 }]);
    expect(site.replica.reviews({ kind: "parked", id: "", limit: 0 })).toHaveLength(2);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
  // The other one waits, with what refers to it, until there is room.
  b.edit("UPDATE team SET num = 4100 WHERE id = 41", b.nowUs + 2 * SECOND_US);
  settle(a, b);
  for (const site of [a, b])
    expect(site.rows("SELECT note FROM match JOIN team ON team_id = team.id WHERE num = 41")).toEqual([{ note: "of the other 41" }]);
  expectVerified(a, b);
});

test("whose parent waits for a place when the delete is let go wait with it, and stop nothing", () => {
  const schema = `
    CREATE TABLE team(id INTEGER PRIMARY KEY, num UNIQUE);
    CREATE TABLE match(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id));
    CREATE TABLE score(team_id INTEGER REFERENCES team(id), round TEXT, points, PRIMARY KEY(team_id, round))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  for (const site of [a, b]) site.app.pragma("foreign_keys = ON");
  a.edit(`${numbers(200)} INSERT INTO team SELECT i, i FROM n`);
  a.edit("INSERT INTO match SELECT id, id FROM team; INSERT INTO score SELECT id, 'first', 0 FROM team");
  settle(a, b);
  a.edit("DELETE FROM match; DELETE FROM score");
  a.edit("UPDATE team SET num = 777 WHERE id = 5");
  b.edit("UPDATE team SET num = 777 WHERE id = 1", b.nowUs + SECOND_US);
  settle(a, b);
  decide(a, "release");
  expect(kept(a)).toEqual([]);
  settle(a, b);
  for (const site of [a, b]) {
    expect([count(site, "team"), count(site, "match"), count(site, "score")]).toEqual([199, 0, 0]);
    expect(site.replica.reviews({ kind: "parked", id: "", limit: 0 })).toHaveLength(3);
  }
  b.edit("UPDATE team SET num = 1 WHERE id = 1", b.nowUs + 2 * SECOND_US);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT team_id, points FROM match JOIN score USING(team_id)")).toEqual([{ team_id: 5, points: 0 }]);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
  expectVerified(a, b);
});

test.each(["undo", "release"] as const)(
  "whose integers are given out again leave what they held in the history, where that differs, and no conflicts: --%s",
  (decision) => {
    const [a, b] = pair();
    b.edit("UPDATE word SET line = 'of the other' WHERE k = 'Word7'", b.nowUs + SECOND_US);
    settle(a, b);
    a.edit("DELETE FROM team; DELETE FROM word");
    settle(a, b);
    // An import from 1 on: of every second row nothing differs.
    a.edit(
      `${numbers(200)} INSERT INTO team SELECT i, iif(i % 2, 'new ', 'team ') || i, i FROM n; INSERT INTO word VALUES('Word7', 'new')`,
    );
    settle(a, b);
    decide(a, decision);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.replica.reviews({ kind: "", id: "", limit: 0 })).toEqual([]);
      const left = (table: string, key: string) =>
        site.replica.history(table, key).flatMap(({ operation, column, value }) => (operation === "closed" ? [[column, value]] : []));
      expect(Array.from({ length: 200 }, (_, i) => left("team", String(i + 1)))).toEqual(
        Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? [["name", `team ${i + 1}`]] : [])),
      );
      expect(left("word", "Word7")).toEqual([["line", "of the other"]]);
      expect([count(site, "team"), count(site, "word")]).toEqual(decision === "undo" ? [300, 300] : [200, 1]);
    }
    expectEqual(a, b);
  },
);
