import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** A migration that makes a table and fills it, as every server runs it. */
const SEED = `CREATE TABLE status(id INTEGER PRIMARY KEY, label TEXT, n INT);
  INSERT INTO status(id, label) VALUES(1, 'open'), (2, 'closed'), (3, 'late')`;
const PART = "CREATE TABLE part(id INTEGER PRIMARY KEY, name TEXT, status INT)";

function sites(): [Site, Site, Site] {
  return [new Site("a", PART), new Site("b", PART), new Site("c", PART)];
}

/** Everyone has these rows, says so, and asks nobody. */
function expectAll(all: readonly Site[], sql: string, rows: unknown[]): void {
  settle(...all);
  for (const site of all) {
    expect(site.rows(sql), site.name).toEqual(rows);
    expect(site.conflicts, site.name).toEqual([]);
    expect(site.replica.state().digest, site.name).toEqual(all[0]?.replica.state().digest);
  }
}

const LABELS = "SELECT id, label FROM status ORDER BY id";
const SEEDED = ["open", "closed", "late"].map((label, i) => ({ id: i + 1, label }));

test("rows that a migration seeds with integers are there once, where every server ran it before any met another", () => {
  const all = sites();
  for (const [i, site] of all.entries()) site.edit(SEED, at(i));
  expectAll(all, LABELS, SEEDED);
  all[1].edit("UPDATE status SET label = 'done' WHERE id = 2; INSERT INTO status(label) VALUES('lost')", at(5));
  const now = SEEDED.map((row) => (row.id === 2 ? { id: 2, label: "done" } : row));
  expectAll(all, LABELS, [...now, { id: 4, label: "lost" }]);
});

test("a server that runs the migration later takes its rows for those it holds from others, with what these wrote to them since", () => {
  const all = sites();
  const [a, b, c] = all;
  a.edit(SEED, at(0));
  settle(...all);
  a.edit("UPDATE status SET label = 'done' WHERE id = 2; DELETE FROM status WHERE id = 3; INSERT INTO status VALUES(7, 'lost', 1)", at(1));
  settle(a, b);
  b.edit(`${SEED}; INSERT INTO part VALUES(1, 'of b', 1)`, at(2));
  const now = [SEEDED[0], { id: 2, label: "done" }, { id: 7, label: "lost" }];
  expect(b.rows(LABELS)).toEqual(now);
  c.edit(SEED, at(3));
  expectAll(all, LABELS, now);
  b.edit("UPDATE status SET n = 4", at(4));
  c.edit("DELETE FROM status WHERE id = 1", at(5));
  expectAll(
    all,
    "SELECT id, n FROM status ORDER BY id",
    [2, 7].map((id) => ({ id, n: 4 })),
  );
});

test("a server that comes once seeds are deleted and forgotten, and runs the migration last, has none of them twice or again", () => {
  const both = [new Site("a", PART), new Site("b", PART)];
  const [a, b] = both as [Site, Site];
  for (const [i, site] of both.entries()) site.edit(SEED, at(i));
  settle(a, b);
  a.edit("DELETE FROM status WHERE id = 3; UPDATE status SET label = 'done' WHERE id = 2", at(2));
  settle(a, b);
  for (const [site, other] of [
    [a, b],
    [b, a],
  ] as const) {
    site.nowUs = at(60);
    site.replica.acknowledge({ id: other.name, name: other.name }, other.replica.state().vector);
    expect(site.replica.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 1 });
  }
  const c = new Site("c", PART);
  c.pull(a);
  c.edit(SEED, at(90));
  expectAll([a, b, c], LABELS, [SEEDED[0], { id: 2, label: "done" }]);
  c.edit("INSERT INTO status(id, label) VALUES(3, 'new'); DELETE FROM status WHERE id = 1", at(91));
  expectAll([a, b, c], LABELS, [
    { id: 2, label: "done" },
    { id: 3, label: "new" },
  ]);
});

test("where a server's seeds are others, all of them stay", () => {
  const all = sites();
  const [a, b, c] = all;
  a.edit(SEED, at(0));
  b.edit(SEED.replace("closed", "shut"), at(1));
  c.edit(SEED, at(2));
  expectAll(
    all,
    "SELECT label, count(*) AS n FROM status GROUP BY label ORDER BY label",
    [
      ["closed", 1],
      ["late", 2],
      ["open", 2],
      ["shut", 1],
    ].map(([label, n]) => ({ label, n })),
  );
});

test("a table is renamed and another put in its place: no row is there once per server", () => {
  const all = sites();
  const [a, b] = all;
  a.edit("INSERT INTO part VALUES(1, 'one', 1), (2, 'two', 2)", at(0));
  settle(...all);
  for (const [i, site] of all.entries())
    site.edit("ALTER TABLE part RENAME TO part_2025; CREATE TABLE part(id INTEGER PRIMARY KEY, name TEXT)", at(i + 1));
  b.edit("INSERT INTO part VALUES(1, 'new')", at(5));
  a.edit("UPDATE part_2025 SET name = 'edited' WHERE id = 2", at(6));
  expectAll(
    all,
    "SELECT name FROM part UNION ALL SELECT name FROM part_2025 ORDER BY name",
    ["edited", "new", "one"].map((name) => ({ name })),
  );
});
