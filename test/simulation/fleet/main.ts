import { FleetSimulation } from "./fleet.ts";
import type { FleetOptions } from "./options.ts";
import { failuresOf, shrink } from "./shrink.ts";

// usage: node main.ts FROM COUNT [JSON options]: prints failing seeds, then the totals as one JSON line, to be added up.
// {"bail":true} stops at the first failing seed, {"shrink":true} tells its shortest history, {"trace":true} all that happens.
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const {
  bail = false,
  shrink: shrinks = false,
  ...options
} = JSON.parse(text) as Partial<FleetOptions> & { bail?: boolean; shrink?: boolean };
const totals: Record<string, number> = {};
const crashPoints = new Set<string>();
const failing: number[] = [];
const started = performance.now();
let seeds = 0;
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  seeds++;
  let failures: string[];
  try {
    const { failures: found, crashPoints: points, rounds, ...counts } = new FleetSimulation(seed, options).run();
    failures = found;
    for (const point of points) crashPoints.add(point);
    for (const [name, number] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + number;
    totals["mostRounds"] = Math.max(totals["mostRounds"] ?? 0, rounds);
  } catch (error) {
    failures = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
  if (failures.length === 0) continue;
  failing.push(seed);
  console.log(`seed ${seed}: ${failures.slice(0, 3).join("\n  ")}`);
  if (shrinks) {
    const short = shrink(seed, options);
    console.log(`shortest history: ${short.steps.length} steps with ${JSON.stringify(short.options)}`);
    failuresOf(seed, { ...short.options, trace: true }, short.steps);
  }
  if (bail || shrinks) break;
}
const seconds = Math.round((performance.now() - started) / 1000);
console.log(JSON.stringify({ from: Number(from), seeds, failing, ...totals, crashPoints: crashPoints.size, seconds, options }));
process.exitCode = failing.length > 0 ? 1 : 0;
