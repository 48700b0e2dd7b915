import type { Database, Statement } from "better-sqlite3";

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
  /** Mass deletes that wait for a person. */
  kept_back: number;
  /** 1: it was restored from a backup, and serves nobody before it has fetched once. */
  restored: number;
  /** Stands for the tables and columns that the digest is of; empty: the node did not say. */
  schema: string;
  /** Rows that may not be those that somebody meant, as entries of a person's list. */
  notices: number;
}

/** What a node said about one of its file roots. */
export interface FileRootReport {
  root: string;
  cursor: string;
  digest: string;
  /** Open conflicts. */
  conflicts: number;
  /** Versions that it knows and whose bytes it does not have. */
  pending: number;
  /** Files that are missing and not known to be deleted. */
  missing: number;
  /** 1: so many are missing that the other nodes keep theirs until somebody decides. */
  held_back: number;
  /** Why the root cannot take part; empty when it can. */
  problem: string;
  /** What others have and the node leaves alone for its size, in words; empty where there is nothing. */
  too_large: string;
  /** How many times something of a peer was refused, when it last was (ISO 8601, empty = never), of whom, and what. */
  refused: number;
  last_refused: string;
  refused_peer: string;
  refused_what: string;
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

/** All rows as they stand in the file, of which the last write of another process had the number `outside`. */
interface Remembered {
  rows: ServerRow[];
  /** Where in `rows` a node is, by its id. */
  places: Map<number, number>;
  byNodeId: Map<string, number>;
  outside: number;
}

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
  readonly #updates = new Map<string, Statement>();
  readonly #raiseEpoch;
  readonly #outside;
  #cached: Remembered | null = null;

  constructor(database: Database) {
    this.#database = database;
    this.#all = database.prepare<[], ServerRow>("SELECT * FROM sync_servers ORDER BY id");
    this.#insert = database.prepare<[string, string, number, number]>(
      "INSERT INTO sync_servers (name, host, port, sync_enabled) VALUES (?, ?, ?, ?)",
    );
    this.#raiseEpoch = database.prepare<[number, number], { epoch: number }>(
      "UPDATE sync_servers SET epoch = max(epoch + 1, ?) WHERE id = ? RETURNING epoch",
    );
    this.#outside = database.prepare<[]>("PRAGMA data_version").pluck();
    this.#delete = database.prepare<[number]>("DELETE FROM sync_servers WHERE id = ?");
    this.#reports = database.prepare<[], Omit<DatabaseReport, "tables"> & { server_id: number; tables: string }>(
      "SELECT * FROM server_databases ORDER BY server_id, name",
    );
    this.#dropReports = database.prepare<[number]>("DELETE FROM server_databases WHERE server_id = ?");
    this.#addReport = database.prepare(
      `INSERT OR REPLACE INTO server_databases (server_id, name, vector, digest, pending, parked, conflicts, rows, tables, problem, held, kept_back, restored, schema, notices)
       VALUES (@server_id, @name, @vector, @digest, @pending, @parked, @conflicts, @rows, @tables, @problem, @held, @kept_back, @restored, @schema, @notices)`,
    );
    this.#files = database.prepare<[], FileRootReport & { server_id: number }>("SELECT * FROM server_files ORDER BY server_id, root");
    this.#dropFiles = database.prepare<[number]>("DELETE FROM server_files WHERE server_id = ?");
    this.#addFile = database.prepare(
      `INSERT INTO server_files (server_id, root, cursor, digest, conflicts, pending, missing, held_back, problem,
         too_large, refused, last_refused, refused_peer, refused_what)
       VALUES (@server_id, @root, @cursor, @digest, @conflicts, @pending, @missing, @held_back, @problem,
         @too_large, @refused, @last_refused, @refused_peer, @refused_what)`,
    );
  }

  /** All nodes by id. Cheap to call often: read again only after another process has written. */
  list(): readonly ServerRow[] {
    return this.#current().rows;
  }

  get(id: number): ServerRow | null {
    const { rows, places } = this.#current();
    const place = places.get(id);
    return place === undefined ? null : (rows[place] ?? null);
  }

  byNodeId(nodeId: string): ServerRow | null {
    const id = this.#current().byNodeId.get(nodeId);
    return id === undefined ? null : this.get(id);
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
    let update = this.#updates.get(assignments);
    if (update === undefined) {
      update = this.#database.prepare(`UPDATE sync_servers SET ${assignments} WHERE id = @id`);
      this.#updates.set(assignments, update);
    }
    update.run({ ...patch, id });
    this.#wrote(id, patch);
  }

  /**
   * The next fencing number of a node. It starts from the wall clock in milliseconds, so that a registry that was
   * lost and made anew still hands out higher numbers than the nodes have seen. Throws when there is no such node.
   */
  nextEpoch(id: number, now: Date): number {
    const raised = this.#raiseEpoch.get(now.getTime(), id);
    if (raised === undefined) throw new Error(`server ${id} is not in the registry`);
    this.#wrote(id, raised);
    return raised.epoch;
  }

  remove(id: number): void {
    this.#cached = null;
    this.#delete.run(id);
  }

  /** What is remembered may not be what is on disk: read it again at the next question. */
  reread(): void {
    this.#cached = null;
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

  /** Keeps what is remembered right after a write of our own. */
  #wrote(id: number, patch: ServerPatch): void {
    const place = this.#cached?.places.get(id);
    const row = place === undefined ? undefined : this.#cached?.rows[place];
    if (this.#cached === null || place === undefined || row === undefined) return;
    this.#cached.rows[place] = { ...row, ...patch };
    if (patch.node_id === undefined || patch.node_id === row.node_id) return;
    if (row.node_id !== null) this.#cached.byNodeId.delete(row.node_id);
    if (patch.node_id !== null) this.#cached.byNodeId.set(patch.node_id, id);
  }

  #current(): Remembered {
    const outside = this.#outside.get() as number;
    if (this.#cached === null || this.#cached.outside !== outside) {
      const rows = this.#all.all();
      const identified = rows.flatMap(({ id, node_id }) => (node_id === null ? [] : [[node_id, id] as const]));
      this.#cached = { rows, places: new Map(rows.map((row, place) => [row.id, place])), byNodeId: new Map(identified), outside };
    }
    return this.#cached;
  }
}

/** `host:port` of a node, with IPv6 hosts in brackets. */
export function addressOf(row: Pick<ServerRow, "host" | "port">): string {
  return row.host.includes(":") ? `[${row.host}]:${row.port}` : `${row.host}:${row.port}`;
}
