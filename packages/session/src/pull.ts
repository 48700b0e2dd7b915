import {
  DEFAULT_BATCH_CHANGES,
  EMPTY_VECTOR,
  SyncError,
  isCovered,
  join,
  type Codec,
  type NodeName,
  type VersionVector,
} from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Acquaintances } from "./acquaintances.ts";
import { CODECS } from "./codecs.ts";
import { compareByKey, doubtsOf } from "./difference.ts";
import { otherFile } from "./other-file.ts";
import type { Peer } from "./peer.ts";
import type { RowPace } from "./rate.ts";
import { lastStood, mustSayAnew, stand } from "./standing.ts";
import { emptyStats, type SessionStats } from "./stats.ts";
import { takeBatch } from "./take.ts";

export interface PullOptions {
  replica: Replica;
  peer: Peer;
  acquaintances: Acquaintances;
  /** The peer's run when last seen: lets an interrupted stream go on where it was cut without asking first. */
  run?: string | undefined;
  /** Changes per batch; 0 = default. */
  batchSize?: number | undefined;
  /** How fast rows may pass this node, all its sessions together. */
  pace?: RowPace | undefined;
  codecs?: readonly Codec[] | undefined;
  /** Stay, and take what comes after having caught up: then this returns only by throwing. */
  follow?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Counts what is taken. */
  stats?: SessionStats | undefined;
  /** After each batch: changes taken so far, and about how many there are in all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Before rows are joined under a choice that their contents speak against. */
  onDoubt?: ((text: string) => void) | undefined;
  /** The peer has changes of this run that it never made, and they were taken: it writes under another origin now. */
  onOriginGivenUp?: (() => void) | undefined;
  /** After each final batch. */
  onCaughtUp?: ((result: PullResult) => void) | undefined;
}

export interface PullResult {
  /** The peer's run. */
  run: string;
  /** Which node it is; null where it does not say. */
  node: NodeName | null;
  /** Where the peer stood when it had sent everything. */
  peerVector: VersionVector;
  peerBeyondDigest: Uint8Array;
  /** What the peer's tables are made of; "" where it does not say. */
  peerSchema: string;
  /** Both stand at the same vector with the same digest (true) or different ones (false); null: not comparable. */
  verified: boolean | null;
}

/**
 * Takes over what the peer has and the replica lacks. Goes on after the last durable batch when a stream of the same
 * run was cut before. Throws what reading or applying throws; what was applied until then stays.
 */
export async function pull(options: PullOptions): Promise<PullResult> {
  let run = options.run ?? "";
  for (;;) {
    const other = await pullFrom(options, run);
    if (typeof other !== "string") return other;
    run = other;
  }
}

/** The run to start over with, when the answering one turns out to have been cut here before; "" to ask it anew. */
async function pullFrom(options: PullOptions, run: string): Promise<PullResult | string> {
  const { replica, peer, acquaintances, onProgress, onCaughtUp, follow = false, pace, batchSize = 0, stats = emptyStats() } = options;
  // It drains: our own latest writes must be in what the answer is compared with.
  const standing = stand(replica, run);
  // Where nothing was reported since, the peer reads while that is looked up: what was here then is here now.
  const said = (!follow && run === "" ? lastStood(replica) : null) ?? (await standing);
  const { vector: since, position, beyondDigest } = said;
  let { parked: parkedBefore } = replica.state;
  // Leaving the loop must end the stream even while it waits for the peer.
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  standing.catch((error: unknown) => stop.abort(error));
  const own = replica.run;
  // What comes goes on from what the file before had: a peer that has nothing new would never let us know.
  const unwatch = replica.onChange(() => {
    if (replica.run !== own) stop.abort(otherFile(replica.name));
  });
  const stream = peer.getChanges(
    {
      database: replica.name,
      since,
      position,
      run,
      callerRun: replica.run,
      caller: replica.node,
      terms: replica.terms,
      beyondDigest,
      digest: said.digest,
      codecs: options.codecs ?? CODECS,
      batchSize: pace?.batchSize(batchSize, DEFAULT_BATCH_CHANGES) ?? batchSize,
      follow,
      baseline: replica.state.baseline,
      floor: replica.state.floor,
      members: said.members,
    },
    signal,
  );
  const result: PullResult = {
    run,
    node: null,
    peerVector: EMPTY_VECTOR,
    peerBeyondDigest: beyondDigest,
    peerSchema: "",
    verified: null,
  };
  let caughtUp = false;
  let first = true;
  let done = 0;
  try {
    for await (const batch of stream) {
      const stands = first ? await standing : undefined;
      if (stands) {
        if (mustSayAnew(said, stands, { self: replica.node, peer: batch.node })) return "";
        ({ parked: parkedBefore } = replica.state);
      }
      if (first && batch.run !== run && batch.count > 0) {
        const stopped = await replica.position(batch.run);
        if (!isCovered(stopped, join(since, position))) return batch.run;
      }
      if (first) await doubt(options, batch.baseline);
      result.run = batch.run;
      result.node = batch.node ?? result.node;
      if (batch.final) acquaintances.learn(batch.run, batch.vector, batch.node);
      await pace?.pass(batch, signal);
      signal.throwIfAborted();
      const bytes = batch.payload.length;
      const outcome = await takeBatch(replica, batch, stands);
      first = false;
      if (outcome.originGivenUp) options.onOriginGivenUp?.();
      stats.remoteChangesReceived += batch.count;
      stats.bytesReceived += bytes;
      stats.remoteChangesApplied += outcome.applied;
      stats.conflicts += outcome.conflicts;
      done += batch.count;
      onProgress?.(done, done + batch.remaining);
      caughtUp = batch.final;
      if (!batch.final) continue;
      result.peerVector = batch.vector;
      result.peerBeyondDigest = batch.beyondDigest;
      result.peerSchema = batch.schema;
      result.verified = outcome.verified;
      onCaughtUp?.(result);
    }
  } finally {
    // Not summed from batches: a row that waits in the middle of a stream finds its place at the end.
    stats.parked += Math.max(0, replica.state.parked - parkedBefore);
    unwatch();
    stop.abort(new Error("the stream was left"));
  }
  await acquaintances.receipts.settle();
  if (caughtUp && !follow) return result;
  throw new SyncError({
    code: "PEER_FAILED",
    message: `${peer.address} ended the stream of "${replica.name}" before its end`,
    action: "Sync again; it goes on where it stopped.",
  });
}

/** Asks as a pull does, and takes nothing of the answer: the question says what is here. */
export async function ask({
  replica,
  peer,
  run,
  signal,
}: Pick<PullOptions, "replica" | "peer" | "signal"> & { run: string }): Promise<void> {
  const { vector: since, digest, beyondDigest, position, members } = await replica.standing(run);
  const { baseline, floor } = replica.state;
  const { name: database, run: callerRun, node: caller, terms } = replica;
  const stop = new AbortController();
  const asked = { database, since, position, run, callerRun, caller, terms, beyondDigest, digest, codecs: CODECS, batchSize: 1 };
  const ended = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const answers = peer.getChanges({ ...asked, follow: false, baseline, floor, members }, ended)[Symbol.asyncIterator]();
  try {
    await answers.next();
    await answers.return?.();
  } finally {
    stop.abort(new Error("the stream was left"));
  }
}

/** Says when a choice is about to be carried out that is probably wrong: it cannot be taken back. */
async function doubt({ replica, peer, signal, onDoubt }: PullOptions, baseline: string): Promise<void> {
  // Where both say the same nothing is left to choose.
  if (baseline === replica.state.baseline) return;
  const choice = onDoubt && (await replica.choiceFor(baseline));
  if (!choice) return;
  const text = doubtsOf(choice, await compareByKey({ replica, peer, signal }));
  if (text !== null) onDoubt(`"${replica.name}" here and at ${peer.address}: ${text}`);
}
