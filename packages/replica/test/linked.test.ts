import { describe, expect, test } from "vitest";
import { refusal, settle, SECOND_US, Site, type SiteOptions, START_US } from "./site.ts";

const USERS = "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT, mail TEXT UNIQUE)";
const SCOUTING = `
  CREATE TABLE scouting(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT);
  CREATE TABLE mark(k TEXT PRIMARY KEY, "by" INTEGER, wrote TEXT)`;
const RULES = ["scouting.scout_id->users.user.id", "mark.by->users.user.id"];

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** One node with two databases. */
class Node {
  readonly users: Site;
  readonly scouting: Site;

  constructor(
    name: string,
    options: { users?: SiteOptions; scouting?: SiteOptions; schema?: string; filled?: string; wrote?: string; rules?: string[] } = {},
  ) {
    // Told before it starts that it is referred to.
    this.users = new Site(name, `${options.schema ?? USERS};${options.filled ?? ""}`, { ...options.users, dependents: [] });
    this.scouting = new Site(name, `${SCOUTING};${options.wrote ?? ""}`, {
      rules: options.rules ?? RULES,
      ...options.scouting,
      refersTo: { users: this.users },
    });
  }

  /** A user, and what the user wrote, as an application does that knows nothing of sync. */
  signUp(name: string, seconds: number): void {
    this.users.edit(`INSERT INTO user(name) VALUES('${name}')`, at(seconds));
    this.write(name, seconds);
  }

  write(name: string, seconds: number): void {
    const id = this.users.one(`SELECT id FROM user WHERE name = '${name}'`);
    this.scouting.edit(`INSERT INTO scouting(scout_id, wrote) VALUES(${String(id)}, '${name}')`, at(seconds));
    this.scouting.edit(`INSERT OR IGNORE INTO mark VALUES('by ${name}', ${String(id)}, '${name}')`, at(seconds));
  }

  /** Rows that lead to another user than the one who wrote them: WROTE -> NAME. */
  get wrong(): string[] {
    const names = new Map(this.users.rows("SELECT id, name FROM user").map(({ id, name }) => [id, name]));
    const refs = [
      ...this.scouting.rows("SELECT scout_id AS r, wrote FROM scouting"),
      ...this.scouting.rows('SELECT "by" AS r, wrote FROM mark'),
    ];
    return refs.flatMap(({ r, wrote }) => (names.get(r) === wrote ? [] : [`${String(wrote)} -> ${String(names.get(r))} (${String(r)})`]));
  }
}

function agree(nodes: readonly Node[], order: readonly ("users" | "scouting")[] = ["users", "scouting"]): void {
  for (const database of order) {
    const all = nodes.map((node) => node[database]);
    settle(...all);
  }
  for (const database of order) {
    const all = nodes.map((node) => node[database]);
    settle(...all);
    const digests = all.map(({ replica }) => Buffer.from(replica.state().digest).toString("hex"));
    expect(new Set(digests).size, database).toBe(1);
    for (const { replica } of all) {
      const look = (deep: boolean) => replica.digests({ table: "", buckets: [], deep }).entries;
      expect(look(true)).toEqual(look(false));
    }
  }
}

describe("a column that refers to a row of another database of the node", () => {
  test.each([[["users", "scouting"]], [["scouting", "users"]]] as const)("leads to the same row everywhere, synced as %s", (order) => {
    const nodes = ["a", "b", "c"].map((name) => new Node(name));
    nodes.forEach((node, i) => {
      node.signUp(`ann of ${i}`, 2 * i);
      node.signUp(`ben of ${i}`, 2 * i + 1);
    });
    agree(nodes, order);
    for (const node of nodes) {
      expect(node.wrong).toEqual([]);
      expect(node.scouting.conflicts).toEqual([]);
      expect(node.scouting.one("SELECT count(*) FROM scouting")).toBe(6);
    }
    const [, b] = nodes as [Node, Node];
    b.write("ann of 1", 20);
    agree(nodes, order);
    for (const node of nodes) expect(node.wrong).toEqual([]);
  });

  test("without the configuration it leads to another row: the test can fail", () => {
    const nodes = ["a", "b"].map((name) => new Node(name, { rules: [] }));
    nodes.forEach((node, i) => node.signUp(`ann of ${i}`, i));
    agree(nodes);
    expect(nodes[0]?.wrong).not.toEqual([]);
  });

  test("may be filled before the database it refers to: nobody is shown for somebody else", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    b.signUp("ben", 0);
    a.signUp("ann", 1);
    a.signUp("abe", 2);
    settle(a.scouting, b.scouting);
    // Neither knows the other's users; each has a row with every integer that the other wrote.
    expect(a.wrong).toEqual([expect.stringMatching(/^ben -> undefined/), expect.stringMatching(/^ben -> undefined/)]);
    expect(b.wrong.every((line) => line.includes("-> undefined"))).toBe(true);
    expect(a.scouting.replica.state().parked).toBe(0);
    const sums = () => [a, b].map(({ scouting }) => Buffer.from(scouting.replica.state().digest).toString("hex"));
    expect(new Set(sums()).size).toBe(1);
    // What is written with such a number means the same row.
    a.scouting.edit("INSERT INTO mark SELECT 'copied', scout_id, 'ben' FROM scouting WHERE wrote = 'ben'", at(5));
    agree([a, b]);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });

  test("means the row that had the integer when it was written, drained or not", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    b.users.edit("INSERT INTO user(name) VALUES('ben')", at(1));
    // Not drained when b's own user moves for a's.
    b.scouting.write("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ben'); INSERT INTO mark VALUES('by ben', 1, 'ben')");
    b.users.pull(a.users);
    expect(b.users.one("SELECT name FROM user WHERE id = 1")).toBe("ann");
    expect(b.wrong).toEqual([]);
    b.scouting.write("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ann')");
    agree([a, b]);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });

  test("waits for what the other database has not drained", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    b.signUp("ben", 0);
    a.users.write("INSERT INTO user(name) VALUES('ann')");
    a.scouting.write("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ann')");
    agree([a, b], ["scouting", "users"]);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });

  test.each([
    ["users", "scouting"],
    ["scouting", "users"],
  ] as const)("that was written before that row, here and there, means the one of its own author: %s first", (...order) => {
    const nodes = ["a", "b", "c"].map((name) => new Node(name));
    const [a, b] = nodes as [Node, Node, Node];
    a.scouting.edit("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ann'); INSERT INTO mark VALUES('by ann', 1, 'ann')", at(0));
    b.scouting.edit("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ben'); INSERT INTO mark VALUES('by ben', 1, 'ben')", at(1));
    agree(nodes);
    b.users.edit("INSERT INTO user VALUES(1, 'ben', NULL)", at(2));
    a.users.edit("INSERT INTO user VALUES(1, 'ann', NULL)", at(3));
    agree(nodes, [...order]);
    for (const node of nodes) {
      expect(node.wrong).toEqual([]);
      expect(node.scouting.conflicts).toEqual([]);
    }
  });

  test("may hold a number that names no row, and means the row that gets it later", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.scouting.edit("INSERT INTO scouting(scout_id, wrote) VALUES(77, 'kim'), (NULL, 'nobody'), ('text', 'text')", at(0));
    agree([a, b]);
    expect(b.scouting.rows("SELECT scout_id FROM scouting ORDER BY id")).toEqual([
      { scout_id: 77 },
      { scout_id: null },
      { scout_id: "text" },
    ]);
    a.users.edit("INSERT INTO user VALUES(77, 'kim', NULL)", at(1));
    agree([a, b]);
    for (const node of [a, b]) expect(node.wrong.filter((line) => line.startsWith("kim"))).toEqual([]);
  });

  test.each([
    ["edit", "UPDATE scouting SET scout_id = 5", 2, "5, a later"],
    ["edit that is older than one beside it", "UPDATE scouting SET scout_id = 5", 4, "5, a later"],
    ["delete", "DELETE FROM scouting", 2, ""],
  ])("says whom a number means that named nobody without beating another server's %s", (_, sql, besideS, shown) => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.users.edit("INSERT INTO user VALUES(5, 'eve', NULL)", at(0));
    a.scouting.edit("INSERT INTO scouting(scout_id, wrote) VALUES(77, 'a')", at(1));
    agree([a, b]);
    a.scouting.edit("UPDATE scouting SET wrote = 'a later'", at(besideS));
    b.scouting.edit(sql, at(3));
    a.users.edit("INSERT INTO user VALUES(77, 'kim', NULL)", at(5));
    a.scouting.replica.drain();
    agree([a, b]);
    for (const node of [a, b])
      expect(node.scouting.rows("SELECT scout_id, wrote FROM scouting").map((row) => Object.values(row).join(", "))).toEqual(
        shown === "" ? [] : [shown],
      );
  });

  test("keeps the number of a deleted row, and never shows another one for it", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    agree([a, b]);
    a.users.edit("DELETE FROM user", at(1));
    agree([a, b]);
    for (const node of [a, b]) expect(node.scouting.one("SELECT scout_id FROM scouting")).toBe(1);
    a.users.replica.restore("user", "1");
    agree([a, b]);
    for (const node of [a, b]) expect(node.wrong).toEqual([]);
  });

  test("means the new row of an application that gives the integer of a deleted one out again", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    agree([a, b]);
    a.users.edit("DELETE FROM user; INSERT INTO user VALUES(1, 'ann', 'again')", at(1));
    b.users.edit("INSERT INTO user(name) VALUES('ben')", at(2));
    agree([a, b], ["scouting", "users"]);
    for (const node of [a, b]) expect(node.wrong).toEqual([]);
  });

  test("never means the next row of a server that has not seen the deleted one, where AUTOINCREMENT gives no integer out again", () => {
    const schema = USERS.replace("KEY", "KEY AUTOINCREMENT");
    const [a, b] = [new Node("a", { schema }), new Node("b", { schema })];
    a.signUp("ann", 0);
    agree([a, b]);
    a.signUp("ben", 1);
    a.users.edit("DELETE FROM user WHERE name = 'ben'", at(2));
    agree([a, b]);
    b.signUp("cleo", 3);
    agree([a, b]);
    for (const node of [a, b]) expect(node.wrong).toEqual(["ben -> undefined (2)", "ben -> undefined (2)"]);
  });

  test("is right after either file was put back from a backup", () => {
    for (const database of ["users", "scouting"] as const) {
      const [a, b] = [new Node("a"), new Node("b")];
      b.signUp("ben", 0);
      const backup = b[database].backup();
      a.signUp("ann", -5);
      agree([a, b]);
      b[database].replaceFile(backup);
      b.scouting.replica.drain();
      agree([a, b]);
      expect([database, ...a.wrong, ...b.wrong]).toEqual([database]);
    }
  });

  test("follows rows that are one, and two again", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    for (const [i, node] of [a, b].entries()) {
      node.users.edit(`INSERT INTO user(name, mail) VALUES('first of ${node.users.name}', '${node.users.name}'), ('kim', 'kim@x')`, at(i));
      node.write("kim", i + 3);
    }
    agree([a, b]);
    expect(a.users.one("SELECT count(*) FROM user WHERE name = 'kim'")).toBe(1);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });

  test("comes to a database that has rows", () => {
    const filled = ["a", "b"].map(
      (name) =>
        new Node(name, {
          filled: "INSERT INTO user(id, name) VALUES(1, 'old')",
          wrote: "INSERT INTO scouting(scout_id, wrote) VALUES(1, 'old')",
          rules: [],
        }),
    );
    agree(filled);
    for (const { scouting } of filled) {
      scouting.options.rules = RULES;
      scouting.restart();
    }
    filled.forEach((node, i) => node.signUp(`new of ${i}`, i));
    agree(filled);
    for (const node of filled) expect(node.wrong).toEqual([]);
  });

  test("a migration is no problem where what was captured before it means a new user that is not drained yet", () => {
    const node = new Node("a");
    node.signUp("ann", 0);
    node.users.write("INSERT INTO user(name) VALUES('new')");
    node.scouting.edit("UPDATE scouting SET scout_id = 2, wrote = 'new'; ALTER TABLE scouting ADD COLUMN more TEXT", at(1));
    expect(node.scouting.replica.state().problem).toBe("");
    expect(node.wrong).toEqual([]);
  });

  test("what was written after a row moved means who has its integer then, also where a migration came before the next start", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    b.signUp("ben", 1);
    // As after a crash between the two commits.
    b.scouting.isOpen = false;
    b.scouting.replica.close();
    b.users.pull(a.users);
    b.scouting.write("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ann'); ALTER TABLE scouting ADD COLUMN more TEXT");
    b.scouting.start();
    expect(b.wrong).toEqual([]);
  });

  test("an edit of one column beats no other's, where a migration came before the next start", () => {
    const [a, b] = ["a", "b"].map((name) => new Node(name, { wrote: "ALTER TABLE scouting ADD COLUMN seen TEXT" })) as [Node, Node];
    a.signUp("ann", 0);
    b.signUp("ben", 1);
    agree([a, b]);
    b.scouting.isOpen = false;
    b.scouting.replica.close();
    b.scouting.write("UPDATE scouting SET seen = 'by b' WHERE wrote = 'ann'; ALTER TABLE scouting ADD COLUMN more TEXT");
    a.users.edit("UPDATE user SET name = 'anna' WHERE name = 'ann'", at(2));
    a.scouting.edit("UPDATE scouting SET wrote = 'anna' WHERE wrote = 'ann'; UPDATE mark SET wrote = 'anna' WHERE wrote = 'ann'", at(3));
    b.users.pull(a.users);
    b.scouting.nowUs = at(9);
    b.scouting.start();
    a.scouting.edit("ALTER TABLE scouting ADD COLUMN more TEXT", at(10));
    agree([a, b]);
    for (const { wrong, scouting } of [a, b]) {
      expect(wrong).toEqual([]);
      expect(scouting.conflicts.map(({ column }) => column)).not.toContain("wrote");
      expect(scouting.rows("SELECT wrote, seen FROM scouting ORDER BY wrote")).toEqual([
        { wrote: "anna", seen: "by b" },
        { wrote: "ben", seen: null },
      ]);
    }
  });

  test.each([
    "ALTER TABLE scouting ADD COLUMN more TEXT",
    `BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT, more TEXT); INSERT INTO n SELECT *, NULL FROM scouting;
     DROP TABLE scouting; ALTER TABLE n RENAME TO scouting; COMMIT`,
  ])("a migration writes no row that refers: %s", (migration) => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    b.signUp("ben", 1);
    agree([a, b]);
    const before = a.scouting.vector;
    a.scouting.edit(migration, at(2));
    expect(a.scouting.vector).toBe(before);
  });

  test.each(["running", "down"])(
    "a table that refers and is rebuilt under another name has the rows that it had: a node that is %s",
    (how) => {
      const rules = [...RULES, "visit.scout_id->users.user.id"];
      const [a, b] = [new Node("a", { rules }), new Node("b", { rules })];
      a.signUp("ann", 0);
      b.signUp("ben", 1);
      agree([a, b]);
      const rebuild = `BEGIN; CREATE TABLE visit(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT); INSERT INTO visit SELECT * FROM scouting;
      DROP TABLE scouting; COMMIT`;
      if (how === "down") {
        a.scouting.isOpen = false;
        a.scouting.replica.close();
      }
      a.scouting.write(rebuild);
      if (how === "down") a.scouting.start();
      b.write("ben", 2);
      a.scouting.nowUs = at(20);
      settle(a.scouting, b.scouting);
      b.scouting.edit(rebuild, at(21));
      agree([a, b]);
      for (const { scouting } of [a, b]) {
        expect(scouting.rows("SELECT wrote, count(*) AS rows FROM visit GROUP BY 1")).toEqual([
          { wrote: "ann", rows: 1 },
          { wrote: "ben", rows: 2 },
        ]);
      }
    },
  );

  test("finds a number that was changed behind the triggers' back", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    a.signUp("abe", 1);
    b.signUp("ben", 2);
    agree([a, b]);
    const id = Number(b.users.one("SELECT id FROM user WHERE name = 'abe'"));
    b.scouting.write(`
      BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT); INSERT INTO n SELECT * FROM scouting; DROP TABLE scouting;
      ALTER TABLE n RENAME TO scouting; UPDATE scouting SET scout_id = ${id}, wrote = 'abe' WHERE wrote = 'ben'; COMMIT`);
    agree([a, b]);
    for (const node of [a, b]) {
      expect(node.wrong).toEqual([]);
      expect(node.scouting.one("SELECT count(*) FROM scouting WHERE wrote = 'abe'")).toBe(2);
    }
  });
});

describe("an application that writes to both databases in one transaction", () => {
  test.each([[["users", "scouting"]], [["scouting", "users"]]] as const)("is let through, having the locks of %s", ([first, second]) => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    b.users.edit("INSERT INTO user(name) VALUES('ben')", at(1));
    const app = b[first].app;
    app.exec(`ATTACH '${b[second].path}' AS other; BEGIN IMMEDIATE`);
    const [user, scouting] = first === "users" ? ["user", "other.scouting"] : ["other.user", "scouting"];
    app.exec(`INSERT INTO ${scouting}(scout_id, wrote) SELECT id, name FROM ${user} WHERE id = 1`);
    // Its transaction is open: nothing moves.
    expect(refusal(() => b.users.pull(a.users))).toBe("DATABASE_LOCKED");
    app.exec("COMMIT; DETACH other");
    agree([a, b]);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });

  test("is done once where an index of the other has fallen behind, and had to be built anew", () => {
    const wrote = `CREATE VIRTUAL TABLE words USING fts5(wrote, content='scouting', content_rowid='id');
      CREATE TRIGGER scouting_i AFTER INSERT ON scouting BEGIN INSERT INTO words(rowid, wrote) VALUES(NEW.id, NEW.wrote); END;
      CREATE TRIGGER scouting_u AFTER UPDATE ON scouting BEGIN
        INSERT INTO words(words, rowid, wrote) VALUES('delete', OLD.id, OLD.wrote); INSERT INTO words(rowid, wrote) VALUES(NEW.id, NEW.wrote); END`;
    const [a, b] = [new Node("a", { wrote }), new Node("b", { wrote })];
    a.signUp("ann", 1);
    b.signUp("bob", 2);
    b.scouting.write("INSERT INTO words(words) VALUES('delete-all')");
    expect(b.users.pull(a.users).map(({ applied }) => applied)).toEqual([1]);
    expect(b.wrong).toEqual([]);
    expect(b.scouting.one("SELECT count(*) FROM words WHERE words MATCH 'bob'")).toBe(1);
  });

  test("finds the lock of the one free while the other is waited for", () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    b.signUp("ben", 1);
    // Somebody writes to the database that refers, and only then to the one it refers to, which must not be locked for long.
    const app = b.scouting.app;
    app.exec("BEGIN IMMEDIATE; INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ben')");
    expect(refusal(() => b.users.pull(a.users))).toBe("DATABASE_LOCKED");
    expect(() => b.users.write("INSERT INTO user(name) VALUES('bob')")).not.toThrow();
    app.exec("COMMIT");
    agree([a, b]);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });
});

describe("the configuration", () => {
  test("must be the same on both sides", () => {
    const [a, b] = [new Node("a"), new Node("b", { rules: [] })];
    expect(refusal(() => b.scouting.pull(a.scouting))).toBe("RULES_DIFFER");
  });

  test.each(["scouting.scout_id->users.user.name", "scouting.id->users.user.id", "mark.k->users.user.id"])("%s is refused", (rule) => {
    expect(refusal(() => new Node("a", { rules: [rule] }))).toBe("INVALID_ARGUMENT");
  });

  test("says what is missing while the other database is not open", () => {
    const a = new Node("a");
    a.users.stop();
    a.scouting.write("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ann')");
    expect(refusal(() => a.scouting.replica.drain())).toBe("DATABASE_FAILED");
  });
});
