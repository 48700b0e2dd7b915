import { PROTOCOL_VERSION, SyncError, formatVector, type ApplyResult } from "@scoutsync/core";
import {
  BatchAssembler,
  asBuffer,
  checkProtocol,
  toWireVector,
  hearClock,
  tellClock,
  type PushAck,
  type PushChangesRequest,
  type PushChangesResponse,
  type PushOpen,
} from "@scoutsync/protocol";
import { CODECS, meet, takeBatch } from "@scoutsync/session";
import type { Speaker } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";
import { sayOriginGivenUp } from "../live-links.ts";
import type { Outbox } from "./calls.ts";

const NO_BYTES = Buffer.alloc(0);

/**
 * Takes batches and acknowledges each after its commit. A stream may end anywhere: a caller that died looks like one
 * that is done, and what it had not sent whole is not applied, so there is nothing to undo.
 */
export async function pushChanges(
  context: NodeContext,
  requests: AsyncIterable<PushChangesRequest>,
  outbox: Outbox<PushChangesResponse>,
  signal: AbortSignal,
  speaker: Speaker,
): Promise<void> {
  const iterator = requests[Symbol.asyncIterator]();
  const open = await opening(iterator);
  if (!open) return;
  const receivedUs = context.clock.nowUs();
  checkProtocol(open.protocol, `node "${open.name}"`, `node "${context.name}"`);
  const { replica, acquaintances } = context.databases.get(open.database);
  speaker.speaksFor(open.clock?.nodeId ?? "");
  hearClock(context.clock, open.clock);
  await meet(replica, open.baseline);
  await replica.drain();
  const position = await replica.position(open.run);
  const beyondDigest = await replica.beyondDigest();
  const { vector, digest, baseline, floor } = replica.state;
  await outbox.write({
    kind: {
      $case: "ready",
      value: {
        vector: formatVector(vector),
        position: formatVector(position),
        beyondDigest: asBuffer(beyondDigest),
        codecs: [...CODECS],
        protocol: PROTOCOL_VERSION,
        digest: asBuffer(digest),
        nodeId: context.nodeId,
        nodeName: context.name,
        clock: tellClock(context.clock, receivedUs),
        baseline,
        floor: toWireVector(floor),
      },
    },
  });
  const assembler = new BatchAssembler({ ownsMessages: true });
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    const { kind } = next.value;
    if (kind?.$case !== "batch") throw unexpected("a batch");
    // The message before it, or the acknowledgement, that it waits for holds the sender back.
    await context.limits.rows.bytes.pass(kind.value.payload.length, signal);
    const batch = assembler.add(kind.value);
    if (!batch) continue;
    await context.limits.rows.changes.pass(batch.count, signal);
    speaker.speaksFor(batch.node?.id ?? "");
    // Before it is applied, so that a stream that follows us from there does not send it back. What no clock comes with may be
    // a bundle, which says what a run had once.
    if (batch.final) acquaintances.learn(open.run, batch.vector, batch.node, open.clock ? "own" : "file");
    const result = await takeBatch(replica, batch);
    if (result.originGivenUp) {
      sayOriginGivenUp(context, open.name, open.database);
      speaker.accuse(`it has changes of "${open.database}" that this run never made`);
    }
    await outbox.write({ kind: { $case: "ack", value: acknowledgement(result, batch.final) } });
  }
}

/** Null when the caller left without a word. */
async function opening(requests: AsyncIterator<PushChangesRequest>): Promise<PushOpen | null> {
  const first = await requests.next();
  if (first.done) return null;
  const { kind } = first.value;
  if (kind?.$case !== "open") throw unexpected("the opening");
  return kind.value;
}

function acknowledgement(result: ApplyResult, final: boolean): PushAck {
  return {
    received: BigInt(result.received),
    applied: BigInt(result.applied),
    conflicts: BigInt(result.conflicts),
    parked: BigInt(result.parked),
    vector: final ? formatVector(result.vector) : "",
    digest: final ? asBuffer(result.digest) : NO_BYTES,
    final,
    verified: final && result.verified === true,
  };
}

function unexpected(what: string): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `a push held something else where ${what} was due`,
    action: "Send `open` first, then only `batch` messages.",
  });
}
