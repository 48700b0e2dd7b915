import { SyncError } from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";
import { VEILED } from "@scoutsync/replica";
import type { SyncNodeConfig } from "../config.ts";
import type { Databases } from "../databases.ts";

/** Different values of one column that are looked up at most; with more the rest is not. */
const MAX_VALUES = 100_000;
/** Paths looked up in one trip. */
const LOOK_UP_AT_ONCE = 10_000;
/** Rows' files named at most in one answer: whoever sees this many does not read on. */
const MAX_NAMED = 1_000;

/** A column whose texts name files of a root, relative to a folder in it. */
export interface RowFiles {
  database: string;
  table: string;
  column: string;
  root: string;
  /** "" = the root itself. */
  folder: string;
  /** What it names is shown to nobody. */
  isSensitive: boolean;
}

/** A file that rows name and that is not in place here. */
export interface UnmetFile {
  path: string;
  kind: "row";
  reason: string;
}

/** Reads `NAME.TABLE.COLUMN=ROOT` or `=ROOT/FOLDER`. Throws INVALID_ARGUMENT for what names nothing that this node has. */
export function rowFilesOf({
  databases,
  files = [],
  rowFiles = [],
  sensitive = [],
}: Pick<SyncNodeConfig, "databases" | "files" | "rowFiles" | "sensitive">): RowFiles[] {
  // As SQLite compares names.
  const veiled = new Set(sensitive.map((entry) => entry.toLowerCase()));
  return rowFiles.map((entry) => {
    const [column = "", target = ""] = entry.split("=");
    const database = databases
      .map(({ name }) => name)
      .sort((a, b) => b.length - a.length)
      .find((name) => column.startsWith(`${name}.`));
    const [table, name] = splitLast(column.slice((database ?? "").length + 1), ".");
    const [root = "", ...folder] = target.split("/");
    if (database !== undefined && table !== "" && name !== "" && files.some((one) => one.name === root))
      return {
        database,
        table,
        column: name,
        root,
        folder: folder.filter((part) => part !== "").join("/"),
        isSensitive: [`${database}.${table}`, `${database}.${table}.${name}`].some((one) => veiled.has(one.toLowerCase())),
      };
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${entry}" does not say which column of a database of this node names files of which of its roots`,
      action: "Write it as NAME.TABLE.COLUMN=ROOT or NAME.TABLE.COLUMN=ROOT/FOLDER.",
    });
  });
}

/** What rows of this node's databases name in a root and is not in place there; a column that is not there is said as well. */
export async function unmetFiles(databases: Databases, rowFiles: readonly RowFiles[], root: FileRoot): Promise<UnmetFile[]> {
  const unmet: UnmetFile[] = [];
  for (const { database, table, column, folder, root: name, isSensitive } of rowFiles) {
    if (name !== root.name) continue;
    const named = `${database}.${table}.${column}`;
    try {
      const { replica } = databases.get(database);
      const values = await replica.textsIn({ table, column, limit: MAX_VALUES });
      const paths = values.map((value) => (folder === "" ? value : `${folder}/${value}`));
      for (let at = 0; at < paths.length && unmet.length < MAX_NAMED; at += LOOK_UP_AT_ONCE) {
        const absent = await root.absent(paths.slice(at, at + LOOK_UP_AT_ONCE));
        for (const { path, reason } of absent) {
          const shown = isSensitive ? { path: VEILED, reason: "is not in place" } : { path, reason };
          unmet.push({ path: shown.path, kind: "row", reason: `${shown.reason}; ${named} names it` });
        }
      }
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      unmet.push({ path: "", kind: "row", reason: `what ${named} names cannot be looked up: ${error.message}` });
    }
  }
  return unmet.slice(0, MAX_NAMED);
}

function splitLast(text: string, by: string): [string, string] {
  const at = text.lastIndexOf(by);
  return at < 0 ? ["", text] : [text.slice(0, at), text.slice(at + 1)];
}
