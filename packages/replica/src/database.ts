import { randomBytes } from "node:crypto";
import { uptime } from "node:os";
import type Database from "better-sqlite3";
import {
  type ApplyResult,
  type ChangeBatch,
  type ChangeCount,
  type DigestEntry,
  EMPTY_VECTOR,
  isCovered,
  type HistoryEntry,
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
import { Applier } from "./apply/apply.ts";
import { Delivery } from "./apply/delivery.ts";
import { Joining } from "./apply/joining.ts";
import { Placement } from "./apply/placement.ts";
import type { Audited } from "./audit/context.ts";
import { rowHistory } from "./audit/history.ts";
import { countNotices } from "./audit/notices.ts";
import { writeParked } from "./audit/parked.ts";
import { readableChanges } from "./audit/readable.ts";
import { decideQuarantine, quarantineReviews } from "./audit/quarantine-reviews.ts";
import { keepAlive, keptReviews } from "./audit/kept.ts";
import { countReviews, findReviews, oldestFirst, resolveReview } from "./audit/reviews.ts";
import { restoreRow } from "./audit/restore.ts";
import { Veil } from "./audit/veil.ts";
import { digestEntries } from "./digest/entries.ts";
import { DigestSums } from "./digest/digest-sums.ts";
import { Drain } from "./drain/drain.ts";
import { EarlyReferences } from "./drain/early-references.ts";
import type { BaselineChoice } from "./identity/baseline.ts";
import { openFile, prepareFile } from "./identity/open.ts";
import { Restored } from "./identity/restored.ts";
import { SameFile } from "./identity/same-file.ts";
import { Knowledge } from "./identity/knowledge.ts";
import { isNews, storeReceipt } from "./identity/receipts.ts";
import { Groups } from "./log/groups.ts";
import { SharedRows } from "./identity/shared-rows.ts";
import { Floor } from "./forgetting/floor.ts";
import { Members } from "./forgetting/members.ts";
import { type Forgetting, Forgetter } from "./forgetting/forget.ts";
import { Rejoin } from "./forgetting/rejoin.ts";
import { LinkedFollower } from "./linked/linked-follower.ts";
import { LinkedHashes } from "./linked/linked-hashes.ts";
import { LinkedParent } from "./linked/linked-parent.ts";
import { LinkedRows, type Neighbour } from "./linked/linked-rows.ts";
import { LogReader } from "./log/read.ts";
import { leftBehind, type Reissue, reissue } from "./repair/reissue.ts";
import { recheckRows, resum, rowsNamed } from "./repair/recheck.ts";
import type { CaptureCheck, ReadRequest, ReplicaOptions, ReplicaState, Resolution, Standing, WholeRowsRequest } from "./replica.ts";
import { FormerIds, REMEMBERED_US } from "./rows/former-ids.ts";
import { EntityMembers } from "./rows/members.ts";
import { RowStore } from "./rows/row-store.ts";
import type { Table } from "./schema/catalog.ts";
import { SchemaFollower } from "./schema/follow.ts";
import { SeenSchema } from "./schema/seen.ts";
import { CaptureFaults } from "./capture/faults.ts";
import { Silence } from "./capture/silence.ts";
import { readMeta, writeMeta } from "./schema/install.ts";
import { Quarantine, quarantineLimits } from "./quarantine/quarantine.ts";
import { Reconciliation } from "./schema/reconcile.ts";
import { quote } from "./schema/quote.ts";
import { adoptTerms, termsMoved } from "./schema/terms.ts";
import { fromSqlite } from "./sqlite-errors.ts";
import { carryScope, type ScopeCarried } from "./scope/carry.ts";
import { applyKept, dismissKept, keptOfScope } from "./scope/kept.ts";
import { makeScopeCopy, type ScopeSource } from "./scope/copy.ts";
import { ReplicaClock } from "./time/replica-clock.ts";
import { restamp } from "./time/restamp.ts";
import { BETWEEN_TURNS_MS, LONGEST_TURN_MS, Turns } from "./turns.ts";
import { Exchange } from "./exchange.ts";
import { valueStatement } from "./kept-statements.ts";
import { pauseThread } from "./write-lock.ts";
import { keyNamed } from "./rows/named-rows.ts";

/** One call to forget takes no longer than this; the next goes on, milliseconds. */
const LONGEST_FORGETTING_MS = 20_000;
/** Where the choice about rows from before syncing is kept. */
const CHOICE = "baseline choice";
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
  /** Databases of the node whose rows this one refers to, by name, and those that refer to its rows; as far as they are open. */
  neighbour?: (name: string) => ReplicaDatabase | null;
  dependents?: () => readonly ReplicaDatabase[];
  /** Opens the connection on the database file; better-sqlite3 as it is unless a test wraps it. */
  connect?: (path: string, options: Database.Options) => Database.Database;
}

/** Of a node that runs. */
export const REAL: Surroundings = { nowUs: () => Date.now() * 1000, uptimeUs: () => uptime() * 1e6, random: randomBytes };

/** One database taking part, as its thread sees it. Every call is synchronous and leaves no transaction open. */
export class ReplicaDatabase implements Neighbour {
  readonly path: string;
  /** Which integers are which rows, for databases of the node that refer to them. */
  readonly linkedRows: LinkedParent;
  readonly run: string;
  private readonly options: ReplicaOptions;
  private readonly terms: Terms;
  /** The machine's clock, for how long ago something was here. */
  private readonly nowUs: () => number;
  private readonly clock: ReplicaClock;
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
  private readonly follower: SchemaFollower;
  private readonly turns: Turns;
  private readonly exchange: Exchange;
  private problem = "";
  private dataVersion = -1;

  constructor(options: ReplicaOptions, run: string, surroundings: Surroundings = REAL) {
    this.options = options;
    this.terms = parseTerms(options.rules ?? []);
    this.run = run;
    this.faults = new CaptureFaults(run);
    const { nowUs } = surroundings;
    this.nowUs = nowUs;
    this.clock = new ReplicaClock({ nowUs, uptimeUs: surroundings.uptimeUs ?? nowUs, correctionUs: options.clockCorrectionUs ?? 0 });
    if (options.scope) makeScopeCopy(options.scope, options.path);
    const opened = openFile(options.path, options.busyTimeoutMs, surroundings.connect);
    this.path = opened.path;
    this.db = opened.db;
    this.release = opened.release;
    try {
      prepareFile({ db: this.db, path: options.path }, { exclude: options.exclude, terms: this.terms });
      this.file = new SameFile(this.db, options.path, this.path);
      this.file.begin();
      this.digest = new DigestSums(this.db);
      this.knowledge = new Knowledge(this.db, options.nodeName, surroundings.random);
      this.rows = new RowStore(this.db, {
        digest: this.digest,
        causality: this.knowledge,
        shared: new SharedRows(this.db, this.knowledge),
        former: new FormerIds(this.db, nowUs, surroundings.rememberedUs ?? REMEMBERED_US),
        linked: new LinkedRows(this.db, this.knowledge, (name) => surroundings.neighbour?.(name) ?? null),
      });
      if (options.isReferredTo) this.rows.touched = new Map();
      this.veil = new Veil(options.sensitive ?? [], () => this.rows.tables);
      const parts = { db: this.db, rows: this.rows, knowledge: this.knowledge };
      this.linkedRows = new LinkedParent(parts);
      const entityMembers = new EntityMembers(parts);
      const groups = new Groups(parts);
      this.audited = { ...parts, members: entityMembers, veil: this.veil };
      this.reconciliation = new Reconciliation(this.db, this.rows);
      const isComparing = () => this.reconciliation.isOpen;
      const early = new EarlyReferences({ ...parts, isJoining: () => this.rejoining.active, isComparing });
      this.placement = new Placement({ ...parts, members: entityMembers, park: options.park ?? [], isComparing, early });
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
        early,
      });
      this.floor = new Floor(parts);
      this.members = new Members(this.db, { id: options.nodeId, name: options.nodeName });
      this.rejoining = new Rejoin({ ...parts, placement: this.placement, early });
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
      const seen = new SeenSchema(this.db);
      const silence = new Silence({ db: this.db, rows: this.rows, seen });
      const shared = {
        ...parts,
        digest: this.digest,
        placement: this.placement,
        delivery: this.delivery,
        drainer: this.drainer,
        reconciliation: this.reconciliation,
        quarantine: this.quarantine,
        faults: this.faults,
        silence,
        seen,
      };
      this.turns = new Turns({
        ...shared,
        path: options.path,
        turnMs: surroundings.turnMs ?? LONGEST_TURN_MS,
        file: this.file,
        floor: this.floor,
        clock: this.clock,
        reader: this.reader,
        early,
        linkedRows: this.linkedRows,
        linkedFollower: new LinkedFollower({ ...parts, placement: this.placement }),
        dependents: () => (options.isReferredTo === true ? (surroundings.dependents?.() ?? []).map(({ turns }) => turns) : []),
        drainNeighbour: (name) => surroundings.neighbour?.(name)?.drain(),
      });
      this.follower = new SchemaFollower({
        ...shared,
        options,
        terms: this.terms,
        nowUs,
        silently: (work) => this.turns.silently(work),
        isFollowing: () => this.turns.isFollowing,
        noteProblem: (problem) => (this.problem = problem),
      });
      this.turns.follower = this.follower;
      this.exchange = new Exchange({
        ...parts,
        options,
        terms: this.terms,
        nowUs,
        file: this.file,
        digest: this.digest,
        clock: this.clock,
        restored: this.restored,
        reader: this.reader,
        applier: this.applier,
        joining: this.joining,
        rejoining: this.rejoining,
        silence,
        follower: this.follower,
        turns: this.turns,
      });
      if (options.hadBefore && !this.restored.isKnown && this.restored.lacks(options.hadBefore))
        this.exchange.noteRestored("it had more the last time this node ran");
      this.drain();
      if (termsMoved(this.db, this.terms))
        this.turns.write(() => this.turns.silently(() => adoptTerms({ ...parts, placement: this.placement }, this.terms)));
      this.followLinked();
      // In the middle of a stream rows wait for what is still to come; its end decides.
      this.turns.decideWaiting();
    } catch (error) {
      this.db.close();
      this.release();
      throw fromSqlite(error, options.path);
    }
  }

  // ---- what the replica does

  /** Columns that have come to refer to rows of other databases of the node, or do not any more. */
  private followLinked(): void {
    for (const { table, index, target } of this.rows.linkedColumns)
      this.rows.linked.check(`${table.name}.${table.columns[index]?.name ?? ""}`, target);
    const hashes = new LinkedHashes({ db: this.db, rows: this.rows });
    while (hashes.due && !this.turns.write(() => hashes.turn(performance.now() + LONGEST_TURN_MS))) pauseThread(BETWEEN_TURNS_MS);
  }

  get isBehind(): boolean {
    return this.drainer.needed;
  }

  /** True when at least so many events are captured and not drained. */
  isCaptured(count: number): boolean {
    return this.drainer.isPending(count);
  }

  /** True when everything that is referred to in other databases is where it is there. */
  get isFollowing(): boolean {
    return this.turns.isFollowing;
  }

  /** True when another connection has committed since the last look. Where none has, it costs one read of shared memory. */
  hasNews(): boolean {
    this.file.checkFiles();
    const version = this.foreignCommits();
    if (version === this.dataVersion) return false;
    this.dataVersion = version;
    this.file.checkMark();
    this.drainer.see();
    return true;
  }

  /** Turns everything committed so far into changes, giving the lock back every 200 ms. */
  drain(): void {
    this.turns.drain();
  }

  /** One turn of a drain. False when more is left: the caller may do something else before the next. */
  drainTurn(): boolean {
    return this.turns.drainTurn();
  }

  read(request: ReadRequest): ChangeBatch {
    if (request.learn) this.learnMembers(request.learn);
    const batch = this.exchange.read(request);
    return request.tellMembers && batch.final ? { ...batch, members: this.memberWords() } : batch;
  }

  apply(batch: ChangeBatch): ApplyResult {
    return this.exchange.apply(batch);
  }

  /** As `Exchange.meet`. */
  meet(statement: string, filling = false): void {
    this.exchange.meet(statement, filling);
  }

  /** As `Replica.checkCapture`. */
  checkCapture(seen: string): CaptureCheck {
    this.drain();
    const broken = this.follower.brokenCapture(this.path);
    if (broken.length === 0) return this.faults.since(seen);
    this.turns.write(() => this.follower.mendCapture(broken));
    this.drain();
    return this.faults.since(seen);
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

  /** As `Replica.standing`. */
  standing(run: string): Standing {
    return this.turns.snapshot(() => ({
      vector: this.knowledge.vector,
      digest: this.digest.digest,
      schema: this.reader.schemaPrint(),
      beyondDigest: this.reader.beyondDigest(),
      position: run === "" ? EMPTY_VECTOR : this.position(run),
      members: this.memberWords(),
    }));
  }

  position(run: string): VersionVector {
    return this.applier.position(run);
  }

  beyondDigest(): Uint8Array {
    return this.turns.snapshot(() => this.reader.beyondDigest());
  }

  count(since: VersionVector): ChangeCount {
    return this.turns.snapshot(() => this.reader.count(since));
  }

  readable(since: VersionVector, limit: number): { changes: ReadableChange[]; next: VersionVector | null } {
    return this.turns.snapshot(() => {
      const { changes, next } = readableChanges(this.audited, since, limit);
      return { changes: changes.map((change) => this.veil.change(change)), next };
    });
  }

  digests(request: { table: string; buckets: number[]; deep: boolean }): { vector: VersionVector; entries: DigestEntry[] } {
    return this.turns.snapshot(
      () => ({
        vector: this.knowledge.vector,
        entries: digestEntries({ db: this.db, rows: this.rows, knowledge: this.knowledge }, request),
      }),
      request.deep,
    );
  }

  row(tableName: string, key: string): { name: string; value: SqlValue }[] | null {
    return this.turns.snapshot(() => {
      const table = this.table(tableName);
      const found = keyNamed(this.rows, table, key);
      const values = found && this.rows.of(table).read(found);
      return values ? table.columns.map((column, i) => ({ name: column.name, value: values[i] as SqlValue })) : null;
    });
  }

  wholeRows({ table: name, keys, codecs }: WholeRowsRequest): ChangeBatch {
    this.restored.check();
    this.drain();
    this.turns.write(() => recheckRows(this.rows, this.reconciliation, this.table(name), keys));
    this.turns.write(() => {
      resum(this.db, this.table(name));
      this.digest.reload();
    });
    return this.turns.snapshot(() => {
      const table = this.table(name);
      const states = [...new Set(keys)].flatMap((key) => rowsNamed(this.db, this.rows, table, key));
      return this.reader.wholeRows(states, codecs);
    });
  }

  reviews(request: { kind: string; id: string; limit: number }): Review[] {
    return this.turns.snapshot(() => {
      const wants = (kind: string) => request.kind === "" || request.kind === kind;
      const others = [
        ...(wants("conflict") ? keptReviews(this.audited, this.placement.kept) : []),
        ...(wants("quarantine") ? quarantineReviews(this.quarantine) : []),
      ].filter(({ id }) => request.id === "" || request.id === id);
      const found = [...findReviews(this.audited, request), ...others].toSorted(oldestFirst).map((one) => this.veil.review(one));
      return found.slice(0, request.limit > 0 ? request.limit : found.length);
    });
  }

  resolve(request: Resolution): Review {
    this.drain();
    const { review, parked } = this.turns.write(() => {
      const kept = decideQuarantine(this.quarantine, request.id, request.decision ?? "");
      if (kept) return { review: kept, parked: null };
      const alive = this.turns.silently(() => keepAlive(this.audited, this.placement.kept, request, this.clock.nowUs()));
      if (alive) return { review: alive, parked: null };
      const resolution = resolveReview(this.audited, request);
      const state = resolution.parked;
      if (state) this.turns.silently(() => writeParked(this.audited, this.placement, state, request.set, this.clock.nowUs()));
      return resolution;
    });
    if (parked) this.turns.decideWaiting();
    this.drain();
    const left = parked ? this.reviews({ kind: "parked", id: request.id, limit: 1 })[0] : undefined;
    return left ?? { ...this.veil.review(review), resolved: true };
  }

  history(tableName: string, key: string): HistoryEntry[] {
    return this.turns.snapshot(() => {
      const table = this.table(tableName);
      return this.veil.history(table.name, rowHistory(this.audited, table, key));
    });
  }

  restore(tableName: string, key: string): { name: string; value: SqlValue }[] {
    this.drain();
    return this.turns.write(() => {
      const table = this.table(tableName);
      const restored = this.veil.about(table.name, key, () =>
        this.turns.silently(() => restoreRow(this.audited, { placement: this.placement, veil: this.veil }, table, key, this.clock.nowUs())),
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
    this.turns.write(() => {
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
    while (!this.turns.write(() => forgetter.turn(performance.now() + LONGEST_TURN_MS))) {
      if (performance.now() - begun > LONGEST_FORGETTING_MS) return { ...forgetter.result, complete: false };
      pauseThread(BETWEEN_TURNS_MS);
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
    if (this.members.areNews(words)) this.turns.write(() => this.members.learn(words));
  }

  retire(which: string): NodeName {
    const node = this.turns.write(() => this.members.retire(which, this.nowUs()));
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
    this.turns.write(() => {
      storeReceipt(this.db, this.knowledge, node, vector, this.nowUs());
      this.members.heard(node, vector, this.nowUs(), isBack);
    });
  }

  /** As `Replica.reissue`. */
  reissue(heldForUs: number): number {
    const parts = { db: this.db, rows: this.rows, knowledge: this.knowledge };
    this.drain();
    if (this.reader.originsBeyond().length === 0) return 0;
    const left = this.turns.write(() => leftBehind(parts, this.reader.originsBeyond(), heldForUs, this.nowUs()));
    for (const source of left) {
      const progress: Reissue = this.turns.write(() => ({ source, origin: this.knowledge.drawReissue(source), reached: 0 }));
      const turn = () => {
        this.drainer.run(Number.POSITIVE_INFINITY);
        this.rows.flush();
        this.turns.followReferences();
        return reissue(parts, progress, performance.now() + LONGEST_TURN_MS);
      };
      while (!this.turns.write(turn)) pauseThread(BETWEEN_TURNS_MS);
    }
    // What waited for the end of those streams is decided now.
    this.placement.forget();
    this.turns.decideWaiting();
    return left.length;
  }

  correctClock(correctionUs: number): void {
    // Every contact says so again.
    if (this.clock.isRight(correctionUs, this.knowledge.lastSequence)) return;
    this.drain();
    const wrong = this.clock.misstamped(correctionUs, this.knowledge.lastSequence);
    if (wrong.length === 0) return this.clock.correct(correctionUs);
    this.turns.write(() => {
      const nowUs = this.nowUs() + correctionUs;
      for (const stretch of wrong) restamp({ db: this.db, rows: this.rows, knowledge: this.knowledge }, stretch, nowUs);
    });
    this.clock.correct(correctionUs);
    // Whose row was born first may be another one now.
    this.placement.forget();
    this.turns.decideWaiting();
  }

  /** As `Replica.carryScope`. */
  carryScope(hold = false, beforeCommit?: () => void): ScopeCarried {
    const copy = {
      source: this.scope,
      path: this.path,
      nowUs: this.clock.nowUs(),
      drain: () => this.drain(),
      renumber: (table: string, id: bigint) =>
        this.turns.write(() => this.turns.silently(() => this.placement.decisions.renumber(this.table(table), id))),
      write: (work: (db: Database.Database) => void) => this.turns.write(() => work(this.db)),
      beforeCommit,
    };
    return carryScope(copy, hold);
  }

  keptOfScope(request: { id: string; limit: number }): Review[] {
    return keptOfScope(this.db, this.scope.rule.name, request).map((review) => this.veil.review(review));
  }

  dismissKept(id: string): void {
    this.turns.write(() => dismissKept(this.db, this.scope.rule.name, id));
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

  private table(name: string): Table {
    const table = this.rows.tableNamed(name);
    if (table) return table;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `database "${this.options.name}" has no synced table "${name}"`,
      action: `Synced tables: ${this.rows.tables.map((each) => each.name).join(", ") || "none"}.`,
    });
  }

  /** A number that changes with every commit of another connection. */
  private foreignCommits(): number {
    return valueStatement(this.db, "PRAGMA data_version").get() as number;
  }

  /** Tells by another text that `state` may say something else now: of what is in the file, its schema, and beside it. */
  stateStamp(): string {
    const written = valueStatement(this.db, "SELECT total_changes()").get() as number;
    return [this.foreignCommits(), written, this.rows.catalogs, this.problem, this.restored.problem, this.clock.foundRightUs].join();
  }

  state(): ReplicaState {
    return {
      run: this.run,
      vector: this.knowledge.vector,
      digest: this.digest.digest,
      schema: this.reader.schemaPrint(),
      pending: this.problem === "" ? 0 : this.drainer.pending(),
      parked: this.rows.out.waitingCount(),
      held: this.rows.out.heldCount(null),
      keptBack: this.quarantine.undecided(),
      notices: countNotices(this.audited),
      conflicts: countReviews(this.db, this.rows),
      rows: this.digest.rows,
      tables: this.rows.tables.map((table) => table.name),
      veiled: this.veil.keyTables,
      unknownSensitive: this.veil.unknown,
      restored: this.restored.problem !== "",
      problem: this.problem === "" ? this.restored.problem : this.problem,
      baseline: this.joining.statementText,
      floor: this.floor.vector,
      clockFoundRightUs: this.clock.foundRightUs,
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
      while (!this.drainTurn() && !this.reconciliation.isOpen) pauseThread(BETWEEN_TURNS_MS);
      if (!this.reconciliation.isOpen) this.turns.settle();
    } catch {
      // What could not be drained now waits in the file for the next start.
    }
    this.db.close();
    this.release();
  }
}
