import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import Database, { type Database as Sqlite, type Statement } from "better-sqlite3";
import { ENTRIES_BYTES, entryBytes, formatVector, SyncError, type FileEntry, type Origin } from "@scoutsync/core";
import { Part } from "../paths/part.ts";
import {
  entryOf,
  fromJson,
  fromRecord,
  parentOf,
  SILENT,
  SILENT_STATES,
  type State,
  toJson,
  type EntryRecord,
  type JournalStep,
  type ListFilter,
  type ManifestRow,
  type RowChange,
  type StoredObject,
} from "./rows.ts";

const LAYOUT_VERSION = 1;
const DIGEST_BYTES = 16;
/** A list's identity begins with these many characters of the manifest's own; what follows is drawn anew with each run. */
const STEM = 8;
/** So many earlier runs' lists are remembered. */
const MOST_FORMER = 50;
/** Whoever makes up that this manifest was put back makes it begin anew so often at most, µs: with each author vectors grow. */
const ANEW_EVERY_US = 3_600_000_000;
/** How far so many lists of one manifest have been taken in is remembered: more than one where two servers began as one. */
const MOST_RECEIVED = 3;

const randomName = (length = 16) => {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  return [...randomBytes(length)].map((byte) => alphabet[byte & 31]).join("") as Origin;
};

/** How far a list has been taken in. */
interface Cursor {
  index: string;
  seq: number;
}

/**
 * What one node knows of one root, in a SQLite file of its own outside of the root. Everything here is one thread's, and
 * what `transaction` ran is durable when it returns.
 */
export class Manifest {
  private readonly db: Sqlite;
  private readonly statements = new Map<string, Statement>();
  private digest: Buffer;
  private counts: { files: number; folders: number; bytes: number };
  private limitedTo: Part | null;
  private anewUs = -Infinity;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.db = new Database(path);
    this.db.pragma("journal_mode = WAL");
    this.db.pragma("synchronous = FULL");
    const layout = this.db.pragma("user_version", { simple: true }) as number;
    if (layout > LAYOUT_VERSION) {
      this.db.close();
      throw new SyncError({
        code: "METADATA_NEWER",
        message: `the manifest ${path} was written by a newer version`,
        action: "Run that version, or delete the manifest: the root is then joined anew, and nothing is deleted by it.",
      });
    }
    if (layout === 0) {
      this.db.transaction(() => {
        this.db.exec(readFileSync(new URL("0001-manifest.sql", import.meta.url), "utf8"));
        this.db.pragma(`user_version = ${LAYOUT_VERSION}`);
        this.renew();
        this.set("seq", "0");
      })();
    }
    this.digest = Buffer.from(this.get("digest") ?? "00".repeat(DIGEST_BYTES), "hex");
    this.counts = this.recount();
    const part = this.get("part");
    this.limitedTo = part === null || part === "" ? null : new Part(JSON.parse(part) as string[]);
  }

  /** The part of the root that this node is limited to; null = all of it. */
  get part(): Part | null {
    return this.limitedTo;
  }

  limit(part: Part | null): void {
    this.set("part", part === null ? "" : JSON.stringify(part.prefixes));
    this.limitedTo = part;
  }

  /** Identity of this manifest in other nodes' cursors. */
  get indexId(): string {
    return this.get("index_id") ?? "";
  }

  /** This manifest's own name in version vectors. */
  get author(): Origin {
    return this.get("author") as Origin;
  }

  get seq(): number {
    return Number(this.get("seq"));
  }

  get digestHex(): string {
    return this.digest.toString("hex");
  }

  /**
   * Whoever has taken the root goes on under new names. A disk that was put back to an earlier state, or copied to a second
   * server, does not know that it was: under its old names it would give numbers and versions out anew that others have with
   * other contents, and what others have from it would not be sent to it. What others are known to have they still have. Who
   * has read the list of an earlier run no further than that is known here goes on from there.
   */
  beginRun(): void {
    this.transaction(() => {
      const { acknowledged } = this;
      // Before runs had names of their own, who had read a list need not have read all of it where a root had been put back.
      const isKept = this.get("former") !== null;
      if (!isKept) this.forgetReceived();
      const former = isKept ? [{ index: this.indexId, seq: this.seq }, ...this.former].slice(0, MOST_FORMER) : [];
      this.renew();
      this.set("acknowledged", `${this.indexId}:${acknowledged}`);
      this.set("former", JSON.stringify(former));
    });
  }

  /** The lists of earlier runs that this one goes on from, and where they ended. */
  private get former(): readonly Cursor[] {
    return JSON.parse(this.get("former") ?? "[]") as Cursor[];
  }

  /** Up to which number of this list somebody has it who has taken in these; 0 = nothing of it that is known here. */
  placeOf(cursors: readonly Cursor[]): number {
    const ends = this.ends();
    return Math.max(0, ...cursors.filter(({ index, seq }) => seq <= (ends.get(index) ?? -1)).map(({ seq }) => seq));
  }

  /** True where somebody has taken in more of this list than there is, or of an earlier run's than there was. */
  isExceededBy(cursors: readonly Cursor[]): boolean {
    const ends = this.ends();
    return cursors.some(({ index, seq }) => seq > (ends.get(index) ?? Infinity));
  }

  /** Where this list ends, and those of earlier runs did. */
  private ends(): ReadonlyMap<string, number> {
    return new Map([...this.former, { index: this.indexId, seq: this.seq }].map(({ index, seq }) => [index, seq]));
  }

  /** Somebody has more of a list, or of this author, than there is: it was put back, as while it ran, and begins anew. */
  noticePutBack(nowUs: number): void {
    if (nowUs - this.anewUs < ANEW_EVERY_US) return;
    this.anewUs = nowUs;
    this.transaction(() => {
      this.renew();
      this.forgetReceived();
    });
  }

  /** Versions given out so far are another's from now on. */
  renew(): void {
    this.reindex();
    this.set("author", randomName());
  }

  /** Its list is one that nobody knows yet: it is told from the beginning, and nothing counts as having come from here. */
  reindex(): void {
    const stem = (this.get("index_id") ?? randomName()).slice(0, STEM);
    this.set("index_id", stem + randomName(STEM));
    this.set("former", "[]");
  }

  get(key: string): string | null {
    const row = this.run("SELECT value FROM meta WHERE key = ?").get(key) as { value: string } | undefined;
    return row?.value ?? null;
  }

  set(key: string, value: string): void {
    this.run("INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value").run(key, value);
  }

  transaction<T>(work: () => T): T {
    const digest = Buffer.from(this.digest);
    const counts = { ...this.counts };
    const part = this.limitedTo;
    try {
      return this.db.transaction(work)();
    } catch (error) {
      this.digest = digest;
      this.counts = counts;
      this.limitedTo = part;
      throw error;
    }
  }

  row(path: string): ManifestRow | null {
    const found = this.run("SELECT * FROM entry WHERE path = ?").get(path) as EntryRecord | undefined;
    return found ? fromRecord(found) : null;
  }

  /** What is known directly below a folder ("" = the root). */
  children(parent: string): ManifestRow[] {
    return (this.run("SELECT * FROM entry WHERE parent = ?").all(parent) as EntryRecord[]).map(fromRecord);
  }

  all(): ManifestRow[] {
    return (this.run("SELECT * FROM entry").all() as EntryRecord[]).map(fromRecord);
  }

  /** Everything live below a folder, without the folder. */
  below(folder: string): ManifestRow[] {
    const sql = "SELECT * FROM entry WHERE path > ? AND path < ? AND kind <> 'gone'";
    return (this.run(sql).all(`${folder}/`, `${folder}0`) as EntryRecord[]).map(fromRecord);
  }

  /** What is known to be in place in a folder that is a file by now, or gone. */
  belowNoFolder(): ManifestRow[] {
    const sql = `SELECT child.* FROM entry AS parent JOIN entry AS child ON child.parent = parent.path
      WHERE parent.kind <> 'folder' AND child.kind <> 'gone' AND child.state = 0`;
    return (this.run(sql).all() as EntryRecord[]).map(fromRecord);
  }

  /** Files that hold these bytes, in place. */
  withHash(hash: string): ManifestRow[] {
    const sql = "SELECT * FROM entry WHERE hash = ? AND kind = 'file' AND state = 0";
    return (this.run(sql).all(hash) as EntryRecord[]).map(fromRecord);
  }

  missing(): ManifestRow[] {
    return (this.run("SELECT * FROM entry WHERE missing_us > 0").all() as EntryRecord[]).map(fromRecord);
  }

  inState(state: State): ManifestRow[] {
    return (this.run("SELECT * FROM entry WHERE state > 0 AND state = ?").all(state) as EntryRecord[]).map(fromRecord);
  }

  /** Of the part that counts here. */
  withLosers(): ManifestRow[] {
    const rows = (this.run("SELECT * FROM entry WHERE losers <> '[]'").all() as EntryRecord[]).map(fromRecord);
    return rows.filter(({ path }) => !this.part?.leavesOut(path));
  }

  /**
   * In this node's order, up to `limit` or as many as go together. Those left alone by ignore rules are not listed, nor what came
   * unchanged from `notFrom`.
   */
  listed({ after, limit, sinceUs, tombstones, notFrom }: ListFilter): { rows: ManifestRow[]; isEnd: boolean } {
    const sql = `SELECT * FROM entry WHERE seq > ? AND recorded_us >= ? AND state NOT IN ${SILENT} AND (kind <> 'gone' OR ?)
      AND (source = '' OR source <> ?) ORDER BY seq LIMIT ?`;
    const { rows, isCut } = this.together(this.run(sql).iterate(after, sinceUs, tombstones ? 1 : 0, notFrom, limit));
    return { rows, isEnd: !isCut && rows.length < limit };
  }

  /** As many of these as go together. */
  private together(records: Iterable<unknown>): { rows: ManifestRow[]; isCut: boolean } {
    const rows: ManifestRow[] = [];
    let bytes = 0;
    for (const record of records) {
      const row = fromRecord(record as EntryRecord);
      bytes += entryBytes(row);
      if (rows.length > 0 && bytes > ENTRIES_BYTES) return { rows, isCut: true };
      rows.push(row);
    }
    return { rows, isCut: false };
  }

  /** True when nothing after `seq` came from anyone but `source`. */
  nothingFor(source: string, after: number): boolean {
    const sql = `SELECT 1 FROM entry WHERE seq > ? AND source <> ? AND state NOT IN ${SILENT} LIMIT 1`;
    return this.run(sql).get(after, source) === undefined;
  }

  /** Those in place. */
  folders(): string[] {
    return (this.run("SELECT path FROM entry WHERE kind = 'folder' AND state = 0").all() as { path: string }[]).map(({ path }) => path);
  }

  /** What is live and travels. */
  count(): Readonly<{ files: number; folders: number; bytes: number }> {
    return { ...this.counts };
  }

  private recount(): { files: number; folders: number; bytes: number } {
    const sql = `SELECT count(*) FILTER (WHERE kind = 'file') AS files, count(*) FILTER (WHERE kind = 'folder') AS folders,
      coalesce(sum(size), 0) AS bytes FROM entry WHERE kind <> 'gone' AND state NOT IN ${SILENT}`;
    return this.run(sql).get() as { files: number; folders: number; bytes: number };
  }

  /** By path, up to `limit` or as many as go together: none where nothing follows. */
  list(under: string, after: string, limit: number): ManifestRow[] {
    const sql = "SELECT * FROM entry WHERE path > ? AND (? = '' OR path = ? OR (path > ? AND path < ?)) ORDER BY path LIMIT ?";
    return this.together(this.run(sql).iterate(after, under, under, `${under}/`, `${under}0`, limit)).rows;
  }

  /** Writes what is known of a path under the next number. The missing mark goes: a written row is a fresh look. */
  write({ entry, source, print, racy, state }: RowChange, nowUs: number): void {
    const before = this.row(entry.path);
    if (before) this.toggle(before, before.state, -1);
    const seq = this.seq + 1;
    this.set("seq", String(seq));
    const { path, kind, hash, size, mode, modifiedUs, version, stampUs, author, before: held, cause, losers } = entry;
    this.run(
      `INSERT OR REPLACE INTO entry(path, parent, kind, hash, size, mode, modified_us, version, stamp_us, author, before, cause, losers,
        seq, recorded_us, source, print, racy, state, missing_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
    ).run(
      path,
      parentOf(path),
      kind,
      hash,
      size,
      mode,
      modifiedUs,
      formatVector(version),
      stampUs,
      author,
      held,
      cause,
      JSON.stringify(losers),
      seq,
      nowUs,
      source,
      print,
      racy ? 1 : 0,
      state,
    );
    this.toggle(entry, state, 1);
    this.set("digest", this.digest.toString("hex"));
  }

  /** Tells of an entry anew, unchanged: lists that were read while it was left alone have passed over it. */
  relist(row: ManifestRow, state: State, nowUs: number): void {
    this.write({ entry: entryOf(row), source: "", print: "", racy: true, state }, nowUs);
  }

  /** Only what this node has seen of the file; nothing that travels. */
  observe(path: string, seen: { print?: string; racy?: boolean; missingUs?: number; state?: State }): void {
    const before = this.row(path);
    if (!before) return;
    const { print = before.print, racy = before.racy, missingUs = before.missingUs, state = before.state } = seen;
    if (state !== before.state) {
      this.toggle(before, before.state, -1);
      this.toggle(before, state, 1);
      this.set("digest", this.digest.toString("hex"));
    }
    this.run("UPDATE entry SET print = ?, racy = ?, missing_us = ?, state = ? WHERE path = ?").run(
      print,
      racy ? 1 : 0,
      missingUs,
      state,
      path,
    );
  }

  /** Of the part that counts here: what lies outside of it is kept, and served to nobody. */
  object(hash: string): StoredObject | null {
    return this.objects("hash = ? ORDER BY print = '' DESC", hash).find(({ path }) => path === "" || !this.part?.leavesOut(path)) ?? null;
  }

  objectsOf(path: string): StoredObject[] {
    return this.objects("path = ? ORDER BY stored_us DESC", path);
  }

  objectIds(): Set<string> {
    return new Set((this.run("SELECT id FROM object").all() as { id: string }[]).map(({ id }) => id));
  }

  /** Bytes that were written into a file after it had been displaced. */
  lateObjects(): StoredObject[] {
    return this.objects("why = 'late'");
  }

  unsettledObjects(): StoredObject[] {
    return this.objects("print <> ''");
  }

  storedCount(): { objects: number; bytes: number } {
    return this.run("SELECT count(*) AS objects, coalesce(sum(size), 0) AS bytes FROM object").get() as { objects: number; bytes: number };
  }

  /** Not before the retention last looked, whatever the clock says. */
  addObject(one: StoredObject): void {
    const storedUs = Math.max(one.storedUs, Number(this.get("aged_us") ?? 0));
    this.run(
      "INSERT OR IGNORE INTO object(id, hash, size, path, why, author, modified_us, stored_us, print) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ).run(one.id, one.hash, one.size, one.path, one.why, one.author, one.modifiedUs, storedUs, one.print);
  }

  /**
   * The retention looks. Of the time since it last did no more than `mostUs` counts: for the rest the node was down, or its clock was
   * back and is set by now, and what was stored meanwhile is not as old as it says.
   */
  age(nowUs: number, mostUs: number): void {
    const before = Number(this.get("aged_us") ?? nowUs);
    this.transaction(() => {
      const uncounted = Math.max(0, nowUs - before - mostUs);
      this.run("UPDATE object SET stored_us = min(stored_us + ?, ?) WHERE ? > 0 OR stored_us > ?").run(uncounted, nowUs, uncounted, nowUs);
      this.set("aged_us", String(nowUs));
    });
  }

  /** What was stored before a time, Unix microseconds. */
  storedBefore(timeUs: number): StoredObject[] {
    return this.objects("stored_us < ?", timeUs);
  }

  removeObject(id: string): void {
    this.run("DELETE FROM object WHERE id = ?").run(id);
  }

  changeObject(id: string, change: Pick<StoredObject, "hash" | "size" | "why" | "print">): void {
    this.run("UPDATE object SET hash = ?, size = ?, why = ?, print = ? WHERE id = ?").run(
      change.hash,
      change.size,
      change.why,
      change.print,
      id,
    );
  }

  journal(): JournalStep[] {
    const rows = this.run("SELECT * FROM journal").all() as (Omit<JournalStep, "entry"> & { entry: string })[];
    return rows.map((row) => ({ ...row, entry: fromJson(row.entry) }));
  }

  begin(steps: readonly JournalStep[]): void {
    for (const { id, path, step, staged, expected, entry, source } of steps) {
      this.run("INSERT INTO journal(id, path, step, staged, expected, entry, source) VALUES (?, ?, ?, ?, ?, ?, ?)").run(
        id,
        path,
        step,
        staged,
        expected,
        toJson(entry),
        source,
      );
    }
  }

  finish(id: string): void {
    this.run("DELETE FROM journal WHERE id = ?").run(id);
  }

  received(indexId: string): number {
    const row = this.run("SELECT seq FROM received WHERE index_id = ?").get(indexId) as { seq: number } | undefined;
    return row?.seq ?? 0;
  }

  /** The latest heard of first. */
  cursors(): Cursor[] {
    return this.run('SELECT index_id AS "index", seq FROM received ORDER BY heard_us DESC LIMIT 1000').all() as Cursor[];
  }

  /** Of the lists of one manifest, which begin alike; the latest heard of first. */
  cursorsOf(indexId: string): Cursor[] {
    const sql = 'SELECT index_id AS "index", seq FROM received WHERE substr(index_id, 1, ?) = ? ORDER BY heard_us DESC';
    return this.run(sql).all(STEM, indexId.slice(0, STEM)) as Cursor[];
  }

  /** Up to which number of this manifest's list some other node has it. */
  get acknowledged(): number {
    const [index, seq] = (this.get("acknowledged") ?? "").split(":");
    return index === this.indexId ? Number(seq) : 0;
  }

  noteAcknowledged(seq: number): void {
    if (seq > this.acknowledged && seq <= this.seq) this.set("acknowledged", `${this.indexId}:${seq}`);
  }

  /** `heardAs`: whom that was told to. Under another name by now, this manifest has not been told what was thought to be from here. */
  noteReceived(indexId: string, seq: number, { heardAs, nowUs }: { heardAs: string; nowUs: number }): void {
    if (heardAs !== this.indexId) return;
    this.run("INSERT OR REPLACE INTO received(index_id, seq, heard_us) VALUES (?, ?, ?)").run(indexId, seq, nowUs);
    for (const { index } of this.cursorsOf(indexId).slice(MOST_RECEIVED))
      if (index !== indexId) this.run("DELETE FROM received WHERE index_id = ?").run(index);
  }

  /** The lists of all others are to be taken in from their beginning again. */
  forgetReceived(): void {
    this.run("DELETE FROM received").run();
  }

  /** Everything that was known is forgotten; what is stored stays. */
  forgetEntries(): void {
    this.run("DELETE FROM entry").run();
    this.digest = Buffer.alloc(DIGEST_BYTES);
    this.counts = this.recount();
    this.set("digest", this.digest.toString("hex"));
    this.forgetReceived();
    this.renew();
  }

  /** What is refused again is noted once, with its last time. The latest thousand are kept. */
  refuse(peer: string, what: readonly string[], nowUs: number): void {
    const add = this.run("INSERT INTO refused(id, time_us, peer, what) VALUES (?, ?, ?, ?)");
    const before = this.run("DELETE FROM refused WHERE peer = ? AND what = ?");
    let { count } = this.lastRefusal();
    for (const one of what) {
      before.run(peer, one);
      add.run(++count, nowUs, peer, one);
    }
    this.run("DELETE FROM refused WHERE id <= ?").run(count - 1000);
    this.set("refused", String(count));
  }

  /** How many times something was refused, ever, and what was last; its time is 0 where nothing was. */
  lastRefusal(): { count: number; timeUs: number; peer: string; what: string } {
    const [last] = this.refusals(1);
    const kept = this.run("SELECT coalesce(max(id), 0) AS id FROM refused").get() as { id: number };
    return { ...(last ?? { timeUs: 0, peer: "", what: "" }), count: Math.max(kept.id, Number(this.get("refused") ?? 0)) };
  }

  refusals(limit: number): { timeUs: number; peer: string; what: string }[] {
    const sql = 'SELECT time_us AS "timeUs", peer, what FROM refused ORDER BY id DESC LIMIT ?';
    return this.run(sql).all(limit) as { timeUs: number; peer: string; what: string }[];
  }

  close(): void {
    this.db.close();
  }

  private objects(where: string, ...values: unknown[]): StoredObject[] {
    const sql = `SELECT id, hash, size, path, why, author, modified_us AS "modifiedUs", stored_us AS "storedUs", print FROM object WHERE ${where}`;
    return this.run(sql).all(...values) as StoredObject[];
  }

  /** Puts an entry into the digest, or takes it out: the digest is the sum (XOR) of all live entries that travel. */
  private toggle(entry: FileEntry, state: State, sign: 1 | -1): void {
    if (entry.kind === "gone" || SILENT_STATES.has(state)) return;
    this.counts[entry.kind === "file" ? "files" : "folders"] += sign;
    this.counts.bytes += sign * entry.size;
    const sum = createHash("sha256").update(`${entry.path}\0${entry.kind}\0${entry.hash}\0${entry.mode}`).digest();
    for (let at = 0; at < DIGEST_BYTES; at++) this.digest[at] = (this.digest[at] ?? 0) ^ (sum[at] ?? 0);
  }

  private run(sql: string): Statement {
    let statement = this.statements.get(sql);
    if (!statement) this.statements.set(sql, (statement = this.db.prepare(sql)));
    return statement;
  }
}
