import { expect, test } from "vitest";
import { parseCondition, type ScopeRule } from "../src/index.ts";
import { all, carry, copyOf } from "./scope-site.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
CREATE TABLE run(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, note TEXT, score INTEGER DEFAULT 0);
CREATE TABLE shot(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, run_id INTEGER REFERENCES run(id), body TEXT);
`;

const rule: ScopeRule = {
  name: "team-1",
  tables: [all("run", { where: parseCondition("team = 1"), follow: true }), all("shot", { where: parseCondition("team = 1") })],
};

const runs = (site: Site) => site.rows("SELECT id, note, score FROM run WHERE team = 1 ORDER BY note");
const shots = (site: Site) => site.rows("SELECT s.body, r.note FROM shot AS s JOIN run AS r ON r.id = s.run_id ORDER BY s.body");
const kept = (copy: Site) => copy.replica.keptOfScope({ id: "", limit: 0 });

const at = (seconds: number) => START_US + seconds * SECOND_US;

function meet(server: Site, copy: Site, laptops: readonly Site[], seconds: number): void {
  for (const site of [server, copy, ...laptops]) site.nowUs = at(seconds);
  for (let round = 0; round < 3; round++) {
    for (const laptop of laptops) settle(copy, laptop);
    carry(server, copy);
  }
  for (const laptop of laptops) settle(copy, laptop);
}

test("two laptops that gave one integer to two rows: the row that the server has stays that row there, with its edits from everywhere", () => {
  const server = new Site("server", SCHEMA);
  const copy = copyOf(server, rule);
  const [first, second] = [new Site("first", SCHEMA), new Site("second", SCHEMA)];
  meet(server, copy, [first, second], 1);
  // Typed earlier, and nobody hears of it yet: by that this row keeps the integer among nodes of the scope.
  second.edit("INSERT INTO run VALUES(1, 1, 'typed second', 2)", at(2));
  first.edit("INSERT INTO run VALUES(1, 1, 'typed first', 1); INSERT INTO shot VALUES(1, 1, 1, 'of first')", at(3));
  meet(server, copy, [first], 4);
  const birth = () => server.replica.history("run", "1").find(({ operation }) => operation === "insert");
  const born = birth();
  expect(born).toBeDefined();
  expect(runs(server)).toEqual([{ id: 1, note: "typed first", score: 1 }]);
  // The first laptop goes on with its row, and adds to it, while the second one comes and the server changes it.
  first.edit("UPDATE run SET score = 11 WHERE id = 1; INSERT INTO shot VALUES(2, 1, 1, 'while away')", at(5));
  server.edit("UPDATE run SET note = 'typed first, better' WHERE id = 1", at(6));
  meet(server, copy, [second], 7);
  meet(server, copy, [first, second], 8);
  meet(server, copy, [first, second], 9);
  expect(server.rows("SELECT id, note, score FROM run WHERE id = 1")).toEqual([{ id: 1, note: "typed first, better", score: 11 }]);
  expect(birth()).toEqual(born);
  expect(runs(server).map(({ note, score }) => `${String(note)} ${String(score)}`)).toEqual(["typed first, better 11", "typed second 2"]);
  expect(shots(server)).toEqual([
    { body: "of first", note: "typed first, better" },
    { body: "while away", note: "typed first, better" },
  ]);
  expect(kept(copy)).toEqual([]);
  for (const laptop of [first, second]) {
    expect(runs(laptop)).toEqual(runs(server));
    expect(shots(laptop)).toEqual(shots(server));
    expect(laptop.replica.state().digest).toEqual(copy.replica.state().digest);
  }
});

test("a row that gets another integer among full nodes stays the row that it was in a scope: what a laptop types meanwhile is written to it", () => {
  const [server, other] = [new Site("server", SCHEMA), new Site("other", SCHEMA)];
  const copy = copyOf(server, rule);
  const laptop = new Site("laptop", SCHEMA);
  other.edit("INSERT INTO run VALUES(1, 2, 'of another team', 0)", at(1));
  server.edit("INSERT INTO run VALUES(1, 1, 'ours', 1); INSERT INTO shot VALUES(1, 1, 1, 'of ours')", at(2));
  meet(server, copy, [laptop], 3);
  laptop.edit("UPDATE run SET note = 'ours, better' WHERE id = 1; INSERT INTO shot VALUES(2, 1, 1, 'typed meanwhile')", at(4));
  settle(server, other);
  expect(server.one("SELECT note FROM run WHERE id = 1")).toBe("of another team");
  meet(server, copy, [laptop], 5);
  expect(runs(server).map(({ note }) => note)).toEqual(["ours, better"]);
  expect(shots(server)).toEqual([
    { body: "of ours", note: "ours, better" },
    { body: "typed meanwhile", note: "ours, better" },
  ]);
  expect(runs(laptop)).toEqual(runs(server));
  expect(shots(laptop)).toEqual(shots(server));
  expect(kept(copy)).toEqual([]);
});

test("a row that left the scope and is back: what a laptop typed in it meanwhile is in it, and both sides' edits of one column are not lost", () => {
  const server = new Site("server", SCHEMA);
  const copy = copyOf(server, rule);
  const laptop = new Site("laptop", SCHEMA);
  server.edit("INSERT INTO run VALUES(1, 1, 'ours', 1), (2, 1, 'also ours', 1)", at(1));
  meet(server, copy, [laptop], 2);
  laptop.edit("UPDATE run SET note = 'typed away' WHERE id = 1; UPDATE run SET note = 'typed away, too' WHERE id = 2", at(3));
  server.edit("UPDATE run SET team = 2", at(4));
  carry(server, copy);
  expect(runs(copy)).toEqual([]);
  server.edit("UPDATE run SET team = 1; UPDATE run SET note = 'of the server' WHERE id = 2", at(5));
  carry(server, copy);
  meet(server, copy, [laptop], 6);
  meet(server, copy, [laptop], 7);
  expect(runs(server)).toEqual([
    { id: 2, note: "of the server", score: 1 },
    { id: 1, note: "typed away", score: 1 },
  ]);
  expect(runs(laptop)).toEqual(runs(server));
  expect(kept(copy).map(({ image }) => image?.find(({ name }) => name === "note")?.value)).toEqual(["typed away, too"]);
});

test("another row under the integer of one that was deleted is another row, also when it leaves the scope", () => {
  const server = new Site("server", SCHEMA);
  const copy = copyOf(server, rule);
  const laptop = new Site("laptop", SCHEMA);
  server.edit("INSERT INTO run VALUES(1, 1, 'first', 1)", at(1));
  meet(server, copy, [laptop], 2);
  server.edit("DELETE FROM run", at(3));
  server.edit("INSERT INTO run VALUES(1, 1, 'second', 1)", at(4));
  meet(server, copy, [laptop], 5);
  expect(runs(laptop)).toEqual([{ id: 1, note: "second", score: 1 }]);
  server.edit("UPDATE run SET team = 2", at(6));
  meet(server, copy, [laptop], 7);
  expect(server.rows("SELECT id, team, note FROM run")).toEqual([{ id: 1, team: 2, note: "second" }]);
  expect(runs(laptop)).toEqual([]);
  expect(kept(copy)).toEqual([]);
});

test("a scope becomes smaller while a laptop is away: what it typed is kept and listed, also of conflicts, and a wider scope has all rows again", () => {
  const wide: ScopeRule = {
    name: "team-1",
    tables: [all("run", { where: parseCondition("team IN (1, 3)"), follow: true }), all("shot", { where: parseCondition("team = 1") })],
  };
  const server = new Site("server", SCHEMA);
  const copy = copyOf(server, wide);
  const [laptop, other] = [new Site("laptop", SCHEMA), new Site("other", SCHEMA)];
  server.edit("INSERT INTO run VALUES(1, 1, 'stays', 1), (2, 3, 'leaves', 1), (3, 3, 'deleted there', 1), (4, 3, 'disputed', 1)", at(1));
  meet(server, copy, [laptop, other], 2);
  // A conflict that is open when the row leaves, and edits, a delete and a new row that nobody has heard of.
  laptop.edit("UPDATE run SET note = 'one says' WHERE id = 4", at(3));
  other.edit("UPDATE run SET note = 'the other says' WHERE id = 4", at(4));
  settle(copy, other);
  settle(copy, laptop);
  expect(copy.conflicts).toHaveLength(1);
  laptop.edit("UPDATE run SET note = 'typed in one that leaves' WHERE id = 2; DELETE FROM run WHERE id = 3", at(5));
  laptop.edit("INSERT INTO run VALUES(9, 3, 'typed for what leaves', 1); UPDATE run SET note = 'stays, edited' WHERE id = 1", at(6));

  const define = (to: ScopeRule) => {
    copy.options.scope = { ...copy.options.scope!, rule: to };
    copy.restart();
  };
  define(rule);
  meet(server, copy, [laptop, other], 7);
  const before = server.rows("SELECT id, team, note FROM run ORDER BY id");
  expect(before).toEqual([
    { id: 1, team: 1, note: "stays, edited" },
    { id: 2, team: 3, note: "leaves" },
    { id: 3, team: 3, note: "deleted there" },
    { id: 4, team: 3, note: "disputed" },
  ]);
  for (const site of [laptop, other]) expect(site.rows("SELECT note FROM run")).toEqual([{ note: "stays, edited" }]);
  const listed = kept(copy).map(({ image }) => image?.find(({ name }) => name === "note")?.value);
  expect(new Set(listed)).toEqual(new Set(["the other says", "typed for what leaves", "typed in one that leaves"]));
  expect(listed).toHaveLength(3);
  // What lost the conflict before is in the row's history at the server, as of any row that is deleted while one is open.
  const history = copy.replica.history("run", "4");
  expect(history.filter(({ value }) => value === "one says").map(({ operation }) => operation)).toEqual(["conflict"]);

  define(wide);
  meet(server, copy, [laptop, other], 8);
  for (const site of [laptop, other, copy]) expect(site.rows("SELECT id, team, note FROM run ORDER BY id")).toEqual(before);
});
