import type { Database } from "better-sqlite3";

export type LogStatus = "pending" | "in_progress" | "completed" | "failed";

/** The operation under which an attempt to bring a node up to date is logged. */
export const CATCH_UP_OPERATION = "catch-up sync";

/** A row of `sync_logs` with the name its node has now (its id as text when the node was removed). */
export interface LogRow {
  id: number;
  server_id: number;
  server_name: string;
  operation: string;
  status: LogStatus;
  details: string;
  created_at: string;
  completed_at: string | null;
}

export interface LogFilter {
  serverId?: number;
  /** Part of the operation's name. */
  operation?: string;
  status?: string;
  /** Only rows older than this id; for paging. */
  beforeId?: number;
  limit: number;
}

/** The table `sync_logs`: one line per attempt. */
export class Logs {
  readonly #database: Database;
  readonly #open;
  readonly #close;
  readonly #outcomes;

  constructor(database: Database) {
    this.#database = database;
    this.#open = database.prepare<[number, string, string, string, number | null, string]>(
      `INSERT INTO sync_logs (server_id, operation, status, details, created_at, source_id, worker)
       VALUES (?, ?, 'in_progress', ?, ?, ?, ?)`,
    );
    this.#close = database.prepare<[string, string, string, number]>(
      "UPDATE sync_logs SET status = ?, details = ?, completed_at = ? WHERE id = ? AND status = 'in_progress'",
    );
    this.#outcomes = database.prepare<[number, number], { status: LogStatus }>(
      "SELECT status FROM sync_logs WHERE server_id = ? AND status IN ('completed', 'failed') ORDER BY id DESC LIMIT ?",
    );
  }

  /** Starts the line of one attempt and returns its id. */
  open(entry: { serverId: number; sourceId: number | null; worker: string; details: Record<string, unknown>; now: Date }): number {
    const details = JSON.stringify(entry.details);
    const { serverId, sourceId, worker, now } = entry;
    return Number(this.#open.run(serverId, CATCH_UP_OPERATION, details, now.toISOString(), sourceId, worker).lastInsertRowid);
  }

  /** Ends the line of an attempt. A line that has ended stays as it is. */
  close(id: number, status: "completed" | "failed", details: Record<string, unknown>, now: Date): void {
    this.#close.run(status, JSON.stringify(details), now.toISOString(), id);
  }

  /** Share of attempts that went well among the node's last `count`; 1 when there were none. */
  successRate(serverId: number, count = 50): number {
    const outcomes = this.#outcomes.all(serverId, count);
    if (outcomes.length === 0) return 1;
    return outcomes.filter((outcome) => outcome.status === "completed").length / outcomes.length;
  }

  /** Lines, newest first. */
  list(filter: LogFilter): LogRow[] {
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, value: string | number) => {
      conditions.push(condition);
      values.push(value);
    };
    if (filter.serverId !== undefined) where("l.server_id = ?", filter.serverId);
    if (filter.operation) where("instr(l.operation, ?) > 0", filter.operation);
    if (filter.status) where("l.status = ?", filter.status);
    if (filter.beforeId) where("l.id < ?", filter.beforeId);
    return this.#database
      .prepare<(string | number)[], LogRow>(
        `SELECT l.id, l.server_id, coalesce(s.name, CAST(l.server_id AS TEXT)) AS server_name, l.operation, l.status,
                l.details, l.created_at, l.completed_at
         FROM sync_logs l LEFT JOIN sync_servers s ON s.id = l.server_id
         ${conditions.length > 0 ? `WHERE ${conditions.join(" AND ")}` : ""}
         ORDER BY l.id DESC LIMIT ?`,
      )
      .all(...values, filter.limit);
  }
}
