import type { Database } from "better-sqlite3";
import { CAPTURE, Op } from "../capture/triggers.ts";
import { LARGEST_GROUP } from "../log/groups.ts";
import { rowStatement, valueStatement } from "../kept-statements.ts";
import type { RowStore } from "../rows/row-store.ts";

/** Transactions are one part until they have so many events: a batch holds more anyway, and groups are remembered by number. */
const SMALLEST_PART = 2_000;

/** Events of one kind that came together, with the range of their keys. */
interface News {
  event: number;
  low: unknown;
  high: unknown;
}

/**
 * Where the dirty list may be taken for drained before all of it is, so that the changes of one drain are no more than they
 * have to be: whoever gets them applies them in one transaction. At a commit of the application, which the end of the list is
 * whenever no transaction of ours is open: whoever waits looks at it. And only while nothing waits but inserts, and updates of
 * rows with an integer key, of each table under keys that rise from one transaction to the next: a row is read as it is now, and
 * what a later transaction did to a row of an earlier one would be seen without the rest of that transaction. (An insert may be
 * an OR REPLACE of the row that has the key.)
 */
export class WholeParts {
  private readonly db: Database;
  private readonly rows: RowStore;
  /** Where the list ended at commits that were seen and not looked at, rising. */
  private commits: number[] = [];
  /** Numbers of events with which a transaction ended, rising. */
  private ends: number[] = [];
  /** All events up to here were looked at. */
  private lookedTo = 0;
  /** All events up to here have been drained. */
  private drainedTo = 0;
  /** The highest key so far, by number of the table. */
  private readonly highest = new Map<number, number>();
  private mayEnd = true;

  constructor({ db, rows }: { db: Database; rows: RowStore }) {
    this.db = db;
    this.rows = rows;
  }

  /** Somebody may have committed: remembers where the list ends. Outside of transactions, where nothing else can be seen. */
  see(): void {
    if (!this.mayEnd) return;
    const latest = this.latest();
    const seen = this.commits.at(-1) ?? this.lookedTo;
    // Numbers are used again.
    if (latest < seen) this.forget();
    else if (latest > seen) this.commits.push(latest);
  }

  /** Looks at what has come to the dirty list. At the beginning of a turn, under the write lock. */
  look(): void {
    const first = valueStatement(this.db, `SELECT min(n) FROM ${CAPTURE}`).get() as number | null;
    const latest = this.latest();
    const commits = [...this.commits.filter((end) => end < latest), latest];
    // Somebody else has removed events, so that numbers are used again.
    if ((first ?? 0) <= this.drainedTo && this.drainedTo > 0) this.forget();
    if (latest < (this.commits.at(-1) ?? this.lookedTo)) this.forget();
    this.commits = [];
    for (const end of commits) if (end === latest || end - this.lookedTo >= SMALLEST_PART) this.lookUpTo(end);
  }

  private lookUpTo(end: number): void {
    // So much comes batch by batch anyway.
    if (end - this.lookedTo > LARGEST_GROUP) this.forget();
    if (!this.mayEnd || end <= this.lookedTo) return;
    const news = rowStatement(
      this.db,
      `SELECT event, min(k0) AS low, max(k0) AS high FROM ${CAPTURE} WHERE n > ? AND n <= ? GROUP BY event`,
    ).all(this.lookedTo, end) as News[];
    this.mayEnd = news.every((one) => this.isRising(one));
    for (const { event, high } of news) this.highest.set(event >> 3, Math.max(high as number, this.highestOf(event >> 3)));
    this.lookedTo = end;
    if (this.mayEnd) this.ends.push(end);
    else this.ends = [];
  }

  private isRising({ event, low, high }: News): boolean {
    const tid = event >> 3;
    const op = event & 7;
    if (op !== Op.insert && (op !== Op.update || this.rows.byTid(tid)?.surrogate !== true)) return false;
    return typeof low === "number" && typeof high === "number" && low > this.highestOf(tid);
  }

  private highestOf(tid: number): number {
    return this.highest.get(tid) ?? Number.NEGATIVE_INFINITY;
  }

  private latest(): number {
    return (valueStatement(this.db, `SELECT max(n) FROM ${CAPTURE}`).get() as number | null) ?? 0;
  }

  /** The event up to which the next part goes; null where it is all there is. */
  next(): number | null {
    const [end] = this.ends;
    return end === undefined || end === this.lookedTo ? null : end;
  }

  /** Events up to `n` have been drained. */
  drained(n: number): void {
    this.drainedTo = n;
    if ((this.ends[0] ?? Number.POSITIVE_INFINITY) <= n) this.ends.shift();
  }

  /** It is not known any more what waits: nothing ends before all is drained. */
  forget(): void {
    this.commits = [];
    this.ends = [];
    this.mayEnd = false;
  }

  /** Nothing waits any more. */
  begin(): void {
    this.commits = [];
    this.ends = [];
    this.lookedTo = 0;
    this.drainedTo = 0;
    this.highest.clear();
    this.mayEnd = true;
  }
}
