import type { Database, Statement } from "better-sqlite3";
import { type CellValue, knew, Ref, type SqlValue, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { NAMES_NOBODY, targetWithin } from "../linked/linked-rows.ts";
import { equalRowsOnce } from "../rows/equal-rows.ts";
import { pages } from "../rows/pages.ts";
import { stateAt } from "../rows/foreign-keys.ts";
import { sayMeant } from "../rows/local-writes.ts";
import { registerOf } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Column, Table } from "../schema/catalog.ts";
import { readMeta, writeMeta } from "../schema/install.ts";
import { quote } from "../schema/quote.ts";
import { isAbsent, KnownIds } from "./known-ids.ts";

/** Where the columns are noted that have been looked through for integers of nobody. */
const LOOKED_THROUGH = "references looked through";
/** So many rows are looked through at once, and fewer where it takes longer than this, milliseconds. */
const ROWS_AT_ONCE = 5_000;
const AT_ONCE_MS = 20;
const SMALLEST = -(2n ** 63n);
const LARGEST = 2n ** 63n - 1n;
/** No row has the integer yet: one may come in the same drain, of which nobody has heard. */
const OPEN = 2n;
/** As `NAMES_NOBODY`, but some row has come to it since: rows that mean nobody say so themselves. */
const ASIDE = 3n;

/** An integer that is kept already: nobody has it any more. */
const AGAIN = `ON CONFLICT DO UPDATE SET state = ${NAMES_NOBODY} WHERE state = ${ASIDE} AND excluded.state <> ${ASIDE}`;

/** Of an integer that is kept and to which a row has come. */
interface Taken {
  /** The row is in its table. */
  isThere: boolean;
  /** Nobody had it until now: whoever holds it means nobody. */
  isFirst: boolean;
}

/** A column that is looked through for integers of nobody, and what it is noted by. */
interface Looked {
  name: string;
  table: Table;
  column: Column;
  parent: Table;
}

type Look = (after: readonly SqlValue[], rows: number) => SqlValue[] | null;

/** What a row shows in a column. */
interface Showing extends Taken {
  parent: Table;
  id: bigint;
  values: readonly SqlValue[];
}

/**
 * References that are older than the row they name: nobody enforced them, and in the drain that took them no row had their integer. Others
 * get the bare integer, which may be a row of theirs. Whoever wrote it says whom it means as soon as a row here has that integer, born here
 * or brought by a sync: until then nobody can know. So it names nobody for all others, and for the author, too, while the row that has it is
 * a deleted one: whoever comes to the integer, rows that hold it say that they mean the bare number (`own`). Which integers those are is kept
 * among the links to rows that are not there (_scoutsync_linked), under a target that no other database has. Not in keys, which say which row
 * it is.
 */
export class EarlyReferences {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly isJoining: () => boolean;
  private readonly isComparing: () => boolean;
  private readonly known = new Map<Table, KnownIds>();
  private keeping: Statement | null = null;
  private erased = 0;
  private catalogs = 0;
  /** A row may have come to any of the integers that are kept: it is not known to which. */
  private isDue = true;
  private mayBeOpen = true;
  /** Integers that rows hold which the drain has not read yet. */
  private unread: { parent: Table; id: bigint }[] = [];
  /** The catalog of tables whose columns have been looked through; null while some may not have been. */
  private lookedBackAt: number | null = null;
  private lookingBack: { name: string; after: readonly SqlValue[]; rows: number } | null = null;
  /** Up to which change of this run rows have been looked at. */
  private settledAt = 0;

  /**
   * `isJoining`: rows that were deleted elsewhere are about to be told from those with news, which a write would make of them.
   * `isComparing`: some rows are not known yet as a migration has left them.
   */
  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; isJoining: () => boolean; isComparing: () => boolean }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.isJoining = options.isJoining;
    this.isComparing = options.isComparing;
  }

  /** Call at the start of a turn of a drain. */
  begin(): void {
    const { erased, catalogs } = this.rows;
    if (this.erased === erased && this.catalogs === catalogs) return;
    this.erased = erased;
    this.catalogs = catalogs;
    this.known.clear();
  }

  /** Call after a rollback. */
  reload(): void {
    this.known.clear();
    this.isDue = true;
    this.mayBeOpen = true;
    this.lookedBackAt = null;
    this.lookingBack = null;
    this.settledAt = this.knowledge.lastSequence;
  }

  private knownOf(parent: Table): KnownIds {
    let known = this.known.get(parent);
    if (!known) this.known.set(parent, (known = new KnownIds(this.db, parent.tid)));
    return known;
  }

  /** The application wrote a row with these values, or those of its columns that are marked. */
  note({ table, claim }: RowState, values: readonly SqlValue[], written: readonly boolean[] | null): void {
    for (const { index, parent } of table.references) {
      const id = values[index];
      if (typeof id !== "bigint" || written?.[index] === false || (parent === table && id === claim)) continue;
      this.knownOf(parent).ask(id);
    }
  }

  /** A row has been born under an integer by which others may refer to it. */
  born(table: Table, id: bigint): void {
    this.known.get(table)?.add(id);
    // What this drain writes with the integer means that row, which is not so of what others wrote.
    this.rows.of(table).bornHere = id;
  }

  /** Call when what was noted has been stored: keeps the integers that no row has, or as a deleted one had. */
  look(): void {
    for (const [parent, known] of this.known) for (const id of known.takeAbsent()) this.keep(parent, id, OPEN);
    for (const { parent, id } of this.unread.splice(0)) this.rows.of(parent).came?.push(id);
  }

  /**
   * Keeps the integers that rows hold and no row has or had before anybody looked for such here: those from before syncing, or where a
   * column has come to refer to a table. Call before others' rows are applied, when all rows of the tables are known. Each column is looked
   * through once, in turns until `until` (milliseconds of performance.now); true when all have been.
   */
  lookBack(until: number): boolean {
    if (this.hasLookedBack) return true;
    this.rows.flush();
    const done = new Set((readMeta(this.db, LOOKED_THROUGH) ?? "").split(",").filter((name) => name !== ""));
    for (const table of this.rows.tables) {
      for (const { index, parent } of table.references) {
        const column = table.columns[index] as Column;
        const name = `${table.tid}.${column.cid}:${parent.tid}`;
        if (done.has(name) || table.key.some(({ cid }) => cid === column.cid)) continue;
        if (!this.lookThrough({ name, table, column, parent }, until)) return false;
        writeMeta(this.db, LOOKED_THROUGH, [...done.add(name)].join());
      }
    }
    this.lookedBackAt = this.rows.catalogs;
    return true;
  }

  private lookThrough({ name, table, column, parent }: Looked, until: number): boolean {
    // Rows without a rowid are read by their keys.
    const look =
      table.rowid === null || column.spelled ? this.byKey(table, column, parent) : this.byRowid(table, column, parent, table.rowid);
    let { after, rows } = this.lookingBack?.name === name ? this.lookingBack : { after: [] as readonly SqlValue[], rows: 1 };
    for (;;) {
      const start = performance.now();
      const at = look(after, rows);
      if (at === null) break;
      after = at;
      const now = performance.now();
      // Long values that stand before the column are read with it: few of them at a time.
      rows = now - start < AT_ONCE_MS ? Math.min(rows * 2, ROWS_AT_ONCE) : Math.ceil(rows / 4);
      this.lookingBack = { name, after, rows };
      if (now > until) return false;
    }
    this.lookingBack = null;
    return true;
  }

  /** What looks at so many rows after a place, and gives the place after those; null where there are none. */
  private byRowid(table: Table, column: Column, parent: Table, rowid: string): Look {
    const among = `FROM ${quote(table.source)} WHERE ${rowid} >= ? ${table.where === null ? "" : `AND ${table.where}`} ORDER BY ${rowid} LIMIT ?`;
    const last = this.db.prepare(`SELECT max(at) FROM (SELECT ${rowid} AS at ${among})`).safeIntegers(true).pluck();
    const store = this.db.prepare(
      `INSERT INTO _scoutsync_linked(target, oid, sequence, id, state) SELECT ?, 0, h.id, h.id, ${NAMES_NOBODY} ` +
        `FROM (SELECT DISTINCT id FROM (SELECT ${quote(column.name)} AS id ${among}) WHERE typeof(id) = 'integer') AS h WHERE ${isAbsent(parent.tid, "h.id")} ${AGAIN}`,
    );
    return ([after], rows) => {
      const from = typeof after === "bigint" ? after + 1n : SMALLEST;
      const at = from > LARGEST ? null : (last.get(from, rows) as bigint | null);
      if (at !== null && store.run(targetWithin(parent.tid), from, rows).changes > 0) this.rows.of(parent).came ??= [];
      return at === null ? null : [at];
    };
  }

  private byKey(table: Table, column: Column, parent: Table): Look {
    return (after, rows) => {
      let last: SqlValue[] | null = null;
      let count = 0;
      for (const { values, at } of pages(this.db, { ...table, columns: [column] }, after, rows)) {
        if (typeof values[0] === "bigint") this.knownOf(parent).ask(values[0]);
        last = at;
        if (++count === rows) break;
      }
      for (const id of this.knownOf(parent).takeAbsent()) this.keep(parent, id, NAMES_NOBODY);
      return last;
    };
  }

  get hasLookedBack(): boolean {
    return this.lookedBackAt === this.rows.catalogs;
  }

  private keep(parent: Table, id: bigint, state: bigint): void {
    this.keeping ??= this.db.prepare(`INSERT INTO _scoutsync_linked(target, oid, sequence, id, state) VALUES(?, 0, ?, ?, ?) ${AGAIN}`);
    this.keeping.run(targetWithin(parent.tid), id, id, state);
    this.rows.of(parent).came ??= [];
    if (state === OPEN) this.mayBeOpen = true;
  }

  /** Call when nothing of the drain is left: what others get from here on has these integers. */
  end(): void {
    if (!this.isComparing()) this.unread = [];
    if (!this.mayBeOpen) return;
    const open = `target >= '.' AND target < '/' AND state = ${OPEN}`;
    // The row came and went in the same drain: they mean that one.
    const hadOne =
      "EXISTS(SELECT 1 FROM _scoutsync_out AS o WHERE o.tid = CAST(substr(target, 2) AS INTEGER) AND o.id = _scoutsync_linked.id)";
    this.db.exec(
      `DELETE FROM _scoutsync_linked WHERE ${open} AND ${hadOne}; UPDATE _scoutsync_linked SET state = ${NAMES_NOBODY} WHERE ${open}`,
    );
    this.mayBeOpen = false;
  }

  /**
   * A row has come to hold these values in its table, or of one that is there the `changed` ones: integers among them are from before
   * whom they name, or name nobody.
   */
  placed(state: RowState, cells: readonly CellValue[], changed: readonly number[] | null = null): void {
    const { table } = state;
    for (const { index, parent } of table.references) {
      if (changed?.includes(index) === false) continue;
      const id = cells[index];
      const cid = table.columns[index]?.cid ?? -1;
      if (typeof id !== "bigint" || table.key.some((part) => part.cid === cid)) continue;
      const isOurs = this.isOurs(state, cid);
      const isTaken = this.rows.references.refOf(parent, id) !== null;
      if (isOurs || !isTaken) this.keep(parent, id, isTaken ? ASIDE : NAMES_NOBODY);
      if (isOurs) this.rows.of(parent).came?.push(id);
    }
  }

  /**
   * Call before a transaction ends: rows that hold an integer which a row has come to have say that they mean it, where they were
   * written here, else that they do not.
   */
  settle(): void {
    const isJoining = this.isJoining();
    const isDue = this.isDue && !isJoining;
    for (const table of this.rows.tables) {
      const store = this.rows.of(table);
      if (store.came === null || (store.came.length === 0 && !isDue)) continue;
      this.rows.flush();
      const taken = this.take(table, isDue ? null : store.came, isJoining);
      store.came = [];
      if (taken.size > 0) this.renew(table, taken);
      store.bare.clear();
      store.bornHere = null;
    }
    // What is said while a node joins again is news, which keeps what was deleted elsewhere: later.
    this.isDue = isJoining;
    this.settledAt = this.knowledge.lastSequence;
  }

  /** Of the integers that are kept, of these or of all, those to which a row has come; lets go of those that a row has in its table. */
  private take(table: Table, ids: readonly bigint[] | null, isJoining: boolean): Map<bigint, Taken> {
    const among = ids === null ? "" : "AND sequence IN (SELECT value FROM json_each(?))";
    const isThere = `EXISTS(SELECT 1 FROM ${rowsTable(table.tid)} AS r WHERE r.id = l.id)`;
    const wasThere = `EXISTS(SELECT 1 FROM _scoutsync_out AS o WHERE o.tid = ${table.tid} AND o.id = l.id)`;
    const found = this.db
      .prepare(
        `SELECT id, state, ${isThere} FROM _scoutsync_linked AS l WHERE target = ? AND oid = 0 ${among} ` +
          `AND (${isThere} OR (state = ${NAMES_NOBODY} AND ${wasThere}))`,
      )
      .safeIntegers(true)
      .raw(true)
      .all(targetWithin(table.tid), ...(ids === null ? [] : [`[${ids.join()}]`])) as [bigint, bigint, bigint][];
    const drop = this.db.prepare("DELETE FROM _scoutsync_linked WHERE target = ? AND oid = 0 AND sequence = ?");
    const setAside = this.db.prepare(`UPDATE _scoutsync_linked SET state = ${ASIDE} WHERE target = ? AND oid = 0 AND sequence = ?`);
    const taken = new Map<bigint, Taken>();
    for (const [id, state, there] of found) {
      if (state !== OPEN) taken.set(id, { isThere: there === 1n && !isJoining, isFirst: state === NAMES_NOBODY });
      if (there === 1n && !isJoining) drop.run(targetWithin(table.tid), id);
      else if (state !== OPEN) setAside.run(targetWithin(table.tid), id);
    }
    return taken;
  }

  private renew(parent: Table, taken: ReadonlyMap<bigint, Taken>): void {
    const ids = new Set(taken.keys());
    for (const { child, column } of parent.referencedBy) {
      if (child.key.some(({ cid }) => cid === column.cid)) continue;
      const index = child.indexOf.get(column.cid) as number;
      const hashes = new Set<string>();
      const store = this.rows.of(child);
      // Without a column that a migration has dropped nothing says which row without a key is which until they are compared.
      if (child.keyless && store.columnsLeft().length < child.columns.length) {
        for (const id of ids) if (store.keysWhere(column.name, id).length > 0) this.readLater(parent, id);
        continue;
      }
      for (const key of store.keysAmong(column.name, ids)) {
        const values = store.read(key);
        const id = values?.[index];
        const found = typeof id === "bigint" ? taken.get(id) : undefined;
        if (!values || typeof id !== "bigint" || !found) continue;
        const states = child.keyless ? equalRowsOnce(this.rows, child, values, hashes) : [stateAt(this.rows, child, key)];
        if (states === null) this.readLater(parent, id);
        for (const state of states ?? []) if (state) this.say(state, column.cid, { parent, id, values, ...found });
      }
    }
    this.rows.flush();
  }

  /** A row without a key that is not as it was drained last: which one it is is known when it has been. */
  private readLater(parent: Table, id: bigint): void {
    this.keep(parent, id, ASIDE);
    this.unread.push({ parent, id });
  }

  /** Writes a reference anew for the row that has its integer where it was written here; else it says that it means nobody. */
  private say(state: RowState, cid: number, { parent, id, values, isThere, isFirst }: Showing): void {
    const target = isThere ? this.rows.byId(parent, id) : null;
    const meant = winnerOf(registerOf(state, cid), this.knowledge);
    if (!meant || state.own.get(cid) instanceof Ref) return;
    const before = ownedDots(state);
    if (target && this.isOurs(state, cid) && !knew(meant, target.birth.origin, target.birth.sequence, this.knowledge)) {
      sayMeant(state, cid, meant, [target.birth], id, this.knowledge);
      state.own.delete(cid);
    } else {
      if (!isFirst || state.own.has(cid) || this.isNew(meant)) return;
      state.own.set(cid, id);
    }
    this.rows.saveReference(state, values, before);
  }

  /** True for a write of this run since rows were looked at last: its application saw whom it names. */
  private isNew({ origin, sequence }: Write): boolean {
    return origin === this.knowledge.lastDot?.origin && sequence > this.settledAt;
  }

  /** Whoever wrote it says whom it means: two that did would write against each other. */
  private isOurs(state: RowState, cid: number): boolean {
    const meant = winnerOf(registerOf(state, cid), this.knowledge);
    return meant !== undefined && this.knowledge.isOwn(meant.origin);
  }
}
