import type { SqlValue } from "@scoutsync/core";
import type { Database, Statement } from "better-sqlite3";
import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable, keptTable } from "./copy.ts";

export type Side = "main" | "copy";

/** What is known about one row that is not as it was agreed, from the work list `temp.work_<n>`. */
export interface Row {
  n: bigint;
  /** It was agreed by both sides. */
  base: boolean;
  /** The database has it, and it belongs to the scope. */
  inside: boolean;
  /** The database has a row with its key. */
  inMain: boolean;
  inCopy: boolean;
  /** It is the row that was agreed, rather than another one under its integer. */
  sameMain: boolean;
  sameCopy: boolean;
  mainChanged: boolean;
  copyChanged: boolean;
  /** The copy's row left the scope before. */
  left: boolean;
  /** Number of what was agreed of it, in the copy: when it left, where `left`. */
  agreed: bigint | null;
}

/** The database and a scope's copy of it on one connection, asked about the rows of a work list. */
export class Sides {
  readonly db: Database;
  readonly tables: readonly CopiedTable[];
  readonly nowUs: number;
  /** Changes of nodes that were put aside for a person. */
  kept = 0;
  private readonly statements = new Map<string, Statement>();

  constructor(db: Database, tables: readonly CopiedTable[], nowUs: number) {
    this.db = db;
    this.tables = tables;
    this.nowUs = nowUs;
  }

  // ---- SQL about the row `@n` of a work list

  key(table: CopiedTable, i: number): string {
    return `(SELECT k${i} FROM temp.work_${table.n} WHERE n = @n)`;
  }

  match(table: CopiedTable, alias = ""): string {
    return table.key.map((column, i) => `${alias === "" ? "" : `${alias}.`}${quote(column)} = ${this.key(table, i)}`).join(" AND ");
  }

  matchBase(table: CopiedTable, alias = ""): string {
    return table.key.map((_, i) => `${alias === "" ? "" : `${alias}.`}c${i} = ${this.key(table, i)}`).join(" AND ");
  }

  private agreedOf(table: CopiedTable): string {
    return `(SELECT agreed FROM temp.work_${table.n} WHERE n = @n)`;
  }

  /** Assigns columns from the other side's row. */
  from(table: CopiedTable, side: Side, columns: readonly string[]): string {
    return columns
      .map(
        (column) => `${quote(column)} = (SELECT y.${quote(column)} FROM ${side}.${quote(table.name)} AS y WHERE ${this.match(table, "y")})`,
      )
      .join(", ");
  }

  /** Rows that were written. `more` are further values by name. */
  run(sql: string, row: Row, more: Record<string, SqlValue> = {}): number {
    return this.statement(sql).run({ n: row.n, ...more }).changes;
  }

  has(sql: string, row: Row): boolean {
    return this.statement(sql).get({ n: row.n }) !== undefined;
  }

  pluck(sql: string, row: Row): unknown {
    return this.statement(sql).pluck().safeIntegers(true).get({ n: row.n });
  }

  all(sql: string, row: Row): unknown[] {
    return this.statement(sql).raw(true).safeIntegers(true).get({ n: row.n }) as unknown[];
  }

  private statement(sql: string): Statement {
    let known = this.statements.get(sql);
    if (!known) this.statements.set(sql, (known = this.db.prepare(sql)));
    return known;
  }

  // ---- one row

  exists(table: CopiedTable, row: Row, side: Side): boolean {
    return this.has(`SELECT 1 FROM ${side}.${quote(table.name)} AS x WHERE ${this.match(table, "x")}`, row);
  }

  isOwn(table: CopiedTable, row: Row, side: Side): boolean {
    return this.has(`SELECT 1 FROM ${side}.${quote(table.name)} AS x WHERE ${this.match(table, "x")} AND (${table.own})`, row);
  }

  /** The integer key of a row. */
  id(table: CopiedTable, row: Row): bigint {
    return this.pluck(`SELECT k0 FROM temp.work_${table.n} WHERE n = @n`, row) as bigint;
  }

  /** Where a side's replica notes the births of a table's rows. */
  rowsOf(side: Side, table: string): string {
    return `${side}._scoutsync_rows_${this.numberOf(side, table)}`;
  }

  /** A table's number in a side's catalogue. */
  numberOf(side: Side, table: string): string {
    const sql =
      `SELECT t.tid FROM ${side}._scoutsync_table AS t LEFT JOIN ${side}._scoutsync_kind AS k ON k.tid = t.tid ` +
      "WHERE coalesce(k.name, t.name) = ? AND coalesce(k.kind, t.surrogate) = 1";
    return String(this.db.prepare(sql).pluck().get(table));
  }

  // ---- what was agreed

  /** Both sides have the row now, with that side's values; `written`: a side that was just given it, and has no birth of it yet. */
  agree(table: CopiedTable, row: Row, side: Side, written?: Side): void {
    const born = (where: Side, column: string) =>
      table.surrogate
        ? `(SELECT r.${column} FROM ${this.rowsOf(where, table.name)} AS r WHERE r.id = x.${quote(table.key[0] as string)})`
        : "NULL";
    // What is noted there under its integer is the birth of a row that was there before and went.
    const births = (["main", "copy"] as const).map((where) =>
      where === written ? ["NULL", "NULL"] : [born(where, "oid"), born(where, "sequence")],
    );
    this.run(
      `INSERT INTO copy.${baseTable(table.n)}(${table.stored.map((_, i) => `c${i}`).join(", ")}, m_oid, m_seq, p_oid, p_seq) ` +
        `SELECT ${this.image(table, side).join(", ")}, ${births.flat().join(", ")} FROM ${side}.${quote(table.name)} AS x WHERE ${this.match(table, "x")}`,
      row,
    );
  }

  /** Nothing is agreed any more; where the copy's row went because it left the scope, its birth stays known. */
  forget(table: CopiedTable, row: Row, departed: boolean): void {
    const sql =
      departed && table.surrogate
        ? `UPDATE copy.${baseTable(table.n)} SET gone = 1 WHERE ${this.matchBase(table)} AND gone = 0`
        : `DELETE FROM copy.${baseTable(table.n)} WHERE ${this.matchBase(table)} AND gone = 0`;
    this.run(sql, row);
  }

  /** SQL for the columns of the row `x` as the scope may have them. */
  private image(table: CopiedTable, side: Side): string[] {
    return table.stored.map((column) => {
      const retired = side === "main" ? table.retired.find((one) => one.column === column) : undefined;
      return retired?.empty ?? `x.${quote(column)}`;
    });
  }

  // ---- what is kept for a person

  /** Columns in which the copy's row differs from what was agreed. */
  changedInCopy(table: CopiedTable, row: Row): string[] {
    const { name, columns, n } = table;
    const differs = columns.map((column) => `NOT ${same(`p.${quote(column)}`, `b.c${table.stored.indexOf(column)}`)}`);
    if (differs.length === 0) return [];
    const sql =
      `SELECT ${differs.join(", ")} FROM copy.${quote(name)} AS p JOIN copy.${baseTable(n)} AS b ON b.rowid = ${this.agreedOf(table)} ` +
      `WHERE ${this.match(table, "p")}`;
    const is = this.all(sql, row);
    return columns.filter((_, i) => is?.[i] === 1n);
  }

  /** Keeps a row as it is on that side, and what taking it in after all would do. */
  keep(table: CopiedTable, row: Row, { side, reason, change }: { side: Side; reason: string; change: KeptChange }): void {
    const id = this.keepWhere(table, row.n, { side, reason, change, where: this.match(table, "x") });
    const born = (column: string) => `(SELECT b.${column} FROM copy.${baseTable(table.n)} AS b WHERE b.rowid = ${this.agreedOf(table)})`;
    if (change.kind === "row" || !table.surrogate) return;
    this.run(`UPDATE copy._scoutsync_scope_kept SET m_oid = ${born("m_oid")}, m_seq = ${born("m_seq")} WHERE id = @id`, row, { id });
  }

  /** Keeps an edit that was made in the copy: these columns of its row. */
  keepEdit(table: CopiedTable, row: Row, reason: string, columns: string[]): void {
    this.keep(table, row, { side: "copy", reason, change: { kind: "columns", columns } });
  }

  /** As `keep`, of the row `x` that a condition about `@n` names. */
  keepWhere(
    table: CopiedTable,
    n: bigint,
    { side, where, reason, change }: { side: Side; where: string; reason: string; change: KeptChange },
  ): bigint {
    const { lastInsertRowid } = this.db
      .prepare("INSERT INTO copy._scoutsync_scope_kept(n, reason, since, resolved, change) VALUES(?, ?, ?, 0, ?)")
      .run(table.n, reason, this.nowUs, JSON.stringify(change));
    this.db
      .prepare(
        `INSERT INTO copy.${keptTable(table.n)}(id, ${table.stored.map((_, i) => `c${i}`).join(", ")}) ` +
          `SELECT ${lastInsertRowid}, ${this.image(table, side).join(", ")} FROM ${side}.${quote(table.name)} AS x WHERE ${where}`,
      )
      .run({ n });
    this.kept++;
    return BigInt(lastInsertRowid);
  }
}

/** What a node of the scope wanted of a row that was not taken: all of it, some columns, or its end. */
export type KeptChange = { kind: "row" } | { kind: "columns"; columns: string[] } | { kind: "delete" };

/** SQL: the same value, stored the same way. */
export function same(a: string, b: string): string {
  return `(typeof(${a}) = typeof(${b}) AND ${a} IS ${b} COLLATE BINARY)`;
}
