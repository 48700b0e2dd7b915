import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";

/** `scoutsync cleanup`: old logs and figures of the coordinator. */
export const registerCleanup: Registration = (program, surroundings) => {
  declare<{ dryRun?: boolean }>(program, surroundings, {
    usage: "cleanup",
    summary: "remove old logs and figures from the coordinator, and say what is kept and why; rows of yours are never touched",
    usesCoordinator: true,
    options: [new Option("--dry-run", "only say what would be removed")],
    examples: ["scoutsync cleanup --dry-run", "scoutsync cleanup --json"],
    run: async ({ dryRun }, invocation) => {
      const answer = await withCoordinator(invocation, (client) =>
        unary(client, "cleanup", { dryRun: dryRun === true }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = {
        dry_run: answer.dryRun,
        removed: answer.removed.map((one) => ({ what: one.what, count: count(one.count), older_than: one.olderThan || null })),
        kept: answer.kept.map((one) => ({ what: one.what, count: count(one.count), reason: one.reason })),
        timestamp: answer.timestamp,
      };
      const { out } = invocation;
      out.result(document, () => {
        for (const one of document.removed) {
          out.line(`${document.dry_run ? "would remove" : "removed"} ${one.count} ${one.what} older than ${one.older_than ?? ""}`);
        }
        for (const one of document.kept.filter((kept) => kept.count > 0)) out.line(`kept ${one.count} ${one.what}: ${one.reason}`);
      });
    },
  });
};
