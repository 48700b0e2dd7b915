import type { DatabaseSync } from "node:sqlite";
import { openReadOnly, quoted } from "./dump.ts";

/** A text that is in one row only, whatever its id becomes. */
export interface Marker {
  column: string;
  value: string;
}

/** A row that an application was told is committed. */
export interface WrittenRow {
  node: string;
  database: string;
  table: string;
  marker: Marker;
  /** What was written beside the marker; never ids, they may change. */
  values: Readonly<Record<string, string | number | null>>;
  /** The row it refers to, named by that row's marker. */
  parent?: { column: string; table: string; key: string; marker: Marker };
}

/** A row that is nothing but references, named by what they refer to (playlist and track). */
export interface WrittenLink {
  node: string;
  database: string;
  table: string;
  ends: readonly { column: string; table: string; key: string; marker: Marker }[];
}

/** A row that an application was told is deleted, and that nobody else touched. */
export interface WrittenDelete {
  node: string;
  database: string;
  table: string;
  marker: Marker;
}

/** A value that an application was told is committed over an earlier one. */
export interface WrittenEdit {
  node: string;
  database: string;
  table: string;
  marker: Marker;
  column: string;
  value: string | number;
}

/** One entry of `scoutsync review list --json`, as far as the ledger reads it. */
export interface ConflictRecord {
  database: string;
  table: string;
  column?: string;
  winner?: { value: unknown };
  loser?: { value: unknown };
}

/**
 * What the writers were told is committed, kept outside of the product and checked with plain SQLite.
 * Rows are found by their content, children by their parent's content.
 */
export class Ledger {
  readonly rows: WrittenRow[] = [];
  readonly links: WrittenLink[] = [];
  readonly edits: WrittenEdit[] = [];
  readonly deletes: WrittenDelete[] = [];

  row(row: WrittenRow): void {
    this.rows.push(row);
  }

  link(link: WrittenLink): void {
    this.links.push(link);
  }

  delete(deleted: WrittenDelete): void {
    this.deletes.push(deleted);
  }

  edit(edit: WrittenEdit): void {
    this.edits.push(edit);
  }

  /** What is wrong in one node's files; empty when every acknowledged write is there or in the conflict records. */
  check(files: Readonly<Record<string, string>>, conflicts: readonly ConflictRecord[]): string[] {
    const problems: string[] = [];
    for (const [database, path] of Object.entries(files)) {
      const open = openReadOnly(path);
      try {
        for (const row of this.rows) if (row.database === database) problems.push(...this.#checkRow(open, row));
        for (const link of this.links) if (link.database === database) problems.push(...checkLink(open, link));
        for (const deleted of this.deletes) if (deleted.database === database) problems.push(...checkDelete(open, deleted));
        problems.push(...this.#checkEdits(open, database, conflicts));
      } finally {
        open.close();
      }
    }
    return problems;
  }

  #checkRow(open: DatabaseSync, row: WrittenRow): string[] {
    const where = `${row.table} with ${row.marker.column} = ${row.marker.value} (written on ${row.node})`;
    const found = open.prepare(`SELECT * FROM ${quoted(row.table)} WHERE ${quoted(row.marker.column)} = ?`).all(row.marker.value);
    if (found.length !== 1) return [`${where}: ${found.length} rows instead of 1`];
    const problems: string[] = [];
    const edited = new Set(this.#editsOf(row).map(({ column }) => column));
    for (const [column, value] of Object.entries(row.values)) {
      if (!edited.has(column) && found[0]?.[column] !== value) {
        problems.push(`${where}: ${column} is ${JSON.stringify(found[0]?.[column])} instead of ${JSON.stringify(value)}`);
      }
    }
    if (row.parent) {
      const { column, table, key, marker } = row.parent;
      const sql = `SELECT parent.${quoted(marker.column)} AS marker FROM ${quoted(row.table)} child JOIN ${quoted(table)} parent ON parent.${quoted(key)} = child.${quoted(column)} WHERE child.${quoted(row.marker.column)} = ?`;
      const parent = open.prepare(sql).get(row.marker.value)?.["marker"];
      if (parent !== marker.value) problems.push(`${where}: its ${table} is ${JSON.stringify(parent)} instead of ${marker.value}`);
    }
    return problems;
  }

  /** Per register: the table holds the last value of one of its writers, the last values of the others are in the conflict records. */
  #checkEdits(open: DatabaseSync, database: string, conflicts: readonly ConflictRecord[]): string[] {
    const problems: string[] = [];
    const registers = Map.groupBy(
      this.edits.filter((edit) => edit.database === database),
      ({ table, marker, column }) => JSON.stringify([table, marker.column, marker.value, column]),
    );
    for (const edits of registers.values()) {
      const [first] = edits;
      if (!first) continue;
      const { table, marker, column } = first;
      const where = `${table} ${marker.value} ${column}`;
      const last = new Map(edits.map((edit) => [edit.node, edit.value]));
      const sql = `SELECT ${quoted(column)} AS value FROM ${quoted(table)} WHERE ${quoted(marker.column)} = ?`;
      const winner = open.prepare(sql).get(marker.value)?.["value"];
      if (![...last.values()].some((value) => value === winner)) {
        problems.push(`${where}: holds ${JSON.stringify(winner)}, which nobody wrote last`);
      }
      for (const [node, value] of last) {
        if (value === winner) continue;
        const kept = conflicts.some(
          (one) => one.database === database && one.table === table && one.column === column && one.loser?.value === value,
        );
        if (!kept)
          problems.push(`${where}: what ${node} wrote, ${JSON.stringify(value)}, is neither in the table nor in the conflict records`);
      }
    }
    return problems;
  }

  #editsOf(row: WrittenRow): WrittenEdit[] {
    return this.edits.filter(
      (edit) => edit.database === row.database && edit.table === row.table && edit.marker.value === row.marker.value,
    );
  }
}

function checkLink(open: DatabaseSync, { node, table, ends }: WrittenLink): string[] {
  const joins = ends.map((end, at) => `JOIN ${quoted(end.table)} AS end${at} ON end${at}.${quoted(end.key)} = link.${quoted(end.column)}`);
  const conditions = ends.map((end, at) => `end${at}.${quoted(end.marker.column)} = ?`);
  const sql = `SELECT count(*) AS rows FROM ${quoted(table)} link ${joins.join(" ")} WHERE ${conditions.join(" AND ")}`;
  const rows = Number(open.prepare(sql).get(...ends.map((end) => end.marker.value))?.["rows"]);
  const what = ends.map((end) => end.marker.value).join(" and ");
  return rows === 1 ? [] : [`${table} of ${what} (written on ${node}): ${rows} rows instead of 1`];
}

function checkDelete(open: DatabaseSync, { node, table, marker }: WrittenDelete): string[] {
  const found = open.prepare(`SELECT 1 FROM ${quoted(table)} WHERE ${quoted(marker.column)} = ?`).all(marker.value);
  return found.length === 0 ? [] : [`${table} ${marker.value} (deleted on ${node}) is still there`];
}
