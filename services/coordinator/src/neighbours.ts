import { Neighbourhood, type Neighbour } from "@scoutsync/discovery";
import { parseAddress, type Logger } from "@scoutsync/runtime";
import type { Trust } from "@scoutsync/trust";
import type { Core } from "./core.ts";

/** A node that says on this network that it is there. */
export interface FoundNode extends Neighbour {
  /** It is in the fleet's list. */
  known: boolean;
  /** What a person can do about it; empty where nothing is to be done. */
  advice: string;
}

/**
 * Says to the local network where the coordinator is, so that nodes of its fleet find it; a node registers itself, with
 * its certificate, and nothing that is only heard is ever registered.
 */
export function sayWhere(options: {
  trust: Trust | null;
  listen: string;
  interface: string | null;
  logger: Logger;
  /** A node was heard that was not before, or at another address. */
  onNode: (neighbour: Neighbour) => void;
}): Neighbourhood {
  const { trust, listen, logger } = options;
  const id = trust?.identity.id ?? "coordinator";
  return new Neighbourhood({
    presence: {
      role: "coordinator",
      id,
      name: trust?.identity.name ?? "coordinator",
      port: parseAddress(listen)?.port ?? 0,
      fleet: trust?.identity.fleet ?? "",
    },
    interface: options.interface,
    logger,
    onFound: (neighbour) => {
      const { role, name, address } = neighbour;
      logger.debug({ role, name, address }, "heard on this network");
      if (role === "node") options.onNode(neighbour);
    },
  });
}

/** Nodes heard on the network, each that is not in the list with what would make it part of the fleet. */
export function foundNodes({ neighbours, membership, registry }: Core): FoundNode[] {
  const fleet = membership?.trust.identity.fleet ?? "";
  return neighbours()
    .filter((one) => one.role === "node")
    .map((one) => {
      const known = registry.servers.byNodeId(one.id) !== null;
      return { ...one, known, advice: known ? "" : adviceFor(one, fleet) };
    });
}

function adviceFor({ fleet, name, address }: Neighbour, own: string): string {
  const add = `Add it if it is yours: scoutsync nodes add ${name || "NAME"} ${address}`;
  if (own === "") return fleet === "" ? add : "It belongs to a fleet with certificates, and this coordinator to none.";
  if (fleet === own) return `It says to be of this fleet and registers by itself with its certificate. ${add}`;
  if (fleet === "") return "It has no certificate of this fleet. If it is yours, start it with --join and a code from `scoutsync invite`.";
  return "It belongs to another fleet.";
}
