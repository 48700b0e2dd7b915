import type { Database } from "better-sqlite3";
import { keyKind } from "@scoutsync/core";
import { asInteger } from "./spelled.ts";
import { type Affinity, type ForeignKeyShape, type LinkedTarget, type TableColumn, type TableShape } from "./tables.ts";
import type { UniqueIndex } from "./unique-indexes.ts";

/** A synced column with its local number. */
export interface Column extends TableColumn {
  cid: number;
  /** It refers to rows by integers that it may hold otherwise: as text, or as reals. */
  spelled?: Affinity;
}

/** A table that takes part, with its local number and what points to it. */
export interface Table {
  tid: number;
  /** This, `source`, `where` and `nullable`: see `TableShape`. */
  name: string;
  source: string;
  where: string | null;
  nullable: string[];
  /** The other part of the same table of the application: rows with NULL in their key, or those without. */
  twin: Table | null;
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
  /** Positions in `columns` of columns that hold surrogate keys of another database of the node. */
  linked: { index: number; target: LinkedTarget }[];
  /** Positions in `key` likewise (natural keys made of references). */
  keyReferences: { index: number; parent: Table }[];
  /** Foreign keys of this table, and those of others to it, but for those that name a surrogate key alone. */
  dependsOn: ForeignKey[];
  dependants: ForeignKey[];
  /** Foreign keys whose columns a delete of the parent empties, see `TableShape`: those of this table, and those of others to it. */
  emptied: ForeignKey[];
  empties: ForeignKey[];
  /** Columns elsewhere that hold this table's surrogate key. */
  referencedBy: { child: Table; column: Column }[];
  /** Some of `columns` are `spelled`. */
  isSpelled: boolean;
  /** Position in `columns` by local column number. */
  indexOf: Map<number, number>;
  /**
   * Names of columns that others have and this database lacks, by local number. Writes to them are held with the row,
   * with their values, and passed on.
   */
  lacking: Map<number, string>;
  /** Why rows of this table are only held: it is not in the database. Null for a table that takes part. */
  absent: Absence | null;
}

/** A foreign key by the values of columns. */
export interface ForeignKey {
  child: Table;
  columns: string[];
  parent: Table;
  targets: string[];
  /** How SQLite compares: what refers gets the affinity of the parent's column first, and that one's collation counts. */
  collations: string[];
  affinities: Affinity[];
  /** The targets are the parent's primary key. */
  isKey: boolean;
}

/** Its columns as the table has them. */
export const inOrder = ({ columns }: Table): Column[] => columns.toSorted((a, b) => (a.at ?? 0) - (b.at ?? 0));

/** Every row has one birth, which names it and which every other write to it has known. */
export const isNamedByBirth = (table: Table): boolean => table.surrogate || table.keyless;

/** The database has no such table, it is excluded, or it has one of that name with another kind of key. */
export type Absence = "missing" | "excluded" | "key";

/** Gives numbers to new tables and columns and links references. Runs inside the caller's transaction. */
export function catalogTables(db: Database, shapes: readonly TableShape[]): Table[] {
  const findColumn = db.prepare<[number, string], { cid: number }>("SELECT cid FROM _scoutsync_column WHERE tid = ? AND name = ?");
  const addColumn = db.prepare("INSERT INTO _scoutsync_column(tid, name) VALUES(?, ?)");
  const tables = shapes.map((shape): Table => {
    const tid = numberOf(db, shape.name, keyKind({ surrogate: shape.surrogate, keyless: shape.keyless, keyParts: shape.key.length }));
    const number = (column: TableColumn): Column => ({
      ...column,
      cid: findColumn.get(tid, column.name)?.cid ?? Number(addColumn.run(tid, column.name).lastInsertRowid),
    });
    const columns = shape.columns.map(number);
    const key = shape.key.map(number);
    const here = new Set([...columns, ...key].map(({ cid }) => cid));
    return {
      ...shape,
      tid,
      key,
      columns,
      twin: null,
      references: [],
      linked: columns.flatMap(({ linked }, index) => (linked ? [{ index, target: linked }] : [])),
      dependsOn: [],
      dependants: [],
      emptied: [],
      empties: [],
      keyReferences: [],
      referencedBy: [],
      isSpelled: false,
      indexOf: new Map(columns.map((column, index) => [column.cid, index])),
      lacking: new Map([...columnNames(db, tid)].filter(([cid]) => !here.has(cid))),
      absent: null,
    };
  });
  const byName = new Map(tables.map((table) => [table.name, table]));
  for (const table of tables) {
    const twin = table.where === null ? undefined : byName.get(table.source);
    if (twin) [table.twin, twin.twin] = [twin, table];
    const link = (columns: Column[]) =>
      columns.flatMap((column, index) => {
        const parent = column.references === null ? undefined : byName.get(column.references);
        return parent ? [{ index, parent }] : [];
      });
    table.references = link(table.columns);
    table.keyReferences = link(table.key);
    spell(table);
    const declared = ({ columns, parent: name, targets }: ForeignKeyShape): ForeignKey[] => {
      const parent = byName.get(name);
      if (!parent) return [];
      const isOf = (parts: readonly { name: string | null }[]) =>
        parts.length === targets.length && parts.every((part) => part.name !== null && targets.includes(part.name));
      const isKey = !parent.surrogate && isOf(parent.key);
      // That of the index which the declaration means: another one over the same column may have its own.
      const exact = isKey ? parent.key : (parent.uniques.find(({ parts, where }) => where === null && isOf(parts))?.parts ?? []);
      const parts = [...exact, ...parent.uniques.flatMap((index) => index.parts), ...parent.key];
      const collations = targets.map((target) => parts.find((part) => part.name === target)?.collation ?? "BINARY");
      const all = [...parent.columns, ...parent.key];
      const affinities = targets.map((target) => all.find((column) => column.name === target)?.affinity ?? "BLOB");
      return [{ child: table, columns, parent, targets, collations, affinities, isKey }];
    };
    const shape = shapes.find(({ name }) => name === table.name);
    table.dependsOn = shape?.foreignKeys.flatMap(declared) ?? [];
    table.emptied = shape?.emptied.flatMap(declared) ?? [];
    for (const foreign of table.dependsOn) foreign.parent.dependants.push(foreign);
    for (const foreign of table.emptied) foreign.parent.empties.push(foreign);
    for (const { index, parent } of table.references) parent.referencedBy.push({ child: table, column: table.columns[index] as Column });
  }
  return parentsFirst(tables);
}

/** Marks the columns that refer to rows by integers and hold these otherwise. What names a row is left as it is. */
function spell(table: Table): void {
  for (const { index } of [...table.references, ...table.linked]) {
    const column = table.columns[index] as Column;
    const { affinity } = column;
    // Rows without a key are found by what they hold, as it is.
    const isOther = affinity === "TEXT" || affinity === "REAL" || (affinity === "BLOB" && !table.keyless);
    if (!isOther || table.key.some(({ cid }) => cid === column.cid)) continue;
    column.spelled = affinity;
    column.fallback = asInteger(affinity, column.fallback);
    table.isSpelled = true;
  }
}

/** The number of the table with this name and kind of key; a new one is given where there is none. */
export function numberOf(db: Database, name: string, kind: number): number {
  const known = db
    .prepare(
      "SELECT t.tid, t.surrogate, k.kind FROM _scoutsync_table AS t LEFT JOIN _scoutsync_kind AS k ON k.tid = t.tid WHERE coalesce(k.name, t.name) = ?",
    )
    .all(name) as { tid: number; surrogate: number; kind: number | null }[];
  // The first version did not note how many columns a key has.
  const found = known.find((entry) => (entry.kind === null ? (entry.surrogate === 1) === (kind === 1) : entry.kind === kind));
  if (found?.kind === kind) return found.tid;
  const label = known.some((entry) => entry !== found) ? `${name}\n${kind}` : name;
  const tid =
    found?.tid ??
    Number(db.prepare("INSERT INTO _scoutsync_table(name, surrogate) VALUES(?, ?)").run(label, kind === 1 ? 1 : 0).lastInsertRowid);
  db.prepare("INSERT INTO _scoutsync_kind(tid, name, kind) VALUES(?, ?, ?) ON CONFLICT(tid) DO UPDATE SET kind = excluded.kind").run(
    tid,
    name,
    kind,
  );
  return tid;
}

/** All columns that a table ever had for somebody, by number. */
export function columnNames(db: Database, tid: number): Map<number, string> {
  const rows = db.prepare("SELECT cid, name FROM _scoutsync_column WHERE tid = ?").raw(true).all(tid) as [number, string][];
  return new Map(rows);
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
