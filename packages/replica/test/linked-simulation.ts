import { copyFileSync, renameSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import { seeded } from "./seeded.ts";
import type { ApplyResult } from "@scoutsync/core";
import { MOST_ROUNDS, START_US, SECOND_US, Site, type SiteOptions } from "./site.ts";

export interface LinkedOptions {
  nodes: number;
  steps: number;
  /** Users are deleted, too; their integers are not given out again. */
  deletes: boolean;
  /** Two servers may create the same user: it is one then. */
  unique: boolean;
  /** Nodes are killed between any two commits. */
  crashes: boolean;
  /** A third database refers to rows of the second. */
  chain: boolean;
  /** One database of a node, or all, is put back from a backup while the node is down. */
  putBacks: boolean;
  /** Some of them while it runs. */
  running: boolean;
  trace: boolean;
}

const DEFAULTS: LinkedOptions = {
  nodes: 3,
  steps: 60,
  deletes: false,
  unique: false,
  crashes: true,
  chain: false,
  putBacks: false,
  running: false,
  trace: false,
};

const DATABASES = ["users", "scouting", "notes"] as const;
type Name = (typeof DATABASES)[number];

/** Thrown where a node is killed. */
class Killed extends Error {}

/** One database of a node, whose process can be killed at a commit. */
class Killable {
  site!: Site;
  /** Commits until it is killed; null: it is not. */
  fuse: number | null = null;
  private connection: Database.Database | null = null;

  readonly connect = (path: string, options: Database.Options): Database.Database => {
    const db = new Database(path, options);
    const exec = db.exec.bind(db);
    db.exec = (sql: string) => {
      if (sql === "COMMIT" && this.fuse !== null && this.fuse-- <= 0) throw new Killed("killed before a commit");
      return exec(sql);
    };
    this.connection = db;
    return db;
  };

  /** What a killed process leaves: nothing that it had not committed, and no lock. */
  drop(): void {
    this.fuse = null;
    this.site.isOpen = false;
    this.connection?.close();
    this.site.replica.close();
  }
}

class LinkedNode {
  readonly databases = new Map<Name, Killable>();
  readonly name: string;

  constructor(name: string, { unique, chain, putBacks }: LinkedOptions, random: () => number, atEnd: (work: () => void) => void) {
    this.name = name;
    const open = (database: Name, schema: string, options: SiteOptions) => {
      const killable = new Killable();
      // It looks every user up: nobody is to be asked after a mere sync.
      const looksUp = putBacks ? { rememberedUs: 0 } : {};
      killable.site = new Site(`${name}-${database}`, schema, { ...options, ...looksUp, random, atEnd, connect: killable.connect });
      this.databases.set(database, killable);
      return killable.site;
    };
    const users = open("users", `CREATE TABLE user(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT ${unique ? "UNIQUE" : ""}, x TEXT)`, {
      dependents: [],
    });
    const scouting = open(
      "scouting",
      "CREATE TABLE scouting(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT, note TEXT); CREATE INDEX scouting_scout ON scouting(scout_id); CREATE TABLE mark(k TEXT PRIMARY KEY, by INTEGER, wrote TEXT, note TEXT)",
      { rules: ["scouting.scout_id->users.user.id", "mark.by->users.user.id"], refersTo: { users }, ...(chain && { dependents: [] }) },
    );
    if (chain)
      open("notes", "CREATE TABLE note(k TEXT PRIMARY KEY, scouting_id INTEGER, wrote TEXT)", {
        rules: ["note.scouting_id->scouting.scouting.id"],
        refersTo: { scouting },
      });
  }

  site(database: Name): Site {
    return (this.databases.get(database) as Killable).site;
  }

  /** The whole process. */
  kill(): void {
    for (const killable of this.databases.values()) killable.drop();
  }

  start(): void {
    for (const { site } of this.databases.values()) site.start();
  }

  /** What a running node does once it sees that these files were replaced. */
  reopen(names: readonly Name[]): void {
    const lost = [...this.databases].filter(([name]) => names.includes(name));
    for (const [, killable] of lost.toReversed()) killable.drop();
    for (const [, { site }] of this.databases) if (site.isOpen) site.replica.wasPutBack = false;
    for (const [, { site }] of lost) site.start(0);
  }

  /** What a backup tool has of all databases, and how far they were. */
  private backup = new Map<Name, { path: string; vector: string }>();

  backUp(): void {
    for (const [name, { site }] of this.databases) this.backup.set(name, { path: site.backup(), vector: site.vector });
  }

  /** True when each of these has more than its backup. */
  isBeyond(names: readonly Name[]): boolean {
    return names.every((name) => (this.backup.get(name)?.vector ?? this.site(name).vector) !== this.site(name).vector);
  }

  putBack(name: Name): void {
    const site = this.site(name);
    site.app.close();
    for (const end of ["-wal", "-shm"]) rmSync(`${site.path}${end}`, { force: true });
    copyFileSync((this.backup.get(name) as { path: string }).path, `${site.path}.new`);
    renameSync(`${site.path}.new`, site.path);
    site.app = new Database(site.path);
  }

  /** Rows of which a person is asked here whom they mean, by their notes or keys. */
  get asked(): string[] {
    return [...this.databases.keys()].flatMap((name) => {
      const site = this.site(name);
      return site.replica.reviews({ kind: "identity", id: "", limit: 1_000 }).flatMap(({ table, key, column, winner }) => {
        const keys = key.split(" ");
        // Of more rows the first are named.
        const isAmong = keys.length < 5 ? `CAST(${table === "scouting" ? "id" : "k"} AS TEXT) IN ('${keys.join("', '")}')` : "";
        const rows = site.rows(`SELECT * FROM ${table} WHERE ${isAmong || `"${column}" = ${(winner as { value: bigint }).value}`}`);
        return rows.map(({ note, k }) => plain(note ?? k));
      });
    });
  }

  get users(): string[] {
    return this.site("users")
      .rows("SELECT name FROM user")
      .map(({ name }) => String(name));
  }

  get notes(): string[] {
    const rows = this.site("scouting").rows("SELECT note FROM scouting UNION ALL SELECT note FROM mark");
    return rows.map(({ note }) => plain(note));
  }
}

/** A row's note as it was first. */
const plain = (note: unknown): string => String(note).replaceAll("+", "");

/**
 * Nodes with databases of which one refers to rows of another. Each row that refers knows by text whom it was written for; in
 * the end it has to lead there on every node, whatever was written, synced, killed and started in between, and in what order.
 */
export class LinkedSimulation {
  private readonly options: LinkedOptions;
  private readonly seed: number;
  private readonly random: () => number;
  private readonly nodes: LinkedNode[];
  private readonly ends: (() => void)[] = [];
  private readonly deleted = new Set<string>();
  private readonly written = new Set<string>();
  /** Users that several may create, of which one was in a file that is gone: what was written for that one may lead to nobody. */
  private readonly lost = new Set<string>();
  /** Notes of rows of which somebody was asked, in a file that is gone, too. */
  private readonly asked = new Set<string>();
  private nowUs = START_US;
  private names = 0;
  kills = 0;
  moved = 0;

  constructor(seed: number, options: Partial<LinkedOptions> = {}) {
    this.seed = seed;
    this.options = { ...DEFAULTS, ...options };
    this.random = seeded(seed);
    this.nodes = Array.from(
      { length: this.options.nodes },
      (_, i) => new LinkedNode("abcdefg"[i] as string, this.options, seeded(seed * 1_000 + i), (work) => this.ends.unshift(work)),
    );
  }

  private below(count: number): number {
    return Math.floor(this.random() * count);
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  private say(text: string): void {
    if (this.options.trace) console.log(text);
  }

  run(): { failures: string[]; kills: number; moved: number } {
    try {
      return this.history();
    } finally {
      for (const end of this.ends) end();
    }
  }

  private history(): { failures: string[]; kills: number; moved: number } {
    for (let step = 0; step < this.options.steps; step++) {
      this.nowUs += this.below(5) * SECOND_US;
      for (const node of this.nodes) for (const { site } of node.databases.values()) site.nowUs = this.nowUs + this.below(3) * SECOND_US;
      this.step();
    }
    const failures = this.settle();
    return { failures: [...failures, ...this.verdict()], kills: this.kills, moved: this.moved };
  }

  private step(): void {
    const node = this.pick(this.nodes);
    if (this.options.putBacks && this.random() < 0.15) return this.backUpOrPutBack(node);
    const roll = this.random();
    if (roll < 0.5) this.write(node);
    else if (roll < 0.62) this.drain(node, this.pick([...node.databases.keys()]));
    else if (roll < 0.92) this.sync(node, this.pick(this.nodes.filter((other) => other !== node)), this.pick([...node.databases.keys()]));
    else if (this.options.crashes) {
      this.kill(node);
    }
  }

  private backUpOrPutBack(node: LinkedNode): void {
    const names = [...node.databases.keys()];
    const which = this.random() < 0.2 ? names : [this.pick(names)];
    for (const name of names) node.site(name).replica.drain();
    if (this.random() < 0.2 || !node.isBeyond(which)) {
      this.say(`${node.name}: backed up`);
      return node.backUp();
    }
    // Somebody has to be left who serves.
    if (this.nodes.some((other) => names.some((name) => other.site(name).replica.state().restored))) return;
    for (const name of names) node.site(name).options.hadBefore = node.site(name).replica.state().vector;
    const runs = this.options.running && this.random() < 0.5;
    if (!runs) {
      node.kill();
      for (let writes = this.below(6); writes > 0; writes--) this.write(node, false);
    }
    this.say(`${node.name}: ${which.join(" and ")} put back${runs ? " while it runs" : ""}`);
    // What only this file has is gone with it.
    for (const note of node.notes) this.written.delete(note);
    const had = node.users;
    for (const name of which) node.putBack(name);
    for (const name of had) if (name.startsWith("same") && !node.users.includes(name)) this.lost.add(name);
    for (let writes = this.below(3); writes > 0; writes--) this.write(node);
    if (runs) node.reopen(which);
    else node.start();
    // What was written to such a row since may be lost with the next file.
    for (const note of node.asked) this.asked.add(note);
    for (const note of this.nodes.flatMap(({ notes }) => notes)) this.written.add(note);
  }

  /** What the application does: it looks a user up, and writes with the integer that it finds. */
  private write(node: LinkedNode, signsUp = true): void {
    const [users, scouting] = [node.site("users"), node.site("scouting")];
    const known = users.rows("SELECT id, name FROM user").map(({ id, name }) => ({ id: Number(id), name: String(name) }));
    const roll = this.random();
    if (known.length === 0 || roll < 0.25) {
      if (!signsUp) return;
      const name = this.options.unique && this.random() < 0.4 ? `same ${this.below(4)}` : `${node.name}${++this.names}`;
      this.say(`${node.name}: user ${name}`);
      if (known.every((user) => user.name !== name)) users.write(`INSERT INTO user(name, x) VALUES('${name}', 'x')`);
      return;
    }
    const { id, name } = this.pick(known);
    const k = ++this.names;
    if (roll < 0.6) {
      this.say(`${node.name}: scouting ${k} by ${name} (${id})`);
      this.written.add(`n${k}`);
      if (this.random() < 0.5) scouting.write(`INSERT INTO scouting(scout_id, wrote, note) VALUES(${id}, '${name}', 'n${k}')`);
      else scouting.write(`INSERT INTO mark VALUES('n${k}', ${id}, '${name}', 'n${k}')`);
    } else if (roll < 0.75) {
      // Both columns change, or merging column by column would mix two edits.
      const shows = this.options.putBacks ? `AND scout_id <> ${id}` : "";
      const row = this.pick(scouting.rows(`SELECT id FROM scouting WHERE wrote <> '${name}' ${shows}`));
      if (!row) return;
      this.say(`${node.name}: scouting ${String(row["id"])} is by ${name} (${id}) now`);
      scouting.write(`UPDATE scouting SET scout_id = ${id}, wrote = '${name}' WHERE id = ${String(row["id"])}`);
    } else if (roll < 0.85) {
      const row = this.pick(scouting.rows("SELECT k FROM mark"));
      if (row) scouting.write(`UPDATE mark SET note = note || '+' WHERE k = '${String(row["k"])}'`);
    } else if (roll < 0.93 && this.options.chain) {
      const row = this.pick(scouting.rows("SELECT id, note FROM scouting"));
      if (row) node.site("notes").write(`INSERT INTO note VALUES('k${k}', ${String(row["id"])}, '${String(row["note"])}')`);
    } else if (this.options.deletes && known.length > 2 && !name.startsWith("same")) {
      this.say(`${node.name}: ${name} (${id}) is deleted`);
      this.deleted.add(name);
      users.write(`DELETE FROM user WHERE id = ${id}`);
    }
  }

  /** Runs what a node does, and kills it where it meets its end. */
  private working<T>(nodes: readonly LinkedNode[], work: () => T): T | null {
    try {
      return work();
    } catch (error) {
      if (!isKilled(error)) throw error;
      for (const node of nodes) if ([...node.databases.values()].some(({ fuse }) => fuse !== null && fuse < 0)) this.restart(node);
      return null;
    }
  }

  private restart(node: LinkedNode): void {
    this.kills++;
    this.say(`${node.name}: killed`);
    for (const { site } of node.databases.values()) delete site.options.hadBefore;
    node.kill();
    for (let writes = this.below(4); writes > 0; writes--) this.write(node);
    node.start();
  }

  private drain(node: LinkedNode, database: Name): void {
    this.working([node], () => node.site(database).replica.drain());
  }

  private sync(to: LinkedNode, from: LinkedNode, database: Name): void {
    this.say(`${to.name} pulls ${database} from ${from.name}`);
    if (this.options.crashes && this.random() < 0.3)
      (to.databases.get(this.pick([...to.databases.keys()])) as Killable).fuse = this.below(6);
    const batches = this.random() < 0.3 ? 1 : Number.POSITIVE_INFINITY;
    this.working([to, from], () => this.pull(to.site(database), from.site(database), { batchSize: this.pick([1, 3, 0]), batches }));
    for (const killable of to.databases.values()) killable.fuse = null;
  }

  /** One that was put back serves no one before it has pulled. */
  private pull(to: Site, from: Site, options = {}): ApplyResult[] {
    let results: ApplyResult[] = [];
    try {
      results = to.pull(from, options);
    } catch (error) {
      if ((error as { code?: unknown }).code !== "RESTORED") throw error;
    }
    return results;
  }

  private kill(node: LinkedNode): void {
    this.restart(node);
  }

  private settle(): string[] {
    for (let round = 0; round < MOST_ROUNDS * 2; round++) {
      let moved = 0;
      for (const database of this.nodes[0]?.databases.keys() ?? [])
        for (const to of this.nodes)
          for (const from of this.nodes) {
            if (to === from) continue;
            const results = this.pull(to.site(database), from.site(database));
            moved += results.reduce((sum, { received }) => sum + received, 0);
          }
      if (moved === 0) return [];
    }
    return ["the nodes never came to rest"];
  }

  private verdict(): string[] {
    const failures: string[] = [];
    const asked = this.options.putBacks ? new Set([...this.asked, ...this.nodes.flatMap((node) => node.asked)]) : new Set<string>();
    for (const node of this.nodes) {
      const [users, scouting] = [node.site("users"), node.site("scouting")];
      const names = new Map(users.rows("SELECT id, name FROM user").map(({ id, name }) => [id, String(name)]));
      const live = new Set(names.values());
      this.moved += [...names.keys()].filter((id) => Number(id) >= 2 ** 24).length;
      const refs = [
        ...scouting.rows("SELECT scout_id AS ref, wrote, note FROM scouting"),
        ...scouting.rows("SELECT by AS ref, wrote, note FROM mark"),
      ];
      for (const { ref, wrote, note } of refs) {
        const name = names.get(ref);
        const right = live.has(String(wrote)) ? name === wrote || (name === undefined && this.lost.has(String(wrote))) : name === undefined;
        if (!right && !asked.has(plain(note)))
          failures.push(`${node.name}: ${String(note)} by ${String(wrote)} leads to ${String(name)} (${String(ref)})`);
      }
      const there = new Set(refs.map(({ note }) => plain(note)));
      for (const note of this.written) if (!there.has(note)) failures.push(`${node.name}: ${note} is gone`);
      if (this.options.chain) {
        const notes = new Map(scouting.rows("SELECT id, note FROM scouting").map(({ id, note }) => [id, note]));
        for (const { k, scouting_id: id, wrote } of node.site("notes").rows("SELECT * FROM note"))
          if (notes.get(id) !== (there.has(plain(wrote)) ? wrote : undefined) && !asked.has(String(k)))
            failures.push(`${node.name}: ${String(k)} of ${String(wrote)} leads to ${String(notes.get(id))}`);
      }
      for (const [database, { site }] of node.databases) {
        const look = (deep: boolean) =>
          JSON.stringify(site.replica.digests({ table: "", buckets: [], deep }).entries.map(({ digest, rows }) => [rows, [...digest]]));
        if (look(true) !== look(false)) failures.push(`${node.name}: sums of ${database} are not those of its rows`);
      }
    }
    for (const database of this.nodes[0]?.databases.keys() ?? []) {
      const digests = new Set(this.nodes.map((node) => Buffer.from(node.site(database).replica.state().digest).toString("hex")));
      if (digests.size > 1) failures.push(`digests of ${database} differ`);
    }
    return failures.length > 0 ? [`seed ${this.seed}`, ...failures] : [];
  }
}

function isKilled(error: unknown): boolean {
  return (
    error instanceof Killed ||
    (error instanceof Error && error.cause !== undefined && isKilled(error.cause)) ||
    String(error).includes("killed before a commit")
  );
}
