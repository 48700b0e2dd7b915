import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownPort } from "@scoutsync/testkit";

const PROGRAM = ["redis-server", "valkey-server"].find((name) => spawnSync(name, ["--version"]).status === 0) ?? null;

/** Null when there is no Redis here; the reason is printed once so that a skipped test explains itself. */
export const redisProgram: string | null = PROGRAM;
if (PROGRAM === null) console.warn("skipped: neither redis-server nor valkey-server is on PATH");

/** A private Redis that can be stopped, killed and started again on the same port. */
export class RedisServer {
  readonly port: number;
  readonly url: string;
  readonly #directory = mkdtempSync(join(tmpdir(), "scoutsync-redis-"));
  #child: ChildProcess | null = null;

  private constructor(port: number) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
  }

  static async start(): Promise<RedisServer> {
    const redis = new RedisServer(await ownPort());
    await redis.up();
    return redis;
  }

  /** A Redis that was never started, on a port nobody listens on. */
  static async absent(): Promise<RedisServer> {
    return new RedisServer(await ownPort());
  }

  async up(): Promise<void> {
    const settings = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    const child = spawn(PROGRAM ?? "", [...settings, "--dir", this.#directory, "--maxmemory-policy", "noeviction"], {
      stdio: "ignore",
    });
    this.#child = child;
    for (let attempt = 0; attempt < 600; attempt++) {
      if (await answers(this.port)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`redis on port ${this.port} did not start`);
  }

  /** SIGKILL: without persistence everything in it is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Answers nothing and closes nothing, until `thaw`. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => socket.write("PING\r\n"));
    socket.once("data", (answer) => {
      socket.destroy();
      resolve(answer.toString().startsWith("+PONG"));
    });
    socket.once("error", () => resolve(false));
  });
}
