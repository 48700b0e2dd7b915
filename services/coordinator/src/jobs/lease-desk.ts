import { randomUUID } from "node:crypto";
import { formatVector } from "@scoutsync/core";
import {
  AcquireLeaseResponse,
  SyncResult,
  type AcquireLeaseRequest,
  type ReportSessionRequest,
  type ReportSessionResponse,
  type SessionStep,
  type SyncProgress,
} from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import type { Timing } from "../config.ts";
import { filesDiffer, type Fleet, type FleetNode } from "../detection/fleet.ts";
import type { Prober } from "../detection/probe.ts";
import type { FleetEvents } from "../events.ts";
import { chooseSource, gain, type PlannerNode } from "../planner/plan.ts";
import type { Registry } from "../registry/registry.ts";
import type { LeaseRow } from "../registry/leases.ts";
import type { ReliabilityKeeper } from "../reliability/keeper.ts";
import { RunningSessions } from "./running-sessions.ts";
import { sessionDetails } from "./session-details.ts";

/** Two nodes that could not reach each other are not paired again for this long, if there is anybody else. */
const AVOID_PAIR_MS = 60_000;
/** A lease that has more of its time left than this needs no renewal with every word about its progress. */
const FRESH_LEASE_SHARE = 0.7;

/**
 * Gives out the right to run a session, and takes it back with the outcome. Who fetches from whom is decided here, at
 * the moment a worker is ready to do it, from what both nodes answer then.
 */
export class LeaseDesk {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #prober: Prober;
  readonly #events: FleetEvents;
  readonly #timing: Timing;
  readonly #reliability: ReliabilityKeeper;
  readonly #logger: Logger;
  readonly running = new RunningSessions();
  /** Nodes about to be leased: between choosing them and writing the lease their Pings are awaited. */
  readonly #reserved = new Set<number>();
  readonly #demanded = new Set<number>();
  readonly #avoided = new Map<string, number>();
  /** What the source held when a session began, by lease. */
  readonly #offered = new Map<string, PlannerNode>();
  /**
   * Pairs whose last session went well and yet left the node without what the source held (the source may only receive,
   * or a database cannot take part), with how both stood: while that is still so, another session changes nothing.
   */
  readonly #fruitless = new Map<string, string>();

  constructor(parts: {
    registry: Registry;
    fleet: Fleet;
    prober: Prober;
    events: FleetEvents;
    timing: Timing;
    reliability: ReliabilityKeeper;
    logger: Logger;
  }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#prober = parts.prober;
    this.#events = parts.events;
    this.#timing = parts.timing;
    this.#reliability = parts.reliability;
    this.#logger = parts.logger;
  }

  /** Somebody asked for this node by hand: its next session runs even when nothing is missing or catch-up is off. */
  demand(serverId: number): void {
    this.#demanded.add(serverId);
  }

  withdraw(serverId: number): void {
    this.#demanded.delete(serverId);
  }

  /** Nodes in a session now. */
  busy(): Set<number> {
    this.sweep();
    const busy = this.#registry.leases.busy();
    for (const id of this.#reserved) busy.add(id);
    return busy;
  }

  /** False when everybody who holds what a node lacks has been tried and gave nothing. The node must be behind. */
  isWorthTrying(node: FleetNode, available: readonly FleetNode[]): boolean {
    // Comparing with everybody is for the few that were ever tried in vain.
    return !this.#hasFruitless(node.id) || this.#hasSource(node, available);
  }

  /** Gives every pair another chance: at a scan, and for a node that returns. */
  giveNewChances(serverId?: number): void {
    for (const pair of this.#fruitless.keys()) {
      if (serverId === undefined || pair.split(" ").includes(String(serverId))) this.#fruitless.delete(pair);
    }
  }

  async acquire({ serverId, worker, jobId }: AcquireLeaseRequest): Promise<AcquireLeaseResponse> {
    const id = Number(serverId);
    const demanded = this.#demanded.has(id);
    const node = this.#fleet.node(id);
    if (node === null || !node.enabled) return refuse("disabled");
    if (!demanded && !this.#registry.settings.get("catchup_enabled")) return refuse("disabled");
    if (this.busy().has(id) || (!demanded && this.#isFull())) return refuse("busy");
    // Asking the node costs a round trip; when nobody is free to serve it there is no need to.
    if (!demanded && node.online && this.#pick(node, demanded) === "busy") return refuse("busy");
    this.#reserved.add(id);
    try {
      if (!(await this.#prober.ping(id))) return refuse("unreachable");
      return await this.#pair(id, { worker, jobId }, demanded);
    } finally {
      this.#reserved.delete(id);
    }
  }

  report({ leaseId, result, startedAt, progress, steps }: ReportSessionRequest): ReportSessionResponse {
    const now = new Date();
    const lease = this.#registry.leases.get(leaseId);
    if (lease === null) return { lost: true };
    if (progress !== undefined) this.#tellProgress(leaseId, progress);
    if (result === undefined) {
      const leftMs = Date.parse(lease.expires_at) - now.getTime();
      if (progress !== undefined && leftMs > this.#timing.leaseMs * FRESH_LEASE_SHARE) return { lost: false };
      const expiresAt = new Date(now.getTime() + this.#timing.leaseMs);
      return { lost: !this.#registry.leases.renew(leaseId, expiresAt, now) };
    }
    if (lease.expires_at <= now.toISOString()) {
      this.sweep();
      return { lost: true };
    }
    this.#close(lease, result, startedAt === "" ? lease.acquired_at : startedAt, now, steps);
    return { lost: false };
  }

  /** Cuts the session that a node runs now: its worker hears that the lease is gone and drops the call. */
  cancel(serverId: number): void {
    const session = this.running.of(serverId);
    const lease = session === null ? null : this.#registry.leases.get(session.leaseId);
    if (lease === null) return;
    const message = "Cancelled by hand. It is tried again at the next scan.";
    this.#close(lease, SyncResult.fromPartial({ errors: [{ code: "FENCED", message }] }), lease.acquired_at, new Date());
  }

  /** Takes back the leases that ran out. */
  sweep(): void {
    const now = new Date();
    for (const lease of this.#registry.leases.expired(now)) {
      const message = `Worker ${lease.worker} did not report for ${this.#timing.leaseMs / 1_000} s. Another one takes over by itself.`;
      const result = SyncResult.fromPartial({ errors: [{ code: "FENCED", message }] });
      this.#close(lease, result, lease.acquired_at, now);
    }
  }

  /** True when the fleet runs as many sessions as it may, or began as many within the minute. */
  #isFull(): boolean {
    const { settings } = this.#registry;
    if (this.running.count >= settings.get("max_concurrent_sessions")) return true;
    const perMinute = settings.get("sessions_per_minute");
    return perMinute > 0 && this.running.begunWithin(60_000) >= perMinute;
  }

  /** Chooses a source that answers, and writes the lease. */
  async #pair(id: number, worker: Holder, demanded: boolean): Promise<AcquireLeaseResponse> {
    for (;;) {
      const node = this.#fleet.node(id);
      if (node === null || !node.enabled) return refuse("disabled");
      const source = this.#pick(node, demanded);
      if (source === null) return refuse("nothing-missing");
      if (source === "busy") return refuse("busy");
      this.#reserved.add(source.id);
      try {
        // One that does not answer is offline from here on, so the next round picks somebody else.
        if (!(await this.#prober.ping(source.id))) continue;
        const fresh = this.#fleet.node(source.id);
        const current = this.#fleet.node(id);
        if (fresh === null || current === null) continue;
        if (demanded || gain(current, fresh) > 0 || filesDiffer(current, fresh)) return this.#grant(current, fresh, worker);
      } finally {
        this.#reserved.delete(source.id);
      }
    }
  }

  /** The source for `node` now; "busy" when those that have something for it are in sessions; null when none has. */
  #pick(node: FleetNode, demanded: boolean): FleetNode | "busy" | null {
    const others = this.#fleet.available().filter((other) => other.id !== node.id);
    const busy = this.busy();
    const free = others.filter((other) => !busy.has(other.id));
    const fruitful = this.#fruitful(node, free);
    const preferred = fruitful.filter((other) => (this.#avoided.get(pairKey(node.id, other.id)) ?? 0) < Date.now());
    const chosen = chooseSource(node, preferred) ?? (preferred.length < fruitful.length ? chooseSource(node, fruitful) : null);
    if (chosen !== null) return chosen as FleetNode;
    const withOtherFiles = (preferred.length > 0 ? preferred : fruitful).filter((other) => filesDiffer(node, other));
    // Spread by id, so that many do not all queue for the same one.
    const apart = withOtherFiles[node.id % Math.max(1, withOtherFiles.length)];
    if (apart !== undefined) return apart;
    if (this.#hasSource(node, others)) return "busy";
    if (!demanded) return null;
    const sharing = (other: FleetNode) => [...node.vectors.keys()].some((database) => other.vectors.has(database));
    const partner = free.filter(sharing).sort((a, b) => gain(b, node) - gain(a, node))[0];
    return partner ?? (others.some(sharing) ? "busy" : null);
  }

  #hasSource(node: FleetNode, others: readonly FleetNode[]): boolean {
    const fruitful = this.#fruitful(node, others);
    return chooseSource(node, fruitful) !== null || fruitful.some((other) => filesDiffer(node, other));
  }

  #hasFruitless(serverId: number): boolean {
    const prefix = `${serverId} `;
    return this.#fruitless.size > 0 && [...this.#fruitless.keys()].some((pair) => pair.startsWith(prefix));
  }

  #fruitful(node: FleetNode, others: readonly FleetNode[]): FleetNode[] {
    if (!this.#hasFruitless(node.id)) return [...others];
    return others.filter((other) => {
      const known = this.#fruitless.get(pairKey(node.id, other.id));
      return known === undefined || known !== standingOf(node) + standingOf(other);
    });
  }

  #grant(node: FleetNode, source: FleetNode, { worker, jobId }: Holder): AcquireLeaseResponse {
    const now = new Date();
    const databases = [...node.vectors.keys()].filter((database) => source.vectors.has(database)).sort();
    const lease = this.#registry.transaction((): LeaseRow => {
      const details = { source: source.row.name, databases };
      const opened: LeaseRow = {
        lease_id: randomUUID(),
        server_id: node.id,
        source_id: source.id,
        epoch: this.#registry.leases.nextEpoch(node.id, now),
        worker,
        log_id: this.#registry.logs.open({ serverId: node.id, sourceId: source.id, worker, details, now }),
        acquired_at: now.toISOString(),
        expires_at: new Date(now.getTime() + this.#timing.leaseMs).toISOString(),
      };
      this.#registry.leases.insert(opened);
      return opened;
    });
    this.#offered.set(lease.lease_id, { id: source.id, vectors: source.vectors });
    this.running.began({ leaseId: lease.lease_id, jobId, serverId: node.id, sourceId: source.id });
    this.#events.tell("session", node.row, `sync with ${source.row.name} began`);
    return AcquireLeaseResponse.fromPartial({
      granted: true,
      nodeAddress: node.address,
      sourceAddress: source.address,
      sourceName: source.row.name,
      epoch: BigInt(lease.epoch),
      leaseMs: this.#timing.leaseMs,
      leaseId: lease.lease_id,
      batchSize: this.#registry.settings.get("catchup_batch_size"),
      databases,
    });
  }

  #close(lease: LeaseRow, result: SyncResult, startedAt: string, now: Date, steps: readonly SessionStep[] = []): void {
    const { server_id: serverId, source_id: sourceId } = lease;
    this.running.ended(lease.lease_id);
    this.#reliability.session({ serverId, sourceId }, result, steps);
    const source = this.#registry.servers.get(sourceId);
    this.#registry.transaction(() => {
      const details = sessionDetails(result, source?.name ?? String(sourceId));
      this.#registry.logs.close(lease.log_id, result.success ? "completed" : "failed", details, now);
      this.#registry.leases.remove(lease.lease_id);
      const row = this.#registry.servers.get(serverId);
      if (row === null) return;
      if (result.success) {
        this.#registry.servers.update(serverId, { failures: 0, last_error: "" });
        if (result.verified) {
          for (const id of [serverId, sourceId]) this.#registry.servers.update(id, { last_sync: now.toISOString() });
        }
      } else if (countsAsFailure(result)) {
        const last_error = result.errors.map((error) => error.message).join("; ");
        this.#registry.servers.update(serverId, { failures: row.failures + 1, last_error });
      }
    });
    this.#demanded.delete(serverId);
    if (!result.success) {
      this.#avoid(serverId, sourceId);
      this.#logger.info({ server: serverId, source: sourceId, errors: result.errors }, "a session failed");
    }
    this.#tellEnd(lease, result, source?.name ?? String(sourceId));
    this.#events.emit("session", { serverId, sourceId, startedAt: new Date(startedAt), endedAt: now, result });
    const offered = this.#offered.get(lease.lease_id) ?? null;
    this.#offered.delete(lease.lease_id);
    void this.#look(lease, result.success ? offered : null);
  }

  /** What both hold after the session decides who needs whom next. */
  async #look({ server_id: serverId, source_id: sourceId }: LeaseRow, offered: PlannerNode | null): Promise<void> {
    await Promise.all([this.#prober.ping(serverId), this.#prober.ping(sourceId)]);
    if (this.#registry.closed) return;
    const node = this.#fleet.node(serverId);
    const source = this.#fleet.node(sourceId);
    if (offered !== null && node !== null && source !== null && node.online) {
      const pair = pairKey(serverId, sourceId);
      if (gain(node, offered) > 0 || filesDiffer(node, source)) this.#fruitless.set(pair, standingOf(node) + standingOf(source));
      else this.#fruitless.delete(pair);
    }
    this.#events.emit("changed");
  }

  #tellProgress(leaseId: string, progress: SyncProgress): void {
    const session = this.running.moved(leaseId, progress);
    if (session !== null) this.#events.emit("progress", session);
  }

  #avoid(serverId: number, sourceId: number): void {
    const now = Date.now();
    for (const [pair, until] of this.#avoided) if (until < now) this.#avoided.delete(pair);
    this.#avoided.set(pairKey(serverId, sourceId), now + AVOID_PAIR_MS);
  }

  #tellEnd(lease: LeaseRow, result: SyncResult, sourceName: string): void {
    const server = this.#registry.servers.get(lease.server_id);
    const moved = result.stats;
    const message = result.success
      ? `sync with ${sourceName} done: ${moved?.remoteChangesApplied ?? 0n} applied, ${moved?.localChangesSent ?? 0n} sent`
      : `sync with ${sourceName} failed: ${result.errors.map((error) => error.message).join("; ")}`;
    this.#events.tell("session", server, message);
  }
}

/** Who holds a lease, and for which job of the queue. */
interface Holder {
  worker: string;
  jobId: string;
}

/** A node that was busy, or a worker that went away, says nothing about whether the node can be synced. */
function countsAsFailure(result: SyncResult): boolean {
  return !result.errors.some(({ code }) => code === "BUSY" || code === "FENCED" || code === "SHUTTING_DOWN");
}

function refuse(reason: "busy" | "nothing-missing" | "disabled" | "unreachable"): AcquireLeaseResponse {
  return AcquireLeaseResponse.fromPartial({ granted: false, reason });
}

function pairKey(serverId: number, sourceId: number): string {
  return `${serverId} ${sourceId}`;
}

function standingOf(node: FleetNode): string {
  const rows = [...node.vectors].map(([database, vector]) => `${database} ${formatVector(vector)}`);
  return [...rows, ...node.files.map(({ root, digest }) => `${root} ${digest}`)].join("|");
}
