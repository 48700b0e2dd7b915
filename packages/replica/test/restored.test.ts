import { expect, test } from "vitest";
import { refusal, SECOND_US, Site, START_US } from "./site.ts";

const SCHEMA = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT)";

const nothing = { from: new Map(), batchSize: 0, codecs: [], beyondDigest: new Uint8Array() };

test("a backup that lacks what the node noted serves no one, over restarts, until it has pulled once", () => {
  const a = new Site("a", SCHEMA);
  const b = new Site("b", SCHEMA);
  a.edit("INSERT INTO word VALUES('before', '')");
  const backup = a.backup();
  a.edit("INSERT INTO word VALUES('lost here', '')", START_US + SECOND_US);
  b.pull(a);
  a.options.hadBefore = a.replica.state().vector;
  a.replaceFile(backup);
  expect(a.replica.state().restored).toBe(true);
  delete a.options.hadBefore;
  a.restart();
  expect(refusal(() => a.replica.read(nothing))).toBe("RESTORED");
  expect(refusal(() => a.replica.wholeRows({ table: "word", keys: [], codecs: [] }))).toBe("RESTORED");
  // In the middle of a stream it has not pulled yet.
  b.edit("INSERT INTO word VALUES('of b', '')", START_US + 2 * SECOND_US);
  a.pull(b, { batchSize: 1, batches: 1 });
  expect(refusal(() => a.replica.read(nothing))).toBe("RESTORED");
  a.pull(b);
  a.restart();
  expect(a.replica.state()).toMatchObject({ restored: false, problem: "" });
  expect(a.rows("SELECT k FROM word ORDER BY k")).toEqual([{ k: "before" }, { k: "lost here" }, { k: "of b" }]);
  b.pull(a);
});

test("it is found out where nothing was noted: by someone who has more of its changes than itself", () => {
  const a = new Site("a", SCHEMA);
  const b = new Site("b", SCHEMA);
  a.edit("INSERT INTO word VALUES('before', '')");
  const backup = a.backup();
  a.edit("INSERT INTO word VALUES('lost here', '')", START_US + SECOND_US);
  b.pull(a);
  a.replaceFile(backup);
  expect(a.replica.state().restored).toBe(false);
  expect(refusal(() => b.pull(a))).toBe("RESTORED");
  a.pull(b);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
});

test("one that has all it had serves at once, and so does one that is told to", () => {
  const a = new Site("a", SCHEMA);
  a.edit("INSERT INTO word VALUES('before', '')");
  a.options.hadBefore = a.replica.state().vector;
  a.restart();
  expect(a.replica.state().restored).toBe(false);
  a.options.hadBefore = new Map([...a.options.hadBefore, ["aaaaaaaaaaaaaaaa", 1]]);
  a.options.serveRestored = true;
  a.restart();
  expect(a.replica.read(nothing).count).toBe(1);
});
