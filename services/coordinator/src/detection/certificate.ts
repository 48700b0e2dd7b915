import type { Registry } from "../registry/registry.ts";
import type { FleetEvents } from "../events.ts";
import type { Fleet, FleetNode } from "./fleet.ts";

/** Whether the fleet is equal, and since when it has been so or not. */
export interface Certificate {
  converged: boolean;
  /** ISO 8601 UTC. */
  since: string;
}

/** Watches whether all nodes are equal; remembers across restarts since when. */
export class CertificateKeeper {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #events: FleetEvents;
  #current: Certificate | null;
  #confirmed = false;

  constructor(parts: { registry: Registry; fleet: Fleet; events: FleetEvents }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#events = parts.events;
    const stored = parts.registry.readState("certificate");
    this.#current = stored === null ? null : (JSON.parse(stored) as Certificate);
  }

  /** Everyone has been asked since the start: from here on what is remembered no longer counts. */
  confirm(): void {
    this.#confirmed = true;
  }

  /** The state as of now. */
  current(): Certificate {
    // Right after a start nobody has answered yet, which says nothing about the fleet.
    if (!this.#confirmed && this.#current !== null) return this.#current;
    const converged = isConverged(this.#fleet.nodes());
    if (this.#current !== null && this.#current.converged === converged) return this.#current;
    this.#current = { converged, since: new Date().toISOString() };
    this.#registry.writeState("certificate", JSON.stringify(this.#current));
    this.#events.tell("status", null, converged ? "all nodes are equal" : "the nodes are not equal");
    return this.#current;
  }
}

/**
 * True when every enabled node is online and, per database, all who have it stand at the same vector with the same
 * digest, nothing captured still waiting and no problem. A fleet without enabled nodes has nothing to certify.
 */
export function isConverged(nodes: readonly FleetNode[]): boolean {
  const enabled = nodes.filter((node) => node.enabled);
  if (enabled.length === 0) return false;
  const first = new Map<string, { vector: string; digest: string }>();
  for (const node of enabled) {
    if (!node.online) return false;
    for (const report of node.reports) {
      if (report.problem !== "" || report.pending > 0) return false;
      const other = first.get(report.name);
      if (other === undefined) first.set(report.name, report);
      else if (other.vector !== report.vector || other.digest !== report.digest) return false;
    }
  }
  return true;
}
