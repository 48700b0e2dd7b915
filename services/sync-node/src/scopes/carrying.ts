import { toPlainError, Wakeup } from "@scoutsync/core";
import { backoffMs, pause, type Logger } from "@scoutsync/runtime";
import type { Scope } from "./scopes.ts";

/** Between two passes over a scope, each of which looks at all of its rows. */
const LEAST_PAUSE_MS = 100;
/** Also where nobody said that anything changed: an application's migration moves no vector. */
const LOOK_MS = 60_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** The application may write again while both sides are looked at. */
const MOST_TRIES = 20;
const PATIENT_TRIES = 5;

/** Carries what changes between the databases and the copies of a scope, until the signal aborts. Never throws. */
export async function keepScope({ name, parts }: Scope, logger: Logger, signal: AbortSignal): Promise<void> {
  await Promise.all(parts.map((part) => keepPart(name, part, logger, signal)));
}

async function keepPart(scope: string, { copy, main }: Scope["parts"][number], logger: Logger, signal: AbortSignal): Promise<void> {
  const changed = new Wakeup();
  let news = true;
  const raise = () => {
    news = true;
    changed.raise();
  };
  const stops = [main.onChange(raise), copy.onChange(raise)];
  const look = setInterval(raise, LOOK_MS);
  look.unref();
  const at = { scope, database: main.name };
  let said = "";
  for (let failures = 0; !signal.aborted;) {
    await changed.until(() => news, signal);
    if (signal.aborted) break;
    news = false;
    let problem = "";
    try {
      const carried = await carryOnce({ copy, main });
      ({ problem } = carried);
      failures = 0;
      if (carried.kept > 0)
        logger.warn({ ...at, changes: carried.kept }, "changes from nodes of a scope were not taken: `scoutsync review list` shows them");
      if (!carried.complete) raise();
    } catch (error) {
      problem = toPlainError(error).message;
      failures++;
      raise();
    }
    if (problem !== said)
      logger[problem === "" ? "info" : "warn"](at, problem === "" ? "the scope goes on" : `the scope stands still: ${problem}`);
    said = problem;
    await pause(failures > 0 ? backoffMs(failures - 1, { firstMs: FIRST_RETRY_MS, capMs: LONGEST_RETRY_MS }) : LEAST_PAUSE_MS, signal);
  }
  clearInterval(look);
  for (const stop of stops) stop();
}

async function carryOnce({ copy, main }: Scope["parts"][number]) {
  for (let tries = 1; ; tries++) {
    await main.drain();
    const carried = await copy.carryScope(tries > PATIENT_TRIES);
    if (carried.complete || tries === MOST_TRIES) {
      // What it took becomes changes at once, before anything of others comes to the same rows.
      if (carried.toMain > 0) await main.drain();
      return carried;
    }
  }
}
