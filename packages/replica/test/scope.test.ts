import { expect, onTestFinished, test, vi } from "vitest";
import { parseCondition, type ScopeRule } from "../src/index.ts";
import { all, carry, copyOf, crash } from "./scope-site.ts";
import { seeded } from "./seeded.ts";
import { refusal, settle, Site } from "./site.ts";

const SCHEMA = `
CREATE TABLE event(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE scouting(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, event_id INTEGER REFERENCES event(id), note TEXT, score INTEGER DEFAULT 0, secret TEXT);
CREATE TABLE pit(team INTEGER, slot TEXT, body TEXT UNIQUE, PRIMARY KEY(team, slot));
CREATE TABLE diary(id INTEGER PRIMARY KEY, body TEXT);
`;

const teams = (...numbers: number[]): ScopeRule => {
  const where = parseCondition(`team IN (${numbers.join(", ")})`);
  return {
    name: `team-${numbers[0]}`,
    tables: [
      all("scouting", { where, columns: ["team", "event_id", "note", "score"] }),
      all("event", { where: null, follow: true }),
      all("pit", { where }),
    ],
  };
};

const main = () => new Site("server", SCHEMA);
const laptop = (name: string) => new Site(name, SCHEMA, { exclude: ["scouting.secret", "diary"] });

const sorted = (site: Site) => site.rows("SELECT note FROM scouting ORDER BY note").map(({ note }) => note);
const notes = (site: Site) => site.rows("SELECT id, team, note, score FROM scouting ORDER BY id");

test("a scope's nodes get its rows and columns, what these refer to, and nothing else; what they write comes back", () => {
  const server = main();
  server.edit(
    "INSERT INTO event VALUES(1, 'north'), (2, 'south'); INSERT INTO scouting VALUES(1, 5454, 1, 'ours', 3, 'a secret'), (2, 9999, 2, 'theirs', 4, 'another'); INSERT INTO pit VALUES(5454, 'a', 'our pit'), (9999, 'a', 'their pit'); INSERT INTO diary VALUES(1, 'dear diary')",
  );
  const copy = copyOf(server, teams(5454));
  expect(carry(server, copy)).toMatchObject({ complete: true, problem: "", kept: 0 });
  const first = laptop("laptop");
  settle(copy, first);
  expect(notes(first)).toEqual([{ id: 1, team: 5454, note: "ours", score: 3 }]);
  expect(first.rows("SELECT name FROM event")).toEqual([{ name: "north" }]);
  expect(first.one("SELECT secret FROM scouting")).toBe(null);
  expect(JSON.stringify([first.contents(), copy.contents()])).not.toMatch(/theirs|their pit|south|secret"|another|diary"/);
  expect(first.replica.state().digest).toEqual(copy.replica.state().digest);

  first.edit(
    "UPDATE scouting SET note = 'ours, better' WHERE id = 1; INSERT INTO scouting(id, team, event_id, note) VALUES(2, 5454, 1, 'new')",
  );
  settle(copy, first);
  expect(carry(server, copy)).toMatchObject({ toMain: 2, kept: 0 });
  settle(copy, first);
  // The integer 2 is another team's at the server: the new row has another one, on every side the same.
  const rows = notes(first);
  expect(sorted(first)).toEqual(["new", "ours, better"]);
  expect(server.rows("SELECT id, team, note, score FROM scouting WHERE team = 5454 ORDER BY id")).toEqual(rows);
  expect(server.one("SELECT note FROM scouting WHERE id = 2")).toBe("theirs");
  expect(server.one("SELECT secret FROM scouting WHERE id = 1")).toBe("a secret");
  expect(carry(server, copy)).toMatchObject({ toMain: 0, toCopy: 0, kept: 0 });
});

test("what the scope does not allow is not taken, is kept at the server, and goes back at the laptop", () => {
  const server = main();
  server.edit(
    "INSERT INTO event VALUES(1, 'north'), (2, 'south'); INSERT INTO scouting VALUES(1, 5454, 1, 'ours', 3, 's'), (2, 9999, 2, 'theirs', 4, 't'); INSERT INTO pit VALUES(9999, 'a', 'taken')",
  );
  const copy = copyOf(server, teams(5454));
  carry(server, copy);
  const first = laptop("laptop");
  settle(copy, first);
  const before = server.rows("SELECT * FROM scouting UNION ALL SELECT team, slot, body, 0, 0, 0 FROM pit");
  // Its own database would refuse a reference to a row that it lacks.
  first.write("PRAGMA foreign_keys = OFF");
  first.edit("UPDATE scouting SET team = 9999, note = 'moved' WHERE id = 1");
  first.edit(
    "INSERT INTO scouting(id, team, note) VALUES(50, 9999, 'forged'), (51, 5454, 'refers'); UPDATE scouting SET event_id = 2 WHERE id = 51",
  );
  first.edit("UPDATE event SET name = 'renamed'; INSERT INTO pit VALUES(9999, 'a', 'overwritten'), (5454, 'b', 'taken')");
  first.edit("INSERT INTO diary VALUES(7, 'from outside')");
  settle(copy, first);
  carry(server, copy);
  settle(copy, first);
  carry(server, copy);
  expect(server.rows("SELECT * FROM scouting UNION ALL SELECT team, slot, body, 0, 0, 0 FROM pit")).toEqual(before);
  expect(server.rows("SELECT name FROM event ORDER BY id")).toEqual([{ name: "north" }, { name: "south" }]);
  expect(server.rows("SELECT * FROM diary")).toEqual([]);
  expect(notes(first)).toEqual([{ id: 1, team: 5454, note: "ours", score: 3 }]);
  expect(first.rows("SELECT name FROM event")).toEqual([{ name: "north" }]);
  const kept = copy.replica.keptOfScope({ id: "", limit: 0 });
  const text = JSON.stringify(kept, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  for (const word of ["moved", "forged", "refers", "renamed", "overwritten", "taken"]) expect(text).toContain(word);
  expect(text).not.toMatch(/theirs|south/);
  copy.replica.dismissKept(kept[0]!.id);
  expect(copy.replica.keptOfScope({ id: "", limit: 0 }).length).toBe(kept.length - 1);
});

test("rows that leave the scope go from its nodes and stay at the server; those that enter come whole; so with wider and narrower scopes", () => {
  const server = main();
  server.edit(
    "INSERT INTO event VALUES(1, 'north'), (2, 'south'); INSERT INTO scouting VALUES(1, 5454, 1, 'one', 3, 's'), (2, 9999, 2, 'two', 4, 't'), (3, 100, NULL, 'three', 0, NULL)",
  );
  const copy = copyOf(server, teams(5454));
  carry(server, copy);
  const first = laptop("laptop");
  settle(copy, first);
  server.edit("UPDATE scouting SET team = 9999 WHERE id = 1; UPDATE scouting SET team = 5454, note = 'two, ours' WHERE id = 2");
  carry(server, copy);
  settle(copy, first);
  expect(notes(first)).toEqual([{ id: 2, team: 5454, note: "two, ours", score: 4 }]);
  expect(first.rows("SELECT name FROM event")).toEqual([{ name: "south" }]);
  expect(server.one("SELECT count(*) FROM scouting")).toBe(3);
  // An edit of a row that has left meanwhile is kept, and undone nowhere else.
  server.edit("UPDATE scouting SET team = 9999 WHERE id = 2");
  first.edit("UPDATE scouting SET note = 'late words' WHERE id = 2");
  carry(server, copy);
  settle(copy, first);
  carry(server, copy);
  settle(copy, first);
  expect(notes(first)).toEqual([]);
  expect(server.one("SELECT note FROM scouting WHERE id = 2")).toBe("two, ours");
  expect(copy.replica.keptOfScope({ id: "", limit: 0 })[0]?.image).toContainEqual({ name: "note", value: "late words" });

  const wider = teams(5454, 100);
  copy.options.scope = { ...copy.options.scope!, rule: wider };
  copy.restart();
  carry(server, copy);
  settle(copy, first);
  expect(notes(first)).toEqual([{ id: 3, team: 100, note: "three", score: 0 }]);
  copy.options.scope = { ...copy.options.scope, rule: teams(5454) };
  copy.restart();
  carry(server, copy);
  settle(copy, first);
  expect(notes(first)).toEqual([]);
  expect(server.one("SELECT count(*) FROM scouting")).toBe(3);
  server.edit("ALTER TABLE pit ADD COLUMN extra TEXT; INSERT INTO pit VALUES(5454, 'x', 'y', 'z')");
  carry(server, copy);
  settle(copy, first);
  expect(copy.rows("SELECT * FROM pit")).toEqual([{ team: 5454, slot: "x", body: "y", extra: "z" }]);
});

test("deletes go both ways, unless others refer to the row or it was changed meanwhile", () => {
  const server = main();
  server.edit(
    "INSERT INTO scouting VALUES(1, 5454, NULL, 'one', 3, 's'), (2, 5454, NULL, 'two', 4, 't'), (3, 5454, NULL, 'three', 0, NULL); INSERT INTO pit VALUES(5454, 'a', 'x')",
  );
  const copy = copyOf(server, teams(5454));
  carry(server, copy);
  const first = laptop("laptop");
  settle(copy, first);
  first.edit(
    "DELETE FROM scouting WHERE id IN (1, 3); DELETE FROM pit; INSERT INTO scouting(id, team, note) VALUES(3, 5454, 'another three')",
  );
  settle(copy, first);
  server.edit("UPDATE scouting SET note = 'changed' WHERE id = 1; DELETE FROM scouting WHERE id = 2");
  carry(server, copy);
  settle(copy, first);
  carry(server, copy);
  expect(sorted(first)).toEqual(["another three", "changed"]);
  expect(notes(server)).toEqual(notes(first));
  expect(server.rows("SELECT * FROM pit")).toEqual([]);
});

test("what a team's laptop is sent is the same, byte for byte, whatever another team does", () => {
  const sent = (busy: boolean) => {
    const server = main();
    const others = (sql: string) => busy && server.edit(sql);
    server.edit("INSERT INTO event VALUES(1, 'north'), (2, 'south'); INSERT INTO scouting VALUES(1, 5454, 1, 'ours', 3, 's')");
    others(
      "INSERT INTO scouting VALUES(900, 9999, 2, 'theirs', 4, 't'); INSERT INTO pit VALUES(9999, 'a', 'their pit'); INSERT INTO diary VALUES(1, 'x')",
    );
    const copy = copyOf(server, teams(5454), { random: seeded(1) });
    const first = new Site("laptop", SCHEMA, { exclude: ["scouting.secret", "diary"], random: seeded(2) });
    const batches: unknown[] = [];
    const meet = () => {
      carry(server, copy);
      batches.push(...copy.streamFor(first, 0));
      batches.push([...copy.replica.state().vector], copy.replica.state().digest, copy.conflicts, copy.replica.memberWords());
      first.pull(copy);
      copy.pull(first);
      carry(server, copy);
      first.pull(copy);
    };
    meet();
    others(
      "UPDATE scouting SET note = 'other words' WHERE id = 900; INSERT INTO scouting VALUES(901, 9999, NULL, 'more', 4, 't'); DELETE FROM pit",
    );
    first.edit(
      "UPDATE scouting SET note = 'ours, better' WHERE id = 1; INSERT INTO scouting(id, team, event_id, note) VALUES(2, 5454, 1, 'new'), (3, 9999, 1, 'forged')",
    );
    meet();
    others(
      "UPDATE event SET name = 'far south' WHERE id = 2; UPDATE scouting SET team = 100 WHERE id = 901; DELETE FROM scouting WHERE id = 900",
    );
    server.edit("UPDATE scouting SET score = 8 WHERE id = 1");
    meet();
    const text = JSON.stringify(batches, (_, value: unknown) =>
      value instanceof Map ? [...value] : typeof value === "bigint" ? String(value) : value,
    );
    // Drawn when the file was made, before anything was looked at.
    return text.replaceAll(String(copy.one("SELECT value FROM _scoutsync_scope WHERE key = 'id'")), "ID");
  };
  expect(sent(true)).toBe(sent(false));
});

test("a row that the database took just before a crash, and the copy does not know of, is not taken again", () => {
  const server = main();
  const copy = copyOf(server, teams(5454));
  carry(server, copy);
  const first = laptop("laptop");
  first.edit("INSERT INTO scouting(id, team, note) VALUES(1, 5454, 'one'), (2, 5454, 'two')");
  settle(copy, first);
  expect(crash(server, copy)).toMatchObject({ toMain: 2 });
  server.edit("UPDATE scouting SET score = 9 WHERE id = 2");
  carry(server, copy);
  settle(copy, first);
  const rows = [
    { id: 1, team: 5454, note: "one", score: 0 },
    { id: 2, team: 5454, note: "two", score: 9 },
  ];
  expect([notes(server), notes(copy), notes(first)]).toEqual([rows, rows, rows]);
});

test("what a node wrote between a crash and the next pass is an edit of what the database took, and nothing is kept for a person", () => {
  const server = main();
  const copy = copyOf(server, teams(5454));
  carry(server, copy);
  const first = laptop("laptop");
  first.edit("INSERT INTO scouting(id, team, note) VALUES(1, 5454, 'one'), (2, 5454, 'two'); INSERT INTO pit VALUES(5454, 'a', 'x')");
  settle(copy, first);
  carry(server, copy);
  settle(copy, first);
  first.edit("UPDATE scouting SET note = 'one, better' WHERE id = 1; DELETE FROM pit; INSERT INTO pit VALUES(5454, 'b', 'y')");
  first.edit("INSERT INTO scouting(id, team, note) VALUES(3, 5454, 'three'); DELETE FROM scouting WHERE id = 2");
  settle(copy, first);
  expect(crash(server, copy)).toMatchObject({ kept: 0 });
  first.edit(
    "UPDATE scouting SET note = 'one, best' WHERE id = 1; INSERT INTO pit VALUES(5454, 'a', 'x again'); DELETE FROM pit WHERE slot = 'b'",
  );
  first.edit("UPDATE scouting SET note = 'three, better' WHERE id = 3; INSERT INTO scouting(id, team, note) VALUES(2, 5454, 'two again')");
  settle(copy, first);
  expect(crash(server, copy)).toMatchObject({ kept: 0 });
  expect(carry(server, copy)).toMatchObject({ kept: 0 });
  settle(copy, first);
  const rows = ["one, best", "two again", "three, better"];
  for (const site of [server, copy, first]) {
    expect(notes(site).map(({ note }) => note)).toEqual(rows);
    expect(site.rows("SELECT * FROM pit")).toEqual([{ team: 5454, slot: "a", body: "x again" }]);
  }
});

test("what was written at the server past capture is found by the next pass: a scope's copy is compared with the rows themselves", () => {
  const server = main();
  server.edit(
    "INSERT INTO scouting VALUES(1, 5454, NULL, 'first', 3, 's'), (2, 5454, NULL, 'second', 3, 's'), (3, 5454, NULL, 'third', 3, 's')",
  );
  const copy = copyOf(server, teams(5454));
  const first = laptop("laptop");
  carry(server, copy);
  settle(copy, first);
  server.write("UPDATE scouting SET note = 'past capture' WHERE id = 1; DELETE FROM scouting WHERE id = 2; DELETE FROM _scoutsync_capture");
  carry(server, copy);
  settle(copy, first);
  expect(sorted(first)).toEqual(["past capture", "third"]);
  expect(notes(first)).toEqual(server.rows("SELECT id, team, note, score FROM scouting ORDER BY id"));
});

test("a pass comes again where the server's application is writing just now, and the one that holds it still waits until it has written", () => {
  const server = main();
  const copy = copyOf(server, teams(5454));
  carry(server, copy);
  copy.edit("INSERT INTO scouting(team, note) VALUES(5454, 'from a laptop')");
  server.write("BEGIN IMMEDIATE");
  expect(copy.replica.carryScope()).toMatchObject({ complete: false, problem: "" });
  let isHere = true;
  const sleep = vi.spyOn(Atomics, "wait").mockImplementation(() => {
    if (isHere && server.app.inTransaction) server.write("ROLLBACK");
    return "timed-out";
  });
  onTestFinished(() => sleep.mockRestore());
  expect(copy.replica.carryScope(true)).toMatchObject({ complete: true, problem: "", toMain: 1 });
  server.replica.drain();
  expect(sorted(server)).toEqual(["from a laptop"]);
  // One that stays is said to be what it is.
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (nowMs += 500));
  let nowMs = 0;
  onTestFinished(() => clock.mockRestore());
  isHere = false;
  server.write("BEGIN IMMEDIATE");
  expect(refusal(() => copy.replica.carryScope(true))).toBe("DATABASE_LOCKED");
  server.write("ROLLBACK");
});
