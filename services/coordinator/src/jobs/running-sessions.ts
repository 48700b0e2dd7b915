import type { SyncProgress } from "@scoutsync/protocol";

/** A session that a worker sees through now. */
export interface RunningSession {
  leaseId: string;
  jobId: string;
  serverId: number;
  sourceId: number;
  /** Null until it has said where it stands. */
  progress: SyncProgress | null;
}

/** Beginnings are remembered this long. */
const LONGEST_LOOK_BACK_MS = 60_000;

/** Sessions that run now and where they stand, for people who watch. In memory: leases are what counts. */
export class RunningSessions {
  readonly #sessions = new Map<string, RunningSession>();
  /** When the latest sessions began, milliseconds of `performance.now`, oldest first. */
  readonly #begun: number[] = [];

  began(session: Omit<RunningSession, "progress">): void {
    this.#sessions.set(session.leaseId, { ...session, progress: null });
    this.#begun.push(performance.now());
    this.begunWithin(LONGEST_LOOK_BACK_MS);
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** How many began within the last `ms`, a minute at most. */
  begunWithin(ms: number): number {
    const from = performance.now() - ms;
    while ((this.#begun[0] ?? from) < from) this.#begun.shift();
    return this.#begun.length;
  }

  moved(leaseId: string, progress: SyncProgress): RunningSession | null {
    const session = this.#sessions.get(leaseId);
    if (session === undefined) return null;
    session.progress = progress;
    return session;
  }

  ended(leaseId: string): void {
    this.#sessions.delete(leaseId);
  }

  /** The session that a node is in, on either end. */
  of(serverId: number): RunningSession | null {
    for (const session of this.#sessions.values()) {
      if (session.serverId === serverId || session.sourceId === serverId) return session;
    }
    return null;
  }

  /** Every node in a session with it, for looking up many. */
  byNode(): Map<number, RunningSession> {
    const found = new Map<number, RunningSession>();
    for (const session of this.#sessions.values()) {
      found.set(session.serverId, session);
      found.set(session.sourceId, session);
    }
    return found;
  }
}
