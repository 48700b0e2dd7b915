import type { PlainError } from "@scoutsync/core";
import type { ReplicaOptions, ReplicaState } from "../replica.ts";

/** What a database's thread can be asked to do, by name of the method of ReplicaDatabase. */
export type Method =
  | "drain"
  | "read"
  | "apply"
  | "meet"
  | "beginRejoin"
  | "forget"
  | "textsIn"
  | "memberWords"
  | "learnMembers"
  | "retire"
  | "choiceFor"
  | "copyTo"
  | "standing"
  | "position"
  | "beyondDigest"
  | "count"
  | "readable"
  | "digests"
  | "checkCapture"
  | "row"
  | "wholeRows"
  | "reviews"
  | "resolve"
  | "history"
  | "restore"
  | "acknowledge"
  | "correctClock"
  | "carryScope"
  | "keptOfScope"
  | "dismissKept"
  | "applyKept"
  | "reissue";

export type ToWorker =
  | { kind: "open"; call: number; database: number; options: ReplicaOptions; run: string }
  | { kind: "call"; call: number; database: number; method: Method; args: unknown[] }
  | { kind: "close"; call: number; database: number };

export type FromWorker =
  | { kind: "answer"; call: number; value: unknown; state: ReplicaState | null }
  | { kind: "failure"; call: number; error: PlainError }
  | { kind: "state"; database: number; state: ReplicaState };
