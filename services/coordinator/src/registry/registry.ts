import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { SyncError } from "@scoutsync/core";
import Sqlite, { type Database } from "better-sqlite3";
import { AlertStore } from "./alert-store.ts";
import { GroupCommit } from "./group-commit.ts";
import { LagHistory } from "./lag-history.ts";
import { AccessStore } from "./access-store.ts";
import { Leases } from "./leases.ts";
import { Logs } from "./logs.ts";
import { ReliabilityStore } from "./reliability-store.ts";
import { Servers } from "./servers.ts";
import { checkPresets, Settings } from "./settings.ts";

/** Numbered steps of the schema; the position in the list plus one is the version a step leads to. */
const SCHEMA_STEPS = [
  "0001-registry.sql",
  "0002-reliability-alerts.sql",
  "0003-access.sql",
  "0004-logins.sql",
  "0005-kept-back.sql",
  "0006-restored.sql",
  "0007-schema.sql",
  "0008-notices.sql",
];

const PERMISSIONS = 0o777;
/** What everybody on the machine may do with a file; its group is for its owner to choose. */
const OTHERS = 0o007;

/** "scou" as a number in the file header, so that `file` and SQLite tools can tell whose database it is. */
const APPLICATION_ID = 0x73636f75;

/** The coordinator's own SQLite database: the source of truth about the fleet. */
export interface Registry {
  readonly path: string;
  readonly servers: Servers;
  readonly logs: Logs;
  readonly settings: Settings;
  readonly leases: Leases;
  readonly access: AccessStore;
  readonly reliability: ReliabilityStore;
  readonly alerts: AlertStore;
  readonly lag: LagHistory;
  readonly closed: boolean;
  /** A small fact that survives restarts; null when it was never written. */
  readState(key: string): string | null;
  writeState(key: string, value: string): void;
  /** A number that moves whenever another process has committed to the file. */
  outsideVersion(): number;
  /** Runs `work` in one transaction. */
  transaction<T>(work: () => T): T;
  /**
   * Runs `work` a moment later, in one transaction with what others ask for meanwhile. Resolves once it is on disk;
   * rejects with what it threw, and then it alone is undone.
   */
  commit<T>(work: () => T): Promise<T>;
  close(): void;
}

/**
 * Opens or creates `coordinator.db` in `directory`. `presets` are settings as the service was told them.
 * Throws INVALID_ARGUMENT when a preset does not fit, METADATA_NEWER when a newer version of the program wrote it, DATABASE_FAILED when it cannot be opened.
 */
export function openRegistry(directory: string, presets: Readonly<Record<string, string>> = {}): Registry {
  checkPresets(presets);
  const path = join(directory, "coordinator.db");
  const database = openFile(directory, path);
  try {
    migrate(database, path);
  } catch (error) {
    database.close();
    throw error;
  }
  const readState = database.prepare<[string], { value: string }>("SELECT value FROM coordinator_state WHERE key = ?");
  const writeState = database.prepare(
    "INSERT INTO coordinator_state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
  );
  const servers = new Servers(database);
  const undone = () => servers.reread();
  const group = new GroupCommit(database, undone);
  return {
    path,
    servers,
    logs: new Logs(database),
    settings: new Settings(database, presets),
    leases: new Leases(database),
    access: new AccessStore(database),
    reliability: new ReliabilityStore(database),
    alerts: new AlertStore(database),
    lag: new LagHistory(database),
    get closed() {
      return !database.open;
    },
    readState: (key) => readState.get(key)?.value ?? null,
    writeState: (key, value) => void writeState.run(key, value),
    outsideVersion: () => database.pragma("data_version", { simple: true }) as number,
    transaction: (work) => {
      if (database.inTransaction) return work();
      try {
        return database.transaction(work).immediate();
      } catch (error) {
        undone();
        throw error;
      }
    },
    commit: (work) => group.run(work),
    close: () => {
      group.flush();
      database.close();
    },
  };
}

function openFile(directory: string, path: string): Database {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    keepFromOthers(path);
    // Somebody's INSERT into sync_config may hold the lock for a moment; 5 s is longer than any such statement.
    const database = new Sqlite(path, { timeout: 5_000 });
    database.pragma("journal_mode = WAL");
    // An epoch that was handed out must not be forgotten in a power cut, or it could be handed out twice.
    database.pragma("synchronous = FULL");
    database.pragma("foreign_keys = ON");
    return database;
  } catch (error) {
    throw new SyncError({
      code: "DATABASE_FAILED",
      message: `The coordinator's registry ${path} cannot be ${existsSync(path) ? "opened" : "created"} (${(error as Error).message})`,
      action: "Give a writable directory with --data, or restore the file from a backup.",
      cause: error,
    });
  }
}

/** Settings may hold passwords. SQLite gives the files beside it the same rights. */
function keepFromOthers(path: string): void {
  const known = statSync(path, { throwIfNoEntry: false });
  if (known === undefined) closeSync(openSync(path, "ax", 0o600));
  else if ((known.mode & OTHERS) !== 0 && known.uid === process.getuid?.()) chmodSync(path, known.mode & PERMISSIONS & ~OTHERS);
}

function migrate(database: Database, path: string): void {
  const version = database.pragma("user_version", { simple: true }) as number;
  if (version > SCHEMA_STEPS.length) {
    throw new SyncError({
      code: "METADATA_NEWER",
      message: `The registry ${path} was written by a newer version of scoutsync (schema ${version}, this program knows ${SCHEMA_STEPS.length})`,
      action: "Start the newer version again, or give another directory with --data.",
    });
  }
  if (version === SCHEMA_STEPS.length) return;
  database
    .transaction(() => {
      for (const step of SCHEMA_STEPS.slice(version)) {
        database.exec(readFileSync(new URL(step, import.meta.url), "utf8"));
      }
      database.pragma(`user_version = ${SCHEMA_STEPS.length}`);
      database.pragma(`application_id = ${APPLICATION_ID}`);
    })
    .immediate();
}
