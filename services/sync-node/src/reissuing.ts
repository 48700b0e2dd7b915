import { toPlainError } from "@scoutsync/core";
import { pause } from "@scoutsync/runtime";
import type { NodeContext } from "./context.ts";

const LOOK_MS = 60 * 60_000;
const DAY_US = 86_400_000_000;
const DEFAULT_DAYS = 7;

/**
 * Takes over what was sent only in part, and has not been added to for so many days, until the signal aborts: who sent it
 * is gone for good, and as long as it is nobody's the others cannot be found equal. Wrong about a node that comes back
 * after all, it has cost some bytes.
 */
export async function takeOver(context: NodeContext, afterDays: number | undefined, signal: AbortSignal): Promise<void> {
  const heldForUs = (afterDays ?? DEFAULT_DAYS) * DAY_US;
  while (heldForUs > 0 && !signal.aborted) {
    for (const { replica } of context.databases.all()) {
      try {
        const origins = await replica.reissue(heldForUs);
        if (origins > 0) context.logger.info({ database: replica.name, origins }, "took over what ended runs left half sent");
      } catch (error) {
        context.logger.warn({ database: replica.name, ...toPlainError(error) }, "what ended runs left could not be taken over");
      }
    }
    await pause(LOOK_MS, signal);
  }
}
