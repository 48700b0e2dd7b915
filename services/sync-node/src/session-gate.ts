import { SyncError } from "@scoutsync/core";

interface Running {
  epoch: bigint;
  abort: AbortController;
  over: Promise<void>;
}

/**
 * One session per peer at a time, and none that a newer one has been ordered over. Epochs come from whoever hands out
 * the right to run sessions; the highest seen counts, for all peers of this node. Epoch 0 is a person at a command line.
 */
export class SessionGate {
  readonly #running = new Map<string, Running>();
  #highest = 0n;

  /**
   * Runs `session` when it may run. Throws FENCED for an epoch below the highest seen, BUSY when a session with this
   * peer runs already; one that a newer epoch overtakes is ended first, with FENCED.
   */
  async enter<T>(peer: string, epoch: bigint, session: (fenced: AbortSignal) => Promise<T>): Promise<T> {
    if (epoch > 0n && epoch < this.#highest) throw fenced(peer, epoch, this.#highest);
    if (epoch > this.#highest) this.#highest = epoch;
    for (let running = this.#running.get(peer); running; running = this.#running.get(peer)) {
      if (epoch <= running.epoch || running.epoch === 0n) {
        throw new SyncError({
          code: "BUSY",
          message: `a session with ${peer} is already running on this node`,
          action: "Wait for it to end, then try again.",
        });
      }
      running.abort.abort(fenced(peer, running.epoch, epoch));
      await running.over;
    }
    const abort = new AbortController();
    const result = session(abort.signal);
    const over = result.then(
      () => {},
      () => {},
    );
    this.#running.set(peer, { epoch, abort, over });
    try {
      return await result;
    } finally {
      this.#running.delete(peer);
    }
  }
}

function fenced(peer: string, epoch: bigint, newer: bigint): SyncError {
  return new SyncError({
    code: "FENCED",
    message: `session ${epoch} with ${peer} was overtaken by session ${newer}`,
    action: "Nothing needs to be done: the newer one goes on from here.",
  });
}
