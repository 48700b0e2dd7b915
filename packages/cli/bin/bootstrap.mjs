// What `npm start`, `npm test`, `npm run demo`, `npm run bench`, `npm run faults`, `npm run fuzz` and `npm run seeds` go through: installs what is missing, then runs it on the right Node.
import { spawnSync } from "node:child_process";
import { existsSync, statSync, utimesSync } from "node:fs";
import { delimiter, join } from "node:path";
import { become, findNode, noNode, refuse, ROOT } from "./node24.mjs";

const TASKS = {
  start: ["packages/cli/src/start/main.ts"],
  test: ["node_modules/vitest/vitest.mjs", "run", "--config", "test/vitest.config.ts"],
  demo: ["test/demo/main.ts"],
  bench: ["test/bench/main.ts"],
  faults: ["test/faults/main.ts"],
  fuzz: ["test/fuzz/main.ts"],
  seeds: ["test/simulation/main.ts"],
};

const [task = "", ...rest] = process.argv.slice(2);
if (!Object.hasOwn(TASKS, task))
  refuse(
    `"${task}" is not one of ${Object.keys(TASKS).join(", ")}. Use npm start, npm test, npm run demo, npm run bench, npm run faults, npm run fuzz or npm run seeds.`,
  );

process.chdir(ROOT);
if (isInstallNeeded()) install();

const node = findNode();
if (node === null) noNode();
else {
  const path = [join(ROOT, "node_modules", ".bin"), process.env.PATH ?? ""].join(delimiter);
  become(node, [...TASKS[task], ...rest], { ...process.env, PATH: path });
}

/** npm writes node_modules/.package-lock.json last: missing or older than the lock file means not installed or outdated. */
function isInstallNeeded() {
  const installed = join(ROOT, "node_modules", ".package-lock.json");
  return !existsSync(installed) || statSync(installed).mtimeMs < statSync(join(ROOT, "package-lock.json")).mtimeMs;
}

function install() {
  process.stderr.write("Installing the packages (npm ci) ...\n");
  const args = ["ci", "--ignore-scripts", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  const npm = process.env.npm_execpath;
  // npm names itself to its scripts; calling that one avoids finding another on PATH. stdout is kept for the task itself.
  const done =
    npm && /\.c?js$/.test(npm)
      ? spawnSync(process.execPath, [npm, ...args], { stdio: ["ignore", 2, 2] })
      : spawnSync("npm", args, { stdio: ["ignore", 2, 2] });
  if (done.status !== 0) {
    refuse(
      `npm ci failed${done.error ? `: ${done.error.message}` : ""}. See its messages above; check the network or proxy and run this again.`,
    );
  }
  const now = new Date();
  utimesSync(join(ROOT, "node_modules", ".package-lock.json"), now, now);
}
