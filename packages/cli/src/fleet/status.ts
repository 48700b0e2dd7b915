import { Option } from "commander";
import type { Fleet, FleetNode, Scan } from "@scoutsync/coordinator";
import { formatAge } from "../output/age.ts";
import type { Output } from "../output/output.ts";
import { asks } from "./fleet-command.ts";

function statusDocument({ certificate, nodes, alerts, jobs, timestamp }: Fleet) {
  return { ...certificate, nodes: nodes.map((node) => ({ ...node, reason: node.state_reason })), alerts, jobs, timestamp };
}

function showStatus({ certificate, nodes, alerts, jobs, timestamp }: Fleet, out: Output): void {
  const worstFirst = nodes.toSorted((a, b) => RANK.indexOf(a.state) - RANK.indexOf(b.state) || b.missing_changes - a.missing_changes);
  const ago = (time: string | null) => (time === null ? "never" : agoText(time, timestamp));
  out.line(verdict(certificate, nodes, timestamp));
  out.line();
  nodeTable(out, worstFirst, ago);
  const todo = [
    ...worstFirst.flatMap((node) => trouble(node, ago)),
    ...alerts.filter(({ kind }) => !SAID_OF_NODES.has(kind)).map(alertLine),
  ];
  if (todo.length > 0) out.line();
  for (const line of todo) out.line(line);
  out.line(jobsLine(jobs));
}

/** Worst first. */
const RANK: readonly FleetNode["state"][] = ["problem", "offline", "behind", "syncing", "paused", "equal"];
/** Alerts that only repeat what the lines of the nodes say. */
const SAID_OF_NODES: ReadonlySet<string> = new Set(["silent", "lag", "clock", "parked", "quarantine", "diverged", "problem", "redis"]);
/** From here on a clock is called wrong, milliseconds. */
const CLOCK_ALARM_MS = 5_000;

/** What is wrong with a node, why, and what to do; nothing of one that is well. */
function trouble(node: FleetNode, ago: (time: string | null) => string): string[] {
  const { name, state } = node;
  const lines: string[] = [];
  if (state === "offline") {
    const why = node.last_error === "" ? "" : `: ${node.last_error.replace(/\.? Check that .*$/s, "")}`;
    lines.push(`${name} does not answer, last heard ${ago(node.last_seen)}${why}. It is caught up by itself when it is back.`);
  } else if (state !== "equal" && state !== "paused") lines.push(`${name}: ${node.state_reason}`);
  if (state !== "paused" && node.advice !== "") lines.push(`  What to do: ${node.advice}`);
  if (node.review > 0) lines.push(`${name}: ${reviewText(node)}: scoutsync review list ${name}`);
  if (node.online && Math.abs(node.clock_offset_ms) > CLOCK_ALARM_MS)
    lines.push(`${name}: its clock is ${clockText(node.clock_offset_ms)}. Set it there: timedatectl set-ntp true`);
  for (const root of node.files)
    if (root.problem !== "" && !node.state_reason.includes(root.problem))
      lines.push(`${name}: files "${root.root}" take no part: ${root.problem}`);
  return lines;
}

function reviewText({ review_counts, files }: FleetNode): string {
  const { conflict, parked, quarantine, file, schema, identity } = review_counts;
  const braked = files
    .filter(({ held_back }) => held_back)
    .map(({ root, missing }) => `${missing} files of "${root}" are gone at once, which the others do not follow`);
  const parts = [
    countText(
      quarantine,
      "mass delete is kept back, which the others do not follow",
      "mass deletes are kept back, which the others do not follow",
    ),
    ...braked,
    countText(conflict, "conflict", "conflicts"),
    countText(parked, "row is kept out of its table", "rows are kept out of their tables"),
    countText(file - braked.length, "file conflict", "file conflicts"),
    countText(identity, "row may not be the one that somebody meant", "rows may not be those that somebody meant"),
    countText(
      schema,
      "row is held for a table or column that is not there yet",
      "rows are held for tables or columns that are not there yet",
    ),
  ];
  return parts.filter((part) => part !== "").join("; ");
}

function countText(number: number, one: string, many: string): string {
  return number <= 0 ? "" : `${number} ${number === 1 ? one : many}`;
}

function alertLine({ kind, server_name, message, since }: Fleet["alerts"][number]): string {
  return `ALERT ${kind}${server_name === "" ? "" : ` ${server_name}`}: ${message} (since ${since})`;
}

function verdict({ converged, since, behind, nodes: enabled }: Fleet["certificate"], nodes: readonly FleetNode[], now: string): string {
  if (enabled === 0) return "No node has registered yet. Start one with --coordinator, or add one: scoutsync nodes add NAME HOST:PORT";
  const forTime = `since ${since} (${agoText(since, now)})`;
  if (enabled === 1 && converged) return `One node, with no other to compare it with, ${forTime}.`;
  if (converged) return `All ${enabled} nodes are equal ${forTime}.`;
  const [first, ...others] = behind;
  if (first !== undefined && others.length === 0) {
    const state = nodes.find(({ id }) => id === first.id)?.state ?? "behind";
    const age = formatAge(first.oldest_missing_age_s);
    const lacks =
      first.missing_changes === 0
        ? ""
        : ` and lacks ${countText(first.missing_changes, "change", "changes")}${age === "" ? "" : `, the oldest ${age} old`}`;
    const word = state === "problem" ? "has a problem" : `is ${state}`;
    return `${first.name} ${word}${lacks}; the other ${enabled - 1} of ${enabled} nodes are equal. Not all equal ${forTime}.`;
  }
  return `${behind.length} of ${enabled} nodes are not equal to the others, ${forTime}.`;
}

function nodeTable(out: Output, nodes: readonly FleetNode[], ago: (time: string | null) => string): void {
  out.table(
    ["name", "state", "lacks", "oldest", "to send", "last sync", "to review", "reliable", "clock", "address"],
    nodes.map((node) => [
      node.name,
      node.state === "syncing" ? progressText(node) : node.state,
      node.missing_changes,
      formatAge(node.oldest_missing_age_s),
      node.unsent_changes,
      ago(node.last_sync),
      node.review,
      `${Math.round(node.reliability * 100)}%`,
      Math.abs(node.clock_offset_ms) > CLOCK_ALARM_MS ? clockText(node.clock_offset_ms) : "right",
      node.address,
    ]),
  );
}

/** `syncing 40% with pits`. */
function progressText({ session }: FleetNode): string {
  const { done = 0, total = 0 } = session ?? {};
  const share = total > 0 ? ` ${Math.min(100, Math.round((done / total) * 100))}%` : "";
  return `syncing${share} with ${session?.peer ?? "another"}`;
}

function clockText(offsetMs: number): string {
  return `${formatAge(Math.abs(offsetMs) / 1_000)} ${offsetMs > 0 ? "ahead" : "behind"}`;
}

/** By the coordinator's clock: `40 s ago`. */
function agoText(time: string, now: string): string {
  return `${formatAge(Math.max(1, (Date.parse(now) - Date.parse(time)) / 1_000))} ago`;
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
      one.errors.join(" "),
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
