import { Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { ErrorCodes, SyncError, fromPlainError, toPlainError, type ErrorCode } from "@scoutsync/core";

/** Trailer in which gRPC carries a serialized google.rpc.Status. */
const DETAILS_TRAILER = "grpc-status-details-bin";
const ERROR_INFO_TYPE = "type.googleapis.com/google.rpc.ErrorInfo";
const ERROR_DOMAIN = "scoutsync";
/** Trailers beyond about 8 KiB are refused by common proxies, and the message travels twice, once percent-encoded. */
const MAX_MESSAGE_CHARACTERS = 1_000;

const STATUS_OF: Readonly<Record<ErrorCode, status>> = {
  DATABASE_NOT_FOUND: status.NOT_FOUND,
  NOT_SQLITE: status.FAILED_PRECONDITION,
  DATABASE_REPLACED: status.UNAVAILABLE,
  DATABASE_LOCKED: status.UNAVAILABLE,
  DATABASE_IN_USE: status.FAILED_PRECONDITION,
  ROOT_IN_USE: status.FAILED_PRECONDITION,
  DATABASE_FAILED: status.INTERNAL,
  DISK_FULL: status.RESOURCE_EXHAUSTED,
  METADATA_NEWER: status.FAILED_PRECONDITION,
  SCHEMA_UNSUPPORTED: status.FAILED_PRECONDITION,
  BASELINE_CHOICE: status.FAILED_PRECONDITION,
  SCOPE_OTHER_SERVER: status.FAILED_PRECONDITION,
  REJOIN_NEEDED: status.FAILED_PRECONDITION,
  PEER_BEHIND: status.FAILED_PRECONDITION,
  CONSTRAINT_REFUSED: status.FAILED_PRECONDITION,
  BATCH_CORRUPT: status.DATA_LOSS,
  BATCH_GAP: status.ABORTED,
  BUNDLE_UNREADABLE: status.DATA_LOSS,
  ROOT_NOT_FOUND: status.NOT_FOUND,
  ROOT_UNAVAILABLE: status.FAILED_PRECONDITION,
  FILE_CHANGED: status.ABORTED,
  FILE_BLOCKED: status.FAILED_PRECONDITION,
  FILE_CORRUPT: status.DATA_LOSS,
  PROTOCOL_VERSION: status.FAILED_PRECONDITION,
  RESTORED: status.FAILED_PRECONDITION,
  DIVERGED: status.DATA_LOSS,
  RULES_DIFFER: status.FAILED_PRECONDITION,
  RECEIVE_ONLY: status.FAILED_PRECONDITION,
  PEER_UNREACHABLE: status.UNAVAILABLE,
  PEER_FAILED: status.UNKNOWN,
  PORT_TAKEN: status.ALREADY_EXISTS,
  REDIS_UNREACHABLE: status.UNAVAILABLE,
  COORDINATOR_UNREACHABLE: status.UNAVAILABLE,
  UNAUTHENTICATED: status.UNAUTHENTICATED,
  FORBIDDEN: status.PERMISSION_DENIED,
  LIMIT_EXCEEDED: status.RESOURCE_EXHAUSTED,
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  NOT_FOUND: status.NOT_FOUND,
  BUSY: status.ABORTED,
  FENCED: status.FAILED_PRECONDITION,
  SHUTTING_DOWN: status.UNAVAILABLE,
  INTERNAL: status.INTERNAL,
};

/** What a gRPC server call is failed with: `call.emit("error", …)` or a unary callback's first argument. */
export interface StatusError {
  code: status;
  details: string;
  metadata: Metadata;
}

/** Who was called, for errors that the other side could not put into words itself. */
export interface Callee {
  /** `host:port`. */
  address: string;
  role: "peer" | "coordinator";
}

/**
 * Turns anything thrown into a gRPC status with `google.rpc.ErrorInfo` details (reason = our code, metadata.action =
 * what to do), so that a SyncError arrives on the other side as the same SyncError. Stacks stay here.
 */
export function toStatus(thrown: unknown): StatusError {
  const plain = toPlainError(thrown);
  let message = thrown instanceof Error ? thrown.message : plain.message;
  if (message.length > MAX_MESSAGE_CHARACTERS) {
    // The action is what must survive: it is cut off the end and put back.
    const suffix = thrown instanceof SyncError ? `… ${plain.action}` : "…";
    message = message.slice(0, MAX_MESSAGE_CHARACTERS) + suffix;
  }
  const code = STATUS_OF[plain.code];
  const metadata = new Metadata();
  metadata.set(DETAILS_TRAILER, encodeStatus(code, message, plain.code, plain.action));
  return { code, details: message, metadata };
}

/** What the library says where a ping was not answered, or the connection ended without a reason. */
const STOPPED_ANSWERING = "Connection dropped";
const CONNECTION_TROUBLE: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused (ECONNREFUSED)",
  ECONNRESET: "the connection was cut (ECONNRESET)",
  EHOSTUNREACH: "no way to this host (EHOSTUNREACH)",
  ENETUNREACH: "no network (ENETUNREACH)",
  ETIMEDOUT: "no answer in time (ETIMEDOUT)",
  ENOTFOUND: "no such host name (ENOTFOUND)",
  EAI_AGAIN: "the host name cannot be looked up just now (EAI_AGAIN)",
};

/** True when the other side has no such call. */
export function isUnknownCall(error: unknown): boolean {
  return error instanceof SyncError && (error.cause as { code?: unknown } | undefined)?.code === status.UNIMPLEMENTED;
}

/**
 * Turns a failed call into a SyncError: the one the other side threw when it sent ErrorInfo details, else
 * PEER_UNREACHABLE (COORDINATOR_UNREACHABLE) when nobody answered and PEER_FAILED for everything else.
 */
export function fromStatus(thrown: unknown, callee: Callee): SyncError {
  if (thrown instanceof SyncError) return thrown;
  if (!isServiceError(thrown)) {
    return new SyncError({
      code: "PEER_FAILED",
      message: `${callee.address} sent something that could not be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      action: "Check that both sides run compatible versions.",
      cause: thrown,
    });
  }
  const sent = thrown.metadata?.get(DETAILS_TRAILER)[0];
  const reason = sent instanceof Uint8Array ? decodeStatus(sent) : null;
  if (reason) return fromPlainError(reason);
  switch (thrown.code) {
    case status.UNAVAILABLE:
      if (thrown.details === STOPPED_ANSWERING)
        return unreachable(callee, "its connection was cut or it has stopped answering", thrown, true);
      return unreachable(callee, plainly(thrown.details), thrown);
    case status.DEADLINE_EXCEEDED:
      return unreachable(callee, "no answer in time", thrown);
    case status.UNIMPLEMENTED:
      return new SyncError({
        code: "PEER_FAILED",
        message: `${callee.address} does not know this call (${thrown.details})`,
        action: `Check that a scoutsync ${callee.role === "peer" ? "node" : "coordinator"} of a compatible version listens there.`,
        cause: thrown,
      });
    default:
      return new SyncError({
        code: "PEER_FAILED",
        message: `${callee.address} failed: ${status[thrown.code]} ${thrown.details}`,
        action: "Look at that side's log.",
        cause: thrown,
      });
  }
}

/** What the system says of a connection that did not come about, in words; the library's account of its tries is left out. */
function plainly(details: string): string {
  const code = /\b(ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOTFOUND|EAI_AGAIN)\b/.exec(details)?.[1];
  return (code === undefined ? undefined : CONNECTION_TROUBLE[code]) ?? connectionProblem(details);
}

/** The channel's words around the reason help nobody. */
function connectionProblem(details: string): string {
  return /^No connection established\. Last error: (?:[A-Za-z]*Error: )?(.*?)\.*\s*Resolution note: .*$/s.exec(details)?.[1] ?? details;
}

/** Nobody has said a word there for so many seconds, whether the system took the connection or not. */
export function asleep(callee: Callee, seconds: number): SyncError {
  return unreachable(callee, `not a word from there for ${seconds} s`, undefined, true);
}

function unreachable(callee: Callee, why: string, cause: unknown, mayBeAsleep = false): SyncError {
  if (callee.role === "coordinator") {
    return new SyncError({
      code: "COORDINATOR_UNREACHABLE",
      message: `the coordinator at ${callee.address} cannot be reached: ${why}`,
      action: mayBeAsleep
        ? "Check that it is not frozen, that its machine is awake, and that the address and firewall let this one in."
        : "Check that it runs and that the address is right.",
      cause,
    });
  }
  return new SyncError({
    code: "PEER_UNREACHABLE",
    message: `${callee.address} cannot be reached: ${why}`,
    action: mayBeAsleep
      ? "Check that its machine is awake, its process is not frozen, and the firewall lets this one in. Nothing is lost: once it answers, the next sync goes on where this ended."
      : "Check that a node runs there and that the address and firewall let this one in.",
    cause,
  });
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && typeof (thrown as Partial<ServiceError>).code === "number" && "details" in thrown;
}

/** google.rpc.Status { code = 1, message = 2, details = 3 [Any(ErrorInfo)] }. */
function encodeStatus(code: number, message: string, reason: ErrorCode, action: string): Buffer {
  // google.rpc.ErrorInfo { reason = 1, domain = 2, map<string, string> metadata = 3 }
  const errorInfo = new BinaryWriter().uint32(10).string(reason).uint32(18).string(ERROR_DOMAIN);
  errorInfo.uint32(26).fork().uint32(10).string("action").uint32(18).string(action).join();
  const writer = new BinaryWriter().uint32(8).int32(code).uint32(18).string(message);
  writer.uint32(26).fork().uint32(10).string(ERROR_INFO_TYPE).uint32(18).bytes(errorInfo.finish()).join();
  return Buffer.from(writer.finish());
}

/** Null when there are no details of ours in it, or they are not readable. */
function decodeStatus(bytes: Uint8Array): { code: ErrorCode; message: string; action: string } | null {
  try {
    const outer = fields(bytes);
    const message = text(outer.get(2)?.[0]);
    for (const detail of outer.get(3) ?? []) {
      const any = fields(detail);
      if (text(any.get(1)?.[0]) !== ERROR_INFO_TYPE) continue;
      const errorInfo = fields(any.get(2)?.[0] ?? new Uint8Array());
      const reason = text(errorInfo.get(1)?.[0]);
      if (text(errorInfo.get(2)?.[0]) !== ERROR_DOMAIN || !Object.hasOwn(ErrorCodes, reason)) continue;
      const entries = (errorInfo.get(3) ?? []).map(fields);
      const action = entries.find((entry) => text(entry.get(1)?.[0]) === "action")?.get(2)?.[0];
      return { code: reason as ErrorCode, message, action: text(action) };
    }
  } catch {
    // Foreign bytes in the trailer: the plain status says enough.
  }
  return null;
}

/** The length-delimited fields of a message by number; others are skipped. */
function fields(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const reader = new BinaryReader(bytes);
  const found = new Map<number, Uint8Array[]>();
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType !== 2) {
      reader.skip(wireType, number);
      continue;
    }
    const list = found.get(number) ?? [];
    list.push(reader.bytes());
    found.set(number, list);
  }
  return found;
}

function text(bytes: Uint8Array | undefined): string {
  return bytes ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8") : "";
}
