import type { handleBidiStreamingCall, handleServerStreamingCall, handleUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { SyncError, Wakeup } from "@scoutsync/core";
import { toStatus } from "@scoutsync/protocol";
import type { Speaker } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";

/** Responses of one stream that the transport has not taken yet: with 1 MiB batches this bounds a slow reader's memory. */
const MAX_UNWRITTEN = 4;

/** Why a call's signal aborted when its caller went away: never seen by anyone, so it is no SyncError. */
export class CallerGone extends Error {}

/** Where a handler puts its responses. */
export interface Outbox<P> {
  /**
   * Resolves when the next one may be written. Rejects when the caller is gone or the node stops. `written` is called when the
   * transport has a copy of this one; never where the caller is gone before.
   */
  write(response: P, written?: () => void): Promise<void>;
}

/** A unary handler from an async function; what it throws becomes the status. */
export function answering<Q, P>(
  context: NodeContext,
  answer: (request: Q, signal: AbortSignal, speaker: Speaker) => Promise<P> | P,
): handleUnaryCall<Q, P> {
  return (call, callback: sendUnaryData<P>) => {
    const caller = new AbortController();
    // Also emitted after a call that went well; then nobody listens any more.
    call.once("cancelled", () => caller.abort(new CallerGone()));
    const signal = AbortSignal.any([caller.signal, context.stopping]);
    const respond = async () => {
      try {
        callback(null, await answer(call.request, signal, context.speakerOf(call)));
      } catch (error) {
        callback(failure(context, call.getPath(), error));
      }
    };
    void respond();
  };
}

/** A server-streaming handler. Never left hanging: the caller going away and the node stopping reject the next write. */
export function streaming<Q, P>(
  context: NodeContext,
  serve: (request: Q, outbox: Outbox<P>, signal: AbortSignal, speaker: Speaker) => Promise<void>,
): handleServerStreamingCall<Q, P> {
  return (call) => {
    const { signal, outbox } = watch(context, call);
    serve(call.request, outbox, signal, context.speakerOf(call)).then(
      () => call.end(),
      (error: unknown) => fail(context, call, signal, error),
    );
  };
}

/** A bidirectional handler. `requests` ends when the caller has sent everything, or is gone: the two look the same. */
export function conversing<Q, P>(
  context: NodeContext,
  converse: (requests: AsyncIterable<Q>, outbox: Outbox<P>, signal: AbortSignal, speaker: Speaker) => Promise<void>,
): handleBidiStreamingCall<Q, P> {
  return (call) => {
    const { signal, outbox } = watch(context, call);
    converse(requestsOf<Q>(call, signal), outbox, signal, context.speakerOf(call)).then(
      () => call.end(),
      (error: unknown) => fail(context, call, signal, error),
    );
  };
}

interface WritableCall<P> {
  once(event: "cancelled", listener: () => void): unknown;
  emit(event: "error", status: ReturnType<typeof toStatus>): boolean;
  write(response: P, written: () => void): boolean;
  getPath(): string;
  getPeer(): string;
}

interface ReadableCall<Q> {
  on(event: "data", listener: (request: Q) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

function watch<P>(context: NodeContext, call: WritableCall<P>): { signal: AbortSignal; outbox: Outbox<P> } {
  const caller = new AbortController();
  call.once("cancelled", () => caller.abort(new CallerGone()));
  const signal = AbortSignal.any([caller.signal, context.stopping]);
  let unwritten = 0;
  const written = new Wakeup();
  return {
    signal,
    outbox: {
      async write(response, done) {
        signal.throwIfAborted();
        unwritten += 1;
        call.write(response, () => {
          unwritten -= 1;
          done?.();
          written.raise();
        });
        // The signal matters: write callbacks stop coming once a call is cancelled, and so does "drain".
        await written.until(() => unwritten < MAX_UNWRITTEN, signal);
        signal.throwIfAborted();
      },
    },
  };
}

/**
 * The requests of a call, read no faster than they are taken. Throws the signal's reason. Not the call's own iterator:
 * that destroys the call when it is left, and with it the status that says why.
 */
async function* requestsOf<Q>(call: ReadableCall<Q>, signal: AbortSignal): AsyncGenerator<Q> {
  const arrived: Q[] = [];
  const changed = new Wakeup();
  let ended = false;
  call.on("data", (request) => {
    arrived.push(request);
    call.pause();
    changed.raise();
  });
  call.on("end", () => {
    ended = true;
    changed.raise();
  });
  for (;;) {
    await changed.until(() => arrived.length > 0 || ended, signal);
    const next = arrived.shift();
    if (next !== undefined) {
      yield next;
      if (arrived.length === 0) call.resume();
    } else if (ended) return;
    else signal.throwIfAborted();
  }
}

function fail<P>(context: NodeContext, call: WritableCall<P>, signal: AbortSignal, error: unknown): void {
  if (signal.aborted && signal.reason instanceof CallerGone) return;
  call.emit("error", failure(context, call.getPath(), error));
}

function failure(context: NodeContext, path: string, error: unknown): ReturnType<typeof toStatus> {
  // The caller gets the message; a defect's stack belongs in our own log.
  if (!(error instanceof SyncError) || error.code === "INTERNAL") context.logger.error({ err: error, call: path }, "a call failed");
  return toStatus(error);
}
