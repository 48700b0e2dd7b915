import {
  checkTerms,
  DEFAULT_BATCH_CHANGES,
  SyncError,
  isCovered,
  join,
  ownedMemory,
  parseVector,
  Wakeup,
  type ChangeBatch,
  type VersionVector,
  longestOf,
} from "@scoutsync/core";
import {
  checkProtocol,
  fromWireKnownNode,
  fromWireVector,
  hearClock,
  knownCodecs,
  tellClock,
  toWireBatches,
  toWireChange,
  toWireCount,
  type ClockReading,
  type GetChangesRequest,
  type GetChangesResponse,
} from "@scoutsync/protocol";
import type { Replica } from "@scoutsync/replica";
import type { Speaker } from "@scoutsync/trust";
import { checkFloor, meet, otherFile, readTelling, type SessionDatabase } from "@scoutsync/session";
import type { NodeContext } from "../context.ts";
import type { Outbox } from "./calls.ts";

/** Changes per message of a readable stream: small enough to appear at once on a terminal. */
const READABLE_PAGE = 500;
/** Largest batch a caller may ask for. */
const MAX_BATCH_CHANGES = 100_000;

/** A payload up to this size travels with the clock, bytes. */
const LITTLE_BYTES = 16 * 1024;

type Answers = Outbox<GetChangesResponse>;

/** Streams what the caller lacks: packed batches, or one count, or changes for people. */
export async function getChanges(
  context: NodeContext,
  request: GetChangesRequest,
  outbox: Answers,
  signal: AbortSignal,
  speaker: Speaker,
): Promise<void> {
  speaker.speaksFor(request.callerNodeId);
  const receivedUs = context.clock.nowUs();
  checkProtocol(request.protocol, "the caller", `node "${context.name}"`);
  const database = context.databases.get(request.database);
  const { replica } = database;
  const since = parseVector(request.since);
  if (request.countOnly) {
    const count = toWireCount(await replica.count(since));
    return outbox.write({ batch: undefined, changes: [], count });
  }
  if (request.readable) return readable(replica, since, request, outbox, signal);
  if (context.receiveOnly) {
    throw new SyncError({
      code: "RECEIVE_ONLY",
      message: `node "${context.name}" only receives and sends its changes to nobody`,
      action: "Fetch from another node, or start this one without --receive-only.",
    });
  }
  if (request.clock) {
    speaker.speaksFor(request.clock.nodeId);
    // Before anything is read: what nobody has seen yet is stamped by the right time.
    hearClock(context.clock, request.clock);
  }
  const answers = request.clock ? tellingClock(outbox, () => tellClock(context.clock, receivedUs)) : { outbox, tell: async () => {} };
  try {
    if (request.wholeRows) {
      const { table, keys } = request.wholeRows;
      const batch = await replica.wholeRows({ table, keys, codecs: knownCodecs(request.codecs) });
      await sendBatch(batch, answers.outbox);
      return;
    }
    if (request.callerRun !== "") checkTerms(request.database, replica.terms, request.terms);
    await batches(context, database, since, request, answers.outbox, signal);
  } catch (error) {
    // Whoever is refused compares clocks all the same.
    if (!signal.aborted) await answers.tell();
    throw error;
  }
}

/**
 * Answers of which the first says what time it is here: a message less for an answer that says little else. Before one that is
 * long on its way the time goes alone; `tell` is for where none comes.
 */
function tellingClock(outbox: Answers, reading: () => ClockReading): { outbox: Answers; tell(): Promise<void> } {
  let isTold = false;
  const tell = async () => {
    if (isTold) return;
    isTold = true;
    await outbox.write({ batch: undefined, changes: [], count: undefined, clock: reading() });
  };
  return {
    tell,
    outbox: {
      async write(response, written) {
        if (isTold || (response.batch?.payload.length ?? 0) > LITTLE_BYTES) {
          await tell();
          return outbox.write(response, written);
        }
        isTold = true;
        return outbox.write({ ...response, clock: reading() }, written);
      },
    },
  };
}

async function batches(
  context: NodeContext,
  { replica, acquaintances }: SessionDatabase,
  since: VersionVector,
  request: GetChangesRequest,
  outbox: Answers,
  signal: AbortSignal,
): Promise<void> {
  const { callerRun, follow } = request;
  await meet(replica, request.baseline);
  const { vector } = replica.state;
  const floor = fromWireVector(request.floor);
  const caller = request.callerName === "" ? "whoever asks" : `node "${request.callerName}"`;
  checkFloor(replica.state.floor, { side: "caller", name: caller, vector: since });
  checkFloor(floor, { side: "peer", name: `node "${context.name}"`, vector });
  const limit = request.limit === 0n ? Number.POSITIVE_INFINITY : Number(request.limit);
  const pace = context.limits.rows;
  const batchSize = pace.batchSize(Math.min(request.batchSize || DEFAULT_BATCH_CHANGES, MAX_BATCH_CHANGES), DEFAULT_BATCH_CHANGES);
  const codecs = knownCodecs(request.codecs);
  // Someone who asks for so many changes wants no more.
  const whole = request.whole && request.limit === 0n;
  let from = request.run === replica.run ? join(since, parseVector(request.position)) : since;
  let beyondDigest: Uint8Array = request.beyondDigest;
  let beyondAfter: ChangeBatch["beyondTo"];
  let learn = request.members.length > 0 ? request.members.map(fromWireKnownNode) : undefined;
  let sent = 0;

  const { callerNodeId: id, callerName } = request;
  const node = id === "" ? null : { id, name: callerName };
  acquaintances.learn(callerRun, since, node);
  const changed = new Wakeup();
  const { run } = replica;
  const read = readTelling(replica);
  const stops = follow ? [replica.onChange(changed.raise), acquaintances.follow(callerRun, node)] : [];
  try {
    while (!signal.aborted) {
      const most = Math.min(batchSize, limit - sent);
      const batch = await read({ from, batchSize: most, codecs, beyondDigest, whole, beyondAfter, floor, learn });
      beyondAfter = batch.beyondTo;
      learn = undefined;
      await pace.changes.pass(batch.count, signal);
      // A large transaction is one batch in many messages.
      await sendBatch(batch, outbox, (bytes) => pace.bytes.pass(bytes, signal));
      from = join(from, batch.to);
      sent += batch.count;
      if (sent >= limit) return;
      if (!batch.final) continue;
      if (!follow) return;
      // The receiver joins our vector at the end of a stream, and has taken what we hold beyond it.
      from = join(from, batch.vector);
      beyondDigest = batch.beyondDigest;
      // What the caller itself pushed here moves our vector too, and is not news to it.
      await changed.until(
        () => replica.run !== run || !isCovered(replica.state.vector, join(from, acquaintances.known(callerRun, node))),
        signal,
      );
      // With less than before it has nothing to send, and the caller may be the one who has what it lost.
      if (replica.run !== run) throw otherFile(replica.name);
      from = join(from, acquaintances.known(callerRun, node));
    }
    signal.throwIfAborted();
  } finally {
    for (const stop of stops) stop();
  }
}

/**
 * Writes a batch, a message at a time after `before`, which is told its bytes. The memory of a large payload is given back when
 * the transport has a copy of it: the collector may come by only when there are several.
 */
async function sendBatch(batch: ChangeBatch, outbox: Answers, before: (bytes: number) => Promise<void> = async () => {}): Promise<void> {
  const memory = ownedMemory(batch.payload);
  const messages = toWireBatches(batch);
  let left = messages.length;
  for (const wire of messages) {
    await before(wire.payload.length);
    await outbox.write({ batch: wire, changes: [], count: undefined }, () => {
      if (--left === 0) memory?.transfer(0);
    });
  }
}

async function readable(
  replica: Replica,
  since: VersionVector,
  { limit, follow }: GetChangesRequest,
  outbox: Answers,
  signal: AbortSignal,
): Promise<void> {
  let left = limit === 0n ? Number.POSITIVE_INFINITY : Number(limit);
  let from = since;
  const changed = new Wakeup();
  const stop = follow ? replica.onChange(changed.raise) : () => {};
  try {
    while (left > 0 && !signal.aborted) {
      await replica.drain();
      const { vector } = replica.state;
      const page = await replica.readable(from, Math.min(left, READABLE_PAGE));
      left -= page.changes.length;
      const longest = longestOf(page.changes.flatMap(({ columns }) => columns.map(({ value }) => value)));
      const changes = page.changes.map((change) => toWireChange(change, longest));
      if (changes.length > 0) await outbox.write({ batch: undefined, changes, count: undefined });
      if (page.next) {
        from = page.next;
        continue;
      }
      if (!follow) return;
      from = join(from, vector);
      await changed.until(() => !isCovered(replica.state.vector, from), signal);
    }
  } finally {
    stop();
  }
}
