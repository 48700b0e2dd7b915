import type { MemberWord, NodeName } from "./exchange.ts";
import { equalVectors } from "./vector.ts";

/** Characters of a node's name or id. */
export const LONGEST_NODE_NAME = 200;

/**
 * Whether what others say of a node is news to the node `self`, which has the words that `known` gives by the id of the
 * node they are of. A later word that says the same is none: an idle fleet must not write to disk.
 */
export function isNewWord(
  { node, vector, atUs, retired }: MemberWord,
  self: NodeName,
  known: (id: string) => MemberWord | null | undefined,
): boolean {
  if (node.id === self.id || node.id === "" || node.id.length > LONGEST_NODE_NAME) return false;
  const before = known(node.id);
  if (!before) return true;
  return atUs > before.atUs && (retired !== before.retired || node.name !== before.node.name || !equalVectors(vector, before.vector));
}
