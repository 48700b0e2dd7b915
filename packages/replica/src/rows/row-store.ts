import type { Database } from "better-sqlite3";
import {
  type Authorship,
  type CellValue,
  MalformedBytes,
  Ref,
  releaseLarge,
  releasePacked,
  type SqlValue,
  type Write,
} from "@scoutsync/core";
import { type Table } from "../schema/catalog.ts";
import type { DigestSums } from "../digest/digest-sums.ts";
import type { LinkedRows } from "../linked/linked-rows.ts";
import type { LinkedTarget } from "../schema/tables.ts";
import { waitingColumns } from "./held-columns.ts";
import { type LogEntry, LogEntries } from "./log-entries.ts";
import { References } from "./references.ts";
import { RowHashes } from "./row-hashes.ts";
import { heldKey, keyIn, RowKeys, withHeldKey } from "./row-keys.ts";
import { SaidReferences } from "./said-references.ts";
import { stateInTable, stateOut } from "./stored-states.ts";
import type { SharedRows } from "../identity/shared-rows.ts";
import { type Identity, SameLinks } from "./same-links.ts";
import { openConflicts, type ownedDots, packExtra, type RowState, UNSTORED, valuesIn } from "./row-state.ts";
import { holdsPartOf, packImage, unpackImage } from "./images.ts";
import { OutState, OutTable, type OutRow, type WaitingRows } from "./out-table.ts";
import { KeptBackRows } from "./kept-back-rows.ts";
import type { FormerIds } from "./former-ids.ts";
import { SpentIds } from "./spent-ids.ts";
import { hasLocalKey, type StoredRow, TableStore } from "./table-store.ts";
import { packKey, sameValue } from "./values.ts";

/** `used`: nobody reads the values of a row again. Called once that is so, to give back their memory. */
export interface Used {
  used?: (() => void) | undefined;
}

/** From so many rows on one pass over a table is less than one for each. */
const MANY = 8;

const isLacking = ({ absent, surrogate }: Table): boolean => absent === "missing" && surrogate;

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
  /** Rows that are not in their table. */
  readonly out: OutTable;
  /** What rows refer to. */
  readonly references: References;
  /** Whom rows mean where their tables show something else. */
  readonly said: SaidReferences;
  /** Natural keys, as tables hold them and as they are stored. */
  readonly keys: RowKeys;
  readonly hashes: RowHashes;
  /** Where the rows are that own a dot. */
  readonly log: LogEntries;
  private readonly spent: SpentIds;
  /** Columns that refer to rows of other databases of the node. */
  linkedColumns: readonly { table: Table; index: number; target: LinkedTarget }[] = [];
  /** Rows of surrogate tables that this transaction stored, for databases that refer to them; null where none does. */
  touched: Map<string, Identity> | null = null;
  /** Rises whenever no row may have an integer any more, nor have had it as a deleted one. */
  erased = 0;
  /** Rises whenever the catalog of tables is taken anew. */
  catalogs = 0;
  /** Long text is bound as its UTF-8: the database keeps text so. */
  keepsLongText = false;
  /** Some table whose rows are known by birth is gone from here, or was never there. */
  lacksTables = false;
  private stores = new Map<number, TableStore>();
  private byName = new Map<string, Table>();
  /** False in a transaction that only reads: rows that have moved cannot be noted where they are now. */
  private writable = true;

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
    this.references = new References(this);
    this.said = new SaidReferences(this);
    this.keys = new RowKeys(this);
    this.hashes = new RowHashes(this);
    this.log = new LogEntries(db);
    this.spent = new SpentIds(db);
  }

  /** True while rows of this table may be in it under keys of another type than the ones that they are known by. */
  mayBeSpelled: (table: Table) => boolean = () => false;

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
    this.lacksTables = tables.some(isLacking);
    const present = tables.filter((table) => table.absent === null);
    this.byName = new Map(present.map((table) => [table.name, table]));
    this.keepsLongText = present.some(({ utf8 }) => utf8);
    this.keys.setTables(present);
    this.linkedColumns = present.flatMap((table) => table.linked.map(({ index, target }) => ({ table, index, target })));
    this.lookForKeptBack();
    this.said.lookForEarly(this.stores.values());
  }

  /** Notes in which tables rows are whose delete is kept back: after a change of the schema, a rollback, a decision. */
  lookForKeptBack(): void {
    const tids = new Set(this.db.prepare("SELECT DISTINCT tid FROM _scoutsync_quarantined").pluck().all() as number[]);
    for (const store of this.stores.values())
      store.keptBack = tids.has(store.table.tid) ? (store.keptBack ?? new KeptBackRows(this, store.table)) : null;
  }

  /** Rows of a table whose delete is kept back, there or to be. */
  keepBack(table: Table): KeptBackRows {
    return (this.of(table).keptBack ??= new KeptBackRows(this, table));
  }

  /** A table that this database lacks. */
  addAbsent(table: Table): void {
    this.stores.set(table.tid, new TableStore(this.db, table));
    this.lacksTables ||= isLacking(table);
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

  /**
   * Runs `work`, which asks for each of these rows, by its integer, who refers to it. A table without an index on the reference would be
   * read as often; few are looked for one by one.
   */
  lookingAhead<T>(parents: readonly { table: Table; id: SqlValue | undefined }[], work: () => T): T {
    const stores: TableStore[] = [];
    for (const [{ referencedBy }, its] of Map.groupBy(parents, ({ table }) => table)) {
      if (its.length < MANY) continue;
      const ids = new Set(its.flatMap(({ id }) => (typeof id === "bigint" ? id : [])));
      for (const { child, column } of referencedBy) {
        const store = this.of(child);
        store.expect(column.name, ids);
        stores.push(store);
      }
    }
    try {
      return work();
    } finally {
      for (const store of stores) store.expectNone();
    }
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
    this.said.lookForEarly(this.stores.values());
    this.touched?.clear();
  }

  /** Notes a row that was stored, for databases that refer to it. */
  touchedRow(table: Table, { origin, sequence }: Identity): void {
    if (table.surrogate) this.touched?.set(`${origin}:${sequence}`, { origin, sequence });
  }

  // ---- finding

  /** A row as it is stored with its table, which may be gone. */
  fromStored(table: Table, row: StoredRow): RowState {
    return this.named(stateInTable(table, row));
  }

  /** A row that is out of its table, with its image. */
  fromOut(row: OutRow): { state: RowState; values: CellValue[] } {
    const state = this.named(stateOut(this.byTid(Number(row[1])) as Table, row));
    return { state, values: unpackImage(state, row[10], this.causality) };
  }

  /** As `fromOut`, of which nobody wants the image: several of a large row would be there until the collector comes by. */
  private stateFromOut(row: OutRow): RowState {
    const { state } = this.fromOut(row);
    if (!holdsPartOf(state, row[10])) releasePacked(row[10]);
    return state;
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
    return out ? this.stateFromOut(out) : null;
  }

  /** What is held of a row of which only later writes have come. */
  partial(table: Table, key: Buffer): RowState | null {
    const out = this.out.withKey(table.tid, key);
    const state = out ? this.stateFromOut(out) : null;
    return state?.partial ? state : null;
  }

  /** Where the log says a dot's row is. Queued rows must have been flushed. */
  dotAt(origin: number, sequence: number): LogEntry | undefined {
    const tid = this.shared.tableOf(origin);
    return tid === undefined ? this.log.named(origin, sequence) : this.keyAt(tid, origin, sequence);
  }

  /** Where a row named by its key is: mostly in its table under that integer, else an alias says. */
  private keyAt(tid: number, origin: number, sequence: number): LogEntry | undefined {
    const table = this.byTid(tid);
    const claim = this.shared.claimOf(sequence);
    if (table && claim !== null) {
      const { identity } = this.byId(table, claim) ?? {};
      if (identity?.origin === origin && identity.sequence === sequence) return [BigInt(tid), claim];
    }
    return this.log.byAlias(origin, sequence);
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
    return out ? this.stateFromOut(out) : null;
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

  /** The deleted row that had this integer last; null where it lives, waits or never was. */
  deadAt(table: Table, id: bigint): RowState | null {
    const out = this.out.withId(table.tid, id);
    const state = out ? this.stateFromOut(out) : null;
    return state?.place.kind === "dead" ? state : null;
  }

  /** The deleted rows that had this integer. */
  allDeadAt(table: Table, id: bigint): RowState[] {
    return this.statesAt(this.out.deadSlots(table.tid, id));
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
    return this.out.idAt(state.slot);
  }

  /** True when a row that is out of its table had this integer. */
  wasUsed(table: Table, id: bigint): boolean {
    return this.out.withId(table.tid, id) !== undefined;
  }

  /** The row that owns this dot, wherever it is. */
  byDot(origin: number, sequence: number): RowState | null {
    this.flush();
    const at = this.log.owned(origin, sequence);
    return at ? this.atLog(Number(at[0]), at[1]) : null;
  }

  /** Largest sequence of an origin that owns something or names a row; 0 when there is none. */
  lastSequence(origin: number): number {
    this.flush();
    return this.log.lastSequence(origin);
  }

  /** Points the log at a row whose dots have other names now. */
  moveDots(state: RowState, before: ReadonlyMap<string, { origin: number; sequence: number }>): void {
    this.syncLog(state, before);
  }

  /** Current values of the synced columns as the table holds them. Only for rows in their table. */
  tableValues(state: RowState): SqlValue[] | null {
    const key = this.keys.keyValues(state);
    return key ? this.of(state.table).read(key) : null;
  }

  /**
   * The row's current values with references as identities, wherever it is: its own where its table shows others. `values`: what
   * its table holds, where that has been read.
   */
  cells(state: RowState, values = state.place.kind === "table" ? this.tableValues(state) : null): CellValue[] {
    if (state.place.kind === "table") {
      if (!values) return state.table.columns.map(() => null);
      const cells = this.references.abstract(state.table, values);
      this.said.putInto(cells, state, values);
      return cells;
    }
    const out = this.out.at(state.slot);
    if (!out) throw new MalformedBytes("a row's image is missing");
    return this.fromOut(out).values;
  }

  // ---- writing

  /** Points the log at the row: entries of dots that own nothing any more go. */
  private syncLog(state: RowState, before: ReadonlyMap<string, { origin: number; sequence: number }>): void {
    this.log.point(state, before);
    // Noted by its birth, which may have been issued again.
    if (state.kept) {
      this.db
        .prepare("INSERT INTO _scoutsync_kept(oid, sequence) VALUES(?, ?) ON CONFLICT DO NOTHING")
        .run(state.birth.origin, state.birth.sequence);
    }
    for (const { other, apart } of state.same) this.same.set(state.identity, other, apart);
    this.log.alias(state);
  }

  /**
   * Stores a row that is in its table with these values. `before` are the dots that owned something when the state
   * was loaded. Moves it out of _scoutsync_out when it was there. `key` is its natural key in the table, where that is
   * known better than what it refers to tells. `used` says that nobody reads `values` again, and is called when what there is
   * besides them is packed: what that was read from would be there beside the two copies that SQLite makes.
   */
  saveInTable(
    state: RowState,
    id: bigint | null,
    values: readonly SqlValue[],
    before: ReturnType<typeof ownedDots>,
    key: readonly SqlValue[] | null = null,
    { used }: Used = {},
  ): void {
    const store = this.of(state.table);
    if (state.place.kind !== "table" && state.slot !== UNSTORED) {
      this.out.remove(state.slot);
      this.erased++;
      state.slot = UNSTORED;
    }
    const fresh = state.slot === UNSTORED || state.place.kind !== "table";
    const hash = this.hashes.hashOf(state, id, withHeldKey(state.table, values));
    if (state.hash) this.digest.remove(state.table.tid, state.hash);
    this.digest.add(state.table.tid, hash);
    state.hash = hash;
    state.place = { kind: "table" };
    const isLinked = (cid: number) => state.table.linked.some(({ index }) => state.table.columns[index]?.cid === cid);
    const isShown = (cid: number, value: CellValue) => sameValue(value, values[state.table.indexOf.get(cid) ?? -1] ?? null);
    const differing = [...state.own].filter(([cid, value]) => !(value instanceof Ref) && !isLinked(cid) && !isShown(cid, value));
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
    const wasFormer = id !== null && state.table.surrogate && this.former.has(state.table, id);
    const isNoted = this.keys.isNoted(state);
    if (used && !wasFormer && !isNoted) {
      values.forEach(releaseLarge);
      used();
    }
    if (fresh) state.slot = store.add(state.table.surrogate ? id : null, row);
    else if (state.table.surrogate && id !== null && id !== state.slot) {
      store.remove(state.slot);
      this.erased++;
      state.slot = store.add(id, row);
    } else store.change(state.slot, row);
    if (wasFormer) this.former.placed(state, id, this.references.abstract(state.table, values));
    if (state.table.keyless) {
      // A row that was there stays where it is.
      if (key) store.setLocal(state.slot, packKey(state.table.key, key));
    } else if (isNoted) {
      // What it refers to may wait: an application that enforces nothing names a row that it cannot see.
      const shown = keyIn(state.table, values);
      const inTable = key ?? (hasLocalKey(state.table) ? this.keys.keyValues(state) : shown) ?? shown;
      store.setLocal(state.slot, inTable && packKey(state.table.key, heldKey(state.table, inTable)));
    }
    this.syncLog(state, before);
  }

  /**
   * As `saveInTable`, of a row that is in its table and of which a reference was written while its application wrote nothing. What
   * that may have written before, and nobody has drained or compared yet, is still to be found: by the hash, which stays.
   */
  saveReference(state: RowState, values: readonly SqlValue[], before: ReturnType<typeof ownedDots>): void {
    const id = state.table.surrogate ? state.slot : null;
    const { hash } = state;
    this.saveInTable(state, id, values, before);
    if (hash && state.hash && !hash.equals(state.hash)) this.rehash(state, hash);
  }

  /** Replaces only the stored hash of a row in its table: its values are as they were, read with other columns. */
  rehash(state: RowState, hash: Buffer): void {
    if (state.hash) this.digest.remove(state.table.tid, state.hash);
    this.digest.add(state.table.tid, hash);
    this.of(state.table).setHash(state.slot, hash);
  }

  /**
   * Stores a row that is not in its table: deleted, or waiting for what `state.place` says. `wanted` is its integer;
   * `used` says that nobody reads `values` again, `done` that nobody reads what is in `state` beside its writes.
   */
  saveOut(
    state: RowState,
    wasInTable: boolean,
    wanted: bigint | null,
    values: readonly CellValue[],
    before: ReturnType<typeof ownedDots>,
    { used = false, done = false } = {},
  ): void {
    if (wasInTable) {
      if (state.table.surrogate && wanted !== state.slot) this.erased++;
      if (state.hash) this.digest.remove(state.table.tid, state.hash);
      this.of(state.table).remove(state.slot);
      state.hash = null;
      state.slot = UNSTORED;
    }
    const place = state.place;
    if (wanted !== null) this.of(state.table).cameTo(wanted);
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
    if (done) for (const value of valuesIn(state)) releasePacked(value);
    const code = place.kind === "table" ? OutState.waiting : OutState[place.kind];
    // A deleted row that is back and waits does not stand for its integer any more where another deleted one had that before.
    const last =
      (place.kind === "dead" || place.kind === "waiting") && !wasInTable && wanted !== null ? this.said.lastAt(state.table, wanted) : null;
    if (state.slot === UNSTORED) state.slot = this.out.add(state.table.tid, code, state.key, columns);
    else this.out.change(state.slot, code, columns);
    this.syncLog(state, before);
    if (last && wanted !== null) this.said.sayLast(state.table, wanted, last);
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
    this.log.drop(state);
    if (state.table.surrogate) {
      this.db.prepare("DELETE FROM _scoutsync_alias WHERE oid = ? AND sequence = ?").run(state.identity.origin, state.identity.sequence);
      this.same.leave(state.identity);
    }
    this.db.prepare("DELETE FROM _scoutsync_kept WHERE oid = ? AND sequence = ?").run(state.birth.origin, state.birth.sequence);
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
      this.said.noteOwn(state, cells, values);
      this.saveInTable(state, state.table.surrogate ? state.slot : null, values, before);
    } else this.saveOut(state, false, state.slot === UNSTORED ? null : this.outId(state), cells, before);
  }

  /** Stores what is known of a row that was in a table which is gone, where something may have lost: nothing shows its values any more. */
  saveLeft(state: RowState, before: ReturnType<typeof ownedDots>): void {
    const { origin: oid, sequence, time, context } = state.birth;
    const open = [...state.columns.values()].some((writes) => writes.length > 1) || state.own.size > 0 ? 1 : null;
    const row = { oid, sequence, time, context, open, extra: this.packed(state), hash: state.hash as Buffer };
    this.of(state.table).change(state.slot, row);
    this.syncLog(state, before);
  }

  /** Rows that wait for a place, of one table or of all. */
  waiting({ table, ...where }: { table?: Table } & Omit<WaitingRows, "tid"> = {}): RowState[] {
    return this.statesAt(this.out.waitingSlots({ tid: table?.tid, ...where }));
  }

  /** One image is read after another: together large ones may be more than there is memory. */
  private statesAt(slots: readonly bigint[]): RowState[] {
    return slots.flatMap((slot) => {
      const row = this.out.at(slot);
      return row && this.byTid(Number(row[1])) ? [this.stateFromOut(row)] : [];
    });
  }

  /** Rows of a table that others stand for. */
  joined(table: Table): RowState[] {
    return this.statesAt(this.out.slots(table.tid, OutState.joined));
  }

  /** Births of rows of a table that others stand for and that hold values for columns which it has been given since. */
  lateJoined(table: Table): Write[] {
    return this.out.slots(table.tid, OutState.joined).flatMap((slot) => {
      const state = this.atLog(-table.tid, slot);
      return state?.late ? [state.birth] : [];
    });
  }

  /** Notes how many values of a row out of its table are not shown. */
  setOpen(state: RowState, open: number): void {
    this.out.setOpen(state.slot, open === 0 ? null : open);
  }

  /** Removes a row that is out of its table with its log entries: the caller stores it anew in the same transaction. */
  lift(state: RowState): void {
    this.out.remove(state.slot);
    this.log.lift(state);
  }

  /** Columns of a row in its table whose value is still held, though the table has them now. */
  columnsToFill(state: RowState): number[] {
    return waitingColumns(state, this.causality).map(({ cid }) => cid);
  }
}
