import { describe, expect, test } from "vitest";
import { settle, SECOND_US, Site, type SiteOptions, START_US } from "./site.ts";

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
    options: { users?: SiteOptions; scouting?: SiteOptions; filled?: string; wrote?: string; rules?: string[] } = {},
  ) {
    // Told before it starts that it is referred to.
    this.users = new Site(name, `${USERS};${options.filled ?? ""}`, { ...options.users, dependents: [] });
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
});
