import { SyncError } from "@scoutsync/core";
import { parseCondition, type ScopeRule, type ScopeTable } from "@scoutsync/replica";

/** A scope as the node is told of it: what it shows, by database. */
export interface ScopeDefinition {
  name: string;
  databases: { database: string; rule: ScopeRule }[];
}

/** Names end up in certificates and file names. */
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
const KEYS = new Set(["where", "columns", "follow"]);

/**
 * Reads `SCOPE: { DATABASE: { TABLE: all | follow | { where, columns, follow } } }`. What is not named is not in a scope, and
 * what is not understood is refused: throws INVALID_ARGUMENT.
 */
export function scopesOf(content: unknown): ScopeDefinition[] {
  return entriesOf(content, "the scopes").map(([name, given]) => {
    if (!NAME.test(name) || name.startsWith("."))
      throw wrong(`"${name.slice(0, 80)}" cannot be the name of a scope`, "Use up to 64 letters, digits, dots, dashes and underscores.");
    const databases = entriesOf(given, `scope "${name}"`).map(([database, tables]) => {
      if (database === "files")
        throw wrong(
          `scope "${name}" names files, which are not supported in scopes`,
          "Leave `files` out: nodes of a scope get no files in this version.",
        );
      const rule = {
        name,
        tables: entriesOf(tables, `database "${database}" of scope "${name}"`).map(([table, value]) => tableOf(name, table, value)),
      };
      return { database, rule };
    });
    if (databases.length === 0) throw wrong(`scope "${name}" names no database`, "Name the databases and tables that it shows.");
    return { name, databases };
  });
}

function tableOf(scope: string, table: string, given: unknown): ScopeTable {
  const at = `table "${table}" of scope "${scope}"`;
  if (given === "all") return { table, where: [], columns: null, follow: false };
  if (given === "follow") return { table, where: null, columns: null, follow: true };
  const settings = new Map(entriesOf(given, at));
  const unknown = [...settings.keys()].find((key) => !KEYS.has(key));
  if (unknown !== undefined) throw wrong(`${at} has "${unknown}", which is not supported`, "Use where, columns and follow.");
  const [where, columns, follow = false] = [settings.get("where"), settings.get("columns"), settings.get("follow")];
  if (where !== undefined && typeof where !== "string") throw wrong(`the \`where\` of ${at} is no text`, "Write it in quotes.");
  if (columns !== undefined && !(Array.isArray(columns) && columns.every((column) => typeof column === "string")))
    throw wrong(`the \`columns\` of ${at} are no list of names`, "Write them as [one, two].");
  if (typeof follow !== "boolean") throw wrong(`\`follow\` of ${at} is neither true nor false`, "Write true or false.");
  if (where === undefined && !follow) throw wrong(`${at} does not say which rows`, "Write `all`, `follow`, or a `where`.");
  return { table, where: where === undefined ? null : parseCondition(where), columns: columns ?? null, follow };
}

function entriesOf(given: unknown, what: string): [string, unknown][] {
  if (given !== null && typeof given === "object" && !Array.isArray(given)) return Object.entries(given);
  throw wrong(
    `${what} are not names with what belongs to them`,
    "Write SCOPE, then DATABASE, then TABLE, each with a colon; see SECURITY.md.",
  );
}

function wrong(message: string, action: string): SyncError {
  return new SyncError({ code: "INVALID_ARGUMENT", message, action });
}
