import type { Database } from "better-sqlite3";
import { type CellValue, knew, Ref, type SqlValue, winnerOf } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { targetWithin } from "../linked/linked-rows.ts";
import { equalRowsOnce } from "../rows/equal-rows.ts";
import { stateAt } from "../rows/foreign-keys.ts";
import { registerOf, sayMeant } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";
import { KnownIds } from "./known-ids.ts";

/** The integer names nobody, and others may have it. */
const NAMES_NOBODY = 1n;
/** No row has the integer yet: one may come in the same drain, of which nobody has heard. */
const OPEN = 2n;

/**
 * References that are older than the row they name: nobody enforced them, and in the drain that took them no row had their integer. Others
 * get the bare integer, which may be a row of theirs. Whoever wrote it says whom it means as soon as a row here has that integer, born here
 * or brought by a sync: until then nobody can know. Which integers those are is kept among the links to rows that are not there
 * (_scoutsync_linked), under a target that no other database has. Not in keys, which say which row it is.
 */
export class EarlyReferences {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly isJoining: () => boolean;
  private readonly isComparing: () => boolean;
  private readonly known = new Map<Table, KnownIds>();
  private erased = 0;
  private catalogs = 0;
  /** A row may have come to any of the integers that are kept: it is not known to which. */
  private isDue = true;
  private mayBeOpen = true;
  /** Integers that rows hold which the drain has not read yet. */
  private unread: { parent: Table; id: bigint }[] = [];

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
  }

  /** Call when what was noted has been stored: keeps the integers that no row has, or as a deleted one had. */
  look(): void {
    for (const [parent, known] of this.known) for (const id of known.takeAbsent()) this.keep(parent, id, OPEN);
    for (const { parent, id } of this.unread.splice(0)) this.rows.of(parent).came?.push(id);
  }

  private keep(parent: Table, id: bigint, state: bigint): void {
    this.db
      .prepare("INSERT INTO _scoutsync_linked(target, oid, sequence, id, state) VALUES(?, 0, ?, ?, ?) ON CONFLICT DO NOTHING")
      .run(targetWithin(parent.tid), id, id, state);
    this.rows.of(parent).came ??= [];
    if (state === OPEN) this.mayBeOpen = true;
  }

  /** Call when nothing of the drain is left: what others get from here on has these integers. */
  end(): void {
    if (!this.isComparing()) this.unread = [];
    if (!this.mayBeOpen) return;
    this.db.prepare("UPDATE _scoutsync_linked SET state = ? WHERE target >= '.' AND target < '/' AND state = ?").run(NAMES_NOBODY, OPEN);
    this.mayBeOpen = false;
  }

  /** A row has come into its table from out of it, or anew, with these values: integers among them are from before whom they name. */
  placed(state: RowState, cells: readonly CellValue[]): void {
    for (const { index, parent } of state.table.references) {
      const id = cells[index];
      if (typeof id !== "bigint" || !this.isOurs(state, state.table.columns[index]?.cid ?? -1)) continue;
      this.keep(parent, id, NAMES_NOBODY);
      this.rows.of(parent).came?.push(id);
    }
  }

  /** Call before a transaction ends: rows that hold an integer which a row has come to have say that they mean it. */
  settle(): void {
    if (this.isJoining()) {
      this.isDue = true;
      return;
    }
    const isDue = this.isDue;
    this.isDue = false;
    for (const table of this.rows.tables) {
      const store = this.rows.of(table);
      if (store.came === null || (store.came.length === 0 && !isDue)) continue;
      this.rows.flush();
      const taken = this.take(table, isDue ? null : store.came);
      store.came = [];
      if (taken.size > 0) this.renew(table, taken);
    }
  }

  /** Lets go of integers that rows have now, of these or of all; gives those that others may have. */
  private take(table: Table, ids: readonly bigint[] | null): Set<bigint> {
    const among = ids === null ? "" : "AND sequence IN (SELECT value FROM json_each(?))";
    const found = this.db
      .prepare(
        `DELETE FROM _scoutsync_linked WHERE target = ? AND oid = 0 ${among} ` +
          `AND EXISTS(SELECT 1 FROM ${rowsTable(table.tid)} AS r WHERE r.id = _scoutsync_linked.id) RETURNING id, state`,
      )
      .safeIntegers(true)
      .raw(true)
      .all(targetWithin(table.tid), ...(ids === null ? [] : [`[${ids.join()}]`])) as [bigint, bigint][];
    return new Set(found.flatMap(([id, state]) => (state === OPEN ? [] : [id])));
  }

  private renew(parent: Table, ids: ReadonlySet<bigint>): void {
    for (const { child, column } of parent.referencedBy) {
      if (child.key.some(({ cid }) => cid === column.cid)) continue;
      const index = child.indexOf.get(column.cid) as number;
      const hashes = new Set<string>();
      for (const key of this.rows.of(child).keysAmong(column.name, ids)) {
        const values = this.rows.of(child).read(key);
        const id = values?.[index];
        if (!values || typeof id !== "bigint" || !ids.has(id)) continue;
        const states = child.keyless ? equalRowsOnce(this.rows, child, values, hashes) : [stateAt(this.rows, child, key)];
        if (states === null) this.readLater(parent, id);
        for (const state of states ?? []) if (state) this.say(state, column.cid, parent, id, values);
      }
    }
    this.rows.flush();
  }

  /** A row without a key that is not as it was drained last: which one it is is known when it has been. */
  private readLater(parent: Table, id: bigint): void {
    this.keep(parent, id, NAMES_NOBODY);
    this.unread.push({ parent, id });
  }

  /** Writes a reference anew for the row that has its integer. */
  private say(state: RowState, cid: number, parent: Table, id: bigint, values: readonly SqlValue[]): void {
    const target = this.rows.byId(parent, id);
    const meant = winnerOf(registerOf(state, cid), this.knowledge);
    if (!target || !meant || state.own.get(cid) instanceof Ref || !this.isOurs(state, cid)) return;
    if (knew(meant, target.birth.origin, target.birth.sequence, this.knowledge)) return;
    const before = ownedDots(state);
    sayMeant(state, cid, meant, [target.birth], id, this.knowledge);
    state.own.delete(cid);
    this.rows.saveReference(state, values, before);
  }

  /** Whoever wrote it says whom it means: two that did would write against each other. */
  private isOurs(state: RowState, cid: number): boolean {
    const meant = winnerOf(registerOf(state, cid), this.knowledge);
    return meant !== undefined && this.knowledge.isOwn(meant.origin);
  }
}
