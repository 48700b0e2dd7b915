import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import { CAPTURE, captureColumns, Op } from "../capture/triggers.ts";
import { LARGEST_GROUP } from "../log/groups.ts";
import { valueStatement } from "../kept-statements.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { packKey } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";

/** Transactions are one part until they have so many events: a batch holds more anyway, and groups are remembered by number. */
const SMALLEST_PART = 2_000;
/** Rows that are remembered of what waits; where more wait nothing ends before all is drained: some 50 MB. */
const MOST_ROWS = 1_000_000;

/**
 * Where the dirty list may be taken for drained before all of it is, so that the changes of one drain are no more than they
 * have to be: whoever gets them applies them in one transaction. At a commit of the application, which the end of the list is
 * whenever no transaction of ours is open: whoever waits looks at it. And only where no row has events on both sides: a row is
 * read as it is now, and what a later transaction did to a row of an earlier one would be seen without the rest of that
 * transaction. Of rows without a key nothing but inserts may wait: what else became of one only its values tell.
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
  /** All parts up to here have been drained to their end. */
  private endedTo = 0;
  /** The last event of each row that was looked at, by number of the table and the row's key. */
  private readonly lastOf = new Map<number, Map<number | string, number>>();
  /** The first event that was looked at of each table, by its number, but for parts that have ended. */
  private readonly firstOf = new Map<number, number>();
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
    // So little is drained in one turn: there is nothing to be remembered.
    if (this.lookedTo === 0 && latest - (first ?? latest) < SMALLEST_PART) return;
    for (const end of commits) if (end === latest || end - this.lookedTo >= SMALLEST_PART) this.lookUpTo(end);
  }

  private lookUpTo(end: number): void {
    // So much comes batch by batch anyway.
    if (end - this.lookedTo > LARGEST_GROUP) this.forget();
    if (!this.mayEnd || end <= this.lookedTo) return;
    const again = this.firstTouchedAgain(end);
    this.lookedTo = end;
    if (again === null) return this.forget();
    this.ends = this.ends.filter((before) => before < again);
    this.ends.push(end);
  }

  /**
   * Notes the rows of what came to the list up to `end`. Returns the earliest event of a part that has not ended after which one of these
   * rows was not touched until now, infinity where there is none; null where nothing can be said of rows.
   */
  private firstTouchedAgain(end: number): number | null {
    let again = Number.POSITIVE_INFINITY;
    const tables = new Map(this.rows.tables.map((table) => [table.tid, table]));
    const columns = captureColumns(Math.max(0, ...this.rows.tables.map(({ key }) => key.length)), 0);
    const highest = new Map<Table, bigint>();
    const highestOf = (table: Table) => {
      let id = highest.get(table);
      if (id === undefined) highest.set(table, (id = this.highestKnown(table)));
      return id;
    };
    const select = this.db.prepare(
      `SELECT ${["n", "event >> 3", "event & 7", ...columns].join(", ")} FROM ${CAPTURE} WHERE n > ? AND n <= ?`,
    );
    for (const values of select.safeIntegers(true).raw(true).iterate(this.lookedTo, end) as IterableIterator<SqlValue[]>) {
      const table = tables.get(Number(values[1]));
      if (!table) continue;
      const isInsert = Number(values[2]) === Op.insert;
      if (table.keyless && !isInsert) return null;
      const known = this.lastOfTable(table);
      const isNew = isInsert && (table.referencedBy.length === 0 || (values[3] as bigint) > highestOf(table));
      const row = nameInTable(table, values.slice(3, 3 + table.key.length));
      const last = known.get(row) ?? 0;
      // Another row with the integer: in the middle of a stream it may have to wait for that.
      if (table.surrogate && isInsert && last > 0) return null;
      if (last > this.endedTo && last <= this.lookedTo) again = Math.min(again, last);
      // A row travels with what it refers to, as that is then.
      if (!isNew) for (const { child } of table.referencedBy) again = Math.min(again, this.firstOf.get(child.tid) ?? again);
      const n = Number(values[0]);
      known.set(row, n);
      if (!this.firstOf.has(table.tid)) this.firstOf.set(table.tid, n);
    }
    return this.isTooMuch() ? null : again;
  }

  /** The highest integer of a row that is known already: an insert above it writes over none. */
  private highestKnown({ tid }: Table): bigint {
    const highest = this.db
      .prepare(`SELECT max(id) FROM ${rowsTable(tid)}`)
      .pluck()
      .safeIntegers(true);
    return (highest.get() as bigint | null) ?? 0n;
  }

  /** True when more rows are remembered than should be, also without those that only parts had which have ended. */
  private isTooMuch(): boolean {
    const count = () => [...this.lastOf.values()].reduce((sum, { size }) => sum + size, 0);
    if (count() <= MOST_ROWS) return false;
    for (const known of this.lastOf.values()) for (const [row, last] of known) if (last <= this.endedTo) known.delete(row);
    return count() > MOST_ROWS;
  }

  private lastOfTable({ tid }: Table): Map<number | string, number> {
    let known = this.lastOf.get(tid);
    if (!known) this.lastOf.set(tid, (known = new Map()));
    return known;
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
    const [end] = this.ends;
    if (end === undefined || end > n) return;
    this.ends.shift();
    this.endedTo = end;
    for (const [tid, first] of this.firstOf) if (first <= end) this.firstOf.set(tid, end + 1);
  }

  /** It is not known any more what waits: nothing ends before all is drained. */
  forget(): void {
    this.commits = [];
    this.ends = [];
    this.lastOf.clear();
    this.firstOf.clear();
    this.mayEnd = false;
  }

  /** Nothing waits any more. */
  begin(): void {
    this.commits = [];
    this.ends = [];
    this.lookedTo = 0;
    this.drainedTo = 0;
    this.endedTo = 0;
    this.lastOf.clear();
    this.firstOf.clear();
    this.mayEnd = true;
  }
}

/** Names a row among those of its table. Two rows may have one name, which only makes a part longer; one row has no two. */
function nameInTable(table: Table, key: readonly SqlValue[]): number | string {
  if (table.surrogate || table.keyless) return Number(key[0]);
  return packKey(table.key, key).toString("latin1");
}
