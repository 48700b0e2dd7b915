import { EMPTY_VECTOR, equalVectors, isComparable, isCovered, type ApplyResult, type ChangeBatch } from "@scoutsync/core";
import type { Replica, Standing } from "@scoutsync/replica";
import { sameBytes } from "./bytes.ts";
import { areNews } from "./members.ts";
import { meet } from "./meet.ts";

/**
 * Applies a batch, except when it only says what is known already: an idle pair must not write to disk. Both the
 * puller and the receiver of a push take batches this way. `said` is what the question said to which this is the first
 * answer: where it says the same, the replica's thread is not asked again. Throws what `Replica.apply` throws.
 */
export async function takeBatch(replica: Replica, batch: ChangeBatch, said?: Standing): Promise<ApplyResult> {
  if (batch.members) {
    // Who must not be met tells nothing of nodes either.
    await meet(replica, batch.baseline);
    if (!said || areNews(batch.members, replica.node, said.members)) await replica.learnMembers(batch.members);
  }
  const { vector, restored } = replica.state;
  // The end of a stream is news to a replica that waits for one before it serves others. What was forgotten elsewhere is none to
  // one that has it, whose own floor stays as it is.
  const says = restored || !isCovered(batch.floor ?? EMPTY_VECTOR, vector);
  if (says || !batch.final || batch.count > 0 || !isCovered(batch.to, vector) || !isCovered(batch.vector, vector)) {
    return replica.apply(batch);
  }
  // Vector and digest of one moment, and of one not before the question: as good as those of now.
  if (said && isEqual(said, batch)) return nothingTaken(replica, true);
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
  return nothingTaken(replica, comparable || null);
}

/** The peer stood exactly where this replica stood when it asked. */
function isEqual({ vector, digest, schema, beyondDigest }: Standing, batch: ChangeBatch): boolean {
  return (
    equalVectors(vector, batch.vector) &&
    sameBytes(beyondDigest, batch.beyondDigest) &&
    batch.schema !== "" &&
    isComparable(batch.schema, schema) &&
    sameBytes(digest, batch.digest)
  );
}

function nothingTaken({ state }: Replica, verified: true | null): ApplyResult {
  return { received: 0, applied: 0, conflicts: 0, parked: 0, vector: state.vector, digest: state.digest, verified };
}
