import { status } from "@grpc/grpc-js";
import { SyncError, tablesWrittenPast, toPlainError } from "@scoutsync/core";
import {
  CheckCaptureRequest,
  DigestRequest,
  fromWireDigestEntry,
  ListReviewsRequest,
  unary,
  type CaptureLook,
  type CaptureOrder,
  type CheckCaptureResponse,
  type SyncNodeService,
  type ServiceClient,
} from "@scoutsync/protocol";
import { pause, type Logger } from "@scoutsync/runtime";
import type { AlertWatch } from "../alerts/watch.ts";
import { nameAt, type Fleet, type FleetNode } from "../detection/fleet.ts";
import type { NodeClients } from "../detection/node-clients.ts";
import { captureIn } from "../detection/plausible.ts";
import type { Registry } from "../registry/registry.ts";

/** Between two looks at a table. */
const PAUSE_MS = 500;
const NODES_AT_ONCE = 8;
const DEADLINE_MS = 120_000;
const CANARY_OPERATION = "canary";
/** Tables that an alert names. */
const MOST_NAMED = 5;

/** What is wrong with capture on one node; both empty: nothing. */
interface Findings {
  /** Writes that were tried left no trace, or triggers were gone, for people. The node has mended that. */
  faults: string[];
  /** Tables that hold rows that capture knows nothing of. */
  unknown: string[];
  /** How far each database's faults have been told, by its key in the registry. */
  seen: { key: string; cursor: string }[];
}

/**
 * Looks whether capture works on each node: the one failure that no health check, vector or stored digest shows, because
 * nothing noticed that anything was written. A node writes to each of its tables through an ordinary connection, looks
 * whether that was captured, and takes it back; and what stands in the tables is compared with what was captured of them.
 */
export class Canary {
  readonly #fleet: Fleet;
  readonly #clients: NodeClients;
  readonly #registry: Registry;
  readonly #alerts: AlertWatch;
  readonly #logger: Logger;
  /** What was wrong with a node when it was looked at last. */
  readonly #wrong = new Map<number, string>();
  /** Nodes that cannot be dialled and have not looked by themselves yet, with the round that they are to look for. */
  readonly #due = new Map<number, number>();
  #round = 0;

  constructor(parts: { fleet: Fleet; clients: NodeClients; registry: Registry; alerts: AlertWatch; logger: Logger }) {
    this.#fleet = parts.fleet;
    this.#clients = parts.clients;
    this.#registry = parts.registry;
    this.#alerts = parts.alerts;
    this.#logger = parts.logger;
  }

  /** One round over all nodes that are online; those that cannot be dialled look by themselves. Never throws. */
  async round(): Promise<void> {
    const waiting = this.#fleet.available();
    const round = this.#round++;
    for (const node of this.#fleet.nodes()) {
      if (node.enabled && node.online && !node.reachable) this.#due.set(node.id, round);
      else this.#due.delete(node.id);
    }
    const lane = async () => {
      for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) await this.#look(node, round);
    };
    await Promise.all(Array.from({ length: Math.min(NODES_AT_ONCE, waiting.length) }, lane));
  }

  /** What a node that cannot be dialled is to look at now; nothing when it can be, or has looked since the last round. */
  order(id: number): CaptureOrder | undefined {
    const round = this.#due.get(id);
    const node = this.#fleet.node(id);
    if (round === undefined || node === null || node.reachable) return undefined;
    const databases = databasesOf(node).map((database) => ({ database, seen: this.#registry.readState(cursorKey(node, database)) ?? "" }));
    return { round, databases };
  }

  /** A node has looked as it was told, and this is what it found. */
  told(id: number, look: CaptureLook): void {
    const node = this.#fleet.node(id);
    this.#due.delete(id);
    if (node === null) return;
    const { databases, problem } = captureIn(look);
    if (problem !== "") return this.#failed(node, problem);
    const own = new Set(databasesOf(node));
    const found: Findings = { faults: [], unknown: [], seen: [] };
    for (const { database, faults, cursor, writtenPast } of databases) {
      if (own.has(database)) add(found, node, database, { faults, cursor }, writtenPast);
    }
    this.#take(node, found);
    this.#tellKeptBack(
      node,
      node.reports.reduce((sum, report) => sum + report.kept_back, 0),
    );
  }

  async #look(node: FleetNode, round: number): Promise<void> {
    const client = this.#clients.to(node.address);
    try {
      const found: Findings = { faults: [], unknown: [], seen: [] };
      for (const database of databasesOf(node)) {
        const checked = await checkCapture(client, database, this.#registry.readState(cursorKey(node, database)) ?? "");
        const ask = async (table: string, deep: boolean) => {
          const request = DigestRequest.fromPartial({ database, table, deep });
          return (await unary(client, "digest", request, { deadlineMs: DEADLINE_MS })).entries.map(fromWireDigestEntry);
        };
        add(found, node, database, checked, await tablesWrittenPast(ask, round, () => pause(PAUSE_MS)));
      }
      if (this.#registry.closed) return;
      this.#take(node, found);
      const kept = await unary(client, "listReviews", ListReviewsRequest.fromPartial({ kind: "quarantine", limit: 100 }));
      if (!this.#registry.closed) this.#tellKeptBack(node, kept.reviews.filter((review) => !review.resolved).length);
    } catch (error) {
      this.#failed(node, toPlainError(error).message);
    }
  }

  /** A node that goes away meanwhile is another incident. */
  #failed(node: FleetNode, error: string): void {
    this.#logger.debug({ server: node.id, error }, "the canary could not look at a node");
  }

  #take(node: FleetNode, found: Findings): void {
    this.#tell(node, found);
    // What is told is told again after a crash, rather than never.
    for (const { key, cursor } of found.seen) if (this.#registry.readState(key) !== cursor) this.#registry.writeState(key, cursor);
  }

  #tellKeptBack(node: FleetNode, open: number): void {
    const held = `${node.row.name} keeps ${open} mass delete${open === 1 ? "" : "s"} back: scoutsync review list ${node.row.name} --kind quarantine`;
    this.#alerts.report("quarantine", node.id, open === 0 ? null : held);
  }

  #tell(node: FleetNode, found: Findings): void {
    const message = messageOf(node.row.name, found);
    const before = this.#wrong.get(node.id) ?? "";
    this.#alerts.report("canary", node.id, message === "" ? null : message);
    if (message === before) return;
    this.#wrong.set(node.id, message);
    const { logs } = this.#registry;
    const now = new Date();
    const entry = { serverId: node.id, sourceId: null, worker: "coordinator", operation: CANARY_OPERATION, details: {}, now };
    const { faults, unknown } = found;
    const details = message === "" ? { message: "Rows and capture agree again" } : { faults, unknown, message };
    logs.close(logs.open(entry), message === "" ? "completed" : "failed", details, now);
  }
}

/** Databases that take part, by the node's own names for them. */
function databasesOf(node: FleetNode): string[] {
  return node.reports.filter((report) => report.problem === "").map((report) => nameAt(node, report.name));
}

/** Where the registry keeps how far the faults of a database have been told. */
function cursorKey(node: FleetNode, database: string): string {
  return `capture of ${node.row.node_id ?? node.id} ${database}`;
}

function add(found: Findings, node: FleetNode, database: string, checked: CheckCaptureResponse, writtenPast: readonly string[]): void {
  found.faults.push(...checked.faults.map(({ table, reason }) => `${database}.${table} (${reason})`));
  found.unknown.push(...writtenPast.map((table) => `${database}.${table}`));
  if (checked.cursor !== "") found.seen.push({ key: cursorKey(node, database), cursor: checked.cursor });
}

function messageOf(name: string, { faults, unknown }: Pick<Findings, "faults" | "unknown">): string {
  const sentences: string[] = [];
  if (faults.length > 0) {
    const shown = faults.length > MOST_NAMED ? [...faults.slice(0, MOST_NAMED), `and ${faults.length - MOST_NAMED} more`] : faults;
    sentences.push(
      `${name} did not capture what was written to ${shown.join(", ")}. Its capture has been made whole again and what was written meanwhile taken in. Find out who changes its triggers.`,
    );
  }
  if (unknown.length > 0) {
    sentences.push(
      `${name} holds rows in ${unknown.join(", ")} that its capture knows nothing of: something wrote past it. scoutsync verify ${name} PEER names them, --repair takes them in.`,
    );
  }
  return sentences.join(" ");
}

/** Has a node try writes to its tables. One of the version before does not know the question: then only rows are read. */
async function checkCapture(client: ServiceClient<SyncNodeService>, database: string, seen: string): Promise<CheckCaptureResponse> {
  try {
    return await unary(client, "checkCapture", CheckCaptureRequest.fromPartial({ database, seen }), { deadlineMs: DEADLINE_MS });
  } catch (error) {
    const cause = error instanceof SyncError ? (error.cause as { code?: unknown } | undefined) : undefined;
    if (cause?.code !== status.UNIMPLEMENTED) throw error;
    return { faults: [], cursor: "" };
  }
}
