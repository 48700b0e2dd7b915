import { spawn, type ChildProcess } from "node:child_process";
import { appendFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SyncError } from "@scoutsync/core";
import { tether } from "@scoutsync/runtime";

const PROGRAM = fileURLToPath(new URL("../../bin/scoutsync.mjs", import.meta.url));
/** A node that attaches a large database for the first time reads all of it before it serves. */
const READY_MS = 60_000;
const LOG_TAIL_CHARACTERS = 20_000;

export interface ServiceOptions {
  /** Arguments of the `scoutsync` command: `["node", "--name", …]`. */
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  cwd?: string;
  /** What it logs goes here as well. */
  logFile?: string;
  readyMs?: number;
}

/** What a service prints when it serves; see the command line's contract. */
export interface ReadyLine {
  ready: true;
  listen: string;
  http?: string;
  name?: string;
  node_id?: string;
}

export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** One running `scoutsync` service in a process of its own that does not outlive us. */
export interface ServiceProcess {
  readonly pid: number;
  readonly ready: ReadyLine;
  readonly ended: Promise<Ending>;
  readonly running: boolean;
  /** The end of what it logged. */
  log(): string;
  /** Asks it to stop (SIGTERM) and waits. */
  stop(): Promise<Ending>;
  /** Ends it at once (SIGKILL) and waits. */
  kill(): Promise<Ending>;
}

/** Starts a service and waits until it serves. Throws with its own words when it ends before. */
export async function startService({ args, env, cwd, logFile, readyMs = READY_MS }: ServiceOptions): Promise<ServiceProcess> {
  // A session of its own: Ctrl-C in the terminal reaches only us, and we stop services in order.
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: { ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
  tether(child);
  let running = true;
  const ended = new Promise<Ending>((resolve) => {
    child.once("error", () => resolve({ code: null, signal: null }));
    child.once("close", (code, signal) => resolve({ code, signal }));
  }).then((ending) => {
    running = false;
    return ending;
  });
  const log = keepLog(child, logFile);
  const ready = await waitForReady(child, ended, readyMs).catch(async (reason: Error) => {
    child.kill("SIGKILL");
    await ended;
    throw new SyncError({
      code: "INTERNAL",
      message: `scoutsync ${args[0] ?? ""} ${reason.message}: ${lastWords(log())}`,
      action: logFile === undefined ? "See its message." : `See ${logFile}.`,
    });
  });
  const end = (signal: NodeJS.Signals) => {
    if (running) child.kill(signal);
    return ended;
  };
  return {
    pid: child.pid ?? 0,
    ready,
    ended,
    get running() {
      return running;
    },
    log,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}

function waitForReady(child: ChildProcess, ended: Promise<Ending>, readyMs: number): Promise<ReadyLine> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`did not get ready within ${readyMs / 1000} s`)), readyMs);
    let text = "";
    child.stdout?.on("data", (piece: Buffer) => {
      text += piece.toString("utf8");
      const end = text.indexOf("\n");
      if (end < 0) return;
      clearTimeout(late);
      try {
        resolve(JSON.parse(text.slice(0, end)) as ReadyLine);
      } catch {
        reject(new Error(`printed "${text.slice(0, end)}" instead of its ready line`));
      }
    });
    void ended.then(({ code, signal }) => {
      clearTimeout(late);
      reject(new Error(`ended with ${signal ?? `exit code ${String(code)}`}`));
    });
  });
}

function keepLog(child: ChildProcess, logFile: string | undefined): () => string {
  let tail = "";
  if (logFile !== undefined) writeFileSync(logFile, "", { flag: "a" });
  child.stderr?.on("data", (piece: Buffer) => {
    tail = (tail + piece.toString("utf8")).slice(-LOG_TAIL_CHARACTERS);
    if (logFile !== undefined) appendFileSync(logFile, piece);
  });
  return () => tail;
}

/** The command's own error line when there is one, else the end of its log. */
function lastWords(log: string): string {
  const lines = log.trim().split("\n");
  const own = lines.findLast((line) => line.startsWith("scoutsync: "))?.slice("scoutsync: ".length);
  return (own ?? lines.slice(-3).join(" ")).replace(/\.$/, "");
}
