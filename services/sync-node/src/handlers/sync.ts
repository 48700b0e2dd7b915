import { SyncError, formatVector } from "@scoutsync/core";
import {
  ListReviewsRequest,
  unary,
  type PeerClient,
  type SyncProgress,
  type SyncRequest,
  type SyncResponse,
  SyncResult as WireResult,
  type SyncResult,
  type VerifyRequest,
  type VerifyResponse,
} from "@scoutsync/protocol";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import {
  rehearse,
  repair,
  runSession,
  type Rehearsal,
  verify as compare,
  verifyFiles,
  type Difference,
  type SessionDatabase,
  type SessionProgress,
  type SessionResult,
} from "@scoutsync/session";
import { VEILED, type Replica } from "@scoutsync/replica";
import type { NodeContext } from "../context.ts";
import { sayOriginGivenUp, sayRejoined } from "../live-links.ts";
import { unmetFiles } from "../files/row-files.ts";
import type { Outbox } from "./calls.ts";

/** A person reads progress; more often than this is only traffic. */
const PROGRESS_INTERVAL_MS = 200;
/** Mass deletes named at most: each waits for somebody's decision. */
const MOST_KEPT_BACK = 1_000;

/** Runs one session with a peer; the last response carries its result. */
export async function sync(context: NodeContext, request: SyncRequest, outbox: Outbox<SyncResponse>, signal: AbortSignal): Promise<void> {
  const address = peerAddress(request.peer);
  const databases = context.databases.select(request.databases);
  if (request.dryRun) {
    const rehearsed = await rehearsal(context, address, request, signal);
    return outbox.write({ kind: { $case: "result", value: rehearsed } });
  }
  const doubts: string[] = [];
  const keptOut: string[] = [];
  const result = await context.gate.enter(address, request.epoch, (fenced) =>
    context.connections.using(address, (peer) =>
      runSession({
        databases,
        files: request.noFiles ? [] : context.files.all(),
        limited: context.scope !== null,
        fileRate: context.limits.files,
        pace: context.limits.rows,
        peer,
        nodeName: context.name,
        named: request.databases.length > 0,
        pullOnly: request.pullOnly || context.receiveOnly,
        batchSize: request.batchSize,
        signal: AbortSignal.any([signal, fenced]),
        onDoubt: (text) => {
          doubts.push(text);
          context.logger.warn(`rows from before syncing: ${text}`);
        },
        onKeptOut: (text) => keptOut.push(text),
        onOriginGivenUp: (database) => sayOriginGivenUp(context, address, database),
        onRejoined: ({ database, ...rows }) => {
          sayRejoined(context, address, database, rows);
          doubts.push(
            `"${database}" was away for so long that it joined again: ${rows.gone} of its rows had been deleted elsewhere and went, ` +
              `${rows.reborn} that were edited here meanwhile live on as new rows`,
          );
        },
        onProgress: throttled((progress) => {
          // Progress that nobody reads must not slow the session, and an unread result is found by the write below.
          outbox.write({ kind: { $case: "progress", value: progress } }).catch(() => {});
        }),
      }),
    ),
  );
  signal.throwIfAborted();
  const { stats, success, verified, errors } = result;
  context.counts?.session(toCounted(result));
  context.logger.info({ peer: address, success, verified, stats, errors }, "session over");
  await outbox.write({ kind: { $case: "result", value: { ...toWireResult(result), doubts, keptOut } } });
}

/** What a session with the peer would do, database by database. */
async function rehearsal(context: NodeContext, address: string, request: SyncRequest, signal: AbortSignal): Promise<SyncResult> {
  const started = performance.now();
  const rehearsals = await context.connections.using(address, async (peer) => {
    const found: Rehearsal[] = [];
    for (const { replica } of context.databases.select(request.databases)) {
      const withCopy = <T>(work: (copy: Replica) => Promise<T>) => context.databases.withCopy(replica.name, work);
      try {
        found.push(await rehearse({ replica, peer, withCopy, signal }));
      } catch (error) {
        const absent = error instanceof SyncError && error.code === "DATABASE_NOT_FOUND";
        if (!absent || request.databases.length > 0) throw error;
      }
    }
    return found;
  });
  const errors = rehearsals.flatMap(({ error }) => error ?? []);
  return WireResult.fromPartial({
    success: errors.length === 0 && rehearsals.length > 0,
    node: context.name,
    peer: address,
    durationMs: BigInt(Math.round(performance.now() - started)),
    errors,
    rehearsals: rehearsals.map(toWireRehearsal),
  });
}

/** Compares databases with a peer's, down to the columns that differ. */
export async function verify(context: NodeContext, request: VerifyRequest, signal: AbortSignal): Promise<VerifyResponse> {
  const address = peerAddress(request.peer);
  const { databases, files } = await context.connections.using(address, async (peer) => ({
    databases: await compareWith(context, peer, request, signal),
    files: request.noFiles ? [] : await compareFiles(context, peer, request, signal),
  }));
  if (databases.length === 0 && files.length === 0) {
    throw new SyncError({
      code: "DATABASE_NOT_FOUND",
      message: `this node and ${address} have no database in common`,
      action: "Give databases that belong together the same NAME on both nodes.",
    });
  }
  return { equal: [...databases, ...files].every(({ equal }) => equal), databases, files };
}

/** The roots that both have. */
async function compareFiles(
  context: NodeContext,
  peer: PeerClient,
  { deep }: VerifyRequest,
  signal: AbortSignal,
): Promise<VerifyResponse["files"]> {
  const compared: VerifyResponse["files"] = [];
  for (const root of context.files.all()) {
    try {
      const verification = await verifyFiles(root, peer, { deep, signal });
      compared.push({ ...verification, unmet: await unmetFiles(context.databases, context.rowFiles, root) });
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "ROOT_NOT_FOUND") throw error;
    }
  }
  return compared;
}

async function compareWith(
  context: NodeContext,
  peer: PeerClient,
  request: VerifyRequest,
  signal: AbortSignal,
): Promise<VerifyResponse["databases"]> {
  const databases: VerifyResponse["databases"] = [];
  for (const database of context.databases.select(request.databases)) {
    const { replica } = database;
    try {
      const repaired = request.repair ? await mend(context, database, peer, signal) : [];
      const { equal, differences, notCompared, vector, peerVector } = await compare({
        replica,
        peer,
        deep: request.deep || request.readRows || request.repair,
        signal,
      });
      const kept = await keptBack(replica, peer, signal);
      const veiled = new Set(replica.state.veiled);
      const visible = (found: readonly Difference[]) =>
        found.map((difference) => (veiled.has(difference.table) && difference.key !== "" ? { ...difference, key: VEILED } : difference));
      databases.push({
        name: replica.name,
        equal: equal && kept.length === 0,
        differences: visible(differences),
        vector: formatVector(vector),
        peerVector: formatVector(peerVector),
        repaired: visible(repaired),
        notCompared,
        keptBack: kept,
      });
    } catch (error) {
      const absent = error instanceof SyncError && error.code === "DATABASE_NOT_FOUND";
      // Only what both have can be compared, unless it was asked for by name.
      if (!absent || request.databases.length > 0) throw error;
    }
  }
  return databases;
}

/** What was compared counts the rows of a mass delete that is kept back as being there: the table lacks them. */
async function keptBack(replica: Replica, peer: PeerClient, signal: AbortSignal): Promise<VerifyResponse["databases"][number]["keptBack"]> {
  const request = ListReviewsRequest.fromPartial({ database: replica.name, kind: "quarantine" });
  const [here, there] = await Promise.all([
    replica.reviews({ kind: "quarantine", id: "", limit: MOST_KEPT_BACK }),
    unary(peer.client, "listReviews", request, { signal }).then(
      ({ reviews }) => reviews,
      (error: unknown) => {
        // Nodes of a scope may not list what waits for people.
        if (error instanceof SyncError && error.code === "FORBIDDEN") return [];
        throw error;
      },
    ),
  ]);
  return [
    ...here.map(({ id, table, reason }) => ({ atPeer: false, review: id, table, reason })),
    ...there.map(({ id, table, reason }) => ({ atPeer: true, review: id, table, reason })),
  ];
}

/** Merges the rows that differ, with a session before it, so that only real differences are looked at, and one after it. */
async function mend(context: NodeContext, database: SessionDatabase, peer: PeerClient, signal: AbortSignal): Promise<Difference[]> {
  const session = () => runSession({ databases: [database], peer, nodeName: context.name, named: true, signal });
  // It may fail for the very damage that is to be mended.
  await session();
  const repaired = await repair({ replica: database.replica, peer, nodeName: context.name, signal });
  if (repaired.length === 0) return [];
  const { success, errors } = await session();
  context.logger.warn(
    { peer: peer.address, database: database.replica.name, rows: repaired.length, success, errors },
    "rows that differed were merged",
  );
  return repaired;
}

function toCounted({ success, durationMs, stats }: SessionResult) {
  const { localChangesSent: sent, remoteChangesReceived: received, remoteChangesApplied: applied } = stats;
  return { success, durationMs, stats: { sent, received, applied } };
}

function peerAddress(text: string): string {
  const address = parseAddress(text);
  if (address && address.port > 0) return formatAddress(address);
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `"${text}" is not the address of a node`,
    action: "Write it as host:port.",
  });
}

function throttled(emit: (progress: SyncProgress) => void): (progress: SessionProgress) => void {
  let last = "";
  let next = 0;
  return ({ database, phase, done, total }) => {
    // Of a database in which nothing was to do the result says enough.
    if (total === 0 || (last === "" && phase === "verify" && done === total)) return;
    const now = performance.now();
    if (`${database}\0${phase}` === last && now < next && done < total) return;
    last = `${database}\0${phase}`;
    next = now + PROGRESS_INTERVAL_MS;
    emit({ database, phase, done: BigInt(done), total: BigInt(total) });
  };
}

function toWireResult(result: SessionResult): SyncResult {
  const { stats } = result;
  return {
    success: result.success,
    node: result.node,
    peer: result.peer,
    stats: {
      localChangesSent: BigInt(stats.localChangesSent),
      remoteChangesReceived: BigInt(stats.remoteChangesReceived),
      remoteChangesApplied: BigInt(stats.remoteChangesApplied),
      conflicts: BigInt(stats.conflicts),
      parked: BigInt(stats.parked),
      filesUploaded: BigInt(stats.filesUploaded),
      filesDownloaded: BigInt(stats.filesDownloaded),
      bytesSent: BigInt(stats.bytesSent),
      bytesReceived: BigInt(stats.bytesReceived),
    },
    verified: result.verified,
    durationMs: BigInt(result.durationMs),
    errors: result.errors,
    rehearsals: [],
    doubts: [],
    keptOut: [],
    unverified: result.unverified,
  };
}

function toWireRehearsal({
  database,
  send,
  receive,
  apply,
  conflict,
  park,
  rekey,
  tables,
  error,
}: Rehearsal): SyncResult["rehearsals"][number] {
  return {
    database,
    send: BigInt(send),
    receive: BigInt(receive),
    apply: BigInt(apply),
    conflict: BigInt(conflict),
    park: BigInt(park),
    rekey: BigInt(rekey),
    tables: tables.map(({ table, equal, different, onlyHere, onlyThere, exact }) => ({
      table,
      equal: BigInt(equal),
      different: BigInt(different),
      onlyHere: BigInt(onlyHere),
      onlyThere: BigInt(onlyThere),
      exact,
    })),
    error: error ?? undefined,
  };
}
