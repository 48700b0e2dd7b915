import type { CellValue, SqlValue, Write } from "@scoutsync/core";
import { Op } from "../capture/triggers.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { indexesOf } from "../rows/foreign-keys.ts";
import { keylessIdentity } from "../rows/keyless-rows.ts";
import { blindWrite, contextOfReplacing, localWrite, replaceColumn, writeBeside } from "../rows/local-writes.ts";
import { isAlive, registerOf } from "../rows/registers.ts";
import { newState, ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { sameValue } from "../rows/values.ts";
import type { Column, ForeignKey, Table } from "../schema/catalog.ts";
import { deleted } from "./own-writes.ts";
import { TakenOver } from "./taken-over.ts";
import { isHeldElsewhere } from "./unseen-rows.ts";
import { equalCounter, equalRow } from "../rows/equal-rows.ts";

/** What was captured of a row without a key. */
export interface KeylessEvent {
  op: number;
  /** As of an `Event`. */
  n: number;
  /** Unix microseconds. */
  wall: number;
  /** As of an `Event`. */
  undated: number | null;
  /** The rowid it had then; null where only `slot` names the row. */
  rowid: bigint | null;
  /**
   * The number of the stored row that is meant, where a comparison of the table found the event or somebody decided about it; 0
   * otherwise. Of the second of an update's two, bits of the columns that were written; 0: all of them.
   */
  slot: bigint;
  image: SqlValue[];
  /** As of an `Event`. */
  replaced: boolean;
}

const NO_DOTS: ReturnType<typeof ownedDots> = new Map();

/** Follows the rows of tables without a primary key through their events: each event names its row by all of its values. */
export class KeylessDrain {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly takenOver: TakenOver;
  private toFill: Write[] = [];
  private readonly noteReferred: (state: RowState, values: readonly SqlValue[]) => void;
  private readonly noteEmptied: (state: RowState, foreign: ForeignKey, event: { found: SqlValue[]; n: number }) => void;

  constructor(options: {
    rows: RowStore;
    knowledge: Knowledge;
    noteReferred: (state: RowState, values: readonly SqlValue[]) => void;
    noteEmptied: (state: RowState, foreign: ForeignKey, event: { found: SqlValue[]; n: number }) => void;
  }) {
    this.rows = options.rows;
    this.noteReferred = options.noteReferred;
    this.noteEmptied = options.noteEmptied;
    this.knowledge = options.knowledge;
    this.takenOver = new TakenOver(options);
  }

  /** As of `OwnWrites`. */
  takeToFill(): Write[] {
    const toFill = this.toFill;
    this.toFill = [];
    return toFill;
  }

  /** Events in their order; an update is two of them, the old row and then the new one, and never cut in half. */
  drain(table: Table, events: readonly KeylessEvent[]): void {
    for (let i = 0; i < events.length; i++) {
      const event = events[i] as KeylessEvent;
      if (event.op === Op.insert) this.insert(table, event);
      else if (event.op === Op.delete) this.delete(table, event);
      else if (event.op === Op.update) {
        const next = events[i + 1];
        // One alone was left by a version that could not take what somebody had decided about such a row: nothing of it was carried out.
        const isAlone = next?.op !== Op.insert || (event.slot !== 0n && next.rowid !== event.rowid);
        if (!isAlone) this.update(table, event, events[++i] as KeylessEvent);
      }
    }
  }

  /**
   * Rows that an OR REPLACE may have displaced, when no event waits any more: where more rows are known with an image's
   * values than the table has, so many went.
   */
  displaced(table: Table, events: readonly KeylessEvent[]): void {
    const count = equalCounter(this.rows, table);
    if (!count) return;
    for (const event of events) {
      const { known, there } = count(event.image);
      for (let left = known - there; left > 0; left--) this.delete(table, event);
    }
  }

  /** The stored row that an event means. */
  private find(table: Table, event: KeylessEvent): RowState | null {
    if (event.slot !== 0n) return this.rows.atLog(table.tid, event.slot);
    return equalRow(this.rows, table, event.image, event.rowid);
  }

  private insert(table: Table, { wall, image, rowid }: KeylessEvent): void {
    const birth = localWrite(null, wall, [], this.knowledge);
    const state = newState({ table, place: { kind: "table" }, key: keylessIdentity(table, birth), birth });
    this.noteReferred(state, image);
    this.rows.saveInTable(state, null, image, NO_DOTS, [rowid]);
  }

  private delete(table: Table, event: KeylessEvent): void {
    const state = this.find(table, event);
    if (!state) return;
    const { image } = event;
    const before = ownedDots(state);
    const none = table.columns.map(() => false);
    this.overwrite(state, this.written(state, image, none), event.wall);
    const write =
      this.rows.out.holds && isHeldElsewhere(this.rows, state)
        ? blindWrite(state, event.wall, this.knowledge)
        : localWrite(state, event.wall, state.deletes, this.knowledge);
    state.deletes = [deleted(write, event.replaced)];
    state.kept = false;
    state.place = { kind: "dead" };
    this.rows.saveOut(state, true, null, this.rows.references.abstract(table, image), before, { used: true, done: true });
  }

  private update(table: Table, old: KeylessEvent, event: KeylessEvent): void {
    const state = this.find(table, old);
    if (!state) return this.insert(table, event);
    const [{ image: found }, { image }] = [old, event];
    const before = ownedDots(state);
    const marked = old.slot === 0n ? 0n : event.slot || -1n;
    const differing = table.columns.map((_, i) =>
      old.slot === 0n ? !sameValue(found[i] as SqlValue, image[i] as SqlValue) : ((marked >> BigInt(i)) & 1n) === 1n,
    );
    const written = this.written(state, image, differing);
    if (written.length > 0) {
      // A birth names the row here, so that an edit of every column is no new one.
      const waiting = this.rows.columnsToFill(state);
      const unseen = new Set(waiting.filter((cid) => written.some((column) => column.cid === cid)));
      const { undated } = event;
      const beside = unseen.size > 0 ? blindWrite(state, event.wall, this.knowledge) : null;
      const blind = beside && { ...beside, time: undated || beside.time };
      const seen = written.filter(({ cid }) => !unseen.has(cid));
      if (undated !== null) this.overwriteUndated(state, seen, undated);
      else this.overwrite(state, seen, event.wall);
      if (blind && undated) this.writeOld(state, [...unseen], blind, image);
      else if (blind) for (const cid of unseen) writeBeside(state, cid, blind, this.knowledge);
      if (waiting.length > 0) this.toFill.push(state.birth);
      // As in other tables, what nobody typed brings no deleted row back that is kept for what refers to it.
      if (isAlive(state, this.knowledge)) state.kept = false;
    }
    this.noteReferred(state, image);
    this.rows.saveInTable(state, null, image, before, [event.rowid]);
    for (const foreign of table.emptied)
      if (indexesOf(foreign).some((index) => differing[index])) this.noteEmptied(state, foreign, { found, n: old.n });
  }

  /** What others have told in columns that came may be later than what they hold here: the table is given what all of them come to. */
  private writeOld(state: RowState, cids: readonly number[], write: Write, values: readonly SqlValue[]): void {
    const cells = this.rows.references.abstract(state.table, values);
    for (const cid of cids) {
      const value = cells[state.table.indexOf.get(cid) as number] as CellValue;
      writeBeside(state, cid, write, this.knowledge, { value, found: undefined }, true);
    }
  }

  /** Columns that were written, and those that have come to mean another row since: what they refer to was replaced in this drain. */
  private written(state: RowState, image: readonly SqlValue[], marked: readonly boolean[]): readonly Column[] {
    const written = this.takenOver.withReferences(state, image, marked);
    return state.table.columns.filter((_, i) => written[i]);
  }

  /** Columns that may hold what nobody saw written: each is dated right after what it has had itself, and not before `undated`. */
  private overwriteUndated(state: RowState, columns: readonly Column[], undated: number): void {
    const after = ({ cid }: Column) => Math.max(undated, 1 + Math.max(0, ...registerOf(state, cid).map(({ time }) => time)));
    for (const [time, together] of Map.groupBy(columns, after)) this.overwrite(state, together, time, null);
  }

  /** One dot for all of these columns, beyond the latest write of `beyond`. */
  private overwrite(state: RowState, columns: readonly Column[], wall: number, beyond: RowState | null = state): void {
    if (columns.length === 0) return;
    const replaced: Write[] = columns.flatMap(({ cid }) => [...registerOf(state, cid)]);
    const write =
      this.rows.out.holds && isHeldElsewhere(this.rows, state)
        ? { ...blindWrite(state, wall, this.knowledge), context: contextOfReplacing(replaced, this.knowledge, false) }
        : localWrite(beyond, wall, replaced, this.knowledge);
    for (const { cid } of columns) replaceColumn(state, cid, write, this.knowledge);
  }
}
