import { expect, test } from "vitest";
import { seeded } from "./seeded.ts";
import { refusal, SECOND_US, Site, START_US } from "./site.ts";

const SCHEMA = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT); CREATE TABLE note(id INTEGER PRIMARY KEY, x TEXT)";
const HOUR_US = 3_600 * SECOND_US;
/** What a machine that is put back draws again. No site draws from it by itself: these count from 1. */
const PUT_BACK = 1_000_007;

/**
 * Two sites in step, of which the first is then put back to before its last writes while it runs, as a virtual machine
 * is: it goes on under the same origin, and has written something else since.
 */
function putBack(): [Site, Site] {
  const a = new Site("a", SCHEMA, { random: seeded(PUT_BACK) });
  const b = new Site("b", SCHEMA);
  a.edit("INSERT INTO word VALUES('before', '1'); INSERT INTO note VALUES(1, 'before')");
  const snapshot = a.backup();
  a.edit("INSERT INTO word VALUES('gone', '2'); INSERT INTO note VALUES(2, 'gone')", START_US + SECOND_US);
  a.edit("UPDATE word SET x = 'gone' WHERE k = 'before'; INSERT INTO word VALUES('gone too', '3')", START_US + 2 * SECOND_US);
  b.pull(a);
  const [before] = a.vector.split(":");
  a.options.random = seeded(PUT_BACK);
  a.replaceFile(snapshot);
  a.edit("INSERT INTO word VALUES('again', '4'); INSERT INTO note VALUES(2, 'again')", START_US + 3 * SECOND_US);
  expect(a.vector).toBe(`${before}:4`);
  return [a, b];
}

/** What a session does when two stand at the same vector with different digests. */
function mend(a: Site, b: Site): void {
  for (const table of ["word", "note"]) {
    const keys = [a, b].flatMap((site) => site.rows(`SELECT * FROM ${table}`).map((row) => String(Object.values(row)[0])));
    const [ours, theirs] = [a, b].map((site) => site.replica.wholeRows({ table, keys: [...new Set(keys)], codecs: [] }));
    a.replica.apply(theirs!);
    b.replica.apply(ours!);
  }
  for (let round = 0; round < 3; round++) {
    a.pull(b);
    b.pull(a);
  }
}

/** Every text that is in a row or listed as the loser of a conflict. */
function texts(site: Site): string[] {
  const inRows = [...site.rows("SELECT k AS x FROM word"), ...site.rows("SELECT x FROM note")].map(({ x }) => JSON.stringify(x));
  const losers = site.conflicts.map(({ loser }) => JSON.stringify(loser?.value));
  return [...new Set([...inRows, ...losers])].map((text) => JSON.parse(text) as string).sort();
}

test("a machine that was put back while it ran gives up its origin: nothing of either time is lost, and what it writes then arrives", () => {
  const [a, b] = putBack();
  const results = a.pull(b);
  expect(results.some(({ originGivenUp }) => originGivenUp)).toBe(true);
  expect(results.at(-1)?.verified).toBe(false);
  mend(a, b);
  a.edit("INSERT INTO word VALUES('later', '5')", START_US + 10 * SECOND_US);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  for (const site of [a, b]) {
    expect(texts(site)).toEqual(["again", "before", "gone", "gone too", "later"]);
    expect(site.one("SELECT x FROM word WHERE k = 'before'")).toBe("gone");
  }
});

test.each([
  ["the same", "x"],
  ["another value", "other"],
])("an edit that two were told of with two times, and %s, has one place among those of others", (_, value) => {
  const a = new Site("a", SCHEMA, { random: seeded(PUT_BACK) });
  const [b, c, d] = [new Site("b", SCHEMA), new Site("c", SCHEMA), new Site("d", SCHEMA)];
  a.edit("INSERT INTO word VALUES('before', '1')");
  for (const site of [b, c, d]) site.pull(a);
  const snapshot = a.backup();
  a.edit("UPDATE word SET x = 'x' WHERE k = 'before'", START_US + 2 * SECOND_US);
  b.pull(a);
  c.edit("UPDATE word SET x = 'between' WHERE k = 'before'", START_US + 4 * SECOND_US);
  a.options.random = seeded(PUT_BACK);
  a.replaceFile(snapshot);
  a.edit(`UPDATE word SET x = '${value}' WHERE k = 'before'`, START_US + 6 * SECOND_US);
  d.pull(a);
  // The one that could say what it wrote is not there any more.
  expect(b.vector).toBe(d.vector);
  mend(b, d);
  for (const site of [b, d]) site.pull(c);
  expect(d.rows("SELECT * FROM word")).toEqual(b.rows("SELECT * FROM word"));
});

test("it is found out, too, when the other one asks first: nobody is served before it has pulled", () => {
  const [a, b] = putBack();
  expect(refusal(() => b.pull(a))).toBe("RESTORED");
  a.edit("INSERT INTO word VALUES('meanwhile', '5')", START_US + 5 * SECOND_US);
  a.pull(b);
  b.pull(a);
  mend(a, b);
  for (const site of [a, b]) expect(texts(site)).toEqual(["again", "before", "gone", "gone too", "meanwhile"]);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
});

test("one that keeps making up changes of a run does not have it begin origin after origin", () => {
  const a = new Site("a", SCHEMA);
  const b = new Site("b", SCHEMA);
  const claim = (sequence: number) => {
    const origin = [...a.replica.state().vector.keys()].find((name) => !claimed.has(name)) ?? "";
    claimed.add(origin);
    const batch = b.batchFor(a);
    return refusal(() => a.replica.apply({ ...batch, vector: new Map([...batch.vector, [origin, sequence]]) }));
  };
  const claimed = new Set<string>();
  a.edit("INSERT INTO word VALUES('one', '1')");
  expect(claim(99)).toBe("nothing was refused");
  a.edit("INSERT INTO word VALUES('two', '2')", START_US + SECOND_US);
  expect(claim(99)).toBe("BATCH_CORRUPT");
  a.edit("INSERT INTO word VALUES('three', '3')", START_US + 2 * HOUR_US);
  expect(a.vector.split(",")).toHaveLength(2);
  claimed.delete([...claimed].at(-1) ?? "");
  expect(claim(99)).toBe("nothing was refused");
  // Whoever believed it gets what was written since.
  b.pull(a);
  expect(b.rows("SELECT k FROM word ORDER BY k").length).toBe(3);
});

test.each([
  ["a row of another table", "INSERT INTO word VALUES('true', 'true')", "INSERT INTO note VALUES(1, 'forged')"],
  ["another row of the table", "INSERT INTO word VALUES('true', 'true')", "INSERT INTO word VALUES('forged', 'forged')"],
  ["what names a row", "INSERT INTO note VALUES(1, 'true')", "INSERT INTO word VALUES('forged', 'forged')"],
])("%s that somebody forged under another one's next number: both are everywhere, also at who comes new", (_, truth, forged) => {
  const a = new Site("a", SCHEMA, { random: seeded(PUT_BACK) });
  const b = new Site("b", SCHEMA);
  // Draws the same origin as the one it writes in the name of.
  const forger = new Site("forger", SCHEMA, { random: seeded(PUT_BACK) });
  forger.edit(forged);
  b.pull(forger);
  a.edit(truth, START_US + SECOND_US);
  expect(a.vector).toBe(b.vector);
  expect(a.pull(b).at(-1)?.verified).toBe(false);
  mend(a, b);
  const c = new Site("c", SCHEMA);
  c.pull(b);
  for (const site of [a, b, c]) expect(texts(site)).toEqual(["forged", "true"]);
  expect(c.pull(a).at(-1)?.verified).toBe(true);
});

test("what somebody forged of a row, under the name it has, is history where its author meets it", () => {
  const a = new Site("a", SCHEMA, { random: seeded(PUT_BACK) });
  const b = new Site("b", SCHEMA);
  const forger = new Site("forger", SCHEMA, { random: seeded(PUT_BACK) });
  forger.edit("INSERT INTO note VALUES(30, 'forged')");
  b.pull(forger);
  a.edit("INSERT INTO note VALUES(1, 'true')", START_US + SECOND_US);
  a.pull(b);
  mend(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT x FROM note")).toEqual([{ x: "true" }]);
  expect(JSON.stringify(a.rows("SELECT * FROM note"))).toBe(JSON.stringify(b.rows("SELECT * FROM note")));
});
