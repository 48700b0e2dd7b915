import type { Database } from "better-sqlite3";
import { NORMALIZE_MS } from "./apply/apply.ts";
import type { Delivery } from "./apply/delivery.ts";
import type { Placement } from "./apply/placement.ts";
import type { CaptureFaults } from "./capture/faults.ts";
import type { Silence } from "./capture/silence.ts";
import type { DigestSums } from "./digest/digest-sums.ts";
import type { Drain } from "./drain/drain.ts";
import type { EarlyReferences } from "./drain/early-references.ts";
import type { Floor } from "./forgetting/floor.ts";
import type { Knowledge } from "./identity/knowledge.ts";
import { asLocked, isReplaced, type SameFile } from "./identity/same-file.ts";
import type { LinkedFollower } from "./linked/linked-follower.ts";
import type { LinkedParent } from "./linked/linked-parent.ts";
import { ParentBehind } from "./linked/linked-rows.ts";
import type { LogReader } from "./log/read.ts";
import type { Quarantine } from "./quarantine/quarantine.ts";
import { RowsMoved } from "./rows/keyless-rows.ts";
import type { RowStore } from "./rows/row-store.ts";
import type { Table } from "./schema/catalog.ts";
import type { SchemaFollower } from "./schema/follow.ts";
import type { Reconciliation } from "./schema/reconcile.ts";
import type { SeenSchema } from "./schema/seen.ts";
import { fillIndexes, isOfIndex, lackedByIndexes, leavingEntries, rebuildIndexes, runMending } from "./schema/text-indexes.ts";
import { fromSqlite } from "./sqlite-errors.ts";
import type { ReplicaClock } from "./time/replica-clock.ts";
import { valueStatement } from "./kept-statements.ts";
import { beginWriting, LockTurns, pauseLooking } from "./write-lock.ts";

/** The lock is given back this long after it was taken, so that the application's writers never wait long, milliseconds. */
export const LONGEST_TURN_MS = 200;
/** Between two turns of a long drain, milliseconds. */
export const BETWEEN_TURNS_MS = 25;
/** Snapshots tried before a reader takes the write lock to hold the application still. */
const READ_ATTEMPTS = 5;
/** The same where so much is read that the application would wait for that lock longer than it does for any. */
const LONG_READ_ATTEMPTS = 200;

/** So often a database that refers to another one is drained before both are changed together; then it is drained in that transaction. */
const MOST_TRIES = 40;

/** For how long work is tried again because a database that refers to this one is locked, milliseconds. */
const LONGEST_FOR_DEPENDENTS_MS = 5_000;
/** For how long the lock of such a database is waited for while this one's is held, milliseconds. */
const LONGEST_BESIDE_MS = 250;
/** Sessions come again and again, and to look through indexes takes long: where nothing was found they are looked at again in so long, milliseconds. */
const BETWEEN_LOOKS_MS = 3_600_000;

/** A database that refers to this one could not be locked and drained just now. */
class DependentBusy extends Error {
  readonly reason: Error;

  constructor(reason: unknown) {
    super("a database that refers to this one cannot be drained just now");
    this.reason = reason as Error;
  }
}

interface Parts {
  db: Database;
  /** As the database was named, for errors. */
  path: string;
  /** After how long a turn gives the lock back, milliseconds. */
  turnMs: number;
  file: SameFile;
  rows: RowStore;
  digest: DigestSums;
  knowledge: Knowledge;
  floor: Floor;
  clock: ReplicaClock;
  placement: Placement;
  delivery: Delivery;
  drainer: Drain;
  reconciliation: Reconciliation;
  quarantine: Quarantine;
  reader: LogReader;
  faults: CaptureFaults;
  silence: Silence;
  seen: SeenSchema;
  early: EarlyReferences;
  linkedRows: LinkedParent;
  linkedFollower: LinkedFollower;
  /** Databases of the node that refer to rows of this one, and can just now. */
  dependents: () => readonly Turns[];
  /** Drains a database of the node that this one refers to. */
  drainNeighbour: (name: string) => void;
}

/**
 * Everything a replica does to its file happens in turns under SQLite's write lock, none of them long, each on top of
 * everything the application has committed; or on a snapshot of which the same is true.
 */
export class Turns {
  /** Nobody is served before the database is open: others' locks are waited for in turns, see `Patience`. */
  isOpening = true;
  /** Rows wait for a decision that the end of a stream owes them. */
  unsettled = false;
  /** Looks after capture; set once, as it writes in these turns itself. */
  follower!: SchemaFollower;
  private readonly db: Parts["db"];
  private readonly path: Parts["path"];
  private readonly turnMs: Parts["turnMs"];
  private readonly file: Parts["file"];
  private readonly rows: Parts["rows"];
  private readonly digest: Parts["digest"];
  private readonly knowledge: Parts["knowledge"];
  private readonly floor: Parts["floor"];
  private readonly clock: Parts["clock"];
  private readonly placement: Parts["placement"];
  private readonly delivery: Parts["delivery"];
  private readonly drainer: Parts["drainer"];
  private readonly reconciliation: Parts["reconciliation"];
  private readonly quarantine: Parts["quarantine"];
  private readonly reader: Parts["reader"];
  private readonly faults: Parts["faults"];
  private readonly silence: Parts["silence"];
  private readonly seen: Parts["seen"];
  private readonly early: Parts["early"];
  private readonly linkedRows: Parts["linkedRows"];
  private readonly linkedFollower: Parts["linkedFollower"];
  private readonly dependents: Parts["dependents"];
  private readonly drainNeighbour: Parts["drainNeighbour"];
  private changesBefore = 0;
  private nextFillMs = 0;
  private nextRebuildMs = 0;
  private readonly lock = new LockTurns();

  constructor(parts: Parts) {
    this.db = parts.db;
    this.path = parts.path;
    this.turnMs = parts.turnMs;
    this.file = parts.file;
    this.rows = parts.rows;
    this.digest = parts.digest;
    this.knowledge = parts.knowledge;
    this.floor = parts.floor;
    this.clock = parts.clock;
    this.placement = parts.placement;
    this.delivery = parts.delivery;
    this.drainer = parts.drainer;
    this.reconciliation = parts.reconciliation;
    this.quarantine = parts.quarantine;
    this.reader = parts.reader;
    this.faults = parts.faults;
    this.silence = parts.silence;
    this.seen = parts.seen;
    this.early = parts.early;
    this.linkedRows = parts.linkedRows;
    this.linkedFollower = parts.linkedFollower;
    this.dependents = parts.dependents;
    this.drainNeighbour = parts.drainNeighbour;
  }

  /**
   * Runs `work` in one write transaction in which everything committed has been drained, and no table has changed since
   * it was last compared with what is known of it. What comes before takes turns of its own: none holds the lock long.
   * `isReady` may do more that comes before, and says whether this transaction may go on with the work.
   */
  write<T>(work: () => T, isReady = () => true): T {
    for (const end = performance.now() + LONGEST_FOR_DEPENDENTS_MS; ;) {
      // Now rather than while this database is locked, too.
      if (!this.db.inTransaction) for (const dependent of this.dependents()) dependent.drainBeside();
      try {
        const done = this.turn(() => (this.catchUp() ? this.withDependents(() => (isReady() ? { result: work() } : null)) : null));
        if (done) return done.result;
      } catch (error) {
        // An application may have its lock and wait for this one's, which it can have now.
        if (!(error instanceof DependentBusy)) throw error;
        if (performance.now() > end) throw error.reason;
      }
      this.pause(BETWEEN_TURNS_MS);
    }
  }

  /**
   * Work that may give rows other integers is done while databases of the node that refer to them are locked, too, and drained:
   * what was written there before means the rows that had the integers before. They follow in the same moment. A crash between
   * the commits leaves them to follow at the next start, before they drain: nothing of before waits there.
   */
  private withDependents<T>(work: () => T | null): T | null {
    const locked: Turns[] = [];
    const within = ([next, ...rest]: readonly Turns[]): T | null => {
      if (!next) {
        const result = work();
        if (result === null || locked.length === 0) return result;
        this.seal();
        for (const dependent of locked) dependent.followLinked();
        this.commit();
        return result;
      }
      // Where it cannot be drained nothing moves here either: what waits there means rows as they are now.
      let begun = false;
      try {
        return next.beside(() => {
          begun = true;
          locked.push(next);
          return within(rest);
        });
      } catch (error) {
        if (begun) throw error;
        // What is opened anew is so by this thread: nothing comes of waiting in it.
        throw !isReplaced(error) && (error as { code?: unknown }).code === "DATABASE_LOCKED" ? new DependentBusy(error) : asLocked(error);
      }
    };
    return within(this.dependents());
  }

  private drainBeside(): void {
    if (this.db.inTransaction || this.isCaughtUp) return;
    try {
      this.drain();
    } catch (error) {
      throw asLocked(error);
    }
  }

  /** Runs `work` in a transaction in which nothing waits to be drained; it ends after `work`, which commits elsewhere. */
  private beside<T>(work: () => T): T {
    const timeout = this.db.pragma("busy_timeout", { simple: true }) as number;
    this.db.pragma(`busy_timeout = ${Math.min(timeout, LONGEST_BESIDE_MS)}`);
    try {
      return this.drainedBeside(work);
    } finally {
      this.db.pragma(`busy_timeout = ${timeout}`);
    }
  }

  private drainedBeside<T>(work: () => T): T {
    for (let tries = 1; ; tries++) {
      // Not again by itself where an index has fallen behind: the other database's transaction holds what `work` did, and begins anew.
      const done = this.attempt(() => {
        // What is drained here would wait again if this transaction were lost: better in one of its own.
        if (!this.isCaughtUp && tries < MOST_TRIES) {
          this.catchUp();
          return null;
        }
        while (!this.isCaughtUp) this.catchUp();
        return { result: work() };
      });
      if (!done) continue;
      this.unsettled ||= this.mayPlaceWaiting();
      return done.result;
    }
  }

  /** Follows rows of other databases of the node that have moved. Inside a write transaction. */
  followLinked(): void {
    if (!this.linkedFollower.isCurrent) this.silently(() => this.linkedFollower.follow());
  }

  /** Forgets what was followed in a transaction that is undone. */
  dropLinked(): void {
    this.linkedFollower.drop();
  }

  /** True when everything that is referred to in other databases is where it is there. */
  get isFollowing(): boolean {
    return this.linkedFollower.isCurrent;
  }

  /** One transaction; null where a database that this one refers to had to be drained first: another try is due. */
  private turn<T>(work: () => T | null): T | null {
    try {
      return this.transaction(work);
    } catch (error) {
      if (!(error instanceof ParentBehind)) throw error;
      this.drainNeighbour(error.database);
      return null;
    }
  }

  /**
   * One write transaction; everything is rolled back and forgotten when `work` throws. Begun anew where an index has fallen behind that
   * triggers feed; `work` then runs again from the start.
   */
  private transaction<T>(work: () => T): T {
    try {
      return this.attempt(work);
    } catch (error) {
      if (!isOfIndex(error)) throw error;
      return this.mending(error, work);
    }
  }

  private mending<T>(error: unknown, work: () => T): T {
    // A database that refers to rows of this one is written to in the same transaction: the index may be one of its.
    const all = [this, ...this.dependents()];
    const some = (mend: (turns: Turns) => boolean) => () => all.map(mend).includes(true);
    try {
      return runMending(
        error,
        {
          fill: some((turns) => turns.fillIndexes()),
          leave: some((turns) => turns.leaveEntries()),
          rebuild: some((turns) => turns.rebuildIndexes()),
        },
        (leaving) => {
          if (!leaving) for (const { silence } of all) silence.isLeaving = false;
          return this.attempt(work);
        },
      );
    } finally {
      for (const { silence } of all) silence.isLeaving = false;
    }
  }

  /** Puts into indexes what they lack, giving the lock back in between. False where that is nothing. */
  private fillIndexes(): boolean {
    if (performance.now() < this.nextFillMs) return false;
    const lacking = lackedByIndexes(this.db);
    if (lacking.length === 0) {
      this.nextFillMs = performance.now() + BETWEEN_LOOKS_MS;
      return false;
    }
    while (!this.attempt(() => fillIndexes(this.db, lacking, performance.now() + this.turnMs))) this.pause(BETWEEN_TURNS_MS);
    return true;
  }

  /** Has entries left in indexes that only their application can build. False where there are none. */
  private leaveEntries(): boolean {
    return (this.silence.isLeaving = leavingEntries(this.db, this.silence.suspended) !== null);
  }

  private rebuildIndexes(): boolean {
    if (performance.now() < this.nextRebuildMs) return false;
    const isDone = this.attempt(() => rebuildIndexes(this.db));
    if (!isDone) this.nextRebuildMs = performance.now() + BETWEEN_LOOKS_MS;
    return isDone;
  }

  private attempt<T>(work: () => T): T {
    this.lock.take(() => this.look());
    // Before anything may fail, as it all goes back to this then.
    this.drainer.remember();
    const { catalogs } = this.rows;
    const tables = [...this.rows.tables, ...this.rows.absent];
    const { begins } = this.follower;
    try {
      this.file.checkFiles();
      beginWriting(this.db, { look: () => this.look(), inTurns: this.isOpening });
      this.file.checkMark();
      this.linkedFollower.checkParents(() => this.drainer.needed);
      this.changesBefore = this.changes();
      this.placement.begin();
      const result = work();
      if (this.db.inTransaction) {
        this.seal();
        this.commit();
      }
      return result;
    } catch (error) {
      if (this.db.inTransaction) this.db.exec("ROLLBACK");
      // Nothing is read from it any more: the thread closes it.
      if (isReplaced(error)) throw error;
      this.reload();
      this.follower.begins = begins;
      // What was captured still waits under the tables as they were.
      if (this.rows.catalogs !== catalogs) {
        this.rows.setTables(tables);
        this.rows.shared.nameTables(tables);
      }
      throw error instanceof ParentBehind || error instanceof DependentBusy ? error : fromSqlite(error, this.path);
    } finally {
      this.lock.release();
    }
  }

  /** What was remembered of a transaction that was rolled back is not so. */
  private reload(): void {
    this.faults.drop();
    this.linkedFollower.drop();
    this.placement.pastCapture.drop();
    this.rows.discard();
    this.digest.reload();
    this.knowledge.reload();
    this.rows.shared.reload();
    this.floor.reload();
    this.reconciliation.reload();
    this.quarantine.forget();
    this.rows.lookForKeptBack();
    this.placement.forget();
    this.drainer.reload();
    this.seen.forget();
  }

  /** Everything that the transaction leaves goes into the file. */
  private seal(): void {
    this.early.settle();
    this.rows.flush();
    this.digest.flush();
    this.knowledge.flush();
    this.linkedRows.seal();
  }

  private commit(): void {
    const mark = this.changes() === this.changesBefore ? null : this.file.leaveMark();
    this.db.exec("COMMIT");
    mark?.keep();
    this.faults.keep();
    this.linkedFollower.keep();
    this.placement.pastCapture.commit();
    // What went to a file that no path leads to is not durable, whatever SQLite says.
    this.file.checkFiles();
  }

  /** Rows this connection has changed so far, but for the flag that keeps capture silent. */
  private changes(): number {
    return (valueStatement(this.db, "SELECT total_changes()").get() as number) - this.silence.flagged;
  }

  /**
   * One turn of what comes before everything else, in a write transaction: following the schema, draining, comparing
   * tables that a migration left. True when nothing of it is left.
   */
  catchUp(): boolean {
    const until = performance.now() + this.turnMs;
    if (!this.follower.follow(until)) return false;
    this.follower.hearAgain();
    this.followLinked();
    const drained = this.drainer.run(until);
    this.rows.flush();
    this.followReferences();
    this.rows.flush();
    this.fillBeside();
    this.rows.flush();
    this.digest.flush();
    if (!drained || this.drainer.foundWithoutKey) return false;
    const wasOpen = this.reconciliation.isOpen;
    const { through, toFill } = this.reconciliation.turn(until);
    if (toFill.length > 0) this.silently(() => this.delivery.columns(toFill));
    // What is written next has to find what it adds to.
    this.fillBeside();
    if (through && this.follower.followUniques()) this.unsettled = true;
    // What is kept was left alone while nobody could say what refers to it.
    if (through && wasOpen) {
      this.followReferences();
      this.rows.flush();
    }
    if (!through || !this.early.lookBack(until)) return false;
    if (!this.quarantine.isOpen) return true;
    return this.silently(() => this.quarantine.turn(until));
  }

  private fillBeside(): void {
    const beside = this.drainer.takeToFill();
    if (beside.length > 0) this.silently(() => this.delivery.columns(beside, true));
  }

  /** Nothing is captured that no drain has seen, and what is in the tables is what is known of them. */
  private get isCaughtUp(): boolean {
    return (
      this.seen.isCurrent &&
      !this.silence.isForged &&
      !this.drainer.needed &&
      !this.drainer.foundWithoutKey &&
      this.linkedFollower.isCurrent &&
      !this.reconciliation.isOpen &&
      this.early.hasLookedBack &&
      !this.quarantine.isOpen
    );
  }

  /** Lets others have the lock. */
  private pause(ms: number): void {
    pauseLooking(ms, () => this.look());
  }

  /** Looks at what others have committed while this thread waits. In a transaction there is nothing to be seen. */
  private look(): void {
    if (this.db.inTransaction) return;
    try {
      this.file.checkMark();
      this.drainer.see();
    } catch (error) {
      throw fromSqlite(error, this.path);
    }
  }

  /**
   * Runs `work` on one snapshot in which everything committed has been drained: a row that is newer than the log would
   * be served under the wrong dots, or not at all. Where an application writes without pause, in a write transaction; `isLong`
   * says that this is to be avoided.
   */
  snapshot<T>(work: () => T, isLong = false): T {
    for (let attempt = 0; attempt < (isLong ? LONG_READ_ATTEMPTS : READ_ATTEMPTS); attempt++) {
      this.drain();
      this.rows.mayWrite = false;
      let moved: Table;
      try {
        this.db.exec("BEGIN");
        this.file.checkMark();
        if (this.isCaughtUp) return work();
        continue;
      } catch (error) {
        if (!(error instanceof RowsMoved)) throw fromSqlite(error, this.path);
        moved = error.table;
      } finally {
        this.rows.mayWrite = true;
        // Nothing was written, and a COMMIT that fails would leave the transaction to whatever comes next.
        if (this.db.inTransaction) this.db.exec("ROLLBACK");
      }
      this.write(() => this.rows.keys.locate(moved));
    }
    return this.write(() => {
      if (this.mayPlaceWaiting()) this.silently(() => this.placement.decisions.normalize(Number.POSITIVE_INFINITY));
      this.rows.flush();
      this.digest.flush();
      return work();
    });
  }

  /** Writes to the application's tables without being captured, inside a write transaction; rows that are touched are placed. */
  silently<T>(work: () => T): T {
    return this.silence.keep(() => {
      const result = work();
      this.placement.finish();
      return result;
    });
  }

  /** What the application wrote or deleted may have freed a value that a row waits for. In mid-stream the end decides. */
  mayPlaceWaiting(): boolean {
    return (this.rows.out.waitingCount() > 0 || this.rows.same.due.length > 0) && !this.reader.isMidStream;
  }

  /** Turns everything committed so far into changes, giving the lock back every 200 ms. */
  drain(): void {
    this.file.check();
    while (!this.drainTurn()) this.pause(BETWEEN_TURNS_MS);
    this.deliver();
    this.settle();
  }

  /** Gives rows that were held for tables which are here now to them, giving the lock back in between. */
  private deliver(): void {
    while (this.delivery.due) {
      this.write(() => this.silently(() => this.delivery.rows(performance.now() + NORMALIZE_MS)));
      this.unsettled ||= this.mayPlaceWaiting();
      if (this.delivery.due) this.pause(BETWEEN_TURNS_MS);
    }
  }

  /** One turn of a drain. False when more is left: the caller may do something else before the next. */
  drainTurn(): boolean {
    if (this.isCaughtUp) return true;
    const done = this.turn(() => this.catchUp()) === true;
    if (done) this.unsettled ||= this.mayPlaceWaiting();
    return done;
  }

  /** After a drain: kept rows that were referred to anew live again, deleted ones are kept, and what is kept for nothing goes. */
  followReferences(): void {
    const { referred, touched, leftBehind } = this.drainer.takeAffected();
    if (referred.length + touched.length + leftBehind.length === 0 && !this.placement.kept.keepsRows) return;
    this.rows.flush();
    this.silently(() => {
      for (const birth of touched) this.placement.entities.touch(birth);
      this.placement.finish();
      this.placement.kept.revive(referred, this.clock.nowUs());
      this.placement.kept.keepReferred(leftBehind);
      this.placement.kept.reviewKept();
    });
  }

  /** Decides what rows wait for, as far as the application or a stream has settled it. */
  decideWaiting(): void {
    this.unsettled ||= this.mayPlaceWaiting();
    this.settle();
  }

  /**
   * Goes on deciding where rows belong, giving the lock back in between. What a crash or a locked file interrupts is
   * taken up by the next drain or start: the vector has moved, so no batch would come to do it.
   */
  settle(): void {
    while (this.unsettled) {
      this.pause(BETWEEN_TURNS_MS);
      this.unsettled = !this.write(() => this.silently(() => this.placement.decisions.normalize(performance.now() + NORMALIZE_MS)));
    }
  }
}
