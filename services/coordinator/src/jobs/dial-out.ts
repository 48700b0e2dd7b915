import type { DialledOut, SyncResult } from "@scoutsync/protocol";
import { filesDiffer, hasAllFiles } from "../detection/file-roots.ts";
import { asMetBy, companions, type Fleet, type FleetNode } from "../detection/fleet.ts";
import { clipped, failureText, LONGEST_NAME, resultIn } from "../detection/plausible.ts";
import type { Prober } from "../detection/probe.ts";
import type { FleetEvents } from "../events.ts";
import { chooseSource, gain } from "../planner/plan.ts";
import type { Registry } from "../registry/registry.ts";
import type { ReliabilityKeeper } from "../reliability/keeper.ts";
import type { CatchUps } from "./catch-ups.ts";
import type { LeaseDesk } from "./lease-desk.ts";
import { sessionDetails } from "./session-details.ts";
import { standingOf } from "./source-choice.ts";

/** A node that was told to dial is told again after this long, doubled with each failure in a row. */
const REPEAT_MS = 10_000;
const MOST_DOUBLINGS = 6;
/**
 * A session that went well and moved nothing is not repeated sooner unless either of the two stands elsewhere: one keeps to
 * itself what it has, or has no room for a file.
 */
const FRUITLESS_MS = 300_000;

/**
 * Serves nodes that are heard and cannot be dialled, as behind a router that lets nothing in: the answer to a heartbeat
 * says whom to dial, the next heartbeat how it went. There is no lease, because nobody else runs a session on such a
 * node; two at once would do no harm.
 */
export class DialOut {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #events: FleetEvents;
  readonly #catchUps: CatchUps;
  readonly #desk: LeaseDesk;
  readonly #prober: Prober;
  readonly #reliability: ReliabilityKeeper;
  readonly #nextMs = new Map<number, number>();
  /** Sessions that moved nothing, by node and partner: how both stood, and until when it counts. */
  readonly #inVain = new Map<number, Map<number, { standing: string; untilMs: number }>>();

  constructor(parts: {
    registry: Registry;
    fleet: Fleet;
    events: FleetEvents;
    catchUps: CatchUps;
    desk: LeaseDesk;
    prober: Prober;
    reliability: ReliabilityKeeper;
  }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#events = parts.events;
    this.#catchUps = parts.catchUps;
    this.#desk = parts.desk;
    this.#prober = parts.prober;
    this.#reliability = parts.reliability;
  }

  /** Whom the node is to dial now; nobody when it can be dialled itself, or there is nothing to exchange. */
  order(id: number): { syncWith: string; batchSize: number } {
    const nobody = { syncWith: "", batchSize: 0 };
    const node = this.#fleet.node(id);
    if (node === null || !node.enabled || node.reachable || !this.#catchUps.automatic) return nobody;
    if ((this.#nextMs.get(id) ?? 0) > Date.now()) return nobody;
    const partner = this.#partnerOf(node);
    if (partner === null) return nobody;
    this.#nextMs.set(id, Date.now() + REPEAT_MS);
    this.#events.tell("session", node.row, `was told to dial ${partner.row.name}`);
    return { syncWith: partner.address, batchSize: this.#registry.settings.get("catchup_batch_size") };
  }

  /** The node dialled as it was told, and this is how it went. */
  ended(id: number, { peer: dialled, startedAt, result: said }: DialledOut): void {
    const node = this.#fleet.node(id);
    if (node === null || said === undefined) return;
    const result = resultIn(said);
    const peer = clipped(dialled, LONGEST_NAME);
    const partner = this.#fleet.nodes().find((other) => other.address === peer) ?? null;
    const name = partner?.row.name ?? peer;
    const now = new Date();
    const began = Number.isNaN(Date.parse(startedAt)) ? now : new Date(startedAt);
    this.#registry.transaction(() => {
      const { logs, servers } = this.#registry;
      const line = logs.open({ serverId: id, sourceId: partner?.id ?? null, worker: "node", details: { source: name }, now: began });
      logs.close(line, result.success ? "completed" : "failed", sessionDetails(result, name), now);
      if (result.success) servers.update(id, { failures: 0, last_error: "" });
      else {
        const last_error = failureText(result);
        servers.update(id, { failures: node.row.failures + 1, last_error });
      }
      if (!result.verified) return;
      for (const end of partner === null ? [id] : [id, partner.id]) servers.update(end, { last_sync: now.toISOString() });
    });
    this.#nextMs.set(id, result.success ? 0 : now.getTime() + REPEAT_MS * 2 ** Math.min(MOST_DOUBLINGS, node.row.failures + 1));
    if (partner === null) return;
    this.#noteFruit(node, partner, result);
    this.#reliability.session({ serverId: id, sourceId: partner.id }, result, []);
    this.#events.emit("session", { serverId: id, sourceId: partner.id, startedAt: began, endedAt: now, result });
    void this.#prober.ping(partner.id).then(() => this.#events.emit("changed"));
  }

  #noteFruit(node: FleetNode, partner: FleetNode, { success, stats }: SyncResult): void {
    const tried = this.#inVain.get(node.id) ?? new Map<number, { standing: string; untilMs: number }>();
    this.#inVain.set(node.id, tried);
    const rows = (stats?.localChangesSent ?? 0n) + (stats?.remoteChangesReceived ?? 0n);
    const files = (stats?.filesUploaded ?? 0n) + (stats?.filesDownloaded ?? 0n);
    if (!success || rows + files > 0n) tried.delete(partner.id);
    else tried.set(partner.id, { standing: standingOf(node) + standingOf(asMetBy(node, partner)), untilMs: Date.now() + FRUITLESS_MS });
  }

  /** Who has most for it; else who lacks most of what it has; else who holds other files. */
  #partnerOf(node: FleetNode): FleetNode | null {
    const busy = this.#desk.busy();
    const tried = this.#inVain.get(node.id);
    const others = companions(node, this.#fleet.available()).filter((other) => {
      const known = tried?.get(other.id);
      const inVain = known !== undefined && known.untilMs > Date.now() && known.standing === standingOf(node) + standingOf(other);
      return !busy.has(other.id) && !inVain;
    });
    const source = chooseSource(node, others) as FleetNode | null;
    if (source !== null) return source;
    const taker = others.filter((other) => gain(other, node) > 0).sort((a, b) => gain(b, node) - gain(a, node))[0];
    if (taker !== undefined) return taker;
    const apart = others.filter((other) => other.restored.size === 0 && filesDiffer(node, other));
    return apart.find(hasAllFiles) ?? apart[0] ?? null;
  }
}
