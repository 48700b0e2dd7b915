import { createHash, hash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { type CellValue, rootOf } from "@scoutsync/core";
import { sharedName } from "../rows/content-names.ts";
import { readMeta, writeMeta } from "../schema/install.ts";
import type { Table } from "../schema/catalog.ts";
import { BASELINE_AUTHOR } from "./baseline.ts";
import { drawOrigin, type Knowledge } from "./knowledge.ts";

/** The author recorded for origins that name rows by their keys and never write. */
const KEY_AUTHOR = "names rows by key";

/** Integers from here on, and those below 1, are named by a hash: sequences end at 2^52. */
const FIRST_HASHED = 2 ** 51;

const META = "baseline shared";

export interface Dot {
  origin: number;
  sequence: number;
}

/**
 * Rows from before syncing in copies that moved apart and were joined as shared. A row of a surrogate table is then
 * named by its table and the integer it had, whichever copy holds it: an origin made of the table's name, and the
 * integer as the sequence. The dots of its births stay what they are; that is how the copies' values merge.
 * The name follows from birth and integer, so nothing is stored for it.
 */
export class SharedRows {
  private readonly db: Database;
  private readonly knowledge: Knowledge;
  private members = new Set<number>();
  private keyOrigins = new Map<number, number>();
  private tables = new Map<number, number>();

  constructor(db: Database, knowledge: Knowledge) {
    this.db = db;
    this.knowledge = knowledge;
    this.reload();
  }

  reload(): void {
    const names = (readMeta(this.db, META) ?? "").split(",").filter((name) => name !== "");
    this.members = new Set(names.map((name) => this.knowledge.numberOf(name) as number));
    const stored = this.db.prepare("SELECT tid, oid FROM _scoutsync_shared").all() as { tid: number; oid: number }[];
    this.keyOrigins = new Map(stored.map(({ tid, oid }) => [tid, oid]));
    this.tables = new Map(stored.map(({ tid, oid }) => [oid, tid]));
  }

  /** True when some copies were joined as shared. */
  get active(): boolean {
    return this.members.size > 0;
  }

  /** Names of the joined origins, in order. */
  get names(): string[] {
    return [...this.members].map((oid) => this.knowledge.nameOf(oid)).sort();
  }

  /** Local numbers of the joined origins. */
  get origins(): number[] {
    return [...this.members];
  }

  /** True when the dots of this origin are births of shared rows. */
  has(oid: number): boolean {
    return this.members.has(oid);
  }

  /** As `has`, by whatever name these births were issued again. */
  hasAsIssued(oid: number): boolean {
    return this.members.has(rootOf(oid, this.knowledge));
  }

  /** The table whose rows this origin names by key; undefined for every origin that writes. */
  tableOf(oid: number): number | undefined {
    return this.tables.get(oid);
  }

  /** What names a row of this table that had integer `claim` in the copies. */
  identity(table: Table, claim: bigint): Dot {
    return { origin: this.keyOrigins.get(table.tid) as number, sequence: sequenceOf(claim) };
  }

  /** The integer that a name stands for; null where it is a hash. */
  claimOf(sequence: number): bigint | null {
    return sequence < FIRST_HASHED ? BigInt(sequence) : null;
  }

  /** The name of a row without a key: of joined copies, what it held before syncing is the same row whichever copy held it. */
  nameOfKeyless(cell: CellValue): CellValue {
    return this.active ? sharedName(cell, (name) => this.members.has(this.knowledge.numberOf(name) ?? -1)) : cell;
  }

  /** Adds origins to those whose rows are the same. The caller makes what is stored of their rows follow. */
  add(names: readonly string[]): void {
    const all = [...new Set([...this.names, ...names])].sort();
    for (const name of all) this.knowledge.origin(name, BASELINE_AUTHOR);
    writeMeta(this.db, META, all.join(","));
    this.reload();
  }

  /** Sees to it that every surrogate table has an origin that names its rows. It stays when the table is renamed. */
  nameTables(tables: readonly Table[]): void {
    if (!this.active) return;
    const add = this.db.prepare("INSERT INTO _scoutsync_shared(tid, oid) VALUES(?, ?)");
    const missing = tables.filter((table) => table.surrogate && !this.keyOrigins.has(table.tid));
    for (const table of missing) {
      const name = drawOrigin(createHash("sha256").update(`shared rows of ${table.name}`).digest());
      add.run(table.tid, this.knowledge.origin(name, KEY_AUTHOR));
    }
    if (missing.length > 0) this.reload();
  }
}

/** Sequences are below 2^52: an integer that is not goes to its upper half, by hash. */
function sequenceOf(claim: bigint): number {
  if (claim >= 1n && claim < BigInt(FIRST_HASHED)) return Number(claim);
  return FIRST_HASHED + (Number(hash("sha256", String(claim), "buffer").readBigUInt64BE(0) >> 13n) % FIRST_HASHED);
}
