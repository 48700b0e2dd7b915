import type { Statement } from "better-sqlite3";
import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable } from "./copy.ts";
import { type Row, same, type Side, type Sides } from "./sides.ts";
import { workOf } from "./work.ts";

/** A row that both sides agreed on, and where it is now: `inMain` only where it belongs to the scope. */
interface Moved {
  /** Its number in the table of what was agreed. */
  agreed: bigint;
  was: bigint;
  inMain: bigint | null;
  inCopy: bigint | null;
}

/**
 * Rows with integer keys that are where they were not agreed to be: nodes of the scope, or full nodes, gave one integer to two
 * rows, and one of these got another. By its births it is still the row that it was. The database's integer counts: in the
 * copy the row takes its place as a new one, with what its nodes wrote and what refers to it, and what they write to the one it
 * was, not knowing that, is written to its heir. So nothing of the database is deleted, or there twice, as two laptops began at 1.
 */
export class Moves {
  /** Rows of the copy that have an integer which the database gave to another one. */
  readonly clashes: { table: string; id: bigint }[] = [];
  private readonly sides: Sides;
  private readonly tables: readonly CopiedTable[];
  private readonly statements = new Map<string, Statement>();

  constructor(sides: Sides) {
    this.sides = sides;
    this.tables = sides.tables.filter(({ surrogate }) => surrogate);
  }

  /** Brings rows that moved to where the database has them. How many it were; of these the copy does not know the births yet. */
  follow(): number {
    let count = 0;
    for (const table of this.tables) {
      const moved = this.moved(table);
      let left = moved;
      for (let before = -1; before !== left.length;) {
        before = left.length;
        left = left.filter((row) => !this.place(table, row));
      }
      count += moved.length - left.length;
      for (const row of left) this.clash(table, row);
    }
    return count;
  }

  private moved(table: CopiedTable): Moved[] {
    const { n, name } = table;
    const at = (side: Side, letter: string) =>
      `(SELECT l.slot FROM ${side}._scoutsync_log AS l WHERE l.oid = b.${letter}_oid AND l.sequence = b.${letter}_seq AND l.tid = ${this.sides.numberOf(side, name)})`;
    const [key] = table.key as [string];
    const columns = table.columns.map((column) => `AND ${same(`x.${quote(column)}`, `b.c${table.stored.indexOf(column)}`)}`).join(" ");
    // One that was given to the database and is not known by its birth there yet is told by its values.
    const given = `(SELECT b.c0 FROM main.${quote(name)} AS x WHERE x.${quote(key)} = b.c0 ${columns})`;
    const differs = (rows: string, letter: string) =>
      `(b.${letter}_seq IS NOT NULL AND (${rows}.oid IS NOT b.${letter}_oid OR ${rows}.sequence IS NOT b.${letter}_seq))`;
    const rows = this.sides.db
      .prepare(
        `SELECT b.rowid AS agreed, b.c0 AS was, CASE WHEN b.m_seq IS NULL THEN ${given} ELSE ${at("main", "m")} END AS inMain, ${at("copy", "p")} AS inCopy ` +
          `FROM copy.${baseTable(n)} AS b LEFT JOIN ${this.sides.rowsOf("main", name)} AS mr ON mr.id = b.c0 ` +
          `LEFT JOIN ${this.sides.rowsOf("copy", name)} AS pr ON pr.id = b.c0 ` +
          `WHERE b.gone = 0 AND b.p_seq IS NOT NULL AND (${differs("mr", "m")} OR ${differs("pr", "p")})`,
      )
      .safeIntegers(true)
      .all() as Moved[];
    return rows
      .map((row) => ({ ...row, inMain: row.inMain !== null && this.isInside(table, row.inMain) ? row.inMain : null }))
      .filter(({ was, inMain, inCopy }) => (inMain !== null && inMain !== was) || (inCopy !== null && inCopy !== was));
  }

  private isInside(table: CopiedTable, id: bigint): boolean {
    return this.prepared(`SELECT 1 FROM temp.inside_${table.n} WHERE k0 = ?`).get(id) !== undefined;
  }

  /** False where something else is at that place, which may move, too. */
  private place(table: CopiedTable, { agreed, inMain, inCopy }: Moved): boolean {
    const id = (inMain ?? inCopy) as bigint;
    if (this.isOthers(table, id, agreed)) return false;
    if (inMain !== null && inCopy !== null && inMain !== inCopy) {
      if (this.isInCopy(table, inMain)) return false;
      this.succeed(table, agreed, { from: inCopy, to: inMain });
    }
    this.prepared(`UPDATE copy.${baseTable(table.n)} SET c0 = ? WHERE rowid = ?`).run(id, agreed);
    return true;
  }

  /** Whatever stays in the way is a row that nobody agreed on: it needs another integer first. */
  private clash(table: CopiedTable, { agreed, inMain, inCopy }: Moved): void {
    if (inMain === null || inCopy === null || this.isOthers(table, inMain, agreed) || !this.isInCopy(table, inMain)) return;
    this.clashes.push({ table: table.name, id: inMain });
  }

  /** Whether another row was agreed on under this integer than the one of this number. */
  private isOthers(table: CopiedTable, id: bigint, agreed: bigint | null): boolean {
    const sql = `SELECT 1 FROM copy.${baseTable(table.n)} WHERE c0 = ? AND gone = 0 AND rowid IS NOT ?`;
    return this.prepared(sql).get(id, agreed) !== undefined;
  }

  private isInCopy(table: CopiedTable, id: bigint): boolean {
    return this.prepared(`SELECT 1 FROM copy.${quote(table.name)} WHERE ${quote(table.key[0] as string)} = ?`).get(id) !== undefined;
  }

  /** A new row takes over from one of the copy, whose birth stays known. */
  private succeed(table: CopiedTable, agreed: bigint, { from, to }: { from: bigint; to: bigint }): void {
    const [name, base, key] = [`copy.${quote(table.name)}`, `copy.${baseTable(table.n)}`, quote(table.key[0] as string)];
    const columns = table.stored.slice(1);
    const names = columns.map((column) => `, ${quote(column)}`).join("");
    this.prepared(`INSERT INTO ${name}(${key}${names}) SELECT ?${names} FROM ${name} WHERE ${key} = ?`).run(to, from);
    const stored = columns.map((_, i) => `, c${i + 1}`).join("");
    const values = columns.map((column) => `, x.${quote(column)}`).join("");
    this.prepared(
      `INSERT INTO ${base}(c0${stored}, m_oid, m_seq, p_oid, p_seq, gone) SELECT x.${key}${values}, b.m_oid, b.m_seq, b.p_oid, b.p_seq, 1 ` +
        `FROM ${name} AS x, ${base} AS b WHERE x.${key} = ? AND b.rowid = ?`,
    ).run(from, agreed);
    this.prepared(`UPDATE ${base} SET p_oid = NULL, p_seq = NULL WHERE rowid = ?`).run(agreed);
    this.remove(table, from, to);
  }

  /** Takes a row out of the copy; what refers to it refers to its heir. */
  private remove(table: CopiedTable, from: bigint, heir: bigint): void {
    this.prepared(`DELETE FROM copy.${quote(table.name)} WHERE ${quote(table.key[0] as string)} = ?`).run(from);
    for (const child of this.sides.tables) {
      for (const { columns, parent } of child.parents) {
        if (parent !== table.name) continue;
        const column = quote(columns[0] as string);
        this.prepared(`UPDATE copy.${quote(child.name)} SET ${column} = ? WHERE ${column} = ?`).run(heir, from);
      }
    }
  }

  /**
   * After the work lists are made: writes to rows of the copy that had left it. Where the database's row is in the copy as
   * another one, that gets them; where it belongs to the scope again, the row is what it was. How many it were.
   */
  forward(): number {
    let count = 0;
    for (const table of this.tables)
      for (const row of workOf(this.sides, table)) if (row.left && !row.sameCopy && this.forwardRow(table, row)) count++;
    return count;
  }

  private forwardRow(table: CopiedTable, row: Row): boolean {
    const { n, name } = table;
    const id = this.sides.id(table, row);
    const base = `copy.${baseTable(n)}`;
    const heir = this.prepared(
      `SELECT b.c0 FROM ${base} AS g JOIN ${base} AS b ON b.m_oid = g.m_oid AND b.m_seq = g.m_seq AND b.gone = 0 WHERE g.rowid = ?`,
    )
      .pluck()
      .get(row.agreed) as bigint | undefined;
    if (heir !== undefined) {
      if (heir === id || !this.isInCopy(table, heir)) return false;
      this.inherit(table, row, { from: id, heir });
      return true;
    }
    const inMain = this.prepared(
      `SELECT l.slot FROM ${base} AS g JOIN main._scoutsync_log AS l ON l.oid = g.m_oid AND l.sequence = g.m_seq AND l.tid = ${this.sides.numberOf("main", name)} WHERE g.rowid = ?`,
    )
      .pluck()
      .get(row.agreed) as bigint | undefined;
    if (inMain === undefined || !this.isInside(table, inMain) || this.isOthers(table, id, row.agreed)) return false;
    this.prepared(`UPDATE ${base} SET gone = 0, c0 = ? WHERE rowid = ?`).run(id, row.agreed);
    return true;
  }

  private inherit(table: CopiedTable, row: Row, { from, heir }: { from: bigint; heir: bigint }): void {
    const [name, base, key] = [`copy.${quote(table.name)}`, `copy.${baseTable(table.n)}`, quote(table.key[0] as string)];
    const taken: string[] = [];
    const both: string[] = [];
    for (const column of this.sides.changedInCopy(table, row)) {
      const value = (id: bigint) => `(SELECT ${quote(column)} FROM ${name} WHERE ${key} = ${id})`;
      const known = `(SELECT c${table.stored.indexOf(column)} FROM ${base} WHERE rowid = ${String(row.agreed)})`;
      const is = (sql: string) => this.sides.db.prepare(`SELECT ${sql}`).pluck().get() === 1;
      if (is(same(value(from), value(heir)))) continue;
      (is(same(value(heir), known)) ? taken : both).push(column);
    }
    if (both.length > 0) this.sides.keepEdit(table, row, `changed by another node at the same time, which stays: ${both.join(", ")}`, both);
    if (taken.length > 0) {
      const set = taken.map((column) => `${quote(column)} = (SELECT y.${quote(column)} FROM ${name} AS y WHERE y.${key} = @from)`);
      this.prepared(`UPDATE ${name} SET ${set.join(", ")} WHERE ${key} = @heir`).run({ from, heir });
    }
    const known = table.stored
      .slice(1)
      .map((column, i) => `c${i + 1} = (SELECT y.${quote(column)} FROM ${name} AS y WHERE y.${key} = @from)`);
    if (known.length > 0) this.prepared(`UPDATE ${base} SET ${known.join(", ")} WHERE rowid = @agreed`).run({ from, agreed: row.agreed });
    this.remove(table, from, heir);
  }

  private prepared(sql: string): Statement {
    let statement = this.statements.get(sql);
    if (!statement) this.statements.set(sql, (statement = this.sides.db.prepare(sql).safeIntegers(true)));
    return statement;
  }
}
