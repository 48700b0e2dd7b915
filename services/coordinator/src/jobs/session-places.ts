import type { Settings } from "../registry/settings.ts";
import type { RunningSessions } from "./running-sessions.ts";

/** A place that is kept is given up when its node has not come for it by then: who is told to wait asks again within 3 s. */
const KEPT_MS = 10_000;

/** How many sessions the whole fleet may run, and who begins one when there are fewer places than nodes that want one. */
export class SessionPlaces {
  readonly #settings: Settings;
  readonly #running: RunningSessions;
  /** Sessions that are about to begin: between deciding that one may and writing its lease others must not take its place. */
  #opening = 0;
  /** Until when a place is kept for a node, milliseconds of `performance.now`. */
  readonly #kept = new Map<number, number>();

  constructor(settings: Settings, running: RunningSessions) {
    this.#settings = settings;
    this.#running = running;
  }

  /** True when the fleet runs as many sessions as it may. */
  get isFull(): boolean {
    return this.#running.count + this.#opening >= this.#settings.get("max_concurrent_sessions");
  }

  /** True when the fleet runs as many sessions as it may, or began as many within the minute, or what is free is kept for others. */
  isFullFor(serverId: number): boolean {
    const taken = this.#opening + (this.#kept.has(serverId) ? 0 : this.#countKept());
    if (this.#running.count + taken >= this.#settings.get("max_concurrent_sessions")) return true;
    const perMinute = this.#settings.get("sessions_per_minute");
    return perMinute > 0 && this.#running.begunWithin(60_000) + taken >= perMinute;
  }

  /** The next place that is free is the node's: where many want one, who asks when one is free would get it by chance. */
  keepFor(serverId: number): void {
    this.#kept.set(serverId, performance.now() + KEPT_MS);
  }

  /** The node has its session, or needs none. */
  settled(serverId: number): void {
    this.#kept.delete(serverId);
  }

  /** A session is about to begin; returns what ends that. */
  open(): () => void {
    this.#opening++;
    return () => void this.#opening--;
  }

  #countKept(): number {
    const now = performance.now();
    for (const [serverId, until] of this.#kept) if (until < now) this.#kept.delete(serverId);
    return this.#kept.size;
  }
}
