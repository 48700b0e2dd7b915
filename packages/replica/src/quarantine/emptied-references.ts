import type { Database } from "better-sqlite3";
import { ByteReader, ByteWriter, type CellValue, MalformedBytes, Ref, type SqlValue, winnerOf, type Write } from "@scoutsync/core";
import { touchColumns } from "../capture/touch.ts";
import { Op } from "../capture/triggers.ts";
import type { Event } from "../drain/captured.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { indexesOf, meant, pick, targetName } from "../rows/foreign-keys.ts";
import { contextOfReplacing } from "../rows/local-writes.ts";
import { mergeColumn, registerOf } from "../rows/registers.ts";
import { type ColumnWrite, ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import { packKey, sameValue } from "../rows/values.ts";
import type { Column, ForeignKey, Table } from "../schema/catalog.ts";

/** A write, by the local number of its origin. */
type Dot = Pick<Write, "origin" | "sequence">;

/** What one of `image` says of a column: its number, what it held, and the write that emptied it; null in what an earlier version noted. */
type Emptied = [cid: number, value: CellValue, by: Dot | null];

/** What stands for the hash of one whose row is kept back. */
const CONFIRMED = Buffer.alloc(0);

/**
 * References that a mass delete emptied in other rows (ON DELETE SET NULL, SET DEFAULT): those are edits, which travel; undoing the
 * delete writes them anew where nobody has written since. They are among the rows of _scoutsync_quarantined, under the number of
 * the table that they refer to, negative: `local` is which foreign key, what it held and of which row, `image` that row and by column the
 * value, references as identities, and the write that emptied it; `hash` the number of that event, until it is known for one that the
 * delete of the row that was named did.
 */
export class EmptiedReferences {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;

  constructor({ db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge }) {
    this.db = db;
    this.rows = rows;
    this.knowledge = knowledge;
  }

  /**
   * An update changed the columns of a foreign key of a row, by itself or as others went: what it found, as `Event` has it, and the number
   * of its event. After the row has that as a write. Notes nothing where the row referred to none.
   */
  note(state: RowState, foreign: ForeignKey, { found, n }: { found: SqlValue[] | null; n: number }, quarantine: number): void {
    const { table } = state;
    const held = found && pick(table, foreign.columns, null, found);
    if (!held) return;
    const cells = this.rows.references.abstract(table, found);
    const row = table.surrogate ? new Ref(state.identity.origin, state.identity.sequence) : (state.key as Buffer);
    const local = new ByteWriter(64);
    local.bytes(target(foreign, meant(foreign, held)));
    local.value(row);
    const image = new ByteWriter(64);
    image.varint(table.tid);
    image.value(row);
    for (const index of indexesOf(foreign)) {
      const { cid } = columnAt(table, index);
      const write = winnerOf(registerOf(state, cid), this.knowledge);
      image.varint(cid);
      image.value(cells[index] as CellValue);
      image.varint(write?.origin ?? 0);
      image.varint(write?.sequence ?? 0);
    }
    this.db
      .prepare(
        "INSERT INTO _scoutsync_quarantined(tid, local, quarantine, hash, image) VALUES(?, ?, ?, ?, ?) " +
          "ON CONFLICT DO UPDATE SET quarantine = excluded.quarantine, hash = excluded.hash, image = excluded.image",
      )
      .run(-foreign.parent.tid, local.toBytes(), quarantine, numbered(n), image.toBytes());
  }

  /**
   * A row is kept back: what its delete emptied in others is to be given back, which is what came between the events that it was about to
   * go and that it is gone. Of a row that OR REPLACE displaced the first is all there is: nobody could refer to it after that.
   */
  confirm(table: Table, { op, n, from, key, image }: Pick<Event, "op" | "n" | "from" | "key" | "image">, quarantine: number): void {
    const [after, before] = op === Op.displaced ? [n, Number.MAX_SAFE_INTEGER] : [from, n];
    if (after === null) return;
    for (const foreign of table.empties) {
      const held = pick(table, foreign.targets, table.surrogate ? (key[0] as bigint) : null, image);
      if (!held) continue;
      const begin = target(foreign, held);
      this.db
        .prepare(
          "UPDATE _scoutsync_quarantined SET hash = ? WHERE tid = ? AND local > ? AND local < ? AND quarantine = ? AND hash > ? AND hash < ?",
        )
        .run(CONFIRMED, -table.tid, begin, Buffer.concat([begin, Buffer.of(0xff)]), quarantine, numbered(after), numbered(before));
    }
  }

  /**
   * Writes up to `limit` of them anew, as edits of the dirty list. Where another mass delete has the row, or the one that it referred to, they
   * become that one's. True when none is left.
   */
  giveBack(quarantine: number, limit: number): boolean {
    const page = this.db
      .prepare("SELECT tid, local, hash, image FROM _scoutsync_quarantined WHERE quarantine = ? AND tid < 0 LIMIT ?")
      .all(quarantine, limit) as { tid: number; local: Buffer; hash: Buffer; image: Buffer }[];
    const remove = this.db.prepare("DELETE FROM _scoutsync_quarantined WHERE tid = ? AND local = ?");
    const leave = this.db.prepare("UPDATE _scoutsync_quarantined SET quarantine = ? WHERE tid = ? AND local = ?");
    for (const { tid, local, hash, image } of page) {
      const other = hash.equals(CONFIRMED) ? this.write(new ByteReader(image), quarantine) : null;
      if (other === null) remove.run(tid, local);
      else leave.run(other, tid, local);
    }
    return page.length === 0;
  }

  /** Writes one anew where that can be. Returns the mass delete that has to be undone before, if any. */
  private write(image: ByteReader, quarantine: number): number | null {
    const table = this.rows.byTid(image.varint());
    const name = image.value();
    if (!table || table.absent !== null) return null;
    const state =
      name instanceof Ref
        ? this.rows.byIdentity(table, name.origin, name.sequence)
        : this.rows.byKey(table, Buffer.from(name as Uint8Array));
    const key = state?.place.kind === "table" ? this.rows.keys.keyValues(state) : null;
    const cells: CellValue[] | null = key && this.rows.of(table).readTable(key);
    if (!state || !key) return null;
    if (!cells) return this.keptBackBy(table, key);
    const was = [...cells] as SqlValue[];
    const shown = this.rows.references.abstract(table, was);
    const emptied = new Map<number, Dot>();
    for (const [cid, value, noted] of columnsIn(image)) {
      const index = table.indexOf.get(cid);
      const by = index === undefined ? null : (noted ?? this.likelyBy(state, index, was[index] ?? null, quarantine));
      if (index === undefined || !by || !this.isAsLeft(state, index, by, { shown: shown[index] ?? null, value })) return null;
      emptied.set(index, by);
      cells[index] = value;
    }
    const indexes = [...emptied.keys()];
    const foreign = table.emptied.find((one) => indexesOf(one).join() === indexes.join());
    const { values, missing, dead } = this.rows.references.concrete(table, cells);
    const held = foreign && !missing && dead.length === 0 ? (pick(table, foreign.columns, null, values) as SqlValue[] | null) : null;
    if (!foreign || !held) return null;
    const { parent, targets, collations } = foreign;
    if (this.rows.of(parent).keysHolding(targets, collations, bindable(held)).length === 0)
      return this.keptBackBy(
        parent,
        parent.key.map(({ name: part }) => held[targets.indexOf(part)] ?? null),
      );
    const bound = bindable(held);
    try {
      this.rows.of(table).update(key, indexes, bound.values, bound.raw);
    } catch (error) {
      // Another row has its UNIQUE value since.
      if ((error as { code?: string }).code?.startsWith("SQLITE_CONSTRAINT")) return null;
      throw error;
    }
    if (indexes.every((index) => registerOf(state, columnAt(table, index).cid).length === 1))
      touchColumns(this.db, table, { key, slot: state.slot }, indexes);
    else {
      const before = ownedDots(state);
      const wins = this.writeBeside(state, emptied, shown, cells);
      const others = indexes.filter((index) => !wins.includes(index));
      const back = bindable(others.map((index) => was[index] as SqlValue));
      if (others.length > 0) this.rows.of(table).update(key, others, back.values, back.raw);
      const now = this.rows.of(table).readTable(key) as SqlValue[];
      this.rows.saveInTable(state, table.surrogate ? (key[0] as bigint) : null, now, before, table.surrogate ? null : key);
    }
    return null;
  }

  /**
   * Others emptied the columns, too, which may be somebody's edit: that stays beside this write, which has the time of the one that it
   * stands for, so that a later one still wins. Returns the columns in which it does. `shown`: what the row held; `given`: what it is given.
   */
  private writeBeside(
    state: RowState,
    emptiedBy: ReadonlyMap<number, Dot>,
    shown: readonly CellValue[],
    given: readonly CellValue[],
  ): readonly number[] {
    const wins: number[] = [];
    for (const [index, dot] of emptiedBy) {
      const { cid } = columnAt(state.table, index);
      const mine = registerOf(state, cid).find((write) => isDot(write, dot)) as ColumnWrite;
      const context = contextOfReplacing([mine], this.knowledge, false);
      const write = { ...this.knowledge.nextDot(), time: mine.time, context, value: given[index] as CellValue };
      const was = () => shown[index] ?? null;
      mergeColumn(state, cid, write, this.knowledge, was, () => wins.push(index));
    }
    return wins;
  }

  /**
   * True where nobody has written a column since it was emptied, nor without having seen that, but for those who emptied it as well, or have
   * given it back. `shown`: what it holds; `value`: what it held.
   */
  private isAsLeft(state: RowState, index: number, by: Dot, { shown, value }: { shown: CellValue; value: CellValue }): boolean {
    const register = registerOf(state, columnAt(state.table, index).cid);
    const mine = register.find((write) => isDot(write, by));
    if (!mine || register.length === 1) return mine !== undefined;
    const winner = winnerOf(register, this.knowledge);
    const valueOf = (write: ColumnWrite) => (write === winner ? shown : (write.value ?? null));
    // Of rows that are one each has what it says itself.
    return state.same.length === 0 && register.every((write) => [valueOf(mine), value].some((one) => sameValue(one, valueOf(write))));
  }

  /** The write that emptied a column, where that was not noted: the only one, if nobody has written since the delete was drained. */
  private likelyBy(state: RowState, index: number, value: SqlValue, quarantine: number): Dot | null {
    const { cid, fallback } = columnAt(state.table, index);
    const [write, ...others] = registerOf(state, cid);
    const since = this.db.prepare("SELECT counts -> 'known' FROM _scoutsync_quarantine WHERE id = ?").pluck().get(quarantine);
    const known = JSON.parse((since as string | null | undefined) ?? "{}") as Record<string, number>;
    const isOld = write !== undefined && others.length === 0 && write.sequence <= (known[write.origin] ?? 0);
    return isOld && (value === null || sameValue(value, fallback)) ? write : null;
  }

  /** The mass delete that has a row. */
  private keptBackBy(table: Table, key: readonly SqlValue[]): number | null {
    const found = this.db
      .prepare("SELECT quarantine FROM _scoutsync_quarantined WHERE tid = ? AND local = ?")
      .pluck()
      .get(table.tid, packKey(table.key, key)) as number | undefined;
    return found ?? null;
  }
}

/** The rest of an `image`, as this version writes it or without the writes, as an earlier one did. */
function columnsIn(image: ByteReader): Emptied[] {
  const { at } = image;
  try {
    return readColumns(image, () => ({ origin: image.varint(), sequence: image.varint() }));
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    image.at = at;
    return readColumns(image, () => null);
  }
}

function readColumns(image: ByteReader, readWrite: () => Dot | null): Emptied[] {
  const columns: Emptied[] = [];
  while (!image.done) columns.push([image.varint(), image.value(), readWrite()]);
  return columns;
}

const isDot = ({ origin, sequence }: Write, dot: Dot): boolean => origin === dot.origin && sequence === dot.sequence;

const columnAt = (table: Table, index: number): Column => table.columns[index] as Column;

/** What names the row that a foreign key refers to by these values. */
function target(foreign: ForeignKey, values: readonly CellValue[]): Buffer {
  const out = new ByteWriter(64);
  out.varint(foreign.child.tid);
  out.text(foreign.columns.join("\n"));
  out.bytes(targetName(foreign, values));
  return Buffer.from(out.toBytes());
}

/** The number of an event, so that they compare as bytes. */
function numbered(n: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(n));
  return bytes;
}
