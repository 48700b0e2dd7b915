import type { Database } from "better-sqlite3";
import { type CellValue, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive, localWrite } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import { DeletedTargets } from "../rows/foreign-keys.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Placement } from "./placement.ts";
import { type RelatedRows, strayReference } from "./related-rows.ts";

/** A row in its table whose delete has won, with the values it ends with and the positions that differ from the table. */
interface Dying {
  birth: Write;
  cells: readonly CellValue[];
  changed: readonly number[];
}

const dotName = ({ origin, sequence }: Write): string => `${origin}:${sequence}`;

/** Deletes: rows whose delete has won leave their tables together, but for those that a concurrent write refers to. */
export class KeptRows {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly related: RelatedRows;
  /** Rows in their table whose delete has won, with the values they end with. */
  private dying: Dying[] = [];
  /** Rows that are being placed just now, and what they refer to with them. */
  private readonly placing = new Set<string>();
  /** Rows that came deleted: what refers to them by value may be here already. */
  private cameDeleted: Write[] = [];
  private readonly deletedTargets: DeletedTargets;

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; placement: Placement }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.related = options.placement.related;
    this.deletedTargets = new DeletedTargets(options.rows);
  }

  /** Call at the start of a transaction. */
  begin(): void {
    this.dying = [];
    this.placing.clear();
    this.cameDeleted = [];
    this.deletedTargets.forget();
  }

  /** A row in its table is deleted: it goes when the batch is through. */
  died(end: Dying): void {
    this.dying.push(end);
  }

  /** A row came, or is, deleted and out of its table. */
  cameDead(state: RowState): void {
    if (state.table.dependants.length > 0) this.cameDeleted.push(state.birth);
  }

  /** Removes what has died. Rows that refer to each other go together; a row that a concurrent write refers to stays, kept. */
  bury(): void {
    const ends = new Map(this.dying.map((end) => [dotName(end.birth), end]));
    const endOf = ({ birth }: RowState) => ends.get(dotName(birth));
    let left = [...ends.values()].flatMap(({ birth }) => {
      const state = this.related.again(birth);
      return state?.place.kind === "table" && !isAlive(state, this.knowledge) ? [state] : [];
    });
    this.dying = [];
    for (let progress = true; progress && left.length > 0;) {
      progress = false;
      const still: RowState[] = [];
      for (const state of left) {
        if (this.related.referrers(state).some((child) => !(child.table === state.table && child.slot === state.slot))) still.push(state);
        else {
          this.placement.remove(state, endOf(state)?.cells);
          progress = true;
        }
      }
      left = still;
    }
    // A kept row keeps what it refers to: looked at again as long as one more is kept.
    for (let progress = true; progress;) {
      progress = false;
      for (const state of left) {
        if (!this.isReferredToApart(state)) continue;
        this.keep(state, endOf(state));
        left = left.filter((other) => other !== state);
        progress = true;
      }
    }
    for (const state of left) this.placement.remove(state, endOf(state)?.cells);
    for (const birth of this.cameDeleted) {
      const state = this.related.again(birth);
      if (state?.place.kind !== "dead") continue;
      const cells = this.rows.cells(state);
      if (this.isReferredToApart(state, cells)) this.bringBack(state, cells);
    }
    this.cameDeleted = [];
  }

  /**
   * True when a live row that was written apart from the delete refers to this deleted one, or a row that is kept itself.
   * `cells` as for `referrers`.
   */
  private isReferredToApart(state: RowState, cells: readonly CellValue[] | null = null): boolean {
    return this.related.referrers(state, cells).some((child) => child.kept || this.isApart(child, state));
  }

  /** True when this row lives and was written apart from the delete of the other. */
  private isApart(child: RowState, parent: RowState): boolean {
    const deleted = winnerOf(parent.deletes, this.knowledge);
    if (!deleted || deleted.alive) return false;
    return isAlive(child, this.knowledge) && this.related.writtenApart(child, deleted);
  }

  private keep(state: RowState, end: Dying | undefined): void {
    const before = ownedDots(state);
    state.kept = true;
    this.markKept(state);
    this.keepParents(state, end?.cells ?? this.rows.cells(state));
    if (end && end.changed.length > 0) {
      const stray = strayReference(state.table, end.cells);
      const { values, missing } = this.rows.concrete(state.table, end.cells);
      // Edited before it was deleted, to refer to a row that is not here or waits itself.
      if (stray || missing) return this.placement.evict(state, end.cells, stray ?? "parent", missing, before);
      const refused = this.placement.tryUpdate(state, end.changed, values);
      if (refused) return this.placement.evict(state, end.cells, refused, null, before);
    }
    const values = this.rows.tableValues(state);
    if (!values) return;
    if (state.table.surrogate && this.related.idFor(state) !== state.slot)
      this.placement.move(state, values, this.rows.abstract(state.table, values), before);
    else this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
  }

  /** Kept rows that local writes refer to are decided to live: an ordinary write to their existence. */
  revive(births: readonly Write[], wall: number): void {
    for (const birth of births) {
      const state = this.related.again(birth);
      if (!state?.kept || state.place.kind !== "table") continue;
      const before = ownedDots(state);
      const write = localWrite(state, wall, state.deletes, this.knowledge);
      state.deletes = [{ ...write, alive: true }];
      state.kept = false;
      const values = this.rows.tableValues(state);
      if (values) this.rows.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
    }
  }

  /** Brings back deleted rows that this one refers to, where neither author knew of the other or this one is kept itself. */
  keepParents(state: RowState, cells: readonly CellValue[]): boolean {
    const byValue = state.table.dependsOn.length > 0 ? this.deletedTargets.of(state.table, this.related.wanted(state), cells) : [];
    const dead = [...this.rows.concrete(state.table, cells).dead, ...byValue];
    if (dead.length === 0) return false;
    let kept = false;
    const self = dotName(state.birth);
    // In a circle one comes back to where it began: rows of a circle wait for each other and are placed together.
    const outermost = !this.placing.has(self);
    this.placing.add(self);
    for (const parent of dead) {
      const deleted = winnerOf(parent.deletes, this.knowledge);
      if (!deleted || deleted.alive || !(state.kept || this.related.writtenApart(state, deleted))) continue;
      const current = this.related.again(parent.birth);
      if (current?.place.kind !== "dead" || this.placing.has(dotName(current.birth))) continue;
      this.bringBack(current, this.rows.cells(current));
      kept = true;
    }
    if (outermost) this.placing.delete(self);
    return kept;
  }

  private bringBack(state: RowState, cells: readonly CellValue[]): void {
    const before = ownedDots(state);
    state.kept = true;
    this.markKept(state);
    this.placement.place(state, cells, before);
  }

  private markKept(state: RowState): void {
    this.db
      .prepare("INSERT INTO _scoutsync_kept(oid, sequence) VALUES(?, ?) ON CONFLICT DO NOTHING")
      .run(state.birth.origin, state.birth.sequence);
  }

  /** True when some row is kept. */
  get keepsRows(): boolean {
    return this.db.prepare("SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
  }

  /** Kept rows that nothing refers to apart any more go after all. */
  reviewKept(): void {
    const names = this.db.prepare("SELECT oid, sequence FROM _scoutsync_kept").all() as { oid: number; sequence: number }[];
    const left: RowState[] = [];
    const forget = this.db.prepare("DELETE FROM _scoutsync_kept WHERE oid = ? AND sequence = ?");
    for (const { oid, sequence } of names) {
      const state = this.rows.byDot(oid, sequence);
      if (state?.kept && !isAlive(state, this.knowledge)) left.push(state);
      else forget.run(oid, sequence);
    }
    // From rows that live down to what they keep: rows that only keep each other go.
    const grounded = new Set<string>();
    for (let progress = true; progress;) {
      progress = false;
      for (const state of left) {
        const name = dotName(state.birth);
        if (grounded.has(name)) continue;
        const referring = [...this.related.referrers(state), ...this.rows.waiting({ blocker: state.identity })];
        if (!referring.some((child) => (child.kept ? grounded.has(dotName(child.birth)) : this.isApart(child, state)))) continue;
        grounded.add(name);
        progress = true;
      }
    }
    for (const state of left) {
      if (grounded.has(dotName(state.birth))) continue;
      if (state.place.kind === "table") this.placement.remove(state);
      else this.giveUp(state);
      forget.run(state.birth.origin, state.birth.sequence);
    }
  }

  /** A row that waited to be kept is deleted after all. */
  private giveUp(state: RowState): void {
    const before = ownedDots(state);
    const cells = this.rows.cells(state);
    state.kept = false;
    state.place = { kind: "dead" };
    this.placement.waiting--;
    this.rows.saveOut(state, false, this.related.wanted(state), cells, before);
  }
}
