import { SyncError } from "@scoutsync/core";
import { bidi, FleetClient, isUnknownCall, type RevocationList } from "@scoutsync/protocol";
import { QUICK_DEADLINE_MS, type NodeConnection } from "../connect.ts";

/** The fleet's list of those put out, as a bundle's head carries it: both in base64. */
export interface CarriedRevocations {
  content: string;
  signature: string;
}

/** Who was put out, as far as the node knows; undefined where that is nobody, or the node belongs to no fleet. */
export async function revocationsAt(client: NodeConnection): Promise<CarriedRevocations | undefined> {
  const list = await shared(client, { content: Buffer.alloc(0), signature: Buffer.alloc(0) });
  if (!list || list.content.length === 0) return undefined;
  return { content: list.content.toString("base64"), signature: list.signature.toString("base64") };
}

/**
 * Tells the node who was put out, before it takes what the bundle holds: a stick may be all that ever reaches it. It believes what
 * the fleet's CA has signed, and nothing older than what it has. True when it knows the list of the bundle, or a later one.
 */
export async function carryRevocations(client: NodeConnection, carried: CarriedRevocations | undefined): Promise<boolean> {
  if (carried === undefined) return false;
  const [content, signature] = [carried.content, carried.signature].map((text) => Buffer.from(text, "base64")) as [Buffer, Buffer];
  const list = await shared(client, { content, signature });
  return list !== null && versionOf(list) >= versionOf({ content });
}

/** Sends a list, and returns the one that the node has then: its own is said at once, and again when it has taken a newer one over. */
async function shared(client: NodeConnection, sent: RevocationList): Promise<RevocationList | null> {
  const stream = bidi({ ...client, service: FleetClient.service }, "shareRevocations", { deadlineMs: QUICK_DEADLINE_MS });
  try {
    const saying = stream.send({ revocations: sent });
    // Said by the answers, with the reason.
    saying.catch(() => {});
    let known: RevocationList | null = null;
    for await (const { revocations } of stream.responses) {
      known = revocations ?? null;
      if (versionOf(sent) <= versionOf(known)) break;
    }
    return known;
  } catch (error) {
    // A node without a fleet has no such call; the list of another fleet, or of nobody, means nothing to it.
    if (isUnknownCall(error) || (error instanceof SyncError && error.code === "UNAUTHENTICATED")) return null;
    throw error;
  } finally {
    stream.cancel();
  }
}

function versionOf(list: Pick<RevocationList, "content"> | null): number {
  // What a stick holds may be anything; the node checks the signature before it reads it.
  return Number(/"version":(\d{1,15})[,}]/.exec(list?.content.toString("utf8") ?? "")?.[1] ?? 0);
}
