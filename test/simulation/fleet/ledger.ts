import type { SqlValue } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { isMarked, type ModelTable } from "./schema.ts";

/** A value as text that keeps types apart. */
export function textOf(value: SqlValue | undefined): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return `real ${value}`;
  if (typeof value === "string") return `'${value}'`;
  return `x${Buffer.from(value as Uint8Array).toString("hex")}`;
}

/** One row as its writer sees it: references by the name of what they refer to. */
export interface SeenRow {
  table: string;
  marker: string;
  /** The key as it stands in the table. */
  key: string;
  /** The key as a person writes it. */
  named: string;
  cells: Map<string, string>;
}

/** Every row of an application's tables by name: of a surrogate key by its marker, of others by the key. */
export type Snapshot = Map<string, SeenRow>;

export function takeSnapshot(app: Database, tables: readonly ModelTable[]): Snapshot {
  const snapshot: Snapshot = new Map();
  const markers = new Map<string, Map<string, string>>();
  const read = new Map<ModelTable, Record<string, SqlValue>[]>();
  for (const table of tables) {
    const rows = app.prepare(`SELECT * FROM ${table.name}`).safeIntegers(true).all() as Record<string, SqlValue>[];
    read.set(table, rows);
    if (table.key.kind === "surrogate") markers.set(table.name, new Map(rows.map((row) => [textOf(row["id"]), row["m"] as string])));
  }
  for (const [table, rows] of read) {
    const targets = new Map(
      table.references
        .filter(({ columns, parentColumns }) => columns.length === 1 && parentColumns[0] === "id")
        .map(({ columns, parent }) => [columns[0] as string, markers.get(parent) ?? new Map<string, string>()]),
    );
    for (const row of rows) {
      const cells = new Map<string, string>();
      const shown = (name: string): string => {
        const text = textOf(row[name]);
        const target = targets.get(name);
        if (!target || text === "NULL") return text;
        return target.get(text) ?? `nothing (${text})`;
      };
      for (const { name } of table.columns) cells.set(name, shown(name));
      const marker = row["m"] as string;
      const label = isMarked(table) ? marker : `${table.name} ${table.key.columns.map(({ name }) => shown(name)).join(" ")}`;
      const keys = table.key.columns.map(({ name }) => row[name] ?? null);
      const key = keys.map(textOf).join(" ");
      const named = keys
        .map((value) =>
          value instanceof Uint8Array ? `blob:${Buffer.from(value).toString("hex")}` : textOf(value).replace(/^'([^]*)'$/, "$1"),
        )
        .join(",");
      if (!isMarked(table)) for (const { name } of table.key.columns) cells.set(name, shown(name));
      else cells.delete("m");
      snapshot.set(label, { table: table.name, marker, key, named, cells });
    }
  }
  return snapshot;
}

/** A committed transaction: who wrote it, as which of that author's. */
export interface Event {
  author: number;
  number: number;
  /** The release of its author's application. */
  level: number;
  /** Its file went back to an earlier day before anyone was seen to have all of this. */
  uncertain: boolean;
}

export interface Written {
  value: string;
  saw: Set<string>;
  event: Event;
}

export interface LedgerRow {
  table: string;
  label: string;
  markers: Set<string>;
  born: Event;
  /** Authors that wrote to it. */
  touched: Set<number>;
  /** Rows that ever referred to it: with one that someone else keeps alive it stays, too. */
  referrers: Set<LedgerRow>;
  deletes: Event[];
  /** Came again under the same key after a delete. */
  again: boolean;
  /** Unique values written to each column, with those their writers could see. */
  cells: Map<string, Written[]>;
  /** Everything ever written to a column. */
  values: Map<string, Set<string>>;
}

/** What writers were told is committed, from what their own connections showed before and after: nothing here asks the product. */
export class FleetLedger {
  readonly rows = new Map<string, LedgerRow>();
  readonly events: Event[] = [];
  /**
   * Authors whose table was made anew while writes waited that had been captured before: what else was written to such a
   * row nobody can tell, so they count as writes to all of it, and ask about more than they have to.
   */
  readonly unclear = new Set<number>();
  /** Tables that a migration has made so. */
  readonly unclearTables = new Set<string>();
  private readonly tables: Map<string, ModelTable>;
  private readonly counts = new Map<number, number>();

  /** `releases`: the tables of every release; of one table, all columns that it ever had. */
  constructor(releases: readonly (readonly ModelTable[])[]) {
    this.tables = new Map();
    for (const table of releases.flat()) {
      const known = this.tables.get(table.name)?.columns ?? [];
      const added = table.columns.filter(({ name }) => !known.some((column) => column.name === name));
      this.tables.set(table.name, { ...table, columns: [...known, ...added] });
    }
  }

  /**
   * A transaction as its writer saw it: `states` are the tables before it and after each statement. `losers`: what the
   * writer's node lists as lost against the value that is in the table.
   */
  committed(
    author: number,
    states: readonly Snapshot[],
    losers: (row: SeenRow, column: string, value: string) => string[],
    level = 0,
  ): Event {
    const number = (this.counts.get(author) ?? 0) + 1;
    this.counts.set(author, number);
    const event: Event = { author, number, level, uncertain: false };
    this.events.push(event);
    states.slice(1).forEach((after, i) => this.statement(event, states[i] ?? after, after, losers));
    const [before, after] = [states[0], states.at(-1)];
    // A row that came and went in one transaction was nobody's, unless its key says that it is one that others have.
    for (const state of states.slice(1, -1)) {
      for (const [label, { table }] of state) {
        const model = this.tables.get(table);
        if (before?.has(label) || after?.has(label) || !model || !isMarked(model)) continue;
        this.rows.delete(label);
      }
    }
    return event;
  }

  private statement(
    event: Event,
    before: Snapshot,
    after: Snapshot,
    losers: (row: SeenRow, column: string, value: string) => string[],
  ): void {
    const { author } = event;
    for (const [label, row] of after) {
      const was = before.get(label);
      const entry = this.entry(label, row, event);
      if (!was && entry.deletes.length > 0) entry.again = true;
      for (const { parent, columns } of this.tables.get(row.table)?.references ?? [])
        this.rows.get(`${parent} ${columns.map((name) => row.cells.get(name)).join(" ")}`)?.referrers.add(entry);
      for (const [column, value] of row.cells) {
        const old = was?.cells.get(column);
        if (old === value) continue;
        entry.touched.add(author);
        this.rows.get(value)?.referrers.add(entry);
        this.write(entry, column, value, event, old === undefined ? [] : [old, ...losers(row, column, old)]);
      }
    }
    for (const [label, row] of before) {
      if (after.has(label)) continue;
      const entry = this.entry(label, row, event);
      entry.touched.add(author);
      entry.deletes.push(event);
    }
  }

  private entry(label: string, row: SeenRow, event: Event): LedgerRow {
    let entry = this.rows.get(label);
    if (!entry) {
      entry = {
        table: row.table,
        label,
        markers: new Set(),
        born: event,
        touched: new Set([event.author]),
        referrers: new Set(),
        deletes: [],
        again: false,
        cells: new Map(),
        values: new Map(),
      };
      this.rows.set(label, entry);
    }
    entry.markers.add(row.marker);
    return entry;
  }

  private write(entry: LedgerRow, column: string, value: string, event: Event, saw: readonly string[]): void {
    let values = entry.values.get(column);
    if (!values) entry.values.set(column, (values = new Set()));
    values.add(value);
    if (!this.isFree(entry.table, column)) return;
    let writes = entry.cells.get(column);
    if (!writes) entry.cells.set(column, (writes = []));
    writes.push({ value, saw: new Set(saw), event });
  }

  /** True for columns whose values are written once only. NULL is not such a value, and is never looked for. */
  private isFree(table: string, column: string): boolean {
    return this.tables.get(table)?.columns.find(({ name }) => name === column)?.kind === "free";
  }

  /** Values of a column that the writer of `value` saw, and those that their writers saw. */
  static below(writes: readonly Written[], value: string): Set<string> {
    const below = new Set<string>();
    const open = [value];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const write of writes) {
        if (write.value !== next) continue;
        for (const seen of write.saw) {
          if (below.has(seen)) continue;
          below.add(seen);
          open.push(seen);
        }
      }
    }
    return below;
  }
}
