import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, wholeNumber, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";

interface LogsOptions {
  node?: string;
  operation?: string;
  status?: string;
  limit?: number;
}

/** `scoutsync logs`: what the coordinator did and how it went, newest first. */
export const registerLogs: Registration = (program, surroundings) => {
  declare<LogsOptions>(program, surroundings, {
    usage: "logs",
    summary: "what the coordinator did and how it went, newest first",
    usesCoordinator: true,
    options: [
      new Option("--node <node>", "only this node: id, name or host:port"),
      new Option("--operation <text>", "only this operation, for example catch-up"),
      new Option("--status <status>", "only this status").choices(["pending", "in_progress", "completed", "failed"]),
      wholeNumber("--limit <n>", "at most this many (default 50)"),
    ],
    examples: ["scoutsync logs", "scoutsync logs --node pits --status failed --limit 10 --json"],
    run: async ({ node = "", operation = "", status = "", limit = 50 }, invocation) => {
      const { logs } = await withCoordinator(invocation, (client) =>
        unary(client, "listLogs", { node, operation, status, limit, beforeId: 0n }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = logs.map((entry) => ({
        id: count(entry.id),
        server_id: count(entry.serverId),
        server_name: entry.serverName,
        operation: entry.operation,
        status: entry.status,
        details: entry.details,
        created_at: entry.createdAt,
      }));
      invocation.out.result(document, () =>
        invocation.out.table(
          ["time", "node", "operation", "status", "details"],
          document.map((entry) => [entry.created_at, entry.server_name, entry.operation, entry.status, entry.details]),
        ),
      );
    },
  });
};
