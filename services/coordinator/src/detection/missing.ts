import { formatVector, isCovered, join, parseVector, type VersionVector } from "@scoutsync/core";
import type { Logger } from "@scoutsync/runtime";
import { gain, union, type PlannerNode } from "../planner/plan.ts";
import type { Fleet, FleetNode, MissingCount } from "./fleet.ts";
import type { NodeClients } from "./node-clients.ts";

/** More sources than this are not asked for one node: the rest is estimated from the vectors. */
const MAX_SOURCES = 8;
const CONCURRENT_COUNTS = 16;

/**
 * Counts exactly what each node lacks, and stores it in the fleet. A node is only asked about when vectors differ, and
 * nodes that stand at the same vector are counted once.
 */
export class MissingCounter {
  readonly #fleet: Fleet;
  readonly #clients: NodeClients;
  readonly #deadlineMs: () => number;
  readonly #logger: Logger;
  #running: Promise<void> | null = null;
  #again: Promise<void> | null = null;

  constructor(parts: { fleet: Fleet; clients: NodeClients; deadlineMs: () => number; logger: Logger }) {
    this.#fleet = parts.fleet;
    this.#clients = parts.clients;
    this.#deadlineMs = parts.deadlineMs;
    this.#logger = parts.logger;
  }

  /** Counts everyone. A call during a count waits for one that starts afterwards, shared by all who wait. */
  recount(): Promise<void> {
    if (this.#running === null) {
      this.#running = this.#countAll().finally(() => (this.#running = null));
      return this.#running;
    }
    this.#again ??= this.#running.then(() => {
      this.#again = null;
      return this.recount();
    });
    return this.#again;
  }

  async #countAll(): Promise<void> {
    const nodes = this.#fleet.nodes().filter((node) => node.enabled);
    const sources = nodes.filter((node) => node.online);
    const all = union(sources);
    const shared = new Map<string, Promise<MissingCount>>();
    const waiting = [...nodes];
    const lane = async () => {
      for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
        this.#fleet.setMissing(node.id, await this.#countNode(node, sources, all, shared));
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENT_COUNTS, waiting.length) }, lane));
  }

  async #countNode(
    node: FleetNode,
    sources: readonly FleetNode[],
    all: ReadonlyMap<string, VersionVector>,
    shared: Map<string, Promise<MissingCount>>,
  ): Promise<MissingCount> {
    const total: MissingCount = { changes: 0, oldestUs: 0 };
    for (const [database, vector] of node.vectors) {
      const whole = all.get(database);
      if (whole === undefined || isCovered(whole, vector)) continue;
      const key = `${database} ${formatVector(vector)}`;
      let counting = shared.get(key);
      if (counting === undefined) {
        counting = this.#countDatabase(database, vector, whole, sources);
        shared.set(key, counting);
      }
      add(total, await counting);
    }
    return total;
  }

  /** Asks the source that holds most of the rest, then the one that holds most of what is left, until nothing is. */
  async #countDatabase(
    database: string,
    vector: VersionVector,
    whole: VersionVector,
    sources: readonly FleetNode[],
  ): Promise<MissingCount> {
    const total: MissingCount = { changes: 0, oldestUs: 0 };
    const unasked = new Set(sources.filter((source) => source.vectors.has(database)));
    let have = vector;
    for (let asked = 0; asked < MAX_SOURCES && !isCovered(whole, have); asked++) {
      const source = richest(database, have, unasked);
      if (source === null) break;
      unasked.delete(source);
      try {
        const count = await this.#clients.countChanges(source.address, database, formatVector(have), this.#deadlineMs());
        add(total, { changes: Number(count.changes), oldestUs: Number(count.oldestUs) });
        have = join(have, join(source.vectors.get(database) ?? new Map(), parseVector(count.vector)));
      } catch (error) {
        this.#logger.debug({ source: source.row.name, database, error: String(error) }, "a source could not count");
      }
    }
    // What nobody could count is estimated from the sequences: too many rather than none.
    const rest = gain(standing(database, have), standing(database, whole));
    return { changes: total.changes + rest, oldestUs: total.oldestUs };
  }
}

function richest(database: string, have: VersionVector, sources: Iterable<FleetNode>): FleetNode | null {
  let best: FleetNode | null = null;
  let most = 0;
  for (const source of sources) {
    const offered = gain(standing(database, have), standing(database, source.vectors.get(database) ?? new Map()));
    if (offered > most) {
      best = source;
      most = offered;
    }
  }
  return best;
}

function standing(database: string, vector: VersionVector): PlannerNode {
  return { id: 0, vectors: new Map([[database, vector]]) };
}

function add(total: MissingCount, more: MissingCount): void {
  total.changes += more.changes;
  if (more.oldestUs > 0) total.oldestUs = total.oldestUs === 0 ? more.oldestUs : Math.min(total.oldestUs, more.oldestUs);
}
