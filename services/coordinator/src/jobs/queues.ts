import { z } from "zod";

/** The hash tag keeps all keys of the queues in one slot, which Redis Cluster asks for. */
export const PREFIX = "{scoutsync}";

/** What is done again and again, each by a schedule of its own; worked on by the coordinator alone. */
export const ROUND_QUEUE = "scan";
export const ROUND_NAMES = ["scan", "canary", "verify", "cleanup"] as const;
export type RoundName = (typeof ROUND_NAMES)[number];

/** The id of a round's schedule. */
export function schedulerOf(name: RoundName): string {
  return `${name}-tick`;
}

/** Bringing one node up to date; worked on by every worker. */
export const CATCH_UP_QUEUE = "catch-up";

/**
 * A job names the node and nothing else: a trigger that arrives while the job waits is dropped together with its
 * payload, so what to do is read when the job starts.
 */
export const CatchUpPayload = z.strictObject({ serverId: z.int().positive() });
export type CatchUpPayload = z.infer<typeof CatchUpPayload>;

/** The node that a job names, null for one that is none of ours: whoever reaches Redis can put anything there. */
export function serverIn(data: unknown): number | null {
  const payload = CatchUpPayload.safeParse(data);
  return payload.success ? payload.data.serverId : null;
}

export const RoundPayload = z.object({});
export type RoundPayload = z.infer<typeof RoundPayload>;

/** What a finished job leaves behind for those who list jobs. */
export interface CatchUpOutcome {
  outcome: "synced" | "nothing-missing" | "disabled" | "unreachable" | "lost";
}

/** One waiting or running catch-up per node. */
export function catchUpKey(serverId: number): string {
  return `server-${serverId}`;
}

/** Name under which workers compute the pause before the next attempt. */
export const BACKOFF_TYPE = "capped";

/** Finished jobs are kept for looking at, not for working with: the registry has the history. */
export const KEEP_COMPLETED = { age: 3_600, count: 1_000 };
export const KEEP_FAILED = { age: 7 * 86_400, count: 5_000 };
