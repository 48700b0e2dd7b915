import { LinkedSimulation, type LinkedOptions } from "./linked-simulation.ts";

// usage: node simulate-linked.ts FROM COUNT [JSON options], with vitest's hooks left out: prints failing seeds and totals.
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const options = JSON.parse(text) as Partial<LinkedOptions>;
const totals = { failing: 0, kills: 0, moved: 0 };
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  try {
    const { failures, kills, moved } = new LinkedSimulation(seed, options).run();
    totals.kills += kills;
    totals.moved += moved;
    if (failures.length === 0) continue;
    totals.failing++;
    console.log(failures.slice(0, 6).join("\n  "));
  } catch (error) {
    totals.failing++;
    console.log(`seed ${seed} threw ${(error as Error).stack ?? ""}`);
  }
}
console.log(JSON.stringify({ from, count, ...totals }));
process.exitCode = totals.failing > 0 ? 1 : 0;
