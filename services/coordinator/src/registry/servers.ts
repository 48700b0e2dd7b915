import type { Database } from "better-sqlite3";

/** What a node said about one of its databases. Counts are plain numbers, the vector is text as Ping prints it. */
export interface DatabaseReport {
  name: string;
  vector: string;
  digest: string;
  pending: number;
  parked: number;
  conflicts: number;
  rows: number;
  tables: string[];
  problem: string;
  /** Rows held for tables that the database does not have. */
  held: number;
}

/** What a node said about one of its file roots. */
export interface FileRootReport {
  root: string;
  cursor: string;
  digest: string;
}

/** A row of `sync_servers`. Times are ISO 8601 UTC or null for never. */
export interface ServerRow {
  readonly id: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly sync_enabled: number;
  readonly last_sync: string | null;
  readonly last_ping: string | null;
  readonly ping_success: number;
  readonly node_id: string | null;
  readonly version: string;
  readonly run: string;
  readonly missing_changes: number;
  readonly oldest_missing_age_s: number;
  readonly clock_offset_ms: number;
  readonly last_error: string;
  readonly last_seen: string | null;
  readonly failures: number;
  readonly epoch: number;
  readonly created_at: string;
  readonly round_trip_ms: number;
  readonly disk_free_bytes: number | null;
  readonly disk_total_bytes: number | null;
}

/** Columns that may be written by `update`. */
export type ServerPatch = Partial<Omit<ServerRow, "id" | "created_at">>;

const WRITABLE: ReadonlySet<string> = new Set([
  "name",
  "host",
  "port",
  "sync_enabled",
  "last_sync",
  "last_ping",
  "ping_success",
  "node_id",
  "version",
  "run",
  "missing_changes",
  "oldest_missing_age_s",
  "clock_offset_ms",
  "last_error",
  "last_seen",
  "failures",
  "epoch",
  "round_trip_ms",
  "disk_free_bytes",
  "disk_total_bytes",
] satisfies (keyof ServerPatch)[]);

/** The table `sync_servers` and what each node said last. */
export class Servers {
  readonly #database: Database;
  readonly #all;
  readonly #insert;
  readonly #delete;
  readonly #reports;
  readonly #dropReports;
  readonly #addReport;
  readonly #files;
  readonly #dropFiles;
  readonly #addFile;
  #cached: { rows: readonly ServerRow[]; byId: Map<number, ServerRow>; outside: number } | null = null;

  constructor(database: Database) {
    this.#database = database;
    this.#all = database.prepare<[], ServerRow>("SELECT * FROM sync_servers ORDER BY id");
    this.#insert = database.prepare<[string, string, number, number]>(
      "INSERT INTO sync_servers (name, host, port, sync_enabled) VALUES (?, ?, ?, ?)",
    );
    this.#delete = database.prepare<[number]>("DELETE FROM sync_servers WHERE id = ?");
    this.#reports = database.prepare<[], Omit<DatabaseReport, "tables"> & { server_id: number; tables: string }>(
      "SELECT * FROM server_databases ORDER BY server_id, name",
    );
    this.#dropReports = database.prepare<[number]>("DELETE FROM server_databases WHERE server_id = ?");
    this.#addReport = database.prepare(
      `INSERT OR REPLACE INTO server_databases (server_id, name, vector, digest, pending, parked, conflicts, rows, tables, problem, held)
       VALUES (@server_id, @name, @vector, @digest, @pending, @parked, @conflicts, @rows, @tables, @problem, @held)`,
    );
    this.#files = database.prepare<[], FileRootReport & { server_id: number }>("SELECT * FROM server_files ORDER BY server_id, root");
    this.#dropFiles = database.prepare<[number]>("DELETE FROM server_files WHERE server_id = ?");
    this.#addFile = database.prepare(
      "INSERT INTO server_files (server_id, root, cursor, digest) VALUES (@server_id, @root, @cursor, @digest)",
    );
  }

  /** All nodes by id. Cheap to call often: read again only after a write by us or by another process. */
  list(): readonly ServerRow[] {
    return this.#current().rows;
  }

  get(id: number): ServerRow | null {
    return this.#current().byId.get(id) ?? null;
  }

  byNodeId(nodeId: string): ServerRow | null {
    return this.list().find((row) => row.node_id === nodeId) ?? null;
  }

  /** Nodes that `text` names: an id, a name or host:port. */
  matching(text: string): ServerRow[] {
    const wanted = text.trim();
    const rows = this.list();
    const named = rows.filter((row) => row.name === wanted || addressOf(row) === wanted);
    if (named.length > 0) return named;
    return rows.filter((row) => String(row.id) === wanted);
  }

  insert(row: { name: string; host: string; port: number; enabled: boolean }): number {
    this.#cached = null;
    return Number(this.#insert.run(row.name, row.host, row.port, row.enabled ? 1 : 0).lastInsertRowid);
  }

  update(id: number, patch: ServerPatch): void {
    const columns = Object.keys(patch).filter((column) => WRITABLE.has(column));
    if (columns.length === 0) return;
    const assignments = columns.map((column) => `${column} = @${column}`).join(", ");
    this.#database.prepare(`UPDATE sync_servers SET ${assignments} WHERE id = @id`).run({ ...patch, id });
    this.#cached = null;
  }

  remove(id: number): void {
    this.#cached = null;
    this.#delete.run(id);
  }

  /** What every node last said about its databases, by server id. */
  reports(): Map<number, DatabaseReport[]> {
    const byServer = new Map<number, DatabaseReport[]>();
    for (const { server_id, tables, ...report } of this.#reports.all()) {
      const list = byServer.get(server_id) ?? [];
      list.push({ ...report, tables: JSON.parse(tables) as string[] });
      byServer.set(server_id, list);
    }
    return byServer;
  }

  storeReports(id: number, reports: readonly DatabaseReport[]): void {
    this.#dropReports.run(id);
    for (const report of reports) {
      this.#addReport.run({ ...report, tables: JSON.stringify(report.tables), server_id: id });
    }
  }

  /** What every node last said about its file roots, by server id. */
  fileReports(): Map<number, FileRootReport[]> {
    const byServer = new Map<number, FileRootReport[]>();
    for (const { server_id, ...report } of this.#files.all()) {
      const list = byServer.get(server_id) ?? [];
      list.push(report);
      byServer.set(server_id, list);
    }
    return byServer;
  }

  storeFileReports(id: number, reports: readonly FileRootReport[]): void {
    this.#dropFiles.run(id);
    for (const report of reports) this.#addFile.run({ ...report, server_id: id });
  }

  #current(): { rows: readonly ServerRow[]; byId: Map<number, ServerRow>; outside: number } {
    const outside = this.#database.pragma("data_version", { simple: true }) as number;
    if (this.#cached === null || this.#cached.outside !== outside) {
      const rows = this.#all.all();
      this.#cached = { rows, byId: new Map(rows.map((row) => [row.id, row])), outside };
    }
    return this.#cached;
  }
}

/** `host:port` of a node, with IPv6 hosts in brackets. */
export function addressOf(row: Pick<ServerRow, "host" | "port">): string {
  return row.host.includes(":") ? `[${row.host}]:${row.port}` : `${row.host}:${row.port}`;
}
