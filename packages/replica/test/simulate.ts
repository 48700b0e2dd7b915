import { Simulation } from "./simulation.ts";
import type { SimulationOptions } from "./simulation-options.ts";

// usage: node simulate.ts FROM COUNT [JSON options]: prints failing seeds and totals.
// {"bail":true} stops at the first one.
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const { bail = false, ...options } = JSON.parse(text) as Partial<SimulationOptions> & { bail?: boolean };
let failing = 0;
const totals = { changes: 0, conflicts: 0, parked: 0, forgot: 0, times: 0, gone: 0, reborn: 0 };
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  try {
    const outcome = new Simulation(seed, options).run();
    totals.changes += outcome.changes;
    totals.conflicts += outcome.conflicts;
    totals.parked += outcome.parked;
    totals.forgot += outcome.forgot;
    totals.times += outcome.times;
    totals.gone += outcome.gone;
    totals.reborn += outcome.reborn;
    if (outcome.failures.length > 0) {
      failing++;
      console.log(`seed ${seed}: ${outcome.failures.slice(0, options.trace ? 99 : 4).join("\n  ")}`);
    }
  } catch (error) {
    failing++;
    console.log(`seed ${seed} threw ${(error as Error).message}`);
  }
  if (bail && failing > 0) break;
}
console.log(JSON.stringify({ from, count, failing, ...totals }));
process.exitCode = failing > 0 ? 1 : 0;
