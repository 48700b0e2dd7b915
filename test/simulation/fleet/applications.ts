import { seededRandom, type Random } from "@scoutsync/testkit";
import type Database from "better-sqlite3";
import { Author } from "./author.ts";
import { BagLedger, bagStatement, countBag, type Counts } from "./bag.ts";
import type { FleetHistory } from "./history.ts";
import { takeSnapshot, type SeenRow, type Snapshot } from "./ledger.ts";
import { levelOf, migrate as applyMigration } from "./migrations.ts";
import type { Connection, SimulatedNode } from "./node.ts";
import { raise } from "./session.ts";
import type { Step } from "./steps.ts";
import { answerOf, differencesFromTwin, Twin } from "./twin.ts";

/** The applications of all nodes: what they write goes into the ledger, and what they are told is compared with a twin's. */
export class Applications {
  private readonly history: FleetHistory;
  private readonly bag = new BagLedger();
  /** What the bag held when a snapshot was taken. */
  private readonly bags = new WeakMap<Snapshot, Counts>();
  private values = 0;

  constructor(history: FleetHistory) {
    this.history = history;
  }

  /** Rows that were there before anyone synced, the same everywhere. */
  writeBefore(file: Database.Database, random: Random): void {
    const author = new Author(random, this.history.tables, () => ++this.values);
    const before = this.look(file);
    for (let i = 0; i < 12; i++) this.attempt(file, author.statement(file));
    if (this.history.options.keyless) for (let i = 0; i < 6; i++) this.attempt(file, bagStatement(random));
    const states = [before, this.look(file)];
    const event = this.history.ledger.committed(++this.history.authors, states, () => []);
    this.noteBag(event.author, states, () => event.uncertain);
  }

  private connection(node: SimulatedNode, random: Random): Connection {
    return random.pick(node.connections.filter(({ recursive }) => this.history.options.recursive || !recursive));
  }

  /** A few statements, in the transaction that is open or in one of their own. */
  write(node: SimulatedNode, step: Step, random: Random): void {
    const connection = node.open?.connection ?? this.connection(node, random);
    const { db } = connection;
    const twin = node.open === null && random.below(5) === 0 ? new Twin(db) : null;
    const statements: string[] = [];
    const outcomes: string[] = [];
    if (!node.open) db.exec("BEGIN IMMEDIATE");
    const tables = this.history.tablesIn(db);
    const before = node.open ? null : this.look(db);
    const states = node.open?.states ?? (before ? [before] : []);
    let last = node.open?.lastEvent ?? this.lastEvent(db);
    const count = random.below(5) === 0 ? 4 + random.below(8) : 1 + random.below(2);
    for (let i = 0; i < count; i++) {
      if (step.without.includes(i)) continue;
      const chance = seededRandom(step.seed + i + 1);
      const author = new Author(chance, tables, () => ++this.values, {
        recursive: connection.recursive,
        retakes: this.history.options.retakes,
      });
      const sql = this.history.options.keyless && random.below(7) === 0 ? bagStatement(chance) : author.statement(db);
      if (sql === null) continue;
      this.history.trace(`  ${node.name}: ${sql}`);
      this.history.counts.statements++;
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
      this.history.counts.twins++;
      for (const text of differencesFromTwin(twin, statements, outcomes, db, tables, before))
        this.history.fail(`R4 on ${node.name}: ${text}`);
    }
  }

  /** What the application is told. Only constraints and the schema's own triggers may refuse anything. */
  private attempt(db: Database.Database, sql: string | null): string {
    if (sql === null) return "";
    try {
      return answerOf(sql, db.prepare(sql).run());
    } catch (error) {
      const code = (error as { code?: string }).code ?? "";
      if (!code.startsWith("SQLITE_CONSTRAINT")) this.history.fail(`R4 an application's statement failed: ${String(error)}\n${sql}`);
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
    this.history.counts.transactions++;
    const losers = (row: SeenRow, column: string, value: string) => node.losersAgainst(row.table, column, value);
    const event = this.history.ledger.committed(node.author, states, losers, levelOf(db));
    this.noteBag(node.author, states, () => event.uncertain);
    raise(node.known, event.author, event.number);
  }

  /** A transaction that stays open over what others do. */
  begin(node: SimulatedNode, step: Step, random: Random): void {
    if (node.open) return;
    const connection = this.connection(node, random);
    connection.db.exec("BEGIN IMMEDIATE");
    node.open = { connection, states: [this.look(connection.db)], lastEvent: this.lastEvent(connection.db) };
    this.write(node, step, random);
  }

  end(node: SimulatedNode, commit: boolean): void {
    const { open } = node;
    if (!open) return;
    node.open = null;
    if (commit) this.commit(node, open.connection, open.states);
    else open.connection.db.exec("ROLLBACK");
  }

  /** The application of a node gets its next release, and the node finds it, at once or when it is started again. */
  migrate(node: SimulatedNode, random: Random, crash: () => void): void {
    const [connection] = node.connections;
    if (node.open || !connection) return;
    const level = levelOf(connection.db);
    const migration = this.history.migrations[level];
    if (!migration) return;
    // What was written before it is captured under the tables as they were.
    if (random.below(3) > 0) this.history.alive([node], () => node.replica?.drain());
    if (random.below(4) === 0) node.stop();
    this.history.trace(`  ${node.name}: ${migration.text}`);
    if (this.lastEvent(connection.db) > 0) this.history.ledger.unclear.add(node.author);
    if (migration.unclear !== null) this.history.ledger.unclearTables.add(migration.unclear);
    const before = this.history.tablesIn(connection.db);
    applyMigration(connection.db, migration, level + 1);
    for (const { name } of before) if (!migration.tables.some((table) => table.name === name)) this.history.dropped.add(name);
    this.history.counts.migrated++;
    // Others' connections learn of it with their next statement.
    const done = this.history.alive([node], () => {
      crash();
      node.replica?.drain();
    });
    // Its application goes on only once the node has seen the tables: a deleted row's values are nowhere else.
    if (!done) this.history.alive([node], () => node.replica?.drain());
  }

  private look(db: Database.Database): Snapshot {
    const snapshot = takeSnapshot(db, this.history.tablesIn(db));
    if (this.history.options.keyless) this.bags.set(snapshot, countBag(db));
    return snapshot;
  }

  private noteBag(author: number, states: readonly Snapshot[], uncertain: () => boolean): void {
    if (!this.history.options.keyless) return;
    states.slice(1).forEach((after, i) => {
      const [was, is] = [this.bags.get(states[i] ?? after), this.bags.get(after)];
      if (was && is) this.bag.committed(author, uncertain, was, is);
    });
  }

  /** What every node's bag must hold, and that all hold the same. */
  checkBags(): void {
    if (!this.history.options.keyless) return;
    const held = this.history.nodes.map(({ name, connections: [connection] }) => ({
      name,
      counts: connection ? countBag(connection.db) : new Map(),
    }));
    for (const { name, counts } of held) {
      for (const text of this.bag.failures(counts)) this.history.fail(`${text} on ${name}`);
      const [shown, first] = [counts, held[0]?.counts ?? new Map()].map((one) => JSON.stringify([...one]));
      if (shown !== first) this.history.fail(`R2 the bags of ${held[0]?.name} and ${name} differ: ${first} and ${shown}`);
    }
  }
}
