import type { CellValue, SqlValue, Write } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { rowsShowing } from "../rows/equal-rows.ts";
import { dependants, dependsOn, lacksTarget } from "../rows/foreign-keys.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { EntityMembers } from "../rows/members.ts";
import { Notices } from "../rows/notices.ts";
import { isWrittenApart, registerOf } from "../rows/registers.ts";
import { type RowState, UNSTORED } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import type { EarlyReferences } from "./early-references.ts";

/** What a drained row means for other rows: those it refers to, and those that are arranged anew because of it. */
export class Affected {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly members: EntityMembers;
  private readonly clock: ReplicaClock;
  private readonly notices: Notices;
  private readonly early: EarlyReferences;
  private readonly isMidStream: () => boolean;
  private referred: Write[] = [];
  private touched: Write[] = [];
  private leftBehind: Write[] = [];
  private rowsAreKept = false;
  private mayBeNoted = false;
  /** Some of what is here its application's writes do not know; null = not asked yet. */
  private holdsUnknown: boolean | null = null;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    members: EntityMembers;
    clock: ReplicaClock;
    early: EarlyReferences;
    isMidStream: () => boolean;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.members = options.members;
    this.clock = options.clock;
    this.early = options.early;
    this.isMidStream = options.isMidStream;
    this.notices = new Notices(options.db);
  }

  /** Call at the start of a drain. */
  begin(): void {
    this.rowsAreKept = this.db.prepare("SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
    this.mayBeNoted = this.rows.linkedColumns.length > 0 && this.db.prepare("SELECT 1 FROM _scoutsync_notice LIMIT 1").get() !== undefined;
    this.holdsUnknown = null;
  }

  /** A row has been born under an integer by which others may refer to it. */
  born(table: Table, id: bigint): void {
    this.early.born(table, id);
  }

  /** This row is to be arranged anew. */
  touch(birth: Write): void {
    this.touched.push(birth);
  }

  /**
   * Takes, since the last call, the births of kept rows to which drained rows refer, and of rows that are to be arranged
   * anew: an entity that died, a row that was born into one or refers to one by an integer that is no more. `leftBehind`: rows
   * that refer to deleted ones, which these may be kept for.
   */
  take(): { referred: Write[]; touched: Write[]; leftBehind: Write[] } {
    const { referred, touched, leftBehind } = this;
    this.referred = [];
    this.touched = [];
    this.leftBehind = [];
    return { referred, touched, leftBehind };
  }

  /**
   * A new reference to a deleted row that is only kept: the application sees that row, and means it. `isBlind`: something was written
   * by who knew nothing. `undated`: columns, by number, of which nobody saw whether they were written.
   */
  noteReferred(
    state: RowState,
    values: readonly SqlValue[],
    written: readonly boolean[] | null = null,
    { isBlind = false, undated = null }: { isBlind?: boolean; undated?: ReadonlyMap<number, number> | null | undefined } = {},
  ): void {
    this.noteFormer(state, values, written, undated);
    this.noteDoubtful(state, values, written);
    this.early.note(state, values, written);
    if (this.rows.same.exist) this.noteStale(state, values);
    this.noteDeleted(state, values, written, isBlind);
    if (!this.rowsAreKept) return;
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      const target = typeof id === "bigint" ? this.rows.byId(parent, id) : null;
      if (target?.kept) this.referred.push(target.birth);
    }
    const id = state.table.surrogate ? state.claim : null;
    for (const target of dependsOn(this.rows, state.table, id, values)) if (target.kept) this.referred.push(target.birth);
  }

  /**
   * The application may mean the row that had an integer here until a sync gave it to another one: for a person to say. Not where a migration
   * made the table anew or gave the column another name: its rows refer as they did, and are most of what it seems to write.
   */
  private noteFormer(
    state: RowState,
    values: readonly SqlValue[],
    written: readonly boolean[] | null,
    undated: ReadonlyMap<number, number> | null,
  ): void {
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      if (typeof id !== "bigint" || written?.[index] === false) continue;
      if (undated?.has((state.table.columns[index] as { cid: number }).cid)) continue;
      const holder = this.rows.former.has(parent, id) ? this.rows.byId(parent, id) : null;
      const meant = holder && this.rows.former.meant(holder);
      const { cid } = state.table.columns[index] as { cid: number };
      if (meant) this.notices.refers(state.birth, { cid, id, meant }, this.clock.nowUs());
    }
  }

  /** As `noteFormer`, of references into another database; also where that or this one was put back alone before the node started. */
  private noteDoubtful(state: RowState, values: readonly SqlValue[], written: readonly boolean[] | null): void {
    const { table, birth } = state;
    for (const { index, target } of table.linked) {
      const id = values[index];
      if (written?.[index] === false) continue;
      const { cid } = table.columns[index] as { cid: number };
      const doubt = typeof id === "bigint" ? this.rows.linked.doubtAt(target, id, latestOf(state, cid)) : null;
      if (doubt) this.notices.refers(birth, { cid, id: id as bigint, meant: doubt.other }, this.clock.nowUs());
      // Who writes it again knows better.
      else if (this.mayBeNoted && written !== null) this.notices.forget({ birth, refers: { cid } });
    }
  }

  /**
   * The application wrote a reference to a deleted row. What it wrote of the row before may be apart from that delete: then others
   * keep the deleted one for it. Of a row that is new all is known to know of the delete, but in mid-stream. What was written
   * blindly knows of no delete, whatever the column.
   */
  private noteDeleted(state: RowState, values: readonly SqlValue[], written: readonly boolean[] | null, isBlind: boolean): void {
    const { table } = state;
    if (table.references.length === 0 && table.dependsOn.length === 0) return;
    const isAny = isBlind || (this.holdsUnknown ??= this.isMidStream());
    if (!isAny && written === null && state.slot === UNSTORED) return;
    const isWritten = (index: number) => isAny || written === null || written[index] === true;
    const isDeleted = table.references.some(({ index, parent }) => {
      const id = values[index];
      if (typeof id !== "bigint" || !isWritten(index) || table.columns[index]?.soft) return false;
      return !this.rows.byId(parent, id) && this.rows.wasUsed(parent, id);
    });
    const isLacking = () =>
      table.dependsOn.some(({ columns }) => table.columns.some(({ name }, index) => columns.includes(name) && isWritten(index))) &&
      lacksTarget(this.rows, table, table.surrogate ? state.claim : null, values);
    if (isDeleted || isLacking()) this.leftBehind.push(state.birth);
  }

  /**
   * The application deletes this row, which had `id` and `image` last, and leaves rows that refer to it. In mid-stream its delete, `deleted`,
   * does not say that it knew of those that just came: others keep the row for them. There may be very many that it knew.
   */
  noteLeft(state: RowState, id: bigint | null, image: readonly CellValue[], deleted: Write): void {
    const { table } = state;
    if (table.referencedBy.length === 0 && table.dependants.length === 0) return;
    if (!(this.holdsUnknown ??= this.isMidStream())) return;
    const note = (child: RowState) => {
      if (child.kept || this.rows.same.exist || isWrittenApart(child, deleted, this.knowledge)) this.leftBehind.push(child.birth);
    };
    for (const { child: of, column } of id === null ? [] : table.referencedBy)
      if (!column.soft) for (const { child } of rowsShowing(this.rows, of, column.name, id as bigint)) note(child);
    const { values } = this.rows.references.concrete(table, image);
    dependants(this.rows, state, id, values).forEach(note);
  }

  /** The application may still write an integer that a row had before another came to stand for it. */
  private noteStale(state: RowState, values: readonly SqlValue[]): void {
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      const ref = typeof id === "bigint" && !this.rows.byId(parent, id) ? this.rows.references.refOf(parent, id) : null;
      if (ref && this.rows.references.shownId(parent, ref) !== null) this.touched.push(state.birth);
    }
    if (this.members.concerns(state)) this.touched.push(state.birth);
  }
}

/** When a column was last written, Unix microseconds. */
const latestOf = (state: RowState, cid: number): number => registerOf(state, cid).reduce((latest, { time }) => Math.max(latest, time), 0);
