import type { Database } from "better-sqlite3";
import type { TableColumn, TableShape, UniqueIndex } from "./tables.ts";

/** A synced column with its local number. */
export interface Column extends TableColumn {
  cid: number;
}

/** A table that takes part, with its local number and what points to it. */
export interface Table {
  tid: number;
  name: string;
  surrogate: boolean;
  /** See `TableShape`. */
  keyless: boolean;
  key: Column[];
  columns: Column[];
  uniques: UniqueIndex[];
  withoutRowid: boolean;
  rowid: string | null;
  utf8: boolean;
  /** Positions in `columns` of columns that hold another table's surrogate key, with that table. */
  references: { index: number; parent: Table }[];
  /** Positions in `key` likewise (natural keys made of references). */
  keyReferences: { index: number; parent: Table }[];
  /** Columns elsewhere that hold this table's surrogate key. */
  referencedBy: { child: Table; column: Column }[];
  /** Position in `columns` by local column number. */
  indexOf: Map<number, number>;
}

/** Gives numbers to new tables and columns and links references. Runs inside the caller's transaction. */
export function catalogTables(db: Database, shapes: readonly TableShape[]): Table[] {
  const findTable = db.prepare<[string], { tid: number; surrogate: number }>("SELECT tid, surrogate FROM _scoutsync_table WHERE name = ?");
  const addTable = db.prepare("INSERT INTO _scoutsync_table(name, surrogate) VALUES(?, ?)");
  const findColumn = db.prepare<[number, string], { cid: number }>("SELECT cid FROM _scoutsync_column WHERE tid = ? AND name = ?");
  const addColumn = db.prepare("INSERT INTO _scoutsync_column(tid, name) VALUES(?, ?)");
  const tables = shapes.map((shape): Table => {
    const tid = findTable.get(shape.name)?.tid ?? Number(addTable.run(shape.name, shape.surrogate ? 1 : 0).lastInsertRowid);
    const number = (column: TableColumn): Column => ({
      ...column,
      cid: findColumn.get(tid, column.name)?.cid ?? Number(addColumn.run(tid, column.name).lastInsertRowid),
    });
    const columns = shape.columns.map(number);
    return {
      ...shape,
      tid,
      key: shape.key.map(number),
      columns,
      references: [],
      keyReferences: [],
      referencedBy: [],
      indexOf: new Map(columns.map((column, index) => [column.cid, index])),
    };
  });
  const byName = new Map(tables.map((table) => [table.name, table]));
  for (const table of tables) {
    const link = (columns: Column[]) =>
      columns.flatMap((column, index) => {
        const parent = column.references === null ? undefined : byName.get(column.references);
        return parent ? [{ index, parent }] : [];
      });
    table.references = link(table.columns);
    table.keyReferences = link(table.key);
    for (const { index, parent } of table.references) parent.referencedBy.push({ child: table, column: table.columns[index] as Column });
  }
  return parentsFirst(tables);
}

/**
 * Tables with what they refer to before them, by name where that leaves a choice: rows of one drain then mostly find
 * their parents there. The same on every replica with the same schema.
 */
function parentsFirst(tables: readonly Table[]): Table[] {
  const left = [...tables].sort((a, b) => (a.name < b.name ? -1 : 1));
  const sorted: Table[] = [];
  const isFree = (table: Table) =>
    [...table.references, ...table.keyReferences].every(({ parent }) => parent === table || sorted.includes(parent));
  while (left.length > 0) {
    const at = Math.max(0, left.findIndex(isFree));
    sorted.push(...left.splice(at, 1));
  }
  return sorted;
}
