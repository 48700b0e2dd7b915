/**
 * Why something could not be done: names the thing, the cause and the way out.
 * `retryable` says whether it may heal by itself (a dead peer, a locked file) or needs a person (a wrong path).
 */
export const ErrorCodes = {
  DATABASE_NOT_FOUND: "no such database",
  NOT_SQLITE: "the file is not a SQLite database",
  DATABASE_REPLACED: "the database file was replaced while the node ran",
  DATABASE_LOCKED: "another process held the database's lock longer than the busy timeout",
  DATABASE_IN_USE: "another sync-node runs on this database",
  DATABASE_FAILED: "SQLite could not read or write the database",
  DISK_FULL: "the disk is full",
  METADATA_NEWER: "the sync metadata in the file was written by a newer version",
  SCHEMA_UNSUPPORTED: "a table cannot take part",
  BASELINE_CHOICE: "both sides hold rows from before syncing and it was not said whether they are the same rows",
  SCOPE_OTHER_SERVER: "the rows of a scope's node belong to another copy of a scope than the one that was met",
  CONSTRAINT_REFUSED: "a constraint of the table refuses a change from another node, or a decision",
  BATCH_CORRUPT: "a batch did not arrive as it was sent",
  BATCH_GAP: "a batch does not continue what is here",
  REJOIN_NEEDED: "a replica was away for longer than its peer remembers what was deleted: it has to join again",
  PEER_BEHIND: "the peer was away for longer than deleted rows are remembered: it has to join again first",
  BUNDLE_UNREADABLE: "a bundle file cannot be read or written, is damaged, cut off, or no bundle",
  ROOT_NOT_FOUND: "no such file root",
  ROOT_IN_USE: "another sync-node runs on the folder of a file root, or on one around it",
  ROOT_UNAVAILABLE: "the folder of a file root is not there, not the one it was, or cannot be used",
  FILE_CHANGED: "a file is being written to",
  FILE_BLOCKED: "something that is not synced stands where a file belongs",
  FILE_CORRUPT: "a file did not arrive as it was announced",
  PROTOCOL_VERSION: "the peer speaks another protocol version",
  RESTORED: "the database was restored from a backup and has not pulled yet",
  DIVERGED: "two replicas that know the same changes hold different rows",
  RULES_DIFFER: "two nodes merge columns of a database by different rules",
  RECEIVE_ONLY: "the node only receives",
  PEER_UNREACHABLE: "the peer cannot be reached",
  PEER_FAILED: "the peer could not do what was asked",
  PORT_TAKEN: "the address is already in use",
  REDIS_UNREACHABLE: "Redis cannot be reached",
  COORDINATOR_UNREACHABLE: "the coordinator cannot be reached",
  UNAUTHENTICATED: "the caller did not show who it is",
  FORBIDDEN: "the caller may not do this",
  LIMIT_EXCEEDED: "more was asked at once than anyone may",
  INVALID_ARGUMENT: "an argument is wrong",
  NOT_FOUND: "there is no such thing here",
  BUSY: "the node already runs a session",
  FENCED: "a newer session has taken over",
  SHUTTING_DOWN: "the service is stopping",
  INTERNAL: "a defect in the program",
} as const;

export type ErrorCode = keyof typeof ErrorCodes;

const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "DATABASE_LOCKED",
  "DATABASE_FAILED",
  "DATABASE_REPLACED",
  "DISK_FULL",
  "ROOT_UNAVAILABLE",
  "FILE_CHANGED",
  "FILE_BLOCKED",
  "FILE_CORRUPT",
  "BATCH_CORRUPT",
  "BATCH_GAP",
  "PEER_UNREACHABLE",
  "PEER_FAILED",
  "REDIS_UNREACHABLE",
  "COORDINATOR_UNREACHABLE",
  "BUSY",
  "SHUTTING_DOWN",
]);

export interface SyncErrorOptions {
  code: ErrorCode;
  /** What happened to which thing, in one sentence without a full stop at the end. */
  message: string;
  /** What to do about it, as an imperative sentence. */
  action: string;
  cause?: unknown;
}

/** The one error type that crosses rooms. Its message ends with what to do. */
export class SyncError extends Error {
  readonly code: ErrorCode;
  readonly action: string;

  constructor(options: SyncErrorOptions) {
    super(`${options.message}. ${options.action}`, { cause: options.cause });
    this.name = "SyncError";
    this.code = options.code;
    this.action = options.action;
  }

  /** True when trying again later may succeed without anyone doing anything. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}

/** The shape in which an error crosses a thread or process border. */
export interface PlainError {
  code: ErrorCode;
  message: string;
  action: string;
}

/** Reduces anything thrown to a plain shape; an unknown error keeps its text under INTERNAL. */
export function toPlainError(thrown: unknown): PlainError {
  if (thrown instanceof SyncError) return { code: thrown.code, message: thrown.message, action: thrown.action };
  const message = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  return { code: "INTERNAL", message, action: "Report this with the log." };
}

/** The inverse of `toPlainError`: the message already contains the action. */
export function fromPlainError(plain: PlainError): SyncError {
  const suffix = `. ${plain.action}`;
  const message = plain.message.endsWith(suffix) ? plain.message.slice(0, -suffix.length) : plain.message;
  return new SyncError({ code: plain.code, message, action: plain.action });
}
