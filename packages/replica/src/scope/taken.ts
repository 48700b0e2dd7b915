import type { Database } from "better-sqlite3";
import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable } from "./copy.ts";
import type { Row, Sides } from "./sides.ts";

/*
 * What the database takes from a scope's nodes in a pass is noted in the database by the same commit: of each row its key, the
 * values as the copy had them and, for a new row, its birth in the copy. The copy commits a moment later. Where it did not
 * come to that, the next pass makes up from here for what the copy does not know: what both had agreed on.
 */
const TAKEN = "main._scoutsync_scope_taken";

/** What a note says beside values, which are under the numbers of the columns. */
const TABLE = -1;
const KIND = -2;
const BORN_OID = -3;
const BORN_SEQUENCE = -4;

const INSERTED = 1;
const UPDATED = 2;
const DELETED = 3;

/** The notes of one pass. */
export class Taken {
  private readonly sides: Sides;
  private readonly scope: string;
  private count = 0;

  constructor(sides: Sides, scope: string) {
    this.sides = sides;
    this.scope = scope;
  }

  /** The copy's row is new in the database. */
  inserted(table: CopiedTable, row: Row): void {
    const at = this.begin(table, INSERTED);
    this.values(table, row, { at, columns: table.stored });
    if (!table.surrogate) return;
    const born = (column: string) =>
      `(SELECT ${column} FROM ${this.sides.rowsOf("copy", table.name)} WHERE id = ${this.sides.key(table, 0)})`;
    this.note(row, { at, place: BORN_OID, sql: born("oid") });
    this.note(row, { at, place: BORN_SEQUENCE, sql: born("sequence") });
  }

  /** What the copy's row has in these columns is in the database's row. */
  updated(table: CopiedTable, row: Row, columns: readonly string[]): void {
    this.values(table, row, { at: this.begin(table, UPDATED), columns: [...table.key, ...columns] });
  }

  /** The database's row is deleted, as the copy's was. */
  deleted(table: CopiedTable, row: Row): void {
    const at = this.begin(table, DELETED);
    table.key.forEach((_, i) => this.note(row, { at, place: i, sql: this.sides.key(table, i) }));
  }

  private begin(table: CopiedTable, kind: number): number {
    const { db } = this.sides;
    if (this.count === 0) clearTaken(db, this.scope);
    const at = this.count++;
    const put = db.prepare(`INSERT INTO ${TAKEN}(scope, row, place, value) VALUES(?, ?, ?, ?)`);
    put.run(this.scope, at, TABLE, table.n);
    put.run(this.scope, at, KIND, kind);
    return at;
  }

  private values(table: CopiedTable, row: Row, { at, columns }: { at: number; columns: readonly string[] }): void {
    const match = this.sides.match(table, "x");
    for (const column of columns) {
      const sql = `(SELECT x.${quote(column)} FROM copy.${quote(table.name)} AS x WHERE ${match})`;
      this.note(row, { at, place: table.stored.indexOf(column), sql });
    }
  }

  private note(row: Row, { at, place, sql }: { at: number; place: number; sql: string }): void {
    this.sides.run(`INSERT INTO ${TAKEN}(scope, row, place, value) VALUES(@scope, @at, @place, ${sql})`, row, {
      scope: this.scope,
      at: BigInt(at),
      place: BigInt(place),
    });
  }
}

/** The notes of a pass that came to its end are not needed any more. */
export function clearTaken(db: Database, scope: string): void {
  if (db.prepare(`SELECT 1 FROM ${TAKEN} WHERE scope = ? AND row >= 0 LIMIT 1`).get(scope) === undefined) return;
  db.prepare(`DELETE FROM ${TAKEN} WHERE scope = ? AND row >= 0`).run(scope);
}

/** Whether what was kept under this number was taken in after all, on a person's word. */
export function isTakenOnce(db: Database, scope: string, kept: number): boolean {
  return db.prepare(`SELECT 1 FROM ${TAKEN} WHERE scope = ? AND row = ?`).get(scope, -1 - kept) !== undefined;
}

/** Notes that it was: the copy, which keeps the list, commits a moment later. */
export function noteTakenOnce(db: Database, scope: string, kept: number): void {
  db.prepare(`INSERT OR IGNORE INTO ${TAKEN}(scope, row, place) VALUES(?, ?, 0)`).run(scope, -1 - kept);
}

/** After a crash between the two commits: what the database took is what both agree on, row by row in the order of the pass. */
export function agreeOnTaken(db: Database, tables: readonly CopiedTable[], scope: string): void {
  const at = db.prepare(`SELECT DISTINCT row FROM ${TAKEN} WHERE scope = ? AND row >= 0 ORDER BY row`).pluck().all(scope) as number[];
  for (const row of at) agreeOn(db, tables, { scope, row });
}

function agreeOn(db: Database, tables: readonly CopiedTable[], noted: { scope: string; row: number }): void {
  const value = (place: number) => `(SELECT value FROM ${TAKEN} WHERE scope = @scope AND row = @row AND place = ${place})`;
  const places = db.prepare(`SELECT place, CASE WHEN place < 0 THEN value END AS said FROM ${TAKEN} WHERE scope = @scope AND row = @row`);
  const said = new Map((places.all(noted) as { place: number; said: number | null }[]).map((one) => [one.place, one.said]));
  const table = tables.find(({ n }) => n === said.get(TABLE));
  // It was taken out of the scope since.
  if (!table) return;
  const base = `copy.${baseTable(table.n)}`;
  const match = `${table.key.map((_, i) => `c${i} = ${value(i)}`).join(" AND ")} AND gone = 0`;
  const columns = [...said.keys()].filter((place) => place >= 0).sort((a, b) => a - b);
  if (said.get(KIND) === UPDATED) {
    const set = columns.map((place) => `c${place} = ${value(place)}`).join(", ");
    db.prepare(`UPDATE ${base} SET ${set} WHERE ${match}`).run(noted);
    return;
  }
  db.prepare(`DELETE FROM ${base} WHERE ${match}`).run(noted);
  if (said.get(KIND) !== INSERTED) return;
  const names = [...columns.map((place) => `c${place}`), "p_oid", "p_seq"].join(", ");
  const values = [...columns, BORN_OID, BORN_SEQUENCE].map(value).join(", ");
  db.prepare(`INSERT INTO ${base}(${names}) VALUES(${values})`).run(noted);
}
