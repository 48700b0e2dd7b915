import { formatVector } from "@scoutsync/core";
import { formatTime, hearClock, type DatabaseStatus, type FileRootStatus, type PingRequest, type PingResponse } from "@scoutsync/protocol";
import { PROTOCOL_VERSION } from "@scoutsync/core";
import { within } from "@scoutsync/runtime";
import type { Speaker } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";
import { fileStatuses } from "./files.ts";

/** A database that has more to drain than this goes on with it after the answer, milliseconds. */
const FRESH_MS = 100;

/** Answers from what the databases last reported: it must answer while all of them are busy. */
export async function ping(context: NodeContext, request: PingRequest, speaker: Speaker): Promise<PingResponse> {
  speaker.speaksFor(request.callerNodeId ?? "");
  if (request.fresh === true) await within(drained(context), FRESH_MS);
  const timeUs = context.clock.nowUs();
  const { callerNodeId = "", callerTimeUs, callerCorrectionUs } = request;
  hearClock(context.clock, { nodeId: callerNodeId, receivedUs: 0n, sentUs: callerTimeUs, correctionUs: callerCorrectionUs });
  return {
    name: context.name,
    nodeId: context.nodeId,
    version: context.version,
    protocol: PROTOCOL_VERSION,
    time: formatTime(timeUs),
    timeUs: BigInt(timeUs),
    run: context.run,
    databases: request.withScopes === true ? allDatabases(context) : databaseStatuses(context),
    files: request.withScopes === true ? allFiles(context) : fileStatuses(context),
    // How full the disk is, and whose clocks this one was compared with, tells nodes of a scope what others do.
    ...(context.isPart !== true && { clock: context.clock.status, disk: context.disk.status }),
  };
}

/** Why one cannot be drained is said by its state. */
async function drained({ databases }: NodeContext): Promise<void> {
  await Promise.allSettled(databases.all().map(({ replica }) => replica.drain()));
}

/** Every database as it last reported itself, and every part of one that nodes of scopes are shown. */
export function allDatabases(context: NodeContext): DatabaseStatus[] {
  return [context, ...partsOf(context)].flatMap(databaseStatuses);
}

/** The same of file roots. */
export function allFiles(context: NodeContext): FileRootStatus[] {
  return [context, ...partsOf(context)].flatMap(fileStatuses);
}

function partsOf({ scopes }: NodeContext) {
  return scopes.map(({ name, databases, files }) => ({ scope: name, databases, files: files.roots }));
}

/** Every database as it last reported itself. */
function databaseStatuses({ databases, scope }: Pick<NodeContext, "databases" | "scope">): DatabaseStatus[] {
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
    notices: BigInt(state.notices),
    baseline: state.baseline,
    scope: scope ?? "",
    restored: state.restored,
    schema: state.schema,
  }));
}
