import type { NodeName } from "@scoutsync/core";
import type { Replica, ReplicaState, Standing } from "@scoutsync/replica";
import { sameBytes } from "./bytes.ts";
import { areNews } from "./members.ts";

const last = new WeakMap<Replica, { state: ReplicaState; standing: Standing }>();

/** As `Replica.standing`, and remembers it. */
export async function stand(replica: Replica, run: string): Promise<Standing> {
  const standing = await replica.standing(run);
  // What moved on the way to it was reported before it.
  if (run === "") last.set(replica, { state: replica.state, standing });
  return standing;
}

/**
 * What `stand` found last, where the replica has reported nothing since. Its application may have written meanwhile: good
 * for asking a peer, which lacks that anyway, and never for a verdict.
 */
export function lastStood(replica: Replica): Standing | null {
  const known = last.get(replica);
  return known && known.state === replica.state ? known.standing : null;
}

/** Whether a peer that was told how the replica stood has to hear how it stands: of nodes, or of what is held beyond the vector. */
export function mustSayAnew(
  stood: Standing,
  stands: Standing,
  { self, peer }: { self: NodeName; peer: NodeName | null | undefined },
): boolean {
  if (stood === stands) return false;
  // Each of the two knows best about itself.
  const others = stands.members.filter(({ node }) => node.id !== self.id);
  return !sameBytes(stood.beyondDigest, stands.beyondDigest) || areNews(others, peer ?? self, stood.members);
}
