import { SyncError } from "@scoutsync/core";
import { memoryFolder, seededRandom, type Random } from "@scoutsync/testkit";
import type Database from "better-sqlite3";
import { FleetLedger } from "./ledger.ts";
import { drawMigrations, levelOf, type Migration } from "./migrations.ts";
import type { SimulatedNode } from "./node.ts";
import { FULL, type FleetOptions } from "./options.ts";
import { drawSchema, type ModelTable } from "./schema.ts";

const START_US = 1_700_000_000_000_000;

/** What everybody in one history shares: its nodes, its day, what was written down of it, and what went wrong. */
export class FleetHistory {
  readonly seed: number;
  readonly options: FleetOptions;
  readonly tables: ModelTable[];
  readonly migrations: Migration[];
  readonly folder = memoryFolder("fleet");
  readonly nodes: SimulatedNode[] = [];
  readonly ledger: FleetLedger;
  /** Tables that the application of some node has dropped, whether or not it has made them again. */
  readonly dropped = new Set<string>();
  readonly failures: string[] = [];
  /** Statements at which something died. */
  readonly crashPoints = new Set<string>();
  nowUs = START_US;
  /** How many have written so far; the number of the next one follows. */
  authors = 0;
  readonly counts = {
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
  /** Called for a node whose life ended, before it is buried. */
  private readonly onDeath: (node: SimulatedNode) => void;

  constructor(seed: number, random: Random, options: Partial<FleetOptions>, onDeath: (node: SimulatedNode) => void) {
    this.seed = seed;
    this.options = { ...FULL, ...options };
    this.onDeath = onDeath;
    this.tables = drawSchema(random, this.options);
    this.migrations = drawMigrations(seededRandom(seed + 17), this.tables, this.options);
    this.ledger = new FleetLedger([this.tables, ...this.migrations.map((migration) => migration.tables)]);
  }

  /** The tables of the release that a file has. */
  tablesIn(db: Database.Database): ModelTable[] {
    return this.migrations[levelOf(db) - 1]?.tables ?? this.tables;
  }

  trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  fail(text: string): void {
    this.trace(`FAILED: ${text}`);
    if (this.failures.length < 20) this.failures.push(text);
  }

  /** Does something that nodes take part in. One that is down is started before; one that dies is buried; a locked file is no failure while an application holds it. */
  alive(nodes: readonly SimulatedNode[], work: () => void): boolean {
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

  countDeath(node: SimulatedNode): void {
    if (!node.life.dead) return;
    if (node.life.diedAt !== "") {
      this.counts.crashes++;
      this.crashPoints.add(node.life.diedAt);
      this.trace(`${node.name} died ${node.life.diedAt}`);
      node.life.diedAt = "";
    }
    if (!node.replica) return;
    this.onDeath(node);
    node.bury();
  }
}
