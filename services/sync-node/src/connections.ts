import { connectivityState } from "@grpc/grpc-js";
import { connectPeer, type Dial, type OwnClock, type PeerClient } from "@scoutsync/protocol";

/** A connection that nobody used for this long is closed. */
const IDLE_MS = 60_000;

interface Kept {
  peer: PeerClient;
  users: number;
  closing: NodeJS.Timeout | null;
}

/** Connections to peers, kept for a while: a session that finds nothing to do should cost its one round trip only. */
export class Connections {
  readonly #kept = new Map<string, Kept>();
  readonly #clock: OwnClock;
  readonly #dial: Dial;

  constructor(clock: OwnClock, dial: Dial) {
    this.#clock = clock;
    this.#dial = dial;
  }

  /** Lends a connection for the time of `use`. */
  async using<T>(address: string, use: (peer: PeerClient) => Promise<T>): Promise<T> {
    const kept = this.#take(address);
    kept.users += 1;
    if (kept.closing) clearTimeout(kept.closing);
    try {
      return await use(kept.peer);
    } finally {
      kept.users -= 1;
      if (kept.users === 0) this.#letGo(address, kept);
    }
  }

  /** Closes what nobody uses; what is in use closes after its use. */
  close(): void {
    for (const [address, kept] of this.#kept) {
      this.#kept.delete(address);
      if (kept.users === 0) this.#letGo(address, kept);
    }
  }

  #take(address: string): Kept {
    const kept = this.#kept.get(address);
    // One that has failed waits before it tries again, while the peer may be back by now: a new one tries at once.
    if (kept && (kept.users > 0 || kept.peer.client.channel.getChannel().getConnectivityState(false) === connectivityState.READY))
      return kept;
    if (kept) this.#discard(address, kept);
    const fresh: Kept = { peer: connectPeer(address, this.#clock, this.#dial), users: 0, closing: null };
    this.#kept.set(address, fresh);
    return fresh;
  }

  #letGo(address: string, kept: Kept): void {
    if (this.#kept.get(address) !== kept) return this.#discard(address, kept);
    kept.closing = setTimeout(() => this.#discard(address, kept), IDLE_MS);
    kept.closing.unref();
  }

  #discard(address: string, kept: Kept): void {
    if (kept.closing) clearTimeout(kept.closing);
    if (this.#kept.get(address) === kept) this.#kept.delete(address);
    kept.peer.close();
  }
}
