import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const LATER = START_US + 60 * SECOND_US;

function expectEqual(...sites: Site[]): void {
  const [first] = sites as [Site, ...Site[]];
  for (const site of sites) {
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    expect(site.vector).toBe(first.vector);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
}

test("rows that are one count on: increments of either are not lost, and the same on every server", () => {
  const schema = "CREATE TABLE stock(id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER, tags TEXT)";
  const options = { rules: ["stock.amount=counter", "stock.tags=set"] };
  const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, schema, options)) as [Site, Site, Site];
  a.edit(`INSERT INTO stock VALUES(1, 'bolt', 5, '["a"]')`);
  b.edit(`INSERT INTO stock VALUES(1, 'nut', 1, '[]'), (2, 'bolt', 3, '["b"]')`, START_US + SECOND_US);
  settle(a, b, c);
  expectEqual(a, b, c);
  const bolt = "SELECT amount, tags FROM stock WHERE name = 'bolt'";
  for (const site of [a, b, c]) expect(site.rows(bolt)).toEqual([{ amount: 3, tags: '["b"]' }]);
  a.edit("UPDATE stock SET amount = amount + 1 WHERE name = 'bolt'", LATER);
  settle(a, b, c);
  expectEqual(a, b, c);
  for (const site of [a, b, c]) expect(site.one(bolt)).toBe(4);
  [a, b, c].forEach((site, i) => site.edit("UPDATE stock SET amount = amount + 10 WHERE name = 'bolt'", LATER + (i + 1) * SECOND_US));
  b.edit(`UPDATE stock SET tags = '["b","more"]' WHERE name = 'bolt'`, LATER + 5 * SECOND_US);
  settle(a, b, c);
  expectEqual(a, b, c);
  for (const site of [a, b, c]) expect(site.rows(bolt)).toEqual([{ amount: 34, tags: '["b","more"]' }]);
});

test("rows are two again where a migration takes the constraint away, everywhere, and nothing of either is gone", () => {
  const schema = `CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, email TEXT); CREATE UNIQUE INDEX users_name ON users(name);
    CREATE TABLE posts(id INTEGER PRIMARY KEY, author INTEGER REFERENCES users(id), text TEXT)`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO users VALUES(1, 'alice', 'alice@a'); INSERT INTO posts VALUES(1, 1, 'of a')");
  b.edit("INSERT INTO users VALUES(9, 'alice', 'alice@b'); INSERT INTO posts VALUES(1, 9, 'of b')", START_US + SECOND_US);
  settle(a, b);
  for (const site of [a, b]) expect(site.rows("SELECT email FROM users")).toEqual([{ email: "alice@b" }]);
  a.edit("DROP INDEX users_name", LATER);
  b.edit("DROP INDEX users_name", LATER);
  settle(a, b);
  expectEqual(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT email, text FROM posts JOIN users ON users.id = author ORDER BY email")).toEqual([
      { email: "alice@a", text: "of a" },
      { email: "alice@b", text: "of b" },
    ]);
  }
});

test("rows that came before their table are one once it is there", () => {
  const schema = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, email TEXT)";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  const c = new Site("c", "CREATE TABLE other(id INTEGER PRIMARY KEY)");
  a.edit("INSERT INTO users VALUES(1, 'alice', 'alice@a')");
  b.edit("INSERT INTO users VALUES(9, 'alice', 'alice@b')", START_US + SECOND_US);
  settle(a, b);
  c.pull(a);
  c.edit(schema, LATER);
  settle(a, b, c);
  expect(c.rows("SELECT * FROM users")).toEqual([{ id: 1, name: "alice", email: "alice@b" }]);
  expect(c.conflicts.map(({ loser }) => loser?.value)).toEqual(["alice@a"]);
});

test("copies that moved apart and are joined as shared have one row of what both added, whoever met a third server first", () => {
  const schema = `CREATE TABLE role(id INTEGER PRIMARY KEY, name TEXT UNIQUE, note TEXT);
    CREATE TABLE member(id INTEGER PRIMARY KEY, role INTEGER REFERENCES role(id), name TEXT);
    INSERT INTO role VALUES(1, 'admin', 'of all copies'); INSERT INTO member VALUES(1, 1, 'ada');`;
  const a = new Site("a", `${schema} INSERT INTO role VALUES(2, 'judge', 'a'); INSERT INTO member VALUES(2, 2, 'abel')`, {
    baseline: "shared",
  });
  const b = new Site("b", `${schema} INSERT INTO role VALUES(3, 'judge', 'b'); INSERT INTO member VALUES(3, 3, 'bea')`, {
    baseline: "shared",
  });
  const c = new Site("c", schema.slice(0, schema.indexOf("INSERT")));
  const d = new Site("d", schema.slice(0, schema.indexOf("INSERT")));
  c.pull(a);
  c.edit("INSERT INTO member VALUES(20, 2, 'carl')", LATER);
  // Another judge, created apart: one with a's before a's rows are named by their keys.
  d.edit("INSERT INTO role VALUES(7, 'judge', 'd'); INSERT INTO member VALUES(30, 7, 'dora')", LATER + SECOND_US);
  c.pull(d);
  a.pull(c);
  settle(a, b);
  settle(a, b, c, d);
  expectEqual(a, b, c, d);
  for (const site of [a, b, c, d]) {
    expect(site.rows("SELECT name, note FROM role ORDER BY name")).toEqual([
      { name: "admin", note: "of all copies" },
      { name: "judge", note: "d" },
    ]);
    expect(site.rows("SELECT role.name AS role, member.name AS who FROM member JOIN role ON role.id = role ORDER BY who")).toEqual([
      { role: "judge", who: "abel" },
      { role: "admin", who: "ada" },
      { role: "judge", who: "bea" },
      { role: "judge", who: "carl" },
      { role: "judge", who: "dora" },
    ]);
    expect(new Set(site.conflicts.map(({ loser }) => loser?.value))).toEqual(new Set(["a", "b"]));
  }
});

const TEAM = "CREATE TABLE team(id INTEGER PRIMARY KEY, number INTEGER UNIQUE, name TEXT)";
const ADD_MOTTO = "ALTER TABLE team ADD COLUMN motto TEXT";
const REBUILD_TEAM = `CREATE TABLE made(id INTEGER PRIMARY KEY, number INTEGER UNIQUE, name TEXT, motto TEXT);
  INSERT INTO made SELECT *, NULL FROM team; DROP TABLE team; ALTER TABLE made RENAME TO team`;

/** Two servers that both made team 70, the one that stands for it without the column that the other one's team has a value in. */
function mottoOfTheOther(): [Site, Site] {
  const [a, b] = [new Site("a", TEAM), new Site("b", TEAM)];
  b.edit(ADD_MOTTO);
  a.edit("INSERT INTO team VALUES(2, 70, 'of a')");
  b.edit("INSERT INTO team VALUES(9, 70, 'of b', 'motto of b')", START_US + SECOND_US);
  settle(a, b);
  return [a, b];
}

test.each([ADD_MOTTO, REBUILD_TEAM])(
  "what a row holds that another stands for is in the table once a migration brings the column: %s",
  (migration) => {
    const [a, b] = mottoOfTheOther();
    a.edit(migration, LATER);
    for (const site of [a, b]) expect(site.rows("SELECT * FROM team")).toEqual([{ id: 2, number: 70, name: "of b", motto: "motto of b" }]);
    settle(a, b);
    expectEqual(a, b);
  },
);

test.each([0, 1])("rows of one key that refers to what is one show what either holds for a new column, whoever is first", (first) => {
  const schema = `CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE shift(user INTEGER REFERENCES user(id), day INTEGER, note TEXT, PRIMARY KEY(user, day))`;
  const add = "ALTER TABLE shift ADD COLUMN place TEXT";
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  b.edit(add);
  a.edit("INSERT INTO user VALUES(1, 'alice'); INSERT INTO shift VALUES(1, 5, 'of a')", START_US + first * SECOND_US);
  b.edit("INSERT INTO user VALUES(9, 'alice'); INSERT INTO shift VALUES(9, 5, 'of b', 'pit')", START_US + (1 - first) * SECOND_US);
  settle(a, b);
  a.edit(add, LATER);
  for (const site of [a, b]) expect(site.rows("SELECT day, place FROM shift")).toEqual([{ day: 5, place: "pit" }]);
  settle(a, b);
  expectEqual(a, b);
});

test("a migration that fills the column it adds does not hide what a row holds for it that another stands for", () => {
  const [a, b] = mottoOfTheOther();
  a.edit(`${ADD_MOTTO}; UPDATE team SET motto = 'of the migration'`, LATER);
  settle(a, b);
  expectEqual(a, b);
  for (const site of [a, b]) {
    expect(site.one("SELECT motto FROM team")).toBe("of the migration");
    expect(site.conflicts.map(({ winner, loser }) => [winner?.value, loser?.value])).toContainEqual(["of the migration", "motto of b"]);
  }
  // Whoever writes it now has seen it.
  b.edit("UPDATE team SET motto = 'decided'", LATER + 60 * SECOND_US);
  settle(a, b);
  expectEqual(a, b);
  for (const site of [a, b]) expect(site.conflicts.map(({ column }) => column)).toEqual(["name"]);
});

test("a repair shows rows that are one anew: what differs may be the table alone", () => {
  const [a, b] = mottoOfTheOther();
  a.edit(ADD_MOTTO, LATER);
  const image = (): Buffer => a.app.prepare("SELECT image FROM _scoutsync_out").pluck().get() as Buffer;
  const put = (text: string, other: string) => {
    const bytes = image();
    bytes.write(other, bytes.indexOf(text));
    a.app.prepare("UPDATE _scoutsync_out SET image = ?").run(bytes);
  };
  put("motto of b", "motto of x");
  b.edit("UPDATE team SET name = 'of both'", LATER + SECOND_US);
  settle(a, b);
  put("motto of x", "motto of b");
  expect(a.one("SELECT motto FROM team")).toBe("motto of x");
  a.replica.apply(b.replica.wholeRows({ table: "team", keys: ["2"], codecs: [] }));
  expect(a.one("SELECT motto FROM team")).toBe("motto of b");
  expectEqual(a, b);
});

const FILL = "UPDATE team SET motto = 'of the migration'";

test.each([
  `${ADD_MOTTO}; ${FILL}, name = 'trimmed'`,
  `UPDATE team SET name = 'trimmed'; ${ADD_MOTTO}; ${FILL}`,
  `UPDATE team SET name = 'trimmed'; ${REBUILD_TEAM}; ${FILL}`,
])("a migration that also writes what is captured loses nothing of rows that are one: %s", (migration) => {
  const [a, b] = [new Site("a", TEAM), new Site("b", TEAM)];
  a.edit("INSERT INTO team VALUES(2, 70, 'of a'), (3, 71, 'alone')");
  b.edit("INSERT INTO team VALUES(9, 70, 'of b')", START_US + SECOND_US);
  settle(a, b);
  a.edit(migration, LATER);
  settle(a, b);
  b.edit(ADD_MOTTO, LATER + SECOND_US);
  settle(a, b);
  expectEqual(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM team ORDER BY id")).toEqual([
      { id: 2, number: 70, name: "trimmed", motto: "of the migration" },
      { id: 3, number: 71, name: "trimmed", motto: "of the migration" },
    ]);
  }
});

test("a migration that also writes what is captured has not seen what a row holds that another stands for", () => {
  const [a, b] = mottoOfTheOther();
  a.edit(`${ADD_MOTTO}; ${FILL}, name = 'trimmed'`, LATER);
  settle(a, b);
  expectEqual(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT name, motto FROM team")).toEqual([{ name: "trimmed", motto: "of the migration" }]);
    expect(site.conflicts.map(({ winner, loser }) => [winner?.value, loser?.value])).toContainEqual(["of the migration", "motto of b"]);
  }
});
