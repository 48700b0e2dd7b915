import type { Core } from "./core.ts";
import type { RoundName } from "./jobs/queues.ts";
import { ageSeconds } from "./detection/fleet.ts";

/** Expired leases and changes that other processes made to the registry are noticed within this time. */
const TICK_MS = 1_000;
/** Counting costs questions to nodes; while things move it is done at most this often, and for this part of the time. */
const COUNT_DELAY_MS = 1_000;
const COUNT_SHARE = 0.1;
/** Who wants exact figures waits at most this long for a count that is due. */
const FRESH_WAIT_MS = 3_000;
/** A node is asked when it was silent for this many heartbeats. */
const SILENT_HEARTBEATS = 1.5;

/** A node that is heard and could not be dialled is dialled again after this many heartbeats. */
const REDIAL_HEARTBEATS = 2;

/**
 * Everything the coordinator does by the clock: notices silence, counts, takes back leases, and compares the queue with
 * the registry. Each works when all others have failed, which is what makes the fleet heal by itself.
 */
export class Upkeep {
  readonly #core: Core;
  readonly #timers: NodeJS.Timeout[] = [];
  #countTimer: NodeJS.Timeout | null = null;
  #uncounted = true;
  #lastCountMs = 0;
  #counting: Promise<void> | null = null;
  #outside: number;
  #stopped = false;
  #first: Promise<void> | null = null;

  constructor(core: Core) {
    this.#core = core;
    this.#outside = core.registry.outsideVersion();
    core.events.on("changed", () => this.#onChanged());
  }

  start(): void {
    const { timing } = this.#core;
    this.#timers.push(setInterval(() => this.#tick(), TICK_MS));
    this.#timers.push(setInterval(() => this.#askSilent(), timing.heartbeatMs));
    this.#timers.push(setInterval(() => void this.reconcile(), timing.reconcileMs));
    this.#first = this.#askAll();
    // Before everyone was asked nobody seems to be there.
    void this.#first.then(() => {
      if (!this.#stopped) this.#timers.push(setInterval(() => void this.#core.alerts.look(), timing.alertMs));
    });
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#countTimer !== null) clearTimeout(this.#countTimer);
  }

  /** Makes Redis hold what the registry says it should. Never throws. */
  async reconcile(): Promise<void> {
    const { catchUps, link, queue, logger } = this.#core;
    if (this.#stopped || !link.ready) return;
    try {
      await queue()?.mend();
      await queue()?.schedule(this.#intervals());
      // Before everyone was asked nobody seems to be there, and an empty queue would be right.
      await this.#first;
      if (!this.#stopped) await catchUps.rebuild();
    } catch (error) {
      logger.warn({ error: String(error) }, "the queue could not be compared with the registry; it is tried again");
    }
  }

  /** Milliseconds between two rounds of each kind; null = none. */
  #intervals(): Record<RoundName, number | null> {
    const { registry, catchUps } = this.#core;
    const every = (key: "catchup_check_interval" | "canary_interval" | "verify_interval" | "cleanup_interval") => {
      const seconds = registry.settings.get(key);
      return seconds === 0 ? null : seconds * 1_000;
    };
    return {
      scan: catchUps.automatic ? every("catchup_check_interval") : null,
      canary: registry.settings.get("canary_enabled") ? every("canary_interval") : null,
      verify: every("verify_interval"),
      cleanup: every("cleanup_interval"),
    };
  }

  /** Resolves when missing counts are those of now, or after a short while. */
  async fresh(): Promise<void> {
    if (!this.#uncounted && this.#counting === null) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      this.#uncounted ? this.#count() : this.#counting,
      new Promise((resolve) => (timer = setTimeout(resolve, FRESH_WAIT_MS))),
    ]);
    clearTimeout(timer);
  }

  async #askAll(): Promise<void> {
    const { fleet, prober, certificate } = this.#core;
    await prober.pingAll(fleet.nodes().filter((node) => node.enabled));
    if (this.#stopped) return;
    certificate.confirm();
    certificate.current();
    await this.#count();
  }

  #tick(): void {
    const { registry, desk, events, logger } = this.#core;
    try {
      desk.sweep();
      desk.endTurns();
      const outside = registry.outsideVersion();
      if (outside === this.#outside) return;
      this.#outside = outside;
      events.emit("changed");
      void this.reconcile();
    } catch (error) {
      logger.warn({ error: String(error) }, "the registry could not be read; it is tried again");
    }
  }

  #askSilent(): void {
    const { fleet, prober, timing } = this.#core;
    const silent = fleet.nodes().filter((node) => {
      if (!node.enabled) return false;
      if (!node.online || fleet.silentMs(node.id) > timing.heartbeatMs * SILENT_HEARTBEATS) return true;
      return fleet.isDueForDialling(node.id, timing.heartbeatMs * REDIAL_HEARTBEATS);
    });
    void prober.pingAll(silent);
  }

  #onChanged(): void {
    if (this.#stopped) return;
    this.#uncounted = true;
    this.#core.certificate.current();
    const delayMs = Math.max(COUNT_DELAY_MS, this.#lastCountMs / COUNT_SHARE);
    this.#countTimer ??= setTimeout(() => {
      this.#countTimer = null;
      void this.#count();
    }, delayMs);
  }

  #count(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#uncounted = false;
    const counting = this.#recount().finally(() => {
      if (this.#counting === counting) this.#counting = null;
    });
    this.#counting = counting;
    return counting;
  }

  /** For the chart of each node. */
  #noteLag(): void {
    const { registry, fleet } = this.#core;
    if (registry.closed) return;
    const now = new Date();
    registry.transaction(() => {
      for (const node of fleet.nodes()) registry.lag.note(node.id, node.missing.changes, ageSeconds(node.missing), now);
    });
  }

  async #recount(): Promise<void> {
    const startedAt = performance.now();
    try {
      await this.#core.missing.recount();
      this.#noteLag();
    } catch (error) {
      this.#uncounted = true;
      if (!this.#stopped) this.#core.logger.warn({ error: String(error) }, "missing changes could not be counted");
    }
    this.#lastCountMs = performance.now() - startedAt;
  }
}
