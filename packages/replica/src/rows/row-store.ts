import type { Database, Statement } from "better-sqlite3";
import { ByteReader, type Authorship, type CellValue, MalformedBytes, ownedMemory, Ref, type SqlValue } from "@scoutsync/core";
import { type Table } from "../schema/catalog.ts";
import { CAPTURE, eventCode, MASK_BITS, maskCount, Op } from "../capture/triggers.ts";
import type { DigestSums } from "../digest/digest-sums.ts";
import { type LinkedRows, targetWithin } from "../linked/linked-rows.ts";
import type { LinkedTarget } from "../schema/tables.ts";
import { forgetDefaults, waitingColumns } from "./held-columns.ts";
import { keyFromText, keysFromText } from "./key-text.ts";
import { contentCell } from "./content-names.ts";
import { keylessIdentity, KeylessRows } from "./keyless-rows.ts";
import type { SharedRows } from "../identity/shared-rows.ts";
import { type Identity, SameLinks } from "./same-links.ts";
import { openConflicts, ownedDots, packExtra, type RowState, unpackExtra, UNSTORED } from "./row-state.ts";
import { packImage, unpackImage } from "./images.ts";
import { OutState, OutTable, type OutRow, type WaitingRows } from "./out-table.ts";
import { KeptBackRows } from "./kept-back-rows.ts";
import type { FormerIds } from "./former-ids.ts";
import { SpentIds } from "./spent-ids.ts";
import { bindable, hasLocalKey, type StoredRow, TableStore } from "./table-store.ts";
import { packKey, rowHash, sameValue } from "./values.ts";
import { valueStatement } from "../kept-statements.ts";

const NOBODY: ReadonlyMap<string, bigint> = new Map();
/** Every packed key has at least one byte. */
const NO_KEY = Buffer.alloc(0);

/** A row's values as its table is to hold them, and what is to be known about the rows they refer to. */
export interface Concrete {
  values: SqlValue[];
  /** The first row referred to that is not here or waits. */
  missing: Identity | null;
  /** Rows referred to that have been deleted, with the identity that the reference names. */
  dead: { state: RowState; ref: Identity }[];
  /** Deleted rows whose last integer is shown for want of another, those by configuration included. */
  left: { parent: RowState; id: bigint }[];
}

/** Rows and what is known of them: finds, reads and writes row states with their log entries and hashes. */
export class RowStore {
  readonly db: Database;
  readonly digest: DigestSums;
  private readonly causality: Authorship;
  readonly shared: SharedRows;
  /** Integers that other rows had here. */
  readonly former: FormerIds;
  /** Which integers mean which rows of other databases of the node. */
  readonly linked: LinkedRows;
  /** Which rows are one entity. */
  readonly same: SameLinks;
  private readonly out: OutTable;
  private readonly spent: SpentIds;
  /** Columns that refer to rows of other databases of the node. */
  linkedColumns: readonly { table: Table; index: number; target: LinkedTarget }[] = [];
  /** Rows of surrogate tables that this transaction stored, for databases that refer to them; null where none does. */
  touched: Map<string, Identity> | null = null;
  /** Rises whenever no row may have an integer any more, nor have had it as a deleted one. */
  erased = 0;
  /** Rises whenever the catalog of tables is taken anew. */
  catalogs = 0;
  private stores = new Map<number, TableStore>();
  private byName = new Map<string, Table>();
  private keyless = new Map<number, KeylessRows>();
  /** False in a transaction that only reads: rows that have moved cannot be noted where they are now. */
  private writable = true;
  private readonly findDot: Statement;
  private readonly findAlias: Statement;
  /** Some row may be found by an alias; once true it stays so. */
  private aliased: boolean;
  private readonly putAlias: Statement;
  private readonly putDot: Statement;
  private readonly dropDot: Statement;

  constructor(
    db: Database,
    parts: { digest: DigestSums; causality: Authorship; shared: SharedRows; former: FormerIds; linked: LinkedRows },
  ) {
    const { digest, causality, shared, former, linked } = parts;
    this.db = db;
    this.linked = linked;
    this.digest = digest;
    this.causality = causality;
    this.shared = shared;
    this.former = former;
    this.same = new SameLinks(db);
    this.out = new OutTable(db);
    this.spent = new SpentIds(db);
    const prepare = (sql: string) => {
      const statement = db.prepare(sql).safeIntegers(true);
      return statement.reader ? statement.raw(true) : statement;
    };
    this.findDot = prepare("SELECT tid, slot FROM _scoutsync_log WHERE oid = ? AND sequence = ?");
    this.findAlias = prepare("SELECT birth_oid, birth_sequence FROM _scoutsync_alias WHERE oid = ? AND sequence = ?");
    this.aliased = db.prepare("SELECT 1 FROM _scoutsync_alias LIMIT 1").get() !== undefined;
    this.putAlias = prepare(
      "INSERT INTO _scoutsync_alias(oid, sequence, birth_oid, birth_sequence) VALUES(?, ?, ?, ?) ON CONFLICT(oid, sequence) DO UPDATE SET birth_oid = excluded.birth_oid, birth_sequence = excluded.birth_sequence",
    );
    this.putDot = prepare(
      "INSERT INTO _scoutsync_log(oid, sequence, tid, slot) VALUES(?, ?, ?, ?) ON CONFLICT(oid, sequence) DO UPDATE SET tid = excluded.tid, slot = excluded.slot",
    );
    this.dropDot = prepare("DELETE FROM _scoutsync_log WHERE oid = ? AND sequence = ?");
  }

  get mayWrite(): boolean {
    return this.writable;
  }

  set mayWrite(may: boolean) {
    this.writable = may;
    this.linked.mayWrite = may;
  }

  /** Takes the catalog of tables, those that are not in the database included, at start and after every change of the schema. */
  setTables(tables: readonly Table[]): void {
    this.catalogs++;
    this.spent.forget();
    this.stores = new Map(tables.map((table) => [table.tid, new TableStore(this.db, table)]));
    const present = tables.filter((table) => table.absent === null);
    this.byName = new Map(present.map((table) => [table.name, table]));
    this.keyless = new Map(
      present.filter((table) => table.keyless).map((table) => [table.tid, new KeylessRows(this.db, table, this.of(table))]),
    );
    this.linkedColumns = present.flatMap((table) => table.linked.map(({ index, target }) => ({ table, index, target })));
    this.lookForKeptBack();
    this.lookForEarly();
  }

  /** Notes in which tables rows are whose delete is kept back: after a change of the schema, a rollback, a decision. */
  lookForKeptBack(): void {
    const tids = new Set(this.db.prepare("SELECT DISTINCT tid FROM _scoutsync_quarantined").pluck().all() as number[]);
    for (const store of this.stores.values())
      store.keptBack = tids.has(store.table.tid) ? (store.keptBack ?? new KeptBackRows(this, store.table)) : null;
  }

  /** Notes for which tables integers are kept that named nobody: after a change of the schema, a rollback. */
  private lookForEarly(): void {
    const sql = "SELECT DISTINCT target FROM _scoutsync_linked WHERE target >= '.' AND target < '/'";
    const targets = new Set(this.db.prepare(sql).pluck().all() as string[]);
    for (const store of this.stores.values()) store.came = targets.has(targetWithin(store.table.tid)) ? [] : null;
  }

  /** Rows of a table whose delete is kept back, there or to be. */
  keepBack(table: Table): KeptBackRows {
    return (this.of(table).keptBack ??= new KeptBackRows(this, table));
  }

  /** A table that this database lacks. */
  addAbsent(table: Table): void {
    this.stores.set(table.tid, new TableStore(this.db, table));
  }

  /** Tables that take part. */
  get tables(): Table[] {
    return [...this.byName.values()];
  }

  /** Tables that others have and this database lacks. */
  get absent(): Table[] {
    return [...this.stores.values()].flatMap(({ table }) => (table.absent === null ? [] : [table]));
  }

  tableNamed(name: string): Table | undefined {
    return this.byName.get(name);
  }

  of(table: Table): TableStore {
    return this.stores.get(table.tid) as TableStore;
  }

  byTid(tid: number): Table | undefined {
    return this.stores.get(tid)?.table;
  }

  /** Writes queued rows of all tables. */
  flush(): void {
    for (const store of this.stores.values()) store.flush();
  }

  discard(): void {
    for (const store of this.stores.values()) store.discard();
    this.same.forget();
    this.linked.reload();
    this.lookForEarly();
    this.touched?.clear();
  }

  /** Notes a row that was stored, for databases that refer to it. */
  touchedRow(table: Table, { origin, sequence }: Identity): void {
    if (table.surrogate) this.touched?.set(`${origin}:${sequence}`, { origin, sequence });
  }

  // ---- finding

  private fromStored(table: Table, row: StoredRow): RowState {
    const birth = { origin: Number(row[1]), sequence: Number(row[2]), time: Number(row[3]), context: Number(row[4]) };
    const state: RowState = {
      table,
      place: { kind: "table" },
      slot: row[0],
      identity: { origin: birth.origin, sequence: birth.sequence },
      key: row[7],
      birth,
      claim: row[0],
      twins: [],
      columns: new Map(),
      deletes: [],
      rekey: null,
      closed: [],
      same: [],
      own: new Map(),
      kept: false,
      hash: row[6],
    };
    unpackExtra(state, row[5]);
    forgetDefaults(state);
    return this.named(state);
  }

  private fromOut(row: OutRow): { state: RowState; values: CellValue[] } {
    const table = this.byTid(Number(row[1])) as Table;
    const birth = { origin: Number(row[5]), sequence: Number(row[6]), time: Number(row[7]), context: Number(row[8]) };
    const named = row[12] === null ? null : { origin: Number(row[12]), sequence: Number(row[13]) };
    const state: RowState = {
      table,
      place:
        row[2] === OutState.dead
          ? { kind: "dead" }
          : row[2] === OutState.joined
            ? { kind: "joined", rep: named }
            : row[2] === OutState.held
              ? { kind: "held", left: row[11] ?? "" }
              : { kind: "waiting", reason: row[11] ?? "", blocker: named },
      slot: row[0],
      identity: { origin: birth.origin, sequence: birth.sequence },
      key: row[3],
      birth,
      claim: row[4] ?? 0n,
      twins: [],
      columns: new Map(),
      deletes: [],
      rekey: null,
      closed: [],
      same: [],
      own: new Map(),
      kept: false,
      hash: null,
    };
    unpackExtra(state, row[9]);
    if (state.partial) state.table = this.heldOnly(table);
    return { state: this.named(state), values: unpackImage(state, row[10], this.causality) };
  }

  /** Rows of copies joined as shared are named by their key. */
  private named(state: RowState): RowState {
    if (state.table.surrogate && this.shared.has(state.birth.origin)) state.identity = this.shared.identity(state.table, state.claim);
    return state;
  }

  /** The row that has this surrogate integer in its table. */
  byId(table: Table, id: bigint): RowState | null {
    if (table.absent !== null) return null;
    const row = this.of(table).byId(id);
    return row ? this.fromStored(table, row) : null;
  }

  /** The row with this packed natural key, in its table or out of it. */
  byKey(table: Table, key: Buffer): RowState | null {
    const row = table.absent === null ? this.of(table).byKey(key) : undefined;
    if (row) return this.fromStored(table, row);
    const out = this.out.withKey(table.tid, key);
    return out ? this.fromOut(out).state : null;
  }

  /** A table as one that is not here: whatever is known of a row is then held with its writes. */
  heldOnly(table: Table): Table {
    if (table.absent !== null) return table;
    const names = table.columns.map(({ cid, name }) => [cid, name] as const);
    const lacking = new Map([...table.lacking, ...names]);
    return { ...table, columns: [], indexOf: new Map(), references: [], linked: [], lacking, absent: "missing" };
  }

  /** What is held of a row of which only later writes have come. */
  partial(table: Table, key: Buffer): RowState | null {
    const out = this.out.withKey(table.tid, key);
    const state = out ? this.fromOut(out).state : null;
    return state?.partial ? state : null;
  }

  /** Where the log says a dot's row is. Queued rows must have been flushed. */
  private dotAt(origin: number, sequence: number): [bigint, bigint] | undefined {
    const tid = this.shared.tableOf(origin);
    if (tid !== undefined) return this.keyAt(tid, origin, sequence);
    // First: where a row was issued again for another one's sake, that one may have the dot that names it.
    const alias = this.aliased ? (this.findAlias.get(origin, sequence) as [bigint, bigint] | undefined) : undefined;
    const named = alias ? (this.findDot.get(...alias) as [bigint, bigint] | undefined) : undefined;
    return named ?? (this.findDot.get(origin, sequence) as [bigint, bigint] | undefined);
  }

  /** Where a row named by its key is: mostly in its table under that integer, else an alias says. */
  private keyAt(tid: number, origin: number, sequence: number): [bigint, bigint] | undefined {
    const table = this.byTid(tid);
    const claim = this.shared.claimOf(sequence);
    if (table && claim !== null) {
      const { identity } = this.byId(table, claim) ?? {};
      if (identity?.origin === origin && identity.sequence === sequence) return [BigInt(tid), claim];
    }
    const alias = this.findAlias.get(origin, sequence) as [bigint, bigint] | undefined;
    return alias ? (this.findDot.get(...alias) as [bigint, bigint] | undefined) : undefined;
  }

  /** True when a row with this name may be somewhere else than under its integer in its table. */
  hasAlias(origin: number, sequence: number): boolean {
    return this.findAlias.get(origin, sequence) !== undefined;
  }

  /** The row that the log entry points at. */
  atLog(tid: number, slot: bigint): RowState | null {
    if (tid > 0) {
      const table = this.byTid(tid);
      const row = table?.absent === null ? this.of(table).byId(slot) : undefined;
      return table && row ? this.fromStored(table, row) : null;
    }
    if (!this.byTid(-tid)) return null;
    const out = this.out.at(slot);
    return out ? this.fromOut(out).state : null;
  }

  /** The row of a surrogate table that this dot names. */
  byIdentity(table: Table, origin: number, sequence: number): RowState | null {
    this.of(table).flush();
    const at = this.dotAt(origin, sequence);
    if (!at) return null;
    const state = this.atLog(Number(at[0]), at[1]);
    if (!state || state.table.tid !== table.tid) return null;
    return state.identity.origin === origin && state.identity.sequence === sequence ? state : null;
  }

  /** The row with a surrogate key that this dot names, of whatever table. */
  ofIdentity({ origin, sequence }: Identity): RowState | null {
    this.flush();
    const at = this.dotAt(origin, sequence);
    return at ? this.atLog(Number(at[0]), at[1]) : null;
  }

  /** The integer under which a referenced row is in its table now; null when it is not there. */
  idOf(parent: Table, ref: Identity): bigint | null {
    this.of(parent).flush();
    const at = this.dotAt(ref.origin, ref.sequence);
    return at && Number(at[0]) === parent.tid ? at[1] : null;
  }

  /** The identity of the row that stands for a referenced one: itself, unless it is one entity with another that does. */
  representative(parent: Table, ref: Identity): Identity {
    if (!this.same.exist) return ref;
    this.of(parent).flush();
    const at = this.dotAt(ref.origin, ref.sequence);
    if (!at || Number(at[0]) !== -parent.tid) return ref;
    const out = this.out.at(at[1]);
    return out && out[2] === OutState.joined && out[12] !== null ? { origin: Number(out[12]), sequence: Number(out[13]) } : ref;
  }

  /** The integer that stands for a referenced row in its table now; null when there is none. */
  shownId(parent: Table, ref: Identity): bigint | null {
    return this.idOf(parent, ref) ?? (this.same.exist ? this.idOf(parent, this.representative(parent, ref)) : null);
  }

  /** A referenced row that has been deleted, with the integer it had last; null when it lives, waits or is unknown. */
  deadParent(parent: Table, ref: Identity): { state: RowState; id: bigint } | null {
    this.of(parent).flush();
    const at = this.dotAt(ref.origin, ref.sequence);
    if (!at || Number(at[0]) !== -parent.tid) return null;
    const out = this.out.at(at[1]);
    const { state } = out ? this.fromOut(out) : { state: null };
    return state?.place.kind === "dead" && out?.[4] != null ? { state, id: out[4] } : null;
  }

  /** The deleted row that had this integer last; null where it lives, waits or never was. */
  deadAt(table: Table, id: bigint): RowState | null {
    const out = this.out.withId(table.tid, id);
    const state = out ? this.fromOut(out).state : null;
    return state?.place.kind === "dead" ? state : null;
  }

  /** Every deleted row of a table, with the integer it had and its last values. */
  *deadRows(table: Table): Generator<{ state: RowState; id: bigint | null; cells: CellValue[] }> {
    for (const slot of this.out.slots(table.tid, OutState.dead)) {
      const out = this.out.at(slot);
      if (!out) continue;
      const { state, values } = this.fromOut(out);
      yield { state, id: out[4], cells: values };
    }
  }

  /** The integer stored with a surrogate row that is out of its table. */
  outId(state: RowState): bigint | null {
    const out = this.out.at(state.slot);
    return out?.[4] ?? null;
  }

  /** The row with a natural key whose reference to `parent`'s table means `parent`, whoever has that integer now. */
  byKeyOf(table: Table, key: readonly SqlValue[], parent: RowState): RowState | null {
    if (table.surrogate || table.keyReferences.length === 0) return null;
    const cells: CellValue[] = [...key];
    for (const { index, parent: target } of table.keyReferences) {
      const id = key[index];
      if (target === parent.table) cells[index] = new Ref(parent.identity.origin, parent.identity.sequence);
      else if (typeof id === "bigint") cells[index] = this.refOf(target, id) ?? id;
    }
    return this.byKey(table, packKey(table.key, cells));
  }

  /** The identity of the row that has, or last had, this integer; null when there never was one. */
  refOf(parent: Table, id: bigint): Ref | null {
    const state = this.byId(parent, id);
    if (state) return new Ref(state.identity.origin, state.identity.sequence);
    const out = this.out.withId(parent.tid, id);
    if (!out) return null;
    const { identity } = this.fromOut(out).state;
    return new Ref(identity.origin, identity.sequence);
  }

  /** The row that an integer in a column means; null where it means none or the column refers to nothing. */
  refAt(table: Table, index: number, id: bigint): Ref | null {
    const parent = table.references.find((reference) => reference.index === index)?.parent;
    if (parent) return this.refOf(parent, id);
    const target = table.linked.find((reference) => reference.index === index)?.target;
    return target ? this.linked.refOf(target, id) : null;
  }

  /** The integer that a column shows for a row that it refers to; null when there is none. */
  idAt(table: Table, index: number, ref: Ref): bigint | null {
    const parent = table.references.find((reference) => reference.index === index)?.parent;
    if (parent) return this.shownId(parent, ref);
    const target = table.linked.find((reference) => reference.index === index)?.target;
    return target ? this.linked.idOf(target, ref) : null;
  }

  /** True when a row that is out of its table had this integer. */
  wasUsed(table: Table, id: bigint): boolean {
    return this.out.withId(table.tid, id) !== undefined;
  }

  /** The row that owns this dot, wherever it is. */
  byDot(origin: number, sequence: number): RowState | null {
    this.flush();
    const at = this.findDot.get(origin, sequence) as [bigint, bigint] | undefined;
    return at ? this.atLog(Number(at[0]), at[1]) : null;
  }

  /** True when the log has this dot. */
  holds(origin: number, sequence: number): boolean {
    return this.findDot.get(origin, sequence) !== undefined;
  }

  /** Largest sequence of an origin that owns something or names a row; 0 when there is none. */
  lastSequence(origin: number): number {
    this.flush();
    const owns = valueStatement(this.db, "SELECT max(sequence) FROM _scoutsync_log WHERE oid = ?").get(origin) as number | null;
    const names = valueStatement(this.db, "SELECT max(sequence) FROM _scoutsync_alias WHERE oid = ?").get(origin) as number | null;
    return Math.max(owns ?? 0, names ?? 0);
  }

  /** Points the log at a row whose dots have other names now. */
  moveDots(state: RowState, before: ReadonlyMap<string, { origin: number; sequence: number }>): void {
    this.syncLog(state, before);
  }

  // ---- values

  /** References as identities instead of integers, for images and the wire. Integers that name no row stay. */
  abstract(table: Table, values: readonly SqlValue[]): CellValue[] {
    const result: CellValue[] = [...values];
    for (const { index, parent } of table.references) {
      const value = values[index];
      if (typeof value === "bigint") result[index] = this.refOf(parent, value) ?? value;
    }
    for (const { index, target } of table.linked) {
      const value = values[index];
      if (typeof value === "bigint") result[index] = this.linked.refOf(target, value) ?? value;
    }
    return result;
  }

  /** The key, as the table holds it, of the row that a person names: its key parts, or the dot of a row without a key; null when there is none. */
  keyNamed(table: Table, text: string): SqlValue[] | null {
    if (!table.keyless) return keyFromText(this.db, table, text);
    const state = this.keylessNamed(table, text);
    return state && this.keyValues(state);
  }

  /** The keys of all rows that are written so: parts joined by commas may hold commas. */
  keysNamed(table: Table, text: string): SqlValue[][] {
    if (!table.keyless) return keysFromText(this.db, table, text);
    const key = this.keyNamed(table, text);
    return key ? [key] : [];
  }

  /** The row without a key that a person names by its birth, or as `keylessText`, wherever it is. */
  keylessNamed(table: Table, text: string): RowState | null {
    const content = contentCell(text);
    if (content) return this.byKey(table, packKey(table.key, [this.shared.nameOfKeyless(content)]));
    const [, name, sequence] = /^([a-z2-7]{16}):(\d{1,15})$/.exec(text) ?? [];
    const origin = this.db
      .prepare("SELECT oid FROM _scoutsync_origin WHERE origin = ?")
      .pluck()
      .get(name ?? "") as number | undefined;
    if (origin === undefined) return null;
    const named = this.byKey(table, keylessIdentity(table, { origin, sequence: Number(sequence) }));
    if (named) return named;
    const born = this.byDot(origin, Number(sequence));
    const isBirth =
      born?.table.tid === table.tid &&
      [born.birth, ...born.twins].some((one) => one.origin === origin && one.sequence === Number(sequence));
    return isBirth ? born : null;
  }

  /**
   * The row without a key that has these values in its table: where several have, the one noted at `rowid`, else the
   * first stored. Null when none is known.
   */
  equalRow(table: Table, values: readonly SqlValue[], rowid: bigint | null): RowState | null {
    const hash = rowHash(table, null, values);
    const store = this.of(table);
    for (const slot of rowid === null ? [] : store.withLocal(packKey(table.key, [rowid]))) {
      const state = this.atLog(table.tid, slot);
      if (state?.hash?.equals(hash)) return state;
    }
    const [first] = store.withHash(hash, 1);
    return first === undefined ? null : this.atLog(table.tid, first);
  }

  /** Every known row of a table without a primary key that has this hash in its table. */
  withHash(table: Table, hash: Buffer): RowState[] {
    return this.of(table)
      .withHash(hash)
      .flatMap((slot) => this.atLog(table.tid, slot) ?? []);
  }

  /**
   * Counts, of rows with given values, how many are known of a table without a primary key, and how many it has. Where a
   * migration has dropped columns since these are counted by the others: then it may have fewer. Null where nothing of it is left.
   */
  equalCounter(table: Table): ((values: readonly SqlValue[]) => { known: number; there: number }) | null {
    const store = this.of(table);
    const left = store.columnsLeft();
    if (left.length === 0) return null;
    const there = left.length === table.columns.length ? store : new TableStore(this.db, { ...table, columns: left });
    const places = left.map(({ cid }) => table.indexOf.get(cid) as number);
    return (values) => {
      const known = store.withHash(rowHash(table, null, values)).length;
      return { known, there: known === 0 ? 0 : there.countEqual(places.map((index) => values[index] as SqlValue)) };
    };
  }

  /** Finds the rows of a table without a primary key again after something has given them other rowids. */
  locate(table: Table): void {
    this.keyless.get(table.tid)?.locate();
  }

  /**
   * Integers instead of references. Deleted rows keep the integer they had, as they do in the table of an application
   * that deletes a parent alone. `together` are rows, by identity, that are about to be placed under these integers.
   */
  concrete(table: Table, values: readonly CellValue[], together: ReadonlyMap<string, bigint> = NOBODY): Concrete {
    let missing: Identity | null = null;
    const dead: Concrete["dead"] = [];
    const left: Concrete["left"] = [];
    const result = [...values];
    for (const { index, parent } of table.references) {
      const value = values[index];
      if (!(value instanceof Ref)) continue;
      let id = this.idOf(parent, value);
      const stands = id === null ? this.representative(parent, value) : value;
      id ??= (stands === value ? null : this.idOf(parent, stands)) ?? together.get(`${stands.origin}:${stands.sequence}`) ?? null;
      const gone = id === null ? this.deadParent(parent, stands) : null;
      // Nothing is enforced of what refers by configuration only.
      if (gone && !table.columns[index]?.soft) dead.push({ state: gone.state, ref: value });
      if (gone) left.push({ parent: gone.state, id: gone.id });
      if (id === null && !gone) missing ??= stands;
      else result[index] = (id ?? gone?.id) as bigint;
    }
    // Never missing: the other database may come by its rows later, and another integer follows then.
    for (const { index, target } of table.linked) {
      const value = values[index];
      if (value instanceof Ref) result[index] = this.linked.idOf(target, value);
    }
    return { values: result as SqlValue[], missing, dead, left };
  }

  /** The packed identity of a natural key from its values in the table; one that no row has where nothing is known of a row without a key. */
  keyFromValues(table: Table, values: readonly SqlValue[]): Buffer {
    if (table.keyless) return this.keyless.get(table.tid)?.identityAt(values, this.mayWrite) ?? NO_KEY;
    const known = hasLocalKey(table) ? this.of(table).keyOfLocal(packKey(table.key, values)) : undefined;
    if (known) return known;
    const cells: CellValue[] = [...values];
    let resolved = false;
    for (const { index, parent } of table.keyReferences) {
      const value = values[index];
      const ref = typeof value === "bigint" ? this.refOf(parent, value) : null;
      if (!ref) continue;
      cells[index] = ref;
      resolved = true;
    }
    const key = packKey(table.key, cells);
    if (!resolved || this.byKey(table, key)) return key;
    // A row that was there before the row it refers to is identified by the bare integer while it is in its table. A
    // deleted one is not the row that the application adds now: that one refers to the row which has the integer.
    const bare = packKey(table.key, values);
    return this.byKey(table, bare)?.place.kind === "table" ? bare : key;
  }

  /** The key of a row as it is in its table now; null when it names a row that is not there. */
  keyValues(state: RowState): SqlValue[] | null {
    if (state.table.surrogate) return [state.slot];
    if (state.table.keyless) {
      if (state.place.kind !== "table" || state.hash === null) return null;
      return this.keyless.get(state.table.tid)?.keyOf(state.slot, state.hash, this.mayWrite) ?? null;
    }
    const values = this.keyCells(state);
    for (const { index, parent } of state.table.keyReferences) {
      const value = values[index];
      if (!(value instanceof Ref)) continue;
      const id = this.shownId(parent, value) ?? this.deadParent(parent, this.representative(parent, value))?.id;
      if (id === undefined) return state.place.kind === "table" ? this.notedKey(state) : null;
      values[index] = id;
    }
    return values as SqlValue[];
  }

  /** The key that was noted when the row was put into its table: what it refers to may have left since, and this row not yet. */
  private notedKey({ table, slot }: RowState): SqlValue[] | null {
    const local = this.of(table).localOf(slot);
    if (!local) return null;
    const reader = new ByteReader(local);
    return table.key.map(() => reader.value() as SqlValue);
  }

  /** The parts of a natural key, references as identities. */
  keyCells(state: RowState): CellValue[] {
    const reader = new ByteReader(state.key as Buffer);
    return state.table.key.map(() => reader.value());
  }

  /** Current values of the synced columns as the table holds them. Only for rows in their table. */
  tableValues(state: RowState): SqlValue[] | null {
    const key = this.keyValues(state);
    return key ? this.of(state.table).read(key) : null;
  }

  /** The row's current values with references as identities, wherever it is: its own where its table shows others. */
  cells(state: RowState): CellValue[] {
    if (state.place.kind === "table") {
      const values = this.tableValues(state);
      if (!values) return state.table.columns.map(() => null);
      const cells = this.abstract(state.table, values);
      for (const [cid, value] of state.own) {
        const index = state.table.indexOf.get(cid);
        if (index !== undefined) cells[index] = value;
      }
      return cells;
    }
    const out = this.out.at(state.slot);
    if (!out) throw new MalformedBytes("a row's image is missing");
    return this.fromOut(out).values;
  }

  /** Notes in the state what the row says itself, `cells`, where its table is to show something else, `values`. */
  noteOwn(state: RowState, cells: readonly CellValue[], values: readonly SqlValue[], differ = this.same.exist): void {
    const isPlain = state.own.size === 0 && state.same.length === 0 && !differ && !this.same.exist;
    if (isPlain && state.table.linked.length === 0) return;
    state.own.clear();
    this.abstract(state.table, values).forEach((shown, index) => {
      const cell = cells[index] as CellValue;
      if (!sameValue(shown, cell)) state.own.set((state.table.columns[index] as { cid: number }).cid, cell);
    });
  }

  hashOf(state: RowState, id: bigint | null, values: readonly SqlValue[]): Buffer {
    return this.hash(state.table, state.table.surrogate ? id : null, values, state.own);
  }

  /**
   * As `rowHash`, with rows of other databases by their names: their integers differ from replica to replica until these are
   * in sync, too. `own` is what the row says itself; it is looked up where it is not given.
   */
  hash(table: Table, id: bigint | null, values: readonly SqlValue[], own?: RowState["own"]): Buffer {
    if (table.linked.length === 0) return rowHash(table, id, values);
    const cells: CellValue[] = [...values];
    let says = own;
    for (const { index, target } of table.linked) {
      const value = values[index];
      if (typeof value !== "bigint") continue;
      says ??= this.ownOf(table, id, values);
      const said = says.get((table.columns[index] as { cid: number }).cid);
      const isShown = said instanceof Ref ? this.linked.idOf(target, said) === value : said === value;
      const cell = isShown ? said : this.linked.refOf(target, value);
      if (cell instanceof Ref) cells[index] = this.linked.textOf(cell);
    }
    return rowHash(table, id, cells);
  }

  private ownOf(table: Table, id: bigint | null, values: readonly SqlValue[]): RowState["own"] {
    const key = id === null ? table.key.map(({ cid }) => values[table.indexOf.get(cid) as number] as SqlValue) : null;
    const state = key ? this.byKey(table, this.keyFromValues(table, key)) : this.byId(table, id as bigint);
    return state?.place.kind === "table" ? state.own : new Map();
  }

  // ---- writing

  /** Points the log at the row: entries of dots that own nothing any more go. */
  private syncLog(state: RowState, before: ReadonlyMap<string, { origin: number; sequence: number }>): void {
    const tid = state.place.kind === "table" ? state.table.tid : -state.table.tid;
    const now = ownedDots(state);
    for (const [dot, { origin, sequence }] of before) if (!now.has(dot)) this.dropDot.run(origin, sequence);
    for (const { origin, sequence } of now.values()) this.putDot.run(origin, sequence, tid, state.slot);
    // Noted by its birth, which may have been issued again.
    if (state.kept) {
      this.db
        .prepare("INSERT INTO _scoutsync_kept(oid, sequence) VALUES(?, ?) ON CONFLICT DO NOTHING")
        .run(state.birth.origin, state.birth.sequence);
    }
    for (const { other, apart } of state.same) this.same.set(state.identity, other, apart);
    this.alias(state);
  }

  /** Notes how a row is found that is named by another dot than its birth's. */
  alias(state: RowState): void {
    const { identity, birth, table } = state;
    if (!table.surrogate || (identity.origin === birth.origin && identity.sequence === birth.sequence)) return;
    this.putAlias.run(identity.origin, identity.sequence, birth.origin, birth.sequence);
    this.aliased = true;
  }

  /**
   * Stores a row that is in its table with these values. `before` are the dots that owned something when the state
   * was loaded. Moves it out of _scoutsync_out when it was there. `key` is its natural key in the table, where that is
   * known better than what it refers to tells.
   */
  saveInTable(
    state: RowState,
    id: bigint | null,
    values: readonly SqlValue[],
    before: ReturnType<typeof ownedDots>,
    key: readonly SqlValue[] | null = null,
  ): void {
    const store = this.of(state.table);
    if (state.place.kind !== "table" && state.slot !== UNSTORED) {
      this.out.remove(state.slot);
      this.erased++;
      state.slot = UNSTORED;
    }
    const fresh = state.slot === UNSTORED || state.place.kind !== "table";
    const hash = this.hashOf(state, id, values);
    if (state.hash) this.digest.remove(state.table.tid, state.hash);
    this.digest.add(state.table.tid, hash);
    state.hash = hash;
    state.place = { kind: "table" };
    const isLinked = (cid: number) => state.table.linked.some(({ index }) => state.table.columns[index]?.cid === cid);
    const differing = [...state.own].filter(([cid, value]) => !(value instanceof Ref) && !isLinked(cid));
    const open = openConflicts(state) + differing.length;
    this.touchedRow(state.table, state.identity);
    const row = {
      oid: state.birth.origin,
      sequence: state.birth.sequence,
      time: state.birth.time,
      context: state.birth.context,
      open: open === 0 ? null : open,
      extra: packExtra(state, state.table.surrogate ? id : null),
      hash,
      key: state.key,
    };
    if (fresh) state.slot = store.add(state.table.surrogate ? id : null, row);
    else if (state.table.surrogate && id !== null && id !== state.slot) {
      store.remove(state.slot);
      this.erased++;
      state.slot = store.add(id, row);
    } else store.change(state.slot, row);
    if (id !== null && state.table.surrogate && this.former.has(state.table, id))
      this.former.placed(state, id, this.abstract(state.table, values));
    if (state.table.keyless) {
      // A row that was there stays where it is.
      if (key) store.setLocal(state.slot, packKey(state.table.key, key));
    } else if (hasLocalKey(state.table)) {
      const inTable = key ?? this.keyValues(state);
      store.setLocal(state.slot, inTable && packKey(state.table.key, inTable));
    }
    this.syncLog(state, before);
  }

  /** Replaces only the stored hash of a row in its table: its values are as they were, read with other columns. */
  rehash(state: RowState, hash: Buffer): void {
    if (state.hash) this.digest.remove(state.table.tid, state.hash);
    this.digest.add(state.table.tid, hash);
    this.of(state.table).setHash(state.slot, hash);
  }

  /**
   * Stores a row that is not in its table: deleted, or waiting for what `state.place` says. `wanted` is its integer;
   * `used` says that nobody reads `values` again.
   */
  saveOut(
    state: RowState,
    wasInTable: boolean,
    wanted: bigint | null,
    values: readonly CellValue[],
    before: ReturnType<typeof ownedDots>,
    { used = false } = {},
  ): void {
    if (wasInTable) {
      if (state.table.surrogate && wanted !== state.slot) this.erased++;
      if (state.hash) this.digest.remove(state.table.tid, state.hash);
      this.of(state.table).remove(state.slot);
      state.hash = null;
      state.slot = UNSTORED;
    }
    const place = state.place;
    if (place.kind === "dead" && !wasInTable && wanted !== null && !state.rekey) this.spent.note(state.table, wanted);
    this.touchedRow(state.table, state.identity);
    const named = place.kind === "waiting" ? place.blocker : place.kind === "joined" ? place.rep : null;
    state.own.clear();
    const open = openConflicts(state);
    const columns = [
      wanted,
      state.birth.origin,
      state.birth.sequence,
      state.birth.time,
      state.birth.context,
      open === 0 ? null : open,
      packExtra(state, wanted),
      packImage(state.table, values, used),
      place.kind === "waiting" ? place.reason : place.kind === "held" && place.left !== "" ? place.left : null,
      named?.origin ?? null,
      named?.sequence ?? null,
    ] as const;
    const code = place.kind === "table" ? OutState.waiting : OutState[place.kind];
    if (state.slot === UNSTORED) state.slot = this.out.add(state.table.tid, code, state.key, columns);
    else this.out.change(state.slot, code, columns);
    // SQLite has its own: the next thing may be to read the row again.
    ownedMemory(columns[7])?.transfer(0);
    this.syncLog(state, before);
  }

  /** Lets go of everything known of a row that is out of its table. The caller has seen to it that nobody has to be told. */
  erase(state: RowState): void {
    this.eraseDots(state);
    this.out.remove(state.slot);
  }

  /** Lets go of everything known of a row in its table; the row itself stays. */
  eraseFromTable(state: RowState): void {
    this.of(state.table).flush();
    this.eraseDots(state);
    this.of(state.table).remove(state.slot);
  }

  private eraseDots(state: RowState): void {
    this.erased++;
    this.touchedRow(state.table, state.identity);
    for (const { origin, sequence } of ownedDots(state).values()) this.dropDot.run(origin, sequence);
    if (state.table.surrogate) {
      this.db.prepare("DELETE FROM _scoutsync_alias WHERE oid = ? AND sequence = ?").run(state.identity.origin, state.identity.sequence);
      this.same.leave(state.identity);
    }
    this.db.prepare("DELETE FROM _scoutsync_kept WHERE oid = ? AND sequence = ?").run(state.birth.origin, state.birth.sequence);
  }

  /** Slots of a table's rows that are out of it. */
  outSlots(table: Table): bigint[] {
    return this.out.slots(table.tid);
  }

  /** What else there is of a row in its table, as it is stored. */
  packed(state: RowState): Buffer | null {
    return packExtra(state, state.table.surrogate ? state.slot : null);
  }

  /** Stores a row out of its table whose names of other rows have changed, and nothing else. */
  renameOut(state: RowState, values: readonly CellValue[]): void {
    const blocker = state.place.kind === "waiting" ? state.place.blocker : state.place.kind === "joined" ? state.place.rep : null;
    this.out.rename(state.slot, [
      state.key,
      packExtra(state, this.outId(state)),
      packImage(state.table, values),
      blocker?.origin ?? null,
      blocker?.sequence ?? null,
    ]);
  }

  /** Stores what is known of a row, wherever it is, without moving it or changing what its table shows. */
  saveRegisters(state: RowState, cells: readonly CellValue[], before: ReturnType<typeof ownedDots>): void {
    const values = state.place.kind === "table" ? this.tableValues(state) : null;
    if (values) {
      this.noteOwn(state, cells, values);
      this.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
    } else this.saveOut(state, false, state.slot === UNSTORED ? null : this.outId(state), cells, before);
  }

  /** Rows that wait for a place, of one table or of all. */
  waiting({ table, ...where }: { table?: Table } & Omit<WaitingRows, "tid"> = {}): RowState[] {
    const rows = this.out.waiting({ tid: table?.tid, ...where });
    return rows.filter((row) => this.byTid(Number(row[1]))).map((row) => this.fromOut(row).state);
  }

  /** Rows of a table that others stand for. */
  joined(table: Table): RowState[] {
    return this.out.joined(table.tid).map((row) => this.fromOut(row).state);
  }

  /** Notes how many values of a row out of its table are not shown. */
  setOpen(state: RowState, open: number): void {
    this.out.setOpen(state.slot, open === 0 ? null : open);
  }

  /** Identities that some row waits for, as `origin:sequence` of local numbers. */
  blockers(): string[] {
    return this.out.blockers();
  }

  /** Puts an update of these columns on the dirty list, whether or not their values change. */
  touch(db: Database, table: Table, key: readonly SqlValue[], indexes: readonly number[]): void {
    const masks = Array.from({ length: maskCount(table) }, () => 0n);
    for (const index of indexes)
      masks[Math.floor(index / MASK_BITS)] = (masks[Math.floor(index / MASK_BITS)] ?? 0n) | (1n << BigInt(index % MASK_BITS));
    const columns = [...masks.map((_, i) => `m${i}`), ...key.map((_, i) => `k${i}`)];
    const { values, raw } = bindable(key);
    const places = columns.map((_, i) => (raw.includes(i - masks.length) ? "CAST(? AS TEXT)" : "?"));
    db.prepare(
      `INSERT INTO ${CAPTURE}(event, at, ${columns.join(", ")}) VALUES(${eventCode(table.tid, Op.update)}, julianday('now'), ${places.join(", ")})`,
    ).run(...masks, ...values);
  }

  /** Numbers in _scoutsync_out of rows held for a table. */
  heldSlots(table: Table, after: bigint, limit: number): bigint[] {
    return this.out.heldSlots(table.tid, after, limit);
  }

  /** True when some row is held for a table that is not here. */
  get holdsRows(): boolean {
    return this.out.holds;
  }

  /** Number of rows held for tables that are not here; of one table where one is given. */
  heldCount(table: Table | null = null): number {
    return this.out.heldCount(table?.tid ?? null);
  }

  /** Removes a row that is out of its table with its log entries: the caller stores it anew in the same transaction. */
  lift(state: RowState): void {
    this.out.remove(state.slot);
    const drop = this.db.prepare("DELETE FROM _scoutsync_log WHERE oid = ? AND sequence = ? AND tid = ? AND slot = ?");
    for (const { origin, sequence } of ownedDots(state).values()) drop.run(origin, sequence, -state.table.tid, state.slot);
  }

  /** Columns of a row in its table whose value is still held, though the table has them now. */
  columnsToFill(state: RowState): number[] {
    return waitingColumns(state, this.causality).map(({ cid }) => cid);
  }

  /** Number of live rows that wait for a place. */
  waitingCount(): number {
    return this.out.waitingCount();
  }
}
