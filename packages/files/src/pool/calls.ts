import type { PlainError } from "@scoutsync/core";
import type { FileRootCalls, FileRootOptions, FileRootState } from "../file-root.ts";

export type Method = keyof FileRootCalls;

export type ToWorker =
  | { kind: "open"; call: number; root: number; options: FileRootOptions }
  | { kind: "call"; call: number; root: number; method: Method; args: unknown[] }
  | { kind: "close"; call: number; root: number };

export type FromWorker =
  /** `memory`: a piece that the call brought and that is done with. */
  | { kind: "result"; call: number; value: unknown; state: FileRootState | null; memory: ArrayBuffer | null }
  | { kind: "failure"; call: number; error: PlainError; state: FileRootState | null }
  | { kind: "state"; root: number; state: FileRootState };
