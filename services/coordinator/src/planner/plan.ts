import type { VersionVector } from "@scoutsync/core";
import { beyond, joinAll, total } from "./dense.ts";

export { total } from "./dense.ts";

/** What the planner knows about a node: per database, up to where it has everything. Neither the map nor a vector may change. */
export interface PlannerNode {
  readonly id: number;
  readonly vectors: ReadonlyMap<string, VersionVector>;
  /** Databases that were restored from a backup: nobody is served of them before the node has fetched once. They are not in `vectors`. */
  readonly restored?: ReadonlyMap<string, VersionVector>;
}

/** A session is symmetric: `node` fetches from `source` and sends what `source` lacks; afterwards both are equal. */
export interface PlannedSession {
  readonly node: number;
  readonly source: number;
}

/**
 * How much `from` holds that `to` lacks, in sequence numbers summed over the databases both have. At least the number
 * of live changes (overwritten ones are counted too), which is all that is needed to compare sources. A database that was
 * restored gains by any source, were it only that it serves again.
 */
export function gain(to: PlannerNode, from: PlannerNode): number {
  let sum = 0;
  for (const [database, have] of to.vectors) {
    const offered = from.vectors.get(database);
    if (offered !== undefined) sum += beyond(database, have, offered);
  }
  for (const [database, have] of to.restored ?? []) {
    const offered = from.vectors.get(database);
    if (offered !== undefined) sum += Math.max(1, beyond(database, have, offered));
  }
  return sum;
}

/** Per database, everything that any of the nodes holds. */
export function union(nodes: Iterable<PlannerNode>): Map<string, VersionVector> {
  // In a fleet that is nearly equal most nodes share one vector.
  const distinct = new Map<string, Set<VersionVector>>();
  for (const node of nodes) {
    for (const [database, vector] of node.vectors) {
      const known = distinct.get(database);
      if (known === undefined) distinct.set(database, new Set([vector]));
      else known.add(vector);
    }
  }
  return new Map([...distinct].map(([database, vectors]) => [database, joinAll(database, vectors)]));
}

/** True when `node` lacks something that is in `all`, or has to fetch before it serves again. */
export function lacks(node: PlannerNode, all: ReadonlyMap<string, VersionVector>): boolean {
  for (const [database, vector] of node.vectors) {
    const known = all.get(database);
    if (known !== undefined && beyond(database, vector, known) > 0) return true;
  }
  for (const database of (node.restored ?? new Map()).keys()) if (all.has(database)) return true;
  return false;
}

/** Comparing two nodes costs as much as they have origins, so in a large fleet only so many are compared for one choice. */
const COMPARED_RICHEST = 8;
const COMPARED_OTHERS = 24;

/**
 * The best partner for `node` among `candidates`: the one it gains most from; among equals the one that gains most in
 * return, because one session then does the work of two. Remaining ties are spread over the candidates by id, so that
 * a hundred returning nodes do not all queue for the same source. Of many candidates those that hold most are looked at
 * and a sample of the others; all of them when these have nothing. Null when nobody has anything for it.
 */
export function chooseSource(node: PlannerNode, candidates: readonly PlannerNode[]): PlannerNode | null {
  if (candidates.length <= COMPARED_RICHEST + COMPARED_OTHERS) return bestOf(node, candidates);
  return bestOf(node, sample(node, candidates)) ?? bestOf(node, candidates);
}

/** A source with this share of what a node lacks is as good as any. */
const MOST = 0.75;
/** In a small fleet a session more or less does not matter. */
const LARGE_FLEET = 32;

/** What can be had in a fleet now: all of it together, and the node that has most. */
export interface Wealth {
  all: ReadonlyMap<string, VersionVector>;
  richest: PlannerNode | null;
  nodes: number;
}

export function wealthOf(nodes: readonly PlannerNode[]): Wealth {
  let richest: PlannerNode | null = null;
  let most = -1;
  for (const node of nodes) {
    const held = holdings(node, node);
    if (held > most) [richest, most] = [node, held];
  }
  return { all: union(nodes), richest, nodes: nodes.length };
}

/**
 * True when `node` does better to wait: the richest node has all that it could give, and `source` has only a part of
 * what it lacks, so that it would need another session soon. Where all have written, those who have something to give go
 * first, and the others are brought up to date once instead of again and again.
 */
export function isBetterLater(node: PlannerNode, source: PlannerNode, { all, richest, nodes }: Wealth): boolean {
  if (nodes < LARGE_FLEET || richest === null || gain(richest, node) > 0) return false;
  return gain(node, source) < MOST * gain(node, { id: -1, vectors: all });
}

function bestOf(node: PlannerNode, candidates: readonly PlannerNode[]): PlannerNode | null {
  let best: PlannerNode | null = null;
  let bestGain = 0;
  let bestReturn = 0;
  const start = candidates.length === 0 ? 0 : node.id % candidates.length;
  for (let index = 0; index < candidates.length; index++) {
    const candidate = candidates[(start + index) % candidates.length] as PlannerNode;
    if (candidate.id === node.id) continue;
    const offered = gain(node, candidate);
    if (offered === 0 || offered < bestGain) continue;
    const returned = gain(candidate, node);
    if (offered > bestGain || returned > bestReturn) {
      best = candidate;
      bestGain = offered;
      bestReturn = returned;
    }
  }
  return best;
}

/** The candidates that hold most, and others at even distances, from a start that differs from node to node. */
function sample(node: PlannerNode, candidates: readonly PlannerNode[]): PlannerNode[] {
  const richest: { candidate: PlannerNode; held: number }[] = [];
  for (const candidate of candidates) {
    const held = holdings(candidate, node);
    if (richest.length === COMPARED_RICHEST && held <= (richest.at(-1)?.held ?? 0)) continue;
    const place = richest.findIndex((other) => other.held < held);
    richest.splice(place < 0 ? richest.length : place, 0, { candidate, held });
    if (richest.length > COMPARED_RICHEST) richest.pop();
  }
  const step = candidates.length / COMPARED_OTHERS;
  const others = Array.from({ length: COMPARED_OTHERS }, (_, index) => {
    return candidates[(node.id + Math.floor(index * step)) % candidates.length] as PlannerNode;
  });
  return [...richest.map(({ candidate }) => candidate), ...others];
}

const heldInAll = new WeakMap<PlannerNode["vectors"], number>();

/** How much a node holds of the databases that `of` has, in sequence numbers; nearly always both have the same ones. */
function holdings(node: PlannerNode, of: PlannerNode): number {
  const same = node.vectors.size === of.vectors.size;
  let sum = same ? heldInAll.get(node.vectors) : undefined;
  if (sum !== undefined) return sum;
  sum = 0;
  for (const [database, vector] of node.vectors) if (same || of.vectors.has(database)) sum += total(vector);
  if (same) heldInAll.set(node.vectors, sum);
  return sum;
}

/**
 * The sessions that may start now so that the fleet becomes equal in few rounds: no node is in two of them, and none
 * in `busy` takes part. Nodes with the smallest lag come first: they are done soonest and are then sources themselves.
 * Call again when sessions have ended; an empty plan with nothing busy means that nobody lacks anything reachable.
 */
export function planRound(nodes: readonly PlannerNode[], busy: ReadonlySet<number> = new Set()): PlannedSession[] {
  const all = union(nodes);
  const whole: PlannerNode = { id: -1, vectors: all };
  const waiting = nodes
    .filter((node) => !busy.has(node.id) && lacks(node, all))
    .map((node) => ({ node, lag: gain(node, whole) }))
    .sort((a, b) => a.lag - b.lag || a.node.id - b.node.id);
  const free = new Map(nodes.filter((node) => !busy.has(node.id)).map((node) => [node.id, node]));
  const sessions: PlannedSession[] = [];
  for (const { node } of waiting) {
    if (!free.has(node.id)) continue;
    const source = chooseSource(node, [...free.values()]);
    if (source === null) continue;
    free.delete(node.id);
    free.delete(source.id);
    sessions.push({ node: node.id, source: source.id });
  }
  return sessions;
}
