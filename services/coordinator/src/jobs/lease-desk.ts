import { randomUUID } from "node:crypto";
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
import { filesDiffer } from "../detection/file-roots.ts";
import { asMetBy, nameAt, type Fleet, type FleetNode } from "../detection/fleet.ts";
import { clipped, failureText, LONGEST_NAME, resultIn, stepsIn } from "../detection/plausible.ts";
import type { Prober } from "../detection/probe.ts";
import type { FleetEvents } from "../events.ts";
import { gain, type PlannerNode } from "../planner/plan.ts";
import type { Registry } from "../registry/registry.ts";
import type { LeaseRow } from "../registry/leases.ts";
import type { ReliabilityKeeper } from "../reliability/keeper.ts";
import { RunningSessions } from "./running-sessions.ts";
import { sessionDetails } from "./session-details.ts";
import { SessionPlaces } from "./session-places.ts";
import { SourceChoice } from "./source-choice.ts";
import { hasMoved, Turns, type Beginning } from "./turns.ts";

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
  readonly #places: SessionPlaces;
  /** How both stood when a session began, by lease. */
  readonly #begun = new Map<string, Beginning>();
  readonly #turns: Turns;
  /** Sessions whose turn is being ended, by lease. */
  readonly #ending = new Set<string>();
  /** Who fetches from whom. */
  readonly sources: SourceChoice;

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
    this.sources = new SourceChoice(parts.fleet);
    this.#turns = new Turns({ settings: parts.registry.settings, fleet: parts.fleet, sources: this.sources });
    this.#places = new SessionPlaces(parts.registry.settings, this.running);
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

  /** Permits a session of the node with the source that is best for it now, or says why there is none. */
  async acquire({ serverId, worker, jobId }: AcquireLeaseRequest): Promise<AcquireLeaseResponse> {
    const id = Number(serverId);
    const answer = await this.#pair(id, { worker: clipped(worker, LONGEST_NAME), jobId: clipped(jobId, LONGEST_NAME) });
    if (answer.reason === "busy") this.#turns.waits(id);
    else for (const waited of [this.sources, this.#places, this.#turns]) waited.settled(id);
    if (!answer.granted && answer.reason !== "busy") this.#events.emit("refused", id);
    return answer;
  }

  async report({ leaseId, result: said, startedAt, progress, steps }: ReportSessionRequest): Promise<ReportSessionResponse> {
    const now = new Date();
    const result = said && resultIn(said);
    const lease = this.#registry.leases.get(leaseId);
    if (lease === null) return { lost: true };
    if (progress !== undefined) this.#tellProgress(leaseId, progress);
    if (result === undefined) {
      const leftMs = Date.parse(lease.expires_at) - now.getTime();
      if (progress !== undefined && leftMs > this.#timing.leaseMs * FRESH_LEASE_SHARE) return { lost: false };
      const expiresAt = new Date(now.getTime() + this.#timing.leaseMs);
      return { lost: !(await this.#registry.commit(() => this.#registry.leases.renew(leaseId, expiresAt, now))) };
    }
    if (lease.expires_at <= now.toISOString()) {
      this.sweep();
      return { lost: true };
    }
    // It may have been cut, or reported twice, before this is on disk.
    const ended = await this.#registry.commit(() => this.#record(lease, result, now));
    const began = Number.isNaN(Date.parse(startedAt)) ? lease.acquired_at : startedAt;
    if (ended) this.#ended(lease, result, began, now, stepsIn(steps));
    return { lost: !ended };
  }

  /** Cuts the session that a node runs now: its worker hears that the lease is gone and drops the call. */
  cancel(serverId: number): void {
    const session = this.running.of(serverId);
    const lease = session === null ? null : this.#registry.leases.get(session.leaseId);
    if (lease === null) return;
    const message = "Cancelled by hand. It is tried again at the next scan.";
    this.#close([{ lease, result: SyncResult.fromPartial({ errors: [{ code: "FENCED", message }] }) }], new Date());
  }

  /** Ends the sessions that had their turn while others wait for one of their nodes. */
  endTurns(): void {
    const due = this.#turns.due(this.#registry.leases.all(), this.busy(), this.#places.isFull);
    for (const lease of due) void this.#endTurn(lease);
  }

  async #endTurn(lease: LeaseRow): Promise<void> {
    const { lease_id, server_id: serverId, source_id: sourceId } = lease;
    if (this.#ending.has(lease_id)) return;
    this.#ending.add(lease_id);
    try {
      // What they hold now says whether anything came of it.
      await Promise.all([this.#prober.ping(serverId), this.#prober.ping(sourceId)]);
      // It may have ended by itself meanwhile.
      if (this.#registry.closed || this.#registry.leases.get(lease_id) === null) return;
      const [began, node, source] = [this.#begun.get(lease_id), this.#fleet.node(serverId), this.#fleet.node(sourceId)];
      const isKnown = began !== undefined && node !== null && source !== null;
      const moved = !isKnown || hasMoved(began, { node, source: asMetBy(node, source) }, this.running.of(serverId));
      const { code, message } = this.#turns.ended(lease, moved);
      this.#close([{ lease, result: SyncResult.fromPartial({ errors: [{ code, message }] }) }], new Date());
    } finally {
      this.#ending.delete(lease_id);
    }
  }

  /** Takes back the leases that ran out. */
  sweep(): void {
    const now = new Date();
    const expired = this.#registry.leases.expired(now).map((lease) => {
      const message = `Worker ${lease.worker} did not report for ${this.#timing.leaseMs / 1_000} s. Another one takes over by itself.`;
      return { lease, result: SyncResult.fromPartial({ errors: [{ code: "FENCED", message }] }) };
    });
    if (expired.length === 0) return;
    this.#close(expired, now);
    for (const { lease } of expired) {
      // Either may have waited for the end of this lease.
      for (const end of [lease.server_id, lease.source_id]) {
        this.sources.hurry(end);
        this.#places.keepFor(end);
        this.#events.emit("abandoned", end);
      }
    }
  }

  /** Chooses a source, makes sure that both answer and that it still is one, and writes the lease. */
  async #pair(id: number, holder: Holder): Promise<AcquireLeaseResponse> {
    const demanded = this.#demanded.has(id);
    for (;;) {
      const node = this.#fleet.node(id);
      if (node === null || !node.enabled) return refuse("disabled");
      if (!demanded && !this.#registry.settings.get("catchup_enabled")) return refuse("disabled");
      const busy = this.busy();
      if (busy.has(id) || (!demanded && (this.#turns.rests(id) || this.#places.isFullFor(id)))) return refuse("busy");
      const source = this.sources.choose(node, busy, { demanded, moving: this.running.count > 0 });
      // Asking the node costs a round trip; when nobody is free to serve it there is no need to.
      if (source === "busy" && node.online) return refuse("busy");
      const ends = typeof source === "object" && source !== null ? [id, source.id] : [id];
      for (const end of ends) this.#reserved.add(end);
      const opened = ends.length > 1 ? this.#places.open() : () => {};
      try {
        const [answers, sourceAnswers = false] = await Promise.all(ends.map((end) => this.#prober.ping(end)));
        if (answers !== true) return refuse("unreachable");
        const current = this.#fleet.node(id);
        if (current === null) continue;
        if (ends.length === 1) {
          // What it said just now may be more than was known of it.
          if (current.vectors === node.vectors && current.files === node.files && node.online) return refuse("nothing-missing");
          continue;
        }
        // A source that does not answer is offline from here on, so the next round picks somebody else.
        const found = sourceAnswers ? this.#fleet.node(ends[1] ?? 0) : null;
        if (found === null) continue;
        const fresh = asMetBy(current, found);
        const gives = current.limited && gain(fresh, current) > 0;
        if (demanded || gives || gain(current, fresh) > 0 || filesDiffer(current, fresh)) return await this.#grant(current, fresh, holder);
      } finally {
        opened();
        for (const end of ends) this.#reserved.delete(end);
      }
    }
  }

  async #grant(node: FleetNode, source: FleetNode, { worker, jobId }: Holder): Promise<AcquireLeaseResponse> {
    const databases = [...node.vectors.keys(), ...node.restored.keys()].filter((database) => source.vectors.has(database)).sort();
    const lease = await this.#registry.commit((): LeaseRow => {
      const now = new Date();
      const details = { source: source.row.name, databases };
      const opened: LeaseRow = {
        lease_id: randomUUID(),
        server_id: node.id,
        source_id: source.id,
        epoch: this.#registry.servers.nextEpoch(node.id, now),
        worker,
        log_id: this.#registry.logs.open({ serverId: node.id, sourceId: source.id, worker, details, now }),
        acquired_at: now.toISOString(),
        expires_at: new Date(now.getTime() + this.#timing.leaseMs).toISOString(),
      };
      this.#registry.leases.insert(opened);
      return opened;
    });
    this.#begun.set(lease.lease_id, { node, source });
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
      databases: databases.map((database) => nameAt(node, database)),
    });
  }

  /** Ends sessions by our own decision. */
  #close(sessions: readonly { lease: LeaseRow; result: SyncResult }[], now: Date): void {
    const closed = this.#registry.transaction(() => sessions.filter(({ lease, result }) => this.#record(lease, result, now)));
    for (const { lease, result } of closed) this.#ended(lease, result, lease.acquired_at, now);
  }

  /** Writes how a session ended and takes the lease back; false when it is gone already. Inside a transaction. */
  #record({ lease_id, log_id, server_id: serverId, source_id: sourceId }: LeaseRow, result: SyncResult, now: Date): boolean {
    const { leases, logs, servers } = this.#registry;
    if (leases.get(lease_id) === null) return false;
    leases.remove(lease_id);
    logs.close(log_id, result.success ? "completed" : "failed", sessionDetails(result, this.#nameOf(sourceId)), now);
    const row = servers.get(serverId);
    if (row === null) return true;
    const synced = result.success && result.verified ? { last_sync: now.toISOString() } : {};
    if (result.success) {
      servers.update(serverId, { failures: 0, last_error: "", ...synced });
      servers.update(sourceId, synced);
    } else if (countsAsFailure(result)) {
      servers.update(serverId, { failures: row.failures + 1, last_error: failureText(result) });
    }
    return true;
  }

  /** What follows once the end of a session is on disk. */
  #ended(lease: LeaseRow, result: SyncResult, startedAt: string, endedAt: Date, steps: readonly SessionStep[] = []): void {
    const { lease_id, server_id: serverId, source_id: sourceId } = lease;
    this.running.ended(lease_id);
    // The last ones may become durable just as the coordinator stops.
    if (this.#registry.closed) return;
    this.#reliability.session({ serverId, sourceId }, result, steps);
    this.#demanded.delete(serverId);
    if (!result.success) {
      this.sources.failed(serverId, sourceId);
      this.#logger.info({ server: serverId, source: sourceId, errors: result.errors }, "a session failed");
    }
    this.#tellEnd(lease, result);
    this.#events.emit("session", { serverId, sourceId, startedAt: new Date(startedAt), endedAt, result });
    const offered = this.#begun.get(lease_id)?.source ?? null;
    this.#begun.delete(lease_id);
    void this.#look(lease, result.success ? offered : null);
  }

  #nameOf(serverId: number): string {
    return this.#registry.servers.get(serverId)?.name ?? String(serverId);
  }

  /** What both hold after the session decides who needs whom next. */
  async #look({ server_id: serverId, source_id: sourceId }: LeaseRow, offered: PlannerNode | null): Promise<void> {
    await Promise.all([this.#prober.ping(serverId), this.#prober.ping(sourceId)]);
    if (this.#registry.closed) return;
    const node = this.#fleet.node(serverId);
    const source = this.#fleet.node(sourceId);
    if (offered !== null && node !== null && source !== null && node.online) {
      const gotAll = gain(node, offered) === 0 && !filesDiffer(node, asMetBy(node, source));
      this.sources.ended(node, source, gotAll);
    }
    this.#events.emit("changed");
  }

  #tellProgress(leaseId: string, progress: SyncProgress): void {
    const session = this.running.moved(leaseId, progress);
    if (session !== null) this.#events.emit("progress", session);
  }

  #tellEnd(lease: LeaseRow, result: SyncResult): void {
    const server = this.#registry.servers.get(lease.server_id);
    const sourceName = this.#nameOf(lease.source_id);
    const moved = result.stats;
    const message = result.success
      ? `sync with ${sourceName} done: ${moved?.remoteChangesApplied ?? 0n} applied, ${moved?.localChangesSent ?? 0n} sent`
      : `sync with ${sourceName} failed: ${failureText(result)}`;
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
