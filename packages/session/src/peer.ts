import type { ChangeBatch, ChangeCount, Codec, DigestEntry, MemberWord, NodeName, SqlValue, VersionVector } from "@scoutsync/core";

/** What to ask a peer's database for. */
export interface ChangesRequest {
  database: string;
  /** What is here. */
  since: VersionVector;
  /** Where the stream of the peer's run `run` stands here; meaningless to any other run. */
  position: VersionVector;
  /** "" when no run of the peer is known yet. */
  run: string;
  /** The run of the database here, under which it pushes. */
  callerRun: string;
  /** The node here, under whose identity the peer remembers what is here. */
  caller: NodeName;
  /** The rules here: a peer with others refuses. */
  terms: string;
  /** Digest of what is here beyond `since`. */
  beyondDigest: Uint8Array;
  /** Digest of the rows here at `since`. */
  digest: Uint8Array;
  codecs: readonly Codec[];
  /** Changes per batch; 0 = default. */
  batchSize: number;
  /** Go on with what comes next after having caught up. */
  follow: boolean;
  /** What is said here of rows from before syncing; the peer takes note of it before it reads. */
  baseline: string;
  /** Below this, deleted rows have been forgotten here. */
  floor: VersionVector;
  /** The nodes that are known here, this one included. */
  members: readonly MemberWord[];
}

export interface PushOpening {
  database: string;
  /** Name of this node, for the peer's log. */
  name: string;
  run: string;
  /** As in `ChangesRequest`. */
  baseline: string;
}

/** Where the receiver of a push stands. */
export interface PushReady {
  vector: VersionVector;
  /** How far the stream of our run has been applied there. */
  position: VersionVector;
  beyondDigest: Uint8Array;
  codecs: readonly Codec[];
  /** Null where the peer does not say. */
  node: NodeName | null;
  /** What the peer says of rows from before syncing; empty when it is of an older version. */
  baseline: string;
  /** Below this the peer has forgotten deleted rows. */
  floor: VersionVector;
}

/** One pushed batch is durable at the peer. */
export interface PushAck {
  received: number;
  applied: number;
  conflicts: number;
  parked: number;
  final: boolean;
  /** After a final batch: the peer's vector and digest. Empty otherwise. */
  vector: VersionVector;
  digest: Uint8Array;
  /** After a final batch: the peer has exactly what was here, and the digests agree. False also when that cannot be said. */
  verified: boolean;
}

export interface PushStream {
  readonly ready: PushReady;
  /** Resolves when the transport has taken the batch; rejects when the stream is over. */
  send(batch: ChangeBatch): Promise<void>;
  /** Says that nothing more comes. */
  end(): void;
  /** One per batch, in order. May be iterated once; throws what the peer refused a batch with. */
  readonly acks: AsyncIterable<PushAck>;
  /** Drops the stream. What was acknowledged stays. */
  cancel(): void;
}

export interface RowColumns {
  key: string;
  /** Null: there is no such row. */
  columns: { name: string; value: SqlValue }[] | null;
}

/**
 * Another node's databases, however they are reached. Everything throws SyncErrors: PEER_UNREACHABLE when nobody
 * answered, else what the peer said. An aborted signal ends the call and its reason is thrown.
 */
export interface Peer {
  /** How errors and results name it. */
  readonly address: string;
  /** Starts at once, reads no further ahead than a few batches, and lets go of the stream when the iteration is left. */
  getChanges(request: ChangesRequest, signal?: AbortSignal): AsyncIterable<ChangeBatch>;
  /** Resolves with the first answer. */
  openPush(opening: PushOpening, signal?: AbortSignal): Promise<PushStream>;
  count(database: string, since: VersionVector, signal?: AbortSignal): Promise<ChangeCount>;
  /** As `Replica.digest`. */
  digest(
    request: { database: string; table: string; buckets: number[]; deep: boolean },
    signal?: AbortSignal,
  ): Promise<{ vector: VersionVector; entries: DigestEntry[] }>;
  rows(request: { database: string; table: string; keys: string[] }, signal?: AbortSignal): Promise<RowColumns[]>;
  /** Rows that constraints keep out of their tables there, at most so many. */
  keptOut(database: string, limit: number, signal?: AbortSignal): Promise<{ table: string; key: string }[]>;
  /** As `Replica.wholeRows`. */
  wholeRows(
    request: { database: string; table: string; keys: string[]; codecs: readonly Codec[] },
    signal?: AbortSignal,
  ): Promise<ChangeBatch>;
}
