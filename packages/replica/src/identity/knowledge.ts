import type { Database } from "better-sqlite3";
import { rowStatement } from "../kept-statements.ts";
import { BASELINE_AUTHOR } from "./baseline.ts";
import { ByteReader, ByteWriter, type Causality, type VersionVector } from "@scoutsync/core";

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

const ORIGIN_BYTES = 10;

/** 80 random bits as 16 characters. Drawn, never read back to be continued: that is what makes a dot unique. */
export function drawOrigin(bytes: Uint8Array): string {
  let bits = 0n;
  for (const byte of bytes.subarray(0, ORIGIN_BYTES)) bits = (bits << 8n) | BigInt(byte);
  let text = "";
  for (let i = 0; i < 16; i++) {
    text = (BASE32[Number(bits & 31n)] as string) + text;
    bits >>= 5n;
  }
  return text;
}

/**
 * What this replica knows of who wrote what: local numbers of origins and contexts, and the version vector.
 * Caches what is in the file; `reload` throws the caches away after a rolled-back transaction.
 */
export class Knowledge implements Causality {
  private readonly db: Database;
  private readonly author: string;
  private readonly random: (bytes: number) => Uint8Array;
  private names: string[] = [];
  private authors: string[] = [];
  private numbers = new Map<string, number>();
  /** Origins that hold changes of another one again. */
  private readonly sources = new Map<number, number>();
  private contexts = new Map<number, ReadonlyMap<number, number>>();
  private vectorEntries = new Map<number, number>();
  private changed = new Set<number>();
  /** The origin of this run, once it has written something. */
  self: number | null = null;
  private vectorContext: number | null = null;

  constructor(db: Database, author: string, random: (bytes: number) => Uint8Array) {
    this.db = db;
    this.author = author;
    this.random = random;
    this.reload();
  }

  reload(): void {
    this.names = [];
    this.authors = [];
    this.numbers.clear();
    this.contexts.clear();
    this.sources.clear();
    for (const row of this.db.prepare("SELECT oid, source FROM _scoutsync_reissue").all() as { oid: number; source: number }[])
      this.sources.set(row.oid, row.source);
    this.changed.clear();
    this.vectorContext = null;
    for (const row of this.db.prepare("SELECT oid, origin, author FROM _scoutsync_origin").all() as {
      oid: number;
      origin: string;
      author: string;
    }[]) {
      this.remember(row.oid, row.origin, row.author);
    }
    this.vectorEntries = new Map(
      (this.db.prepare("SELECT oid, sequence FROM _scoutsync_vector").all() as { oid: number; sequence: number }[]).map((row) => [
        row.oid,
        row.sequence,
      ]),
    );
    if (this.self !== null && this.names[this.self] === undefined) this.self = null;
  }

  private remember(oid: number, origin: string, author: string): void {
    this.names[oid] = origin;
    this.authors[oid] = author;
    this.numbers.set(origin, oid);
  }

  /** The local number of an origin; new ones are recorded with the name of their node. */
  origin(origin: string, author: string): number {
    const known = this.numbers.get(origin);
    if (known !== undefined) {
      if (author !== "" && this.authors[known] === "") {
        this.db.prepare("UPDATE _scoutsync_origin SET author = ? WHERE oid = ?").run(author, known);
        this.authors[known] = author;
      }
      return known;
    }
    const oid = Number(this.db.prepare("INSERT INTO _scoutsync_origin(origin, author) VALUES(?, ?)").run(origin, author).lastInsertRowid);
    this.remember(oid, origin, author);
    return oid;
  }

  /** The local number of an origin that is known already. */
  numberOf(origin: string): number | undefined {
    return this.numbers.get(origin);
  }

  nameOf(oid: number): string {
    return this.names[oid] as string;
  }

  authorOf(oid: number): string {
    return this.authors[oid] || this.nameOf(oid);
  }

  dotText(oid: number, sequence: number): string {
    return `${this.nameOf(oid)}:${sequence}`;
  }

  compareOrigins(a: number, b: number): number {
    if (a === b) return 0;
    return this.nameOf(a) < this.nameOf(b) ? -1 : 1;
  }

  sourceOf(origin: number): number | undefined {
    return this.sources.size === 0 ? undefined : this.sources.get(origin);
  }

  /** Notes whose changes an origin holds again. What would make a circle is no news. */
  noteSource(origin: number, source: number): void {
    if (this.sources.has(origin)) return;
    for (let at: number | undefined = source; at !== undefined; at = this.sources.get(at)) if (at === origin) return;
    this.db.prepare("INSERT INTO _scoutsync_reissue(oid, source) VALUES(?, ?)").run(origin, source);
    this.sources.set(origin, source);
  }

  /** A fresh origin that is to hold changes of this one again. */
  drawReissue(source: number): number {
    const author = this.authorOf(source);
    // Rows from before syncing are named by their own origin alone: this one is not that of a copy.
    const origin = this.origin(drawOrigin(this.random(ORIGIN_BYTES)), author === BASELINE_AUTHOR ? this.author : author);
    this.noteSource(origin, source);
    return origin;
  }

  contextCovers(context: number, origin: number, sequence: number): boolean {
    return (this.context(context).get(origin) ?? 0) >= sequence;
  }

  /** The vector numbered `context`, over local origin numbers. 0 is the empty one. */
  context(context: number): ReadonlyMap<number, number> {
    if (context === 0) return EMPTY;
    const cached = this.contexts.get(context);
    if (cached) return cached;
    const entries = this.db.prepare("SELECT entries FROM _scoutsync_context WHERE context = ?").pluck().get(context) as Buffer;
    const reader = new ByteReader(entries);
    const vector = new Map<number, number>();
    while (!reader.done) vector.set(reader.varint(), reader.varint());
    if (this.contexts.size > 10_000) this.contexts.clear();
    this.contexts.set(context, vector);
    return vector;
  }

  /** The local number of a context. */
  contextOf(vector: ReadonlyMap<number, number>): number {
    if (vector.size === 0) return 0;
    const writer = new ByteWriter(vector.size * 12 + 8);
    for (const [oid, sequence] of [...vector].sort((a, b) => a[0] - b[0])) {
      writer.varint(oid);
      writer.varint(sequence);
    }
    const entries = writer.toBytes();
    const known = this.db.prepare("SELECT context FROM _scoutsync_context WHERE entries = ?").pluck().get(entries) as number | undefined;
    if (known !== undefined) return known;
    return Number(this.db.prepare("INSERT INTO _scoutsync_context(entries) VALUES(?)").run(entries).lastInsertRowid);
  }

  /** The last sequence of this run; 0 before its first change. */
  get lastSequence(): number {
    return this.self === null ? 0 : (this.vectorEntries.get(this.self) ?? 0);
  }

  /** True for the origin of this run: nobody else writes under it. */
  isSelf(oid: number): boolean {
    return oid === this.self;
  }

  /** True when the vector has more of this run's changes than it made. */
  neverMade(vector: VersionVector): boolean {
    if (this.self === null) return false;
    return (vector.get(this.nameOf(this.self)) ?? 0) > this.lastSequence;
  }

  /** True for an origin that was drawn for this database, by this run or an earlier one. */
  isOwn(oid: number): boolean {
    return this.db.prepare("SELECT 1 FROM _scoutsync_own WHERE oid = ?").get(oid) !== undefined;
  }

  /** True where the last run that wrote here was another node's: the file is a copy of that one's. */
  get isOthers(): boolean {
    const sql = "SELECT author FROM _scoutsync_own JOIN _scoutsync_origin USING(oid) WHERE author NOT IN ('', ?) ORDER BY oid DESC LIMIT 1";
    const author = this.db.prepare(sql).pluck().get(BASELINE_AUTHOR) as string | undefined;
    return author !== undefined && author !== this.author;
  }

  covers(oid: number, sequence: number): boolean {
    return (this.vectorEntries.get(oid) ?? 0) >= sequence;
  }

  /** The version vector over local origin numbers. */
  get entries(): ReadonlyMap<number, number> {
    return this.vectorEntries;
  }

  get vector(): VersionVector {
    return new Map([...this.vectorEntries].map(([oid, sequence]) => [this.nameOf(oid), sequence]));
  }

  /** Raises the vector to cover `vector` too. */
  join(vector: VersionVector): void {
    for (const [origin, sequence] of vector) {
      const oid = this.origin(origin, "");
      if (!this.covers(oid, sequence)) this.advance(oid, sequence);
    }
  }

  advance(oid: number, sequence: number): void {
    this.vectorEntries.set(oid, sequence);
    this.changed.add(oid);
    if (oid !== this.self) this.vectorContext = null;
  }

  /** The next dot begins a new origin. */
  renew(): void {
    this.self = null;
    this.vectorContext = null;
  }

  /** The next dot of this run. The origin is drawn at the first one. */
  nextDot(): { origin: number; sequence: number } {
    if (this.self === null) {
      this.self = this.origin(drawOrigin(this.random(ORIGIN_BYTES)), this.author);
      this.db.prepare("INSERT INTO _scoutsync_own(oid) VALUES(?) ON CONFLICT DO NOTHING").run(this.self);
      this.vectorContext = null;
    }
    const sequence = (this.vectorEntries.get(this.self) ?? 0) + 1;
    this.advance(this.self, sequence);
    return { origin: this.self, sequence };
  }

  /** The last dot of this run; null before the first. */
  get lastDot(): { origin: number; sequence: number } | null {
    return this.self === null ? null : { origin: this.self, sequence: this.vectorEntries.get(this.self) ?? 0 };
  }

  /** The context of a write made now: the vector. What this origin wrote before is known without being listed. */
  currentContext(): number {
    if (this.vectorContext === null) {
      const others = new Map(this.vectorEntries);
      if (this.self !== null) others.delete(this.self);
      this.vectorContext = this.contextOf(others);
    }
    return this.vectorContext;
  }

  /** Writes the moved entries of the vector; part of the caller's transaction. */
  flush(): void {
    if (this.changed.size === 0) return;
    const upsert = rowStatement(
      this.db,
      "INSERT INTO _scoutsync_vector(oid, sequence) VALUES(?, ?) ON CONFLICT(oid) DO UPDATE SET sequence = excluded.sequence",
    );
    for (const oid of this.changed) upsert.run(oid, this.vectorEntries.get(oid));
    this.changed.clear();
  }
}

const EMPTY: ReadonlyMap<number, number> = new Map();
