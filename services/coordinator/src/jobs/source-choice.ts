import { filesDiffer, hasAllFiles } from "../detection/file-roots.ts";
import { companions, type Fleet, type FleetNode } from "../detection/fleet.ts";
import { textOf } from "../detection/vector-pool.ts";
import { chooseSource, gain, isBetterLater, lacks, wealthOf, type Wealth } from "../planner/plan.ts";

/** Two nodes that could not reach each other are not paired again for this long, if there is anybody else. */
const AVOID_PAIR_MS = 60_000;
/** Adding up what a large fleet holds takes a few milliseconds. */
const WEALTH_AGE_MS = 250;
/** A node waits at most this long, for each node of the fleet, for a better source: a slow one must not hold up the others. */
const PATIENCE_PER_NODE_MS = 30;

/** Who fetches from whom, from what is known of all now and of how earlier sessions between two went. */
export class SourceChoice {
  readonly #fleet: Fleet;
  readonly #avoided = new Map<string, number>();
  /**
   * Pairs whose last session went well and yet left the node without what the source held (the source may only receive,
   * or a database cannot take part), with how both stood: while that is still so, another session changes nothing.
   */
  readonly #fruitless = new Map<number, Map<number, string>>();
  /** Since when nodes wait for a source that has most of what they lack. */
  readonly #waitingSince = new Map<number, number>();
  #wealth: Wealth = { all: new Map(), richest: null, nodes: 0 };
  #wealthAt = -Infinity;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /**
   * The source for `node` among those not in `busy`; "busy" when those that have something for it are in sessions, or
   * when it does better to wait a moment; null when none has anything. One that is `demanded` gets a partner in any
   * case. `moving`: sessions run elsewhere.
   */
  choose(node: FleetNode, busy: ReadonlySet<number>, now: { demanded: boolean; moving: boolean }): FleetNode | "busy" | null {
    const candidates = companions(node, this.#fleet.available());
    const free = candidates.filter((other) => !busy.has(other.id));
    const fruitful = this.#fruitful(node, free);
    const preferred = this.#avoided.size === 0 ? fruitful : fruitful.filter((other) => !this.#isAvoided(node.id, other.id));
    const chosen = chooseSource(node, preferred) ?? (preferred.length < fruitful.length ? chooseSource(node, fruitful) : null);
    if (chosen !== null) {
      const source = chosen as FleetNode;
      return !now.demanded && now.moving && this.#waits(node, source) ? "busy" : source;
    }
    // A session may be about all databases of both: one that serves nobody yet is left alone until it has fetched.
    const withOtherFiles = (preferred.length > 0 ? preferred : fruitful).filter(
      (other) => other.restored.size === 0 && filesDiffer(node, other),
    );
    // Nobody dials a node of a scope: it gives what it has by a session of its own.
    const taker = node.limited ? preferred.find((other) => gain(other, node) > 0) : undefined;
    if (taker !== undefined) return taker;
    // Spread by id, so that many do not all queue for the same one.
    const whole = withOtherFiles.filter(hasAllFiles);
    const holders = whole.length > 0 ? whole : withOtherFiles;
    const apart = holders[node.id % Math.max(1, holders.length)];
    if (apart !== undefined) return apart;
    if (this.#hasSource(node, candidates)) return "busy";
    if (!now.demanded) return null;
    const sharing = (other: FleetNode) => [...node.vectors.keys()].some((database) => other.vectors.has(database));
    const partner = free.filter(sharing).sort((a, b) => gain(b, node) - gain(a, node))[0];
    return partner ?? (candidates.some(sharing) ? "busy" : null);
  }

  /** False when everybody who holds what a node lacks has been tried and gave nothing. The node must be behind. */
  isWorthTrying(node: FleetNode, available: readonly FleetNode[]): boolean {
    // Comparing with everybody is for the few that were ever tried in vain.
    return !this.#fruitless.has(node.id) || this.#hasSource(node, companions(node, available));
  }

  /** Gives every pair another chance: at a scan, and for a node that returns. */
  giveNewChances(serverId?: number): void {
    if (serverId === undefined) return this.#fruitless.clear();
    this.#fruitless.delete(serverId);
    for (const node of this.#fruitless.keys()) this.#forgive(node, serverId);
  }

  /** The node has waited enough, for the end of a session that nobody saw through: it takes the first source that is free. */
  hurry(serverId: number): void {
    this.#waitingSince.set(serverId, -Infinity);
  }

  /** The node waits no more: it has its session, or needs none. */
  settled(serverId: number): void {
    this.#waitingSince.delete(serverId);
  }

  /** A session between the two went well; `gotAll`: the node has what the source held when it began. */
  ended(node: FleetNode, source: FleetNode, gotAll: boolean): void {
    if (gotAll) return this.#forgive(node.id, source.id);
    const tried = this.#fruitless.get(node.id) ?? new Map<number, string>();
    this.#fruitless.set(node.id, tried.set(source.id, standingOf(node) + standingOf(source)));
  }

  /** A session between the two failed. */
  failed(serverId: number, sourceId: number): void {
    const now = Date.now();
    for (const [pair, until] of this.#avoided) if (until < now) this.#avoided.delete(pair);
    this.#avoided.set(pairKey(serverId, sourceId), now + AVOID_PAIR_MS);
  }

  /** True when others are at it to gather what the node lacks, and it has waited for that only a moment. */
  #waits(node: FleetNode, source: FleetNode): boolean {
    const wealth = this.#toBeHad();
    if (!isBetterLater(node, source, wealth)) return false;
    const now = performance.now();
    const since = this.#waitingSince.get(node.id) ?? now;
    this.#waitingSince.set(node.id, since);
    return now - since < wealth.nodes * PATIENCE_PER_NODE_MS;
  }

  /** What can be had, as of a moment ago. */
  #toBeHad(): Wealth {
    const now = performance.now();
    if (now - this.#wealthAt > WEALTH_AGE_MS) {
      this.#wealth = wealthOf(this.#fleet.available().filter((node) => !node.limited));
      this.#wealthAt = now;
    }
    return this.#wealth;
  }

  #hasSource(node: FleetNode, candidates: readonly FleetNode[]): boolean {
    // One comparison instead of one with everybody, as long as everybody counts.
    if (!this.#fruitless.has(node.id) && lacks(node, this.#toBeHad().all)) return true;
    const fruitful = this.#fruitful(node, candidates);
    return (
      chooseSource(node, fruitful) !== null ||
      fruitful.some((other) => (other.restored.size === 0 && filesDiffer(node, other)) || (node.limited && gain(other, node) > 0))
    );
  }

  #fruitful(node: FleetNode, candidates: readonly FleetNode[]): readonly FleetNode[] {
    const tried = this.#fruitless.get(node.id);
    if (tried === undefined) return candidates;
    return candidates.filter((other) => {
      const known = tried.get(other.id);
      return known === undefined || known !== standingOf(node) + standingOf(other);
    });
  }

  #forgive(serverId: number, sourceId: number): void {
    const tried = this.#fruitless.get(serverId);
    if (tried?.delete(sourceId) === true && tried.size === 0) this.#fruitless.delete(serverId);
  }

  #isAvoided(serverId: number, sourceId: number): boolean {
    return (this.#avoided.get(pairKey(serverId, sourceId)) ?? 0) > Date.now();
  }
}

function pairKey(serverId: number, sourceId: number): string {
  return `${serverId} ${sourceId}`;
}

/** What a node holds, as a text: while it is the same, so is what a session with it can bring. */
export function standingOf(node: FleetNode): string {
  const rows = [...node.vectors, ...node.restored].map(([database, vector]) => `${database} ${textOf(vector)}`);
  return [...rows, ...node.files.map(({ root, digest, pending }) => `${root} ${digest} ${pending}`)].join("|");
}
