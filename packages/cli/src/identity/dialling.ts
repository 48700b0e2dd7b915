import { resolve } from "node:path";
import { SyncError } from "@scoutsync/core";
import type { Dial } from "@scoutsync/protocol";
import type { Invocation } from "../command.ts";
import { ownIdentities } from "./own-identities.ts";

/**
 * How to reach the service at an address: as the identity that was named, else as this person's identity in the fleet
 * that the service shows to be of, else in plain text. Throws INVALID_ARGUMENT for plain text to another machine that nobody
 * insisted on, and for a folder without an identity.
 */
export async function dialOf(address: string, invocation: Invocation): Promise<Dial> {
  const { identity, insecure, surroundings } = invocation;
  const { dialAs, plainDial, shownAuthorities, Trust } = await import("@scoutsync/trust");
  if (identity !== null) {
    const folder = resolve(surroundings.cwd, identity);
    const trust = Trust.open(folder);
    if (trust) return dialAs(trust);
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${folder} holds no identity of a fleet`,
      action: "Name a folder that `scoutsync join --data DIR` or `init` made.",
    });
  }
  const shown = await shownAuthorities(address);
  // What is plain, or not there at all.
  if (shown === null) return plainDial(insecure);
  const fitting = ownIdentities(surroundings.env).find(({ trust }) => shown.includes(trust.ca.fingerprint256));
  if (fitting) return dialAs(fitting.trust);
  throw new SyncError({
    code: "UNAUTHENTICATED",
    message: `${address} belongs to a fleet, and this user has no identity in it`,
    action: "Get one with `scoutsync join CODE`, or name the folder of one with --identity.",
  });
}
