import { EMPTY_VECTOR, equalVectors, isComparable, isCovered, type ApplyResult, type ChangeBatch } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { sameBytes } from "./bytes.ts";
import { meet } from "./meet.ts";

/**
 * Applies a batch, except when it only says what is known already: an idle pair must not write to disk. Both the
 * puller and the receiver of a push take batches this way. Throws what `Replica.apply` throws.
 */
export async function takeBatch(replica: Replica, batch: ChangeBatch): Promise<ApplyResult> {
  if (batch.members) {
    // Who must not be met tells nothing of nodes either.
    await meet(replica, batch.baseline);
    await replica.learnMembers(batch.members);
  }
  const { vector, restored, floor } = replica.state;
  // The end of a stream is news to a replica that waits for one before it serves others.
  const says = restored || !isCovered(batch.floor ?? EMPTY_VECTOR, floor);
  if (says || !batch.final || batch.count > 0 || !isCovered(batch.to, vector) || !isCovered(batch.vector, vector)) {
    return replica.apply(batch);
  }
  const beyond = await replica.beyondDigest();
  // Read together, after the last wait: vector and digest of one moment.
  const state = replica.state;
  const comparable =
    equalVectors(state.vector, batch.vector) &&
    sameBytes(beyond, batch.beyondDigest) &&
    (batch.schema === "" ? state.held === 0 : isComparable(batch.schema, state.schema));
  const differ = comparable && !sameBytes(state.digest, batch.digest);
  // Too grave to be told from what was last reported: the replica compares inside a transaction.
  if (differ) return replica.apply(batch);
  return {
    received: 0,
    applied: 0,
    conflicts: 0,
    parked: 0,
    vector: state.vector,
    digest: state.digest,
    verified: comparable || null,
  };
}
