import { expect, test } from "vitest";
import { julianDay, SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

const SCHEMA = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, x TEXT, old TEXT);
  CREATE TABLE seat(team INTEGER NOT NULL REFERENCES team(id), k TEXT NOT NULL, x TEXT, PRIMARY KEY(team, k))`;
const DROP = "ALTER TABLE team DROP COLUMN old";
const KEYLESS = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, old TEXT); CREATE TABLE visit(note TEXT, old TEXT)";

function sites(): [Site, Site] {
  return [new Site("a", SCHEMA), new Site("b", SCHEMA)];
}

function expectEqual(...all: [Site, ...Site[]]): void {
  settle(...all);
  const [first] = all;
  for (const site of all) {
    for (const table of ["team", "seat"])
      expect(site.rows(`SELECT * FROM ${table} ORDER BY 1, 2`)).toEqual(first.rows(`SELECT * FROM ${table} ORDER BY 1, 2`));
    expect(Buffer.from(site.replica.state().digest).equals(first.replica.state().digest)).toBe(true);
  }
}

test("what a migration fills in of a row that is kept reaches others where it also brings that row back", () => {
  const add = "ALTER TABLE team ADD COLUMN motto TEXT";
  const [a, b] = sites();
  a.edit("INSERT INTO team(id, name) VALUES(1, 'one')", at(0));
  settle(a, b);
  a.edit("DELETE FROM team", at(1));
  b.edit("INSERT INTO seat VALUES(1, 'left', 'of b')", at(1));
  settle(a, b);
  a.edit(`${add}; UPDATE team SET motto = 'filled'; INSERT INTO seat VALUES(1, 'right', 'of a')`, at(2));
  b.edit(add, at(3));
  expectEqual(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT id, name, motto FROM team")).toEqual([{ id: 1, name: "one", motto: "filled" }]);
});

test.each([false, true])(
  "a row and one that names it in its key, written just before a migration, go on together: the drain before it fails: %s, seed 106 of test/simulation/fleet",
  (fails) => {
    const all = sites();
    const [a, b] = all;
    b.edit("INSERT INTO team VALUES(1, 'of b', 'x', 'y')", at(0));
    a.nowUs = at(5);
    a.write(`INSERT INTO team VALUES(1, 'of a', 'x', 'y'); INSERT INTO seat VALUES(1, 'k', 'of a'); ${DROP}`);
    if (fails) a.failDrain();
    b.write(DROP);
    expectEqual(...all);
    for (const site of all) expect(site.rows("SELECT name FROM seat JOIN team ON team.id = team")).toEqual([{ name: "of a" }]);
  },
);

test.each([false, true])(
  "a row that was deleted just before a migration can be restored: the drain before it fails: %s, seed 115 of test/simulation/fleet",
  (fails) => {
    const all = sites();
    const [a, b] = all;
    a.edit("INSERT INTO team VALUES(1, 'first', 'x', 'y')", at(0));
    settle(...all);
    a.nowUs = at(1);
    a.write(
      `INSERT INTO team VALUES(2, 'came and went', 'x', 'y'); DELETE FROM team; ${DROP}; ALTER TABLE team ADD COLUMN more TEXT DEFAULT 'more'`,
    );
    if (fails) a.failDrain();
    b.write(`${DROP}; ALTER TABLE team ADD COLUMN more TEXT DEFAULT 'more'`);
    expectEqual(...all);
    expect(b.rows("SELECT * FROM team")).toEqual([]);
    for (const id of ["1", "2"]) b.replica.restore("team", id);
    expectEqual(...all);
    expect(a.rows("SELECT * FROM team")).toEqual([
      { id: 1, name: "first", x: "x", more: "more" },
      { id: 2, name: "came and went", x: "x", more: "more" },
    ]);
  },
);

const REMADE = `CREATE TABLE made AS SELECT * FROM visit; DROP TABLE visit; CREATE TABLE visit(note TEXT, old TEXT);
  INSERT INTO visit SELECT * FROM made; DROP TABLE made`;

test.each([
  ["made anew while the node was down, seed 6000059 of test/simulation/fleet", true, REMADE],
  ["a column less while the node was down", true, "ALTER TABLE visit DROP COLUMN old"],
  ["made anew beside a table with a column less while the node was down", true, `${REMADE}; ${DROP}`],
  ["made anew beside a table with a column less", false, `${REMADE}; ${DROP}`],
  ["a column less beside a table with a column less", false, `ALTER TABLE visit DROP COLUMN old; ${DROP}`],
  ["made anew beside a renamed table while the node was down", true, `${REMADE}; ALTER TABLE team RENAME TO squad`],
  ["renamed while the node was down", true, "ALTER TABLE visit RENAME TO call"],
  ["renamed and a column less while the node was down", true, "ALTER TABLE visit RENAME TO call; ALTER TABLE call DROP COLUMN old"],
  ["renamed", false, "ALTER TABLE visit RENAME TO call"],
  ["a column less, and the drain before fails", false, "ALTER TABLE visit DROP COLUMN old", true],
  ["made anew, and the drain before fails", false, REMADE, true],
])("rows without a key that were deleted just before a migration can be restored: %s", (_, isDown, migration, fails = false) => {
  const all: [Site, Site] = [new Site("a", KEYLESS), new Site("b", KEYLESS)];
  const [a, b] = all;
  a.edit("INSERT INTO visit VALUES('deleted', 'x'), ('displaced', 'x'), ('edited and deleted', 'x'), ('stays', 'x')", at(0));
  settle(...all);
  if (isDown) a.replica.close();
  a.nowUs = at(1);
  a.write(`INSERT INTO team VALUES(1, 'new', 'x'); INSERT INTO visit VALUES('came and went', 'x');
    UPDATE visit SET note = 'edited' WHERE note LIKE 'edited%';
    INSERT OR REPLACE INTO visit(rowid, note) SELECT rowid, 'stays, too' FROM visit WHERE note = 'displaced';
    INSERT OR IGNORE INTO visit(rowid, note) SELECT rowid, 'never' FROM visit WHERE note = 'stays';
    DELETE FROM visit WHERE note NOT LIKE 'stays%'; ${migration}`);
  b.write(migration);
  if (isDown) a.start();
  if (fails) a.failDrain();
  settle(...all);
  const table = migration.includes("RENAME TO call") ? "call" : "visit";
  expect(b.rows(`SELECT note FROM ${table} ORDER BY 1`)).toEqual([{ note: "stays" }, { note: "stays, too" }]);
  const { changes } = b.replica.readable(new Map(), 100);
  for (const { operation, key } of changes) if (operation === "delete") b.replica.restore(table, key);
  settle(...all);
  const notes = ["came and went", "deleted", "displaced", "edited", "stays", "stays, too"].map((note) => ({ note }));
  for (const site of all) expect(site.rows(`SELECT note FROM ${table} ORDER BY 1`), site.name).toEqual(notes);
  expect(Buffer.from(a.replica.state().digest).equals(b.replica.state().digest)).toBe(true);
});

test.each([
  ["while the node was down", true, "ALTER TABLE visit DROP COLUMN old"],
  ["while the node is there", false, "ALTER TABLE visit DROP COLUMN old"],
  ["beside a table with a column less", false, `ALTER TABLE visit DROP COLUMN old; ${DROP}`],
])("rows without a key mean who took a number just before a column of theirs was dropped: %s", (_, isDown, migration) => {
  const schema =
    "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, old TEXT); CREATE TABLE visit(team INTEGER REFERENCES team, note TEXT, old TEXT)";
  const all: [Site, Site] = [new Site("a", schema), new Site("b", schema)];
  const [a, b] = all;
  a.edit("INSERT INTO team VALUES(1, 'first', 'x'); INSERT INTO visit VALUES(1, 'left', 'x'), (1, 'left', 'x'), (1, 'edited', 'x')", at(0));
  settle(...all);
  if (isDown) a.replica.close();
  a.nowUs = at(1);
  a.app.pragma("recursive_triggers = ON");
  a.write(`INSERT OR REPLACE INTO team VALUES(1, 'second', 'x'); ${migration}`);
  if (isDown) a.start();
  a.replica.drain();
  b.edit("UPDATE team SET name = 'first, edited'; UPDATE visit SET note = 'edited on b' WHERE note = 'edited'", at(2));
  b.write(migration);
  settle(...all);
  const rows = ["edited on b", "left", "left"].map((note) => ({ name: "second", note }));
  for (const site of all) {
    expect(site.rows("SELECT name, note FROM visit JOIN team ON team.id = team ORDER BY note"), site.name).toEqual(rows);
    expect(site.rows("SELECT name FROM team ORDER BY 1"), site.name).toEqual([{ name: "first, edited" }, { name: "second" }]);
  }
  expect(Buffer.from(a.replica.state().digest).equals(b.replica.state().digest)).toBe(true);
});

const COLUMNS = "CREATE TABLE item(id INTEGER PRIMARY KEY, alpha TEXT, beta TEXT, gamma TEXT)";
const ROW = "INSERT INTO item VALUES(1, 'alpha', 'beta', 'gamma')";
const LESS = "ALTER TABLE item DROP COLUMN alpha";

test("a row that was deleted just before a migration keeps its values where the transaction that follows it fails", () => {
  const a = new Site("a", COLUMNS);
  a.edit(ROW, at(0));
  a.write(`DELETE FROM item; ${LESS}`);
  const { reconciliation } = (a.replica as unknown as { parts: { reconciliation: { turn: (until: number) => unknown } } }).parts;
  const turn = reconciliation.turn.bind(reconciliation);
  reconciliation.turn = () => {
    reconciliation.turn = turn;
    throw new Error("disk full");
  };
  expect(() => a.replica.drain()).toThrow("disk full");
  a.replica.drain();
  a.replica.restore("item", "1");
  expect(a.rows("SELECT * FROM item")).toEqual([{ id: 1, beta: "beta", gamma: "gamma" }]);
});

test("a row that was deleted just before a migration keeps its values where another one refers to a database that is behind", () => {
  const users = new Site("a", "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT)", { dependents: [] });
  const linked = new Site("a", `CREATE TABLE note(id INTEGER PRIMARY KEY, user INTEGER); ${COLUMNS}`, {
    rules: ["note.user->users.user.id"],
    refersTo: { users },
  });
  linked.edit(ROW, at(0));
  users.write("INSERT INTO user(name) VALUES('ann')");
  linked.write(`DELETE FROM item; INSERT INTO note(user) VALUES(1); ${LESS}`);
  linked.replica.drain();
  linked.replica.restore("item", "1");
  expect(linked.rows("SELECT * FROM item")).toEqual([{ id: 1, beta: "beta", gamma: "gamma" }]);
});

test("much that was captured before an upgrade of triggers is drained in turns, and nobody is said to have taken them off", () => {
  const a = new Site("a", COLUMNS);
  a.edit(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100) INSERT INTO item SELECT i, 'a', 'b', 'c' FROM n`,
    at(0),
  );
  a.replica.close();
  a.write("UPDATE item SET alpha = 'of a'");
  const [trigger] = a.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE '_scoutsync_update%'");
  // As another version made it.
  a.write(`DROP TRIGGER ${String(trigger?.["name"])}; ${String(trigger?.["sql"]).replace("BEGIN", "BEGIN  ")}`);
  a.options.turnMs = 0;
  a.start();
  expect(a.replica.checkCapture("").faults).toEqual([]);
});

test.each(["DELETE FROM item WHERE code IS NULL", "UPDATE item SET code = 'x' WHERE code IS NULL"])(
  "the last row with NULL in its key that goes just before its table is renamed goes for all: %s",
  (sql) => {
    const schema = "CREATE TABLE item(code TEXT PRIMARY KEY, name TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    b.edit("INSERT INTO item VALUES(NULL, 'without'), ('k', 'with')", at(0));
    settle(a, b);
    a.write(`${sql}; ALTER TABLE item RENAME TO thing`);
    settle(a, b);
    b.edit("ALTER TABLE item RENAME TO thing", at(2));
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM thing WHERE code IS NULL")).toEqual([]);
    expect(a.pull(b).at(-1)?.verified).toBe(true);
  },
);

const KEYS = ["id INTEGER PRIMARY KEY", "id TEXT PRIMARY KEY"];

test.each(
  KEYS.flatMap((key) =>
    ["id", "number"].flatMap((now) =>
      ["", "DROP TABLE other;"].flatMap((drop) => [false, true].map((isDown) => ({ key, now, drop, isDown }))),
    ),
  ),
)(
  "what was counted just before a table is rebuilt is not gone where another one goes with it, or its key has another name: $key, $now, $drop, down: $isDown",
  ({ key, now, drop, isDown }) => {
    const schema = `CREATE TABLE item(${key}, n INTEGER); CREATE TABLE other(id INTEGER PRIMARY KEY, item REFERENCES item(id))`;
    const [a, b] = ["a", "b"].map((name) => new Site(name, schema, { rules: ["item.n=counter"] })) as [Site, Site];
    b.edit("INSERT INTO item VALUES(1, 10), (2, 20); INSERT INTO other VALUES(1, NULL)", at(0));
    settle(a, b);
    b.edit("UPDATE item SET n = n + 5", at(1));
    a.nowUs = at(2);
    if (isDown) a.replica.close();
    a.write(`UPDATE item SET n = n + 1; DELETE FROM item WHERE id = 2; BEGIN; CREATE TABLE made(${key.replace("id", now)}, n INTEGER, more TEXT);
    INSERT INTO made(${now}, n) SELECT id, n FROM item; DROP TABLE item; ALTER TABLE made RENAME TO item; ${drop} COMMIT`);
    if (isDown) a.start();
    a.replica.drain();
    a.nowUs = at(13);
    settle(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT n FROM item")).toEqual([{ n: 16 }]);
    expect(a.replica.state().problem).toBe("");
  },
);

const FILLERS = Array.from({ length: 58 }, (_, i) => `w${i} TEXT`).join(", ");
const COUNTED = `gone TEXT, n INTEGER, tags TEXT, ${FILLERS}, best INTEGER, at TEXT, x TEXT, far TEXT, last TEXT`;
const LOSSES = [
  "ALTER TABLE item DROP COLUMN gone",
  "ALTER TABLE item RENAME COLUMN gone TO title",
  "ALTER TABLE item DROP COLUMN last; ALTER TABLE item RENAME COLUMN w3 TO w; ALTER TABLE item DROP COLUMN gone",
  "ALTER TABLE item RENAME COLUMN id TO number",
];

test.each(KEYS.flatMap((key) => LOSSES.flatMap((migration) => [false, true].map((isDown) => ({ key, migration, isDown })))))(
  "what was written just before a column goes or gets another name is all there, and nothing else was written: $key, $migration, down: $isDown",
  ({ key, migration, isDown }) => {
    const rules = ["item.n=counter", "item.tags=set", "item.best=max", "item.at=prefer:b"];
    const [a, b] = ["a", "b"].map((name) => new Site(name, `CREATE TABLE item(${key}, ${COUNTED})`, { rules })) as [Site, Site];
    const id = (n: number) => (key.includes("TEXT") ? `'${n}'` : `${n}`);
    const row = (n: number) => `(${id(n)}, 'g', 10, '["a"]', 5, 'first', 'first', 'first')`;
    b.edit(`INSERT INTO item(id, gone, n, tags, best, at, x, far) VALUES ${[1, 2, 3, 4].map(row).join()}`, at(0));
    settle(a, b);
    b.edit(`UPDATE item SET n = n + 5, tags = '["a", "b"]', best = 9, at = 'of b', x = 'of b' WHERE id IN (${id(1)}, ${id(2)})`, at(1));
    b.edit(`UPDATE item SET far = 'of b, later' WHERE id IN (${id(2)}, ${id(3)})`, at(4));
    a.nowUs = at(2);
    if (isDown) a.replica.close();
    a.write(`UPDATE item SET n = n + 1, tags = '["a", "c"]', best = 7, at = 'of a' WHERE id = ${id(1)};
      UPDATE item SET gone = 'h', n = n + 1 WHERE id = ${id(2)}; UPDATE item SET n = n + 2, last = 'of a' WHERE id = ${id(2)};
      UPDATE item SET far = 'of a' WHERE id = ${id(3)}; INSERT OR REPLACE INTO item(id, n, x) VALUES(${id(4)}, 12, 'replaced');
      INSERT INTO item(id, n, x) VALUES(${id(5)}, 1, 'new'); UPDATE item SET n = n + 1 WHERE id = ${id(5)}; ${migration}`);
    if (isDown) a.start();
    else a.replica.drain();
    a.nowUs = at(20);
    settle(a, b);
    b.edit(migration, at(21));
    a.nowUs = b.nowUs = at(40);
    settle(a, b);
    for (const site of [a, b]) {
      const tags = "(SELECT group_concat(value, '') FROM (SELECT value FROM json_each(tags) ORDER BY 1))";
      expect(site.rows(`SELECT n, ${tags} AS t, best, at, x, far FROM item ORDER BY 1 DESC`).map((shown) => Object.values(shown))).toEqual([
        [18, "ab", 9, "of b", "of b", "of b, later"],
        [16, "abc", 9, "of b", "of b", "first"],
        [12, null, null, null, "replaced", null],
        [10, "a", 5, "first", "first", "of b, later"],
        [2, null, null, null, "new", null],
      ]);
      // What a column holds under its new name each node has written by itself.
      const conflicts = site.conflicts.filter(({ column }) => column !== "title");
      expect(Object.fromEntries(conflicts.map(({ column, loser }) => [column, loser?.value]))).toEqual({ at: "of a", far: "of a" });
      expect(conflicts).toHaveLength(2);
      expect(site.replica.state().problem).toBe("");
    }
    expect(Buffer.from(a.replica.state().digest).equals(b.replica.state().digest)).toBe(true);
  },
);

test("what was counted just before a column goes is not gone where a row has come to the integer that one without a key holds", () => {
  const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE visit(team INTEGER REFERENCES team(id), note TEXT, old TEXT);
    CREATE TABLE item(id INTEGER PRIMARY KEY, n INTEGER)`;
  const [a, b] = ["a", "b"].map((name) => new Site(name, schema, { rules: ["item.n=counter"] })) as [Site, Site];
  for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
  b.edit("INSERT INTO item VALUES(1, 10)", at(0));
  a.edit("INSERT INTO visit VALUES(5, 'of a', 'x')", at(0));
  settle(a, b);
  b.edit("UPDATE item SET n = n + 5", at(1));
  a.nowUs = at(2);
  const migration = "ALTER TABLE visit DROP COLUMN old; ALTER TABLE item ADD COLUMN more TEXT";
  a.write(`UPDATE item SET n = n + 1; INSERT INTO team VALUES(5, 'five'); ${migration}`);
  a.replica.drain();
  b.edit(migration, at(3));
  a.nowUs = at(20);
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT n FROM item")).toEqual([{ n: 16 }]);
    expect(site.rows("SELECT name, note FROM visit JOIN team ON team.id = team")).toEqual([{ name: "five", note: "of a" }]);
    expect(site.replica.state().problem).toBe("");
  }
  expect(Buffer.from(a.replica.state().digest).equals(b.replica.state().digest)).toBe(true);
});

test("what was counted just before a column goes is not gone where a table is back with it", () => {
  const schema = "CREATE TABLE item(id INTEGER PRIMARY KEY, n INTEGER, old TEXT)";
  const other = "CREATE TABLE other(id INTEGER PRIMARY KEY, name TEXT)";
  const [a, b] = ["a", "b"].map((name) => new Site(name, `${schema}; ${other}`, { rules: ["item.n=counter"] })) as [Site, Site];
  b.edit("INSERT INTO item VALUES(1, 10, 'x')", at(0));
  settle(a, b);
  a.edit("DROP TABLE other", at(1));
  b.edit("UPDATE item SET n = n + 5", at(1));
  a.nowUs = at(2);
  a.write(`UPDATE item SET n = n + 1; ALTER TABLE item DROP COLUMN old; ${other}`);
  a.replica.drain();
  a.nowUs = at(20);
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT n FROM item")).toEqual([{ n: 16 }]);
  expect(a.replica.state().problem).toBe("");
});

test("what a column held before it got another name does not beat what others have written to it since, in a row that was edited just before", () => {
  const [a, b] = ["a", "b"].map((name) => new Site(name, COLUMNS)) as [Site, Site];
  b.edit(ROW, at(0));
  settle(a, b);
  a.replica.close();
  a.write(
    `UPDATE item SET beta = 'of a'; UPDATE _scoutsync_capture SET at = ${julianDay(at(1))}; ALTER TABLE item RENAME COLUMN alpha TO title`,
  );
  b.edit("ALTER TABLE item RENAME COLUMN alpha TO title", at(2));
  b.edit("UPDATE item SET title = 'of b'", at(3));
  a.nowUs = at(20);
  a.start();
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT * FROM item")).toEqual([{ id: 1, title: "of b", beta: "of a", gamma: "gamma" }]);
});
