import { expect, test } from "vitest";
import { SECOND_US, settle, Site } from "./site.ts";

const TEAM = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT)";
const NOTES = [
  ["by integer", "CREATE TABLE note(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), line TEXT)"],
  ["in its key", "CREATE TABLE note(team INTEGER NOT NULL REFERENCES team(id), line TEXT, PRIMARY KEY(team, line))"],
  ["without a key", "CREATE TABLE note(team INTEGER REFERENCES team(id), line TEXT)"],
] as const;
const NOTE = NOTES[0][1];
const WRITTEN = "INSERT INTO team VALUES(1, 'one'); INSERT INTO note(team, line) VALUES(1, 'stays')";
const LINES = "SELECT line, name FROM note LEFT JOIN team ON team.id = team";

function sites(note: string, foreignKeys = "ON"): [Site, Site] {
  const pair: [Site, Site] = [new Site("a", `${TEAM}; ${note}`), new Site("b", `${TEAM}; ${note}`)];
  for (const { app } of pair) app.pragma(`foreign_keys = ${foreignKeys}`);
  return pair;
}

/** What a session does with rows that differ though neither side lacks anything. */
function mend(a: Site, b: Site, table: string): void {
  const keys = b.replica.digests({ table, buckets: Array.from({ length: 256 }, (_, i) => i), deep: false }).entries.map(({ key }) => key);
  const [ours, theirs] = [a, b].map(({ replica }) => replica.wholeRows({ table, keys, codecs: [] }));
  if (theirs) a.replica.apply(theirs);
  if (ours) b.replica.apply(ours);
}

/** The table is back on both sites, and so is its row, as the other one still had it. */
function expectBack(a: Site, b: Site): void {
  settle(a, b);
  mend(a, b, "note");
  settle(a, b);
  for (const site of [a, b]) expect(site.rows(LINES)).toEqual([{ line: "stays", name: "one" }]);
  expect(a.pull(b).at(-1)?.verified).toBe(true);
}

test.each(NOTES)("a delete by an application that has dropped a table says nothing of its rows: %s", (_, note) => {
  const [a, b] = sites(note);
  a.edit(WRITTEN);
  settle(a, b);
  a.edit("DROP TABLE note");
  a.edit("DELETE FROM team", a.nowUs + 11 * SECOND_US);
  b.pull(a);
  expect(b.app.pragma("foreign_key_check")).toEqual([]);
  expect(b.rows(LINES)).toEqual([{ line: "stays", name: "one" }]);
  a.edit(note, a.nowUs + SECOND_US);
  expectBack(a, b);
});

test.each(NOTES)("nor does one from before it dropped the table, where others hear of it only then: %s", (_, note) => {
  const [a, b] = sites(note);
  a.edit(WRITTEN);
  settle(a, b);
  // The row that went from the one team to the other went with its table: others have it as it was.
  a.edit("INSERT INTO team VALUES(2, 'two'); UPDATE note SET team = 2; DELETE FROM team WHERE id = 1");
  a.edit("DROP TABLE note", a.nowUs + SECOND_US);
  a.nowUs += 11 * SECOND_US;
  settle(a, b);
  expect(b.app.pragma("foreign_key_check")).toEqual([]);
  expect(b.rows(LINES)).toEqual([{ line: "stays", name: "one" }]);
  a.edit(note, a.nowUs + SECOND_US);
  expectBack(a, b);
});

test("nor does one that has made it again, as long as the rows are not back", () => {
  const [a, b] = sites(NOTE);
  a.edit(WRITTEN);
  settle(a, b);
  a.edit("DROP TABLE note");
  a.edit(NOTE, a.nowUs + 11 * SECOND_US);
  a.edit("DELETE FROM team");
  b.pull(a);
  expect(b.rows(LINES)).toEqual([{ line: "stays", name: "one" }]);
});

test("a row that nothing refers to any more goes once nobody has the table", () => {
  const [a, b] = sites(NOTE);
  a.edit(WRITTEN);
  settle(a, b);
  a.edit("DROP TABLE note");
  a.edit("DELETE FROM team", a.nowUs + 11 * SECOND_US);
  b.pull(a);
  b.edit("DROP TABLE note");
  b.nowUs += 11 * SECOND_US;
  settle(a, b);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  for (const site of [a, b]) expect(site.rows("SELECT * FROM team")).toEqual([]);
});

const VISIT = "CREATE TABLE visit(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id))";
const VISITS = "SELECT visit.team, name FROM visit LEFT JOIN team ON team.id = team";

/** An application without foreign keys has left a visit behind whose team it deleted. */
function expectLeft(a: Site, b: Site): void {
  settle(a, b);
  for (const site of [a, b]) expect(site.rows(VISITS)).toEqual([{ team: 1, name: null }]);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
}

test("where the application leaves rows behind that it sees, it means to", () => {
  const [a, b] = sites(`${NOTE}; ${VISIT}`, "OFF");
  b.edit(`${WRITTEN}; INSERT INTO visit VALUES(1, 1)`);
  settle(a, b);
  for (const site of [a, b]) site.edit("DROP TABLE note");
  a.edit("DELETE FROM team", a.nowUs + 11 * SECOND_US);
  b.nowUs = a.nowUs;
  expectLeft(a, b);
});

test("also where it dropped the table after it had deleted what they refer to", () => {
  const [a, b] = sites(`${NOTE}; ${VISIT}`, "OFF");
  b.edit(`${WRITTEN}; INSERT INTO visit VALUES(1, 1)`);
  settle(a, b);
  b.edit("DROP TABLE note");
  a.edit("DELETE FROM note; DELETE FROM team", a.nowUs + SECOND_US);
  a.edit("INSERT INTO note(line) VALUES('another')");
  a.edit("DROP TABLE note");
  a.nowUs += 11 * SECOND_US;
  b.nowUs = a.nowUs;
  expectLeft(a, b);
});

test("also where it holds rows of a table that it never had", () => {
  const [a, b] = sites(VISIT, "OFF");
  const c = new Site("c", `${TEAM}; ${VISIT}; CREATE TABLE other(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id))`);
  b.edit("INSERT INTO team VALUES(1, 'one'); INSERT INTO visit VALUES(1, 1)");
  c.edit("INSERT INTO other(team) VALUES(NULL)");
  settle(a, b, c);
  a.edit("DELETE FROM team", a.nowUs + SECOND_US);
  expectLeft(a, b);
});
