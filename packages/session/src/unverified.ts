import { equalVectors, isComparable } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { sameBytes } from "./bytes.ts";
import type { PullResult } from "./pull.ts";

/** Why a session did not compare a database with the peer's, in words for whoever reads its result. */
export async function whyUnverified(replica: Replica, address: string, pulled: PullResult, pullOnly: boolean): Promise<string> {
  const text = (reason: string) => `"${replica.name}" was not compared with ${address}: ${reason}`;
  const { state } = replica;
  if (pulled.peerSchema !== "" ? !isComparable(pulled.peerSchema, state.schema) : state.held > 0)
    return text("the two have different tables or columns; `scoutsync review list --kind schema` shows what waits for a migration");
  const beyond = await replica.beyondDigest();
  if (beyond.length > 0)
    return text(
      "this node holds changes that reached it only in part, as a node that had them went away in the middle; they count once that node is met again",
    );
  if (pulled.peerBeyondDigest.length > 0 && !sameBytes(beyond, pulled.peerBeyondDigest))
    return text(
      "the peer holds changes that reached it only in part, as a node that had them went away in the middle; they count once that node is met again",
    );
  if (pullOnly && !equalVectors(state.vector, pulled.peerVector))
    return text("this session only fetched, and the peer lacks changes that are here");
  return text("one of the two was written to while the session ran; the next one compares them");
}

/** Where nothing could be fetched. */
export function nothingFetched(replica: Replica, address: string, restored: boolean): string {
  const why = restored
    ? "it was restored from a backup and serves others only once it has fetched from one"
    : "it takes and gives nothing, so nobody can say what it holds";
  return `"${replica.name}" was not compared with ${address}: ${why}`;
}
