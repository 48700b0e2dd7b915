import { unary } from "@scoutsync/protocol";
import { boundOf } from "@scoutsync/testkit";
import { afterEach, describe, expect, it } from "vitest";
import { ONCE_MORE, QUICK } from "./fleet-under-test.ts";
import { LargeFleet, type Attempt } from "./large-fleet.ts";
import { redisProgram } from "./redis-server.ts";

/** The same with 1,000 nodes and the product's timing: thousand.ts. */
const NODES = 60;
const SEED = 11;
/** Sessions at once: fewer than nodes that want one, so that who asks when one is free gets it by chance unless it is kept. */
const PLACES = 8;

describe.skipIf(redisProgram === null)(`a fleet of ${NODES} (seed ${SEED})`, ONCE_MORE, () => {
  let fleet: LargeFleet;
  afterEach(async () => fleet.stop());

  it("is brought up to date in few sessions by two workers, of which one is killed, while nodes come and go", async () => {
    fleet = await LargeFleet.start(NODES, SEED, { ...QUICK, idleMs: boundOf(30_000), pingDeadlineMs: 4_000 });
    const worker = fleet.startWorker();
    const own = (name: string) => name.includes(`:${worker.pid}:`);
    await fleet.automatic(false);
    await unary(fleet.client, "setSetting", { key: "max_concurrent_sessions", value: String(PLACES) });
    await fleet.tell({ do: "pace", sessionMs: 3_000 });
    await fleet.tell({ do: "write", nodes: fleet.some(1.1) });
    const away = fleet.some(0.1);
    await fleet.tell({ do: "down", nodes: away });
    await fleet.automatic(true);
    const scan = fleet.scan();
    const until = Date.now() + boundOf(120_000);
    // In the middle: its line is written before the node hears of it.
    const isRunning = ({ worker: name, status, openedAt }: Attempt) => own(name) && status === "in_progress" && Date.now() - openedAt > 500;
    while (!fleet.attempts().some(isRunning)) {
      expect(Date.now(), "the second worker never had a session").toBeLessThan(until);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const killedAt = Date.now();
    await fleet.kill(worker);
    await fleet.tell({ do: "pace", sessionMs: 50 });
    let { done, of, errors } = await scan;
    // On a busy machine a node may have answered too late: the next one finds it.
    for (let more = 0; more < 3 && done < NODES - away.length && errors.every((text) => /answer|reach/.test(text)); more++)
      ({ done, of, errors } = await fleet.scan());
    expect(of).toBe(NODES);
    expect(done, `only those that are away are not done: ${errors.join("; ")}`).toBe(NODES - away.length);
    await fleet.tell({ do: "up", nodes: away });
    const standing = await fleet.equal(40_000);
    expect(standing.overlaps, "two sessions at once on a node").toBe(0);
    expect(standing.sessions).toBeLessThanOrEqual(Math.ceil(NODES * Math.log2(NODES)) + 2 * NODES);
    // By what the nodes saw: none of those whose session was lost was left out.
    const delays = await fleet.delaysAfter(worker, killedAt);
    expect(delays.length, "the killed worker had no session").toBeGreaterThan(0);
    const left = delays.filter(({ delayMs }) => delayMs === null).map(({ lost }) => lost.serverName);
    expect(left, "never had another session").toEqual([]);
    const attempts = fleet.attempts();
    expect(attempts.length, "an attempt without a line").toBeGreaterThanOrEqual(standing.sessions);
    expect(new Set(attempts.map((attempt) => attempt.worker)).size, "both workers had sessions").toBe(2);
  });
});
