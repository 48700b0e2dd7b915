import { rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import { memoryFolder } from "@scoutsync/testkit/memory";
import Database from "better-sqlite3";
import { formatVector, join } from "@scoutsync/core";
import { ReplicaDatabase } from "../src/index.ts";
import { Ledger } from "./ledger.ts";
import { seeded } from "./seeded.ts";

/** What the application's migrations do, one version after the other. */
const VERSIONS = [
  "CREATE TABLE team(id INTEGER PRIMARY KEY, m TEXT NOT NULL, x TEXT); CREATE TABLE word(k TEXT PRIMARY KEY, m TEXT NOT NULL, x TEXT)",
  "ALTER TABLE team ADD COLUMN z TEXT DEFAULT 'none'; ALTER TABLE word ADD COLUMN z TEXT DEFAULT 'none'",
  `CREATE TABLE note(id INTEGER PRIMARY KEY, m TEXT NOT NULL, p INTEGER REFERENCES team(id), x TEXT);
   CREATE TABLE pair(a TEXT, b TEXT COLLATE NOCASE, m TEXT NOT NULL, x TEXT, PRIMARY KEY(a, b))`,
  `CREATE TABLE word_new(k TEXT PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT NOT NULL DEFAULT 'nil', z TEXT DEFAULT 'none');
   INSERT INTO word_new(k, m, x, z) SELECT k, m, x, z FROM word; DROP TABLE word; ALTER TABLE word_new RENAME TO word`,
];
const LAST = VERSIONS.length - 1;

/** Value columns with the version they came with, and what they hold where nobody has written them. */
const COLUMNS: Record<string, { name: string; since: number; fallback: string | null }[]> = {
  team: [
    { name: "x", since: 0, fallback: null },
    { name: "z", since: 1, fallback: "none" },
  ],
  word: [
    { name: "x", since: 0, fallback: null },
    { name: "z", since: 1, fallback: "none" },
    { name: "y", since: 3, fallback: "nil" },
  ],
  note: [{ name: "x", since: 2, fallback: null }],
  pair: [{ name: "x", since: 2, fallback: null }],
};

interface Node {
  name: string;
  path: string;
  app: Database.Database;
  replica: ReplicaDatabase;
  runs: number;
  version: number;
}

export interface RollingOptions {
  replicas: number;
  steps: number;
  trace: boolean;
}

/** One seeded history in which replicas are upgraded one by one while all of them are written to, and its verdict. */
export class RollingUpgrade {
  readonly failures: string[] = [];
  private readonly options: RollingOptions;
  private readonly random: () => number;
  private readonly folder = memoryFolder("rolling");
  private readonly nodes: Node[] = [];
  private readonly ledger = new Ledger();
  private values = 0;
  private nowUs = 1_700_000_000_000_000;

  constructor(seed: number, options: Partial<RollingOptions> = {}) {
    this.options = { replicas: 3, steps: 70, trace: false, ...options };
    this.random = seeded(seed * 104_729 + 7);
    for (let i = 0; i < this.options.replicas; i++) this.join(`n${i}`, 0);
  }

  private join(name: string, version: number): void {
    const path = joinPath(this.folder, `${name}.db`);
    const app = new Database(path);
    for (const sql of VERSIONS.slice(0, version + 1)) app.exec(sql);
    app.pragma("foreign_keys = ON");
    const node = { name, path, app, runs: 0, version } as Node;
    this.start(node);
    this.nodes.push(node);
  }

  private start(node: Node): void {
    node.runs++;
    const names = { name: "main", path: node.path, nodeName: node.name, nodeId: node.name };
    const options = { ...names, exclude: [], baseline: null, busyTimeoutMs: 1_000, pollIntervalMs: 50 };
    node.replica = new ReplicaDatabase(options, `${node.name}-run${node.runs}`, {
      nowUs: () => this.nowUs,
      // These applications look every row up.
      rememberedUs: 0,
      random: (bytes) => Uint8Array.from({ length: bytes }, () => Math.floor(this.random() * 256)),
    });
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  private trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  run(): string[] {
    try {
      for (let step = 0; step < this.options.steps; step++) {
        this.nowUs += 1_000 + Math.floor(this.random() * 5_000_000);
        const node = this.pick(this.nodes);
        const choice = this.random();
        if (choice < 0.5) this.write(node);
        else if (choice < 0.66)
          this.pull(node, this.pick(this.nodes), 1 + Math.floor(this.random() * 3), 1 + Math.floor(this.random() * 3));
        else if (choice < 0.87) this.pull(node, this.pick(this.nodes), 0, 100);
        else if (choice < 0.96) this.upgrade(node);
        else if (choice < 0.98) this.restart(node);
        else if (this.nodes.length < this.options.replicas + 1) this.join("late", Math.floor(this.random() * VERSIONS.length));
      }
      this.finish();
      return this.failures;
    } finally {
      for (const { replica, app } of this.nodes) {
        replica.close();
        app.close();
      }
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  private restart(node: Node): void {
    this.trace(`${node.name} restarts`);
    node.replica.close();
    this.start(node);
  }

  /** The application's next migration, sometimes with values of its own for a new column, sometimes while the node is down. */
  private upgrade(node: Node): void {
    if (node.version === LAST) return;
    const down = this.random() < 0.3;
    const fill = this.random() < 0.3;
    node.version++;
    this.trace(`${node.name} becomes version ${node.version}${down ? " while it is down" : ""}${fill ? " with values" : ""}`);
    if (down) node.replica.close();
    node.app.pragma("foreign_keys = OFF");
    node.app.transaction(() => {
      node.app.exec(VERSIONS[node.version] as string);
      if (fill && node.version === 1) {
        for (const table of ["team", "word"]) {
          for (const m of node.app.prepare(`SELECT m FROM ${table} ORDER BY m`).pluck().all() as string[]) {
            const value = `v${++this.values}`;
            node.app.prepare(`UPDATE ${table} SET z = ? WHERE m = ?`).run(value, m);
            this.ledger.wrote(m, "z", value, []);
          }
        }
      }
    })();
    node.app.pragma("foreign_keys = ON");
    if (down) this.start(node);
    if (this.random() < 0.5) node.replica.drain();
  }

  private seen(node: Node, table: string, marker: string, column: string): string[] {
    const value = node.app.prepare(`SELECT ${column} FROM ${table} WHERE m = ?`).pluck().get(marker) as string | null | undefined;
    const losers = node.replica.reviews({ kind: "conflict", id: "", limit: 10_000 });
    const mine = losers.filter((review) => review.table === table && review.column === column && review.winner?.value === value);
    const here = node.app.prepare(`SELECT m FROM ${table} WHERE m = ?`).pluck().get(marker);
    return here === undefined ? [] : [value ?? "", ...mine.map((review) => review.loser?.value as string)];
  }

  private columns(node: Node, table: string): string[] {
    return (COLUMNS[table] ?? []).filter(({ since }) => since <= node.version).map(({ name }) => name);
  }

  private write(node: Node): void {
    const table = this.pick(Object.keys(COLUMNS).filter((name) => this.columns(node, name).length > 0));
    const rows = node.app.prepare(`SELECT m FROM ${table} ORDER BY m`).pluck().all() as string[];
    const choice = this.random();
    if (choice < 0.4 || rows.length === 0) this.insert(node, table);
    else if (choice < 0.8) this.update(node, table, this.pick(rows));
    else if (choice < 0.92) this.remove(node, table, this.pick(rows));
    else if (table === "word") this.replace(node, this.pick(rows));
    if (this.random() < 0.6) {
      node.app.prepare("UPDATE _scoutsync_capture SET at = ?").run(this.nowUs / 86_400_000_000 + 2_440_587.5);
      node.replica.drain();
    }
  }

  private insert(node: Node, table: string): void {
    let marker = `${table}-${++this.values}`;
    const given: Record<string, unknown> = {};
    if (table === "word") {
      given["k"] = `w${Math.floor(this.random() * 5)}`;
      marker = `word-${String(given["k"])}`;
      if (node.app.prepare("SELECT 1 FROM word WHERE k = ?").get(given["k"])) return;
    } else if (table === "pair") {
      given["a"] = this.pick(["a", "b"]);
      given["b"] = this.pick(["k", "K", "l"]);
      marker = `pair-${String(given["a"])}-${String(given["b"]).toLowerCase()}`;
      if (node.app.prepare("SELECT 1 FROM pair WHERE a = ? AND b = ?").get(given["a"], given["b"])) return;
    } else if (table === "note") {
      const teams = node.app.prepare("SELECT id, m FROM team ORDER BY m").all() as { id: number; m: string }[];
      if (teams.length === 0) return;
      const team = this.pick(teams);
      given["p"] = team.id;
      this.ledger.parents.set(marker, team.m);
    }
    // A column that is not named gets its default, as an insert gives it.
    const columns = this.columns(node, table);
    for (const column of columns) given[column] = `v${++this.values}`;
    const names = Object.keys(given);
    node.app
      .prepare(`INSERT INTO ${table}(m, ${names.join(", ")}) VALUES(?, ${names.map(() => "?").join(", ")})`)
      .run(marker, ...Object.values(given));
    this.trace(`${node.name} inserts ${marker} ${JSON.stringify(given)}`);
    this.ledger.rows.set(marker, table);
    for (const column of columns) this.ledger.wrote(marker, column, given[column] as string, []);
  }

  private update(node: Node, table: string, marker: string): void {
    const column = this.pick(this.columns(node, table));
    const value = `v${++this.values}`;
    const saw = this.seen(node, table, marker, column);
    node.app.prepare(`UPDATE ${table} SET ${column} = ? WHERE m = ?`).run(value, marker);
    this.trace(`${node.name} sets ${marker}.${column} = ${value} over ${saw.join()}`);
    this.ledger.wrote(marker, column, value, saw);
  }

  /** An application that saves a row whole, as far as it knows it. */
  private replace(node: Node, marker: string): void {
    const columns = this.columns(node, "word");
    const values = columns.map(() => `v${++this.values}`);
    for (const [i, column] of columns.entries())
      this.ledger.wrote(marker, column, values[i] as string, this.seen(node, "word", marker, column));
    const k = marker.slice("word-".length);
    node.app
      .prepare(`INSERT OR REPLACE INTO word(k, m, ${columns.join(", ")}) VALUES(?, ?, ${columns.map(() => "?").join(", ")})`)
      .run(k, marker, ...values);
    this.trace(`${node.name} replaces ${marker} ${values.join()}`);
  }

  private remove(node: Node, table: string, marker: string): void {
    try {
      node.app.prepare(`DELETE FROM ${table} WHERE m = ?`).run(marker);
    } catch {
      // A note that this application sees refers to the team.
      return;
    }
    this.trace(`${node.name} deletes ${marker}`);
    this.ledger.deleted.add(marker);
  }

  private pull(to: Node, from: Node, batchSize: number, batches: number): void {
    if (to === from) return;
    for (let left = batches; left > 0; left--) {
      const since = join(to.replica.state().vector, to.replica.position(from.replica.run));
      const batch = from.replica.read({ from: since, batchSize, codecs: ["zstd"], beyondDigest: to.replica.beyondDigest() });
      const result = to.replica.apply(batch);
      if (result.verified === false)
        this.failures.push(`${to.name} (version ${to.version}) and ${from.name} (version ${from.version}) differ`);
      this.trace(`${to.name} takes ${batch.count} of ${from.name}${batch.final ? ", final" : ""}`);
      if (batch.final) return;
    }
  }

  // ---- the end

  private finish(): void {
    while (this.nodes.some((node) => node.version < LAST)) this.upgrade(this.pick(this.nodes));
    for (let round = 0; round < 6; round++) for (const to of this.nodes) for (const from of this.nodes) this.pull(to, from, 0, 100);
    const [first] = this.nodes as [Node];
    for (const node of this.nodes) this.compare(first, node);
    this.checkRows(first);
  }

  private dump(node: Node): string {
    return Object.keys(COLUMNS)
      .filter((table) => this.columns(node, table).length > 0)
      .map((table) => JSON.stringify(node.app.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all()))
      .join("\n");
  }

  private reviews(node: Node): string {
    return JSON.stringify(
      node.replica
        .reviews({ kind: "", id: "", limit: 100_000 })
        .filter(({ kind }) => kind !== "identity")
        .map(({ id, kind, table, key, column, winner, loser }) => [id, kind, table, key, column, winner?.value, loser?.value]),
      (_, value) => (typeof value === "bigint" ? String(value) : value),
    );
  }

  private compare(a: Node, b: Node): void {
    const state = b.replica.state();
    if (formatVector(a.replica.state().vector) !== formatVector(state.vector))
      this.failures.push(`vectors of ${a.name} and ${b.name} differ`);
    if (this.dump(a) !== this.dump(b)) this.failures.push(`tables of ${a.name} and ${b.name} differ\n${this.dump(a)}\n${this.dump(b)}`);
    if (this.reviews(a) !== this.reviews(b))
      this.failures.push(`audits of ${a.name} and ${b.name} differ\n${this.reviews(a)}\n${this.reviews(b)}`);
    if (Buffer.compare(a.replica.state().digest, state.digest) !== 0) this.failures.push(`digests of ${a.name} and ${b.name} differ`);
    if (state.held > 0) this.failures.push(`${b.name} still holds ${state.held} rows`);
    if ((b.app.pragma("foreign_key_check") as unknown[]).length > 0) this.failures.push(`foreign keys of ${b.name} are broken`);
    const sums = (deep: boolean) =>
      JSON.stringify(b.replica.digests({ table: "", buckets: [], deep }).entries.map(({ digest }) => Buffer.from(digest).toString("hex")));
    if (sums(true) !== sums(false)) this.failures.push(`stored hashes on ${b.name} are not those of its rows`);
  }

  private checkRows(node: Node): void {
    const losers = node.replica.reviews({ kind: "conflict", id: "", limit: 100_000 });
    const parked = node.replica.reviews({ kind: "parked", id: "", limit: 100_000 });
    if (parked.length > 0) this.failures.push(`parked: ${parked.map(({ table, key, reason }) => [table, key, reason].join(" ")).join()}`);
    for (const [marker, table] of this.ledger.rows) {
      const rows = node.app.prepare(`SELECT * FROM ${table} WHERE m = ?`).all(marker) as Record<string, string>[];
      const [row] = rows;
      if (rows.length > 1) this.failures.push(`${marker} is there ${rows.length} times`);
      if (!row) {
        if (!this.ledger.deleted.has(marker)) this.failures.push(`${marker} is lost`);
        continue;
      }
      const parent = this.ledger.parents.get(marker);
      if (parent && node.app.prepare("SELECT m FROM team WHERE id = ?").pluck().get(row["p"]) !== parent)
        this.failures.push(`${marker} hangs on another team`);
      if (this.ledger.deleted.has(marker)) continue;
      for (const { name, fallback } of COLUMNS[table] ?? []) {
        const mine = losers.filter((review) => review.table === table && review.column === name && review.winner?.value === row[name]);
        const held = [row[name] as string, ...mine.map((review) => review.loser?.value as string)].toSorted();
        const maximal = this.ledger.maximal(`${marker}.${name}`);
        const wanted = maximal.length === 0 ? [fallback ?? ""] : maximal;
        if (held.join() !== wanted.join()) this.failures.push(`${marker}.${name} holds ${held.join()}, the ledger says ${wanted.join()}`);
      }
    }
  }
}
