import { Simulation } from "./simulation.ts";

// usage: node simulate.ts FROM COUNT [JSON options]: prints failing seeds and totals.
const [from = "1", count = "100", options = "{}"] = process.argv.slice(2);
let failing = 0;
const totals = { changes: 0, conflicts: 0, parked: 0 };
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  try {
    const outcome = new Simulation(seed, JSON.parse(options)).run();
    totals.changes += outcome.changes;
    totals.conflicts += outcome.conflicts;
    totals.parked += outcome.parked;
    if (outcome.failures.length > 0) {
      failing++;
      console.log(`seed ${seed}: ${outcome.failures.slice(0, 4).join("\n  ")}`);
    }
  } catch (error) {
    failing++;
    console.log(`seed ${seed} threw ${(error as Error).message}`);
  }
}
console.log(JSON.stringify({ from, count, failing, ...totals }));
process.exitCode = failing > 0 ? 1 : 0;
