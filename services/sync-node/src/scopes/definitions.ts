import { SyncError } from "@scoutsync/core";
import { Part } from "@scoutsync/files";
import { parseCondition, type ScopeRule, type ScopeTable } from "@scoutsync/replica";

/** A scope as the node is told of it: what it shows, by database and file root. */
export interface ScopeDefinition {
  name: string;
  databases: { database: string; rule: ScopeRule }[];
  /** Folders with a slash at the end; "" is all of the root. */
  files: { root: string; folders: string[] }[];
}

/** Names end up in certificates and file names. */
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
/** Stands where a database stands; no database of a scope is called so. */
const FILES = "files";
const KEYS = new Set(["where", "columns", "follow"]);

/**
 * Reads `SCOPE: { DATABASE: { TABLE: all | follow | { where, columns, follow } }, files: { ROOT: all | [FOLDER/, …] } }`. What
 * is not named is not in a scope, and what is not understood is refused: throws INVALID_ARGUMENT.
 */
export function scopesOf(content: unknown): ScopeDefinition[] {
  return entriesOf(content, "the scopes").map(([name, given]) => {
    if (!NAME.test(name) || name.startsWith("."))
      throw wrong(`"${name.slice(0, 80)}" cannot be the name of a scope`, "Use up to 64 letters, digits, dots, dashes and underscores.");
    const parts = entriesOf(given, `scope "${name}"`);
    const files = parts
      .filter(([key]) => key === FILES)
      .flatMap(([, roots]) => entriesOf(roots, `\`files\` of scope "${name}"`))
      .map(([root, folders]) => ({ root, folders: foldersOf(name, root, folders) }));
    const named = parts.filter(([key]) => key !== FILES);
    const databases = named.map(([database, tables]) => {
      const rule = {
        name,
        tables: entriesOf(tables, `database "${database}" of scope "${name}"`).map(([table, value]) => tableOf(name, table, value)),
      };
      return { database, rule };
    });
    if (parts.length === 0) throw wrong(`scope "${name}" names no database`, "Name the databases and tables that it shows.");
    return { name, databases, files };
  });
}

function foldersOf(scope: string, root: string, given: unknown): string[] {
  if (given === "all") return [""];
  if (!(Array.isArray(given) && given.every((folder) => typeof folder === "string" && folder !== "")))
    throw wrong(`the files of root "${root}" in scope "${scope}" are no list of folders`, "Write `all`, or folders as [one/, two/three/].");
  return [...new Part(given).prefixes];
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
