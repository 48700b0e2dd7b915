import type { Diagnosis, ReplicaPool } from "./replica.ts";

export type * from "./replica.ts";

/** Opens a pool of `threads` worker threads. */
export function openReplicaPool(_options: { threads: number }): ReplicaPool {
  throw new Error("landing next");
}

/** Says what sync would do to this database, changing nothing. */
export function diagnose(_path: string, _exclude: string[]): Diagnosis {
  throw new Error("landing next");
}

/** Removes every trace of sync from the database, journal mode included. Throws DATABASE_IN_USE while a node runs on it. */
export function detach(_path: string): { removed: string[]; journalMode: string } {
  throw new Error("landing next");
}
