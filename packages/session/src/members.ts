import { isNewWord, type ChangeBatch, type MemberWord, type NodeName } from "@scoutsync/core";
import type { ReadRequest, Replica } from "@scoutsync/replica";

/** In live mode a stream tells of the nodes that take part at this distance, milliseconds. */
const TELL_AFTER_MS = 60_000;

/**
 * For one stream: returns what reads its batches and adds the nodes that are known here to a final one, to the first and
 * then now and then. Whoever is told keeps deleted rows for them, too.
 */
export function readTelling(replica: Replica, now: () => number = () => performance.now()): (request: ReadRequest) => Promise<ChangeBatch> {
  let told: number | null = null;
  return async (request) => {
    const batch = await replica.read({ ...request, tellMembers: told === null || now() - told >= TELL_AFTER_MS });
    if (batch.members) told = now();
    return batch;
  };
}

/** Whether words of others are news to the node `self`, which has those that are `known`. */
export function areNews(words: readonly MemberWord[], self: NodeName, known: readonly MemberWord[]): boolean {
  const byId = new Map(known.map((word) => [word.node.id, word]));
  return words.some((word) => isNewWord(word, self, (id) => byId.get(id)));
}
