import { PROTOCOL_VERSION, SyncError, type FileListEnd, type ListedEntry } from "@scoutsync/core";
import { FileChecksumsRequest, GetFileRequest, type GetFileResponse, type SyncNodeService } from "../gen/scoutsync/v1/sync_node.ts";
import { serverStream, type ServiceClient } from "./client.ts";
import { BulkConnection, bulkDialOf, giveUpBulk } from "./bulk-connection.ts";
import { formatCursors, fromWireEnd, fromWireEntry } from "./file-entries.ts";
import { openPut, type PutStream } from "./put-client.ts";

type Client = ServiceClient<typeof SyncNodeService>;

interface Part {
  hash: string;
  offset: number;
  length: number;
}
type Piece = { part: number; offset: number; bytes: Uint8Array } | { part: number; missing: string };

/** File roots of a node that is being called: `FilePeer` of `@scoutsync/session`. */
export interface FileClient {
  fileList(
    request: {
      root: string;
      /** ISO 8601: only what the node recorded since. */
      since?: string;
      known: readonly { index: string; seq: number }[];
      callerIndex: string;
      follow: boolean;
      asKnown: boolean;
    },
    signal?: AbortSignal,
  ): AsyncIterable<{ index: string; entries: ListedEntry[]; end: FileListEnd | null; part: readonly string[] | null }>;
  /** `size` is how many bytes these parts are, as far as is known: many are worth a connection of their own. */
  fileBytes(root: string, parts: readonly Part[], signal?: AbortSignal, size?: number): AsyncIterable<Piece>;
  fileRecipe(root: string, hash: string, signal?: AbortSignal): Promise<Uint8Array>;
  openPut(opening: { root: string; name: string; index: string }, signal?: AbortSignal): Promise<PutStream>;
}

export function fileClient(client: Client): FileClient {
  return {
    async *fileList({ root, since = "", known, callerIndex, follow, asKnown }, signal) {
      const request = FileChecksumsRequest.create({
        root,
        since,
        cursor: formatCursors(known),
        callerIndex,
        follow,
        asKnown,
        catchupMode: true,
        protocol: PROTOCOL_VERSION,
      });
      for await (const { index, entries, end, part } of serverStream(client, "fileChecksums", request, { signal })) {
        yield { index, entries: entries.map(fromWireEntry), end: end ? fromWireEnd(end, callerIndex) : null, part: part?.folders ?? null };
      }
    },
    fileBytes: (root, parts, signal, size = 0) => fileBytes(client, { root, parts, size, signal }),
    async fileRecipe(root, hash, signal) {
      const request = GetFileRequest.create({ root, sha256: hash, chunks: true, protocol: PROTOCOL_VERSION });
      const pieces: Buffer[] = [];
      for await (const { recipe } of serverStream(client, "getFile", request, { signal })) pieces.push(recipe);
      return Buffer.concat(pieces);
    },
    openPut: (opening, signal) => openPut(client, opening, signal),
  };
}

interface BytesWanted {
  root: string;
  parts: readonly Part[];
  size: number;
  signal: AbortSignal | undefined;
}

async function* fileBytes(client: Client, wanted: BytesWanted): AsyncGenerator<Piece> {
  const { root, parts, size, signal } = wanted;
  const ranges = parts.map(({ hash, offset, length }) => ({ sha256: hash, offset: BigInt(offset), length: BigInt(length) }));
  const dial = bulkDialOf(client, size);
  const request = GetFileRequest.create({ root, ranges, protocol: PROTOCOL_VERSION, bulkConnection: dial !== undefined });
  const leaving = new AbortController();
  const either = signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal;
  const responses = serverStream(client, "getFile", request, { signal: either })[Symbol.asyncIterator]();
  let ahead: Promise<IteratorResult<GetFileResponse>> | null = null;
  try {
    for (;;) {
      const { done, value } = await (ahead ?? responses.next());
      ahead = null;
      if (done) return;
      const { range, offset, chunk, missing, ticket } = value;
      if (ticket.length > 0 && dial) {
        ahead = responses.next();
        const data = new BulkConnection(dial, ticket);
        yield* overBulkConnection(client, data, ahead);
        if (data.complete) continue;
        giveUpBulk(client);
        return yield* fileBytes(client, wanted);
      } else yield missing === "" ? { part: range, offset: Number(offset), bytes: chunk } : { part: range, missing };
    }
  } finally {
    // A call that is waited for is not left by itself.
    leaving.abort(new Error("the bytes are not wanted any more"));
    await responses.return?.();
  }
}

/** All frames of a bulk connection, for as long as its call lasts; none where it could not be opened. Throws what the call says. */
async function* overBulkConnection(client: Client, data: BulkConnection, call: Promise<unknown>): AsyncGenerator<Piece> {
  let any = false;
  // The call goes on for as long as the bytes do: whatever it says before they are all here, no more of them come.
  const over = () => data.close();
  call.then(over, over);
  try {
    for (let frame = await data.next(); frame; frame = await data.next()) {
      any = true;
      yield frame;
    }
  } finally {
    data.close();
  }
  if (data.complete || !any) return;
  await call;
  throw new SyncError({
    code: "PEER_FAILED",
    message: `the bulk connection to ${client.address} ended before all had come`,
    action: "Try again; what has come is kept.",
  });
}
