import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Fleet } from "../src/detection/fleet.ts";
import { FleetEvents } from "../src/events.ts";
import { enrol } from "../src/registry/enrolment.ts";
import { openRegistry, type Registry } from "../src/registry/registry.ts";

describe("what is known of a fleet", () => {
  let directory: string;
  let registry: Registry;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["Date"] });
    directory = mkdtempSync(join(tmpdir(), "scoutsync-fleet-"));
    registry = openRegistry(directory);
  });
  afterEach(() => {
    registry.close();
    rmSync(directory, { recursive: true, force: true });
    vi.useRealTimers();
  });

  it("says when to dial a node again that was heard and could not be dialled, and not sooner", () => {
    const id = enrol(registry, { nodeId: "n1", name: "inside", host: "10.0.0.1", port: 7071, version: "1", run: "r" });
    const fleet = new Fleet(registry, new FleetEvents());
    fleet.markOnline(id);
    const dueAfter = (ms: number) => {
      vi.setSystemTime(Date.now() + ms);
      return fleet.isDueForDialling(id, 1_000);
    };
    expect(dueAfter(5_000), "a node that answers is not dialled for that").toBe(false);
    fleet.setReachable(id, false);
    expect(dueAfter(900)).toBe(false);
    expect(dueAfter(200)).toBe(true);
    fleet.setReachable(id, false);
    expect(dueAfter(900), "it was tried just now").toBe(false);
    expect(dueAfter(200)).toBe(true);
    fleet.setReachable(id, true);
    expect(dueAfter(5_000)).toBe(false);
  });
});
