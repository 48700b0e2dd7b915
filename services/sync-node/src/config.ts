import { parseTerms, SyncError } from "@scoutsync/core";
import type { FileLimits } from "@scoutsync/files";
import { parseAddress, type Logger } from "@scoutsync/runtime";

/** What a sync-node is told at its start. */
export interface SyncNodeConfig {
  /** What people call this node. */
  name: string;
  /** `host:port`; port 0 picks one. */
  listen: string;
  databases: readonly { name: string; path: string }[];
  /** Folders of files taking part. */
  files?: readonly { name: string; path: string }[] | undefined;
  /** `ROOT:PATTERN` in gitignore syntax: files that are left alone. */
  fileExclude?: readonly string[] | undefined;
  /** `NAME.TABLE.COLUMN=ROOT` or `=ROOT/FOLDER`: columns whose texts name files of a root. */
  rowFiles?: readonly string[] | undefined;
  /** Bytes; what is not given has a default. */
  fileLimits?: Partial<FileLimits> | undefined;
  /** Bytes per second that files travel with, all peers together; 0 = no limit. */
  fileRate?: number | undefined;
  /** Changes per second, and bytes of packed changes per second, that pass in both directions; 0 = no limit. */
  rowRate?: number | undefined;
  rowByteRate?: number | undefined;
  /** Holds what the node itself remembers: its identity. Made when missing. */
  dataDirectory: string;
  /** `host:port` of nodes to stay in sync with, coordinator or not. */
  peers: readonly string[];
  /** `host:port`, or null without one. */
  coordinator: string | null;
  /** What rows that were there before syncing are, when another side has such rows too. */
  baseline: "shared" | "distinct" | null;
  /** `NAME.TABLE` or `NAME.TABLE.COLUMN`: what never leaves this node. */
  exclude: readonly string[];
  /** `NAME.TABLE` or `NAME.TABLE.COLUMN`: what syncs, and whose values nobody is shown. */
  sensitive?: readonly string[] | undefined;
  /** `NAME.TRIGGER`: triggers of the application that run, or do not, where changes of others are applied, whatever they seem to do. */
  triggers?: { run: readonly string[]; suspend: readonly string[] } | undefined;
  /** `NAME.TABLE.COLUMN=RULE`: how concurrent writes of a column become one value; the same on every node. */
  rules?: readonly string[];
  /** `NAME.TABLE.COLUMN=NAME.TABLE.KEY`: columns that hold the integer key of another table, also of another database, without a foreign key; the same on every node. */
  references?: readonly string[];
  /** What nodes that are limited to a scope see and may change, as `scopesOf` reads it. */
  scopes?: unknown;
  /** `NAME.TABLE`: rows with one UNIQUE value that were created apart are left to people, never made one. Default: none. */
  park?: readonly string[];
  /** Take from others, never send own changes. */
  receiveOnly: boolean;
  /** What a node that is away has sent in part only is taken over after so many days; 0 = never by itself. */
  reissueAfterDays?: number | undefined;
  /** Deleted rows are kept at least for so many days, and until every node knows that they are deleted. Default 30. */
  retentionDays?: number | undefined;
  /** Serve what a restored backup holds without having pulled once: nobody is left to pull from. */
  serveRestored?: boolean | undefined;
  /** From when on deletes of most of a table at once are kept back: rows, and share of the table; null = never. Default 100 and half. */
  quarantine?: { rows: number; share: number } | null | undefined;
  /** `host:port` for `GET /metrics`; null or left out = not served. */
  metrics?: string | null | undefined;
  /** Worker threads that the databases share; default: one per processor, no more than databases. */
  threads?: number | undefined;
  /** Find others of the fleet on the local network: the address of the network interface, or "" for all; left out = do not. */
  discover?: string | undefined;
  /** Speak plain text also beyond this machine, where the data directory belongs to no fleet. */
  insecure?: boolean | undefined;
  logger: Logger;
}

/**
 * The exclusions of each database, without its name in front. Throws INVALID_ARGUMENT for one that names no database of
 * this node: a misspelt exclusion would send what was meant to stay.
 */
export function exclusionsByDatabase({ databases, exclude }: Pick<SyncNodeConfig, "databases" | "exclude">): Map<string, string[]> {
  return byDatabase(databases, exclude, "exclusion", "table", "NAME.TABLE or NAME.TABLE.COLUMN");
}

/** The sensitive columns of each database, without its name in front. Throws as `exclusionsByDatabase`. */
export function sensitiveByDatabase({ databases, sensitive = [] }: Pick<SyncNodeConfig, "databases" | "sensitive">): Map<string, string[]> {
  return byDatabase(databases, sensitive, "sensitive column", "table", "NAME.TABLE or NAME.TABLE.COLUMN");
}

/** The choices about triggers of each database, without its name in front. Throws as `exclusionsByDatabase`. */
export function triggersByDatabase({ databases, triggers }: Pick<SyncNodeConfig, "databases" | "triggers">) {
  const run = byDatabase(databases, triggers?.run ?? [], "trigger to run", "trigger", "NAME.TRIGGER");
  const suspend = byDatabase(databases, triggers?.suspend ?? [], "trigger to suspend", "trigger", "NAME.TRIGGER");
  return new Map(databases.map(({ name }) => [name, { run: run.get(name) ?? [], suspend: suspend.get(name) ?? [] }]));
}

/** The tables of each database whose clashing rows are parked. Throws as `exclusionsByDatabase`. */
export function parkedTablesByDatabase({ databases, park = [] }: Pick<SyncNodeConfig, "databases" | "park">): Map<string, string[]> {
  return byDatabase(databases, park, "table to park", "table", "NAME.TABLE");
}

function byDatabase(
  databases: SyncNodeConfig["databases"],
  entries: readonly string[],
  what: string,
  thing: string,
  form: string,
): Map<string, string[]> {
  const found = new Map<string, string[]>(databases.map(({ name }) => [name, []]));
  for (const entry of entries) {
    // The longest name wins, for database names with dots in them.
    const name = [...found.keys()].sort((a, b) => b.length - a.length).find((candidate) => entry.startsWith(`${candidate}.`));
    if (name === undefined || entry.length === name.length + 1) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `the ${what} "${entry}" names no ${thing} of a database of this node`,
        action: `Write it as ${form} with NAME one of: ${[...found.keys()].join(", ")}.`,
      });
    }
    found.get(name)?.push(entry.slice(name.length + 1));
  }
  return found;
}

/**
 * The rules and references of each database, without its name in front; a reference into another database keeps that one's.
 * Throws INVALID_ARGUMENT as `exclusionsByDatabase`, for what is no rule, and for a reference into a database that is not here.
 */
export function termsByDatabase({
  databases,
  rules = [],
  references = [],
}: Pick<SyncNodeConfig, "databases" | "rules" | "references">): Map<string, string[]> {
  const found = new Map<string, string[]>(databases.map(({ name }) => [name, []]));
  const names = [...found.keys()].sort((a, b) => b.length - a.length);
  const databaseOf = (entry: string) => names.find((candidate) => entry.startsWith(`${candidate}.`));
  const refused = (message: string, action: string) => new SyncError({ code: "INVALID_ARGUMENT", message, action });
  for (const entry of [...rules, ...references.map((reference) => reference.replace(/\s*(=|->)\s*/, "->"))]) {
    const name = databaseOf(entry);
    if (name === undefined) {
      throw refused(
        `"${entry}" names no column of a database of this node`,
        `Write it as NAME.TABLE.COLUMN=… with NAME one of: ${[...found.keys()].join(", ")}.`,
      );
    }
    const [from, to] = entry.split("->") as [string, string | undefined];
    const other = to === undefined ? name : databaseOf(to);
    if (to !== undefined && other === undefined) {
      throw refused(
        `"${entry}" refers into a database that this node does not have`,
        `Write it as NAME.TABLE.COLUMN=NAME.TABLE.KEY with NAME one of: ${[...found.keys()].join(", ")}; or give the node that database, too.`,
      );
    }
    const target = other === name ? to?.slice(name.length + 1) : to;
    found.get(name)?.push(target === undefined ? entry.slice(name.length + 1) : `${from.slice(name.length + 1)}->${target}`);
  }
  for (const entries of found.values()) parseTerms(entries);
  return found;
}

/** Throws INVALID_ARGUMENT for an address that nobody can be reached at: it would only be tried for ever. */
export function checkAddresses({ peers, coordinator }: Pick<SyncNodeConfig, "peers" | "coordinator">): void {
  for (const text of coordinator === null ? peers : [...peers, coordinator]) {
    const address = parseAddress(text);
    if (address && address.host !== "" && address.port > 0) continue;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${text}" is not the address of a node or coordinator`,
      action: "Write it as host:port.",
    });
  }
}

/** Throws INVALID_ARGUMENT for two databases of one name. */
export function checkNames(databases: SyncNodeConfig["databases"]): void {
  const seen = new Set<string>();
  for (const { name } of databases) {
    if (seen.has(name)) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `two databases are called "${name}"`,
        action: "Give each database of a node its own NAME in --db NAME=PATH.",
      });
    }
    seen.add(name);
  }
}
