import {
  type ChangeBatch,
  DEFAULT_BATCH_CHANGES,
  EMPTY_VECTOR,
  SyncError,
  isCovered,
  join,
  type NodeName,
  type VersionVector,
  Wakeup,
} from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { backoffMs, pause } from "@scoutsync/runtime";
import type { Acquaintances } from "./acquaintances.ts";
import { Arrivals } from "./arrivals.ts";
import { meet } from "./meet.ts";
import { readTelling } from "./members.ts";
import { checkFloor, isBehind, rejoin, type Rejoined } from "./rejoin.ts";
import type { Peer } from "./peer.ts";
import { ask, pull } from "./pull.ts";
import { PushWindow } from "./push-window.ts";
import type { RowPace } from "./rate.ts";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;
/** Pauses grow no further than after so many failures while a node that was restored waits for what it lost. */
const RESTORED_FAILURES = 3;

export interface LiveOptions {
  replica: Replica;
  peer: Peer;
  acquaintances: Acquaintances;
  nodeName: string;
  /** Take from the peer, send it nothing. */
  receiveOnly: boolean;
  /** As in PullOptions. */
  pace?: RowPace | undefined;
  /** Ends live mode. */
  signal: AbortSignal;
  /** Each time a direction breaks: why, and how long it waits before it tries again. */
  onTrouble?: ((direction: "down" | "up", error: unknown, pauseMs: number) => void) | undefined;
  /** Each time the replica stands where the peer stood; `verified` as in PullResult. */
  onCaughtUp?: ((verified: boolean | null) => void) | undefined;
  /** The replica was away for so long that it had to join again: what became of rows that only it held. */
  onRejoined?: ((rows: Rejoined) => void) | undefined;
  /** As in PullOptions. */
  onDoubt?: ((text: string) => void) | undefined;
  /** As in PullOptions. */
  onOriginGivenUp?: (() => void) | undefined;
  /** Injected for tests. */
  random?: (() => number) | undefined;
}

/**
 * Keeps a database and a peer's in step until the signal aborts: a followed stream down, and a push stream up for as
 * long as the peer does not follow us itself. Each direction comes back by itself after any failure. Never throws.
 */
export async function runLive(options: LiveOptions): Promise<void> {
  const link: Link = { run: "", node: null, looked: false, refusals: 0, given: 0, changed: new Wakeup() };
  await Promise.all([
    persist(
      options,
      "down",
      (progress) => follow(options, link, progress),
      (error) => {
        // It answered, if only to refuse: what we have may still be welcome.
        if (error instanceof SyncError && error.code === "PEER_UNREACHABLE") return;
        if (error instanceof SyncError && error.code === "RESTORED") {
          // It has less than it said, and serves nobody before it was given what others have: by us, if it dials nobody.
          Object.assign(link, { run: "", node: null });
          link.refusals += 1;
        }
        link.looked = true;
        link.changed.raise();
      },
    ),
    options.receiveOnly
      ? null
      : persist(
          options,
          "up",
          (progress) => feed(options, link, progress),
          () => {},
        ),
  ]);
}

/** What the two directions tell each other. */
interface Link {
  /** The peer's run, "" until it has said. */
  run: string;
  /** Which node it is; null where it does not say. */
  node: NodeName | null;
  /** The peer was asked what it has: pushing before that would send it what it may have by now. */
  looked: boolean;
  /** How often the peer refused to serve as it was restored, and how many of these were answered by all that we have. */
  refusals: number;
  given: number;
  readonly changed: Wakeup;
}

/** Repeats `attempt` for ever, pausing longer each time until it makes progress again. */
async function persist(
  { signal, onTrouble, random }: LiveOptions,
  direction: "down" | "up",
  attempt: (progress: () => void) => Promise<void>,
  failed: (error: unknown) => void,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await attempt(() => (failures = 0));
    } catch (error) {
      failed(error);
      if (signal.aborted) return;
      // A peer that only receives is not in trouble; it is asked again in case it is restarted as a full one.
      const refused = error instanceof SyncError && error.code === "RECEIVE_ONLY";
      const ms = refused
        ? LONGEST_PAUSE_MS
        : backoffMs(failures, { firstMs: FIRST_PAUSE_MS, capMs: LONGEST_PAUSE_MS, ...(random && { random }) });
      // One that was restored has answered, and serves as soon as it was given what it lacks.
      const restored = error instanceof SyncError && error.code === "RESTORED";
      failures = restored ? Math.min(failures + 1, RESTORED_FAILURES) : failures + 1;
      if (!refused) onTrouble?.(direction, error, ms);
      await pause(ms, signal);
    }
  }
}

async function follow(
  { replica, peer, acquaintances, pace, signal, onCaughtUp, onDoubt, onOriginGivenUp, onRejoined }: LiveOptions,
  link: Link,
  progress: () => void,
): Promise<void> {
  const arrivals = new Arrivals({
    vector: () => replica.state.vector,
    say: () => ask({ replica, peer, run: link.run, signal }),
    signal,
  });
  const following = pull({
    replica,
    peer,
    acquaintances,
    pace,
    run: link.run,
    follow: true,
    onDoubt,
    onOriginGivenUp,
    signal,
    onProgress: progress,
    onCaughtUp: (result) => {
      link.run = result.run;
      link.node = result.node;
      link.looked = true;
      link.given = link.refusals;
      link.changed.raise();
      arrivals.note();
      onCaughtUp?.(result.verified);
    },
  });
  await following.catch(async (error: unknown) => {
    if (!isBehind(error)) throw error;
    onRejoined?.(await rejoin({ replica, peer, acquaintances, signal }));
    // The stream is opened again.
    progress();
  });
}

/** One push stream: opened when there is something to send, then kept. */
async function feed(
  { replica, peer, acquaintances, nodeName, pace, signal }: LiveOptions,
  link: Link,
  progress: () => void,
): Promise<void> {
  let sent: VersionVector = EMPTY_VECTOR;
  const lacking = () =>
    link.looked &&
    (link.refusals > link.given ||
      (!acquaintances.follows(link.run, link.node) &&
        !isCovered(replica.state.vector, join(sent, acquaintances.known(link.run, link.node)))));
  const stops = [replica.onChange(link.changed.raise), acquaintances.onFollow(link.changed.raise)];
  const stop = new AbortController();
  try {
    await link.changed.until(lacking, signal);
    if (signal.aborted) return;
    const own = replica.run;
    const run = link.run;
    // Another file is in the place of one of the two: what was said when the stream was opened is of the file before.
    const stale = () => replica.run !== own || (run !== "" && link.run !== run);
    const stream = await peer.openPush(
      { database: replica.name, name: nodeName, run: replica.run, baseline: replica.state.baseline },
      AbortSignal.any([signal, stop.signal]),
    );
    await meet(replica, stream.ready.baseline);
    checkFloor(stream.ready.floor, { side: "caller", name: `node "${nodeName}"`, vector: replica.state.vector });
    checkFloor(replica.state.floor, { side: "peer", name: peer.address, vector: stream.ready.vector });
    const window = new PushWindow(stream);
    let over = false;
    void window.over.then(() => {
      over = true;
      link.changed.raise();
    });
    window.onAck = (_batch, ack) => {
      progress();
      if (ack.final) acquaintances.learn(link.run, ack.vector, stream.ready.node, "answer");
    };
    // What the receiver says now is what counts: it may have been restored from a backup since we last met.
    sent = stream.ready.vector;
    const read = readTelling(replica);
    let beyondAfter: ChangeBatch["beyondTo"];
    let from = join(stream.ready.vector, stream.ready.position);
    while (!signal.aborted && !over) {
      if (stale()) return;
      if (lacking()) {
        const { refusals } = link;
        from = join(from, acquaintances.known(link.run, link.node));
        const batch = await read({
          from,
          batchSize: pace?.batchSize(0, DEFAULT_BATCH_CHANGES) ?? 0,
          codecs: stream.ready.codecs,
          beyondDigest: stream.ready.beyondDigest,
          whole: true,
          beyondAfter,
          floor: stream.ready.floor,
        });
        beyondAfter = batch.beyondTo;
        await pace?.pass(batch, signal);
        if (signal.aborted) break;
        await window.send(batch);
        from = join(from, batch.to);
        if (!batch.final) continue;
        sent = join(sent, batch.vector);
        link.given = refusals;
      } else {
        await link.changed.until(() => over || stale() || lacking(), signal);
      }
    }
    if (!signal.aborted) {
      await window.drained();
      throw new SyncError({
        code: "PEER_FAILED",
        message: `${peer.address} ended the push of "${replica.name}"`,
        action: "It is opened again.",
      });
    }
  } finally {
    stop.abort(new Error("the stream was left"));
    for (const end of stops) end();
  }
}
