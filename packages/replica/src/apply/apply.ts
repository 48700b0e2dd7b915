import { hash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import {
  type CellValue,
  type ChangeBatch,
  compareDots,
  isCovered,
  join,
  MalformedBytes,
  parseVector,
  formatVector,
  PAYLOAD_FORMATS,
  PayloadReader,
  RawText,
  RecordFlags,
  Ref,
  releaseLarge,
  type SqlValue,
  SyncError,
  type VersionVector,
  type Write,
} from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import type { Knowledge } from "../identity/knowledge.ts";
import { type IncomingRow, type IncomingTable, incomingTables, isStray, readRow, resolveHead } from "../log/incoming.ts";
import type { Groups } from "../log/groups.ts";
import type { Floor } from "../forgetting/floor.ts";
import type { Rejoin, Rejoined } from "../forgetting/rejoin.ts";
import { Contested } from "../repair/contested.ts";
import { settleDoubts } from "../repair/doubt.ts";
import { isAlive, mergeBirth, mergeColumn, mergeExistence, mergeRekey, mergeSame } from "../rows/registers.ts";
import { type ColumnWrite, openConflicts, ownedDots, type RowState, UNSTORED } from "../rows/row-state.ts";
import { lacksTarget } from "../rows/foreign-keys.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import { type Bindable, packKey, sameValue } from "../rows/values.ts";
import { isNamedByBirth, type Table } from "../schema/catalog.ts";
import type { Placement } from "./placement.ts";
import { rowStatement, valueStatement } from "../kept-statements.ts";
import { heldOnly } from "../rows/stored-states.ts";

/** Decisions at the end of a stream are made in transactions of about this length, milliseconds. */
export const NORMALIZE_MS = 200;

const NO_RAW_TEXT: readonly number[] = [];

/** A row that has just been born says nothing but what its table shows. */
const NOTHING_ELSE: RowState["own"] = new Map();

/** zlib takes no smaller pieces, bytes. */
const LEAST_PIECE = 64;

/** A payload that says it is larger than this is refused before it is unpacked, bytes. */
const LARGEST_PAYLOAD = 1024 * 1024 * 1024;

export interface Applied {
  /** After the last batch of a re-join: what became of rows that the server does not hold. */
  rejoined: Rejoined | null;
  /** False while rows wait for decisions that `Placement.normalize` has not come to. */
  settled: boolean;
  received: number;
  applied: number;
  conflicts: number;
  parked: number;
}

/** A batch holds changes of this run that it never made. Nothing of it was applied. */
export class NeverMade extends SyncError {
  constructor() {
    super({
      code: "BATCH_CORRUPT",
      message: "a batch claims changes of this node that it never made",
      action: "Nothing of it was applied. Check which node sent it: it does not run this program, or its memory is damaged.",
    });
  }
}

/** Merges batches of others into this replica, inside the caller's write transaction. */
export class Applier {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly nowUs: () => number;
  private readonly lastSequences = new Map<number, number>();
  private readonly ids = new Map<Table, Map<number, Map<number, bigint | null>>>();
  private opened = 0;
  private movesSeen = 0;
  private clashing = false;
  /** The batch holds whole rows to mend a difference: what the vector covers is merged all the same. */
  private repairing = false;
  /** A row that was held here is given to its table: the vector covers it already. */
  private delivering = false;

  private readonly groups: Groups;

  private readonly floor: Floor;
  private readonly rejoin: Rejoin;
  private readonly contested: Contested;
  /** Every row of the batch is noted as one that the server holds. */
  private rejoining = false;
  /** Gives references of a peer that names rows of joined copies in the old way their names; only on a trial copy. */
  rename: ((cell: CellValue) => CellValue) | null = null;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    placement: Placement;
    nowUs: () => number;
    groups: Groups;
    floor: Floor;
    rejoin: Rejoin;
  }) {
    this.nowUs = options.nowUs;
    this.groups = options.groups;
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.floor = options.floor;
    this.rejoin = options.rejoin;
    this.contested = new Contested(options);
  }

  position(run: string): VersionVector {
    const text = valueStatement(this.db, "SELECT vector FROM _scoutsync_position WHERE run = ?").get(run) as string | undefined;
    return text === undefined ? new Map() : parseVector(text);
  }

  /** Applies one batch; the caller has drained in the same transaction. */
  apply(batch: ChangeBatch, unpacked: Buffer | null): Applied {
    this.lastSequences.clear();
    this.ids.clear();
    this.opened = 0;
    const { vector } = this.knowledge;
    const known = join(vector, this.position(batch.run));
    if (batch.rejoin) this.rejoin.check(batch);
    else if (!batch.repair) this.floor.check(batch);
    this.rejoining = batch.rejoin === true;
    this.repairing = batch.repair === true;
    if (!isCovered(batch.from, known)) {
      throw new SyncError({
        code: "BATCH_GAP",
        message: "a batch starts after changes that are not here",
        action: "Nothing was applied; the session starts again from what is here.",
      });
    }
    for (const [origin, sequence] of batch.vector) {
      const oid = this.knowledge.numberOf(origin);
      if (oid !== undefined) this.refuseForged(oid, sequence);
    }
    this.placement.begin();
    const parkedBefore = this.placement.waitingRows;
    const applied = unpacked ? this.applyRecords(unpacked, batch.count) : 0;
    this.rows.flush();
    this.placement.entities.arrangeTouched();
    this.groups.learn(batch.groups ?? []);
    this.placement.bury();
    this.placement.retryBatch();
    let settled = true;
    let rejoined: Rejoined | null = null;
    if (batch.final) {
      this.knowledge.join(batch.vector);
      if (batch.rejoin) {
        this.rows.flush();
        rejoined = this.rejoin.judge(batch, this.nowUs());
      }
      this.floor.ended(batch, batch.rejoin === true || vector.size === 0);
      this.db.prepare("DELETE FROM _scoutsync_position WHERE run = ?").run(batch.run);
      settled = this.placement.decisions.normalize(performance.now() + NORMALIZE_MS);
    } else if (this.repairing) settled = this.placement.decisions.normalize(performance.now() + NORMALIZE_MS);
    else this.savePosition(batch.run, join(this.position(batch.run), batch.to));
    this.rows.flush();
    return {
      rejoined,
      settled,
      received: batch.count,
      applied,
      conflicts: this.opened,
      parked: Math.max(0, this.placement.waitingRows - parkedBefore),
    };
  }

  private savePosition(run: string, position: VersionVector): void {
    rowStatement(
      this.db,
      "INSERT INTO _scoutsync_position(run, vector) VALUES(?, ?) ON CONFLICT(run) DO UPDATE SET vector = excluded.vector",
    ).run(run, formatVector(position));
  }

  /** Merges a row that was held here, silently and in the caller's transaction. */
  deliver(row: IncomingRow): void {
    this.repairing = false;
    this.regardless(() => this.applyRow(row));
  }

  /** True when what is held of a row without its birth can be merged now: the row is here. */
  hasRowOf(row: IncomingRow): boolean {
    const found = this.find(row);
    return found !== null && !found.partial;
  }

  /** Merges whatever the vector covers. */
  private regardless<T>(work: () => T): T {
    const before = this.delivering;
    this.delivering = true;
    try {
      return work();
    } finally {
      this.delivering = before;
    }
  }

  private applyRecords(unpacked: Buffer, count: number): number {
    const reader = new PayloadReader(unpacked);
    if (reader.count !== count) throw new MalformedBytes("the number of changes differs from what the batch says");
    const tables = incomingTables(reader, this.rows, this.nowUs());
    resolveHead(reader, this.knowledge);
    let applied = 0;
    for (let left = count; left > 0; left--) {
      const incoming = tables[reader.body.varint()];
      if (!incoming) throw new MalformedBytes("unknown table index");
      const flags = reader.body.varint();
      const plain = flags === RecordFlags.birth && incoming.table.surrogate && incoming.complete && !this.repairing && !this.rejoining;
      if (plain ? this.applyPlain(reader, incoming) : this.applyRow(readRow(reader, incoming, flags))) applied++;
    }
    if (!reader.body.done) throw new MalformedBytes("bytes are left over");
    return applied;
  }

  /** Largest sequence of an origin that the log holds: a birth beyond it is new without looking. */
  private isNew(origin: number, sequence: number): boolean {
    this.refuseForged(origin, sequence);
    let last = this.lastSequences.get(origin);
    if (last === undefined) this.lastSequences.set(origin, (last = this.rows.lastSequence(origin)));
    if (sequence <= last) return false;
    this.lastSequences.set(origin, sequence);
    return true;
  }

  /** A row of a surrogate table that nothing but its birth has written: the hot path. */
  private applyPlain(reader: PayloadReader, { table, positions, same, unwritten }: IncomingTable): boolean {
    const origin = reader.origin();
    const sequence = reader.sequence();
    const time = reader.time();
    const context = reader.context();
    const claim = reader.body.value();
    if (typeof claim !== "bigint") throw new MalformedBytes("a claimed key is not an integer");
    const cells: CellValue[] = new Array<CellValue>(table.columns.length);
    if (!same) table.columns.forEach((column, i) => (cells[i] = column.fallback));
    let stray = false;
    let raw = !same;
    for (let i = 0; i < positions.length; i++) {
      const position = positions[i] as number;
      const value = (cells[position] = reader.value());
      if (value === null || typeof value !== "object") continue;
      if (value instanceof Ref) stray ||= isStray(table, position, value);
      else raw ||= value instanceof RawText;
    }
    if (this.knowledge.covers(origin, sequence)) return false;
    const birth = { origin, sequence, time, context };
    const identity = this.rows.shared.has(origin) ? this.rows.shared.identity(table, claim) : birth;
    if (this.isNew(origin, sequence) && !stray && this.insertPlain(table, claim, birth, identity, cells, raw)) return true;
    return this.applyRow({
      table,
      identity,
      key: null,
      birth,
      claim,
      values: cells,
      held: [],
      unwritten,
      columns: [],
      deletes: [],
      rekey: null,
      closed: [],
      twins: [],
      twinValues: [],
      tallies: new Map(),
      same: [],
    });
  }

  /**
   * Inserts at once when nothing stands in the way; false leaves everything to the general path. `mayBeRaw`: some value
   * may be text that is not UTF-8, which is bound as bytes.
   */
  private insertPlain(
    table: Table,
    id: bigint,
    birth: { origin: number; sequence: number; time: number; context: number },
    identity: { origin: number; sequence: number },
    cells: readonly CellValue[],
    mayBeRaw: boolean,
  ): boolean {
    if (this.placement.isAwaited(identity.origin, identity.sequence) || this.rows.same.names(identity)) return false;
    // Another copy's row of this name may be here, deleted or under another integer.
    if (identity !== birth && this.rows.log.hasAlias(identity.origin, identity.sequence)) return false;
    let values = cells;
    if (table.references.length > 0 || table.linked.length > 0) {
      const resolved = [...cells];
      for (const { index, target } of table.linked) {
        const value = resolved[index];
        // A bare integer may be one that means a row here, and a row may be stood for by another.
        if (typeof value === "bigint" || this.rows.linked.hasStoodFor(target)) return false;
        if (!(value instanceof Ref)) continue;
        const shown = this.rows.linked.idOf(target, value);
        if (!sameValue(this.rows.linked.refOf(target, shown), value)) return false;
        resolved[index] = shown;
      }
      for (const { index, parent } of table.references) {
        const value = resolved[index];
        if (!(value instanceof Ref)) continue;
        const target = this.idOf(parent, value);
        if (target === null) return false;
        resolved[index] = target;
      }
      values = resolved;
    }
    // What it refers to by value may have been deleted by someone who did not know of it.
    if (table.dependsOn.length > 0 && lacksTarget(this.rows, table, id, values as SqlValue[])) return false;
    // Once one integer was taken the next ones mostly are, too.
    const mayClash = this.clashing || this.rows.of(table).keptBack !== null;
    if (mayClash && this.rows.byId(table, id)) return false;
    if (this.rows.former.has(table, id)) return false;
    // Rows that a deleted one left behind may show its integer.
    if (table.referencedBy.length > 0 && this.rows.wasUsed(table, id)) return false;
    this.clashing = false;
    try {
      const bound = mayBeRaw ? bindable(values) : { values: values as Bindable[], raw: NO_RAW_TEXT };
      this.rows.of(table).insert(id, bound.values, bound.raw);
    } catch (error) {
      if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT") || !this.db.inTransaction) throw error;
      this.clashing = true;
      return false;
    }
    const rowSum = this.rows.hash(table, id, values as SqlValue[], NOTHING_ELSE);
    this.rows.touchedRow(table, identity);
    this.rows.digest.add(table.tid, rowSum);
    this.rows.of(table).addPlain(id, birth.origin, birth.sequence, birth.time, birth.context, rowSum);
    return true;
  }

  /** The integer of a referenced row, remembered for the batch unless a row has moved since. */
  private idOf(parent: Table, ref: Ref): bigint | null {
    if (this.movesSeen !== this.placement.moves) {
      this.ids.clear();
      this.movesSeen = this.placement.moves;
    }
    let origins = this.ids.get(parent);
    if (!origins) this.ids.set(parent, (origins = new Map()));
    let known = origins.get(ref.origin);
    if (!known) origins.set(ref.origin, (known = new Map()));
    let id = known.get(ref.sequence);
    if (id === undefined || id === null) known.set(ref.sequence, (id = this.rows.references.idOf(parent, ref)));
    return id;
  }

  /** Any record: merges register by register, then settles where the row is. */
  private applyRow(row: IncomingRow): boolean {
    const { table } = row;
    const { shared } = this.rows;
    const { rename } = this;
    if (rename) {
      row.key = row.key?.map(rename) ?? null;
      row.values = row.values.map(rename);
    }
    if (table.keyless) row.key = row.key?.map((cell) => shared.nameOfKeyless(cell)) ?? null;
    if (row.birth && table.surrogate && shared.has(row.birth.origin)) row.identity = shared.identity(table, row.claim);
    for (const write of [
      ...(row.birth ? [row.birth] : []),
      ...row.twins,
      ...row.columns.flatMap(({ writes }) => writes),
      ...row.deletes,
      ...row.closed,
      ...(row.rekey ? [row.rekey] : []),
      ...row.same,
    ]) {
      this.refuseForged(write.origin, write.sequence);
    }
    if (this.repairing) this.contested.yieldTo(row);
    if (this.rejoining) this.rejoin.saw(table, row.identity, row.key && packKey(table.key, row.key));
    const found = this.find(row);
    if (found?.partial && row.birth) {
      this.complete(found, row);
      // What was held is covered by the vector, and so may be what comes.
      return this.regardless(() => this.applyRow(row));
    }
    if (!found && !this.delivering && this.revives(row)) return this.regardless(() => this.applyRow(row));
    const state = found ?? this.create(row);
    if (!state) return false;
    const before = found ? ownedDots(state) : new Map<string, { origin: number; sequence: number }>();
    const openBefore = found ? openConflicts(state) : 0;
    let cells: CellValue[] | null = found ? null : [...row.values];
    const loaded = () => (cells ??= [...this.rows.cells(state)]);
    const kept = new Set<number>();
    const current = (cid: number): CellValue => {
      const index = table.indexOf.get(cid) as number;
      kept.add(index);
      return loaded()[index] as CellValue;
    };
    const changed = new Set<number>();
    const change = (cid: number, value: CellValue) => {
      const index = table.indexOf.get(cid) as number;
      const held = loaded();
      // What was just read and has lost to a write that knew it. `found`: otherwise it is the batch's own.
      if (found && !kept.has(index) && !changed.has(index)) releaseLarge(held[index]);
      held[index] = value;
      changed.add(index);
    };
    let moved = found === null;
    const regardless = this.repairing || this.delivering;
    const covered = (write: { origin: number; sequence: number }) => !regardless && this.knowledge.covers(write.origin, write.sequence);
    if (found && this.repairing) moved = settleDoubts(state, row, this.knowledge, { current, change });
    const mergeAnother = (birth: Write, written: IncomingRow["twinValues"], tallies?: IncomingRow["tallies"]) => {
      const isTwin = shared.has(birth.origin) && shared.has(state.birth.origin);
      moved = mergeBirth(state, birth, written, this.knowledge, current, change, isTwin, tallies) || moved;
    };
    // A row of a surrogate table has several only where copies were joined, and where its birth was issued again.
    if (found && row.birth && !covered(row.birth)) mergeAnother(row.birth, writtenByBirth(row), row.tallies);
    for (const { cid, writes } of row.columns) {
      for (const write of writes) {
        if (!covered(write))
          moved =
            mergeColumn(
              state,
              cid,
              write,
              this.knowledge,
              () => current(cid),
              (value) => change(cid, value),
            ) || moved;
      }
    }
    // After the columns: these say which of them the births did not write alike.
    for (const twin of row.twins) if (!covered(twin)) mergeAnother(twin, row.twinValues);
    for (const write of row.deletes) if (!covered(write)) moved = mergeExistence(state, write, this.knowledge) || moved;
    if (row.rekey && !covered(row.rekey)) moved = mergeRekey(state, row.rekey, this.knowledge) || moved;
    for (const fact of row.same) if (!covered(fact)) moved = mergeSame(state, fact, this.knowledge) || moved;
    for (const record of row.closed) if (!covered(record)) moved = this.mergeClosed(state, record) || moved;
    if (!moved) return false;
    this.opened += Math.max(0, openConflicts(state) - openBefore);
    this.placement.settle(
      state,
      loaded(),
      [...changed].sort((a, b) => a - b),
      before,
    );
    return true;
  }

  /** Nobody knows more of this run's changes than this run. */
  private refuseForged(origin: number, sequence: number): void {
    if (this.knowledge.isSelf(origin) && !this.knowledge.covers(origin, sequence)) throw new NeverMade();
  }

  private find(row: IncomingRow): RowState | null {
    if (!row.identity) return this.rows.byKey(row.table, packKey(row.table.key, row.key as CellValue[]));
    const { origin, sequence } = row.identity;
    return this.rows.byIdentity(row.table, origin, sequence) ?? this.rows.partial(row.table, partialKey(row));
  }

  /**
   * True for a row that is not here though the vector covers its birth, and that is taken whole all the same: it was
   * forgotten here, and there is news of it; or it is deleted and comes with what refers to it; or the server, with
   * which everything is compared, has it.
   */
  private revives(row: IncomingRow): boolean {
    if (row.birth === null) return false;
    const isKnown = ({ origin, sequence }: { origin: number; sequence: number }) => this.knowledge.covers(origin, sequence);
    // A birth of a key that others know as deleted: whether it lives is for the delete to say that was forgotten here.
    if (!isKnown(row.birth)) return row.deletes.some(isKnown) || row.columns.some(({ writes }) => writes.some(isKnown));
    return this.rejoining || this.holdsNews(row) || (this.floor.covers(row.birth.origin, row.birth.sequence) && this.isDeleted(row));
  }

  /** True for a record of a row whose delete has won: taking it can bring nothing back. */
  private isDeleted({ birth, columns, deletes }: IncomingRow): boolean {
    return (
      birth !== null && !isAlive({ birth, deletes, columns: new Map(columns.map(({ cid, writes }) => [cid, writes])) }, this.knowledge)
    );
  }

  /** True when some write of the record is not covered by the vector, or the vector does not count. */
  private holdsNews({ columns, deletes, closed, rekey, twins, same }: IncomingRow): boolean {
    const isNews = ({ origin, sequence }: { origin: number; sequence: number }) => !this.knowledge.covers(origin, sequence);
    if (this.repairing || this.delivering || (rekey && isNews(rekey))) return true;
    return [...deletes, ...closed, ...twins, ...same].some(isNews) || columns.some(({ writes }) => writes.some(isNews));
  }

  private create(row: IncomingRow): RowState | null {
    const { birth } = row;
    // What the vector covers and is not here was forgotten, and is no news.
    if (!birth) return this.holdsNews(row) ? this.createPartial(row) : null;
    if (!this.repairing && !this.delivering && this.knowledge.covers(birth.origin, birth.sequence)) return null;
    const columns = new Map<number, ColumnWrite[]>(
      row.held.map(({ cid, value }) => [cid, [{ ...birth, value, tally: row.tallies.get(cid) }]]),
    );
    for (const [cid, tally] of row.tallies) if (!columns.has(cid)) columns.set(cid, [{ ...birth, value: undefined, tally }]);
    // A birth that comes before whatever else was written may as well have written the default; of several, none comes first.
    if (!isNamedByBirth(row.table) || row.twins.length > 0) for (const cid of row.unwritten) columns.set(cid, []);
    return {
      table: row.table,
      place: { kind: "waiting", reason: "", blocker: null },
      slot: UNSTORED,
      identity: row.identity ?? { origin: birth.origin, sequence: birth.sequence },
      key: row.key ? packKey(row.table.key, row.key) : null,
      birth,
      claim: row.claim,
      twins: [],
      columns,
      deletes: [],
      rekey: null,
      closed: [],
      same: [],
      own: new Map(),
      kept: false,
      hash: null,
    };
  }

  /** A row that others write to and that went from here with a dropped table: what they write is held. */
  private createPartial(row: IncomingRow): RowState {
    const identity = row.identity ?? { origin: 0, sequence: 0 };
    return {
      table: heldOnly(row.table),
      place: { kind: "held", left: "" },
      slot: UNSTORED,
      identity,
      key: partialKey(row),
      birth: { ...identity, time: 0, context: 0 },
      twins: [],
      claim: 0n,
      columns: new Map(),
      deletes: [],
      rekey: null,
      closed: [],
      same: [],
      own: new Map(),
      kept: false,
      partial: true,
      hash: null,
    };
  }

  /** The rest of a row has come: what was held of it goes with the record. */
  private complete(state: RowState, row: IncomingRow): void {
    for (const [cid, writes] of state.columns) row.columns.push({ cid, writes });
    row.deletes.push(...state.deletes);
    row.closed.push(...state.closed);
    row.same.push(...state.same);
    row.rekey ??= state.rekey;
    this.rows.lift(state);
  }

  private mergeClosed(state: RowState, record: IncomingRow["closed"][number]): boolean {
    const same = (held: typeof record) =>
      held.cid === record.cid &&
      held.loser.origin === record.loser.origin &&
      held.loser.sequence === record.loser.sequence &&
      // One write has one value, but for damage: then both stay.
      sameValue(held.value, record.value);
    const held = state.closed.find(same);
    if (held) {
      if (compareDots(record, held, this.knowledge) <= 0) return false;
      state.closed = state.closed.filter((other) => other !== held);
    }
    state.closed.push(record);
    return true;
  }
}

/** The name of a row whose birth is not here: its natural key, or the dot of the birth. */
function partialKey({ table, identity, key }: IncomingRow): Buffer {
  if (!identity) return packKey(table.key, key as CellValue[]);
  return packKey(table.key, [new Ref(identity.origin, identity.sequence)]);
}

/** The values that a record's birth wrote, columns that the table lacks included. */
function writtenByBirth({ table, values, unwritten, held }: IncomingRow): { cid: number; value: CellValue }[] {
  const here = table.columns.map(({ cid }, index) => ({ cid, value: values[index] ?? null }));
  return [...here.filter(({ cid }) => !unwritten.has(cid)), ...held];
}

/** Names of the tables in a payload; none where it cannot be read, which applying it will say. */
export function tablesIn(unpacked: Buffer): string[] {
  try {
    return new PayloadReader(unpacked).head.tables.map(({ name }) => name);
  } catch (error) {
    if (error instanceof MalformedBytes) return [];
    throw error;
  }
}

/** Checks that the payload is what was sent, and unpacks it. Null when it is empty. */
export function unpackBatch(batch: ChangeBatch): Buffer | null {
  const corrupt = (message: string) =>
    new SyncError({ code: "BATCH_CORRUPT", message, action: "Nothing of it was applied; it is asked for again." });
  const sum = hash("sha256", batch.payload, "buffer");
  if (Buffer.compare(sum, batch.sha256) !== 0) throw corrupt("a batch's SHA-256 does not match its bytes");
  if (batch.count === 0 && batch.payload.length > 0) throw corrupt("a batch says that it is empty and is not");
  if (batch.count === 0) return null;
  if (!(PAYLOAD_FORMATS as readonly string[]).includes(batch.format)) {
    throw new SyncError({
      code: "PROTOCOL_VERSION",
      message: `a batch has the layout "${batch.format}", which this version does not know`,
      action: "Nothing of it was applied. Upgrade this node to the version its peer runs; the changes stay with the peer until then.",
    });
  }
  if (batch.payloadSize > LARGEST_PAYLOAD) throw corrupt("a batch says it is larger than 1 GiB");
  try {
    const plain = batch.codec === "zstd" ? decompressed(batch.payload, batch.payloadSize) : asBuffer(batch.payload);
    if (plain.length !== batch.payloadSize) throw corrupt("a batch unpacks to another size than it says");
    return plain;
  } catch (error) {
    if (error instanceof SyncError) throw error;
    throw new SyncError({
      code: "BATCH_CORRUPT",
      message: "a batch cannot be unpacked",
      action: "Nothing of it was applied; it is asked for again.",
      cause: error,
    });
  }
}

/** In one piece of memory: of pieces of the usual size all would be there twice while they are put together. */
function decompressed(payload: Uint8Array, size: number): Buffer {
  // One byte more than it says: a piece that is full would make room for another one.
  return zstdDecompressSync(payload, { maxOutputLength: Math.max(1, size), chunkSize: Math.max(LEAST_PIECE, size + 1) });
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
