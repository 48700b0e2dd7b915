import type { Database, Statement } from "better-sqlite3";
import type { Identity } from "./same-links.ts";
import { cameLarge, collectLarge } from "../pool/collect.ts";
import { afterGiven, isAnyLarge, runReleasing, valueStatement } from "../kept-statements.ts";

/** What SELECT gives for a row of _scoutsync_out, integers as bigint. */
export type OutRow = [
  slot: bigint,
  tid: bigint,
  state: bigint,
  key: Buffer | null,
  id: bigint | null,
  oid: bigint,
  sequence: bigint,
  time: bigint,
  context: bigint,
  extra: Buffer | null,
  image: Buffer,
  reason: string | null,
  blockerOid: bigint | null,
  blockerSequence: bigint | null,
];

const OUT_COLUMNS = "slot, tid, state, key, id, oid, sequence, time, context, extra, image, reason, blocker_oid, blocker_sequence";

const insertSql = (reason: string) =>
  `INSERT INTO _scoutsync_out(tid, state, key, id, oid, sequence, time, context, open, extra, image, reason, blocker_oid, blocker_sequence) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ${reason}, ?, ?)`;
const updateSql = (reason: string) =>
  `UPDATE _scoutsync_out SET state = ?, id = ?, oid = ?, sequence = ?, time = ?, context = ?, open = ?, extra = ?, image = ?, reason = ${reason}, blocker_oid = ?, blocker_sequence = ? WHERE slot = ?`;

/** Why a row is not in its table: the numbers under which that is stored. */
export const OutState = { dead: 1n, waiting: 2n, joined: 3n, held: 4n } as const;
export type OutState = (typeof OutState)[keyof typeof OutState];

/** What is stored of a row out of its table besides its table, state and key, in the order of the columns. */
export type OutColumns = readonly [
  id: bigint | null,
  oid: number,
  sequence: number,
  time: number,
  context: number,
  open: number | null,
  extra: Buffer | null,
  image: Buffer,
  reason: string | null,
  blockerOid: number | null,
  blockerSequence: number | null,
];

/** Which waiting rows are asked for; all that is left out does not matter. */
export interface WaitingRows {
  tid?: number | undefined;
  reason?: string;
  /** How the reason begins. */
  like?: string;
  blocker?: Identity;
  after?: bigint;
  limit?: number;
  /** Only those of which some value is not shown. */
  open?: boolean;
}

/** The rows of _scoutsync_out: what is known of rows that are not in their tables. */
export class OutTable {
  private readonly db: Database;
  private readonly bySlot: Statement;
  private readonly idBySlot: Statement;
  private readonly byKey: Statement;
  private readonly byId: Statement;
  private readonly deadById: Statement;
  private readonly insert: Statement;
  private readonly update: Statement;
  private readonly delete: Statement;
  private readonly updateOpen: Statement;
  /** Prepared as they are asked for. */
  private readonly selects = new Map<string, Statement>();

  constructor(db: Database) {
    this.db = db;
    const prepare = (sql: string) => {
      const statement = db.prepare(sql).safeIntegers(true);
      return statement.reader ? statement.raw(true) : statement;
    };
    this.bySlot = prepare(`SELECT ${OUT_COLUMNS} FROM _scoutsync_out WHERE slot = ?`);
    this.idBySlot = prepare("SELECT id FROM _scoutsync_out WHERE slot = ?");
    this.byKey = prepare(`SELECT ${OUT_COLUMNS} FROM _scoutsync_out WHERE tid = ? AND key = ?`);
    // Nobody has seen a row that waits under the integer which it waits for.
    this.byId = prepare(`SELECT ${OUT_COLUMNS} FROM _scoutsync_out WHERE tid = ? AND id = ? ORDER BY state = 2, slot DESC LIMIT 1`);
    this.deadById = prepare("SELECT slot FROM _scoutsync_out WHERE tid = ? AND id = ? AND state = 1");
    this.insert = prepare(insertSql("?"));
    this.update = prepare(updateSql("?"));
    this.delete = prepare("DELETE FROM _scoutsync_out WHERE slot = ?");
    this.updateOpen = prepare("UPDATE _scoutsync_out SET open = ? WHERE slot = ? AND open IS NOT ?");
  }

  at(slot: bigint): OutRow | undefined {
    return this.read(this.bySlot, slot);
  }

  /** The integer stored with a row. */
  idAt(slot: bigint): bigint | null {
    return (this.idBySlot.get(slot) as [bigint | null] | undefined)?.[0] ?? null;
  }

  withKey(tid: number, key: Buffer): OutRow | undefined {
    return this.read(this.byKey, tid, key);
  }

  /** The row that had this integer last. */
  withId(tid: number, id: bigint): OutRow | undefined {
    return this.read(this.byId, tid, id);
  }

  private read(statement: Statement, ...of: unknown[]): OutRow | undefined {
    collectLarge();
    const row = statement.get(...of) as OutRow | undefined;
    if (row) cameLarge([row[9], row[10]]);
    return row;
  }

  /** Slots of the deleted rows that had this integer. */
  deadSlots(tid: number, id: bigint): bigint[] {
    return this.deadById.all(tid, id).map((row) => (row as [bigint])[0]);
  }

  /** Stores a row and returns its slot. What is packed of it, extra and image, nobody may read again. */
  add(tid: number, state: OutState, key: Buffer | null, columns: OutColumns): bigint {
    const values = [tid, state, key, ...columns];
    const packed = [columns[6], columns[7]];
    const done = isAnyLarge(packed) ? runReleasing(this.db, insertSql(afterGiven), values, packed) : this.insert.run(...values);
    return BigInt(done.lastInsertRowid);
  }

  /** As `add`, of a row that is stored. */
  change(slot: bigint, state: OutState, columns: OutColumns): void {
    const packed = [columns[6], columns[7]];
    if (isAnyLarge(packed)) runReleasing(this.db, updateSql(afterGiven), [state, ...columns, slot], packed);
    else this.update.run(state, ...columns, slot);
  }

  /** Stores other names of rows in a row, and nothing else. */
  rename(
    slot: bigint,
    names: readonly [key: Buffer | null, extra: Buffer | null, image: Buffer, blockerOid: number | null, blockerSequence: number | null],
  ): void {
    this.db
      .prepare("UPDATE _scoutsync_out SET key = ?, extra = ?, image = ?, blocker_oid = ?, blocker_sequence = ? WHERE slot = ?")
      .run(...names, slot);
  }

  remove(slot: bigint): void {
    this.delete.run(slot);
  }

  setOpen(slot: bigint, open: number | null): void {
    this.updateOpen.run(open, slot, open);
  }

  /** Slots of a table's rows, of one state or of all. */
  slots(tid: number, state: OutState | null = null): bigint[] {
    const sql = `SELECT slot FROM _scoutsync_out WHERE tid = ?${state === null ? "" : ` AND state = ${state}`}`;
    return this.db.prepare(sql).safeIntegers(true).pluck().all(tid) as bigint[];
  }

  /** Slots of rows that wait for a place, in their order. */
  waitingSlots({ tid, reason, like, blocker, after, limit, open }: WaitingRows): bigint[] {
    const conditions = ["state = 2"];
    const values: unknown[] = [];
    if (tid !== undefined) {
      conditions.push("tid = ?");
      values.push(tid);
    }
    if (reason !== undefined) {
      conditions.push("reason = ?");
      values.push(reason);
    }
    if (like !== undefined) {
      conditions.push("substr(reason, 1, ?) = ?");
      values.push(like.length, like);
    }
    if (blocker) {
      conditions.push("blocker_oid = ? AND blocker_sequence = ?");
      values.push(blocker.origin, blocker.sequence);
    }
    if (open) conditions.push("open IS NOT NULL");
    if (after !== undefined) {
      conditions.push("slot > ?");
      values.push(after);
    }
    const sql = `SELECT slot FROM _scoutsync_out WHERE ${conditions.join(" AND ")} ORDER BY slot LIMIT ?`;
    let select = this.selects.get(sql);
    if (!select) this.selects.set(sql, (select = this.db.prepare(sql).safeIntegers(true).pluck()));
    return select.all(...values, limit ?? -1) as bigint[];
  }

  waitingCount(): number {
    return valueStatement(this.db, "SELECT count(*) FROM _scoutsync_out INDEXED BY _scoutsync_out_waiting WHERE state = 2").get() as number;
  }

  /** Identities that some row waits for, as `origin:sequence` of local numbers. */
  blockers(): string[] {
    return this.db
      .prepare("SELECT DISTINCT blocker_oid || ':' || blocker_sequence FROM _scoutsync_out WHERE blocker_oid IS NOT NULL AND state = 2")
      .pluck()
      .all() as string[];
  }

  /** Slots of rows that are held for a table. */
  heldSlots(tid: number, after: bigint, limit: number): bigint[] {
    return this.db
      .prepare(
        "SELECT slot FROM _scoutsync_out INDEXED BY _scoutsync_out_held WHERE tid = ? AND state = 4 AND slot > ? ORDER BY slot LIMIT ?",
      )
      .safeIntegers(true)
      .pluck()
      .all(tid, after, limit) as bigint[];
  }

  /** True when some row is held. */
  get holds(): boolean {
    return (
      valueStatement(this.db, "SELECT 1 FROM _scoutsync_out INDEXED BY _scoutsync_out_held WHERE state = 4 LIMIT 1").get() !== undefined
    );
  }

  /** Number of rows that are held, for one table or for all. */
  heldCount(tid: number | null): number {
    const sql = "SELECT count(*) FROM _scoutsync_out INDEXED BY _scoutsync_out_held WHERE state = 4";
    if (tid === null) return valueStatement(this.db, sql).get() as number;
    return valueStatement(this.db, `${sql} AND tid = ?`).get(tid) as number;
  }
}
