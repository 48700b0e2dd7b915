import { hostname } from "node:os";
import type { Logger } from "@scoutsync/runtime";
import { createTransport } from "nodemailer";
import type { AlertChannel, AlertPhase, AlertRow } from "../registry/alert-store.ts";
import type { Registry } from "../registry/registry.ts";

/** A mail server or an endpoint that does not answer must not hold up the next look for long. */
const TIMEOUT_MS = 10_000;
/** Pauses after a channel failed: first and longest. */
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 300_000;

interface Notice {
  alert: AlertRow;
  phase: AlertPhase;
}

/**
 * Tells people of incidents by mail and webhook: once when one begins, once when it is over, by each channel that is set
 * up. What could not be sent is tried again, also after a restart; after a crash in the moment between sending and noting
 * it, once more. Mails collect what is to be told at one moment; the webhook gets one request per notice.
 */
export class Messenger {
  readonly #registry: Registry;
  readonly #logger: Logger;
  readonly #pauses = new Map<AlertChannel, { untilMs: number; ms: number }>();
  #delivering: Promise<void> | null = null;

  constructor(parts: { registry: Registry; logger: Logger }) {
    this.#registry = parts.registry;
    this.#logger = parts.logger;
  }

  /** Sends what has not been sent. Never throws; one call at a time. */
  deliver(now: Date): Promise<void> {
    return (this.#delivering ??= this.#deliverAll(now).finally(() => (this.#delivering = null)));
  }

  async #deliverAll(now: Date): Promise<void> {
    await Promise.all([this.#through("mail", now, this.#mail()), this.#through("webhook", now, this.#webhook())]);
  }

  /** `send` tells all of these or throws; null: the channel is not set up, and what happens meanwhile is not told later. */
  async #through(channel: AlertChannel, now: Date, send: Send | null): Promise<void> {
    const { alerts } = this.#registry;
    try {
      if (send === null) return alerts.passOver(channel, now);
      const pause = this.#pauses.get(channel);
      if (pause !== undefined && pause.untilMs > Date.now()) return;
      const notices = alerts.unsent(channel);
      if (notices.length === 0) return;
      await send(notices, ({ alert, phase }) => alerts.markSent(alert.id, channel, phase, new Date()));
      this.#pauses.delete(channel);
    } catch (error) {
      if (this.#registry.closed) return;
      const ms = Math.min(LONGEST_PAUSE_MS, (this.#pauses.get(channel)?.ms ?? FIRST_PAUSE_MS / 2) * 2);
      this.#pauses.set(channel, { untilMs: Date.now() + ms, ms });
      this.#logger.warn({ channel, error: reasonOf(error) }, "an alert could not be sent; it is tried again by itself");
    }
  }

  #mail(): Send | null {
    const { settings } = this.#registry;
    const url = settings.get("smtp_url");
    const to = settings.get("alert_email_to");
    if (url === "" || to === "") return null;
    const from = settings.get("alert_email_from") || `scoutsync@${hostname()}`;
    return async (notices, sent) => {
      const transport = createTransport(
        { url, connectionTimeout: TIMEOUT_MS, greetingTimeout: TIMEOUT_MS, socketTimeout: TIMEOUT_MS },
        { from },
      );
      try {
        await transport.sendMail({ to, subject: subjectOf(notices), text: notices.map(paragraphOf).join("\n\n") });
        for (const notice of notices) sent(notice);
      } finally {
        transport.close();
      }
    };
  }

  #webhook(): Send | null {
    const url = this.#registry.settings.get("alert_webhook_url");
    if (url === "") return null;
    return async (notices, sent) => {
      for (const notice of notices) {
        const answer = await fetch(url, {
          method: "POST",
          headers: { "content-type": "application/json", "user-agent": "scoutsync" },
          body: JSON.stringify(documentOf(notice)),
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        await answer.body?.cancel();
        if (!answer.ok) throw new Error(`the webhook answered ${answer.status}`);
        sent(notice);
      }
    };
  }
}

type Send = (notices: readonly Notice[], sent: (notice: Notice) => void) => Promise<void>;

function subjectOf(notices: readonly Notice[]): string {
  const [first, ...others] = notices as [Notice, ...Notice[]];
  const { alert, phase } = first;
  const who = alert.server_name === "" ? "the coordinator" : alert.server_name;
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return phase === "raised" ? `scoutsync: ${alert.kind} at ${who}${more}` : `scoutsync: over: ${alert.kind} at ${who}${more}`;
}

function paragraphOf({ alert, phase }: Notice): string {
  const { message, since, recovered_at } = alert;
  return phase === "raised" ? `${message}\nSince ${since}.` : `Over since ${recovered_at ?? "now"}: ${message}\nIt began at ${since}.`;
}

/** The body of a webhook's request. */
function documentOf({ alert, phase }: Notice) {
  const { id, kind, server_id, server_name, message, since, recovered_at } = alert;
  return { event: phase, alert: { id, kind, server_id, server_name, message, since, recovered_at } };
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { message?: string } };
  return cause?.message === undefined ? String(message ?? error) : `${String(message)}: ${cause.message}`;
}
