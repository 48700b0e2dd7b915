import type { Database } from "better-sqlite3";
import type { z } from "zod";
import type { AlertShape } from "../operations/shapes.ts";

export type AlertKind = z.infer<typeof AlertShape>["kind"];
export type AlertChannel = "mail" | "webhook";
export type AlertPhase = "raised" | "recovered";

/** One incident. Times are ISO 8601 UTC or null for not yet. */
export interface AlertRow {
  id: number;
  kind: AlertKind;
  server_id: number | null;
  server_name: string;
  message: string;
  since: string;
  recovered_at: string | null;
  /** 1 when word of it went out by any channel. */
  notified: number;
}

const ROW = `SELECT a.*, EXISTS (SELECT 1 FROM alert_notices n WHERE n.alert_id = a.id AND n.passed_over = 0) AS notified FROM alerts a`;
const NOTICE = (phase: AlertPhase) =>
  `SELECT 1 FROM alert_notices n WHERE n.alert_id = a.id AND n.channel = @channel AND n.phase = '${phase}'`;

/** The tables `alerts` and `alert_notices`: at most one open incident per kind and node. */
export class AlertStore {
  readonly #open;
  readonly #raise;
  readonly #update;
  readonly #recover;
  readonly #unsent;
  readonly #mark;
  readonly #passOver;
  readonly #list;
  readonly #countOld;
  readonly #drop;

  constructor(database: Database) {
    this.#open = database.prepare<[], AlertRow>(`${ROW} WHERE recovered_at IS NULL ORDER BY id`);
    this.#raise = database.prepare<[string, number | null, string, string, string]>(
      "INSERT INTO alerts (kind, server_id, server_name, message, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.#update = database.prepare<[string, number]>("UPDATE alerts SET message = ? WHERE id = ?");
    this.#recover = database.prepare<[string, number]>("UPDATE alerts SET recovered_at = ? WHERE id = ? AND recovered_at IS NULL");
    // An incident that was over before word of it could go out is told once, as over.
    this.#unsent = database.prepare<[{ channel: string }], AlertRow & { phase: AlertPhase }>(
      `SELECT r.*, CASE WHEN recovered_at IS NULL THEN 'raised' ELSE 'recovered' END AS phase
       FROM (${ROW} WHERE (a.recovered_at IS NULL AND NOT EXISTS (${NOTICE("raised")}))
                       OR (a.recovered_at IS NOT NULL AND NOT EXISTS (${NOTICE("recovered")}))) r
       ORDER BY r.id`,
    );
    this.#mark = database.prepare<[number, string, string, string]>(
      "INSERT INTO alert_notices (alert_id, channel, phase, sent_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.#passOver = database.prepare<[string, string]>(
      `INSERT INTO alert_notices (alert_id, channel, phase, sent_at, passed_over)
       SELECT id, ?, 'recovered', ?, 1 FROM alerts WHERE recovered_at IS NOT NULL ON CONFLICT DO NOTHING`,
    );
    this.#list = database.prepare<[number | null, number | null, number, number], AlertRow>(
      `${ROW} WHERE (? IS NULL OR server_id = ?) AND (? = 1 OR recovered_at IS NULL)
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

  /** Incidents of which word has not gone out by this channel, of their beginning or their end. */
  unsent(channel: AlertChannel): { alert: AlertRow; phase: AlertPhase }[] {
    return this.#unsent.all({ channel }).map(({ phase, ...alert }) => ({ alert, phase }));
  }

  markSent(id: number, channel: AlertChannel, phase: AlertPhase, now: Date): void {
    this.#mark.run(id, channel, phase, now.toISOString());
  }

  /** A channel that is not set up: what is over by now is never told by it. What is open still is, once it is set up. */
  passOver(channel: AlertChannel, now: Date): void {
    this.#passOver.run(channel, now.toISOString());
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
