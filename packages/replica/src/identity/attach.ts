import { createHash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { type CellValue, Ref, type Terms } from "@scoutsync/core";
import { CAPTURE, eventCode, Op } from "../capture/events.ts";
import { DigestSums } from "../digest/digest-sums.ts";
import { contentIdentity, contentName, contentOf } from "../rows/content-names.ts";
import { hasLocalKey, rowsTable } from "../rows/table-store.ts";
import { pages } from "../rows/pages.ts";
import { packKey, rowHash } from "../rows/values.ts";
import { catalogTables, type Table } from "../schema/catalog.ts";
import { createMetadata, hasMetadata, installCapture, readMeta, removeMetadata, upgradeMetadata, writeMeta } from "../schema/install.ts";
import { surveyTables } from "../schema/tables.ts";
import { LockTurns, writing } from "../write-lock.ts";
import { BASELINE_AUTHOR } from "./baseline.ts";
import { drawOrigin } from "./knowledge.ts";

/** Rows read, and rows recorded, at a time: each turn holds a lock for some tens of milliseconds. */
const ROWS_AT_ONCE = 5_000;
/** Recording goes on for minutes, and of several writers that wait each pause may serve one only, milliseconds. */
const WITHOUT_PAUSE_MS = 500;
/** From the first turn on as much work may be lost: for so long one transaction of others is waited for then, milliseconds. */
const PATIENCE_MS = 120_000;
const WAITING_BYTES = 64 * 1024;
const NAMED_BY_CONTENT = Buffer.from("named by content:");

/**
 * Makes a database a replica. Capture comes first, then the rows that are there are recorded from one snapshot while
 * the application goes on writing; what it writes meanwhile is captured. The rows get an origin drawn from their
 * content, so that equal copies share it: they are the same rows without anyone saying so. Once it has written, the busy timeout
 * is two minutes, also for what comes after: the caller sets it back.
 */
export function attach(db: Database, exclude: readonly string[], terms: Terms, journalBefore: string): void {
  let before = journalBefore;
  if (hasMetadata(db)) {
    if (readMeta(db, "attached") === "yes") return writing(db, () => upgradeMetadata(db));
    before = readMeta(db, "journal mode before") ?? journalBefore;
    // The last attempt was cut off; nothing of it has been seen by anyone.
    writing(db, () => removeMetadata(db));
  }
  const tables = writing(db, () => {
    createMetadata(db);
    // `detach` gives the file its own journal mode back.
    writeMeta(db, "journal mode before", before);
    const catalog = catalogTables(db, surveyTables(db, exclude, terms).tables);
    for (const table of catalog) installCapture(db, table);
    return catalog;
  });
  db.pragma(`busy_timeout = ${PATIENCE_MS}`);
  db.exec(
    "DROP TABLE IF EXISTS temp.baseline; CREATE TEMP TABLE baseline(n INTEGER PRIMARY KEY, tid INTEGER, id INTEGER, sort BLOB, key BLOB, hash BLOB)",
  );
  try {
    const content = new Content(db, tables);
    record(db, tables, snapshot(db, tables, content), content);
  } finally {
    db.exec("DROP TABLE IF EXISTS temp.baseline");
  }
}

/** Runs `work` on one snapshot of the file. */
function reading<T>(db: Database, work: () => T): T {
  db.exec("BEGIN");
  try {
    return work();
  } finally {
    if (db.inTransaction) db.exec("COMMIT");
  }
}

/** How many rows were numbered, and the last captured event whose outcome is among them. */
interface Snapshot {
  count: number;
  seen: number;
}

/** What all rows hold, in the order of their numbers. */
class Content {
  readonly digest: DigestSums;
  private readonly sum = createHash("sha256");
  private readonly names: ReadonlyMap<number, string>;
  private readonly keyless: ReadonlySet<number>;
  private readonly waiting = Buffer.allocUnsafe(WAITING_BYTES);
  private length = 0;

  constructor(db: Database, tables: readonly Table[]) {
    this.digest = new DigestSums(db);
    this.names = new Map(tables.map((table) => [table.tid, table.name]));
    this.keyless = new Set(tables.filter((table) => table.keyless).map((table) => table.tid));
  }

  /** `id` is the integer of a row that is named by it, `sort` how others are put in order. */
  add(tid: number, id: bigint | null, sort: Buffer | null, hash: Buffer): void {
    this.append(Buffer.from(`${this.names.get(tid)}:${id ?? ""}:`));
    // A rowid is no content: VACUUM changes it. Versions that named such rows by their births had other origins.
    if (this.keyless.has(tid)) this.append(NAMED_BY_CONTENT);
    else if (sort) this.append(sort);
    this.append(hash);
    this.digest.add(tid, hash);
  }

  /** Many short pieces go into the sum at once: each call costs more than what it adds. */
  private append(bytes: Buffer): void {
    if (this.length + bytes.length > WAITING_BYTES) this.pass();
    if (bytes.length > WAITING_BYTES) this.sum.update(bytes);
    else this.length += bytes.copy(this.waiting, this.length);
  }

  private pass(): void {
    this.sum.update(this.waiting.subarray(0, this.length));
    this.length = 0;
  }

  /** The origin of the rows; nothing may be added any more. */
  origin(): string {
    this.pass();
    return drawOrigin(this.sum.digest());
  }
}

/** Reads every row once in one read transaction and numbers it: surrogate tables first, parents before children, rows by key. */
function snapshot(db: Database, tables: readonly Table[], content: Content): Snapshot {
  const add = db.prepare("INSERT INTO temp.baseline(tid, id, sort, key, hash) VALUES(?, ?, ?, ?, ?)");
  const seen = reading(db, () => {
    const last = db.prepare(`SELECT coalesce(max(n), 0) FROM ${CAPTURE}`).pluck().get() as number;
    for (const table of ordered(tables)) {
      if (table.keyless) addKeyless(db, table, add);
      else if (table.surrogate)
        for (const { key, values } of pages(db, table)) {
          const id = key[0] as bigint;
          const hash = rowHash(table, id, values);
          add.run(table.tid, id, null, null, hash);
          content.add(table.tid, id, null, hash);
        }
      else addNatural(db, table);
    }
    return last;
  });
  return { count: db.prepare("SELECT coalesce(max(n), 0) FROM temp.baseline").pluck().get() as number, seen };
}

/**
 * Events of rows without a key that were recorded as these left them: nothing but its values tells such a row, so an insert
 * would be one more row, and a delete that of an equal one. They stay on the list, and mean nothing: writes are numbered by it.
 */
function passOver(db: Database, tables: readonly Table[], seen: number): void {
  const pass = db.prepare(`UPDATE ${CAPTURE} SET event = ? WHERE n <= ? AND event >> 3 = ?`);
  for (const table of tables) if (table.keyless) pass.run(eventCode(table.tid, Op.found), seen, table.tid);
}

const ordered = (tables: readonly Table[]): Table[] => [
  ...tables.filter((table) => table.surrogate),
  ...tables.filter((table) => !table.surrogate),
];

/** Rows of a natural key are numbered by the packed key, which no copy changes; their order on disk may differ. */
function addNatural(db: Database, table: Table): void {
  db.exec("CREATE TEMP TABLE unordered(sort BLOB, key BLOB, hash BLOB)");
  const park = db.prepare("INSERT INTO temp.unordered(sort, key, hash) VALUES(?, ?, ?)");
  const numberOf = db.prepare("SELECT n FROM temp.baseline WHERE tid = ? AND id = ?").pluck();
  // Of rows with an integer only: by `tid` alone nobody may look rows up, `record` would read the whole index for every turn.
  db.exec("CREATE INDEX IF NOT EXISTS temp.baseline_id ON baseline(tid, id) WHERE id IS NOT NULL");
  for (const { key, values } of pages(db, table)) {
    if (key.includes(null)) continue;
    const cells: CellValue[] = [...key];
    for (const { index, parent } of table.keyReferences) {
      const id = key[index];
      const n = typeof id === "bigint" ? (numberOf.get(parent.tid, id) as number | undefined) : undefined;
      // Origin 1 is the baseline: the first that `record` makes.
      if (n !== undefined) cells[index] = new Ref(1, n);
    }
    park.run(packKey(table.key, key), packKey(table.key, cells), rowHash(table, null, values));
  }
  db.prepare("INSERT INTO temp.baseline(tid, sort, key, hash) SELECT ?, sort, key, hash FROM temp.unordered ORDER BY sort").run(table.tid);
  db.exec("DROP TABLE temp.unordered");
}

/** Rows without a key are numbered by their hash, copies of equal ones as they come, and named by what they hold and as which copy. */
function addKeyless(db: Database, table: Table, add: { run(...values: unknown[]): unknown }): void {
  db.exec("CREATE TEMP TABLE unordered(local BLOB, hash BLOB, content BLOB)");
  const park = db.prepare("INSERT INTO temp.unordered(local, hash, content) VALUES(?, ?, ?)");
  for (const { key, values } of pages(db, table)) park.run(packKey(table.key, key), rowHash(table, null, values), contentOf(table, values));
  // Sorted once, not once a page.
  db.exec("CREATE TEMP TABLE equal AS SELECT local, hash, content FROM temp.unordered ORDER BY hash, rowid; DROP TABLE temp.unordered");
  const rows = db.prepare("SELECT rowid, local, hash, content FROM temp.equal WHERE rowid > ? ORDER BY rowid LIMIT ?").raw(true);
  let last: Buffer | null = null;
  let copy = 0;
  for (let after = 0; ;) {
    const page = rows.all(after, ROWS_AT_ONCE) as [number, Buffer, Buffer, Buffer][];
    for (const [at, local, hash, content] of page) {
      copy = last?.equals(hash) ? copy + 1 : 1;
      last = hash;
      after = at;
      // With the origin it makes the identity: that follows from all rows.
      add.run(table.tid, null, local, contentName(content, copy), hash);
    }
    if (page.length < ROWS_AT_ONCE) break;
  }
  db.exec("DROP TABLE temp.equal");
}

/** Makes the names of a table's rows their identities. */
function nameByContent(db: Database, table: Table, origin: string): void {
  const page = db.prepare("SELECT n, key FROM temp.baseline WHERE tid = ? AND n > ? ORDER BY n LIMIT ?").raw(true);
  const name = db.prepare("UPDATE temp.baseline SET key = ? WHERE n = ?");
  for (let after = 0; ;) {
    const rows = page.all(table.tid, after, ROWS_AT_ONCE) as [number, Buffer][];
    for (const [n, content] of rows) name.run(contentIdentity(table, content, origin), n);
    const last = rows.at(-1);
    if (!last) return;
    [after] = last;
  }
}

/** Records the numbered rows in turns, and their origin with the last one: only then is the database attached. */
function record(db: Database, tables: readonly Table[], { count, seen }: Snapshot, content: Content): void {
  // Rows with integers come first, and were added as they were read.
  const page = db
    .prepare("SELECT tid, sort, hash, n FROM temp.baseline WHERE n > ? AND id IS NULL ORDER BY n LIMIT ?")
    .safeIntegers(true)
    .raw(true);
  for (let after = 0n; ;) {
    const rows = page.all(after, ROWS_AT_ONCE) as [bigint, Buffer, Buffer, bigint][];
    for (const [tid, sort, hash] of rows) content.add(Number(tid), null, sort, hash);
    const last = rows.at(-1);
    if (!last) break;
    after = last[3];
  }
  const origin = content.origin();
  writing(db, () => {
    if (count > 0) db.prepare("INSERT INTO _scoutsync_origin(oid, origin, author) VALUES(1, 'attaching', ?)").run(BASELINE_AUTHOR);
  });
  for (const table of tables) if (table.keyless) nameByContent(db, table, origin);
  const lock = new LockTurns(WITHOUT_PAUSE_MS);
  for (let from = 0; from < count; from += ROWS_AT_ONCE) {
    const to = from + ROWS_AT_ONCE;
    lock.take();
    writing(db, () => {
      for (const table of tables) {
        const rows = rowsTable(table.tid);
        const key = table.surrogate ? "" : ", key";
        const local = hasLocalKey(table) ? ", local" : "";
        const id = table.surrogate ? "id" : "NULL";
        db.prepare(
          `INSERT INTO ${rows}(id, oid, sequence, time, context, hash${key}${local}) SELECT ${id}, 1, n, 0, 0, hash${key}${local && ", sort"} FROM temp.baseline WHERE n > ? AND n <= ? AND tid = ?`,
        ).run(from, to, table.tid);
        const slot = table.surrogate ? "b.id" : "r.id";
        const joined = table.surrogate ? "" : `JOIN ${rows} AS r ON r.key = b.key `;
        db.prepare(
          `INSERT INTO _scoutsync_log(oid, sequence, tid, slot) SELECT 1, b.n, b.tid, ${slot} FROM temp.baseline AS b ${joined}WHERE b.n > ? AND b.n <= ? AND b.tid = ?`,
        ).run(from, to, table.tid);
      }
    });
    lock.release();
  }
  writing(db, () => {
    if (count > 0) {
      db.prepare("UPDATE _scoutsync_origin SET origin = ? WHERE oid = 1").run(origin);
      db.prepare("INSERT INTO _scoutsync_vector(oid, sequence) VALUES(1, ?)").run(count);
    }
    content.digest.flush();
    passOver(db, tables, seen);
    writeMeta(db, "attached", "yes");
  });
}
