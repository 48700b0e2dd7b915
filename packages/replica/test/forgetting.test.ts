import { join, type SyncError, type VersionVector } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { rejoin } from "./rejoin.ts";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, x TEXT);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), name TEXT);
  CREATE TABLE part(team INTEGER NOT NULL REFERENCES team(id), slot TEXT NOT NULL, x TEXT, PRIMARY KEY(team, slot));
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT);
  CREATE TABLE line(text TEXT)`;
const DAY_US = 86_400 * SECOND_US;

/** Each says to each what it has, as sessions do. */
function tell(...sites: Site[]): void {
  for (const site of sites)
    for (const other of sites)
      if (site !== other) site.replica.acknowledge({ id: other.name, name: other.name }, other.replica.state().vector);
}

function meet(...sites: Site[]): void {
  settle(...sites);
  tell(...sites);
}

const forget = (site: Site, retentionDays = 0) => site.replica.forget({ retentionDays, dryRun: false });
const tombstones = (site: Site) => Number(site.one("SELECT count(*) FROM _scoutsync_out WHERE state = 1"));
const log = (site: Site) => Number(site.one("SELECT count(*) FROM _scoutsync_log"));
const everything = (site: Site) => ["team", "robot", "part", "word", "line"].map((table) => site.rows(`SELECT * FROM ${table} ORDER BY 1`));

function expectEqual(...sites: Site[]): void {
  const [first] = sites as [Site];
  for (const site of sites) {
    expect(everything(site)).toEqual(everything(first));
    expect(site.vector).toBe(first.vector);
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
}

/** Three that know each other and the same rows; c is away from then on. */
function fleet(): [Site, Site, Site] {
  const sites: [Site, Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
  sites[0].edit(
    `INSERT INTO team VALUES(1, 'one', 'x'), (2, 'two', 'x'), (3, 'three', 'x');
     INSERT INTO robot VALUES(1, 1, 'r1'), (2, 2, 'r2'); INSERT INTO part VALUES(3, 'arm', 'x');
     INSERT INTO word VALUES('w', 'x'), ('v', 'x'); INSERT INTO line VALUES('l')`,
  );
  meet(...sites);
  return sites;
}

/** a deletes all but team 1 and its robot, a and b know, and what c does not know is forgotten without it. */
function forgetWithout(a: Site, b: Site): void {
  a.edit(
    "DELETE FROM part; DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id > 1; DELETE FROM word; DELETE FROM line",
    START_US + 60 * SECOND_US,
  );
  meet(a, b);
  a.nowUs = b.nowUs = START_US + 120 * SECOND_US;
  for (const site of [a, b]) {
    site.replica.retire("c");
    expect(forget(site)).toMatchObject({ forgotten: 7, awaited: 0 });
    expect(tombstones(site)).toBe(0);
  }
}

/** a and b forget the one row that they have deleted without c and d, which do not know. */
function forgetAway(a: Site, b: Site, c: Site, d: Site): void {
  for (const site of [a, b, c, d]) site.nowUs = START_US + 120 * SECOND_US;
  for (const site of [a, b]) {
    for (const away of ["c", "d"]) site.replica.retire(away);
    expect(forget(site)).toMatchObject({ forgotten: 1 });
  }
}

describe("what was deleted is forgotten", () => {
  test("only once everybody has it", () => {
    const [a, b, c] = fleet();
    a.edit("DELETE FROM word WHERE k = 'w'", START_US + SECOND_US);
    meet(a, b);
    const before = log(a);
    a.nowUs += 60 * SECOND_US;
    expect(forget(a)).toMatchObject({ forgotten: 0, awaited: 1, keptFor: [{ name: "c", rows: 1 }] });
    expect(log(a)).toBe(before);
    c.pull(a);
    tell(a, c);
    expect(a.replica.forget({ retentionDays: 0, dryRun: true })).toMatchObject({ forgotten: 1 });
    expect(log(a)).toBe(before);
    expect(forget(a)).toMatchObject({ forgotten: 1, awaited: 0 });
    // The birth and the delete.
    expect(log(a)).toBe(before - 2);
    // b still has it; that is no difference.
    for (const [to, from] of [
      [a, b],
      [b, a],
      [c, a],
    ] as const)
      expect(to.pull(from).at(-1)).toMatchObject({ received: 0, verified: true });
  });

  test("not for a node that others know of", () => {
    const [a, b, c] = fleet();
    const d = new Site("d", SCHEMA);
    d.pull(b);
    tell(b, d);
    a.replica.learnMembers(b.replica.memberWords());
    a.edit("DELETE FROM word WHERE k = 'w'", START_US + SECOND_US);
    meet(a, b, c);
    a.nowUs += 60 * SECOND_US;
    expect(forget(a)).toMatchObject({ forgotten: 0, awaited: 1, keptFor: [{ name: "d" }] });
    b.replica.retire("d");
    a.replica.learnMembers(b.replica.memberWords());
    expect(forget(a)).toMatchObject({ forgotten: 1 });
  });

  test("only after the retention", () => {
    const [a, b, c] = fleet();
    a.edit("DELETE FROM word WHERE k = 'w'", START_US + SECOND_US);
    meet(a, b, c);
    a.nowUs = START_US + 30 * DAY_US;
    expect(forget(a, 30)).toMatchObject({ forgotten: 0, young: 1 });
    a.nowUs = START_US + 30 * DAY_US + 2 * SECOND_US;
    expect(forget(a, 30)).toMatchObject({ forgotten: 1, young: 0 });
  });

  test("by corrected time: a machine whose clock is a year ahead keeps what was deleted just now, and what lost a conflict", () => {
    const [a, b, c] = fleet();
    a.edit("UPDATE word SET x = 'of a' WHERE k = 'v'", START_US + SECOND_US);
    b.edit("UPDATE word SET x = 'of b' WHERE k = 'v'", START_US + 2 * SECOND_US);
    meet(a, b, c);
    b.edit("DELETE FROM word WHERE k = 'w'; UPDATE word SET x = 'settled' WHERE k = 'v'", START_US + 3 * SECOND_US);
    meet(a, b, c);
    a.nowUs += 365 * DAY_US;
    a.replica.correctClock(-365 * DAY_US);
    expect(forget(a, 30)).toMatchObject({ forgotten: 0, young: 1, settled: 0 });
    a.nowUs += 31 * DAY_US;
    expect(forget(a, 30)).toMatchObject({ forgotten: 1, young: 0, settled: 1 });
  });

  test("only where all that others had is here, and never by a node that has met nobody", () => {
    const [a, b, c] = fleet();
    a.edit("DELETE FROM word WHERE k = 'w'", START_US + SECOND_US);
    meet(a, b, c);
    b.edit("INSERT INTO word VALUES('new', 'x')", START_US + 2 * SECOND_US);
    tell(a, b);
    a.nowUs += 60 * SECOND_US;
    expect(forget(a)).toMatchObject({ forgotten: 0, awaited: 1, ahead: ["b"] });
    const alone = new Site("alone", SCHEMA);
    alone.edit("INSERT INTO word VALUES('w', 'x')");
    alone.edit("DELETE FROM word", START_US + SECOND_US);
    alone.nowUs += 60 * SECOND_US;
    expect(forget(alone)).toMatchObject({ forgotten: 0, alone: true });
  });

  test("not while a row refers to it, deleted ones that stay included", () => {
    const [a, b, c] = fleet();
    // An application without foreign keys leaves a robot behind.
    a.edit("PRAGMA foreign_keys = OFF; DELETE FROM team WHERE id = 1", START_US + SECOND_US);
    a.edit("DELETE FROM robot WHERE id = 2", START_US + 100 * SECOND_US);
    a.edit("DELETE FROM team WHERE id = 2", START_US + 2 * SECOND_US);
    meet(a, b, c);
    a.nowUs = START_US + DAY_US + 50 * SECOND_US;
    // The robot's delete is younger than a day, its team's is not.
    expect(forget(a, 1)).toMatchObject({ forgotten: 0, young: 1, referredTo: 2 });
    a.edit("DELETE FROM robot WHERE id = 1", a.nowUs);
    meet(a, b, c);
    a.nowUs += 2 * DAY_US;
    expect(forget(a, 1)).toMatchObject({ forgotten: 4, referredTo: 0 });
  });

  test("and what lost a conflict that was settled, though the row lives: only histories tell of it", () => {
    const [a, b, c] = fleet();
    const settled = (site: Site) => site.replica.history("word", "w").filter(({ operation }) => operation === "closed");
    a.edit("UPDATE word SET x = 'of a' WHERE k = 'w'", START_US + SECOND_US);
    b.edit("UPDATE word SET x = 'of b' WHERE k = 'w'", START_US + 2 * SECOND_US);
    meet(a, b, c);
    a.nowUs = START_US + DAY_US;
    expect(forget(a)).toMatchObject({ settled: 0 });
    a.edit("UPDATE word SET x = 'settled' WHERE k = 'w'", START_US + 2 * DAY_US);
    meet(a, b);
    a.nowUs += DAY_US / 2;
    expect(forget(a)).toMatchObject({ settled: 0 });
    meet(a, b, c);
    expect(forget(a, 1)).toMatchObject({ settled: 0 });
    expect(settled(a)).toMatchObject([{ value: "of a" }]);
    const before = a.contents();
    expect(a.replica.forget({ retentionDays: 0, dryRun: true })).toMatchObject({ settled: 1 });
    expect(a.contents()).toBe(before);
    expect(forget(a)).toMatchObject({ settled: 1, forgotten: 0 });
    expect(settled(a)).toEqual([]);
    expect(settled(b)).toHaveLength(1);
    expect(forget(a)).toMatchObject({ settled: 0 });
    expectEqual(a, b, c);
    // Nobody has to join again for it, and nothing brings it back.
    expect(a.replica.state().floor.size).toBe(0);
    expect(a.pull(b).at(-1)).toMatchObject({ received: 0, verified: true });
    const d = new Site("d", SCHEMA);
    d.pull(a);
    meet(a, b, c, d);
    expect(settled(a)).toEqual([]);
    expectEqual(a, b, c, d);
  });

  test("and an old batch, or one of a node that was away, brings nothing back", () => {
    const [a, b, c] = fleet();
    const old = a.streamFor(new Site("x", SCHEMA), 0);
    forgetWithout(a, b);
    for (const batch of old) b.replica.apply({ ...batch, final: false });
    expect(everything(b)).toEqual(everything(a));
    c.edit("UPDATE word SET x = 'edited' WHERE k = 'w'");
    expect(refusal(() => c.pull(a))).toBe("REJOIN_NEEDED");
    expect(refusal(() => a.pull(c))).toBe("PEER_BEHIND");
    expect(everything(b)).toEqual(everything(a));
  });
});

test("of a stream that is refused at its end nobody says that nothing was applied", () => {
  const [a, b, c] = fleet();
  c.edit("INSERT INTO team VALUES(7, 'of c', 'typed'), (8, 'of c as well', 'the last one')", START_US + 30 * SECOND_US);
  const stream = c.streamFor(new Site("nobody", SCHEMA), 1);
  forgetWithout(a, b);
  const word = (...batches: typeof stream) => {
    try {
      for (const batch of batches) a.replica.apply(batch);
    } catch (error) {
      return (error as SyncError).action;
    }
    return "taken";
  };
  expect(word(stream.at(-1)!)).toMatch(/^Nothing was applied\. The next session/);
  expect(a.one("SELECT name FROM team WHERE x = 'typed'")).toBeNull();
  expect(word(...stream)).toMatch(/^The end of this stream was not applied; what came before stays/);
  expect(a.one("SELECT name FROM team WHERE x = 'typed'")).toBe("of c");
});

test("a bundle of a machine that is gone, which is refused as it was away for too long, fills an empty database that then joins: nothing typed there is lost", () => {
  const [a, b, c] = fleet();
  c.edit(
    "INSERT INTO team VALUES(7, 'of c', 'typed'); UPDATE team SET x = 'typed, too' WHERE id = 2; INSERT INTO line VALUES('typed as well')",
    START_US + 30 * SECOND_US,
  );
  const [bundle] = c.streamFor(new Site("nobody", SCHEMA), 0);
  forgetWithout(a, b);
  expect(refusal(() => a.replica.apply(bundle!))).toBe("PEER_BEHIND");
  const d = new Site("d", SCHEMA);
  d.replica.apply(bundle!);
  expect(everything(d)).toEqual(everything(c));
  rejoin(d.replica, a.replica);
  tell(a, b, d);
  meet(a, b, d);
  expectEqual(a, b, d);
  expect(a.rows("SELECT name, x FROM team WHERE x LIKE 'typed%' ORDER BY 1")).toEqual([
    { name: "of c", x: "typed" },
    { name: "two", x: "typed, too" },
  ]);
  expect(a.rows("SELECT text FROM line WHERE text LIKE 'typed%'")).toEqual([{ text: "typed as well" }]);
});

describe("a node that was retired comes back", () => {
  test("what was deleted goes, what is new stays, what was edited or is used lives on as a new row", () => {
    const [a, b, c] = fleet();
    c.edit(
      `UPDATE team SET x = 'edited' WHERE id = 2; INSERT INTO robot VALUES(9, 3, 'of c'); INSERT INTO part VALUES(3, 'leg', 'of c');
       INSERT INTO team VALUES(7, 'of c', 'x'); UPDATE word SET x = 'edited' WHERE k = 'v'; INSERT INTO word VALUES('u', 'of c');
       INSERT INTO line VALUES('of c')`,
      START_US + 30 * SECOND_US,
    );
    forgetWithout(a, b);
    // Team 2, team 3 with the parts, word v; of the others robot 2, part arm, word w and line l went.
    expect(rejoin(c.replica, a.replica, 2)).toEqual({ gone: 4, reborn: 3 });
    tell(a, b, c);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT name, x FROM team ORDER BY name")).toEqual([
      { name: "of c", x: "x" },
      { name: "one", x: "x" },
      { name: "three", x: "x" },
      { name: "two", x: "edited" },
    ]);
    expect(a.rows("SELECT robot.name, team.name AS team FROM robot JOIN team ON team.id = team ORDER BY 1")).toEqual([
      { name: "of c", team: "three" },
      { name: "r1", team: "one" },
    ]);
    expect(a.rows("SELECT slot, team.name AS team FROM part JOIN team ON team.id = team")).toEqual([{ slot: "leg", team: "three" }]);
    expect(a.rows("SELECT * FROM word ORDER BY k")).toEqual([
      { k: "u", x: "of c" },
      { k: "v", x: "edited" },
    ]);
    expect(a.rows("SELECT * FROM line")).toEqual([{ text: "of c" }]);
    // What went is kept for a person, with the values it had.
    expect(c.rows("SELECT key, image FROM _scoutsync_gone WHERE key = 'w'")).toHaveLength(1);
    // All of it is listed there, and only there, until somebody has seen it.
    const listed = () => {
      const found = c.replica.reviews({ kind: "identity", id: "", limit: 100 });
      expect(c.replica.state().notices).toBe(found.length);
      return found;
    };
    expect(listed().filter(({ image }) => image !== null)).toHaveLength(4);
    expect(listed().filter(({ image }) => image === null)).toHaveLength(3);
    // What it referred to as the application saw it.
    expect(listed().find(({ table, image }) => table === "robot" && image !== null)?.image).toContainEqual({ name: "team", value: "2" });
    expect(listed().find(({ key }) => key === "w")).toMatchObject({ table: "word", image: [{ name: "k", value: "w" }, { name: "x" }] });
    expect(a.replica.reviews({ kind: "identity", id: "", limit: 100 })).toEqual([]);
    expect(refusal(() => c.replica.resolve({ id: listed()[0]?.id ?? "", keep: "loser", set: [] }))).toBe("INVALID_ARGUMENT");
    for (const { id } of listed()) c.replica.resolve({ id, keep: "winner", set: [] });
    expect(listed()).toEqual([]);
    // It is one of them again.
    expect(a.replica.memberWords().filter(({ retired }) => retired)).toEqual([]);
  });

  test("under its old name an edited row is gone for good, though a clock that was ahead wrote to it where it is not forgotten", () => {
    const [a, b, c] = fleet();
    a.edit("UPDATE team SET x = 'ahead' WHERE id = 2", START_US + 500 * SECOND_US);
    a.edit("DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id = 2", START_US + 501 * SECOND_US);
    meet(a, b);
    a.nowUs = START_US + 600 * SECOND_US;
    a.replica.retire("c");
    expect(forget(a)).toMatchObject({ forgotten: 2 });
    c.edit("UPDATE team SET name = 'of c' WHERE id = 2", START_US + 30 * SECOND_US);
    expect(rejoin(c.replica, a.replica)).toMatchObject({ reborn: 1 });
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT name FROM team WHERE id > 3 OR id = 2")).toEqual([{ name: "of c" }]);
  });

  test("so it is where somebody else had deleted it, too, who did not know of that write", () => {
    const [a, b, c] = fleet();
    const d = new Site("d", SCHEMA);
    meet(a, b, c, d);
    d.edit("DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id = 2", START_US + 400 * SECOND_US);
    a.edit("UPDATE team SET x = 'ahead' WHERE id = 2", START_US + 500 * SECOND_US);
    a.edit("DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id = 2", START_US + 501 * SECOND_US);
    meet(a, b);
    a.nowUs = START_US + 600 * SECOND_US;
    for (const name of ["c", "d"]) a.replica.retire(name);
    expect(forget(a)).toMatchObject({ forgotten: 2 });
    c.edit("UPDATE team SET name = 'of c' WHERE id = 2", START_US + 30 * SECOND_US);
    expect(rejoin(c.replica, a.replica)).toMatchObject({ reborn: 1 });
    meet(a, b, c);
    d.pull(b);
    b.pull(d);
    expect(b.rows("SELECT name FROM team WHERE id > 3 OR id = 2")).toEqual([{ name: "of c" }]);
  });

  test("what lost in a row that lives on as a new one stays in its history, on every node", () => {
    const [a, b, c] = fleet();
    const d = new Site("d", SCHEMA);
    meet(a, b, c, d);
    c.edit("UPDATE team SET x = 'of c' WHERE id = 2; UPDATE word SET x = 'first of c' WHERE k = 'w'", START_US + SECOND_US);
    d.edit("UPDATE team SET x = 'of d' WHERE id = 2; UPDATE word SET x = 'first of d' WHERE k = 'w'", START_US + 2 * SECOND_US);
    meet(c, d);
    c.edit("UPDATE word SET x = 'of c' WHERE k = 'w'", START_US + 3 * SECOND_US);
    d.edit("UPDATE word SET x = 'of d' WHERE k = 'w'", START_US + 4 * SECOND_US);
    meet(c, d);
    for (const site of [a, b]) site.replica.retire("d");
    forgetWithout(a, b);
    for (const late of [c, d]) {
      rejoin(late.replica, a.replica);
      meet(a, b, late);
    }
    meet(a, b, c, d);
    for (const site of [a, b, c, d]) {
      const lost = (table: string, key: string) =>
        site.replica
          .history(table, key)
          .filter(({ operation }) => operation === "closed")
          .map(({ value }) => value);
      const id = site.one("SELECT id FROM team WHERE x = 'of d'");
      expect(lost("word", "w")).toEqual(expect.arrayContaining(["first of c", "of c"]));
      expect(lost("team", String(id))).toContain("of c");
    }
    expectEqual(a, b, c, d);
  });

  test("so does what is held in it for a column that its table lacks: it is delivered when the column comes, on every node", () => {
    const [a, b, c] = fleet();
    const d = new Site("d", SCHEMA);
    meet(a, b, c, d);
    const column = "ALTER TABLE team ADD COLUMN z TEXT; ALTER TABLE word ADD COLUMN z TEXT; ALTER TABLE line ADD COLUMN z TEXT";
    d.edit(column);
    d.edit(
      "UPDATE team SET z = 'kept' WHERE id = 2; UPDATE word SET z = 'kept' WHERE k = 'w'; UPDATE line SET z = 'kept'",
      START_US + SECOND_US,
    );
    meet(c, d);
    for (const site of [a, b]) site.replica.retire("d");
    forgetWithout(a, b);
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    for (const site of [a, b, c]) site.edit(column);
    meet(a, b, c);
    for (const site of [a, b, c]) {
      for (const table of ["team", "word", "line"]) expect(site.rows(`SELECT z FROM ${table} WHERE z NOT NULL`)).toEqual([{ z: "kept" }]);
    }
    expectEqual(a, b, c);
  });

  test("a row that only got another integer there is no edited one: it goes", () => {
    const [a, b, c] = fleet();
    c.edit("INSERT INTO team VALUES(4, 'of c', 'x')", START_US + 10 * SECOND_US);
    a.edit("INSERT INTO team VALUES(4, 'of a', 'x')", START_US + 20 * SECOND_US);
    c.pull(a);
    expect(c.rows("SELECT name FROM team WHERE id > 4")).toEqual([{ name: "of a" }]);
    a.edit("DELETE FROM team WHERE name = 'of a'", START_US + 30 * SECOND_US);
    meet(a, b);
    a.nowUs = START_US + 120 * SECOND_US;
    a.replica.retire("c");
    expect(forget(a)).toMatchObject({ forgotten: 1 });
    expect(rejoin(c.replica, a.replica)).toMatchObject({ gone: 1, reborn: 0 });
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT id, name FROM team WHERE id > 3")).toEqual([{ id: 4, name: "of c" }]);
  });

  test("a parent that was deleted but not forgotten yet lives for the rows that only it has below it", () => {
    const [a, b, c] = fleet();
    c.edit("INSERT INTO part VALUES(1, 'head', 'of c')", START_US + 30 * SECOND_US);
    forgetWithout(a, b);
    a.edit("DELETE FROM robot; DELETE FROM team WHERE id = 1", a.nowUs + SECOND_US);
    meet(a, b);
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT slot, name FROM part JOIN team ON team.id = team")).toEqual([{ slot: "head", name: "one" }]);
  });

  test("an edit of a forgotten row that a third node took reaches everyone", () => {
    const [a, b, c] = fleet();
    const d = new Site("d", SCHEMA);
    d.pull(b);
    c.edit("UPDATE team SET x = 'edited' WHERE id = 2", START_US + 90 * SECOND_US);
    // d, which nobody has told of a delete yet, takes it.
    d.pull(c);
    tell(d, c);
    forgetWithout(a, b);
    rejoin(c.replica, a.replica);
    rejoin(d.replica, a.replica);
    meet(a, b, c, d);
    expectEqual(a, b, c, d);
    const twos = a.rows("SELECT x FROM team WHERE name = 'two'");
    expect(twos.length).toBeGreaterThan(0);
    expect(new Set(twos.map(({ x }) => x))).toEqual(new Set(["edited"]));
  });

  test("edits of a row that two nodes made while both were away are all there once both have joined again", () => {
    const [a, b, c] = fleet();
    const d = new Site("d", SCHEMA);
    d.pull(b);
    d.edit("UPDATE team SET name = 'two, by d' WHERE id = 2", START_US + 50 * SECOND_US);
    c.edit("UPDATE team SET x = 'by c' WHERE id = 2", START_US + 90 * SECOND_US);
    forgetWithout(a, b);
    c.nowUs = d.nowUs = a.nowUs;
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    rejoin(d.replica, a.replica);
    meet(a, b, c, d);
    expectEqual(a, b, c, d);
    expect(a.rows("SELECT name, x FROM team WHERE name LIKE 'two%' ORDER BY name")).toEqual([
      { name: "two", x: "by c" },
      // Under its old name, with the edits of both.
      { name: "two, by d", x: "by c" },
    ]);
    // Whoever joined again is asked whether the new one is to stay.
    expect(c.replica.reviews({ kind: "", id: "", limit: 10 }).filter(({ reason }) => reason?.includes("lives on everywhere"))).toHaveLength(
      1,
    );
  });

  test("what two nodes counted in a row while both were away is all there once both have joined again", () => {
    const schema = "CREATE TABLE part(id INTEGER PRIMARY KEY, stock INTEGER NOT NULL DEFAULT 0)";
    const rules = ["part.stock=counter"];
    const all = ["a", "b", "c", "d"].map((name) => new Site(name, schema, { rules })) as [Site, Site, Site, Site];
    const [a, b, c, d] = all;
    a.edit("INSERT INTO part VALUES(1, 10)");
    meet(...all);
    a.edit("DELETE FROM part", START_US + 60 * SECOND_US);
    meet(a, b);
    d.edit("UPDATE part SET stock = stock + 5", START_US + 50 * SECOND_US);
    c.edit("UPDATE part SET stock = stock + 3", START_US + 90 * SECOND_US);
    forgetAway(a, b, c, d);
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    rejoin(d.replica, a.replica);
    meet(...all);
    for (const site of all) expect(site.rows("SELECT stock FROM part ORDER BY stock")).toEqual([{ stock: 13 }, { stock: 18 }]);
  });

  test.each([
    ["counter", "10", "n + 3", "n + 5", 18],
    ["set", `'["x"]'`, `'["c","x"]'`, `'["d","x"]'`, '["c","x","d"]'],
  ])("also where they have the row's key in common: it is one row, with what both did to a %s", (rule, first, byC, byD, both) => {
    const schema = "CREATE TABLE part(k TEXT PRIMARY KEY, n)";
    const all = ["a", "b", "c", "d"].map((name) => new Site(name, schema, { rules: [`part.n=${rule}`] })) as [Site, Site, Site, Site];
    const [a, b, c, d] = all;
    a.edit(`INSERT INTO part VALUES('k', ${first})`);
    meet(...all);
    a.edit("DELETE FROM part", START_US + 60 * SECOND_US);
    meet(a, b);
    d.edit(`UPDATE part SET n = ${byD}`, START_US + 50 * SECOND_US);
    c.edit(`UPDATE part SET n = ${byC}`, START_US + 90 * SECOND_US);
    forgetAway(a, b, c, d);
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    rejoin(d.replica, a.replica);
    meet(...all);
    for (const site of all) {
      expect(site.rows("SELECT n FROM part")).toEqual([{ n: both }]);
      expect(site.conflicts).toEqual([]);
    }
  });

  test.each([["itself"], ["by what waits for it"]])("what a row that waits for a place refers to lives on for it, too: new %s", (what) => {
    const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT);
      CREATE TABLE badge(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), code TEXT UNIQUE);
      CREATE TABLE scan(id INTEGER PRIMARY KEY, badge INTEGER REFERENCES badge(id), x TEXT)`;
    const all = ["a", "b", "c"].map((name) => new Site(name, schema, { park: ["badge"] })) as [Site, Site, Site];
    const [a, b, c] = all;
    a.edit("INSERT INTO team VALUES(1, 'one')");
    meet(...all);
    a.edit("INSERT INTO badge(team, code) VALUES(1, 'x')", START_US + SECOND_US);
    c.edit("INSERT INTO badge(team, code) VALUES(1, 'x')", START_US + 2 * SECOND_US);
    if (what !== "itself") a.pull(c);
    c.edit("INSERT INTO scan(badge, x) VALUES(1, 'new')", START_US + 3 * SECOND_US);
    c.pull(a);
    tell(a, c);
    // The second badge gets its place where it is known.
    a.edit("DELETE FROM badge", START_US + 60 * SECOND_US);
    a.edit("DELETE FROM badge; DELETE FROM team", START_US + 61 * SECOND_US);
    meet(a, b);
    for (const site of all) site.nowUs = START_US + 120 * SECOND_US;
    for (const site of [a, b]) {
      site.replica.retire("c");
      expect(forget(site)).toMatchObject({ forgotten: what === "itself" ? 2 : 3 });
    }
    rejoin(c.replica, a.replica);
    meet(...all);
    const scans = "SELECT x, code, name FROM scan JOIN badge ON badge.id = badge JOIN team ON team.id = team";
    for (const site of all) expect(site.rows(scans)).toEqual([{ x: "new", code: "x", name: "one" }]);
  });

  test("one that had not forgotten yet takes its edit, and the others get the whole row back", () => {
    const [a, b, c] = fleet();
    a.edit("DELETE FROM word WHERE k = 'w'; DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id = 2", START_US + 60 * SECOND_US);
    meet(a, b);
    a.nowUs = b.nowUs = START_US + 120 * SECOND_US;
    a.replica.retire("c");
    expect(forget(a)).toMatchObject({ forgotten: 3 });
    c.edit("UPDATE team SET x = 'edited' WHERE id = 2; UPDATE word SET x = 'edited'", START_US + 90 * SECOND_US);
    // b still has them, as deleted.
    b.pull(c);
    expect(b.one("SELECT x FROM team WHERE id = 2")).toBe("edited");
    const batch = b.replica.read({
      from: a.replica.state().vector,
      batchSize: 0,
      codecs: [],
      beyondDigest: new Uint8Array(),
      floor: a.replica.state().floor,
    });
    a.replica.apply(batch);
    c.pull(b);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT x FROM team WHERE id = 2")).toEqual([{ x: "edited" }]);
    expect(a.one("SELECT x FROM word WHERE k = 'w'")).toBe("edited");
  });

  test("after a restart in the middle the comparison begins again, and nothing was judged by half of it", () => {
    const [a, b, c] = fleet();
    c.edit("INSERT INTO word VALUES('u', 'of c')", START_US + 30 * SECOND_US);
    forgetWithout(a, b);
    c.replica.beginRejoin();
    const request = { codecs: [], beyondDigest: new Uint8Array(), batchSize: 1 };
    const first = a.replica.read({ from: new Map(), ...request });
    c.replica.apply({ ...first, rejoin: true });
    c.restart();
    const rest = a.replica.read({ from: first.to, ...request, batchSize: 0 });
    expect(refusal(() => c.replica.apply({ ...rest, rejoin: true }))).toBe("REJOIN_NEEDED");
    expect(refusal(() => c.pull(a))).toBe("REJOIN_NEEDED");
    expect(c.one("SELECT count(*) FROM word")).toBe(3);
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT k FROM word")).toEqual([{ k: "u" }]);
  });
});

describe("after something was forgotten", () => {
  test("an empty node is filled by one stream, and refuses the rest of it when more is forgotten meanwhile", () => {
    const [a, b] = fleet();
    forgetWithout(a, b);
    const d = new Site("d", SCHEMA);
    d.pull(a, { batchSize: 1 });
    expectEqual(a, b, d);
    const e = new Site("e", SCHEMA);
    e.pull(a, { batchSize: 1, batches: 2 });
    tell(a, b);
    a.edit("DELETE FROM robot; DELETE FROM team", a.nowUs + SECOND_US);
    meet(a, b);
    tell(a, d);
    d.pull(a);
    tell(a, d);
    a.nowUs += 60 * SECOND_US;
    expect(forget(a)).toMatchObject({ forgotten: 2 });
    expect(refusal(() => e.pull(a))).toBe("REJOIN_NEEDED");
    rejoin(e.replica, a.replica);
    meet(a, b, d, e);
    expectEqual(a, b, d, e);
    expect(e.rows("SELECT * FROM team")).toEqual([]);
  });

  test("a delete that one has forgotten decides about a row of that key that was born apart from it, as it does elsewhere", () => {
    const [a, b, c] = fleet();
    a.edit("INSERT INTO word VALUES('z', 'of a')", START_US + SECOND_US);
    c.edit("INSERT INTO word VALUES('z', 'of c')", START_US + 30 * SECOND_US);
    a.edit("DELETE FROM word WHERE k = 'z'", START_US + 60 * SECOND_US);
    meet(a, b);
    a.nowUs += 60 * SECOND_US;
    a.replica.retire("c");
    expect(forget(a)).toMatchObject({ forgotten: 1 });
    c.pull(b);
    a.pull(c);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows("SELECT * FROM word WHERE k = 'z'")).toEqual([]);
  });

  test("another delete of it, which comes on a stream that was opened before, is no news of a row whose rest is not here", () => {
    const [a, b, c] = fleet();
    c.edit("DELETE FROM word WHERE k = 'w'", START_US + 30 * SECOND_US);
    a.edit("DELETE FROM word WHERE k = 'w'", START_US + 60 * SECOND_US);
    meet(a, b);
    a.nowUs += 60 * SECOND_US;
    a.replica.retire("c");
    expect(forget(a)).toMatchObject({ forgotten: 1 });
    c.pull(b);
    b.pull(c);
    a.pull(b);
    expect(a.replica.reviews({ kind: "held", id: "", limit: 10 })).toEqual([]);
    expect(a.one("SELECT count(*) FROM _scoutsync_out WHERE state = 4")).toBe(0);
    meet(a, b, c);
    expectEqual(a, b, c);
    tell(a, b, c);
    expect(forget(a)).toMatchObject({ forgotten: 1 });
  });

  test("a key that is used again lives everywhere, though the clock of who uses it is behind the delete", () => {
    const [a, b, c] = fleet();
    a.edit("DELETE FROM word WHERE k = 'w'", START_US + 100 * SECOND_US);
    meet(a, b, c);
    a.nowUs += 60 * SECOND_US;
    expect(forget(a)).toMatchObject({ forgotten: 1 });
    a.edit("INSERT INTO word VALUES('w', 'again')", START_US + 10 * SECOND_US);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(b.one("SELECT x FROM word WHERE k = 'w'")).toBe("again");
  });
});

describe("joining again is refused, and nothing changed,", () => {
  test("where the peer's application has dropped a table, or a mass delete waits for a person", () => {
    const [a, b, c] = fleet();
    forgetWithout(a, b);
    // Rows of a dropped table are gone on that server alone.
    a.edit("DROP TABLE line", a.nowUs + SECOND_US);
    a.nowUs += 60 * SECOND_US;
    expect(refusal(() => rejoin(c.replica, a.replica))).toBe("SCHEMA_UNSUPPORTED");
    expect(c.rows("SELECT * FROM line")).toEqual([{ text: "l" }]);
    expect(c.one("SELECT count(*) FROM word")).toBe(2);
    expect(rejoin(c.replica, b.replica)).toEqual({ gone: 7, reborn: 0 });

    const d = new Site("d", SCHEMA, { quarantine: { rows: 1, share: 0 } });
    d.edit("INSERT INTO word VALUES('of d', 'x'), ('too', 'x')");
    d.edit("DELETE FROM word");
    expect(refusal(() => d.pull(b))).toBe("REJOIN_NEEDED");
    expect(refusal(() => rejoin(d.replica, b.replica))).toBe("REJOIN_NEEDED");
  });
});

describe("a node that was told lies", () => {
  /** A member says that everybody has everything, changes that nobody sent included, and that all of it was forgotten. */
  function lieTo(site: Site, vector: VersionVector, floor?: VersionVector): void {
    const batch = site.batchFor(site);
    site.replica.apply({ ...batch, run: "of a liar", vector, ...(floor && { floor }) });
  }
  const grown = (...sites: Site[]) =>
    new Map(
      sites.flatMap((site) => [...site.replica.state().vector].map(([origin, sequence]): [string, number] => [origin, sequence + 40])),
    );

  test("of what others have forgotten believes it only where it has nothing itself", () => {
    const [a, b, c] = fleet();
    c.edit("INSERT INTO word VALUES('mine', 'x'); INSERT INTO team VALUES(9, 'mine', 'x')", START_US + 60 * SECOND_US);
    const claimed = grown(a, c);
    lieTo(b, claimed);
    lieTo(b, claimed, claimed);
    expect(b.replica.state().floor.size).toBe(0);
    // Nobody who meets it has to join again.
    expect(refusal(() => c.pull(b))).toBe("nothing was refused");
    expect(c.rows("SELECT k FROM word WHERE k = 'mine'")).toHaveLength(1);
  });

  test("takes no row from one that joins again there: what was never forgotten is not deleted", () => {
    const [a, b, c] = fleet();
    c.edit("INSERT INTO word VALUES('mine', 'x'); INSERT INTO team VALUES(9, 'mine', 'x')", START_US + 60 * SECOND_US);
    const own = c.replica.state().vector;
    forgetWithout(a, b);
    lieTo(a, join(a.replica.state().vector, own));
    expect(refusal(() => c.pull(a))).toBe("REJOIN_NEEDED");
    rejoin(c.replica, a.replica);
    expect(c.rows("SELECT k FROM word")).toEqual([{ k: "mine" }]);
    expect(c.rows("SELECT name FROM team ORDER BY name")).toEqual([{ name: "mine" }, { name: "one" }]);
  });
});
