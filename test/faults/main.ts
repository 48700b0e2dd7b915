import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Fault } from "./fault.ts";
import { FAULTS } from "./faults.ts";

// `npm run faults [-- WORDS]`: breaks one rule of the product after the other in a scratch copy and runs the test that
// must notice. Prints a table; exit 1 when a fault survives or its text is not in the sources any more. WORDS picks faults by their
// names and by what catches them (`packages/files/`); `--sample N` takes N of them, others every day; `--from K` repeats such a set;
// `--after-tests` right after a green `npm test`: that its tests are green without the faults is not shown a second time.
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const LONGEST_MS = 240_000;
/** What one process of a check may take, KiB: native memory, too, which no option of Node bounds. */
const MOST_KIB = 3 * 1024 * 1024;
const SOURCES = ["packages", "services"];
const DAY_MS = 86_400_000;

/** A copy of the repository that is broken and mended again and again; packages are links into the copy, not to the original. */
class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), "scoutsync-faults-"));

  constructor() {
    // Some tests go on as another user than root.
    chmodSync(this.path, 0o755);
    for (const name of [...SOURCES, "test", "proto"])
      cpSync(join(ROOT, name), join(this.path, name), { recursive: true, filter: (path) => !path.endsWith("node_modules") });
    for (const name of ["package.json", "tsconfig.json"]) cpSync(join(ROOT, name), join(this.path, name));
    const modules = join(this.path, "node_modules");
    mkdirSync(join(modules, "@scoutsync"), { recursive: true });
    const packages = SOURCES.flatMap((folder) => readdirSync(join(this.path, folder)).map((name) => join(this.path, folder, name)));
    const own = new Map(packages.map((path) => [packageName(path), path]));
    for (const [name, path] of own) symlinkSync(path, join(modules, name));
    for (const name of readdirSync(join(ROOT, "node_modules")))
      if (name !== "@scoutsync" && name !== ".cache" && !own.has(name)) symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  }

  sources(): string[] {
    return SOURCES.flatMap((folder) =>
      readdirSync(join(this.path, folder), { recursive: true, encoding: "utf8" }).map((name) => join(this.path, folder, name)),
    ).filter((path) => /\/src\/.*\.ts$/.test(path));
  }

  /** Breaks the copy; returns how to mend it. */
  plant(fault: Fault): () => void {
    const originals = new Map<string, string>();
    const mend = () => {
      for (const [path, text] of originals) writeFileSync(path, text);
    };
    for (const [find, replace] of fault.edits) {
      const holding = this.sources().filter((path) => readFileSync(path, "utf8").includes(find));
      const [path] = holding;
      const text = path === undefined ? "" : readFileSync(path, "utf8");
      if (path === undefined || holding.length > 1 || text.split(find).length !== 2) {
        mend();
        throw new Error(`the text is in the sources ${path === undefined ? "nowhere" : "more than once"}: ${find}`);
      }
      if (!originals.has(path)) originals.set(path, text);
      writeFileSync(
        path,
        text.replace(find, () => replace),
      );
    }
    return mend;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

const packageName = (folder: string): string => (JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name: string }).name;

const projectOf = (path: string): string => (/^test\/(e2e|chaos)\//.test(path) ? "fleet" : "unit");

const commandOf = ({ caughtBy }: Fault): string[] =>
  typeof caughtBy === "string"
    ? [
        "node_modules/vitest/vitest.mjs",
        "run",
        "--config",
        "test/vitest.config.ts",
        "--project",
        projectOf(caughtBy),
        "--bail",
        "1",
        caughtBy,
      ]
    : ["packages/replica/test/simulate.ts", ...caughtBy.seeds.map(String), JSON.stringify({ ...caughtBy.options, bail: true })];

const checkOf = ({ caughtBy }: Fault): string =>
  typeof caughtBy === "string" ? caughtBy : `simulation, seeds ${caughtBy.seeds[0]} to ${caughtBy.seeds[0] + caughtBy.seeds[1] - 1}`;

/** So many faults, as far apart in the list as they can be; another set every day. */
function sample(faults: readonly Fault[], most: number, from: number): Fault[] {
  const step = Math.max(1, Math.floor(faults.length / most));
  console.log(`a sample of the ${faults.length} planted faults: every ${step}th, --from ${from}`);
  return faults.filter((_, i) => i % step === from % step).slice(0, most);
}

const running = new Set<ChildProcess>();

/** Ends a check with the processes it has started: one that goes round and round would go on, and take what memory there is. */
function end(child: ChildProcess): void {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, "SIGKILL");
}

/** True when the check is green. A check that hangs is not: whoever waits for it would notice. */
async function isGreen(scratch: Scratch, fault: Fault): Promise<boolean> {
  const bounded = ["-c", `ulimit -d ${MOST_KIB}; exec "$@"`, "sh", process.execPath, ...commandOf(fault)];
  const child = spawn("sh", bounded, { cwd: scratch.path, stdio: "ignore", detached: true });
  running.add(child);
  const timer = setTimeout(() => end(child), LONGEST_MS);
  const code = await new Promise<number | null>((done) => child.on("exit", done));
  clearTimeout(timer);
  running.delete(child);
  return code === 0;
}

const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { sample: { type: "string" }, from: { type: "string" }, "after-tests": { type: "boolean" } },
});
const named = FAULTS.filter((fault) => words.every((word) => fault.name.includes(word) || checkOf(fault).includes(word)));
const chosen =
  values.sample === undefined ? named : sample(named, Number(values.sample), Number(values.from ?? Math.floor(Date.now() / DAY_MS)));
const results: { fault: Fault; outcome: string; seconds: number }[] = [];
const queue = [...chosen];
const sound = new Map<string, Promise<boolean>>();

async function work(): Promise<void> {
  const scratch = new Scratch();
  try {
    for (let fault = queue.shift(); fault; fault = queue.shift()) {
      const check = commandOf(fault).join(" ");
      // A check that is red anyway catches nothing.
      let green = sound.get(check);
      const wasShown = values["after-tests"] === true && typeof fault.caughtBy === "string";
      if (!green) sound.set(check, (green = wasShown ? Promise.resolve(true) : isGreen(scratch, fault)));
      const started = performance.now();
      let outcome = "caught";
      if (!(await green)) outcome = "NOT SHOWN: the check is red without the fault";
      else {
        try {
          const mend = scratch.plant(fault);
          if (await isGreen(scratch, fault)) outcome = "SURVIVED";
          mend();
        } catch (error) {
          outcome = `NOT PLANTED: ${(error as Error).message}`;
        }
      }
      results.push({ fault, outcome, seconds: (performance.now() - started) / 1000 });
      console.log(`${outcome.padEnd(8)}  ${fault.name}  |  ${checkOf(fault)}  |  ${(results.at(-1)?.seconds ?? 0).toFixed(1)} s`);
    }
  } finally {
    scratch.remove();
  }
}

process.on("exit", () => running.forEach(end));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work));
const caught = results.filter(({ outcome }) => outcome === "caught").length;
console.log(`\n${caught} of ${chosen.length} planted faults caught`);
process.exitCode = caught === chosen.length ? 0 : 1;
