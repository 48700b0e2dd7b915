import { ScopeSimulation } from "./scope-simulation.ts";

// usage: node simulate-scopes.ts FROM COUNT [JSON options]: prints failing seeds. {"joint":true} has the teams add the same persons.
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const options = JSON.parse(text) as { joint?: boolean };
let failing = 0;
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  let failures: string[];
  try {
    failures = new ScopeSimulation(seed, options).run();
  } catch (error) {
    failures = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
  if (failures.length === 0) continue;
  failing++;
  console.log(`seed ${seed}: ${failures.slice(0, 4).join("\n  ")}`);
}
console.log(JSON.stringify({ from, count, failing }));
process.exitCode = failing > 0 ? 1 : 0;
