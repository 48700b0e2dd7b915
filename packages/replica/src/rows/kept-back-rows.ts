import type { Database } from "better-sqlite3";
import { ByteReader, ByteWriter, type CellValue, Ref, type SqlValue, textOfBytes } from "@scoutsync/core";
import { meant, pick, targetName } from "./foreign-keys.ts";
import type { Concrete } from "./references.ts";
import { showKey } from "./row-keys.ts";
import type { RowStore } from "./row-store.ts";
import type { Identity } from "./same-links.ts";
import { type Bindable, packKey } from "./values.ts";
import type { ForeignKey, Table } from "../schema/catalog.ts";

/**
 * Rows of one table that the application deleted and whose delete is kept back. What is known of them says that they are
 * in their table; this is where their values are then. Read and written by `TableStore` where the table has no such row.
 */
export class KeptBackRows {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly table: Table;
  /** Keys as hex by what their rows refer to; null = not read yet. Rows may have gone since, or refer to something else. */
  private byTarget: Map<string, Set<string>> | null = null;

  constructor(rows: RowStore, table: Table) {
    this.db = rows.db;
    this.rows = rows;
    this.table = table;
  }

  private local(key: readonly SqlValue[]): Buffer {
    return packKey(this.table.key, key);
  }

  private image(key: readonly SqlValue[]): Buffer | undefined {
    return this.db
      .prepare("SELECT image FROM _scoutsync_quarantined WHERE tid = ? AND local = ?")
      .pluck()
      .get(this.table.tid, this.local(key)) as Buffer | undefined;
  }

  has(key: readonly SqlValue[]): boolean {
    return this.image(key) !== undefined;
  }

  read(key: readonly SqlValue[]): SqlValue[] | null {
    return this.concrete(key)?.values ?? null;
  }

  /** What a row holds, references as identities. */
  cells(key: readonly SqlValue[]): CellValue[] | null {
    const image = this.image(key);
    return image === undefined ? null : unpackCells(this.table, key, image);
  }

  /** What `read` gives, with whom the row names that is in no table: nothing can be put in for that one. */
  concrete(key: readonly SqlValue[]): Concrete | null {
    const cells = this.cells(key);
    return cells && this.rows.references.concrete(this.table, cells);
  }

  /** Keeps a row back; one that is kept back already stays as it is. */
  add(key: readonly SqlValue[], values: readonly SqlValue[], hash: Buffer, quarantine: number): void {
    const cells = this.rows.references.abstract(this.table, values);
    this.db
      .prepare("INSERT INTO _scoutsync_quarantined(tid, local, quarantine, hash, image) VALUES(?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
      .run(this.table.tid, this.local(key), quarantine, hash, packCells(this.table, cells));
    if (this.byTarget) this.noteTargets(this.byTarget, this.local(key), cells);
  }

  /** Keys of the rows that refer to one of these, as `namedTarget` and `valueTarget` give them. */
  keysReferring(targets: readonly string[]): SqlValue[][] {
    this.byTarget ??= this.readTargets();
    const locals = new Set(targets.flatMap((target) => [...(this.byTarget?.get(target) ?? [])]));
    return [...locals].flatMap((hex) => {
      const local = Buffer.from(hex, "hex");
      const key = keyParts(this.table, local);
      const cells = this.cells(key);
      const its = cells ? this.targetsOf(local, cells) : [];
      return its.some((target) => targets.includes(target)) ? [key] : [];
    });
  }

  /** A row that a column refers to. */
  namedTarget(index: number, { origin, sequence }: Identity): string {
    return `${index} ${origin}:${sequence}`;
  }

  /** A row that a foreign key refers to by its values, as `meant` gives them. */
  valueTarget(foreign: ForeignKey, values: readonly CellValue[]): string {
    return `by ${this.table.dependsOn.indexOf(foreign)} ${targetName(foreign, values).toString("hex")}`;
  }

  private targetsOf(local: Buffer, cells: readonly CellValue[]): string[] {
    const named = this.table.references.flatMap(({ index }) => {
      const ref = cells[index];
      return ref instanceof Ref && !this.table.columns[index]?.soft ? [this.namedTarget(index, ref)] : [];
    });
    if (this.table.dependsOn.length === 0) return named;
    const id = this.table.surrogate ? (keyParts(this.table, local)[0] as bigint) : null;
    const { values } = this.rows.references.concrete(this.table, cells);
    const keyed = this.table.dependsOn.flatMap((foreign) => {
      const wanted = pick(this.table, foreign.columns, id, values);
      return wanted ? [this.valueTarget(foreign, meant(foreign, wanted))] : [];
    });
    return [...named, ...keyed];
  }

  private noteTargets(into: Map<string, Set<string>>, local: Buffer, cells: readonly CellValue[]): void {
    for (const target of this.targetsOf(local, cells)) {
      const held = into.get(target);
      if (held) held.add(local.toString("hex"));
      else into.set(target, new Set([local.toString("hex")]));
    }
  }

  private readTargets(): Map<string, Set<string>> {
    const found = new Map<string, Set<string>>();
    for (const key of this.keys()) this.noteTargets(found, this.local(key), this.cells(key) as CellValue[]);
    return found;
  }

  update(key: readonly SqlValue[], indexes: readonly number[], values: readonly Bindable[], raw: readonly number[]): void {
    const cells = this.cells(key);
    if (!cells) return;
    const changed = values.map((value, i): SqlValue => (raw.includes(i) ? textOfBytes(value as Buffer) : value));
    const next = this.rows.references.concrete(this.table, cells).values;
    indexes.forEach((index, i) => (next[index] = changed[i] as SqlValue));
    const now = this.rows.references.abstract(this.table, next);
    this.db
      .prepare("UPDATE _scoutsync_quarantined SET image = ? WHERE tid = ? AND local = ?")
      .run(packCells(this.table, now), this.table.tid, this.local(key));
    if (this.byTarget) this.noteTargets(this.byTarget, this.local(key), now);
  }

  remove(key: readonly SqlValue[]): void {
    this.db.prepare("DELETE FROM _scoutsync_quarantined WHERE tid = ? AND local = ?").run(this.table.tid, this.local(key));
  }

  /** Another row is one with this one, or names it, which the application that deleted it had not seen: it is put back instead of let go. */
  spare(key: readonly SqlValue[]): void {
    this.db
      .prepare("UPDATE _scoutsync_quarantined SET hash = zeroblob(16) WHERE tid = ? AND local = ?")
      .run(this.table.tid, this.local(key));
  }

  move(from: bigint, to: bigint): void {
    this.db
      .prepare("UPDATE _scoutsync_quarantined SET local = ? WHERE tid = ? AND local = ?")
      .run(this.local([to]), this.table.tid, this.local([from]));
    this.byTarget = null;
  }

  /** Keys of rows after `after`, as they were in the table. */
  *keys(): Generator<SqlValue[]> {
    const page = this.db.prepare("SELECT local FROM _scoutsync_quarantined WHERE tid = ? AND local > ? ORDER BY local LIMIT 500").pluck();
    for (let at: Buffer = Buffer.alloc(0); ;) {
      const found = page.all(this.table.tid, at) as Buffer[];
      for (const local of found) yield keyParts(this.table, local);
      const last = found.at(-1);
      if (!last) return;
      at = last;
    }
  }

  /** Makes the stored hashes those of the values under the table's shape as it is now. */
  rehash(): void {
    for (const key of this.keys()) {
      const id = this.table.surrogate ? (key[0] as bigint) : null;
      const state =
        id === null ? this.rows.byKey(this.table, this.rows.keys.keyFromValues(this.table, key)) : this.rows.byId(this.table, id);
      const values = this.read(key);
      if (state?.place.kind !== "table" || !values) continue;
      const former = state.hash;
      const hash = this.rows.hashes.hashOf(state, id, values);
      this.rows.rehash(state, hash);
      if (former)
        this.db
          .prepare("UPDATE _scoutsync_quarantined SET hash = ? WHERE tid = ? AND local = ? AND hash = ?")
          .run(hash, this.table.tid, this.local(key), former);
    }
  }
}

/** The parts of a key as it is in the table. */
export function keyParts(table: Table, local: Buffer): SqlValue[] {
  const reader = new ByteReader(local);
  return table.key.map(() => reader.value() as SqlValue);
}

/** Values by column number: columns may come and go while a row is kept back. */
function packCells(table: Table, cells: readonly CellValue[]): Buffer {
  const out = new ByteWriter(256);
  cells.forEach((cell, i) => {
    out.varint((table.columns[i] as { cid: number }).cid);
    out.value(cell);
  });
  return out.toBytes();
}

function unpackCells(table: Table, key: readonly SqlValue[], image: Buffer): CellValue[] {
  const cells: CellValue[] = table.columns.map((column) => column.fallback);
  const unwritten = new Set(table.columns.map(({ cid }) => cid));
  const from = new ByteReader(image);
  while (!from.done) {
    const cid = from.varint();
    const index = table.indexOf.get(cid);
    const cell = from.value();
    if (index !== undefined) cells[index] = cell;
    unwritten.delete(cid);
  }
  showKey({ table, key, values: cells, unwritten });
  return cells;
}
