import type { Database } from "better-sqlite3";
import { LWW } from "@scoutsync/core";
import { catalogTables, type Table } from "./catalog.ts";
import { capturedShape } from "./install.ts";
import type { TableColumn, TableShape } from "./tables.ts";

/**
 * The tables under the columns and names for which capture was installed, read where they are now: as a node knows them that was there
 * before the migration. One that was down has to drain what was captured until then as that one does. Those that were not captured are
 * left out. Inside the caller's transaction.
 */
export function formerTables(db: Database, shapes: readonly TableShape[], tables: readonly Table[]): Table[] {
  const former: TableShape[] = [];
  const names = new Map<string, string>();
  for (const table of tables) {
    const captured = capturedShape(db, table);
    const shape = shapes.find(({ name }) => name === table.name);
    if (!captured || !shape) continue;
    const columns = captured.columns.map((name) => shape.columns.find((column) => column.name === name) ?? goneColumn(name));
    former.push({ ...shape, columns });
    names.set(table.name, captured.name);
  }
  const found = catalogTables(db, former);
  // Its rows have hashes under the name that it had.
  for (const table of found) table.name = names.get(table.name) ?? table.name;
  return found;
}

/** A column that a migration has dropped. */
function goneColumn(name: string): TableColumn {
  return { name, affinity: "BLOB", collation: "BINARY", references: null, rule: LWW, fallback: null };
}
