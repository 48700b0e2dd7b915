import { type CellValue, type SqlValue, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { closeStanding } from "../rows/local-writes.ts";
import { registerOf } from "../rows/registers.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { sameValue } from "../rows/values.ts";

/** What a row holds of which some was written past capture, and the writes that it counts as, by number of the column. */
export interface Standing {
  cells: readonly CellValue[];
  writes: ReadonlyMap<number, Write>;
}

/** A row's new cells, and the positions of those that have changed. */
export interface Overwritten {
  changed: Iterable<number>;
  cells: readonly CellValue[];
}

/**
 * Rows that others' writes come over though they do not hold what is stored of them: somebody wrote them past capture, and
 * nobody else has the values. These go into the history, on every node. Which of the values were written so nobody can tell; what
 * is not written over yet stays, with a hash of what is there, so that the digests tell of it. Rows without a key are found by what
 * they hold: one that was written past capture is never written over.
 */
export class PastCapture {
  /** By a person's choice a trigger that writes to captured tables runs while others' changes are applied: rows are other than stored all the time. */
  isOrdinary = false;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  /** Of rows found so, by table and slot, the numbers of the columns that nothing has come over since. */
  private readonly found = new Map<string, ReadonlySet<number>>();
  /** What `found` had, before this transaction, of rows that it changed there. */
  private readonly before = new Map<string, ReadonlySet<number> | undefined>();

  constructor({ rows, knowledge }: { rows: RowStore; knowledge: Knowledge }) {
    this.rows = rows;
    this.knowledge = knowledge;
  }

  /** What a row in its table holds that is about to be written over, of which it has read `values`; null where that is what is stored of it. */
  standing(state: RowState, values: readonly SqlValue[]): Standing | null {
    if (!this.isPast(state, values)) return null;
    const writes = new Map<number, Write>();
    for (const { cid } of state.table.columns) {
      const winner = winnerOf(registerOf(state, cid), this.knowledge);
      if (winner) writes.set(cid, winner);
    }
    return { cells: this.rows.references.abstract(state.table, values), writes };
  }

  private isPast(state: RowState, values: readonly SqlValue[]): boolean {
    const { table, hash } = state;
    // Of a row whose delete is kept back the hash may be of before what it refers to got another integer.
    if (this.isOrdinary || table.keyless || !hash || this.rows.of(table).keptBack) return false;
    if (!this.rows.hashes.hashOf(state, table.surrogate ? state.slot : null, values).equals(hash)) {
      const ofKey = new Set(table.surrogate ? [] : table.key.map(({ cid }) => cid));
      this.note(state, new Set(table.columns.map(({ cid }) => cid).filter((cid) => !ofKey.has(cid))));
    }
    return this.found.has(nameOf(state));
  }

  /** A row has been compared with another node's. */
  forget(state: RowState): void {
    this.note(state, undefined);
  }

  /** The transaction is committed. */
  commit(): void {
    this.before.clear();
  }

  /** The transaction was rolled back: what has come over a row has not, and is about to come again. */
  drop(): void {
    for (const [name, left] of this.before) {
      if (left) this.found.set(name, left);
      else this.found.delete(name);
    }
    this.before.clear();
  }

  private note(state: RowState, left: ReadonlySet<number> | undefined): void {
    const name = nameOf(state);
    if (!this.before.has(name)) this.before.set(name, this.found.get(name));
    if (left && left.size > 0) this.found.set(name, left);
    else this.found.delete(name);
  }

  /** Keeps in the history of a row what stood in columns that are written over; in all of them where the row is to go: null. */
  keep(state: RowState, { cells: stood, writes }: Standing, next: Overwritten | null): void {
    const left = new Set(this.found.get(nameOf(state)));
    const lost = [...(next?.changed ?? stood.keys())].flatMap((index) => {
      const { cid } = state.table.columns[index] as { cid: number };
      const loser = writes.get(cid);
      const value = stood[index] ?? null;
      if (!left.delete(cid) || !loser || (next && sameValue(value, next.cells[index] ?? null))) return [];
      return [{ cid, loser, value }];
    });
    this.note(state, left);
    if (lost.length > 0) closeStanding(state, lost, this.knowledge);
  }
}

const nameOf = ({ table, slot }: RowState): string => `${table.tid}:${slot}`;
