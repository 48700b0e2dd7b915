import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";
import { sparkline } from "../output/sparkline.ts";

/** Points of a trend that fit on a line. */
const TREND_SHOWN = 48;

/** `scoutsync reliability`: how well a node works, step by step. */
export const registerReliability: Registration = (program, surroundings) => {
  declare(program, surroundings, {
    usage: "reliability <node>",
    summary: "how well a node works: success and time of each step, its trend, and patterns of its errors",
    usesCoordinator: true,
    examples: ["scoutsync reliability pits", "scoutsync reliability 192.168.1.20:7071 --json"],
    run: async (_options, invocation, node = "") => {
      const answer = await withCoordinator(invocation, (client) =>
        unary(client, "getReliability", { node }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = {
        server_id: count(answer.serverId),
        server_name: answer.serverName,
        overall_reliability: answer.overallReliability,
        level: answer.level,
        operations: Object.fromEntries(
          answer.operations.map((one) => [
            one.operation,
            {
              success_rate: one.successRate,
              total: count(one.total),
              failed: count(one.failed),
              avg_duration: one.avgDuration,
              max_duration: one.maxDuration,
              change: one.change,
              trend: one.trend.map((point) => ({
                time: point.time,
                total: count(point.total),
                failed: count(point.failed),
                success_rate: point.successRate,
                avg_duration: point.avgDuration,
              })),
            },
          ]),
        ),
        error_patterns: answer.errorPatterns.map((one) => ({
          operation: one.operation,
          code: one.code,
          message: one.message,
          count: count(one.count),
          first_seen: one.firstSeen,
          last_seen: one.lastSeen,
        })),
      };
      const { out } = invocation;
      out.result(document, () => {
        out.line(`${document.server_name}: ${percent(document.overall_reliability)} reliable (${document.level}).`);
        out.table(
          ["step", "success", "tried", "failed", "mean s", "longest s", "last day", "trend"],
          Object.entries(document.operations).map(([name, one]) => [
            name,
            one.total === 0 ? "" : percent(one.success_rate),
            one.total,
            one.failed,
            one.avg_duration.toFixed(3),
            one.max_duration.toFixed(3),
            one.change === 0 ? "" : `${one.change > 0 ? "+" : ""}${percent(one.change)}`,
            sparkline(one.trend.slice(-TREND_SHOWN).map((point) => point.success_rate)),
          ]),
        );
        for (const one of document.error_patterns)
          out.line(`${one.count} × ${one.code} at ${one.operation}, last ${one.last_seen}: ${one.message}`);
      });
    },
  });
};

function percent(rate: number): string {
  return `${Math.round(rate * 1_000) / 10}%`;
}
