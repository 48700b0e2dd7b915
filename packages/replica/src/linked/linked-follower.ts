import type { Database } from "better-sqlite3";
import { type CellValue, Ref, winnerOf, type Write } from "@scoutsync/core";
import type { Placement } from "../apply/placement.ts";
import { CAPTURE, MASK_BITS, Op } from "../capture/triggers.ts";
import { BASELINE_AUTHOR } from "../identity/baseline.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { asLocked } from "../identity/same-file.ts";
import { Notices } from "../rows/notices.ts";
import { stateAt } from "../rows/foreign-keys.ts";
import { sayMeant, writeTakenOver } from "../rows/local-writes.ts";
import { registerOf } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { LinkedTarget } from "../schema/tables.ts";
import type { RowName } from "./linked-parent.ts";
import { HAS, type Link, type LinkedRows, type Neighbour, STOOD_FOR, type Taken, targetName } from "./linked-rows.ts";

/** Brings integers that refer to rows of other databases of the node in line with those. */
export class LinkedFollower {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly linked: LinkedRows;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly notices: Notices;
  private readonly nowUs: () => number;
  /** When the file was opened. */
  private readonly openedUs: number;
  /** By database, up to which of its transactions it was followed; those of a transaction that has not committed apart. */
  private readonly followed = new Map<string, { parent: Neighbour; generation: number }>();
  private readonly following = new Map<string, { parent: Neighbour; generation: number }>();

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; placement: Placement; nowUs: () => number }) {
    this.db = options.db;
    this.rows = options.rows;
    this.linked = options.rows.linked;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.notices = new Notices(options.db);
    this.nowUs = options.nowUs;
    this.openedUs = options.nowUs();
  }

  private get databases(): Set<string> {
    return new Set(this.rows.linkedColumns.map(({ target }) => target.database));
  }

  /** True when nothing has changed in the databases that are referred to, as far as they are open. */
  get isCurrent(): boolean {
    return [...this.databases].every((database) => {
      const parent = this.linked.parentOf(database);
      const known = this.following.get(database) ?? this.followed.get(database);
      return !parent || (known?.parent === parent && known.generation === parent.linkedRows.generation);
    });
  }

  /**
   * Throws unless the databases that are referred to are those that applications see. Call when this one is locked: an application that
   * has seen another file there, and has written here since, has the integers of that one. `isNeeded` says whether one must be open.
   */
  checkParents(isNeeded: () => boolean): void {
    for (const database of this.databases) {
      const parent = this.linked.parentOf(database);
      if (!parent && isNeeded()) this.linked.open({ database });
      try {
        parent?.checkFile();
      } catch (error) {
        throw asLocked(error);
      }
    }
  }

  /** Call when the transaction has committed. */
  keep(): void {
    for (const [database, at] of this.following) this.followed.set(database, at);
    this.following.clear();
  }

  /** Call after a rollback. */
  drop(): void {
    this.following.clear();
  }

  /**
   * Follows rows of other databases that have other integers than they had when this was last called. Silent, inside the
   * caller's write transaction. What the application has written since and no drain has seen is left to the drain.
   */
  follow(): void {
    for (const database of this.databases) {
      const parent = this.linked.parentOf(database);
      // What waits was written before an older file came, mostly: it is read by what is known here of the integers of then.
      if (!parent || this.linked.isDoubtful(database)) continue;
      const known = this.following.get(database) ?? this.followed.get(database);
      const names = known?.parent === parent ? parent.linkedRows.since(known.generation) : null;
      this.following.set(database, { parent, generation: parent.linkedRows.generation });
      const targets = new Map(
        this.rows.linkedColumns.flatMap(({ target }) => (target.database === database ? [[targetName(target), target]] : [])),
      );
      for (const target of targets.values()) this.followTarget(target, parent, names);
    }
    this.writeTaken();
  }

  private followTarget(target: LinkedTarget, parent: Neighbour, names: readonly RowName[] | null): void {
    const moved = new Map<Link, Link | RowName>();
    const candidates = names === null ? [...this.linked.linksOf(target)] : this.candidates(target, parent, names);
    const taken: { link: Link; by: RowName }[] = [];
    for (const link of candidates) {
      const { ref } = link;
      const holder = parent.linkedRows.holder(target.table, link.id);
      if (!ref) {
        if (holder) taken.push({ link, by: holder });
        continue;
      }
      const found = parent.linkedRows.find(target.table, this.linked.nameOf(ref));
      if (found && !found.live && found.id === link.id && holder && parent.linkedRows.isBornHere(holder)) taken.push({ link, by: holder });
      else if (this.isMoved(link, found, holder)) moved.set(link, found?.self ?? this.linked.nameOf(ref));
    }
    this.moveAll(target, parent, moved as ReadonlyMap<Link, RowName>);
    for (const { link, by } of taken) if (this.linked.linkAt(target, link.id) === link) this.linked.takeOver(target, link, by);
  }

  /** Links of rows that were touched, and of integers that such rows have now. */
  private candidates(target: LinkedTarget, parent: Neighbour, names: readonly RowName[]): Link[] {
    const links = new Set<Link>();
    for (const name of names) {
      const link = this.linked.linkOf(target, name);
      if (link) links.add(link);
      const found = parent.linkedRows.find(target.table, name);
      const at = found?.live ? this.linked.linkAt(target, found.id) : undefined;
      if (at) links.add(at);
    }
    // Those for which a touched row stands or has stood.
    const ids = new Set([...links].map(({ id }) => id));
    for (const link of this.linked.hasStoodFor(target) ? this.linked.linksOf(target) : []) if (ids.has(link.id)) links.add(link);
    return [...links];
  }

  /** True when a row is to be referred to otherwise than it is. */
  private isMoved({ id, ref, state }: Link, found: ReturnType<Neighbour["linkedRows"]["find"]>, holder: RowName | null): boolean {
    const name = this.linked.nameOf(ref as Ref);
    const same = (other: RowName) => other.origin === name.origin && other.sequence === name.sequence;
    // What is not known there any more goes on under its integer, unless another row has that.
    if (!found) return holder !== null && !same(holder);
    if (!found.live && holder) return true;
    if (!found.live && state === HAS && found.id === id) return false;
    if (found.id !== id || !same(found.self)) return true;
    return state !== (same(found.stands) ? HAS : STOOD_FOR);
  }

  private moveAll(target: LinkedTarget, parent: Neighbour, moved: ReadonlyMap<Link, RowName>): void {
    if (moved.size === 0) return;
    // First who shows what, under the integers as they were; then the integers; then the rows.
    const shown = this.rowsShowing(target, new Set([...moved.keys()].map(({ id }) => id)));
    for (const link of moved.keys()) this.linked.drop(target, link);
    const renewed = new Map<string, Ref>();
    for (const [{ ref }, self] of moved) {
      const name = new Ref(this.knowledge.origin(self.origin, ""), self.sequence);
      if (ref) renewed.set(`${ref.origin}:${ref.sequence}`, name);
      if (this.linked.linkOf(target, self)) continue;
      this.linked.store(target, this.linked.linkFor(target, name, parent.linkedRows.find(target.table, self)));
    }
    for (const { birth, table, index, cells } of shown) {
      const state = this.rows.byDot(birth.origin, birth.sequence);
      const cell = cells[index];
      if (!state || state.place.kind !== "table") continue;
      const named = cell instanceof Ref ? renewed.get(`${cell.origin}:${cell.sequence}`) : undefined;
      if (named) cells[index] = named;
      const indexes = table.linked.filter((each) => targetName(each.target) === targetName(target)).map((each) => each.index);
      this.placement.settle(state, cells, indexes, ownedDots(state));
    }
    this.rows.flush();
  }

  /** Rows that show one of these integers, but for those whose application has just written them. */
  private rowsShowing(target: LinkedTarget, ids: ReadonlySet<bigint>): { birth: Write; table: Table; index: number; cells: CellValue[] }[] {
    return this.rows.linkedColumns.flatMap(({ table, index, target: other }) => {
      if (targetName(other) !== targetName(target)) return [];
      return [...ids].flatMap((id) =>
        this.rows
          .of(table)
          .keysWhere(table.columns[index]?.name ?? "", id)
          .flatMap((key) => {
            const state = stateAt(this.rows, table, key);
            if (state?.place.kind !== "table" || this.isWrittenSince(table, index, key)) return [];
            return [{ birth: state.birth, table, index, cells: [...this.rows.cells(state)] }];
          }),
      );
    });
  }

  /** True when the application wrote the column of a row since the last drain. */
  private isWrittenSince(table: Table, index: number, key: readonly unknown[]): boolean {
    const where = key.map((_, i) => `k${i} IS ?`).join(" AND ");
    const mask = `(coalesce(m${Math.floor(index / MASK_BITS)}, 0) >> ${index % MASK_BITS}) & 1`;
    const sql = `SELECT 1 FROM ${CAPTURE} WHERE event >> 3 = ${table.tid} AND (event & 7 = ${Op.insert} OR (event & 7 = ${Op.update} AND ${mask})) AND ${where} LIMIT 1`;
    return this.db.prepare(sql).get(...key) !== undefined;
  }

  /**
   * True where the write that a column shows was made here; of rows from before syncing, which several may have brought, where the
   * row that it names was.
   */
  private isOurs(state: RowState, cid: number, id: bigint, target: LinkedTarget): boolean {
    const said = winnerOf(registerOf(state, cid), this.knowledge);
    if (!said || this.knowledge.authorOf(said.origin) !== BASELINE_AUTHOR) return said !== undefined && this.knowledge.isOwn(said.origin);
    const parent = this.linked.parentOf(target.database)?.linkedRows;
    const holder = parent?.holder(target.table, id);
    return parent !== undefined && holder != null && parent.isBornHere(holder);
  }

  /** Rows that show an integer which means a row only now refer to that: an ordinary write, so that others hear of it. */
  private writeTaken(): void {
    const taken = this.linked.takeTaken();
    // Of all before any is written: a row may show several.
    const shown = taken.flatMap((one) => this.rowsShowing(one.target, new Set([one.id])).map((row) => ({ ...one, ...row })));
    const isBare = shown.map((row) => row.isFirst && this.saysBare(row.birth, taken));
    shown.forEach(({ target, id, isFirst, birth, table, index }, at) => {
      const state = this.rows.byDot(birth.origin, birth.sequence);
      const values = state && this.rows.tableValues(state);
      const { cid } = table.columns[index] as { cid: number };
      // Came to show it as the number of the row that it names.
      if (!state || !values || (isFirst && (!isBare[at] || state.own.get(cid) instanceof Ref))) return;
      const before = ownedDots(state);
      const meant = winnerOf(registerOf(state, cid), this.knowledge);
      // Who wrote it says whom it means: until then it is the bare integer for everybody.
      if (isFirst && !this.isOurs(state, cid, id, target)) state.own.set(cid, id);
      else if (isFirst && meant) {
        sayMeant(state, cid, meant, [], id, this.knowledge);
        // Whom it means may have been in a file that is not there any more.
        if (meant.time < this.openedUs) this.notices.refers(birth, { cid, id, meant: null }, this.nowUs());
      } else writeTakenOver(state, cid, this.knowledge);
      this.rows.saveInTable(state, table.surrogate ? state.slot : null, values, before);
    });
    this.rows.flush();
  }

  /** True for a row that was stored with such integers as they are, and not as a row's: its hash tells. */
  private saysBare({ origin, sequence }: Write, taken: readonly Taken[]): boolean {
    const state = this.rows.byDot(origin, sequence);
    const values = state && this.rows.tableValues(state);
    if (!state?.hash || !values) return false;
    const own = new Map(state.own);
    for (const { index, target } of state.table.linked) {
      const { cid } = state.table.columns[index] as { cid: number };
      const value = values[index];
      const isTaken = taken.some((one) => one.isFirst && one.id === value && targetName(one.target) === targetName(target));
      if (typeof value === "bigint" && isTaken && !own.has(cid)) own.set(cid, value);
    }
    return this.rows.hashes.hash(state.table, state.table.surrogate ? state.slot : null, values, own).equals(state.hash);
  }
}
