import { existsSync, statSync } from "node:fs";
import Database from "better-sqlite3";
import { NO_TERMS, parseTerms, SyncError } from "@scoutsync/core";
import { lockDatabaseFile } from "./identity/file-lock.ts";
import type { Diagnosis } from "./replica.ts";
import { hasMetadata, METADATA_VERSION, readMeta, removeMetadata } from "./schema/install.ts";
import { quote } from "./schema/quote.ts";
import { foreignKeys, keyIsNull, surveyTables, type TableShape } from "./schema/tables.ts";
import { planScope, type ScopeRule } from "./scope/plan.ts";
import { triggersToSuspend } from "./schema/app-triggers.ts";
import { lastLeaving } from "./schema/text-indexes.ts";
import { stepsOf } from "./schema/trigger-steps.ts";
import { fromSqlite } from "./sqlite-errors.ts";

function openExisting(path: string, readonly: boolean): Database.Database {
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new SyncError({ code: "DATABASE_NOT_FOUND", message: `there is no database file at ${path}`, action: "Check the path." });
  }
  try {
    const db = new Database(path, { fileMustExist: true, readonly, timeout: 5_000 });
    db.prepare("SELECT count(*) FROM sqlite_master").get();
    return db;
  } catch (error) {
    throw fromSqlite(error, path);
  }
}

/** Says what sync would do to this database, and to scopes of it, and what stands in the way. Changes nothing. */
export function diagnose(path: string, exclude: readonly string[], scopes: readonly ScopeRule[] = []): Diagnosis {
  const db = openExisting(path, true);
  try {
    const attached = hasMetadata(db) && readMeta(db, "attached") === "yes";
    const { references } = parseTerms(attached ? (readMeta(db, "terms") ?? "").split("\n").filter((line) => line !== "") : []);
    const survey = surveyTables(db, exclude, { ...NO_TERMS, references });
    const problems: Diagnosis["problems"] = [];
    const version = hasMetadata(db) ? Number(readMeta(db, "version")) : 0;
    if (version > METADATA_VERSION) {
      problems.push({
        severity: "error",
        message: `the sync metadata has version ${version}, this program knows ${METADATA_VERSION}`,
        action: "Use the newer version of scoutsync.",
      });
    }
    if (survey.tables.length === 0)
      problems.push({
        severity: "warning",
        message: "no table can take part yet",
        action: "Start the application once so that it creates its tables; a running node notices.",
      });
    for (const { name, reason, rows } of survey.left) {
      if (reason.startsWith("no primary key,") || reason.includes("only the application has")) {
        problems.push({
          severity: "warning",
          message: `table "${name}" (${rows} rows) stays on this server: ${reason}`,
          action:
            "Let the application use what every SQLite has, such as COLLATE NOCASE, or columns of other names; or leave the table out with --exclude.",
        });
      }
    }
    for (const { name, parent, isInKey } of referencesLeft(db, survey.tables)) {
      problems.push({
        severity: "warning",
        message: `column "${name}" refers to rows of "${parent}" by ${isInKey ? "text or reals in a key" : "text"}, which stays as it is: where two servers give one id to two rows, what refers to the later one leads to the other`,
        action: "Declare the column INTEGER before the first sync; once there were some, on all servers at one time while nobody writes.",
      });
    }
    for (const { table, parent, columns, count } of leadingNowhere(db, survey.tables)) {
      problems.push({
        severity: "warning",
        message: `table "${table}" has ${count === 1 ? "a row that refers" : `${count} rows that refer`} by ${columns} to ${count === 1 ? `a row of "${parent}" that is` : `rows of "${parent}" that are`} not there`,
        action: `PRAGMA foreign_key_check(${quote(table)}) lists them. Have the application refer to another row, or add what they refer to: either is synced like any write.`,
      });
    }
    for (const trigger of triggersToSuspend(db, survey.tables)) {
      if (
        trigger.type === "view" ||
        (trigger.meanwhile !== null && stepsOf(trigger.meanwhile).steps.length === stepsOf(trigger.sql).steps.length)
      )
        continue;
      const only = trigger.meanwhile === null ? "it" : "but for what feeds indexes and the like it";
      problems.push({
        severity: "warning",
        message: `trigger "${trigger.name}" writes to synced tables, refuses writes, or needs what only the application has`,
        action: `Nothing to do: ${only} runs where a row is written, and not again where the change arrives. --run-trigger lets it run there, too.`,
      });
    }
    const left = attached ? lastLeaving(db) : null;
    if (left !== null)
      problems.push({
        severity: "warning",
        message: `a full-text index without content, or of some rows of its table, did not hold what its triggers took out (last on ${left})`,
        action:
          "Have the application build it anew, unless it has since then: searches may find what was edited or deleted elsewhere. " +
          "What was synced is whole, and goes on being synced.",
      });
    for (const rule of scopes) {
      try {
        planScope(db, rule, { exclude });
      } catch (error) {
        if (!(error instanceof SyncError)) throw error;
        // Its message ends with what to do.
        problems.push({ severity: "error", message: error.message.replace(`. ${error.action}`, ""), action: error.action });
      }
    }
    const count = ({ source, where, nullable }: TableShape) => {
      const keyed = nullable.length > 0 ? `NOT ${keyIsNull(nullable)}` : "true";
      return db
        .prepare(`SELECT count(*) FROM ${quote(source)} WHERE ${where ?? keyed}`)
        .pluck()
        .get() as number;
    };
    const tables: Diagnosis["tables"] = [
      ...survey.tables.map((table) => ({
        name: table.name,
        identity: table.keyless ? ("none" as const) : table.surrogate ? ("surrogate" as const) : ("natural" as const),
        rows: count(table),
        synced: true,
        note: `${
          table.keyless
            ? `${table.where === null ? "no primary key" : "NULL in the primary key"}: every row counts, equal ones too`
            : table.surrogate
              ? "ids that two servers hand out twice are kept apart"
              : `identified by ${table.key.map((column) => column.name).join(", ")}`
        }${referring(table)}`,
      })),
      ...survey.left.map(({ name, reason, rows }) => ({ name, identity: "none" as const, rows, synced: false, note: reason })),
    ];
    return {
      path,
      status: problems.some((problem) => problem.severity === "error") ? "refused" : attached ? "attached" : "ready",
      sqliteVersion: db.prepare("SELECT sqlite_version()").pluck().get() as string,
      journalMode: db.pragma("journal_mode", { simple: true }) as string,
      rows: tables.filter((table) => table.synced).reduce((sum, table) => sum + table.rows, 0),
      tables,
      problems,
    };
  } catch (error) {
    throw fromSqlite(error, path);
  } finally {
    db.close();
  }
}

/** Foreign keys of synced tables by which rows refer to what is not there, and how many do: a merge may lead to them, or an application that enforces none. */
function leadingNowhere(
  db: Database.Database,
  tables: readonly TableShape[],
): { table: string; parent: string; columns: string; count: number }[] {
  const broken = db.prepare('SELECT "parent", fkid AS id, count(*) AS count FROM pragma_foreign_key_check(?) GROUP BY fkid ORDER BY fkid');
  return [...new Set(tables.map(({ source }) => source))].flatMap((table) => {
    try {
      return (broken.all(table) as { parent: string; id: number; count: number }[]).map(({ parent, id, count }) => {
        const columns = foreignKeys(db, table).flatMap((key) => (key.id === id ? [key.from] : []));
        return { table, parent, columns: columns.join(", "), count };
      });
    } catch {
      // One that refers to no key of its parent, or needs a collation of the application's: SQLite does not compare it.
      return [];
    }
  });
}

/** Columns (`table.column`) whose references do not follow the rows that they refer to: see `leaveValues`, and `spelled.ts`. */
function referencesLeft(db: Database.Database, tables: readonly TableShape[]): { name: string; parent: string; isInKey: boolean }[] {
  const isFollowed = (parent: string, [target]: readonly string[]) =>
    tables.some(({ name, surrogate, key }) => name === parent && surrogate && key[0]?.name === target);
  const holds = (table: TableShape, column: string, types: string) =>
    db.prepare(`SELECT 1 FROM ${quote(table.source)} WHERE typeof(${quote(column)}) IN (${types}) LIMIT 1`).get() !== undefined;
  return tables
    .filter(({ where }) => where === null)
    .flatMap((table) => {
      const values = table.foreignKeys.flatMap(({ columns: [column], parent, targets }) =>
        column !== undefined && targets.length === 1 && isFollowed(parent, targets)
          ? [{ name: `${table.name}.${column}`, parent, isInKey: true }]
          : [],
      );
      const untyped = table.columns.flatMap(({ name, references, affinity }) => {
        const isInKey = table.keyless || table.key.some((part) => part.name === name);
        return references !== null && affinity === "BLOB" && holds(table, name, isInKey ? "'text', 'real'" : "'text'")
          ? [{ name: `${table.name}.${name}`, parent: references, isInKey }]
          : [];
      });
      return [...values, ...untyped];
    });
}

/** What columns refer to by configuration, of a database on which a node has run with it. */
function referring({ columns }: TableShape): string {
  return columns
    .flatMap(({ name, soft, references, linked }) => {
      const target = linked ? `${linked.database}.${linked.table}` : soft === true ? references : null;
      return target === null ? [] : [`; ${name} refers to ${target}`];
    })
    .join("");
}

/** Gives a file back the journal that it had, and returns its name. Throws DATABASE_LOCKED where a program has it open. */
function leaveWal(db: Database.Database, path: string): string {
  let mode: string;
  try {
    mode = db.pragma("journal_mode = DELETE", { simple: true }) as string;
  } catch (error) {
    if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_BUSY")) throw error;
    mode = "wal";
  }
  if (mode === "delete") return mode;
  throw new SyncError({
    code: "DATABASE_LOCKED",
    message: `a program has ${path} open, so its journal mode stays ${mode}`,
    action: "Nothing was changed. Stop the programs that use the file, then run detach again.",
  });
}

/**
 * Removes every trace of sync from the database, journal mode included, and touches none that took no part.
 * Throws DATABASE_IN_USE while a node runs on it, and DATABASE_LOCKED while a program has it open and its journal mode must change.
 */
export function detach(path: string): { removed: string[]; journalMode: string } {
  const db = openExisting(path, false);
  let release: (() => void) | null = null;
  try {
    release = lockDatabaseFile(path);
    const took = hasMetadata(db);
    // First, while the metadata says what it was: refused as a whole where a program has the file open.
    const own = took && readMeta(db, "journal mode before") !== "wal" ? leaveWal(db, path) : null;
    const journalMode = own ?? (db.pragma("journal_mode", { simple: true }) as string);
    db.exec("BEGIN IMMEDIATE");
    const removed = removeMetadata(db);
    db.exec("COMMIT");
    return { removed, journalMode };
  } catch (error) {
    if (db.inTransaction) db.exec("ROLLBACK");
    throw fromSqlite(error, path);
  } finally {
    db.close();
    release?.();
  }
}
