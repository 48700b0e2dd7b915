import type { z } from "zod";
import type { Core } from "../core.ts";
import { ageSeconds, NO_BACKLOG, type Backlog, type FleetNode } from "../detection/fleet.ts";
import type { Inequality } from "../detection/certificate.ts";
import type { RunningSession } from "../jobs/running-sessions.ts";
import { adviceFor, keepsRowsOut } from "./advice.ts";
import type { NodeShape, SessionProgressShape } from "./shapes.ts";

type NodeView = z.infer<typeof NodeShape>;
type SessionView = z.infer<typeof SessionProgressShape>;

/** All nodes of the fleet as they travel. */
export function nodeViews(core: Core): NodeView[] {
  const sessions = core.desk.running.byNode();
  const unequal = core.certificate.inequalities();
  return core.fleet.nodes().map((node) => nodeView(core, node, sessions.get(node.id) ?? null, unequal.get(node.id) ?? null));
}

/** One node of the fleet as it travels. */
export function oneNodeView(core: Core, node: FleetNode): NodeView {
  return nodeView(core, node, core.desk.running.of(node.id), core.certificate.inequalities().get(node.id) ?? null);
}

function nodeView(core: Core, node: FleetNode, session: RunningSession | null, inequality: Inequality | null): NodeView {
  const { row, reports, unsent, files } = node;
  // Counted every now and then; that it lacks nothing is known as soon as it has said so.
  const missing = node.enabled && inequality === null ? NO_BACKLOG : node.missing;
  const sum = (field: "conflicts" | "parked" | "pending" | "held" | "kept_back" | "notices") =>
    reports.reduce((total, report) => total + report[field], 0);
  const review_counts = {
    conflict: sum("conflicts"),
    parked: sum("parked"),
    quarantine: sum("kept_back"),
    // A root whose files are missing has one entry for all of them.
    file: files.reduce((total, root) => total + root.conflicts + root.held_back, 0),
    schema: sum("held"),
    identity: sum("notices"),
  };
  return {
    id: row.id,
    name: row.name,
    node_id: row.node_id ?? "",
    address: node.address,
    host: row.host,
    port: row.port,
    version: row.version,
    ...stateOf(core, node, session, inequality),
    advice: adviceFor(node, inequality),
    online: node.online,
    reachable: node.reachable,
    paused: !node.enabled,
    missing_changes: missing.changes,
    oldest_missing_age_s: ageSeconds(missing),
    unsent_changes: unsent.changes,
    oldest_unsent_age_s: ageSeconds(unsent),
    pending: sum("pending"),
    last_sync: row.last_sync,
    last_ping: row.last_ping,
    ping_success: row.ping_success !== 0,
    last_seen: row.last_seen,
    clock_offset_ms: row.clock_offset_ms,
    round_trip_ms: row.round_trip_ms,
    reliability: core.reliability.overall(row.id),
    review: Object.values(review_counts).reduce((total, open) => total + open, 0),
    review_counts,
    disk:
      row.disk_free_bytes === null || row.disk_total_bytes === null
        ? null
        : { free_bytes: row.disk_free_bytes, total_bytes: row.disk_total_bytes },
    databases: reports.map(({ schema: _of, ...report }) => ({
      ...report,
      restored: report.restored !== 0,
      missing_changes: changesOf(missing, report.name),
      oldest_missing_age_s: ageOf(missing, report.name),
      unsent_changes: changesOf(unsent, report.name),
      oldest_unsent_age_s: ageOf(unsent, report.name),
    })),
    files: files.map((root) => ({ ...root, held_back: root.held_back !== 0 })),
    session: session === null ? null : sessionView(core, session, node.id),
    failures: row.failures,
    last_error: row.last_error,
  };
}

/** A running session as seen from one of its ends. */
export function sessionView(core: Core, session: RunningSession, from: number): SessionView {
  const peer = session.serverId === from ? session.sourceId : session.serverId;
  const { progress } = session;
  return {
    job_id: session.jobId,
    peer: core.registry.servers.get(peer)?.name ?? "",
    role: session.serverId === from ? "node" : "source",
    database: progress?.database ?? "",
    phase: progress?.phase ?? "",
    done: Number(progress?.done ?? 0n),
    total: Number(progress?.total ?? 0n),
  };
}

/** One word for a colour and one sentence for a person. */
function stateOf(
  core: Core,
  node: FleetNode,
  session: RunningSession | null,
  inequality: Inequality | null,
): Pick<NodeView, "state" | "state_reason"> {
  if (!node.enabled) return { state: "paused", state_reason: "Paused by hand: it takes part in nothing until it is resumed." };
  if (inequality === null)
    return { state: "equal", state_reason: node.limited ? "Has everything that its scope shows." : "Has everything that any node has." };
  if (inequality.kind === "offline") return { state: "offline", state_reason: inequality.reason };
  if (session !== null) {
    const { peer, phase, done, total } = sessionView(core, session, node.id);
    const stand = total > 0 ? `, ${phase} ${done} of ${total}` : "";
    return { state: "syncing", state_reason: `Syncs with ${peer}${stand}.` };
  }
  const out = keepsRowsOut(node, inequality);
  if (out > 0) return { state: "problem", state_reason: keptOutText(out) };
  if (inequality.kind !== "behind") return { state: "problem", state_reason: inequality.reason };
  const next = inequality.advice === undefined ? ` ${nextStep(core, node)}` : "";
  return { state: "behind", state_reason: `${inequality.reason}${next}` };
}

function keptOutText(rows: number): string {
  const which = rows === 1 ? "One row" : `${rows} rows`;
  return `${which} that the others have ${rows === 1 ? "is" : "are"} kept out of its tables, because a rule there (UNIQUE or CHECK) refuses ${rows === 1 ? "it" : "them"}.`;
}

/** What is being done about a node that is behind. */
export function nextStep({ registry, catchUps, link }: Core, node: FleetNode): string {
  const { row } = node;
  const limit = registry.settings.get("max_retries");
  if (!link.ready) return "Waits for Redis: see the coordinator's log.";
  if (!catchUps.automatic)
    return "Automatic catch-up is switched off: start a sync by hand or set catchup_enabled and catchup_scheduler_enabled.";
  if (row.failures >= limit) return `Failed ${row.failures} times: ${row.last_error} It is tried again at the next scan.`;
  if (row.failures > 0) return `Failed ${row.failures} of ${limit} times: ${row.last_error} It is tried again by itself.`;
  return node.reachable ? "A catch-up is on its way." : "It cannot be dialled from here: it is told to dial another node.";
}

function changesOf(backlog: Backlog, database: string): number {
  return backlog.databases.get(database)?.changes ?? 0;
}

function ageOf(backlog: Backlog, database: string): number {
  const counted = backlog.databases.get(database);
  return counted === undefined ? 0 : ageSeconds(counted);
}
