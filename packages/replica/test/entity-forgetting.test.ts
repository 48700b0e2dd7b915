import { describe, expect, test } from "vitest";
import { rejoin } from "./rejoin.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, x TEXT, y TEXT, boss INTEGER REFERENCES users(id));
  CREATE TABLE roles(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
  CREATE TABLE user_roles(user INTEGER NOT NULL REFERENCES users(id), role INTEGER NOT NULL REFERENCES roles(id), note TEXT, PRIMARY KEY(user, role));
  CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER REFERENCES users(id), text TEXT)`;

const at = (seconds: number) => START_US + seconds * SECOND_US;
const forget = (site: Site) => site.replica.forget({ retentionDays: 0, dryRun: false });

function tell(...sites: Site[]): void {
  for (const site of sites)
    for (const other of sites)
      if (site !== other) site.replica.acknowledge({ id: other.name, name: other.name }, other.replica.state().vector);
}

function meet(...sites: Site[]): void {
  settle(...sites);
  tell(...sites);
}

/** What each of a and b knows of deleted rows is forgotten, without whoever else there is. */
function forgetAlone(a: Site, b: Site, seconds: number): number {
  a.nowUs = b.nowUs = at(seconds);
  return [a, b].map((site) => {
    for (const { node } of site.replica.memberWords()) if (node.name !== "a" && node.name !== "b") site.replica.retire(node.name);
    return forget(site).forgotten;
  })[0] as number;
}

const USERS = "SELECT name, x, y FROM users ORDER BY name";
const POSTS = "SELECT text, name FROM posts LEFT JOIN users ON users.id = user ORDER BY text";

function expectEqual(...sites: Site[]): void {
  const [first] = sites as [Site];
  for (const site of sites) {
    for (const table of ["users", "roles", "user_roles", "posts"])
      expect(site.rows(`SELECT * FROM ${table} ORDER BY 1, 2`)).toEqual(first.rows(`SELECT * FROM ${table} ORDER BY 1, 2`));
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    expect(site.replica.state().parked).toBe(0);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
}

const sites = (): [Site, Site, Site, Site] => [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA), new Site("d", SCHEMA)];

describe("rows that are one, and forgetting", () => {
  test("stay known while they are deleted, and what one of them refers to does", () => {
    const [a, b] = sites();
    a.edit("INSERT INTO users VALUES(1, 'old', 'x', 'y', NULL), (2, 'alice', 'of a', 'y', 1)", at(1));
    b.edit("INSERT INTO users VALUES(3, 'alice', 'of b', 'y', NULL)", at(2));
    meet(a, b);
    // The later write of the two shows no boss; the other one, which is not shown, has one.
    expect(a.rows("SELECT name, boss FROM users WHERE name = 'alice'")).toEqual([{ name: "alice", boss: null }]);
    a.edit("DELETE FROM users WHERE name = 'old'", at(3));
    meet(a, b);
    a.nowUs = at(100);
    expect(forget(a)).toMatchObject({ forgotten: 0, referredTo: 1 });
    a.edit("DELETE FROM users", at(101));
    meet(a, b);
    a.nowUs = at(200);
    expect(forget(a).forgotten).toBe(0);
    expectEqual(a, b);
  });
});

describe("a node that joins again has rows that are one,", () => {
  test("of which the peer holds one: it lives on with what is new of the other, and what referred to that", () => {
    const [a, b, c, d] = sites();
    a.edit("INSERT INTO users VALUES(1, 'alice', 'of a', 'of a', NULL); INSERT INTO posts VALUES(1, 1, 'first')", at(1));
    meet(a, b, c);
    d.edit("INSERT INTO users VALUES(9, 'alice', 'of d', 'of d', NULL); INSERT INTO posts VALUES(9, 9, 'of d')", at(2));
    a.edit("DELETE FROM posts; DELETE FROM users", at(3));
    meet(a, b);
    expect(forgetAlone(a, b, 60)).toBe(2);
    // What d made reaches c, for which it is one with the row that it still has, and those who have forgotten that.
    c.edit("UPDATE users SET x = 'new at c' WHERE id = 1; INSERT INTO posts VALUES(2, 1, 'of c')", at(70));
    c.pull(d);
    expect(c.rows("SELECT id, name, x, y FROM users")).toEqual([{ id: 1, name: "alice", x: "new at c", y: "of d" }]);
    rejoin(d.replica, a.replica);
    for (const site of [a, b]) site.pull(d);
    expect(a.rows(USERS)).toEqual([{ name: "alice", x: "of d", y: "of d" }]);
    c.nowUs = at(80);
    rejoin(c.replica, a.replica);
    tell(a, b, c, d);
    meet(a, b, c, d);
    expectEqual(a, b, c, d);
    expect(a.rows(USERS)).toEqual([{ name: "alice", x: "new at c", y: "of d" }]);
    expect(a.rows(POSTS)).toEqual([
      { text: "of c", name: "alice" },
      { text: "of d", name: "alice" },
    ]);
  });

  test("none of which the peer holds any more: they live on as one new row, with all that refers to them", () => {
    const [a, b, c, d] = sites();
    a.edit("INSERT INTO users VALUES(1, 'alice', 'of a', 'of a', NULL); INSERT INTO roles VALUES(1, 'admin')", at(1));
    meet(a, c);
    d.edit("INSERT INTO users VALUES(9, 'alice', 'of d', 'of d', NULL); INSERT INTO posts VALUES(9, 9, 'of d')", at(2));
    // For a they are never there at the same time; c sees both.
    a.edit("DELETE FROM users", at(3));
    a.pull(d);
    c.pull(d);
    a.edit("DELETE FROM posts; DELETE FROM users", at(4));
    meet(a, b);
    expect(forgetAlone(a, b, 60)).toBe(3);
    c.edit(
      `UPDATE users SET x = 'new at c' WHERE name = 'alice'; INSERT INTO posts VALUES(2, (SELECT id FROM users), 'of c');
       INSERT INTO user_roles VALUES((SELECT id FROM users), 1, 'of c')`,
      at(70),
    );
    rejoin(c.replica, a.replica);
    tell(a, b, c);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(a.rows(USERS)).toEqual([{ name: "alice", x: "new at c", y: "of d" }]);
    expect(a.rows(POSTS)).toEqual([{ text: "of c", name: "alice" }]);
    expect(a.rows("SELECT note, name FROM user_roles JOIN users ON users.id = user")).toEqual([{ note: "of c", name: "alice" }]);
    // d, which nobody has told of the deletes yet, has its row for itself.
    rejoin(d.replica, a.replica);
    meet(a, b, c, d);
    expectEqual(a, b, c, d);
    expect(a.rows(USERS)).toHaveLength(1);
  });

  test("and nothing new of them: they go as they went elsewhere", () => {
    const [a, b, c] = sites();
    a.edit("INSERT INTO users VALUES(1, 'alice', 'of a', 'y', NULL); INSERT INTO roles VALUES(1, 'admin')", at(1));
    b.edit("INSERT INTO users VALUES(2, 'alice', 'of b', 'y', NULL)", at(2));
    meet(a, b, c);
    a.edit("DELETE FROM users; DELETE FROM roles", at(3));
    meet(a, b);
    expect(forgetAlone(a, b, 60)).toBe(1);
    rejoin(c.replica, a.replica);
    meet(a, b, c);
    expectEqual(a, b, c);
    expect(c.rows(USERS)).toEqual([]);
  });
});

describe("a mass delete that is kept back", () => {
  test.each(["release", "undo"] as const)("of a row that another has become one with: %s loses neither", (decision) => {
    const a = new Site("a", SCHEMA, { quarantine: { rows: 2, share: 0 } });
    const b = new Site("b", SCHEMA);
    a.edit("INSERT INTO users VALUES(1, 'alice', 'x', 'y', NULL), (2, 'bob', 'x', 'y', NULL)", at(10));
    b.edit("INSERT INTO users VALUES(5, 'alice', 'x', 'y', NULL); INSERT INTO posts VALUES(1, 5, 'of b')", at(5));
    a.edit("DELETE FROM users", at(11));
    settle(a, b);
    const [review] = a.replica.reviews({ kind: "quarantine", id: "", limit: 0 });
    a.replica.resolve({ id: review?.id ?? "", keep: "", set: [], decision });
    settle(a, b);
    expectEqual(a, b);
    expect(a.rows("SELECT name FROM users ORDER BY name")).toEqual(
      decision === "undo" ? [{ name: "alice" }, { name: "bob" }] : [{ name: "alice" }],
    );
    expect(b.rows(POSTS)).toEqual([{ text: "of b", name: "alice" }]);
  });

  test("of a row that stands for another, which its application had not seen: that is put back", () => {
    const a = new Site("a", SCHEMA, { quarantine: { rows: 2, share: 0 } });
    const b = new Site("b", SCHEMA);
    a.edit("INSERT INTO users VALUES(1, 'alice', 'x', 'y', NULL), (2, 'bob', 'x', 'y', NULL)", at(1));
    b.edit("INSERT INTO users VALUES(5, 'alice', 'x', 'y', NULL)", at(2));
    a.edit("DELETE FROM users", at(3));
    settle(a, b);
    const [review] = a.replica.reviews({ kind: "quarantine", id: "", limit: 0 });
    a.replica.resolve({ id: review?.id ?? "", keep: "", set: [], decision: "release" });
    settle(a, b);
    expectEqual(a, b);
    expect(a.rows("SELECT name FROM users")).toEqual([{ name: "alice" }]);
  });
});

test("a row that waits names in its key who lives on as a new row since its node joined again", () => {
  const schema = `CREATE TABLE users(id INTEGER PRIMARY KEY, x TEXT);
    CREATE TABLE roles(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE user_roles(user INTEGER NOT NULL REFERENCES users(id), role INTEGER NOT NULL REFERENCES roles(id), note TEXT, PRIMARY KEY(user, role))`;
  const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => new Site(name, schema, { park: ["roles"] })) as [Site, Site, Site, Site];
  a.edit("INSERT INTO users VALUES(1, 'alice')", at(1));
  meet(a, b, c, d);
  a.edit("DELETE FROM users", at(2));
  meet(a, b);
  d.edit("INSERT INTO roles VALUES(9, 'admin')", at(3));
  c.edit("UPDATE users SET x = 'edited'; INSERT INTO roles VALUES(5, 'admin'); INSERT INTO user_roles VALUES(1, 5, 'note')", at(4));
  c.pull(d);
  expect(c.replica.state().parked).toBe(2);
  expect(forgetAlone(a, b, 100)).toBe(1);
  // Whose integer it is where the old name is looked up.
  a.edit("INSERT INTO users VALUES(1, 'bob')", at(100));
  c.nowUs = d.nowUs = at(100);
  expect(rejoin(c.replica, a.replica)).toEqual({ gone: 0, reborn: 1 });
  meet(a, b, c);
  for (const site of [a, b, c]) expect(site.replica.state().parked).toBe(2);
  a.edit("UPDATE roles SET name = 'moved'", at(101));
  meet(a, b, c);
  const granted = "SELECT x, name, note FROM user_roles JOIN users ON users.id = user JOIN roles ON roles.id = role";
  for (const site of [a, b, c]) {
    expect(site.rows(granted)).toEqual([{ x: "edited", name: "admin", note: "note" }]);
    expect(site.replica.state().parked).toBe(0);
    expect(site.replica.state().digest).toEqual(a.replica.state().digest);
  }
});
