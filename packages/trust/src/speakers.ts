import { SyncError } from "@scoutsync/core";
import type { AuditLog } from "./audit.ts";
import type { Guard } from "./guard.ts";
import { memberKey, type Identity } from "./identity.ts";
import type { Trust } from "./trust.ts";

interface Call {
  getPeer(): string;
  getPath(): string;
}

/** Who makes a call, as far as it says something of a node. */
export interface Speaker {
  /** The same word for all connections of one member, and for nobody else's; null where nobody can tell whose it is. */
  readonly member: string | null;
  /** Throws FORBIDDEN, and notes it, when this one may not say what that node has or did. `""`: it speaks for nobody. */
  speaksFor(nodeId: string): void;
  /** Notes in the audit log what it did. */
  accuse(details: string): void;
}

/** Where nobody has to show who they are, everybody may say everything. */
export const ANYBODY: Speaker = { member: "", speaksFor: () => {}, accuse: () => {} };

/**
 * Binds what callers say of nodes to their certificates: what a node is said to have decides what is kept for it and
 * sent to it. A node speaks for itself; who carries a bundle, and a coordinator, passes on what a node said.
 */
export class Speakers {
  readonly #parts: { guard: Guard; trust: Trust; audit: AuditLog };

  constructor(parts: { guard: Guard; trust: Trust; audit: AuditLog }) {
    this.#parts = parts;
  }

  of(call: Call): Speaker {
    const { guard, trust, audit } = this.#parts;
    const identity = guard.callerOf(call);
    const who = identity === null ? call.getPeer() : `${memberKey(identity)} (${identity.name})`;
    const refused = (details: string) => audit.write({ who, what: call.getPath(), outcome: "refused", details });
    return {
      member: identity === null ? null : memberKey(identity),
      speaksFor(nodeId) {
        if (nodeId === "" || (identity !== null && maySpeakFor(identity, nodeId, trust.identity))) return;
        const error = notThatNode(`${who} spoke as node/${nodeId.slice(0, 80)}`);
        refused(`${error.code}: ${error.message}`);
        throw error;
      },
      accuse: refused,
    };
  }
}

function maySpeakFor(identity: Identity, nodeId: string, own: Identity): boolean {
  if (identity.role === "coordinator" || identity.role === "operator" || identity.role === "superadmin") return true;
  // On its own machine a service's certificate may do what its operator may.
  return identity.role === "node" && (identity.id === nodeId || memberKey(identity) === memberKey(own));
}

/** Throws FORBIDDEN when the service whose certificate this is answers as another node. Throws as `recognise`. */
export function checkAnswersAs(trust: Trust, certificate: Uint8Array, nodeId: string): void {
  const identity = trust.recognise(certificate);
  if (nodeId === "" || (identity.role === "node" && identity.id === nodeId)) return;
  throw notThatNode(`${memberKey(identity)} ("${identity.name}") answered as node/${nodeId.slice(0, 80)}`);
}

function notThatNode(message: string): SyncError {
  return new SyncError({
    code: "FORBIDDEN",
    message,
    action: "A node speaks for itself only. Use the identity of an operator to pass on what another node said.",
  });
}
