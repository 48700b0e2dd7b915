import { copyFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { join as joined } from "@scoutsync/core";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { openReplicaPool, type Replica } from "../src/index.ts";
import { testFolder } from "./site.ts";

const SCHEMAS = {
  users: "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT)",
  scouting: "CREATE TABLE scouting(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT)",
};
const NAMES = ["users", "scouting"] as const;
type Name = (typeof NAMES)[number];

/** Rare enough that what a test asks for comes first. */
const POLL_MS = 400;
const BUSY_MS = 200;

/** A node that runs with two databases of which one refers to the other, and an application that opens them for each write. */
class Node {
  readonly folder = testFolder();
  users!: Replica;
  scouting!: Replica;

  static async start(name: string): Promise<Node> {
    const node = new Node();
    const pool = openReplicaPool({ threads: 1 });
    onTestFinished(() => pool.close());
    const options = {
      nodeName: name,
      nodeId: name,
      exclude: [],
      baseline: null,
      busyTimeoutMs: BUSY_MS,
      pollIntervalMs: POLL_MS,
      together: "node",
    };
    for (const database of NAMES) node.run(database, SCHEMAS[database]);
    node.users = await pool.open({ ...options, name: "users", path: node.path("users"), isReferredTo: true });
    const rules = ["scouting.scout_id->users.user.id"];
    node.scouting = await pool.open({ ...options, name: "scouting", path: node.path("scouting"), rules });
    return node;
  }

  path = (database: Name): string => join(this.folder, `${database}.db`);
  private backup = (database: Name): string => `${this.path(database)}.backup`;

  run(database: Name, sql: string, ...values: unknown[]): Record<string, unknown>[] {
    const app = new Database(this.path(database));
    try {
      if (values.length === 0 && !sql.startsWith("SELECT")) app.exec(sql);
      else if (sql.startsWith("SELECT")) return app.prepare(sql).all(...values) as Record<string, unknown>[];
      else app.prepare(sql).run(...values);
      return [];
    } finally {
      app.close();
    }
  }

  async signUp(name: string): Promise<void> {
    this.run("users", "INSERT INTO user(name) VALUES(?)", name);
    await this.users.drain();
  }

  idOf(name: string): unknown {
    return this.run("users", "SELECT id FROM user WHERE name = ?", name)[0]?.["id"];
  }

  /** A row for a user, by the integer that the user has just now. */
  write(name: string): void {
    this.run("scouting", "INSERT INTO scouting(scout_id, wrote) VALUES(?, ?)", this.idOf(name), name);
  }

  backUp(): void {
    for (const database of NAMES) this.run(database, `VACUUM INTO '${this.backup(database)}'`);
  }

  /** Writes to the backup what an application does while the node is down. */
  writeToBackup(database: Name, sql: string): void {
    const app = new Database(this.backup(database));
    app.exec(sql);
    app.close();
  }

  putBack(databases: readonly Name[]): void {
    for (const database of databases) {
      const path = this.path(database);
      copyFileSync(this.backup(database), `${path}.new`);
      for (const end of ["-wal", "-shm"]) rmSync(`${path}${end}`, { force: true });
      renameSync(`${path}.new`, path);
    }
  }

  /** Rows that lead to another user than the one they were written for: WROTE -> NAME. */
  get wrong(): string[] {
    const names = new Map(this.run("users", "SELECT id, name FROM user").map(({ id, name }) => [id, name]));
    return this.run("scouting", "SELECT scout_id, wrote FROM scouting")
      .filter(({ scout_id, wrote }) => names.get(scout_id) !== wrote)
      .map(({ scout_id, wrote }) => `${String(wrote)} -> ${String(names.get(scout_id))}`);
  }
}

/** Tries again what a database that is being opened again, or is locked, refuses. */
async function untilTaken<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (
        tries > 200 ||
        !["DATABASE_REPLACED", "DATABASE_LOCKED", "RESTORED", "DATABASE_FAILED"].includes((error as { code: string }).code)
      )
        throw error;
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

async function pull(to: Replica, from: Replica): Promise<void> {
  for (let final = false; !final;) {
    await from.meet(to.state.baseline);
    const { vector, position, beyondDigest } = await to.standing(from.run);
    const batch = await from.read({ from: joined(vector, position), batchSize: 0, codecs: [], beyondDigest });
    ({ final } = batch);
    await to.apply(batch);
  }
}

async function sync(a: Node, b: Node): Promise<void> {
  for (const database of [...NAMES, ...NAMES]) {
    await untilTaken(() => pull(a[database], b[database]));
    await untilTaken(() => pull(b[database], a[database]));
  }
}

/** Ben has 1 on the node when it is backed up, and another integer since: Ann of the other one has it. `before`: right after the backup. */
async function renumbered(before = (_: Node) => {}): Promise<[Node, Node]> {
  const [a, b] = [await Node.start("a"), await Node.start("b")];
  await b.signUp("ann");
  b.write("ann");
  await a.signUp("ben");
  a.write("ben");
  await a.scouting.drain();
  a.backUp();
  before(a);
  await sync(a, b);
  expect([...a.wrong, ...b.wrong]).toEqual([]);
  expect(a.idOf("ann")).toBe(1);
  expect(a.idOf("ben")).not.toBe(1);
  return [a, b];
}

for (const files of [NAMES, ["users"], ["scouting"]] as const)
  for (const first of NAMES)
    for (const when of ["before", "after"])
      test(`${files.join(" and ")} put back under a running node, ${first} looked at first: what is written ${when} that means whom its application saw`, async () => {
        const [a, b] = await renumbered();
        a.putBack(files);
        const writes = () => ["ann", "ben"].filter((name) => a.idOf(name) !== undefined).forEach((name) => a.write(name));
        if (when === "before") writes();
        await a[first].drain().catch(() => undefined);
        if (when === "after") writes();
        await a[first === "users" ? "scouting" : "users"].drain().catch(() => undefined);
        await sync(a, b);
        for (const node of [a, b]) expect(node.wrong).toEqual([]);
      });

for (const known of [true, false])
  test(`the database that refers put back under a running node: rows that waited in it are asked about${known ? "" : ", also where the number was not known"}`, async () => {
    const waits = (node: Node) =>
      node.writeToBackup("scouting", `INSERT INTO scouting(scout_id, wrote) VALUES(${known ? 1 : 2}, 'waited')`);
    const [a, b] = await renumbered(waits);
    await a.signUp("cat");
    // It has looked at the file once more.
    const { vector } = a.scouting.state;
    a.write("ann");
    while (a.scouting.state.vector === vector) await new Promise((done) => setTimeout(done, 20));
    a.putBack(["scouting"]);
    await sync(a, b);
    const ben = a.idOf("ben");
    const [waited] = a.run("scouting", "SELECT id, scout_id FROM scouting WHERE wrote = 'waited'");
    expect(waited).toMatchObject({ scout_id: known ? ben : 2 });
    const asked = await a.scouting.reviews({ kind: "identity", id: "", limit: 10 });
    expect(asked.map(({ key }) => key)).toEqual([String(waited?.["id"])]);
  });

test("while a database that refers to it cannot be opened again, nothing moves in the one that was put back", async () => {
  const [a, b] = await renumbered();
  a.putBack(NAMES);
  const app = new Database(a.path("scouting"));
  onTestFinished(() => void app.close());
  app.exec(`BEGIN IMMEDIATE; INSERT INTO scouting(scout_id, wrote) VALUES(${String(a.idOf("ben"))}, 'ben')`);
  await a.users.drain().catch(() => undefined);
  await a.scouting.drain().catch(() => undefined);
  await pull(a.users, b.users).catch(() => undefined);
  app.exec("COMMIT");
  await sync(a, b);
  for (const node of [a, b]) expect(node.wrong).toEqual([]);
});
