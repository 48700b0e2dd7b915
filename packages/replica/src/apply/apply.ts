import {
  type CellValue,
  type ChangeBatch,
  compareDots,
  isCovered,
  join,
  MalformedBytes,
  parseVector,
  formatVector,
  PayloadReader,
  RawText,
  RecordFlags,
  Ref,
  releaseLarge,
  releasePacked,
  SyncError,
  type VersionVector,
  type Write,
  memoryOf,
} from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Table } from "../schema/catalog.ts";
import { type IncomingRow, type IncomingTable, incomingTables, isDeleted, readRow, resolveHead } from "../log/incoming.ts";
import type { Groups } from "../log/groups.ts";
import type { Floor } from "../forgetting/floor.ts";
import type { Rejoin, Rejoined } from "../forgetting/rejoin.ts";
import { Contested } from "../repair/contested.ts";
import { settleDoubts } from "../repair/doubt.ts";
import { isAlive, mergeBirth, mergeColumn, mergeExistence, mergeRekey, mergeSame } from "../rows/registers.ts";
import { type ColumnWrite, openConflicts, ownedDots, releaseBut, type RowState, valuesIn } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { isStray } from "../rows/references.ts";
import { packKey, sameValue } from "../rows/values.ts";
import type { Standing } from "./past-capture.ts";
import type { Placement } from "./placement.ts";
import { rowStatement, valueStatement } from "../kept-statements.ts";
import { refuseForged } from "./never-made.ts";
import { bornState, partialKey, partialState, writtenByBirth } from "./new-states.ts";
import { PlainBirths } from "./plain-births.ts";
import { RenamedElsewhere } from "./renamed-elsewhere.ts";

/** Decisions at the end of a stream are made in transactions of about this length, milliseconds. */
export const NORMALIZE_MS = 200;

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

/** Merges batches of others into this replica, inside the caller's write transaction. */
export class Applier {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly nowUs: () => number;
  private opened = 0;
  /** What the batch's own values lie in. */
  private memory: ArrayBufferLike | null = null;
  /** The batch holds whole rows to mend a difference: what the vector covers is merged all the same. */
  private repairing = false;
  /** A row that was held here is given to its table: the vector covers it already. */
  private delivering = false;

  private readonly groups: Groups;

  private readonly floor: Floor;
  private readonly rejoin: Rejoin;
  private readonly contested: Contested;
  private readonly plain: PlainBirths;
  private readonly renamed: RenamedElsewhere;
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
    renamed: () => void;
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
    this.plain = new PlainBirths(options);
    this.renamed = new RenamedElsewhere(options);
  }

  position(run: string): VersionVector {
    const text = valueStatement(this.db, "SELECT vector FROM _scoutsync_position WHERE run = ?").get(run) as string | undefined;
    return text === undefined ? new Map() : parseVector(text);
  }

  /** Applies one batch; the caller has drained in the same transaction. */
  apply(batch: ChangeBatch, unpacked: Buffer | null): Applied {
    this.plain.begin();
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
      if (oid !== undefined) refuseForged(this.knowledge, oid, sequence);
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

  /** Merges a row that was held here in the middle of a batch. */
  private mergeHeld(row: IncomingRow): void {
    const { repairing } = this;
    this.repairing = false;
    this.regardless(() => this.applyRow(row));
    this.repairing = repairing;
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
    this.memory = unpacked.buffer;
    const reader = new PayloadReader(unpacked, this.rows.keepsLongText);
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
    if (this.plain.isNew(origin, sequence) && !stray && this.plain.insert(table, claim, birth, identity, cells, raw)) return true;
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
      refuseForged(this.knowledge, write.origin, write.sequence);
    }
    for (const held of this.renamed.take(row)) this.mergeHeld(held);
    if (this.repairing) this.contested.yieldTo(row);
    if (this.rejoining) this.rejoin.saw(table, row.identity, row.key && packKey(table.key, row.key));
    const found = this.find(row);
    if (found?.partial && row.birth) {
      this.complete(found, row);
      // What was held is covered by the vector, and so may be what comes.
      return this.regardless(() => this.applyRow(row));
    }
    if (!found && row.birth && this.hasUnderAnotherName(row.table, row.birth)) row.birth = null;
    if (!found && !this.delivering && this.revives(row)) return this.regardless(() => this.applyRow(row));
    const state = found ?? this.create(row);
    if (!state) return false;
    const before = found ? ownedDots(state) : new Map<string, { origin: number; sequence: number }>();
    const openBefore = found ? openConflicts(state) : 0;
    const read = found ? [...valuesIn(state)] : [];
    let cells: CellValue[] | null = found ? null : [...row.values];
    let stood: Standing | null = null;
    const load = (): CellValue[] => {
      const values = state.place.kind === "table" ? this.rows.tableValues(state) : null;
      if (values) stood = this.placement.pastCapture.standing(state, values);
      return [...this.rows.cells(state, values)];
    };
    const loaded = () => (cells ??= load());
    const kept = new Set<number>();
    const current = (cid: number): CellValue => {
      const index = table.indexOf.get(cid) as number;
      kept.add(index);
      return loaded()[index] as CellValue;
    };
    const changed = new Set<number>();
    const change = (cid: number, value: CellValue, next?: readonly ColumnWrite[]) => {
      const index = table.indexOf.get(cid) as number;
      // What is replaced of what was read with the row would be there beside what its table holds.
      if (next && cells === null && !this.delivering)
        releaseBut(read, [value, ...valuesIn({ ...state, columns: new Map(state.columns).set(cid, [...next]) })]);
      const held = loaded();
      // What was just read and has lost to a write that knew it. `found`: otherwise it is the batch's own.
      if (found && !stood && !kept.has(index) && !changed.has(index)) releaseLarge(held[index]);
      held[index] = value;
      changed.add(index);
    };
    const shown = (cid: number, value: CellValue): CellValue => {
      const index = table.indexOf.get(cid) as number;
      const isLinked = table.linked.some((reference) => reference.index === index);
      return value instanceof Ref && !isLinked ? (this.rows.references.idAt(table, index, value) ?? value) : value;
    };
    let moved = found === null;
    const regardless = this.repairing || this.delivering;
    const covered = (write: { origin: number; sequence: number }) => !regardless && this.knowledge.covers(write.origin, write.sequence);
    if (found && this.repairing) moved = settleDoubts(state, row, this.knowledge, { current, change, shown });
    const mergeAnother = (birth: Write, written: IncomingRow["twinValues"], tallies?: IncomingRow["tallies"]) => {
      const isTwin = shared.hasAsIssued(birth.origin) && shared.hasAsIssued(state.birth.origin);
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
              (value, next) => change(cid, value, next),
            ) || moved;
      }
    }
    // After the columns: these say which of them the births did not write alike.
    for (const twin of row.twins) if (!covered(twin)) mergeAnother(twin, row.twinValues);
    for (const write of row.deletes) if (!covered(write)) moved = mergeExistence(state, write, this.knowledge) || moved;
    if (row.rekey && !covered(row.rekey)) moved = mergeRekey(state, row.rekey, this.knowledge) || moved;
    for (const fact of row.same) if (!covered(fact)) moved = mergeSame(state, fact, this.knowledge) || moved;
    for (const record of row.closed) if (!covered(record)) moved = this.mergeClosed(state, record) || moved;
    // What its table shows may be from before a foreign key was declared here, and the row named have moved: it is followed now.
    if (this.repairing && [...state.own.values()].some((said) => said instanceof Ref)) moved = true;
    // What it shows is made anew of what its members hold: it may be that which differs.
    if (this.repairing && this.placement.entities.concerns(state)) this.placement.entities.touch(state.birth);
    if (!moved) return false;
    const now = loaded();
    if (stood) this.placement.pastCapture.keep(state, stood, isAlive(state, this.knowledge) ? { changed, cells: now } : null);
    if (this.repairing) this.placement.pastCapture.forget(state);
    this.opened += Math.max(0, openConflicts(state) - openBefore);
    const used = found !== null && !stood && !this.delivering ? () => this.letGo(state, now) : undefined;
    // What was read with it and is not in it any more would be there beside what is stored now.
    if (used) releaseBut(read, [...now, ...valuesIn(state)]);
    this.placement.settle(
      state,
      now,
      [...changed].sort((a, b) => a - b),
      before,
      { used },
    );
    used?.();
    return true;
  }

  /**
   * Gives back what was read of a row that is merged and stored: what is read of it next would be there beside it until the
   * collector comes by. One that has died is removed with what was read of it; what is the batch's own shares its memory, and stays.
   */
  private letGo(state: RowState, cells: readonly CellValue[]): void {
    if (!isAlive(state, this.knowledge)) return;
    for (const value of [...cells, ...valuesIn(state)]) if (memoryOf(value) !== this.memory) releasePacked(value);
  }

  private find(row: IncomingRow): RowState | null {
    if (!row.identity) return this.rows.byKey(row.table, packKey(row.table.key, row.key as CellValue[]));
    const { origin, sequence } = row.identity;
    return this.rows.byIdentity(row.table, origin, sequence) ?? this.rows.partial(row.table, partialKey(row));
  }

  /**
   * True for a row of a table that the application has renamed elsewhere and not yet here, where it is under the old name. What is
   * written under the new one is held without the birth: a second row of this birth would take the place of the first in the log.
   */
  private hasUnderAnotherName(table: Table, birth: Write): boolean {
    if (table.absent === null || !this.knowledge.covers(birth.origin, birth.sequence)) return false;
    const there = this.rows.byDot(birth.origin, birth.sequence);
    return there !== null && !there.partial && there.table.tid !== table.tid && there.table.absent === null;
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
    return (
      this.rejoining || this.holdsNews(row) || (this.floor.covers(row.birth.origin, row.birth.sequence) && isDeleted(row, this.knowledge))
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
    if (!birth) return this.holdsNews(row) ? partialState(row) : null;
    if (!this.repairing && !this.delivering && this.knowledge.covers(birth.origin, birth.sequence)) return null;
    return bornState(row, birth);
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
