import { resolve } from "node:path";
import { Option } from "commander";
import { declare, repeatable, type Registration } from "../command.ts";
import type { ScopeRule } from "@scoutsync/replica";
import { Negative, usageError } from "../exit.ts";
import type { Output } from "../output/output.ts";
import { shown } from "../output/shown.ts";

/** `scoutsync doctor`: what sync would do to a database or a folder and what stands in the way; changes nothing. */
export const registerDoctor: Registration = (program, surroundings) => {
  declare<{ db?: string; files?: string; exclude?: string[]; scopes?: string; as: string }>(program, surroundings, {
    usage: "doctor",
    summary: "what sync would do to this database, or this folder of files, and what stands in the way; changes nothing",
    options: [
      new Option("--db <path>", "the SQLite file"),
      new Option("--files <dir>", "the folder of a file root").conflicts("db"),
      new Option("--scopes <file>", "also say whether the scopes in this file can be served from the database").conflicts("files"),
      new Option("--as <name>", "what that file calls the database").default("main"),
      repeatable("--exclude <table[.column]>", "what is to be left out, of a folder a gitignore pattern; repeat for more"),
    ],
    examples: [
      "scoutsync doctor --db ./app.db",
      "scoutsync doctor --db ./app.db --exclude sessions --json",
      "scoutsync doctor --db ./app.db --scopes scopes.yaml",
      "scoutsync doctor --files ./uploads",
    ],
    run: async ({ db, files, exclude = [], scopes, as }, { out, surroundings: { cwd } }) => {
      if (files !== undefined) return examineRoot(resolve(cwd, files), exclude, out);
      if (db === undefined) throw usageError("doctor needs something to look at", "Give --db PATH or --files DIR.");
      const { diagnose } = await import("@scoutsync/replica");
      const found = diagnose(resolve(cwd, db), exclude, scopes === undefined ? [] : await rulesIn(resolve(cwd, scopes), as));
      const document = {
        path: found.path,
        status: found.status,
        sqlite_version: found.sqliteVersion,
        journal_mode: found.journalMode,
        rows: found.rows,
        tables: found.tables,
        problems: found.problems,
      };
      out.result(document, () => {
        out.line(`${found.path}: ${SENTENCE[found.status]} (${found.rows} rows, journal mode ${found.journalMode})`);
        out.table(
          ["table", "synced", "rows", "identity", "note"],
          found.tables.map((table) => [table.name, table.synced ? "yes" : "no", table.rows, table.identity, table.note]),
        );
        for (const { severity, message, action } of found.problems) out.line(`${severity}: ${message}. ${action}`);
      });
      if (found.status === "refused") throw new Negative();
    },
  });
};

/** What the scopes in a file show of a database. */
async function rulesIn(path: string, database: string): Promise<ScopeRule[]> {
  const { scopesOf } = await import("@scoutsync/sync-node");
  const { scopesFromFile } = await import("../config/yaml.ts");
  const rules = scopesOf(scopesFromFile(path)).flatMap(({ databases }) =>
    databases.filter((one) => one.database === database).map(({ rule }) => rule),
  );
  if (rules.length === 0) throw usageError(`no scope in ${path} names a database "${database}"`, "Say with --as what it is called there.");
  return rules;
}

async function examineRoot(path: string, exclude: readonly string[], out: Output): Promise<void> {
  const { diagnoseRoot } = await import("@scoutsync/files");
  const found = diagnoseRoot(path, exclude);
  const { status, files, folders, bytes, ignored, inUse, leftAlone, problems } = found;
  out.result({ path, status, files, folders, bytes, ignored, in_use: inUse, left_alone: leftAlone, problems }, () => {
    out.line(`${path}: ${SENTENCE[status]} (${files} files in ${folders} folders, ${bytes} bytes; ${ignored} ignored)`);
    if (inUse) out.line("a node runs on it");
    for (const one of leftAlone) out.line(`left alone: ${shown(one.path)} ${one.reason}`);
    for (const { message, action } of problems) out.line(`error: ${message}. ${action}`);
  });
  if (status === "refused") throw new Negative();
}

const SENTENCE = {
  attached: "takes part in sync",
  ready: "can take part in sync",
  refused: "cannot take part in sync yet",
} as const;
