// Runs under Node 20 and before anything is installed: no imports but Node's own, no newer syntax.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import module from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json, whichever link the program was started through. */
export const ROOT = dirname(dirname(dirname(dirname(realpathSync(fileURLToPath(import.meta.url))))));

/** From here on Node runs TypeScript as it stands, without a flag and without a warning. */
const OLDEST = [24, 12];

/**
 * What Node made of our TypeScript, for the next start: a command answers in half the time. It is beside the packages, never in
 * a folder where others may write what we would run; where that cannot be written to, every start compiles anew.
 */
process.env.NODE_COMPILE_CACHE ??= join(ROOT, "node_modules", ".cache", "compiled");
module.enableCompileCache?.(process.env.NODE_COMPILE_CACHE);

/** Commands that run until they are told to stop. */
const SERVICES = ["node", "coordinator", "worker"];
/**
 * With how little memory a service makes do. What a node has in hand is garbage as soon as it was passed on: V8 lets three
 * times 16 MiB of it come together, and glibc gives every thread heaps of its own, in which what was freed stays, also
 * buffers of a megabyte. Both have to be said before the process begins.
 */
const FRUGAL_FLAGS = ["--max-semi-space-size=8"];
const FRUGAL_ENV = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: String(256 * 1024) };
/**
 * What a service is asked comes seldom and is waited for, by code that V8 would interpret until it has run often. Who knows
 * whether the V8 of a later Node has such a flag: it would refuse to begin.
 */
const READY_FLAGS = Number.parseInt(process.versions.node, 10) <= OLDEST[0] ? ["--always-sparkplug"] : [];

/** The flags and the environment that Node is started with for a command line; none for commands that end by themselves. */
export function serviceNode(args) {
  if (!SERVICES.some((service) => args.includes(service))) return { flags: [], env: {} };
  // A flag would outdo the variable.
  const isSaid = /--max[-_]semi[-_]space[-_]size/.test(process.env.NODE_OPTIONS ?? "");
  return { flags: [...READY_FLAGS, ...(isSaid ? [] : FRUGAL_FLAGS)], env: FRUGAL_ENV };
}

function isRecent(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/** Path of a Node that can run this project, or null: the running one, else the one that came with the packages. */
export function findNode() {
  if (isRecent(process.versions.node)) return process.execPath;
  const bundled = join(ROOT, "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node");
  if (!existsSync(bundled)) return null;
  // A binary for another C library (musl) is there and still cannot run.
  const answer = spawnSync(bundled, ["--version"], { encoding: "utf8" });
  return answer.status === 0 && isRecent(answer.stdout.trim()) ? bundled : null;
}

/** Says in one sentence why nothing can run here and what to do, and ends with exit code 2. */
export function refuse(reason) {
  process.stderr.write(`scoutsync: ${reason}\n`);
  process.exit(2);
}

export function noNode() {
  return refuse(
    `this is Node ${process.versions.node} on ${process.platform}-${process.arch}, and Node ${OLDEST.join(".")} or newer is needed. ` +
      (existsSync(join(ROOT, "node_modules"))
        ? "Install it from https://nodejs.org and run this again."
        : "Run `npm ci` in the project's folder, or install it from https://nodejs.org."),
  );
}

/** Runs a program in our place: same terminal, signals passed on, its exit code becomes ours. */
export function become(command, args, env = process.env) {
  const child = spawn(command, args, { stdio: "inherit", env });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]) {
    process.on(signal, () => {
      // Ctrl-C reaches the whole foreground group, the child included; a second one would cut its clean stop short.
      if (signal === "SIGINT" && process.stdin.isTTY) return;
      child.kill(signal);
    });
  }
  child.on("error", (error) => refuse(`${command} could not be started: ${error.message}. Check that it exists and may be run.`));
  child.on("exit", (code, signal) => process.exit(signal ? 128 + (constants.signals[signal] ?? 0) : (code ?? 1)));
}
