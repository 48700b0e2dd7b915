import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { RunningSessions } from "../src/jobs/running-sessions.ts";
import { SessionPlaces } from "../src/jobs/session-places.ts";
import { openRegistry } from "../src/registry/registry.ts";

it("keeps a place for a node whose session was lost, from all others and for as long as it has not come", () => {
  const directory = mkdtempSync(join(tmpdir(), "scoutsync-places-"));
  const registry = openRegistry(directory, { max_concurrent_sessions: "2" });
  try {
    const running = new RunningSessions();
    const places = new SessionPlaces(registry.settings, running);
    running.began({ leaseId: "a", jobId: "1", serverId: 1, sourceId: 2 });
    expect([places.isFullFor(5), places.isFullFor(6)]).toEqual([false, false]);
    for (const node of [5, 6, 7]) places.keepFor(node);
    expect(
      [5, 6, 7, 8].map((node) => places.isFullFor(node)),
      "several whose places are kept do not keep each other out",
    ).toEqual([false, false, false, true]);
    const began = places.open();
    expect([places.isFull, places.isFullFor(5)], "never more than there are").toEqual([true, true]);
    began();
    for (const node of [5, 6, 7]) places.settled(node);
    expect(places.isFullFor(8)).toBe(false);
  } finally {
    registry.close();
    rmSync(directory, { recursive: true, force: true });
  }
});
