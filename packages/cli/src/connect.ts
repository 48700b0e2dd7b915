import { SyncError } from "@scoutsync/core";
import {
  CoordinatorClient,
  SyncNodeClient,
  unary,
  type ClientClass,
  type CoordinatorService,
  type ServiceClient,
  type ServiceShape,
  type SyncNodeService,
} from "@scoutsync/protocol";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { dialOf } from "./identity/dialling.ts";
import { usageError } from "./exit.ts";
import type { Invocation } from "./command.ts";

export type NodeConnection = ServiceClient<typeof SyncNodeService>;
export type CoordinatorConnection = ServiceClient<typeof CoordinatorService>;

/** Answers that need no work on the other side. */
export const QUICK_DEADLINE_MS = 10_000;
/** Answers that read whole tables or wait for a session. */
export const LONG_DEADLINE_MS = 30 * 60_000;

/** NODE as host:port: an address is taken as it is, anything else is a name the coordinator knows. */
export async function resolveNode(node: string, invocation: Invocation): Promise<string> {
  const address = parseAddress(node);
  if (address) return formatAddress(address);
  if (node.includes(":"))
    throw usageError(`"${node}" is neither host:port nor a node's name`, "Give a node as host:port, for example 127.0.0.1:7071.");
  const nodes = await withCoordinator(invocation, async (client) => {
    const answer = await unary(client, "listNodes", {}, { deadlineMs: QUICK_DEADLINE_MS });
    return answer.nodes;
  });
  const found = nodes.find((entry) => entry.name === node);
  if (found) return formatAddress({ host: found.host, port: found.port });
  throw new SyncError({
    code: "NOT_FOUND",
    message: `the coordinator at ${invocation.coordinator} knows no node named "${node}"`,
    action: "See `scoutsync nodes list`, or give the node as host:port.",
  });
}

/** Runs `work` with a client of the node at host:port or of that name. */
export async function withNode<T>(
  node: string,
  invocation: Invocation,
  work: (client: NodeConnection, address: string) => Promise<T>,
): Promise<T> {
  const address = await resolveNode(node, invocation);
  const client = (await dialOf(address, invocation))(address, SyncNodeClient);
  try {
    return await work(client, address);
  } finally {
    client.close();
  }
}

/** Runs `work` with a client of another service that the coordinator offers. */
export async function withService<S extends ServiceShape, T>(
  clientClass: ClientClass<S>,
  invocation: Invocation,
  work: (client: ServiceClient<S>) => Promise<T>,
): Promise<T> {
  const { coordinator } = invocation;
  if (!parseAddress(coordinator)) throw usageError(`"${coordinator}" is not host:port`, "Give the coordinator as --coordinator host:port.");
  const client = (await dialOf(coordinator, invocation))(coordinator, clientClass);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** Runs `work` with a client of the coordinator. */
export function withCoordinator<T>(invocation: Invocation, work: (client: CoordinatorConnection) => Promise<T>): Promise<T> {
  return withService(CoordinatorClient, invocation, work);
}
