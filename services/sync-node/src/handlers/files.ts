import { SyncError, Wakeup, type FileEntry } from "@scoutsync/core";
import {
  asBuffer,
  checkProtocol,
  formatCursors,
  formatTime,
  kindWord,
  parseCursors,
  seqIn,
  toWireEnd,
  toWireEntry,
  type FileChecksumsRequest,
  type FileChecksumsResponse,
  type FileRootStatus,
  type FileStatusRequest,
  type ForgetFilesRequest,
  type ForgetFilesResponse,
  type FileStatusResponse,
  type GetFileRequest,
  type GetFileResponse,
  type ListFilesRequest,
  type ListFilesResponse,
  type RestoreFileRequest,
  type RestoreFileResponse,
} from "@scoutsync/protocol";
import type { FileRootState } from "@scoutsync/files";
import type { Speaker } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";
import { EMPTY_ANSWER, MESSAGE_BYTES, bulkConnection, overBulk, piecesOf, sendBytes, sendRanges, throughCall } from "../files/sending.ts";
import { unmetFiles } from "../files/row-files.ts";
import type { Outbox } from "./calls.ts";

const DEFAULT_BATCH = 500;
const MAX_BATCH = 5_000;
const MAX_RANGES = 1_000_000;
const DEFAULT_LIST = 10_000;

/** Streams what a root holds in the order of its own numbers; a follower then gets what comes next. */
export async function fileChecksums(
  context: NodeContext,
  request: FileChecksumsRequest,
  outbox: Outbox<FileChecksumsResponse>,
  signal: AbortSignal,
): Promise<void> {
  checkProtocol(request.protocol, "the caller", `node "${context.name}"`);
  const root = context.files.get(request.root);
  refuseReceiveOnly(context, request);
  const sinceUs = request.since === "" ? 0 : timeOf(request.since);
  const limit = Math.min(request.batchSize || DEFAULT_BATCH, MAX_BATCH);
  if (!request.asKnown) await context.files.look(root);
  const changed = new Wakeup();
  const stop = root.onChange(changed.raise);
  try {
    let index = root.state.index;
    // Who asks for somebody else, as for a bundle, is told what comes after a place in the very list that is named to it.
    let seq = request.callerIndex === "" ? seqIn(request.cursor, index) : await root.placeOf(parseCursors(request.cursor));
    if (request.callerIndex !== "") await root.noteAcknowledged(seq);
    const { part } = root.state;
    await outbox.write({ index, entries: [], end: undefined, part: part === null ? undefined : { folders: [...part] } });
    for (let isFirst = true; ;) {
      const page = await root.list({ index, seq, sinceUs, tombstones: request.catchupMode, limit, notFrom: request.callerIndex });
      index = page.index;
      seq = page.seq;
      if (page.entries.length > 0)
        await outbox.write({ index: "", entries: page.entries.map(toWireEntry), end: undefined, part: undefined });
      if (!page.isEnd) continue;
      if (isFirst || page.entries.length > 0) await end();
      isFirst = false;
      if (!request.follow) return;
      await changed.until(() => root.state.seq > seq || root.state.index !== index, signal);
      signal.throwIfAborted();
    }

    async function end(): Promise<void> {
      const { digest, files, wanted } = root.state;
      const received = request.callerIndex === "" ? 0 : await root.received(request.callerIndex);
      const last = toWireEnd({ index, seq, digest, received, files, pending: wanted }, request.callerIndex);
      await outbox.write({ index: "", entries: [], end: last, part: undefined });
    }
  } finally {
    stop();
  }
}

/** Bytes of one file, or of ranges of several. */
export async function getFile(
  context: NodeContext,
  request: GetFileRequest,
  outbox: Outbox<GetFileResponse>,
  signal: AbortSignal,
  { member }: Pick<Speaker, "member">,
): Promise<void> {
  checkProtocol(request.protocol, "the caller", `node "${context.name}"`);
  const root = context.files.get(request.root);
  if (request.ranges.length > MAX_RANGES)
    throw invalid(`${request.ranges.length} ranges were asked for at once`, `Ask for at most ${MAX_RANGES}.`);
  if (request.ranges.length > 0) {
    const data = request.bulkConnection && member !== null ? await bulkConnection(context, member, outbox, signal) : null;
    await sendRanges(context, piecesOf(root, request.ranges), data ? overBulk(data) : throughCall(outbox), signal);
    await data?.finish();
    return;
  }
  let hash = request.sha256;
  let entry: FileEntry | null = null;
  if (request.path !== "") {
    entry = await root.locate(request.path);
    if (hash === "") hash = entry.hash;
  }
  if (!/^[0-9a-f]{64}$/.test(hash)) throw invalid("no file was asked for", "Give `path`, or `sha256` as 64 lower-case hex digits.");
  if (request.chunks) {
    const recipe = await root.recipe(hash, Number.MAX_SAFE_INTEGER);
    for (let at = 0; at < recipe.length; at += MESSAGE_BYTES)
      await outbox.write({ ...EMPTY_ANSWER, recipe: asBuffer(recipe.subarray(at, at + MESSAGE_BYTES)) });
    return;
  }
  if (entry) await outbox.write({ ...EMPTY_ANSWER, entry: toWireEntry(entry) });
  const { offset, length } = request;
  for await (const piece of piecesOf(root, [{ sha256: hash, offset, length }])) {
    if ("missing" in piece) throw piece.missing;
    await sendBytes(context, piece, throughCall(outbox), signal);
  }
}

export async function listFiles(context: NodeContext, request: ListFilesRequest): Promise<ListFilesResponse> {
  const root = context.files.get(request.root);
  const limit = request.limit || DEFAULT_LIST;
  if (request.versions) {
    const versions = (await root.versions(request.path)).slice(0, limit);
    return {
      files: [],
      versions: versions.map(({ hash, size, why, author, modifiedUs, storedUs }) => ({
        sha256: hash,
        size: BigInt(size),
        why,
        author,
        modified: formatTime(modifiedUs),
        stored: formatTime(storedUs),
      })),
    };
  }
  // Who goes on has had a fresh look.
  if (request.after === "") await root.scan({});
  const files = await root.files(request.path, request.after, limit);
  return {
    files: files.map(({ path, kind, size, hash, modifiedUs, author, version, state }) => ({
      path,
      kind: kindWord(kind),
      size: BigInt(size),
      sha256: hash,
      modified: formatTime(modifiedUs),
      author,
      version,
      state,
    })),
    versions: [],
  };
}

export async function fileStatus(context: NodeContext, request: FileStatusRequest): Promise<FileStatusResponse> {
  const roots: FileStatusResponse["roots"] = [];
  for (const root of context.files.select(request.root)) {
    // What stands in its way is part of the answer.
    await root.scan({}).catch(() => null);
    const { state, stored, remarks, refusals } = await root.status();
    roots.push({
      status: toWireRootStatus(state, context.scope),
      path: root.path,
      storedVersions: BigInt(stored.objects),
      storedBytes: BigInt(stored.bytes),
      remarks,
      unmet: await unmetFiles(context.databases, context.rowFiles, root),
      refused: refusals.map(({ timeUs, peer, what }) => ({ time: formatTime(timeUs), peer, what })),
    });
  }
  return { roots };
}

export async function forgetFiles(context: NodeContext, { root, dryRun }: ForgetFilesRequest): Promise<ForgetFilesResponse> {
  const { retentionDays } = context;
  const roots: ForgetFilesResponse["roots"] = [];
  for (const one of context.files.select(root)) {
    const { versions, partial, young, needed, unacknowledged } = await one.forget({
      retentionDays,
      dryRun,
      correctionUs: context.clock.correctionUs,
    });
    roots.push({
      root: one.name,
      versions: BigInt(versions.files),
      versionBytes: BigInt(versions.bytes),
      partial: BigInt(partial.files),
      partialBytes: BigInt(partial.bytes),
      young: BigInt(young),
      needed: BigInt(needed),
      unacknowledged: BigInt(unacknowledged),
    });
  }
  return { roots, retentionDays };
}

export async function restoreFile(context: NodeContext, { root, path, sha256 }: RestoreFileRequest): Promise<RestoreFileResponse> {
  const chosen = context.files.get(root);
  await chosen.scan({});
  return { entry: toWireEntry(await chosen.restore(path, sha256)) };
}

/** Every root as it last reported itself. */
export function fileStatuses({ files, scope }: Pick<NodeContext, "files" | "scope">): FileRootStatus[] {
  return files.all().map(({ state }) => toWireRootStatus(state, scope));
}

function toWireRootStatus(state: FileRootState, scope: string | null): FileRootStatus {
  const { name, index, seq, digest, files, folders, bytes, conflicts, wanted, missing, brake, problem, tooLarge, refused } = state;
  return {
    root: name,
    cursor: formatCursors([{ index, seq }]),
    digest,
    files: BigInt(files),
    folders: BigInt(folders),
    bytes: BigInt(bytes),
    conflicts: BigInt(conflicts),
    pending: BigInt(wanted),
    missing: BigInt(missing),
    heldBack: brake !== null,
    problem,
    scope: scope ?? "",
    tooLarge,
    refused: BigInt(refused.count),
    lastRefused: refused.timeUs === 0 ? "" : formatTime(refused.timeUs),
    refusedPeer: refused.peer,
    refusedWhat: refused.what,
  };
}

/** Other nodes take nothing from a node that only receives; people may look. */
function refuseReceiveOnly(context: NodeContext, { callerIndex }: FileChecksumsRequest): void {
  if (!context.receiveOnly || callerIndex === "") return;
  throw new SyncError({
    code: "RECEIVE_ONLY",
    message: `node "${context.name}" only receives`,
    action: "It is given what it lacks by the other side of a session.",
  });
}

function timeOf(text: string): number {
  const milliseconds = Date.parse(text);
  if (!Number.isNaN(milliseconds)) return milliseconds * 1000;
  throw invalid(`"${text.slice(0, 40)}" is no time`, "Give it as ISO 8601 in UTC, for example 2026-01-31T12:00:00Z.");
}

function invalid(message: string, action: string): SyncError {
  return new SyncError({ code: "INVALID_ARGUMENT", message, action });
}
