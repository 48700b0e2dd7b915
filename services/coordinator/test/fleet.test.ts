import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseStatus } from "@scoutsync/protocol";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { inequalities, isConverged } from "../src/detection/certificate.ts";
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

  it("calls nobody diverged whose tables or columns are other ones, and whoever has other rows under the same ones", () => {
    const fleet = new Fleet(registry, new FleetEvents());
    const see = (name: string, digest: string, schema: string) => {
      const id = enrol(registry, { nodeId: name, name, host: "10.0.0.1", port: 7000 + name.charCodeAt(0), version: "1", run: "r" });
      fleet.markOnline(id);
      fleet.observe(id, [DatabaseStatus.fromPartial({ name: "main", vector: "aaaaaaaaaaaaaaa2:9", digest, schema })]);
      return id;
    };
    // One server was migrated, the others were not yet; which tables have rows does not matter, nor their order.
    see("a", "d1", "+11111111,+22222222");
    see("b", "d2", "+22222222,33333333");
    const c = see("c", "d2", "33333333,22222222");
    expect([inequalities(fleet.nodes()).size, isConverged(fleet.nodes())]).toEqual([0, true]);
    see("d", "d2", "+33333333,+22222222");
    see("c", "d3", "33333333,22222222");
    expect([[...inequalities(fleet.nodes()).keys()], isConverged(fleet.nodes())]).toEqual([[c], false]);
    expect(inequalities(fleet.nodes()).get(c)?.kind).toBe("diverged");
  });

  it("says where two processes are that take turns under one identity, until one of them is gone; a restart is none of that", () => {
    const id = enrol(registry, { nodeId: "n1", name: "n1", host: "10.0.0.1", port: 7071, version: "1", run: "r" });
    const fleet = new Fleet(registry, new FleetEvents());
    let again = false;
    const speaks = (run: string, address: string | null = null) => {
      vi.setSystemTime(Date.now() + 10_000);
      fleet.heard(id);
      fleet.markOnline(id);
      again = fleet.spoke(id, run, address);
      return inequalities(fleet.nodes()).get(id)?.reason ?? "";
    };
    for (const run of ["r1", "r1", "r2", "r3", "r3"]) expect(speaks(run, "10.0.0.1:7071"), "restarts").toBe("");
    expect(isConverged(fleet.nodes())).toBe(true);
    speaks("copy", "10.0.0.2:7071");
    speaks("r3");
    expect(speaks("copy")).toContain("the one at 10.0.0.1:7071 is synced, the one at 10.0.0.2:7071 is not");
    speaks("r3");
    expect(inequalities(fleet.nodes()).get(id)?.advice).toContain("Stop one of them");
    expect(isConverged(fleet.nodes())).toBe(false);
    const after = Array.from({ length: 8 }, () => speaks("r3"));
    expect(after[0]).toContain("Two nodes run");
    expect(after.at(-1)).toBe("");
    expect(again, "the one that is left says anew where it is").toBe(true);
    speaks("r3", "10.0.0.1:7071");
    speaks("r3");
    expect(again).toBe(false);
    expect(isConverged(fleet.nodes())).toBe(true);
  });
});
