import { FileModel, type ModelOptions } from "./model.ts";

// usage: node simulate.ts FROM COUNT [JSON options]: prints failing seeds and totals.
// {"trace":true} prints what happens; {"bail":true} stops at the first that fails.
// Root may read everything: as another user, folders are really closed.
if (process.getuid?.() === 0) process.seteuid?.("nobody");
const [from = "1", count = "100", text = "{}"] = process.argv.slice(2);
const { bail = false, ...options } = { steps: 60, ...(JSON.parse(text) as Partial<ModelOptions> & { bail?: boolean }) };
let failing = 0;
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  try {
    await new FileModel(seed, options).run();
  } catch (error) {
    failing++;
    console.log(`seed ${seed}: ${options.trace ? (error as Error).stack : (error as Error).message}`);
    if (bail) break;
  }
}
console.log(JSON.stringify({ from, count, failing }));
process.exitCode = failing > 0 ? 1 : 0;
