import { Neighbourhood, type Neighbour } from "@scoutsync/discovery";
import type { Trust } from "@scoutsync/trust";
import { parseAddress } from "@scoutsync/runtime";
import type { NodeContext } from "./context.ts";

/** Peers that are kept in step with because they were found; a larger fleet has a coordinator. */
const MOST_PEERS = 16;

export interface NeighboursOptions {
  context: NodeContext;
  trust: Trust | null;
  /** Where this node serves. */
  listen: string;
  /** The address of the network interface to use; null = all. */
  interface: string | null;
  /** This node knows a coordinator already, or peers that it was told of. */
  told: { coordinator: boolean; peers: readonly string[] };
  onCoordinator: (address: string) => void;
  onPeer: (address: string) => void;
}

/**
 * Says to the local network that this node is there. Of whom it finds it uses only those of its own fleet, whose
 * certificates are looked at when they are dialled; of the others people are told. Resolves when the signal has aborted.
 */
export async function meetNeighbours(options: NeighboursOptions, signal: AbortSignal): Promise<void> {
  const { context, trust, listen, told } = options;
  const fleet = trust?.identity.fleet ?? "";
  let coordinators = told.coordinator;
  const peers = new Set(told.peers);
  const neighbourhood = new Neighbourhood({
    presence: { role: "node", id: context.nodeId, name: context.name, port: parseAddress(listen)?.port ?? 0, fleet },
    interface: options.interface,
    logger: context.logger,
    onFound: (neighbour) => {
      const reason = strange(neighbour, trust);
      if (reason !== null) {
        context.logger.info({ ...neighbour }, `found on this network and not used: ${reason}`);
      } else if (neighbour.role === "coordinator") {
        context.logger.info({ address: neighbour.address, name: neighbour.name }, "found the coordinator on this network");
        coordinators = true;
        options.onCoordinator(neighbour.address);
        // With a coordinator it says who meets whom.
      } else if (!coordinators && !peers.has(neighbour.address) && peers.size < MOST_PEERS) {
        context.logger.info({ address: neighbour.address, name: neighbour.name }, "found a node on this network");
        peers.add(neighbour.address);
        options.onPeer(neighbour.address);
      }
    },
  });
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await neighbourhood.stop();
}

/** Why a neighbour is left alone; null when it says to be of this node's fleet. */
function strange(neighbour: Neighbour, trust: Trust | null): string | null {
  if (trust === null) {
    return "this node belongs to no fleet, so nothing tells friends from others; make one with `scoutsync init`, or name it with --peer or --coordinator";
  }
  if (neighbour.fleet !== trust.identity.fleet) return "it says that it belongs to no fleet, or to another one";
  if (trust.identity.scope !== null && neighbour.role === "node") return "this node is limited to a scope, and syncs with its server only";
  return null;
}
