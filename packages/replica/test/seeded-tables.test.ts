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

const LINES = `CREATE TABLE line(label TEXT); INSERT INTO line VALUES('open'), ('late'), ('late')`;

test.each([
  ["", ["late", "late", "open"]],
  ["INSERT INTO line VALUES('lost')", ["late", "late", "lost", "open"]],
  ["UPDATE line SET label = 'done' WHERE label = 'open'", ["done", "late", "late"]],
  ["DELETE FROM line WHERE rowid = 3", ["late", "open"]],
])("so it is with rows without a key: %s", (sql, labels) => {
  const all = sites();
  const [a, b, c] = all;
  a.edit(LINES, at(0));
  if (sql) a.edit(sql, at(1));
  settle(a, b);
  for (const site of [b, c]) site.edit(LINES, at(2));
  expectAll(
    all,
    "SELECT label FROM line ORDER BY label",
    labels.map((label) => ({ label })),
  );
});

test("none of them comes back that was deleted and is forgotten, without a key, either", () => {
  const [a, b, c] = sites();
  for (const [i, site] of [a, b].entries()) site.edit(LINES, at(i));
  settle(a, b);
  a.edit("DELETE FROM line WHERE rowid < 3", at(2));
  settle(a, b);
  a.nowUs = at(60);
  a.replica.acknowledge({ id: b.name, name: b.name }, b.replica.state().vector);
  expect(a.replica.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 2 });
  c.pull(a);
  c.edit(LINES, at(90));
  expectAll([a, c], "SELECT label FROM line", [{ label: "late" }]);
});

test.each([1, 2, 3, 4])("so it is where the others' rows are still on their way: %i of them have come", (batches) => {
  const all = sites();
  const [a, b] = all;
  // What is written later comes first, and names the seeds.
  a.edit("INSERT INTO part VALUES(1, 'of a', 1)", at(0));
  a.edit(`${SEED}; ${LINES}`, at(1));
  a.edit("UPDATE part SET name = 'edited'; UPDATE status SET label = 'done' WHERE id = 2; DELETE FROM line WHERE rowid = 3", at(2));
  b.pull(a, { batchSize: 1, batches });
  b.edit(`${SEED}; ${LINES}`, at(3));
  expectAll(
    all.slice(0, 2),
    "SELECT label FROM status UNION ALL SELECT label FROM line ORDER BY label",
    ["done", "late", "late", "open", "open"].map((label) => ({ label })),
  );
});

test.each(["", "id INTEGER PRIMARY KEY, "])("rows that a migration makes of others stay those of their own: %s", (key) => {
  const all = sites();
  const [a, b, c] = all;
  for (const [i, site] of [a, b].entries()) site.edit(`INSERT INTO part VALUES(1, 'of ${site.name}', 1)`, at(i));
  c.pull(a);
  const fill = `CREATE TABLE box(${key}part INT REFERENCES part(id), label TEXT); INSERT INTO box(part, label) SELECT id, 'full' FROM part`;
  for (const [i, site] of [a, b].entries()) site.edit(fill, at(2 + i));
  settle(...all);
  c.edit(fill.split(";")[0] as string, at(5));
  expectAll(
    all,
    "SELECT name, label FROM box JOIN part ON part.id = part ORDER BY name",
    ["of a", "of b"].map((name) => ({ name, label: "full" })),
  );
});

test("rows without a key are there once where they refer to what the same migration seeds", () => {
  const all = sites();
  const fill = `CREATE TABLE box(kind INT REFERENCES kind(id)); CREATE TABLE kind(id INTEGER PRIMARY KEY); INSERT INTO kind VALUES(1), (2);
    INSERT INTO box VALUES(2), (1), (2), (NULL)`;
  for (const [i, site] of all.entries()) site.edit(fill, at(i));
  expectAll(
    all,
    "SELECT kind FROM box ORDER BY kind",
    [null, 1, 2, 2].map((kind) => ({ kind })),
  );
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

test.each([false, true])(
  "seeds with integers that refer to what the same migration seeds are there once; each server was met before: %s",
  (met) => {
    const all = sites();
    const fill = `CREATE TABLE kind(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE box(id INTEGER PRIMARY KEY, kind INT REFERENCES kind(id));
    INSERT INTO kind VALUES(1, 'one'), (2, 'two'); INSERT INTO box VALUES(1, 2), (2, 1), (3, 2)`;
    for (const [i, site] of all.entries()) {
      site.edit(fill, at(i));
      for (const other of met ? all : []) if (other !== site) other.pull(site);
    }
    const names = ["two", "one", "two"].map((name, i) => ({ id: i + 1, name }));
    expectAll(all, "SELECT box.id, name FROM box JOIN kind ON kind.id = kind ORDER BY box.id", names);
  },
);
