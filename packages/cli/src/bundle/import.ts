import { EMPTY_VECTOR, PROTOCOL_VERSION, SyncError, formatVector, isCovered, join, parseVector, type VersionVector } from "@scoutsync/core";
import {
  bidi,
  checkProtocol,
  fromWireVector,
  unary,
  type Batch,
  type Duplex,
  type PushAck,
  type PushChangesRequest,
  type PushChangesResponse,
  type PushReady,
} from "@scoutsync/protocol";
import { QUICK_DEADLINE_MS, type NodeConnection } from "../connect.ts";
import { unreadable, type BundleHead } from "./layout.ts";
import { importFiles, type ImportedFiles } from "./import-files.ts";
import { carryRevocations } from "./revocations.ts";
import { BundleReader } from "./reader.ts";

export interface Imported {
  database: string;
  /** Name of the node the bundle was exported from, and when. */
  from: string;
  created: string;
  /** Changes in the batches taken now, and those of them that were new here. */
  received: number;
  applied: number;
  /** Changes in batches that were here already. */
  skipped: number;
  conflicts: number;
  parked: number;
  /** Rows of which the node keeps values for tables or columns that its database does not have. */
  held: number;
  /** Where the node stands now. */
  vector: string;
  /** The node now holds exactly what the exporting one held. */
  verified: boolean;
}

/**
 * Tells the node who was put out of the fleet, then pushes a bundle's batches to it, each after its checksum, one after the
 * other, and passes over those that are there already: that is how an import that was cut off goes on. A bundle of files goes
 * to `importFiles`. Throws what reading the file or the node refuses; what was acknowledged before stays.
 */
export async function importBundle(
  client: NodeConnection,
  path: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Imported | ImportedFiles> {
  const { reader, head } = await BundleReader.open(path);
  try {
    await carryRevocations(client, head.revocations);
    if (head.root !== undefined) return await importFiles(client, reader, head, onProgress);
    const push = await NodePush.open(client, head);
    try {
      await refuseBehind(push, path, head);
      const taken = await pushAll(push, reader, head, onProgress);
      return { ...taken, held: await heldBy(client, head.database) };
    } finally {
      push.cancel();
    }
  } finally {
    await reader.close();
  }
}

/**
 * Throws PEER_BEHIND, before anything is sent, where the node has forgotten deleted rows that the bundle may still hold: the node
 * itself learns with the last batch only where the exporting one stood. A bundle that does not say so in its head is read to its end.
 */
async function refuseBehind({ ready, address }: NodePush, path: string, { database, node, vector }: BundleHead): Promise<void> {
  const floor = fromWireVector(ready.floor);
  // What it says was so before the export: its end has that or more.
  if (isCovered(floor, parseVector(vector ?? ""))) return;
  const end = await endOf(path);
  // What is there already changes nothing.
  if (isCovered(floor, end) || isCovered(end, parseVector(ready.vector))) return;
  throw new SyncError({
    code: "PEER_BEHIND",
    message: `${path} is of "${node}" when that had been away for so long that rows deleted meanwhile have been forgotten at ${address}`,
    action:
      `Nothing was applied. The next session that "${node}" runs itself joins it again; nothing that is new there is lost. ` +
      `Where it is gone and this bundle has all that it held (exported without --since and --for): start a new node on a database "${database}" with the same tables, empty, import the bundle there, and have that one run a session.`,
  });
}

/** Where the exporting node stood at the end of the bundle. Throws BUNDLE_UNREADABLE when the file is not whole. */
async function endOf(path: string): Promise<VersionVector> {
  const { reader } = await BundleReader.open(path);
  try {
    let end: VersionVector = EMPTY_VECTOR;
    for await (const batch of reader.batches()) if (batch.part < 2 && batch.final) end = fromWireVector(batch.vector);
    return end;
  } finally {
    await reader.close();
  }
}

/** What the node holds of others that has no place in its database yet. */
async function heldBy(client: NodeConnection, database: string): Promise<number> {
  const { databases } = await unary(client, "ping", { callerTimeUs: 0n }, { deadlineMs: QUICK_DEADLINE_MS });
  return Number(databases.find(({ name }) => name === database)?.held ?? 0n);
}

async function pushAll(
  push: NodePush,
  reader: BundleReader,
  { database, node, run, created }: BundleHead,
  onProgress: (done: number, total: number) => void,
): Promise<Imported> {
  const known = join(parseVector(push.ready.vector), parseVector(push.ready.position));
  const result: Imported = {
    database,
    from: node,
    created,
    received: 0,
    applied: 0,
    skipped: 0,
    conflicts: 0,
    parked: 0,
    held: 0,
    vector: push.ready.vector,
    verified: false,
  };
  let passing = false;
  let first = true;
  let ended = false;
  for await (const batch of reader.batches()) {
    const starts = batch.part < 2;
    if (starts) {
      if (ended || batch.run !== run) throw unreadable(reader.path, "holds more than one stream");
      if (first && !isCovered(fromWireVector(batch.from), known)) throw gap(push, reader.path, database);
      first = false;
      ended = batch.final;
      passing = !batch.final && isCovered(fromWireVector(batch.to), known);
      if (passing) result.skipped += batch.count;
    }
    if (passing) continue;
    const whole = batch.parts < 2 || batch.part === batch.parts;
    const ack = await push.send(batch, whole);
    if (!ack) continue;
    result.received += Number(ack.received);
    result.applied += Number(ack.applied);
    result.conflicts += Number(ack.conflicts);
    result.parked += Number(ack.parked);
    onProgress(result.received + result.skipped, result.received + result.skipped + Number(batch.remaining));
    if (ack.final) Object.assign(result, { vector: ack.vector, verified: ack.verified });
  }
  if (!ended) throw unreadable(reader.path, "holds a stream without its end");
  return result;
}

/** One push stream, message by message as they stand in the file: nothing is unpacked on the way. */
class NodePush {
  readonly ready: PushReady;
  readonly address: string;
  readonly #call: Duplex<PushChangesRequest, PushChangesResponse>;
  readonly #responses: AsyncIterator<PushChangesResponse>;

  private constructor(
    address: string,
    ready: PushReady,
    call: Duplex<PushChangesRequest, PushChangesResponse>,
    responses: AsyncIterator<PushChangesResponse>,
  ) {
    this.address = address;
    this.ready = ready;
    this.#call = call;
    this.#responses = responses;
  }

  static async open(client: NodeConnection, { database, node, run }: BundleHead): Promise<NodePush> {
    const call = bidi(client, "pushChanges");
    const responses = call.responses[Symbol.asyncIterator]();
    try {
      // Not awaited: a refusal comes through the responses, with its reason.
      call
        .send({ kind: { $case: "open", value: { database, name: node, run, protocol: PROTOCOL_VERSION, baseline: "" } } })
        .catch(() => {});
      const first = await responses.next();
      const kind = first.done ? undefined : first.value.kind;
      if (kind?.$case !== "ready") throw silent(client.address);
      checkProtocol(kind.value.protocol, client.address, "this program");
      return new NodePush(client.address, kind.value, call, responses);
    } catch (error) {
      call.cancel();
      throw error instanceof SyncError && error.code === "DATABASE_NOT_FOUND" ? foreign(client.address, database) : error;
    }
  }

  /** Sends one message; after the last one of a batch, resolves with its acknowledgement. */
  async send(batch: Batch, whole: boolean): Promise<PushAck | null> {
    const sent = this.#call.send({ kind: { $case: "batch", value: batch } });
    if (!whole) {
      // The responses say why the node ended the stream; a failed write only says that it did.
      await sent.catch(() => this.#next());
      return null;
    }
    sent.catch(() => {});
    return this.#next();
  }

  cancel(): void {
    this.#call.cancel();
  }

  async #next(): Promise<PushAck> {
    const next = await this.#responses.next();
    const kind = next.done ? undefined : next.value.kind;
    if (kind?.$case !== "ack") throw silent(this.address);
    return kind.value;
  }
}

function gap({ ready, address }: NodePush, path: string, database: string): SyncError {
  const stands = ready.vector;
  return new SyncError({
    code: "BATCH_GAP",
    message: `${path} begins after changes that "${database}" at ${address} does not have`,
    action: `Import the earlier bundles first, or export again with --since ${stands === "" ? '""' : formatVector(parseVector(stands))}`,
  });
}

function foreign(address: string, database: string): SyncError {
  return new SyncError({
    code: "NOT_FOUND",
    message: `the bundle is for database "${database}", which ${address} does not have`,
    action: "Import it at a node that was started with --db under this name; see `scoutsync ping` for what a node has.",
  });
}

function silent(address: string): SyncError {
  return new SyncError({
    code: "PEER_FAILED",
    message: `${address} ended the call without an answer`,
    action: "Import again; it goes on where it stopped. If it happens again, look at the node's log.",
  });
}
