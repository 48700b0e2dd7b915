import type { Database } from "better-sqlite3";
import { CAPTURE, Op } from "../capture/triggers.ts";
import { LARGEST_GROUP } from "../log/groups.ts";
import { rowStatement, valueStatement } from "../kept-statements.ts";

/**
 * Where the dirty list may be taken for drained before all of it is, so that the changes of one drain are no more than they
 * have to be: whoever gets them applies them in one transaction. At a commit of the application, which the end of the list is
 * whenever the write lock has just been taken. And only while nothing waits but inserts under rising keys: a row is read as it
 * is now, and what a later transaction did to a row of an earlier one would be seen without the rest of that transaction.
 * (An insert may be an OR REPLACE of the row that has the key.)
 */
export class WholeParts {
  private readonly db: Database;
  /** Numbers of events with which a transaction ended, rising. */
  private ends: number[] = [];
  /** All events up to here were looked at. */
  private lookedTo = 0;
  /** All events up to here have been drained. */
  private drainedTo = 0;
  /** The highest key so far, by table and operation. */
  private readonly highest = new Map<number, number>();
  private mayEnd = true;

  constructor(db: Database) {
    this.db = db;
  }

  /** Looks at what has come to the dirty list. At the beginning of a turn, under the write lock. */
  look(): void {
    const first = valueStatement(this.db, `SELECT min(n) FROM ${CAPTURE}`).get() as number | null;
    const latest = valueStatement(this.db, `SELECT max(n) FROM ${CAPTURE}`).get() as number | null;
    // Somebody else has removed events, so that numbers are used again.
    if ((first ?? 0) <= this.drainedTo && this.drainedTo > 0) this.forget();
    if ((latest ?? 0) < this.lookedTo) this.forget();
    // So much comes batch by batch anyway.
    if ((latest ?? 0) - this.lookedTo > LARGEST_GROUP) this.forget();
    if (!this.mayEnd) return;
    const news = rowStatement(
      this.db,
      `SELECT event, min(k0) AS low, max(k0) AS high, max(n) AS last FROM ${CAPTURE} WHERE n > ? GROUP BY event`,
    ).all(this.lookedTo) as { event: number; low: unknown; high: unknown; last: number }[];
    if (news.length === 0) return;
    for (const { event, low, high, last } of news) {
      const isNew = typeof low === "number" && typeof high === "number" && low > (this.highest.get(event) ?? Number.NEGATIVE_INFINITY);
      if ((event & 7) === Op.insert && isNew) this.highest.set(event, high);
      else this.mayEnd = false;
      this.lookedTo = Math.max(this.lookedTo, last);
    }
    if (this.mayEnd) this.ends.push(this.lookedTo);
    else this.ends = [];
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
    this.ends = [];
    this.mayEnd = false;
  }

  /** Nothing waits any more. */
  begin(): void {
    this.ends = [];
    this.lookedTo = 0;
    this.drainedTo = 0;
    this.highest.clear();
    this.mayEnd = true;
  }
}
