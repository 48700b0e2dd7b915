import { toPlainError } from "@scoutsync/core";
import { unary, VerifyRequest, type VerifyResponse } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import type { AlertWatch } from "../alerts/watch.ts";
import { companions, type Fleet, type FleetNode } from "../detection/fleet.ts";
import type { NodeClients } from "../detection/node-clients.ts";
import { gain } from "../planner/plan.ts";
import type { Registry } from "../registry/registry.ts";

const PAIRS_AT_ONCE = 4;
const DEADLINE_MS = 10 * 60_000;
const VERIFY_OPERATION = "verify";

/**
 * Compares the rows of every node with those of the next one, in a ring: n comparisons that together say whether all are
 * equal; and those of every node of a scope with what its server shows. What lags behind differs rightly; only what differs at one vector is an incident.
 */
export class Comparison {
  readonly #fleet: Fleet;
  readonly #clients: NodeClients;
  readonly #registry: Registry;
  readonly #alerts: AlertWatch;
  readonly #logger: Logger;

  constructor(parts: { fleet: Fleet; clients: NodeClients; registry: Registry; alerts: AlertWatch; logger: Logger }) {
    this.#fleet = parts.fleet;
    this.#clients = parts.clients;
    this.#registry = parts.registry;
    this.#alerts = parts.alerts;
    this.#logger = parts.logger;
  }

  /** One round over all nodes that are online. Never throws. */
  async round(): Promise<void> {
    const available = this.#fleet.available();
    const nodes = available.filter((node) => !node.limited);
    const ring = nodes
      .slice(0, nodes.length === 2 ? 1 : nodes.length < 2 ? 0 : undefined)
      .map((node, at) => ({ node, peer: nodes[(at + 1) % nodes.length] ?? node }));
    // A node of a scope holds other rows than its server, rightly: it asks that for its part.
    const ofScopes = available
      .filter((node) => node.limited)
      .flatMap((node) =>
        companions(node, nodes)
          .filter((server) => isEven(node, server))
          .slice(0, 1)
          .map((peer) => ({ node, peer })),
      );
    const pairs = [...ring, ...ofScopes];
    const lane = async () => {
      for (let pair = pairs.shift(); pair !== undefined; pair = pairs.shift()) await this.#compare(pair.node, pair.peer);
    };
    await Promise.all(Array.from({ length: Math.min(PAIRS_AT_ONCE, pairs.length) }, lane));
  }

  async #compare(node: FleetNode, peer: FleetNode): Promise<void> {
    const { logs } = this.#registry;
    const details = { source: peer.row.name };
    const now = new Date();
    const line = logs.open({ serverId: node.id, sourceId: peer.id, worker: "coordinator", operation: VERIFY_OPERATION, details, now });
    const close = (status: "completed" | "failed", more: Record<string, unknown>) => {
      if (!this.#registry.closed) logs.close(line, status, { ...details, ...more }, new Date());
    };
    try {
      const request = VerifyRequest.fromPartial({ peer: peer.address });
      const answer = await unary(this.#clients.to(node.address), "verify", request, { deadlineMs: DEADLINE_MS });
      const diverged = divergences(answer);
      if (this.#registry.closed) return;
      const message = `${node.row.name} and ${peer.row.name} know the same changes and hold other rows in ${diverged.join(", ")}: scoutsync verify ${node.row.name} ${peer.row.name} names them, --repair mends them.`;
      this.#alerts.report("diverged", node.id, diverged.length === 0 ? null : message);
      close(diverged.length === 0 ? "completed" : "failed", { equal: answer.equal, diverged });
    } catch (error) {
      const { code, message } = toPlainError(error);
      close("failed", { errors: [{ code, message }] });
      this.#logger.debug({ server: node.id, peer: peer.id, error: message }, "two nodes could not be compared");
    }
  }
}

/** A server shows a node of a scope what that has: one that lags behind is compared another time, and another scope's server never. */
function isEven(node: FleetNode, server: FleetNode): boolean {
  const isShown = [...node.vectors.keys()].every((database) => server.vectors.has(database));
  return isShown && gain(node, server) === 0 && gain(server, node) === 0;
}

/** Databases whose rows differ although both sides stand at one vector, with the tables. */
function divergences(answer: VerifyResponse): string[] {
  return answer.databases
    .filter((database) => !database.equal && database.vector === database.peerVector && database.differences.length > 0)
    .map((database) => `${database.name} (${[...new Set(database.differences.map((one) => one.table))].join(", ")})`);
}
