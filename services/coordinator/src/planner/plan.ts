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
    if (offered === undefined || offered === have) continue;
    for (const [origin, sequence] of offered) sum += Math.max(0, sequence - (have.get(origin) ?? 0));
  }
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

/**
 * The best partner for `node` among `candidates`: the one it gains most from; among equals the one that gains most in
 * return, because one session then does the work of two. Remaining ties are spread over the candidates by id, so that
 * a hundred returning nodes do not all queue for the same source. Null when nobody has anything for it.
 */
export function chooseSource(node: PlannerNode, candidates: readonly PlannerNode[]): PlannerNode | null {
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
