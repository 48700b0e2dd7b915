import type { Database } from "better-sqlite3";
import { ByteReader, ByteWriter, type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import { touchColumns } from "../capture/touch.ts";
import { indexesOf, pick } from "../rows/foreign-keys.ts";
import { registerOf } from "../rows/registers.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import { packKey, sameValue } from "../rows/values.ts";
import type { ForeignKey, Table } from "../schema/catalog.ts";

/** What the author of a mass delete knew: the last change of each origin, by its local number. */
export type Known = Record<string, number>;

/** What stands for the hash of one whose row is kept back. */
const CONFIRMED = Buffer.alloc(0);

/**
 * References that a mass delete emptied in other rows (ON DELETE SET NULL, SET DEFAULT): those are edits, which travel; undoing the
 * delete writes them anew where nobody has written since. They are among the rows of _scoutsync_quarantined, under the number of
 * the table that they refer to, negative: `local` is which foreign key, what it held and of which row, `image` that row and the values
 * by column, references as identities, `hash` when it was emptied, until the row that it named is kept back by the same statement.
 */
export class EmptiedReferences {
  private readonly db: Database;
  private readonly rows: RowStore;

  constructor({ db, rows }: { db: Database; rows: RowStore }) {
    this.db = db;
    this.rows = rows;
  }

  /**
   * An update changed the columns of a foreign key of a row, by itself or as others went: what it found, and when, as `Event` has both.
   * Notes nothing where the row referred to none.
   */
  note(
    state: RowState,
    foreign: ForeignKey,
    { found, at }: { found: SqlValue[] | null; at: SqlValue | undefined },
    quarantine: number,
  ): void {
    const { table } = state;
    const held = found && pick(table, foreign.columns, null, found);
    if (!held) return;
    const cells = this.rows.references.abstract(table, found);
    const row = table.surrogate ? new Ref(state.identity.origin, state.identity.sequence) : (state.key as Buffer);
    const local = new ByteWriter(64);
    local.bytes(target(foreign, held));
    local.value(row);
    const image = new ByteWriter(64);
    image.varint(table.tid);
    image.value(row);
    for (const index of indexesOf(foreign)) {
      image.varint(table.columns[index]?.cid ?? 0);
      image.value(cells[index] as CellValue);
    }
    this.db
      .prepare(
        "INSERT INTO _scoutsync_quarantined(tid, local, quarantine, hash, image) VALUES(?, ?, ?, ?, ?) " +
          "ON CONFLICT DO UPDATE SET quarantine = excluded.quarantine, hash = excluded.hash, image = excluded.image",
      )
      .run(-foreign.parent.tid, local.toBytes(), quarantine, packed(at), image.toBytes());
  }

  /** A row is kept back: what the statement that deleted it emptied in others is to be given back. `at` as `Event` has it. */
  confirm(
    table: Table,
    { key, image, at }: { key: readonly SqlValue[]; image: readonly SqlValue[]; at: SqlValue | undefined },
    quarantine: number,
  ): void {
    for (const foreign of table.empties) {
      const held = pick(table, foreign.targets, table.surrogate ? (key[0] as bigint) : null, image);
      if (!held) continue;
      const from = target(foreign, held);
      this.db
        .prepare("UPDATE _scoutsync_quarantined SET hash = ? WHERE tid = ? AND local > ? AND local < ? AND quarantine = ? AND hash = ?")
        .run(CONFIRMED, -table.tid, from, Buffer.concat([from, Buffer.of(0xff)]), quarantine, packed(at));
    }
  }

  /** Writes up to `limit` of them anew, as edits of the dirty list. `known`: what this node knew when all had been drained. True when none is left. */
  giveBack(quarantine: number, known: Known, limit: number): boolean {
    const page = this.db
      .prepare("SELECT tid, local, hash, image FROM _scoutsync_quarantined WHERE quarantine = ? AND tid < 0 LIMIT ?")
      .all(quarantine, limit) as { tid: number; local: Buffer; hash: Buffer; image: Buffer }[];
    const remove = this.db.prepare("DELETE FROM _scoutsync_quarantined WHERE tid = ? AND local = ?");
    for (const { tid, local, hash, image } of page) {
      remove.run(tid, local);
      if (hash.equals(CONFIRMED)) this.write(new ByteReader(image), known);
    }
    return page.length === 0;
  }

  private write(image: ByteReader, known: Known): void {
    const table = this.rows.byTid(image.varint());
    const name = image.value();
    if (!table || table.absent !== null) return;
    const state =
      name instanceof Ref
        ? this.rows.byIdentity(table, name.origin, name.sequence)
        : this.rows.byKey(table, Buffer.from(name as Uint8Array));
    const key = state?.place.kind === "table" ? this.rows.keys.keyValues(state) : null;
    const cells: CellValue[] | null = key && this.rows.of(table).readTable(key);
    if (!state || !key || !cells) return;
    const indexes: number[] = [];
    while (!image.done) {
      const index = table.indexOf.get(image.varint());
      const value = image.value();
      if (index === undefined || !this.isAsLeft(state, index, cells[index] as SqlValue, known)) return;
      indexes.push(index);
      cells[index] = value;
    }
    const foreign = table.emptied.find((one) => indexesOf(one).join() === indexes.join());
    const { values, missing, dead } = this.rows.references.concrete(table, cells);
    const held = foreign && !missing && dead.length === 0 ? (pick(table, foreign.columns, null, values) as SqlValue[] | null) : null;
    if (!foreign || !held || this.rows.of(foreign.parent).keysHolding(foreign.targets, foreign.collations, bindable(held)).length === 0)
      return;
    const bound = bindable(held);
    try {
      this.rows.of(table).update(key, indexes, bound.values, bound.raw);
    } catch (error) {
      // Another row has its UNIQUE value since.
      if ((error as { code?: string }).code?.startsWith("SQLITE_CONSTRAINT")) return;
      throw error;
    }
    touchColumns(this.db, table, { key, slot: state.slot }, indexes);
  }

  /** True where a column holds what it was emptied to, and nobody has written it since, nor without having seen that. */
  private isAsLeft(state: RowState, index: number, value: SqlValue, known: Known): boolean {
    const { cid, fallback } = state.table.columns[index] as Table["columns"][number];
    const [write, ...others] = registerOf(state, cid);
    const isOld = write !== undefined && others.length === 0 && write.sequence <= (known[write.origin] ?? 0);
    return isOld && (value === null || sameValue(value, fallback));
  }
}

/** What names the row that a foreign key refers to by these values. */
function target({ child, columns, collations }: ForeignKey, values: readonly CellValue[]): Buffer {
  const out = new ByteWriter(64);
  out.varint(child.tid);
  out.text(columns.join("\n"));
  out.bytes(
    packKey(
      collations.map((collation) => ({ collation })),
      values,
    ),
  );
  return Buffer.from(out.toBytes());
}

/** When something was captured. */
const packed = (at: SqlValue | undefined): Buffer => packKey([{ collation: "BINARY" }], [at ?? null]);
