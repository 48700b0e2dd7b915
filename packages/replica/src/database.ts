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
  type ReadableChange,
  type Review,
  type SqlValue,
  SyncError,
  type VersionVector,
} from "@scoutsync/core";
import { countNotices } from "./audit/notices.ts";
import { countReviews } from "./audit/reviews.ts";
import { digestEntries } from "./digest/entries.ts";
import type { BaselineChoice } from "./identity/baseline.ts";
import { openFile, prepareFile } from "./identity/open.ts";
import { isNews, storeReceipt } from "./identity/receipts.ts";
import { type Forgetting, Forgetter } from "./forgetting/forget.ts";
import { LinkedHashes } from "./linked/linked-hashes.ts";
import type { LinkedParent } from "./linked/linked-parent.ts";
import type { Neighbour } from "./linked/linked-rows.ts";
import { leftBehind, type Reissue, reissue } from "./repair/reissue.ts";
import { recheckRows, resum, rowsNamed } from "./repair/recheck.ts";
import type { CaptureCheck, ReadRequest, ReplicaOptions, ReplicaState, Resolution, Standing, WholeRowsRequest } from "./replica.ts";
import { adoptTerms, termsMoved } from "./schema/terms.ts";
import { fromSqlite } from "./sqlite-errors.ts";
import { carryScope, type ScopeCarried } from "./scope/carry.ts";
import { applyKept, dismissKept, keptOfScope } from "./scope/kept.ts";
import { makeScopeCopy, type ScopeSource } from "./scope/copy.ts";
import { restamp } from "./time/restamp.ts";
import { BETWEEN_TURNS_MS, LONGEST_TURN_MS } from "./turns.ts";
import { makeParts, type Parts } from "./parts.ts";
import { REAL, type Surroundings } from "./surroundings.ts";
import { valueStatement } from "./kept-statements.ts";
import { pauseThread } from "./write-lock.ts";

/** One call to forget takes no longer than this; the next goes on, milliseconds. */
const LONGEST_FORGETTING_MS = 20_000;

/** One database taking part, as its thread sees it. Every call is synchronous and leaves no transaction open. */
export class ReplicaDatabase implements Neighbour {
  readonly path: string;
  readonly run: string;
  private readonly parts: Parts;
  private readonly options: ReplicaOptions;
  private readonly terms: Terms;
  /** The machine's clock, for how long ago something was here. */
  private readonly nowUs: () => number;
  private readonly db: Database.Database;
  private readonly release: () => void;
  private problem = "";
  private dataVersion = -1;
  wasPutBack = false;

  constructor(options: ReplicaOptions, run: string, surroundings: Surroundings = REAL) {
    this.options = options;
    this.terms = parseTerms(options.rules ?? []);
    this.run = run;
    const { nowUs } = surroundings;
    this.nowUs = nowUs;
    if (options.scope) makeScopeCopy(options.scope, options.path);
    const opened = openFile(options.path, options.busyTimeoutMs, surroundings.connect);
    this.path = opened.path;
    this.db = opened.db;
    this.release = opened.release;
    try {
      prepareFile({ db: this.db, path: options.path }, { exclude: options.exclude, terms: this.terms });
      this.parts = makeParts({ db: this.db, real: this.path, options, terms: this.terms, run }, surroundings, {
        noteProblem: (problem) => (this.problem = problem),
        dependents: () => (surroundings.dependents?.() ?? []).map(({ parts }) => parts.turns),
      });
      this.wasPutBack = this.parts.knowledge.isOthers || (options.hadBefore !== undefined && this.parts.restored.lacks(options.hadBefore));
      // Opened anew under a running node it is different: what waits has been written since, but for what came with the file.
      if (!surroundings.opening || this.parts.drainer.hasEventsBefore(surroundings.seenUs ?? 0))
        this.parts.rows.linked.beginWaited(this.wasPutBack);
      // Before it knows its tables there is nothing to be asked.
      while (!this.drainTurn()) pauseThread(BETWEEN_TURNS_MS);
      this.parts.rows.linked.endWaited();
      surroundings.opening?.(this);
      if (options.hadBefore && !this.parts.restored.isKnown && this.parts.restored.lacks(options.hadBefore))
        this.parts.exchange.noteRestored("it had more the last time this node ran");
      this.drain();
      if (termsMoved(this.db, this.terms))
        this.parts.turns.write(() => this.parts.turns.silently(() => adoptTerms({ ...this.parts, db: this.db }, this.terms)));
      this.followLinked();
      // In the middle of a stream rows wait for what is still to come; its end decides.
      this.parts.turns.decideWaiting();
      this.parts.turns.isOpening = false;
      this.db.pragma(`busy_timeout = ${options.busyTimeoutMs}`);
    } catch (error) {
      this.db.close();
      this.release();
      throw fromSqlite(error, options.path);
    }
  }

  // ---- what the replica does

  /** Columns that have come to refer to rows of other databases of the node, or do not any more. */
  private followLinked(): void {
    for (const { table, index, target } of this.parts.rows.linkedColumns)
      this.parts.rows.linked.check(`${table.name}.${table.columns[index]?.name ?? ""}`, target);
    const hashes = new LinkedHashes({ db: this.db, rows: this.parts.rows });
    while (hashes.due && !this.parts.turns.write(() => hashes.turn(performance.now() + LONGEST_TURN_MS))) pauseThread(BETWEEN_TURNS_MS);
  }

  /** Which integers are which rows, for databases of the node that refer to them. */
  get linkedRows(): LinkedParent {
    return this.parts.linkedRows;
  }

  /** Throws DATABASE_REPLACED when the path leads to another database than the one that is open. */
  checkFile(): void {
    this.parts.file.check();
  }

  answered(table: string, id: bigint): void {
    if (this.linkedRows.formerAt(table, id)) this.parts.turns.write(() => this.linkedRows.answered(table, id));
  }

  get isBehind(): boolean {
    return this.parts.drainer.needed;
  }

  /** True when at least so many events are captured and not drained. */
  isCaptured(count: number): boolean {
    return this.parts.drainer.isPending(count);
  }

  /** True when everything that is referred to in other databases is where it is there. */
  get isFollowing(): boolean {
    return this.parts.turns.isFollowing;
  }

  /** True when another connection has committed since the last look. Where none has, it costs one read of shared memory. */
  hasNews(): boolean {
    this.parts.file.checkFiles();
    const version = this.foreignCommits();
    this.parts.clock.looked(version !== this.dataVersion);
    if (version === this.dataVersion) return false;
    this.dataVersion = version;
    this.parts.file.checkMark();
    this.parts.drainer.see();
    return true;
  }

  /** Turns everything committed so far into changes, giving the lock back every 200 ms. */
  drain(): void {
    this.parts.turns.drain();
  }

  /** One turn of a drain. False when more is left: the caller may do something else before the next. */
  drainTurn(): boolean {
    return this.parts.turns.drainTurn();
  }

  read(request: ReadRequest): ChangeBatch {
    if (request.learn) this.learnMembers(request.learn);
    const batch = this.parts.exchange.read(request);
    return request.tellMembers && batch.final ? { ...batch, members: this.memberWords() } : batch;
  }

  apply(batch: ChangeBatch): ApplyResult {
    const result = this.parts.exchange.apply(batch);
    // All that refer to it are open by now.
    this.wasPutBack = false;
    return result;
  }

  /** As `Exchange.meet`. */
  meet(statement: string, filling = false): void {
    this.parts.exchange.meet(statement, filling);
  }

  /** As `Replica.checkCapture`. */
  checkCapture(seen: string): CaptureCheck {
    this.drain();
    const broken = this.parts.follower.brokenCapture(this.path);
    if (broken.length === 0) return this.parts.faults.since(seen);
    this.parts.turns.write(() => this.parts.follower.mendCapture(broken));
    this.drain();
    return this.parts.faults.since(seen);
  }

  /** Writes a copy of the database, drained, to a path where nothing is yet. */
  copyTo(path: string): void {
    this.drain();
    this.db.prepare("VACUUM INTO ?").run(path);
  }

  /** What this replica says of rows that were there before syncing: goes with every opening and batch. */
  baseline(): string {
    return this.parts.joining.statementText;
  }

  /** What the rows of both sides are about to be joined as; null where they are not joined now. Throws as `meet`. */
  choiceFor(statement: string): BaselineChoice | null {
    return this.parts.joining.choiceFor(statement);
  }

  /** As `Replica.standing`. */
  standing(run: string): Standing {
    return this.parts.turns.snapshot(() => ({
      vector: this.parts.knowledge.vector,
      digest: this.parts.digest.digest,
      schema: this.parts.reader.schemaPrint(),
      beyondDigest: this.parts.reader.beyondDigest(),
      position: run === "" ? EMPTY_VECTOR : this.position(run),
      members: this.memberWords(),
    }));
  }

  position(run: string): VersionVector {
    return this.parts.applier.position(run);
  }

  beyondDigest(): Uint8Array {
    return this.parts.turns.snapshot(() => this.parts.reader.beyondDigest());
  }

  count(since: VersionVector): ChangeCount {
    return this.parts.turns.snapshot(() => this.parts.reader.count(since));
  }

  readable(since: VersionVector, limit: number): { changes: ReadableChange[]; next: VersionVector | null } {
    return this.parts.questions.readable(since, limit);
  }

  row(table: string, key: string): { name: string; value: SqlValue }[] | null {
    return this.parts.questions.row(table, key);
  }

  reviews(request: { kind: string; id: string; limit: number }): Review[] {
    return this.parts.questions.reviews(request);
  }

  resolve(request: Resolution): Review {
    return this.parts.questions.resolve(request);
  }

  history(table: string, key: string): HistoryEntry[] {
    return this.parts.questions.history(table, key);
  }

  restore(table: string, key: string): { name: string; value: SqlValue }[] {
    return this.parts.questions.restore(table, key);
  }

  /** As `Replica.textsIn`. */
  textsIn(request: { table: string; column: string; limit: number }): string[] {
    return this.parts.questions.textsIn(request);
  }

  digests(request: { table: string; buckets: number[]; deep: boolean }): { vector: VersionVector; entries: DigestEntry[] } {
    return this.parts.turns.snapshot(
      () => ({
        vector: this.parts.knowledge.vector,
        entries: digestEntries({ db: this.db, rows: this.parts.rows, knowledge: this.parts.knowledge }, request),
      }),
      request.deep,
    );
  }

  wholeRows({ table: name, keys, codecs }: WholeRowsRequest): ChangeBatch {
    this.parts.restored.check();
    this.drain();
    this.parts.turns.write(() => recheckRows(this.parts.rows, this.parts.reconciliation, this.parts.questions.table(name), keys));
    this.parts.turns.write(() => {
      resum(this.db, this.parts.questions.table(name));
      this.parts.digest.reload();
    });
    return this.parts.turns.snapshot(() => {
      const table = this.parts.questions.table(name);
      const states = [...new Set(keys)].flatMap((key) => rowsNamed(this.db, this.parts.rows, table, key));
      return this.parts.reader.wholeRows(states, codecs);
    });
  }

  /**
   * Begins to join again after having been away for longer than others remember: the batches of a stream from nothing,
   * marked `rejoin`, are then compared with everything here.
   */
  beginRejoin(): void {
    this.drain();
    this.parts.rejoining.refuseKeptBack();
    this.parts.turns.write(() => {
      this.db.exec("DELETE FROM _scoutsync_position; DELETE FROM _scoutsync_stream");
      this.parts.knowledge.renew();
      this.parts.clock.restart();
    });
    this.parts.rejoining.begin();
  }

  /** As `Replica.forget`, in turns that give the lock back. */
  forget({ retentionDays, dryRun }: { retentionDays: number; dryRun: boolean }): Forgetting {
    const parts = { ...this.parts, db: this.db, entities: this.parts.placement.members };
    // Corrected: by a clock that is a year ahead, what was deleted just now would be past the retention.
    const options = { retentionDays, dryRun, nowUs: this.parts.clock.nowUs() };
    let forgetter = new Forgetter(parts, options);
    // In the middle of a stream it is not known what refers to what.
    if (this.parts.restored.problem !== "" || this.parts.reader.isMidStream) return { ...forgetter.result, complete: false };
    this.drain();
    const begun = performance.now();
    let mayBeUndone = false;
    const turn = () => {
      // A transaction that was undone is done again: what it went past is still there.
      if (mayBeUndone) forgetter = new Forgetter(parts, options);
      mayBeUndone = true;
      return forgetter.turn(performance.now() + LONGEST_TURN_MS);
    };
    for (; !this.parts.turns.write(turn); mayBeUndone = false) {
      if (performance.now() - begun > LONGEST_FORGETTING_MS) return { ...forgetter.result, complete: false };
      pauseThread(BETWEEN_TURNS_MS);
    }
    return forgetter.result;
  }

  /** As `Replica.members`. */
  memberWords(): MemberWord[] {
    return this.parts.members.words(this.parts.knowledge.vector, this.nowUs());
  }

  learnMembers(words: readonly MemberWord[]): void {
    if (this.parts.members.areNews(words)) this.parts.turns.write(() => this.parts.members.learn(words));
  }

  retire(which: string): NodeName {
    const node = this.parts.turns.write(() => this.parts.members.retire(which, this.nowUs()));
    if (node) return node;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `"${this.options.name}" here has never heard of a node "${which}"`,
      action: "Name it as `scoutsync peers list` lists it, by its id where two nodes share a name.",
    });
  }

  acknowledge(node: NodeName, vector: VersionVector): void {
    // One that was retired and has everything again is waited for again.
    const isBack = isCovered(this.parts.floor.vector, vector);
    if (!isNews(this.db, node, vector) && !(isBack && this.parts.members.isRetired(node))) return;
    this.parts.turns.write(() => {
      storeReceipt(this.db, this.parts.knowledge, node, vector, this.nowUs());
      this.parts.members.heard(node, vector, this.nowUs(), isBack);
    });
  }

  /** As `Replica.reissue`. */
  reissue(heldForUs: number): number {
    const parts = { db: this.db, rows: this.parts.rows, knowledge: this.parts.knowledge };
    this.drain();
    if (this.parts.reader.originsBeyond().length === 0) return 0;
    const left = this.parts.turns.write(() => leftBehind(parts, this.parts.reader.originsBeyond(), heldForUs, this.nowUs()));
    for (const source of left) {
      const progress: Reissue = this.parts.turns.write(() => ({ source, origin: this.parts.knowledge.drawReissue(source) }));
      const turn = () => {
        this.parts.drainer.run(Number.POSITIVE_INFINITY);
        this.parts.rows.flush();
        this.parts.turns.followReferences();
        return reissue(parts, progress, performance.now() + LONGEST_TURN_MS);
      };
      while (!this.parts.turns.write(turn)) pauseThread(BETWEEN_TURNS_MS);
    }
    // What waited for the end of those streams is decided now.
    this.parts.placement.forget();
    this.parts.turns.decideWaiting();
    return left.length;
  }

  correctClock(correctionUs: number): void {
    // Every contact says so again.
    if (this.parts.clock.isRight(correctionUs, this.parts.knowledge.lastSequence)) return;
    this.drain();
    const wrong = this.parts.clock.misstamped(correctionUs, this.parts.knowledge.lastSequence);
    if (wrong.length === 0) return this.parts.clock.correct(correctionUs);
    this.parts.turns.write(() => {
      const nowUs = this.nowUs() + correctionUs;
      for (const stretch of wrong) restamp({ db: this.db, rows: this.parts.rows, knowledge: this.parts.knowledge }, stretch, nowUs);
    });
    this.parts.clock.correct(correctionUs);
    // Whose row was born first may be another one now.
    this.parts.placement.forget();
    this.parts.turns.decideWaiting();
  }

  /** As `Replica.carryScope`. */
  carryScope(hold = false, beforeCommit?: () => void): ScopeCarried {
    const copy = {
      source: this.scope,
      path: this.path,
      nowUs: this.parts.clock.nowUs(),
      drain: () => this.drain(),
      renumber: (table: string, id: bigint) =>
        this.parts.turns.write(() =>
          this.parts.turns.silently(() => this.parts.placement.decisions.renumber(this.parts.questions.table(table), id)),
        ),
      write: (work: (db: Database.Database) => void) => this.parts.turns.write(() => work(this.db)),
      beforeCommit,
    };
    return carryScope(copy, hold);
  }

  keptOfScope(request: { id: string; limit: number }): Review[] {
    return keptOfScope(this.db, this.scope.rule.name, request).map((review) => this.parts.veil.review(review));
  }

  dismissKept(id: string): void {
    this.parts.turns.write(() => dismissKept(this.db, this.scope.rule.name, id));
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

  /** A number that changes with every commit of another connection. */
  private foreignCommits(): number {
    return valueStatement(this.db, "PRAGMA data_version").get() as number;
  }

  /** Tells by another text that `state` may say something else now: of what is in the file, its schema, and beside it. */
  stateStamp(): string {
    const written = valueStatement(this.db, "SELECT total_changes()").get() as number;
    return [
      this.foreignCommits(),
      written,
      this.parts.rows.catalogs,
      this.problem,
      this.parts.restored.problem,
      this.parts.clock.foundRightUs,
    ].join();
  }

  state(): ReplicaState {
    return {
      run: this.run,
      vector: this.parts.knowledge.vector,
      digest: this.parts.digest.digest,
      schema: this.parts.reader.schemaPrint(),
      pending: this.problem === "" ? 0 : this.parts.drainer.pending(),
      parked: this.parts.rows.out.waitingCount(),
      held: this.parts.rows.out.heldCount(null),
      keptBack: this.parts.quarantine.undecided(),
      notices: countNotices(this.parts.audited),
      conflicts: countReviews(this.parts.audited),
      rows: this.parts.digest.rows,
      tables: this.parts.rows.tables.map((table) => table.name),
      veiled: this.parts.veil.keyTables,
      unknownSensitive: this.parts.veil.unknown,
      restored: this.parts.restored.problem !== "",
      problem: this.problem === "" ? this.parts.restored.problem : this.problem,
      baseline: this.parts.joining.statementText,
      floor: this.parts.floor.vector,
      clockFoundRightUs: this.parts.clock.foundRightUs,
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
      while (!this.drainTurn() && !this.parts.reconciliation.isOpen) pauseThread(BETWEEN_TURNS_MS);
      if (!this.parts.reconciliation.isOpen) this.parts.turns.settle();
    } catch {
      // What could not be drained now waits in the file for the next start.
    }
    this.db.close();
    this.release();
  }
}
