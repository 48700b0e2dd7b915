import { OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, SyncError } from "@scoutsync/core";

/**
 * Throws PROTOCOL_VERSION unless a side that speaks `theirs` works together with this program: the version before and
 * the one after do. 0 is a person with a diagnostic client, who says none.
 */
export function checkProtocol(theirs: number, them: string, us = "this node"): void {
  if (theirs === 0) return;
  if (theirs >= OLDEST_PROTOCOL_VERSION && theirs <= PROTOCOL_VERSION + 1) return;
  throw new SyncError({
    code: "PROTOCOL_VERSION",
    message: `${them} speaks protocol version ${theirs} and ${us} version ${PROTOCOL_VERSION}, which is too far apart`,
    action: `Upgrade ${theirs > PROTOCOL_VERSION ? us : them}; versions next to each other work together.`,
  });
}
