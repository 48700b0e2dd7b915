import { isCovered, join, type VersionVector } from "@scoutsync/core";

/** What the planner knows about a node: per database, up to where it has everything. */
export interface PlannerNode {
  readonly id: number;
  readonly vectors: ReadonlyMap<string, VersionVector>;
}

/** A session is symmetric: `node` fetches from `source` and sends what `source` lacks; afterwards both are equal. */
export interface PlannedSession {
  readonly node: number;
  readonly source: number;
}

/**
 * How much `from` holds that `to` lacks, in sequence numbers summed over the databases both have. At least the number
 * of live changes (overwritten ones are counted too), which is all that is needed to compare sources.
 */
export function gain(to: PlannerNode, from: PlannerNode): number {
  let sum = 0;
  for (const [database, have] of to.vectors) {
    const offered = from.vectors.get(database);
    if (offered !== undefined && offered !== have) sum += beyond(have, offered);
  }
  return sum;
}

/** Nodes that wait for a busy source are looked at again and again, while vectors only change when a node moves. */
const gains = new WeakMap<VersionVector, WeakMap<VersionVector, number>>();
/** Below this, adding up is as fast as remembering. */
const REMEMBERED_FROM_ORIGINS = 8;

function beyond(have: VersionVector, offered: VersionVector): number {
  const remembered = offered.size < REMEMBERED_FROM_ORIGINS ? undefined : gains.get(have)?.get(offered);
  if (remembered !== undefined) return remembered;
  let sum = 0;
  for (const [origin, sequence] of offered) sum += Math.max(0, sequence - (have.get(origin) ?? 0));
  if (offered.size < REMEMBERED_FROM_ORIGINS) return sum;
  let row = gains.get(have);
  if (row === undefined) gains.set(have, (row = new WeakMap()));
  row.set(offered, sum);
  return sum;
}

/** Per database, everything that any of the nodes holds. */
export function union(nodes: Iterable<PlannerNode>): Map<string, VersionVector> {
  const joined = new Map<string, VersionVector>();
  for (const node of nodes) {
    for (const [database, vector] of node.vectors) {
      const known = joined.get(database);
      if (known === undefined) joined.set(database, vector);
      else if (known !== vector) joined.set(database, join(known, vector));
    }
  }
  return joined;
}

/** True when `node` lacks something that is in `all`. */
export function lacks(node: PlannerNode, all: ReadonlyMap<string, VersionVector>): boolean {
  for (const [database, vector] of node.vectors) {
    const known = all.get(database);
    if (known !== undefined && known !== vector && !isCovered(known, vector)) return true;
  }
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
  const richest: PlannerNode[] = [];
  for (const candidate of candidates) {
    const held = holdings(candidate, node);
    const place = richest.findIndex((other) => holdings(other, node) < held);
    if (place >= 0) richest.splice(place, 0, candidate);
    else if (richest.length < COMPARED_RICHEST) richest.push(candidate);
    if (richest.length > COMPARED_RICHEST) richest.pop();
  }
  const step = candidates.length / COMPARED_OTHERS;
  const others = Array.from({ length: COMPARED_OTHERS }, (_, index) => {
    return candidates[(node.id + Math.floor(index * step)) % candidates.length] as PlannerNode;
  });
  return [...richest, ...others];
}

/** How much a node holds of the databases that `of` has, in sequence numbers. */
function holdings(node: PlannerNode, of: PlannerNode): number {
  let sum = 0;
  for (const database of of.vectors.keys()) {
    const vector = node.vectors.get(database);
    if (vector !== undefined) sum += total(vector);
  }
  return sum;
}

const totals = new WeakMap<VersionVector, number>();

/** The sum of a vector's sequences: of two vectors the one that lacks less of their union has the larger one. */
export function total(vector: VersionVector): number {
  let sum = totals.get(vector);
  if (sum === undefined) {
    sum = 0;
    for (const sequence of vector.values()) sum += sequence;
    totals.set(vector, sum);
  }
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
