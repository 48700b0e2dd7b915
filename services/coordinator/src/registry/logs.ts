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
  /** The node it was done with; null when there was none. */
  source_id: number | null;
}

export interface LogFilter {
  serverId?: number;
  /** Part of the operation's name. */
  operation?: string;
  status?: string;
  /** Only rows older than this id; for paging. */
  beforeId?: number;
  /** Skips so many; for pages by number. */
  offset?: number;
  limit: number;
}

const LAST_GOOD = "SELECT max(id) FROM sync_logs WHERE status = 'completed' GROUP BY server_id";
const ENDED_AND_OLD = `status IN ('completed', 'failed') AND created_at < ? AND id NOT IN (${LAST_GOOD})`;

/** The table `sync_logs`: one line per attempt. */
export class Logs {
  readonly #database: Database;
  readonly #open;
  readonly #close;
  readonly #countOld;
  readonly #dropOld;
  readonly #countKept;

  constructor(database: Database) {
    this.#database = database;
    this.#open = database.prepare<[number, string, string, string, number | null, string]>(
      `INSERT INTO sync_logs (server_id, operation, status, details, created_at, source_id, worker)
       VALUES (?, ?, 'in_progress', ?, ?, ?, ?)`,
    );
    this.#close = database.prepare<[string, string, string, number]>(
      "UPDATE sync_logs SET status = ?, details = ?, completed_at = ? WHERE id = ? AND status = 'in_progress'",
    );
    this.#countOld = database.prepare<[string], { n: number }>(`SELECT count(*) AS n FROM sync_logs WHERE ${ENDED_AND_OLD}`);
    this.#dropOld = database.prepare<[string]>(`DELETE FROM sync_logs WHERE ${ENDED_AND_OLD}`);
    this.#countKept = database.prepare<[string, string], { open: number; last: number }>(
      `SELECT (SELECT count(*) FROM sync_logs WHERE status IN ('pending', 'in_progress') AND created_at < ?) AS open,
              (SELECT count(*) FROM sync_logs WHERE created_at < ? AND id IN (${LAST_GOOD})) AS last`,
    );
  }

  /** Starts the line of one attempt and returns its id. */
  open(entry: {
    serverId: number;
    sourceId: number | null;
    worker: string;
    details: Record<string, unknown>;
    now: Date;
    operation?: string;
  }): number {
    const details = JSON.stringify(entry.details);
    const { serverId, sourceId, worker, now, operation = CATCH_UP_OPERATION } = entry;
    return Number(this.#open.run(serverId, operation, details, now.toISOString(), sourceId, worker).lastInsertRowid);
  }

  /** Ends the line of an attempt. A line that has ended stays as it is. */
  close(id: number, status: "completed" | "failed", details: Record<string, unknown>, now: Date): void {
    this.#close.run(status, JSON.stringify(details), now.toISOString(), id);
  }

  /** Lines, newest first. */
  list(filter: LogFilter): LogRow[] {
    const { where, values } = conditionsOf(filter);
    return this.#database
      .prepare<(string | number)[], LogRow>(
        `SELECT l.id, l.server_id, coalesce(s.name, CAST(l.server_id AS TEXT)) AS server_name, l.operation, l.status,
                l.details, l.created_at, l.completed_at, l.source_id
         FROM sync_logs l LEFT JOIN sync_servers s ON s.id = l.server_id ${where}
         ORDER BY l.id DESC LIMIT ? OFFSET ?`,
      )
      .all(...values, filter.limit, filter.offset ?? 0);
  }

  /** How many lines fit the filter, whatever its limit. */
  count(filter: Omit<LogFilter, "limit" | "offset">): number {
    const { where, values } = conditionsOf(filter);
    const row = this.#database.prepare<(string | number)[], { n: number }>(`SELECT count(*) AS n FROM sync_logs l ${where}`).get(...values);
    return row?.n ?? 0;
  }

  /** Lines of sessions that the node took part in, on either end, newest first. */
  sessionsOf(serverId: number, limit: number): LogRow[] {
    return this.#database
      .prepare<[number, number, number, number, number], LogRow>(
        `SELECT l.*, coalesce(s.name, CAST(l.server_id AS TEXT)) AS server_name
         FROM sync_logs l LEFT JOIN sync_servers s ON s.id = l.server_id
         WHERE l.id IN (
           SELECT id FROM (SELECT id FROM sync_logs WHERE server_id = ? AND source_id IS NOT NULL ORDER BY id DESC LIMIT ?)
           UNION SELECT id FROM (SELECT id FROM sync_logs WHERE source_id = ? ORDER BY id DESC LIMIT ?))
         ORDER BY l.id DESC LIMIT ?`,
      )
      .all(serverId, limit, serverId, limit, limit);
  }

  /** Ended lines from before `before`, apart from the newest verified one of each node, which says when it was last equal. */
  countOlderThan(before: Date): number {
    return this.#countOld.get(before.toISOString())?.n ?? 0;
  }

  dropOlderThan(before: Date): number {
    return this.#dropOld.run(before.toISOString()).changes;
  }

  /** Old lines that stay: sessions that have not ended, and the last good one of each node. */
  countKept(before: Date): { open: number; last: number } {
    return this.#countKept.get(before.toISOString(), before.toISOString()) ?? { open: 0, last: 0 };
  }
}

function conditionsOf(filter: Omit<LogFilter, "limit" | "offset">): { where: string; values: (string | number)[] } {
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  const add = (condition: string, value: string | number) => {
    conditions.push(condition);
    values.push(value);
  };
  if (filter.serverId !== undefined) add("l.server_id = ?", filter.serverId);
  if (filter.operation) add("instr(l.operation, ?) > 0", filter.operation);
  if (filter.status) add("l.status = ?", filter.status);
  if (filter.beforeId) add("l.id < ?", filter.beforeId);
  return { where: conditions.length > 0 ? `WHERE ${conditions.join(" AND ")}` : "", values };
}
