import { PROTOCOL_VERSION, SyncError, toPlainError, type FileWant } from "@scoutsync/core";
import {
  BulkReceiver,
  checkProtocol,
  formatCursors,
  fromWireEntry,
  seqIn,
  toWireEnd,
  toWireWant,
  type PutFileOpen,
  type PutFileRequest,
  type PutFileResponse,
} from "@scoutsync/protocol";
import { Reception } from "@scoutsync/session";
import type { Speaker } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";
import type { Outbox } from "./calls.ts";

/** What a sender that means well does not do. */
const REFUSED: ReadonlySet<string> = new Set(["INVALID_ARGUMENT", "FILE_CORRUPT"]);
const LONGEST_NAME = 80;

/** Who puts, for people: the name that it says, and the member that its certificate is of. */
function peerOf({ name }: PutFileOpen, { member }: Speaker): string {
  const said = JSON.stringify(name.slice(0, LONGEST_NAME)).slice(1, -1);
  return member === null || member === "" ? said : `${said} (${member})`;
}

/**
 * Takes entries and bytes of a peer. A stream may end anywhere: what was not committed is not visible, and bytes that
 * came are gone on with next time.
 */
export async function putFile(
  context: NodeContext,
  requests: AsyncIterable<PutFileRequest>,
  outbox: Outbox<PutFileResponse>,
  signal: AbortSignal,
  speaker: Speaker,
): Promise<void> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done) return;
  if (first.value.kind?.$case !== "open") throw unexpected("the opening");
  const open: PutFileOpen = first.value.kind.value;
  checkProtocol(open.protocol, `node "${open.name}"`, `node "${context.name}"`);
  const root = context.files.get(open.root);
  const received = await root.received(open.index);
  const { index, digest } = root.state;
  const { member } = speaker;
  const bulk =
    open.bulkConnection && member !== null
      ? context.bulkConnections.offer({ member, signal }, (socket) => (data = new BulkReceiver(socket, signal)))
      : null;
  let data: BulkReceiver | null = null;
  await outbox.write({
    kind: {
      $case: "ready",
      value: {
        protocol: PROTOCOL_VERSION,
        received: formatCursors([{ index: open.index, seq: received }, ...(await root.cursorsOf(open.index))]),
        index,
        digest,
        ticket: bulk?.ticket ?? Buffer.alloc(0),
      },
    },
  });
  const peer = peerOf(open, speaker);
  const reception = new Reception(root, open.index, peer);
  let wanted: readonly FileWant[] = [];
  try {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      const { kind } = next.value;
      switch (kind?.$case) {
        case "offer": {
          const { wants } = await reception.offer(kind.value.entries.map(fromWireEntry));
          wanted = wants;
          await outbox.write({ kind: { $case: "wants", value: { wants: wants.map(toWireWant) } } });
          break;
        }
        case "bytes":
          await context.limits.files.pass(kind.value.chunk.length, signal);
          await reception.bytes(kind.value.sha256, Number(kind.value.offset), kind.value.chunk);
          break;
        case "bulk":
          // Said once the connection is taken: whoever says it before has none.
          if (!data) throw unexpected("bytes");
          await takeFrames(context, data, reception, wanted, signal);
          break;
        case "recipe": {
          const { sha256, recipe } = kind.value;
          const parts = await partsOf(reception, sha256, recipe);
          await outbox.write({ kind: { $case: "parts", value: { sha256, parts } } });
          break;
        }
        case "commit": {
          for (const hash of kind.value.missing) await reception.missing(hash);
          const { placed, conflicts, removed, refused } = await reception.commit();
          const outside = refused.filter(({ code }) => code === "FORBIDDEN");
          if (outside[0])
            speaker.accuse(`FORBIDDEN: ${outside[0].message}${outside.length > 1 ? ` (and ${outside.length - 1} more)` : ""}`);
          await outbox.write({
            kind: { $case: "ack", value: { placed: BigInt(placed), conflicts: BigInt(conflicts), removed: BigInt(removed), refused } },
          });
          break;
        }
        case "done": {
          if (root.state.wanted > 0) await root.heal();
          await root.noteReceived(open.index, seqIn(kind.value.cursor, open.index), index);
          const { state } = root;
          const end = { index: state.index, seq: state.seq, digest: state.digest, received: seqIn(kind.value.cursor, open.index) };
          await outbox.write({
            kind: { $case: "end", value: toWireEnd({ ...end, files: state.files, pending: state.wanted }, open.index) },
          });
          break;
        }
        case "open":
        case undefined:
          throw unexpected("an offer");
      }
    }
  } catch (error) {
    const { code, message } = toPlainError(error);
    if (REFUSED.has(code)) await root.noteRefused(peer, message);
    throw error;
  } finally {
    (data as BulkReceiver | null)?.close();
    await reception.leave();
  }
}

/** Takes what comes over the bulk connection, up to its end frame; frames name wanted files by their place among them. */
async function takeFrames(
  { limits }: NodeContext,
  data: BulkReceiver,
  reception: Reception,
  wanted: readonly FileWant[],
  signal: AbortSignal,
): Promise<void> {
  for (let frame = await data.next(); frame; frame = await data.next()) {
    const hash = wanted[frame.part]?.hash;
    if (hash === undefined) throw unexpected("bytes of what is wanted");
    if ("missing" in frame) {
      await reception.missing(hash);
      continue;
    }
    await limits.files.pass(frame.bytes.length, signal);
    await reception.bytes(hash, frame.offset, frame.bytes);
  }
}

/** Everything from the beginning where the chunks cannot be made sense of. */
async function partsOf(reception: Reception, hash: string, recipe: Buffer) {
  try {
    const parts = await reception.recipe(hash, recipe);
    return parts.map(({ offset, length }) => ({ sha256: hash, offset: BigInt(offset), length: BigInt(length) }));
  } catch (error) {
    if (!(error instanceof SyncError) || (error.code !== "FILE_CORRUPT" && error.code !== "NOT_FOUND")) throw error;
    const { offset, length } = await reception.allFrom(hash);
    return [{ sha256: hash, offset: BigInt(offset), length: BigInt(length) }];
  }
}

function unexpected(what: string): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `a put held something else where ${what} was due`,
    action: "Send `open` first, then `offer`, `bytes`, `bulk` or `recipe` for what is wanted, and `commit`; `done` at the end.",
  });
}
