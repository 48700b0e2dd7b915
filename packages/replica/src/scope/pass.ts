import type { Database, Statement } from "better-sqlite3";
import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable, keptTable, openBoth, type ScopeSource } from "./copy.ts";
import { checkMark, type Mark, noteHalf, noteMark } from "./mark.ts";
import { fillScope } from "./membership.ts";

/** How a pass went. */
export type PassOutcome =
  | { kind: "done"; toMain: number; toCopy: number; kept: number }
  /** Something is not drained yet, or the copy's tables were changed: drain both sides and come again. */
  | { kind: "behind"; side: "main" | "copy" }
  /** Rows of the copy whose integers other rows of the database have: they need other ones first. */
  | { kind: "clash"; rows: { table: string; id: bigint }[] }
  /** What a crash had left is finished: come again. */
  | { kind: "mended" }
  /** It has to wait for a person. */
  | { kind: "held"; why: string };

export interface PassRequest {
  source: ScopeSource;
  /** Path of the copy. */
  copy: string;
  /** Unix microseconds. */
  nowUs: number;
  /** Keep applications from writing meanwhile: they did so during every try before. */
  hold: boolean;
}

/** What is known about one row that is not as it was agreed, from the work list. */
interface Row {
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
}

/** 2000-01-01 as a Julian day: whoever else was given an integer was born later, so rows of the database keep theirs. */
const BEFORE_ALL = 2_451_544.5;
const INSERTED = 1;

/**
 * Brings the application's database and the copy of a scope in line with each other: what both had agreed on is compared
 * with what each has now. Rows that belong to the scope and their columns in it go to the copy; what nodes of the scope
 * changed there goes to the database where the scope allows it, as a write of an application. All of it is committed in
 * the database first and then in the copy; what a crash in between leaves is finished by the next pass.
 */
export function runPass({ source, copy, nowUs, hold }: PassRequest): PassOutcome {
  const { db, tables, altered } = openBoth(source, copy);
  try {
    if (altered) return { kind: "behind", side: "copy" };
    db.exec(hold ? "BEGIN IMMEDIATE" : "BEGIN");
    const outcome = new Pass(db, tables, source.rule.name, nowUs).run();
    db.exec(outcome.kind === "done" || outcome.kind === "mended" ? "COMMIT" : "ROLLBACK");
    return outcome;
  } catch (error) {
    if (db.inTransaction) db.exec("ROLLBACK");
    // Somebody wrote to the database since the look at it.
    if ((error as { code?: string }).code === "SQLITE_BUSY_SNAPSHOT") return { kind: "behind", side: "main" };
    throw error;
  } finally {
    db.close();
  }
}

class Pass {
  private readonly db: Database;
  private readonly tables: readonly CopiedTable[];
  private readonly scope: string;
  private readonly nowUs: number;
  private readonly statements = new Map<string, Statement>();
  private readonly inserted: [table: string, id: string][] = [];
  private readonly clashes: { table: string; id: bigint }[] = [];
  private toMain = 0;
  private toCopy = 0;
  private kept = 0;

  constructor(db: Database, tables: readonly CopiedTable[], scope: string, nowUs: number) {
    this.db = db;
    this.tables = tables;
    this.scope = scope;
    this.nowUs = nowUs;
  }

  run(): PassOutcome {
    const { db } = this;
    for (const side of ["main", "copy"] as const) if (!isDrained(db, side)) return { kind: "behind", side };
    const mark = checkMark(db, this.scope);
    if (typeof mark === "string") return { kind: "held", why: mark };
    if (db.prepare("SELECT 1 FROM main._scoutsync_quarantine LIMIT 1").get() !== undefined)
      return { kind: "held", why: "a mass delete waits for a decision (`scoutsync review list --kind quarantine`)" };
    if (mark.unfinished !== null) {
      // By itself and first: a crash in this pass, too, must find only one half pass.
      for (const [table, id] of mark.unfinished) this.adopt(table, id);
      noteHalf(db, mark);
      return { kind: "mended" };
    }
    fillScope(db, this.tables);
    for (const table of this.tables) this.list(table);
    this.deletesOfNodes();
    for (const table of this.tables) for (const row of this.work(table)) this.leave(table, row);
    for (const table of this.tables) this.takeAllIn(table);
    if (this.clashes.length > 0) return { kind: "clash", rows: this.clashes };
    for (const table of this.tables) for (const row of this.work(table)) this.show(table, row);
    db.prepare(`UPDATE copy._scoutsync_capture SET at = ? WHERE (event & 7) = ${INSERTED}`).run(BEFORE_ALL);
    this.noteMark(mark);
    return { kind: "done", toMain: this.toMain, toCopy: this.toCopy, kept: this.kept };
  }

  private noteMark(mark: Mark): void {
    noteMark(this.db, this.scope, mark, { wroteMain: this.toMain > 0, inserted: this.inserted });
  }

  // ---- finding out

  /** Notes every row that is not as it was agreed. */
  private list(table: CopiedTable): void {
    const { key, n, surrogate } = table;
    const keys = key.map((_, i) => `k${i}`);
    const named = (alias: string) => key.map((column) => `${alias}.${quote(column)}`);
    const of = (alias: string, columns: readonly string[]) => columns.map((column) => `${alias}.${column}`);
    const on = (columns: readonly string[]) => columns.map((column, i) => `${column} = a.k${i}`).join(" AND ");
    const first = (columns: readonly string[]) => columns[0] as string;
    const stored = key.map((_, i) => `c${i}`);
    const changed = (alias: string) => {
      const parts = table.columns.map((column) => `NOT ${same(`${alias}.${quote(column)}`, `b.c${table.stored.indexOf(column)}`)}`);
      return parts.length === 0 ? "0" : `(${parts.join(" OR ")})`;
    };
    const isSame = (rows: string, oid: string, sequence: string, moved: string) =>
      surrogate
        ? `(CASE WHEN b.${sequence} IS NULL THEN NOT ${moved} ELSE (${rows}.oid IS b.${oid} AND ${rows}.sequence IS b.${sequence}) END)`
        : "1";
    const births = surrogate
      ? `LEFT JOIN main.${rowsOf(this.db, "main", table.name)} AS mr ON mr.id = a.k0 LEFT JOIN copy.${rowsOf(this.db, "copy", table.name)} AS pr ON pr.id = a.k0`
      : "";
    const left = surrogate
      ? `EXISTS (SELECT 1 FROM copy.${baseTable(n)} AS g WHERE g.gone = 1 AND g.p_oid = pr.oid AND g.p_seq = pr.sequence)`
      : "0";
    const open = surrogate ? "b.m_seq IS NULL OR b.p_seq IS NULL OR" : "";
    const flags = ["base", "inside", "inMain", "inCopy", "sameMain", "sameCopy", "mainChanged", "copyChanged", "departed"];
    this.db.exec(
      `DROP TABLE IF EXISTS temp.work_${n}; CREATE TEMP TABLE work_${n}(n INTEGER PRIMARY KEY, ${keys.join(", ")}, ${flags.join(", ")}); ` +
        `INSERT INTO temp.work_${n}(${keys.join(", ")}, ${flags.join(", ")}) SELECT * FROM (` +
        `SELECT ${of("a", keys).join(", ")}, b.rowid IS NOT NULL AS base, ${first(of("s", keys))} IS NOT NULL AS inside, ${first(named("m"))} IS NOT NULL AS inMain, ` +
        `${first(named("p"))} IS NOT NULL AS inCopy, ${isSame("mr", "m_oid", "m_seq", changed("m"))} AS sameMain, ${isSame("pr", "p_oid", "p_seq", changed("p"))} AS sameCopy, ` +
        `${changed("m")} AS mainChanged, ${changed("p")} AS copyChanged, ${left} AS departed ` +
        `FROM (SELECT ${keys.join(", ")} FROM temp.inside_${n} UNION SELECT ${stored.join(", ")} FROM copy.${baseTable(n)} WHERE gone = 0 ` +
        `UNION SELECT ${key.map(quote).join(", ")} FROM copy.${quote(table.name)} WHERE ${key.map((column) => `${quote(column)} IS NOT NULL`).join(" AND ")}) AS a ` +
        `LEFT JOIN copy.${baseTable(n)} AS b ON ${on(of("b", stored))} AND b.gone = 0 LEFT JOIN temp.inside_${n} AS s ON ${on(of("s", keys))} ` +
        `LEFT JOIN main.${quote(table.name)} AS m ON ${on(named("m"))} LEFT JOIN copy.${quote(table.name)} AS p ON ${on(named("p"))} ${births} ` +
        `WHERE b.rowid IS NULL OR ${open} s.k0 IS NULL OR ${first(named("p"))} IS NULL OR mainChanged OR copyChanged OR NOT sameMain OR NOT sameCopy)`,
    );
    this.keyless(table);
  }

  /** Rows with NULL in their key have no place in the database. */
  private keyless(table: CopiedTable): void {
    const isNull = table.key.map((column) => `${quote(column)} IS NULL`).join(" OR ");
    const rows = this.db.prepare(`SELECT rowid FROM copy.${quote(table.name)} WHERE ${isNull}`);
    if (table.surrogate || table.sql.endsWith("WITHOUT ROWID")) return;
    for (const rowid of rows.pluck().safeIntegers(true).all() as bigint[]) {
      this.keep(table, "a row with NULL in its key, which the server does not take", { side: "copy", where: "rowid = @n", n: rowid });
      this.db.prepare(`DELETE FROM copy.${quote(table.name)} WHERE rowid = ?`).run(rowid);
      this.toCopy++;
    }
  }

  private *work(table: CopiedTable): Generator<Row> {
    const rows = this.db.prepare(`SELECT * FROM temp.work_${table.n} ORDER BY n`).safeIntegers(true).all() as Record<string, bigint>[];
    for (const row of rows) {
      const is = (flag: string) => row[flag] === 1n;
      yield {
        n: row["n"] as bigint,
        base: is("base"),
        inside: is("inside"),
        inMain: is("inMain"),
        inCopy: is("inCopy"),
        sameMain: is("base") && is("inside") && is("sameMain"),
        sameCopy: is("base") && is("inCopy") && is("sameCopy"),
        mainChanged: is("mainChanged"),
        copyChanged: is("copyChanged"),
        left: is("departed"),
      };
    }
  }

  // ---- what nodes of the scope deleted

  /** Children first, and again while it helps: rows may refer to each other. */
  private deletesOfNodes(): void {
    let left = this.tables
      .toReversed()
      .flatMap((table) =>
        [...this.work(table)].filter(({ base, sameMain, sameCopy }) => base && sameMain && !sameCopy).map((row) => ({ table, row })),
      );
    for (let before = -1; before !== left.length;) {
      before = left.length;
      left = left.filter(({ table, row }) => !this.deleteFromMain(table, row));
    }
    for (const { table, row } of left) {
      if (row.mainChanged)
        this.keep(table, "deleted by a node of the scope while it was changed at the server: it stays", this.at(table, row, "main"));
      else if (this.isOwn(table, row, "main"))
        this.keep(table, "deleted by a node of the scope, and other rows refer to it: it stays", this.at(table, row, "main"));
      else this.keep(table, "deleted by a node of the scope, which may not delete it: it stays", this.at(table, row, "main"));
      // It is shown again below.
      this.forget(table, row, false);
    }
  }

  private deleteFromMain(table: CopiedTable, row: Row): boolean {
    if (row.mainChanged || !this.isOwn(table, row, "main") || this.isReferredTo(table, row)) return false;
    this.run1(`DELETE FROM main.${quote(table.name)} WHERE ${this.match(table)}`, row);
    this.run1(`DELETE FROM temp.inside_${table.n} WHERE ${table.key.map((_, i) => `k${i} = ${this.key(table, i)}`).join(" AND ")}`, row);
    this.forget(table, row, false);
    this.toMain++;
    return true;
  }

  private isReferredTo(table: CopiedTable, row: Row): boolean {
    return table.children.some(({ table: child, columns, targets }) => {
      const match = columns
        .map(
          (column, i) =>
            `c.${quote(column)} = (SELECT x.${quote(targets[i] as string)} FROM main.${quote(table.name)} AS x WHERE ${this.match(table, "x")})`,
        )
        .join(" AND ");
      const itself = child === table.name ? `AND NOT (${this.match(table, "c")})` : "";
      return this.get1(`SELECT 1 FROM main.${quote(child)} AS c WHERE ${match} ${itself} LIMIT 1`, row) !== undefined;
    });
  }

  // ---- what leaves the scope

  private leave(table: CopiedTable, row: Row): void {
    if (!row.base || row.sameMain) return;
    if (row.sameCopy) {
      if (row.copyChanged)
        this.keep(table, "changed by a node of the scope after it had been deleted, or had left the scope", this.at(table, row, "copy"));
      this.takeFromCopy(table, row);
      this.forget(table, row, true);
    } else this.forget(table, row, false);
  }

  // ---- what nodes of the scope wrote

  /** Again while it helps: a row may refer to one that comes after it. */
  private takeAllIn(table: CopiedTable): void {
    let left = [...this.work(table)];
    for (let before = -1; before !== left.length;) {
      before = left.length;
      left = left.filter((row) => {
        if (row.sameMain && row.sameCopy) this.merge(table, row);
        else if (row.inCopy && !row.sameCopy && !this.takeIn(table, row)) return true;
        return false;
      });
    }
    for (const row of left) {
      const refused = this.insertIntoMain(table, row);
      if (refused === null) continue;
      this.keep(table, refused, this.at(table, row, "copy"));
      this.takeFromCopy(table, row);
    }
  }

  /** A row that the copy alone has, or that is another one there. False where the database does not take it now. */
  private takeIn(table: CopiedTable, row: Row): boolean {
    if (row.left) {
      if (this.differsFromDeparted(table, row))
        this.keep(table, "changed by a node of the scope after it had been deleted, or had left the scope", this.at(table, row, "copy"));
      this.takeFromCopy(table, row);
      return true;
    }
    const inMain = this.get1(`SELECT 1 FROM main.${quote(table.name)} AS x WHERE ${this.match(table, "x")}`, row) !== undefined;
    if (!inMain) return this.insertIntoMain(table, row) === null;
    if (table.surrogate) {
      const id = this.pluck1(`SELECT k0 FROM temp.work_${table.n} WHERE n = @n`, row) as bigint;
      this.clashes.push({ table: table.name, id });
    } else if (row.inside) this.unite(table, row);
    else {
      this.keep(table, "its key is that of a row that is not in the scope", this.at(table, row, "copy"));
      this.takeFromCopy(table, row);
    }
    return true;
  }

  /** A row that both sides have: each column goes to the side that did not write it. */
  private merge(table: CopiedTable, row: Row): void {
    const toMain: string[] = [];
    const toCopy: string[] = [];
    const both: string[] = [];
    const name = quote(table.name);
    const flags = table.columns.map((column) => {
      const [m, p, b] = [`m.${quote(column)}`, `p.${quote(column)}`, `b.c${table.stored.indexOf(column)}`];
      return `${same(m, b)}, ${same(p, b)}, ${same(m, p)}`;
    });
    if (flags.length > 0) {
      const sql =
        `SELECT ${flags.join(", ")} FROM main.${name} AS m, copy.${name} AS p, copy.${baseTable(table.n)} AS b ` +
        `WHERE ${this.match(table, "m")} AND ${this.match(table, "p")} AND ${this.matchBase(table, "b")} AND b.gone = 0`;
      const found = this.statement(sql).raw(true).get({ n: row.n }) as number[];
      table.columns.forEach((column, i) => {
        const [mainIsBase, copyIsBase, equal] = found.slice(i * 3, i * 3 + 3).map((flag) => flag === 1) as [boolean, boolean, boolean];
        if (equal) return;
        if (copyIsBase) toCopy.push(column);
        else if (mainIsBase) toMain.push(column);
        else both.push(column);
      });
    }
    let refused: string | null = null;
    if (toMain.length > 0) {
      refused = this.updateMain(table, row, toMain);
      if (refused === null) this.toMain++;
    }
    if (refused !== null) this.keep(table, refused, this.at(table, row, "copy"));
    else if (both.length > 0)
      this.keep(table, `changed at the server at the same time, which stays: ${both.join(", ")}`, this.at(table, row, "copy"));
    const back = refused === null ? [...toCopy, ...both] : [...toCopy, ...both, ...toMain];
    if (back.length > 0) this.updateCopy(table, row, back);
    this.forget(table, row, false);
    this.agree(table, row, "main");
  }

  /** Null when it went in; else why it did not, in words that show nothing of other rows. */
  private updateMain(table: CopiedTable, row: Row, columns: readonly string[]): string | null {
    if (!this.isOwn(table, row, "main")) return "it belongs to the scope because others refer to it: its nodes may not change it";
    return this.attempt(() => {
      this.run1(`UPDATE main.${quote(table.name)} SET ${this.from(table, "copy", columns)} WHERE ${this.match(table)}`, row);
      if (!this.isOwn(table, row, "main")) return "with that it would not belong to the scope";
      return this.lacksParent(table, row);
    });
  }

  private insertIntoMain(table: CopiedTable, row: Row): string | null {
    if (!this.isOwn(table, row, "copy")) return "it does not belong to the scope";
    const columns = [...table.key, ...table.columns].map(quote).join(", ");
    const refused = this.attempt(() => {
      this.run1(
        `INSERT INTO main.${quote(table.name)}(${columns}) SELECT ${columns} FROM copy.${quote(table.name)} WHERE ${this.match(table)}`,
        row,
      );
      if (!this.isOwn(table, row, "main")) return "it does not belong to the scope";
      return this.lacksParent(table, row);
    });
    if (refused !== null) return refused;
    this.forget(table, row, false);
    this.agree(table, row, "copy");
    const keys = table.key.map((_, i) => `k${i}`).join(", ");
    this.run1(`INSERT OR IGNORE INTO temp.inside_${table.n}(${keys}) SELECT ${keys} FROM temp.work_${table.n} WHERE n = @n`, row);
    if (table.surrogate) this.inserted.push([table.name, String(this.pluck1(`SELECT k0 FROM temp.work_${table.n} WHERE n = @n`, row))]);
    this.toMain++;
    return null;
  }

  /** A natural key that both sides came to have by themselves is one row. */
  private unite(table: CopiedTable, row: Row): void {
    const name = quote(table.name);
    const differing = table.columns.filter((column) => {
      const sql = `SELECT ${same(`m.${quote(column)}`, `p.${quote(column)}`)} FROM main.${name} AS m, copy.${name} AS p WHERE ${this.match(table, "m")} AND ${this.match(table, "p")}`;
      return this.pluck1(sql, row) !== 1n;
    });
    if (differing.length > 0) {
      this.keep(table, `written at the server, too, which stays: ${differing.join(", ")}`, this.at(table, row, "copy"));
      this.updateCopy(table, row, differing);
    }
    this.forget(table, row, false);
    this.agree(table, row, "main");
  }

  private lacksParent(table: CopiedTable, row: Row): string | null {
    for (const { columns, parent } of table.parents) {
      const other = this.tables.find(({ name }) => name === parent) as CopiedTable;
      const isSet = columns.map((column) => `x.${quote(column)} IS NOT NULL`).join(" AND ");
      const found = columns.map((column, i) => `s.k${i} = x.${quote(column)}`).join(" AND ");
      const itself =
        parent === table.name
          ? `AND NOT (${columns.map((column, i) => `x.${quote(column)} = x.${quote(other.key[i] as string)}`).join(" AND ")})`
          : "";
      const sql =
        `SELECT 1 FROM main.${quote(table.name)} AS x WHERE ${this.match(table, "x")} AND ${isSet} ${itself} ` +
        `AND NOT EXISTS (SELECT 1 FROM temp.inside_${other.n} AS s WHERE ${found})`;
      if (this.get1(sql, row) !== undefined) return `what it refers to by ${columns.join(", ")} is not in the scope`;
    }
    return null;
  }

  /** Tries a write to the database, and takes it back where it is refused. */
  private attempt(work: () => string | null): string | null {
    this.db.exec("SAVEPOINT attempt");
    let refused: string | null;
    try {
      refused = work();
    } catch (error) {
      const { code = "" } = error as { code?: string };
      if (!code.startsWith("SQLITE_CONSTRAINT") || !this.db.inTransaction) throw error;
      refused = REFUSED[code] ?? "a constraint of the server's database refuses it";
    }
    this.db.exec(refused === null ? "RELEASE attempt" : "ROLLBACK TO attempt; RELEASE attempt");
    return refused;
  }

  // ---- what the scope shows

  /** Rows that came into the scope, and those whose delete was not taken. */
  private show(table: CopiedTable, row: Row): void {
    if (!row.inside || this.get1(`SELECT 1 FROM copy.${quote(table.name)} AS x WHERE ${this.match(table, "x")}`, row) !== undefined) return;
    const columns = [...table.key, ...table.columns].map(quote).join(", ");
    const sql = `INSERT INTO copy.${quote(table.name)}(${columns}) SELECT ${columns} FROM main.${quote(table.name)} WHERE ${this.match(table)}`;
    if (this.statement(sql).run({ n: row.n }).changes === 0) return;
    this.agree(table, row, "main");
    this.toCopy++;
  }

  private takeFromCopy(table: CopiedTable, row: Row): void {
    this.run1(`DELETE FROM copy.${quote(table.name)} WHERE ${this.match(table)}`, row);
    this.toCopy++;
  }

  private updateCopy(table: CopiedTable, row: Row, columns: readonly string[]): void {
    this.run1(`UPDATE copy.${quote(table.name)} SET ${this.from(table, "main", columns)} WHERE ${this.match(table)}`, row);
    this.toCopy++;
  }

  // ---- what was agreed

  /** Both sides have the row now, with these values. */
  private agree(table: CopiedTable, row: Row, side: "main" | "copy"): void {
    const born = (where: "main" | "copy", column: string) =>
      table.surrogate
        ? `(SELECT r.${column} FROM ${where}.${rowsOf(this.db, where, table.name)} AS r WHERE r.id = x.${quote(table.key[0] as string)})`
        : "NULL";
    // A row that was just written has no birth yet on that side.
    const births = ["main", "copy"].map((where) => {
      const known = where === side || row.sameCopy;
      return known ? [born(where as "main" | "copy", "oid"), born(where as "main" | "copy", "sequence")] : ["NULL", "NULL"];
    });
    this.run1(
      `INSERT INTO copy.${baseTable(table.n)}(${table.stored.map((_, i) => `c${i}`).join(", ")}, m_oid, m_seq, p_oid, p_seq) ` +
        `SELECT ${table.stored.map((column) => `x.${quote(column)}`).join(", ")}, ${births.flat().join(", ")} FROM ${side}.${quote(table.name)} AS x WHERE ${this.match(table, "x")}`,
      row,
    );
  }

  /** Nothing is agreed any more; where the copy's row went because it left the scope, its birth stays known. */
  private forget(table: CopiedTable, row: Row, departed: boolean): void {
    const sql =
      departed && table.surrogate
        ? `UPDATE copy.${baseTable(table.n)} SET gone = 1 WHERE ${this.matchBase(table)} AND gone = 0`
        : `DELETE FROM copy.${baseTable(table.n)} WHERE ${this.matchBase(table)} AND gone = 0`;
    this.run1(sql, row);
  }

  /** After a crash between the two commits: the database took the row, and the copy does not know. */
  private adopt(name: string, id: string): void {
    const table = this.tables.find((other) => other.name === name);
    if (!table) return;
    const at = BigInt(id);
    const base = baseTable(table.n);
    this.db.prepare(`DELETE FROM copy.${base} WHERE c0 = ? AND gone = 0`).run(at);
    const born = (side: "main" | "copy", column: string) => `(SELECT ${column} FROM ${side}.${rowsOf(this.db, side, name)} WHERE id = @n)`;
    this.db
      .prepare(
        `INSERT INTO copy.${base}(c0, m_oid, m_seq, p_oid, p_seq) SELECT @n, ${born("main", "oid")}, ${born("main", "sequence")}, ${born("copy", "oid")}, ${born("copy", "sequence")} ` +
          `WHERE EXISTS (SELECT 1 FROM copy.${quote(name)} WHERE ${quote(table.key[0] as string)} = @n)`,
      )
      .run({ n: at });
  }

  private differsFromDeparted(table: CopiedTable, row: Row): boolean {
    const equal = table.columns.map((column) => same(`p.${quote(column)}`, `g.c${table.stored.indexOf(column)}`));
    const rows = `copy.${rowsOf(this.db, "copy", table.name)}`;
    const sql =
      `SELECT 1 FROM copy.${quote(table.name)} AS p JOIN ${rows} AS r ON r.id = p.${quote(table.key[0] as string)} JOIN copy.${baseTable(table.n)} AS g ` +
      `ON g.gone = 1 AND g.p_oid = r.oid AND g.p_seq = r.sequence WHERE ${this.match(table, "p")}${equal.map((part) => ` AND ${part}`).join("")} LIMIT 1`;
    return this.get1(sql, row) === undefined;
  }

  // ---- what is kept for a person

  private at(table: CopiedTable, row: Row, side: "main" | "copy"): { side: "main" | "copy"; where: string; n: bigint } {
    return { side, where: this.match(table, "x"), n: row.n };
  }

  private keep(table: CopiedTable, reason: string, { side, where, n }: { side: "main" | "copy"; where: string; n: bigint }): void {
    const { lastInsertRowid } = this.db
      .prepare("INSERT INTO copy._scoutsync_scope_kept(n, reason, since, resolved) VALUES(?, ?, ?, 0)")
      .run(table.n, reason, this.nowUs);
    this.db
      .prepare(
        `INSERT INTO copy.${keptTable(table.n)}(id, ${table.stored.map((_, i) => `c${i}`).join(", ")}) ` +
          `SELECT ${lastInsertRowid}, ${table.stored.map((column) => `x.${quote(column)}`).join(", ")} FROM ${side}.${quote(table.name)} AS x WHERE ${where}`,
      )
      .run({ n });
    this.kept++;
  }

  // ---- SQL

  private isOwn(table: CopiedTable, row: Row, side: "main" | "copy"): boolean {
    return (
      this.get1(`SELECT 1 FROM ${side}.${quote(table.name)} AS x WHERE ${this.match(table, "x")} AND (${table.own})`, row) !== undefined
    );
  }

  private key(table: CopiedTable, i: number): string {
    return `(SELECT k${i} FROM temp.work_${table.n} WHERE n = @n)`;
  }

  private match(table: CopiedTable, alias = ""): string {
    return table.key.map((column, i) => `${alias === "" ? "" : `${alias}.`}${quote(column)} = ${this.key(table, i)}`).join(" AND ");
  }

  private matchBase(table: CopiedTable, alias = ""): string {
    return table.key.map((_, i) => `${alias === "" ? "" : `${alias}.`}c${i} = ${this.key(table, i)}`).join(" AND ");
  }

  /** Assigns columns from the other side's row. */
  private from(table: CopiedTable, side: "main" | "copy", columns: readonly string[]): string {
    return columns
      .map(
        (column) => `${quote(column)} = (SELECT y.${quote(column)} FROM ${side}.${quote(table.name)} AS y WHERE ${this.match(table, "y")})`,
      )
      .join(", ");
  }

  private statement(sql: string): Statement {
    let known = this.statements.get(sql);
    if (!known) this.statements.set(sql, (known = this.db.prepare(sql)));
    return known;
  }

  private run1(sql: string, row: Row): void {
    this.statement(sql).run({ n: row.n });
  }

  private get1(sql: string, row: Row): unknown {
    return this.statement(sql).get({ n: row.n });
  }

  private pluck1(sql: string, row: Row): unknown {
    return this.statement(sql).pluck().safeIntegers(true).get({ n: row.n });
  }
}

/** What a node of the scope is told where a constraint refused its row: which other row it was is not for it to know. */
const REFUSED: Readonly<Record<string, string>> = {
  SQLITE_CONSTRAINT_UNIQUE: "it is kept out by a UNIQUE value of a row that may not be in the scope",
  SQLITE_CONSTRAINT_PRIMARYKEY: "it is kept out by a UNIQUE value of a row that may not be in the scope",
  SQLITE_CONSTRAINT_NOTNULL: "the server's table wants a value in a column that is not given",
  SQLITE_CONSTRAINT_CHECK: "a CHECK of the server's table refuses it",
};

/** The same value, stored the same way. */
function same(a: string, b: string): string {
  return `(typeof(${a}) = typeof(${b}) AND ${a} IS ${b} COLLATE BINARY)`;
}

function isDrained(db: Database, side: "main" | "copy"): boolean {
  return ["_scoutsync_capture", "_scoutsync_comparison"].every(
    (table) => db.prepare(`SELECT 1 FROM ${side}.${table} LIMIT 1`).get() === undefined,
  );
}

/** Where a side's replica notes the births of a table's rows. */
function rowsOf(db: Database, side: "main" | "copy", table: string): string {
  const sql =
    `SELECT t.tid FROM ${side}._scoutsync_table AS t LEFT JOIN ${side}._scoutsync_kind AS k ON k.tid = t.tid ` +
    "WHERE coalesce(k.name, t.name) = ? AND coalesce(k.kind, t.surrogate) = 1";
  return `_scoutsync_rows_${String(db.prepare(sql).pluck().get(table))}`;
}
