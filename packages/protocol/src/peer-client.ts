import {
  PROTOCOL_VERSION,
  SyncError,
  formatVector,
  parseVector,
  type ChangeBatch,
  type ChangeCount,
  type Codec,
  type DigestEntry,
  type MemberWord,
  type NodeName,
  type SqlValue,
  type VersionVector,
} from "@scoutsync/core";
import {
  DigestRequest,
  GetChangesRequest,
  ListReviewsRequest,
  SyncNodeClient,
  VerifyRequest,
  type GetChangesResponse,
  type PingResponse,
  type PushChangesResponse,
  type SyncNodeService,
  type SyncRequest,
  type SyncResponse,
  type VerifyResponse,
} from "../gen/scoutsync/v1/sync_node.ts";
import { answeringOf, type Answering } from "./answering.ts";
import { BatchAssembler, knownCodecs, toWireBatches } from "./batch.ts";
import { askClock, decides, type ClockQuestion, type OwnClock } from "./clock.ts";
import { bidi, createClient, serverStream, unary, type Dial, type ServiceClient, type StreamOptions } from "./client.ts";
import { fileClient, type FileClient } from "./file-client.ts";
import { fromWireCount, fromWireDigestEntry } from "./people.ts";
import { asBuffer, fromWireColumns } from "./value.ts";
import { toWireKnownNode } from "./known-node.ts";
import { fromWireVector, toWireVector } from "./vector.ts";
import { checkProtocol } from "./version.ts";

/** A node that is being called. Its methods named in `@scoutsync/session`'s `Peer` are that interface. */
export interface PeerClient extends FileClient {
  readonly address: string;
  readonly client: ServiceClient<typeof SyncNodeService>;
  ping(options?: StreamOptions): Promise<PingResponse>;
  getChanges(request: ChangesRequest, signal?: AbortSignal): AsyncIterable<ChangeBatch>;
  openPush(opening: { database: string; name: string; run: string; baseline: string }, signal?: AbortSignal): Promise<PushStream>;
  count(database: string, since: VersionVector, signal?: AbortSignal): Promise<ChangeCount>;
  digest(request: DigestQuestion, signal?: AbortSignal): Promise<{ vector: VersionVector; entries: DigestEntry[] }>;
  rows(request: { database: string; table: string; keys: string[] }, signal?: AbortSignal): Promise<RowColumns[]>;
  keptOut(database: string, limit: number, signal?: AbortSignal): Promise<{ table: string; key: string }[]>;
  wholeRows(
    request: { database: string; table: string; keys: string[]; codecs: readonly Codec[] },
    signal?: AbortSignal,
  ): Promise<ChangeBatch>;
  /** Asks the node to run one session; the last message carries the result. */
  sync(request: SyncRequest, signal?: AbortSignal): AsyncIterable<SyncResponse>;
  verify(
    request: { peer: string; databases?: string[]; deep?: boolean; repair?: boolean; noFiles?: boolean },
    options?: StreamOptions,
  ): Promise<VerifyResponse>;
  /** Ends every call and lets go of the connection. */
  close(): void;
}

interface ChangesRequest {
  database: string;
  since: VersionVector;
  position: VersionVector;
  run: string;
  callerRun: string;
  caller: NodeName;
  terms: string;
  beyondDigest: Uint8Array;
  digest: Uint8Array;
  codecs: readonly Codec[];
  batchSize: number;
  follow: boolean;
  baseline: string;
  floor: VersionVector;
  members: readonly MemberWord[];
}
interface DigestQuestion {
  database: string;
  table: string;
  buckets: number[];
  deep: boolean;
}
interface RowColumns {
  key: string;
  columns: { name: string; value: SqlValue }[] | null;
}
interface PushAck {
  received: number;
  applied: number;
  conflicts: number;
  parked: number;
  final: boolean;
  vector: VersionVector;
  digest: Uint8Array;
  verified: boolean;
}
interface PushStream {
  readonly ready: {
    vector: VersionVector;
    position: VersionVector;
    beyondDigest: Uint8Array;
    codecs: readonly Codec[];
    node: NodeName | null;
    baseline: string;
    floor: VersionVector;
  };
  send(batch: ChangeBatch): Promise<void>;
  end(): void;
  readonly acks: AsyncIterable<PushAck>;
  cancel(): void;
}

/** A digest of a whole table or a deep one reads rows; it may take minutes on a large database. */
const DIGEST_DEADLINE_MS = 10 * 60_000;

/**
 * Opens a channel to the node at `host:port`. Nothing is sent before the first call. With a clock, every contact measures
 * how far the other node's is off.
 */
export function connectPeer(address: string, clock?: OwnClock, dial: Dial = createClient): PeerClient {
  const client = dial(address, SyncNodeClient);
  return {
    address,
    client,
    async ping(options) {
      const question = clock && askClock(clock);
      const callerTimeUs = question?.reading.sentUs ?? BigInt(Date.now()) * 1000n;
      const answering = answeringOf(client);
      const request = { callerTimeUs, callerNodeId: clock?.nodeId, callerCorrectionUs: question?.reading.correctionUs };
      const response = await unary(client, "ping", request, { ...options, onCall: answering.onCall });
      answering.check(response.nodeId);
      const { nodeId, timeUs, clock: status } = response;
      const correctionUs = status && decides(status.compared) ? status.correctionUs : undefined;
      // Answered at once, so the two times are one.
      question?.answered({ nodeId, receivedUs: timeUs, sentUs: timeUs, correctionUs });
      return response;
    },
    getChanges(request, signal) {
      const question = clock && askClock(clock);
      const wire = { ...wireRequest(request), clock: question?.reading };
      const answering = answeringOf(client);
      const stream = serverStream(client, "getChanges", wire, { signal, onCall: answering.onCall });
      return batches(stream, address, { question, answering });
    },
    openPush: (opening, signal) => openPush(client, opening, signal, clock),
    async count(database, since, signal) {
      const request = GetChangesRequest.create({ database, since: formatVector(since), countOnly: true, protocol: PROTOCOL_VERSION });
      for await (const { count } of serverStream(client, "getChanges", request, { signal, deadlineMs: DIGEST_DEADLINE_MS })) {
        if (count) return fromWireCount(count);
      }
      throw silent(address, "a count");
    },
    async digest(request, signal) {
      const wire = DigestRequest.create(request);
      const response = await unary(client, "digest", wire, { signal, deadlineMs: DIGEST_DEADLINE_MS });
      return { vector: parseVector(response.vector), entries: response.entries.map(fromWireDigestEntry) };
    },
    async rows(request, signal) {
      const response = await unary(client, "digest", DigestRequest.create(request), { signal });
      return response.rows.map(({ key, present, columns }) => ({ key, columns: present ? fromWireColumns(columns) : null }));
    },
    async keptOut(database, limit, signal) {
      const request = ListReviewsRequest.fromPartial({ database, kind: "parked", limit });
      const { reviews } = await unary(client, "listReviews", request, { signal, deadlineMs: DIGEST_DEADLINE_MS });
      return reviews.map(({ table, key }) => ({ table, key }));
    },
    async wholeRows({ database, table, keys, codecs }, signal) {
      const request = GetChangesRequest.create({ database, wholeRows: { table, keys }, codecs: [...codecs], protocol: PROTOCOL_VERSION });
      const stream = serverStream(client, "getChanges", request, { signal, deadlineMs: DIGEST_DEADLINE_MS });
      for await (const batch of batches(stream, address)) return batch;
      throw silent(address, "a question for rows");
    },
    ...fileClient(client),
    sync: (request, signal) => serverStream(client, "sync", request, { signal }),
    verify: (request, options) => unary(client, "verify", VerifyRequest.create(request), { deadlineMs: DIGEST_DEADLINE_MS, ...options }),
    close: () => client.close(),
  };
}

function wireRequest(request: ChangesRequest): GetChangesRequest {
  return GetChangesRequest.create({
    database: request.database,
    since: formatVector(request.since),
    position: formatVector(request.position),
    run: request.run,
    callerRun: request.callerRun,
    callerNodeId: request.caller.id,
    callerName: request.caller.name,
    terms: request.terms,
    beyondDigest: asBuffer(request.beyondDigest),
    digest: asBuffer(request.digest),
    codecs: [...request.codecs],
    batchSize: request.batchSize,
    whole: true,
    follow: request.follow,
    baseline: request.baseline,
    floor: toWireVector(request.floor),
    members: request.members.map(toWireKnownNode),
    protocol: PROTOCOL_VERSION,
  });
}

async function* batches(
  responses: AsyncIterable<GetChangesResponse>,
  address: string,
  { question, answering }: { question?: ClockQuestion | undefined; answering?: Answering } = {},
): AsyncGenerator<ChangeBatch> {
  const assembler = new BatchAssembler({ ownsMessages: true });
  for await (const { batch, clock } of responses) {
    answering?.check(clock?.nodeId ?? "");
    if (clock) question?.answered(clock);
    if (!batch) continue;
    checkProtocol(batch.protocol, address);
    const whole = assembler.add(batch);
    answering?.check(whole?.node?.id ?? "");
    if (whole) yield whole;
  }
}

async function openPush(
  client: ServiceClient<typeof SyncNodeService>,
  opening: { database: string; name: string; run: string; baseline: string },
  signal: AbortSignal | undefined,
  clock: OwnClock | undefined,
): Promise<PushStream> {
  const question = clock && askClock(clock);
  const answering = answeringOf(client);
  const call = bidi(client, "pushChanges", { signal, onCall: answering.onCall });
  const responses = call.responses[Symbol.asyncIterator]();
  try {
    const open = { ...opening, protocol: PROTOCOL_VERSION, clock: question?.reading };
    // Not awaited: a refusal comes through the responses, with its reason.
    call.send({ kind: { $case: "open", value: open } }).catch(() => {});
    const first = await responses.next();
    const kind = first.done ? undefined : first.value.kind;
    if (kind?.$case !== "ready") throw silent(client.address, "the opening of a push");
    const ready = kind.value;
    answering.check(ready.nodeId);
    answering.check(ready.clock?.nodeId ?? "");
    question?.answered(ready.clock);
    checkProtocol(ready.protocol, client.address);
    return {
      ready: {
        vector: parseVector(ready.vector),
        position: parseVector(ready.position),
        beyondDigest: ready.beyondDigest,
        codecs: knownCodecs(ready.codecs),
        node: ready.nodeId === "" ? null : { id: ready.nodeId, name: ready.nodeName },
        baseline: ready.baseline,
        floor: fromWireVector(ready.floor),
      },
      async send(batch) {
        for (const value of toWireBatches(batch)) await call.send({ kind: { $case: "batch", value } });
      },
      end: () => call.end(),
      acks: acks(responses),
      cancel: () => call.cancel(),
    };
  } catch (error) {
    call.cancel();
    throw error;
  }
}

function silent(address: string, what: string): SyncError {
  return new SyncError({
    code: "PEER_FAILED",
    message: `${address} ended the call without an answer to ${what}`,
    action: "Try again; if it happens again, look at that side's log.",
  });
}

async function* acks(responses: AsyncIterator<PushChangesResponse>): AsyncGenerator<PushAck> {
  try {
    for (let next = await responses.next(); !next.done; next = await responses.next()) {
      const { kind } = next.value;
      if (kind?.$case !== "ack") continue;
      const ack = kind.value;
      yield {
        received: Number(ack.received),
        applied: Number(ack.applied),
        conflicts: Number(ack.conflicts),
        parked: Number(ack.parked),
        final: ack.final,
        vector: parseVector(ack.vector),
        digest: ack.digest,
        verified: ack.verified,
      };
    }
  } finally {
    await responses.return?.();
  }
}
