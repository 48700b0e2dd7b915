import { formatVector } from "@scoutsync/core";
import { formatTime, hearClock, type DatabaseStatus, type PingRequest, type PingResponse } from "@scoutsync/protocol";
import { PROTOCOL_VERSION } from "@scoutsync/core";
import type { Speaker } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";
import { fileStatuses } from "./files.ts";

/** Answers from what the databases last reported: it must answer while all of them are busy. */
export function ping(context: NodeContext, request: PingRequest, speaker: Speaker): PingResponse {
  speaker.speaksFor(request.callerNodeId ?? "");
  const timeUs = context.clock.nowUs();
  hearClock(context.clock, { nodeId: request.callerNodeId ?? "", receivedUs: 0n, sentUs: request.callerTimeUs });
  return {
    name: context.name,
    nodeId: context.nodeId,
    version: context.version,
    protocol: PROTOCOL_VERSION,
    time: formatTime(timeUs),
    timeUs: BigInt(timeUs),
    run: context.run,
    databases: databaseStatuses(context),
    files: fileStatuses(context),
    clock: context.clock.status,
    disk: context.disk.status,
  };
}

/** Every database as it last reported itself. */
export function databaseStatuses({ databases }: Pick<NodeContext, "databases">): DatabaseStatus[] {
  return databases.all().map(({ replica: { name, state } }) => ({
    name,
    vector: formatVector(state.vector),
    digest: Buffer.from(state.digest).toString("hex"),
    pending: BigInt(state.pending),
    parked: BigInt(state.parked),
    conflicts: BigInt(state.conflicts),
    rows: BigInt(state.rows),
    tables: state.tables,
    problem: state.problem,
    held: BigInt(state.held),
    keptBack: BigInt(state.keptBack),
    baseline: state.baseline,
  }));
}
