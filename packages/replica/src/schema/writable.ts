import Connection, { type Database } from "better-sqlite3";
import { quote } from "./quote.ts";

/**
 * What this program lacks to write to these columns of a table: a function, collation or module that only the application registers, in
 * the table's own SQL or in a trigger that runs; or a text in double quotes, with these, which other SQLite libraries take for what it is
 * and this one for the name of a column. Null when nothing is missing. Prepares statements, runs none.
 */
export function missingToWrite(db: Database, table: string, columns: readonly string[]): string | null {
  const found = missingToPrepare(db, table, columns);
  if (found !== null || !db.readonly) return found;
  // A connection that cannot write does not look at checks: a copy of the table's SQL does.
  const copy = new Connection(":memory:");
  try {
    // A column may have any collation as long as no index uses it, which is looked at elsewhere.
    copy.exec(sqlOfTable(db, table).replace(/\bCOLLATE\s+(?:"[^"]+"|\w+)/gi, ""));
    return missingToPrepare(copy, table, columns);
  } catch (error) {
    return missingOf(error);
  } finally {
    copy.close();
  }
}

function missingToPrepare(db: Database, table: string, columns: readonly string[]): string | null {
  const on = quote(table);
  const same = columns.map((name) => `${quote(name)} = ${quote(name)}`).join(", ");
  const update = same === "" ? [] : [`UPDATE ${on} SET ${same}`];
  for (const sql of [`INSERT INTO ${on} DEFAULT VALUES`, ...update, `DELETE FROM ${on}`]) {
    try {
      db.prepare(sql);
    } catch (error) {
      return missingOf(error);
    }
  }
  return null;
}

function missingOf(error: unknown): string | null {
  const text = error instanceof Error ? error.message : "";
  const quoted = /no such column: "([\s\S]*)" - should this be a string literal/.exec(text)?.[1];
  if (quoted !== undefined) return quote(quoted);
  return /(?:no such|unknown) (?:function|collation sequence|module|tokenizer): ([^\s()]+)/i.exec(text)?.[1] ?? null;
}

const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?\*\//g;

/** SQL with texts that it has in double quotes in single ones: a name in double quotes that nothing has is a text to SQLite, unless its library was built without that. */
export function asText(sql: string, quoted: string): string {
  return sql.replace(TOKEN, (token) => (token === quoted ? `'${token.slice(1, -1).replaceAll('""', '"').replaceAll("'", "''")}'` : token));
}

/** True when SQL names this function, collation or module. */
export function mentions(sql: string, name: string): boolean {
  return sql.toLowerCase().includes(name.toLowerCase());
}

/** The SQL of a table and of its indexes. */
export function sqlOfTable(db: Database, table: string): string {
  const parts = db
    .prepare("SELECT sql FROM main.sqlite_master WHERE type IN ('table', 'index') AND tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL")
    .pluck()
    .all(table) as string[];
  return parts.map((sql) => `${sql};`).join("\n");
}
