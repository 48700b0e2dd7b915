import { formatVector } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT);
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, label TEXT UNIQUE);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), name TEXT);
  CREATE TABLE log(text TEXT)`;

const ROWS = 40;
const DAY_US = 86_400 * SECOND_US;

/** a has written, b has half of it, c nothing; then a is destroyed. */
function halfSent(): [Site, Site, Site] {
  const sites: [Site, Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
  const [a, b] = sites;
  for (let i = 1; i <= ROWS; i++) {
    a.edit(
      `INSERT INTO word VALUES('${i}', 'x${i}', 'y${i}'); INSERT INTO team VALUES(${i}, 'team ${i}', 'label ${i}');
       INSERT INTO robot VALUES(${i}, ${i}, 'robot ${i}'); INSERT INTO log VALUES('line ${i}')`,
      START_US + i * SECOND_US,
    );
    if (i > 1) a.edit(`UPDATE word SET y = 'edited' WHERE k = '${i - 1}'; DELETE FROM robot WHERE id = ${i - 1} AND ${i} % 3 = 0`);
  }
  b.pull(a, { batchSize: 10, batches: 8 });
  return sites;
}

const contents = (site: Site) =>
  [
    "SELECT * FROM word ORDER BY k",
    "SELECT * FROM team ORDER BY id",
    "SELECT * FROM robot ORDER BY id",
    "SELECT * FROM log ORDER BY text",
  ].map((sql) => site.rows(sql));

const equal = (...sites: Site[]) => {
  const [first] = sites as [Site];
  for (const site of sites) {
    expect(contents(site)).toEqual(contents(first));
    expect(site.vector).toBe(first.vector);
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    expect(site.conflicts).toEqual([]);
    expect(site.replica.beyondDigest()).toHaveLength(0);
  }
};

describe("what a server holds beyond its vector", () => {
  test("is sent whole, in as many batches as it takes, and goes on after a cut", () => {
    const [a, b, c] = halfSent();
    a.stop();
    const held = contents(b);
    expect(c.pull(b, { batchSize: 3, batches: 4 }).length).toBe(4);
    const rest = c.pull(b, { batchSize: 3 });
    expect(rest.length).toBeGreaterThan(10);
    expect(contents(c)).toEqual(held);
    expect(c.replica.beyondDigest()).toEqual(b.replica.beyondDigest());
    expect(c.vector).toBe("");
    expect(rest.at(-1)).toMatchObject({ verified: null });
    // Held there as well now, it is not sent again.
    expect(c.pull(b)).toMatchObject([{ received: 0 }]);
  });
});

describe("what an origin left that ended for good", () => {
  test("is issued again by who holds it: everybody comes to have it, verified, and nothing is lost or in conflict", () => {
    const [a, b, c] = halfSent();
    a.stop();
    const held = contents(b);
    expect(b.replica.reissue(0)).toBe(1);
    expect(contents(b)).toEqual(held);
    expect(c.pull(b).at(-1)).toMatchObject({ verified: true });
    expect(b.pull(c).at(-1)).toMatchObject({ received: 0, verified: true });
    equal(b, c);
    expect(contents(c)).toEqual(held);
    expect(b.replica.reissue(0)).toBe(0);
    // Its rows are as good as any: edited, deleted, and found by whoever comes new.
    c.edit(
      "UPDATE word SET x = 'of c'; UPDATE team SET name = 'of c' WHERE id < 3; DELETE FROM log WHERE text = 'line 2'",
      START_US + DAY_US,
    );
    b.restart();
    const d = new Site("d", SCHEMA);
    settle(b, c, d);
    equal(b, c, d);
    expect(d.one("SELECT x FROM word WHERE k = '1'")).toBe("of c");
  });

  test("may be issued by several at once, with different parts of it", () => {
    const [a, b, c] = halfSent();
    c.pull(a, { batchSize: 10, batches: 4 });
    a.stop();
    b.replica.reissue(0);
    c.replica.reissue(0);
    settle(b, c);
    equal(b, c);
    expect(b.rows("SELECT 1 FROM log").length).toBeGreaterThan(10);
  });

  test.each([
    ["the owner edits", "a", "UPDATE word SET x = 'later'; UPDATE team SET name = 'later'"],
    ["others edit", "c", "UPDATE word SET x = 'later' WHERE k = '1'; UPDATE team SET name = 'later' WHERE id = 1"],
    ["nobody edits", "b", ""],
  ])("is the same write when its owner comes back after all, with the rest: %s", (_, who, edit) => {
    const [a, b, c] = halfSent();
    b.replica.reissue(0);
    c.pull(b);
    for (const site of [a, b, c]) if (site.name === who && edit !== "") site.edit(edit, START_US + DAY_US);
    settle(a, b, c);
    equal(a, b, c);
    expect(a.rows("SELECT k FROM word")).toHaveLength(ROWS);
    expect(b.rows("SELECT 1 FROM word WHERE k = '1' AND x = 'later'")).toHaveLength(edit === "" ? 0 : 1);
    expect(b.rows("SELECT 1 FROM team WHERE id = 1 AND name = 'later'")).toHaveLength(edit === "" ? 0 : 1);
  });

  test("is known by its first name to whoever edits or deletes it", () => {
    const [a, b, c] = halfSent();
    c.pull(a, { batchSize: 10, batches: 8 });
    a.stop();
    b.replica.reissue(0);
    b.edit("UPDATE word SET x = 'of b'; UPDATE team SET name = 'of b'; DELETE FROM robot", START_US + DAY_US);
    b.edit("DELETE FROM team WHERE id = 2; DELETE FROM log", START_US + DAY_US);
    const held = contents(b);
    // c has it all by its first name.
    b.pull(c);
    expect(contents(b)).toEqual(held);
    expect(b.conflicts).toEqual([]);
    c.replica.reissue(0);
    settle(b, c);
    equal(b, c);
    expect(contents(c)).toEqual(held);
  });

  test("keeps its place among concurrent writes, whatever name it gets", () => {
    for (let seed = 0; seed < 6; seed++) {
      const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
      a.edit("INSERT INTO word VALUES('k', 'of a', ''); INSERT INTO word VALUES('later', '', '')");
      c.edit("INSERT INTO word VALUES('k', 'of c', '')");
      b.pull(a, { batchSize: 1, batches: 1 });
      c.pull(b);
      const before = c.one("SELECT x FROM word WHERE k = 'k'");
      const loser = c.conflicts.map(({ id }) => id);
      b.replica.reissue(0);
      settle(b, c);
      for (const site of [b, c]) {
        expect(site.one("SELECT x FROM word WHERE k = 'k'")).toBe(before);
        expect(site.conflicts.map(({ id }) => id)).toEqual(loser);
      }
      expect(formatVector(b.replica.state().vector)).toBe(c.vector);
    }
  });

  test("keeps its default of a column that came since, where whoever issued it again has not migrated yet", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => new Site(name, SCHEMA)) as [Site, Site, Site, Site];
    a.edit("INSERT INTO log VALUES('line'); INSERT INTO team VALUES(1, 'team', 'label'); INSERT INTO word VALUES('k', 'x', 'y')");
    a.edit("INSERT INTO log VALUES('rest')");
    b.pull(a, { batchSize: 1, batches: 1 });
    settle(a, c, d);
    a.stop();
    for (const site of [c, d])
      site.edit(["log", "team", "word"].map((table) => `ALTER TABLE ${table} ADD COLUMN z TEXT DEFAULT 'none'`).join("; "));
    expect(b.replica.reissue(0)).toBe(1);
    c.pull(b);
    d.pull(c);
    for (const site of [c, d]) {
      for (const table of ["log", "team", "word"]) expect(site.rows(`SELECT z FROM ${table} WHERE z IS NOT 'none'`)).toEqual([]);
      expect(site.conflicts).toEqual([]);
    }
  });

  test("is a row of joined copies by another name, and not one that others had not: a column that came since keeps its default", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map(
      (name) => new Site(name, `${SCHEMA}; INSERT INTO log VALUES('line 1'), ('line 2'), ('of ${name}')`, { baseline: "shared" }),
    ) as [Site, Site, Site, Site];
    const migrate = (site: Site) => site.edit("ALTER TABLE log ADD COLUMN z TEXT DEFAULT 'none'");
    settle(a, b);
    for (const site of [c, d]) {
      migrate(site);
      site.pull(a, { batchSize: 1, batches: 4 });
    }
    migrate(a);
    migrate(b);
    expect(c.replica.reissue(0)).toBeGreaterThan(0);
    d.pull(c);
    b.pull(d);
    settle(a, b, c, d);
    d.replica.reissue(0);
    settle(a, b, c, d);
    equal(a, b, c, d);
    expect(b.rows("SELECT * FROM log ORDER BY text")).toEqual(
      ["line 1", "line 2", "of a", "of b", "of c", "of d"].map((text) => ({ text, z: "none" })),
    );
  });

  test("is left alone while it may still come, and taken over after a time without news", () => {
    const [a, b] = halfSent();
    expect(b.replica.reissue(7 * DAY_US)).toBe(0);
    b.nowUs += 5 * DAY_US;
    b.pull(a, { batchSize: 10, batches: 1 });
    expect(b.replica.reissue(7 * DAY_US)).toBe(0);
    b.nowUs += 5 * DAY_US;
    expect(b.replica.reissue(7 * DAY_US)).toBe(0);
    b.restart();
    b.nowUs += 3 * DAY_US;
    expect(b.replica.reissue(7 * DAY_US)).toBe(1);
    expect(b.replica.beyondDigest()).toHaveLength(0);
  });
});
