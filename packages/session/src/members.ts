import type { ChangeBatch } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";

/** In live mode a stream tells of the nodes that take part at this distance, milliseconds. */
const TELL_AFTER_MS = 60_000;

/**
 * For one stream: returns what adds the nodes that are known here to a final batch, to the first one and then now and
 * then. Whoever is told keeps deleted rows for them, too.
 */
export function tellingMembers(
  replica: Replica,
  now: () => number = () => performance.now(),
): (batch: ChangeBatch) => Promise<ChangeBatch> {
  let told: number | null = null;
  return async (batch) => {
    if (!batch.final || (told !== null && now() - told < TELL_AFTER_MS)) return batch;
    told = now();
    return { ...batch, members: await replica.members() };
  };
}
