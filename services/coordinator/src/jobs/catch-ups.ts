import { EMPTY_VECTOR, SyncError, type VersionVector } from "@scoutsync/core";
import { pause, within, type Logger } from "@scoutsync/runtime";
import type { Timing } from "../config.ts";
import { rootsApart } from "../detection/file-roots.ts";
import { companions, type Fleet, type FleetNode } from "../detection/fleet.ts";
import type { MissingCounter } from "../detection/missing.ts";
import type { Prober } from "../detection/probe.ts";
import type { FleetEvents } from "../events.ts";
import { beyond } from "../planner/dense.ts";
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
/** A scan waits no longer for counts that are exact. */
const LONGEST_COUNT_MS = 3_000;
/** Someone who waits also looks without being told, in case nothing tells. */
const WAIT_POLL_MS = 500;

export interface ScanReport {
  message: string;
  results: CatchUpSummary[];
}

/** How the fleet stands at one look at those who wait. */
interface Circumstances {
  busy: ReadonlySet<number>;
  nodes: ReadonlyMap<number, FleetNode>;
  available: readonly FleetNode[];
  /** Failures after which a node waits for the next scan. */
  attempts: number;
  /** Nothing has happened for long. */
  idle: boolean;
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
  /** When a catch-up was put into the queue that nothing has become of yet, by node; milliseconds. */
  readonly #enqueued = new Map<number, number>();
  /** Catch-ups that somebody waits for, by node. */
  readonly #tallies = new Map<number, Set<CatchUpTally>>();
  #lookTimer: NodeJS.Timeout | null = null;
  #looking = false;
  #whole: { of: readonly FleetNode[]; all: ReadonlyMap<string, VersionVector> } | null = null;
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
    this.#events.on("refused", (serverId) => this.#enqueued.delete(serverId));
    this.#events.on("abandoned", (serverId) => {
      // The next attempt need not wait for the end of its pause, nor for those who lack less.
      if (this.automatic) void this.#enqueue([serverId], { urgent: true, first: true });
    });
    this.#events.on("session", (end) => {
      this.#enqueued.delete(end.serverId);
      for (const id of [end.serverId, end.sourceId]) for (const tally of this.#tallies.get(id) ?? []) tally.count(end);
    });
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
    this.#desk.sources.giveNewChances(serverId);
    if (!this.automatic) return;
    if (this.#fleet.behind().some((node) => node.id === serverId)) await this.#enqueue([serverId], { urgent: true });
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
    if (evenFailed) this.#desk.sources.giveNewChances();
    const wanted = this.#inPlanOrder().filter((node) => {
      if (busy.has(node.id) || (!evenFailed && node.row.failures >= limit)) return false;
      return this.#desk.sources.isWorthTrying(node, available);
    });
    if (evenFailed) this.#forgive(wanted);
    await this.#enqueue(wanted.map((node) => node.id));
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
    this.#desk.sources.giveNewChances();
    const behind = this.#inPlanOrder();
    const lagging = new Set(behind);
    const others = this.#fleet.nodes().filter((node) => node.enabled && !lagging.has(node));
    const available = this.#fleet.available();
    const apart = rootsApart(available.filter((node) => !node.limited));
    // Vectors say when rows are there; of files only a session that ended well does.
    const needsSession = (node: FleetNode) =>
      lagging.has(node) && (node.limited || node.files.some(({ root, pending }) => pending > 0 || apart.has(root)));
    const tallies = [...behind, ...others].map((node) => this.#tally(node.id, available, needsSession(node)));
    try {
      this.#forgive(behind);
      const ids = behind.map((node) => node.id);
      await this.#enqueue(ids, { urgent: true, strict: true });
      this.#events.tell("scan", null, `scan: ${behind.length} to catch up, ${others.filter((node) => !node.online).length} not answering`);
      if (!wait) {
        return { message: "Catch-up scan scheduled", results: tallies.map((tally) => tally.summary()) };
      }
      await this.#finish(tallies, signal);
      return { message: "Catch-up scan completed", results: tallies.map((tally) => tally.summary()) };
    } finally {
      for (const tally of tallies) this.#drop(tally);
    }
  }

  /** Brings one node up to date now, also when it seems to be. Throws REDIS_UNREACHABLE when there is no queue. */
  async catchUp(serverId: number, signal: AbortSignal): Promise<CatchUpSummary> {
    this.#link.assertReady();
    const tally = this.#tally(serverId, this.#fleet.available(), true);
    try {
      await this.#prober.ping(serverId);
      this.#registry.servers.update(serverId, { failures: 0 });
      this.#desk.demand(serverId);
      await this.#enqueue([serverId], { urgent: true, strict: true });
      await this.#finish([tally], signal, { demanded: true });
      return tally.summary();
    } finally {
      this.#desk.withdraw(serverId);
      this.#drop(tally);
    }
  }

  /** All at once, or a part of them in each of so many seconds. */
  async #askEveryone(seconds = 0): Promise<void> {
    const nodes = this.#fleet.nodes().filter((node) => node.enabled);
    const atOnce = Math.max(1, Math.ceil(nodes.length / Math.max(1, seconds)));
    const asked: Promise<void>[] = [];
    for (let from = 0; from < nodes.length && !this.#stopped; from += atOnce) {
      if (from > 0) await pause(1_000);
      asked.push(this.#prober.pingAll(nodes.slice(from, from + atOnce), true));
    }
    await Promise.all(asked);
    // Who is behind is told by vectors. Counts say who goes first, and of a large fleet that moves they take minutes.
    await within(this.#missing.recount(), LONGEST_COUNT_MS);
    this.#fleet.flush();
  }

  /** A scan gives everyone a fresh set of attempts. */
  #forgive(nodes: readonly FleetNode[]): void {
    const failed = nodes.filter((node) => node.row.failures > 0);
    if (failed.length === 0) return;
    this.#registry.transaction(() => {
      for (const { id } of failed) this.#registry.servers.update(id, { failures: 0 });
    });
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
      // One look at a time: what moves meanwhile is seen by the next.
      if (this.#looking) return this.#lookSoon();
      this.#looking = true;
      void this.#look().finally(() => (this.#looking = false));
    }, LOOK_DELAY_MS);
  }

  /** Something moved somewhere: whoever is behind now is caught up after a moment. */
  async #look(): Promise<void> {
    if (!this.automatic || !this.#link.ready) return;
    const busy = this.#desk.busy();
    const available = this.#fleet.available();
    const wanted = this.#fleet.behind().filter((node) => {
      // A node that failed has its next attempt waiting; one in a session is looked at again when it ends.
      return node.row.failures === 0 && !busy.has(node.id) && !this.#waits(node.id) && this.#desk.sources.isWorthTrying(node, available);
    });
    const ids = wanted.map((node) => node.id);
    await this.#enqueue(ids, { delayMs: this.#timing.settleMs });
  }

  /** True when a catch-up of the node is in the queue, as far as is known here; `rebuild` does not rely on it. */
  #waits(serverId: number): boolean {
    return Date.now() - (this.#enqueued.get(serverId) ?? 0) < this.#timing.reconcileMs;
  }

  async #enqueue(serverIds: readonly number[], { strict = false, ...options }: AddOptions & { strict?: boolean } = {}): Promise<void> {
    const queue = this.#queue();
    if (queue === null && strict) this.#link.assertReady();
    if (queue === null) return;
    if (serverIds.length === 0) return;
    const critical = new Set(
      this.#registry.settings
        .get("critical_nodes")
        .split(",")
        .map((name) => name.trim()),
    );
    for (const id of serverIds) this.#enqueued.set(id, Date.now());
    try {
      await queue.add(
        serverIds.map((serverId) => ({ serverId, priority: this.#priorityOf(serverId, critical) })),
        options,
      );
    } catch (error) {
      for (const id of serverIds) this.#enqueued.delete(id);
      if (strict) throw error;
      // What could not be enqueued is found again when Redis is back.
      this.#logger.debug({ servers: serverIds.length, error: String(error) }, "catch-ups could not be enqueued");
    }
  }

  /** Marked nodes first, then the smallest lag: done soonest, they are sources for the others. */
  #priorityOf(serverId: number, critical: ReadonlySet<string>): number {
    const node = this.#fleet.node(serverId);
    return node === null || critical.has(node.row.name) ? 0 : Math.min(MOST_PRIORITY, 1 + node.missing.changes);
  }

  /** Lets a job that failed for good, or waits for its next attempt, run now. Throws NOT_FOUND or REDIS_UNREACHABLE. */
  async retryJob(id: string): Promise<ListedJob> {
    const queue = this.#reachableQueue();
    const job = await queue.job(id);
    if (job.state === "active" || job.serverId === null) return job;
    if (job.state === "failed") await queue.remove(id);
    const node = this.#fleet.node(job.serverId);
    if (node === null) return job;
    this.#forgive([node]);
    this.#desk.sources.giveNewChances(node.id);
    await queue.add([{ serverId: node.id, priority: 0 }], { urgent: true });
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

  #tally(serverId: number, available: readonly FleetNode[], sessionWanted: boolean): CatchUpTally {
    const node = this.#fleet.node(serverId);
    const all = node?.limited ? union(companions(node, available)) : this.#wholeOf(available);
    const target = new Map([...all].filter(([database]) => node?.vectors.has(database) || node?.restored.has(database)));
    const tally = new CatchUpTally(serverId, node?.row.name ?? String(serverId), target, sessionWanted);
    const same = this.#tallies.get(serverId);
    if (same === undefined) this.#tallies.set(serverId, new Set([tally]));
    else same.add(tally);
    return tally;
  }

  /** What can be had; of many that are looked at in one go it is found once. */
  #wholeOf(available: readonly FleetNode[]): ReadonlyMap<string, VersionVector> {
    if (this.#whole?.of !== available) this.#whole = { of: available, all: union(available.filter((node) => !node.limited)) };
    return this.#whole.all;
  }

  #drop(tally: CatchUpTally): void {
    const same = this.#tallies.get(tally.serverId);
    if (same?.delete(tally) === true && same.size === 0) this.#tallies.delete(tally.serverId);
  }

  /**
   * Waits until the node of each tally has what it lacked when the tally began, or cannot get it. Where nothing starts by
   * itself, whoever needs another session gets it from here. `demanded`: whatever the settings say.
   */
  async #finish(tallies: readonly CatchUpTally[], signal: AbortSignal, { demanded = false } = {}): Promise<void> {
    const open = new Set(tallies);
    // In a large fleet most wait for their turn: as long as any of them moves, nobody is told that nothing happens.
    let movedAt = 0;
    while (open.size > 0 && !signal.aborted && !this.#stopped) {
      for (const tally of open) movedAt = Math.max(movedAt, tally.lastWordAt);
      const now = {
        busy: this.#registry.leases.busy(),
        nodes: new Map(this.#fleet.nodes().map((node) => [node.id, node])),
        available: this.#fleet.available(),
        attempts: this.#registry.settings.get("max_retries"),
        idle: Date.now() - movedAt >= this.#timing.idleMs,
      };
      for (const tally of open) {
        const outcome = this.#outcome(tally, now);
        if (outcome === null) continue;
        tally.finish(outcome === "" ? null : outcome);
        open.delete(tally);
      }
      if (demanded || !this.automatic) await this.#goOn([...open], now.busy, demanded);
      if (open.size > 0) await changedOrAfter(this.#events, WAIT_POLL_MS, signal);
    }
    for (const tally of open) {
      tally.finish(signal.aborted ? "Nobody waits for the result any more; the catch-up goes on" : "The coordinator is stopping");
    }
  }

  /** One session may bring only a part of what a node lacks. */
  async #goOn(open: readonly CatchUpTally[], busy: ReadonlySet<number>, demanded: boolean): Promise<void> {
    const idle = open.map(({ serverId }) => serverId).filter((id) => !busy.has(id) && !this.#waits(id));
    if (demanded) for (const id of idle) this.#desk.demand(id);
    await this.#enqueue(idle, { urgent: true });
  }

  /** Null while it goes on, empty when it is done, else why it is not. */
  #outcome(tally: CatchUpTally, now: Circumstances): string | null {
    const node = now.nodes.get(tally.serverId);
    if (node === undefined) return "The node was removed from the fleet";
    if (!node.enabled) return "The node is disabled (sync_enabled is 0)";
    if (now.busy.has(node.id)) return null;
    if (!node.online) return node.row.last_error === "" ? "The node does not answer" : node.row.last_error;
    if (node.row.failures >= now.attempts) return node.row.last_error || "All attempts failed";
    const complete = [...tally.target].every(([database, all]) => beyond(database, node.vectors.get(database) ?? EMPTY_VECTOR, all) === 0);
    const alone = now.available.every((other) => other.id === node.id);
    if (complete && (!tally.wantsSession || alone)) return "";
    if (!tally.wantsSession && !this.#desk.sources.isWorthTrying(node, now.available))
      return "The node lacks changes that no other node gives it";
    if (!now.idle) return null;
    return this.#link.ready ? "No session could be run; see the log of the node" : this.#link.problem;
  }
}

/** Resolves a moment after something changed, so that a burst is looked at once, or after `ms`. */
function changedOrAfter(events: FleetEvents, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      events.off("changed", soon);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const soon = () => {
      events.off("changed", soon);
      clearTimeout(timer);
      timer = setTimeout(done, LOOK_DELAY_MS);
    };
    let timer = setTimeout(done, ms);
    events.on("changed", soon);
    signal.addEventListener("abort", done, { once: true });
  });
}
