import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE visit(team_id INTEGER REFERENCES team(id), line TEXT, n);
  CREATE TABLE seat(room TEXT, place TEXT, who TEXT, PRIMARY KEY(room, place));`;

/** What was in the one file before it was copied. */
const COMMON = `
  INSERT INTO team VALUES(1, 'one'), (2, 'two');
  INSERT INTO visit VALUES(1, 'x', 1), (1, 'x', 1), (1, 'x', 1), (2, 'x', 1), (NULL, 'lonely', NULL), (2, 'y', 2.5);
  INSERT INTO seat VALUES('a', '1', 'somebody'), (NULL, '1', 'nobody'), (NULL, '1', 'nobody'), (NULL, NULL, 'nothing');`;

/** What each copy had done to it before it was attached. */
const APART = {
  a: `INSERT INTO visit VALUES(1, 'x', 1), (2, 'only a', 0); DELETE FROM seat WHERE who = 'nothing'`,
  b: `DELETE FROM visit WHERE rowid = 1; DELETE FROM visit WHERE line = 'y'; INSERT INTO visit VALUES(2, 'only b', 0), (2, 'only b', 0);
    INSERT INTO seat VALUES(NULL, '1', 'nobody')`,
  c: `UPDATE visit SET n = 9 WHERE line = 'lonely'; DELETE FROM visit WHERE line = 'x' AND team_id = 1; INSERT INTO visit VALUES(2, 'only b', 0)`,
};

type Name = keyof typeof APART;

/** Of equal rows as many as the copy has that has most of them. */
const UNION = {
  visit: [
    ["[1,'x',1]", 4],
    ["[2,'only a',0]", 1],
    ["[2,'only b',0]", 2],
    ["[2,'x',1]", 1],
    ["[2,'y',2.5]", 1],
    ["[NULL,'lonely',9]", 1],
    ["[NULL,'lonely',NULL]", 1],
  ],
  seat: [
    ["['a','1','somebody']", 1],
    ["[NULL,'1','nobody']", 3],
    ["[NULL,NULL,'nothing']", 1],
  ],
};

const copy = (name: Name, baseline: "shared" | "distinct" | null = "shared") =>
  new Site(name, `${SCHEMA}${COMMON}${APART[name]}`, { baseline });

/** Rows as text with how often each is there. */
function bag(site: Site, table: "visit" | "seat"): unknown[] {
  const columns = table === "visit" ? ["team_id", "line", "n"] : ["room", "place", "who"];
  const text = `'[' || ${columns.map((name) => `quote(${name})`).join(" || ',' || ")} || ']'`;
  return site.app.prepare(`SELECT ${text}, count(*) FROM ${table} GROUP BY 1 ORDER BY 1`).raw(true).all();
}

/** Equal rows, audits and vectors on all of them, and digests that are those of the rows. */
function expectEqual(...sites: Site[]): void {
  const [first, ...others] = sites as [Site, ...Site[]];
  const reviews = (site: Site) =>
    site.replica.reviews({ kind: "", id: "", limit: 1000 }).map(({ kind, table, key }) => `${kind} ${table} ${key}`);
  for (const site of others) {
    expect(site.vector).toBe(first.vector);
    for (const table of ["visit", "seat"] as const) expect(bag(site, table)).toEqual(bag(first, table));
    expect(reviews(site).sort()).toEqual(reviews(first).sort());
    expect(Buffer.from(site.replica.state().digest)).toEqual(Buffer.from(first.replica.state().digest));
  }
  for (const site of sites) {
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
    const deep = site.replica.digests({ table: "", buckets: [], deep: true }).entries;
    expect(site.replica.digests({ table: "", buckets: [], deep: false }).entries).toEqual(deep);
  }
}

describe("rows without a key in copies of one file that are joined as shared", () => {
  test.each([
    ["ab", "bc", "ca"],
    ["bc", "ab", "ca"],
    ["cb", "ca", "ba"],
    ["ca", "ba", "cb"],
  ])("are as many as the copy has that has most of them, in whatever order copies meet: %s %s %s", (...meetings) => {
    const sites = { a: copy("a", null), b: copy("b"), c: copy("c", null), d: new Site("d", SCHEMA) };
    const at = (name: string | undefined) => sites[name as keyof typeof sites];
    // An empty node that was filled by a copy before that met another knows its rows by the name they had there alone.
    settle(sites.c, sites.d);
    for (const [to, from] of meetings) expect(["nothing was refused", "BASELINE_CHOICE"]).toContain(refusal(() => at(to).pull(at(from))));
    sites.b.pull(sites.a);
    sites.b.pull(sites.c);
    sites.a.pull(sites.b);
    settle(sites.d, sites.c, sites.b, sites.a);
    expectEqual(sites.a, sites.b, sites.c, sites.d);
    expect(bag(sites.d, "visit")).toEqual(UNION.visit);
    expect(bag(sites.d, "seat")).toEqual(UNION.seat);
    // None of them is a conflict: equal rows are equal.
    expect(sites.d.conflicts).toEqual([]);
  });

  test("are one row each that was edited on either side before they met, and gone where they were deleted", () => {
    const [a, b] = [copy("a", null), copy("b")];
    a.edit("UPDATE visit SET line = 'edited on a' WHERE team_id = 2 AND line = 'x'; VACUUM", START_US + SECOND_US);
    b.edit("UPDATE visit SET n = 7 WHERE team_id = 2 AND line = 'x'", START_US + 2 * SECOND_US);
    b.edit("DELETE FROM visit WHERE line = 'lonely'; UPDATE seat SET who = 'somebody new' WHERE place IS NULL", START_US + 3 * SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    expect(a.rows("SELECT n, team_id FROM visit WHERE line = 'edited on a'")).toEqual([{ n: 7, team_id: 2 }]);
    expect(b.one("SELECT count(*) FROM visit WHERE line = 'x' AND team_id = 2 OR line = 'lonely'")).toBe(0);
    expect(a.rows("SELECT who FROM seat WHERE place IS NULL")).toEqual([{ who: "somebody new" }]);
    a.edit("DELETE FROM visit WHERE line = 'edited on a'; UPDATE visit SET n = 3 WHERE line = 'y'");
    settle(a, b);
    expectEqual(a, b);
    expect(b.rows("SELECT n FROM visit WHERE line IN ('y', 'edited on a')")).toEqual([{ n: 3 }]);
  });

  test("are rows of each where one copy had a column more when it was attached, and one each where that came later", () => {
    const [a, b] = [copy("a", null), copy("b")];
    const more = "ALTER TABLE visit ADD COLUMN mark TEXT DEFAULT 'none'";
    const c = new Site("c", `${SCHEMA}${COMMON}${more}`, { baseline: "shared" });
    b.edit(`${more}; UPDATE visit SET mark = 'seen' WHERE line = 'x' AND team_id = 2`);
    settle(a, b);
    a.edit(more);
    settle(a, b, c);
    expectEqual(a, b, c);
    const lines = "SELECT line, mark, count(*) FROM visit WHERE line IN ('x', 'y') GROUP BY 1, 2 ORDER BY 1, 2";
    expect(a.app.prepare(lines).raw(true).all()).toEqual([
      ["x", "none", 4 + 4],
      ["x", "seen", 1],
      ["y", "none", 1 + 1],
    ]);
  });

  // Of two births the greater origin's is told, which may be the one that was made without the column.
  test.each(["a", "b"])("hold the default of a column that %s alone had when they met", (first) => {
    const more = "ALTER TABLE visit ADD COLUMN mark TEXT DEFAULT 'none'; ALTER TABLE team ADD COLUMN mark TEXT DEFAULT 'none'";
    const sites = [copy("a", null), copy("b")] as [Site, Site];
    for (const site of sites) if (site.name === first) site.edit(more);
    settle(...sites);
    for (const site of sites) if (site.name !== first) site.edit(more);
    for (const from of sites) {
      const fresh = new Site(`filled by ${from.name}`, `${SCHEMA}${more}`);
      fresh.pull(from);
      expect(bag(fresh, "visit")).toEqual(bag(from, "visit"));
      for (const table of ["visit", "team"]) expect(fresh.one(`SELECT group_concat(DISTINCT quote(mark)) FROM ${table}`)).toBe("'none'");
      expectEqual(from, fresh);
    }
    settle(...sites);
    expectEqual(...sites);
  });

  test("stay two rows where the copies are joined as distinct", () => {
    const [a, b] = [copy("a", null), copy("b", "distinct")];
    settle(a, b);
    expectEqual(a, b);
    expect(a.one("SELECT count(*) FROM visit WHERE line = 'x'")).toBe(8);
  });

  test("are named alike for people on every node, by the names that a node gives and by their births", () => {
    const [a, b] = [copy("a", null), copy("b")];
    settle(a, b);
    a.edit("UPDATE visit SET n = 5 WHERE line = 'y'");
    settle(a, b);
    const keys = (site: Site) =>
      site.replica
        .digests({ table: "visit", buckets: Array.from({ length: 256 }, (_, i) => i), deep: false })
        .entries.map(({ key }) => key);
    expect(keys(a).sort()).toEqual(keys(b).sort());
    for (const key of keys(a)) {
      expect(a.replica.row("visit", key)).not.toBeNull();
      const [created] = b.replica.history("visit", key);
      expect(b.replica.history("visit", (created as { dot: string }).dot)).toEqual(b.replica.history("visit", key));
    }
  });
});
