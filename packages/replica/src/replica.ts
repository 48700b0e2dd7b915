import type { Forgetting } from "./forgetting/forget.ts";
import type { ScopeCarried } from "./scope/carry.ts";
import type { ScopeSource } from "./scope/copy.ts";
import type {
  BeyondPosition,
  ApplyResult,
  ChangeBatch,
  ChangeCount,
  Codec,
  DigestEntry,
  HistoryEntry,
  MemberWord,
  NodeName,
  ReadableChange,
  Review,
  SqlValue,
  VersionVector,
} from "@scoutsync/core";

/** How one database takes part. */
export interface ReplicaOptions {
  /** The name the fleet knows this database by; equal names on different nodes are replicas of each other. */
  name: string;
  path: string;
  nodeName: string;
  nodeId: string;
  /** `table` or `table.column` entries that never leave this node. */
  exclude: string[];
  /** `table` or `table.column` entries whose values nobody is shown: they sync, and are kept out of lists, texts and errors. */
  sensitive?: readonly string[];
  /** The application's triggers that run, or do not, where changes of others are applied, whatever they seem to do. */
  triggers?: { run: readonly string[]; suspend: readonly string[] } | undefined;
  /** `table.column=rule` entries, the same on every replica; see `parseTerms`. */
  rules?: readonly string[];
  /** Tables ("*": all) whose rows with one UNIQUE value are never taken for one entity: the later-born one is parked. */
  park?: string[];
  /** What rows that were there before syncing are, when another side has such rows too. */
  baseline: "shared" | "distinct" | null;
  /**
   * Deletes of one group are kept back for a person from so many rows on, and more than this share of a table's rows.
   * Absent: 100 rows and more than half; null: never.
   */
  quarantine?: { rows: number; share: number } | null;
  /** How long to wait for a lock another process holds, milliseconds. */
  busyTimeoutMs: number;
  /** How often to look whether an application has committed, milliseconds. */
  pollIntervalMs: number;
  /** What is known to be wrong with the machine's clock: added to it when changes are stamped, microseconds. */
  clockCorrectionUs?: number;
  /** What this database had when the node last looked, kept outside of it: less now means that it was restored. */
  hadBefore?: VersionVector;
  /** Serve what a restored backup holds without having pulled: there is nobody left to pull from. */
  serveRestored?: boolean;
  /** The database is a scope's copy, filled from another one: see `scope/`. It is made where it is not there yet. */
  scope?: ScopeSource;
  /** The node is limited to a scope: its rows belong to the first copy of one that it exchanges rows with, and to no other. */
  limited?: boolean;
  /** Other databases of the node refer to rows of this one (`rules`: `table.column->DATABASE.table.key`). */
  isReferredTo?: boolean;
  /** Databases of a node of which one refers to another have the same, and are opened in one thread, those referred to first. */
  together?: string;
  /** A copy to try something on: takes changes of a peer that has not heard yet which copies are shared. */
  trial?: boolean;
}

/** What is known about a replica without asking its thread. Updated after every commit. */
export interface ReplicaState {
  /** Random identity of this run: stream positions are valid within it. A new one when the file was replaced. */
  run: string;
  vector: VersionVector;
  /** 16 bytes: sum of all row hashes. */
  digest: Uint8Array;
  /** What tables and columns the digest is of, as `ChangeBatch.schema`. */
  schema: string;
  /** Captured writes that have not become changes yet. */
  pending: number;
  parked: number;
  /** Rows held for tables that this database lacks. */
  held: number;
  /** Mass deletes that wait for a person. */
  keptBack: number;
  /** Rows that may not be those that somebody meant, as entries of a person's list. */
  notices: number;
  conflicts: number;
  rows: number;
  tables: string[];
  /** Tables whose keys are sensitive, and entries of `sensitive` that name nothing there is. */
  veiled: string[];
  unknownSensitive: string[];
  /** It serves no one before it has pulled from another node once. */
  restored: boolean;
  /** Why the database cannot take part just now; empty when it can. */
  problem: string;
  /** What it says of rows that were there before syncing: goes with every opening and batch. */
  baseline: string;
  /** Below this, deleted rows have been forgotten. */
  floor: VersionVector;
  /** The correction of its clock that the last comparison of clocks found right, microseconds; null: the next one is news to it. */
  clockFoundRightUs: number | null;
}

/** What a replica says of itself when it asks a peer, of one moment in which everything committed was drained. */
export interface Standing {
  vector: VersionVector;
  /** Of the rows at `vector`, and what tables and columns it is of; as in ReplicaState. */
  digest: Uint8Array;
  schema: string;
  /** Digest of what is held beyond the vector, empty when there is nothing. */
  beyondDigest: Uint8Array;
  /** How far the stream of the peer's run has been applied. */
  position: VersionVector;
  /** The nodes that take part as far as is known here, this one included. */
  members: MemberWord[];
}

export interface ReadRequest {
  /** Send what this vector does not cover (the receiver's vector joined with its position in our stream). */
  from: VersionVector;
  /** Largest number of changes; 0 = DEFAULT_BATCH_CHANGES. */
  batchSize: number;
  codecs: readonly Codec[];
  /** The receiver's digest of what it holds beyond its vector; equal to ours means it is not sent again. */
  beyondDigest: Uint8Array;
  /** A batch does not end in the middle of a transaction of up to 100,000 changes, whatever else limits it. */
  whole?: boolean;
  /** Below this the receiver has forgotten deleted rows: one that comes back travels whole. Absent where it forgot nothing. */
  floor?: VersionVector | undefined;
  /** Go on after this, where the batch before did not hold all that is held beyond the vector. */
  beyondAfter?: BeyondPosition | undefined;
  /** What the receiver said of nodes that take part: taken note of before anything is read, as `learnMembers` does. */
  learn?: readonly MemberWord[] | undefined;
  /** Add to a final batch the nodes that are known here. */
  tellMembers?: boolean | undefined;
}

/** A decision about one review entry: a side, values, or for a mass delete that is kept back what becomes of it. */
export interface Resolution {
  id: string;
  keep: "winner" | "loser" | "";
  set: { name: string; value: SqlValue }[];
  decision?: "release" | "undo" | "";
}

export interface WholeRowsRequest {
  table: string;
  /** As `digest` names rows. */
  keys: string[];
  codecs: readonly Codec[];
}

/** Capture of a table did not note writes, or its triggers were not as they were made. It has been mended since. */
export interface CaptureFault {
  table: string;
  /** For people. */
  reason: string;
  /** When it was found, Unix microseconds by the machine's clock. */
  atUs: number;
}

export interface CaptureCheck {
  faults: CaptureFault[];
  /** For the next question. */
  cursor: string;
}

/**
 * One SQLite database taking part in the fleet. All calls are answered by the thread that owns the database;
 * `state` is answered at once from what that thread last reported.
 */
export interface Replica {
  readonly name: string;
  readonly path: string;
  /** Random identity of this run: stream positions are valid within it. */
  readonly run: string;
  /** The node that the database belongs to. */
  readonly node: NodeName;
  /** What all replicas must agree on, as `formatTerms` writes it. */
  readonly terms: string;
  readonly state: ReplicaState;
  /** Calls back after each commit that moved the state; returns how to stop. */
  onChange(listener: (state: ReplicaState) => void): () => void;
  /** Turns everything committed so far into changes. */
  drain(): Promise<void>;
  /** Drains, then reads the next batch after `from`. An empty final batch means there is nothing. */
  read(request: ReadRequest): Promise<ChangeBatch>;
  /**
   * Applies one batch: all of it, durably, or nothing. Throws BATCH_CORRUPT when its SHA-256 does not match and
   * BATCH_GAP when `from` is not covered here. The batch belongs to the replica from then on: a large payload is moved
   * to its thread, not copied.
   */
  apply(batch: ChangeBatch): Promise<ApplyResult>;
  /**
   * Takes note of what another replica says of rows from before syncing, before anything is exchanged with it. Throws
   * BASELINE_CHOICE when a person has to say whether the rows of both sides are the same, SCOPE_OTHER_SERVER when they
   * belong to different copies of scopes.
   */
  meet(baseline: string): Promise<void>;
  /** What rows of both sides are about to be joined as by meeting; null where that was decided before. Throws as `meet`. */
  choiceFor(baseline: string): Promise<"shared" | "distinct" | null>;
  /** Begins to join again: a stream from nothing whose batches are marked `rejoin` is then compared with everything here. */
  beginRejoin(): Promise<void>;
  /**
   * Lets go of rows that were deleted more than `retentionDays` ago where every node that takes part is known to know of
   * it; `dryRun` only counts. Takes turns, and up to 20 seconds; what is left then is for the next call.
   */
  forget(request: { retentionDays: number; dryRun: boolean }): Promise<Forgetting>;
  /** Different texts in a column, at most so many, empty ones aside. Throws NOT_FOUND for a column that is not there. */
  textsIn(request: { table: string; column: string; limit: number }): Promise<string[]>;
  /** The nodes that take part as far as is known here, this one included, for others to hear. */
  members(): Promise<MemberWord[]>;
  /** Takes note of nodes that another one knows of. Writes only what is news. */
  learnMembers(words: readonly MemberWord[]): Promise<void>;
  /** Keeps nothing for a node any more, named by its id or its name. Throws NOT_FOUND. It joins again if it returns. */
  retire(which: string): Promise<NodeName>;
  /** Writes a copy of the database file, sync metadata included, as of now. `path` must not exist. */
  copyTo(path: string): Promise<void>;
  /** Drains, then says what a question to the peer's run says of this replica; "" where no run of the peer is known. */
  standing(run: string): Promise<Standing>;
  /** How far the stream of the peer's run has been applied: what to ask that run to continue after. */
  position(run: string): Promise<VersionVector>;
  /** Digest of what is held beyond the vector, empty when there is nothing. */
  beyondDigest(): Promise<Uint8Array>;
  /** Drains, then counts what `since` lacks. */
  count(since: VersionVector): Promise<ChangeCount>;
  /** Drains, then reads up to `limit` changes after `since` for people; `next` continues, null at the end. */
  readable(since: VersionVector, limit: number): Promise<{ changes: ReadableChange[]; next: VersionVector | null }>;
  /** Digests per table (no table), per bucket (no buckets) or per row of some buckets. `deep` reads the rows again. */
  digest(request: { table: string; buckets: number[]; deep: boolean }): Promise<{ vector: VersionVector; entries: DigestEntry[] }>;
  /**
   * Writes to each table as an application does and takes it back, to see whether capture notes it; makes capture whole
   * again where it does not, and takes in what was written past it. `seen` is the `cursor` of the last answer, empty for
   * none: what was said then is not said again. Also says which triggers were mended in between.
   */
  checkCapture(seen: string): Promise<CaptureCheck>;
  /** The columns of one row as name/value pairs for comparing, long values in brief; null when there is no such row. */
  row(table: string, key: string): Promise<{ name: string; value: SqlValue }[] | null>;
  /**
   * Reads these rows again, takes what was written past capture for edits (all of the table when `keys` is empty), and
   * answers with everything known of them, for a replica whose rows differ: a batch marked `repair`. NOT_FOUND when
   * there is no such table.
   */
  wholeRows(request: WholeRowsRequest): Promise<ChangeBatch>;
  reviews(request: { kind: string; id: string; limit: number }): Promise<Review[]>;
  /** Keeps the winner or loser, or sets columns, by an ordinary write. */
  resolve(request: Resolution): Promise<Review>;
  history(table: string, key: string): Promise<HistoryEntry[]>;
  /** Brings a deleted row back from its image, as the row it was; answers with its columns. Throws what stands in the way. */
  restore(table: string, key: string): Promise<{ name: string; value: SqlValue }[]>;
  /** Remembers that a node has everything up to `vector`, for `_scoutsync_receipts`. Writes only what is news. */
  acknowledge(node: NodeName, vector: VersionVector): Promise<void>;
  /**
   * Issues again, under origins of its own, what it holds of origins beyond its vector where nothing has come for
   * `heldForUs` microseconds (0 = at once): they ended in the middle of a stream. Returns how many origins that were.
   */
  reissue(heldForUs: number): Promise<number>;
  /**
   * The machine's clock was compared with others: what is added to it from now on, microseconds. What it stamped before
   * and nobody has seen yet is stamped again where that was off by more than 5 s; see replica DESIGN.
   */
  correctClock(correctionUs: number): Promise<void>;
  close(): Promise<void>;
}

/** The part of a database that a scope shows, as a replica of its own: all that nodes of the scope ever meet. */
export interface ScopeCopy extends Replica {
  /**
   * Brings the copy and the application's database in line, which has to be drained just before; `hold` keeps applications
   * from writing to it meanwhile. Throws INVALID_ARGUMENT where the scope does not fit the database any more.
   */
  carryScope(hold: boolean): Promise<ScopeCarried>;
  /** What nodes of the scope wrote that was not taken, for people at the server. */
  keptOfScope(request: { id: string; limit: number }): Promise<Review[]>;
  /** Takes one of these off the list. Throws NOT_FOUND. */
  dismissKept(id: string): Promise<void>;
  /**
   * Does one of these in the application's database after all, as a write of an application there, with other values where
   * `set` names columns. Throws NOT_FOUND, and INVALID_ARGUMENT where the database refuses it.
   */
  applyKept(id: string, set: { name: string; value: SqlValue }[]): Promise<void>;
}

/** A bounded pool of threads; a database is always served by the same one. */
export interface ReplicaPool {
  /** Attaches (capture, baseline) when needed, then serves. Throws a SyncError that says what stands in the way. */
  open(options: ReplicaOptions): Promise<Replica>;
  /** Opens the copy of a scope; `path` is the copy's. */
  openScope(options: ReplicaOptions & { scope: ScopeSource }): Promise<ScopeCopy>;
  close(): Promise<void>;
}

/** What `doctor` says about one database, without changing it. */
export interface Diagnosis {
  path: string;
  /** "attached", "ready" (could be attached) or "refused". */
  status: "attached" | "ready" | "refused";
  sqliteVersion: string;
  journalMode: string;
  rows: number;
  tables: { name: string; identity: "surrogate" | "natural" | "none"; rows: number; synced: boolean; note: string }[];
  problems: { severity: "error" | "warning"; message: string; action: string }[];
}
