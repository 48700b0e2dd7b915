import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { Negative } from "../exit.ts";
import { count } from "../output/json.ts";
import { showingSessions } from "../output/sessions.ts";

/** `scoutsync scan`: look at every node now and catch up who misses something. */
export const registerScan: Registration = (program, surroundings) => {
  declare<{ wait: boolean }>(program, surroundings, {
    usage: "scan",
    summary: "look at every node now, catch up who misses something, wait for the result",
    usesCoordinator: true,
    options: [new Option("--no-wait", "answer when the catch-ups are scheduled")],
    examples: ["scoutsync scan", "scoutsync scan --json"],
    run: async ({ wait }, invocation) => {
      const answer = await withCoordinator(invocation, (client) =>
        showingSessions(client, invocation.out, unary(client, "scan", { noWait: !wait }, { deadlineMs: LONG_DEADLINE_MS })),
      );
      const document = {
        message: answer.message,
        servers_processed: answer.serversProcessed,
        results: answer.results.map((result) => ({
          server_id: count(result.serverId),
          server_name: result.serverName,
          started_at: result.startedAt,
          completed_at: result.completedAt,
          success: result.success,
          database_changes: { sent: count(result.sent), received: count(result.received), applied: count(result.applied) },
          file_changes: { uploaded: count(result.uploaded), downloaded: count(result.downloaded) },
          errors: result.errors,
          duration: result.duration,
        })),
        timestamp: answer.timestamp,
      };
      const { out } = invocation;
      out.result(document, () => {
        const failed = document.results.filter(({ success }) => !success).length;
        const ended = wait ? `, ${document.results.length - failed} up to date${failed === 0 ? "" : `, ${failed} not`}` : "";
        out.line(`${document.message}: ${document.servers_processed} nodes looked at${ended}.`);
        if (document.results.length > 0) {
          out.table(
            ["node", "result", "sent", "received", "applied", "seconds", "errors"],
            document.results.map((one) => [
              one.server_name,
              one.success ? "done" : "failed",
              one.database_changes.sent,
              one.database_changes.received,
              one.database_changes.applied,
              one.duration,
              one.errors.join("; "),
            ]),
          );
        }
      });
      if (document.results.some((result) => !result.success)) throw new Negative();
    },
  });
};
