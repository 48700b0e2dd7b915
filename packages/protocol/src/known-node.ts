import type { MemberWord } from "@scoutsync/core";
import type { KnownNode } from "../gen/scoutsync/v1/sync_node.ts";
import { fromWireVector, toWireVector } from "./vector.ts";

export function toWireKnownNode({ node, vector, atUs, retired }: MemberWord): KnownNode {
  return { nodeId: node.id, name: node.name, vector: toWireVector(vector), atUs: BigInt(atUs), retired };
}

/** Throws BATCH_CORRUPT when its vector is none. */
export function fromWireKnownNode({ nodeId, name, vector, atUs, retired }: KnownNode): MemberWord {
  return { node: { id: nodeId, name }, vector: fromWireVector(vector), atUs: Number(atUs), retired };
}
