import type { Database } from "better-sqlite3";
import type { CellValue, SqlValue } from "@scoutsync/core";
import type { RowStore } from "../rows/row-store.ts";
import { pages } from "../rows/pages.ts";
import { rowHash } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { readMeta, writeMeta } from "../schema/install.ts";
import { formerlyHashed } from "../schema/spelled.ts";
import { targetName } from "./linked-rows.ts";

/** Rows between two looks at the clock. */
const ROWS_AT_ONCE = 500;

const keyOf = ({ tid }: Table): string => `linked columns of ${tid}`;
const columnsOf = ({ columns, linked }: Table): string =>
  [
    ...linked.map(({ index, target }) => `${columns[index]?.name ?? ""}->${targetName(target)}`),
    ...columns.flatMap(({ name, spelled }) => (spelled ? [`${name} as ${spelled}`] : [])),
  ].join("\n");

/**
 * Hashes of rows name the rows of other databases that these refer to, and are of one way to hold a reference (`spelled`). Where a column
 * comes to refer, or does not any more, the hashes of its table are made anew, in turns: nobody has written anything. So they are in
 * a database of a version that took references held otherwise than as integers for values.
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
        const id = table.surrogate ? state.slot : null;
        const cells = this.rows.hashes.hashedCells(table, id, values, state.own);
        const hash = rowHash(table, id, cells);
        if (!hash.equals(state.hash) && this.isKnown(table, id, { stored: state.hash, values, cells })) this.rows.rehash(state, hash);
      }
      if (++count % ROWS_AT_ONCE === 0 && performance.now() > until) return false;
    }
    this.rows.of(table).keptBack?.rehash();
    return true;
  }

  /** False for a row that may hold what somebody wrote past capture: by its hash that is still to be found. */
  private isKnown(
    table: Table,
    id: bigint | null,
    { stored, values, cells }: { stored: Buffer; values: readonly SqlValue[]; cells: readonly CellValue[] },
  ): boolean {
    if (table.linked.length > 0) return true;
    return formerlyHashed(table, values, cells).some((was) => rowHash({ name: table.name }, id, was).equals(stored));
  }
}
