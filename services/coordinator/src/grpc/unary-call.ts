import type { handleUnaryCall, ServerUnaryCall } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { toStatus } from "@scoutsync/protocol";

/** A unary call that answers with what `work` returns, or with the status of what it throws. */
export function unaryCall<Q, P>(
  work: (request: Q, call: ServerUnaryCall<Q, P>, signal: AbortSignal) => P | Promise<P>,
  stopped: AbortSignal,
): handleUnaryCall<Q, P> {
  return (call, callback) => {
    const cancelled = new AbortController();
    call.once("cancelled", () => cancelled.abort());
    const answer = async () => {
      if (stopped.aborted) throw stopping();
      return work(call.request, call, AbortSignal.any([cancelled.signal, stopped]));
    };
    const respond = async () => {
      try {
        callback(null, await answer());
      } catch (error) {
        callback(toStatus(error));
      }
    };
    void respond();
  };
}

export function stopping(): SyncError {
  return new SyncError({ code: "SHUTTING_DOWN", message: "The coordinator is stopping", action: "Try again in a moment." });
}
