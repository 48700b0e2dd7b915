import { Option } from "commander";
import type { Alert, Cleanup, LogPage, Reliability } from "@scoutsync/coordinator";
import { wholeNumber } from "../command.ts";
import { logGist } from "../output/log-gist.ts";
import { sparkline } from "../output/sparkline.ts";
import { asks, given } from "./fleet-command.ts";

/** Points of a trend that fit on a line. */
const TREND_SHOWN = 48;

function percent(rate: number): string {
  return `${Math.round(rate * 1_000) / 10}%`;
}

/** What the coordinator has written down: what was done, how well it went, what was wrong. */
export const RECORD_COMMANDS = [
  asks<LogPage>({
    operation: "listLogs",
    usage: "logs",
    summary: "what the coordinator did and how it went, newest first",
    options: [
      new Option("--node <node>", "only this node: id, name or host:port"),
      new Option("--operation <text>", "only this operation, for example catch-up"),
      new Option("--status <status>", "only this status").choices(["pending", "in_progress", "completed", "failed"]),
      wholeNumber("--limit <n>", "at most this many (default 50)"),
    ],
    examples: ["scoutsync logs", "scoutsync logs --node pits --status failed --limit 10 --json"],
    fields: ({ options: { node, operation, status, limit = 50 } }) => given({ node, operation, status, page_size: limit }),
    document: ({ logs }) => logs,
    people: ({ logs }, out) =>
      out.table(
        ["time", "node", "operation", "status", "what moved, or why not"],
        logs.map((entry) => [
          entry.created_at,
          entry.server_name,
          entry.operation,
          entry.status,
          entry.status === "in_progress" ? "" : logGist(entry.details),
        ]),
      ),
  }),
  asks<Reliability>({
    operation: "getReliability",
    usage: "reliability <node>",
    summary: "how well a node works: success and time of each step, its trend, and patterns of its errors",
    examples: ["scoutsync reliability pits", "scoutsync reliability 192.168.1.20:7071 --json"],
    fields: ({ args: [id] }) => ({ id }),
    people: (answer, out) => {
      out.line(`${answer.server_name}: ${percent(answer.overall_reliability)} reliable (${answer.level}).`);
      out.table(
        ["step", "success", "tried", "failed", "mean s", "longest s", "last day", "trend"],
        Object.entries(answer.operations).map(([name, one]) => [
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
      for (const one of answer.error_patterns)
        out.line(`${one.count} × ${one.code} at ${one.operation}, last ${one.last_seen}: ${one.message}`);
    },
  }),
  asks<{ alerts: Alert[] }>({
    operation: "listAlerts",
    usage: "alerts",
    summary: "what is wrong now, since when, and whether somebody was told",
    options: [new Option("--all", "also what is over"), wholeNumber("--limit <n>", "at most this many (default 50)")],
    examples: ["scoutsync alerts", "scoutsync alerts --all --json"],
    fields: ({ options: { all, limit = 50 } }) => ({ open: all !== true, limit }),
    document: ({ alerts }) => alerts,
    people: ({ alerts }, out, { options: { all } }) => {
      const none =
        all === true
          ? "Nothing was ever wrong."
          : "No alert is open. Who lacks what just now: scoutsync status. What is over: scoutsync alerts --all";
      if (alerts.length === 0) return out.line(none);
      out.table(
        ["kind", "node", "since", "over", "told", "what"],
        alerts.map((one) => [one.kind, one.server_name, one.since, one.recovered_at ?? "no", one.notified ? "yes" : "no", one.message]),
      );
    },
  }),
  asks<Cleanup>({
    operation: "cleanUp",
    usage: "cleanup",
    summary: "remove old logs and figures from the coordinator, and say what is kept and why; rows of yours are never touched",
    options: [new Option("--dry-run", "only say what would be removed")],
    examples: ["scoutsync cleanup --dry-run", "scoutsync cleanup --json"],
    fields: ({ options: { dryRun } }) => ({ dry_run: dryRun === true }),
    people: ({ dry_run, removed, kept }, out) => {
      for (const one of removed)
        out.line(`${dry_run ? "would remove" : "removed"} ${one.count} ${one.what} older than ${one.older_than ?? ""}`);
      for (const one of kept.filter(({ count }) => count > 0)) out.line(`kept ${one.count} ${one.what}: ${one.reason}`);
    },
  }),
];
