import { type MassDeleteOptions, MassDeleteSimulation } from "./mass-delete-simulation.ts";

// usage: node simulate-mass-deletes.ts FROM COUNT [JSON options]: prints failing seeds and totals.
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const options = JSON.parse(text) as Partial<MassDeleteOptions>;
const totals = { failing: 0, keptBack: 0, released: 0, undone: 0, resolved: 0, restored: 0 };
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  try {
    const { failures, totals: its } = new MassDeleteSimulation(seed, options).run();
    for (const name of ["keptBack", "released", "undone", "resolved", "restored"] as const) totals[name] += its[name];
    if (failures.length === 0) continue;
    totals.failing++;
    console.log(`seed ${seed}: ${failures.slice(0, 6).join("\n  ")}`);
  } catch (error) {
    totals.failing++;
    console.log(`seed ${seed} threw ${(error as Error).stack}`);
  }
}
console.log(JSON.stringify({ from, count, ...totals }));
process.exitCode = totals.failing > 0 ? 1 : 0;
