import type { SqlValue } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const LATER = START_US + 60 * SECOND_US;

const SCHEMA = `
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, email TEXT);
CREATE TABLE roles(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT);
CREATE TABLE user_roles(user_id INTEGER NOT NULL REFERENCES users(id), role_id INTEGER NOT NULL REFERENCES roles(id), note TEXT, PRIMARY KEY(user_id, role_id));
CREATE TABLE grants(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), role_id INTEGER NOT NULL REFERENCES roles(id), note TEXT, UNIQUE(user_id, role_id));
CREATE TABLE posts(id INTEGER PRIMARY KEY, author INTEGER REFERENCES users(id), text TEXT);
`;

/** Two servers that were set up apart: both seeded the role admin and the user alice, under other integers. */
function seededApart(): [Site, Site] {
  const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
  a.edit(`INSERT INTO roles VALUES(1, 'admin', 'by a'); INSERT INTO users VALUES(1, 'alice', 'alice@a');
    INSERT INTO user_roles VALUES(1, 1, 'by a'); INSERT INTO grants VALUES(1, 1, 1, 'by a'); INSERT INTO posts VALUES(1, 1, 'post of a')`);
  b.edit(
    `INSERT INTO roles VALUES(1, 'admin', 'by b'); INSERT INTO users VALUES(4, 'bob', 'bob@b'), (5, 'alice', 'alice@b');
    INSERT INTO user_roles VALUES(5, 1, 'by b'); INSERT INTO grants VALUES(1, 5, 1, 'by b'); INSERT INTO posts VALUES(1, 5, 'post of b')`,
    START_US + SECOND_US,
  );
  return [a, b];
}

const POSTS = "SELECT name, text FROM posts LEFT JOIN users ON users.id = author ORDER BY text";
const RULES =
  "SELECT users.name AS who, roles.name AS what, note FROM user_roles JOIN users ON users.id = user_id JOIN roles ON roles.id = role_id";

function expectEqual(...sites: Site[]): void {
  const [first] = sites as [Site, ...Site[]];
  for (const site of sites) {
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    expect(site.vector).toBe(first.vector);
    expect(site.rows("PRAGMA foreign_key_check")).toEqual([]);
  }
}

describe("rows with one UNIQUE value, born apart, are one entity", () => {
  test("the earliest born is in the table, what differs is a conflict, and references follow", () => {
    const [a, b] = seededApart();
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) {
      expect(site.replica.state().parked).toBe(0);
      expect(site.rows("SELECT * FROM roles")).toEqual([{ id: 1, name: "admin", description: "by b" }]);
      expect(site.rows("SELECT * FROM users ORDER BY id")).toEqual([
        { id: 1, name: "alice", email: "alice@b" },
        { id: 4, name: "bob", email: "bob@b" },
      ]);
      expect(site.rows(POSTS)).toEqual([
        { name: "alice", text: "post of a" },
        { name: "alice", text: "post of b" },
      ]);
      expect(site.rows(RULES)).toEqual([{ who: "alice", what: "admin", note: "by b" }]);
      expect(site.rows("SELECT user_id, role_id, note FROM grants")).toEqual([{ user_id: 1, role_id: 1, note: "by b" }]);
    }
  });
});

const USER = "SELECT id, name, email FROM users WHERE name = 'alice'";
const conflicts = (site: Site) =>
  site.conflicts
    .map(({ table, column, winner, loser }) => `${table}.${column}: ${winner?.value as string} over ${loser?.value as string}`)
    .sort();

describe("rows that are one", () => {
  test("are edited as one: every member takes the write, and what lost is closed, and in the history", () => {
    const [a, b] = seededApart();
    settle(a, b);
    expect(conflicts(a)).toEqual([
      "grants.note: by b over by a",
      "roles.description: by b over by a",
      "user_roles.note: by b over by a",
      "users.email: alice@b over alice@a",
    ]);
    expect(conflicts(b)).toEqual(conflicts(a));
    a.edit("UPDATE users SET email = 'alice@both' WHERE id = 1", LATER);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) {
      expect(site.rows(USER)).toEqual([{ id: 1, name: "alice", email: "alice@both" }]);
      expect(conflicts(site).filter((text) => text.startsWith("users"))).toEqual([]);
      const history = site.replica.history("users", "1");
      expect(history.filter(({ operation }) => operation === "insert").map(({ author }) => author)).toEqual(["a", "b"]);
      expect(history.filter(({ operation }) => operation === "same")).toHaveLength(1);
      expect(history.find(({ operation, column }) => operation === "closed" && column === "email")?.value).toBe("alice@a");
    }
  });

  test("taking the loser of such a conflict is an ordinary write", () => {
    const [a, b] = seededApart();
    settle(a, b);
    const mail = a.conflicts.find(({ column }) => column === "email");
    a.replica.resolve({ id: mail?.id ?? "", keep: "loser", set: [] });
    settle(a, b);
    for (const site of [a, b]) {
      expect(site.one("SELECT email FROM users WHERE id = 1")).toBe("alice@a");
      expect(conflicts(site).some((text) => text.startsWith("users"))).toBe(false);
    }
  });

  test("live while any of them lives: one is edited where the other is deleted", () => {
    const [a, b] = seededApart();
    a.edit("DELETE FROM posts; DELETE FROM grants; DELETE FROM user_roles; DELETE FROM users", START_US + 2 * SECOND_US);
    b.edit("UPDATE users SET email = 'still here' WHERE name = 'alice'", START_US + 3 * SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) expect(site.rows(USER)).toEqual([{ id: 5, name: "alice", email: "still here" }]);
    for (const site of [a, b]) expect(site.rows(POSTS)).toEqual([{ name: "alice", text: "post of b" }]);
  });

  test("are deleted as one, and restored as one", () => {
    const [a, b] = seededApart();
    settle(a, b);
    a.edit("DELETE FROM posts; DELETE FROM grants; DELETE FROM user_roles; DELETE FROM users WHERE name = 'alice'", LATER);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) expect(site.rows(USER)).toEqual([]);
    b.replica.restore("users", "1");
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) expect(site.rows(USER)).toEqual([{ id: 1, name: "alice", email: "alice@b" }]);
  });

  test("are two again when one comes to have another value, each with what refers to it, and stay two", () => {
    const [a, b] = seededApart();
    const c = new Site("c", SCHEMA);
    c.pull(b);
    settle(a, b);
    // c knows only b's alice.
    c.edit("UPDATE users SET name = 'alicia' WHERE id = 5", LATER);
    settle(a, b, c);
    expectEqual(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows("SELECT name, email FROM users ORDER BY name")).toEqual([
        { name: "alice", email: "alice@a" },
        { name: "alicia", email: "alice@b" },
        { name: "bob", email: "bob@b" },
      ]);
      expect(site.rows(POSTS)).toEqual([
        { name: "alice", text: "post of a" },
        { name: "alicia", text: "post of b" },
      ]);
      expect(site.rows(`${RULES} ORDER BY who`)).toEqual([
        { who: "alice", what: "admin", note: "by a" },
        { who: "alicia", what: "admin", note: "by b" },
      ]);
    }
    a.edit(
      "UPDATE users SET name = 'alice' WHERE name = 'alicia' AND 0; UPDATE users SET name = 'gone' WHERE name = 'alice'",
      LATER + SECOND_US,
    );
    settle(a, b, c);
    b.edit("UPDATE users SET name = 'alice' WHERE name = 'alicia'", LATER + 2 * SECOND_US);
    c.edit("UPDATE users SET name = 'alice' WHERE name = 'gone'", LATER + 3 * SECOND_US);
    settle(a, b, c);
    expectEqual(a, b, c);
    for (const site of [a, b, c]) expect(site.replica.state().parked).toBeGreaterThan(0);
  });

  test("three servers that seeded the same have one row, whoever meets whom first", () => {
    const sites = ["a", "b", "c"].map((name) => new Site(name, SCHEMA));
    sites.forEach((site, i) => site.edit(`INSERT INTO roles VALUES(${i + 1}, 'admin', 'by ${site.name}')`, START_US + i * SECOND_US));
    const [a, b, c] = sites as [Site, Site, Site];
    c.pull(b);
    a.pull(b);
    settle(a, b, c);
    expectEqual(a, b, c);
    for (const site of sites) {
      expect(site.rows("SELECT * FROM roles")).toEqual([{ id: 1, name: "admin", description: "by c" }]);
      expect(conflicts(site)).toEqual(["roles.description: by c over by a", "roles.description: by c over by b"]);
    }
  });

  test("a row that refers to the one not in the table, written by someone who knew nothing of it, follows; by relay, across a restart", () => {
    const [a, b] = seededApart();
    const c = new Site("c", SCHEMA);
    c.pull(b);
    c.edit("INSERT INTO posts VALUES(77, 5, 'post of c')", LATER);
    a.pull(b, { batchSize: 2, batches: 2 });
    a.restart();
    a.pull(b);
    a.restart();
    // a never meets c.
    b.pull(a);
    b.pull(c);
    settle(a, b);
    settle(b, c);
    for (const site of [a, b, c]) {
      expect(site.rows(POSTS)).toContainEqual({ name: "alice", text: "post of c" });
      expect(site.rows(USER)).toHaveLength(1);
    }
    expectEqual(a, b, c);
  });
});

describe("deleted rows that are one", () => {
  /** Both created alice; a, who knows of both, deletes her, and c, who knows of b's, writes a post of hers meanwhile. */
  function deletedApart(): [Site, Site, Site] {
    const sites = ["a", "b", "c"].map((name) => new Site(name, SCHEMA)) as [Site, Site, Site];
    const [a, b, c] = sites;
    a.edit("INSERT INTO users VALUES(1, 'alice', 'alice@a')");
    b.edit("INSERT INTO users VALUES(5, 'alice', 'alice@b')", START_US + SECOND_US);
    c.pull(b);
    a.pull(b);
    a.edit("DELETE FROM users", LATER);
    c.edit("INSERT INTO posts VALUES(1, 5, 'post of c')", LATER - SECOND_US);
    settle(...sites);
    return sites;
  }

  test("are kept as one for a row that refers to any of them and was written apart, with what differs between them", () => {
    const sites = deletedApart();
    expectEqual(...sites);
    for (const site of sites) {
      expect(site.rows(POSTS)).toEqual([{ name: "alice", text: "post of c" }]);
      expect(site.rows(USER)).toEqual([{ id: 1, name: "alice", email: "alice@b" }]);
      expect(conflicts(site)).toEqual(["users.email: alice@b over alice@a", "users.null: undefined over null"]);
    }
    const [a, b, c] = sites;
    b.edit("UPDATE users SET name = 'alicia'", LATER + SECOND_US);
    settle(...sites);
    expectEqual(a, b, c);
    for (const site of sites) expect(site.rows("SELECT name, email FROM users")).toEqual([{ name: "alicia", email: "alice@b" }]);
  });

  test("go with the last row that they were kept for", () => {
    const sites = deletedApart();
    sites[2].edit("DELETE FROM posts", LATER + SECOND_US);
    settle(...sites);
    expectEqual(...sites);
    for (const site of sites) expect(site.rows("SELECT * FROM users")).toEqual([]);
  });
});

test("a deleted row that is kept waits with what it refers to, whichever of the two came to wait first", () => {
  const schema = `CREATE TABLE owner(id INTEGER PRIMARY KEY, name TEXT, tag TEXT UNIQUE);
    CREATE TABLE box(code TEXT PRIMARY KEY, text TEXT, owner INTEGER NOT NULL REFERENCES owner(id) ON DELETE CASCADE) WITHOUT ROWID;
    CREATE TABLE label(id TEXT PRIMARY KEY, box TEXT REFERENCES box(code) ON DELETE CASCADE) WITHOUT ROWID;`;
  const [a, b, c] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
  const at = (seconds: number) => START_US + seconds * SECOND_US;
  a.edit("INSERT INTO owner VALUES(1, 'of a', 'red')", at(30));
  b.edit("INSERT INTO owner VALUES(1, 'of b', 'red')", at(20));
  c.edit("INSERT INTO owner VALUES(1, 'of c', 'red')", at(32));
  // All three were one but for the delete, which makes c's wait for the others' tag: and with it the box that refers to it.
  a.edit("INSERT INTO box VALUES('x', 'in a', 1)", at(23));
  c.edit("INSERT INTO box VALUES('x', 'in c', 1)", at(33));
  c.edit("DELETE FROM owner", at(50));
  a.edit("INSERT INTO label VALUES('l', 'x')", at(40));
  a.pull(b);
  a.pull(c);
  b.pull(a);
  c.pull(a);
  for (const table of ["owner", "box", "label"])
    for (const site of [b, c])
      expect(site.rows(`SELECT * FROM ${table}`), `${table} of ${site.name}`).toEqual(a.rows(`SELECT * FROM ${table}`));
});

describe("a later-born row is parked instead", () => {
  const TWO = `CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, email TEXT);
    CREATE TABLE code(code TEXT PRIMARY KEY, label TEXT UNIQUE)`;

  test("where somebody edited it to the value", () => {
    const [a, b] = [new Site("a", TWO), new Site("b", TWO)];
    a.edit("INSERT INTO users VALUES(1, 'alice', 'a')");
    b.edit("INSERT INTO users VALUES(2, 'bob', 'b')", START_US + SECOND_US);
    b.edit("UPDATE users SET name = 'alice'", START_US + 2 * SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) expect(site.rows("SELECT email FROM users")).toEqual([{ email: "a" }]);
    for (const site of [a, b]) expect(site.replica.state().parked).toBe(1);
  });

  test("where the table is configured so, and where the key is natural", () => {
    const [a, b] = [new Site("a", TWO, { park: ["Users"] }), new Site("b", TWO, { park: ["users"] })];
    a.edit("INSERT INTO users VALUES(1, 'alice', 'a'); INSERT INTO code VALUES('x', 'same')");
    b.edit("INSERT INTO users VALUES(2, 'alice', 'b'); INSERT INTO code VALUES('y', 'same')", START_US + SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT email FROM users")).toEqual([{ email: "a" }]);
      expect(site.rows("SELECT code FROM code")).toEqual([{ code: "x" }]);
      expect(site.replica.state().parked).toBe(2);
    }
  });
});

describe("a parked row", () => {
  const SHOP = `CREATE TABLE shelf(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE item(id INTEGER PRIMARY KEY, shelf INTEGER REFERENCES shelf(id), label TEXT, price INTEGER CHECK(price > 0))`;

  /** The shelf of b and what is on it are parked on both. */
  function shop(): [Site, Site] {
    const options = { park: ["shelf"] };
    const [a, b] = [new Site("a", SHOP, options), new Site("b", SHOP, options)];
    a.edit("INSERT INTO shelf VALUES(7, 'top')");
    b.edit("INSERT INTO shelf VALUES(9, 'top'); INSERT INTO item VALUES(1, 9, 'of b', 5)", START_US + SECOND_US);
    settle(a, b);
    return [a, b];
  }
  const parked = (site: Site) => site.replica.reviews({ kind: "parked", id: "", limit: 10 });

  test("says what stands in its way and what would let it in", () => {
    for (const site of shop()) {
      const [shelf, item] = ["shelf", "item"].map((table) => parked(site).find((review) => review.table === table));
      expect(shelf?.reason).toContain('name: row 7 of "shelf", which was created earlier, has the same value');
      expect(shelf?.reason).toContain("--set name=VALUE");
      expect(item?.reason).toContain(`shelf refers to row 9 of "shelf", which is parked itself`);
    }
  });

  test("gets in with another value, an ordinary write that travels, and brings what waited for it", () => {
    const [a, b] = shop();
    const [shelf] = parked(a).filter(({ table }) => table === "shelf");
    expect(refusal(() => a.replica.resolve({ id: shelf?.id ?? "", keep: "", set: [] }))).toBe("INVALID_ARGUMENT");
    expect(refusal(() => a.replica.resolve({ id: shelf?.id ?? "", keep: "", set: [{ name: "nome", value: "x" }] }))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(a.replica.resolve({ id: shelf?.id ?? "", keep: "", set: [{ name: "name", value: "bottom" }] }).resolved).toBe(true);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b]) {
      expect(site.rows("SELECT name FROM shelf ORDER BY id")).toEqual([{ name: "top" }, { name: "bottom" }]);
      expect(site.rows("SELECT label, name FROM item JOIN shelf ON shelf.id = shelf")).toEqual([{ label: "of b", name: "bottom" }]);
      expect(parked(site)).toEqual([]);
    }
  });

  test("that is given a value which is taken, too, stays, and says so", () => {
    const [a] = shop();
    a.edit("INSERT INTO shelf VALUES(8, 'middle')", LATER);
    const [shelf] = parked(a).filter(({ table }) => table === "shelf");
    const left = a.replica.resolve({ id: shelf?.id ?? "", keep: "", set: [{ name: "name", value: "top" }] });
    expect(left.resolved).toBe(false);
    expect(left.reason).toContain("row 7");
  });

  test("gets in by itself when the application changes or deletes what stood in its way", () => {
    const [a, b] = shop();
    a.edit("UPDATE shelf SET name = 'other' WHERE id = 7", LATER);
    expect(a.rows("SELECT name FROM shelf ORDER BY id")).toEqual([{ name: "other" }, { name: "top" }]);
    settle(a, b);
    expectEqual(a, b);
  });

  test("keeps what it refers to, which an application deleted that could not see it", () => {
    const [a, b] = [new Site("a", SHOP, { park: ["shelf"] }), new Site("b", SHOP, { park: ["shelf"] })];
    const tagged = "CREATE TABLE tag(id INTEGER PRIMARY KEY, item INTEGER REFERENCES item(id), code TEXT UNIQUE)";
    for (const site of [a, b]) site.edit(tagged);
    a.edit("INSERT INTO item VALUES(1, NULL, 'of both', 5), (2, NULL, 'deleted', 5)");
    settle(a, b);
    b.edit("INSERT INTO tag VALUES(7, 1, 'x')", START_US + SECOND_US);
    a.edit("INSERT INTO tag VALUES(9, 1, 'y')", START_US + 2 * SECOND_US);
    a.edit("UPDATE tag SET code = 'x', item = 2 WHERE id = 9", START_US + 3 * SECOND_US);
    b.pull(a);
    expect(parked(b).map(({ table }) => table)).toEqual(["tag"]);
    b.edit("DELETE FROM item WHERE id = 2", LATER);
    b.edit("DELETE FROM tag WHERE id = 7", LATER + SECOND_US);
    settle(a, b);
    expectEqual(a, b);
    for (const site of [a, b])
      expect(site.rows("SELECT code, label FROM tag JOIN item ON item.id = item")).toEqual([{ code: "x", label: "deleted" }]);
  });

  test("that a CHECK refuses says which, and gets in with a value that is allowed", () => {
    const [a] = shop();
    const strict = new Site("strict", SHOP.replace("price > 0", "price > 10"), { park: ["shelf"] });
    strict.pull(a);
    a.edit("INSERT INTO item VALUES(2, 7, 'cheap', 3)", LATER);
    strict.pull(a);
    const [item] = parked(strict).filter(({ image }) => image?.some(({ value }) => value === "cheap"));
    expect(item?.reason).toContain("CHECK constraint failed");
    const refuse = () => strict.replica.resolve({ id: item?.id ?? "", keep: "", set: [{ name: "price", value: 10n }] });
    expect(refuse).toThrow(/stays a parked row: .*CHECK constraint failed: price > 10.*Nothing was changed/s);
    expect(refusal(refuse)).toBe("CONSTRAINT_REFUSED");
    expect(parked(strict).find(({ id }) => id === item?.id)?.image).toContainEqual({ name: "price", value: 3n });
    strict.replica.resolve({ id: item?.id ?? "", keep: "", set: [{ name: "price", value: 11n }] });
    settle(a, strict);
    for (const site of [a, strict]) expect(site.one("SELECT price FROM item WHERE label = 'cheap'")).toBe(11);
  });

  test("takes no reference to a row that is not there", () => {
    const [a, b] = shop();
    a.edit("INSERT INTO shelf VALUES(5, 'deleted')", LATER);
    a.edit("DELETE FROM shelf WHERE id = 5", LATER + SECOND_US);
    const [item] = parked(a).filter(({ table }) => table === "item");
    const decide = (value: bigint | null) => a.replica.resolve({ id: item?.id ?? "", keep: "", set: [{ name: "shelf", value }] });
    for (const value of [5n, 77n]) {
      expect(refusal(() => decide(value))).toBe("CONSTRAINT_REFUSED");
      expect(() => decide(value)).toThrow(/"shelf" has no row that shelf would refer to.*scoutsync restore.*Nothing was changed/s);
    }
    expect(parked(a)).toHaveLength(2);
    expect(decide(7n).resolved).toBe(true);
    settle(a, b);
    expectEqual(a, b);
  });

  /** A conflict about which team a robot is of, and a decision about it. */
  function robots(columns: string, foreign: string) {
    const schema = `CREATE TABLE team(${columns}); CREATE TABLE robot(k TEXT PRIMARY KEY, team ${foreign})`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    a.edit("INSERT INTO team(id, name) VALUES(1, 'one'), (2, 'two'), (3, 'three'); INSERT INTO robot VALUES('r', 1)");
    settle(a, b);
    a.edit("UPDATE robot SET team = 2", LATER);
    b.edit("UPDATE robot SET team = 3", LATER + SECOND_US);
    settle(a, b);
    const id = a.conflicts[0]?.id ?? "";
    return { a, b, decide: (value: SqlValue) => a.replica.resolve({ id, keep: "", set: [{ name: "team", value }] }).resolved };
  }

  test.each<[string, string, string, SqlValue, SqlValue]>([
    ["an integer", "id INTEGER PRIMARY KEY, name", "REFERENCES team", 77n, 1n],
    ["a natural key", "id TEXT PRIMARY KEY NOT NULL, name", "REFERENCES team(id)", "77", "1"],
    ["a UNIQUE value", "name TEXT PRIMARY KEY, id INT UNIQUE", "REFERENCES team(id)", 77n, 1n],
  ])("nor does a row in its table whose conflict is decided, by %s", (_, columns, foreign, nobody, somebody) => {
    const { a, b, decide } = robots(columns, foreign);
    const before = a.conflicts;
    expect(refusal(() => decide(nobody))).toBe("CONSTRAINT_REFUSED");
    expect(a.conflicts).toEqual(before);
    expect(decide(somebody)).toBe(true);
    settle(a, b);
    expectEqual(a, b);
  });

  test("takes any value where no foreign key is declared", () => {
    const { a, b, decide } = robots("id INTEGER PRIMARY KEY, name", "INT");
    expect(decide(77n)).toBe(true);
    settle(a, b);
    expectEqual(a, b);
  });

  test("is not what a decision about a conflict makes of a row: what a CHECK refuses is refused", () => {
    const [a, b] = shop();
    a.edit("INSERT INTO item VALUES(3, 7, 'in its table', 3)", LATER + SECOND_US);
    settle(a, b);
    for (const [site, price] of [[a, 4] as const, [b, 5] as const])
      site.edit(`UPDATE item SET price = ${price} WHERE label = 'in its table'`, LATER + 2 * SECOND_US + price);
    settle(a, b);
    const { id } = a.conflicts.find(({ loser }) => loser?.value === 4n)!;
    const refuse = () => a.replica.resolve({ id, keep: "", set: [{ name: "price", value: -1n }] });
    expect(refusal(refuse)).toBe("CONSTRAINT_REFUSED");
    expect(refuse).toThrow(/CHECK constraint failed: price > 0.*Nothing was changed/s);
    expect(a.one("SELECT price FROM item WHERE label = 'in its table'")).toBe(5);
    expect(a.replica.resolve({ id, keep: "loser", set: [] }).resolved).toBe(true);
  });
});
