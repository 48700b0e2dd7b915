import type { Database } from "better-sqlite3";
import type { CellValue, Tally, Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { IncomingRow } from "../log/incoming.ts";
import { heldForTable } from "../rows/held-columns.ts";
import { showKey } from "../rows/row-keys.ts";
import { type ColumnWrite, ownedDots, type RowState, valueOf } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { sameValue } from "../rows/values.ts";
import { lackedColumn } from "../schema/absent.ts";
import type { Table } from "../schema/catalog.ts";
import { mergedTables } from "../schema/install.ts";
import type { Applier } from "./apply.ts";
import type { Placement } from "./placement.ts";

/** Held rows delivered before the clock is looked at. */
const ROWS_AT_ONCE = 200;

/**
 * Gives what was held for tables and columns which this database lacked to them, once they are here: silently, as it
 * would have been when it came. Inside write transactions, drained: what the application wrote to them comes first.
 */
export class Delivery {
  private readonly store: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly applier: Applier;
  /** Rows are held for a table that is here, or values for a column. */
  due = false;
  /** Births of rows that another stands for and that hold values for columns which are here now. */
  private late: Write[] = [];
  /** Per table, the last row looked at. */
  private readonly passed = new Map<number, bigint>();
  private merged = new Map<number, number>();
  private readonly nowUs: () => number;

  constructor(options: { rows: RowStore; knowledge: Knowledge; placement: Placement; applier: Applier; nowUs: () => number }) {
    this.nowUs = options.nowUs;
    this.store = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.applier = options.applier;
  }

  /** Looks whether there is something to deliver: after every change of the schema. */
  begin(): void {
    this.passed.clear();
    this.merged = mergedTables(this.store.db);
    this.due = [...this.store.tables, ...this.renamed()].some((table) => this.store.out.heldSlots(table.tid, 0n, 1).length > 0);
    this.late = this.store.same.exist ? this.store.tables.flatMap((table) => this.store.lateJoined(table)) : [];
    this.due ||= this.late.length > 0;
  }

  /** Tables that are not here under their name, but under the one they had before the application renamed them. */
  private renamed(): Table[] {
    return this.store.absent.filter(({ tid }) => this.merged.has(tid));
  }

  /** Delivers rows, parents first, until `until` (milliseconds of performance.now). Those of which only a part is held stay. */
  rows(until: number): void {
    for (let birth = this.late.pop(); birth; birth = this.late.pop()) {
      this.toEntity(birth);
      if (performance.now() > until) return;
    }
    for (const table of [...this.store.tables, ...this.renamed()]) {
      const target = this.store.byTid(this.merged.get(table.tid) ?? table.tid);
      if (target?.absent !== null) continue;
      for (let slots = this.next(table); slots.length > 0; slots = this.next(table)) {
        for (const slot of slots) {
          this.passed.set(table.tid, slot);
          const state = this.store.atLog(-table.tid, slot);
          if (!state) continue;
          const held = asIncoming(this.store, state, table);
          const incoming = target === table ? held : retarget(held, table, target, this.store.db, this.nowUs());
          if (state.partial && target === table && !this.applier.hasRowOf(incoming)) continue;
          this.store.lift(state);
          this.applier.deliver(incoming);
        }
        if (performance.now() > until) return;
      }
    }
    this.due = false;
  }

  /** Gives what a row that another stands for holds to its own values: the table shows those of the whole entity. */
  private toEntity({ origin, sequence }: Write): void {
    const state = this.store.byDot(origin, sequence);
    if (!state?.late) return;
    this.store.saveRegisters(state, this.store.cells(state), ownedDots(state));
    this.placement.entities.touch(state.birth);
  }

  /** Takes a held row of a table that is here now out, as the record that would bring it. */
  takeOut(state: RowState): IncomingRow {
    const held = asIncoming(this.store, state, state.table);
    this.store.lift(state);
    return held;
  }

  /** Merges what was held of rows with what is in their tables by now. */
  merge(held: readonly IncomingRow[]): void {
    for (const row of held) this.applier.deliver(row);
  }

  private next(table: Table): bigint[] {
    return this.store.out.heldSlots(table.tid, this.passed.get(table.tid) ?? 0n, ROWS_AT_ONCE);
  }

  /**
   * Puts held values into columns of rows in their table that have come, and that the application has not written since. `beside`: what was
   * written may be held as well.
   */
  columns(births: readonly Write[], beside = false): void {
    for (const { origin, sequence } of births) {
      const state = this.store.byDot(origin, sequence);
      if (state?.place.kind !== "table") continue;
      const before = ownedDots(state);
      const cells = [...this.store.cells(state)];
      const changed: number[] = [];
      const { columns, indexOf } = state.table;
      const isUnwritten = (cid: number) => {
        const index = indexOf.get(cid) as number;
        const shown = cells[index] ?? null;
        // The rule says what both come to.
        if (beside && columns[index]?.rule.kind !== "lww") return true;
        if (beside && state.columns.get(cid)?.some(({ value }) => value !== undefined && sameValue(value, shown))) return true;
        return sameValue(shown, (columns[index] as { fallback: CellValue }).fallback);
      };
      for (const { cid, value } of heldForTable(state, this.knowledge, isUnwritten)) {
        const index = indexOf.get(cid) as number;
        cells[index] = value;
        changed.push(index);
      }
      if (changed.length > 0)
        this.placement.settle(
          state,
          cells,
          changed.sort((a, b) => a - b),
          before,
        );
    }
  }
}

/** A record of a table that is here under another number: columns by their names. */
export function retarget(row: IncomingRow, from: Table, to: Table, db: Database, nowUs: number): IncomingRow {
  const cidOf = (cid: number) => {
    const name = from.lacking.get(cid) as string;
    return to.columns.find((column) => column.name === name)?.cid ?? lackedColumn(db, to, name, nowUs);
  };
  const values = to.columns.map((column) => column.fallback as CellValue);
  const unwritten = new Set(to.columns.map(({ cid }) => cid));
  const held: IncomingRow["held"] = [];
  for (const { cid, value } of row.held) {
    const target = cidOf(cid);
    const index = to.indexOf.get(target);
    if (index === undefined) held.push({ cid: target, value });
    else values[index] = value;
    unwritten.delete(target);
  }
  showKey({ table: to, key: row.key, values, unwritten });
  const columns = row.columns.map(({ cid, writes }) => ({ cid: cidOf(cid), writes }));
  return {
    ...row,
    table: to,
    values,
    held,
    unwritten,
    columns,
    closed: row.closed.map((record) => ({ ...record, cid: cidOf(record.cid) })),
  };
}

/** A row out of its table as the record that would bring it. Its state must not have been changed. */
export function asIncoming(rows: RowStore, state: RowState, table: Table): IncomingRow {
  const { birth } = state;
  const cells = rows.cells(state);
  const byBirth = (write: Write) => !state.partial && write.origin === birth.origin && write.sequence === birth.sequence;
  const valued = (cid: number, write: ColumnWrite): ColumnWrite => ({
    ...write,
    value: valueOf(write, cells[table.indexOf.get(cid) ?? -1] ?? null),
  });
  const held: { cid: number; value: CellValue }[] = [];
  const unwritten = new Set<number>();
  const tallies = new Map<number, Tally>();
  const columns: IncomingRow["columns"] = [];
  const values = table.columns.map((column) => column.fallback as CellValue);
  table.columns.forEach(({ cid }, index) => {
    const writes = state.columns.get(cid);
    const own = writes?.find(byBirth);
    if (writes === undefined) values[index] = cells[index] ?? null;
    else if (own) values[index] = valued(cid, own).value as CellValue;
    else unwritten.add(cid);
  });
  for (const [cid, writes] of state.columns) {
    const others = writes.filter((write) => !byBirth(write)).map((write) => valued(cid, write));
    if (others.length > 0) columns.push({ cid, writes: others });
    const birthWrite = writes.find(byBirth);
    if (birthWrite?.tally) tallies.set(cid, birthWrite.tally);
    const own = table.indexOf.has(cid) ? undefined : birthWrite;
    if (own) held.push({ cid, value: own.value ?? null });
  }
  const key = table.surrogate ? null : rows.keys.keyCells(state);
  showKey({ table, key, values, unwritten });
  return {
    table,
    identity: table.surrogate ? state.identity : null,
    key,
    birth: state.partial ? null : birth,
    claim: state.claim,
    values,
    held,
    unwritten,
    columns,
    deletes: [...state.deletes],
    rekey: state.rekey,
    closed: [...state.closed],
    twins: [...state.twins],
    twinValues: [],
    tallies,
    same: [...state.same],
  };
}
