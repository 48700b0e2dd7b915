import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CoordinatorClient, createClient, unary } from "@scoutsync/protocol";
import { startCoordinator } from "../src/index.ts";
import { quietLogger } from "./fleet-under-test.ts";
import { RedisServer } from "./redis-server.ts";
import type { FleetCommand, FleetStanding } from "./simulated-fleet.ts";

// How a coordinator with one worker does with a large fleet: `node services/coordinator/test/thousand.ts [--nodes 1000] [--seed 1]`.
// Real gRPC servers, in a process of their own, whose databases are vectors in memory; a real Redis; the product's own timing.

const { values } = parseArgs({ options: { nodes: { type: "string", default: "1000" }, seed: { type: "string", default: "1" } } });
const n = Number(values.nodes);
let state = Number(values.seed);
const random = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
const some = (share: number) => Array.from({ length: n }, (_, index) => index).filter(() => random() < share);

const directory = mkdtempSync(join(tmpdir(), "scoutsync-thousand-"));
const redis = await RedisServer.start();
const coordinator = await startCoordinator({
  listen: "127.0.0.1:0",
  http: null,
  redis: redis.url,
  dataDirectory: directory,
  logger: quietLogger(),
});
const client = createClient(coordinator.ready.listen, CoordinatorClient);
const fleet = fork(fileURLToPath(new URL("simulated-fleet.ts", import.meta.url)));

type Order = FleetCommand extends infer C ? (C extends FleetCommand ? Omit<C, "call"> : never) : never;
let calls = 0;
function tell(order: Order): Promise<FleetStanding> {
  const call = ++calls;
  return new Promise((resolve, reject) => {
    const listen = (answer: { call: number; standing?: FleetStanding; error?: string }) => {
      if (answer.call !== call) return;
      fleet.off("message", listen);
      if (answer.standing === undefined) reject(new Error(answer.error));
      else resolve(answer.standing);
    };
    fleet.on("message", listen);
    fleet.send({ ...order, call });
  });
}
const seconds = (since: number) => ((performance.now() - since) / 1_000).toFixed(2);
const bound = Math.ceil(n * Math.log2(n));
const scan = () => unary(client, "scan", { noWait: false }, { deadlineMs: 600_000 });
const automatic = (on: boolean) => unary(client, "setSetting", { key: "catchup_scheduler_enabled", value: String(on) });
let failed = false;
const report = (what: string, value: string, holds: boolean) => {
  if (!holds) failed = true;
  console.log(`${holds ? "ok  " : "FAIL"} ${what}: ${value}`);
};

try {
  let began = performance.now();
  await tell({ do: "start", nodes: n, coordinator: coordinator.ready.listen });
  console.log(`     ${n} nodes registered in ${seconds(began)} s`);
  await scan();
  began = performance.now();
  await scan();
  const took = seconds(began);
  report("a scan of an equal fleet over warm connections", `${took} s (at most 5)`, Number(took) <= 5);

  await automatic(false);
  const writers = some(0.1);
  await tell({ do: "write", nodes: writers });
  const away = some(0.05);
  await tell({ do: "down", nodes: away });
  let before = (await tell({ do: "standing" })).sessions;
  began = performance.now();
  await automatic(true);
  await scan();
  let after = await tell({ do: "standing" });
  report(
    "a tenth wrote, a twentieth away: the others equal",
    `${seconds(began)} s, ${after.sessions - before} sessions, ${after.standings} standing`,
    after.standings === 1 && after.sessions - before <= bound,
  );
  before = after.sessions;
  began = performance.now();
  await tell({ do: "up", nodes: away });
  while ((after = await tell({ do: "standing" })).standings > 1) await new Promise((resolve) => setTimeout(resolve, 1_000));
  // What they wrote before they went away everybody else lacks.
  const brought = away.some((index) => writers.includes(index)) ? n : 0;
  report(
    "those return",
    `${seconds(began)} s, ${after.sessions - before} sessions for ${away.length} nodes${brought > 0 ? ", and what they wrote for all others" : ""}`,
    after.sessions - before <= 3 * away.length + 10 + 2 * brought,
  );

  await automatic(false);
  await tell({ do: "write", nodes: some(1.1) });
  before = (await tell({ do: "standing" })).sessions;
  began = performance.now();
  await automatic(true);
  await scan();
  while ((after = await tell({ do: "standing" })).standings > 1) await new Promise((resolve) => setTimeout(resolve, 1_000));
  const used = after.sessions - before;
  report("all wrote", `${seconds(began)} s, ${used} sessions (n log2 n = ${bound}, n² = ${n * n})`, used <= bound);
  report("never two sessions on one node", `${after.overlaps} overlaps`, after.overlaps === 0);
  console.log(`     seed ${values.seed}, peak memory of the coordinator ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`);
} finally {
  fleet.disconnect();
  client.close();
  await coordinator.stop();
  await redis.remove();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
