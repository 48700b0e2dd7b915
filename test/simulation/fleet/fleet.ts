import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { SyncError } from "@scoutsync/core";
import { seededRandom, type Random } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { Author } from "./author.ts";
import { BAG, BagLedger, bagStatement, countBag, type Counts } from "./bag.ts";
import { FleetLedger, takeSnapshot, textOf, type SeenRow, type Snapshot } from "./ledger.ts";
import { differingRows, mend, type Differing } from "./mending.ts";
import { drawMigrations, levelOf, migrate, type Migration } from "./migrations.ts";
import { SimulatedNode, type Connection } from "./node.ts";
import { FULL, type FleetOptions } from "./options.ts";
import { drawSchema, type ModelTable } from "./schema.ts";
import { CALM, raise, Session, type Delivery, type Weather } from "./session.ts";
import { drawSteps, type Step } from "./steps.ts";
import { answerOf, differencesFromTwin, Twin } from "./twin.ts";
import { FleetVerdict, shownTables } from "./verdict.ts";

const START_US = 1_700_000_000_000_000;
const MINUTE_US = 60_000_000;
const YEAR_US = 31_557_600 * 1_000_000;
/** In memory where the system has such a folder: what a disk does is none of this simulation's matter. */
const ROOM = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const MOST_NODES = 7;
/** Rounds in which everyone pulls from everyone, until nothing moves. */
const MOST_ROUNDS = 12;
const MOST_OLD_MESSAGES = 60;
/** A stream of more is one that has no end: no history here writes so much. */
const MOST_MESSAGES = 10_000;

export interface FleetOutcome {
  failures: string[];
  replicas: number;
  transactions: number;
  statements: number;
  changes: number;
  conflicts: number;
  parked: number;
  crashes: number;
  /** Statements at which something died. */
  crashPoints: string[];
  damaged: number;
  restored: number;
  cloned: number;
  twins: number;
  migrated: number;
  /** Sessions that mended rows whose columns some node had dropped. */
  mended: number;
  rounds: number;
}

/** One seeded history of a fleet on real SQLite files, then quiescence, then the checks against the ledger. */
export class FleetSimulation {
  readonly tables: ModelTable[];
  private readonly options: FleetOptions;
  private readonly seed: number;
  private readonly folder = mkdtempSync(joinPath(ROOM, "scoutsync-fleet-"));
  private readonly nodes: SimulatedNode[] = [];
  private readonly ledger: FleetLedger;
  private readonly migrations: Migration[];
  /** Tables that the application of some node has dropped, whether or not it has made them again. */
  private readonly dropped = new Set<string>();
  private readonly bag = new BagLedger();
  /** What the bag held when a snapshot was taken. */
  private readonly bags = new WeakMap<Snapshot, Counts>();
  private readonly failures: string[] = [];
  private readonly crashPoints = new Set<string>();
  private sessions: Session[] = [];
  private old: Uint8Array[] = [];
  /** Group by node index: nodes of different groups do not reach each other. */
  private groups: number[] = [];
  private nowUs = START_US;
  private values = 0;
  private authors = 0;
  private readonly counts = {
    transactions: 0,
    statements: 0,
    changes: 0,
    crashes: 0,
    damaged: 0,
    restored: 0,
    cloned: 0,
    twins: 0,
    migrated: 0,
    mended: 0,
  };

  constructor(seed: number, options: Partial<FleetOptions> = {}) {
    this.seed = seed;
    this.options = { ...FULL, ...options };
    const random = seededRandom(seed);
    this.tables = drawSchema(random, this.options);
    this.migrations = drawMigrations(seededRandom(seed + 17), this.tables, this.options);
    this.ledger = new FleetLedger([this.tables, ...this.migrations.map((migration) => migration.tables)]);
    const first = joinPath(this.folder, "0.db");
    const file = new Database(first);
    for (const table of this.tables) for (const sql of table.sql) file.exec(sql);
    for (const table of this.tables) for (const sql of table.sql) this.trace(sql);
    if (this.options.keyless) file.exec(BAG);
    if (random.below(2) === 0) this.writeBefore(file, random);
    const known = new Map(this.authors > 0 ? [[this.authors, 1]] : []);
    file.close();
    const count = this.options.replicas || 3 + random.below(3);
    for (let i = 1; i < count; i++) copyFileSync(first, joinPath(this.folder, `${i}.db`));
    for (let i = 0; i < count; i++) this.add(joinPath(this.folder, `${i}.db`), new Map(known), random.below(2 ** 31));
  }

  /** Rows that were there before anyone synced, the same everywhere. */
  private writeBefore(file: Database.Database, random: Random): void {
    const author = new Author(random, this.tables, () => ++this.values, false);
    const before = this.look(file);
    for (let i = 0; i < 12; i++) this.attempt(file, author.statement(file));
    if (this.options.keyless) for (let i = 0; i < 6; i++) this.attempt(file, bagStatement(random));
    const states = [before, this.look(file)];
    const event = this.ledger.committed(++this.authors, states, () => []);
    this.noteBag(event.author, states, () => event.uncertain);
  }

  /** The tables of the release that a file has. */
  private tablesIn(db: Database.Database): ModelTable[] {
    return this.migrations[levelOf(db) - 1]?.tables ?? this.tables;
  }

  private look(db: Database.Database): Snapshot {
    const snapshot = takeSnapshot(db, this.tablesIn(db));
    if (this.options.keyless) this.bags.set(snapshot, countBag(db));
    return snapshot;
  }

  private noteBag(author: number, states: readonly Snapshot[], uncertain: () => boolean): void {
    if (!this.options.keyless) return;
    states.slice(1).forEach((after, i) => {
      const [was, is] = [this.bags.get(states[i] ?? after), this.bags.get(after)];
      if (was && is) this.bag.committed(author, uncertain, was, is);
    });
  }

  private add(path: string, known: Map<number, number>, seed: number): SimulatedNode {
    const index = this.nodes.length;
    const random = seededRandom(seed);
    const node = new SimulatedNode({
      name: `n${index}`,
      path,
      index,
      author: ++this.authors,
      seed: random.below(2 ** 31),
      skewUs: Math.floor((random.next() * 2 - 1) * 30e6),
      known,
      nowUs: () => this.nowUs,
    });
    this.nodes.push(node);
    this.groups.push(0);
    if (!node.start()) throw new Error(`${node.name} does not start`);
    return node;
  }

  trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  private fail(text: string): void {
    this.trace(`FAILED: ${text}`);
    if (this.failures.length < 20) this.failures.push(text);
  }

  /** Runs these steps, or those that the seed draws, and everything that follows. */
  run(steps: readonly Step[] = drawSteps(this.seed, this.options)): FleetOutcome {
    try {
      for (const step of steps) {
        this.perform(step);
        if (this.failures.length > 0) break;
      }
      const rounds = this.failures.length > 0 ? 0 : this.finish();
      const state = this.nodes[0]?.replica?.state();
      return {
        failures: this.failures,
        replicas: this.nodes.length,
        ...this.counts,
        conflicts: state?.conflicts ?? 0,
        parked: state?.parked ?? 0,
        crashPoints: [...this.crashPoints],
        rounds,
      };
    } finally {
      for (const node of this.nodes) {
        node.stop();
        node.disconnect();
      }
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  private perform(step: Step): void {
    const random = seededRandom(step.seed);
    const node = this.nodes[step.node % this.nodes.length] as SimulatedNode;
    const other = this.nodes[step.other % this.nodes.length] as SimulatedNode;
    // Mostly seconds, now and then hours.
    this.nowUs += 1_000 + Math.floor(random.next() ** 8 * 40_000_000_000);
    this.trace(`${step.kind} ${node.name} ${other.name}`);
    const crash = (of: SimulatedNode) => {
      if (step.crashAt > 0) of.life.arm(step.crashAt, step.seed % 2 === 0);
    };
    switch (step.kind) {
      case "write":
        return this.write(node, step, random);
      case "begin":
        return this.begin(node, step, random);
      case "end":
        return this.end(node, random.below(4) > 0);
      case "drain":
        this.alive([node], () => {
          crash(node);
          node.replica?.drain();
        });
        return undefined;
      case "sync":
      case "stream":
        return this.sync(node, other, random, step.kind === "sync", () => crash(random.below(2) === 0 ? node : other));
      case "go on":
        return this.goOn(random, crash);
      case "replay":
        return this.replay(node, random);
      case "restart": {
        if (!this.options.restarts) return undefined;
        this.endSessions(node);
        node.stop();
        node.start((life) => {
          if (step.crashAt > 0) life.arm(step.crashAt, step.seed % 2 === 0);
        });
        return this.countDeath(node);
      }
      case "backup":
        return this.backup(node);
      case "restore":
        return this.restore(node);
      case "clone":
        return this.clone(node, step.seed);
      case "jump":
        node.skewUs = Math.floor((random.next() * 2 - 1) * (random.below(2) === 0 ? 60e6 : 20 * YEAR_US));
        return undefined;
      case "partition":
        this.groups = this.nodes.map(() => random.below(2));
        return undefined;
      case "migrate":
        return this.migrate(node, random, () => crash(node));
    }
  }

  /** The application of a node gets its next release, and the node finds it, at once or when it is started again. */
  private migrate(node: SimulatedNode, random: Random, crash: () => void): void {
    const [connection] = node.connections;
    if (node.open || !connection) return;
    const level = levelOf(connection.db);
    const migration = this.migrations[level];
    if (!migration) return;
    // What was written before it is captured under the tables as they were.
    if (random.below(3) > 0) this.alive([node], () => node.replica?.drain());
    if (random.below(4) === 0) node.stop();
    this.trace(`  ${node.name}: ${migration.text}`);
    if (this.lastEvent(connection.db) > 0) this.ledger.unclear.add(node.author);
    if (migration.unclear !== null) this.ledger.unclearTables.add(migration.unclear);
    const before = this.tablesIn(connection.db);
    migrate(connection.db, migration, level + 1);
    for (const { name } of before) if (!migration.tables.some((table) => table.name === name)) this.dropped.add(name);
    this.counts.migrated++;
    // Others' connections learn of it with their next statement.
    const done = this.alive([node], () => {
      crash();
      node.replica?.drain();
    });
    // Its application goes on only once the node has seen the tables: a deleted row's values are nowhere else.
    if (!done) this.alive([node], () => node.replica?.drain());
  }

  // ---- what may go wrong on the way

  /** Does something that nodes take part in. One that is down is started before; one that dies is buried; a locked file is no failure while an application holds it. */
  private alive(nodes: readonly SimulatedNode[], work: () => void): boolean {
    for (const node of nodes) if (!node.start()) return false;
    let done = false;
    try {
      work();
      done = true;
    } catch (error) {
      const dead = nodes.some(({ life }) => life.dead);
      const locked = error instanceof SyncError && error.code === "DATABASE_LOCKED" && nodes.some(({ open }) => open !== null);
      // A restored node serves no one before it has pulled once.
      const restored = error instanceof SyncError && error.code === "RESTORED";
      // Nor does one that has dropped a table just now: it may be back at once.
      const dropped = error instanceof SyncError && error.code === "BUSY" && this.options.drops;
      if (!dead && !locked && !restored && !dropped) this.fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    for (const node of nodes) {
      node.life.disarm();
      this.countDeath(node);
    }
    return done;
  }

  private countDeath(node: SimulatedNode): void {
    if (!node.life.dead) return;
    if (node.life.diedAt !== "") {
      this.counts.crashes++;
      this.crashPoints.add(node.life.diedAt);
      this.trace(`${node.name} died ${node.life.diedAt}`);
      node.life.diedAt = "";
    }
    if (!node.replica) return;
    this.endSessions(node);
    node.bury();
  }

  private endSessions(node: SimulatedNode): void {
    for (const session of this.sessions) {
      if (session.from !== node && session.to !== node) continue;
      session.intact = false;
      this.keep(session.wire);
    }
    this.sessions = this.sessions.filter(({ from, to }) => from !== node && to !== node);
  }

  // ---- the applications

  private connection(node: SimulatedNode, random: Random): Connection {
    return random.pick(node.connections.filter(({ recursive }) => this.options.recursive || !recursive));
  }

  private write(node: SimulatedNode, step: Step, random: Random): void {
    const connection = node.open?.connection ?? this.connection(node, random);
    const { db } = connection;
    const twin = node.open === null && random.below(5) === 0 ? new Twin(db) : null;
    const statements: string[] = [];
    const outcomes: string[] = [];
    if (!node.open) db.exec("BEGIN IMMEDIATE");
    const tables = this.tablesIn(db);
    const before = node.open ? null : this.look(db);
    const states = node.open?.states ?? (before ? [before] : []);
    let last = node.open?.lastEvent ?? this.lastEvent(db);
    const count = random.below(5) === 0 ? 4 + random.below(8) : 1 + random.below(2);
    for (let i = 0; i < count; i++) {
      if (step.without.includes(i)) continue;
      const chance = seededRandom(step.seed + i + 1);
      const author = new Author(chance, tables, () => ++this.values, connection.recursive);
      const sql = this.options.keyless && random.below(7) === 0 ? bagStatement(chance) : author.statement(db);
      if (sql === null) continue;
      this.trace(`  ${node.name}: ${sql}`);
      this.counts.statements++;
      statements.push(sql);
      outcomes.push(this.attempt(db, sql));
      states.push(this.look(db));
      last = this.stamp(node, db, last, states.length);
    }
    if (node.open) node.open.lastEvent = last;
    if (before === null) return;
    // What an application takes back never was.
    if (random.below(12) === 0) db.exec("ROLLBACK");
    else this.commit(node, connection, states);
    if (twin) {
      this.counts.twins++;
      for (const text of differencesFromTwin(twin, statements, outcomes, db, tables, before)) this.fail(`R4 on ${node.name}: ${text}`);
    }
  }

  /** What the application is told. Only constraints and the schema's own triggers may refuse anything. */
  private attempt(db: Database.Database, sql: string | null): string {
    if (sql === null) return "";
    try {
      return answerOf(sql, db.prepare(sql).run());
    } catch (error) {
      const code = (error as { code?: string }).code ?? "";
      if (!code.startsWith("SQLITE_CONSTRAINT")) this.fail(`R4 an application's statement failed: ${String(error)}\n${sql}`);
      return `${code} ${(error as Error).message}`;
    }
  }

  private lastEvent(db: Database.Database): number {
    return db.prepare("SELECT coalesce(max(n), 0) FROM _scoutsync_capture").pluck().get() as number;
  }

  /** The writing process has the node's clock, and lives on the simulated day; what one statement writes has one time. */
  private stamp(node: SimulatedNode, db: Database.Database, after: number, statement: number): number {
    const day = (node.clockUs + statement * 2_000) / 86_400_000_000 + 2_440_587.5;
    db.prepare("UPDATE _scoutsync_capture SET at = ? WHERE n > ?").run(day, after);
    return this.lastEvent(db);
  }

  private commit(node: SimulatedNode, { db }: Connection, states: readonly Snapshot[]): void {
    db.exec("COMMIT");
    this.counts.transactions++;
    const losers = (row: SeenRow, column: string, value: string) => node.losersAgainst(row.table, column, value);
    const event = this.ledger.committed(node.author, states, losers, levelOf(db));
    this.noteBag(node.author, states, () => event.uncertain);
    raise(node.known, event.author, event.number);
  }

  private begin(node: SimulatedNode, step: Step, random: Random): void {
    if (node.open) return;
    const connection = this.connection(node, random);
    connection.db.exec("BEGIN IMMEDIATE");
    node.open = { connection, states: [this.look(connection.db)], lastEvent: this.lastEvent(connection.db) };
    this.write(node, step, random);
  }

  private end(node: SimulatedNode, commit: boolean): void {
    const { open } = node;
    if (!open) return;
    node.open = null;
    if (commit) this.commit(node, open.connection, open.states);
    else open.connection.db.exec("ROLLBACK");
  }

  // ---- the network

  private weather(random: Random): Weather {
    if (!this.options.faults || random.below(2) === 0) return CALM;
    const percent = () => (random.below(2) === 0 ? 0 : random.below(15));
    return { lose: percent(), double: percent(), swap: percent(), cut: percent(), flip: percent() };
  }

  private sync(to: SimulatedNode, from: SimulatedNode, random: Random, whole: boolean, crash: () => void): void {
    if (to === from || this.groups[to.index] !== this.groups[from.index]) return;
    const batchSize = random.below(2) === 0 ? 0 : 1 + random.below(4);
    this.alive([to, from], () => {
      const session = new Session({ from, to, weather: this.weather(random), batchSize, random });
      if (!whole) {
        session.serve();
        this.sessions.push(session);
        return;
      }
      crash();
      // A stream may be cut anywhere.
      const cut = random.below(4) === 0 ? random.below(6) : Number.POSITIVE_INFINITY;
      for (let messages = 0; messages < cut; messages++) {
        if (!this.advance(session)) break;
        if (messages > MOST_MESSAGES) throw new Error(`the stream ${to.name} <- ${from.name} does not end`);
      }
      if (!session.over) this.keep(session.wire);
    });
  }

  /** One message further; false at the end. */
  private advance(session: Session): boolean {
    if (session.wire.length < 2) session.serve();
    if (session.wire.length === 0) return false;
    this.note(session, session.deliver());
    return !session.over;
  }

  private note(session: Session, delivery: Delivery | null): void {
    if (!session.intact) this.counts.damaged++;
    if (!delivery) return;
    this.counts.changes += delivery.applied;
    this.trace(
      `  ${session.to.name} <- ${session.from.name}: ${delivery.received} changes, ${delivery.applied} applied, verified ${delivery.verified}`,
    );
    if (delivery.verified === false && !this.mend(session.to, session.from)) {
      const rows = [session.to, session.from].map((node) => [node.name, this.shown(node).join("\n")].join(":\n"));
      this.fail(`R2 digests differ at equal vectors after ${session.to.name} <- ${session.from.name}\n${rows.join("\n")}`);
    }
    session.to.lookForLosers();
  }

  /**
   * A node that has dropped a column passes rows on without its values: who gets them there lacks the values alone, which a
   * session with a node that has them finds, and mends. One that has dropped a table passes its rows over: who pulls from it lacks
   * them, and what was written to them. False for any other difference, and where it stays.
   */
  private mend({ replica: here }: SimulatedNode, { replica: there }: SimulatedNode): boolean {
    if (!here || !there) return false;
    const differing = differingRows(here, there);
    const passedOver = this.passedOver(differing);
    for (const [table, keys] of differing) {
      if (passedOver.has(table)) continue;
      const left = this.columnsLeft(table);
      for (const key of keys) {
        const [ours, theirs] = [here.row(table, key), there.row(table, key)];
        if (!ours || !theirs) return false;
        const columns = ours.filter(({ value }, i) => textOf(value) !== textOf(theirs[i]?.value));
        if (columns.length === 0 || !columns.every(({ name }) => left.has(name))) return false;
      }
    }
    if (differing.size === 0) return false;
    mend(here, there, differing);
    this.counts.mended++;
    return differingRows(here, there).size === 0;
  }

  /**
   * Of tables that differ those that some node has dropped: whoever still has the rows brings them back, also to one that never
   * dropped them, or has not yet (seed 20000057). And what they refer to: a deleted row is kept by who has the row that it is kept
   * for, and keeps another out that has its UNIQUE value (seed 20000123).
   */
  private passedOver(differing: Differing): Set<string> {
    const tables = [this.tables, ...this.migrations.map((migration) => migration.tables)].flat();
    const found = new Set([...differing.keys()].filter((table) => this.dropped.has(table)));
    for (const name of found)
      for (const table of tables) if (table.name === name) for (const { parent } of table.references) found.add(parent);
    return found;
  }

  /** Tables that are back after they were dropped, each with the release that made it last. */
  private get returned(): Map<string, number> {
    return new Map(this.migrations.flatMap(({ returned }, i) => (returned === undefined ? [] : [[returned, i + 1] as const])));
  }

  /** Columns of a table that some node had and has dropped. */
  private columnsLeft(name: string): Set<string> {
    const columns = (tables: readonly ModelTable[]) =>
      tables.flatMap((table) => (table.name === name ? table.columns.map((one) => one.name) : []));
    const left = this.nodes.flatMap(({ connections: [connection] }) => {
      if (!connection) return [];
      const here = new Set(columns(this.tablesIn(connection.db)));
      const former = this.migrations.slice(0, levelOf(connection.db)).flatMap(({ tables }) => columns(tables));
      return [...columns(this.tables), ...former].filter((column) => !here.has(column));
    });
    return new Set(left);
  }

  private shown(node: SimulatedNode): string[] {
    const db = node.connections[0]?.db;
    return db ? shownTables(node, this.tablesIn(db)) : [];
  }

  private goOn(random: Random, crash: (node: SimulatedNode) => void): void {
    if (this.sessions.length === 0) return;
    const session = random.pick(this.sessions);
    const { from, to } = session;
    if (this.groups[from.index] !== this.groups[to.index]) return;
    const done = this.alive([to, from], () => {
      crash(random.below(2) === 0 ? to : from);
      for (let messages = 1 + random.below(3); messages > 0; messages--) if (!this.advance(session)) break;
    });
    // A receiver that could not take a message ends the stream.
    if (done && !session.over) return;
    this.keep(session.wire);
    this.sessions = this.sessions.filter((one) => one !== session);
  }

  /** Messages that were on the wire when a stream ended: they may come yet. */
  private keep(wire: readonly Uint8Array[]): void {
    this.old.push(...wire);
    this.old = this.old.slice(-MOST_OLD_MESSAGES);
  }

  private replay(node: SimulatedNode, random: Random): void {
    const message = this.old.length > 0 ? random.pick(this.old) : undefined;
    const from = this.nodes.find((one) => one !== node);
    if (!message || !from) return;
    this.alive([node, from], () => {
      const session = new Session({ from, to: node, weather: CALM, batchSize: 0, random });
      session.intact = false;
      const delivery = session.receive(message);
      if (delivery?.verified === false) delivery.verified = null;
      this.note(session, delivery);
    });
  }

  // ---- files that go back and files that are copied

  private backup(node: SimulatedNode): void {
    // What waits in the dirty list would be drained twice, by two histories.
    if (node.open || !this.alive([node], () => node.replica?.drain())) return;
    const path = joinPath(this.folder, `${node.index}.backup`);
    node.copyTo(path);
    node.backup = { path, known: new Map(node.known) };
  }

  private restore(node: SimulatedNode): void {
    if (!node.backup || node.open) return;
    this.endSessions(node);
    node.replaceFile(node.backup.path);
    this.counts.restored++;
    // What nobody else is known to have may be gone for good, or may have been on its way.
    for (const event of this.ledger.events) {
      const has = (known: ReadonlyMap<number, number>) => (known.get(event.author) ?? 0) >= event.number;
      if (has(node.known) && !has(node.backup.known) && !this.nodes.some((one) => one !== node && has(one.known))) event.uncertain = true;
    }
    node.known = new Map(node.backup.known);
    node.author = ++this.authors;
    this.alive([node], () => undefined);
  }

  private clone(node: SimulatedNode, seed: number): void {
    if (this.nodes.length >= MOST_NODES || node.open || !this.alive([node], () => node.replica?.drain())) return;
    const path = joinPath(this.folder, `${this.nodes.length}.db`);
    node.copyTo(path);
    this.add(path, new Map(node.known), seed);
    this.counts.cloned++;
  }

  // ---- the end

  private finish(): number {
    for (const node of this.nodes) {
      this.end(node, true);
      this.endSessions(node);
    }
    for (const node of this.nodes) if (!node.start()) this.fail(`${node.name} does not start`);
    for (const node of this.nodes) for (const _ of this.migrations) this.migrate(node, seededRandom(this.seed), () => undefined);
    if (this.options.drops) this.nowUs += MINUTE_US;
    // Where all were restored someone has to say that the first one may serve.
    const [first] = this.nodes;
    if (first && this.options.copies) {
      first.stop();
      first.serveRestored = true;
      first.start();
    }
    let rounds = 0;
    let moved = true;
    for (; moved && rounds < MOST_ROUNDS && this.failures.length === 0; rounds++) {
      moved = false;
      for (const to of this.nodes) for (const from of this.nodes) if (to !== from) moved = this.calm(to, from) || moved;
    }
    if (moved) this.fail(`R7 something still moves after ${rounds} rounds`);
    if (this.failures.length > 0) return rounds;
    const verdict = new FleetVerdict(this.ledger, this.nodes, this.migrations.at(-1)?.tables ?? this.tables, this.options, this.returned);
    for (const text of verdict.check()) this.fail(text);
    this.checkBags();
    return rounds;
  }

  private checkBags(): void {
    if (!this.options.keyless) return;
    const held = this.nodes.map(({ name, connections: [connection] }) => ({
      name,
      counts: connection ? countBag(connection.db) : new Map(),
    }));
    for (const { name, counts } of held) {
      for (const text of this.bag.failures(counts)) this.fail(`${text} on ${name}`);
      const [shown, first] = [counts, held[0]?.counts ?? new Map()].map((one) => JSON.stringify([...one]));
      if (shown !== first) this.fail(`R2 the bags of ${held[0]?.name} and ${name} differ: ${first} and ${shown}`);
    }
  }

  /** A whole session over a good line; true when it moved something. */
  private calm(to: SimulatedNode, from: SimulatedNode): boolean {
    let moved = false;
    const { mended } = this.counts;
    const done = this.alive([to, from], () => {
      const session = new Session({ from, to, weather: CALM, batchSize: 0, random: seededRandom(1) });
      for (let messages = 0; !session.over; messages++) {
        if (messages > MOST_MESSAGES) throw new Error(`the stream ${to.name} <- ${from.name} does not end`);
        session.serve();
        const delivery = session.deliver();
        this.note(session, delivery);
        if (delivery && (delivery.received > 0 || delivery.moved)) moved = true;
      }
    });
    // One that serves no one yet will, once it has pulled.
    return moved || !done || this.counts.mended > mended;
  }
}
