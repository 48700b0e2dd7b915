import { equalVectors, join, type VersionVector } from "@scoutsync/core";
import { describe, expect, it } from "vitest";
import { chooseSource, isBetterLater, lacks, planRound, union, wealthOf, type PlannerNode } from "../src/planner/plan.ts";

/** mulberry32: small, seeded, good enough to shuffle fleets. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface SimulatedNode extends PlannerNode {
  vectors: Map<string, VersionVector>;
}

function originOf(index: number): string {
  return index
    .toString(32)
    .replace(/[0189]/g, "z")
    .padStart(16, "a");
}

/** n nodes with two databases; each wrote on its own, and some have already seen some of the others. */
function randomFleet(n: number, random: () => number): SimulatedNode[] {
  return Array.from({ length: n }, (_, id) => {
    const vectors = new Map<string, VersionVector>();
    for (const database of ["main", "users"]) {
      const vector = new Map<string, number>([[originOf(id + 40), 1 + Math.floor(random() * 100)]]);
      for (let other = 0; other < n; other++) {
        if (random() < 0.1) vector.set(originOf(other + 40), 1 + Math.floor(random() * 100));
      }
      vectors.set(database, vector);
    }
    return { id, vectors };
  });
}

function runSession(a: SimulatedNode, b: SimulatedNode): void {
  const joined = new Map([...a.vectors].map(([database, vector]) => [database, join(vector, b.vectors.get(database) ?? new Map())]));
  a.vectors = joined;
  b.vectors = joined;
}

function expectAllEqual(fleet: SimulatedNode[]): void {
  const all = union(fleet);
  for (const node of fleet) {
    for (const [database, vector] of node.vectors) expect(equalVectors(vector, all.get(database)!)).toBe(true);
  }
}

describe("planner", () => {
  for (const n of [2, 3, 5, 8, 17, 50, 120]) {
    it(`makes ${n} nodes with random vectors equal in at most n log2 n sessions and few rounds`, () => {
      for (let seed = 1; seed <= 5; seed++) {
        const fleet = randomFleet(n, seeded(seed * 1_000 + n));
        let sessions = 0;
        let rounds = 0;
        for (;;) {
          const plan = planRound(fleet);
          if (plan.length === 0) break;
          const taking = plan.flatMap((session) => [session.node, session.source]);
          expect(new Set(taking).size, `seed ${seed}: a node is in two sessions`).toBe(taking.length);
          for (const { node, source } of plan) runSession(fleet[node]!, fleet[source]!);
          sessions += plan.length;
          rounds++;
        }
        expectAllEqual(fleet);
        const bound = Math.ceil(n * Math.max(1, Math.log2(n)));
        expect(sessions, `seed ${seed}`).toBeLessThanOrEqual(bound);
        expect(rounds, `seed ${seed}`).toBeLessThanOrEqual(3 * Math.ceil(Math.log2(n)) + 1);
      }
    });
  }

  it("stays below n log2 n when nodes ask one by one, in any order, while others are busy", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const random = seeded(seed);
      const n = 60;
      const fleet = randomFleet(n, random);
      const running: { node: number; source: number }[] = [];
      let sessions = 0;
      for (;;) {
        const all = union(fleet);
        const busy = new Set(running.flatMap((session) => [session.node, session.source]));
        const asking = fleet.filter((node) => !busy.has(node.id) && lacks(node, all));
        const node = asking[Math.floor(random() * asking.length)];
        const free = fleet.filter((other) => !busy.has(other.id));
        const source = node === undefined || running.length >= 10 ? null : chooseSource(node, free);
        if (node !== undefined && source !== null && random() < 0.7) {
          running.push({ node: node.id, source: source.id });
          sessions++;
          continue;
        }
        const [ended] = running.splice(Math.floor(random() * running.length), 1);
        if (ended === undefined) {
          if (asking.length === 0) break;
          continue;
        }
        runSession(fleet[ended.node]!, fleet[ended.source]!);
      }
      expectAllEqual(fleet);
      expect(sessions, `seed ${seed}`).toBeLessThanOrEqual(Math.ceil(n * Math.log2(n)));
    }
  });

  it("needs one session per node that was away when the others are equal", () => {
    const complete = new Map([[originOf(50), 1000]]);
    const fleet: SimulatedNode[] = Array.from({ length: 6 }, (_, id) => ({ id, vectors: new Map([["main", complete]]) }));
    fleet[4]!.vectors.set("main", new Map([[originOf(50), 10]]));
    fleet[5]!.vectors.set("main", new Map());
    const plan = planRound(fleet);
    expect(plan.map((session) => session.node).sort((a, b) => a - b)).toEqual([4, 5]);
    expect(new Set(plan.map((session) => session.source)).size).toBe(2);
  });

  it("leaves busy nodes alone and says nothing when there is nothing to do", () => {
    const fleet: SimulatedNode[] = [
      { id: 1, vectors: new Map([["main", new Map([[originOf(50), 5]])]]) },
      { id: 2, vectors: new Map([["main", new Map()]]) },
      { id: 3, vectors: new Map([["other", new Map([[originOf(51), 5]])]]) },
    ];
    expect(planRound(fleet, new Set([1]))).toEqual([]);
    expect(planRound(fleet)).toEqual([{ node: 2, source: 1 }]);
    fleet[1]!.vectors.set("main", new Map([[originOf(50), 5]]));
    expect(planRound(fleet)).toEqual([]);
  });
});

describe("waiting for a better source", () => {
  const node = (id: number, ...origins: number[]): PlannerNode => {
    return { id, vectors: new Map([["main", new Map(origins.map((origin) => [originOf(origin), 10]))]]) };
  };
  const first = (count: number) => Array.from({ length: count }, (_, origin) => origin);
  const poor = Array.from({ length: 40 }, (_, index) => node(100 + index));
  const richest = node(1, ...first(20));
  const half = node(2, ...first(12));
  const most = node(3, ...first(18));

  it("is for nodes of a large fleet that have nothing to give, where the source has only a part", () => {
    const wealth = wealthOf([richest, half, most, ...poor]);
    expect(isBetterLater(node(9, 0), half, wealth)).toBe(true);
    expect(isBetterLater(node(9, 0), most, wealth), "it has most of what is lacking").toBe(false);
    expect(isBetterLater(node(9, 77), half, wealth), "it has what the richest lacks").toBe(false);
    expect(isBetterLater(node(9, 0), half, wealthOf([richest, half, most])), "a small fleet").toBe(false);
  });

  it("saves sessions where all have written and few may run at once, and ends", () => {
    const count = (patient: boolean) => {
      const random = seeded(7);
      const fleet: SimulatedNode[] = first(200).map((id) => ({
        id,
        vectors: new Map([["main", new Map([[originOf(id), 1 + Math.floor(random() * 9)]])]]),
      }));
      let running: [SimulatedNode, SimulatedNode][] = [];
      let sessions = 0;
      for (let turn = 0; turn < 100_000; turn++) {
        const busy = new Set(running.flat().map(({ id }) => id));
        const wealth = wealthOf(fleet);
        for (let tries = 0; tries < 40 && running.length < 16; tries++) {
          const asking = fleet[Math.floor(random() * fleet.length)] as SimulatedNode;
          if (busy.has(asking.id)) continue;
          const source = chooseSource(
            asking,
            fleet.filter(({ id }) => !busy.has(id)),
          );
          if (source === null || (patient && running.length > 0 && isBetterLater(asking, source, wealth))) continue;
          running.push([asking, source as SimulatedNode]);
          busy.add(asking.id).add(source.id);
        }
        if (running.length === 0 && fleet.every((one) => !lacks(one, wealth.all))) return sessions;
        for (const [a, b] of running) runSession(a, b);
        sessions += running.length;
        running = [];
      }
      throw new Error("the fleet never became equal");
    };
    const patient = count(true);
    expect(patient).toBeLessThanOrEqual(200 * Math.log2(200));
    expect(patient).toBeLessThan(0.9 * count(false));
  });
});
