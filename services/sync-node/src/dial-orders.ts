import { toPlainError } from "@scoutsync/core";
import { DialledOut, SyncRequest, SyncResult } from "@scoutsync/protocol";
import type { NodeContext } from "./context.ts";
import { sync } from "./handlers/sync.ts";

/**
 * Sessions that the coordinator asks for in its answers because nobody can dial this node. One at a time; its result goes
 * with the next heartbeat.
 */
export class DialOrders {
  readonly #context: NodeContext;
  readonly #signal: AbortSignal;
  readonly #onEnd: () => void;
  #running = false;
  #result: DialledOut | undefined;

  /** `onEnd` hears that there is a result to tell. */
  constructor(context: NodeContext, signal: AbortSignal, onEnd: () => void) {
    this.#context = context;
    this.#signal = signal;
    this.#onEnd = onEnd;
  }

  get hasResult(): boolean {
    return this.#result !== undefined;
  }

  /** What the coordinator has not been told yet. */
  get result(): DialledOut | undefined {
    return this.#result;
  }

  told(result: DialledOut | undefined): void {
    if (this.#result === result) this.#result = undefined;
  }

  /** Starts a session with the peer at `host:port`, unless one runs or its result has not been told. */
  carryOut(peer: string, batchSize: number): void {
    if (this.#running || this.#result !== undefined) return;
    this.#running = true;
    const startedAt = new Date().toISOString();
    void this.#run(peer, batchSize).then((result) => {
      this.#running = false;
      this.#result = DialledOut.create({ peer, startedAt, result });
      this.#onEnd();
    });
  }

  async #run(peer: string, batchSize: number): Promise<SyncResult> {
    let result: SyncResult | undefined;
    try {
      const outbox = {
        write: ({ kind }: { kind?: { $case: string; value: unknown } | undefined }) => {
          if (kind?.$case === "result") result = kind.value as SyncResult;
          return Promise.resolve();
        },
      };
      await sync(this.#context, SyncRequest.fromPartial({ peer, batchSize }), outbox, this.#signal);
    } catch (error) {
      const { code, message } = toPlainError(error);
      result = SyncResult.fromPartial({ node: this.#context.name, peer, errors: [{ code, message }] });
    }
    return result ?? SyncResult.fromPartial({ errors: [{ code: "INTERNAL", message: "the session ended without a result" }] });
  }
}
