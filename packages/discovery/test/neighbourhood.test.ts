import { createLogger } from "@scoutsync/runtime";
import { boundOf } from "@scoutsync/testkit";
import { afterEach, expect, test, vi } from "vitest";
import { Neighbourhood, type Neighbour, type Presence } from "../src/index.ts";

const leaving: Neighbourhood[] = [];
afterEach(async () => {
  for (const one of leaving.splice(0)) await one.stop();
});

const fleet = `test${process.pid}`;
const there = (presence: Partial<Presence>, onFound: (neighbour: Neighbour) => void = () => {}) => {
  const one = new Neighbourhood({
    presence: { role: "node", id: "a", name: "a", port: 7071, fleet, ...presence },
    interface: "127.0.0.1",
    logger: createLogger("test", "silent"),
    onFound,
  });
  leaving.push(one);
  return one;
};
const mine = (neighbours: readonly Neighbour[]) =>
  neighbours.filter((one) => one.fleet === fleet).map(({ id, role, address }) => `${role} ${id} ${address}`);
const soon = { timeout: boundOf(60_000), interval: 1_000 };

test(
  "who is on the network is found with address and fleet, whoever came first; oneself is not; who leaves is gone",
  { timeout: boundOf(400_000) },
  async () => {
    const heard: Neighbour[] = [];
    const first = there({ id: "first", port: 7001 }, (neighbour) => heard.push(neighbour));
    const second = there({ id: "second", role: "coordinator", port: 7002 });
    await vi.waitFor(() => expect(mine(first.found)).toEqual(["coordinator second 127.0.0.1:7002"]), soon);
    await vi.waitFor(() => expect(mine(second.found)).toEqual(["node first 127.0.0.1:7001"]), soon);
    expect(mine(heard)).toEqual(["coordinator second 127.0.0.1:7002"]);
    // Who goes on saying that he is there was heard just now.
    const seenAt = () => second.found.find(({ id, fleet: of }) => id === "first" && of === fleet)?.seenAt.getTime() ?? 0;
    const before = seenAt();
    await vi.waitFor(() => expect(seenAt()).toBeGreaterThan(before), { timeout: boundOf(120_000), interval: 1_000 });
    leaving.splice(leaving.indexOf(second), 1);
    await second.stop();
    await vi.waitFor(() => expect(mine(first.found)).toEqual([]), soon);
    // The same one at another port, as after a restart.
    there({ id: "second", role: "coordinator", port: 7003 });
    await vi.waitFor(() => expect(mine(first.found)).toEqual(["coordinator second 127.0.0.1:7003"]), soon);
  },
);
