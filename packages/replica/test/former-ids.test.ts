import { describe, expect, onTestFinished, test } from "vitest";
import { openReplicaPool } from "../src/index.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA =
  "CREATE TABLE robot(id INTEGER PRIMARY KEY, m TEXT, x TEXT, y TEXT); CREATE TABLE part(id INTEGER PRIMARY KEY AUTOINCREMENT, robot_id INTEGER REFERENCES robot(id), m TEXT)";
const DAY_US = 86_400 * SECOND_US;

/** Both created robot 1, and a's is the earlier one: b's application remembers 1 as its own, which has moved. */
function moved(): [Site, Site] {
  const sites: [Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  sites.forEach((site, i) =>
    site.edit(`INSERT INTO robot VALUES(1, 'of ${site.name}', 'x of ${site.name}', 'y of ${site.name}')`, START_US + i * SECOND_US),
  );
  settle(...sites);
  expect(sites[1].one("SELECT m FROM robot WHERE id = 1")).toBe("of a");
  return sites;
}

const conflicts = (site: Site) => site.conflicts.map(({ key, column, winner, loser }) => [key, column, winner?.value, loser?.value]);

describe("an application goes on using an integer that a sync gave to another server's row", () => {
  test.each([
    ["an update", "UPDATE robot SET x = 'meant for b' WHERE id = 1"],
    ["an upsert", "INSERT INTO robot VALUES(1, 'of a', 'meant for b', 'y of a') ON CONFLICT DO UPDATE SET x = excluded.x"],
    ["a replacement", "INSERT OR REPLACE INTO robot VALUES(1, 'of a', 'meant for b', 'y of a')"],
  ])("%s overwrites what it never saw: both are shown", (_, sql) => {
    const [a, b] = moved();
    b.edit(sql, START_US + 5 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one("SELECT x FROM robot WHERE id = 1")).toBe("meant for b");
      expect(conflicts(site)).toEqual([["1", "x", "meant for b", "x of a"]]);
    }
    a.replica.resolve({ id: a.conflicts[0]?.id ?? "", keep: "loser", set: [] });
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one("SELECT x FROM robot WHERE id = 1")).toBe("x of a");
      expect(conflicts(site)).toEqual([]);
    }
  });

  test("its next edits leave the same one value beside, over a restart as well", () => {
    const [a, b] = moved();
    b.edit("UPDATE robot SET x = 'first' WHERE id = 1", START_US + 5 * SECOND_US);
    b.edit("UPDATE robot SET x = 'second' WHERE id = 1", START_US + 6 * SECOND_US);
    b.restart();
    b.edit("UPDATE robot SET x = 'third' WHERE id = 1", START_US + 7 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([["1", "x", "third", "x of a"]]);
  });

  test.each([
    { keep: "winner", set: [] },
    { keep: "loser", set: [] },
    { keep: "", set: [{ name: "x", value: "decided" }] },
  ] as const)("a decision where it was overwritten is one: %j", ({ keep, set }) => {
    const [a, b] = moved();
    b.edit("UPDATE robot SET x = 'meant for b' WHERE id = 1", START_US + 5 * SECOND_US);
    b.replica.resolve({ id: b.conflicts[0]?.id ?? "", keep, set: [...set] });
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one("SELECT x FROM robot WHERE id = 1")).toBe(
        keep === "winner" ? "meant for b" : keep === "loser" ? "x of a" : "decided",
      );
      expect(conflicts(site)).toEqual([]);
    }
  });

  test("what it shows of a row that it is one with stays, too, over further edits", () => {
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)";
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
    a.edit("INSERT INTO person VALUES(1, 'mail', 'of a')", START_US);
    b.edit("INSERT INTO person VALUES(1, 'other', 'of b')", START_US + SECOND_US);
    c.edit("INSERT INTO person VALUES(3, 'mail', 'of c')", START_US + 2 * SECOND_US);
    settle(a, b, c);
    expect(b.one("SELECT name FROM person WHERE id = 1")).toBe("of c");
    b.edit("UPDATE person SET name = 'first' WHERE id = 1", START_US + 5 * SECOND_US);
    b.edit("UPDATE person SET name = 'meant for b' WHERE id = 1", START_US + 6 * SECOND_US);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.one("SELECT name FROM person WHERE id = 1")).toBe("meant for b");
      expect(conflicts(site)).toEqual([
        ["1", "name", "meant for b", "of a"],
        ["1", "name", "meant for b", "of c"],
      ]);
    }
    const ofC = b.conflicts.find(({ loser }) => loser?.value === "of c");
    b.replica.resolve({ id: ofC?.id ?? "", keep: "loser", set: [] });
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.one("SELECT name FROM person WHERE id = 1")).toBe("of c");
      expect(conflicts(site)).toEqual([]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test("what it shows of a row of this node that it is one with stays in the history, once", () => {
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO person VALUES(1, 'mail', 'of a')", START_US);
    b.edit("INSERT INTO person VALUES(1, 'other', 'of b')", START_US + SECOND_US);
    b.edit("INSERT INTO person VALUES(3, 'mail', 'typed')", START_US + 2 * SECOND_US);
    settle(a, b);
    expect(b.one("SELECT name FROM person WHERE id = 1")).toBe("typed");
    for (const [i, name] of ["first", "second", "meant for b"].entries())
      b.edit(`UPDATE person SET name = '${name}' WHERE id = 1`, START_US + (5 + i) * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect(conflicts(site)).toEqual([["1", "name", "meant for b", "of a"]]);
      const closed = site.replica.history("person", "1").filter(({ operation }) => operation === "closed");
      expect(closed.map(({ column, value }) => [column, value])).toEqual([["name", "typed"]]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test("what it does not show of what this node wrote there, as it is one with another's row, stays in the history", () => {
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)";
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema)) as [Site, Site, Site];
    a.edit("INSERT INTO person VALUES(1, 'mail', 'of a')", START_US);
    b.edit("INSERT INTO person VALUES(1, 'other', 'of b')", START_US + SECOND_US);
    settle(a, b);
    b.edit("UPDATE person SET name = 'typed' WHERE id = 1", START_US + 2 * SECOND_US);
    c.edit("INSERT INTO person VALUES(3, 'mail', 'of c')", START_US + 3 * SECOND_US);
    settle(a, b, c);
    const lost = (site: Site) => new Set(site.conflicts.map(({ loser }) => loser?.value));
    expect(lost(b)).toEqual(new Set(["typed", "of a"]));
    for (const [i, name] of ["first", "meant for b"].entries())
      b.edit(`UPDATE person SET name = '${name}' WHERE id = 1`, START_US + (5 + i) * SECOND_US);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(lost(site)).toEqual(new Set(["of a", "of c"]));
      const closed = site.replica.history("person", "1").filter(({ operation }) => operation === "closed");
      expect(closed.map(({ column, value }) => [column, value])).toEqual([["name", "typed"]]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test.each([
    ["somebody restored", (a: Site) => a.replica.restore("robot", "1")],
    ["another server edited meanwhile", (a: Site) => a.edit("UPDATE robot SET y = 'of a' WHERE id = 1", a.nowUs)],
  ])("what this node wrote in a row that it deleted and %s stays in the history", (_, comesBack) => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    b.edit("INSERT INTO robot VALUES(1, 'first', 'typed', 'y')", START_US);
    settle(a, b);
    b.edit("DELETE FROM robot", START_US + SECOND_US);
    a.nowUs = START_US + 3 * SECOND_US;
    if (_ === "somebody restored") a.pull(b);
    b.edit("INSERT INTO robot VALUES(1, 'next', 'x of next', 'y')", START_US + 2 * SECOND_US);
    comesBack(a);
    b.nowUs = START_US + 4 * SECOND_US;
    b.pull(a);
    expect(b.one("SELECT m FROM robot WHERE id = 1")).toBe("first");
    for (const [i, x] of ["known", "meant for next"].entries())
      b.edit(`UPDATE robot SET x = '${x}' WHERE id = 1`, START_US + (5 + i) * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect([site.one("SELECT x FROM robot WHERE id = 1"), conflicts(site)]).toEqual(["meant for next", []]);
      const closed = site.replica.history("robot", "1").filter(({ operation }) => operation === "closed");
      expect(closed.map(({ column, value }) => [column, value])).toEqual([["x", "typed"]]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test.each([
    ["later than it had to be moved", 0],
    ["by a clock that was fast then", 3600 * SECOND_US],
  ])("what was decided about a row that waited stays in the history, once it has the integer: %s", (_, fastUs) => {
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    b.edit("INSERT INTO person VALUES(5, 'other', 'first')", START_US);
    b.edit("UPDATE person SET mail = 'mail'", START_US + SECOND_US);
    a.edit("INSERT INTO person VALUES(1, 'mail', 'of a')", START_US + 2 * SECOND_US);
    b.edit("INSERT INTO person VALUES(1, NULL, 'of b')", START_US + 3 * SECOND_US);
    settle(a, b);
    const decide = (name: string, value: string, atUs: number) => {
      b.nowUs = atUs;
      const [parked] = b.replica.reviews({ kind: "parked", id: "", limit: 2 });
      b.replica.resolve({ id: parked?.id ?? "", keep: "", set: [{ name, value }] });
    };
    decide("name", "typed", START_US + 4 * SECOND_US + fastUs);
    decide("mail", "free", START_US + 5 * SECOND_US);
    expect(b.one("SELECT name FROM person WHERE id = 1")).toBe("typed");
    for (const [i, name] of ["known", "meant for b"].entries())
      b.edit(`UPDATE person SET name = '${name}' WHERE id = 1`, START_US + (6 + i) * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one("SELECT name FROM person WHERE id = 1")).toBe("meant for b");
      const closed = site.replica.history("person", "1").filter(({ operation }) => operation === "closed");
      expect(closed.map(({ column, value }) => [column, value])).toEqual([["name", "typed"]]);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
    }
  });

  test("an edit of several columns wins or loses in all of them, in whichever order the origins are: linked seed 841077", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    for (const [i, site] of [a, b].entries())
      site.edit("INSERT INTO robot(m, x, y) VALUES('first', 'x', 'y'), ('second', 'x', 'y')", START_US + i * SECOND_US);
    settle(a, b);
    const at = START_US + 5 * SECOND_US;
    b.edit("UPDATE robot SET x = 'of b', y = 'of b' WHERE id < 3", at);
    // The first at the same microsecond, the second right after it.
    for (const [i, id] of [1, 2].entries()) a.edit(`UPDATE robot SET x = 'of a', y = 'of a' WHERE id = ${id}`, at + i);
    settle(a, b);
    const mixed = "SELECT m FROM robot WHERE id < 3 AND x <> y";
    expect([a.one("SELECT count(*) FROM robot"), a.rows(mixed), b.rows(mixed)]).toEqual([4, [], []]);
  });

  test("what comes in between is kept, too", () => {
    const [a, b] = moved();
    a.edit("UPDATE robot SET x = 'newer of a' WHERE id = 1", START_US + 4 * SECOND_US);
    settle(a, b);
    b.edit("UPDATE robot SET x = 'meant for b' WHERE id = 1", START_US + 5 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([["1", "x", "meant for b", "newer of a"]]);
  });

  test("what it overwrites is kept, too, where the row there was out of its table for a while", () => {
    const schema =
      "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE); CREATE TABLE robot(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), x TEXT)";
    const [a, b] = [new Site("a", schema, { park: ["*"] }), new Site("b", schema, { park: ["*"] })];
    a.edit("INSERT INTO robot VALUES(1, NULL, 'x of a')", START_US);
    b.edit("INSERT INTO robot VALUES(1, NULL, 'x of b')", START_US + SECOND_US);
    settle(a, b);
    b.edit("INSERT INTO team VALUES(5, 'blue')", START_US + 2 * SECOND_US);
    a.edit("INSERT INTO team VALUES(7, 'blue'); UPDATE robot SET team = 7 WHERE id = 1", START_US + 3 * SECOND_US);
    settle(a, b);
    expect(b.rows("SELECT x FROM robot WHERE id = 1")).toEqual([]);
    b.edit("UPDATE team SET name = 'red'", START_US + 4 * SECOND_US);
    settle(a, b);
    expect(b.one("SELECT x FROM robot WHERE id = 1")).toBe("x of a");
    b.edit("UPDATE robot SET x = 'meant for b' WHERE id = 1", START_US + 5 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([["1", "x", "meant for b", "x of a"]]);
  });

  test("whom the row there refers to stays for that on all nodes, though its author had deleted it", () => {
    const schema =
      "CREATE TABLE team(id TEXT PRIMARY KEY); CREATE TABLE robot(id INTEGER PRIMARY KEY, team TEXT REFERENCES team(id), m TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
    a.edit("INSERT INTO team VALUES('blue'); INSERT INTO robot VALUES(1, NULL, 'of a')", START_US);
    b.edit("INSERT INTO robot VALUES(1, NULL, 'of b')", START_US + SECOND_US);
    settle(a, b);
    a.edit("DELETE FROM team; UPDATE robot SET team = 'blue' WHERE id = 1", START_US + 2 * SECOND_US);
    settle(a, b);
    b.edit("UPDATE robot SET m = 'meant for b' WHERE id = 1", START_US + 3 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT id FROM team"), site.name).toEqual([{ id: "blue" }]);
      expect(site.rows("SELECT team, m FROM robot WHERE id = 1"), site.name).toEqual([{ team: "blue", m: "meant for b" }]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("a row that another server deleted, and its integer used again", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.edit("INSERT INTO robot VALUES(1, 'first', 'x', 'y')");
    settle(a, b);
    a.edit("DELETE FROM robot", START_US + SECOND_US);
    a.edit("INSERT INTO robot VALUES(1, 'next', 'x of next', 'y')", START_US + 2 * SECOND_US);
    settle(a, b);
    b.edit("UPDATE robot SET x = 'meant for the first' WHERE id = 1", START_US + 5 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([["1", "x", "meant for the first", "x of next"]]);
  });

  test("a row is overwritten and deleted before a drain: what it held is in its history", () => {
    const [a, b] = moved();
    b.write("UPDATE robot SET x = 'meant for b' WHERE id = 1; DELETE FROM robot WHERE id = 1");
    settle(a, b);
    const values = a.replica.history("robot", "1").map(({ value }) => value);
    expect(values).toContain("x of a");
    expect(values).toContain("meant for b");
  });
});

describe("nobody is asked about", () => {
  test("an edit long after", () => {
    const [a, b] = moved();
    b.nowUs = START_US + 4 * DAY_US;
    b.edit("UPDATE robot SET x = 'looked up' WHERE id = 1");
    settle(a, b);
    expect(conflicts(a)).toEqual([]);
  });

  test("an edit of the row that moved, of the other one on its own server, or one that changes nothing", () => {
    const [a, b] = moved();
    b.edit("UPDATE robot SET x = 'known' WHERE m = 'of b'", START_US + 5 * SECOND_US);
    a.edit("UPDATE robot SET x = 'known' WHERE id = 1", START_US + 6 * SECOND_US);
    b.edit("UPDATE robot SET y = y WHERE id = 1", START_US + 7 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([]);
  });

  test("a row that the application put there itself", () => {
    const [a, b] = moved();
    b.edit("DELETE FROM robot WHERE id = 1", START_US + 4 * SECOND_US);
    b.edit("INSERT INTO robot VALUES(1, 'own again', 'x', 'y')", START_US + 5 * SECOND_US);
    b.edit("UPDATE robot SET x = 'edited' WHERE id = 1", START_US + 6 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([]);
  });

  test("a row that came back to its integer", () => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    for (const [i, site] of [c, a, b].entries())
      site.edit(`INSERT INTO robot VALUES(1, 'of ${site.name}', 'x', 'y')`, START_US + i * SECOND_US);
    settle(a, b, c);
    for (const site of [a, b, c]) expect(conflicts(site)).toEqual([]);
    expect(new Set(a.rows("SELECT m FROM robot").map(({ m }) => m))).toEqual(new Set(["of a", "of b", "of c"]));
  });

  test("a row that is one with another's: each keeps what it says itself, a NULL, too", () => {
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO person VALUES(1, 'mail', NULL)", START_US);
    b.edit("INSERT INTO person VALUES(1, 'mail', 'of b')", START_US + SECOND_US);
    b.pull(a);
    expect(b.rows("SELECT * FROM person")).toEqual([{ id: 1, mail: "mail", name: "of b" }]);
    b.edit("UPDATE person SET name = 'edited'", START_US + 5 * SECOND_US);
    settle(a, b);
    for (const site of [a, b]) expect(conflicts(site)).toEqual([["1", "name", "edited", null]]);
  });
});

describe("an integer that a sync gave to another row is given out again after a mass delete", () => {
  const PERSON = "CREATE TABLE person(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)";

  /** On b the first row has had its integer only since a sync, and shows `typed`; that is kept back, and a new row gets its integer. */
  test.each([
    ["its row was written there since", "b", "UPDATE person SET name = 'typed' WHERE id = 1"],
    ["its row is one with another of this node, which it shows", "b", "INSERT INTO person VALUES(3, 'mail', 'typed')"],
    ["its row is one with another of some other node, which it shows", "c", "INSERT INTO person VALUES(3, 'mail', 'typed')"],
  ])("%s: what it showed is in its history", (_, author, sql) => {
    const quarantine = { rows: 2, share: 0.5 };
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, PERSON, { quarantine })) as [Site, Site, Site];
    a.edit("INSERT INTO person VALUES(1, 'mail', 'of a')", START_US);
    b.edit("INSERT INTO person VALUES(1, 'other', 'of b')", START_US + SECOND_US);
    if (sql.startsWith("UPDATE")) settle(a, b, c);
    (author === "b" ? b : c).edit(sql, START_US + 2 * SECOND_US);
    settle(a, b, c);
    expect(b.one("SELECT name FROM person WHERE id = 1")).toBe("typed");
    b.edit("DELETE FROM person", START_US + 3 * SECOND_US);
    b.edit("INSERT INTO person(name) VALUES('new')", START_US + 4 * SECOND_US);
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.one("SELECT name FROM person WHERE id = 1")).toBe("new");
      const held = site.replica.history("person", "1").filter(({ column, value }) => column === "name" && value === "typed");
      expect(held.map(({ operation }) => operation)).toEqual(["closed"]);
    }
  });
});

describe("a new row that refers to an integer which a sync gave to another row", () => {
  const listed = (site: Site) => {
    const found = site.replica.reviews({ kind: "identity", id: "", limit: 100 });
    expect(site.replica.state().notices).toBe(found.length);
    return found;
  };
  const robotOf = (site: Site, part: string) =>
    site.one(`SELECT robot.m FROM part JOIN robot ON robot.id = robot_id WHERE part.m = '${part}'`);

  /** b's application adds parts to "its" robot 1, which has moved. */
  function added(): [Site, Site, Site] {
    const c = new Site("c", SCHEMA);
    const [a, b] = moved();
    b.edit("INSERT INTO part(robot_id, m) VALUES(1, 'wheel'), (1, 'arm')", START_US + 5 * SECOND_US);
    b.edit("UPDATE part SET m = 'left arm' WHERE m = 'arm'", START_US + 6 * SECOND_US);
    settle(a, b, c);
    return [a, b, c];
  }

  test("is not changed, and is listed there, with both rows that may be meant", () => {
    const [a, b] = added();
    expect(robotOf(b, "wheel")).toBe("of a");
    const [found, ...others] = listed(b);
    expect(others).toEqual([]);
    const other = b.one("SELECT id FROM robot WHERE m = 'of b'");
    expect(found).toMatchObject({
      kind: "identity",
      table: "part",
      column: "robot_id",
      winner: { value: 1n },
      loser: { value: BigInt(other as number) },
    });
    expect(found?.reason).toMatch(/rows 1, 2 were written here with robot_id = 1/);
    expect(listed(a)).toEqual([]);
    b.restart();
    expect(listed(b)).toEqual([found]);
  });

  test.each(["winner", "loser"] as const)("ends when somebody says what was meant: %s", (keep) => {
    const all = added();
    const [, b] = all;
    b.replica.resolve({ id: listed(b)[0]?.id ?? "", keep, set: [] });
    expect(listed(b)).toEqual([]);
    settle(...all);
    for (const site of all) for (const part of ["wheel", "left arm"]) expect(robotOf(site, part)).toBe(keep === "winner" ? "of a" : "of b");
    b.edit("INSERT INTO part(robot_id, m) VALUES(1, 'of one who knows')", START_US + 9 * SECOND_US);
    expect(listed(b)).toEqual([]);
  });

  test.each(["winner", "loser"] as const)("what that row held stays beside an edit under its integer after that: %s", (keep) => {
    const all = added();
    const [, b] = all;
    b.replica.resolve({ id: listed(b)[0]?.id ?? "", keep, set: [] });
    b.restart();
    b.edit("UPDATE robot SET x = 'meant for b' WHERE id = 1", START_US + 9 * SECOND_US);
    settle(...all);
    for (const site of all) {
      expect(site.one("SELECT x FROM robot WHERE id = 1")).toBe("meant for b");
      expect(conflicts(site)).toEqual([["1", "x", "meant for b", "x of a"]]);
    }
  });

  test.each([
    [
      "made anew with a column less",
      "PRAGMA foreign_keys = OFF; BEGIN; CREATE TABLE made(id INTEGER PRIMARY KEY AUTOINCREMENT, robot_id INTEGER REFERENCES robot(id)); " +
        "INSERT INTO made SELECT id, robot_id FROM part; DROP TABLE part; ALTER TABLE made RENAME TO part; COMMIT",
    ],
    ["given another name for the column", "ALTER TABLE part RENAME COLUMN robot_id TO machine_id"],
  ])("is none that refers as before, where its table is %s", (_, migration) => {
    const sites: [Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    sites.forEach((site, i) =>
      site.edit(
        `INSERT INTO robot(id, m) VALUES(1, 'of ${site.name}'); INSERT INTO part(robot_id, m) VALUES(1, 'of ${site.name}')`,
        START_US + i * SECOND_US,
      ),
    );
    settle(...sites);
    const [, b] = sites;
    b.edit(migration, START_US + 5 * SECOND_US);
    settle(...sites);
    expect(listed(b)).toEqual([]);
    const column = migration.startsWith("ALTER") ? "machine_id" : "robot_id";
    b.edit(`INSERT INTO part(${column}) VALUES(1)`, START_US + 6 * SECOND_US);
    expect(listed(b)).toHaveLength(1);
  });

  test("is not listed for long, nor where the application changed it or put another row there", () => {
    const [, b] = added();
    b.edit("UPDATE part SET robot_id = NULL WHERE m = 'wheel'", START_US + 7 * SECOND_US);
    expect(listed(b)[0]?.key).toBe("2");
    b.nowUs = START_US + 4 * DAY_US;
    b.edit("INSERT INTO part(robot_id, m) VALUES(1, 'looked up')");
    expect(listed(b)[0]?.key).toBe("2");
  });
});

test("a call is answered between a migration and the node's look at it, also where rows that are listed were of the table that changed", async () => {
  const [, b] = moved();
  b.edit("INSERT INTO part(robot_id, m) VALUES(1, 'refers to the robot that it knew as 1')", START_US + 5 * SECOND_US);
  b.replica.close();
  const pool = openReplicaPool({ threads: 1 });
  onTestFinished(() => pool.close());
  const options = { name: "main", path: b.path, nodeName: "b", nodeId: "b", exclude: [], baseline: null, busyTimeoutMs: 200 };
  const replica = await pool.open({ ...options, pollIntervalMs: 2 ** 30 });
  expect(replica.state.notices).toBe(1);
  b.write("ALTER TABLE part DROP COLUMN m");
  await expect(replica.position("of nobody")).resolves.toEqual(new Map());
  await replica.drain();
  expect(replica.state.notices).toBe(1);
});
