import type { z } from "zod";
import type { Core } from "./core.ts";
import type { CleanupShape } from "./operations/shapes.ts";

const DAY_MS = 86_400_000;
/** Hours of figures are kept this long before they become days. */
const HOURS_KEPT_MS = 2 * DAY_MS;
/** Points of the lag chart are kept this long. */
const LAG_KEPT_MS = 2 * DAY_MS;

/**
 * Removes what is older than `max_catchup_days`: ended lines of the log, figures of reliability, error patterns, alerts
 * that are over. With `dryRun` nothing is removed and the answer is the same. Rows of users are never touched here:
 * what nodes keep for each other is theirs to forget.
 */
export function cleanUp(core: Core, { dryRun }: { dryRun: boolean }): z.infer<typeof CleanupShape> {
  const { registry } = core;
  const now = new Date();
  const before = new Date(now.getTime() - registry.settings.get("max_catchup_days") * DAY_MS);
  const older_than = before.toISOString();
  return registry.transaction(() => {
    const figures = registry.reliability.countOlderThan(before);
    const removed = [
      { what: "lines of the log", count: registry.logs.countOlderThan(before), older_than },
      { what: "figures of reliability", count: figures.figures, older_than },
      { what: "error patterns", count: figures.patterns, older_than },
      { what: "alerts that are over", count: registry.alerts.countOlderThan(before), older_than },
    ];
    const kept = registry.logs.countKept(before);
    if (!dryRun) {
      registry.logs.dropOlderThan(before);
      registry.reliability.rollUp(new Date(now.getTime() - HOURS_KEPT_MS));
      registry.reliability.dropOlderThan(before);
      registry.alerts.dropOlderThan(before);
      registry.lag.dropOlderThan(new Date(now.getTime() - LAG_KEPT_MS));
    }
    return {
      dry_run: dryRun,
      removed,
      kept: [
        { what: "lines of the log", count: kept.open, reason: "Their sessions have not ended" },
        {
          what: "lines of the log",
          count: kept.last,
          reason: "The last session of its node that went well: it says what the node had then",
        },
        ...historyKept(core),
      ],
      timestamp: now.toISOString(),
    };
  });
}

/** History that nodes keep because another node lacks it still. */
function historyKept({ fleet }: Core) {
  return fleet
    .nodes()
    .filter((node) => node.missing.changes > 0)
    .map((node) => ({
      what: "changes on the other nodes",
      count: node.missing.changes,
      reason: `Node "${node.row.name}" lacks them still`,
    }));
}
