import type { Server } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { FleetService } from "@scoutsync/protocol";
import { FLEET_ACCESS, fleetCalls, FOREIGN_CALLS, Guard, keepRenewed, Speakers, type AuditLog, type Trust } from "@scoutsync/trust";
import { NODE_ACCESS } from "./access.ts";
import type { SyncNodeConfig } from "./config.ts";
import type { NodeContext } from "./context.ts";

/** What a node does because it belongs to a fleet. */
export interface Membership {
  readonly guard: Guard;
  readonly speakers: Speakers;
  /** Adds the Fleet service and looks at every connection. */
  serve(server: Server): void;
  /** Keeps the certificate valid until the node stops. */
  keepRenewed(addresses: readonly string[]): Promise<void>;
}

/** Throws INVALID_ARGUMENT for a data directory that holds the identity of another service. */
export function belong(
  trust: Trust,
  context: NodeContext,
  { audit, dataDirectory }: { audit: AuditLog; dataDirectory: string },
): Membership {
  const { role, id } = trust.identity;
  if (role !== "node" || id !== context.nodeId) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${dataDirectory} holds the identity of ${role} ${id}, and this is node ${context.nodeId}`,
      action: "Give each service a data directory of its own with --data.",
    });
  }
  const served = new Set(context.scopes.map(({ name }) => name));
  const guard = new Guard({
    trust,
    audit,
    access: new Map([...NODE_ACCESS, ...FLEET_ACCESS, ...FOREIGN_CALLS]),
    servesScope: (scope) => served.has(scope),
  });
  const { logger, stopping } = context;
  return {
    guard,
    speakers: new Speakers({ guard, trust, audit }),
    serve: (server) => {
      server.addService(FleetService, fleetCalls({ trust, guard, audit, logger, stopping }));
      guard.attach(server);
    },
    keepRenewed: (addresses) => {
      const known = trust.contact === null ? addresses : [trust.contact.address, ...addresses];
      return keepRenewed({ trust, dial: context.dial, addresses: known, logger, signal: stopping });
    },
  };
}

/**
 * What a node that is limited to a scope cannot do is said before it starts. Throws INVALID_ARGUMENT: the server of its scope
 * would refuse it for ever, and what it keeps would go nowhere.
 */
export function checkLimits(trust: Trust, config: Pick<SyncNodeConfig, "scopes">): void {
  const { scope } = trust.identity;
  if (scope === null) return;
  const without = (what: string, action: string) =>
    new SyncError({ code: "INVALID_ARGUMENT", message: `this node is limited to scope "${scope}", and ${what}`, action });
  if (config.scopes !== undefined) throw without("serves no other one", "Leave --scopes out.");
}

/** Whom a node talks to: those it was told of; where it was told of nobody, the one it joined at. */
export function contacts(
  { peers, coordinator }: Pick<SyncNodeConfig, "peers" | "coordinator">,
  trust: Trust | null,
  listen: string,
): { peers: readonly string[]; coordinator: string | null } {
  const contact = trust?.contact ?? null;
  if (contact === null || contact.address === listen || peers.length > 0 || coordinator !== null) return { peers, coordinator };
  return contact.role === "coordinator" ? { peers, coordinator: contact.address } : { peers: [contact.address], coordinator };
}
