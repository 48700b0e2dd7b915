import { EMPTY_VECTOR, isCovered, SyncError, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Acquaintances } from "./acquaintances.ts";
import { CODECS } from "./codecs.ts";
import type { Peer } from "./peer.ts";

/** The peer may forget more while everything is compared; then it begins again. */
const MOST_ATTEMPTS = 3;

/** Rows that were deleted elsewhere and went, and rows that live on as new ones. */
export interface Rejoined {
  gone: number;
  reborn: number;
}

export interface RejoinOptions {
  replica: Replica;
  peer: Peer;
  acquaintances: Acquaintances;
  batchSize?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Throws where vectors say nothing, because one side has forgotten deleted rows that the other may still hold: that one
 * has to join again. REJOIN_NEEDED where it is the caller's side, PEER_BEHIND where it is the side that is called. An
 * empty vector is that of a new replica.
 */
export function checkFloor(floor: VersionVector, behind: { side: "caller" | "peer"; name: string; vector: VersionVector }): void {
  if (behind.vector.size === 0 || isCovered(floor, behind.vector)) return;
  throw new SyncError({
    code: behind.side === "caller" ? "REJOIN_NEEDED" : "PEER_BEHIND",
    message: `${behind.name} was away for so long that rows deleted meanwhile have been forgotten`,
    action:
      "The next session that it runs itself joins it again, `scoutsync sync NODE PEER` with it as NODE for example: everything it holds is compared, and what is new there is kept.",
  });
}

/** True when it is the replica here that has to join again. */
export function isBehind(error: unknown): boolean {
  return error instanceof SyncError && error.code === "REJOIN_NEEDED";
}

/**
 * Joins the replica again after it was away for too long: the peer sends everything it holds. Rows that were deleted and
 * forgotten meanwhile go, new ones stay, and those edited here live on as new rows. Returns how many of each.
 */
export async function rejoin(options: RejoinOptions): Promise<Rejoined> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await compareEverything(options);
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "REJOIN_NEEDED" || attempt === MOST_ATTEMPTS) throw error;
    }
  }
}

async function compareEverything(options: RejoinOptions): Promise<Rejoined> {
  const { replica, peer, acquaintances, batchSize = 0 } = options;
  await replica.beginRejoin();
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const everything = { since: EMPTY_VECTOR, position: EMPTY_VECTOR, run: "", beyondDigest: new Uint8Array(), digest: new Uint8Array() };
  // Not in the name of its run or node: what is asked for is not what this replica lacks.
  const nobody = { callerRun: "", caller: { id: "", name: "" }, floor: EMPTY_VECTOR, members: [] };
  const { baseline } = replica.state;
  const request = {
    database: replica.name,
    terms: replica.terms,
    codecs: CODECS,
    follow: false,
    batchSize,
    baseline,
    ...everything,
    ...nobody,
  };
  try {
    for await (const batch of peer.getChanges(request, signal)) {
      if (batch.members) await replica.learnMembers(batch.members);
      const { rejoined } = await replica.apply({ ...batch, rejoin: true });
      if (!batch.final) continue;
      acquaintances.learn(batch.run, batch.vector, batch.node);
      return rejoined ?? { gone: 0, reborn: 0 };
    }
  } finally {
    stop.abort(new Error("the stream was left"));
  }
  throw new SyncError({
    code: "PEER_FAILED",
    message: `${peer.address} ended the stream of "${replica.name}" before its end`,
    action: "Sync again; it begins anew.",
  });
}
