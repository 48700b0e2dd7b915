import { Option } from "commander";
import { unary, type GetStatusResponse, type Node } from "@scoutsync/protocol";
import { declare, type Invocation, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { formatAge } from "../output/age.ts";
import { count } from "../output/json.ts";
import { watchUntilSignal } from "../output/live.ts";
import type { Output } from "../output/output.ts";
import { addressOf } from "./node-row.ts";

/** How often a live table is drawn anew. */
const REDRAW_MS = 1_000;

/** `scoutsync status`: the fleet at a glance. */
export const registerStatus: Registration = (program, surroundings) => {
  declare<{ watch?: boolean }>(program, surroundings, {
    usage: "status",
    summary: "the fleet at a glance: who is online, who misses what, since when, why, and what is being done",
    usesCoordinator: true,
    options: [new Option("--watch", "draw it anew as it changes, until Ctrl-C")],
    examples: ["scoutsync status", "scoutsync status --watch", "scoutsync status --coordinator 10.0.0.5:7070 --json"],
    run: ({ watch }, invocation) =>
      withCoordinator(invocation, async (client) => {
        const look = async () => show(invocation, await unary(client, "getStatus", {}, { deadlineMs: QUICK_DEADLINE_MS }));
        if (watch === true) await watchUntilSignal(invocation, REDRAW_MS, look);
        else await look();
      }),
  });
};

function show({ out }: Invocation, answer: GetStatusResponse): void {
  out.result(statusDocument(answer), () => {
    out.line(verdict(answer));
    out.line();
    nodeTable(out, answer.nodes);
    for (const { name, reason } of answer.behind) out.line(`${name}: ${reason}`);
    for (const alert of answer.alerts) out.line(`ALERT ${alert.kind}: ${alert.message} (since ${alert.since})`);
    out.line(jobsLine(answer));
  });
}

function statusDocument(answer: GetStatusResponse) {
  const { jobs } = answer;
  return {
    converged: answer.converged,
    since: answer.since,
    nodes: answer.nodes.map((node) => ({
      id: count(node.id),
      name: node.name,
      address: addressOf(node),
      state: node.state,
      reason: node.stateReason,
      online: node.online,
      paused: !node.syncEnabled,
      missing_changes: count(node.missingChanges),
      oldest_missing_age_s: node.oldestMissingAgeS,
      unsent_changes: count(node.unsentChanges),
      last_sync: node.lastSync || null,
      last_ping: node.lastPing || null,
      clock_offset_ms: node.clockOffsetMs,
      reliability: node.reliability,
      review: count(node.review),
      ...(node.lastError === "" ? {} : { last_error: node.lastError }),
    })),
    behind: answer.behind.map((one) => ({
      id: count(one.id),
      name: one.name,
      missing_changes: count(one.missingChanges),
      oldest_missing_age_s: one.oldestMissingAgeS,
      databases: one.databases,
      reason: one.reason,
    })),
    alerts: answer.alerts.map(({ id, kind, serverName, message, since }) => ({
      id: count(id),
      kind,
      server_name: serverName,
      message,
      since,
    })),
    jobs: {
      waiting: count(jobs?.waiting ?? 0n),
      active: count(jobs?.active ?? 0n),
      delayed: count(jobs?.delayed ?? 0n),
      failed: count(jobs?.failed ?? 0n),
      completed: count(jobs?.completed ?? 0n),
      paused: jobs?.paused ?? false,
      ...(jobs?.problem ? { problem: jobs.problem } : {}),
    },
  };
}

function verdict({ converged, since, nodes, behind }: GetStatusResponse): string {
  const enabled = nodes.filter((node) => node.syncEnabled).length;
  if (enabled === 0) return "No node has registered yet. Start one with --coordinator, or add one: scoutsync nodes add NAME HOST:PORT";
  if (enabled === 1 && converged) return `One node, with no other to compare it with, since ${since}.`;
  if (converged) return `All ${enabled} nodes are equal since ${since}.`;
  const [first, ...others] = behind;
  if (first !== undefined && others.length === 0) {
    const state = nodes.find(({ id }) => id === first.id)?.state ?? "behind";
    const age = formatAge(first.oldestMissingAgeS);
    const lacks =
      first.missingChanges === 0n ? "" : ` and lacks ${first.missingChanges} changes${age === "" ? "" : `, the oldest ${age} old`}`;
    return `${first.name} is ${state}${lacks}; the other ${enabled - 1} of ${enabled} nodes are equal. Not all equal since ${since}.`;
  }
  return `${behind.length} of ${enabled} nodes are not equal to the others, since ${since}.`;
}

function nodeTable(out: Output, nodes: readonly Node[]): void {
  out.table(
    ["name", "address", "state", "lacks", "oldest", "last sync", "review", "reliable", "clock"],
    nodes.map((node) => [
      node.name,
      addressOf(node),
      node.state === "syncing" ? progressText(node) : node.state,
      count(node.missingChanges),
      formatAge(node.oldestMissingAgeS),
      node.lastSync || "never",
      count(node.review),
      `${Math.round(node.reliability * 100)}%`,
      clockText(node.clockOffsetMs),
    ]),
  );
}

/** `syncing 40% with pits`. */
function progressText({ session }: Node): string {
  const { done = 0n, total = 0n } = session?.progress ?? {};
  const share = total > 0n ? ` ${Math.min(100, Math.round((Number(done) / Number(total)) * 100))}%` : "";
  return `syncing${share} with ${session?.peer ?? "another"}`;
}

/** From here on a clock is called wrong, milliseconds. */
const CLOCK_ALARM_MS = 5_000;

function clockText(offsetMs: number): string {
  return Math.abs(offsetMs) > CLOCK_ALARM_MS ? `${Math.round(offsetMs / 1000)} s off` : "right";
}

function jobsLine({ jobs }: GetStatusResponse): string {
  if (jobs === undefined) return "";
  if (jobs.problem !== "") return `Jobs: ${jobs.problem}`;
  const paused = jobs.paused ? " The queue is paused: scoutsync jobs resume." : "";
  return `Jobs: ${jobs.waiting} waiting, ${jobs.active} active, ${jobs.delayed} delayed, ${jobs.failed} failed.${paused}`;
}
