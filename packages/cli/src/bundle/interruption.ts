import { SyncError } from "@scoutsync/core";

/** Aborts when somebody ends the command, so that no half file is left behind. `release` when the work is over. */
export function stoppable(): { signal: AbortSignal; release: () => void } {
  const stop = new AbortController();
  const interrupted = () =>
    stop.abort(new SyncError({ code: "SHUTTING_DOWN", message: "the export was interrupted", action: "Run it again." }));
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);
  return {
    signal: stop.signal,
    release: () => {
      process.off("SIGINT", interrupted);
      process.off("SIGTERM", interrupted);
    },
  };
}
