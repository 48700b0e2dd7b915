import type { Database } from "better-sqlite3";
import { quote } from "./quote.ts";

/** What a UNIQUE index compares: a column, or an expression over columns. */
export interface UniquePart {
  /** The column; null for an expression. */
  name: string | null;
  /** The expression as SQL; null for a column. */
  expression: string | null;
  collation: string;
}

/** A UNIQUE index other than the primary key. */
export interface UniqueIndex {
  parts: UniquePart[];
  /** The condition of a partial index as SQL; null where all rows are in it. */
  where: string | null;
  /** Some value is computed, or a condition decides: which rows clash is not seen in the columns that the index names. */
  derived: boolean;
  /** Columns that the expressions may read. */
  reads: string[];
}

/** One entry of PRAGMA index_list. */
export interface IndexRow {
  name: string;
  unique: number;
  origin: string;
  partial: number;
}

/** One key part of PRAGMA index_xinfo. */
export interface IndexPart {
  name: string | null;
  coll: string;
}

/** The key parts of an index, in its order. */
export function indexParts(db: Database, index: string): IndexPart[] {
  const parts = db.pragma(`main.index_xinfo(${quote(index)})`) as (IndexPart & { key: number })[];
  return parts.filter(({ key }) => key === 1);
}

/** UNIQUE indexes among these. `columns` are all of the table's, `generated` those that are computed. */
export function uniqueIndexes(
  db: Database,
  indexes: readonly IndexRow[],
  columns: readonly string[],
  generated: ReadonlySet<string>,
): UniqueIndex[] {
  const sqlOf = db.prepare("SELECT sql FROM main.sqlite_master WHERE type = 'index' AND name = ?").pluck();
  return indexes
    .filter((index) => index.unique === 1 && index.origin !== "pk")
    .map((index) => {
      const sql = (sqlOf.get(index.name) as string | null | undefined) ?? "";
      const described = indexParts(db, index.name);
      const read = described.some(({ name }) => name === null) || index.partial === 1 ? readIndex(sql) : { terms: [], where: null };
      const terms = read.terms.map((term) => withTexts(term, columns));
      const where = read.where === null ? null : withTexts(read.where, columns);
      const parts = described.map(({ name, coll }, i): UniquePart => {
        return { name, expression: name === null ? (terms[i] ?? "NULL") : null, collation: coll.toUpperCase() };
      });
      const expressions = parts
        .flatMap(({ expression }) => expression ?? [])
        .join(" ")
        .toLowerCase();
      return {
        parts,
        where,
        derived: where !== null || parts.some(({ name }) => name === null || generated.has(name)),
        reads: expressions === "" ? [] : columns.filter((name) => expressions.includes(name.toLowerCase())),
      };
    });
}

/** The indexed terms of a CREATE INDEX, without collation and direction, and its WHERE. */
export function readIndex(sql: string): { terms: string[]; where: string | null } {
  const terms: string[] = [];
  let depth = 0;
  let from = 0;
  for (const { at, token } of tokens(sql)) {
    if (token === "(" && depth++ === 0) from = at + 1;
    if ((token === "," && depth === 1) || (token === ")" && depth === 1)) {
      terms.push(bare(sql.slice(from, at)));
      from = at + 1;
    }
    if (token === ")" && --depth === 0) {
      const rest = /^\s*WHERE\b([\s\S]+)$/i.exec(withoutComments(sql.slice(at + 1)));
      return { terms, where: rest?.[1]?.trim() ?? null };
    }
  }
  return { terms, where: null };
}

/** What a name in double quotes may be besides a column: the number of the row, a function, or a type or collation by the word before. */
const NAMED = /^(?:rowid|oid|_rowid_)$/i;

/**
 * An expression of an index with texts in single quotes where it has them in double ones, as a name in these that is no column is a text to
 * SQLite: but only where it makes the index, and elsewhere to some libraries and not to others.
 */
function withTexts(expression: string, columns: readonly string[]): string {
  const names = new Set(columns.map((name) => name.toLowerCase()));
  const pattern = /'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|"(?<text>(?:[^"]|"")*)"(?<call>\s*\()?/g;
  return expression.replace(pattern, (token: string, ...rest: unknown[]) => {
    const { text, call } = rest.at(-1) as { text?: string; call?: string };
    const name = text?.replaceAll('""', '"');
    const isNamed = name === undefined || call !== undefined || names.has(name.toLowerCase()) || NAMED.test(name);
    return isNamed || /\b(?:AS|COLLATE)\s*$/i.test(expression.slice(0, rest.at(-3) as number)) ? token : `'${name.replaceAll("'", "''")}'`;
  });
}

/** Brackets and commas outside of names, text and comments. */
function* tokens(sql: string): Generator<{ at: number; token: string }> {
  const pattern = /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?\*\/|[(),]/g;
  for (const match of sql.matchAll(pattern)) if (/^[(),]$/.test(match[0])) yield { at: match.index, token: match[0] };
}

function withoutComments(sql: string): string {
  return sql.replace(
    /('(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])|--[^\n]*|\/\*[\s\S]*?\*\//g,
    (_, kept?: string) => kept ?? " ",
  );
}

/** A term without what is said about order: the index says how it compares. */
function bare(term: string): string {
  return withoutComments(term)
    .trim()
    .replace(/\s+(?:ASC|DESC)$/i, "")
    .replace(/\s+COLLATE\s+(?:\w+|"[^"]+")$/i, "")
    .trim();
}
