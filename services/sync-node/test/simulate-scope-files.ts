import { ScopeFilesSimulation } from "./scope-files-simulation.ts";

// usage: node simulate-scope-files.ts FROM COUNT [JSON options]: prints failing seeds and totals. {"trace":true} prints what happens.
const [from = "1", count = "50", text = "{}"] = process.argv.slice(2);
const options = JSON.parse(text) as ConstructorParameters<typeof ScopeFilesSimulation>[1];
let failing = 0;
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  const problems = await new ScopeFilesSimulation(seed, options).run().catch((error: unknown) => [String((error as Error).stack)]);
  if (problems.length > 0) failing++;
  for (const problem of problems) console.log(`seed ${seed}: ${problem}`);
}
console.log(JSON.stringify({ from, count, failing }));
process.exitCode = failing > 0 ? 1 : 0;
