import type { Replica } from "@scoutsync/replica";

/** As `Replica.meet`, without asking its thread where both sides say the same: then there is nothing to note. */
export async function meet(replica: Replica, baseline: string): Promise<void> {
  if (baseline !== "" && baseline !== replica.state.baseline) await replica.meet(baseline);
}
