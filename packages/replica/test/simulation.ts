import { rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import { memoryFolder } from "@scoutsync/testkit/memory";
import Database from "better-sqlite3";
import { type ApplyResult, type ChangeBatch, formatVector, isCovered, join, SyncError, type VersionVector } from "@scoutsync/core";
import { ReplicaDatabase } from "../src/index.ts";
import { BAG_SCHEMA, CopiedBags } from "./copied-bags.ts";
import { Ledger } from "./ledger.ts";
import { rejoin } from "./rejoin.ts";
import { seeded } from "./seeded.ts";
import { MORE_TABLES, type Node, TABLES, Verdict } from "./verdict.ts";

/** Tables with keys: copies that moved apart are compared by them. */
const KEYED = ["parent", "child", "word", "link", "tag"] as const;

const SCHEMA = `
CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT);
CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, m TEXT NOT NULL, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, x TEXT, y TEXT);
CREATE INDEX child_p ON child(p);
CREATE TABLE word(k TEXT PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT);
CREATE TABLE link(p INTEGER NOT NULL REFERENCES parent(id) ON DELETE CASCADE, k TEXT NOT NULL, m TEXT NOT NULL, x TEXT, y TEXT, PRIMARY KEY(p, k)) WITHOUT ROWID;
CREATE TABLE tag(id INTEGER PRIMARY KEY, m TEXT NOT NULL, label TEXT UNIQUE, x TEXT, y TEXT);
CREATE TABLE remark(id INTEGER PRIMARY KEY, m TEXT NOT NULL, k TEXT REFERENCES word(k) ON DELETE CASCADE, x TEXT, y TEXT);
CREATE TABLE note(m TEXT NOT NULL, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, x TEXT, y TEXT);
`;

/** Tables whose rows an application may remember by their integer. */
const KEPT_IDS: readonly string[] = ["parent", "child", "tag", "remark"];

/** Tables with a counter and a set, where the history has such. */
const RULED = ["parent", "child", "word"];

export interface SimulationOptions {
  replicas: number;
  steps: number;
  /** Replicas are stopped and started, which draws new origins. */
  restarts: boolean;
  /** Wall clocks differ by up to this much, seconds. */
  skewS: number;
  /** MORE_TABLES take part, and files are vacuumed. */
  moreTables: boolean;
  /** Rows also have a counter and a set, which are merged by these rules. */
  rules: boolean;
  /** What is held beyond the vector is issued again at any time. */
  reissue: boolean;
  /** Clocks are compared now and then. */
  clocks: boolean;
  /** One replica is destroyed before the end. */
  lose: boolean;
  trace: boolean;
  /**
   * Deleted rows are forgotten at once when every node that is waited for knows; now and then one node is away, is
   * retired, and comes back; empty nodes join.
   */
  forgetting: boolean;
  /** Databases are copies of one that moved apart before they were attached; the first node says that they are shared. */
  copies: boolean;
  /** Applications write to integers that they read before, whatever row has them by now. */
  keepsIds: boolean;
}

export interface Outcome {
  failures: string[];
  changes: number;
  conflicts: number;
  parked: number;
  rounds: number;
  /** Deleted rows that were forgotten, re-joins, and what became of rows in them. */
  forgot: number;
  times: number;
  gone: number;
  reborn: number;
}

/** One seeded history of several replicas on real SQLite files, then quiescence, then the checks against the ledger. */
export class Simulation {
  private readonly random: () => number;
  private readonly options: SimulationOptions;
  private readonly folder: string;
  private readonly nodes: Node[] = [];
  private readonly ledger = new Ledger();
  private readonly old: ChangeBatch[] = [];
  private readonly failures: string[] = [];
  /** Rows without a key that copies had before they were attached; null in other histories. */
  private readonly bags: CopiedBags | null;
  private values = 0;
  /** Who wrote a value. */
  private readonly authors = new Map<string, string>();
  private changes = 0;
  private nowUs = 1_700_000_000_000_000;

  constructor(seed: number, options: Partial<SimulationOptions> = {}) {
    this.random = seeded(seed * 7919 + 13);
    this.options = {
      replicas: 3,
      steps: 60,
      restarts: true,
      skewS: 30,
      moreTables: false,
      copies: false,
      rules: false,
      reissue: false,
      clocks: false,
      lose: false,
      forgetting: false,
      keepsIds: false,
      trace: false,
      ...options,
    };
    this.bags = this.options.copies
      ? new CopiedBags({ random: this.random, value: () => this.value(), trace: (text) => this.trace(text) })
      : null;
    this.folder = memoryFolder("sim");
    for (let i = 0; i < this.options.replicas; i++) this.nodes.push(this.open(i));
  }

  /**
   * A copy of one database, and what its application did to it before anybody captured. Every value that some copy has
   * when it is attached may be the only one left of its kind: nobody can know which is newer.
   */
  private copy(app: Database.Database, copy: number): void {
    const markers: [table: string, marker: string][] = [];
    for (let id = 1; id <= 6; id++) app.prepare("INSERT INTO parent VALUES(?, ?, ?, ?)").run(id, `parent-c${id}`, `px${id}`, `py${id}`);
    for (let id = 1; id <= 6; id++) {
      app.prepare("INSERT INTO child VALUES(?, ?, ?, ?, ?)").run(id, `child-c${id}`, (id % 3) + 1, `cx${id}`, `cy${id}`);
      app.prepare("INSERT INTO word VALUES(?, ?, ?, ?)").run(`w${id}`, `word-w${id}`, `wx${id}`, `wy${id}`);
      app.prepare("INSERT INTO link VALUES(?, 'k0', ?, ?, ?)").run(id, `link-parent-c${id}-k0`, `lx${id}`, `ly${id}`);
      app.prepare("INSERT INTO tag VALUES(?, ?, ?, ?, ?)").run(id, `tag-c${id}`, `label${id}`, `tx${id}`, `ty${id}`);
    }
    for (let edits = 0; edits < 6; edits++) {
      const table = this.pick(KEYED);
      const id = 1 + Math.floor(this.random() * 6);
      const rowid = table === "word" || table === "link" ? (table === "word" ? "k = 'w' || ?" : "p = ?") : "id = ?";
      const column = this.random() < 0.5 ? "x" : "y";
      if (this.random() < 0.7) app.prepare(`UPDATE ${table} SET ${column} = ? WHERE ${rowid}`).run(this.value(), id);
      else if (table !== "parent") app.prepare(`DELETE FROM ${table} WHERE ${rowid}`).run(id);
    }
    const own = 100 + copy;
    app.prepare("INSERT INTO parent VALUES(?, ?, ?, ?)").run(own, `parent-o${own}`, this.value(), this.value());
    app.prepare("INSERT INTO child VALUES(?, ?, ?, ?, ?)").run(own, `child-o${own}`, own, this.value(), this.value());
    for (const table of KEYED) {
      for (const row of app.prepare(`SELECT * FROM ${table}`).all() as Record<string, string>[]) {
        const marker = row["m"] as string;
        markers.push([table, marker]);
        for (const column of ["x", "y"]) {
          this.ledger.wrote(marker, column, row[column] as string, []);
          this.ledger.before.add(`${marker}.${column}=${row[column] as string}`);
        }
        if (row["p"] === undefined) continue;
        this.ledger.parents.set(marker, app.prepare("SELECT m FROM parent WHERE id = ?").pluck().get(row["p"]) as string);
      }
    }
    for (const [table, marker] of markers) this.ledger.rows.set(marker, table);
  }

  private start(node: Node): void {
    node.runs++;
    const options = {
      name: "main",
      path: node.path,
      nodeName: node.name,
      nodeId: node.name,
      exclude: [],
      rules: this.options.rules ? RULED.flatMap((table) => [`${table}.hits=counter`, `${table}.tags=set`]) : [],
      // Its ledger knows rows by a marker; rows that become one have two. See entity-simulation.ts.
      park: ["tag"],
      baseline: this.options.copies && node.name === "n0" ? ("shared" as const) : null,
      busyTimeoutMs: 1000,
      pollIntervalMs: 50,
    };
    node.replica = new ReplicaDatabase(options, `${node.name}-run${node.runs}`, {
      nowUs: () => this.nowUs + node.skewUs,
      ...(!this.options.keepsIds && { rememberedUs: 0 }),
      random: (bytes) => Uint8Array.from({ length: bytes }, () => Math.floor(this.random() * 256)),
    });
  }

  private trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  private value(): string {
    return `v${++this.values}`;
  }

  run(): Outcome {
    try {
      for (let step = 0; step < this.options.steps; step++) {
        this.nowUs += 1000 + Math.floor(this.random() * 5_000_000);
        const choice = this.random();
        const node = this.pick(this.nodes);
        const other = this.pick(this.nodes);
        if (this.options.reissue && this.random() < 0.1) this.reissue(node);
        if (this.options.clocks && this.random() < 0.1) this.correctClock(node);
        if (this.options.forgetting && step % 12 === 11) this.meetAll();
        // Long absences from early on: only who lacks what was forgotten meanwhile joins again.
        if (this.options.forgetting && this.away === null && step < this.options.steps * 0.7 && this.random() < 0.1) this.away = node;
        if (choice < 0.55) this.write(node);
        else if (choice < 0.75) this.pull(node, other, 1 + Math.floor(this.random() * 3), 1 + Math.floor(this.random() * 4));
        else if (choice < 0.92) this.pull(node, other, 0, 100);
        else if (choice < 0.95) this.replay(node);
        else if (this.options.forgetting && this.random() < 0.8) this.leaveAndForget(node);
        else if (this.options.restarts) this.restart(node);
      }
      return this.finish();
    } finally {
      for (const { replica, app } of this.nodes) {
        replica.close();
        app.close();
      }
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  /** As if every origin that was cut off had ended for good, though most go on. */
  private reissue(node: Node): void {
    const origins = node.replica.reissue(0);
    if (origins > 0) this.trace(`${node.name} issues again what it holds beyond of ${origins} origins`);
  }

  private correctClock(node: Node): void {
    const correctionUs = this.random() < 0.5 ? -node.skewUs : 0;
    this.trace(`${node.name} corrects its clock by ${correctionUs / 1e6} s`);
    node.replica.correctClock(correctionUs);
  }

  /** The node is gone for good, with whatever nobody else has. */
  private lose(node: Node): void {
    this.trace(`${node.name} is destroyed`);
    node.replica.close();
    node.app.close();
    this.nodes.splice(this.nodes.indexOf(node), 1);
  }

  private open(number: number): Node {
    const path = joinPath(this.folder, `${number}.db`);
    const app = new Database(path);
    app.exec(SCHEMA);
    if (this.bags) app.exec(BAG_SCHEMA);
    if (this.options.rules)
      for (const table of RULED)
        app.exec(`ALTER TABLE ${table} ADD COLUMN hits INTEGER DEFAULT 0; ALTER TABLE ${table} ADD COLUMN tags TEXT DEFAULT '[]'`);
    app.pragma("foreign_keys = ON");
    if (this.options.copies) this.copy(app, number);
    this.bags?.fill(app);
    const skewUs = Math.floor((this.random() * 2 - 1) * this.options.skewS * 1e6);
    const node = { name: `n${number}`, path, app, runs: 0, skewUs, remembered: new Map<string, number>() } as Node;
    this.start(node);
    return node;
  }

  /** The node that is away, if one is: it writes, and meets nobody. */
  private away: Node | null = null;
  private forgot = 0;
  private rejoins = { gone: 0, reborn: 0, times: 0 };

  private leaveAndForget(node: Node): void {
    const choice = this.random();
    if (choice < 0.3 && this.away === null) {
      this.away = node;
      this.trace(`${node.name} is away`);
    } else if (choice < 0.45 && this.away !== null) {
      this.trace(`${this.away.name} is back`);
      this.away = null;
    } else if (choice < 0.5 && this.nodes.length < 5) this.join();
    else if (choice < 0.6)
      // By mistake: one that is there, and goes on.
      this.forget(node, [this.pick(this.nodes.filter((other) => other !== node)).name]);
    else this.forget(node, this.away !== null && this.away !== node && this.random() < 0.5 ? [this.away.name] : []);
  }

  private forget(node: Node, retire: string[]): void {
    const known = new Set(node.replica.memberWords().map((word) => word.node.name));
    for (const name of retire) if (known.has(name)) node.replica.retire(name);
    const { forgotten } = node.replica.forget({ retentionDays: 0, dryRun: false });
    this.forgot += forgotten;
    this.trace(`${node.name} forgets ${forgotten} rows, retired ${retire.join()}`);
  }

  /** A new node with an empty database. */
  private join(): void {
    const node = this.open(this.nodes.length);
    this.trace(`${node.name} joins`);
    this.nodes.push(node);
  }

  /** Everyone who is there meets everyone, and forgets: without this little would ever be known by all. */
  private meetAll(): void {
    for (let round = 0; round < 2; round++) for (const a of this.nodes) for (const b of this.nodes) this.pull(a, b, 0, 100);
    for (const node of this.nodes) if (this.random() < 0.7) this.forget(node, this.away && this.away !== node ? [this.away.name] : []);
  }

  /** What sessions do before vectors are compared. Returns false when nothing may be exchanged. */
  private checkFloors(to: Node, from: Node): boolean {
    const [mine, theirs] = [to.replica.state(), from.replica.state()];
    if (mine.vector.size > 0 && !isCovered(theirs.floor, mine.vector)) this.rejoin(to, from);
    // It has to come back by itself.
    return isCovered(to.replica.state().floor, from.replica.state().vector);
  }

  private rejoin(to: Node, from: Node): void {
    const { gone, reborn } = rejoin(to.replica, from.replica, 3);
    this.rejoins.times++;
    this.rejoins.gone += gone;
    this.rejoins.reborn += reborn;
    this.trace(`${to.name} re-joins from ${from.name}: ${gone} rows gone, ${reborn} new ones`);
  }

  private restart(node: Node): void {
    this.trace(`${node.name} restarts`);
    node.replica.close();
    this.start(node);
  }

  // ---- the application

  /** Values that the writer can see for a cell: the table's, and the losers its replica lists. */
  private seen(node: Node, table: string, marker: string, column: string): string[] {
    const row = node.app.prepare(`SELECT ${column} AS value FROM ${table} WHERE m = ?`).get(marker) as { value: string } | undefined;
    if (!row) return [];
    const losers = node.replica.reviews({ kind: "conflict", id: "", limit: 10_000 });
    const mine = losers.filter((review) => review.table === table && review.column === column && review.winner?.value === row.value);
    return [row.value, ...mine.map((review) => review.loser?.value as string)];
  }

  private rowsOf(node: Node, table: string): { m: string }[] {
    return node.app.prepare(`SELECT m FROM ${table} ORDER BY m`).all() as { m: string }[];
  }

  private write(node: Node): void {
    if (this.bags && this.random() < 0.3) return this.bags.write(node);
    const table = this.pick<string>(this.options.moreTables ? MORE_TABLES : TABLES);
    if (this.options.moreTables && this.random() < 0.05) node.app.exec("VACUUM");
    const choice = this.random();
    const rows = this.rowsOf(node, table);
    if (choice < 0.45 || rows.length === 0) this.insert(node, table);
    else if (this.options.rules && RULED.includes(table) && choice < 0.65) this.tally(node, table, this.pick(rows).m);
    else if (choice < (this.options.forgetting ? 0.7 : 0.85)) this.update(node, table, this.pick(rows).m);
    else if (choice < 0.95) this.remove(node, table, this.pick(rows).m);
    else if (table === "parent" || table === "child" || table === "tag") this.replace(node, table, this.pick(rows).m);
    if (this.random() < 0.5) this.skew(node);
    if (this.random() < 0.5) node.replica.drain();
  }

  /** The writing process's clock is the node's: captured times get the node's skew and the simulated day. */
  private skew(node: Node): void {
    const day = (this.nowUs + node.skewUs) / 86_400_000_000 + 2_440_587.5;
    node.app.prepare("UPDATE _scoutsync_capture SET at = ?").run(day);
  }

  private insert(node: Node, table: string): void {
    const marker = `${table}-${++this.values}`;
    const x = this.value();
    const y = this.value();
    for (const value of [x, y]) this.authors.set(value, node.name);
    let saw: Record<"x" | "y", string[]> = { x: [], y: [] };
    let of = marker;
    if (table === "parent") node.app.prepare("INSERT INTO parent(m, x, y) VALUES(?, ?, ?)").run(marker, x, y);
    else if (table === "tag") {
      const label = this.random() < 0.5 ? `label${Math.floor(this.random() * 4)}` : marker;
      if (node.app.prepare("SELECT 1 FROM tag WHERE label = ?").get(label)) return;
      node.app.prepare("INSERT INTO tag(m, label, x, y) VALUES(?, ?, ?, ?)").run(marker, label, x, y);
    } else if (table === "word") {
      // Concurrent inserts of one key are one row: its marker is the key.
      const key = `w${Math.floor(this.random() * 6)}`;
      of = `word-${key}`;
      if (node.app.prepare("SELECT 1 FROM word WHERE k = ?").get(key)) return;
      saw = { x: [], y: [] };
      node.app.prepare("INSERT INTO word(k, m, x, y) VALUES(?, ?, ?, ?)").run(key, of, x, y);
    } else if (table === "remark") {
      const words = node.app.prepare("SELECT k FROM word ORDER BY k").pluck().all() as string[];
      if (words.length === 0) return;
      const word = this.pick(words);
      node.app.prepare("INSERT INTO remark(m, k, x, y) VALUES(?, ?, ?, ?)").run(marker, word, x, y);
      this.ledger.parents.set(marker, `word-${word}`);
    } else {
      const parents = node.app.prepare("SELECT id, m FROM parent ORDER BY m").all() as { id: number; m: string }[];
      if (parents.length === 0) return;
      const parent = this.pick(parents);
      if (table === "child" || table === "note") {
        node.app.prepare(`INSERT INTO ${table}(m, p, x, y) VALUES(?, ?, ?, ?)`).run(marker, parent.id, x, y);
        this.ledger.parents.set(marker, parent.m);
      } else {
        const key = `k${Math.floor(this.random() * 2)}`;
        of = `link-${parent.m}-${key}`;
        if (node.app.prepare("SELECT 1 FROM link WHERE p = ? AND k = ?").get(parent.id, key)) return;
        node.app.prepare("INSERT INTO link(p, k, m, x, y) VALUES(?, ?, ?, ?, ?)").run(parent.id, key, of, x, y);
        this.ledger.parents.set(of, parent.m);
      }
    }
    this.remember(node, table, of);
    this.trace(`${node.name} inserts ${of} ${x} ${y}`);
    this.ledger.rows.set(of, table);
    this.ledger.wrote(of, "x", x, saw.x);
    this.ledger.wrote(of, "y", y, saw.y);
  }

  private update(node: Node, table: string, marker: string): void {
    if (this.options.keepsIds && KEPT_IDS.includes(table)) return this.updateRemembered(node, table, marker);
    const columns = this.random() < 0.3 ? (["x", "y"] as const) : this.random() < 0.5 ? (["x"] as const) : (["y"] as const);
    for (const column of columns) {
      const value = this.value();
      const saw = this.seen(node, table, marker, column);
      node.app.prepare(`UPDATE ${table} SET ${column} = ? WHERE m = ?`).run(value, marker);
      this.trace(`${node.name} sets ${marker}.${column} = ${value} over ${saw.join()}`);
      this.ledger.wrote(marker, column, value, saw);
    }
  }

  /** The application has just seen this row under its integer, and put it there itself: whoever was there before is gone. */
  private remember(node: Node, table: string, marker: string): void {
    if (!this.options.keepsIds || !KEPT_IDS.includes(table)) return;
    const id = node.app.prepare(`SELECT id FROM ${table} WHERE m = ?`).pluck().get(marker) as number;
    for (const [other, held] of node.remembered) if (held === id && this.ledger.rows.get(other) === table) node.remembered.delete(other);
    node.remembered.set(marker, id);
  }

  /** Writes to the integer under which the application remembers a row. What it finds there instead it has not seen, but for its own. */
  private updateRemembered(node: Node, table: string, marker: string): void {
    if (!node.remembered.has(marker) || this.random() < 0.2)
      node.remembered.set(marker, node.app.prepare(`SELECT id FROM ${table} WHERE m = ?`).pluck().get(marker) as number);
    const mine = [...node.remembered.keys()].filter((one) => this.ledger.rows.get(one) === table);
    const meant = this.pick(mine);
    const id = node.remembered.get(meant) as number;
    const there = node.app.prepare(`SELECT m FROM ${table} WHERE id = ?`).pluck().get(id) as string | undefined;
    if (there === undefined) return;
    const column = this.random() < 0.5 ? "x" : "y";
    const value = this.value();
    const shown = this.seen(node, table, there, column);
    const saw = there === meant ? shown : shown.filter((one) => this.authors.get(one) === node.name);
    node.app.prepare(`UPDATE ${table} SET ${column} = ? WHERE id = ?`).run(value, id);
    this.authors.set(value, node.name);
    this.trace(`${node.name} sets ${there}.${column} = ${value} over ${saw.join()}, meaning ${meant}`);
    this.ledger.wrote(there, column, value, saw);
  }

  /** Counts something, and adds to or removes from a set. */
  private tally(node: Node, table: string, marker: string): void {
    const row = node.app.prepare(`SELECT hits, tags FROM ${table} WHERE m = ?`).get(marker) as { hits: number; tags: string };
    const by = Math.floor(this.random() * 21) - 10;
    const seen = JSON.parse(row.tags) as string[];
    const tags = [...seen];
    if (tags.length > 0 && this.random() < 0.4) tags.splice(Math.floor(this.random() * tags.length), 1);
    else tags.push(this.value());
    node.app.prepare(`UPDATE ${table} SET hits = hits + ?, tags = ? WHERE m = ?`).run(by, JSON.stringify(tags), marker);
    this.trace(`${node.name} counts ${by} on ${marker}, tags ${row.tags} -> ${JSON.stringify(tags)}`);
    this.ledger.counted(marker, by, seen, tags);
  }

  private replace(node: Node, table: string, marker: string): void {
    const row = node.app.prepare(`SELECT * FROM ${table} WHERE m = ?`).get(marker) as Record<string, unknown>;
    const x = this.value();
    const y = this.value();
    for (const value of [x, y]) this.authors.set(value, node.name);
    for (const [column, value] of [
      ["x", x],
      ["y", y],
    ] as const)
      this.ledger.wrote(marker, column, value, this.seen(node, table, marker, column));
    this.trace(`${node.name} replaces ${marker} ${x} ${y}`);
    const next = { ...row, x, y };
    const names = Object.keys(next);
    // Children of a replaced parent would go with it: the application turns foreign keys off for that, as ORMs do.
    node.app.pragma("foreign_keys = OFF");
    node.app
      .prepare(`INSERT OR REPLACE INTO ${table}(${names.join(", ")}) VALUES(${names.map(() => "?").join(", ")})`)
      .run(...Object.values(next));
    node.app.pragma("foreign_keys = ON");
  }

  /** Rows of other nodes that differ from what the deleting node sees were written by someone who could not know. */
  private noteApart(node: Node, table: string, marker: string): void {
    const look = ({ app }: Node) => {
      const ruled = this.options.rules && RULED.includes(table) ? ", hits, tags" : "";
      const row = app.prepare(`SELECT x, y${ruled} FROM ${table} WHERE m = ?`).get(marker);
      const below = ["child", "link", "note"].map((name) =>
        app.prepare(`SELECT ${name}.m FROM ${name} JOIN parent ON parent.id = ${name}.p WHERE parent.m = ? ORDER BY 1`).pluck().all(marker),
      );
      const remarks = app.prepare("SELECT remark.m FROM remark JOIN word USING(k) WHERE word.m = ? ORDER BY 1").pluck().all(marker);
      return row === undefined ? null : JSON.stringify([row, below, remarks]);
    };
    const mine = look(node);
    if (this.nodes.some((other) => look(other) !== null && look(other) !== mine)) this.ledger.lives(marker);
  }

  private remove(node: Node, table: string, marker: string): void {
    node.remembered.delete(marker);
    this.trace(`${node.name} deletes ${marker}`);
    this.noteApart(node, table, marker);
    if (table === "parent") {
      const id = node.app.prepare("SELECT id FROM parent WHERE m = ?").pluck().get(marker) as number;
      for (const child of ["child", "link", "note"]) {
        for (const { m } of node.app.prepare(`SELECT m FROM ${child} WHERE p = ?`).all(id) as { m: string }[]) {
          this.noteApart(node, child, m);
          this.ledger.deleted.add(m);
          node.remembered.delete(m);
        }
      }
    }
    if (table === "word") {
      const of = node.app.prepare("SELECT remark.m FROM remark JOIN word USING(k) WHERE word.m = ?").pluck().all(marker) as string[];
      for (const m of of) {
        this.noteApart(node, "remark", m);
        this.ledger.deleted.add(m);
        node.remembered.delete(m);
      }
    }
    this.ledger.deleted.add(marker);
    node.app.prepare(`DELETE FROM ${table} WHERE m = ?`).run(marker);
  }

  // ---- the network

  private pull(to: Node, from: Node, batchSize: number, batches: number): number {
    if (to === from || to === this.away || from === this.away) return 0;
    let moved = 0;
    try {
      from.replica.meet(to.replica.baseline());
      to.replica.meet(from.replica.baseline());
    } catch (error) {
      // Until one of the two has met the node that was told, nothing is exchanged.
      if (!(error instanceof SyncError) || error.code !== "BASELINE_CHOICE" || !this.options.copies) throw error;
      return 1;
    }
    let beyondAfter: ChangeBatch["beyondTo"];
    if (this.options.forgetting && !this.checkFloors(to, from)) return 1;
    for (let i = 0; i < batches; i++) {
      const have: VersionVector = join(to.replica.state().vector, to.replica.position(from.replica.run));
      const batch = from.replica.read({
        from: have,
        batchSize,
        codecs: ["zstd"],
        beyondDigest: to.replica.beyondDigest(),
        beyondAfter,
        floor: to.replica.state().floor,
      });
      beyondAfter = batch.beyondTo;
      if (this.random() < 0.15) this.old.push(batch);
      if (batches < 100 && this.random() < 0.08) return moved;
      const before = formatVector(to.replica.state().vector);
      // What a node asks with says what it has; what it is told at the end says what the other has.
      if (this.options.forgetting) from.replica.acknowledge({ id: to.name, name: to.name }, to.replica.state().vector);
      const result = this.take(to, batch);
      if (!result) return moved + 1;
      if (this.options.forgetting && batch.final) {
        to.replica.acknowledge({ id: from.name, name: from.name }, batch.vector);
        if (this.random() < 0.8) to.replica.learnMembers(from.replica.memberWords());
        if (this.random() < 0.8) from.replica.learnMembers(to.replica.memberWords());
      }
      moved += batch.count + (formatVector(result.vector) === before ? 0 : 1);
      this.changes += result.applied;
      this.trace(`${to.name} <- ${from.name}: ${batch.count} changes, final ${batch.final}, verified ${result.verified}`);
      if (result.verified === false) this.failures.push(`R2 digests differ at equal vectors after ${to.name} <- ${from.name}`);
      if (batch.final) break;
      if (this.options.reissue && batches < 100 && this.random() < 0.2) this.reissue(to);
    }
    return moved;
  }

  /** Null where the receiver has to join again first: it had begun to be filled when more was forgotten. */
  private take(to: Node, batch: ChangeBatch): ApplyResult | null {
    try {
      return to.replica.apply(batch);
    } catch (error) {
      const refused = error instanceof SyncError ? error.code : "";
      if ((refused !== "REJOIN_NEEDED" && refused !== "PEER_BEHIND") || !this.options.forgetting) throw error;
      if (refused === "PEER_BEHIND") return null;
      const from = this.nodes.find(({ replica }) => replica.run === batch.run);
      if (from) this.rejoin(to, from);
      return null;
    }
  }

  /** An old batch comes again: it must be refused or change nothing that matters. */
  private replay(node: Node): void {
    if (this.old.length === 0) return;
    try {
      node.replica.apply({ ...this.pick(this.old), final: false });
    } catch (error) {
      const expected = ["BATCH_GAP", "BASELINE_CHOICE", "REJOIN_NEEDED", "PEER_BEHIND"];
      if (!(error instanceof SyncError) || !expected.includes(error.code)) throw error;
    }
  }

  /** Nothing is held beyond a vector any more, so that digests tell something. */
  private checkComparable(node: Node): void {
    if (node.replica.beyondDigest().length > 0) this.failures.push(`${node.name} holds something beyond its vector for ever`);
  }

  // ---- the end

  private finish(): Outcome {
    let rounds = 0;
    if (this.options.lose) this.lose(this.pick(this.nodes));
    this.away = null;
    if (this.bags) {
      for (let round = 0; round < 2; round++) for (const a of this.nodes) for (const b of this.nodes) this.pull(a, b, 0, 100);
      this.bags.upgrade(this.nodes);
      for (const node of this.nodes) this.bags.write(node);
    }
    for (; rounds < 12; rounds++) {
      let moved = 0;
      if (this.options.lose || this.options.reissue) for (const node of this.nodes) moved += node.replica.reissue(0);
      for (const a of this.nodes) for (const b of this.nodes) moved += this.pull(a, b, 0, 100);
      if (moved === 0) break;
    }
    if (rounds >= 12) this.failures.push("R7 no quiescence");
    const [first] = this.nodes as [Node, ...Node[]];
    const verdict = new Verdict(this.ledger, this.options);
    for (const node of this.nodes) verdict.compare(first, node);
    if (this.bags) for (const node of this.nodes) this.failures.push(...this.bags.check(node));
    if (this.options.lose || this.options.reissue) for (const node of this.nodes) this.checkComparable(node);
    // What went with a replica is in the ledger all the same.
    if (!this.options.lose) verdict.checkRows(first);
    if (this.options.forgetting) verdict.checkDeleted(first);
    this.failures.push(...verdict.failures);
    const state = first.replica.state();
    return {
      failures: this.failures,
      changes: this.changes,
      conflicts: state.conflicts,
      parked: state.parked,
      rounds,
      forgot: this.forgot,
      ...this.rejoins,
    };
  }
}
