import type { NodeDetail } from "@scoutsync/coordinator";
import { formatAge } from "../output/age.ts";
import type { Output } from "../output/output.ts";
import { sparkline } from "../output/sparkline.ts";

const GIB = 1024 ** 3;
/** Points of the lag that fit on a line. */
const LAG_SHOWN = 60;

/** Everything the coordinator knows of one node. */
export function showNode({ node, reliability, sessions, alerts, lag }: NodeDetail, out: Output): void {
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
