import type { VersionVector } from "@scoutsync/core";
import type { SessionEnd } from "../events.ts";

/** What bringing one node up to date took. Times ISO 8601 UTC, duration in seconds. */
export interface CatchUpSummary {
  serverId: number;
  serverName: string;
  startedAt: string;
  completedAt: string;
  success: boolean;
  sent: number;
  received: number;
  applied: number;
  conflicts: number;
  parked: number;
  uploaded: number;
  downloaded: number;
  errors: string[];
  duration: number;
}

/** Adds up the sessions a node takes part in, on either end, until it is finished. */
export class CatchUpTally {
  readonly serverId: number;
  readonly target: ReadonlyMap<string, VersionVector>;
  readonly #serverName: string;
  readonly #startedAt = new Date();
  readonly #sums = { sent: 0, received: 0, applied: 0, conflicts: 0, parked: 0, uploaded: 0, downloaded: 0 };
  #wantsSession: boolean;
  #lastWordAt = Date.now();
  #endedAt: Date | null = null;
  #failure: string | null = null;

  /** `target` is what the node must hold to be done; with `sessionWanted` one session must have ended well, too. */
  constructor(serverId: number, serverName: string, target: ReadonlyMap<string, VersionVector>, sessionWanted: boolean) {
    this.serverId = serverId;
    this.target = target;
    this.#serverName = serverName;
    this.#wantsSession = sessionWanted;
  }

  get wantsSession(): boolean {
    return this.#wantsSession;
  }

  /** When a session of this node ended last, or the tally began; Unix milliseconds. */
  get lastWordAt(): number {
    return this.#lastWordAt;
  }

  /** Ends the tally; `failure` says why the node is not up to date, null that it is. */
  finish(failure: string | null): void {
    this.#endedAt = new Date();
    this.#failure = failure;
  }

  summary(): CatchUpSummary {
    const endedAt = this.#endedAt ?? new Date();
    return {
      serverId: this.serverId,
      serverName: this.#serverName,
      startedAt: this.#startedAt.toISOString(),
      completedAt: endedAt.toISOString(),
      success: this.#endedAt !== null && this.#failure === null,
      ...this.#sums,
      errors: this.#failure === null ? [] : [this.#failure],
      duration: (endedAt.getTime() - this.#startedAt.getTime()) / 1_000,
    };
  }

  /** A session that the node took part in has ended. */
  count({ serverId, result }: SessionEnd): void {
    const asNode = serverId === this.serverId;
    this.#lastWordAt = Date.now();
    if (result.success) this.#wantsSession = false;
    const { stats } = result;
    if (stats === undefined) return;
    // The result is told from the side of the node that ran the session.
    const sums = this.#sums;
    sums.sent += Number(asNode ? stats.localChangesSent : stats.remoteChangesReceived);
    sums.received += Number(asNode ? stats.remoteChangesReceived : stats.localChangesSent);
    // What was sent is what the other side lacked: it applied all of it, or the session would not have ended well.
    sums.applied += Number(asNode ? stats.remoteChangesApplied : result.success ? stats.localChangesSent : 0n);
    sums.uploaded += Number(asNode ? stats.filesUploaded : stats.filesDownloaded);
    sums.downloaded += Number(asNode ? stats.filesDownloaded : stats.filesUploaded);
    sums.conflicts += Number(stats.conflicts);
    sums.parked += Number(stats.parked);
  }
}
