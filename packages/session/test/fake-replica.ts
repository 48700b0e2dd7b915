import { createHash, randomBytes } from "node:crypto";
import {
  EMPTY_VECTOR,
  SyncError,
  equalVectors,
  isCovered,
  join,
  type ApplyResult,
  type ChangeBatch,
  type DigestEntry,
  type VersionVector,
} from "@scoutsync/core";
import type { ReadRequest, Replica, ReplicaState } from "@scoutsync/replica";

interface Entry {
  key: string;
  value: string;
  clock: number;
  origin: string;
  sequence: number;
}
const hash = (text: string) => createHash("sha256").update(text).digest();
const letters = "abcdefghijklmnopqrstuvwxyz234567";

export class FakeReplica implements Replica {
  readonly path = "";
  readonly run = randomBytes(8).toString("hex");
  readonly origin = Array.from(randomBytes(16), (byte) => letters[byte & 31]).join("");
  state: ReplicaState;
  applied = 0;
  failApply: Error | null = null;
  applyDelayMs = 0;
  readonly name: string;
  #rows = new Map<string, Entry>();
  #vector: VersionVector = EMPTY_VECTOR;
  #positions = new Map<string, VersionVector>();
  #listeners = new Set<(state: ReplicaState) => void>();
  #clock = 0;

  constructor(name = "main") {
    this.name = name;
    this.state = this.#snapshot();
  }
  write(key: string, value: string): void {
    const sequence = (this.#vector.get(this.origin) ?? 0) + 1;
    this.#rows.set(key, { key, value, clock: ++this.#clock, origin: this.origin, sequence });
    this.#vector = new Map(this.#vector).set(this.origin, sequence);
    this.#changed();
  }
  rows(): Record<string, string> {
    return Object.fromEntries([...this.#rows.values()].map(({ key, value }) => [key, value] as const).sort());
  }
  corrupt(key: string): void {
    const entry = this.#rows.get(key);
    if (entry) entry.value = "damaged";
    this.state = this.#snapshot();
  }
  onChange(listener: (state: ReplicaState) => void) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  get listeners(): number {
    return this.#listeners.size;
  }
  async drain() {}
  async read({ from, batchSize, beyondDigest }: ReadRequest): Promise<ChangeBatch> {
    const size = batchSize || 10_000;
    const same = Buffer.compare(beyondDigest, this.#beyond()) === 0;
    const missing = [...this.#rows.values()]
      .filter(({ origin, sequence }) => sequence > (from.get(origin) ?? 0) && !(same && sequence > (this.#vector.get(origin) ?? 0)))
      .sort((a, b) => (a.origin === b.origin ? a.sequence - b.sequence : a.origin < b.origin ? -1 : 1));
    const taken = missing.slice(0, size);
    const to = new Map(from);
    for (const { origin, sequence } of taken) to.set(origin, sequence);
    const final = taken.length === missing.length;
    const payload = Buffer.from(JSON.stringify(taken));
    return {
      from,
      to,
      count: taken.length,
      codec: "identity",
      format: "packed-1",
      sha256: hash(payload.toString()),
      payload,
      payloadSize: payload.length,
      final,
      vector: final ? this.#vector : EMPTY_VECTOR,
      digest: final ? this.state.digest : Buffer.alloc(0),
      run: this.run,
      beyondDigest: this.#beyond(),
      remaining: missing.length - taken.length,
      baseline: "",
    };
  }
  async apply(batch: ChangeBatch): Promise<ApplyResult> {
    if (this.applyDelayMs) await new Promise((resolve) => setTimeout(resolve, this.applyDelayMs));
    if (this.failApply) throw this.failApply;
    if (Buffer.compare(hash(Buffer.from(batch.payload).toString()), batch.sha256) !== 0)
      throw new SyncError({ code: "BATCH_CORRUPT", message: "sha256", action: "Again." });
    const position = this.#positions.get(batch.run) ?? EMPTY_VECTOR;
    if (!isCovered(batch.from, join(this.#vector, position))) throw new SyncError({ code: "BATCH_GAP", message: "gap", action: "Again." });
    this.applied += 1;
    let applied = 0;
    for (const entry of JSON.parse(Buffer.from(batch.payload).toString()) as Entry[]) {
      const mine = this.#rows.get(entry.key);
      this.#clock = Math.max(this.#clock, entry.clock);
      if (mine && (mine.clock > entry.clock || (mine.clock === entry.clock && mine.origin >= entry.origin))) continue;
      this.#rows.set(entry.key, entry);
      applied += 1;
    }
    this.#positions.set(batch.run, join(position, batch.to));
    if (batch.final) this.#vector = join(this.#vector, batch.vector);
    this.#changed();
    const comparable = batch.final && equalVectors(this.#vector, batch.vector);
    return {
      received: batch.count,
      applied,
      conflicts: 0,
      parked: 0,
      vector: this.#vector,
      digest: this.state.digest,
      verified: comparable ? Buffer.compare(this.state.digest, batch.digest) === 0 : null,
    };
  }
  async position(run: string) {
    return this.#positions.get(run) ?? EMPTY_VECTOR;
  }
  async beyondDigest() {
    return this.#beyond();
  }
  async count(since: VersionVector) {
    const missing = [...this.#rows.values()].filter(({ origin, sequence }) => sequence > (since.get(origin) ?? 0));
    return { changes: missing.length, oldestUs: missing[0]?.clock ?? 0, vector: this.#vector, digest: this.state.digest };
  }
  async readable(since: VersionVector, limit: number) {
    const { payload, to, final } = await this.read({ from: since, batchSize: limit, codecs: [], beyondDigest: Buffer.alloc(0) });
    const changes = (JSON.parse(Buffer.from(payload).toString()) as Entry[]).map((entry) => ({
      dot: `${entry.origin}:${entry.sequence}`,
      table: "t",
      key: entry.key,
      operation: "insert" as const,
      timeUs: entry.clock,
      author: "x",
      columns: [{ name: "v", value: entry.value }],
    }));
    return { changes, next: final ? null : to };
  }
  async digest({ table, buckets }: { table: string; buckets: number[] }): Promise<{ vector: VersionVector; entries: DigestEntry[] }> {
    const all = [...this.#rows.values()];
    const bucketOf = (key: string) => hash(key)[0] as number;
    const sum = (entries: Entry[]) =>
      hash(
        entries
          .map(({ key, value }) => `${key}=${value}`)
          .sort()
          .join(),
      );
    let entries: DigestEntry[];
    if (table === "") entries = [{ table: "t", bucket: 0, key: "", rows: all.length, digest: sum(all) }];
    else if (buckets.length === 0)
      entries = [...Map.groupBy(all, ({ key }) => bucketOf(key))].map(([bucket, rows]) => ({
        table,
        bucket,
        key: "",
        rows: rows.length,
        digest: sum(rows),
      }));
    else
      entries = all
        .filter(({ key }) => buckets.includes(bucketOf(key)))
        .map((row) => ({ table, bucket: bucketOf(row.key), key: row.key, rows: 1, digest: sum([row]) }));
    return { vector: this.#vector, entries };
  }
  async row(_table: string, key: string) {
    const entry = this.#rows.get(key);
    return entry
      ? [
          { name: "k", value: key },
          { name: "v", value: entry.value },
        ]
      : null;
  }
  async reviews() {
    return [];
  }
  resolve(): Promise<never> {
    return Promise.reject(new Error("not in the fake"));
  }
  async history() {
    return [];
  }
  async close() {}
  #beyond(): Buffer {
    const beyond = [...this.#rows.values()].filter(({ origin, sequence }) => sequence > (this.#vector.get(origin) ?? 0));
    return beyond.length === 0
      ? Buffer.alloc(0)
      : hash(JSON.stringify(beyond.map(({ origin, sequence }) => [origin, sequence]).sort())).subarray(0, 16);
  }
  #snapshot(): ReplicaState {
    return {
      vector: this.#vector,
      digest: hash(JSON.stringify(this.rows())).subarray(0, 16),
      pending: 0,
      parked: 0,
      conflicts: 0,
      rows: this.#rows.size,
      tables: ["t"],
      problem: "",
    };
  }
  #changed(): void {
    this.state = this.#snapshot();
    for (const listener of this.#listeners) listener(this.state);
  }
}
