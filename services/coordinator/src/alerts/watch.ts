import type { Logger } from "@scoutsync/runtime";
import type { CertificateKeeper } from "../detection/certificate.ts";
import type { Fleet } from "../detection/fleet.ts";
import type { FleetEvents } from "../events.ts";
import type { RedisLink } from "../jobs/redis.ts";
import type { AlertRow } from "../registry/alert-store.ts";
import type { Registry } from "../registry/registry.ts";
import type { Messenger } from "./messenger.ts";
import { incidents, type Incident } from "./incidents.ts";

/** Something that is right again for one look and wrong at the next is one incident, not two. */
const CALM_LOOKS = 2;
/** What others found is remembered here, so that a restart neither ends an incident nor opens it again. */
const REPORTED_STATE = "reported incidents";
/** A restart of Redis is no incident. */
const REDIS_AWAY_MS = 60_000;

/**
 * Compares what is wrong now with the incidents that are open: opens, words anew, closes. What was found by others (the
 * canary, comparisons of rows) stays until they say otherwise. Works without Redis, because that is one of the incidents.
 */
export class AlertWatch {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #certificate: CertificateKeeper;
  readonly #link: RedisLink;
  readonly #events: FleetEvents;
  readonly #messenger: Messenger;
  readonly #logger: Logger;
  readonly #reported = new Map<string, Incident>();
  readonly #calm = new Map<number, number>();
  #redisAwaySince: number | null = null;

  constructor(parts: {
    registry: Registry;
    fleet: Fleet;
    certificate: CertificateKeeper;
    link: RedisLink;
    events: FleetEvents;
    messenger: Messenger;
    logger: Logger;
  }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#certificate = parts.certificate;
    this.#link = parts.link;
    this.#events = parts.events;
    this.#messenger = parts.messenger;
    this.#logger = parts.logger;
    const stored = parts.registry.readState(REPORTED_STATE);
    if (stored === null) return;
    for (const incident of JSON.parse(stored) as Incident[]) this.#reported.set(keyOf(incident.kind, incident.serverId), incident);
  }

  /** Somebody who looks now and then found this wrong with a node; null: it is right. Until the next word it stays so. */
  report(kind: Incident["kind"], serverId: number, message: string | null): void {
    const key = keyOf(kind, serverId);
    if ((this.#reported.get(key)?.message ?? null) === message) return;
    const serverName = this.#registry.servers.get(serverId)?.name ?? String(serverId);
    if (message === null) this.#reported.delete(key);
    else this.#reported.set(key, { kind, serverId, serverName, message });
    this.#registry.writeState(REPORTED_STATE, JSON.stringify([...this.#reported.values()]));
  }

  /** Looks once, and sends what is to be told. Never throws. */
  async look(now = new Date()): Promise<void> {
    try {
      this.#compare(this.#wrongNow(now), now);
    } catch (error) {
      this.#logger.warn({ error: String(error) }, "alerts could not be looked at; it is tried again");
      return;
    }
    await this.#messenger.deliver(now);
  }

  #wrongNow(now: Date): Incident[] {
    const { settings } = this.#registry;
    const bounds = {
      silentSeconds: settings.get("alert_silent_seconds"),
      lagSeconds: settings.get("alert_lag_seconds"),
      failures: settings.get("alert_failures"),
      clockSeconds: settings.get("alert_clock_seconds"),
      diskPercent: settings.get("alert_disk_percent"),
      parked: settings.get("alert_parked"),
    };
    const nodes = this.#fleet.nodes();
    const known = new Set(nodes.filter((node) => node.enabled).map((node) => node.id));
    const reported = [...this.#reported.values()].filter(({ serverId }) => serverId === null || known.has(serverId));
    return [...incidents(nodes, this.#certificate.inequalities(), bounds, now), ...reported, ...this.#redisIncident(now)];
  }

  #redisIncident(now: Date): Incident[] {
    if (this.#link.ready) this.#redisAwaySince = null;
    else this.#redisAwaySince ??= now.getTime();
    if (this.#redisAwaySince === null || now.getTime() - this.#redisAwaySince < REDIS_AWAY_MS) return [];
    return [{ kind: "redis", serverId: null, serverName: "", message: this.#link.problem }];
  }

  #compare(wrong: readonly Incident[], now: Date): void {
    const byKey = new Map(wrong.map((incident) => [keyOf(incident.kind, incident.serverId), incident]));
    const { alerts } = this.#registry;
    for (const open of alerts.open()) {
      const key = keyOf(open.kind, open.server_id);
      const still = byKey.get(key);
      byKey.delete(key);
      if (still !== undefined) {
        this.#calm.delete(open.id);
        if (still.message !== open.message) alerts.describe(open.id, still.message);
      } else this.#calmer(open, now);
    }
    for (const incident of byKey.values()) {
      if (alerts.raise(incident, now)) this.#events.tell("alert", this.#serverOf(incident.serverId), incident.message);
    }
  }

  #calmer(open: AlertRow, now: Date): void {
    const looks = (this.#calm.get(open.id) ?? 0) + 1;
    this.#calm.set(open.id, looks);
    if (looks < CALM_LOOKS) return;
    this.#calm.delete(open.id);
    this.#registry.alerts.recover(open.id, now);
    this.#events.tell("alert", this.#serverOf(open.server_id), `over: ${open.message}`);
  }

  #serverOf(id: number | null): { id: number; name: string } | null {
    return id === null ? null : this.#registry.servers.get(id);
  }
}

function keyOf(kind: string, serverId: number | null): string {
  return `${kind} ${serverId ?? 0}`;
}
