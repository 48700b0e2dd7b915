import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { SyncError } from "@scoutsync/core";
import { freePort, pause, tether } from "@scoutsync/runtime";

/** A Redis and how to be done with it. */
export interface Redis {
  url: string;
  /** Path of the program when it is a private child, null when it was there before. */
  program: string | null;
  stop(): Promise<void>;
}

/** Loading an append-only file of a play fleet takes milliseconds; this is for a machine under load. */
const START_MS = 15_000;
const STOP_MS = 5_000;

/** Starts a Redis of our own on a free loopback port, with append-only persistence, that ends with this process. */
export async function startPrivateRedis({
  program,
  dataDirectory,
  port,
}: {
  program: string;
  dataDirectory: string;
  port?: number;
}): Promise<Redis> {
  mkdirSync(dataDirectory, { recursive: true });
  const chosen = port ?? (await freePort());
  // Told everything on the command line: nobody else's configuration applies, and what is queued survives a restart.
  const settings = {
    bind: "127.0.0.1",
    port: String(chosen),
    dir: dataDirectory,
    appendonly: "yes",
    appendfsync: "everysec",
    save: "",
    "maxmemory-policy": "noeviction",
    daemonize: "no",
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  // Ctrl-C reaches the whole foreground group: in a session of its own it lives until we are done with it.
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  tether(child);
  const output = lastLines(child);
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const failed = ended.then(() => "ended" as const);
  const answered = (async () => {
    const until = Date.now() + START_MS;
    while (Date.now() < until) {
      if (await isAnswering(chosen)) return "ready" as const;
      await pause(50);
    }
    return "late" as const;
  })();
  const outcome = await Promise.race([failed, answered]);
  if (outcome !== "ready") {
    child.kill("SIGKILL");
    throw new SyncError({
      code: "REDIS_UNREACHABLE",
      message: `${program} on port ${chosen} ${outcome === "ended" ? "ended at once" : `gave no answer within ${START_MS / 1000} s`}: ${output()}`,
      action: `Check that ${dataDirectory} is writable, or set REDIS_URL to a Redis that runs.`,
    });
  }
  return { url: `redis://127.0.0.1:${chosen}`, program, stop: () => stop(child, ended) };
}

async function stop(child: ChildProcess, ended: Promise<void>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const cut = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await ended;
  clearTimeout(cut);
}

function isAnswering(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => done(false));
    socket.on("error", () => done(false));
    socket.on("connect", () => socket.write("PING\r\n"));
    // While it loads its file it answers -LOADING.
    socket.on("data", (answer) => done(answer.toString("latin1").startsWith("+PONG")));
  });
}

/** Keeps the end of what a child prints, for the message when it fails. */
function lastLines(child: ChildProcess): () => string {
  let text = "";
  const keep = (piece: Buffer) => {
    text = (text + piece.toString("utf8")).slice(-600);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  return () => text.trim().split("\n").slice(-2).join(" ") || "it printed nothing";
}
