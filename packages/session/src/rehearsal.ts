import { SyncError, toPlainError, type ErrorCode, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { Acquaintances } from "./acquaintances.ts";
import { compareByKey, type TableDifference } from "./difference.ts";
import type { Peer } from "./peer.ts";
import { pull } from "./pull.ts";
import { emptyStats } from "./stats.ts";

/** What a session would do to one database. Counts are of changes and rows. */
export interface Rehearsal {
  database: string;
  send: number;
  receive: number;
  apply: number;
  conflict: number;
  park: number;
  /** Rows that would get another integer. */
  rekey: number;
  /** The rows of both sides as they are now, by key; tables without rows are left out. */
  tables: TableDifference[];
  /** Why the session would stop. */
  error: { code: ErrorCode; message: string } | null;
}

export interface RehearsalOptions {
  replica: Replica;
  peer: Peer;
  /** Opens a copy of the replica's database that nobody else knows of; gone when `work` is done. */
  withCopy: <T>(work: (copy: Replica) => Promise<T>) => Promise<T>;
  signal?: AbortSignal | undefined;
}

/**
 * Fetches what a session would fetch into a copy of the database, and counts. Nothing changes on either side: the peer
 * only reads. Never throws for what would stop the session: that is part of the answer.
 */
export async function rehearse(options: RehearsalOptions): Promise<Rehearsal> {
  const { replica, peer, signal } = options;
  const tables = await compareByKey({ replica, peer, signal });
  const result: Rehearsal = { database: replica.name, send: 0, receive: 0, apply: 0, conflict: 0, park: 0, rekey: 0, tables, error: null };
  try {
    await options.withCopy((copy) => fetchInto(copy, options, result));
  } catch (error) {
    if (signal?.aborted || !(error instanceof SyncError)) throw error;
    const { code, message } = toPlainError(error);
    result.error = { code, message };
  }
  return result;
}

async function fetchInto(copy: Replica, { replica, peer, signal }: RehearsalOptions, result: Rehearsal): Promise<void> {
  const before = copy.state.vector;
  const stats = emptyStats();
  // What is said of rows from before syncing would be noted by the peer: it is told nothing.
  const reading: Peer = {
    address: peer.address,
    getChanges: (request, stop) => peer.getChanges({ ...request, baseline: "" }, stop),
    openPush: (opening, stop) => peer.openPush(opening, stop),
    count: (database, since, stop) => peer.count(database, since, stop),
    digest: (request, stop) => peer.digest(request, stop),
    rows: (request, stop) => peer.rows(request, stop),
    keptOut: (database, limit, stop) => peer.keptOut(database, limit, stop),
    wholeRows: (request, stop) => peer.wholeRows(request, stop),
  };
  const { peerVector } = await pull({ replica: copy, peer: reading, acquaintances: new Acquaintances(), signal, stats });
  result.receive = stats.remoteChangesReceived;
  result.apply = stats.remoteChangesApplied;
  result.conflict = stats.conflicts;
  result.park = stats.parked;
  result.rekey = own(copy.state.vector, before, peerVector);
  result.send = (await replica.count(peerVector)).changes;
}

/** What the copy itself has stated: nothing but decisions about integers. */
function own(after: VersionVector, before: VersionVector, peer: VersionVector): number {
  let stated = 0;
  for (const [origin, sequence] of after) if (!before.has(origin) && !peer.has(origin)) stated += sequence;
  return stated;
}
