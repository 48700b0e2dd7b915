import { status } from "@grpc/grpc-js";
import { SyncError, toPlainError } from "@scoutsync/core";
import {
  CheckCaptureRequest,
  DigestRequest,
  ListReviewsRequest,
  unary,
  type CheckCaptureResponse,
  type DigestEntry,
  type DigestResponse,
  type SyncNodeService,
  type ServiceClient,
} from "@scoutsync/protocol";
import { pause, type Logger } from "@scoutsync/runtime";
import type { AlertWatch } from "../alerts/watch.ts";
import { nameAt, type Fleet, type FleetNode } from "../detection/fleet.ts";
import type { NodeClients } from "../detection/node-clients.ts";
import type { Registry } from "../registry/registry.ts";

/** A table of at most this many rows is read in every round; of larger ones one per round. */
const SMALL_TABLE_ROWS = 20_000;
/** A table that is written to differs from what was captured of it for a moment; one whose capture is broken stays so. */
const LOOKS = 4;
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
  #round = 0;

  constructor(parts: { fleet: Fleet; clients: NodeClients; registry: Registry; alerts: AlertWatch; logger: Logger }) {
    this.#fleet = parts.fleet;
    this.#clients = parts.clients;
    this.#registry = parts.registry;
    this.#alerts = parts.alerts;
    this.#logger = parts.logger;
  }

  /** One round over all nodes that are online. Never throws. */
  async round(): Promise<void> {
    const waiting = this.#fleet.available();
    const round = this.#round++;
    const lane = async () => {
      for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) await this.#look(node, round);
    };
    await Promise.all(Array.from({ length: Math.min(NODES_AT_ONCE, waiting.length) }, lane));
  }

  async #look(node: FleetNode, round: number): Promise<void> {
    const client = this.#clients.to(node.address);
    try {
      const found: Findings = { faults: [], unknown: [] };
      const seen: { key: string; cursor: string }[] = [];
      for (const { name: shown } of node.reports.filter((report) => report.problem === "")) {
        const name = nameAt(node, shown);
        const key = `capture of ${node.row.node_id ?? node.id} ${name}`;
        const checked = await checkCapture(client, name, this.#registry.readState(key) ?? "");
        found.faults.push(...checked.faults.map(({ table, reason }) => `${name}.${table} (${reason})`));
        if (checked.cursor !== "") seen.push({ key, cursor: checked.cursor });
        for (const table of await brokenTables(client, name, round)) found.unknown.push(`${name}.${table}`);
      }
      if (this.#registry.closed) return;
      this.#tell(node, found);
      // What is told is told again after a crash, rather than never.
      for (const { key, cursor } of seen) if (this.#registry.readState(key) !== cursor) this.#registry.writeState(key, cursor);
      const kept = await unary(client, "listReviews", ListReviewsRequest.fromPartial({ kind: "quarantine", limit: 100 }));
      const open = kept.reviews.filter((review) => !review.resolved).length;
      const held = `${node.row.name} keeps ${open} mass delete${open === 1 ? "" : "s"} back: scoutsync review list ${node.row.name} --kind quarantine`;
      if (!this.#registry.closed) this.#alerts.report("quarantine", node.id, open === 0 ? null : held);
    } catch (error) {
      // A node that goes away meanwhile is another incident.
      this.#logger.debug({ server: node.id, error: toPlainError(error).message }, "the canary could not look at a node");
    }
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
    const details = message === "" ? { message: "Rows and capture agree again" } : { ...found, message };
    logs.close(logs.open(entry), message === "" ? "completed" : "failed", details, now);
  }
}

function messageOf(name: string, { faults, unknown }: Findings): string {
  const sentences: string[] = [];
  if (faults.length > 0) {
    const shown = faults.length > MOST_NAMED ? [...faults.slice(0, MOST_NAMED), `and ${faults.length - MOST_NAMED} more`] : faults;
    sentences.push(
      `${name} did not capture what was written to ${shown.join(", ")}. Its capture has been made whole again and what was written meanwhile taken in. Find out who changes its triggers.`,
    );
  }
  if (unknown.length > 0) {
    sentences.push(
      `${name} holds rows in ${unknown.join(", ")} that its capture knows nothing of: something wrote past it. scoutsync verify ${name} PEER --deep names them, --repair takes them in.`,
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

/** Tables of a database whose rows are, look after look, not those that were captured. */
async function brokenTables(client: ServiceClient<SyncNodeService>, database: string, round: number): Promise<string[]> {
  const ask = (table: string, deep: boolean) =>
    unary(client, "digest", DigestRequest.fromPartial({ database, table, deep }), { deadlineMs: DEADLINE_MS });
  const { entries } = await ask("", false);
  const small = entries.filter((entry) => entry.rows <= BigInt(SMALL_TABLE_ROWS));
  const large = entries.filter((entry) => entry.rows > BigInt(SMALL_TABLE_ROWS));
  const turn = large[round % Math.max(1, large.length)];
  const broken: string[] = [];
  for (const { table } of turn === undefined ? small : [...small, turn]) {
    if (await staysBroken(table, ask)) broken.push(table);
  }
  return broken;
}

/** True when the same part of the table differs from what was captured of it at every look. */
async function staysBroken(table: string, ask: (table: string, deep: boolean) => Promise<DigestResponse>): Promise<boolean> {
  let suspects: number[] | null = null;
  for (let look = 0; look < LOOKS; look++) {
    if (look > 0) await pause(PAUSE_MS);
    const [stored, read] = [await ask(table, false), await ask(table, true)];
    const differing = differingBuckets(stored.entries, read.entries);
    suspects = suspects === null ? [...differing] : suspects.filter((bucket) => differing.has(bucket));
    if (suspects.length === 0) return false;
  }
  return true;
}

function differingBuckets(stored: readonly DigestEntry[], read: readonly DigestEntry[]): Set<number> {
  const sums = new Map(stored.map((entry) => [entry.bucket, entry.digest.toString("hex")]));
  const differing = new Set<number>();
  for (const { bucket, digest } of read) {
    if (sums.get(bucket) !== digest.toString("hex")) differing.add(bucket);
    sums.delete(bucket);
  }
  // What was captured and is not in the table any more.
  for (const bucket of sums.keys()) differing.add(bucket);
  return differing;
}
