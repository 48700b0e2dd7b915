import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { tether } from "@scoutsync/runtime";
import { childEnvironment } from "./environment.ts";
import { boundOf } from "./wait.ts";

const MAIN = fileURLToPath(new URL("../../cli/src/main.ts", import.meta.url));

/** What a finished `scoutsync` command left behind. */
export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Parses stdout, which must be exactly one JSON document. */
  json<T>(): T;
}

export interface CommandOptions {
  env?: Readonly<Record<string, string | undefined>>;
  cwd?: string;
  /** Milliseconds until it is killed, with whatever it started; a minute, and three in CI. */
  withinMs?: number;
}

/** Runs one `scoutsync` command in a process of its own to its end. */
export function scoutsync(args: readonly string[], { env, cwd, withinMs }: CommandOptions = {}): Promise<CommandResult> {
  return runProgram(process.execPath, [MAIN, ...args], {
    env: { ...childEnvironment(), ...env },
    ...(withinMs === undefined ? {} : { withinMs }),
    ...(cwd === undefined ? {} : { cwd }),
  });
}

/** Runs any program to its end; rejects only when it cannot be started. */
export function runProgram(
  program: string,
  args: readonly string[],
  { env, cwd, withinMs = boundOf(60_000) }: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...args], {
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own: what it started itself (npm's wrappers do) is ended with it when time is up.
      detached: true,
      env: { ...(env ?? childEnvironment()) },
      ...(cwd === undefined ? {} : { cwd }),
    });
    tether(child);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => (stdout += piece));
    child.stderr.setEncoding("utf8").on("data", (piece: string) => (stderr += piece));
    const late = setTimeout(() => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // Gone this very moment.
      }
    }, withinMs);
    child.once("error", (error) => {
      clearTimeout(late);
      reject(error);
    });
    child.once("close", (code) => {
      clearTimeout(late);
      resolve({ code, stdout, stderr, json: <T>() => JSON.parse(stdout) as T });
    });
  });
}
