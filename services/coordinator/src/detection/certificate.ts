import { formatVector } from "@scoutsync/core";
import type { Registry } from "../registry/registry.ts";
import type { DatabaseReport } from "../registry/servers.ts";
import type { FleetEvents } from "../events.ts";
import { gain, lacks, union } from "../planner/plan.ts";
import { filesDiffer, hasAllFiles, rootsApart } from "./file-roots.ts";
import { ageSeconds, companions, type Fleet, type FleetNode } from "./fleet.ts";

/** Whether the fleet is equal, and since when it has been so or not. */
export interface Certificate {
  converged: boolean;
  /** ISO 8601 UTC. */
  since: string;
}

/** Why a node is not equal to the others. */
export interface Inequality {
  kind: "offline" | "problem" | "diverged" | "behind";
  /** Sentences for a person. */
  reason: string;
  databases: string[];
  /** What a person should do, where nothing happens by itself. */
  advice?: string;
}

/** Watches whether all nodes are equal; remembers across restarts since when. */
export class CertificateKeeper {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #events: FleetEvents;
  #current: Certificate | null;
  #confirmed = false;

  constructor(parts: { registry: Registry; fleet: Fleet; events: FleetEvents }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#events = parts.events;
    const stored = parts.registry.readState("certificate");
    this.#current = stored === null ? null : (JSON.parse(stored) as Certificate);
  }

  /** Everyone has been asked since the start: from here on what is remembered no longer counts. */
  confirm(): void {
    this.#confirmed = true;
  }

  /** Per enabled node that is not equal, why; empty when all are. */
  inequalities(): Map<number, Inequality> {
    return inequalities(this.#fleet.nodes());
  }

  /** Per database, everything that any enabled node holds. */
  vectors(): Record<string, string> {
    const all = union(this.#fleet.nodes().filter((node) => node.enabled && !node.limited));
    return Object.fromEntries([...all].map(([database, vector]) => [database, formatVector(vector)]));
  }

  /** The state as of now. */
  current(): Certificate {
    // Right after a start nobody has answered yet, which says nothing about the fleet.
    if (!this.#confirmed && this.#current !== null) return this.#current;
    const converged = isConverged(this.#fleet.nodes());
    if (this.#current !== null && this.#current.converged === converged) return this.#current;
    this.#current = { converged, since: new Date().toISOString() };
    this.#registry.writeState("certificate", JSON.stringify(this.#current));
    this.#events.tell("status", null, converged ? "all nodes are equal" : "the nodes are not equal");
    return this.#current;
  }
}

/**
 * True when every enabled node is online and, per database, all who have it stand at the same vector with the same
 * digest (of the same tables and columns), each is one process, nothing captured still waiting, all files in place and no problem; and nodes of a scope are equal to what its server shows them. A
 * fleet without enabled nodes has nothing to certify.
 */
export function isConverged(nodes: readonly FleetNode[]): boolean {
  const enabled = nodes.filter((node) => node.enabled);
  if (enabled.length === 0) return false;
  const vectors = new Map<string, string>();
  const digests = new Map<string, string>();
  for (const node of enabled) {
    if (!node.online || node.twins !== null) return false;
    if (stoppedRoots(node).length > 0) return false;
    if (node.limited ? apartFromScope(node, enabled) !== null : !hasAllFiles(node)) return false;
    for (const report of node.reports) {
      if (report.problem !== "" || report.pending > 0) return false;
      if (node.limited) continue;
      if (isOther(vectors, report.name, report.vector) || isOther(digests, comparable(report), report.digest)) return false;
    }
  }
  return rootsApart(enabled.filter((node) => !node.limited)).size === 0;
}

/** Notes the first of each key; true when this is another one. */
function isOther(known: Map<string, string>, key: string, value: string): boolean {
  const first = known.get(key);
  if (first === undefined) known.set(key, value);
  return first !== undefined && first !== value;
}

/** Digests say something where this is equal: while servers are migrated one by one, rows have other columns here and there. */
function comparable({ name, schema }: Pick<DatabaseReport, "name" | "schema">): string {
  return `${schema} ${name}`;
}

/** Why a node of a scope is not equal to what its server shows it; null where it is. */
function apartFromScope(node: FleetNode, enabled: readonly FleetNode[]): Pick<Inequality, "kind" | "reason"> | null {
  const servers = companions(node, enabled);
  const shown = new Map(servers.flatMap(({ reports }) => reports.map((report) => [report.name, report] as const)));
  const unknown = node.reports.filter(({ name }) => !shown.has(name)).map(({ name }) => `"${name}"`);
  if (unknown.length > 0)
    return {
      kind: "behind",
      reason: `No node that the coordinator knows serves ${unknown.join(", ")}: start the server of the scope with it.`,
    };
  const lacking = servers.some((server) => gain(node, server) > 0);
  if (lacking) return { kind: "behind", reason: behindReason(node, true) };
  if (servers.some((server) => gain(server, node) > 0))
    return { kind: "behind", reason: "Has changes that the server of its scope does not have yet." };
  const diverged = node.reports.filter((report) => {
    const there = shown.get(report.name);
    return there?.vector === report.vector && there.schema === report.schema && there.digest !== report.digest;
  });
  if (diverged.length > 0) {
    const names = diverged.map(({ name }) => `"${name}"`).join(", ");
    return {
      kind: "diverged",
      reason: `It knows the same changes as the server of its scope and yet holds other rows in ${names}: a session merges them.`,
    };
  }
  const files = servers.some((server) => filesDiffer(node, server));
  return files ? { kind: "behind", reason: "It does not hold the same files as the server of its scope shows." } : null;
}

/** Why each node that is not equal is not. Empty exactly when `isConverged`, or when no node is enabled. */
export function inequalities(nodes: readonly FleetNode[]): Map<number, Inequality> {
  const enabled = nodes.filter((node) => node.enabled);
  const whole = enabled.filter((node) => !node.limited);
  const all = union(whole);
  const usual = usualDigests(whole);
  // One that takes no part is what is wrong; those that hold the same without it are equal.
  const apart = rootsApart(whole.filter((node) => stoppedRoots(node).length === 0));
  const found = new Map<number, Inequality>();
  for (const node of enabled) {
    const why = inequality(node, all, usual, apart, enabled);
    if (why !== null) found.set(node.id, why);
  }
  return found;
}

function inequality(
  node: FleetNode,
  all: ReturnType<typeof union>,
  usual: ReturnType<typeof usualDigests>,
  apart: ReadonlySet<string>,
  enabled: readonly FleetNode[],
): Inequality | null {
  if (!node.online) {
    const seen = node.row.last_seen === null ? "It never answered" : `It does not answer since ${node.row.last_seen}`;
    const why = node.row.last_error === "" ? "" : ` (${node.row.last_error})`;
    return { kind: "offline", reason: `${seen}${why}. It is caught up by itself when it is back.`, databases: [] };
  }
  if (node.twins !== null) return { kind: "problem", ...twinsReason(node, node.twins), databases: [] };
  const broken = node.reports.filter((report) => report.problem !== "");
  if (broken.length > 0) {
    const reason = broken.map((report) => `Database "${report.name}" takes no part: ${report.problem}`).join(" ");
    return { kind: "problem", reason, databases: broken.map((report) => report.name) };
  }
  const stopped = stoppedRoots(node);
  if (stopped.length > 0) {
    const reason = stopped.map(({ root, problem }) => `The files "${root}" take no part: ${problem}`).join(" ");
    return { kind: "problem", reason, databases: [] };
  }
  const pending = node.reports.filter((report) => report.pending > 0);
  if (node.limited) {
    const why = apartFromScope(node, enabled);
    if (why !== null) return { ...why, databases: node.reports.map(({ name }) => name) };
    if (pending.length === 0) return null;
    return { kind: "behind", reason: behindReason(node, false), databases: pending.map(({ name }) => name) };
  }
  const diverged = node.reports.filter((report) => (usual.get(comparable(report))?.get(report.vector) ?? report.digest) !== report.digest);
  if (diverged.length > 0) {
    const names = diverged.map((report) => `"${report.name}"`).join(", ");
    return {
      kind: "diverged",
      reason: `It knows the same changes as others and yet holds other rows in ${names}. scoutsync verify names them, verify --repair mends them.`,
      databases: diverged.map((report) => report.name),
    };
  }
  const behind = [...node.vectors].filter(([name, vector]) => lacks({ id: node.id, vectors: new Map([[name, vector]]) }, all));
  const roots = node.files.filter(({ root }) => apart.has(root)).map(({ root }) => `"${root}"`);
  if (behind.length === 0 && pending.length === 0) {
    if (!hasAllFiles(node)) return { kind: "behind", reason: filesReason(node), databases: [] };
    if (roots.length === 0) return null;
    return {
      kind: "behind",
      reason: `Not all nodes hold the same files in ${roots.join(", ")}.`,
      databases: [],
      ...tooLarge(enabled, apart),
    };
  }
  const databases = [...new Set([...behind.map(([name]) => name), ...pending.map((report) => report.name)])].sort();
  return { kind: "behind", reason: behindReason(node, behind.length > 0), databases };
}

/** Why roots differ where a node leaves alone what is too large for it: nothing that is waited for changes that. */
function tooLarge(enabled: readonly FleetNode[], apart: ReadonlySet<string>): Pick<Inequality, "reason" | "advice"> | null {
  const limits = enabled.flatMap(({ row, files }) =>
    files.filter((file) => file.too_large !== "" && apart.has(file.root)).map((file) => ({ name: row.name, ...file })),
  );
  if (limits.length === 0) return null;
  const names = [...new Set(limits.map(({ name }) => name))].join(", ");
  return {
    reason: limits.map(({ name, root, too_large }) => `${name} leaves files of "${root}" alone for their size: ${too_large}.`).join(" "),
    advice: `Start ${names} with a larger --file-max-mib, or exclude these files on every node.`,
  };
}

/** File roots that take no part: not mounted, or on a disk that is full. */
function stoppedRoots({ files }: FleetNode): FleetNode["files"] {
  return files.filter(({ problem }) => problem !== "");
}

function twinsReason({ address }: FleetNode, twins: readonly string[]): Pick<Inequality, "reason" | "advice"> {
  const others = twins.filter((twin) => twin !== address);
  const where = others.length === 0 ? "another one is not" : `the one at ${others.join(", ")} is not`;
  return {
    reason: `Two nodes run under its identity, as after a machine was copied: the one at ${address} is synced, ${where}.`,
    advice:
      "Stop one of them, take its data directory (--data) away and start it again as a node of its own; what was written there is kept.",
  };
}

function filesReason({ files }: FleetNode): string {
  const wanting = files.filter(({ pending }) => pending > 0);
  const sum = wanting.reduce((total, { pending }) => total + pending, 0);
  const which = sum === 1 ? "One file that it knows of is" : `${sum} files that it knows of are`;
  return `${which} not there yet, in ${wanting.map(({ root }) => `"${root}"`).join(", ")}.`;
}

function behindReason(node: FleetNode, behind: boolean): string {
  if (!behind) return "Writes of its own are being captured.";
  const { changes } = node.missing;
  if (changes === 0) return "Lacks changes that have only just been seen elsewhere.";
  const age = ageSeconds(node.missing);
  return `Lacks ${changes} change${changes === 1 ? "" : "s"}${age === 0 ? "" : `, the oldest ${age} s old`}.`;
}

/** Per database with its tables and columns, and vector, the digest that most nodes have there. */
function usualDigests(nodes: readonly FleetNode[]): Map<string, Map<string, string>> {
  const counts = new Map<string, Map<string, Map<string, number>>>();
  for (const report of nodes.filter((node) => node.online).flatMap((node) => node.reports)) {
    const { vector, digest } = report;
    const vectors = counts.get(comparable(report)) ?? new Map<string, Map<string, number>>();
    const digests = vectors.get(vector) ?? new Map<string, number>();
    counts.set(comparable(report), vectors.set(vector, digests.set(digest, (digests.get(digest) ?? 0) + 1)));
  }
  const most = (digests: Map<string, number>) => [...digests].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))[0]?.[0] ?? "";
  const mostPer = (vectors: Map<string, Map<string, number>>) => new Map([...vectors].map(([vector, digests]) => [vector, most(digests)]));
  return new Map([...counts].map(([name, vectors]) => [name, mostPer(vectors)]));
}
