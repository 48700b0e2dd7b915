import type { Statement } from "better-sqlite3";

/** Integer, author, sequence, time, context, hash. */
type QueuedValue = bigint | number | Buffer;

/** Rows inserted into _scoutsync_rows_<tid> and _scoutsync_log by one statement: measured, a third of the cost of single ones. */
const CHUNK = 64;

/** New plain rows of one table, each with its birth's log entry, that wait to be stored many at once. */
export class QueuedRows {
  private readonly name: string;
  private readonly tid: number;
  private readonly prepared: (name: string, sql: () => string) => Statement;
  /** Six values for each. */
  private waiting: QueuedValue[] = [];
  /** Each queued row comes right after the one before: integer and sequence are one more, author and context the same. */
  private isRun = true;
  private nextId = 0n;

  /** `name`: where they are stored, as `rowsTable` says. `prepared` gives the statement of that name, made of `sql` where it is not there yet. */
  constructor(name: string, tid: number, prepared: (name: string, sql: () => string) => Statement) {
    this.name = name;
    this.tid = tid;
    this.prepared = prepared;
  }

  add(id: bigint, oid: number, sequence: number, time: number, context: number, hash: Buffer): void {
    const { waiting } = this;
    const at = waiting.length;
    this.isRun =
      at === 0 ||
      (this.isRun &&
        id === this.nextId &&
        sequence === (waiting[at - 4] as number) + 1 &&
        oid === waiting[at - 5] &&
        context === waiting[at - 2]);
    this.nextId = id + 1n;
    waiting.push(id, oid, sequence, time, context, hash);
    if (waiting.length === CHUNK * 6) this.flushFull();
  }

  has(id: bigint): boolean {
    for (let at = 0; at < this.waiting.length; at += 6) if (this.waiting[at] === id) return true;
    return false;
  }

  /** Stores them. */
  flush(): void {
    const rows = this.waiting;
    if (rows.length === 0) return;
    this.waiting = [];
    for (let at = 0; at < rows.length; at += 6) {
      this.rowInsert(1).run(rows.slice(at, at + 6));
      this.dotInsert(1).run(this.dotOf(rows, at));
    }
  }

  discard(): void {
    this.waiting = [];
  }

  private flushFull(): void {
    const rows = this.waiting;
    this.waiting = [];
    if (this.isRun) return this.flushRun(rows);
    const dots: QueuedValue[] = [];
    for (let at = 0; at < rows.length; at += 6) dots.push(...this.dotOf(rows, at));
    this.rowInsert(CHUNK).run(...rows);
    this.dotInsert(CHUNK).run(...dots);
  }

  /** The log entry of the queued row at `at`. */
  private dotOf(rows: readonly QueuedValue[], at: number): QueuedValue[] {
    return [rows[at + 1] as number, rows[at + 2] as number, this.tid, rows[at] as bigint];
  }

  /** What follows from the first row is counted by SQLite: handing a value over costs as much as storing it. */
  private flushRun(rows: readonly QueuedValue[]): void {
    const [id, oid, sequence, , context] = rows;
    const first = { id, oid, sequence: BigInt(sequence as number), context };
    const rest: QueuedValue[] = [];
    for (let at = 0; at < rows.length; at += 6) rest.push(rows[at + 3] as number, rows[at + 5] as Buffer);
    const list = (each: (i: number) => string) => Array.from({ length: CHUNK }, (_, i) => each(i)).join(", ");
    this.prepared("row run", () => {
      const each = (i: number) => `(@id + ${i}, @oid, @sequence + ${i}, ?, @context, NULL, NULL, ?)`;
      return `INSERT INTO ${this.name}(id, oid, sequence, time, context, open, extra, hash) VALUES ${list(each)}`;
    }).run(...rest, first);
    this.prepared("dot run", () => {
      const each = (i: number) => `(@oid, @sequence + ${i}, ${this.tid}, @id + ${i})`;
      return `INSERT INTO _scoutsync_log(oid, sequence, tid, slot) VALUES ${list(each)}`;
    }).run(first);
  }

  private rowInsert(count: number): Statement {
    return this.prepared(`rows ${count}`, () => {
      const row = "(?, ?, ?, ?, ?, NULL, NULL, ?)";
      return `INSERT INTO ${this.name}(id, oid, sequence, time, context, open, extra, hash) VALUES ${Array(count).fill(row).join(", ")}`;
    });
  }

  private dotInsert(count: number): Statement {
    return this.prepared(
      `dots ${count}`,
      () => `INSERT INTO _scoutsync_log(oid, sequence, tid, slot) VALUES ${Array(count).fill("(?, ?, ?, ?)").join(", ")}`,
    );
  }
}
