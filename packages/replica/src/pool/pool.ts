import { randomBytes } from "node:crypto";
import { type TransferListItem, Worker } from "node:worker_threads";
import {
  type ApplyResult,
  type ChangeBatch,
  type ChangeCount,
  type DigestEntry,
  formatTerms,
  parseTerms,
  fromPlainError,
  type HistoryEntry,
  type NodeName,
  ownedMemory,
  type ReadableChange,
  type Review,
  type SqlValue,
  type MemberWord,
  SyncError,
  type VersionVector,
  textOfBytes,
} from "@scoutsync/core";
import type {
  CaptureCheck,
  ReadRequest,
  ReplicaOptions,
  ReplicaPool,
  ReplicaState,
  Resolution,
  ScopeCopy,
  Standing,
  WholeRowsRequest,
} from "../replica.ts";
import type { Forgetting } from "../forgetting/forget.ts";
import type { ScopeCarried } from "../scope/carry.ts";
import type { ScopeSource } from "../scope/copy.ts";
import type { FromWorker, Method, ToWorker } from "./calls.ts";
import { COLLECT_FROM, collectGarbage, collectPassed } from "./collect.ts";

/**
 * A batch is garbage as soon as it is applied: a small young generation keeps a thread from growing to several
 * hundred megabytes in a long catch-up. Measured: same speed, 150 MB less.
 */
const THREAD_MEMORY = { maxYoungGenerationSizeMb: 24 };

interface Waiting {
  resolve(value: { value: unknown; state: ReplicaState | null }): void;
  reject(error: Error): void;
  thread: Thread;
}

interface Thread {
  worker: Worker;
  databases: number;
}

/** Opens a pool of at most `threads` worker threads; they start when a database needs them. */
export function openReplicaPool({ threads }: { threads: number }): ReplicaPool {
  return new Pool(threads);
}

class Pool implements ReplicaPool {
  private readonly size: number;
  private readonly run = randomBytes(10).toString("hex");
  private readonly threads: Thread[] = [];
  private readonly waiting = new Map<number, Waiting>();
  private readonly replicas = new Map<number, PooledReplica>();
  private readonly together = new Map<string, Thread>();
  private calls = 0;
  private opened = 0;

  constructor(size: number) {
    this.size = Math.max(1, size);
  }

  private start(): Thread {
    const thread: Thread = { worker: new Worker(new URL("./worker.ts", import.meta.url), { resourceLimits: THREAD_MEMORY }), databases: 0 };
    thread.worker.on("message", (message: FromWorker) => this.receive(message));
    thread.worker.on("error", (error) => this.lost(thread, error));
    thread.worker.unref();
    this.threads.push(thread);
    return thread;
  }

  private receive(message: FromWorker): void {
    if (message.kind === "state") {
      this.replicas.get(message.database)?.moved(message.state);
      return;
    }
    // What was handed on of the answers before.
    collectPassed();
    const waiting = this.waiting.get(message.call);
    this.waiting.delete(message.call);
    if (this.waiting.size === 0) for (const { worker } of this.threads) worker.unref();
    if (message.kind === "failure") waiting?.reject(fromPlainError(message.error));
    else waiting?.resolve({ value: revive(message.value), state: message.state });
  }

  /** A thread that died takes its calls with it; nothing half done stays, every call is one transaction. */
  private lost(thread: Thread, error: Error): void {
    for (const [call, waiting] of this.waiting) {
      if (waiting.thread !== thread) continue;
      this.waiting.delete(call);
      waiting.reject(
        new SyncError({
          code: "DATABASE_FAILED",
          message: `the thread that serves the database stopped: ${error.message}`,
          action: "Restart the node; what was committed is there, what was not left no trace.",
          cause: error,
        }),
      );
    }
    this.threads.splice(this.threads.indexOf(thread), 1);
    for (const replica of this.replicas.values())
      if (replica.thread === thread) replica.moved({ ...replica.state, problem: `its thread stopped: ${error.message}` });
  }

  ask(thread: Thread, message: ToWorker, transfer: TransferListItem[] = []): Promise<{ value: unknown; state: ReplicaState | null }> {
    return new Promise((resolve, reject) => {
      this.waiting.set(message.call, { resolve, reject, thread });
      thread.worker.ref();
      thread.worker.postMessage(message, transfer);
    });
  }

  nextCall(): number {
    return ++this.calls;
  }

  openScope(options: ReplicaOptions & { scope: ScopeSource }): Promise<ScopeCopy> {
    return this.open(options);
  }

  /** The least busy thread, or the one that has the databases which this one belongs to. */
  private threadFor({ together }: ReplicaOptions): Thread {
    const same = together === undefined ? undefined : this.together.get(together);
    if (same && this.threads.includes(same)) return same;
    const [idle] = [...this.threads].sort((a, b) => a.databases - b.databases);
    const thread = idle && (idle.databases === 0 || this.threads.length >= this.size) ? idle : this.start();
    if (together !== undefined) this.together.set(together, thread);
    return thread;
  }

  async open(options: ReplicaOptions): Promise<ScopeCopy> {
    const thread = this.threadFor(options);
    const database = ++this.opened;
    thread.databases++;
    try {
      const { state } = await this.ask(thread, { kind: "open", call: this.nextCall(), database, options, run: this.run });
      const replica = new PooledReplica(this, thread, database, options, state as ReplicaState);
      this.replicas.set(database, replica);
      return replica;
    } catch (error) {
      thread.databases--;
      throw error;
    }
  }

  forget(database: number, thread: Thread): void {
    this.replicas.delete(database);
    thread.databases--;
  }

  async close(): Promise<void> {
    // Those that refer to others first: what waits there is drained by what the others know.
    await Promise.all([...this.replicas.values()].toReversed().map((replica) => replica.close()));
    await Promise.all(this.threads.map(({ worker }) => worker.terminate()));
    this.threads.length = 0;
  }
}

class PooledReplica implements ScopeCopy {
  readonly name: string;
  readonly path: string;
  readonly node: NodeName;
  readonly terms: string;
  readonly thread: Thread;
  private readonly pool: Pool;
  private readonly database: number;
  private current: ReplicaState;
  private readonly listeners = new Set<(state: ReplicaState) => void>();
  private closed: Promise<void> | null = null;

  constructor(pool: Pool, thread: Thread, database: number, options: ReplicaOptions, state: ReplicaState) {
    this.pool = pool;
    this.thread = thread;
    this.database = database;
    this.name = options.name;
    this.path = options.path;
    this.terms = formatTerms(parseTerms(options.rules ?? []));
    this.node = { id: options.nodeId, name: options.nodeName };
    this.current = state;
  }

  get run(): string {
    return this.current.run;
  }

  get state(): ReplicaState {
    return this.current;
  }

  moved(state: ReplicaState): void {
    this.current = state;
    for (const listener of this.listeners) listener(state);
  }

  onChange(listener: (state: ReplicaState) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private call<T>(method: Method, ...args: unknown[]): Promise<T> {
    return this.callWith([], method, ...args);
  }

  private async callWith<T>(transfer: TransferListItem[], method: Method, ...args: unknown[]): Promise<T> {
    if (this.closed)
      throw new SyncError({
        code: "SHUTTING_DOWN",
        message: `database "${this.name}" is being closed`,
        action: "Try again when the node runs.",
      });
    const message = { kind: "call", call: this.pool.nextCall(), database: this.database, method, args } as const;
    const { value } = await this.pool.ask(this.thread, message, transfer);
    return value as T;
  }

  drain(): Promise<void> {
    return this.call("drain");
  }

  read(request: ReadRequest): Promise<ChangeBatch> {
    return this.call("read", request);
  }

  apply(batch: ChangeBatch): Promise<ApplyResult> {
    if (batch.payload.length >= COLLECT_FROM) collectGarbage();
    return this.callWith(givenAway(batch.payload), "apply", batch);
  }

  beginRejoin(): Promise<void> {
    return this.call("beginRejoin");
  }

  forget(request: { retentionDays: number; dryRun: boolean }): Promise<Forgetting> {
    return this.call("forget", request);
  }

  textsIn(request: { table: string; column: string; limit: number }): Promise<string[]> {
    return this.call("textsIn", request);
  }

  members(): Promise<MemberWord[]> {
    return this.call("memberWords");
  }

  learnMembers(words: readonly MemberWord[]): Promise<void> {
    return this.call("learnMembers", words);
  }

  retire(which: string): Promise<NodeName> {
    return this.call("retire", which);
  }

  copyTo(path: string): Promise<void> {
    return this.call("copyTo", path);
  }

  choiceFor(baseline: string): Promise<"shared" | "distinct" | null> {
    return this.call("choiceFor", baseline);
  }

  meet(baseline: string): Promise<void> {
    return this.call("meet", baseline);
  }

  standing(run: string): Promise<Standing> {
    return this.call("standing", run);
  }

  position(run: string): Promise<VersionVector> {
    return this.call("position", run);
  }

  beyondDigest(): Promise<Uint8Array> {
    return this.call("beyondDigest");
  }

  count(since: VersionVector): Promise<ChangeCount> {
    return this.call("count", since);
  }

  readable(since: VersionVector, limit: number): Promise<{ changes: ReadableChange[]; next: VersionVector | null }> {
    return this.call("readable", since, limit);
  }

  digest(request: { table: string; buckets: number[]; deep: boolean }): Promise<{ vector: VersionVector; entries: DigestEntry[] }> {
    return this.call("digests", request);
  }

  checkCapture(seen: string): Promise<CaptureCheck> {
    return this.call("checkCapture", seen);
  }

  row(table: string, key: string): Promise<{ name: string; value: SqlValue }[] | null> {
    return this.call("row", table, key);
  }

  wholeRows(request: WholeRowsRequest): Promise<ChangeBatch> {
    return this.call("wholeRows", request);
  }

  reviews(request: { kind: string; id: string; limit: number }): Promise<Review[]> {
    return this.call("reviews", request);
  }

  resolve(request: Resolution): Promise<Review> {
    return this.call("resolve", request);
  }

  restore(table: string, key: string): Promise<{ name: string; value: SqlValue }[]> {
    return this.call("restore", table, key);
  }

  acknowledge(node: NodeName, vector: VersionVector): Promise<void> {
    return this.call("acknowledge", node, vector);
  }

  history(table: string, key: string): Promise<HistoryEntry[]> {
    return this.call("history", table, key);
  }

  reissue(heldForUs: number): Promise<number> {
    return this.call("reissue", heldForUs);
  }

  carryScope(hold: boolean): Promise<ScopeCarried> {
    return this.call("carryScope", hold);
  }

  keptOfScope(request: { id: string; limit: number }): Promise<Review[]> {
    return this.call("keptOfScope", request);
  }

  dismissKept(id: string): Promise<void> {
    return this.call("dismissKept", id);
  }

  applyKept(id: string, set: { name: string; value: SqlValue }[]): Promise<void> {
    return this.call("applyKept", id, set);
  }

  correctClock(correctionUs: number): Promise<void> {
    return this.call("correctClock", correctionUs);
  }

  close(): Promise<void> {
    this.closed ??= this.pool
      .ask(this.thread, { kind: "close", call: this.pool.nextCall(), database: this.database })
      .then(() => this.pool.forget(this.database, this.thread));
    return this.closed;
  }
}

/** The memory of a large payload: it goes to the thread instead of being there twice. */
function givenAway(payload: Uint8Array): TransferListItem[] {
  const memory = ownedMemory(payload);
  return memory ? [memory] : [];
}

/** Structured clones lose classes: text kept as bytes becomes itself again. */
function revive(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== "object" || value instanceof Uint8Array || value instanceof Map) return value;
  const keys = Object.keys(value);
  if (keys.length === 1 && keys[0] === "bytes" && (value as { bytes: unknown }).bytes instanceof Uint8Array)
    return textOfBytes((value as { bytes: Uint8Array }).bytes);
  for (const key of keys) (value as Record<string, unknown>)[key] = revive((value as Record<string, unknown>)[key]);
  return value;
}
