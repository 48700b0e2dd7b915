import type { VersionVector } from "@scoutsync/core";
import type { DatabaseStatus, FileRootStatus } from "@scoutsync/protocol";
import type { FleetEvents } from "../events.ts";
import { gain, lacks, union, type PlannerNode } from "../planner/plan.ts";
import type { Registry } from "../registry/registry.ts";
import { addressOf, type DatabaseReport, type FileRootReport, type ServerPatch, type ServerRow } from "../registry/servers.ts";
import { filesDiffer, rootsApart, wantsFiles } from "./file-roots.ts";
import { databasesIn, rootsIn } from "./plausible.ts";
import { Runs } from "./twins.ts";
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
  /** Two processes say that they are this node: their addresses, as far as known. Null: there is one. */
  readonly twins: readonly string[] | null;
  readonly reports: readonly DatabaseReport[];
  readonly files: readonly FileRootReport[];
  /** It is a node of a scope: it meets the server of that scope and nobody else. What it has is called NAME@SCOPE here. */
  readonly limited: boolean;
  readonly restored: ReadonlyMap<string, VersionVector>;
  /** What it shows to nodes of scopes, by NAME@SCOPE. */
  readonly served: Shown;
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

/** Databases and file roots, as a node says that they are. */
interface Shown {
  readonly reports: readonly DatabaseReport[];
  readonly files: readonly FileRootReport[];
  readonly vectors: ReadonlyMap<string, VersionVector>;
}

interface Known {
  /** The scope in its certificate; null for none, undefined until it has spoken by itself. */
  scope: string | null | undefined;
  limited: boolean;
  served: Shown;
  online: boolean;
  reachable: boolean;
  /** When it was last found that it cannot be dialled, milliseconds. */
  triedMs: number;
  /** When it last spoke by itself, milliseconds. */
  heardMs: number;
  readonly runs: Runs;
  twins: readonly string[] | null;
  reports: readonly DatabaseReport[];
  files: readonly FileRootReport[];
  vectors: ReadonlyMap<string, VersionVector>;
  restored: ReadonlyMap<string, VersionVector>;
  missing: Backlog;
  unsent: Backlog;
  lastSeenMs: number;
  /** As it was shown last; null when something of it has changed since. */
  view: FleetNode | null;
}

const NOTHING_SHOWN: Shown = { reports: [], files: [], vectors: new Map() };
export const NO_BACKLOG: Backlog = { changes: 0, oldestUs: 0, databases: new Map() };

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
      this.#hold(known, reports, []);
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

  /** Available nodes that lack something another available node holds, or hold other files in a root than another or not all of them. */
  behind(): FleetNode[] {
    const available = this.available();
    const nodes = available.filter((node) => !node.limited);
    const all = union(nodes);
    const apart = rootsApart(nodes);
    return available.filter((node) => {
      if (!node.limited) return lacks(node, all) || node.files.some(({ root }) => apart.has(root)) || wantsFiles(node, nodes);
      return companions(node, nodes).some((server) => gain(node, server) > 0 || gain(server, node) > 0 || filesDiffer(node, server));
    });
  }

  /** Milliseconds since the node gave a sign of life. */
  silentMs(id: number): number {
    return Date.now() - (this.#known.get(id)?.lastSeenMs ?? 0);
  }

  /** Takes in what a node says about itself. Returns whether it holds something else than before. */
  observe(id: number, statuses: readonly DatabaseStatus[]): boolean {
    const known = this.#of(id);
    const { own, parts } = divided(known, statuses);
    // What a certificate says counts; until then what the node says.
    known.limited = known.scope === undefined ? own.length > 0 && own.every(({ scope }) => scope !== "") : known.scope !== null;
    const [reports, served] = [databasesIn(own.map(inScope)), databasesIn(parts.map(inScope))];
    const moved = !sameReports(known.reports, reports) || !sameReports(known.served.reports, served);
    if (moved) this.#hold(known, reports, served);
    this.#seen(id, known, {}, moved);
    if (moved) this.#events.emit("changed");
    return moved;
  }

  /** Takes in what a node says about its file roots. Returns whether they are at another state than before. */
  observeFiles(id: number, statuses: readonly FileRootStatus[]): boolean {
    const known = this.#of(id);
    const { own, parts } = divided(known, statuses);
    const named = (some: readonly FileRootStatus[]) => rootsIn(some.map((one) => ({ ...one, root: nameIn(one.scope, one.root) })));
    const [files, served] = [named(own), named(parts)];
    if (JSON.stringify([files, served]) === JSON.stringify([known.files, known.served.files])) return false;
    known.files = files;
    known.served = { ...known.served, files: served };
    known.view = null;
    this.#write(id, {}, true);
    this.#events.emit("changed");
    return true;
  }

  /** The node gave a sign of life that says nothing new. */
  markOnline(id: number, patch: ServerPatch = {}): void {
    this.#seen(id, this.#of(id), patch, false);
  }

  /** The node spoke by itself. `scope` is the one in its certificate, null for none, undefined where nobody has certificates. */
  heard(id: number, scope?: string | null): void {
    const known = this.#of(id);
    known.heardMs = Date.now();
    if (scope === undefined || scope === known.scope) return;
    known.scope = scope;
    known.limited = scope !== null;
    known.view = null;
  }

  /**
   * Which of its processes spoke, and the address that it registered with; null in a heartbeat. Returns whether it should
   * register again: another one did after it, and is gone.
   */
  spoke(id: number, run: string, address: string | null): boolean {
    const known = this.#of(id);
    known.runs.spoke(run, address, known.heardMs);
    const twins = known.runs.twins(known.heardMs);
    if (String(twins) !== String(known.twins)) {
      known.twins = twins;
      known.view = null;
      this.#events.emit("changed");
    }
    return twins === null && known.runs.isReplaced(run);
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
    const known = this.#known.get(id);
    for (const { vector } of [...(known?.reports ?? []), ...(known?.served.reports ?? [])]) this.#pool.release(vector);
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
        scope: undefined,
        limited: false,
        served: NOTHING_SHOWN,
        online: false,
        reachable: true,
        triedMs: 0,
        heardMs: 0,
        runs: new Runs(),
        twins: null,
        reports: [],
        files: [],
        vectors: new Map(),
        restored: new Map(),
        missing: NO_BACKLOG,
        unsent: NO_BACKLOG,
        lastSeenMs: 0,
        view: null,
      };
      this.#known.set(id, known);
    }
    return known;
  }

  /** Remembers what a node says of its databases, and of what it serves to scopes. */
  #hold(known: Known, reports: readonly DatabaseReport[], served: readonly DatabaseReport[]): void {
    const [own, parts] = [this.#take(reports), this.#take(served)];
    for (const { vector } of [...known.reports, ...known.served.reports]) this.#pool.release(vector);
    known.reports = own.reports;
    known.vectors = own.vectors;
    known.restored = own.restored;
    known.served = { ...known.served, reports: parts.reports, vectors: parts.vectors };
    known.view = null;
  }

  #take(reports: readonly DatabaseReport[]): Pick<FleetNode, "reports" | "vectors" | "restored"> {
    const standings = reports.map(({ vector }) => this.#pool.take(vector));
    const vectors = new Map<string, VersionVector>();
    const restored = new Map<string, VersionVector>();
    for (const [at, { name, problem, restored: isRestored }] of reports.entries()) {
      const vector = standings[at]?.vector;
      if (vector === undefined) continue;
      // It lacks what others have, as any other; and it is no source of anything.
      if (isRestored !== 0) restored.set(name, vector);
      else if (problem === "") vectors.set(name, vector);
    }
    return {
      reports: reports.map((report, at) => ({ ...report, vector: standings[at]?.text ?? report.vector })),
      vectors,
      restored,
    };
  }

  #view(row: ServerRow): FleetNode {
    const known = this.#of(row.id);
    if (known.view?.row === row) return known.view;
    const { online, reachable, twins, reports, files, vectors, restored, missing, unsent, limited, served } = known;
    const enabled = row.sync_enabled !== 0;
    const shown = { twins, reports, files, vectors, restored, missing, unsent, limited, served };
    known.view = { id: row.id, row, address: addressOf(row), enabled, online, reachable, ...shown };
    return known.view;
  }
}

/**
 * Those of `among` that a node may have sessions with, as it meets them: a node of a scope meets what servers show of that, and
 * no other node of a scope; all others meet each other.
 */
export function companions(node: FleetNode, among: readonly FleetNode[]): FleetNode[] {
  const whole = among.filter((other) => !other.limited && other.id !== node.id);
  return node.limited ? whole.map((other) => asMetBy(node, other)) : whole;
}

/** Another node as this one meets it. */
export function asMetBy(node: FleetNode, other: FleetNode): FleetNode {
  return node.limited ? { ...other, restored: new Map(), ...other.served } : other;
}

/** What a database of a node of a scope is called there: here its scope stands behind it. */
export function nameAt({ limited }: Pick<FleetNode, "limited">, database: string): string {
  return limited ? database.slice(0, database.lastIndexOf("@")) : database;
}

const inScope = (status: DatabaseStatus): DatabaseStatus => ({ ...status, name: nameIn(status.scope, status.name) });

function nameIn(scope: string, name: string): string {
  return scope === "" ? name : `${name}@${scope}`;
}

/** What a node has itself, and the parts that it shows to scopes. All that a node of a scope has is of that scope, whatever it says. */
function divided<S extends { scope: string }>({ scope }: Known, statuses: readonly S[]): { own: S[]; parts: S[] } {
  if (typeof scope === "string") return { own: statuses.map((status) => ({ ...status, scope })), parts: [] };
  const own = statuses.filter((status) => status.scope === "");
  const parts = statuses.filter((status) => status.scope !== "");
  // Nobody shows parts of what he does not have: it is a node of a scope that has not spoken by itself yet.
  return own.length === 0 && scope === undefined ? { own: parts, parts: [] } : { own, parts };
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
