import { SyncError, toPlainError, type ErrorCode } from "@scoutsync/core";

/** What the process says when it ends: done, failed with the reason, wrong usage or configuration. */
export const ExitCode = { done: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** A command that ran and answered, but whose answer is "no" (databases differ, a scan failed). The answer is already printed. */
export class Negative extends Error {
  constructor() {
    super("the answer is no");
    this.name = "Negative";
  }
}

/** Wrong usage or configuration. */
export function usageError(message: string, action: string): SyncError {
  return new SyncError({ code: "INVALID_ARGUMENT", message, action });
}

/** These do not heal by running the same command again: the command or the configuration has to change. */
const CONFIGURATION: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "INVALID_ARGUMENT",
  "DATABASE_NOT_FOUND",
  "NOT_SQLITE",
  "METADATA_NEWER",
  "SCHEMA_UNSUPPORTED",
]);

export function exitCodeOf(thrown: unknown): ExitCode {
  if (thrown instanceof SyncError && CONFIGURATION.has(thrown.code)) return ExitCode.usage;
  return ExitCode.failed;
}

/** One line for people: what happened, to which thing, what to do. */
export function describeError(thrown: unknown, { stack }: { stack: boolean }): string {
  if (stack && thrown instanceof Error) return thrown.stack ?? thrown.message;
  if (thrown instanceof SyncError && thrown.code !== "INTERNAL") return thrown.message;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return `${message.split("\n", 1)[0] ?? message} (run again with --log-level debug to see where)`;
}

/** The `--json` form of a failure. */
export function errorDocument(thrown: unknown): { error: { code: string; message: string } } {
  const { code } = toPlainError(thrown);
  return { error: { code, message: describeError(thrown, { stack: false }) } };
}
