import { describe, expect, it } from "vitest";
import { ToldFleet, type FleetChanges } from "../src/http/fleet-changes.ts";

type Fleet = Parameters<ToldFleet["changes"]>[0];
type Node = Fleet["nodes"][number];

function nodeOf(id: number): Node {
  return {
    id,
    name: `node-${id}`,
    node_id: String(id),
    address: `10.0.0.1:${id}`,
    host: "10.0.0.1",
    port: id,
    version: "1",
    state: "equal",
    state_reason: "",
    online: true,
    reachable: true,
    paused: false,
    missing_changes: 0,
    oldest_missing_age_s: 0,
    unsent_changes: 0,
    oldest_unsent_age_s: 0,
    pending: 0,
    last_sync: null,
    last_ping: null,
    ping_success: true,
    last_seen: null,
    clock_offset_ms: 0,
    round_trip_ms: 0,
    reliability: 1,
    review: 0,
    review_counts: { conflict: 0, parked: 0, quarantine: 0, file: 0, schema: 0, identity: 0 },
    advice: "",
    disk: null,
    databases: [],
    files: [],
    session: null,
    failures: 0,
    last_error: "",
  };
}

function fleetOf(nodes: Node[]): Fleet {
  return {
    certificate: { converged: true, since: "", nodes: nodes.length, vectors: {}, behind: [] },
    nodes,
    jobs: { waiting: 0, active: 0, delayed: 0, failed: 0, completed: 0, paused: false, problem: "" },
    alerts: [],
    timestamp: "",
  };
}

function apply(kept: Map<number, Node>, changes: FleetChanges | null): void {
  for (const node of changes?.nodes ?? []) kept.set(node.id, { ...(kept.get(node.id) as Node), ...node });
  for (const id of changes?.removed ?? []) kept.delete(id);
}

describe("what those who watch are told", () => {
  it("keeps a reader equal in all but what moves all the time, through any changes", () => {
    let state = 5;
    const random = (below: number) => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 10) % below;
    let nodes = Array.from({ length: 100 }, (_, index) => nodeOf(index + 1));
    const told = new ToldFleet();
    const kept = new Map<number, Node>();
    for (let round = 0; round < 300; round++) {
      nodes = nodes.map((node) => ({ ...node, last_seen: `${round}`, round_trip_ms: random(50) }));
      for (let change = random(5); change > 0; change--) {
        const at = random(nodes.length);
        const node = nodes[at] as Node;
        const kind = random(4);
        if (kind === 0) nodes[at] = { ...node, missing_changes: random(9), state: random(2) === 0 ? "behind" : "equal" };
        else if (kind === 1)
          nodes[at] = {
            ...node,
            session: random(2) === 0 ? null : { job_id: "", peer: "x", role: "node", database: "", phase: "", done: random(9), total: 9 },
          };
        else if (kind === 2) nodes = nodes.filter((_, index) => index !== at);
        else nodes = [...nodes, nodeOf(1_000 + round * 10 + change)];
      }
      apply(kept, told.changes(fleetOf(nodes)));
      const steady = (node: Node) => ({ ...node, last_seen: "", round_trip_ms: 0 });
      expect([...kept.values()].map(steady).toSorted((a, b) => a.id - b.id)).toEqual(nodes.map(steady).toSorted((a, b) => a.id - b.id));
    }
  });

  it("says that a session is over that began and ended between two looks, to those who were told of it", () => {
    const told = new ToldFleet();
    const nodes = [nodeOf(1), nodeOf(2)];
    told.changes(fleetOf(nodes));
    told.heardOf(2, { job_id: "", peer: "x", role: "node", database: "", phase: "pull", done: 3, total: 3 });
    expect(told.changes(fleetOf(nodes))?.nodes).toEqual([{ id: 2, session: null }]);
    expect(told.changes(fleetOf(nodes))).toBe(null);
  });

  it("says of a thousand nodes only what changed, and refreshes what moves all the time little by little", () => {
    const told = new ToldFleet();
    const quiet = (round: number): Node[] => Array.from({ length: 1_000 }, (_, index) => ({ ...nodeOf(index + 1), last_seen: `${round}` }));
    told.changes(fleetOf(quiet(0)));
    const refreshed = new Set<number>();
    for (let round = 1; round <= 50; round++) {
      const nodes = quiet(round);
      nodes[6] = { ...(nodes[6] as Node), missing_changes: round };
      const changes = told.changes(fleetOf(nodes));
      expect(JSON.stringify(changes).length).toBeLessThan(2_000);
      expect(changes?.nodes.find(({ id }) => id === 7)).toEqual({ id: 7, missing_changes: round, last_seen: `${round}` });
      for (const { id } of changes?.nodes ?? []) refreshed.add(id);
    }
    expect(refreshed.size).toBe(1_000);
  });

  it("leaves long vectors to the page of their node", () => {
    const databases = ["a".repeat(3_000), "a:1"].map((vector, index) => ({ name: `${index}`, vector }) as Node["databases"][number]);
    const { nodes } = ToldFleet.shortened(fleetOf([{ ...nodeOf(1), databases }]));
    expect(nodes[0]?.databases.map(({ vector }) => vector)).toEqual(["", "a:1"]);
  });
});
