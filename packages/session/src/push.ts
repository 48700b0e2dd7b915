import { type ChangeBatch, DEFAULT_BATCH_CHANGES, EMPTY_VECTOR, SyncError, join, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Acquaintances } from "./acquaintances.ts";
import { PushWindow } from "./push-window.ts";
import { meet } from "./meet.ts";
import { readTelling } from "./members.ts";
import { checkFloor } from "./rejoin.ts";
import type { Peer } from "./peer.ts";
import type { RowPace } from "./rate.ts";
import { emptyStats, type SessionStats } from "./stats.ts";

export interface PushOptions {
  replica: Replica;
  peer: Peer;
  acquaintances: Acquaintances;
  /** Name of this node, for the peer's log. */
  nodeName: string;
  /** The peer's run, if known. */
  run?: string | undefined;
  /** Changes per batch; 0 = default. */
  batchSize?: number | undefined;
  /** As in PullOptions. */
  pace?: RowPace | undefined;
  signal?: AbortSignal | undefined;
  /** Counts what is acknowledged. */
  stats?: SessionStats | undefined;
  /** After each acknowledged batch: changes sent so far, and about how many there are in all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface PushResult {
  /** Where the peer stands now. */
  peerVector: VersionVector;
  /** The peer said that it holds exactly what is here. Null: it did not. */
  verified: true | null;
}

/**
 * Sends what the replica has and the peer lacks, beginning where the peer says it stands. Throws what the peer refuses
 * a batch with; what was acknowledged until then is durable there.
 */
export async function push(options: PushOptions): Promise<PushResult> {
  const { replica, peer, acquaintances, onProgress, pace, batchSize: asked = 0, stats = emptyStats() } = options;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const stream = await peer.openPush(
    { database: replica.name, name: options.nodeName, run: replica.run, baseline: replica.state.baseline },
    signal,
  );
  const window = new PushWindow(stream);
  const result: PushResult = { peerVector: EMPTY_VECTOR, verified: null };
  let caughtUp = false;
  let done = 0;
  window.onAck = (batch, ack) => {
    stats.localChangesSent += batch.count;
    stats.bytesSent += batch.bytes;
    done += batch.count;
    onProgress?.(done, done + batch.remaining);
    if (!ack.final) return;
    caughtUp = true;
    acquaintances.learn(options.run ?? "", ack.vector, stream.ready.node, "answer");
    result.peerVector = ack.vector;
    result.verified = ack.verified || null;
  };
  try {
    const { vector, position, codecs, beyondDigest, baseline, floor } = stream.ready;
    await meet(replica, baseline);
    let beyondAfter: ChangeBatch["beyondTo"];
    checkFloor(floor, { side: "caller", name: `node "${options.nodeName}"`, vector: replica.state.vector });
    checkFloor(replica.state.floor, { side: "peer", name: peer.address, vector });
    const read = readTelling(replica);
    for (let from = join(vector, position), final = false; !final;) {
      const batchSize = pace?.batchSize(asked, DEFAULT_BATCH_CHANGES) ?? asked;
      const batch = await read({ from, batchSize, codecs, beyondDigest, beyondAfter, whole: true, floor });
      beyondAfter = batch.beyondTo;
      await pace?.pass(batch, signal);
      signal.throwIfAborted();
      await window.send(batch);
      from = join(from, batch.to);
      final = batch.final;
    }
    stream.end();
    await window.drained();
  } finally {
    stop.abort(new Error("the stream was left"));
  }
  await acquaintances.receipts.settle();
  if (caughtUp) return result;
  throw new SyncError({
    code: "PEER_FAILED",
    message: `${peer.address} did not acknowledge the end of a push of "${replica.name}"`,
    action: "Sync again; it goes on where it stopped.",
  });
}
