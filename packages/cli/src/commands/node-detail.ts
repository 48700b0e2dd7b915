import type { Command } from "commander";
import type { NodeDetail } from "@scoutsync/coordinator";
import { unary } from "@scoutsync/protocol";
import { declare, type Invocation } from "../command.ts";
import { LONG_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { Negative } from "../exit.ts";
import { formatAge } from "../output/age.ts";
import { count } from "../output/json.ts";
import { sparkline } from "../output/sparkline.ts";
import { showingSessions } from "../output/sessions.ts";
import type { Surroundings } from "../surroundings.ts";
import { askCoordinator } from "./api.ts";

const GIB = 1024 ** 3;
/** Points of the lag that fit on a line. */
const LAG_SHOWN = 60;

/** `scoutsync nodes show`: everything the coordinator knows of one node. */
export function declareShow(nodes: Command, surroundings: Surroundings): void {
  declare(nodes, surroundings, {
    usage: "show <node>",
    summary: "one node: what it lacks and holds for others and why, its disk and clock, recent sessions, what is wrong",
    usesCoordinator: true,
    examples: ["scoutsync nodes show pits", "scoutsync nodes show 192.168.1.20:7071 --json"],
    run: async (_options, invocation, node = "") => {
      const detail = (await askCoordinator(invocation, "getNode", { id: node })) as NodeDetail;
      invocation.out.result(detail, () => show(detail, invocation));
    },
  });
}

/** `scoutsync nodes sync`: brings one node up to date now. */
export function declareSync(nodes: Command, surroundings: Surroundings): void {
  declare(nodes, surroundings, {
    usage: "sync <node>",
    summary: "bring one node up to date now, with the best source there is, and wait for it",
    usesCoordinator: true,
    examples: ["scoutsync nodes sync pits", "scoutsync nodes sync pits --json"],
    run: async (_options, invocation, node = "") => {
      const { result } = await withCoordinator(invocation, (client) =>
        showingSessions(client, invocation.out, unary(client, "catchUp", { node }, { deadlineMs: LONG_DEADLINE_MS })),
      );
      const document = {
        server_id: count(result?.serverId ?? 0n),
        server_name: result?.serverName ?? node,
        success: result?.success === true,
        database_changes: {
          sent: count(result?.sent ?? 0n),
          received: count(result?.received ?? 0n),
          applied: count(result?.applied ?? 0n),
        },
        file_changes: { uploaded: count(result?.uploaded ?? 0n), downloaded: count(result?.downloaded ?? 0n) },
        errors: result?.errors ?? [],
        duration: result?.duration ?? 0,
      };
      const { out } = invocation;
      const { database_changes: rows, file_changes: files } = document;
      out.result(document, () => {
        if (!document.success) return;
        out.line(
          `${document.server_name} is up to date: ${rows.received} changes received, ${rows.sent} sent, ` +
            `${files.downloaded} files received, ${files.uploaded} sent, ${document.duration} s`,
        );
      });
      if (document.success) return;
      for (const error of document.errors) out.note(`scoutsync: ${error}`);
      throw new Negative();
    },
  });
}

function show({ node, reliability, sessions, alerts, lag }: NodeDetail, { out }: Invocation): void {
  out.line(`${node.name} at ${node.address} is ${node.state}: ${node.state_reason}`);
  out.line(`lacks     ${node.missing_changes} changes${agoText(node.oldest_missing_age_s)}`);
  out.line(`to send   ${node.unsent_changes} changes${agoText(node.oldest_unsent_age_s)}`);
  if (lag.length > 1) out.line(`lag       ${lagLine(lag)} in the last ${formatAge(spanSeconds(lag))}`);
  out.line(`reliable  ${Math.round(reliability.overall_reliability * 100)}% (${reliability.level})`);
  out.line(`clock     ${Math.round(node.clock_offset_ms)} ms off, ${Math.round(node.round_trip_ms)} ms away`);
  if (node.disk !== null)
    out.line(`disk      ${(node.disk.free_bytes / GIB).toFixed(1)} of ${(node.disk.total_bytes / GIB).toFixed(1)} GiB free`);
  out.line(`review    ${node.review === 0 ? "nothing wants a decision" : `${node.review}: scoutsync review list ${node.name}`}`);
  out.line(`last sync ${node.last_sync ?? "never"}`);
  for (const alert of alerts)
    out.line(`${alert.recovered_at === null ? "ALERT" : "was"} ${alert.kind}: ${alert.message} (since ${alert.since})`);
  for (const one of reliability.error_patterns)
    out.line(`${one.count} × ${one.code} at ${one.operation}, last ${one.last_seen}: ${one.message}`);
  if (sessions.length === 0) return out.line("No session yet.");
  out.line();
  out.table(
    ["session", "with", "result", "sent", "received", "seconds", "errors"],
    sessions.map((session) => [
      session.started_at,
      session.peer,
      session.success === null ? "running" : !session.success ? "failed" : session.verified ? "equal" : "done",
      session.database_changes.sent,
      session.database_changes.received,
      session.duration,
      session.errors.map(({ message }) => message).join("; "),
    ]),
  );
}

function agoText(seconds: number): string {
  return seconds > 0 ? `, the oldest ${formatAge(seconds)} old` : "";
}

function lagLine(lag: NodeDetail["lag"]): string {
  const most = Math.max(1, ...lag.map((point) => point.missing_changes));
  return sparkline(lag.slice(-LAG_SHOWN).map((point) => point.missing_changes / most));
}

function spanSeconds(lag: NodeDetail["lag"]): number {
  const shown = lag.slice(-LAG_SHOWN);
  return (Date.parse(shown.at(-1)?.time ?? "") - Date.parse(shown[0]?.time ?? "")) / 1_000;
}
