import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { throughMiddle } from "@scoutsync/protocol";
import { createLogger } from "@scoutsync/runtime";
import { runSession } from "@scoutsync/session";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { afterTest } from "../../../packages/session/test/test-replica.ts";
import { ClockKeeper } from "../src/clock/clock-keeper.ts";
import { FleetClock } from "../src/clock/fleet-clock.ts";
import type { NodeContext } from "../src/context.ts";
import { forgetDeleted } from "../src/forgetting.ts";
import { eventually, startNode, type TestNode } from "./nodes.ts";

const SECOND = 1_000_000;
const YEAR = 365 * 86_400 * SECOND;

/** A machine whose clock is set by hand. */
function machine() {
  const state = { wall: 1_700_000_000 * SECOND, up: 1_000 * SECOND };
  return { state, surroundings: { nowUs: () => state.wall, uptimeUs: () => state.up } };
}

const exact = (nodeId: string, offsetUs: number) => ({ nodeId, offsetUs, uncertaintyUs: 1_000 });

describe("the clock that counts", () => {
  const cases: [string, number[], number][] = [
    ["alone", [], 0],
    ["two that agree", [SECOND], 0],
    ["up to five seconds are no matter", [5 * SECOND, 5 * SECOND], 0],
    ["of two, the other one is earlier", [-YEAR], -YEAR],
    ["of two, the one here is earlier", [YEAR], 0],
    ["of three, the one here is ahead", [-YEAR, -YEAR], -YEAR],
    ["of three, the one here is behind", [YEAR, YEAR], YEAR],
    ["of three, another is ahead", [0, YEAR], 0],
    ["of three, another is behind", [0, -YEAR], 0],
    ["of five, two are wrong", [YEAR, -YEAR, 0, 1_000], 0],
  ];
  test.each(cases)("%s", (_name, offsets, correction) => {
    const clock = new FleetClock(machine().surroundings);
    offsets.forEach((offset, i) => clock.measured(exact(`node ${i}`, offset)));
    expect(clock.correctionUs).toBe(correction);
  });

  test("two nodes come to the same, whichever is asked", () => {
    for (const apart of [YEAR, -YEAR]) {
      const [a, b] = [new FleetClock(machine().surroundings), new FleetClock(machine().surroundings)];
      a.measured(exact("b", apart));
      b.measured(exact("a", -apart));
      expect(a.correctionUs).toBe(apart + b.correctionUs);
      for (const clock of [a, b]) expect(clock.warning).toContain("no third to tell");
    }
  });

  test.each([YEAR, -YEAR])("who has met one node only takes its word, once that one has met more (%d µs apart)", (apart) => {
    const clock = new FleetClock(machine().surroundings);
    clock.measured({ ...exact("hub", apart), correctionUs: 0 });
    expect(clock).toMatchObject({ correctionUs: apart, decidedUs: undefined });
    expect(clock.warning).toContain("the clock of this machine is 365 days");
    clock.measured({ ...exact("hub", apart), correctionUs: -apart });
    expect(clock.correctionUs).toBe(0);
    expect(clock.warning).toContain("the clock of node hub is 365 days");
    // Nothing is said any more: it has been started anew and has met nobody but this one.
    clock.measured({ ...exact("hub", apart), uncertaintyUs: 500_000 });
    expect(clock.correctionUs).toBe(Math.min(0, apart));
    // With two others it decides by itself, and says so.
    clock.measured({ ...exact("hub", apart), correctionUs: -apart });
    clock.measured(exact("third", 0));
    expect(clock).toMatchObject({ correctionUs: 0, decidedUs: 0 });
  });

  test("a node counts once however often it is met, by its latest word", () => {
    const clock = new FleetClock(machine().surroundings);
    for (let i = 0; i < 5; i++) clock.measured(exact("wrong", YEAR));
    clock.measured(exact("right", 0));
    expect(clock.correctionUs).toBe(0);
    clock.measured(exact("wrong", 10));
    expect(clock.warning).toBe("");
  });

  test("an offset that the way explains is none", () => {
    const clock = new FleetClock(machine().surroundings);
    clock.measured({ nodeId: "far", offsetUs: -8 * SECOND, uncertaintyUs: 10 * SECOND });
    expect(clock.correctionUs).toBe(0);
    clock.measured({ nodeId: "far", offsetUs: -8 * SECOND, uncertaintyUs: SECOND });
    expect(clock.correctionUs).toBe(-8 * SECOND);
  });

  test("what was measured before the clock was set is void", () => {
    const { state, surroundings } = machine();
    const clock = new FleetClock(surroundings);
    clock.measured(exact("a", -YEAR));
    state.wall -= YEAR;
    expect(clock.look()).toBe(-YEAR);
    expect(clock).toMatchObject({ correctionUs: 0, compared: 0, warning: "" });
    state.wall += 60 * SECOND;
    state.up += 60 * SECOND;
    expect(clock.look()).toBe(0);
  });

  test("a question that took its time on the way is measured from its middle", () => {
    const reading = { nodeId: "b", receivedUs: 1_000_300n, sentUs: 1_000_500n };
    expect(throughMiddle(1_000_000, reading, 1_000_400)).toEqual({ nodeId: "b", offsetUs: 200, uncertaintyUs: 100 });
  });
});

describe("what is kept over a restart", () => {
  function keeper(surroundings: ReturnType<typeof machine>["surroundings"], dataDirectory: string): ClockKeeper {
    return new ClockKeeper({ nodeId: "here", dataDirectory, logger: createLogger("test", "silent"), surroundings });
  }

  test("is the correction, unless the clock was set meanwhile", () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), "scoutsync-clock-"));
    afterTest(() => rmSync(dataDirectory, { recursive: true, force: true }));
    const { state, surroundings } = machine();
    keeper(surroundings, dataDirectory).measured(exact("a", -YEAR));
    state.wall += 60 * SECOND;
    state.up += 60 * SECOND;
    expect(keeper(surroundings, dataDirectory).correctionUs).toBe(-YEAR);
    state.wall -= YEAR;
    expect(keeper(surroundings, dataDirectory).correctionUs).toBe(0);
  });
});

test("a hub that is started anew goes by all clocks it had measured, not by the one it meets first", () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), "scoutsync-clock-"));
  afterTest(() => rmSync(dataDirectory, { recursive: true, force: true }));
  const { state, surroundings } = machine();
  const start = () => new ClockKeeper({ nodeId: "hub", dataDirectory, logger: createLogger("test", "silent"), surroundings });
  const before = start();
  before.measured(exact("wrong", -YEAR));
  before.measured(exact("right", 0));
  expect(before.correctionUs).toBe(0);
  state.wall += 60 * SECOND;
  state.up += 60 * SECOND;
  const hub = start();
  hub.measured(exact("wrong", -YEAR));
  expect(hub).toMatchObject({ correctionUs: 0, decidedUs: 0 });
  // Long afterwards they may be gone.
  state.wall += 2 * 3_600 * SECOND;
  state.up += 2 * 3_600 * SECOND;
  expect(start().decidedUs).toBeUndefined();
  // After another start of the machine nothing of it holds.
  state.up = 5 * SECOND;
  expect(start().status.compared).toBe(0);
});

describe("nodes whose clocks differ", () => {
  const wrong = (offUs: number) => ({ nowUs: () => Date.now() * 1000 + offUs, uptimeUs: () => performance.now() * 1000 });
  const session = (from: TestNode, to: TestNode) =>
    runSession({
      databases: [{ replica: from.replica, acquaintances: from.acquaintances }],
      peer: to.connect(from),
      nodeName: "test",
      named: true,
    });

  test.each([
    ["asks", true],
    ["is asked", false],
  ])("find it out at the first contact, when the one that is ahead %s", async (_who, asks) => {
    const a = await startNode("a", {}, undefined, wrong(YEAR));
    const b = await startNode("b");
    await (asks ? session(a, b) : session(b, a));
    expect(Number((await a.client.ping()).clock?.correctionUs)).toBeCloseTo(-YEAR, -8);
    expect((await b.client.ping()).clock).toMatchObject({ correctionUs: 0n, compared: 1 });
    for (const node of [a, b]) expect((await node.client.ping()).clock?.warning).toContain("365 days apart");
    await eventually("the database knows", () => a.replica.correctionUs < -YEAR + 60 * SECOND);
  });

  test.each([YEAR, -YEAR])(
    "of nodes around a hub the one that is off stamps by the others' time, though it has met only the hub (%d µs)",
    async (off) => {
      const [hub, right] = [await startNode("hub"), await startNode("right")];
      const spoke = await startNode("wrong", {}, undefined, wrong(off));
      for (const node of [spoke, right, spoke]) await session(node, hub);
      for (const [node, correction] of [
        [hub, 0],
        [right, 0],
        [spoke, -off],
      ] as const) {
        expect(Math.abs(Number((await node.client.ping()).clock?.correctionUs) - correction)).toBeLessThan(10 * SECOND);
      }
      await eventually("the database knows", () => Math.abs(spoke.replica.correctionUs + off) < 10 * SECOND);
    },
  );

  test("that agree say nothing", async () => {
    const [a, b] = [await startNode("a"), await startNode("b")];
    await session(a, b);
    for (const node of [a, b]) expect((await node.client.ping()).clock).toMatchObject({ correctionUs: 0n, compared: 1, warning: "" });
  });

  test("in live contact learn of each other by themselves", async () => {
    const a = await startNode("a");
    await startNode("b", { peers: [a.address] }, undefined, wrong(YEAR));
    await eventually("a has heard of b's clock", () => a.clock.status.compared === 1);
    expect(a.clock.status.warning).toContain("apart");
  });
});

test("nothing is forgotten by itself while nobody has said whether the clock is right, since the start or since it was set", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const dataDirectory = mkdtempSync(join(tmpdir(), "scoutsync-clock-"));
  afterTest(() => rmSync(dataDirectory, { recursive: true, force: true }));
  const { state, surroundings } = machine();
  const logger = createLogger("test", "silent");
  const clock = new ClockKeeper({ nodeId: "here", dataDirectory, logger, surroundings });
  const asked: unknown[] = [];
  const forget = (kind: string) => async (options: object) => {
    asked.push({ kind, ...options });
    return { forgotten: 0, awaited: 0, keptFor: [], versions: { files: 0 }, partial: { files: 0 } };
  };
  const all = (kind: string) => ({ all: () => [kind === "rows" ? { replica: { forget: forget(kind) } } : { forget: forget(kind) }] });
  const stopping = new AbortController();
  const context = { retentionDays: 30, databases: all("rows"), files: all("files"), clock, logger } as unknown as NodeContext;
  const over = forgetDeleted(context, stopping.signal);
  const hour = async () => {
    asked.length = 0;
    await vi.advanceTimersByTimeAsync(3_600_000);
    return asked.length;
  };
  expect(await hour()).toBe(0);
  clock.measured(exact("there", 0));
  expect(await hour()).toBe(2);
  state.wall += YEAR;
  expect(await hour()).toBe(0);
  clock.measured(exact("there", -YEAR));
  clock.measured(exact("third", -YEAR));
  expect(await hour()).toBe(2);
  expect(asked).toContainEqual({ kind: "files", retentionDays: 30, dryRun: false, correctionUs: -YEAR });
  stopping.abort();
  await over;
});
