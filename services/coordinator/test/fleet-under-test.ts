import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CoordinatorClient,
  createClient,
  unary,
  type GetStatusResponse,
  type ServiceClient,
  type CoordinatorService as Calls,
} from "@scoutsync/protocol";
import { createLogger } from "@scoutsync/runtime";
import { boundOf } from "@scoutsync/testkit";
import Sqlite, { type Database } from "better-sqlite3";
import type { TestOptions } from "vitest";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { startCoordinator, type CoordinatorService, type Timing } from "../src/index.ts";
import { PREFIX, ROUND_QUEUE } from "../src/jobs/queues.ts";
import { PATIENT, ScriptedNode } from "./scripted-nodes.ts";

/**
 * Seconds become tenths, so that what heals within an interval is seen to heal. Leases and questions live long enough for a machine
 * that does nothing for a second.
 */
export const QUICK: Partial<Timing> = {
  leaseMs: 3_000,
  reconcileMs: 700,
  heartbeatMs: 400,
  pingDeadlineMs: 3_000,
  settleMs: 50,
  retryFirstMs: 100,
  retryCapMs: 500,
  busyMs: 40,
  idleMs: boundOf(8_000),
  graceMs: 300,
  jobLockMs: 2_000,
  alertMs: 100,
};

/**
 * For tests of what the coordinator decides with nodes that hold no rows: in CI, where a machine that stands still may change that,
 * they are run once more whatever was wrong, and the report says what it was. Two sessions at once on a node are red at once.
 */
export const ONCE_MORE: TestOptions = process.env["CI"] === "true" ? { retry: { count: 1, condition: /^(?!two sessions)/ } } : {};

/** One coordinator, its directory and some scripted nodes; `stop` removes them all. */
export class FleetUnderTest {
  readonly directory: string;
  readonly nodes: ScriptedNode[] = [];
  readonly service: CoordinatorService;
  readonly client: ServiceClient<Calls>;

  readonly #redis: string;

  private constructor(service: CoordinatorService, directory: string, redis: string) {
    this.directory = directory;
    this.#redis = redis;
    this.service = service;
    this.client = createClient(service.ready.listen, CoordinatorClient);
  }

  static async start(redis: string, options: { timing?: Partial<Timing>; directory?: string } = {}): Promise<FleetUnderTest> {
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), "scoutsync-coordinator-"));
    const service = await startCoordinator({
      listen: "127.0.0.1:0",
      http: "127.0.0.1:0",
      redis,
      dataDirectory: directory,
      logger: quietLogger(),
      timing: { ...QUICK, ...options.timing },
    });
    return new FleetUnderTest(service, directory, redis);
  }

  /** Nodes that are up and registered. */
  async addNodes(count: number, databases?: string[]): Promise<ScriptedNode[]> {
    const added: ScriptedNode[] = [];
    for (let index = 0; index < count; index++) {
      const node = await new ScriptedNode(`node-${this.nodes.length + 1}`, databases).up();
      this.nodes.push(node);
      added.push(node);
      await node.register(this.client);
    }
    return added;
  }

  status(): Promise<GetStatusResponse> {
    return unary(this.client, "getStatus", {}, PATIENT);
  }

  /** Waits until these nodes stand equal by what they hold themselves; returns the milliseconds it took. */
  equal(withinMs: number, nodes = this.nodes): Promise<number> {
    return eventually(
      () => new Set(nodes.map((node) => node.standing)).size === 1,
      withinMs,
      () => nodes.map((node) => `${node.name}: ${node.standing}`).join("\n"),
    );
  }

  /**
   * Waits until the scan with which the schedule begins is over. On a busy machine it comes when a test has long begun: it asks
   * everybody, and gives those whose attempts are used up new ones.
   */
  async firstScan(): Promise<void> {
    const connection = new Redis(this.#redis);
    const rounds = new Queue(ROUND_QUEUE, { connection, prefix: PREFIX });
    try {
      await eventually(async () => (await rounds.getJobs(["completed"])).some(({ name }) => name === "scan"), 30_000);
    } finally {
      await rounds.close();
      connection.disconnect();
    }
  }

  /** The registry as another process sees it. */
  outside(): Database {
    return new Sqlite(join(this.directory, "coordinator.db"), { timeout: 5_000 });
  }

  url(path: string): string {
    return `http://${this.service.ready.http}${path}`;
  }

  async stop({ keep = false }: { keep?: boolean } = {}): Promise<void> {
    this.client.close();
    await this.service.stop();
    for (const node of this.nodes) node.down();
    const overlapping = this.nodes.filter((node) => node.overlaps > 0).map((node) => node.name);
    if (overlapping.length > 0) throw new Error(`two sessions ran at once on ${overlapping.join(", ")}`);
    if (!keep) rmSync(this.directory, { recursive: true, force: true });
  }
}

export function quietLogger() {
  return createLogger("test", process.env["SCOUTSYNC_TEST_LOG"] ?? "silent");
}

/**
 * Asks again until it is so, and says how long that took, milliseconds. What has to come sooner than something else is compared with
 * that, never with a time.
 */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  withinMs: number,
  describe: () => string | Promise<string> = () => "",
): Promise<number> {
  const startedAt = Date.now();
  const boundMs = boundOf(withinMs);
  while (!(await condition())) {
    if (Date.now() - startedAt > boundMs) throw new Error(`not within ${boundMs} ms. ${await describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return Date.now() - startedAt;
}

/** Compares again until it holds, where somebody else still moves what is compared; throws with what was wrong at last. */
export async function comesTrue(check: () => void | Promise<void>, withinMs: number): Promise<void> {
  let wrong: unknown;
  const holds = async () => {
    try {
      await check();
      return true;
    } catch (error) {
      wrong = error;
      return false;
    }
  };
  await eventually(holds, withinMs, () => String(wrong));
}

/** True as soon as it is so; false when it was not within this time, where that is nothing wrong. */
export async function seenWithin(ms: number, condition: () => boolean | Promise<boolean>): Promise<boolean> {
  const until = Date.now() + ms;
  while (Date.now() < until) {
    if (await condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

/** Waits until a figure stays as it is for this long, milliseconds: what goes on for ever never does. */
export async function comesToRest(figure: () => number | Promise<number>, forMs: number, describe: () => string = () => ""): Promise<void> {
  let last = await figure();
  await eventually(
    async () => {
      const before = last;
      await new Promise((resolve) => setTimeout(resolve, forMs));
      last = await figure();
      return last === before;
    },
    0,
    describe,
  );
}
