import type { FleetNode } from "../detection/fleet.ts";
import type { Inequality } from "../detection/certificate.ts";

const MIB = 2 ** 20;
/** Share of a disk that is free. */
const NEARLY_FULL = 0.05;

/** Rows that a constraint of this node alone keeps out make it hold other rows than the others; there is nothing to repair. */
export function keepsRowsOut({ reports }: FleetNode, { kind, databases }: Inequality): number {
  if (kind !== "diverged") return 0;
  return reports.filter(({ name }) => databases.includes(name)).reduce((sum, { parked }) => sum + parked, 0);
}

/** What somebody should do about a node that is not equal, in words for who does not know how it works; empty when nobody has to do anything. */
export function adviceFor(node: FleetNode, inequality: Inequality | null): string {
  if (!node.enabled) return "Resume it when it should take part again.";
  if (inequality === null) return "";
  if (inequality.advice !== undefined) return inequality.advice;
  if (inequality.kind === "behind") return node.row.failures > 0 ? failingAdvice(node) : "";
  if (inequality.kind === "offline") return offlineAdvice(node);
  // The reason of a database that takes no part ends with what to do.
  if (inequality.kind === "problem") return "";
  const out = keepsRowsOut(node, inequality);
  if (out === 0) return "Compare its rows with those of another node; the comparison says which differ, and can merge them.";
  return `Decide ${out === 1 ? "the row" : "the rows"} that it keeps out of its tables: give another value, or change the rule of its table.`;
}

function offlineAdvice({ row }: FleetNode): string {
  const { last_error: error } = row;
  if (row.last_seen === null) return `Look whether ${row.host}:${row.port} is its address, and whether it runs there.`;
  if (/ECONNREFUSED|connection refused/i.test(error)) return "The machine is on, but the node on it does not run: start it there.";
  if (/certificate has expired|certificate .* is valid from/i.test(error))
    return "Its certificate has run out, as after weeks without contact, or one of the clocks is wrong. Start it with a new code: --join CODE from scoutsync invite.";
  if (/self-signed certificate/i.test(error))
    return "What answers there is no member of this fleet: look whether another program has its port. A node of another fleet joins this one with --join CODE from scoutsync invite.";
  if (/certificate|TLS|UNAUTHENTICATED|FORBIDDEN/i.test(error)) return "";
  return "Look whether the machine is on and on this network. It loses nothing meanwhile.";
}

/** The reason of a failure ends with what to do; where the disk is full, that is what it comes from, whatever was said. */
function failingAdvice({ row }: FleetNode): string {
  const { disk_free_bytes: free, disk_total_bytes: whole } = row;
  if (free === null || whole === null || free >= whole * NEARLY_FULL) return "";
  return `Make room on its disk: ${Math.round(free / MIB)} MiB of ${Math.round(whole / MIB)} MiB are free. It goes on by itself then.`;
}
