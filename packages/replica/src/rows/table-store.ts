import type { Database, Statement } from "better-sqlite3";
import { type CellValue, expectHeld, RawText, Ref, type SqlValue } from "@scoutsync/core";
import { NAMES_NOBODY, targetWithin } from "../linked/linked-rows.ts";
import { cameLarge, collectLarge } from "../pool/collect.ts";
import { afterGiven, isAnyLarge, runReleasing } from "../kept-statements.ts";
import { isFeeding } from "../schema/app-triggers.ts";
import { quote } from "../schema/quote.ts";
import { cellIn, cellsIn } from "../schema/spelled.ts";
import type { Column, ForeignKey, Table } from "../schema/catalog.ts";
import type { KeptBackRows } from "./kept-back-rows.ts";
import { refersTo } from "./compared.ts";
import { readKeepingLong } from "./long-text.ts";
import { type Holding, LookAhead } from "./look-ahead.ts";
import { QueuedRows } from "./queued-rows.ts";
import { type Bindable, mayHoldRawText, sameValue, textFromBytes } from "./values.ts";

export const rowsTable = (tid: number): string => `_scoutsync_rows_${tid}`;

/**
 * A natural key that contains references is identified by the rows referred to, and found by its integers as they are
 * in the table: these stay where a parent is deleted alone and its integer is used again. A row without a key is
 * identified by its birth, and looked for first under the rowid it had last.
 */
export const hasLocalKey = (table: Table): boolean => table.keyless || table.keyReferences.length > 0;

/**
 * A key may have come to refer to another table since its rows were first recorded, or do so where others wrote it: its rows are then
 * found by their integers. Inside a write transaction.
 */
export function noteLocalKeys(db: Database, tid: number): void {
  const name = rowsTable(tid);
  const columns = db.pragma(`main.table_info(${name})`) as { name: string }[];
  if (columns.some((column) => column.name === "local")) return;
  db.exec(`ALTER TABLE ${name} ADD COLUMN local BLOB; CREATE INDEX ${name}_local ON ${name}(local)`);
}

/** What is kept per row that is in its table: the birth's dot, time and context, what else there is, and its hash. */
export function rowsTableSql(table: Table): string[] {
  const name = rowsTable(table.tid);
  const key = table.surrogate ? "" : `, key BLOB NOT NULL UNIQUE${hasLocalKey(table) ? ", local BLOB" : ""}`;
  return [
    `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, oid INTEGER NOT NULL, sequence INTEGER NOT NULL, time INTEGER NOT NULL, ` +
      `context INTEGER NOT NULL, open INTEGER, extra BLOB, hash BLOB NOT NULL${key})`,
    `CREATE INDEX ${name}_open ON ${name}(open) WHERE open IS NOT NULL`,
    ...(hasLocalKey(table) ? [`CREATE INDEX ${name}_local ON ${name}(local)`] : []),
    ...(table.keyless ? [`CREATE INDEX ${name}_hash ON ${name}(hash)`] : []),
  ];
}

/** One stored row of _scoutsync_rows_<tid>, integers as bigint. */
export type StoredRow = [
  id: bigint,
  oid: bigint,
  sequence: bigint,
  time: bigint,
  context: bigint,
  extra: Buffer | null,
  hash: Buffer,
  key: Buffer | null,
];

/** Columns compared to find a row by its values: an expression of SQLite must not be deeper than 1,000. */
const MOST_COMPARED = 50;
/** Every set of updated columns is a statement of its own; the oldest go. */
const MOST_STATEMENTS = 400;

/** The prepared statements of one table: the application's rows, and what is known of them. */
export class TableStore {
  private isNoted: boolean | null = null;
  readonly table: Table;
  private readonly db: Database;
  private readonly statements = new Map<string, Statement>();
  private readonly columnList: string;
  private plainInsert: Statement | null = null;
  private readonly ahead = new Map<string, LookAhead>();
  private feeding: boolean | null = null;
  private readonly queued: QueuedRows;

  /** Some row has been found to hold large text: what is long is read as its bytes, which takes a question more a row. */
  holdsLongText = false;

  /** Where rows are whose delete is kept back; null when there are none. */
  keptBack: KeptBackRows | null = null;

  /** Integers under which rows have come to be stored, where some row may wait for one of them to name somebody; null when none does. */
  came: bigint[] | null = null;

  /**
   * Of those, what nobody had and nobody here gave out: rows that hold one, and say nothing else, mean nobody until the next look at
   * `came`, whoever has it.
   */
  readonly bare = new Set<bigint>();

  /** The integer of the row that the application has added last, as far as that is drained since the last look at `came`. */
  bornHere: bigint | null = null;

  constructor(db: Database, table: Table) {
    this.db = db;
    this.table = table;
    this.columnList = table.columns.map((column) => quote(column.name)).join(", ");
    this.queued = new QueuedRows(rowsTable(table.tid), table.tid, (name, sql) => this.prepared(name, sql));
  }

  private prepared(name: string, sql: () => string, raw = true): Statement {
    let statement = this.statements.get(name);
    if (!statement) {
      statement = this.db.prepare(sql()).safeIntegers(true);
      if (raw && statement.reader) statement.raw(true);
      if (this.statements.size >= MOST_STATEMENTS) this.statements.delete(this.statements.keys().next().value as string);
      this.statements.set(name, statement);
    }
    return statement;
  }

  /** True where keys of rows here are noted as their table shows them, also if what they referred to has gone since. */
  get hadLocalKey(): boolean {
    const found = "SELECT 1 FROM pragma_table_info(?) WHERE name = 'local'";
    return (this.isNoted ??= this.db.prepare(found).get(rowsTable(this.table.tid)) !== undefined);
  }

  // ---- the application's rows

  /** A WHERE clause that names one row, its name among the statements, and what to bind: text that is not UTF-8 goes in as bytes. */
  private match(key: readonly SqlValue[]): { variant: string; where: string; values: Bindable[] } {
    const { values, raw } = bindable(key);
    const parts = this.table.key.map(
      (column, i) => `${quote(column.name)} = ${raw.includes(i) ? "CAST(? AS TEXT)" : "?"} COLLATE ${column.collation}`,
    );
    return { variant: raw.join(), where: parts.join(" AND "), values };
  }

  /** Values of the synced columns in catalog order, or null when there is no such row. Key as it is in the table. */
  read(key: readonly SqlValue[]): SqlValue[] | null {
    return this.readTable(key) ?? this.keptBack?.read(key) ?? null;
  }

  /** As `read`, of the application's table alone: a row whose delete is kept back is not in it. */
  readTable(key: readonly SqlValue[]): SqlValue[] | null {
    const { variant, where, values } = this.match(key);
    if (this.table.columns.length === 0) {
      const found = this.prepared(`exists ${variant}`, () => `SELECT 1 FROM ${quote(this.table.source)} WHERE ${where}`).get(values);
      return found === undefined ? null : [];
    }
    collectLarge();
    const select = (list: string) => () => `SELECT ${list} FROM ${quote(this.table.source)} WHERE ${where}`;
    let row = this.holdsLongText
      ? readKeepingLong(this.table, (list) => this.prepared(`${list} ${variant}`, select(list)).get(values) as SqlValue[] | undefined)
      : (this.prepared(`read ${variant}`, select(this.columnList)).get(values) as SqlValue[] | undefined);
    if (row === undefined) return null;
    if (cameLarge(row) && this.mayHoldLongText()) {
      // Let go before it is there once more.
      row = undefined;
      return this.readTable(key);
    }
    return cellsIn(this.table, this.table.utf8 && mayHoldRawText(row) ? this.readBytes(key, row) : row);
  }

  /** Notes that text of a row is large, as it has been read; false where nothing more comes of that. */
  mayHoldLongText(): boolean {
    if (this.holdsLongText || !this.table.utf8) return false;
    return (this.holdsLongText = true);
  }

  /** Reads the text columns once more as bytes, which no decoding has touched. */
  private readBytes(key: readonly SqlValue[], row: SqlValue[]): SqlValue[] {
    const { variant, where, values } = this.match(key);
    const list = this.table.columns.map((column) => `CAST(${quote(column.name)} AS BLOB)`).join(", ");
    const bytes = this.prepared(`bytes ${variant}`, () => `SELECT ${list} FROM ${quote(this.table.source)} WHERE ${where}`).get(
      values,
    ) as Buffer[];
    return row.map((value, i) => (typeof value === "string" ? textFromBytes(bytes[i] as Buffer) : value));
  }

  /** Inserts a row; throws SQLite's error when a constraint refuses it, whatever the table says about conflicts. `id` is the surrogate integer, or absent. Returns the rowid. */
  insert(id: bigint | null, values: readonly Bindable[], raw: readonly number[], otherwise: "ABORT" | "REPLACE" = "ABORT"): bigint {
    for (const ahead of this.ahead.values()) ahead.written();
    const plain = raw.length === 0 && otherwise === "ABORT";
    const statement = plain ? (this.plainInsert ??= this.insertStatement(id, raw)) : this.insertStatement(id, raw, otherwise);
    // One by one: measured, what is taken out of an array costs a quarter more to hand over.
    const { lastInsertRowid } = id === null ? statement.run(...values) : statement.run(id, ...values);
    return lastInsertRowid as bigint;
  }

  /** A table's inserts all give the surrogate integer, or none does. */
  private insertStatement(id: bigint | null, raw: readonly number[], otherwise = "ABORT"): Statement {
    const columns = id === null ? this.table.columns : [...this.table.key, ...this.table.columns];
    const shift = id === null ? 0 : 1;
    const into = `INSERT OR ${otherwise} INTO ${quote(this.table.source)}`;
    return this.prepared(`insert ${otherwise} ${raw.join()}`, () => {
      const places = columns.map((_, i) => (raw.includes(i - shift) ? "CAST(? AS TEXT)" : "?"));
      if (columns.length === 0) return `${into} DEFAULT VALUES`;
      return `${into}(${columns.map((column) => quote(column.name)).join(", ")}) VALUES(${places.join(", ")})`;
    });
  }

  /** Sets some columns of one row. `indexes` are positions in the catalog order. */
  update(key: readonly SqlValue[], indexes: readonly number[], values: readonly Bindable[], raw: readonly number[]): void {
    for (const ahead of this.ahead.values()) ahead.written();
    const match = this.match(key);
    const { changes } = this.prepared(`update ${indexes.join()} ${raw.join()} ${match.variant}`, () => {
      const set = indexes.map(
        (index, i) => `${quote((this.table.columns[index] as Column).name)} = ${raw.includes(i) ? "CAST(? AS TEXT)" : "?"}`,
      );
      return `UPDATE OR ABORT ${quote(this.table.source)} SET ${set.join(", ")} WHERE ${match.where}`;
    }).run(...values, ...match.values);
    if (changes === 0) this.keptBack?.update(key, indexes, values, raw);
  }

  delete(key: readonly SqlValue[]): void {
    const { variant, where, values } = this.match(key);
    this.prepared(`delete ${variant}`, () => `DELETE FROM ${quote(this.table.source)} WHERE ${where}`).run(values);
    this.keptBack?.remove(key);
  }

  /**
   * Changes a surrogate integer, as an application does that never changes one: where triggers of its own feed an index the row goes
   * and comes, since those on updates may look at other columns alone, and find what they fed by the integer that it has by then.
   */
  move(from: bigint, to: bigint): void {
    for (const ahead of this.ahead.values()) ahead.written();
    const column = quote((this.table.key[0] as Column).name);
    if (!this.isFeeding || !this.wentAndCame(from, to))
      this.prepared("move", () => `UPDATE OR ABORT ${quote(this.table.source)} SET ${column} = ? WHERE ${column} = ?`).run(to, from);
    this.keptBack?.move(from, to);
  }

  private get isFeeding(): boolean {
    return (this.feeding ??= isFeeding(this.db, this.table.source, (this.table.key[0] as Column).name));
  }

  /** False where a constraint keeps the row out once it has gone, such as one of what a trigger writes to: nothing has happened then. */
  private wentAndCame(from: bigint, to: bigint): boolean {
    this.db.exec("SAVEPOINT going");
    try {
      this.takeOutAndIn(from, to);
      this.db.exec("RELEASE going");
      return true;
    } catch (error) {
      if (!this.db.inTransaction || (error as { code?: string }).code?.startsWith("SQLITE_CONSTRAINT") !== true) throw error;
      this.db.exec("ROLLBACK TO going; RELEASE going");
      return false;
    }
  }

  /** A row under another integer, with all that it holds, excluded columns too. */
  private takeOutAndIn(from: bigint, to: bigint): void {
    const source = quote(this.table.source);
    const key = quote((this.table.key[0] as Column).name);
    const others = this.prepared(
      "stored columns",
      () => "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 AND name <> ? COLLATE NOCASE",
    ).all(this.table.source, this.table.key[0]?.name) as [string][];
    const names = others.map(([name]) => quote(name));
    const select = (what: (name: string) => string) => `SELECT ${["1", ...names.map(what)].join(", ")} FROM ${source} WHERE ${key} = ?`;
    const values = this.prepared("taken out", () => select((name) => `iif(typeof(${name}) = 'text', CAST(${name} AS BLOB), ${name})`));
    const [, ...row] = (values.get(from) ?? []) as Bindable[];
    const types = this.prepared("types of it", () => select((name) => `typeof(${name}) = 'text'`)).get(from) as bigint[] | undefined;
    if (types === undefined) return;
    const places = types.slice(1).map((isText) => (isText === 1n ? "CAST(? AS TEXT)" : "?"));
    this.prepared("taking out", () => `DELETE FROM ${source} WHERE ${key} = ?`).run(from);
    this.prepared(
      `taking in ${places.join()}`,
      () => `INSERT OR ABORT INTO ${source}(${[key, ...names].join(", ")}) VALUES(${["?", ...places].join(", ")})`,
    ).run(to, ...row);
  }

  /** Keys of the rows in which `column` holds `value`. */
  keysWhere(column: string, value: Bindable): SqlValue[][] {
    const ahead = this.ahead.get(column)?.keysOf(value);
    if (ahead) return ahead.filter((key) => this.holds(key, column, value));
    return this.keys(
      this.prepared(`where ${column}`, () => this.whereSql(column)),
      [value],
    );
  }

  private whereSql(column: string): string {
    return `SELECT ${this.keyList} FROM ${quote(this.table.source)} WHERE ${quote(column)} = ?${this.onlyRows(column)}${this.whereOurs}`;
  }

  /** `keysWhere` is about to be asked for each of these integers, until `expectNone`: where no index finds them, one pass is for all. */
  expect(column: string, ids: ReadonlySet<bigint>): void {
    const plan = this.db.prepare(`EXPLAIN QUERY PLAN ${this.whereSql(column)}`).all(null) as { detail: string }[];
    if (plan.some(({ detail }) => detail.startsWith("SCAN")))
      this.ahead.set(column, new LookAhead(ids, (among) => this.among(column, among)));
  }

  expectNone(): void {
    this.ahead.clear();
  }

  private holds(key: readonly SqlValue[], column: string, value: Bindable): boolean {
    const { variant, where, values } = this.match(key);
    const sql = () =>
      `SELECT 1 FROM ${quote(this.table.source)} WHERE ${where} AND ${quote(column)} = ?${this.onlyRows(column)}${this.whereOurs}`;
    return this.prepared(`holds ${column} ${variant}`, sql).get(...values, value) !== undefined;
  }

  /** Every integer that a column holds. */
  integersIn(column: string): bigint[] {
    const name = quote(column);
    const own = this.table.columns.find((each) => each.name === column);
    const which = own?.spelled ? "1" : `typeof(${name}) = 'integer'`;
    const sql = () => `SELECT DISTINCT ${name} FROM ${quote(this.table.source)} WHERE ${which}${this.whereOurs}`;
    const found = (this.prepared(`integers ${column}`, sql).all() as [SqlValue][]).map(([value]) => cellIn(own, value));
    return found.filter((value) => typeof value === "bigint");
  }

  /** Keys of the rows in which `column` holds one of these integers. */
  keysAmong(column: string, ids: ReadonlySet<bigint>): SqlValue[][] {
    return [...this.among(column, ids)].map(([key]) => key);
  }

  private *among(column: string, ids: ReadonlySet<bigint>): Generator<Holding> {
    // Without `+` text is not equal to an integer.
    const sql = () =>
      `SELECT ${this.keyList}, ${quote(column)} FROM ${quote(this.table.source)} WHERE ${quote(column)} IN (SELECT +value FROM json_each(?))${this.onlyRows(column)}${this.whereOurs}`;
    const rows = this.prepared(`among ${column}`, sql).iterate(`[${[...ids].join()}]`) as IterableIterator<SqlValue[]>;
    const own = this.table.columns.find((each) => each.name === column);
    // Text or a real that stands for an integer is that one: each would be asked about for all of them.
    for (const row of rows) yield [this.keyIn(row), cellIn(own, row.at(-1) as SqlValue)];
  }

  /** A real that a column without a type holds is equal to an integer, and no reference where it is left as it is (`spelled.ts`). */
  private onlyRows(column: string): string {
    const own = this.table.columns.find((each) => each.name === column);
    return own?.affinity === "BLOB" && !own.spelled ? ` AND typeof(${quote(column)}) = 'integer'` : "";
  }

  /** Which of the application's rows are this table's. */
  private get whereOurs(): string {
    return this.table.where === null ? "" : ` AND ${this.table.where}`;
  }

  /** Key parts, then the same as bytes: what is not valid UTF-8 is only right there. */
  private get keyList(): string {
    const names = this.table.key.map((part) => quote(part.name));
    return [...names, ...names.map((name) => `CAST(${name} AS BLOB)`)].join(", ");
  }

  private keys(statement: Statement, values: readonly Bindable[]): SqlValue[][] {
    return (statement.all(values) as SqlValue[][]).map((row) => this.keyIn(row));
  }

  /** The key in a row that begins with `keyList`. */
  private keyIn(row: readonly SqlValue[]): SqlValue[] {
    const width = this.table.key.length;
    return row
      .slice(0, width)
      .map((part, i) => (typeof part === "string" && this.table.utf8 ? textFromBytes(row[width + i] as Buffer) : part));
  }

  /** Keys of the rows in which these columns hold these values, compared by these collations. */
  keysHolding(
    names: readonly string[],
    collations: readonly string[],
    { values, raw }: { values: readonly Bindable[]; raw: readonly number[] },
  ): SqlValue[][] {
    const match = names.map(
      (name, i) => `${quote(name)} = ${raw.includes(i) ? "CAST(? AS TEXT)" : "?"} COLLATE ${collations[i] ?? "BINARY"}`,
    );
    return this.keys(
      this.prepared(
        `holding ${JSON.stringify(match)}`,
        () => `SELECT ${this.keyList} FROM ${quote(this.table.source)} WHERE ${match.join(" AND ")}${this.whereOurs}`,
      ),
      values,
    );
  }

  /**
   * Keys of the rows that refer to these values by a foreign key of this table. As SQLite compares: what refers gets the affinity of
   * the column that it refers to, which its own column need not have; an index is looked into for what may be equal.
   */
  keysReferring(
    { columns, collations, affinities }: ForeignKey,
    { values, raw }: { values: readonly Bindable[]; raw: readonly number[] },
  ): SqlValue[][] {
    const all = [...this.table.columns, ...this.table.key];
    const match = columns.map((name, i) => {
      const own = all.find((column) => column.name === name)?.affinity ?? "BLOB";
      const wanted = { value: values[i] as Bindable, isRaw: raw.includes(i), affinity: affinities[i] ?? "BLOB" };
      return refersTo({ name: quote(name), affinity: own, collation: collations[i] ?? "BINARY" }, wanted);
    });
    const where = match.map(({ sql }) => sql).join(" AND ");
    return this.keys(
      this.prepared(`referring ${where}`, () => `SELECT ${this.keyList} FROM ${quote(this.table.source)} WHERE ${where}${this.whereOurs}`),
      match.flatMap((each) => each.values),
    );
  }

  /** Columns that the table has in the file as it stands: a migration may have dropped some, or all of it. */
  columnsLeft(): Column[] {
    const there = new Set(
      (this.db.pragma(`main.table_xinfo(${quote(this.table.source)})`) as { name: string }[]).map((column) => column.name),
    );
    if (!this.table.nullable.every((name) => there.has(name))) return [];
    return this.table.columns.filter(({ name }) => there.has(name));
  }

  /** How many rows hold these values, in catalog order. */
  countEqual(values: readonly SqlValue[]): number {
    return this.keysEqual(values).filter((key) => this.read(key)?.every((value, i) => sameValue(value, values[i] as SqlValue))).length;
  }

  /**
   * Keys of the rows whose first columns SQLite finds equal to these values, those of UNIQUE indexes before others: few,
   * and found through an index, where there is one. `values` in catalog order.
   */
  private keysEqual(values: readonly SqlValue[]): SqlValue[][] {
    const { values: bound, raw } = bindable(values);
    // Compared as the index that may find them does; a column's own collation may be one that only the application has.
    const unique = new Map(this.table.uniques.flatMap((index) => index.parts.map(({ name, collation }) => [name, collation])));
    const order = this.table.columns.map(({ name }, index) => ({ name, index }));
    const compared = [...order.filter(({ name }) => unique.has(name)), ...order.filter(({ name }) => !unique.has(name))];
    const first = compared.slice(0, MOST_COMPARED);
    const where = first.map(
      ({ name, index }) => `${quote(name)} IS ${raw.includes(index) ? "CAST(? AS TEXT)" : "?"} COLLATE ${unique.get(name) ?? "BINARY"}`,
    );
    return this.keys(
      this.prepared(
        `equal ${raw.join()}`,
        () => `SELECT ${this.keyList} FROM ${quote(this.table.source)} WHERE ${where.join(" AND ")}${this.whereOurs}`,
      ),
      first.map(({ index }) => bound[index] as Bindable),
    );
  }

  /** Keys of the rows that hold the same values as these under UNIQUE index number `index`, one of plain columns. */
  keysClashing(index: number, { values, raw }: { values: readonly Bindable[]; raw: readonly number[] }): SqlValue[][] {
    const unique = this.table.uniques[index];
    if (!unique) return [];
    const match = unique.parts.map(
      (part, i) => `${quote(part.name ?? "")} = ${raw.includes(i) ? "CAST(? AS TEXT)" : "?"} COLLATE ${part.collation}`,
    );
    if (this.table.where !== null) match.push(this.table.where);
    return this.keys(
      this.prepared(
        `clash ${index} ${raw.join()}`,
        () => `SELECT ${this.keyList} FROM ${quote(this.table.source)} WHERE ${match.join(" AND ")}`,
      ),
      values,
    );
  }

  /**
   * True when a row with these values meets the condition of a partial index, whether or not it is in the table. A
   * condition over more than the synced columns says nothing of such a row: false.
   */
  satisfies(condition: string, values: readonly CellValue[]): boolean {
    const { values: bound, raw } = bindable(values);
    const list = this.table.columns.map((column, i) => `${raw.includes(i) ? "CAST(? AS TEXT)" : "?"} AS ${quote(column.name)}`);
    try {
      const statement = this.prepared(`meets ${condition} ${raw.join()}`, () => `SELECT (${condition}) FROM (SELECT ${list.join(", ")})`);
      return Boolean(Number((statement.get(bound) as SqlValue[])[0] ?? 0));
    } catch (error) {
      if ((error as { code?: string }).code !== "SQLITE_ERROR") throw error;
      return false;
    }
  }

  // ---- what is known of them

  private readonly stored = "id, oid, sequence, time, context, extra, hash";

  byId(id: bigint): StoredRow | undefined {
    if (this.queued.has(id)) this.flush();
    collectLarge();
    const row = this.prepared(
      "byId",
      () => `SELECT ${this.stored}, ${this.table.surrogate ? "NULL" : "key"} FROM ${rowsTable(this.table.tid)} WHERE id = ?`,
    ).get(id) as StoredRow | undefined;
    if (row?.[5]) cameLarge([row[5]]);
    return row;
  }

  byKey(key: Buffer): StoredRow | undefined {
    this.flush();
    collectLarge();
    const row = this.prepared("byKey", () => `SELECT ${this.stored}, key FROM ${rowsTable(this.table.tid)} WHERE key = ?`).get(key) as
      | StoredRow
      | undefined;
    if (row?.[5]) cameLarge([row[5]]);
    return row;
  }

  /** The identity of the row whose key in the table is packed as `local`. */
  keyOfLocal(local: Buffer): Buffer | undefined {
    const row = this.prepared("local", () => `SELECT key FROM ${rowsTable(this.table.tid)} WHERE local = ?`).get(local) as
      | [Buffer]
      | undefined;
    return row?.[0];
  }

  /** What `setLocal` noted of a row. */
  localOf(id: bigint): Buffer | null {
    if (!this.hadLocalKey) return null;
    const row = this.prepared("localOf", () => `SELECT local FROM ${rowsTable(this.table.tid)} WHERE id = ?`).get(id) as
      | [Buffer | null]
      | undefined;
    return row?.[0] ?? null;
  }

  get hasRows(): boolean {
    this.flush();
    return this.prepared("any", () => `SELECT 1 FROM ${rowsTable(this.table.tid)} LIMIT 1`).get() !== undefined;
  }

  /** Numbers of the rows with this hash, in the order in which they were stored; all, or the first so many. */
  withHash(hash: Buffer, limit = -1): bigint[] {
    const sql = () => `SELECT id FROM ${rowsTable(this.table.tid)} WHERE hash = ? ORDER BY id LIMIT ?`;
    return (this.prepared("withHash", sql).all(hash, limit) as [bigint][]).map(([id]) => id);
  }

  /** Numbers of the rows of which `local` is noted. */
  withLocal(local: Buffer): bigint[] {
    const sql = () => `SELECT id FROM ${rowsTable(this.table.tid)} WHERE local = ?`;
    return (this.prepared("withLocal", sql).all(local) as [bigint][]).map(([id]) => id);
  }

  setLocal(id: bigint, local: Buffer | null): void {
    if (!this.hadLocalKey) noteLocalKeys(this.db, this.table.tid);
    this.isNoted = true;
    this.prepared("setLocal", () => `UPDATE ${rowsTable(this.table.tid)} SET local = ? WHERE id = ?`).run(local, id);
  }

  /** Queues a plain new row and its birth's log entry; `flush` writes what is queued. */
  addPlain(id: bigint, oid: number, sequence: number, time: number, context: number, hash: Buffer): void {
    this.cameTo(id);
    this.queued.add(id, oid, sequence, time, context, hash);
  }

  /** A row has come to this integer, in its table or out of it. */
  cameTo(id: bigint): void {
    if (this.came === null) return;
    this.came.push(id);
    if (id !== this.bornHere && this.namesNobody(id)) this.bare.add(id);
  }

  /** True for an integer that rows hold and no row has or had, but for one that has just come. */
  namesNobody(id: bigint): boolean {
    if (this.came === null) return false;
    const sql = `SELECT 1 FROM _scoutsync_linked WHERE target = ? AND oid = 0 AND sequence = ? AND state = ${NAMES_NOBODY}`;
    return this.prepared("names nobody", () => sql).get(targetWithin(this.table.tid), id) !== undefined;
  }

  /** Writes what `addPlain` queued. */
  flush(): void {
    this.queued.flush();
  }

  /** Forgets what was queued, after a rollback. */
  discard(): void {
    this.queued.discard();
    this.isNoted = null;
  }

  /** Inserts a row; returns its number. */
  add(
    id: bigint | null,
    row: {
      oid: number;
      sequence: number;
      time: number;
      context: number;
      open: number | null;
      extra: Buffer | null;
      hash: Buffer;
      key: Buffer | null;
    },
  ): bigint {
    this.flush();
    const keyed = !this.table.surrogate;
    const sql = (hash: string) =>
      `INSERT INTO ${rowsTable(this.table.tid)}(id, oid, sequence, time, context, open, extra, hash${keyed ? ", key" : ""}) VALUES(?, ?, ?, ?, ?, ?, ?, ${hash}${keyed ? ", ?" : ""})`;
    const values = [id, row.oid, row.sequence, row.time, row.context, row.open, row.extra, row.hash, ...(keyed ? [row.key] : [])];
    const result = isAnyLarge([row.extra])
      ? runReleasing(this.db, sql(afterGiven), values, [row.extra])
      : this.prepared("add", () => sql("?")).run(...values);
    if (id !== null) this.cameTo(id);
    return BigInt(result.lastInsertRowid);
  }

  change(
    id: bigint,
    row: { oid: number; sequence: number; time: number; context: number; open: number | null; extra: Buffer | null; hash: Buffer },
  ): void {
    const sql = (hash: string) =>
      `UPDATE ${rowsTable(this.table.tid)} SET oid = ?, sequence = ?, time = ?, context = ?, open = ?, extra = ?, hash = ${hash} WHERE id = ?`;
    const values = [row.oid, row.sequence, row.time, row.context, row.open, row.extra, row.hash, id];
    if (isAnyLarge([row.extra])) runReleasing(this.db, sql(afterGiven), values, [row.extra]);
    else this.prepared("change", () => sql("?")).run(...values);
  }

  /** Rows that may hold names of other rows, and rows of these origins whose own name has to be noted. */
  slotsToRename(origins: readonly number[]): bigint[] {
    // From 2^51 on integers are named by a hash.
    const where = this.hadLocalKey
      ? "1"
      : `extra IS NOT NULL OR ((id < 1 OR id >= ${2 ** 51}) AND oid IN (${origins.map(Number).join(", ")}))`;
    return this.db
      .prepare(`SELECT id FROM ${rowsTable(this.table.tid)} WHERE ${where}`)
      .safeIntegers(true)
      .pluck()
      .all() as bigint[];
  }

  /** Stores a row whose names of other rows have changed, and nothing else. */
  rename(id: bigint, extra: Buffer | null, key: Buffer | null): void {
    if (key === null) this.prepared("rename", () => `UPDATE ${rowsTable(this.table.tid)} SET extra = ? WHERE id = ?`).run(extra, id);
    else this.prepared("rename", () => `UPDATE ${rowsTable(this.table.tid)} SET extra = ?, key = ? WHERE id = ?`).run(extra, key, id);
  }

  setHash(id: bigint, hash: Buffer): void {
    this.prepared("hash", () => `UPDATE ${rowsTable(this.table.tid)} SET hash = ? WHERE id = ?`).run(hash, id);
  }

  remove(id: bigint): void {
    this.prepared("remove", () => `DELETE FROM ${rowsTable(this.table.tid)} WHERE id = ?`).run(id);
  }
}

/** Splits values into what SQLite binds and the positions that are raw text. References must have been resolved. */
export function bindable(values: readonly CellValue[]): { values: Bindable[]; raw: number[] } {
  const raw: number[] = [];
  const bound = values.map((value, i): Bindable => {
    if (value === null || typeof value !== "object") return value;
    if (value instanceof RawText) {
      raw.push(i);
      expectHeld(value.bytes);
      return Buffer.from(value.bytes.buffer, value.bytes.byteOffset, value.bytes.length);
    }
    if (value instanceof Ref) throw new Error("a reference was bound before it was resolved");
    expectHeld(value);
    return value as Buffer;
  });
  return { values: bound, raw };
}
