import { Option } from "commander";
import type { Fleet, FleetNode, Scan } from "@scoutsync/coordinator";
import { formatAge } from "../output/age.ts";
import type { Output } from "../output/output.ts";
import { asks } from "./fleet-command.ts";

function statusDocument({ certificate, nodes, alerts, jobs, timestamp }: Fleet) {
  return { ...certificate, nodes: nodes.map((node) => ({ ...node, reason: node.state_reason })), alerts, jobs, timestamp };
}

function showStatus({ certificate, nodes, alerts, jobs }: Fleet, out: Output): void {
  out.line(verdict(certificate, nodes));
  out.line();
  nodeTable(out, nodes);
  for (const { name, reason } of certificate.behind) out.line(`${name}: ${reason}`);
  for (const alert of alerts) out.line(`ALERT ${alert.kind}: ${alert.message} (since ${alert.since})`);
  out.line(jobsLine(jobs));
}

function verdict({ converged, since, behind, nodes: enabled }: Fleet["certificate"], nodes: readonly FleetNode[]): string {
  if (enabled === 0) return "No node has registered yet. Start one with --coordinator, or add one: scoutsync nodes add NAME HOST:PORT";
  if (enabled === 1 && converged) return `One node, with no other to compare it with, since ${since}.`;
  if (converged) return `All ${enabled} nodes are equal since ${since}.`;
  const [first, ...others] = behind;
  if (first !== undefined && others.length === 0) {
    const state = nodes.find(({ id }) => id === first.id)?.state ?? "behind";
    const age = formatAge(first.oldest_missing_age_s);
    const lacks =
      first.missing_changes === 0 ? "" : ` and lacks ${first.missing_changes} changes${age === "" ? "" : `, the oldest ${age} old`}`;
    return `${first.name} is ${state}${lacks}; the other ${enabled - 1} of ${enabled} nodes are equal. Not all equal since ${since}.`;
  }
  return `${behind.length} of ${enabled} nodes are not equal to the others, since ${since}.`;
}

function nodeTable(out: Output, nodes: readonly FleetNode[]): void {
  out.table(
    ["name", "address", "state", "lacks", "oldest", "last sync", "review", "reliable", "clock"],
    nodes.map((node) => [
      node.name,
      node.address,
      node.state === "syncing" ? progressText(node) : node.state,
      node.missing_changes,
      formatAge(node.oldest_missing_age_s),
      node.last_sync ?? "never",
      node.review,
      `${Math.round(node.reliability * 100)}%`,
      clockText(node.clock_offset_ms),
    ]),
  );
}

/** `syncing 40% with pits`. */
function progressText({ session }: FleetNode): string {
  const { done = 0, total = 0 } = session ?? {};
  const share = total > 0 ? ` ${Math.min(100, Math.round((done / total) * 100))}%` : "";
  return `syncing${share} with ${session?.peer ?? "another"}`;
}

/** From here on a clock is called wrong, milliseconds. */
const CLOCK_ALARM_MS = 5_000;

function clockText(offsetMs: number): string {
  return Math.abs(offsetMs) > CLOCK_ALARM_MS ? `${Math.round(offsetMs / 1000)} s off` : "right";
}

function jobsLine(jobs: Fleet["jobs"]): string {
  if (jobs.problem !== "") return `Jobs: ${jobs.problem}`;
  const paused = jobs.paused ? " The queue is paused: scoutsync jobs resume." : "";
  return `Jobs: ${jobs.waiting} waiting, ${jobs.active} active, ${jobs.delayed} delayed, ${jobs.failed} failed.${paused}`;
}

function showScan({ message, servers_processed, results }: Scan, out: Output): void {
  const failed = results.filter(({ success }) => !success).length;
  const ended = results.length === 0 ? "" : `, ${results.length - failed} up to date${failed === 0 ? "" : `, ${failed} not`}`;
  out.line(`${message}: ${servers_processed} nodes looked at${ended}.`);
  if (results.length === 0) return;
  out.table(
    ["node", "result", "sent", "received", "applied", "seconds", "errors"],
    results.map((one) => [
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

/** The fleet at a glance, and having a look at all of it now. */
export const STATUS_COMMANDS = [
  asks<Fleet>({
    operation: "getFleet",
    usage: "status",
    summary: "the fleet at a glance: who is online, who misses what, since when, why, and what is being done",
    examples: ["scoutsync status", "scoutsync status --watch", "scoutsync status --coordinator 10.0.0.5:7070 --json"],
    live: true,
    document: statusDocument,
    people: showStatus,
  }),
  asks<Scan>({
    operation: "scan",
    usage: "scan",
    summary: "look at every node now, catch up who misses something, wait for the result",
    options: [new Option("--no-wait", "answer when the catch-ups are scheduled")],
    examples: ["scoutsync scan", "scoutsync scan --json"],
    takesLong: true,
    fields: ({ options: { wait } }) => ({ wait: wait !== false }),
    people: showScan,
    negative: ({ results }) => (results.some(({ success }) => !success) ? [] : null),
  }),
];
