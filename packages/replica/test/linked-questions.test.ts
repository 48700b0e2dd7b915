import { copyFileSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import type { Review } from "@scoutsync/core";
import { expect, test } from "vitest";
import { julianDay, SECOND_US, settle, Site, START_US } from "./site.ts";

const USERS = "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT)";
const SCOUTING = "CREATE TABLE scouting(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT)";
const NAMES = ["users", "scouting"] as const;
type Name = (typeof NAMES)[number];
const DAY_US = 86_400 * SECOND_US;

/** One node with two databases of which one refers to the other, and its application, which goes on while the node is down. */
class Node {
  readonly users: Site;
  readonly scouting: Site;
  private readonly backups = new Map<Name, string>();

  constructor(name: string) {
    this.users = new Site(name, USERS, { dependents: [] });
    this.scouting = new Site(name, SCOUTING, { rules: ["scouting.scout_id->users.user.id"], refersTo: { users: this.users } });
  }

  signUp(name: string, seconds: number): void {
    this.scouting.nowUs = START_US + seconds * SECOND_US;
    this.users.edit(`INSERT INTO user(name) VALUES('${name}')`, START_US + seconds * SECOND_US);
  }

  idOf = (name: string): unknown => this.users.one(`SELECT id FROM user WHERE name = '${name}'`);

  /** A row for a user, by the integer that the user has just now. */
  write(name: string): void {
    this.scouting.write(`INSERT INTO scouting(scout_id, wrote) VALUES(${String(this.idOf(name))}, '${name}')`);
  }

  backUp(): void {
    for (const name of NAMES) this.backups.set(name, this[name].backup());
  }

  /** What is put back is a copy of another node's file as it is now. */
  takeFrom(node: Node, name: Name): void {
    this.backups.set(name, node[name].backup());
  }

  /** The node is down while `work` is done and these databases are put back, and notes as it goes how far they were. */
  whileDown(databases: readonly Name[], work: () => void, then = () => {}): void {
    for (const name of NAMES.toReversed()) {
      this[name].options.hadBefore = this[name].replica.state().vector;
      this[name].isOpen = false;
      this[name].replica.close();
    }
    work();
    for (const name of databases) {
      const site = this[name];
      site.app.close();
      for (const end of ["-wal", "-shm"]) rmSync(`${site.path}${end}`, { force: true });
      copyFileSync(this.backups.get(name) as string, site.path);
      site.app = new Database(site.path);
    }
    then();
    for (const name of NAMES) this[name].start();
  }

  get questions(): Review[] {
    return this.scouting.replica.reviews({ kind: "identity", id: "", limit: 100 });
  }

  decide(keep: "winner" | "loser", { id }: Review): void {
    this.scouting.replica.resolve({ id, keep, set: [] });
  }

  /** Rows that lead to another user than the one they were written for, by number: WROTE -> NAME. */
  private get wrongRows(): Map<string, string> {
    const names = new Map(this.users.rows("SELECT id, name FROM user").map(({ id, name }) => [id, name]));
    const rows = this.scouting
      .rows("SELECT id, scout_id, wrote FROM scouting")
      .filter(({ scout_id, wrote }) => names.get(scout_id) !== wrote);
    return new Map(rows.map(({ id, scout_id, wrote }) => [String(id), `${String(wrote)} -> ${String(names.get(scout_id))}`]));
  }

  get wrong(): string[] {
    return [...this.wrongRows.values()].toSorted();
  }

  /** Rows that lead to another user, and of which nobody is asked. */
  get silent(): string[] {
    const asked = new Set(this.questions.flatMap(({ key }) => key.split(" ")));
    return [...this.wrongRows].flatMap(([key, wrong]) => (asked.has(key) ? [] : [wrong]));
  }

  /** For whom the rows were written that a person is asked about. */
  get asked(): string[] {
    const keys = this.questions.flatMap(({ key }) => key.split(" "));
    return keys.map((key) => String(this.scouting.one(`SELECT wrote FROM scouting WHERE id = ${key}`))).toSorted();
  }
}

function agree(a: Node, b: Node): void {
  for (const name of [...NAMES, ...NAMES]) settle(a[name], b[name]);
  for (const name of NAMES) {
    const sums = [a, b].map((node) => Buffer.from(node[name].replica.state().digest).toString("hex"));
    expect(sums[0], name).toBe(sums[1]);
    for (const node of [a, b]) {
      const look = (deep: boolean) => node[name].replica.digests({ table: "", buckets: [], deep }).entries;
      expect(look(true)).toEqual(look(false));
    }
  }
}

/**
 * Ben has 1 on the node when it is backed up, and another number since: Ann of the other one has it, as she was first. Cat is not in the
 * backup. `known`: some row here refers to each of them. The sync was `days` ago.
 */
function renumbered(known: boolean, days: number): [Node, Node] {
  const [a, b] = [new Node("a"), new Node("b")];
  b.signUp("ann", 0);
  a.signUp("ben", 1);
  a.backUp();
  agree(a, b);
  a.signUp("cat", 2);
  a.users.nowUs += days * DAY_US;
  if (known) writeAll(a);
  agree(a, b);
  expect(a.idOf("ann")).toBe(1);
  return [a, b];
}

const writeAll = (node: Node) => ["ann", "ben", "cat"].filter((name) => node.idOf(name) !== null).forEach((name) => node.write(name));

test("users put back while the node was down: what was written before leads right where they were known, and is asked where another has the number", () => {
  const [a, b] = renumbered(true, 4);
  a.whileDown(["users"], () => writeAll(a));
  expect(a.asked).toEqual(["ann"]);
  expect(a.questions[0]).toMatchObject({ column: "scout_id", loser: { value: 1n } });
  agree(a, b);
  expect([...a.wrong, ...b.wrong]).toEqual([]);
  expect(a.asked).toEqual(["ann"]);
  expect(b.asked).toEqual([]);
  a.decide("winner", a.questions[0] as Review);
  agree(a, b);
  expect([...a.wrong, ...b.wrong]).toEqual([]);
  expect(a.asked).toEqual([]);
});

test("users put back while the node was down: of numbers that were not known it is asked, whoever has them then", () => {
  const [a, b] = renumbered(false, 4);
  a.whileDown(["users"], () => writeAll(a));
  agree(a, b);
  expect(a.wrong).toContain("ann -> ben");
  expect(a.silent).toEqual([]);
  expect(a.asked).toEqual(["ann", "ben", "cat"]);
});

test("users put back while the node was down: what was written after that leads to whom the application saw once a person says so", () => {
  const [a, b] = renumbered(true, 4);
  a.whileDown(
    ["users"],
    () => {},
    () => a.write("ben"),
  );
  agree(a, b);
  expect(a.wrong).toEqual(["ben -> ann"]);
  expect(a.silent).toEqual([]);
  a.decide("loser", a.questions[0] as Review);
  agree(a, b);
  expect([...a.wrong, ...b.wrong]).toEqual([]);
  expect(a.questions).toEqual([]);
});

for (const known of [true, false])
  for (const when of ["before the node starts", "after it has started"])
    test(`a user who signs up ${when} with a number of one that the backup lacks is not taken for that one in silence${known ? "" : ", who was not known here"}`, () => {
      const [a, b] = [new Node("a"), new Node("b")];
      a.signUp("ann", 0);
      a.backUp();
      a.signUp("cat", 1);
      if (known) a.write("cat");
      agree(a, b);
      const zoe = () => a.users.write("INSERT INTO user(name) VALUES('zoe')");
      const early = when === "before the node starts";
      a.whileDown(["users"], () => a.write("cat"), early ? zoe : undefined);
      if (!early) zoe();
      a.write("ann");
      expect(a.idOf("zoe")).toBe(2);
      agree(a, b);
      expect([...a.wrong, ...b.wrong].length > 0).toBe(!known);
      expect(a.silent).toEqual([]);
      expect(a.asked).toEqual(known && !early ? [] : ["cat"]);
    });

for (const isElsewhere of [true, false])
  test(`a row for a new user with a number of one that the older file lacks ${isElsewhere ? "but another node has " : ""}leads to the new one, whatever is drained first`, () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    a.backUp();
    a.signUp("cat", 1);
    a.write("cat");
    a.scouting.replica.drain();
    if (isElsewhere) agree(a, b);
    a.whileDown(["users"], () => {});
    a.users.write("INSERT INTO user(name) VALUES('zoe')");
    expect(a.idOf("zoe")).toBe(2);
    a.write("zoe");
    a.scouting.replica.drain();
    agree(a, b);
    for (const node of [a, b]) expect(node.wrong).toEqual(isElsewhere ? [] : ["cat -> undefined"]);
  });

for (const when of ["before the node starts", "after it has started", "on another node"])
  test(`a user who gets ${when} the number of one that was only in the file before, and that no node ever had, is not taken for that one in silence`, () => {
    const [a, b] = [new Node("a"), new Node("b")];
    a.signUp("ann", 0);
    agree(a, b);
    a.whileDown([], () => a.backUp());
    const captured = (site: Site, seconds: number) =>
      site.app.exec(`UPDATE _scoutsync_capture SET at = ${julianDay(START_US + seconds * SECOND_US)}`);
    const yan = (node: Node) => {
      node.users.write("INSERT INTO user(name) VALUES('yan')");
      captured(node.users, 20);
    };
    for (const name of NAMES) for (const node of [a, b]) node[name].nowUs = START_US + 15 * SECOND_US;
    const then = () => {
      for (const name of NAMES) for (const node of [a, b]) node[name].nowUs = START_US + 30 * SECOND_US;
      if (when.startsWith("before")) yan(a);
    };
    const waits = () => {
      a.users.write("INSERT INTO user(name) VALUES('zoe')");
      a.write("zoe");
      a.write("ann");
      captured(a.scouting, 10);
    };
    a.whileDown(["users"], waits, then);
    if (!when.startsWith("before")) yan(when.startsWith("on") ? b : a);
    agree(a, b);
    expect(a.idOf("yan")).toBe(2);
    expect(a.wrong).toEqual(["zoe -> yan"]);
    expect(a.silent).toEqual([]);
    expect(a.asked).toEqual(["zoe"]);
    a.write("yan");
    agree(a, b);
    expect(a.asked).toEqual(["zoe"]);
    a.decide("winner", a.questions[0] as Review);
    agree(a, b);
    expect(a.asked).toEqual([]);
  });

test("the database that refers put back while the node was down: rows that waited in it are asked about where another has the number", () => {
  const [a, b] = [new Node("a"), new Node("b")];
  b.signUp("ann", 0);
  a.signUp("ben", 1);
  a.write("ben");
  a.whileDown([], () => {
    a.write("ben");
    a.backUp();
  });
  agree(a, b);
  a.users.nowUs += 4 * DAY_US;
  a.scouting.edit("INSERT INTO scouting(scout_id, wrote) VALUES(1, 'ann')");
  agree(a, b);
  expect([...a.wrong, ...b.wrong, ...a.asked]).toEqual([]);
  a.whileDown(["scouting"], () => {});
  agree(a, b);
  expect([...a.wrong, ...b.wrong]).toEqual([]);
  expect(a.asked).toEqual(["ben"]);
});

for (const name of NAMES)
  test(`${name} of another node copied over those of one that was down: what waits is asked about where another has the number`, () => {
    const [a, b] = [new Node("a"), new Node("b")];
    b.signUp("ann", 0);
    a.signUp("ben", 1);
    if (name === "users") a.write("ben");
    b.write("ann");
    for (const node of [a, b]) node.scouting.replica.drain();
    b.users.pull(a.users);
    if (name === "scouting") b.write("ann");
    a.takeFrom(b, name);
    a.whileDown([name], () => name === "users" && a.write("ben"));
    expect(a.asked).toEqual([name === "users" ? "ben" : "ann"]);
    agree(a, b);
    expect([...a.wrong, ...b.wrong]).toEqual([]);
  });

for (const files of [[], NAMES] as const)
  test(`where ${files.length === 0 ? "none" : "both"} of them put back nobody is asked about what waits`, () => {
    const [a, b] = renumbered(true, 4);
    const wait = () => writeAll(a);
    a.whileDown(files, files.length === 0 ? wait : () => {}, files.length === 0 ? () => {} : wait);
    agree(a, b);
    expect([...a.wrong, ...b.wrong, ...a.asked]).toEqual([]);
  });

/** A row by an integer that the application remembers. */
const remember = (node: Node, id: number, name: string) => {
  node.scouting.write(`INSERT INTO scouting(scout_id, wrote) VALUES(${id}, '${name}')`);
  node.scouting.replica.drain();
};

test("a row with a number that a sync gave to another user is asked about, as within one database, until somebody has decided", () => {
  const [a, b] = renumbered(false, 1);
  remember(a, 1, "ben");
  remember(b, 1, "ann");
  agree(a, b);
  expect([a.wrong, b.wrong]).toEqual([["ben -> ann"], ["ben -> ann"]]);
  expect([a.asked, b.asked]).toEqual([["ben"], []]);
  expect(a.scouting.replica.state().notices).toBe(1);
  a.decide("loser", a.questions[0] as Review);
  agree(a, b);
  expect([...a.wrong, ...b.wrong, ...a.asked]).toEqual([]);
  remember(a, 1, "ann");
  expect(a.asked).toEqual([]);
});

test("a row that is made to name such a number is asked about, and not any more once its application names another", () => {
  const [a, b] = renumbered(false, 1);
  remember(a, Number(a.idOf("cat")), "cat");
  expect(a.asked).toEqual([]);
  a.scouting.edit("UPDATE scouting SET scout_id = 1, wrote = 'ben'");
  expect(a.asked).toEqual(["ben"]);
  a.scouting.edit(`UPDATE scouting SET scout_id = ${String(a.idOf("ben"))}`);
  agree(a, b);
  expect([...a.wrong, ...b.wrong, ...a.asked]).toEqual([]);
});

test("a number that a sync took from another user is taken for the one who has it after four days", () => {
  const [a, b] = renumbered(false, 4);
  remember(a, 1, "ann");
  agree(a, b);
  expect([...a.wrong, ...b.wrong, ...a.asked]).toEqual([]);
});
