import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { ApplyResult, ChangeBatch } from "@scoutsync/core";
import { openReplicaPool, type ReadRequest, type Replica, type ReplicaOptions, type ReplicaState } from "@scoutsync/replica";
import { afterEach } from "vitest";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Runs `cleanup` after the test, last registered first. */
export function afterTest(cleanup: () => Promise<void> | void): void {
  cleanups.push(cleanup);
}

/** A real replica of a real file, with a writer beside it as an application would be, and hooks to watch and disturb it. */
export class TestReplica implements Replica {
  readonly inner: Replica;
  readonly application: Database.Database;
  /** Batches handed to `apply`, and changes in them. */
  applied = 0;
  changesApplied = 0;
  listeners = 0;
  /** Instead of applying. */
  failApply: Error | null = null;
  /** Before applying. */
  applyDelayMs = 0;
  afterRead: (batch: ChangeBatch) => ChangeBatch = (batch) => batch;
  reads = 0;
  /** What its thread was asked to do, each a way there and back. */
  readonly asked: string[] = [];
  /** What the clock was last said to be off by, microseconds. */
  correctionUs = 0;

  constructor(inner: Replica, application: Database.Database) {
    this.inner = new Proxy(inner, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (name !== "onChange") this.asked.push(String(name));
          return value.apply(target, args) as unknown;
        };
      },
    });
    this.application = application;
  }

  /** Writes a row as the application does. */
  write(key: string, value: string): void {
    this.application.prepare("INSERT INTO t(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v").run(key, value);
  }

  fill(prefix: string, count: number): void {
    this.application.transaction(() => {
      for (let i = 0; i < count; i++) this.write(`${prefix}${i}`, `value ${i}`);
    })();
  }

  /** Each row in a transaction and a drain of its own: a stream of them can be cut anywhere. */
  async fillApart(prefix: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.write(`${prefix}${i}`, `value ${i}`);
      await this.drain();
    }
  }

  /** What the application reads. */
  rows(): Record<string, string> {
    const all = this.application.prepare("SELECT k, v FROM t ORDER BY k").raw().all() as [string, string][];
    return Object.fromEntries(all);
  }

  get name(): string {
    return this.inner.name;
  }
  get path(): string {
    return this.inner.path;
  }
  get run(): string {
    return this.inner.run;
  }
  get terms() {
    return this.inner.terms;
  }
  get node() {
    return this.inner.node;
  }
  get state(): ReplicaState {
    return this.inner.state;
  }
  onChange(listener: (state: ReplicaState) => void): () => void {
    const stop = this.inner.onChange(listener);
    this.listeners += 1;
    return () => {
      this.listeners -= 1;
      stop();
    };
  }
  async read(request: ReadRequest): Promise<ChangeBatch> {
    this.reads += 1;
    return this.afterRead(await this.inner.read(request));
  }
  async apply(batch: ChangeBatch): Promise<ApplyResult> {
    if (this.applyDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.applyDelayMs));
    if (this.failApply) throw this.failApply;
    const result = await this.inner.apply(batch);
    this.applied += 1;
    this.changesApplied += batch.count;
    return result;
  }
  drain = () => this.inner.drain();
  beginRejoin = () => this.inner.beginRejoin();
  forget: Replica["forget"] = (request) => this.inner.forget(request);
  textsIn: Replica["textsIn"] = (request) => this.inner.textsIn(request);
  members = () => this.inner.members();
  learnMembers: Replica["learnMembers"] = (words) => this.inner.learnMembers(words);
  retire = (which: string) => this.inner.retire(which);
  copyTo = (path: string) => this.inner.copyTo(path);
  choiceFor = (baseline: string) => this.inner.choiceFor(baseline);
  meet = (baseline: string) => this.inner.meet(baseline);
  standing = (run: string) => this.inner.standing(run);
  position = (run: string) => this.inner.position(run);
  beyondDigest = () => this.inner.beyondDigest();
  count: Replica["count"] = (since) => this.inner.count(since);
  readable: Replica["readable"] = (since, limit) => this.inner.readable(since, limit);
  digest: Replica["digest"] = (request) => this.inner.digest(request);
  checkCapture: Replica["checkCapture"] = (seen) => this.inner.checkCapture(seen);
  row: Replica["row"] = (table, key) => this.inner.row(table, key);
  wholeRows: Replica["wholeRows"] = (request) => this.inner.wholeRows(request);
  reviews: Replica["reviews"] = (request) => this.inner.reviews(request);
  resolve: Replica["resolve"] = (request) => this.inner.resolve(request);
  history: Replica["history"] = (table, key) => this.inner.history(table, key);
  restore: Replica["restore"] = (table, key) => this.inner.restore(table, key);
  acknowledge: Replica["acknowledge"] = (node, vector) => this.inner.acknowledge(node, vector);
  reissue: Replica["reissue"] = (heldForUs) => this.inner.reissue(heldForUs);
  correctClock: Replica["correctClock"] = async (correctionUs) => {
    await this.inner.correctClock(correctionUs);
    this.correctionUs = correctionUs;
  };
  close = () => this.inner.close();
}

/** Opens a fresh file with one table `t(k, v)` as a replica in a thread of its own; gone after the test. */
const ONE_TABLE = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)";

export async function openTestReplica(options: Partial<ReplicaOptions> = {}, schema = ONE_TABLE): Promise<TestReplica> {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-session-"));
  afterTest(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "main.db");
  const application = new Database(path);
  application.exec(schema);
  const pool = openReplicaPool({ threads: 1 });
  afterTest(async () => {
    application.close();
    await pool.close();
  });
  const inner = await pool.open({
    name: "main",
    path,
    nodeName: "node",
    nodeId: path,
    exclude: [],
    baseline: null,
    busyTimeoutMs: 2_000,
    pollIntervalMs: 10,
    ...options,
  });
  return new TestReplica(inner, application);
}
