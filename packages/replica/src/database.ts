import { hash, randomBytes } from "node:crypto";
import { existsSync, realpathSync, statSync } from "node:fs";
import { uptime } from "node:os";
import Database from "better-sqlite3";
import {
  type ApplyResult,
  type ChangeBatch,
  type ChangeCount,
  checkTerms,
  type DigestEntry,
  equalVectors,
  isCovered,
  isComparable,
  type HistoryEntry,
  MalformedBytes,
  type MemberWord,
  type NodeName,
  parseTerms,
  type Terms,
  formatTerms,
  type ReadableChange,
  type Review,
  type SqlValue,
  SyncError,
  type VersionVector,
} from "@scoutsync/core";
import { Applier, NeverMade, NORMALIZE_MS, tablesIn, unpackBatch } from "./apply/apply.ts";
import { Delivery } from "./apply/delivery.ts";
import { Joining } from "./apply/joining.ts";
import { Placement } from "./apply/placement.ts";
import type { Audited } from "./audit/context.ts";
import { rowHistory } from "./audit/history.ts";
import { writeParked } from "./audit/parked.ts";
import { readableChanges } from "./audit/readable.ts";
import { decideQuarantine, quarantineReviews } from "./audit/quarantine-reviews.ts";
import { countReviews, findReviews, resolveReview } from "./audit/reviews.ts";
import { restoreRow } from "./audit/restore.ts";
import { Veil } from "./audit/veil.ts";
import { digestEntries } from "./digest/entries.ts";
import { DigestSums } from "./digest/digest-sums.ts";
import { Drain } from "./drain/drain.ts";
import { adoptKeyless } from "./identity/adopt.ts";
import { attach } from "./identity/attach.ts";
import type { BaselineChoice } from "./identity/baseline.ts";
import { lockDatabaseFile, refuseHardLinks } from "./identity/file-lock.ts";
import { Restored } from "./identity/restored.ts";
import { isReplaced, SameFile } from "./identity/same-file.ts";
import { Knowledge } from "./identity/knowledge.ts";
import { isNews, storeReceipt } from "./identity/receipts.ts";
import { Groups } from "./log/groups.ts";
import { SharedRows } from "./identity/shared-rows.ts";
import { Floor } from "./forgetting/floor.ts";
import { Members } from "./forgetting/members.ts";
import { type Forgetting, Forgetter } from "./forgetting/forget.ts";
import { Rejoin } from "./forgetting/rejoin.ts";
import { LogReader } from "./log/read.ts";
import { leftBehind, type Reissue, reissue } from "./repair/reissue.ts";
import { recheckRows, resum, rowsNamed } from "./repair/recheck.ts";
import type { CaptureCheck, ReadRequest, ReplicaOptions, ReplicaState, Resolution, WholeRowsRequest } from "./replica.ts";
import { RowsMoved } from "./rows/keyless-rows.ts";
import { FormerIds, REMEMBERED_US } from "./rows/former-ids.ts";
import { ownedDots } from "./rows/row-state.ts";
import { EntityMembers } from "./rows/members.ts";
import { RowStore } from "./rows/row-store.ts";
import { type AppTrigger, triggersToSuspend } from "./schema/app-triggers.ts";
import { absentTables, noteLacking } from "./schema/absent.ts";
import { forgetMissing, holdTable, leavingTables, rejoinTable } from "./schema/leaving.ts";
import { catalogTables, enterWithoutKey, type Table } from "./schema/catalog.ts";
import { CaptureFaults } from "./capture/faults.ts";
import { silentWrites } from "./capture/probe.ts";
import { captureTriggers } from "./capture/triggers.ts";
import {
  captureIsWhole,
  capturedShape,
  checkMetadataVersion,
  completeRowsTable,
  followRenames,
  hasMetadata,
  installCapture,
  isCaptured,
  isShapeOf,
  leftSince,
  noteReturn,
  readMeta,
  removeForeignTriggers,
  removeStaleCapture,
  writeMeta,
} from "./schema/install.ts";
import { Quarantine, quarantineLimits } from "./quarantine/quarantine.ts";
import { Reconciliation } from "./schema/reconcile.ts";
import { quote } from "./schema/quote.ts";
import { surveyTables } from "./schema/tables.ts";
import { adoptTerms, termsMoved } from "./schema/terms.ts";
import { fromSqlite } from "./sqlite-errors.ts";
import { carryScope, type ScopeCarried } from "./scope/carry.ts";
import { applyKept, dismissKept, keptOfScope } from "./scope/kept.ts";
import { makeScopeCopy, type ScopeSource } from "./scope/copy.ts";
import { ReplicaClock } from "./time/replica-clock.ts";
import { restamp } from "./time/restamp.ts";

/** The lock is given back this long after it was taken, so that the application's writers never wait long, milliseconds. */
const LONGEST_DRAIN_MS = 200;
/**
 * A writer that waits for the lock looks again after at most 100 ms. After this much time under locks of ours without
 * a pause of that length one is made, so that no writer with an ordinary busy timeout goes away empty, milliseconds.
 */
const LONGEST_WITHOUT_PAUSE_MS = 2_000;
const PAUSE_MS = 105;
/** One call to forget takes no longer than this; the next goes on, milliseconds. */
const LONGEST_FORGETTING_MS = 20_000;
/** Between two turns of a long drain, milliseconds. */
const TURN_PAUSE_MS = 25;
/** Snapshots tried before a reader takes the write lock to hold the application still. */
const READ_ATTEMPTS = 5;
/** What this connection keeps of the file in memory, KiB. */
const CACHE_KIB = 64 * 1024;
/** A batch larger than this is mostly one value, of which SQLite holds two copies: the cache makes room, bytes. */
const LARGE_BATCH = 32 * 1024 * 1024;
const CACHE_BESIDE_LARGE_KIB = 4 * 1024;

/** A run gives up its origin no more often than this: whoever makes up its changes must not have every vector grow. */
const GIVE_UP_INTERVAL_US = 3_600_000_000;

/** Where the choice about rows from before syncing is kept. */
const CHOICE = "baseline choice";
/** Where a hash of the UNIQUE constraints is kept by which it was decided which rows are one. */
const UNIQUES = "unique constraints";

/** What is wrong with capture of a table whose triggers somebody dropped or changed. */
const TAKEN_OFF = "its triggers were gone or not as they were made";
/** What is wrong with capture of every table where somebody wrote to `_scoutsync_applying`. */
const SILENCED = "capture was told that changes of others were being applied";

/** Clock (Unix microseconds), randomness and the way to a connection, injected where a history must be repeatable and crashes are made. */
export interface Surroundings {
  nowUs: () => number;
  /** Microseconds since the machine was started: never steps. Absent: the clock is never set. */
  uptimeUs?: () => number;
  /** After how long a turn of a long drain or comparison gives the lock back, milliseconds. */
  turnMs?: number;
  /** For how long an application may use an integer that another row has now, microseconds; 0: it looks every row up. */
  rememberedUs?: number;
  random: (bytes: number) => Uint8Array;
  /** Opens the connection on the database file; better-sqlite3 as it is unless a test wraps it. */
  connect?: (path: string, options: Database.Options) => Database.Database;
}

const REAL: Surroundings = { nowUs: () => Date.now() * 1000, uptimeUs: () => uptime() * 1e6, random: randomBytes };

/** One database taking part, as its thread sees it. Every call is synchronous and leaves no transaction open. */
export class ReplicaDatabase {
  readonly path: string;
  readonly run: string;
  private readonly options: ReplicaOptions;
  private readonly terms: Terms;
  /** The machine's clock, for how long ago something was here. */
  private readonly nowUs: () => number;
  private readonly clock: ReplicaClock;
  private readonly turnMs: number;
  private readonly db: Database.Database;
  private readonly release: () => void;
  private readonly file: SameFile;
  private readonly restored: Restored;
  private readonly digest: DigestSums;
  private readonly knowledge: Knowledge;
  private readonly rows: RowStore;
  private readonly reconciliation: Reconciliation;
  private readonly quarantine: Quarantine;
  private readonly drainer: Drain;
  private readonly reader: LogReader;
  private readonly placement: Placement;
  private readonly veil: Veil;
  private readonly joining: Joining;
  private readonly floor: Floor;
  private readonly members: Members;
  private readonly rejoining: Rejoin;
  private readonly applier: Applier;
  private readonly delivery: Delivery;
  private readonly audited: Audited;
  private readonly faults: CaptureFaults;
  /** Where in the file each table began when capture was last looked at, by number: a table that was made anew begins elsewhere. */
  private readonly begins = new Map<number, number>();
  private schemaVersion = -1;
  private suspended: AppTrigger[] = [];
  private problem = "";
  private dataVersion = -1;
  /** Rows wait for a decision that the end of a stream owes them. */
  private unsettled = false;
  /** The schema has been looked at since UNIQUE constraints were compared with those of before. */
  private mayMoveUniques = true;
  /** Rows put into _scoutsync_applying and taken out again. */
  private flagged = 0;
  private heldMs = 0;
  private released = 0;
  private gaveUpAtUs: number | null = null;

  constructor(options: ReplicaOptions, run: string, surroundings: Surroundings = REAL) {
    this.options = options;
    this.terms = parseTerms(options.rules ?? []);
    this.run = run;
    this.faults = new CaptureFaults(run);
    const { nowUs } = surroundings;
    this.nowUs = nowUs;
    this.turnMs = surroundings.turnMs ?? LONGEST_DRAIN_MS;
    this.clock = new ReplicaClock({ nowUs, uptimeUs: surroundings.uptimeUs ?? nowUs, correctionUs: options.clockCorrectionUs ?? 0 });
    if (options.scope) makeScopeCopy(options.scope, options.path);
    if (!existsSync(options.path) || !statSync(options.path).isFile()) {
      throw new SyncError({
        code: "DATABASE_NOT_FOUND",
        message: `there is no database file at ${options.path}`,
        action: "Check the path given with --db, or start the application once so that it creates its database.",
      });
    }
    this.path = realpathSync.native(options.path);
    refuseHardLinks(options.path);
    this.db = this.open(surroundings.connect ?? ((path, settings) => new Database(path, settings)));
    this.release = this.take();
    try {
      this.prepareFile();
      this.file = new SameFile(this.db, options.path, this.path);
      this.file.begin();
      this.digest = new DigestSums(this.db);
      this.knowledge = new Knowledge(this.db, options.nodeName, surroundings.random);
      this.rows = new RowStore(
        this.db,
        this.digest,
        this.knowledge,
        new SharedRows(this.db, this.knowledge),
        new FormerIds(this.db, nowUs, surroundings.rememberedUs ?? REMEMBERED_US),
      );
      this.veil = new Veil(options.sensitive ?? [], () => this.rows.tables);
      const parts = { db: this.db, rows: this.rows, knowledge: this.knowledge };
      const entityMembers = new EntityMembers(parts);
      const groups = new Groups(parts);
      this.audited = { ...parts, members: entityMembers, veil: this.veil };
      this.reconciliation = new Reconciliation(this.db, this.rows);
      this.placement = new Placement({ ...parts, members: entityMembers, park: options.park ?? [] });
      this.quarantine = new Quarantine({
        db: this.db,
        rows: this.rows,
        placement: this.placement,
        limits: quarantineLimits(options),
        nowUs,
      });
      this.drainer = new Drain({
        ...parts,
        members: entityMembers,
        clock: this.clock,
        groups,
        reconciliation: this.reconciliation,
        quarantine: this.quarantine,
      });
      this.floor = new Floor(parts);
      this.members = new Members(this.db, { id: options.nodeId, name: options.nodeName });
      this.rejoining = new Rejoin({ ...parts, placement: this.placement });
      this.joining = new Joining({ ...parts, placement: this.placement, choice: this.choice(), limited: options.limited === true });
      this.reader = new LogReader({
        ...parts,
        groups,
        digest: this.digest,
        run,
        node: { id: options.nodeId, name: options.nodeName },
        terms: formatTerms(this.terms),
        nowUs,
        clock: this.clock,
        statement: () => this.joining.statementText,
        floor: this.floor,
      });
      this.applier = new Applier({
        ...parts,
        placement: this.placement,
        nowUs: this.nowUs,
        groups,
        floor: this.floor,
        rejoin: this.rejoining,
      });
      if (options.trial) this.applier.rename = (cell) => this.joining.cell(cell);
      this.delivery = new Delivery({ ...parts, placement: this.placement, applier: this.applier, nowUs: this.nowUs });
      this.restored = new Restored(this.db, this.knowledge, options.serveRestored === true);
      if (options.hadBefore && !this.restored.isKnown && this.restored.lacks(options.hadBefore))
        this.noteRestored("it had more the last time this node ran");
      this.drain();
      if (termsMoved(this.db, this.terms))
        this.write(() => this.silently(() => adoptTerms({ ...parts, placement: this.placement }, this.terms)));
      // In the middle of a stream rows wait for what is still to come; its end decides.
      this.unsettled = this.mayPlaceWaiting();
      this.settle();
    } catch (error) {
      this.db.close();
      this.release();
      throw fromSqlite(error, options.path);
    }
  }

  private open(connect: NonNullable<Surroundings["connect"]>): Database.Database {
    try {
      const db = connect(this.path, { fileMustExist: true, timeout: this.options.busyTimeoutMs });
      db.prepare("SELECT count(*) FROM sqlite_master").get();
      return db;
    } catch (error) {
      throw fromSqlite(error, this.options.path);
    }
  }

  private take(): () => void {
    try {
      return lockDatabaseFile(this.path);
    } catch (error) {
      this.db.close();
      throw fromSqlite(error, this.options.path);
    }
  }

  private prepareFile(): void {
    const { db } = this;
    if (hasMetadata(db)) checkMetadataVersion(db, this.options.path);
    const journalBefore = db.pragma("journal_mode", { simple: true }) as string;
    if (db.pragma("journal_mode = WAL", { simple: true }) !== "wal") {
      throw new SyncError({
        code: "DATABASE_FAILED",
        message: `${this.options.path} cannot use write-ahead logging`,
        action: "Put the database on a local disk; network file systems do not share the memory it needs.",
      });
    }
    db.pragma("synchronous = FULL");
    db.pragma(`cache_size = -${CACHE_KIB}`);
    // What a row refers to is looked after by placement; a cascade must not delete rows its author never knew.
    db.pragma("foreign_keys = OFF");
    db.pragma("recursive_triggers = OFF");
    // Passive checkpoints only, by count: others can lose commits of processes with an older SQLite. Fewer of them than
    // by default: measured, a fifth of the time of a long catch-up; the log file stays at some 16 MB.
    db.pragma("wal_autocheckpoint = 4000");
    db.pragma("temp_store = FILE");
    attach(db, this.options.exclude, this.terms, journalBefore);
  }

  // ---- transactions

  /**
   * Runs `work` in one write transaction in which everything committed has been drained, and no table has changed since
   * it was last compared with what is known of it. What comes before takes turns of its own: none holds the lock long.
   * `isReady` may do more that comes before, and says whether this transaction may go on with the work.
   */
  private write<T>(work: () => T, isReady = () => true): T {
    for (;;) {
      const done = this.transaction(() => (this.catchUp() && isReady() ? { result: work() } : null));
      if (done) return done.result;
      pauseThread(TURN_PAUSE_MS);
    }
  }

  /** One write transaction; everything is rolled back and forgotten when `work` throws. */
  private transaction<T>(work: () => T): T {
    this.letOthersWrite();
    const taken = performance.now();
    try {
      this.file.checkFiles();
      this.db.exec("BEGIN IMMEDIATE");
      this.file.checkMark();
      const before = this.changes();
      this.placement.begin();
      const result = work();
      this.rows.flush();
      this.digest.flush();
      this.knowledge.flush();
      const mark = this.changes() === before ? null : this.file.leaveMark();
      this.db.exec("COMMIT");
      mark?.keep();
      this.faults.keep();
      // What went to a file that no path leads to is not durable, whatever SQLite says.
      this.file.checkFiles();
      return result;
    } catch (error) {
      if (this.db.inTransaction) this.db.exec("ROLLBACK");
      // Nothing is read from it any more: the thread closes it.
      if (isReplaced(error)) throw error;
      this.faults.drop();
      this.rows.discard();
      this.digest.reload();
      this.knowledge.reload();
      this.rows.shared.reload();
      this.floor.reload();
      this.reconciliation.reload();
      this.quarantine.forget();
      this.rows.lookForKeptBack();
      this.placement.forget();
      this.schemaVersion = -1;
      throw fromSqlite(error, this.options.path);
    } finally {
      this.released = performance.now();
      this.heldMs += this.released - taken;
    }
  }

  /** Rows this connection has changed so far, but for the flag that keeps capture silent. */
  private changes(): number {
    return (this.db.prepare("SELECT total_changes()").pluck().get() as number) - this.flagged;
  }

  /**
   * One turn of what comes before everything else, in a write transaction: following the schema, draining, comparing
   * tables that a migration left. True when nothing of it is left.
   */
  private catchUp(): boolean {
    const until = performance.now() + this.turnMs;
    if (!this.followSchema(until)) return false;
    this.hearAgain();
    const drained = this.drainer.run(until);
    this.rows.flush();
    this.followReferences();
    this.rows.flush();
    const beside = this.drainer.takeToFill();
    if (beside.length > 0) this.silently(() => this.delivery.columns(beside, true));
    this.rows.flush();
    this.digest.flush();
    if (!drained || this.drainer.foundWithoutKey) return false;
    const { through, toFill } = this.reconciliation.turn(until);
    if (toFill.length > 0) this.silently(() => this.delivery.columns(toFill));
    if (through) this.followUniques();
    if (!through || !this.quarantine.isOpen) return through;
    return this.silently(() => this.quarantine.turn(until));
  }

  /** A flag of ours that outlived its transaction was set by somebody else, and nothing was captured while it stood. */
  private hearAgain(): void {
    if (!this.isSilenced) return;
    this.db.exec("DELETE FROM _scoutsync_applying");
    for (const { tid, name, absent } of this.rows.tables) {
      if (absent !== null) continue;
      this.faults.note({ table: name, reason: SILENCED, atUs: this.nowUs() });
      this.reconciliation.begin(tid, null, true);
    }
  }

  private get isSilenced(): boolean {
    return this.db.prepare("SELECT 1 FROM _scoutsync_applying").get() !== undefined;
  }

  /** Nothing is captured that no drain has seen, and what is in the tables is what is known of them. */
  private get isCaughtUp(): boolean {
    const version = this.db.pragma("schema_version", { simple: true }) as number;
    return (
      this.schemaVersion === version &&
      !this.isSilenced &&
      !this.drainer.needed &&
      !this.drainer.foundWithoutKey &&
      !this.reconciliation.isOpen &&
      !this.quarantine.isOpen
    );
  }

  /** See LONGEST_WITHOUT_PAUSE_MS. This thread serves nothing else meanwhile. */
  private letOthersWrite(): void {
    if (performance.now() - this.released >= PAUSE_MS) this.heldMs = 0;
    else if (this.heldMs >= LONGEST_WITHOUT_PAUSE_MS) {
      pauseThread(PAUSE_MS);
      this.heldMs = 0;
    }
  }

  /** Writes to the application's tables without being captured, and without triggers whose effects travel by themselves. When it throws, the rollback of the transaction restores both. */
  private silently<T>(work: () => T): T {
    this.db.exec("INSERT INTO _scoutsync_applying VALUES(1)");
    for (const { name } of this.suspended) this.db.exec(`DROP TRIGGER ${quote(name)}`);
    const result = work();
    this.placement.finish();
    for (const { sql } of this.suspended) this.db.exec(sql);
    if (this.suspended.length > 0) this.schemaVersion = this.db.pragma("schema_version", { simple: true }) as number;
    this.db.exec("DELETE FROM _scoutsync_applying");
    this.flagged += 2;
    return result;
  }

  /**
   * Runs `work` on one snapshot in which everything committed has been drained: a row that is newer than the log would
   * be served under the wrong dots, or not at all. Where an application writes without pause, in a write transaction.
   */
  private drainedTransaction<T>(work: () => T): T {
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      this.drain();
      this.db.exec("BEGIN");
      this.rows.mayWrite = false;
      let moved: Table;
      try {
        this.file.checkMark();
        if (this.isCaughtUp) return work();
        continue;
      } catch (error) {
        if (!(error instanceof RowsMoved)) throw fromSqlite(error, this.options.path);
        moved = error.table;
      } finally {
        this.rows.mayWrite = true;
        if (this.db.inTransaction) this.db.exec("COMMIT");
      }
      this.write(() => this.rows.locate(moved));
    }
    return this.write(() => {
      if (this.mayPlaceWaiting()) this.silently(() => this.placement.decisions.normalize(Number.POSITIVE_INFINITY));
      this.rows.flush();
      this.digest.flush();
      return work();
    });
  }

  /** What the application wrote or deleted may have freed a value that a row waits for. In mid-stream the end decides. */
  private mayPlaceWaiting(): boolean {
    return (this.rows.waitingCount() > 0 || this.rows.same.due.length > 0) && !this.reader.isMidStream;
  }

  /**
   * Looks whether the application changed its schema, and makes capture whole again. Inside a write transaction. False
   * when more has to be drained first under the shapes that were.
   */
  private followSchema(until: number): boolean {
    const version = this.db.pragma("schema_version", { simple: true }) as number;
    if (version === this.schemaVersion && !this.drainer.foundWithoutKey) return true;
    const { tables: shapes } = surveyTables(this.db, this.options.exclude, this.terms);
    followRenames(this.db, new Set(shapes.map((shape) => shape.name)));
    const tables = catalogTables(this.db, shapes);
    const absent = absentTables(this.db, tables);
    const leaving = leavingTables(this.db, tables);
    const returned = tables.filter((table) => leftSince(this.db, table.tid) !== null);
    removeStaleCapture(this.db, [...tables, ...leaving], this.nowUs());
    noteLacking(this.db, tables, absent, this.nowUs());
    const broken = tables.flatMap((table) => {
      const shape = capturedShape(this.db, table);
      const same = shape !== null && isShapeOf(shape, table) && captureIsWhole(this.db, table);
      if (same) return [];
      const byHand = this.wasTakenOff(table);
      if (byHand) this.faults.note({ table: table.name, reason: TAKEN_OFF, atUs: this.nowUs() });
      return [{ table, shape, blind: byHand || !isCaptured(this.db, table) }];
    });
    for (const table of tables) this.begins.set(table.tid, rootOf(this.db, table));
    for (const { table, shape, blind } of broken) if (shape) this.reconciliation.begin(table.tid, shape, blind);
    if (
      broken.length > 0 &&
      this.rows.tables.length > 0 &&
      !this.drainOld(
        broken.map(({ table }) => table),
        until,
      )
    )
      return false;
    // What could not be drained under the shape that was goes, and is found by comparing.
    for (const { table, shape } of broken) if (shape && this.drainer.hasEventsOf(table)) this.reconciliation.begin(table.tid, shape, true);
    for (const { table } of broken) installCapture(this.db, table);
    for (const table of tables) completeRowsTable(this.db, table);
    this.rows.setTables([...tables, ...leaving, ...absent.filter(({ tid }) => leaving.every((table) => table.tid !== tid))]);
    this.rows.shared.nameTables([...tables, ...absent]);
    this.rejoin(returned);
    for (const { table, shape } of broken) {
      const isNew = shape === null && table.keyless && !this.wasJustWritten(table);
      const isAdopted = isNew && adoptKeyless(this.db, this.rows, this.knowledge, table);
      if (shape === null && !isAdopted) this.reconciliation.begin(table.tid, null, true);
    }
    this.drainer.foundWithoutKey = false;
    this.reconciliation.restart();
    this.suspended = triggersToSuspend(this.db, tables, this.options.triggers);
    this.schemaVersion = this.db.pragma("schema_version", { simple: true }) as number;
    if (leaving.length > 0) this.leave(leaving, tables, absent);
    this.delivery.begin();
    this.mayMoveUniques = true;
    this.forgetSums(absent);
    return true;
  }

  /** True when nothing has changed about a table but the triggers on it, which the application has no reason to touch. */
  private wasTakenOff(table: Table): boolean {
    const before = this.rows.tables.find(({ tid, absent }) => tid === table.tid && absent === null);
    if (before === undefined || this.begins.get(table.tid) !== rootOf(this.db, table)) return false;
    const sqlOf = (captured: Table) => captureTriggers(captured).map(({ sql }) => sql);
    return sqlOf(before).join("\n") === sqlOf(table).join("\n");
  }

  /** As `Replica.checkCapture`. */
  checkCapture(seen: string): CaptureCheck {
    this.drain();
    const tables = this.rows.tables.filter(({ absent }) => absent === null);
    const silent = new Map(
      silentWrites(
        this.path,
        tables.filter(({ where }) => where === null),
      ).map(({ table, statements }) => [table.tid, statements]),
    );
    const broken = tables.filter((table) => silent.has(table.tid) || !captureIsWhole(this.db, table));
    if (broken.length === 0) return this.faults.since(seen);
    this.write(() => {
      removeForeignTriggers(this.db);
      for (const table of broken) {
        const statements = silent.get(table.tid);
        const reason = statements === undefined ? TAKEN_OFF : `${statements.join(", ")} left no trace`;
        this.faults.note({ table: table.name, reason, atUs: this.nowUs() });
        this.reconciliation.begin(table.tid, null, true);
        installCapture(this.db, table);
      }
    });
    // What was written meanwhile is found by comparing.
    this.drain();
    return this.faults.since(seen);
  }

  /** Rows are one while they share a UNIQUE value: looked at anew where a migration has changed the constraints, once its tables are compared. */
  private followUniques(): void {
    if (!this.mayMoveUniques) return;
    this.mayMoveUniques = false;
    const constraints = this.rows.tables.filter(({ surrogate }) => surrogate).map(({ tid, uniques }) => [tid, uniques]);
    const print = hash("sha256", JSON.stringify(constraints));
    if (readMeta(this.db, UNIQUES) === print) return;
    writeMeta(this.db, UNIQUES, print);
    if (!this.rows.same.exist) return;
    this.silently(() => this.placement.entities.touchAll());
    this.unsettled = true;
  }

  /** Tables that are back: what is held of their rows, and what of them is not here any more. */
  private rejoin(returned: readonly Table[]): void {
    for (const table of returned) {
      const renewed = rejoinTable(this.rows, table, (key, indexes) => this.rows.touch(this.db, table, key, indexes));
      if (!table.keyless) forgetMissing(this.db, this.rows, table);
      this.digest.flush();
      resum(this.db, table);
      this.digest.reload();
      noteReturn(this.db, table.tid);
      if (renewed.length === 0) continue;
      this.silently(() => {
        for (const { state, cells, changed } of renewed) this.placement.settle(state, cells, changed, ownedDots(state));
      });
    }
  }

  /** Tables that have been excluded: the last of what was captured is drained, and everything known of them is held. */
  private leave(leaving: readonly Table[], tables: readonly Table[], absent: readonly Table[]): void {
    this.drainer.run(Number.POSITIVE_INFINITY);
    this.rows.flush();
    for (const table of leaving) holdTable(this.db, this.rows, table, tables);
    removeStaleCapture(this.db, tables, this.nowUs());
    this.rows.setTables([...tables, ...absent]);
    this.schemaVersion = this.db.pragma("schema_version", { simple: true }) as number;
  }

  /** Digests are of tables that are here. */
  private forgetSums(absent: readonly Table[]): void {
    this.digest.flush();
    const forget = this.db.prepare("DELETE FROM _scoutsync_digest WHERE tid = ?");
    if (absent.map(({ tid }) => forget.run(tid).changes).some((changes) => changes > 0)) this.digest.reload();
  }

  /** True for rows with NULL in their key that the application has written since a node was on this database. */
  private wasJustWritten({ where, twin }: Table): boolean {
    return where !== null && (this.drainer.foundWithoutKey || (twin !== null && this.drainer.hasEventsOf(twin)));
  }

  /**
   * Peers have rows with NULL in their key of which there are none here yet. Inside a write transaction that is not
   * silent; false when more has to be done before anything else may be.
   */
  private makeRoomFor(unpacked: Buffer | null): boolean {
    if (!unpacked || !enterWithoutKey(this.db, this.rows.tables, tablesIn(unpacked))) return true;
    this.schemaVersion = -1;
    return this.catchUp();
  }

  /**
   * Events captured under the shape that was; what cannot be read any more is found by the reconciliation that follows.
   * False when `until` has passed before the end of them.
   */
  private drainOld(broken: readonly Table[], until: number): boolean {
    this.db.exec("SAVEPOINT old_shape");
    try {
      const drained = this.drainer.run(until);
      this.rows.flush();
      this.db.exec("RELEASE old_shape");
      return drained;
    } catch (error) {
      this.db.exec("ROLLBACK TO old_shape; RELEASE old_shape");
      this.rows.discard();
      this.digest.reload();
      this.knowledge.reload();
      this.quarantine.forget();
      this.rows.lookForKeptBack();
      this.problem = `schema of ${broken.map((table) => table.name).join(", ")} changed: ${(error as Error).message}`;
      return true;
    }
  }

  // ---- what the replica does

  /** True when another connection has committed since the last look. Costs one read of shared memory. */
  hasNews(): boolean {
    this.file.checkFiles();
    const version = this.db.pragma("data_version", { simple: true }) as number;
    if (version === this.dataVersion) return false;
    this.dataVersion = version;
    return true;
  }

  /** Turns everything committed so far into changes, giving the lock back every 200 ms. */
  drain(): void {
    this.file.check();
    while (!this.drainTurn()) pauseThread(TURN_PAUSE_MS);
    this.deliver();
    this.settle();
  }

  /** Gives rows that were held for tables which are here now to them, giving the lock back in between. */
  private deliver(): void {
    while (this.delivery.due) {
      this.write(() => this.silently(() => this.delivery.rows(performance.now() + NORMALIZE_MS)));
      this.unsettled ||= this.mayPlaceWaiting();
      if (this.delivery.due) pauseThread(TURN_PAUSE_MS);
    }
  }

  /** One turn of a drain. False when more is left: the caller may do something else before the next. */
  drainTurn(): boolean {
    if (this.isCaughtUp) return true;
    const done = this.transaction(() => this.catchUp());
    if (done) this.unsettled ||= this.mayPlaceWaiting();
    return done;
  }

  /** After a drain: kept rows that were referred to anew live again, and what is kept for nothing goes. */
  private followReferences(): void {
    const { referred, touched } = this.drainer.takeAffected();
    if (referred.length === 0 && touched.length === 0 && !this.placement.kept.keepsRows) return;
    this.rows.flush();
    this.silently(() => {
      for (const birth of touched) this.placement.entities.touch(birth);
      this.placement.finish();
      this.placement.kept.revive(referred, this.clock.nowUs());
      this.placement.kept.reviewKept();
    });
  }

  read(request: ReadRequest): ChangeBatch {
    this.file.check();
    if (this.knowledge.neverMade(request.from)) this.giveUpOrigin();
    if (!this.restored.isKnown && this.restored.isOutlived(request.from))
      this.noteRestored("another node has more of its changes than it has itself");
    this.restored.check();
    return this.drainedTransaction(() => this.reader.read(request));
  }

  apply(batch: ChangeBatch): ApplyResult {
    if (batch.payloadSize <= LARGE_BATCH) return this.applyBatch(batch);
    this.db.pragma(`cache_size = -${CACHE_BESIDE_LARGE_KIB}`);
    this.db.pragma("shrink_memory");
    try {
      return this.applyBatch(batch);
    } finally {
      this.db.pragma(`cache_size = -${CACHE_KIB}`);
    }
  }

  /** SQLite gives triggers the old and the new row whole, whether or not they come to look: two more copies of a large value. */
  private withoutCapture<T>(work: () => T): T {
    const triggers = this.rows.tables.flatMap((table) => captureTriggers(table));
    for (const { name } of triggers) this.db.exec(`DROP TRIGGER ${name}`);
    const result = work();
    for (const { sql } of triggers) this.db.exec(sql);
    this.schemaVersion = this.db.pragma("schema_version", { simple: true }) as number;
    return result;
  }

  private applyBatch(batch: ChangeBatch): ApplyResult {
    try {
      return this.applyOnce(batch);
    } catch (error) {
      if (!(error instanceof NeverMade) || !this.giveUpOrigin()) throw error;
      return { ...this.applyOnce(batch), originGivenUp: true };
    }
  }

  /**
   * Others have changes of this run that it never made: its machine was put back to an earlier moment while it ran, or
   * somebody made them up. Either way nothing may be written under this origin any more: others would take it for known.
   * What it wrote under it and others lack shows in the digests, and is merged row by row. False when that was done a
   * short while ago.
   */
  private giveUpOrigin(): boolean {
    const nowUs = this.nowUs();
    if (this.gaveUpAtUs !== null && nowUs - this.gaveUpAtUs < GIVE_UP_INTERVAL_US) return false;
    this.drain();
    this.write(() => {
      this.knowledge.renew();
      this.clock.restart();
    });
    this.gaveUpAtUs = nowUs;
    if (!this.restored.isKnown) this.noteRestored("another node has changes of this run that it never made");
    return true;
  }

  private applyOnce(batch: ChangeBatch): ApplyResult {
    const unpacked = unpackBatch(batch);
    this.drain();
    this.meet(batch.baseline, batch.count > 0);
    if (batch.count > 0 && !this.options.trial) this.joining.checkNames(batch.baseline);
    // What was committed since is drained under the integers as they are before anything moves.
    const applied = this.write(
      () => {
        const whole = batch.payloadSize <= LARGE_BATCH ? <T>(work: () => T) => work() : <T>(work: () => T) => this.withoutCapture(work);
        return whole(() =>
          this.silently(() => {
            checkTerms(this.options.name, formatTerms(this.terms), batch.terms ?? "");
            try {
              const done = this.applier.apply(batch, unpacked);
              return { ...done, pulled: batch.final ? this.restored.pulled() : null };
            } catch (error) {
              if (!(error instanceof MalformedBytes)) throw error;
              throw new SyncError({
                code: "BATCH_CORRUPT",
                message: `a batch cannot be read: ${error.message}`,
                action: "Nothing of it was applied; it is asked for again.",
                cause: error,
              });
            }
          }),
        );
      },
      () => this.makeRoomFor(unpacked),
    );
    applied.pulled?.keep();
    if (applied.rejoined) this.rejoining.end();
    this.unsettled = !applied.settled;
    this.settle();
    const { vector } = this.knowledge;
    const { digest } = this.digest;
    // Digests say something only where neither side holds anything beyond its vector.
    const comparable =
      batch.final &&
      equalVectors(vector, batch.vector) &&
      batch.beyondDigest.length === 0 &&
      this.beyondDigest().length === 0 &&
      this.hasSchemaOf(batch);
    const verified = comparable ? Buffer.compare(digest, batch.digest) === 0 : null;
    const { received, conflicts, parked } = applied;
    const { rejoined } = applied;
    return { received, applied: applied.applied, conflicts, parked, vector, digest, verified, ...(rejoined && { rejoined }) };
  }

  /** False where digests are of different tables or columns. The first version does not say: then nothing may be held here. */
  private hasSchemaOf(batch: ChangeBatch): boolean {
    if (batch.schema !== "") return isComparable(batch.schema, this.reader.schemaPrint());
    return this.db.prepare("SELECT 1 FROM _scoutsync_lacking LIMIT 1").get() === undefined;
  }

  /**
   * Goes on deciding where rows belong, giving the lock back in between. What a crash or a locked file interrupts is
   * taken up by the next drain or start: the vector has moved, so no batch would come to do it.
   */
  private settle(): void {
    while (this.unsettled) {
      pauseThread(TURN_PAUSE_MS);
      this.unsettled = !this.write(() => this.silently(() => this.placement.decisions.normalize(performance.now() + NORMALIZE_MS)));
    }
  }

  /** Writes a copy of the database, drained, to a path where nothing is yet. */
  copyTo(path: string): void {
    this.drain();
    this.db.prepare("VACUUM INTO ?").run(path);
  }

  /** What this replica says of rows that were there before syncing: goes with every opening and batch. */
  baseline(): string {
    return this.joining.statementText;
  }

  /**
   * Takes note of what another replica says of rows from before syncing, before anything is exchanged with it. Rows of
   * copies that are joined as shared get their common names here. `filling`: its rows are about to come. Throws
   * BASELINE_CHOICE when a person has to say whether the rows are the same, SCOPE_OTHER_SERVER when the rows
   * of both sides belong to different copies of scopes.
   */
  meet(statement: string, filling = false): void {
    if (!this.joining.plan(statement, filling)) return;
    this.write(() => {
      const plan = this.joining.plan(statement, filling);
      if (plan) this.silently(() => this.joining.carryOut(plan));
    });
    this.unsettled ||= this.mayPlaceWaiting();
    this.settle();
  }

  /** What the rows of both sides are about to be joined as; null where they are not joined now. Throws as `meet`. */
  choiceFor(statement: string): BaselineChoice | null {
    return this.joining.choiceFor(statement);
  }

  /** What was said about rows from before syncing; said once, it holds for later starts. */
  private choice(): BaselineChoice | null {
    const said = readMeta(this.db, CHOICE) as BaselineChoice | null;
    const { baseline } = this.options;
    if (baseline === null || baseline === said) return said;
    writeMeta(this.db, CHOICE, baseline);
    return baseline;
  }

  position(run: string): VersionVector {
    return this.applier.position(run);
  }

  beyondDigest(): Uint8Array {
    return this.drainedTransaction(() => this.reader.beyondDigest());
  }

  count(since: VersionVector): ChangeCount {
    return this.drainedTransaction(() => this.reader.count(since));
  }

  readable(since: VersionVector, limit: number): { changes: ReadableChange[]; next: VersionVector | null } {
    return this.drainedTransaction(() => {
      const { changes, next } = readableChanges(this.audited, since, limit);
      return { changes: changes.map((change) => this.veil.change(change)), next };
    });
  }

  digests(request: { table: string; buckets: number[]; deep: boolean }): { vector: VersionVector; entries: DigestEntry[] } {
    return this.drainedTransaction(() => ({
      vector: this.knowledge.vector,
      entries: digestEntries({ db: this.db, rows: this.rows, knowledge: this.knowledge }, request),
    }));
  }

  row(tableName: string, key: string): { name: string; value: SqlValue }[] | null {
    return this.drainedTransaction(() => {
      const table = this.table(tableName);
      const found = this.rows.keyNamed(table, key);
      const values = found && this.rows.of(table).read(found);
      return values ? table.columns.map((column, i) => ({ name: column.name, value: values[i] as SqlValue })) : null;
    });
  }

  wholeRows({ table: name, keys, codecs }: WholeRowsRequest): ChangeBatch {
    this.restored.check();
    this.drain();
    this.write(() => recheckRows(this.rows, this.reconciliation, this.table(name), keys));
    this.write(() => {
      resum(this.db, this.table(name));
      this.digest.reload();
    });
    return this.drainedTransaction(() => {
      const table = this.table(name);
      const states = keys.flatMap((key) => rowsNamed(this.db, this.rows, table, key));
      return this.reader.wholeRows(states, codecs);
    });
  }

  reviews(request: { kind: string; id: string; limit: number }): Review[] {
    return this.drainedTransaction(() => {
      const found = findReviews(this.audited, request).map((one) => this.veil.review(one));
      if (request.kind !== "" && request.kind !== "quarantine") return found;
      const lists = quarantineReviews(this.quarantine).map((one) => this.veil.review(one));
      const kept = lists.filter(({ id }) => request.id === "" || request.id === id);
      return [...found, ...kept].slice(0, request.limit > 0 ? request.limit : found.length + kept.length);
    });
  }

  resolve(request: Resolution): Review {
    this.drain();
    const { review, parked } = this.write(() => {
      const kept = decideQuarantine(this.quarantine, request.id, request.decision ?? "");
      if (kept) return { review: kept, parked: null };
      const resolution = resolveReview(this.audited, request);
      const state = resolution.parked;
      if (state) this.silently(() => writeParked(this.audited, this.placement, state, request.set, this.clock.nowUs()));
      return resolution;
    });
    if (parked) this.unsettled = this.mayPlaceWaiting();
    this.drain();
    const left = parked ? this.reviews({ kind: "parked", id: request.id, limit: 1 })[0] : undefined;
    return left ?? { ...this.veil.review(review), resolved: true };
  }

  history(tableName: string, key: string): HistoryEntry[] {
    return this.drainedTransaction(() => {
      const table = this.table(tableName);
      return this.veil.history(table.name, rowHistory(this.audited, table, key));
    });
  }

  restore(tableName: string, key: string): { name: string; value: SqlValue }[] {
    this.drain();
    return this.write(() => {
      const table = this.table(tableName);
      const restored = this.veil.about(table.name, key, () =>
        this.silently(() => restoreRow(this.audited, { placement: this.placement, veil: this.veil }, table, key, this.clock.nowUs())),
      );
      return this.veil.columns(table.name, restored);
    });
  }

  /**
   * Begins to join again after having been away for longer than others remember: the batches of a stream from nothing,
   * marked `rejoin`, are then compared with everything here.
   */
  beginRejoin(): void {
    this.drain();
    this.rejoining.refuseKeptBack();
    this.write(() => {
      this.db.exec("DELETE FROM _scoutsync_position; DELETE FROM _scoutsync_stream");
      this.knowledge.renew();
      this.clock.restart();
    });
    this.rejoining.begin();
  }

  /** As `Replica.forget`, in turns that give the lock back. */
  forget({ retentionDays, dryRun }: { retentionDays: number; dryRun: boolean }): Forgetting {
    const { db, rows, knowledge, floor, members } = this;
    const parts = { db, rows, knowledge, floor, members, entities: this.placement.members };
    const forgetter = new Forgetter(parts, { retentionDays, dryRun, nowUs: this.nowUs() });
    // In the middle of a stream it is not known what refers to what.
    if (this.restored.problem !== "" || this.reader.isMidStream) return { ...forgetter.result, complete: false };
    this.drain();
    const begun = performance.now();
    while (!this.write(() => forgetter.turn(performance.now() + LONGEST_DRAIN_MS))) {
      if (performance.now() - begun > LONGEST_FORGETTING_MS) return { ...forgetter.result, complete: false };
      pauseThread(TURN_PAUSE_MS);
    }
    return forgetter.result;
  }

  /** As `Replica.textsIn`. */
  textsIn({ table, column, limit }: { table: string; column: string; limit: number }): string[] {
    const known = this.db.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?").get(table, column);
    if (known === undefined) {
      throw new SyncError({
        code: "NOT_FOUND",
        message: `database "${this.options.name}" has no column ${table}.${column}`,
        action: "Check what was configured, and the application's migrations.",
      });
    }
    const sql = `SELECT DISTINCT ${quote(column)} FROM ${quote(table)} WHERE typeof(${quote(column)}) = 'text' AND ${quote(column)} <> '' LIMIT ?`;
    return this.db
      .prepare(sql)
      .pluck()
      .all(limit)
      .filter((value) => typeof value === "string");
  }

  /** As `Replica.members`. */
  memberWords(): MemberWord[] {
    return this.members.words(this.knowledge.vector, this.nowUs());
  }

  learnMembers(words: readonly MemberWord[]): void {
    if (this.members.areNews(words)) this.write(() => this.members.learn(words));
  }

  retire(which: string): NodeName {
    const node = this.write(() => this.members.retire(which, this.nowUs()));
    if (node) return node;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `"${this.options.name}" here has never heard of a node "${which}"`,
      action: "Name it as `scoutsync peers list` lists it, by its id where two nodes share a name.",
    });
  }

  acknowledge(node: NodeName, vector: VersionVector): void {
    // One that was retired and has everything again is waited for again.
    const isBack = isCovered(this.floor.vector, vector);
    if (!isNews(this.db, node, vector) && !(isBack && this.members.isRetired(node))) return;
    this.write(() => {
      storeReceipt(this.db, this.knowledge, node, vector, this.nowUs());
      this.members.heard(node, vector, this.nowUs(), isBack);
    });
  }

  /** As `Replica.reissue`. */
  reissue(heldForUs: number): number {
    const parts = { db: this.db, rows: this.rows, knowledge: this.knowledge };
    this.drain();
    if (this.reader.originsBeyond().length === 0) return 0;
    const left = this.write(() => leftBehind(parts, this.reader.originsBeyond(), heldForUs, this.nowUs()));
    for (const source of left) {
      const progress: Reissue = this.write(() => ({ source, origin: this.knowledge.drawReissue(source), reached: 0 }));
      const turn = () => {
        this.drainer.run(Number.POSITIVE_INFINITY);
        this.rows.flush();
        this.followReferences();
        return reissue(parts, progress, performance.now() + LONGEST_DRAIN_MS);
      };
      while (!this.write(turn)) pauseThread(TURN_PAUSE_MS);
    }
    // What waited for the end of those streams is decided now.
    this.placement.forget();
    this.unsettled = this.mayPlaceWaiting();
    this.settle();
    return left.length;
  }

  correctClock(correctionUs: number): void {
    this.drain();
    const wrong = this.clock.misstamped(correctionUs, this.knowledge.lastSequence);
    if (wrong.length === 0) return this.clock.correct(correctionUs);
    this.write(() => {
      const nowUs = this.nowUs() + correctionUs;
      for (const stretch of wrong) restamp({ db: this.db, rows: this.rows, knowledge: this.knowledge }, stretch, nowUs);
    });
    this.clock.correct(correctionUs);
    // Whose row was born first may be another one now.
    this.placement.forget();
    this.unsettled = this.mayPlaceWaiting();
    this.settle();
  }

  /** As `Replica.carryScope`. */
  carryScope(hold = false, beforeCommit?: () => void): ScopeCarried {
    const copy = {
      source: this.scope,
      path: this.path,
      nowUs: this.clock.nowUs(),
      drain: () => this.drain(),
      renumber: (table: string, id: bigint) =>
        this.write(() => this.silently(() => this.placement.decisions.renumber(this.table(table), id))),
      write: (work: (db: Database.Database) => void) => this.write(() => work(this.db)),
      beforeCommit,
    };
    return carryScope(copy, hold);
  }

  keptOfScope(request: { id: string; limit: number }): Review[] {
    return keptOfScope(this.db, this.scope.rule.name, request).map((review) => this.veil.review(review));
  }

  dismissKept(id: string): void {
    this.write(() => dismissKept(this.db, this.scope.rule.name, id));
  }

  /** As `ScopeCopy.applyKept`. */
  applyKept(id: string, set: { name: string; value: SqlValue }[]): void {
    applyKept(this.scope, this.path, { id, set });
  }

  private get scope(): ScopeSource {
    if (this.options.scope) return this.options.scope;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${this.options.name}" is no copy of a scope`,
      action: "Ask for one that is.",
    });
  }

  private noteRestored(why: string): void {
    this.write(() => this.restored.note(why)).keep();
  }

  private table(name: string): Table {
    const table = this.rows.tableNamed(name);
    if (table) return table;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `database "${this.options.name}" has no synced table "${name}"`,
      action: `Synced tables: ${this.rows.tables.map((each) => each.name).join(", ") || "none"}.`,
    });
  }

  state(): ReplicaState {
    return {
      run: this.run,
      vector: this.knowledge.vector,
      digest: this.digest.digest,
      schema: this.reader.schemaPrint(),
      pending: this.problem === "" ? 0 : this.drainer.pending(),
      parked: this.rows.waitingCount(),
      held: this.rows.heldCount(),
      keptBack: this.quarantine.undecided(),
      conflicts: countReviews(this.db, this.rows),
      rows: this.digest.rows,
      tables: this.rows.tables.map((table) => table.name),
      veiled: this.veil.keyTables,
      unknownSensitive: this.veil.unknown,
      restored: this.restored.problem !== "",
      problem: this.problem === "" ? this.restored.problem : this.problem,
      baseline: this.joining.statementText,
      floor: this.floor.vector,
    };
  }

  /** True when something was wrong the last time. */
  get hasProblem(): boolean {
    return this.problem !== "";
  }

  /** Notes why the database cannot take part just now; empty when it can again. */
  setProblem(problem: string): void {
    this.problem = problem;
  }

  close(): void {
    try {
      // A table that is being compared is compared from its start after the next one: nobody waits for it now.
      while (!this.drainTurn() && !this.reconciliation.isOpen) pauseThread(TURN_PAUSE_MS);
      if (!this.reconciliation.isOpen) this.settle();
    } catch {
      // What could not be drained now waits in the file for the next start.
    }
    this.db.close();
    this.release();
  }
}

/** The first page of the application's table. */
function rootOf(db: Database.Database, table: Table): number {
  return db
    .prepare("SELECT rootpage FROM main.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE")
    .pluck()
    .get(table.source) as number;
}

/** Puts this thread to sleep. */
function pauseThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
