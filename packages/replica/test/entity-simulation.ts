import { rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import { memoryFolder } from "@scoutsync/testkit/memory";
import Database from "better-sqlite3";
import { type ChangeBatch, formatVector, join, type Review, SyncError } from "@scoutsync/core";
import { ReplicaDatabase } from "../src/index.ts";
import { Absences } from "./absences.ts";
import { seeded } from "./seeded.ts";
import { deletedValues, differences, dumpOf, visibleValues } from "./verdict.ts";

/** Every table has a text column `x` of values that are typed once; UNIQUE values come from small sets, so that they clash. */
const SCHEMA = `
CREATE TABLE roles(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, x TEXT);
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, mail TEXT, boss INTEGER REFERENCES users(id), x TEXT);
CREATE UNIQUE INDEX users_mail ON users(mail) WHERE mail <> '';
CREATE TABLE user_roles(user INTEGER NOT NULL REFERENCES users(id), role INTEGER NOT NULL REFERENCES roles(id), x TEXT, PRIMARY KEY(user, role));
CREATE TABLE grants(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id), role INTEGER REFERENCES roles(id), x TEXT, UNIQUE(user, role));
CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER REFERENCES users(id), x TEXT);
`;
const TABLES = ["roles", "users", "user_roles", "grants", "posts"] as const;
type TableName = (typeof TABLES)[number];

const NAMES = ["alice", "bob", "carol"];
const REFERRING = [
  ["users", "boss", "users"],
  ["user_roles", "user", "users"],
  ["grants", "user", "users"],
  ["posts", "user", "users"],
  ["user_roles", "role", "roles"],
  ["grants", "role", "roles"],
] as const;

interface Node {
  name: string;
  path: string;
  app: Database.Database;
  replica: ReplicaDatabase;
  runs: number;
  skewUs: number;
}

export interface EntityOptions {
  replicas: number;
  steps: number;
  restarts: boolean;
  park: string[];
  /** Nodes are away for long, meanwhile the others forget what was deleted. */
  forgetting: boolean;
  trace: boolean;
}

/**
 * A seeded history of servers that create the same users, roles and memberships apart from each other. What was typed is
 * written down independently: a value must be somewhere to be seen until somebody who saw it replaced or deleted it.
 */
export class EntitySimulation {
  readonly failures: string[] = [];
  private readonly random: () => number;
  private readonly options: EntityOptions;
  private readonly folder: string;
  private readonly nodes: Node[] = [];
  private readonly old: ChangeBatch[] = [];
  /** Values that were typed, with the statement. */
  private readonly typed = new Map<string, string>();
  /** Values that somebody who saw them replaced or deleted. */
  private readonly gone = new Set<string>();
  /** The `x` of the user under which a post was written, and values that its writer saw there. */
  private readonly authors = new Map<string, Set<string>>();
  readonly absences: Absences<Node>;
  private values = 0;
  private deletes = false;
  private nowUs = 1_700_000_000_000_000;

  constructor(seed: number, options: Partial<EntityOptions> = {}) {
    this.random = seeded(seed * 6007 + 29);
    this.options = { replicas: 3, steps: 50, restarts: true, park: [], forgetting: false, trace: false, ...options };
    this.folder = memoryFolder("entities");
    for (let i = 0; i < this.options.replicas; i++) {
      const path = joinPath(this.folder, `${i}.db`);
      const app = new Database(path);
      app.exec(SCHEMA);
      app.pragma("foreign_keys = ON");
      app.pragma("synchronous = OFF");
      const node = { name: `n${i}`, path, app, runs: 0, skewUs: Math.floor((this.random() * 2 - 1) * 30e6) } as Node;
      this.start(node);
      this.nodes.push(node);
    }
    this.absences = new Absences({
      nodes: this.nodes,
      random: this.random,
      trace: (text) => this.trace(text),
      forgetting: (node, forget) => this.forgetting(node, forget),
    });
  }

  /** What deleted rows held that everybody knows of need not be seen any more. */
  private forgetting(node: Node, forget: () => number): number {
    const before = deletedValues(node);
    const forgotten = forget();
    const left = deletedValues(node);
    for (const value of before) if (!left.has(value)) this.gone.add(value);
    return forgotten;
  }

  private start(node: Node): void {
    node.runs++;
    const options = {
      name: "main",
      path: node.path,
      nodeName: node.name,
      nodeId: node.name,
      exclude: [],
      park: this.options.park,
      baseline: null,
      busyTimeoutMs: 1000,
      pollIntervalMs: 50,
    };
    node.replica = new ReplicaDatabase(options, `${node.name}-run${node.runs}`, {
      nowUs: () => this.nowUs + node.skewUs,
      random: (bytes) => Uint8Array.from({ length: bytes }, () => Math.floor(this.random() * 256)),
    });
  }

  private trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  run(): EntitySimulation {
    try {
      for (let step = 0; step < this.options.steps; step++) {
        this.nowUs += 1000 + Math.floor(this.random() * 5_000_000);
        const choice = this.random();
        const [node, other] = [this.pick(this.nodes), this.pick(this.nodes)];
        if (this.options.forgetting) this.leave(step, node);
        if (choice < 0.62) this.write(node);
        else if (choice < 0.76) this.pull(node, other, 1 + Math.floor(this.random() * 3), 1 + Math.floor(this.random() * 4));
        else if (choice < 0.92) this.pull(node, other, 0, 100);
        else if (choice < 0.95) this.replay(node);
        else if (this.options.restarts) this.restart(node);
      }
      this.finish();
      return this;
    } finally {
      for (const { replica, app } of this.nodes) {
        replica.close();
        app.close();
      }
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  private leave(step: number, node: Node): void {
    this.absences.mayLeave(step / this.options.steps);
    if (this.random() < 0.08) this.absences.step(node);
    // Without this little would ever be known by all.
    if (step % 12 !== 11) return;
    for (let round = 0; round < 2; round++) for (const a of this.nodes) for (const b of this.nodes) this.pull(a, b, 0, 100);
    this.absences.forgetAll();
  }

  private restart(node: Node): void {
    this.trace(`${node.name} restarts`);
    node.replica.close();
    this.start(node);
  }

  // ---- the application

  private write(node: Node): void {
    // Fewer inserts where much is to be deleted.
    const choice = this.options.forgetting ? 0.3 + 0.66 * this.random() : this.random();
    const table = this.pick(TABLES);
    const rows = node.app.prepare(`SELECT rowid AS n, * FROM ${table}`).all() as Record<string, unknown>[];
    const row = rows.length > 0 ? this.pick(rows) : null;
    if (choice < 0.5 || !row) this.insert(node, table);
    else if (choice < 0.68) this.change(node, table, row, "x", this.type(`${table}.x on ${node.name}`));
    else if (choice < 0.76 && (table === "users" || table === "roles"))
      this.change(node, table, row, "name", this.pick([...NAMES, `${this.values}`]));
    else if (choice < 0.8 && table === "users") this.change(node, table, row, "mail", this.pick(["", ...NAMES, null]));
    else if (choice < 0.84 && table === "users") this.change(node, table, row, "boss", this.anyId(node, "users"));
    else if (choice < 0.87 && (table === "grants" || table === "posts")) this.change(node, table, row, "user", this.anyId(node, "users"));
    else if (choice < 0.96) this.remove(node, table, row);
    if (this.random() < 0.6) {
      node.app.prepare("UPDATE _scoutsync_capture SET at = ?").run((this.nowUs + node.skewUs) / 86_400_000_000 + 2_440_587.5);
      node.replica.drain();
    }
  }

  private anyId(node: Node, table: TableName): number | null {
    const ids = node.app.prepare(`SELECT id FROM ${table} ORDER BY id`).pluck().all() as number[];
    return ids.length === 0 ? null : this.pick(ids);
  }

  private type(where: string): string {
    const value = `v${++this.values}`;
    this.typed.set(value, where);
    return value;
  }

  /** Runs a statement of the application; false when a constraint refuses it or there is no such row. */
  private attempt(node: Node, sql: string, ...values: unknown[]): boolean {
    try {
      // A row may have gone while its writer looked at it.
      const { changes } = node.app.prepare(sql).run(...values);
      this.trace(`${node.name}: ${sql} ${JSON.stringify(values)} ${changes}`);
      return changes > 0;
    } catch (error) {
      if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT")) throw error;
      return false;
    }
  }

  private insert(node: Node, table: TableName): void {
    const x = `v${this.values + 1}`;
    const user = this.anyId(node, "users");
    const role = this.anyId(node, "roles");
    let done = false;
    if (table === "roles") done = this.attempt(node, "INSERT INTO roles(name, x) VALUES(?, ?)", this.pick([...NAMES, "ALICE"]), x);
    else if (table === "users") {
      const mail = this.random() < 0.5 ? "" : this.pick([...NAMES, null]);
      const boss = this.random() < 0.3 ? user : null;
      done = this.attempt(node, "INSERT INTO users(name, mail, boss, x) VALUES(?, ?, ?, ?)", this.pick([...NAMES, null]), mail, boss, x);
    } else if (user === null) return;
    else if (table === "posts") {
      const saw = this.seen(node, "users", user, "x");
      done = this.attempt(node, "INSERT INTO posts(user, x) VALUES(?, ?)", user, x);
      if (done) this.authors.set(x, saw);
    } else if (role !== null) done = this.attempt(node, `INSERT INTO ${table}(user, role, x) VALUES(?, ?, ?)`, user, role, x);
    if (done) this.type(`${table} on ${node.name}`);
  }

  /** The value of a cell, and those that its node lists as lost against it. */
  private seen(node: Node, table: TableName, n: number, column: string): Set<string> {
    const value = node.app.prepare(`SELECT ${column} FROM ${table} WHERE rowid = ?`).pluck().get(n) as string;
    const losers = this.losers(node).filter(
      (review) => review.table === table && review.column === column && review.winner?.value === value,
    );
    return new Set([value, ...losers.map((review) => review.loser?.value as string)]);
  }

  private losers(node: Node): Review[] {
    return node.replica.reviews({ kind: "conflict", id: "", limit: 100_000 });
  }

  private change(node: Node, table: TableName, row: Record<string, unknown>, column: string, value: unknown): void {
    const n = Number(row["n"]);
    const saw = this.seen(node, table, n, column);
    if (!this.attempt(node, `UPDATE ${table} SET ${column} = ? WHERE rowid = ?`, value, n)) {
      this.typed.delete(value as string);
      return;
    }
    if (column === "x") for (const each of saw) this.gone.add(each);
    if (table === "posts" && column === "user") this.authors.get(row["x"] as string)?.clear();
    if (table === "posts" && column === "x") {
      const author = this.authors.get(row["x"] as string);
      if (author) this.authors.set(value as string, author);
    }
  }

  private remove(node: Node, table: TableName, row: Record<string, unknown>): void {
    const doomed: [TableName, number][] = [[table, Number(row["n"])]];
    for (const [from, id] of doomed) {
      for (const [child, column, parent] of REFERRING) {
        if (parent !== from) continue;
        for (const n of node.app.prepare(`SELECT rowid FROM ${child} WHERE ${column} = ?`).pluck().all(id) as number[])
          if (!doomed.some(([name, other]) => name === child && other === n)) doomed.push([child, n]);
      }
    }
    if (doomed.length > (this.options.forgetting ? 8 : 4)) return;
    node.replica.drain();
    this.deletes = true;
    for (const [from, n] of doomed) for (const each of this.seen(node, from, n, "x")) this.gone.add(each);
    node.app.transaction(() => {
      node.app.pragma("defer_foreign_keys = ON");
      for (const [from, n] of doomed) node.app.prepare(`DELETE FROM ${from} WHERE rowid = ?`).run(n);
    })();
    this.trace(`${node.name}: DELETE ${JSON.stringify(doomed)}`);
  }

  // ---- the network

  private pull(to: Node, from: Node, batchSize: number, batches: number): number {
    if (to === from || this.absences.isAway(to) || this.absences.isAway(from)) return 0;
    if (this.options.forgetting && !this.absences.meet(to, from)) return 1;
    let moved = 0;
    for (let i = 0; i < batches; i++) {
      const have = join(to.replica.state().vector, to.replica.position(from.replica.run));
      const batch = from.replica.read({
        from: have,
        batchSize,
        codecs: [],
        beyondDigest: to.replica.beyondDigest(),
        floor: to.replica.state().floor,
      });
      if (this.random() < 0.15) this.old.push(batch);
      if (batches < 100 && this.random() < 0.08) return moved;
      const before = formatVector(to.replica.state().vector);
      const result = this.options.forgetting ? this.absences.take(to, from, batch) : to.replica.apply(batch);
      if (!result) return moved + 1;
      if (this.options.forgetting) this.absences.heard(to, from, batch);
      moved += batch.count + (formatVector(result.vector) === before ? 0 : 1);
      this.trace(`${to.name} <- ${from.name}: ${batch.count} changes, final ${batch.final}, verified ${result.verified}`);
      if (result.verified === false) this.fail(`digests differ at equal vectors after ${to.name} <- ${from.name}`);
      if (batch.final) break;
    }
    return moved;
  }

  private replay(node: Node): void {
    if (this.old.length === 0) return;
    try {
      node.replica.apply({ ...this.pick(this.old), final: false });
    } catch (error) {
      if (!(error instanceof SyncError) || !["BATCH_GAP", "REJOIN_NEEDED", "PEER_BEHIND"].includes(error.code)) throw error;
    }
  }

  // ---- the end

  private fail(text: string): void {
    this.failures.push(text);
    this.trace(`FAIL ${text}`);
  }

  private finish(): void {
    let rounds = 0;
    this.absences.allBack();
    for (; rounds < 12; rounds++) {
      let moved = 0;
      for (const a of this.nodes) for (const b of this.nodes) moved += this.pull(a, b, 0, 100);
      if (moved === 0) break;
    }
    if (rounds >= 12) this.fail("R7 no quiescence");
    const [first] = this.nodes as [Node, ...Node[]];
    for (const node of this.nodes) for (const text of differences(first, node, { dump: dumpOf(TABLES) })) this.fail(text);
    this.checkTyped(first);
    this.checkAuthors(first);
  }

  /** R1: what was typed, and replaced or deleted by nobody who saw it, is to be seen somewhere. */
  private checkTyped(node: Node): void {
    const visible = visibleValues(node, TABLES);
    for (const value of deletedValues(node, this.deletes)) visible.add(value);
    for (const value of this.settledUnseen(node)) visible.add(value);
    for (const [value, where] of this.typed)
      if (!this.gone.has(value) && !visible.has(value)) this.fail(`R1 ${value} (${where}) is nowhere to be seen`);
  }

  /** What a row held that was deleted under its key without having been seen, and inserted anew: its history has it. */
  private settledUnseen(node: Node): unknown[] {
    const keys = node.app.prepare("SELECT user, role FROM user_roles").raw(true).all() as [number, number][];
    return keys.flatMap(([user, role]) =>
      node.replica.history("user_roles", `${user},${role}`).flatMap(({ operation, value }) => (operation === "closed" ? [value] : [])),
    );
  }

  /** A post hangs on the user it was written under, whoever represents that one now. */
  private checkAuthors(node: Node): void {
    const posts = node.app.prepare("SELECT posts.x AS post, users.id AS user FROM posts JOIN users ON users.id = posts.user").all() as {
      post: string;
      user: number;
    }[];
    const losers = this.losers(node);
    for (const { post, user } of posts) {
      const saw = this.authors.get(post);
      if (
        !saw ||
        saw.size === 0 ||
        losers.some(({ table, column, winner }) => table === "posts" && column === "user" && winner?.value === BigInt(user))
      )
        continue;
      const history = new Set(node.replica.history("users", String(user)).flatMap(({ column, value }) => (column === "x" ? [value] : [])));
      // A user that lives on as a new row began with the value that was shown; what it was before is a deleted row.
      const before = this.options.forgetting ? deletedValues(node, true) : new Set<string>();
      if (![...saw].some((value) => history.has(value) || this.gone.has(value) || before.has(value)))
        this.fail(`post ${post} hangs on user ${user}, it was written under ${[...saw].join()}`);
    }
  }
}
