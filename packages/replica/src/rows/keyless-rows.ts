import type { Database } from "better-sqlite3";
import { ByteReader, type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import { pages } from "./pages.ts";
import type { Table } from "../schema/catalog.ts";
import { rowsTable, type TableStore } from "./table-store.ts";
import { packKey, rowHash } from "./values.ts";

/** Rows are not where they were: VACUUM has given them other rowids. A reader cannot note the new ones; who writes does. */
export class RowsMoved extends Error {
  readonly table: Table;

  constructor(table: Table) {
    super(`the rows of "${table.name}" have other rowids than before`);
    this.table = table;
  }
}

/** The packed identity of a row without a key: the dot of its birth. */
export function keylessIdentity(table: Table, birth: { origin: number; sequence: number }): Buffer {
  return packKey(table.key, [new Ref(birth.origin, birth.sequence)]);
}

/** What names a row without a key: the dot of its birth, or what it held before syncing. */
export function keylessCell(key: Buffer): CellValue {
  return new ByteReader(key).value();
}

/**
 * Where the rows of a table without a primary key are. The rowid noted with a row is believed only where the row there
 * has the stored hash; otherwise all rows are looked for again. Which of equal rows is which does not matter.
 */
export class KeylessRows {
  private readonly db: Database;
  private readonly table: Table;
  private readonly store: TableStore;

  constructor(db: Database, table: Table, store: TableStore) {
    this.db = db;
    this.table = table;
    this.store = store;
  }

  /** The key under which the row with this number is in its table; null when no row has its hash. `mayWrite` as for `RowsMoved`. */
  keyOf(slot: bigint, hash: Buffer, mayWrite: boolean): SqlValue[] | null {
    const noted = this.noted(slot, hash);
    if (noted) return noted;
    if (!mayWrite) throw new RowsMoved(this.table);
    this.locate();
    return this.noted(slot, hash);
  }

  private noted(slot: bigint, hash: Buffer): SqlValue[] | null {
    const local = this.store.localOf(slot);
    if (local === null) return null;
    const key = [new ByteReader(local).value() as bigint];
    return this.isAt(key, hash) ? key : null;
  }

  private isAt(key: readonly SqlValue[], hash: Buffer): boolean {
    const values = this.store.read(key);
    return values !== null && rowHash(this.table, null, values).equals(hash);
  }

  /** The identity of the row at this rowid; null when it is not known. */
  identityAt(key: readonly SqlValue[], mayWrite: boolean): Buffer | null {
    const values = this.store.read(key);
    if (!values) return null;
    const hash = rowHash(this.table, null, values);
    const find = () => {
      const identity = this.store.keyOfLocal(packKey(this.table.key, key));
      const row = identity && this.store.byKey(identity);
      return row?.[6].equals(hash) ? identity : null;
    };
    const found = find();
    if (found) return found;
    if (!mayWrite) throw new RowsMoved(this.table);
    this.locate();
    return find() ?? null;
  }

  /** Finds every row again by its hash and notes its rowid; rows whose hash no row of the table has are noted nowhere. */
  locate(): void {
    const { db, table } = this;
    const rows = rowsTable(table.tid);
    this.store.flush();
    db.exec("DROP TABLE IF EXISTS temp.places; CREATE TEMP TABLE places(local BLOB, hash BLOB)");
    const add = db.prepare("INSERT INTO temp.places(local, hash) VALUES(?, ?)");
    for (const { key, values } of pages(db, table)) add.run(packKey(table.key, key), rowHash(table, null, values));
    // The copies of equal rows are paired in order, the first stored with the first in the table.
    db.exec(`
      CREATE TEMP TABLE pairs(id INTEGER PRIMARY KEY, local BLOB);
      INSERT INTO temp.pairs(id, local) SELECT stored.id, found.local
        FROM (SELECT id, hash, row_number() OVER (PARTITION BY hash ORDER BY id) AS copy FROM main.${rows}) AS stored
        JOIN (SELECT local, hash, row_number() OVER (PARTITION BY hash ORDER BY rowid) AS copy FROM temp.places) AS found
          ON found.hash = stored.hash AND found.copy = stored.copy;
      UPDATE main.${rows} SET local = (SELECT local FROM temp.pairs WHERE pairs.id = ${rows}.id);
      DROP TABLE temp.pairs;
      DROP TABLE temp.places`);
  }
}
