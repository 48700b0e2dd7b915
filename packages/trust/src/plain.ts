import { isIP } from "node:net";
import { SyncError } from "@scoutsync/core";
import { createClient, type Dial } from "@scoutsync/protocol";
import { parseAddress, type Logger } from "@scoutsync/runtime";

/** True for an address that only this machine can reach. */
export function isLoopback(address: string): boolean {
  const host = parseAddress(address)?.host ?? "";
  if (host === "localhost" || host === "::1" || host === "") return true;
  return isIP(host) === 4 && host.startsWith("127.");
}

/**
 * What speaks plain text has to stay on this machine, unless somebody insists. Throws INVALID_ARGUMENT; where somebody
 * insists, says loudly what that means.
 */
export function checkPlain(
  { listen, dialled, insecure }: { listen: readonly string[]; dialled: readonly string[]; insecure: boolean },
  logger: Logger,
): void {
  const open = listen.find((address) => !isLoopback(address));
  const outside = dialled.find((address) => !isLoopback(address));
  const first = open ?? outside;
  if (first === undefined) return;
  if (!insecure) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${open === undefined ? "to" : "on"} ${first} everything would travel readable for anyone, and anyone could change it`,
      action:
        "Make a fleet with `scoutsync init` and join it with a code from `scoutsync invite`, or say --insecure if this network is protected otherwise.",
    });
  }
  logger.warn(
    { insecure: true, address: first },
    `INSECURE: no encryption and no login. Whoever reaches ${first} can read and change every row. Make a fleet with \`scoutsync init\`.`,
  );
}

/** Dials in plain text, and only to this machine unless somebody insists. Throws INVALID_ARGUMENT. */
export function plainDial(insecure: boolean): Dial {
  return (address, clientClass) => {
    if (insecure || isLoopback(address)) return createClient(address, clientClass);
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${address} is another machine, and nothing here encrypts the way to it`,
      action: "Join a fleet with a code from `scoutsync invite`, or say --insecure if this network is protected otherwise.",
    });
  };
}
