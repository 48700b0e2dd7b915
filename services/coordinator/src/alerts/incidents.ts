import { ageSeconds, type FleetNode } from "../detection/fleet.ts";
import type { Inequality } from "../detection/certificate.ts";
import type { AlertKind } from "../registry/alert-store.ts";

/** Something that a person should know of, as it is now. */
export interface Incident {
  kind: AlertKind;
  /** Null: the whole fleet. */
  serverId: number | null;
  serverName: string;
  message: string;
}

/** From when on something is an incident. 0 = never. */
export interface AlertBounds {
  silentSeconds: number;
  lagSeconds: number;
  failures: number;
  clockSeconds: number;
  diskPercent: number;
  parked: boolean;
}

/** What is wrong in the fleet now, by what the nodes said last. Pure. */
export function incidents(
  nodes: readonly FleetNode[],
  unequal: ReadonlyMap<number, Inequality>,
  bounds: AlertBounds,
  now: Date,
): Incident[] {
  return nodes
    .filter((node) => node.enabled)
    .flatMap((node) => {
      const found = node.online ? ofOnline(node, unequal.get(node.id), bounds, now) : ofSilent(node, bounds, now);
      return found.map(([kind, message]) => ({ kind, serverId: node.id, serverName: node.row.name, message }));
    });
}

/** Something that was refused of a peer is an incident for so long after it was last, milliseconds. */
const REFUSED_MS = 3_600_000;

type Found = [kind: AlertKind, message: string];

/** Of a node that does not answer nothing else is known. */
function ofSilent({ row }: FleetNode, { silentSeconds }: AlertBounds, now: Date): Found[] {
  const since = row.last_seen ?? row.created_at;
  const seconds = Math.floor((now.getTime() - Date.parse(since)) / 1_000);
  if (silentSeconds === 0 || seconds < silentSeconds) return [];
  // Without what its own sentence advises: this one does.
  const why = row.last_error === "" ? "" : ` (${row.last_error.replace(/\. [A-Z].*$/s, "")})`;
  const seen = row.last_seen === null ? "has never answered" : `has not answered since ${row.last_seen}`;
  return [["silent", `${row.name} ${seen}${why}. Look whether the machine and its sync-node run and can be reached from here.`]];
}

function ofOnline(node: FleetNode, inequality: Inequality | undefined, bounds: AlertBounds, now: Date): Found[] {
  const { row, missing, reports } = node;
  const found: Found[] = [];
  const age = ageSeconds(missing);
  // One that has everything by now, from whomever, is not failing.
  if (inequality !== undefined && bounds.failures > 0 && row.failures >= bounds.failures) {
    found.push(["failing", `${counted(row.failures, "session")} of ${row.name} failed in a row: ${row.last_error}`]);
  }
  if (bounds.lagSeconds > 0 && age > bounds.lagSeconds) {
    found.push(["lag", `${row.name} lacks ${counted(missing.changes, "change")}, the oldest is ${Math.round(age)} s old.`]);
  }
  if (inequality?.kind === "diverged") found.push(["diverged", `${row.name}: ${inequality.reason}`]);
  if (inequality?.kind === "problem") {
    const { reason, advice } = inequality;
    found.push(["problem", `${row.name}: ${reason}${advice === undefined ? "" : ` ${advice}`}`]);
  }
  const offBy = Math.abs(row.clock_offset_ms) / 1_000;
  if (bounds.clockSeconds > 0 && offBy > bounds.clockSeconds) {
    const where = row.clock_offset_ms > 0 ? "ahead of" : "behind";
    found.push(["clock", `The clock of ${row.name} is ${Math.round(offBy)} s ${where} the coordinator's. Set one of them, best by NTP.`]);
  }
  const parked = reports.reduce((sum, report) => sum + report.parked, 0);
  if (bounds.parked && parked > 0) {
    found.push([
      "parked",
      `${row.name} holds ${counted(parked, "row")} that a constraint keeps out of ${parked === 1 ? "its" : "their"} table: scoutsync review list ${row.name} --kind parked`,
    ]);
  }
  const { disk_free_bytes: free, disk_total_bytes: whole } = row;
  if (bounds.diskPercent > 0 && free !== null && whole !== null && whole > 0 && (free / whole) * 100 < bounds.diskPercent) {
    const percent = Math.round((free / whole) * 1_000) / 10;
    found.push([
      "disk",
      `A disk of ${row.name} has ${percent}% free (${Math.round(free / 2 ** 20)} MiB). Free some: a node that cannot write cannot receive.`,
    ]);
  }
  // By the node's own clock, as it was when the node said so.
  const since = now.getTime() + row.clock_offset_ms - REFUSED_MS;
  for (const { root, refused, last_refused, refused_peer, refused_what } of node.files) {
    if (refused === 0 || !(Date.parse(last_refused) > since)) continue;
    const times = refused === 1 ? "" : ` It has refused something ${refused} times so far.`;
    const text = `${row.name} refused what ${refused_peer || "a peer"} sent for the files "${root}": ${refused_what.replace(/\.$/, "")}.`;
    found.push(["refused", `${text}${times} See scoutsync files status ${row.name}, and the audit.log of that node.`]);
    break;
  }
  return found;
}

function counted(number: number, one: string): string {
  return `${number} ${one}${number === 1 ? "" : "s"}`;
}
