import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkRedisUrl, withoutPassword } from "../src/jobs/redis.ts";
import { enrol, enterByHand, findServer } from "../src/registry/enrolment.ts";
import { openRegistry, type Registry } from "../src/registry/registry.ts";

describe("registry", () => {
  let directory: string;
  let registry: Registry;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "scoutsync-registry-"));
    registry = openRegistry(directory);
  });
  afterEach(() => {
    registry.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const introduction = (nodeId: string, port = 7071) => ({ nodeId, name: nodeId, host: "10.0.0.1", port, version: "1", run: "r" });

  it("refuses a file that a newer version wrote, and says so", () => {
    registry.close();
    const file = new Sqlite(registry.path);
    file.pragma("user_version = 99");
    file.close();
    expect(() => openRegistry(directory)).toThrow(/newer version of scoutsync \(schema 99, this program knows 8\)/);
    const again = new Sqlite(registry.path);
    again.pragma("user_version = 8");
    again.close();
    registry = openRegistry(directory);
  });

  it("is durable: WAL and full synchronisation", () => {
    const file = new Sqlite(registry.path);
    expect(file.pragma("journal_mode", { simple: true })).toBe("wal");
    file.close();
  });

  it("hands out epochs that only rise, also from a registry that was made anew", () => {
    const id = enrol(registry, introduction("n1"));
    const now = new Date();
    const first = registry.servers.nextEpoch(id, now);
    const second = registry.servers.nextEpoch(id, new Date(now.getTime() - 60_000));
    expect(second).toBeGreaterThan(first);
    expect(first).toBeGreaterThanOrEqual(now.getTime());
  });

  it("never lets one node be in two sessions, on either end", () => {
    const lease = (lease_id: string, server_id: number, source_id: number) => ({
      lease_id,
      server_id,
      source_id,
      epoch: 1,
      worker: "w",
      log_id: 1,
      acquired_at: "",
      expires_at: "9999",
    });
    registry.leases.insert(lease("one", 1, 2));
    expect(() => registry.transaction(() => registry.leases.insert(lease("two", 3, 1)))).toThrow(/UNIQUE/);
    expect(() => registry.transaction(() => registry.leases.insert(lease("three", 2, 3)))).toThrow(/UNIQUE/);
    expect(registry.leases.busy()).toEqual(new Set([1, 2]));
    registry.leases.remove("one");
    registry.leases.insert(lease("four", 3, 1));
    expect(registry.leases.busy()).toEqual(new Set([1, 3]));
  });

  it("a log line that has ended stays as it is", () => {
    const id = enrol(registry, introduction("n1"));
    const now = new Date();
    const log = registry.logs.open({ serverId: id, sourceId: 2, worker: "w", details: {}, now });
    registry.logs.close(log, "failed", { errors: ["lost"] }, now);
    registry.logs.close(log, "completed", {}, now);
    expect(registry.logs.list({ limit: 5 })).toMatchObject([{ status: "failed", server_name: "n1" }]);
    registry.servers.remove(id);
    expect(registry.logs.list({ limit: 5 }), "history of a removed node stays").toHaveLength(1);
    expect(enrol(registry, introduction("n2")), "ids are not used again").toBeGreaterThan(id);
  });

  it("sees what another process writes at once", () => {
    const other = new Sqlite(registry.path);
    expect(registry.settings.get("catchup_enabled")).toBe(true);
    other.exec("INSERT INTO sync_config (key, value, value_type) VALUES ('catchup_enabled', 'false', 'boolean')");
    expect(registry.settings.get("catchup_enabled")).toBe(false);
    other.exec("UPDATE sync_config SET value = 'nonsense'");
    expect(registry.settings.get("catchup_enabled"), "a value that does not fit counts as not set").toBe(true);
    other.exec("INSERT INTO sync_servers (name, host, port) VALUES ('x', 'h', 1)");
    expect(registry.servers.list()).toMatchObject([{ name: "x", sync_enabled: 1, node_id: null }]);
    other.close();
  });

  it("remembers rows as they stand in the file, through writes of its own, of others, and what was undone", () => {
    const ids = ["n1", "n2", "n3"].map((nodeId, at) => enrol(registry, introduction(nodeId, 7_000 + at)));
    const other = new Sqlite(registry.path);
    const undo = (work: () => void) => {
      const failing = () => {
        work();
        throw new Error("undone");
      };
      try {
        registry.transaction(failing);
      } catch {
        // Thrown above.
      }
    };
    let state = 3;
    const random = (below: number) => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 10) % below;
    for (let step = 0; step < 200; step++) {
      const id = ids[random(ids.length)] ?? 0;
      const kind = random(5);
      if (kind === 0) registry.servers.update(id, { last_error: `own ${step}`, failures: step });
      else if (kind === 1) registry.servers.nextEpoch(id, new Date(step));
      else if (kind === 2)
        other.prepare("UPDATE sync_servers SET sync_enabled = ?, last_error = ? WHERE id = ?").run(step % 2, `other ${step}`, id);
      else if (kind === 3) {
        undo(() => registry.servers.update(id, { last_error: "never", node_id: "nobody" }));
      } else registry.servers.update(id, { node_id: `identity ${step}` });
      const stands = other.prepare("SELECT * FROM sync_servers ORDER BY id").all() as { id: number; node_id: string }[];
      expect(registry.servers.list(), `step ${step}, kind ${kind}`).toEqual(stands);
      for (const row of stands) expect(registry.servers.byNodeId(row.node_id)?.id).toBe(row.id);
      expect(registry.servers.byNodeId("nobody")).toBeNull();
    }
    other.close();
  });

  it("commits together what is asked for together: on disk before anybody hears of it, and each undone alone", async () => {
    const id = enrol(registry, introduction("n1"));
    const other = new Sqlite(registry.path);
    const stored = () => other.prepare("SELECT failures FROM sync_servers WHERE id = ?").pluck().get(id);
    const failing = registry.commit(() => {
      registry.servers.update(id, { failures: 99 });
      throw new Error("this one alone");
    });
    const good = registry.commit(() => {
      registry.servers.update(id, { failures: 7 });
      return "done";
    });
    const refused = failing.catch((error: unknown) => String(error));
    expect(stored(), "not before it is committed").toBe(0);
    expect(await good).toBe("done");
    expect(stored(), "whoever hears of it can rely on it").toBe(7);
    expect(await refused).toBe("Error: this one alone");
    expect(registry.servers.get(id)?.failures).toBe(7);
    // What waits when the registry is closed is not lost.
    const last = registry.commit(() => registry.servers.update(id, { failures: 8 }));
    registry.close();
    await last;
    expect(stored()).toBe(8);
    other.close();
    registry = openRegistry(directory);
  });

  it("knows a node by its identity, wherever it is, and finds it by id, name and address", () => {
    const hand = enterByHand(registry, { name: "", host: "10.0.0.1", port: 7071, enabled: true });
    expect(findServer(registry, "10.0.0.1:7071").id).toBe(hand);
    expect(enrol(registry, introduction("n1"))).toBe(hand);
    expect(enrol(registry, introduction("n1", 9_000))).toBe(hand);
    expect(findServer(registry, "n1").port).toBe(9_000);
    expect(findServer(registry, String(hand)).name).toBe("n1");
    enrol(registry, { ...introduction("n2"), name: "n1" });
    expect(() => findServer(registry, "n1")).toThrow(/names 2 nodes/);
    expect(() => findServer(registry, "nobody")).toThrow(/There is no node "nobody"/);
    expect(() => enrol(registry, introduction("", 1))).toThrow(/without an identity/);
  });
});

describe("redis URLs", () => {
  it("are shown without the password and refused when they are none", () => {
    expect(withoutPassword("redis://user:secret@host:6379/0")).toBe("redis://user:***@host:6379/0");
    expect(() => checkRedisUrl("host:6379")).toThrow(/is not a Redis URL/);
    expect(() => checkRedisUrl("http://host")).toThrow(/is not a Redis URL/);
    checkRedisUrl("rediss://host");
  });
});
