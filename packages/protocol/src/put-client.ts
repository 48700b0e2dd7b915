import { givePiece, PROTOCOL_VERSION, SyncError, type FileEntry, type FileListEnd, type FileRefusal, type FileWant } from "@scoutsync/core";
import type { PutFileRequest, PutFileResponse, SyncNodeService } from "../gen/scoutsync/v1/sync_node.ts";
import { bulkDialOf, dialBulkSender, giveUpBulk } from "./bulk-connection.ts";
import type { BulkSender } from "./bulk-ends.ts";
import { bidi, type ServiceClient } from "./client.ts";
import { formatCursors, fromWireEnd, fromWireRefusal, fromWireWant, parseCursors, seqIn, toWireEntry } from "./file-entries.ts";
import { asBuffer } from "./value.ts";

/**
 * Why a bulk connection ended comes through its call by then, or does not come, milliseconds. The other side says it once what came is
 * on its disk: whoever puts again before that is not asked for those files.
 */
const REASON_MS = 30_000;

/** Offers to a node that is being called: `PutStream` of `@scoutsync/session`. */
export interface PutStream {
  readonly ready: { received: number; known: readonly { index: string; seq: number }[]; index: string; digest: string };
  offer(entries: readonly FileEntry[]): Promise<FileWant[]>;
  /** So many bytes are about to be sent for the last offer, and nothing else before its commit: many take a connection of their own. */
  begin(size: number): Promise<void>;
  /** The bytes are given away. */
  bytes(hash: string, offset: number, bytes: Uint8Array): Promise<void>;
  recipe(hash: string, recipe: Uint8Array): Promise<{ hash: string; offset: number; length: number }[]>;
  commit(missing: readonly string[]): Promise<{ placed: number; conflicts: number; removed: number; refused: FileRefusal[] }>;
  done(end: { index: string; seq: number; digest: string }): Promise<FileListEnd>;
  cancel(): void;
}

type Client = ServiceClient<typeof SyncNodeService>;
type Kinds = NonNullable<PutFileResponse["kind"]>;
type Answers = { [K in Kinds as K["$case"]]: K["value"] };

export async function openPut(
  client: Client,
  opening: { root: string; name: string; index: string },
  signal?: AbortSignal,
): Promise<PutStream> {
  const call = bidi(client, "putFile", { signal });
  const responses = call.responses[Symbol.asyncIterator]();
  /** The next answer, which has to be of this kind. */
  const answer = async <K extends Kinds["$case"]>(expected: K): Promise<Answers[K]> => {
    const next = await responses.next();
    const kind = next.done ? undefined : next.value.kind;
    if (kind?.$case === expected) return kind.value as Answers[K];
    throw new SyncError({
      code: "PEER_FAILED",
      message: `${client.address} ended the call without an answer to ${expected === "ready" ? "the opening of a put" : "what was put"}`,
      action: "Try again; if it happens again, look at that side's log.",
    });
  };
  // Not awaited where an answer follows: a refusal comes through the responses, with its reason.
  const ask = (kind: NonNullable<PutFileRequest["kind"]>) => void call.send({ kind }).catch(() => {});
  try {
    const bulkConnection = bulkDialOf(client) !== undefined;
    ask({ $case: "open", value: { ...opening, protocol: PROTOCOL_VERSION, bulkConnection } });
    const ready = await answer("ready");
    const leaving = new AbortController();
    const bulk = new BulkBytes(client, ready.ticket, signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal);
    const cancel = () => {
      leaving.abort(new Error("the put is over"));
      call.cancel();
    };
    /** What the call says of it that no more bytes could be sent. */
    const reasonOf = async (error: unknown): Promise<never> => {
      const late = setTimeout(cancel, REASON_MS);
      try {
        await responses.next();
      } finally {
        clearTimeout(late);
      }
      throw error;
    };
    return {
      ready: {
        received: seqIn(ready.received, opening.index),
        known: parseCursors(ready.received),
        index: ready.index,
        digest: ready.digest,
      },
      async offer(entries) {
        ask({ $case: "offer", value: { entries: entries.map(toWireEntry) } });
        const wants = (await answer("wants")).wants.map(fromWireWant);
        bulk.parts = new Map(wants.map(({ hash }, part) => [hash, part]));
        return wants;
      },
      async begin(size) {
        if (await bulk.begin(size)) ask({ $case: "bulk", value: {} });
      },
      async bytes(hash, offset, bytes) {
        if (bulk.isOpen) return bulk.send(hash, offset, bytes).catch(reasonOf);
        await call.send({ kind: { $case: "bytes", value: { sha256: hash, offset: BigInt(offset), chunk: asBuffer(bytes) } } });
        givePiece(bytes);
      },
      async recipe(hash, recipe) {
        ask({ $case: "recipe", value: { sha256: hash, recipe: asBuffer(recipe) } });
        const { parts } = await answer("parts");
        return parts.map(({ offset, length }) => ({ hash, offset: Number(offset), length: Number(length) }));
      },
      async commit(missing) {
        if (bulk.isOpen) await bulk.end().catch(reasonOf);
        ask({ $case: "commit", value: { missing: [...missing] } });
        const { placed, conflicts, removed, refused } = await answer("ack");
        return { placed: Number(placed), conflicts: Number(conflicts), removed: Number(removed), refused: refused.map(fromWireRefusal) };
      },
      async done({ index, seq, digest }) {
        ask({ $case: "done", value: { cursor: formatCursors([{ index, seq }]), digest, received: "", files: 0n, pending: 0n } });
        const end = fromWireEnd(await answer("end"), opening.index);
        call.end();
        return end;
      },
      cancel,
    };
  } catch (error) {
    call.cancel();
    throw error;
  }
}

/** The bulk connection of a put: opened when it is first worth it, and used for each offer that it is worth it for. */
class BulkBytes {
  readonly #client: Client;
  readonly #ticket: Uint8Array;
  readonly #signal: AbortSignal;
  #sender: BulkSender | null = null;
  /** What is sent now goes over it. */
  isOpen = false;
  /** The wants of the last offer, by their place. */
  parts: ReadonlyMap<string, number> = new Map();

  constructor(client: Client, ticket: Uint8Array, signal: AbortSignal) {
    this.#client = client;
    this.#ticket = ticket;
    this.#signal = signal;
  }

  /** True where so many bytes go over it. */
  async begin(size: number): Promise<boolean> {
    const dial = bulkDialOf(this.#client, size);
    if (!dial || this.#ticket.length === 0) return false;
    this.#sender ??= await dialBulkSender(dial, this.#ticket, this.#signal);
    this.isOpen = this.#sender !== null;
    if (!this.isOpen) giveUpBulk(this.#client);
    return this.isOpen;
  }

  async send(hash: string, offset: number, bytes: Uint8Array): Promise<void> {
    const part = this.parts.get(hash);
    if (part !== undefined) await this.#sender?.send({ part, offset, bytes });
  }

  async end(): Promise<void> {
    this.isOpen = false;
    await this.#sender?.end();
  }
}
