import { toPlainError } from "@scoutsync/core";
import { pause } from "@scoutsync/runtime";
import type { NodeContext } from "./context.ts";

/** After a start the others are heard first. */
const FIRST_LOOK_MS = 60_000;
const LOOK_MS = 60 * 60_000;

/** How long deleted rows are kept at least, days. */
export const DEFAULT_RETENTION_DAYS = 30;

/** Lets go of earlier versions of files, and of what was deleted so long ago, and is known to be deleted by every node that takes part, until the signal aborts. */
export async function forgetDeleted(context: NodeContext, signal: AbortSignal): Promise<void> {
  await pause(FIRST_LOOK_MS, signal);
  while (!signal.aborted) {
    // By a clock that was set a year ahead all of it would be past the retention.
    if (!context.clock.isUnchecked) await forgetOnce(context);
    await pause(LOOK_MS, signal);
  }
}

async function forgetOnce(context: NodeContext): Promise<void> {
  const { retentionDays } = context;
  for (const { replica } of context.databases.all()) {
    try {
      const { forgotten, awaited, keptFor } = await replica.forget({ retentionDays, dryRun: false });
      if (forgotten > 0)
        context.logger.info({ database: replica.name, rows: forgotten }, "forgot rows that were deleted everywhere long ago");
      if (awaited > 0) {
        const nodes = keptFor.map(({ name }) => name).join(", ");
        context.logger.info(
          { database: replica.name, rows: awaited, nodes },
          "keeps rows that were deleted long ago until every node knows",
        );
      }
    } catch (error) {
      context.logger.warn({ database: replica.name, ...toPlainError(error) }, "deleted rows could not be forgotten");
    }
  }
  for (const root of context.files.all()) {
    try {
      const { correctionUs } = context.clock;
      const { versions, partial } = await root.forget({ retentionDays, dryRun: false, correctionUs });
      if (versions.files + partial.files > 0)
        context.logger.info({ root: root.name, versions: versions.files, partial: partial.files }, "let go of earlier versions of files");
    } catch (error) {
      context.logger.warn({ root: root.name, ...toPlainError(error) }, "earlier versions of files could not be let go of");
    }
  }
}
