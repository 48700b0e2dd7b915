import type { Database } from "better-sqlite3";
import type { SqlValue } from "@scoutsync/core";
import type { RowStore } from "../rows/row-store.ts";
import { pages } from "../rows/pages.ts";
import type { Table } from "../schema/catalog.ts";
import { readMeta, writeMeta } from "../schema/install.ts";
import { targetName } from "./linked-rows.ts";

/** Rows between two looks at the clock. */
const ROWS_AT_ONCE = 500;

const keyOf = ({ tid }: Table): string => `linked columns of ${tid}`;
const columnsOf = ({ columns, linked }: Table): string =>
  linked.map(({ index, target }) => `${columns[index]?.name ?? ""}->${targetName(target)}`).join("\n");

/**
 * Hashes of rows name the rows of other databases that these refer to. Where a column comes to refer, or does not any more,
 * the hashes of its table are made anew, in turns: nobody has written anything.
 */
export class LinkedHashes {
  private readonly db: Database;
  private readonly rows: RowStore;
  private left: Table[];
  private after: SqlValue[] = [];

  constructor({ db, rows }: { db: Database; rows: RowStore }) {
    this.db = db;
    this.rows = rows;
    this.left = rows.tables.filter((table) => (readMeta(db, keyOf(table)) ?? "") !== columnsOf(table));
  }

  get due(): boolean {
    return this.left.length > 0;
  }

  /** One turn, inside the caller's write transaction, drained. True when nothing is left. */
  turn(until: number): boolean {
    for (let table = this.left[0]; table; table = this.left[0]) {
      if (!this.rehash(table, until)) return false;
      writeMeta(this.db, keyOf(table), columnsOf(table));
      this.left.shift();
      this.after = [];
    }
    return true;
  }

  private rehash(table: Table, until: number): boolean {
    let count = 0;
    for (const { key, values, at } of pages(this.db, table, this.after)) {
      this.after = at;
      const state = table.surrogate
        ? this.rows.byId(table, key[0] as bigint)
        : this.rows.byKey(table, this.rows.keys.keyFromValues(table, key));
      if (state?.place.kind === "table" && state.hash) {
        const hash = this.rows.hashes.hashOf(state, table.surrogate ? state.slot : null, values);
        if (!hash.equals(state.hash)) this.rows.rehash(state, hash);
      }
      if (++count % ROWS_AT_ONCE === 0 && performance.now() > until) return false;
    }
    this.rows.of(table).keptBack?.rehash();
    return true;
  }
}
