import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { tether } from "@scoutsync/runtime";
import { BUSY_MS } from "./wait.ts";

/** A value as the writers take it; `{ int }` for integers beyond 2^53, `{ blob }` as hex, `{ real }` for "inf" and "-inf". */
export type WriterValue = null | number | string | { int: string } | { blob: string } | { real: string };
export type Statement = readonly [sql: string, values: readonly WriterValue[]];

export interface WriteRequest {
  path: string;
  statements: readonly Statement[];
  /** For the connection, for example `foreign_keys=ON`. */
  pragmas?: readonly string[];
}

/** An application process that writes SQLite files and has never heard of sync. */
export interface Writer {
  /** "python3" or "node". */
  readonly kind: string;
  /** One transaction. Resolves, after the commit, with the last insert rowid of each statement; rejects with the application's own error. */
  write(request: WriteRequest): Promise<number[]>;
  stop(): Promise<void>;
}

const PYTHON_WRITER = fileURLToPath(new URL("../writers/writer.py", import.meta.url));
const NODE_WRITER = fileURLToPath(new URL("../writers/writer.mjs", import.meta.url));

let hasPython: boolean | null = null;

/** True when `python3` runs here and has its sqlite3 module. */
export function isPythonHere(): boolean {
  hasPython ??= spawnSync("python3", ["-c", "import sqlite3"], { stdio: "ignore" }).status === 0;
  return hasPython;
}

/** Starts an application: Python where it is, else Node's own SQLite; neither is the library under test. */
export function startWriter(): Writer {
  const [kind, program, script] = isPythonHere() ? ["python3", "python3", PYTHON_WRITER] : ["node", process.execPath, NODE_WRITER];
  const child: ChildProcess = spawn(program, [script, String(BUSY_MS)], { stdio: ["pipe", "pipe", "inherit"] });
  tether(child);
  const waiting: { resolve: (ids: number[]) => void; reject: (error: Error) => void }[] = [];
  const ended = new Promise<void>((resolve) => {
    const finish = () => {
      for (const { reject } of waiting.splice(0)) reject(new Error(`the ${kind} writer has ended`));
      resolve();
    };
    child.once("close", finish);
    child.once("error", finish);
  });
  if (!child.stdin || !child.stdout) throw new Error(`the ${kind} writer has no pipes`);
  const input = child.stdin;
  input.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (line) => {
    const answer = JSON.parse(line) as { ok: true; ids: number[] } | { ok: false; error: string };
    const next = waiting.shift();
    if (answer.ok) next?.resolve(answer.ids);
    else next?.reject(new Error(answer.error));
  });
  return {
    kind,
    write: ({ path, statements, pragmas = [] }) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        input.write(`${JSON.stringify({ path, statements, pragmas })}\n`);
      }),
    stop: async () => {
      input.end();
      await ended;
    },
  };
}

/** Runs one script in the `sqlite3` program, as a person at a shell would; null when it is not installed. */
export function sqliteProgram(path: string, sql: string): string | null {
  const done = spawnSync("sqlite3", ["-bail", "-cmd", `.timeout ${BUSY_MS}`, path, sql], { encoding: "utf8" });
  if (done.error) return null;
  if (done.status !== 0) throw new Error(`sqlite3: ${done.stderr.trim()}`);
  return done.stdout;
}
