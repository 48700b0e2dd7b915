import { hash } from "node:crypto";
import type { Database } from "better-sqlite3";
import type { SqlValue, Terms } from "@scoutsync/core";
import { tablesIn } from "../apply/payload.ts";
import type { Delivery } from "../apply/delivery.ts";
import type { Placement } from "../apply/placement.ts";
import type { CaptureFaults } from "../capture/faults.ts";
import { silentWrites } from "../capture/probe.ts";
import { captureFirst, type Silence } from "../capture/silence.ts";
import { captureTriggers } from "../capture/triggers.ts";
import type { DigestSums } from "../digest/digest-sums.ts";
import type { Drain } from "../drain/drain.ts";
import { adoptKeyless, adoptSeeded } from "../identity/adopt.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { IncomingRow } from "../log/incoming.ts";
import type { Quarantine } from "../quarantine/quarantine.ts";
import { resum } from "../repair/recheck.ts";
import type { ReplicaOptions } from "../replica.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { hasLocalKey, noteLocalKeys } from "../rows/table-store.ts";
import { absentTables, noteLacking } from "./absent.ts";
import { triggersToSuspend } from "./app-triggers.ts";
import { catalogTables, type Table } from "./catalog.ts";
import { followRebuilt, formerTables } from "./former-tables.ts";
import {
  captureIsWhole,
  capturedShape,
  enterWithoutKey,
  hasTakenNames,
  followRenames,
  installCapture,
  noteGoing,
  noteOrder,
  isCaptured,
  isShapeOf,
  leftSince,
  noteReturn,
  readMeta,
  recapture,
  removeForeignTriggers,
  removeStaleCapture,
  writeMeta,
} from "./install.ts";
import { forgetMissing, forgetTaken, holdTable, holdWaiting, keepReplaced, leavingTables, rejoinTable } from "./leaving.ts";
import { loseSight, noteParents, regainSight } from "./out-of-sight.ts";
import type { Shape } from "./former-shape.ts";
import type { Reconciliation } from "./reconcile.ts";
import type { SeenSchema } from "./seen.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import { unseeDeletes } from "../drain/unseen-rows.ts";
import { ParentBehind } from "../linked/linked-rows.ts";
import { isOfSurroundings } from "../sqlite-errors.ts";
import { surveyTables, type TableShape } from "./tables.ts";
import { touchColumns } from "../capture/touch.ts";

/** Where a hash of the UNIQUE constraints is kept by which it was decided which rows are one. */
const UNIQUES = "unique constraints";

/** What is wrong with capture of a table whose triggers somebody dropped or changed. */
const TAKEN_OFF = "its triggers were gone or not as they were made";
/** What is wrong with capture of every table where somebody wrote to `_scoutsync_applying`. */
const SILENCED = "capture was told that changes of others were being applied";

/** A table whose writes are not captured, and how that shows. */
export interface BrokenCapture {
  table: Table;
  reason: string;
}

interface Parts {
  db: Database;
  options: Pick<ReplicaOptions, "exclude" | "triggers">;
  terms: Terms;
  nowUs: () => number;
  rows: RowStore;
  knowledge: Knowledge;
  digest: DigestSums;
  placement: Placement;
  delivery: Delivery;
  drainer: Drain;
  reconciliation: Reconciliation;
  quarantine: Quarantine;
  faults: CaptureFaults;
  silence: Silence;
  seen: SeenSchema;
  clock: ReplicaClock;
  /** Writes to the application's tables as `Turns.silently`. */
  silently: <T>(work: () => T) => T;
  /** Follows rows of other databases that are not where they were. Inside a write transaction. */
  followLinked: () => void;
  /** Forgets what was followed in a transaction that is undone. */
  dropLinked: () => void;
  /** Takes why the database cannot take part just now. */
  noteProblem: (problem: string) => void;
}

/** Keeps capture whole while the application changes its schema, and when somebody takes it off. */
export class SchemaFollower {
  private readonly db: Database;
  private readonly options: Parts["options"];
  private readonly terms: Terms;
  private readonly nowUs: () => number;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly digest: DigestSums;
  private readonly placement: Placement;
  private readonly delivery: Delivery;
  private readonly drainer: Drain;
  private readonly reconciliation: Reconciliation;
  private readonly quarantine: Quarantine;
  private readonly faults: CaptureFaults;
  private readonly silence: Silence;
  private readonly seen: SeenSchema;
  private readonly clock: ReplicaClock;
  private readonly silently: Parts["silently"];
  private readonly followLinked: Parts["followLinked"];
  private readonly dropLinked: Parts["dropLinked"];
  private readonly noteProblem: Parts["noteProblem"];
  /**
   * Where in the file each table began when capture was last looked at, by number: a table that was made anew begins elsewhere.
   * A transaction that is rolled back has not looked.
   */
  begins: ReadonlyMap<number, number> = new Map();
  /** The schema has been looked at since UNIQUE constraints were compared with those of before. */
  private mayMoveUniques = true;

  constructor(parts: Parts) {
    this.db = parts.db;
    this.options = parts.options;
    this.terms = parts.terms;
    this.nowUs = parts.nowUs;
    this.rows = parts.rows;
    this.knowledge = parts.knowledge;
    this.digest = parts.digest;
    this.placement = parts.placement;
    this.delivery = parts.delivery;
    this.drainer = parts.drainer;
    this.reconciliation = parts.reconciliation;
    this.quarantine = parts.quarantine;
    this.faults = parts.faults;
    this.silence = parts.silence;
    this.seen = parts.seen;
    this.clock = parts.clock;
    this.silently = parts.silently;
    this.followLinked = parts.followLinked;
    this.dropLinked = parts.dropLinked;
    this.noteProblem = parts.noteProblem;
  }

  /**
   * Looks whether the application changed its schema, and makes capture whole again. Inside a write transaction. False
   * when more has to be drained first under the shapes that were.
   */
  follow(until: number): boolean {
    if (this.seen.isCurrent && !this.drainer.foundWithoutKey) return true;
    this.drainer.forgetParts();
    const { tables: shapes } = surveyTables(this.db, this.options.exclude, this.terms);
    followRenames(this.db, new Set(shapes.map((shape) => shape.name)));
    let tables = catalogTables(this.db, shapes);
    if (followRebuilt(this.rows, tables)) tables = catalogTables(this.db, shapes);
    const absent = absentTables(this.db, tables);
    const leaving = leavingTables(this.db, tables);
    const returned = tables.filter((table) => leftSince(this.db, table.tid) !== null);
    const left = removeStaleCapture(this.db, [...tables, ...leaving], this.nowUs());
    for (const tid of left) loseSight(this.db, tid);
    noteParents(this.db, tables);
    noteLacking(this.db, tables, absent, this.nowUs());
    const broken = tables.flatMap((table) => {
      const shape = capturedShape(this.db, table);
      const same = shape !== null && isShapeOf(shape, table) && captureIsWhole(this.db, table);
      if (same) return [];
      const taken = shape !== null && hasTakenNames(this.db, shape, table);
      const byHand = !taken && this.wasTakenOff(table);
      if (byHand) this.faults.note({ table: table.name, reason: TAKEN_OFF, atUs: this.nowUs() });
      return [{ table, shape, blind: byHand || taken || !isCaptured(this.db, table), byHand }];
    });
    for (const { table, shape, blind, byHand } of broken) if (shape) this.reconciliation.begin(table.tid, shape, blind, !byHand);
    const isLost = ({ keyless, columns }: Table, name: string) => !keyless && columns.every((column) => column.name !== name);
    const shrunk = broken.filter(({ table, shape }) => shape?.columns.some((name) => isLost(table, name)));
    const isFormer = this.rows.tables.length === 0 || shrunk.length > 0 || this.hasRenamed(tables) || left.length > 0;
    if (broken.length > 0 && isFormer) this.takeFormer(shapes, tables, leaving);
    for (const { table, shape, blind } of shrunk) this.recapture(table.tid, shape as Shape, blind);
    if (
      broken.length > 0 &&
      this.rows.tables.length > 0 &&
      !this.drainOld(
        broken.map(({ table }) => table),
        until,
      )
    )
      return false;
    // Not before: where that takes several turns, the next would take tables that were made anew for ones whose triggers went.
    this.begins = new Map(tables.map((table) => [table.tid, rootOf(this.db, table)]));
    // What could not be drained under the shape that was goes, and is found by comparing.
    for (const { table, shape } of broken) if (shape && this.drainer.hasEventsOf(table)) this.reconciliation.begin(table.tid, shape, true);
    for (const { table } of broken) installCapture(this.db, table);
    for (const table of tables) if (hasLocalKey(table)) noteLocalKeys(this.db, table.tid);
    for (const table of tables) noteGoing(this.db, table);
    for (const table of tables) noteOrder(this.db, table);
    captureFirst(this.db);
    this.rows.setTables([...tables, ...leaving, ...absent.filter(({ tid }) => leaving.every((table) => table.tid !== tid))]);
    this.rows.shared.nameTables([...tables, ...absent]);
    this.rejoin(returned, new Map(broken.map(({ table, shape }) => [table, shape])));
    const held: IncomingRow[] = [];
    const parts = { db: this.db, rows: this.rows, knowledge: this.knowledge };
    for (const { table, shape } of broken) {
      const isNew = shape === null && table.keyless && !this.wasJustWritten(table);
      const taking = {
        takeOut: (state: RowState) => held.push(this.delivery.takeOut(state)),
        remove: (key: SqlValue[]) => this.silently(() => this.rows.of(table).delete(key)),
      };
      const isAdopted = (isNew && adoptKeyless(parts, table, taking)) || (shape === null && adoptSeeded(parts, table, taking));
      if (shape === null && !isAdopted) this.reconciliation.begin(table.tid, null, true);
    }
    this.drainer.lookedForWithoutKey();
    this.reconciliation.restart();
    this.silence.suspended = triggersToSuspend(this.db, tables, this.options.triggers);
    this.placement.pastCapture.isOrdinary = this.writesUnseen(tables);
    this.seen.see();
    if (leaving.length > 0) this.leave(leaving, tables, absent);
    holdWaiting(this.db, absent);
    forgetTaken(this.db, this.rows, absent);
    keepReplaced(
      parts,
      absent.filter(({ tid }) => leftSince(this.db, tid) !== null),
      this.clock.sharedTo,
    );
    unseeDeletes(parts, this.clock.sharedTo);
    if (held.length > 0) this.silently(() => this.delivery.merge(held));
    this.delivery.begin();
    this.mayMoveUniques = true;
    // What a foreign key kept out, or the want of one, may have a place now.
    this.placement.decisions.forget();
    this.forgetSums(absent);
    return true;
  }

  /** True where a trigger that writes to captured tables is to run all the same while nothing is captured. */
  private writesUnseen(tables: readonly Table[]): boolean {
    const run = new Set((this.options.triggers?.run ?? []).map((name) => name.toLowerCase()));
    return run.size > 0 && triggersToSuspend(this.db, tables).some(({ name }) => run.has(name.toLowerCase()));
  }

  /** True when nothing has changed about a table but the triggers on it, which the application has no reason to touch. */
  private wasTakenOff(table: Table): boolean {
    const before = this.rows.tables.find(({ tid, absent }) => tid === table.tid && absent === null);
    if (before === undefined || this.begins.get(table.tid) !== rootOf(this.db, table)) return false;
    const sqlOf = (captured: Table) => captureTriggers(captured).map(({ sql }) => sql);
    return sqlOf(before).join("\n") === sqlOf(table).join("\n");
  }

  /** A flag of ours that outlived its transaction was set by somebody else, and nothing was captured while it stood. */
  hearAgain(): void {
    if (!this.silence.isForged) return;
    this.silence.end();
    for (const { tid, name, absent } of this.rows.tables) {
      if (absent !== null) continue;
      this.faults.note({ table: name, reason: SILENCED, atUs: this.nowUs() });
      this.reconciliation.begin(tid, null, true);
    }
  }

  /** Tables of which a write leaves no trace, tried on the file at `path`, or whose triggers are not as they were made. */
  brokenCapture(path: string): BrokenCapture[] {
    const tables = this.rows.tables.filter(({ absent }) => absent === null);
    const silent = new Map(
      silentWrites(
        path,
        tables.filter(({ where }) => where === null),
      ).map(({ table, statements }) => [table.tid, statements]),
    );
    return tables.flatMap((table) => {
      const statements = silent.get(table.tid);
      if (statements !== undefined) return [{ table, reason: `${statements.join(", ")} left no trace` }];
      return captureIsWhole(this.db, table) ? [] : [{ table, reason: TAKEN_OFF }];
    });
  }

  /** Makes capture of these tables whole; what was written meanwhile is found by comparing. Inside a write transaction. */
  mendCapture(broken: readonly BrokenCapture[]): void {
    removeForeignTriggers(this.db);
    for (const { table, reason } of broken) {
      this.faults.note({ table: table.name, reason, atUs: this.nowUs() });
      this.reconciliation.begin(table.tid, null, true);
      installCapture(this.db, table);
    }
  }

  /**
   * Rows are one while they share a UNIQUE value: looked at anew where a migration has changed the constraints, once its
   * tables are compared. True when rows may have to move.
   */
  followUniques(): boolean {
    if (!this.mayMoveUniques) return false;
    this.mayMoveUniques = false;
    const constraints = this.rows.tables.filter(({ surrogate }) => surrogate).map(({ tid, uniques }) => [tid, uniques]);
    const print = hash("sha256", JSON.stringify(constraints));
    if (readMeta(this.db, UNIQUES) === print) return false;
    writeMeta(this.db, UNIQUES, print);
    if (!this.rows.same.exist) return false;
    this.silently(() => this.placement.entities.touchAll());
    return true;
  }

  /** Tables that are back: what is held of their rows, and what of them is not here any more. `captured`: the shapes they had. */
  private rejoin(returned: readonly Table[], captured: ReadonlyMap<Table, Shape | null>): void {
    for (const table of returned) {
      const renewed = rejoinTable(this.rows, table, (row, indexes) => touchColumns(this.db, table, row, indexes));
      if (forgetMissing(this.db, this.rows, table, captured.get(table) ?? null) === 0) regainSight(this.db, table.tid);
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
    const left = removeStaleCapture(this.db, tables, this.nowUs());
    for (const tid of left) loseSight(this.db, tid);
    this.rows.setTables([...tables, ...absent]);
    this.seen.see();
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
   * silent; false when the schema has to be followed before anything else is done.
   */
  makeRoomFor(unpacked: Buffer | null): boolean {
    if (!unpacked || !enterWithoutKey(this.db, this.rows.tables, tablesIn(unpacked))) return true;
    this.seen.forget();
    return false;
  }

  /** True where a table that takes part is under another name now than the one by which it is read, or its key is. */
  private hasRenamed(tables: readonly Table[]): boolean {
    const namesOf = ({ source, key }: Table) => JSON.stringify([source, ...key.map(({ name }) => name)]);
    const renamed = tables.filter((table) => {
      const before = this.rows.tables.find(({ tid }) => tid === table.tid) ?? table;
      return namesOf(before) !== namesOf(table);
    });
    this.begins = new Map([...this.begins].filter(([known]) => renamed.every(({ tid }) => tid !== known)));
    return renamed.length > 0;
  }

  /**
   * Knows the tables as they were before a migration that ran while nobody was here, or that renamed some: what was captured until
   * then is drained under them. Comparing would only find that rows went, and nothing has their values but what was captured.
   */
  private takeFormer(shapes: readonly TableShape[], tables: readonly Table[], leaving: readonly Table[]): void {
    const taking = [...formerTables(this.db, shapes, tables), ...leaving];
    const absent = absentTables(this.db, taking);
    this.rows.setTables([...taking, ...absent]);
    this.rows.shared.nameTables([...taking, ...absent]);
  }

  /**
   * Of a table that has lost columns goes on what was captured in the others: a drain cannot read those that are gone, and comparing
   * knows neither what a write added up nor which columns it was of. `blind` as of `Reconciliation.begin`.
   */
  private recapture(tid: number, captured: Shape, blind: boolean): void {
    const table = this.rows.byTid(tid);
    if (!table || isShapeOf(captured, table) || !this.drainer.hasEventsOf(table)) return;
    this.reconciliation.renamed.noteFound(table, captured);
    recapture(this.db, table, captured);
    this.reconciliation.begin(tid, { name: captured.name, columns: table.columns.map(({ name }) => name) }, blind);
  }

  /**
   * Events captured under the shape that was; what cannot be read any more is found by the reconciliation that follows.
   * False when `until` has passed before the end of them.
   */
  private drainOld(broken: readonly Table[], until: number): boolean {
    const drained = this.attempt(broken, () => {
      // Before integers of other databases' rows are followed nothing is drained that may have been written with new ones.
      this.followLinked();
      return this.drainer.run(until);
    });
    if (drained !== null) return drained;
    // Of rows without a key that went nothing else has the values.
    for (const { tid, keyless } of broken) {
      const former = keyless ? this.rows.byTid(tid) : undefined;
      if (former?.absent === null) this.attempt(broken, () => this.drainer.runKeyless(former));
    }
    return true;
  }

  /** What `work` gives; null where the shape of the tables does not allow it, and nothing has come of it. */
  private attempt<T>(broken: readonly Table[], work: () => T): T | null {
    // What was done before stays when this is undone, and what this does when a later attempt is: reloading reads it from the file.
    this.flush();
    this.db.exec("SAVEPOINT old_shape");
    try {
      const done = work();
      this.flush();
      this.db.exec("RELEASE old_shape");
      return done;
    } catch (error) {
      // It would go as well another time, and what goes on without it gives up values that nothing else has.
      if (isOfSurroundings(error) || error instanceof ParentBehind || !this.db.inTransaction) throw error;
      this.db.exec("ROLLBACK TO old_shape; RELEASE old_shape");
      this.dropLinked();
      this.rows.discard();
      this.digest.reload();
      this.knowledge.reload();
      this.drainer.reload();
      this.quarantine.forget();
      this.rows.lookForKeptBack();
      this.noteProblem(`schema of ${broken.map((table) => table.name).join(", ")} changed: ${(error as Error).message}`);
      return null;
    }
  }

  private flush(): void {
    this.rows.flush();
    this.digest.flush();
    this.knowledge.flush();
  }
}

/** The first page of the application's table. */
function rootOf(db: Database, table: Table): number {
  return db
    .prepare("SELECT rootpage FROM main.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE")
    .pluck()
    .get(table.source) as number;
}
