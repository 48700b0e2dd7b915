import { isCovered, SyncError, type VersionVector } from "@scoutsync/core";
import { pause, type Logger } from "@scoutsync/runtime";
import type { Timing } from "../config.ts";
import { rootsApart, type Fleet, type FleetNode } from "../detection/fleet.ts";
import type { MissingCounter } from "../detection/missing.ts";
import type { Prober } from "../detection/probe.ts";
import type { FleetEvents } from "../events.ts";
import { planRound, union } from "../planner/plan.ts";
import { isWithin } from "./offpeak.ts";
import type { Registry } from "../registry/registry.ts";
import type { AddOptions, CatchUpQueue, ListedJob } from "./catch-up-queue.ts";
import type { LeaseDesk } from "./lease-desk.ts";
import { CatchUpTally, type CatchUpSummary } from "./catch-up-tally.ts";
import type { RedisLink } from "./redis.ts";

/** Many nodes speak at once when something was written; they are looked at together. */
const LOOK_DELAY_MS = 50;
/** BullMQ's largest priority is 2^21; a node that lacks more waits behind those that lack less, in the order of arrival. */
const MOST_PRIORITY = 1_000_000;
/** Someone who waits also looks without being told, in case nothing tells. */
const WAIT_POLL_MS = 500;

export interface ScanReport {
  message: string;
  results: CatchUpSummary[];
}

/** Decides who is brought up to date when, and waits for it where somebody asked. */
export class CatchUps {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #prober: Prober;
  readonly #missing: MissingCounter;
  readonly #desk: LeaseDesk;
  readonly #link: RedisLink;
  readonly #queue: () => CatchUpQueue | null;
  readonly #events: FleetEvents;
  readonly #timing: Timing;
  readonly #logger: Logger;
  #lookTimer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(parts: {
    registry: Registry;
    fleet: Fleet;
    prober: Prober;
    missing: MissingCounter;
    desk: LeaseDesk;
    link: RedisLink;
    /** Null until Redis was reached for the first time. */
    queue: () => CatchUpQueue | null;
    events: FleetEvents;
    timing: Timing;
    logger: Logger;
  }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#prober = parts.prober;
    this.#missing = parts.missing;
    this.#desk = parts.desk;
    this.#link = parts.link;
    this.#queue = parts.queue;
    this.#events = parts.events;
    this.#timing = parts.timing;
    this.#logger = parts.logger;
    this.#events.on("changed", () => this.#lookSoon());
  }

  stop(): void {
    this.#stopped = true;
    if (this.#lookTimer !== null) clearTimeout(this.#lookTimer);
  }

  /** True when catch-ups may start without anybody asking. */
  get automatic(): boolean {
    const { settings } = this.#registry;
    return settings.get("catchup_enabled") && settings.get("catchup_scheduler_enabled") && !this.waitsForWindow;
  }

  /** True outside the time of the day that is set for catch-ups. */
  get waitsForWindow(): boolean {
    return !isWithin(this.#registry.settings.get("offpeak_window"), new Date());
  }

  /** A node came back: whatever failed before is forgotten, and it goes first. */
  async returned(serverId: number): Promise<void> {
    this.#registry.servers.update(serverId, { failures: 0 });
    this.#desk.giveNewChances(serverId);
    if (!this.automatic) return;
    if (this.#fleet.behind().some((node) => node.id === serverId)) await this.#enqueue(serverId, { urgent: true });
  }

  /**
   * Makes the queue hold a catch-up for every node that lacks something. Harmless to repeat: a node that has one gets
   * no second. Nodes that failed as often as is allowed wait for the next scan unless `evenFailed`.
   */
  async rebuild({ evenFailed = false }: { evenFailed?: boolean } = {}): Promise<void> {
    if (!this.automatic) return;
    const limit = this.#registry.settings.get("max_retries");
    const busy = this.#desk.busy();
    const available = this.#fleet.available();
    if (evenFailed) this.#desk.giveNewChances();
    for (const node of this.#inPlanOrder()) {
      if (busy.has(node.id) || (!evenFailed && node.row.failures >= limit)) continue;
      if (!this.#desk.isWorthTrying(node, available)) continue;
      if (evenFailed) this.#forgive(node);
      await this.#enqueue(node.id);
    }
  }

  /** The scan of the schedule: asks everyone, counts, enqueues, waits for nothing. */
  async scanTick(): Promise<void> {
    if (!this.automatic) return;
    await this.#askEveryone(this.#registry.settings.get("scan_stagger_seconds"));
    await this.rebuild({ evenFailed: true });
    this.#events.tell("scan", null, "scanned the fleet");
  }

  /**
   * Scans now: asks everyone, counts what each misses and catches up whoever misses something. With `wait`, until each
   * is done or has failed. There is a result for every enabled node, also for one that had nothing to do. Throws REDIS_UNREACHABLE when there is no queue to work with.
   */
  async scan({ wait, signal }: { wait: boolean; signal: AbortSignal }): Promise<ScanReport> {
    this.#link.assertReady();
    await this.#askEveryone();
    if (!this.#registry.settings.get("catchup_enabled")) {
      return { message: "Catch-up is switched off (catchup_enabled is false): nothing was started", results: [] };
    }
    this.#desk.giveNewChances();
    const behind = this.#inPlanOrder();
    const others = this.#fleet.nodes().filter((node) => node.enabled && !behind.some((other) => other.id === node.id));
    const apart = rootsApart(this.#fleet.available());
    // Vectors say when rows are there; of files only a session that ended well does.
    const needsSession = (node: FleetNode) => behind.includes(node) && node.files.some(({ root }) => apart.has(root));
    const tallies = [...behind, ...others].map((node) => this.#tally(node.id, needsSession(node)));
    try {
      for (const node of behind) {
        this.#forgive(node);
        await this.#enqueue(node.id, { urgent: true, strict: true });
      }
      this.#events.tell("scan", null, `scan: ${behind.length} to catch up, ${others.filter((node) => !node.online).length} not answering`);
      if (!wait) {
        return { message: "Catch-up scan scheduled", results: tallies.map((tally) => tally.summary()) };
      }
      await Promise.all(tallies.map((tally) => this.#finish(tally, signal)));
      return { message: "Catch-up scan completed", results: tallies.map((tally) => tally.summary()) };
    } finally {
      for (const tally of tallies) tally.stop();
    }
  }

  /** Brings one node up to date now, also when it seems to be. Throws REDIS_UNREACHABLE when there is no queue. */
  async catchUp(serverId: number, signal: AbortSignal): Promise<CatchUpSummary> {
    this.#link.assertReady();
    const tally = this.#tally(serverId, true);
    try {
      await this.#prober.ping(serverId);
      this.#registry.servers.update(serverId, { failures: 0 });
      this.#desk.demand(serverId);
      await this.#enqueue(serverId, { urgent: true, strict: true });
      await this.#finish(tally, signal);
      return tally.summary();
    } finally {
      this.#desk.withdraw(serverId);
      tally.stop();
    }
  }

  /** All at once, or a part of them in each of so many seconds. */
  async #askEveryone(seconds = 0): Promise<void> {
    const nodes = this.#fleet.nodes().filter((node) => node.enabled);
    const atOnce = Math.max(1, Math.ceil(nodes.length / Math.max(1, seconds)));
    const asked: Promise<void>[] = [];
    for (let from = 0; from < nodes.length && !this.#stopped; from += atOnce) {
      if (from > 0) await pause(1_000);
      asked.push(this.#prober.pingAll(nodes.slice(from, from + atOnce)));
    }
    await Promise.all(asked);
    await this.#missing.recount();
    this.#fleet.flush();
  }

  /** A scan gives everyone a fresh set of attempts. */
  #forgive(node: FleetNode): void {
    if (node.row.failures > 0) this.#registry.servers.update(node.id, { failures: 0 });
  }

  /** Who is behind: first those whose session may start now, so that the others find complete sources. */
  #inPlanOrder(): FleetNode[] {
    const first = new Map(planRound(this.#fleet.available(), this.#desk.busy()).map(({ node }, rank) => [node, rank]));
    const rank = (id: number) => first.get(id) ?? first.size;
    return this.#fleet.behind().sort((a, b) => rank(a.id) - rank(b.id));
  }

  #lookSoon(): void {
    if (this.#lookTimer !== null || this.#stopped) return;
    this.#lookTimer = setTimeout(() => {
      this.#lookTimer = null;
      void this.#look();
    }, LOOK_DELAY_MS);
  }

  /** Something moved somewhere: whoever is behind now is caught up after a moment. */
  async #look(): Promise<void> {
    if (!this.automatic || !this.#link.ready) return;
    const busy = this.#desk.busy();
    const available = this.#fleet.available();
    for (const node of this.#fleet.behind()) {
      // A node that failed has its next attempt waiting; one in a session is looked at again when it ends.
      if (node.row.failures > 0 || busy.has(node.id) || !this.#desk.isWorthTrying(node, available)) continue;
      await this.#enqueue(node.id, { delayMs: this.#timing.settleMs });
    }
  }

  async #enqueue(serverId: number, { strict = false, ...options }: AddOptions & { strict?: boolean } = {}): Promise<void> {
    const queue = this.#queue();
    if (queue === null) return this.#link.assertReady();
    try {
      await queue.add(serverId, { priority: this.#priorityOf(serverId), ...options });
    } catch (error) {
      if (strict) throw error;
      // What could not be enqueued is found again when Redis is back.
      this.#logger.debug({ server: serverId, error: String(error) }, "a catch-up could not be enqueued");
    }
  }

  /** Marked nodes first, then the smallest lag: done soonest, they are sources for the others. */
  #priorityOf(serverId: number): number {
    const node = this.#fleet.node(serverId);
    const critical = this.#registry.settings.get("critical_nodes").split(",");
    if (node === null || critical.some((name) => name.trim() === node.row.name)) return 0;
    return Math.min(MOST_PRIORITY, 1 + node.missing.changes);
  }

  /** Lets a job that failed for good, or waits for its next attempt, run now. Throws NOT_FOUND or REDIS_UNREACHABLE. */
  async retryJob(id: string): Promise<ListedJob> {
    const queue = this.#reachableQueue();
    const job = await queue.job(id);
    if (job.state === "active" || job.serverId === null) return job;
    if (job.state === "failed") await queue.remove(id);
    const node = this.#fleet.node(job.serverId);
    if (node === null) return job;
    this.#forgive(node);
    this.#desk.giveNewChances(node.id);
    await queue.add(node.id, { urgent: true });
    return { ...job, state: "waiting" };
  }

  /** Ends a job: removed when it waits, its session cut when it runs. Throws NOT_FOUND or REDIS_UNREACHABLE. */
  async cancelJob(id: string): Promise<ListedJob> {
    const job = await this.#reachableQueue().remove(id);
    if (job.serverId === null || job.state === "failed" || job.state === "completed") return job;
    // As one whose attempts are used up, it waits for the next scan, or for somebody to ask.
    const failures = this.#registry.settings.get("max_retries");
    this.#registry.servers.update(job.serverId, { failures, last_error: "Cancelled by hand" });
    if (job.state === "active") this.#desk.cancel(job.serverId);
    return job;
  }

  /** Pauses or resumes the whole queue. Throws REDIS_UNREACHABLE. */
  async setPaused(paused: boolean): Promise<void> {
    await this.#reachableQueue().setPaused(paused);
    this.#events.tell("status", null, paused ? "catch-ups were paused" : "catch-ups were resumed");
  }

  #reachableQueue(): CatchUpQueue {
    this.#link.assertReady();
    const queue = this.#queue();
    if (queue !== null) return queue;
    throw new SyncError({
      code: "REDIS_UNREACHABLE",
      message: "The coordinator has not reached Redis yet",
      action: "Try again in a moment.",
    });
  }

  #tally(serverId: number, sessionWanted: boolean): CatchUpTally {
    const node = this.#fleet.node(serverId);
    const target = new Map<string, VersionVector>();
    for (const [database, vector] of union(this.#fleet.available())) {
      if (node?.vectors.has(database)) target.set(database, vector);
    }
    return new CatchUpTally(this.#events, serverId, node?.row.name ?? String(serverId), target, sessionWanted);
  }

  /** Waits until the tally's node has what it lacked when the tally began, or cannot get it. */
  async #finish(tally: CatchUpTally, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#stopped) {
      const outcome = this.#outcome(tally);
      if (outcome !== null) return tally.finish(outcome === "" ? null : outcome);
      await changedOrAfter(this.#events, WAIT_POLL_MS, signal);
    }
    tally.finish(signal.aborted ? "Nobody waits for the result any more; the catch-up goes on" : "The coordinator is stopping");
  }

  /** Null while it goes on, empty when it is done, else why it is not. */
  #outcome(tally: CatchUpTally): string | null {
    const node = this.#fleet.node(tally.serverId);
    if (node === null) return "The node was removed from the fleet";
    if (!node.enabled) return "The node is disabled (sync_enabled is 0)";
    if (this.#registry.leases.busy().has(node.id)) return null;
    if (!node.online) return node.row.last_error === "" ? "The node does not answer" : node.row.last_error;
    const failures = node.row.failures;
    if (failures >= this.#registry.settings.get("max_retries")) return node.row.last_error || "All attempts failed";
    const others = this.#fleet.available().filter((other) => other.id !== node.id);
    const complete = [...tally.target].every(([database, all]) => isCovered(all, node.vectors.get(database) ?? new Map()));
    if (complete && (!tally.wantsSession || others.length === 0)) return "";
    if (!tally.wantsSession && !this.#desk.isWorthTrying(node, others)) return "The node lacks changes that no other node gives it";
    if (tally.idleMs < this.#timing.idleMs) return null;
    return this.#link.ready ? "No session could be run; see the log of the node" : this.#link.problem;
  }
}

function changedOrAfter(events: FleetEvents, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      events.off("changed", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    events.on("changed", done);
    signal.addEventListener("abort", done, { once: true });
  });
}
