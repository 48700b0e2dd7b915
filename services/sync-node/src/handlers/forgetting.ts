import {
  toWireKnownNode,
  type ForgetRequest,
  type ForgetResponse,
  type ListKnownNodesRequest,
  type ListKnownNodesResponse,
  type RetireKnownNodeRequest,
  type RetireKnownNodeResponse,
} from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";

export async function listKnownNodes(context: NodeContext, request: ListKnownNodesRequest): Promise<ListKnownNodesResponse> {
  const { replica } = context.databases.get(request.database);
  return { nodes: (await replica.members()).map(toWireKnownNode) };
}

export async function retireKnownNode(context: NodeContext, request: RetireKnownNodeRequest): Promise<RetireKnownNodeResponse> {
  const { replica } = context.databases.get(request.database);
  const { id, name } = await replica.retire(request.node);
  context.logger.info({ database: replica.name, node: name, node_id: id }, "nothing is kept for a node any more");
  return { nodeId: id, name };
}

/** A person does not want to wait for the next time the node looks by itself. */
export async function forget(context: NodeContext, request: ForgetRequest): Promise<ForgetResponse> {
  const { replica } = context.databases.get(request.database);
  const { retentionDays } = context;
  const { keptFor, ...counts } = await replica.forget({ retentionDays, dryRun: request.dryRun });
  return {
    forgotten: BigInt(counts.forgotten),
    settled: BigInt(counts.settled),
    young: BigInt(counts.young),
    referredTo: BigInt(counts.referredTo),
    awaited: BigInt(counts.awaited),
    keptFor: keptFor.map(({ nodeId, name, rows, heardUs }) => ({ nodeId, name, rows: BigInt(rows), heardUs: BigInt(heardUs) })),
    ahead: counts.ahead,
    alone: counts.alone,
    complete: counts.complete,
    retentionDays,
  };
}
