import type { Database } from "better-sqlite3";
import { formatTerms, NO_TERMS, parseTerms, referenceTarget, type Rule, SyncError, type Terms } from "@scoutsync/core";
import type { RestingTrigger, TriggerChoice } from "../schema/app-triggers.ts";
import { quote } from "../schema/quote.ts";
import { affinityOf, surveyTables, type TableShape } from "../schema/tables.ts";
import { type Comparison, conditionSql } from "./condition.ts";
import { restingTriggers } from "./triggers.ts";

/** What a scope shows of one table. */
export interface ScopeTable {
  table: string;
  /** Its own rows, which its nodes may also change: those for which all of this holds; null = none. */
  where: readonly Comparison[] | null;
  /** Columns beside the key; null = all that take part. */
  columns: readonly string[] | null;
  /** Rows that rows of the scope refer to belong to it, too; its nodes may not change them. */
  follow: boolean;
}

/** A part of one database, by a name. */
export interface ScopeRule {
  name: string;
  tables: readonly ScopeTable[];
}

/** One table of a scope, checked against the schema that is there. */
export interface PlannedTable {
  name: string;
  surrogate: boolean;
  key: string[];
  /** Columns beside the key. */
  columns: string[];
  /** SQL about the row `x`: is it one of the scope's own? */
  own: string;
  follow: boolean;
  /** References within the scope: the columns hold the key of the parent. `soft`: by configuration, and the row may be gone. */
  parents: { columns: string[]; parent: string; soft: boolean }[];
  /** Rules of columns that both sides may have changed; others have none. */
  rules: Map<string, Rule>;
  /** Foreign keys of any table of the database to this one. */
  children: { table: string; columns: string[]; targets: string[] }[];
  /** Makes the table in the scope's copy. */
  sql: string;
  /** Definition of each column beside the key, for adding it later. */
  definitions: Map<string, string>;
}

interface ColumnRow {
  name: string;
  type: string;
  pk: number;
  notnull: number;
  hidden: number;
  dflt_value: string | null;
}

interface ForeignKeyRow {
  id: number;
  seq: number;
  table: string;
  from: string;
  to: string | null;
}

/** A scope as the database can hold it. */
export interface ScopePlan {
  tables: PlannedTable[];
  /** Triggers of the database that rest while what nodes wrote is written there. */
  resting: RestingTrigger[];
}

/**
 * The terms of a database that are about what a scope shows: those of its copy. Throws INVALID_ARGUMENT for a column that refers
 * into another database: a copy is not among the databases of the node, so its rows could not follow.
 */
export function termsOfScope({ name: scope, tables }: ScopeRule, terms: readonly string[]): string[] {
  const { rules, references } = parseTerms(terms);
  const shows = (name: string) =>
    tables.some(({ table, columns }) => {
      const start = `${table.toLowerCase()}.`;
      return name.startsWith(start) && (columns === null || columns.some((column) => start + column.toLowerCase() === name));
    });
  const linked = [...references].find(([from, to]) => shows(from) && referenceTarget(to).database !== null);
  if (linked) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `scope "${scope}" shows "${linked[0]}", which refers to "${linked[1]}" in another database`,
      action: "References across databases are not followed in a scope: take the column out of it, or leave the reference out.",
    });
  }
  const hasTable = (name: string) => tables.some(({ table }) => name.startsWith(`${table.toLowerCase()}.`));
  const shown = {
    rules: new Map([...rules].filter(([column]) => shows(column))),
    references: new Map([...references].filter(([from, to]) => shows(from) && hasTable(to))),
  };
  return formatTerms(shown)
    .split("\n")
    .filter((line) => line !== "");
}

/**
 * Checks a scope against the database that `db` has open as `main`, parents first. Whatever it asks for that cannot be
 * held to is refused: throws INVALID_ARGUMENT.
 */
export function planScope(
  db: Database,
  rule: ScopeRule,
  { exclude, terms = NO_TERMS, triggers }: { exclude: readonly string[]; terms?: Terms; triggers?: TriggerChoice | undefined },
): ScopePlan {
  const { tables: shapes, left } = surveyTables(db, exclude, terms);
  const fail = (message: string, action = "Change the scope, or leave that table out of it.") =>
    new SyncError({ code: "INVALID_ARGUMENT", message: `scope "${rule.name}": ${message}`, action });
  const wanted = new Map<string, { asked: ScopeTable; shape: TableShape }>();
  for (const asked of rule.tables) {
    const shape = shapes.find(({ name, where }) => name === asked.table && where === null);
    if (!shape) {
      const why = left.find(({ name }) => name === asked.table)?.reason ?? "there is none of this name";
      throw fail(`table "${asked.table}" does not take part: ${why}`, "Name tables as the database does.");
    }
    if (wanted.has(asked.table)) throw fail(`table "${asked.table}" is named twice`);
    if (shape.keyless) {
      throw fail(
        `table "${asked.table}" has no primary key: nothing tells its equal rows apart, so not which of them a node of the scope changed or deleted, which is not supported in a scope`,
        `Leave that table out of the scope: all else works without it. Or give it a primary key: make another table with "id INTEGER PRIMARY KEY", copy the rows there, drop this one and rename.`,
      );
    }
    if (shape.key.some(({ collation }) => collation !== "BINARY"))
      throw fail(`the key of "${asked.table}" has a collation, which is not supported in a scope`);
    wanted.set(asked.table, { asked, shape });
  }
  const { resting, unclear } = restingTriggers(db, shapes, { tables: new Set(wanted.keys()), choice: triggers });
  if (unclear !== null) {
    throw fail(
      `trigger "${unclear}" writes to tables of the scope and, by itself or by other triggers, to tables outside of it: what it does there cannot be told apart`,
      "Take the tables that it writes to into the scope, or say with --suspend-trigger that it does not run for what others wrote.",
    );
  }
  const everyKey = shapes
    .filter(({ where }) => where === null)
    .flatMap(({ name }) => foreignKeysOf(db, name).map((key) => ({ child: name, ...key })));
  const planned = [...wanted.values()].map(({ asked, shape }): PlannedTable => {
    const { name } = shape;
    const key = shape.key.map((column) => column.name);
    const present = shape.columns.map((column) => column.name).filter((column) => !key.includes(column));
    const unknown = (asked.columns ?? []).find((column) => !present.includes(column) && !key.includes(column));
    if (unknown !== undefined)
      throw fail(`column "${name}.${unknown}" does not take part, or is not there`, "Name columns as the table does.");
    const columns = asked.columns === null ? present : present.filter((column) => asked.columns?.includes(column));
    const judged = (asked.where ?? []).find(({ column }) => !columns.includes(column) && !key.includes(column));
    if (judged) throw fail(`the condition of "${name}" names "${judged.column}", which is not a column of it within the scope`);
    const soft = shape.columns.flatMap(({ name: column, references, soft: isSoft }) => {
      const targets = shapes.find((other) => other.name === references && other.where === null)?.key.map((part) => part.name) ?? [];
      return isSoft === true && references !== null ? [{ columns: [column], parent: references, targets, soft: true }] : [];
    });
    const declared = foreignKeysOf(db, name).map((reference) => ({ ...reference, soft: false }));
    const parents = [...declared, ...soft].flatMap(({ columns: from, parent, targets, soft: isSoft }) => {
      if (from.some((column) => !columns.includes(column) && !key.includes(column))) return [];
      const other = wanted.get(parent);
      const column = `"${name}.${from.join(", ")}"`;
      if (!other)
        throw fail(
          `${column} refers to "${parent}", which is not in the scope`,
          `Add "${parent}: follow" or "${parent}: all" to it, or leave that column out with \`columns\`.`,
        );
      const isWhole = other.asked.where?.length === 0;
      if (!isWhole && !other.asked.follow)
        throw fail(`${column} refers to "${parent}", of which the scope may lack rows`, `Add "follow: true" to "${parent}".`);
      const parentKey = other.shape.key.map((part) => part.name);
      if (parentKey.length !== targets.length || parentKey.some((part) => !targets.includes(part)))
        throw fail(`${column} refers to columns of "${parent}" that are not its primary key, which is not supported in a scope`);
      return [{ columns: parentKey.map((part) => from[targets.indexOf(part)] as string), parent, soft: isSoft }];
    });
    const children = everyKey
      .filter(({ parent }) => parent === name)
      .map(({ child, columns: from, targets }) => ({ table: child, columns: from, targets }));
    const own = asked.where === null ? "0" : conditionSql("x", asked.where);
    return {
      name,
      surrogate: shape.surrogate,
      key,
      columns,
      own,
      follow: asked.follow,
      parents,
      rules: new Map(shape.columns.map((column) => [column.name, column.rule])),
      children,
      ...tableSql(db, shape, key, columns, parents, wanted),
    };
  });
  return { tables: parentsFirst(planned), resting };
}

function foreignKeysOf(db: Database, table: string): { columns: string[]; parent: string; targets: string[] }[] {
  const rows = db.pragma(`main.foreign_key_list(${quote(table)})`) as ForeignKeyRow[];
  const parents = new Map<number, ForeignKeyRow[]>();
  for (const row of rows) parents.set(row.id, [...(parents.get(row.id) ?? []), row]);
  return [...parents.values()].map((parts) => {
    const sorted = parts.toSorted((a, b) => a.seq - b.seq);
    const named = (sorted[0] as ForeignKeyRow).table;
    const tables = db.pragma("main.table_list") as { name: string }[];
    const parent = tables.find(({ name }) => name.toLowerCase() === named.toLowerCase())?.name ?? named;
    const keyColumns = (db.pragma(`main.table_info(${quote(parent)})`) as ColumnRow[])
      .filter(({ pk }) => pk > 0)
      .toSorted((a, b) => a.pk - b.pk);
    const spelled = (db.pragma(`main.table_info(${quote(table)})`) as ColumnRow[]).map(({ name }) => name);
    const own = (column: string) => spelled.find((name) => name.toLowerCase() === column.toLowerCase()) ?? column;
    const theirs = (db.pragma(`main.table_info(${quote(parent)})`) as ColumnRow[]).map(({ name }) => name);
    return {
      columns: sorted.map(({ from }) => own(from)),
      parent,
      targets: sorted.map(({ to }, at) =>
        to === null ? (keyColumns[at]?.name ?? "") : (theirs.find((name) => name.toLowerCase() === to.toLowerCase()) ?? to),
      ),
    };
  });
}

/**
 * The table as the copy has it: keys, foreign keys and values as in the database, and none of its other constraints. What
 * these refuse is refused where a change enters the database itself; meanwhile the copy has to hold it.
 */
function tableSql(
  db: Database,
  shape: TableShape,
  key: readonly string[],
  columns: readonly string[],
  parents: PlannedTable["parents"],
  wanted: ReadonlyMap<string, { shape: TableShape }>,
): Pick<PlannedTable, "sql" | "definitions"> {
  const rows = db.pragma(`main.table_xinfo(${quote(shape.name)})`) as ColumnRow[];
  const typeOf = (type: string) => (/^[\w (),]*$/.test(type) && type.toUpperCase() !== "ANY" ? type : affinityOf(type));
  const define = ({ name, type, notnull, dflt_value: fallback }: ColumnRow) => {
    const isKey = key.includes(name);
    if (isKey && shape.surrogate) return `${quote(name)} INTEGER PRIMARY KEY`;
    return `${quote(name)} ${typeOf(type)}${isKey && notnull !== 0 ? " NOT NULL" : ""}${fallback === null ? "" : ` DEFAULT (${fallback})`}`;
  };
  const taken = rows.filter(({ name }) => key.includes(name) || columns.includes(name));
  const parts = taken.map(define);
  if (!shape.surrogate) parts.push(`PRIMARY KEY (${key.map(quote).join(", ")})`);
  for (const { columns: from, parent, soft } of parents) {
    if (soft) continue;
    const targets = wanted.get(parent)?.shape.key.map(({ name }) => quote(name)) ?? [];
    parts.push(`FOREIGN KEY (${from.map(quote).join(", ")}) REFERENCES ${quote(parent)}(${targets.join(", ")})`);
  }
  return {
    sql: `CREATE TABLE ${quote(shape.name)}(${parts.join(", ")})${shape.withoutRowid ? " WITHOUT ROWID" : ""}`,
    definitions: new Map(taken.filter(({ name }) => !key.includes(name)).map((row) => [row.name, define(row)])),
  };
}

function parentsFirst(tables: PlannedTable[]): PlannedTable[] {
  const left = [...tables];
  const sorted: PlannedTable[] = [];
  while (left.length > 0) {
    const free = left.findIndex(({ name, parents }) =>
      parents.every(({ parent }) => parent === name || sorted.some((other) => other.name === parent)),
    );
    sorted.push(...left.splice(Math.max(0, free), 1));
  }
  return sorted;
}
