import type { VersionVector } from "@scoutsync/core";
import type { DatabaseStatus, FileRootStatus } from "@scoutsync/protocol";
import type { FleetEvents } from "../events.ts";
import { lacks, union, type PlannerNode } from "../planner/plan.ts";
import type { Registry } from "../registry/registry.ts";
import { addressOf, type DatabaseReport, type FileRootReport, type ServerPatch, type ServerRow } from "../registry/servers.ts";
import { databasesIn, rootsIn } from "./plausible.ts";
import { VectorPool } from "./vector-pool.ts";

/** Signs of life and vectors are written this much later, many in one transaction; nothing depends on them being durable. */
const WRITE_DELAY_MS = 500;

/** One node as the coordinator knows it now. */
export interface FleetNode extends PlannerNode {
  readonly row: ServerRow;
  readonly address: string;
  readonly enabled: boolean;
  readonly online: boolean;
  /** False: it is heard but cannot be dialled, so it can only dial out. */
  readonly reachable: boolean;
  readonly reports: readonly DatabaseReport[];
  readonly files: readonly FileRootReport[];
  /** What it lacks and others hold, and what it holds and another node that is online lacks, as last counted. */
  readonly missing: Backlog;
  readonly unsent: Backlog;
}

/** Live changes and the Unix microseconds of the oldest of them (0 = none). */
export interface MissingCount {
  changes: number;
  oldestUs: number;
}

/** A count over all databases, and of each one that has any. */
export interface Backlog extends MissingCount {
  databases: ReadonlyMap<string, MissingCount>;
}

interface Known {
  online: boolean;
  reachable: boolean;
  /** When it was last found that it cannot be dialled, milliseconds. */
  triedMs: number;
  /** When it last spoke by itself, milliseconds. */
  heardMs: number;
  reports: readonly DatabaseReport[];
  files: readonly FileRootReport[];
  vectors: ReadonlyMap<string, VersionVector>;
  missing: Backlog;
  unsent: Backlog;
  lastSeenMs: number;
  /** As it was shown last; null when something of it has changed since. */
  view: FleetNode | null;
}

const NO_BACKLOG: Backlog = { changes: 0, oldestUs: 0, databases: new Map() };

/** Who is there and who holds what, from what the nodes said last. In memory, written behind to the registry. */
export class Fleet {
  readonly #registry: Registry;
  readonly #events: FleetEvents;
  readonly #known = new Map<number, Known>();
  readonly #pool = new VectorPool();
  readonly #unwritten = new Map<number, { patch: ServerPatch; reports: boolean }>();
  #writeTimer: NodeJS.Timeout | null = null;

  constructor(registry: Registry, events: FleetEvents) {
    this.#registry = registry;
    this.#events = events;
    // Nobody is online until it answers or speaks, but how far everyone was is remembered.
    const files = registry.servers.fileReports();
    for (const [id, reports] of registry.servers.reports()) {
      const changes = registry.servers.get(id)?.missing_changes ?? 0;
      const known = this.#of(id);
      this.#hold(known, reports);
      known.files = files.get(id) ?? [];
      known.missing = { ...NO_BACKLOG, changes };
    }
  }

  nodes(): FleetNode[] {
    return this.#registry.servers.list().map((row) => this.#view(row));
  }

  node(id: number): FleetNode | null {
    const row = this.#registry.servers.get(id);
    return row === null ? null : this.#view(row);
  }

  /** Nodes that can take part in a session now, apart from being busy. */
  available(): FleetNode[] {
    return this.nodes().filter((node) => node.enabled && node.online && node.reachable);
  }

  /** Available nodes that lack something another available node holds, or hold other files in a root than another. */
  behind(): FleetNode[] {
    const nodes = this.available();
    const all = union(nodes);
    const apart = rootsApart(nodes);
    return nodes.filter((node) => lacks(node, all) || node.files.some(({ root }) => apart.has(root)));
  }

  /** Milliseconds since the node gave a sign of life. */
  silentMs(id: number): number {
    return Date.now() - (this.#known.get(id)?.lastSeenMs ?? 0);
  }

  /** Takes in what a node says about itself. Returns whether it holds something else than before. */
  observe(id: number, statuses: readonly DatabaseStatus[]): boolean {
    const reports = databasesIn(statuses);
    const known = this.#of(id);
    const moved = !sameReports(known.reports, reports);
    if (moved) this.#hold(known, reports);
    this.#seen(id, known, {}, moved);
    if (moved) this.#events.emit("changed");
    return moved;
  }

  /** Takes in what a node says about its file roots. Returns whether they are at another state than before. */
  observeFiles(id: number, statuses: readonly FileRootStatus[]): boolean {
    const files = rootsIn(statuses);
    const known = this.#of(id);
    if (JSON.stringify(files) === JSON.stringify(known.files)) return false;
    known.files = files;
    known.view = null;
    this.#write(id, {}, true);
    this.#events.emit("changed");
    return true;
  }

  /** The node gave a sign of life that says nothing new. */
  markOnline(id: number, patch: ServerPatch = {}): void {
    this.#seen(id, this.#of(id), patch, false);
  }

  /** The node spoke by itself. */
  heard(id: number): void {
    this.#of(id).heardMs = Date.now();
  }

  /** Milliseconds since the node spoke by itself. */
  unheardMs(id: number): number {
    return Date.now() - this.#of(id).heardMs;
  }

  /** True when it is time to find out whether a node that could not be dialled can be now: it may only have been busy. */
  isDueForDialling(id: number, afterMs: number): boolean {
    const { reachable, triedMs } = this.#of(id);
    return !reachable && Date.now() - triedMs > afterMs;
  }

  /** Whether the node answers when it is dialled. */
  setReachable(id: number, reachable: boolean): void {
    const known = this.#of(id);
    if (!reachable) known.triedMs = Date.now();
    if (known.reachable === reachable) return;
    known.reachable = reachable;
    known.view = null;
    const row = this.#registry.servers.get(id);
    this.#events.tell("node", row, reachable ? "can be dialled" : "is heard but cannot be dialled: it syncs by dialling out");
    this.#events.emit("changed");
  }

  markOffline(id: number, error: string): void {
    const known = this.#of(id);
    this.#write(id, { ping_success: 0, last_ping: new Date().toISOString(), last_error: error }, false);
    if (!known.online) return;
    known.online = false;
    known.view = null;
    const row = this.#registry.servers.get(id);
    this.#events.tell("node", row, `stopped answering: ${error}`);
    this.#events.emit("changed");
  }

  /** Takes in what was counted. */
  setBacklog(id: number, missing: Backlog, unsent: Backlog): void {
    const known = this.#of(id);
    if (known.unsent.changes !== unsent.changes || known.missing.changes !== missing.changes) this.#events.emit("counted");
    known.unsent = unsent;
    known.view = null;
    if (known.missing.changes === missing.changes && known.missing.oldestUs === missing.oldestUs) return;
    known.missing = missing;
    this.#write(id, { missing_changes: missing.changes, oldest_missing_age_s: ageSeconds(missing) }, false);
  }

  forget(id: number): void {
    for (const { vector } of this.#known.get(id)?.reports ?? []) this.#pool.release(vector);
    this.#known.delete(id);
    this.#unwritten.delete(id);
    this.#events.emit("changed");
  }

  /** Writes what has not been written yet. */
  flush(): void {
    if (this.#writeTimer !== null) clearTimeout(this.#writeTimer);
    this.#writeTimer = null;
    if (this.#unwritten.size === 0) return;
    const batch = [...this.#unwritten];
    this.#unwritten.clear();
    this.#registry.transaction(() => {
      for (const [id, { patch, reports }] of batch) {
        if (this.#registry.servers.get(id) === null) continue;
        this.#registry.servers.update(id, patch);
        if (!reports) continue;
        this.#registry.servers.storeReports(id, this.#of(id).reports);
        this.#registry.servers.storeFileReports(id, this.#of(id).files);
      }
    });
  }

  #seen(id: number, known: Known, patch: ServerPatch, reports: boolean): void {
    known.lastSeenMs = Date.now();
    this.#write(id, { ...patch, last_seen: new Date().toISOString() }, reports);
    if (known.online) return;
    known.online = true;
    known.view = null;
    this.#events.tell("node", this.#registry.servers.get(id), "is online");
    this.#events.emit("changed");
  }

  #write(id: number, patch: ServerPatch, reports: boolean): void {
    const earlier = this.#unwritten.get(id);
    this.#unwritten.set(id, { patch: { ...earlier?.patch, ...patch }, reports: reports || (earlier?.reports ?? false) });
    this.#writeTimer ??= setTimeout(() => {
      this.#writeTimer = null;
      try {
        this.flush();
      } catch (error) {
        // A lock held by somebody's long transaction: what was not written is said again by the next heartbeat.
        this.#events.tell("status", null, `the registry could not be written: ${(error as Error).message}`);
      }
    }, WRITE_DELAY_MS);
  }

  #of(id: number): Known {
    let known = this.#known.get(id);
    if (known === undefined) {
      known = {
        online: false,
        reachable: true,
        triedMs: 0,
        heardMs: 0,
        reports: [],
        files: [],
        vectors: new Map(),
        missing: NO_BACKLOG,
        unsent: NO_BACKLOG,
        lastSeenMs: 0,
        view: null,
      };
      this.#known.set(id, known);
    }
    return known;
  }

  /** Remembers what a node says of its databases. */
  #hold(known: Known, reports: readonly DatabaseReport[]): void {
    const standings = reports.map(({ vector }) => this.#pool.take(vector));
    for (const { vector } of known.reports) this.#pool.release(vector);
    known.reports = reports.map((report, at) => ({ ...report, vector: standings[at]?.text ?? report.vector }));
    const vectors = reports.flatMap((report, at) => {
      const vector = standings[at]?.vector;
      return report.problem !== "" || vector === undefined ? [] : [[report.name, vector] as const];
    });
    known.vectors = new Map(vectors);
    known.view = null;
  }

  #view(row: ServerRow): FleetNode {
    const known = this.#of(row.id);
    if (known.view?.row === row) return known.view;
    const { online, reachable, reports, files, vectors, missing, unsent } = known;
    const enabled = row.sync_enabled !== 0;
    known.view = { id: row.id, row, address: addressOf(row), enabled, online, reachable, reports, files, vectors, missing, unsent };
    return known.view;
  }
}

/** True when two nodes hold other files in a root that both have. */
export function filesDiffer(a: FleetNode, b: FleetNode): boolean {
  return a.files.some(({ root, digest }) => b.files.some((other) => other.root === root && other.digest !== digest));
}

/** Roots in which not all nodes that have them hold the same files. */
export function rootsApart(nodes: readonly FleetNode[]): Set<string> {
  const digests = new Map<string, string>();
  const apart = new Set<string>();
  for (const { root, digest } of nodes.flatMap((node) => node.files)) {
    const other = digests.get(root);
    if (other === undefined) digests.set(root, digest);
    else if (other !== digest) apart.add(root);
  }
  return apart;
}

/** Age of the oldest missing change in seconds, 0 when nothing is missing. */
export function ageSeconds(missing: MissingCount): number {
  if (missing.oldestUs === 0) return 0;
  return Math.max(0, Math.round((Date.now() - missing.oldestUs / 1_000) / 100) / 10);
}

function sameReports(before: readonly DatabaseReport[], after: readonly DatabaseReport[]): boolean {
  return before.length === after.length && before.every((report, at) => sameReport(report, after[at] as DatabaseReport));
}

function sameReport(before: DatabaseReport, after: DatabaseReport): boolean {
  return (Object.keys(before) as (keyof DatabaseReport)[]).every((field) => {
    if (field === "tables")
      return before.tables.length === after.tables.length && before.tables.every((name, at) => name === after.tables[at]);
    return before[field] === after[field];
  });
}
