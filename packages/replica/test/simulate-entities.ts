import { type EntityOptions, EntitySimulation } from "./entity-simulation.ts";

// usage: node simulate-entities.ts FROM COUNT [JSON options]: prints failing seeds. {"bail":true} stops at the first one.
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const { bail = false, ...options } = JSON.parse(text) as Partial<EntityOptions> & { bail?: boolean };
let failing = 0;
const totals = { forgot: 0, times: 0, gone: 0, reborn: 0 };
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  try {
    const { failures, absences } = new EntitySimulation(seed, options).run();
    totals.forgot += absences.forgot;
    for (const name of ["times", "gone", "reborn"] as const) totals[name] += absences.rejoins[name];
    if (failures.length > 0) console.log(`seed ${seed}: ${failures.slice(0, 4).join("\n  ")}`);
    if (failures.length > 0) failing++;
  } catch (error) {
    failing++;
    console.log(`seed ${seed} threw ${(error as Error).stack}`);
  }
  if (bail && failing > 0) break;
}
console.log(JSON.stringify({ from, count, failing, ...totals }));
process.exitCode = failing > 0 ? 1 : 0;
