import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, wholeNumber, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";

/** `scoutsync alerts`: what is wrong now, and what was. */
export const registerAlerts: Registration = (program, surroundings) => {
  declare<{ all?: boolean; limit?: number }>(program, surroundings, {
    usage: "alerts",
    summary: "what is wrong now, since when, and whether somebody was told",
    usesCoordinator: true,
    options: [new Option("--all", "also what is over"), wholeNumber("--limit <n>", "at most this many (default 50)")],
    examples: ["scoutsync alerts", "scoutsync alerts --all --json"],
    run: async ({ all = false, limit = 50 }, invocation) => {
      const { alerts } = await withCoordinator(invocation, (client) =>
        unary(client, "listAlerts", { all, limit }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = alerts.map((alert) => ({
        id: count(alert.id),
        kind: alert.kind,
        server_id: count(alert.serverId) || null,
        server_name: alert.serverName,
        message: alert.message,
        since: alert.since,
        recovered_at: alert.recoveredAt || null,
        notified: alert.notified,
      }));
      const { out } = invocation;
      out.result(document, () => {
        if (document.length === 0)
          return out.line(
            all
              ? "Nothing was ever wrong."
              : "No alert is open. Who lacks what just now: scoutsync status. What is over: scoutsync alerts --all",
          );
        out.table(
          ["kind", "node", "since", "over", "told", "what"],
          document.map((one) => [one.kind, one.server_name, one.since, one.recovered_at ?? "no", one.notified ? "yes" : "no", one.message]),
        );
      });
    },
  });
};
