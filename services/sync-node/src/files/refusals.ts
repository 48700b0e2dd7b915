import type { FileRoot } from "@scoutsync/files";
import { pause, type Logger } from "@scoutsync/runtime";
import type { AuditLog } from "@scoutsync/trust";

/** Refusals that are written one by one; each such time lets one more pass, milliseconds. */
const BURST = 50;
const ONE_MORE_MS = 60_000;
/** The same of the same peer is written once in this time, milliseconds. */
const QUIET_MS = 3_600_000;
const MOST_QUIETED = 1_000;
/** Refusals that come together are looked at together, milliseconds. */
const GATHER_MS = 200;
/** So many at most that are looked at together, as many as the root keeps. */
const FOLDED = 1_000;

interface Refusal {
  timeUs: number;
  peer: string;
  what: string;
}

/**
 * Which refusals of a root get a line of the audit log. A peer that is refused for ever new things fills no disk: beyond the
 * first ones a line a minute says how many there were.
 */
export class RefusalPace {
  readonly #said = new Map<string, number>();
  #left = BURST;
  #atMs: number;
  #untold = 0;

  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  /** The text for the line; null where it is only counted. */
  line({ peer, what }: Refusal, nowMs: number): string | null {
    const key = JSON.stringify([peer, what]);
    if ((this.#said.get(key) ?? 0) > nowMs) return null;
    const earned = Math.floor((nowMs - this.#atMs) / ONE_MORE_MS);
    this.#left = Math.min(BURST, this.#left + earned);
    this.#atMs += earned * ONE_MORE_MS;
    if (this.#left === 0) {
      this.#untold += 1;
      return null;
    }
    this.#left -= 1;
    if (this.#said.size >= MOST_QUIETED) this.#said.clear();
    this.#said.set(key, nowMs + QUIET_MS);
    const more = this.#untold;
    this.#untold = 0;
    return more === 0 ? what : `${what} (and ${more} others before it)`;
  }
}

/** Writes what the root refuses of peers into the audit log and the log, until the signal aborts. */
export async function auditRefusals(root: FileRoot, audit: AuditLog, logger: Logger, signal: AbortSignal): Promise<void> {
  const pace = new RefusalPace(Date.now());
  let seen = root.state.refused.count;
  let wake = () => {};
  const stop = root.onChange(() => wake());
  signal.addEventListener("abort", () => wake(), { once: true });
  try {
    while (!signal.aborted) {
      if (root.state.refused.count === seen) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      await pause(GATHER_MS, signal);
      const fresh = root.state.refused.count - seen;
      const { refusals } = await root.status();
      seen += fresh;
      let lines = 0;
      for (const refusal of refusals.slice(0, Math.min(fresh, FOLDED)).toReversed()) {
        const details = pace.line(refusal, Date.now());
        if (details === null) continue;
        lines += 1;
        audit.write({ who: refusal.peer || "this node", what: `files of ${root.name}`, outcome: "refused", details });
      }
      if (lines > 0) logger.warn({ root: root.name, refused: fresh, ...refusals[0] }, "refused what a peer sent");
    }
  } finally {
    stop();
  }
}
