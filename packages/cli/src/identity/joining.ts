import { hostname } from "node:os";

/** A coordinator or worker becomes a member by a join code; no harm when it is one already. Throws as `joinFleet`. */
export async function joinAs(dataDirectory: string, code: string, name: string | undefined): Promise<void> {
  const { joinFleet } = await import("@scoutsync/trust");
  const { nodeIdentity } = await import("@scoutsync/sync-node");
  await joinFleet(dataDirectory, code, { nodeId: nodeIdentity(dataDirectory), name: name ?? hostname() });
}
