import type { Logger } from "@scoutsync/runtime";

/** How long things take, milliseconds. Tests shorten them; the product runs with `DEFAULT_TIMING`. */
export interface Timing {
  /** A lease ends this long after it was taken or last renewed. */
  leaseMs: number;
  /** Pause between two comparisons of the queue with the registry. */
  reconcileMs: number;
  /** How often a node without news says that it is there. */
  heartbeatMs: number;
  /** A Ping that takes longer counts as no answer, so that a frozen node is noticed soon. */
  pingDeadlineMs: number;
  /** A node that falls behind by a write elsewhere is caught up after this pause, so that a burst is one session. */
  settleMs: number;
  /** Pauses between the attempts of one catch-up: first and longest. */
  retryFirstMs: number;
  retryCapMs: number;
  /** First pause of a catch-up that finds its node or every source busy. */
  busyMs: number;
  /** Someone who waits for a catch-up is told that it failed when nothing happened for this long. */
  idleMs: number;
  /** On shutdown running sessions may go on this long before they are put back. */
  graceMs: number;
  /** A job whose worker is silent this long is given to another one within half as long again: sooner than its lease ends. */
  jobLockMs: number;
  /** Pause between two looks for something to alert people of. */
  alertMs: number;
}

export const DEFAULT_TIMING: Timing = {
  leaseMs: 30_000,
  reconcileMs: 30_000,
  heartbeatMs: 5_000,
  pingDeadlineMs: 5_000,
  settleMs: 300,
  retryFirstMs: 1_000,
  retryCapMs: 60_000,
  busyMs: 250,
  idleMs: 60_000,
  graceMs: 3_000,
  jobLockMs: 15_000,
  alertMs: 5_000,
};

export interface CoordinatorConfig {
  /** `host:port` for gRPC; port 0 picks a free one. */
  listen: string;
  /** `host:port` for HTTP, or null for none. */
  http: string | null;
  /** Redis URL: redis:// or rediss://, with user and password where needed. */
  redis: string;
  /** Where `coordinator.db` lives; created when missing. */
  dataDirectory: string;
  /** Speak plain text also beyond this machine, where the data directory belongs to no fleet. */
  insecure?: boolean | undefined;
  /** Say on the local network where this coordinator is: the address of the network interface, or "" for all; left out = do not. */
  discover?: string | undefined;
  logger: Logger;
  timing?: Partial<Timing>;
  /** Settings of the fleet by key, as text: what they are unless `sync_config` says otherwise. */
  presets?: Readonly<Record<string, string>>;
}

export interface WorkerConfig {
  /** `host:port` of the coordinator's gRPC. */
  coordinator: string;
  redis: string;
  /** Holds the worker's identity in a fleet; without one it speaks plain text. */
  dataDirectory?: string | undefined;
  insecure?: boolean | undefined;
  logger: Logger;
  timing?: Partial<Timing>;
}
