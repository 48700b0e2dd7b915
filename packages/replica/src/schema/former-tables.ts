import type { Database } from "better-sqlite3";
import { LWW } from "@scoutsync/core";
import { catalogTables, type Table } from "./catalog.ts";
import { capturedShape } from "./install.ts";
import type { TableColumn, TableShape } from "./tables.ts";

/**
 * The tables under the columns for which capture was installed, as a node knows them that was there before the migration:
 * one that was down has to drain what was captured until then as that one does. Those that were not captured are left out.
 * Null where one has been renamed: its rows have hashes under its former name. Inside the caller's transaction.
 */
export function formerTables(db: Database, shapes: readonly TableShape[], tables: readonly Table[]): Table[] | null {
  const former: TableShape[] = [];
  for (const table of tables) {
    const captured = capturedShape(db, table);
    const shape = shapes.find(({ name }) => name === table.name);
    if (!captured || !shape) continue;
    if (captured.name !== table.name) return null;
    const columns = captured.columns.map((name) => shape.columns.find((column) => column.name === name) ?? goneColumn(name));
    former.push({ ...shape, columns });
  }
  return catalogTables(db, former);
}

/** A column that a migration has dropped. */
function goneColumn(name: string): TableColumn {
  return { name, affinity: "BLOB", collation: "BINARY", references: null, rule: LWW, fallback: null };
}
