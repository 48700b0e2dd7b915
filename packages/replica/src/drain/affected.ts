import type { SqlValue, Write } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { dependsOn } from "../rows/foreign-keys.ts";
import type { EntityMembers } from "../rows/members.ts";
import { Notices } from "../rows/notices.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";
import type { ReplicaClock } from "../time/replica-clock.ts";
import type { EarlyReferences } from "./early-references.ts";

/** What a drained row means for other rows: those it refers to, and those that are arranged anew because of it. */
export class Affected {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly members: EntityMembers;
  private readonly clock: ReplicaClock;
  private readonly notices: Notices;
  private readonly early: EarlyReferences;
  private referred: Write[] = [];
  private touched: Write[] = [];
  private rowsAreKept = false;

  constructor(options: { db: Database; rows: RowStore; members: EntityMembers; clock: ReplicaClock; early: EarlyReferences }) {
    this.db = options.db;
    this.rows = options.rows;
    this.members = options.members;
    this.clock = options.clock;
    this.early = options.early;
    this.notices = new Notices(options.db);
  }

  /** Call at the start of a drain. */
  begin(): void {
    this.rowsAreKept = this.db.prepare("SELECT 1 FROM _scoutsync_kept LIMIT 1").get() !== undefined;
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
   * anew: an entity that died, a row that was born into one or refers to one by an integer that is no more.
   */
  take(): { referred: Write[]; touched: Write[] } {
    const { referred, touched } = this;
    this.referred = [];
    this.touched = [];
    return { referred, touched };
  }

  /** A new reference to a deleted row that is only kept: the application sees that row, and means it. */
  noteReferred(state: RowState, values: readonly SqlValue[], written: readonly boolean[] | null = null): void {
    this.noteFormer(state, values, written);
    this.early.note(state, values, written);
    if (this.rows.same.exist) this.noteStale(state, values);
    if (!this.rowsAreKept) return;
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      const target = typeof id === "bigint" ? this.rows.byId(parent, id) : null;
      if (target?.kept) this.referred.push(target.birth);
    }
    const id = state.table.surrogate ? state.claim : null;
    for (const target of dependsOn(this.rows, state.table, id, values)) if (target.kept) this.referred.push(target.birth);
  }

  /** The application may mean the row that had an integer here until a sync gave it to another one: for a person to say. */
  private noteFormer(state: RowState, values: readonly SqlValue[], written: readonly boolean[] | null): void {
    for (const { index, parent } of state.table.references) {
      const id = values[index];
      if (typeof id !== "bigint" || written?.[index] === false) continue;
      const holder = this.rows.former.has(parent, id) ? this.rows.byId(parent, id) : null;
      const meant = holder && this.rows.former.meant(holder);
      const { cid } = state.table.columns[index] as { cid: number };
      if (meant) this.notices.refers(state.birth, { cid, id, meant }, this.clock.nowUs());
    }
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
