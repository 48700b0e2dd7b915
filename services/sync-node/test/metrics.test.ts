import { SyncRequest } from "@scoutsync/protocol";
import { expect, test } from "vitest";
import { NODE_METRICS } from "../src/index.ts";
import { collect, startNode } from "./nodes.ts";

test("a node says to Prometheus what it holds and what its sessions moved", async () => {
  const a = await startNode("a", { metrics: "127.0.0.1:0" });
  const b = await startNode("b");
  b.replica.fill("r", 3);
  await collect(a.client.sync(SyncRequest.fromPartial({ peer: b.address })));
  await collect(a.client.sync(SyncRequest.fromPartial({ peer: "127.0.0.1:1" })));
  const url = `http://${a.service.ready.metrics}/metrics`;
  const text = await (await fetch(url)).text();
  for (const { name, type } of Object.values(NODE_METRICS)) expect(text).toContain(`# TYPE ${name} ${type}`);
  for (const line of [
    'scoutsync_node_sessions_total{outcome="completed"} 1',
    'scoutsync_node_sessions_total{outcome="failed"} 1',
    'scoutsync_node_changes_total{direction="received"} 3',
    'scoutsync_node_rows{database="main"} 3',
    'scoutsync_node_database_problem{database="main"} 0',
    "scoutsync_node_session_seconds_count 2",
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  expect((await fetch(url.replace("/metrics", "/else"))).status).toBe(404);
});

test("an address for metrics that is taken is named, and nothing is left running", async () => {
  const a = await startNode("a", { metrics: "127.0.0.1:0" });
  await expect(startNode("b", { metrics: a.service.ready.metrics })).rejects.toMatchObject({ code: "PORT_TAKEN" });
});
