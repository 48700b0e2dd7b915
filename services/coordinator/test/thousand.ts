import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { unary } from "@scoutsync/protocol";
import { DEFAULT_TIMING } from "../src/index.ts";
import { LargeFleet } from "./large-fleet.ts";

// How a coordinator does with a large fleet: `node services/coordinator/test/thousand.ts [--nodes 1000] [--seed 1]`.
// Real gRPC servers whose databases are vectors in memory, a real Redis, the product's own timing.

const { values } = parseArgs({ options: { nodes: { type: "string", default: "1000" }, seed: { type: "string", default: "1" } } });
const n = Number(values.nodes);
const bound = Math.ceil(n * Math.log2(n));
const LONGEST_MS = 900_000;

let failed = false;
const report = (what: string, value: string, holds: boolean) => {
  if (!holds) failed = true;
  console.log(`${holds ? "ok  " : "FAIL"} ${what}: ${value}`);
};
const seconds = (since: number) => ((performance.now() - since) / 1_000).toFixed(2);

let began = performance.now();
const fleet = await LargeFleet.start(n, Number(values.seed), null);
const sessions = async () => (await fleet.tell({ do: "standing", nodes: [] })).sessions;
try {
  console.log(`     ${n} nodes registered in ${seconds(began)} s`);
  await fleet.scan();
  began = performance.now();
  await fleet.scan();
  const took = seconds(began);
  report("a scan of an equal fleet, one worker, warm connections", `${took} s (at most 5)`, Number(took) <= 5);

  await fleet.automatic(false);
  const writers = fleet.some(0.1);
  await fleet.tell({ do: "write", nodes: writers });
  const away = fleet.some(0.05);
  await fleet.tell({ do: "down", nodes: away });
  let before = await sessions();
  began = performance.now();
  await fleet.automatic(true);
  const scanned = await fleet.scan();
  let after = await fleet.tell({ do: "standing", nodes: [] });
  report(
    "a tenth wrote, a twentieth away: one scan brings the others up to date",
    `${seconds(began)} s, ${after.sessions - before} sessions, ${scanned.done} of ${scanned.of} done, ${after.standings} standing`,
    after.standings === 1 && after.sessions - before <= bound && scanned.of - scanned.done === away.length,
  );

  before = after.sessions;
  began = performance.now();
  await fleet.tell({ do: "up", nodes: away });
  after = await fleet.equal(LONGEST_MS);
  // What they wrote before they went away everybody else lacks.
  const brought = away.some((index) => writers.includes(index)) ? n : 0;
  report(
    "those return",
    `${seconds(began)} s, ${after.sessions - before} sessions for ${away.length} nodes${brought > 0 ? ", and what they wrote for all others" : ""}`,
    after.sessions - before <= 3 * away.length + 10 + 2 * brought,
  );

  await fleet.automatic(false);
  await fleet.tell({ do: "write", nodes: fleet.some(1.1) });
  before = await sessions();
  began = performance.now();
  await fleet.automatic(true);
  await fleet.scan();
  after = await fleet.equal(LONGEST_MS);
  report(
    "all wrote, one worker",
    `${seconds(began)} s, ${after.sessions - before} sessions (n log2 n = ${bound}, n² = ${n * n})`,
    after.sessions - before <= bound,
  );

  const worker = fleet.startWorker();
  const own = (name: string) => name.includes(`:${worker.pid}:`);
  await fleet.automatic(false);
  await fleet.tell({ do: "write", nodes: fleet.some(1.1) });
  await fleet.tell({ do: "pace", sessionMs: 250 });
  before = await sessions();
  const earlier = fleet.attempts().length;
  began = performance.now();
  await fleet.automatic(true);
  // Asked for, not waited for: whether all are equal they say themselves.
  await unary(fleet.client, "scan", { noWait: true }, { deadlineMs: 300_000 });
  while (fleet.attemptsBy(worker) < Math.min(n / 4, 200)) await new Promise((resolve) => setTimeout(resolve, 500));
  const killedAt = Date.now();
  await fleet.kill(worker);
  // Others go away meanwhile and come back.
  const outage = fleet.some(0.05);
  await fleet.tell({ do: "down", nodes: outage });
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await fleet.tell({ do: "up", nodes: outage });
  after = await fleet.equal(LONGEST_MS);
  const all = fleet.attempts().slice(earlier);
  const byKilled = all.filter((attempt) => own(attempt.worker));
  report(
    "all wrote, two workers, one killed in the middle, a twentieth away for a moment",
    `${seconds(began)} s, ${after.sessions - before} sessions (n log2 n = ${bound}), ${byKilled.length} of ${all.length} by the second until it was killed`,
    after.sessions - before <= bound && byKilled.length > 0,
  );
  const delays = (await fleet.delaysAfter(worker, killedAt)).map(({ delayMs }) => delayMs);
  const never = delays.filter((ms) => ms === null).length;
  const sorted = delays.filter((ms) => ms !== null).sort((a, b) => a - b);
  const at = (share: number) => ((sorted[Math.floor(share * (sorted.length - 1))] ?? 0) / 1_000).toFixed(1);
  const allowed = DEFAULT_TIMING.leaseMs + DEFAULT_TIMING.jobLockMs / 2;
  report(
    "the nodes whose sessions it held were in one again, as they saw it themselves",
    `${delays.length} of them, median ${at(0.5)} s, last ${at(1)} s after it was killed, ${never} never (a lease and a look for stalled jobs are ${allowed / 1_000} s)`,
    delays.length > 0 && never === 0 && (sorted.at(-1) ?? 0) <= allowed,
  );
  const open = fleet.attempts().filter((attempt) => attempt.status === "in_progress").length;
  report(
    "never two sessions on one node, no attempt without an end",
    `${after.overlaps} overlaps, ${open} open lines`,
    after.overlaps === 0 && open === 0,
  );
  const load = loadavg().map((share) => share.toFixed(1));
  console.log(`     seed ${values.seed}, load of the machine over 1, 5 and 15 minutes ${load.join(", ")}`);
  console.log(`     peak memory of the coordinator ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`);
} finally {
  await fleet.stop();
}
process.exit(failed ? 1 : 0);
