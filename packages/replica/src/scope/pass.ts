import { quote } from "../schema/quote.ts";
import type { Database } from "better-sqlite3";
import { compareColumns, type Differences } from "./columns.ts";
import { emptyColumn } from "./empty-column.ts";
import { type CopiedTable, openBoth, schemaVersion, type ScopeSource } from "./copy.ts";
import { checkMark, type Mark, noteHalf, noteMark } from "./mark.ts";
import type { RestingTrigger } from "../schema/app-triggers.ts";
import { fillScope } from "./membership.ts";
import { Moves } from "./moves.ts";
import { type Row, same, Sides } from "./sides.ts";
import { agreeOnTaken, clearTaken, Taken } from "./taken.ts";
import { listWork, workOf } from "./work.ts";
import { putBack, putInPlace } from "../capture/silence.ts";
import { isOfIndex, leavingEntries, noteLeaving, runMending, withIndexes } from "../schema/text-indexes.ts";
import { fromSqlite } from "../sqlite-errors.ts";
import { beginWriting, isBusy } from "../write-lock.ts";

/** How a pass went. */
export type PassOutcome =
  | { kind: "done"; toMain: number; toCopy: number; kept: number }
  /** Something is not drained yet, or the copy's tables were changed: drain both sides and come again. */
  | { kind: "behind"; side: "main" | "copy" }
  /** Rows of the copy whose integers other rows of the database have: they need other ones first. */
  | { kind: "clash"; rows: { table: string; id: bigint }[] }
  /** Rows of the copy got their place in the database, or what a crash had left is finished: come again. */
  | { kind: "mended"; kept: number }
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
  /** Called with everything written and nothing committed: where a killed process leaves the copy as it was before. */
  beforeCommit?: (() => void) | undefined;
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
export function runPass(request: PassRequest): PassOutcome {
  try {
    return passOnce(request, false);
  } catch (error) {
    if (!isOfIndex(error)) throw error;
    const { main } = request.source;
    return withIndexes(main, (mends) => runMending(fromSqlite(error, main), mends, (leaving) => passOnce(request, leaving)));
  }
}

/** `leaving`: with entries of indexes left, as `leavingEntries`. */
function passOnce({ source, copy, nowUs, hold, beforeCommit }: PassRequest, leaving: boolean): PassOutcome {
  const { db, tables, resting: planned, altered, version } = openBoth(source, copy);
  try {
    if (altered) return { kind: "behind", side: "copy" };
    if (hold) beginWriting(db);
    else db.exec("BEGIN");
    // A migration has come since: triggers would be made again as they were before it.
    if (schemaVersion(db) !== version) {
      db.exec("ROLLBACK");
      return { kind: "behind", side: "main" };
    }
    const resting = (leaving ? leavingEntries(db, planned) : null) ?? planned;
    const outcome = new Pass(new Sides(db, tables, nowUs), resting, source.rule.name).run();
    if (leaving) noteLeaving(db);
    if (outcome.kind === "done") beforeCommit?.();
    db.exec(outcome.kind === "done" || outcome.kind === "mended" ? "COMMIT" : "ROLLBACK");
    return outcome;
  } catch (error) {
    if (db.inTransaction) db.exec("ROLLBACK");
    // Somebody has written to the database since the look at it, or does so now: in a transaction that has read SQLite does not wait.
    if (!hold && isBusy(error)) return { kind: "behind", side: "main" };
    throw isBusy(error) ? fromSqlite(error, source.main) : error;
  } finally {
    db.close();
  }
}

class Pass {
  private readonly db: Database;
  private readonly tables: readonly CopiedTable[];
  private readonly sides: Sides;
  private readonly scope: string;
  private readonly taken: Taken;
  private readonly resting: readonly RestingTrigger[];
  private isResting = false;
  private readonly clashes: { table: string; id: bigint }[] = [];
  private toMain = 0;
  private toCopy = 0;

  constructor(sides: Sides, resting: readonly RestingTrigger[], scope: string) {
    this.db = sides.db;
    this.tables = sides.tables;
    this.sides = sides;
    this.scope = scope;
    this.taken = new Taken(sides, scope);
    this.resting = resting;
  }

  run(): PassOutcome {
    const { db } = this;
    for (const side of ["main", "copy"] as const) if (!isDrained(db, side)) return { kind: "behind", side };
    const mark = checkMark(db, this.scope);
    if (typeof mark === "string") return { kind: "held", why: mark };
    if (db.prepare("SELECT 1 FROM main._scoutsync_quarantine LIMIT 1").get() !== undefined)
      return { kind: "held", why: "a mass delete waits for a decision (`scoutsync review list --kind quarantine`)" };
    if (mark.unfinished) {
      // By itself and first: a crash in this pass, too, must find only one half pass.
      agreeOnTaken(db, this.tables, this.scope);
      noteHalf(db, mark);
      return { kind: "mended", kept: 0 };
    }
    fillScope(db, this.tables);
    const moves = new Moves(this.sides);
    if (moves.follow() > 0) return this.mended();
    if (moves.clashes.length > 0) return { kind: "clash", rows: moves.clashes };
    for (const table of this.tables) listWork(this.sides, table);
    if (moves.forward() > 0) return this.mended();
    for (const table of this.tables) {
      this.keyless(table);
      for (const column of table.retired) this.toCopy += emptyColumn(this.sides, table, column);
    }
    this.deletesOfNodes();
    for (const table of this.tables) for (const row of workOf(this.sides, table)) this.leave(table, row);
    for (const table of this.tables) this.takeAllIn(table);
    if (this.clashes.length > 0) return { kind: "clash", rows: this.clashes };
    for (const table of this.tables) for (const row of workOf(this.sides, table)) this.show(table, row);
    this.bearFirst();
    if (this.isResting) putBack(db, this.resting);
    this.noteMark(mark);
    return { kind: "done", toMain: this.toMain, toCopy: this.toCopy, kept: this.sides.kept };
  }

  private mended(): PassOutcome {
    this.bearFirst();
    return { kind: "mended", kept: this.sides.kept };
  }

  /** Rows that were put into the copy keep their integers. */
  private bearFirst(): void {
    this.db.prepare(`UPDATE copy._scoutsync_capture SET at = ? WHERE (event & 7) = ${INSERTED}`).run(BEFORE_ALL);
  }

  private noteMark(mark: Mark): void {
    if (this.toMain === 0) clearTaken(this.db, this.scope);
    noteMark(this.db, this.scope, mark, this.toMain > 0);
  }

  /** Rows with NULL in their key have no place in the database. */
  private keyless(table: CopiedTable): void {
    const isNull = table.key.map((column) => `${quote(column)} IS NULL`).join(" OR ");
    const rows = this.db.prepare(`SELECT rowid FROM copy.${quote(table.name)} WHERE ${isNull}`);
    if (table.surrogate || table.sql.endsWith("WITHOUT ROWID")) return;
    for (const rowid of rows.pluck().safeIntegers(true).all() as bigint[]) {
      const reason = "a row with NULL in its key, which the server does not take";
      this.sides.keepWhere(table, rowid, { side: "copy", where: "x.rowid = @n", reason, change: { kind: "row" } });
      this.db.prepare(`DELETE FROM copy.${quote(table.name)} WHERE rowid = ?`).run(rowid);
      this.toCopy++;
    }
  }

  // ---- what nodes of the scope deleted

  /** Children first, and again while it helps: rows may refer to each other. */
  private deletesOfNodes(): void {
    let left = this.tables
      .toReversed()
      .flatMap((table) =>
        [...workOf(this.sides, table)]
          .filter(({ base, sameMain, sameCopy }) => base && sameMain && !sameCopy)
          .map((row) => ({ table, row })),
      );
    for (let before = -1; before !== left.length;) {
      before = left.length;
      left = left.filter(({ table, row }) => !this.deleteFromMain(table, row));
    }
    for (const { table, row } of left) {
      const why = row.mainChanged
        ? "while it was changed at the server"
        : this.sides.isOwn(table, row, "main")
          ? "and other rows refer to it, or a trigger of the server's database keeps it"
          : "which may not delete it";
      this.sides.keep(table, row, { side: "main", reason: `deleted by a node of the scope, ${why}: it stays`, change: { kind: "delete" } });
      // It is shown again below.
      this.sides.forget(table, row, false);
    }
  }

  private deleteFromMain(table: CopiedTable, row: Row): boolean {
    if (row.mainChanged || !this.sides.isOwn(table, row, "main") || this.isReferredTo(table, row)) return false;
    const remove = `DELETE FROM main.${quote(table.name)} WHERE ${this.sides.match(table)}`;
    if (this.attempt(() => (this.sides.run(remove, row) === 0 ? PASSED_OVER : null)) !== null) return false;
    this.sides.run(
      `DELETE FROM temp.inside_${table.n} WHERE ${table.key.map((_, i) => `k${i} = ${this.sides.key(table, i)}`).join(" AND ")}`,
      row,
    );
    this.sides.forget(table, row, false);
    this.taken.deleted(table, row);
    this.toMain++;
    return true;
  }

  private isReferredTo(table: CopiedTable, row: Row): boolean {
    return table.children.some(({ table: child, columns, targets }) => {
      const match = columns
        .map(
          (column, i) =>
            `c.${quote(column)} = (SELECT x.${quote(targets[i] as string)} FROM main.${quote(table.name)} AS x WHERE ${this.sides.match(table, "x")})`,
        )
        .join(" AND ");
      const itself = child === table.name ? `AND NOT (${this.sides.match(table, "c")})` : "";
      return this.sides.has(`SELECT 1 FROM main.${quote(child)} AS c WHERE ${match} ${itself} LIMIT 1`, row);
    });
  }

  // ---- what leaves the scope

  private leave(table: CopiedTable, row: Row): void {
    if (!row.base || row.sameMain) return;
    if (row.sameCopy) {
      if (row.copyChanged) this.sides.keepEdit(table, row, AFTER_IT_LEFT, this.sides.changedInCopy(table, row));
      this.takeFromCopy(table, row);
      this.sides.forget(table, row, true);
    } else this.sides.forget(table, row, false);
  }

  // ---- what nodes of the scope wrote

  /** Again while it helps: a row may refer to one that comes after it. */
  private takeAllIn(table: CopiedTable): void {
    let left = [...workOf(this.sides, table)];
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
      this.sides.keep(table, row, { side: "copy", reason: refused, change: { kind: "row" } });
      this.takeFromCopy(table, row);
    }
  }

  /** A row that the copy alone has, or that is another one there. False where the database does not take it now. */
  private takeIn(table: CopiedTable, row: Row): boolean {
    if (row.left) {
      const changed = this.sides.changedInCopy(table, row);
      if (changed.length > 0) this.sides.keepEdit(table, row, AFTER_IT_LEFT, changed);
      this.takeFromCopy(table, row);
      return true;
    }
    const inMain = this.sides.has(`SELECT 1 FROM main.${quote(table.name)} AS x WHERE ${this.sides.match(table, "x")}`, row);
    if (!inMain) return this.insertIntoMain(table, row) === null;
    if (table.surrogate) {
      this.clashes.push({ table: table.name, id: this.sides.id(table, row) });
    } else if (row.inside) this.unite(table, row);
    else {
      this.sides.keep(table, row, { side: "copy", reason: "its key is that of a row that is not in the scope", change: { kind: "row" } });
      this.takeFromCopy(table, row);
    }
    return true;
  }

  /** A row that both sides have: each column goes to the side that did not write it. */
  private merge(table: CopiedTable, row: Row): void {
    const found = compareColumns(this.sides, table, row, true);
    if (this.putIntoMain(table, row, found)) {
      const taken = [...found.toMain, ...found.combined.map(({ column }) => column)];
      if (taken.length > 0) this.taken.updated(table, row, taken);
      if (found.both.length > 0)
        this.sides.keepEdit(table, row, `changed at the server at the same time, which stays: ${found.both.join(", ")}`, found.both);
    }
    this.followMain(table, row, found);
  }

  /** A natural key that both sides came to have by themselves is one row. */
  private unite(table: CopiedTable, row: Row): void {
    const found = compareColumns(this.sides, table, row, false);
    if (this.putIntoMain(table, row, found)) {
      if (found.toMain.length + found.combined.length > 0) this.taken.inserted(table, row);
      if (found.both.length > 0)
        this.sides.keepEdit(table, row, `written at the server, too, which stays: ${found.both.join(", ")}`, found.both);
    }
    this.followMain(table, row, found);
  }

  /** False where the database does not take what the copy has: that is kept. */
  private putIntoMain(table: CopiedTable, row: Row, { toMain, combined }: Differences): boolean {
    if (toMain.length + combined.length === 0) return true;
    const refused = this.updateMain(table, row, toMain, combined);
    if (refused === null) this.toMain++;
    else this.sides.keepEdit(table, row, refused, [...toMain, ...combined.map(({ column }) => column)]);
    return refused === null;
  }

  /** The copy's row has what the database's has, which is what both agree on. */
  private followMain(table: CopiedTable, row: Row, { toMain, toCopy, combined, both }: Differences): void {
    const columns = [...toMain, ...toCopy, ...combined.map(({ column }) => column), ...both];
    const differing = columns.filter((column) => !this.isEqual(table, row, column));
    if (differing.length > 0) {
      this.sides.run(
        `UPDATE copy.${quote(table.name)} SET ${this.sides.from(table, "main", differing)} WHERE ${this.sides.match(table)}`,
        row,
      );
      this.toCopy++;
    }
    this.sides.forget(table, row, false);
    this.sides.agree(table, row, "main");
  }

  private isEqual(table: CopiedTable, row: Row, column: string): boolean {
    const name = quote(table.name);
    const equal = same(`m.${quote(column)}`, `p.${quote(column)}`);
    return this.sides.has(
      `SELECT 1 FROM main.${name} AS m, copy.${name} AS p WHERE ${this.sides.match(table, "m")} AND ${this.sides.match(table, "p")} AND ${equal}`,
      row,
    );
  }

  /** Null when it went in; else why it did not, in words that show nothing of other rows. */
  private updateMain(table: CopiedTable, row: Row, columns: readonly string[], combined: Differences["combined"]): string | null {
    if (!this.sides.isOwn(table, row, "main")) return "it belongs to the scope because others refer to it: its nodes may not change it";
    const parts = combined.map(({ column }, i) => `${quote(column)} = @v${i}`);
    if (columns.length > 0) parts.unshift(this.sides.from(table, "copy", columns));
    const values = Object.fromEntries(combined.map(({ value }, i) => [`v${i}`, value]));
    return this.attempt(() => {
      if (this.sides.run(`UPDATE main.${quote(table.name)} SET ${parts.join(", ")} WHERE ${this.sides.match(table)}`, row, values) === 0)
        return PASSED_OVER;
      if (!this.sides.isOwn(table, row, "main")) return "with that it would not belong to the scope";
      return this.lacksParent(table, row);
    });
  }

  private insertIntoMain(table: CopiedTable, row: Row): string | null {
    if (!this.sides.isOwn(table, row, "copy")) return "it does not belong to the scope";
    const columns = [...table.key, ...table.columns].map(quote).join(", ");
    const refused = this.attempt(() => {
      this.sides.run(
        `INSERT INTO main.${quote(table.name)}(${columns}) SELECT ${columns} FROM copy.${quote(table.name)} WHERE ${this.sides.match(table)}`,
        row,
      );
      if (!this.sides.isOwn(table, row, "main")) return "it does not belong to the scope";
      return this.lacksParent(table, row);
    });
    if (refused !== null) return refused;
    this.sides.forget(table, row, false);
    this.sides.agree(table, row, "copy", "main");
    const keys = table.key.map((_, i) => `k${i}`).join(", ");
    this.sides.run(`INSERT OR IGNORE INTO temp.inside_${table.n}(${keys}) SELECT ${keys} FROM temp.work_${table.n} WHERE n = @n`, row);
    this.taken.inserted(table, row);
    this.toMain++;
    return null;
  }

  private lacksParent(table: CopiedTable, row: Row): string | null {
    for (const { columns, parent, soft } of table.parents) {
      const other = this.tables.find(({ name }) => name === parent) as CopiedTable;
      const isSet = columns.map((column) => `x.${quote(column)} IS NOT NULL`).join(" AND ");
      const found = columns.map((column, i) => `s.k${i} = x.${quote(column)}`).join(" AND ");
      const itself =
        parent === table.name
          ? `AND NOT (${columns.map((column, i) => `x.${quote(column)} = x.${quote(other.key[i] as string)}`).join(" AND ")})`
          : "";
      // By configuration a row may go on referring to one that is gone.
      const key = columns.map((column, i) => `y.${quote(other.key[i] as string)} = x.${quote(column)}`).join(" AND ");
      const isThere = soft ? `AND EXISTS (SELECT 1 FROM main.${quote(parent)} AS y WHERE ${key})` : "";
      const sql =
        `SELECT 1 FROM main.${quote(table.name)} AS x WHERE ${this.sides.match(table, "x")} AND ${isSet} ${itself} ` +
        `AND NOT EXISTS (SELECT 1 FROM temp.inside_${other.n} AS s WHERE ${found}) ${isThere}`;
      if (this.sides.has(sql, row)) return `what it refers to by ${columns.join(", ")} is not in the scope`;
    }
    return null;
  }

  /** Tries a write to the database, and takes it back where it is refused. */
  private attempt(work: () => string | null): string | null {
    // Outside of the savepoint: they rest until the end. The database's node looks at its schema after that, and finds it as it was.
    if (!this.isResting) putInPlace(this.db, this.resting);
    this.isResting = true;
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
    if (!row.inside || this.sides.has(`SELECT 1 FROM copy.${quote(table.name)} AS x WHERE ${this.sides.match(table, "x")}`, row)) return;
    const columns = [...table.key, ...table.columns].map(quote);
    const names = [...columns, ...table.retired.map(({ column }) => quote(column))].join(", ");
    const values = [...columns, ...table.retired.map(({ empty }) => empty)].join(", ");
    const sql = `INSERT INTO copy.${quote(table.name)}(${names}) SELECT ${values} FROM main.${quote(table.name)} WHERE ${this.sides.match(table)}`;
    if (this.sides.run(sql, row) === 0) return;
    this.sides.agree(table, row, "main", "copy");
    this.toCopy++;
  }

  private takeFromCopy(table: CopiedTable, row: Row): void {
    this.sides.run(`DELETE FROM copy.${quote(table.name)} WHERE ${this.sides.match(table)}`, row);
    this.toCopy++;
  }
}

const AFTER_IT_LEFT = "changed by a node of the scope after it had been deleted, or had left the scope";
const PASSED_OVER = "a trigger of the server's database passes it over";

/** What a node of the scope is told where a constraint refused its row: which other row it was is not for it to know. */
const REFUSED: Readonly<Record<string, string>> = {
  SQLITE_CONSTRAINT_UNIQUE: "it is kept out by a UNIQUE value of a row that may not be in the scope",
  SQLITE_CONSTRAINT_PRIMARYKEY: "it is kept out by a UNIQUE value of a row that may not be in the scope",
  SQLITE_CONSTRAINT_NOTNULL: "the server's table wants a value in a column that is not given",
  SQLITE_CONSTRAINT_CHECK: "a CHECK of the server's table refuses it",
  SQLITE_CONSTRAINT_TRIGGER: "a trigger of the server's database refuses it",
};

function isDrained(db: Database, side: "main" | "copy"): boolean {
  return ["_scoutsync_capture", "_scoutsync_comparison"].every(
    (table) => db.prepare(`SELECT 1 FROM ${side}.${table} LIMIT 1`).get() === undefined,
  );
}
