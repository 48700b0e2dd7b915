import { Option } from "commander";
import { SyncError, toPlainError } from "@scoutsync/core";
import { serverStream, SyncRequest, SyncResult } from "@scoutsync/protocol";
import { declare, repeatable, type Invocation, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, resolveNode, withNode } from "../connect.ts";
import { Negative } from "../exit.ts";
import { count } from "../output/json.ts";

interface SyncOptions {
  db?: string[];
  files: boolean;
  dryRun?: boolean;
}

/** `scoutsync sync`: asks a node to run one session with a peer now. */
export const registerSync: Registration = (program, surroundings) => {
  declare<SyncOptions>(program, surroundings, {
    usage: "sync <node> <peer>",
    summary: "ask NODE to run one session with PEER now: fetch, send, verify",
    usesCoordinator: true,
    options: [
      repeatable("--db <name>", "only this database; repeat for more"),
      new Option("--no-files", "leave file roots out"),
      new Option("--dry-run", "change nothing on either side; say what the session would do"),
    ],
    examples: [
      "scoutsync sync 127.0.0.1:7071 127.0.0.1:7072",
      "scoutsync sync 127.0.0.1:7071 127.0.0.1:7072 --dry-run",
      "scoutsync sync pits stands --db scouting --json",
    ],
    run: async (options, invocation, node = "", peer = "") => {
      const started = Date.now();
      const result = await session(node, peer, options, invocation).catch((error: unknown) =>
        failed(error, node, peer, Date.now() - started),
      );
      if (options.dryRun) reportRehearsal(result, invocation);
      else report(result, invocation);
    },
  });
};

async function session(node: string, peer: string, options: SyncOptions, invocation: Invocation): Promise<SyncResult> {
  const peerAddress = await resolveNode(peer, invocation);
  return withNode(node, invocation, async (client, address) => {
    const request = SyncRequest.fromPartial({
      peer: peerAddress,
      databases: options.db ?? [],
      noFiles: !options.files,
      dryRun: options.dryRun === true,
    });
    for await (const { kind } of serverStream(client, "sync", request, { deadlineMs: LONG_DEADLINE_MS })) {
      if (kind?.$case === "result") return kind.value;
      if (kind?.$case === "progress") {
        const { database, phase, done, total } = kind.value;
        invocation.out.progress(`${phase} ${database}`, Number(done), Number(total));
      }
    }
    throw new SyncError({
      code: "PEER_FAILED",
      message: `${address} ended the session without a result`,
      action: "See that node's log and run it again.",
    });
  });
}

/** A usage error stays one; anything else is a session that failed, in the shape of every other result. */
function failed(error: unknown, node: string, peer: string, durationMs: number): SyncResult {
  const { code, message } = toPlainError(error);
  if (code === "INVALID_ARGUMENT" || code === "INTERNAL") throw error;
  return SyncResult.fromPartial({ success: false, node, peer, durationMs: BigInt(durationMs), errors: [{ code, message }] });
}

function report(result: SyncResult, { out }: Invocation): void {
  const stats = result.stats;
  const document = {
    success: result.success,
    node: result.node,
    peer: result.peer,
    stats: {
      local_changes_sent: count(stats?.localChangesSent ?? 0n),
      remote_changes_received: count(stats?.remoteChangesReceived ?? 0n),
      remote_changes_applied: count(stats?.remoteChangesApplied ?? 0n),
      conflicts: count(stats?.conflicts ?? 0n),
      parked: count(stats?.parked ?? 0n),
      files_uploaded: count(stats?.filesUploaded ?? 0n),
      files_downloaded: count(stats?.filesDownloaded ?? 0n),
      bytes_sent: count(stats?.bytesSent ?? 0n),
      bytes_received: count(stats?.bytesReceived ?? 0n),
    },
    verified: result.verified,
    duration_ms: count(result.durationMs),
    errors: result.errors.map(({ code, message }) => ({ code, message })),
    doubts: result.doubts,
    kept_out: result.keptOut,
    unverified: result.unverified,
  };
  out.result(document, () => {
    const { stats: moved } = document;
    if (document.success) {
      out.line(
        `${document.node} and ${document.peer} are in sync${document.verified ? ", verified" : ""}: ` +
          `${moved.local_changes_sent} changes sent, ${moved.remote_changes_received} received, ${moved.remote_changes_applied} applied, ` +
          `${moved.conflicts} conflicts, ${moved.files_uploaded} files sent, ${moved.files_downloaded} received, ${document.duration_ms} ms`,
      );
    }
  });
  for (const doubt of [...result.doubts, ...new Set([...result.keptOut, ...result.unverified])]) out.note(`scoutsync: ${doubt}`);
  if (document.success) return;
  for (const { message } of document.errors) out.note(`scoutsync: ${message}`);
  if (document.errors.length === 0)
    out.note(`scoutsync: the session of ${document.node} with ${document.peer} failed. See the node's log.`);
  throw new Negative();
}

/** What a session would do, with what the rows of both sides have in common as they are. */
function reportRehearsal(result: SyncResult, { out }: Invocation): void {
  const document = {
    dry_run: true,
    success: result.success,
    node: result.node,
    peer: result.peer,
    databases: result.rehearsals.map((rehearsal) => ({
      name: rehearsal.database,
      would_send: count(rehearsal.send),
      would_receive: count(rehearsal.receive),
      would_apply: count(rehearsal.apply),
      would_conflict: count(rehearsal.conflict),
      would_park: count(rehearsal.park),
      would_rekey: count(rehearsal.rekey),
      tables: rehearsal.tables.map(({ table, equal, different, onlyHere, onlyThere, exact }) => ({
        table,
        equal: count(equal),
        different: count(different),
        only_here: count(onlyHere),
        only_there: count(onlyThere),
        exact,
      })),
      error: rehearsal.error ?? null,
    })),
    duration_ms: count(result.durationMs),
    errors: result.errors.map(({ code, message }) => ({ code, message })),
  };
  out.result(document, () => {
    for (const database of document.databases) {
      out.line(
        database.error
          ? `${database.name}: the session would stop`
          : `${database.name}: would send ${database.would_send} changes, receive ${database.would_receive} and apply ${database.would_apply} of them; ` +
              `${database.would_conflict} conflicts, ${database.would_park} rows parked, ${database.would_rekey} rows with another id`,
      );
      for (const { table, equal, different, only_here: here, only_there: there, exact } of database.tables)
        out.line(`  ${table}: ${exact ? "" : "about "}${equal} rows equal, ${different} differ, ${here} only here, ${there} only there`);
    }
  });
  if (document.success) return;
  for (const { message } of document.errors) out.note(`scoutsync: ${message}`);
  throw new Negative();
}
