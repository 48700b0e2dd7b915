import type { Database } from "better-sqlite3";

export type AlertKind = "silent" | "failing" | "lag" | "diverged" | "clock" | "parked" | "quarantine" | "disk" | "canary" | "redis";

/** One incident. Times are ISO 8601 UTC or null for not yet. */
export interface AlertRow {
  id: number;
  kind: AlertKind;
  server_id: number | null;
  server_name: string;
  message: string;
  since: string;
  recovered_at: string | null;
  notified_at: string | null;
  recovery_notified_at: string | null;
}

/** The table `alerts`: at most one open incident per kind and node. */
export class AlertStore {
  readonly #open;
  readonly #raise;
  readonly #update;
  readonly #recover;
  readonly #unsent;
  readonly #markNotified;
  readonly #markRecoveryNotified;
  readonly #list;
  readonly #countOld;
  readonly #drop;

  constructor(database: Database) {
    this.#open = database.prepare<[], AlertRow>("SELECT * FROM alerts WHERE recovered_at IS NULL ORDER BY id");
    this.#raise = database.prepare<[string, number | null, string, string, string]>(
      "INSERT INTO alerts (kind, server_id, server_name, message, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.#update = database.prepare<[string, number]>("UPDATE alerts SET message = ? WHERE id = ?");
    this.#recover = database.prepare<[string, number]>("UPDATE alerts SET recovered_at = ? WHERE id = ? AND recovered_at IS NULL");
    // An incident that was over before word of it could go out is told once, as over.
    this.#unsent = database.prepare<[], AlertRow>(
      `SELECT * FROM alerts WHERE notified_at IS NULL OR (recovered_at IS NOT NULL AND recovery_notified_at IS NULL) ORDER BY id`,
    );
    this.#markNotified = database.prepare<[string, number]>("UPDATE alerts SET notified_at = ? WHERE id = ?");
    this.#markRecoveryNotified = database.prepare<[string, string, number]>(
      "UPDATE alerts SET notified_at = coalesce(notified_at, ?), recovery_notified_at = ? WHERE id = ?",
    );
    this.#list = database.prepare<[number | null, number | null, number, number], AlertRow>(
      `SELECT * FROM alerts WHERE (? IS NULL OR server_id = ?) AND (? = 1 OR recovered_at IS NULL)
       ORDER BY recovered_at IS NOT NULL, id DESC LIMIT ?`,
    );
    this.#countOld = database.prepare<[string], { n: number }>("SELECT count(*) AS n FROM alerts WHERE recovered_at < ?");
    this.#drop = database.prepare<[string]>("DELETE FROM alerts WHERE recovered_at < ?");
  }

  open(): AlertRow[] {
    return this.#open.all();
  }

  /** Opens an incident; false when it is open already. */
  raise(alert: { kind: AlertKind; serverId: number | null; serverName: string; message: string }, now: Date): boolean {
    const { kind, serverId, serverName, message } = alert;
    return this.#raise.run(kind, serverId, serverName, message, now.toISOString()).changes === 1;
  }

  describe(id: number, message: string): void {
    this.#update.run(message, id);
  }

  recover(id: number, now: Date): void {
    this.#recover.run(now.toISOString(), id);
  }

  /** Incidents of which word has not gone out, of their beginning or their end. */
  unsent(): AlertRow[] {
    return this.#unsent.all();
  }

  markNotified(id: number, now: Date): void {
    this.#markNotified.run(now.toISOString(), id);
  }

  markRecoveryNotified(id: number, now: Date): void {
    this.#markRecoveryNotified.run(now.toISOString(), now.toISOString(), id);
  }

  /** Open ones first, then newest first. */
  list({ serverId = null, all = false, limit }: { serverId?: number | null; all?: boolean; limit: number }): AlertRow[] {
    return this.#list.all(serverId, serverId, all ? 1 : 0, limit);
  }

  countOlderThan(before: Date): number {
    return this.#countOld.get(before.toISOString())?.n ?? 0;
  }

  dropOlderThan(before: Date): void {
    this.#drop.run(before.toISOString());
  }
}
