import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Review, unary } from "@scoutsync/protocol";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { comesTrue, eventually, FleetUnderTest, ONCE_MORE } from "./fleet-under-test.ts";
import { Described } from "./described.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";
import type { ScriptedNode } from "./scripted-nodes.ts";

type Json = Record<string, unknown>;

/** Routes of the contract and of the dashboard: their paths as the document writes them. */
const ROUTES = [
  "GET /api/sync/catchup/status",
  "POST /api/sync/catchup/scan",
  "POST /api/sync/sqlite3/sync/{server_id}",
  "GET /api/sync/sqlite3/optimized-changes",
  "POST /api/sync/sqlite3/receive-changes",
  "GET /api/sync/sqlite3/reliability/{server_id}",
  "POST /api/sync/sqlite3/cleanup",
  "GET /api/sync/files/checksums",
  "GET /api/fleet",
  "GET /api/nodes/{id}",
  "POST /api/nodes",
  "DELETE /api/nodes/{id}",
  "POST /api/nodes/{id}/pause",
  "POST /api/nodes/{id}/resume",
  "POST /api/nodes/{id}/sync",
  "POST /api/sync-all",
  "GET /api/jobs",
  "POST /api/jobs/{id}/retry",
  "POST /api/jobs/{id}/cancel",
  "POST /api/jobs/pause",
  "POST /api/jobs/resume",
  "GET /api/review",
  "POST /api/review/{node}/{id}",
  "GET /api/logs",
  "GET /api/config",
  "PUT /api/config",
  "GET /api/events",
];

describe.skipIf(redisProgram === null)("the HTTP API", ONCE_MORE, () => {
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  let described: Described;
  let nodes: ScriptedNode[];
  /** Asks, and checks the answer against the document; a problem must have the shape of a problem. */
  async function ask(method: string, path: string, options: { template?: string; body?: unknown; status?: number } = {}): Promise<Json> {
    const { template = path.split("?")[0] ?? "", body, status = 200 } = options;
    const answer = await fetch(fleet.url(path), {
      method,
      ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    expect(answer.status, `${method} ${path}: ${text.slice(0, 500)}`).toBe(status);
    const expected = described.answer(method, template, status);
    expect(expected, `${method} ${template} is in the document`).toBeDefined();
    if (!expected) {
      if (text !== "") throw new Error(`${method} ${path} answers what is not described`);
      return {};
    }
    expect(answer.headers.get("content-type")).toContain(expected.type);
    const json = JSON.parse(text) as Json;
    expect(described.problems(expected.schema, json), `${method} ${path}`).toEqual([]);
    if (method === "GET" && status === 200) await askOverGrpc(path, template, expected.schema);
    return json;
  }

  /** What can be looked at over HTTP can be looked at over gRPC, by the name in the document, and looks the same. */
  async function askOverGrpc(path: string, template: string, schema: object): Promise<void> {
    const { pathname, searchParams } = new URL(path, "http://coordinator");
    const named = new RegExp(`^${template.replaceAll(/\{(\w+)\}/g, "(?<$1>[^/]+)")}$`).exec(pathname)?.groups ?? {};
    const input = { ...Object.fromEntries(searchParams), ...named };
    const operation = described.document.paths[template]?.["get"]?.operationId ?? "";
    const { answer } = await unary(fleet.client, "ask", { operation, input });
    expect(described.problems(schema, answer), `Ask ${operation}`).toEqual([]);
  }

  beforeAll(async () => {
    redis = await RedisServer.start();
    fleet = await FleetUnderTest.start(redis.url);
    nodes = await fleet.addNodes(3);
    nodes[0]!.write(4);
    await nodes[0]!.heartbeat(fleet.client);
    await fleet.equal(10_000);
    await eventually(async () => (await fleet.status()).converged, 5_000);
    described = await Described.of(fleet.url("/api/openapi.json"));
  });
  afterAll(async () => {
    await fleet.stop();
    await redis.remove();
  });
  // As an attempt that failed may have left it: its changes underway, nobody catching up, a node paused, away or unknown.
  let failed = "";
  beforeEach(async ({ task }) => {
    if (failed !== task.name) return;
    await ask("PUT", "/api/config", { body: { catchup_scheduler_enabled: null, max_retries: null } });
    await ask("POST", "/api/jobs/resume");
    for (const node of nodes) {
      node.reviews = [];
      node.lie = null;
      if (!node.isUp) await node.up();
      const id = String(await node.register(fleet.client));
      await ask("POST", `/api/nodes/${id}/resume`, { template: "/api/nodes/{id}/resume" });
    }
    await ask("POST", "/api/sync-all");
    await fleet.equal(20_000);
  });
  afterEach(({ task }) => void (failed = task.result?.state === "fail" ? task.name : ""));

  it("is described whole: every route, every RPC that it names, and nothing twice", async () => {
    const { document } = described;
    expect(document.openapi).toBe("3.1.0");
    const all = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(ROUTES.filter((route) => !all.includes(route))).toEqual([]);
    const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
    expect(new Set(operations.map((one) => one.operationId)).size).toBe(operations.length);
    const { CoordinatorService } = await import("@scoutsync/protocol");
    const rpcs = new Set(Object.values(CoordinatorService).map((method) => method.path.slice(1)));
    const named = operations.map((one) => one["x-rpc"] ?? `${one.operationId} has none`);
    expect(named.filter((rpc) => !rpcs.has(rpc))).toEqual([]);
    const text = JSON.stringify(document);
    for (const reference of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      expect(document.components.schemas).toHaveProperty(reference[1] ?? "");
    }
  });

  it("shows the fleet: equal, then exactly who lacks what and why", async () => {
    // On a busy machine a node may have answered too late for a moment. Disks come with an answer, heartbeats do not say them.
    await comesTrue(async () => {
      const before = await ask("GET", "/api/fleet");
      expect((before["nodes"] as Json[]).filter(({ disk }) => disk === null)).toEqual([]);
      expect(before["certificate"]).toMatchObject({ converged: true, nodes: 3, behind: [] });
      expect(before["nodes"]).toMatchObject(nodes.map((node) => ({ name: node.name, state: "equal", online: true, missing_changes: 0 })));
    }, 20_000);
    await ask("PUT", "/api/config", { body: { catchup_scheduler_enabled: false } });
    nodes[0]!.write(7);
    await nodes[0]!.heartbeat(fleet.client);
    // Counted when the nodes have answered: on a busy machine one look may come sooner.
    await comesTrue(async () => {
      const after = await ask("GET", "/api/fleet");
      const certificate = after["certificate"] as { converged: boolean; behind: Json[] };
      expect(certificate.converged).toBe(false);
      expect(certificate.behind.map((one) => [one["name"], one["missing_changes"]])).toEqual([
        ["node-2", 7],
        ["node-3", 7],
      ]);
      expect(String(certificate.behind[0]?.["reason"])).toMatch(/Lacks 7 changes, the oldest \d.* switched off/);
      const [source, behind] = after["nodes"] as Json[];
      expect(source).toMatchObject({ state: "equal", missing_changes: 0, unsent_changes: 7 });
      expect(behind).toMatchObject({ state: "behind", missing_changes: 7, unsent_changes: 0, disk: { free_bytes: 60, total_bytes: 100 } });
      expect(behind?.["databases"]).toMatchObject([{ name: "main", missing_changes: 7, unsent_changes: 0 }]);
    }, 10_000);
    await ask("PUT", "/api/config", { body: { catchup_scheduler_enabled: null } });
    await fleet.equal(10_000);
  });

  it("names what paused, offline and broken nodes wait for", async () => {
    const [, second, third] = nodes;
    expect(await ask("POST", "/api/nodes/2/pause", { template: "/api/nodes/{id}/pause" })).toMatchObject({
      node: { state: "paused", paused: true },
    });
    third!.down();
    await comesTrue(async () => {
      const { nodes: seen, certificate } = (await ask("GET", "/api/fleet")) as { nodes: Json[]; certificate: { behind: Json[] } };
      expect(seen[2]?.["state"]).toBe("offline");
      // A paused node is nobody's worry.
      expect(certificate.behind.map((one) => one["name"])).toEqual(["node-3"]);
    }, 5_000);
    nodes[0]!.write(1);
    await nodes[0]!.heartbeat(fleet.client);
    await third!.up();
    await third!.register(fleet.client);
    await fleet.equal(8_000, [nodes[0]!, third!]);
    expect(second!.standing).not.toBe(third!.standing);
    await ask("POST", "/api/nodes/node-2/resume", { template: "/api/nodes/{id}/resume" });
    await fleet.equal(8_000);
  });

  it("shows one node with its sessions from its own side, reliability and alerts", async () => {
    await eventually(
      async () => ((await ask("GET", "/api/nodes/2", { template: "/api/nodes/{id}" }))["sessions"] as Json[]).length > 0,
      5_000,
    );
    const detail = await ask("GET", "/api/nodes/node-1", { template: "/api/nodes/{id}" });
    const sessions = detail["sessions"] as { role: string; database_changes: { sent: number; received: number } }[];
    expect(sessions.length).toBeGreaterThan(0);
    for (const { role, database_changes } of sessions) {
      // Only the first node ever wrote.
      expect(database_changes.received, role).toBe(0);
    }
    expect(sessions.some(({ database_changes }) => database_changes.sent > 0)).toBe(true);
    await ask("GET", "/api/nodes/99", { template: "/api/nodes/{id}", status: 404 });
    // One figure, wherever it is shown; attempts are written a moment after they were made.
    await eventually(async () => {
      const figures = await ask("GET", "/api/sync/sqlite3/reliability/3", { template: "/api/sync/sqlite3/reliability/{server_id}" });
      const { nodes: seen } = (await ask("GET", "/api/fleet")) as { nodes: Json[] };
      // It was away: not every question to it was answered.
      return Number(figures["overall_reliability"]) < 1 && seen[2]?.["reliability"] === figures["overall_reliability"];
    }, 10_000);
  });

  it("adds, syncs and removes nodes", async () => {
    const address = nodes[2]!.address;
    // The third, or what an attempt before made of it.
    const known = ((await ask("GET", "/api/fleet"))["nodes"] as Json[]).find((one) => one["address"] === address);
    await ask("DELETE", `/api/nodes/${String(known?.["id"])}`, { template: "/api/nodes/{id}", status: 204 });
    await ask("POST", "/api/nodes", { body: {}, status: 400 });
    await ask("POST", "/api/nodes", { body: { address: "nonsense" }, status: 400 });
    const { node } = (await ask("POST", "/api/nodes", { body: { address, name: "again" }, status: 201 })) as { node: Json };
    expect(node).toMatchObject({ name: "again", address, online: true, node_id: nodes[2]!.nodeId });
    // Nobody but who asks brings it what is written.
    await ask("PUT", "/api/config", { body: { catchup_scheduler_enabled: false } });
    nodes[0]!.write(2);
    // Who has it is known: any other node may be the source where nobody is known to have more.
    await nodes[0]!.heartbeat(fleet.client);
    const outcome = await ask("POST", `/api/nodes/${String(node["id"])}/sync`, { template: "/api/nodes/{id}/sync" });
    expect(outcome).toMatchObject({ success: true, stats: { remote_changes_received: 2 } });
    const scan = await ask("POST", "/api/sync-all");
    expect(scan).toMatchObject({ message: "Catch-up scan completed", servers_processed: 3 });
    await ask("PUT", "/api/config", { body: { catchup_scheduler_enabled: null } });
    await ask("POST", "/api/sync/catchup/scan", { body: { from: "an old screen" } });
  });

  it("lists logs in pages that neither repeat nor leave out a line", async () => {
    const inPages = async () => {
      const first = (await ask("GET", "/api/logs?page=1&page_size=3")) as { logs: { id: number }[]; total: number; pages: number };
      expect(first.pages).toBe(Math.ceil(first.total / 3));
      const ids: number[] = [];
      for (let page = 1; page <= first.pages; page++) {
        const { logs } = (await ask("GET", `/api/logs?page=${page}&page_size=3`)) as { logs: { id: number }[] };
        ids.push(...logs.map((log) => log.id));
      }
      return { ids, total: first.total };
    };
    // A line that is added meanwhile moves the others to the next page.
    let read = await inPages();
    await eventually(async () => {
      const before = read.total;
      read = await inPages();
      return read.total === before && read.ids.length === before;
    }, 10_000);
    expect([...read.ids].sort((a, b) => b - a)).toEqual(read.ids);
    expect(new Set(read.ids).size).toBe(read.total);
    await ask("GET", "/api/logs?page=0", { status: 400 });
    const ofFailures = (await ask("GET", "/api/logs?status=failed")) as { logs: { status: string }[]; total: number };
    expect(ofFailures.logs.filter(({ status }) => status !== "failed")).toEqual([]);
    expect(ofFailures.total).toBeLessThan(read.total);
  });

  it("changes settings all at once or not at all, and never shows a secret", async () => {
    const refused = await ask("PUT", "/api/config", { body: { max_retries: 9, colour: "red" }, status: 400 });
    expect(refused["detail"]).toContain('There is no setting "colour"');
    const settings = async () => ((await ask("GET", "/api/config"))["settings"] as Json[]).map((one) => [one["key"], one["value"]]);
    expect(await settings()).toContainEqual(["max_retries", "5"]);
    await ask("PUT", "/api/config", { body: { smtp_url: "smtp://user:hunter2@localhost:2525", max_retries: "4" } });
    expect(JSON.stringify(await settings())).not.toContain("hunter2");
    // What a form shows is sent back unchanged.
    await ask("PUT", "/api/config", { body: Object.fromEntries(await settings()) as Json });
    const registry = fleet.outside();
    const row = registry.prepare("SELECT value FROM sync_config WHERE key = 'smtp_url'").get();
    registry.close();
    expect(row).toEqual({ value: "smtp://user:hunter2@localhost:2525" });
    await ask("PUT", "/api/config", { body: Object.fromEntries((await settings()).map(([key]) => [key, null])) });
    expect(await settings()).toContainEqual(["max_retries", "5"]);
  });

  it("lists what wants a person once, though several nodes have it, and carries a decision to the node", async () => {
    const dot = (at: number) => ({
      value: { kind: { $case: "integer" as const, value: BigInt(at) } },
      origin: "a",
      time: "t",
      dot: `x:${at}`,
    });
    const conflict = Review.fromPartial({
      kind: "conflict",
      database: "main",
      table: "note",
      key: "1",
      column: "n",
      winner: dot(1),
      loser: dot(2),
    });
    const kept = Review.fromPartial({ id: "k", kind: "conflict", database: "main", table: "note", key: "7", loser: dot(3) });
    nodes[0]!.reviews = [kept];
    const { reviews: listedKept } = (await ask("GET", "/api/review")) as { reviews: Json[] };
    expect(listedKept, "a deleted row that others refer to").toMatchObject([{ id: "k", decisions: ["winner"] }]);
    nodes[0]!.reviews = [
      Review.create({ ...conflict, id: "c0" }),
      Review.fromPartial({ id: "p", kind: "parked", database: "main", table: "note", key: "9" }),
    ];
    nodes[1]!.reviews = [
      Review.create({ ...conflict, id: "c1" }),
      Review.fromPartial({ id: "q", kind: "parked", database: "main", table: "note", key: "9" }),
    ];
    const list = (await ask("GET", "/api/review")) as { reviews: Json[]; unreachable: Json[] };
    expect(list.reviews).toHaveLength(2);
    expect(list.reviews.find((one) => one["kind"] === "parked")).toMatchObject({ id: "p", also_on: [2], node: { id: 1 } });
    const listed = list.reviews.find((one) => one["kind"] === "conflict");
    expect(listed).toMatchObject({ id: "c0", also_on: [2], node: { id: 1 }, winner: { value: 1 }, loser: { value: 2 } });
    const overGrpc = await unary(fleet.client, "listFleetReviews", { kind: "", node: "", resolved: false });
    const named = overGrpc.reviews.map(({ review, serverId, alsoOn }) => `${review?.id} on ${serverId} and ${alsoOn.join()}`);
    expect(new Set(named)).toEqual(new Set(["c0 on 1 and 2", "p on 1 and 2"]));
    expect(overGrpc.reviews.find(({ review }) => review?.kind === "conflict")?.decisions).toEqual(["winner", "loser", "set"]);
    const decided = await ask("POST", "/api/review/1/c0", {
      template: "/api/review/{node}/{id}",
      body: { set: { n: { integer: "9007199254740993" }, note: "both", nothing: null } },
    });
    expect(decided).toMatchObject({ review: { resolved: true } });
    const kinds = nodes[0]!.decisions[0]?.set.map(({ name, value }) => [name, value?.kind?.$case, value?.kind?.value]);
    expect(kinds).toEqual([
      ["n", "integer", 9007199254740993n],
      ["note", "text", "both"],
      ["nothing", "null", true],
    ]);
    await ask("POST", "/api/review/1/c0", { template: "/api/review/{node}/{id}", body: { keep: "both" }, status: 400 });
    const parked = await unary(fleet.client, "resolveFleetReview", {
      node: "node-1",
      id: "p",
      keep: "",
      set: nodes[0]!.decisions[0]!.set,
      decision: "",
    });
    expect(parked.review).toMatchObject({ serverId: 1n, decisions: [], review: { id: "p", resolved: true } });
    nodes[0]!.reviews = nodes[1]!.reviews = [];
  });

  it("counts rows that may not be what somebody meant among what a node has for people, of each node its own", async () => {
    const counted = async () => {
      const { nodes: seen } = (await ask("GET", "/api/fleet")) as { nodes: { review: number; review_counts: Json }[] };
      return seen.slice(0, 2).map(({ review, review_counts: { identity } }) => [review, identity]);
    };
    nodes[1]!.lie = (truth) => ({ ...truth, databases: truth.databases.map((database) => ({ ...database, notices: 2n })) });
    await nodes[1]!.heartbeatLie(fleet.client);
    await eventually(async () => JSON.stringify(await counted()) === "[[0,0],[2,2]]", 10_000);
    nodes[1]!.lie = null;
    await nodes[1]!.heartbeat(fleet.client);
    await eventually(async () => JSON.stringify(await counted()) === "[[0,0],[0,0]]", 10_000);
    expect(await counted()).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it("pauses, cancels and retries jobs", async () => {
    expect(await ask("POST", "/api/jobs/pause")).toMatchObject({ counts: { paused: true } });
    nodes[0]!.write(1);
    await nodes[0]!.heartbeat(fleet.client);
    const waiting = async () =>
      ((await ask("GET", "/api/jobs"))["jobs"] as { id: string; state: string }[]).filter((job) => job.state !== "completed");
    // One for each of the two that lack it.
    await eventually(async () => (await waiting()).length >= 2, 5_000);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(new Set(nodes.map((node) => node.standing)).size, "a paused queue starts nothing").toBe(2);
    for (const job of await waiting()) await ask("POST", `/api/jobs/${job.id}/cancel`, { template: "/api/jobs/{id}/cancel" });
    await ask("POST", "/api/jobs/resume");
    // A pause is what it takes to see that nothing begins.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(new Set(nodes.map((node) => node.standing)).size, "what was cancelled waits for the next scan").toBe(2);
    await ask("POST", "/api/sync-all");
    await fleet.equal(5_000);
    await ask("POST", "/api/jobs/no-such-job/retry", { template: "/api/jobs/{id}/retry", status: 404 });
  });

  it("says what a cleanup would remove, and removes that", async () => {
    // A session that begins meanwhile has a line of its own.
    await eventually(async () => (await fleet.status()).converged, 10_000);
    const registry = fleet.outside();
    const old = registry.prepare("SELECT min(id) AS id FROM sync_logs").get() as { id: number };
    registry.prepare("UPDATE sync_logs SET created_at = '2020-01-01T00:00:00.000Z' WHERE id = ?").run(old.id);
    const lines = () => (registry.prepare("SELECT count(*) AS n FROM sync_logs").get() as { n: number }).n;
    const before = lines();
    const planned = await ask("POST", "/api/cleanup", { body: { dry_run: true } });
    expect(planned).toMatchObject({ dry_run: true, removed: [{ what: "lines of the log", count: 1 }, {}, {}, {}] });
    expect(lines()).toBe(before);
    const done = await ask("POST", "/api/sync/sqlite3/cleanup");
    const counts = (answer: Json) => (answer["removed"] as Json[]).map((one) => [one["what"], one["count"]]);
    expect(done["dry_run"]).toBe(false);
    expect(counts(done)).toEqual(counts(planned));
    expect(lines()).toBe(before - 1);
    registry.close();
  });

  it("streams a snapshot, then what happens and what of the fleet has changed", async () => {
    await eventually(async () => (await fleet.status()).converged, 10_000);
    const stop = new AbortController();
    const stream = await fetch(fleet.url("/api/events"), { signal: stop.signal });
    expect(stream.headers.get("content-type")).toContain("text/event-stream");
    const messages: { event: string; body: Json }[] = [];
    const reading = (async () => {
      let text = "";
      for await (const piece of stream.body!.pipeThrough(new TextDecoderStream())) {
        text += piece;
        for (let at = text.indexOf("\n\n"); at >= 0; at = text.indexOf("\n\n")) {
          const fields = Object.fromEntries(
            text
              .slice(0, at)
              .split("\n")
              .map((line) => line.split(/: (.*)/s).slice(0, 2)),
          );
          text = text.slice(at + 2);
          if (fields.event) messages.push({ event: fields.event, body: JSON.parse(fields.data) as Json });
        }
      }
    })().catch(() => {});
    await eventually(() => messages.length > 0, 5_000);
    expect(messages[0]).toMatchObject({ event: "snapshot", body: { certificate: { converged: true } } });
    expect(described.problems({ $ref: "#/components/schemas/Fleet" }, messages[0]?.body)).toEqual([]);
    nodes[0]!.write(1);
    await nodes[0]!.heartbeat(fleet.client);
    await fleet.equal(5_000);
    await eventually(() => ["event", "progress", "changes"].every((kind) => messages.some(({ event }) => event === kind)), 5_000);
    // Whoever keeps the snapshot up to date with what changed knows what the fleet says when it is asked.
    const known = (): unknown => {
      const kept = new Map(((messages[0]?.body["nodes"] ?? []) as Json[]).map((node) => [node["id"], node]));
      for (const { event, body } of messages) {
        // As a page does it: a session that began and ended between two looks is heard of here alone.
        if (event === "progress") kept.set(body["server_id"], { ...kept.get(body["server_id"]), session: body["session"] });
        if (event !== "changes") continue;
        for (const node of body["nodes"] as Json[]) kept.set(node["id"], { ...kept.get(node["id"]), ...node });
      }
      return [...kept.values()].map(({ id, state, databases, session }) => ({
        id,
        state,
        session,
        vectors: (databases as Json[]).map(({ vector }) => vector),
      }));
    };
    const asked = async () => {
      const { nodes: now } = (await ask("GET", "/api/fleet")) as { nodes: Json[] };
      return now.map(({ id, state, databases, session }) => ({
        id,
        state,
        session,
        vectors: (databases as Json[]).map(({ vector }) => vector),
      }));
    };
    await eventually(async () => JSON.stringify(known()) === JSON.stringify(await asked()), 10_000);
    stop.abort();
    await reading;
  });

  it("carries out any operation of the table over gRPC, its fields together, and says what does not fit", async () => {
    const asked = (operation: string, input: Record<string, unknown> = {}) => unary(fleet.client, "ask", { operation, input });
    expect((await asked("setConfig", { max_retries: 7 })).answer).toHaveProperty("settings");
    expect((await asked("listLogs", { page: 1, page_size: 2 })).answer).toMatchObject({ page: 1, page_size: 2 });
    await asked("setConfig", { max_retries: null });
    expect((await asked("pauseNode", { id: 2 })).answer).toMatchObject({ node: { id: 2, paused: true } });
    expect((await asked("resumeNode", { id: "node-2" })).answer).toMatchObject({ node: { paused: false } });
    await expect(asked("listLogs", { page: 0 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("page") as string,
    });
    await expect(asked("listLogs", { colour: "red" })).rejects.toThrow(/takes no "colour"/);
    await expect(asked("deleteEverything")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(asked("getNode", { id: "nobody" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await fleet.equal(8_000);
  });

  it("writes down what is done, also where nobody has to be known", async () => {
    const asked = (operation: string, input: Record<string, unknown>) => unary(fleet.client, "ask", { operation, input });
    await asked("pauseNode", { id: 2 });
    await expect(asked("resumeNode", { id: "nobody" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await ask("POST", "/api/nodes/2/resume", { template: "/api/nodes/{id}/resume" });
    await ask("GET", "/api/nodes");
    const lines = readFileSync(join(fleet.directory, "audit.log"), "utf8").trim().split("\n").slice(-4);
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { what: "ask pauseNode", outcome: "done", details: "id 2", who: expect.stringMatching(/^127\./) as string },
      { what: "ask resumeNode", outcome: "done", details: "id nobody" },
      { what: "ask resumeNode", outcome: "failed", details: "id nobody: NOT_FOUND" },
      { what: "POST /api/nodes/2/resume", outcome: "done", who: expect.stringMatching(/^127\./) as string },
    ]);
    await fleet.equal(8_000);
  });

  it("answers nonsense with a problem that says what to do", async () => {
    const answer = await fetch(fleet.url("/api/nothing-here"));
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ code: "NOT_FOUND", action: "See /api/openapi.json." });
    const broken = await fetch(fleet.url("/api/nodes"), { method: "POST", headers: { "content-type": "application/json" }, body: "{" });
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({ detail: expect.stringContaining("not JSON") as string });
    await eventually(async () => (await fleet.status()).converged, 10_000);
  });
});
