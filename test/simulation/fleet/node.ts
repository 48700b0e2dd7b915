import { copyFileSync, existsSync, rmSync } from "node:fs";
import { formatVector, isCovered, join, SyncError, type VersionVector } from "@scoutsync/core";
import { ReplicaDatabase } from "@scoutsync/replica";
import { seededRandom, type Random } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { textOf, type Snapshot } from "./ledger.ts";
import { MortalConnection } from "./mortal.ts";

/** As different libraries open a file. */
const CONNECTIONS = [
  { recursive: false, pragmas: "foreign_keys=ON; PRAGMA recursive_triggers=OFF" },
  { recursive: true, pragmas: "foreign_keys=ON; PRAGMA recursive_triggers=ON" },
] as const;

export interface Connection {
  db: Database.Database;
  recursive: boolean;
}

/** A transaction that an application has begun and not ended. */
export interface OpenTransaction {
  connection: Connection;
  /** Its tables before and after each statement. */
  states: Snapshot[];
  lastEvent: number;
}

/** A copy of the file as it was, with what the node had then. */
export interface Backup {
  path: string;
  known: Map<number, number>;
}

interface Loser {
  table: string;
  column: string;
  winner: string;
  loser: string;
}

let folders = 0;

/** One server: a file, its applications, and the replica in the life it has now. */
export class SimulatedNode {
  readonly name: string;
  readonly path: string;
  readonly index: number;
  skewUs: number;
  /** Number under which its writes are in the ledger; another one after its file went back or was copied. */
  author: number;
  /** Of each author, how many transactions are certainly here. */
  known: Map<number, number>;
  connections: Connection[] = [];
  open: OpenTransaction | null = null;
  backup: Backup | null = null;
  life = new MortalConnection();
  replica: ReplicaDatabase | null = null;
  run = "";
  /** Everything it has told others about its vector since its file was last exchanged. */
  private told: VersionVector = new Map();
  /** Said by a person where every node was restored, and none would serve the first one. */
  serveRestored = false;
  private losers: Loser[] = [];
  private runs = 0;
  private readonly random: Random;
  private readonly nowUs: () => number;

  constructor(options: {
    name: string;
    path: string;
    index: number;
    author: number;
    seed: number;
    skewUs: number;
    known: Map<number, number>;
    nowUs: () => number;
  }) {
    this.name = options.name;
    this.path = options.path;
    this.index = options.index;
    this.author = options.author;
    this.skewUs = options.skewUs;
    this.known = options.known;
    this.nowUs = options.nowUs;
    this.random = seededRandom(options.seed);
    this.connect();
  }

  get clockUs(): number {
    return this.nowUs() + this.skewUs;
  }

  connect(): void {
    this.connections = CONNECTIONS.map(({ pragmas, recursive }) => {
      const db = new Database(this.path, { timeout: 1 });
      db.exec(`PRAGMA ${pragmas}`);
      return { db, recursive };
    });
  }

  disconnect(): void {
    for (const { db } of this.connections) db.close();
    this.connections = [];
    this.open = null;
  }

  /** Starts the replica, dying on the way where `crash` says so. False when it could not be started now. */
  start(crash?: (life: MortalConnection) => void): boolean {
    if (this.replica) return true;
    this.runs++;
    this.run = `${this.name}-${this.runs}`;
    this.life = new MortalConnection();
    crash?.(this.life);
    const options = {
      name: "main",
      path: this.path,
      nodeName: this.name,
      nodeId: this.name,
      exclude: [],
      // The ledger knows a row by its label; rows that become one have two. Those are in entity-simulation.ts.
      park: ["*"],
      baseline: null,
      busyTimeoutMs: 1,
      pollIntervalMs: 50,
      serveRestored: this.serveRestored,
    };
    try {
      this.replica = new ReplicaDatabase(options, this.run, {
        nowUs: () => this.clockUs,
        // These applications look every row up.
        rememberedUs: 0,
        random: (bytes) => Uint8Array.from({ length: bytes }, () => this.random.below(256)),
        connect: this.life.connect,
      });
    } catch (error) {
      const died = this.life.dead;
      this.life.bury();
      if (died || (error instanceof SyncError && error.code === "DATABASE_LOCKED" && this.open)) return false;
      throw error;
    }
    this.life.disarm();
    const { vector } = this.replica.state();
    if (!isCovered(this.told, vector))
      throw new Error(`R5 ${this.name} told others ${formatVector(this.told)} and has only ${formatVector(vector)} after its start`);
    this.lookForLosers();
    return true;
  }

  stop(): void {
    this.replica?.close();
    this.replica = null;
  }

  /** After a crash: the process is gone, and with it what was not committed. */
  bury(): void {
    this.life.bury();
    // The lock that one node has on the file goes with its process.
    this.replica?.close();
    this.replica = null;
  }

  tell(vector: VersionVector): VersionVector {
    this.told = join(this.told, vector);
    return vector;
  }

  /** What its replica lists as lost just now. */
  lookForLosers(): void {
    if (!this.replica) return;
    this.losers = this.replica.reviews({ kind: "conflict", id: "", limit: 100_000 }).map((review) => ({
      table: review.table,
      column: review.column ?? "",
      winner: textOf(review.winner?.value),
      loser: textOf(review.loser?.value),
    }));
  }

  losersAgainst(table: string, column: string, value: string): string[] {
    return this.losers.filter((one) => one.table === table && one.column === column && one.winner === value).map(({ loser }) => loser);
  }

  // ---- the file

  /** Copies the file as it stands, its log with it: what a backup tool or a copied disk has. */
  copyTo(path: string): void {
    for (const end of ["", "-wal"]) {
      rmSync(`${path}${end}`, { force: true });
      if (existsSync(`${this.path}${end}`)) copyFileSync(`${this.path}${end}`, `${path}${end}`);
    }
    rmSync(`${path}-shm`, { force: true });
  }

  /** Another file comes under the node while it is down. */
  replaceFile(from: string): void {
    this.stop();
    this.disconnect();
    for (const end of ["", "-wal", "-shm"]) rmSync(`${this.path}${end}`, { force: true });
    for (const end of ["", "-wal"]) if (existsSync(`${from}${end}`)) copyFileSync(`${from}${end}`, `${this.path}${end}`);
    this.told = new Map();
    this.connect();
  }
}

export const nextFolder = (): number => ++folders;
