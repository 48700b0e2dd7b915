import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CoordinatorClient, createClient, unary, type CoordinatorService as Calls, type ServiceClient } from "@scoutsync/protocol";
import { boundOf } from "@scoutsync/testkit";
import Sqlite from "better-sqlite3";
import { startCoordinator, type CoordinatorService, type Timing } from "../src/index.ts";
import { quietLogger } from "./fleet-under-test.ts";
import { RedisServer } from "./redis-server.ts";
import type { FleetCommand, FleetStanding } from "./simulated-fleet.ts";

type Order = FleetCommand extends infer C ? (C extends FleetCommand ? Omit<C, "call"> : never) : never;

/** A line of the log of sessions, with when it was opened and closed; milliseconds. */
export interface Attempt {
  serverId: number;
  serverName: string;
  sourceId: number | null;
  worker: string;
  status: string;
  details: string;
  openedAt: number;
  closedAt: number;
}

/**
 * Many nodes, each a real gRPC server whose databases are vectors in memory, in a process of their own; a real Redis; a
 * coordinator with its worker in this process, and as many further worker processes as are asked for.
 */
export class LargeFleet {
  readonly size: number;
  readonly client: ServiceClient<Calls>;
  readonly #coordinator: CoordinatorService;
  readonly #redis: RedisServer;
  readonly #directory: string;
  readonly #fleet = fork(fileURLToPath(new URL("simulated-fleet.ts", import.meta.url)));
  readonly #workers = new Set<ChildProcess>();
  readonly #productTiming: boolean;
  #random: number;
  #calls = 0;

  private constructor(
    size: number,
    seed: number,
    timing: Partial<Timing> | null,
    made: { redis: RedisServer; directory: string; coordinator: CoordinatorService },
  ) {
    this.size = size;
    this.#random = seed;
    this.#productTiming = timing === null;
    this.#redis = made.redis;
    this.#directory = made.directory;
    this.#coordinator = made.coordinator;
    this.client = createClient(made.coordinator.ready.listen, CoordinatorClient);
  }

  /** `timing` null: the product's own. */
  static async start(size: number, seed: number, timing: Partial<Timing> | null): Promise<LargeFleet> {
    const directory = mkdtempSync(join(tmpdir(), "scoutsync-large-"));
    const redis = await RedisServer.start();
    const coordinator = await startCoordinator({
      listen: "127.0.0.1:0",
      http: null,
      redis: redis.url,
      dataDirectory: directory,
      logger: quietLogger(),
      timing: timing ?? {},
    });
    const fleet = new LargeFleet(size, seed, timing, { redis, directory, coordinator });
    await fleet.tell({ do: "start", nodes: size, coordinator: coordinator.ready.listen });
    return fleet;
  }

  /** Numbers from 0 on of about this share of the nodes, the same for the same seed. */
  some(share: number): number[] {
    const next = () => (this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
    return Array.from({ length: this.size }, (_, index) => index).filter(() => next() < share);
  }

  tell(order: Order): Promise<FleetStanding> {
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      const listen = (answer: { call: number; standing?: FleetStanding; error?: string }) => {
        if (answer.call !== call) return;
        this.#fleet.off("message", listen);
        if (answer.standing === undefined) reject(new Error(answer.error));
        else resolve(answer.standing);
      };
      this.#fleet.on("message", listen);
      this.#fleet.send({ ...order, call });
    });
  }

  /** Scans and waits for the result; returns how many were brought up to date, of how many. */
  async scan(): Promise<{ done: number; of: number; errors: string[] }> {
    const { results } = await unary(this.client, "scan", { noWait: false }, { deadlineMs: 900_000 });
    return {
      done: results.filter((result) => result.success).length,
      of: results.length,
      errors: [...new Set(results.flatMap((result) => result.errors))].slice(0, 5),
    };
  }

  automatic(on: boolean): Promise<unknown> {
    return unary(this.client, "setSetting", { key: "catchup_scheduler_enabled", value: String(on) });
  }

  /** Waits until all that are up stand equal, by their own word; throws after `withinMs`. */
  async equal(withinMs: number): Promise<FleetStanding> {
    const boundMs = boundOf(withinMs);
    const until = Date.now() + boundMs;
    for (;;) {
      const standing = await this.tell({ do: "standing", nodes: [] });
      if (standing.standings <= 1) return standing;
      if (Date.now() > until) throw new Error(`not within ${boundMs} ms equal: ${standing.standings} different standings`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  startWorker(): ChildProcess {
    const worker = spawn(process.execPath, [fileURLToPath(new URL("worker-process.ts", import.meta.url))], {
      env: {
        ...process.env,
        COORDINATOR: this.#coordinator.ready.listen,
        REDIS: this.#redis.url,
        TIMING: this.#productTiming ? "product" : "quick",
      },
      stdio: ["ignore", "ignore", "inherit"],
    });
    this.#workers.add(worker);
    return worker;
  }

  async kill(worker: ChildProcess): Promise<void> {
    this.#workers.delete(worker);
    if (worker.exitCode !== null || worker.signalCode !== null) return;
    const ended = once(worker, "exit");
    worker.kill("SIGKILL");
    await ended;
  }

  /** All attempts so far, as another process reads them from the registry, oldest first. */
  attempts(): Attempt[] {
    const registry = new Sqlite(join(this.#directory, "coordinator.db"), { timeout: 5_000, readonly: true });
    try {
      const rows = registry
        .prepare(
          "SELECT l.server_id, s.name, source_id, worker, status, details, l.created_at, completed_at FROM sync_logs l JOIN sync_servers s ON s.id = l.server_id ORDER BY l.id",
        )
        .all() as {
        server_id: number;
        name: string;
        source_id: number | null;
        worker: string;
        status: string;
        details: string;
        created_at: string;
        completed_at: string | null;
      }[];
      return rows.map((row) => ({
        serverId: row.server_id,
        serverName: row.name,
        sourceId: row.source_id,
        worker: row.worker,
        status: row.status,
        details: row.details,
        openedAt: Date.parse(row.created_at),
        closedAt: Date.parse(row.completed_at ?? ""),
      }));
    } finally {
      registry.close();
    }
  }

  /** How many attempts this worker process has made. */
  attemptsBy(worker: ChildProcess): number {
    const registry = new Sqlite(join(this.#directory, "coordinator.db"), { timeout: 5_000, readonly: true });
    try {
      return registry.prepare("SELECT count(*) FROM sync_logs WHERE instr(worker, ?) > 0").pluck().get(`:${worker.pid}:`) as number;
    } finally {
      registry.close();
    }
  }

  /**
   * The sessions that a worker had when it was killed, and milliseconds from then until the node of each was in one again, on either end,
   * as the nodes saw it themselves; null = it never was. Whoever had a session lacked something, so it needs another one.
   */
  async delaysAfter(killed: ChildProcess, killedAt: number): Promise<{ lost: Attempt; delayMs: number | null }[]> {
    const lost = this.attempts().filter(
      (attempt) => attempt.worker.includes(`:${killed.pid}:`) && attempt.closedAt >= killedAt && attempt.details.includes("did not report"),
    );
    // They are called node-1 and so on.
    const nodes = lost.map(({ serverName }) => Number(serverName.slice("node-".length)) - 1);
    const { begunAt } = await this.tell({ do: "standing", nodes });
    return lost.map((attempt, at) => {
      const again = begunAt[at]?.find((begun) => begun > attempt.closedAt);
      return { lost: attempt, delayMs: again === undefined ? null : again - killedAt };
    });
  }

  async stop(): Promise<void> {
    for (const worker of this.#workers) await this.kill(worker);
    this.client.close();
    await this.#coordinator.stop();
    this.#fleet.disconnect();
    await this.#redis.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
