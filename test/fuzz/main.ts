import { spawn } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

// `npm run fuzz -- --minutes N`: every target for its share of N minutes, beginning from a new seed or `--seed S`. Prints
// per target how many inputs it has seen and how much the process grew by; exit 1 when one found something.
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" }, seed: { type: "string" } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  console.error("Give --minutes as a number above 0, for example: npm run fuzz -- --minutes 10");
  process.exit(2);
}
const targets = globSync("test/fuzz/*.test.ts", { cwd: ROOT })
  .map((path) => readFileSync(`${ROOT}/${path}`, "utf8").split("await expectHolds(").length - 1)
  .reduce((sum, count) => sum + count, 0);
const eachMs = Math.max(1, Math.round((minutes * 60_000) / targets));
console.log(`${targets} targets, ${(eachMs / 1_000).toFixed(1)} s each`);

const child = spawn(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "--config", "test/vitest.config.ts", "--project", "unit", "test/fuzz", "--testTimeout", "0"],
  {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, SCOUTSYNC_FUZZ_MS: String(eachMs), ...(values.seed && { SCOUTSYNC_SEED: values.seed }) },
  },
);
let text = "";
child.stdout.setEncoding("utf8").on("data", (piece: string) => {
  process.stdout.write(piece);
  text += piece;
});
child.on("close", (code) => {
  const counts = [...text.matchAll(/fuzz ([^:]+): (\d+) inputs/g)].map(([, , inputs]) => Number(inputs));
  const inputs = counts.reduce((sum, count) => sum + count, 0);
  console.log(`${inputs} inputs to ${counts.length} of ${targets} targets`);
  process.exitCode = code === 0 && counts.length === targets ? 0 : 1;
});
