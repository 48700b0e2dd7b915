import { join, parseVector, type VersionVector } from "@scoutsync/core";
import type { Logger } from "@scoutsync/runtime";
import { beyond } from "../planner/dense.ts";
import { gain, total, union, type PlannerNode } from "../planner/plan.ts";
import { companions, type Backlog, type Fleet, type FleetNode, type MissingCount } from "./fleet.ts";
import type { NodeClients } from "./node-clients.ts";
import { countOf, sizeOf } from "./plausible.ts";
import { textOf } from "./vector-pool.ts";

/** More sources than this are not asked for one node: the rest is estimated from the vectors. */
const MAX_SOURCES = 8;
/** In a fleet in which all differ, about so many questions are asked in one count, and more is estimated. */
const QUESTIONS = 2_000;
/** Vectors that are compared with what a node lacks, the most complete first. */
const MAX_COMPARED = 64;
const EQUAL_SOURCES = 2;
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
    const sources = nodes.filter((node) => node.online && node.reachable && !node.limited);
    const all = union(sources);
    const common = intersection(sources);
    const ranked = new Map([...all.keys()].map((database) => [database, rankedSources(database, sources)]));
    const shared = new Map<string, Promise<MissingCount>>();
    const once = (key: string, count: () => Promise<MissingCount>) => {
      const counting = shared.get(key) ?? count();
      shared.set(key, counting);
      return counting;
    };
    const mostAsked = Math.min(MAX_SOURCES, Math.max(1, Math.floor(QUESTIONS / Math.max(1, nodes.length))));
    const waiting = [...nodes];
    const lane = async () => {
      for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
        const counted = node;
        if (node.limited) {
          this.#fleet.setBacklog(node.id, ...betweenScope(node, companions(node, sources)));
          continue;
        }
        const missing = await backlogOf([...node.vectors, ...node.restored], all, (database, vector, whole) =>
          once(`${database} lacks ${textOf(vector)}`, () =>
            this.#countDatabase(database, vector, whole, { sources: ranked.get(database) ?? [], mostAsked }),
          ),
        );
        const unsent = await backlogOf(node.vectors, common, (database, vector, least) =>
          once(`${database} gives ${textOf(vector)}`, () => this.#countGiven(counted, database, vector, least)),
        );
        this.#fleet.setBacklog(node.id, missing, unsent);
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENT_COUNTS, waiting.length) }, lane));
  }

  /** What the node holds of a database beyond what all nodes that are online have. */
  async #countGiven(node: FleetNode, database: string, vector: VersionVector, common: VersionVector): Promise<MissingCount> {
    if (node.online && node.reachable) {
      try {
        const count = await this.#clients.countChanges(node.address, database, textOf(common), this.#deadlineMs());
        return { changes: countOf(count.changes), oldestUs: sizeOf(count.oldestUs) };
      } catch (error) {
        this.#logger.debug({ source: node.address, database, error: String(error) }, "a node could not count what it has for others");
      }
    }
    return { changes: countOf(gain(standing(database, common), standing(database, vector))), oldestUs: 0 };
  }

  /** Asks the most complete source, then the next one that holds something of the rest, until nothing is left. */
  async #countDatabase(
    database: string,
    vector: VersionVector,
    whole: VersionVector,
    { sources, mostAsked }: { sources: readonly RankedSource[]; mostAsked: number },
  ): Promise<MissingCount> {
    const sum: MissingCount = { changes: 0, oldestUs: 0 };
    let have = vector;
    let asked = 0;
    for (const { address, held } of sources) {
      if (asked === mostAsked || beyond(database, have, whole) === 0) break;
      if (beyond(database, have, held) === 0) continue;
      asked++;
      try {
        const count = await this.#clients.countChanges(address, database, textOf(have), this.#deadlineMs());
        add(sum, { changes: countOf(count.changes), oldestUs: sizeOf(count.oldestUs) });
        have = join(have, join(held, parseVector(count.vector)));
      } catch (error) {
        this.#logger.debug({ source: address, database, error: String(error) }, "a source could not count");
      }
    }
    // What nobody could count is estimated from the sequences: too many rather than none.
    const rest = countOf(gain(standing(database, have), standing(database, whole)));
    return { changes: sum.changes + rest, oldestUs: sum.oldestUs };
  }
}

/** Per database what a node's vector and the fleet's differ by; nobody is asked where they are equal. */
async function backlogOf(
  held: Iterable<[string, VersionVector]>,
  fleet: ReadonlyMap<string, VersionVector>,
  count: (database: string, own: VersionVector, others: VersionVector) => Promise<MissingCount>,
): Promise<Backlog> {
  const sum: MissingCount = { changes: 0, oldestUs: 0 };
  const databases = new Map<string, MissingCount>();
  for (const [database, vector] of held) {
    const others = fleet.get(database);
    if (others === undefined || (beyond(database, vector, others) === 0 && beyond(database, others, vector) === 0)) continue;
    const counted = await count(database, vector, others);
    add(sum, counted);
    if (counted.changes > 0) databases.set(database, counted);
  }
  return { ...sum, databases };
}

/** What a node of a scope lacks of what its server shows, and the server of what it has: estimated from the sequences. */
function betweenScope(node: FleetNode, servers: readonly FleetNode[]): [missing: Backlog, unsent: Backlog] {
  const there = union(servers);
  const between = (from: ReadonlyMap<string, VersionVector>, to: ReadonlyMap<string, VersionVector>): Backlog => {
    const databases = new Map<string, MissingCount>();
    for (const [database, vector] of from) {
      const other = to.get(database);
      const changes = other === undefined ? 0 : gain(standing(database, other), standing(database, vector));
      if (changes > 0) databases.set(database, { changes, oldestUs: 0 });
    }
    return { changes: [...databases.values()].reduce((sum, { changes }) => sum + changes, 0), oldestUs: 0, databases };
  };
  return [between(there, node.vectors), between(node.vectors, there)];
}

/** Per database, what all nodes that have it hold. */
function intersection(nodes: readonly FleetNode[]): Map<string, VersionVector> {
  const distinct = new Map<string, Set<VersionVector>>();
  for (const { vectors } of nodes) {
    for (const [database, vector] of vectors) distinct.set(database, (distinct.get(database) ?? new Set()).add(vector));
  }
  return new Map([...distinct].map(([database, vectors]) => [database, inAll(vectors)]));
}

function inAll(vectors: ReadonlySet<VersionVector>): VersionVector {
  const [first = new Map(), ...others] = vectors;
  if (others.length === 0) return first;
  const common = new Map(first);
  for (const vector of others) {
    for (const [origin, upTo] of common) {
      const held = vector.get(origin) ?? 0;
      if (held === 0) common.delete(origin);
      else if (held < upTo) common.set(origin, held);
    }
  }
  return common;
}

interface RankedSource {
  address: string;
  held: VersionVector;
}

/** Who can be asked about a database, the most complete first: those lack least of what all of them hold together. */
function rankedSources(database: string, nodes: readonly FleetNode[]): RankedSource[] {
  // Of those that are equal one is enough, and another in case it does not answer.
  const taken = new Map<VersionVector, number>();
  const sources = nodes.flatMap(({ address, vectors }) => {
    const held = vectors.get(database);
    const before = held === undefined ? EQUAL_SOURCES : (taken.get(held) ?? 0);
    if (held === undefined || before === EQUAL_SOURCES) return [];
    taken.set(held, before + 1);
    return [{ address, held }];
  });
  return sources.sort((a, b) => total(b.held) - total(a.held)).slice(0, MAX_COMPARED);
}

function standing(database: string, vector: VersionVector): PlannerNode {
  return { id: 0, vectors: new Map([[database, vector]]) };
}

function add(sum: MissingCount, more: MissingCount): void {
  sum.changes += more.changes;
  if (more.oldestUs > 0) sum.oldestUs = sum.oldestUs === 0 ? more.oldestUs : Math.min(sum.oldestUs, more.oldestUs);
}
