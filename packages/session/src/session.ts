import { SyncError, equalVectors, isCovered, toPlainError, type ErrorCode } from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";
import type { Replica } from "@scoutsync/replica";
import { backoffMs, pause } from "@scoutsync/runtime";
import type { Acquaintances } from "./acquaintances.ts";
import { sameBytes } from "./bytes.ts";
import { explainChoice } from "./difference.ts";
import type { FilePeer } from "./files/file-peer.ts";
import { exchangeFiles, refusalErrors } from "./files/file-session.ts";
import { keptOutOnly, keptOutText } from "./kept-out.ts";
import { nothingFetched, whyUnverified } from "./unverified.ts";
import type { Peer } from "./peer.ts";
import { pull, type PullResult } from "./pull.ts";
import { repair } from "./repair.ts";
import { push } from "./push.ts";
import { Rate, type RowPace } from "./rate.ts";
import { isBehind, rejoin } from "./rejoin.ts";
import { emptyStats, type SessionStats } from "./stats.ts";

/** Others may write while a session runs; after this many rounds the rest is for the next session. */
const MAX_ROUNDS = 3;
/** Databases of one session at a time: more would hold more batches in memory than they save in waiting. */
const MAX_PARALLEL_DATABASES = 4;
const DEFAULT_RETRIES = 2;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

export interface SessionDatabase {
  replica: Replica;
  acquaintances: Acquaintances;
}

export interface SessionOptions {
  databases: readonly SessionDatabase[];
  /** File roots to exchange after the databases. */
  files?: readonly FileRoot[] | undefined;
  /** As in FileExchange. */
  limited?: boolean | undefined;
  /** Shared by all sessions of the node. */
  fileRate?: Rate | undefined;
  /** As in PullOptions. */
  pace?: RowPace | undefined;
  peer: Peer & Partial<FilePeer>;
  nodeName: string;
  /** True when the databases were asked for by name: one that the peer does not have is then an error. */
  named: boolean;
  pullOnly?: boolean | undefined;
  batchSize?: number | undefined;
  /** How often to try a database again after an error that may heal by itself. */
  retries?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: SessionProgress) => void) | undefined;
  /** A replica was away for so long that it had to join again: what became of rows that only it held. */
  onRejoined?: ((rows: { database: string; gone: number; reborn: number }) => void) | undefined;
  /** As in PullOptions. */
  onDoubt?: ((text: string) => void) | undefined;
  /** Both know the same, and hold different rows only as a constraint of one of them keeps some out of their tables. */
  onKeptOut?: ((text: string) => void) | undefined;
  /** As in PullOptions. */
  onOriginGivenUp?: ((database: string) => void) | undefined;
  /** Injected for tests: milliseconds. */
  now?: (() => number) | undefined;
}

export interface SessionProgress {
  /** A database's name, or that of a file root. */
  database: string;
  phase: "pull" | "push" | "verify";
  done: number;
  total: number;
}

export interface SessionResult {
  /** Everything asked for was done. Says nothing about writes that came during the session. */
  success: boolean;
  node: string;
  peer: string;
  stats: SessionStats;
  /** Every database stood at the same vector on both sides, with equal digests. */
  verified: boolean;
  /** Of each database and root that was not found equal, though nothing failed: why. */
  unverified: string[];
  durationMs: number;
  errors: { code: ErrorCode; message: string }[];
}

/**
 * One session with a peer: per database pull, then push what the peer lacks, then compare. A database that fails does
 * not keep the others from syncing. Never throws: what went wrong is in `errors`.
 */
export async function runSession(options: SessionOptions): Promise<SessionResult> {
  const now = options.now ?? (() => performance.now());
  const started = now();
  const stats = emptyStats();
  const errors: SessionResult["errors"] = [];
  const unverified: string[] = [];
  const waiting = [...options.databases];
  let verified = 0;
  let absent = 0;
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        const why = await persistently(options, stats, () => syncDatabase(options, next, stats));
        if (why === null) verified += 1;
        else unverified.push(why);
      } catch (error) {
        if (!options.named && error instanceof SyncError && error.code === "DATABASE_NOT_FOUND") {
          absent += 1;
          continue;
        }
        const reason = await explained(options, next, options.signal?.aborted ? options.signal.reason : error);
        const { code, message } = toPlainError(reason);
        if (!errors.some((known) => known.code === code && known.message === message)) errors.push({ code, message });
      }
    }
  };
  await Promise.all(Array.from({ length: MAX_PARALLEL_DATABASES }, work));
  // After the rows: a row that names a file is only whole with it, and rows are smaller.
  for (const root of options.files ?? []) {
    try {
      const outcome = await persistently(options, stats, () => syncFiles(options, root, stats));
      const refusals = refusalErrors(root.name, outcome.refused);
      if (outcome.verified) verified += 1;
      else if (refusals.length === 0) unverified.push(filesUnverified(options, root));
      for (const error of refusals) errors.push({ code: error.code, message: error.message });
    } catch (error) {
      if (error instanceof SyncError && error.code === "ROOT_NOT_FOUND") {
        absent += 1;
        continue;
      }
      const { code, message } = toPlainError(options.signal?.aborted ? options.signal.reason : error);
      if (!errors.some((known) => known.code === code && known.message === message)) errors.push({ code, message });
    }
  }
  const common = options.databases.length + (options.files?.length ?? 0) - absent;
  if (common === 0) errors.push(nothingInCommon(options));
  return {
    success: errors.length === 0,
    node: options.nodeName,
    peer: options.peer.address,
    stats,
    verified: errors.length === 0 && verified === common,
    unverified,
    durationMs: Math.round(now() - started),
    errors,
  };
}

function syncFiles(options: SessionOptions, root: FileRoot, stats: SessionStats) {
  const { peer, nodeName, signal, onProgress, limited, fileRate = new Rate(0) } = options;
  const { fileList, fileBytes, fileRecipe, openPut } = peer;
  if (!fileList || !fileBytes || !fileRecipe || !openPut) {
    const message = `${peer.address} knows nothing of file roots`;
    throw new SyncError({ code: "ROOT_NOT_FOUND", message, action: "Upgrade it to sync files." });
  }
  const filePeer: FilePeer = { address: peer.address, fileList, fileBytes, fileRecipe, openPut };
  const progress = (phase: "pull" | "push", done: number, total: number) => onProgress?.({ database: root.name, phase, done, total });
  return exchangeFiles(
    { root, peer: filePeer, nodeName, limited, asKnown: false, rate: fileRate, stats, signal, onProgress: progress },
    { pullOnly: options.pullOnly === true },
  );
}

/** An error that asks a person to choose shows what there is to choose between, where the peer can be asked. */
async function explained({ peer, signal }: SessionOptions, { replica }: SessionDatabase, error: unknown): Promise<unknown> {
  if (!(error instanceof SyncError) || error.code !== "BASELINE_CHOICE") return error;
  return explainChoice({ replica, peer, signal }, error).catch(() => error);
}

/**
 * Tries again, pausing longer each time, after what may heal by itself: a line that was cut goes on where it broke. A
 * peer that never answered is the caller's to try again, who may be a person waiting.
 */
async function persistently<T>(
  { signal, retries = DEFAULT_RETRIES }: SessionOptions,
  stats: SessionStats,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let tried = 0; ; tried++) {
    const before = stats.bytesReceived + stats.bytesSent;
    try {
      return await attempt();
    } catch (error) {
      const heals = error instanceof SyncError && error.retryable && !signal?.aborted;
      const moved = stats.bytesReceived + stats.bytesSent > before;
      const gone = error instanceof SyncError && (error.code === "PEER_UNREACHABLE" || error.code === "SHUTTING_DOWN");
      if (!heals || tried >= retries || (gone && !moved)) throw error;
      await pause(backoffMs(tried, { firstMs: FIRST_PAUSE_MS, capMs: LONGEST_PAUSE_MS }), signal);
    }
  }
}

/**
 * Null when both sides were found equal, else why they were not compared. Different rows at the same changes are mended once;
 * DIVERGED when that did not help. Rows that one side's constraints keep out are no divergence, and nothing is verified then.
 */
async function syncDatabase(
  options: SessionOptions,
  { replica, acquaintances }: SessionDatabase,
  stats: SessionStats,
): Promise<string | null> {
  const { peer, nodeName, batchSize, signal, onProgress } = options;
  const database = replica.name;
  const shared = { replica, acquaintances, peer, batchSize, pace: options.pace, signal, stats };
  let run = "";
  let mended = false;
  let why = "";
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let restored = false;
    const before = replica.state.vector;
    const pulled = await orRejoin(
      options,
      replica,
      () =>
        pull({
          ...shared,
          run,
          onDoubt: options.onDoubt,
          onOriginGivenUp: () => options.onOriginGivenUp?.(database),
          onProgress: (done, total) => onProgress?.({ database, phase: "pull", done, total }),
        }),
      acquaintances,
    ).catch((error: unknown) => {
      // A peer that serves nobody can still be given what it lacks; one that was restored needs it, and serves then.
      if (!(error instanceof SyncError) || options.pullOnly || (error.code !== "RECEIVE_ONLY" && error.code !== "RESTORED")) throw error;
      restored = error.code === "RESTORED";
      return null;
    });
    if (pulled) {
      run = pulled.run;
      if (pulled.verified === false) {
        const keptOut = await keptOutOnly({ replica, peer, signal });
        if (keptOut > 0) {
          const text = keptOutText(database, peer.address, keptOut);
          options.onKeptOut?.(text);
          return text;
        }
        if (mended || options.pullOnly) throw diverged(database, peer.address);
        mended = true;
        stats.rowsRepaired += (await repair({ replica, peer, nodeName, signal })).length;
        // Not one of the rounds: what was mended has to be told and compared.
        round--;
        continue;
      }
      onProgress?.({ database, phase: "verify", done: pulled.verified ? 1 : 0, total: 1 });
      if (pulled.verified !== true) why = await whyUnverified(replica, peer.address, pulled, options.pullOnly === true);
      if (options.pullOnly || !(await peerLacks(replica, pulled))) {
        // What was asked for says what was here before. The application there may be waiting to read that it has arrived.
        if (!equalVectors(before, replica.state.vector)) {
          try {
            await pull({ ...shared, run });
          } catch {
            // Everything is through, and the next contact says so: a peer that went just now makes no failed session of it.
          }
        }
        return pulled.verified === true ? null : why;
      }
    }
    const pushed = await push({
      ...shared,
      nodeName,
      run,
      onProgress: (done, total) => onProgress?.({ database, phase: "push", done, total }),
    });
    // Without a verdict the peer has moved, or holds something beyond its vector: the next pull can tell.
    if (pushed.verified) return null;
    if (!pulled) why = nothingFetched(replica, peer.address, restored);
    if (!pulled && !restored) return why;
  }
  return why;
}

function filesUnverified({ peer, pullOnly }: SessionOptions, { name }: FileRoot): string {
  const why = pullOnly ? "this session only fetched" : "one of the two changed while the session ran, or has not put everything into place";
  return `files of "${name}" here and at ${peer.address} were not found equal: ${why}; \`scoutsync files status\` shows what is missing`;
}

/** Fetches; where the replica was away for longer than the peer remembers, it joins again first. */
async function orRejoin<T>(
  { peer, batchSize, signal, onRejoined }: SessionOptions,
  replica: Replica,
  work: () => Promise<T>,
  acquaintances: Acquaintances,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isBehind(error)) throw error;
    const { gone, reborn } = await rejoin({ replica, peer, acquaintances, batchSize, signal });
    onRejoined?.({ database: replica.name, gone, reborn });
    return work();
  }
}

async function peerLacks(replica: Replica, pulled: PullResult): Promise<boolean> {
  if (!isCovered(replica.state.vector, pulled.peerVector)) return true;
  // Then what either holds beyond its vector is the same.
  if (pulled.verified === true) return false;
  const beyond = await replica.beyondDigest();
  return beyond.length > 0 && !sameBytes(beyond, pulled.peerBeyondDigest);
}

function diverged(database: string, address: string): SyncError {
  return new SyncError({
    code: "DIVERGED",
    message: `"${database}" here and at ${address} know the same changes but hold different rows`,
    action: `Run \`scoutsync verify\` with both nodes to see which rows; with --repair it merges them, if this session could not. Where one of the two keeps a mass delete back (\`scoutsync review list --kind quarantine\`), decide about that first.`,
  });
}

function nothingInCommon({ databases, peer }: SessionOptions): SessionResult["errors"][number] {
  const names = databases.map(({ replica }) => `"${replica.name}"`).join(", ");
  return {
    code: "DATABASE_NOT_FOUND",
    message:
      databases.length === 0
        ? "this node has no databases. Start it with --db NAME=PATH."
        : `${peer.address} has none of the databases ${names}. Give databases that belong together the same NAME on both nodes.`,
  };
}
