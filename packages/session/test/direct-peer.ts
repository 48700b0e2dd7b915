import { EMPTY_VECTOR, SyncError, join, type ChangeBatch, type Codec, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import {
  checkFloor,
  meet,
  takeBatch,
  type ChangesRequest,
  type Peer,
  type PushAck,
  type PushOpening,
  type PushStream,
} from "../src/index.ts";

/** A peer in the same process: a replica without a network, that counts calls and can lose the line. */
export class DirectPeer implements Peer {
  readonly address = "direct";
  readonly calls: string[] = [];
  readonly replica: Replica;
  /** Batches that still get through, in either direction; then every stream breaks. */
  batchesUntilCut = Number.POSITIVE_INFINITY;
  receiveOnly = false;
  /** Called when a push is opened. */
  beforePush: () => void = () => {};
  /** What becomes of a batch on its way. */
  tamper: (batch: ChangeBatch) => ChangeBatch = (batch) => batch;

  constructor(replica: Replica) {
    this.replica = replica;
  }

  async *getChanges(request: ChangesRequest): AsyncGenerator<ChangeBatch> {
    this.calls.push("getChanges");
    if (this.receiveOnly) throw new SyncError({ code: "RECEIVE_ONLY", message: "it only receives", action: "Ask another." });
    this.#checkName(request.database);
    await meet(this.replica, request.baseline);
    checkFloor(this.replica.state.floor, { side: "caller", name: "the caller", vector: request.since });
    checkFloor(request.floor, { side: "peer", name: "the peer", vector: this.replica.state.vector });
    const position = request.run === this.replica.run ? request.position : EMPTY_VECTOR;
    let from: VersionVector = join(request.since, position);
    let beyondAfter: ChangeBatch["beyondTo"];
    for (let final = false; !final;) {
      const { batchSize, codecs, beyondDigest } = request;
      // Cut in the middle of transactions, as the version before does: more places where a line may break.
      const batch = await this.replica.read({ from, batchSize, codecs, beyondDigest, beyondAfter });
      beyondAfter = batch.beyondTo;
      this.#spend();
      yield this.tamper(batch);
      from = join(from, batch.to);
      final = batch.final;
    }
  }

  async openPush({ database, run, baseline }: PushOpening): Promise<PushStream> {
    this.calls.push("pushChanges");
    this.beforePush();
    this.#checkName(database);
    const { replica } = this;
    await meet(replica, baseline);
    const queue: (ChangeBatch | Error | null)[] = [];
    let wake = () => {};
    const put = (batch: ChangeBatch | Error | null) => {
      queue.push(batch);
      wake();
    };
    const acks = async function* (): AsyncGenerator<PushAck> {
      for (;;) {
        while (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        const batch = queue.shift();
        if (!batch) return;
        if (batch instanceof Error) throw batch;
        const { vector, digest, verified, ...counts } = await takeBatch(replica, batch);
        yield { ...counts, final: batch.final, vector, digest, verified: verified === true };
      }
    };
    return {
      ready: {
        vector: replica.state.vector,
        position: await replica.position(run),
        beyondDigest: await replica.beyondDigest(),
        codecs: ["identity"],
        node: replica.node,
        baseline: replica.state.baseline,
        floor: replica.state.floor,
      },
      send: async (batch) => {
        try {
          this.#spend();
          put(this.tamper(batch));
        } catch (error) {
          put(error as Error);
          throw error;
        }
      },
      end: () => put(null),
      acks: acks(),
      cancel: () => put(null),
    };
  }

  count(_database: string, since: VersionVector) {
    return this.replica.count(since);
  }

  digest(request: { table: string; buckets: number[]; deep: boolean }) {
    this.calls.push("digest");
    return this.replica.digest(request);
  }

  rows({ table, keys }: { table: string; keys: string[] }) {
    return Promise.all(keys.map(async (key) => ({ key, columns: await this.replica.row(table, key) })));
  }

  keptOut(_database: string, limit: number) {
    return this.replica.reviews({ kind: "parked", id: "", limit });
  }

  wholeRows(request: { table: string; keys: string[]; codecs: readonly Codec[] }) {
    this.calls.push("wholeRows");
    return this.replica.wholeRows(request);
  }

  #checkName(database: string): void {
    if (database === this.replica.name) return;
    throw new SyncError({ code: "DATABASE_NOT_FOUND", message: `no "${database}"`, action: "Use another." });
  }

  #spend(): void {
    if (this.batchesUntilCut-- > 0) return;
    throw new SyncError({ code: "PEER_UNREACHABLE", message: "the line is cut", action: "Try again." });
  }
}
