import type { Random } from "@scoutsync/testkit";
import type { Database } from "better-sqlite3";
import { isMarked, type ModelColumn, type ModelTable } from "./schema.ts";

/** Makes up the next statement of an application, from what its own connection sees. Every statement is complete SQL text. */
export class Author {
  private readonly random: Random;
  private readonly tables: readonly ModelTable[];
  private readonly fresh: () => number;
  private readonly recursive: boolean;
  private readonly retakes: boolean;

  /**
   * `fresh` numbers values; no number is given twice in a history. `recursive`: the connection has recursive_triggers on.
   * `retakes`: keys are changed, more often, to integers that other rows had.
   */
  constructor(random: Random, tables: readonly ModelTable[], fresh: () => number, { recursive = false, retakes = false } = {}) {
    this.random = random;
    this.tables = tables;
    this.fresh = fresh;
    this.recursive = recursive;
    this.retakes = retakes;
  }

  /** Null where there is nothing to write to. */
  statement(app: Database): string | null {
    const table = this.random.pick(this.tables.filter(({ derived }) => !derived));
    const row = this.anyRow(app, table);
    const choice = this.random.below(100);
    if (choice < 38 || row === null) return this.insert(app, table);
    if (choice < 68) return this.update(table, row);
    if (choice < 73) return this.updateMany(table);
    if (choice < 80 && !this.retakes) return this.change(app, table, row);
    if (choice < 85) return this.rekey(table, row);
    if (choice < 92) return this.remove(table, row);
    if (choice < 94)
      return `DELETE FROM ${table.name} WHERE m IN (SELECT m FROM ${table.name} ORDER BY m LIMIT ${1 + this.random.below(3)})`;
    return this.replace(table, row);
  }

  private chance(percent: number): boolean {
    return this.random.below(100) < percent;
  }

  private anyRow(app: Database, table: ModelTable): string | null {
    const markers = app.prepare(`SELECT m FROM ${table.name} ORDER BY m`).pluck().all() as string[];
    return markers.length === 0 ? null : this.random.pick(markers);
  }

  private marker(): string {
    return `'m${this.fresh()}.'`;
  }

  /** A literal that is nowhere else in the history. */
  private free(column: ModelColumn): string {
    const n = this.fresh();
    const type = column.type === "" ? this.random.pick(["TEXT", "INTEGER", "REAL", "BLOB"]) : column.type;
    if (type === "INTEGER") return this.chance(50) ? String(1_000_000_000 + n) : String(9_007_199_254_740_993n + BigInt(n));
    if (type === "REAL") return `${n}.25`;
    if (type === "BLOB") return `x'${Buffer.from(`v${n}.\0`).toString("hex")}'`;
    return `'v${n}.${this.chance(10) ? "é\u{1f980}''" : ""}'`;
  }

  private pooled(): string {
    return this.chance(20) ? "NULL" : `'u${this.random.below(5)}.'`;
  }

  /** A literal for a column of a new or changed row; null where a reference has nothing to refer to. */
  private literal(app: Database | null, table: ModelTable, column: ModelColumn): string | null {
    if (column.kind === "marker") return this.marker();
    if (column.kind === "free") return column.nullable && this.chance(6) ? "NULL" : this.free(column);
    if (column.kind === "pooled") return this.pooled();
    if (column.kind === "number") return String(this.random.below(7));
    if (column.kind === "part") return this.keyPart(table, column);
    const reference = table.references.find(({ columns }) => columns.includes(column.name));
    if (!reference || !app) return null;
    const to = reference.parentColumns[reference.columns.indexOf(column.name)] as string;
    const values = app.prepare(`SELECT quote(${to}) FROM ${reference.parent} ORDER BY m`).pluck().all() as string[];
    if (values.length === 0 || (column.nullable && this.chance(20))) return column.nullable ? "NULL" : null;
    return this.random.pick(values);
  }

  private keyPart(table: ModelTable, column: ModelColumn): string {
    if (table.key.kind === "surrogate") return "NULL";
    if (table.key.kind === "uuid") {
      const text = `key-${this.fresh()}.`;
      return column.type === "BLOB" ? `x'${Buffer.from(text).toString("hex")}'` : `'${text}'`;
    }
    return column.type === "INTEGER" ? String(this.random.below(3)) : `'k${this.random.below(4)}'`;
  }

  private insert(app: Database, table: ModelTable): string | null {
    const columns = [...table.key.columns.filter(() => table.key.kind !== "surrogate"), ...table.columns];
    const rows = this.chance(10) ? 1 + this.random.below(12) : 1;
    const tuples = Array.from({ length: rows }, () => {
      // References of several columns must name one row.
      const chosen = new Map<string, string>();
      for (const { columns: own, parent, parentColumns } of table.references.filter((each) => each.columns.length > 1)) {
        const found = app
          .prepare(`SELECT ${parentColumns.map((name) => `quote(${name})`).join(", ")} FROM ${parent} ORDER BY m`)
          .raw()
          .all() as string[][];
        const row = found.length === 0 ? null : this.random.pick(found);
        own.forEach((name, i) => chosen.set(name, row?.[i] ?? "NULL"));
      }
      return columns.map((column) => chosen.get(column.name) ?? this.literal(app, table, column));
    }).filter((tuple) => !tuple.includes(null));
    if (tuples.length === 0) return null;
    const names = columns.map((column) => column.name);
    const body = `INTO ${table.name}(${names.join(", ")}) VALUES ${tuples.map((tuple) => `(${tuple.join(", ")})`).join(", ")}`;
    const choice = this.random.below(100);
    // What a UNIQUE value stands in the way of is replaced, left out, or changed.
    if (choice < 15 && isMarked(table)) return `INSERT OR REPLACE ${body}`;
    if (choice < 25) return `INSERT OR IGNORE ${body}`;
    if (choice < 35 && !isMarked(table) && table.key.kind !== "uuid") {
      const set = table.columns.filter(({ kind }) => kind === "free").map(({ name }) => `${name} = excluded.${name}`);
      return `INSERT ${body} ON CONFLICT(${table.key.columns.map((column) => column.name).join(", ")}) DO UPDATE SET ${set.join(", ")}`;
    }
    return `INSERT ${body}`;
  }

  private update(table: ModelTable, row: string): string {
    const free = table.columns.filter(({ kind }) => kind === "free");
    const chosen = this.chance(30) ? free : [this.random.pick(free)];
    const sets = chosen.map((column) => `${column.name} = ${this.free(column)}`);
    return `UPDATE ${table.name} SET ${sets.join(", ")} WHERE m = '${row}'`;
  }

  /** One statement over many rows, each with a value of its own. */
  private updateMany(table: ModelTable): string {
    const n = this.fresh();
    const free = table.columns.some(({ name }) => name === "y") ? "y" : table.columns.find(({ kind }) => kind === "free")?.name;
    return `UPDATE ${table.name} SET ${free} = 'v${n}.' || m WHERE m <= 'm${this.random.below(9)}'`;
  }

  /** Columns whose values matter to constraints. */
  private change(app: Database, table: ModelTable, row: string): string {
    const others = table.columns.filter(({ kind }) => kind === "pooled" || kind === "number" || kind === "reference");
    if (others.length === 0) return this.update(table, row);
    const column = this.random.pick(others);
    const value = this.literal(app, table, column);
    if (value === null) return this.update(table, row);
    const how = column.kind === "pooled" && this.chance(25) ? "UPDATE OR REPLACE" : "UPDATE";
    return `${how} ${table.name} SET ${column.name} = ${value} WHERE m = '${row}'`;
  }

  private rekey(table: ModelTable, row: string): string {
    if (table.key.kind === "none") return this.update(table, row);
    if (table.key.kind === "surrogate") {
      // Another key is another row: it gets a name of its own.
      const n = this.fresh();
      const [id, how] = this.retakes ? [1 + (n % 6), "UPDATE OR IGNORE"] : [1_000_000 + n, "UPDATE"];
      return `${how} ${table.name} SET id = ${id}, m = ${this.marker()} WHERE m = '${row}' AND id <> ${id}`;
    }
    const part = table.key.columns.find(({ kind }) => kind === "part") as ModelColumn;
    return `UPDATE ${this.chance(30) ? "OR REPLACE " : ""}${table.name} SET ${part.name} = ${this.keyPart(table, part)} WHERE m = '${row}'`;
  }

  private remove(table: ModelTable, row: string): string {
    return `DELETE FROM ${table.name} WHERE m = '${row}'`;
  }

  /** The whole row under its key, with new values. */
  private replace(table: ModelTable, row: string): string {
    const columns = [...table.key.columns, ...table.columns];
    // With recursive triggers a replaced row is a deleted one and a new one, which gets a name of its own.
    const another = table.key.kind === "none" || (this.recursive && table.key.kind === "surrogate");
    const values = columns.map((column) => {
      if (column.kind === "free") return this.free(column);
      return column.kind === "marker" && another ? this.marker() : column.name;
    });
    return `INSERT OR REPLACE INTO ${table.name}(${columns.map(({ name }) => name).join(", ")}) SELECT ${values.join(", ")} FROM ${table.name} WHERE m = '${row}'`;
  }
}
